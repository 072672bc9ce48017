//! What a request asks for.

use super::{format::Format, grpc};
use http::{
    HeaderMap,
    header::{ACCEPT, CONTENT_TYPE},
    request::Parts,
};

/// The ready-made answers that `Accept` chooses among, the preferred one first.
const FORMATS: [(Format, &str); 3] =
    [(Format::Problem, "application/problem+json"), (Format::Json, "application/json"), (Format::Text, "text/plain")];

/// The format that suits the request best.
pub(super) fn asked_for(request: &Parts) -> Format {
    if request.headers.get(CONTENT_TYPE).is_some_and(|content| grpc::is_grpc(content.as_bytes())) {
        return Format::Grpc;
    }
    let mut best = (Format::Problem, 0);
    for (format, media_type) in FORMATS {
        let weight = weight(&request.headers, media_type);
        if weight > best.1 {
            best = (format, weight);
        }
    }
    best.0
}

/// How much a media type is liked (RFC 9110 §12.5.1), in thousandths: as the most specific range says that covers it.
fn weight(headers: &HeaderMap, media_type: &str) -> u16 {
    let lines = headers.get_all(ACCEPT).iter().filter_map(|line| line.to_str().ok());
    let ranges = lines.flat_map(|line| line.split(','));
    let weighed = ranges.filter_map(|range| {
        let mut parameters = range.split(';').map(str::trim);
        let specificity = specificity(parameters.next()?, media_type)?;
        let weight = parameters.find_map(|parameter| {
            let (name, value) = parameter.split_once('=')?;
            name.eq_ignore_ascii_case("q").then(|| thousandths(value))
        });
        Some((specificity, weight.unwrap_or(1_000)))
    });
    weighed.max_by_key(|(specificity, _)| *specificity).map_or(0, |(_, weight)| weight)
}

/// How closely a range names a media type; `None` where it does not cover it.
fn specificity(range: &str, media_type: &str) -> Option<u8> {
    if range == "*/*" {
        return Some(0);
    }
    if range.eq_ignore_ascii_case(media_type) {
        return Some(2);
    }
    let (kind, any) = range.split_once('/')?;
    let (of, _) = media_type.split_once('/')?;
    (any == "*" && kind.eq_ignore_ascii_case(of)).then_some(1)
}

/// A weight such as `0.8`; what is none counts as 0, and does not attract.
fn thousandths(text: &str) -> u16 {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let digits = fraction.bytes().chain(*b"000").take(3);
    let fraction = digits
        .map(|digit| digit.checked_sub(b'0').filter(|digit| *digit < 10))
        .try_fold(0, |sum, digit| Some(sum * 10 + u16::from(digit?)));
    match (whole, fraction) {
        ("1", Some(_)) => 1_000,
        ("0", Some(fraction)) => fraction,
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn format(headers: &[(&'static str, &str)]) -> Format {
        let mut request = http::Request::new(());
        for (name, value) in headers {
            request.headers_mut().append(*name, value.parse().unwrap());
        }
        asked_for(&request.into_parts().0)
    }

    #[test]
    fn accept_is_weighed_by_the_most_specific_range() {
        for (accept, expected) in [
            ("*/*", Format::Problem),
            ("application/json", Format::Json),
            ("Application/JSON; charset=utf-8", Format::Json),
            ("application/*", Format::Problem),
            ("application/*, application/problem+json;q=0.5", Format::Json),
            ("text/*", Format::Text),
            ("text/plain, */*;q=0.1", Format::Text),
            ("text/plain;q=0.2, application/json;q=0.3", Format::Json),
            ("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", Format::Problem),
            ("*/*;q=0.1, application/problem+json;q=0, application/json;q=0", Format::Text),
            ("image/png", Format::Problem),
            ("text/plain;q=0", Format::Problem),
            ("text/plain;q=nonsense", Format::Problem),
            ("text/plain;q=0.9999, application/json;q=1.000", Format::Json),
            ("", Format::Problem),
            (";;,,/;q=", Format::Problem),
        ] {
            assert_eq!(format(&[("accept", accept)]), expected, "{accept}");
        }
        assert_eq!(format(&[]), Format::Problem);
        assert_eq!(format(&[("accept", "image/png"), ("accept", "text/plain")]), Format::Text, "several lines");
    }

    #[test]
    fn grpc_is_told_by_the_requests_content() {
        for (content, expected) in [
            ("application/grpc", Format::Grpc),
            ("application/grpc+proto", Format::Grpc),
            ("application/grpc-web+proto", Format::Grpc),
            ("application/grpcish", Format::Text),
            ("application/json", Format::Text),
        ] {
            assert_eq!(format(&[("content-type", content), ("accept", "text/plain")]), expected, "{content}");
        }
    }
}
