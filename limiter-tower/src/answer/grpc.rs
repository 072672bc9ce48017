//! gRPC's way to refuse: a response that is all trailers, which travel as its headers.
//!
//! Sources: "gRPC over HTTP2" of the gRPC documentation (`grpc-status`, `grpc-message`, trailers-only), its proposal A6
//! (`grpc-retry-pushback-ms`), and `google/rpc/status.proto` with `error_details.proto` (`grpc-status-details-bin`).

use super::{
    fields::number,
    refusal::{Reason, Refusal},
};
use http::{HeaderName, HeaderValue, Response, StatusCode, header::CONTENT_TYPE};
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};

/// Status codes of gRPC.
const UNKNOWN: u8 = 2;
const INVALID_ARGUMENT: u8 = 3;
const NOT_FOUND: u8 = 5;
const PERMISSION_DENIED: u8 = 7;
const RESOURCE_EXHAUSTED: u8 = 8;
const INTERNAL: u8 = 13;
const UNAVAILABLE: u8 = 14;
const UNAUTHENTICATED: u8 = 16;

/// What a `grpc-message` may not hold as it is.
const ESCAPED: &AsciiSet = &CONTROLS.add(b'%');

/// Whether a request's content is gRPC, or gRPC-Web.
pub(super) fn is_grpc(content_type: &[u8]) -> bool {
    let rest = content_type.strip_prefix(b"application/grpc");
    rest.is_some_and(|rest| matches!(rest.first(), None | Some(b'+' | b';' | b' ' | b'-')))
}

pub(super) fn respond(refusal: Refusal<'_>) -> Response<String> {
    let (code, message) = (code(refusal.reason()), refusal.detail());
    let mut response = Response::new(String::new());
    let headers = response.headers_mut();
    let asked = refusal.request().headers.get(CONTENT_TYPE).filter(|content| is_grpc(content.as_bytes()));
    let content_type = asked.cloned().unwrap_or(HeaderValue::from_static("application/grpc"));
    let (retry_after_seconds, reason) = (refusal.retry_after_seconds, refusal.reason());
    *headers = refusal.headers;
    headers.insert(CONTENT_TYPE, content_type);
    headers.insert(const { HeaderName::from_static("grpc-status") }, number(code.into()));
    let escaped = utf8_percent_encode(&message, ESCAPED).to_string();
    if let Ok(message) = HeaderValue::try_from(escaped) {
        headers.insert(const { HeaderName::from_static("grpc-message") }, message);
    }
    let pushback = const { HeaderName::from_static("grpc-retry-pushback-ms") };
    if let Some(seconds) = retry_after_seconds {
        headers.insert(pushback, number(seconds.saturating_mul(1_000).min(i32::MAX.unsigned_abs().into())));
        if let Ok(details) = HeaderValue::try_from(base64(&status_with_retry_info(code, &message, seconds))) {
            headers.insert(const { HeaderName::from_static("grpc-status-details-bin") }, details);
        }
    } else if matches!(reason, Reason::CostTooLarge { .. }) {
        headers.insert(pushback, HeaderValue::from_static("-1")); // not again
    }
    response
}

fn code(reason: Reason<'_>) -> u8 {
    let error = match reason {
        Reason::StoreFailed(_) => return UNAVAILABLE,
        Reason::Forbidden => return PERMISSION_DENIED,
        Reason::NoKey(error) => error,
        Reason::Denied(_) | Reason::Blocked(_) | Reason::CostTooLarge { .. } | Reason::TooManyAtOnce { .. } => {
            return RESOURCE_EXHAUSTED;
        }
    };
    match error.status() {
        StatusCode::BAD_REQUEST => INVALID_ARGUMENT,
        StatusCode::UNAUTHORIZED => UNAUTHENTICATED,
        StatusCode::FORBIDDEN => PERMISSION_DENIED,
        StatusCode::NOT_FOUND => NOT_FOUND,
        StatusCode::INTERNAL_SERVER_ERROR => INTERNAL,
        StatusCode::BAD_GATEWAY | StatusCode::SERVICE_UNAVAILABLE | StatusCode::GATEWAY_TIMEOUT => UNAVAILABLE,
        _ => UNKNOWN,
    }
}

/// A `google.rpc.Status` (code, message, details) whose detail is a `google.rpc.RetryInfo`.
fn status_with_retry_info(code: u8, message: &str, seconds: u64) -> Vec<u8> {
    let duration = Message::default().varint(1, seconds);
    let retry_info = Message::default().bytes(1, &duration.0);
    let any = Message::default().bytes(1, b"type.googleapis.com/google.rpc.RetryInfo").bytes(2, &retry_info.0);
    Message::default().varint(1, code.into()).bytes(2, message.as_bytes()).bytes(3, &any.0).0
}

/// A message in Protocol Buffers' wire format.
#[derive(Default)]
struct Message(Vec<u8>);

impl Message {
    fn varint(mut self, field: u8, value: u64) -> Self {
        self.0.push(field << 3);
        self.push_varint(value);
        self
    }

    fn bytes(mut self, field: u8, value: &[u8]) -> Self {
        self.0.push(field << 3 | 2);
        self.push_varint(value.len() as u64);
        self.0.extend_from_slice(value);
        self
    }

    fn push_varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push(value.to_le_bytes()[0] | 0x80);
            value >>= 7;
        }
        self.0.push(value.to_le_bytes()[0]);
    }
}

/// RFC 4648 §4 without padding, as gRPC prefers it for binary metadata.
fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity((bytes.len() * 4).div_ceil(3));
    for chunk in bytes.chunks(3) {
        let group = chunk.iter().chain([&0; 3]).take(3).fold(0, |group: u32, byte| group << 8 | u32::from(*byte));
        for place in 0..=chunk.len() {
            let index = (group >> (18 - 6 * place)) & 0x3f;
            text.push(char::from(ALPHABET[index as usize]));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_as_the_rfcs_examples() {
        let examples =
            [("", ""), ("f", "Zg"), ("fo", "Zm8"), ("foo", "Zm9v"), ("foob", "Zm9vYg"), ("fooba", "Zm9vYmE")];
        for (plain, encoded) in examples {
            assert_eq!(base64(plain.as_bytes()), encoded);
        }
        assert_eq!(base64(&[0xfb, 0xff, 0xfe]), "+//+");
    }

    #[test]
    fn the_details_are_protocol_buffers_wire_format() {
        let status = status_with_retry_info(8, "no", 300);
        let mut expected = vec![0x08, 8, 0x12, 2, b'n', b'o', 0x1a, 49, 0x0a, 40];
        expected.extend_from_slice(b"type.googleapis.com/google.rpc.RetryInfo");
        expected.extend_from_slice(&[0x12, 5, 0x0a, 3, 0x08, 0xac, 0x02]);
        assert_eq!(status, expected);
    }
}
