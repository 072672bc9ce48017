//! Redirects that are followed here, so that each hop is a request like any other.

use super::transport::{Head, Transport};
use crate::Limits;
use limiter_core::Store;
use reqwest::{
    Method, StatusCode, Url,
    header::{
        AUTHORIZATION, CONTENT_ENCODING, CONTENT_LANGUAGE, CONTENT_LENGTH, CONTENT_LOCATION, CONTENT_TYPE, COOKIE,
        HOST, HeaderMap, HeaderName, LOCATION, PROXY_AUTHORIZATION, TRANSFER_ENCODING, WWW_AUTHENTICATE,
    },
};

/// What speaks of a body that is left behind.
const OF_BODIES: [HeaderName; 6] =
    [CONTENT_TYPE, CONTENT_LENGTH, CONTENT_ENCODING, CONTENT_LANGUAGE, CONTENT_LOCATION, TRANSFER_ENCODING];
/// What is meant for one host alone: its name, and who we are there. Beside `Cookie2`, which has no constant.
const OF_HOSTS: [HeaderName; 5] = [HOST, AUTHORIZATION, PROXY_AUTHORIZATION, COOKIE, WWW_AUTHENTICATE];

/// Where an answer sends its request, and as what.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Hop {
    pub(crate) url: Url,
    pub(crate) method: Method,
    /// The body goes there too, if there is one.
    pub(crate) with_body: bool,
    is_elsewhere: bool,
}

impl Hop {
    /// As RFC 9110, section 15.4, and the Fetch standard have it: a 303 is fetched with `GET`, so is what a `POST` is sent to by
    /// 301 and 302, and 307 and 308 change nothing. None where the answer sends nobody anywhere, or nowhere that can be
    /// asked.
    fn of(from: &Url, method: &Method, status: StatusCode, headers: &HeaderMap) -> Option<Self> {
        let is_fetched = match status {
            StatusCode::MOVED_PERMANENTLY | StatusCode::FOUND => *method == Method::POST,
            StatusCode::SEE_OTHER => *method != Method::HEAD,
            StatusCode::TEMPORARY_REDIRECT | StatusCode::PERMANENT_REDIRECT => false,
            _ => return None,
        };
        // As bytes: many send what is not ASCII as it is.
        let to = std::str::from_utf8(headers.get(LOCATION)?.as_bytes()).ok()?;
        let url = from.join(to).ok()?;
        // The longest that can be sent is shorter than the longest URL.
        if !matches!(url.scheme(), "http" | "https") || !url.has_host() || http::Uri::try_from(url.as_str()).is_err() {
            return None;
        }
        let is_elsewhere = from.origin() != url.origin();
        let method = if is_fetched { Method::GET } else { method.clone() };
        Some(Self { url, method, with_body: !is_fetched, is_elsewhere })
    }

    /// Leaves behind what is not for this hop.
    pub(crate) fn prune(&self, headers: &mut HeaderMap) {
        let bodies = OF_BODIES.iter().filter(|_| !self.with_body);
        let hosts = OF_HOSTS.iter().filter(|_| self.is_elsewhere);
        for name in bodies.chain(hosts) {
            headers.remove(name);
        }
        if self.is_elsewhere {
            headers.remove("cookie2");
        }
    }
}

/// A request once more, before it is sent: for where its answer sends it.
struct Spare<R> {
    request: R,
    method: Method,
    /// A body that is read as it is sent is not here.
    is_whole: bool,
}

impl<S: Store> Limits<S> {
    /// Waits for the turn of `request`, sends it, and follows where it is sent on to, as often as limits say; the last
    /// answer.
    pub(crate) async fn run<T: Transport>(
        &self,
        mut request: T::Request,
        transport: &mut T,
    ) -> Result<T::Response, T::Error> {
        let mut left = self.redirects();
        loop {
            let spare = if left > 0 { spare(transport, &request) } else { None };
            let response = match transport.ask(self, &request).await? {
                Some(ticket) => ticket.send(request, transport).await?,
                None => transport.send(request).await?,
            };
            let next = spare.and_then(|spare| spare.sent_on(transport, transport.head(&response)));
            match next {
                Some(next) => (request, left) = (next, left - 1),
                None => return Ok(response),
            }
        }
    }
}

fn spare<T: Transport>(transport: &T, request: &T::Request) -> Option<Spare<T::Request>> {
    let method = transport.method(request)?;
    let whole = transport.try_clone(request);
    let is_whole = whole.is_some();
    let request = whole.or_else(|| transport.without_body(request))?;
    Some(Spare { request, method, is_whole })
}

impl<R> Spare<R> {
    fn sent_on<T: Transport<Request = R>>(self, transport: &T, (from, status, headers): Head<'_>) -> Option<R> {
        let hop = Hop::of(from, &self.method, status, headers)?;
        (self.is_whole || !hop.with_body).then(|| transport.redirect(self.request, &hop))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use reqwest::header::HeaderValue;

    fn hop(method: &Method, status: u16, to: &str) -> Option<Hop> {
        let headers = HeaderMap::from_iter([(LOCATION, HeaderValue::from_bytes(to.as_bytes()).unwrap())]);
        Hop::of(&"https://a.example/x/y?z".parse().unwrap(), method, StatusCode::from_u16(status).unwrap(), &headers)
    }

    #[test]
    fn the_method_is_what_the_standards_say() {
        for (status, method, expected, with_body) in [
            (301, Method::POST, Method::GET, false),
            (302, Method::POST, Method::GET, false),
            (303, Method::POST, Method::GET, false),
            (303, Method::PUT, Method::GET, false),
            (303, Method::HEAD, Method::HEAD, true),
            (301, Method::PUT, Method::PUT, true),
            (302, Method::HEAD, Method::HEAD, true),
            (307, Method::POST, Method::POST, true),
            (308, Method::DELETE, Method::DELETE, true),
        ] {
            let hop = hop(&method, status, "/").unwrap();
            assert_eq!((hop.method, hop.with_body), (expected, with_body), "{status} {method}");
        }
        for status in [200, 300, 304, 305, 306, 399, 404] {
            assert_eq!(hop(&Method::GET, status, "/"), None, "{status}");
        }
    }

    #[test]
    fn the_place_is_where_the_answer_says_seen_from_the_request() {
        let to = |location: &str| hop(&Method::GET, 302, location).map(|hop| String::from(hop.url));
        for (location, expected) in [
            ("/new", "https://a.example/new"),
            ("new", "https://a.example/x/new"),
            ("?q=1", "https://a.example/x/y?q=1"),
            ("//b.example/", "https://b.example/"),
            ("http://b.example:81/ü", "http://b.example:81/%C3%BC"),
            ("", "https://a.example/x/y?z"),
        ] {
            assert_eq!(to(location).as_deref(), Some(expected), "{location}");
        }
        let long = format!("/{}", "a".repeat(70_000));
        for location in ["mailto:ada@a.example", "data:,x", "ftp://a.example/", "http://", "http://a:99999/", &long] {
            assert_eq!(to(location), None, "{location:.40}");
        }
    }

    #[test]
    fn what_is_meant_for_one_host_stays_there() {
        let all = || OF_BODIES.iter().chain(&OF_HOSTS).map(|name| (name.clone(), HeaderValue::from_static("x")));
        let left = |location: &str| {
            let mut headers = HeaderMap::from_iter(all());
            headers.insert("cookie2", HeaderValue::from_static("x"));
            headers.insert("accept", HeaderValue::from_static("x"));
            hop(&Method::POST, 303, location).unwrap().prune(&mut headers);
            headers.len()
        };
        // Of five for hosts and two beside them, all; or the one that is for nobody in particular.
        assert_eq!(left("/new"), 7);
        for elsewhere in ["https://b.example/", "https://a.example:444/", "http://a.example/"] {
            assert_eq!(left(elsewhere), 1, "{elsewhere}");
        }
    }
}
