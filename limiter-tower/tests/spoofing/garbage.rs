//! Headers of random bytes.

use super::{bytes, table::cases};
use http::{HeaderMap, HeaderName, HeaderValue, Request};
use limiter_tower::{CookieKey, HeaderKey, KeyExtractor, MethodKey, QueryKey, TrustedProxies};
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

/// SplitMix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % end as u64).unwrap()
    }

    /// Pieces of headers and bytes that a header may have, in no order.
    fn line(&mut self) -> Vec<u8> {
        const PIECES: [&[u8]; 24] = [
            b",",
            b", ",
            b";",
            b"=",
            b"\"",
            b"\\",
            b"\\\"",
            b"for=",
            b"For=\"",
            b"by=",
            b"[",
            b"]",
            b":",
            b":80",
            b"_x",
            b"unknown",
            b"10.0.0.2",
            b"1.2.3.4",
            b"fd00::2",
            b"::ffff:",
            b"2001:db8::1",
            b"%61",
            b" ",
            b"\t",
        ];
        let mut line = Vec::new();
        for _ in 0..self.below(12) {
            match self.below(PIECES.len() + 2) {
                piece if piece < PIECES.len() => line.extend_from_slice(PIECES[piece]),
                _ => line.push([0x21, 0x7e, 0x80, 0xc3, 0xff][self.below(5)]),
            }
        }
        line
    }
}

fn value(bytes: &[u8]) -> HeaderValue {
    HeaderValue::from_bytes(bytes).unwrap()
}

fn all() -> [(HeaderName, TrustedProxies); 3] {
    let (x_forwarded_for, forwarded, x_real_ip) = ("x-forwarded-for", "forwarded", "x-real-ip");
    let networks = ["10.0.0.0/8", "fd00::/8"];
    let single = TrustedProxies::single_address(HeaderName::from_static(x_real_ip), networks).unwrap();
    [
        (HeaderName::from_static(x_forwarded_for), TrustedProxies::x_forwarded_for(networks).unwrap()),
        (HeaderName::from_static(forwarded), TrustedProxies::forwarded(networks).unwrap()),
        (HeaderName::from_static(x_real_ip), single),
    ]
}

/// As the library reads an address, by other means; exact for these pieces.
fn read(text: &[u8]) -> Option<IpAddr> {
    let text = str::from_utf8(text).ok()?.trim();
    let text = text.strip_suffix(":_x").filter(|text| !text.contains(':') || text.ends_with(']')).unwrap_or(text);
    let bracketed = || text.strip_prefix('[')?.strip_suffix(']')?.parse::<Ipv6Addr>().ok().map(IpAddr::V6);
    let with_port = || text.parse::<SocketAddr>().ok().filter(|_| !text.contains('%')).map(|address| address.ip());
    let address = text.parse().ok().or_else(bracketed).or_else(with_port)?;
    Some(address.to_canonical())
}

fn is_proxy(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => address.octets()[0] == 10,
        IpAddr::V6(address) => address.octets()[0] == 0xfd,
    }
}

#[test]
fn random_lines_are_read_as_a_plain_reading_of_the_rules_does() {
    let mut random = Random(1);
    let (mut named, mut skipped) = (0, 0);
    let peers: [IpAddr; 2] = ["10.0.0.1".parse().unwrap(), "203.0.113.9".parse().unwrap()];
    let [(header, x_forwarded_for), (forwarded_name, forwarded), (single_name, single)] = all();
    for _ in 0..30_000 {
        let lines: Vec<_> = (0..=random.below(3)).map(|_| random.line()).collect();
        let headers_of =
            |name: &HeaderName| -> HeaderMap { lines.iter().map(|line| (name.clone(), value(line))).collect() };
        let all = lines.join(&b',');
        let elements = all.split(|byte| *byte == b',').rev().filter(|element| !element.trim_ascii().is_empty());
        let mut expected = peers[0];
        for hop in elements.map(read) {
            let Some(hop) = hop else { break };
            expected = hop;
            named += 1;
            if !is_proxy(hop) {
                break;
            }
            skipped += 1;
        }
        assert_eq!(x_forwarded_for.client(peers[0], &headers_of(&header)), expected, "{lines:?}");
        let expected = lines.last().and_then(|line| read(line)).unwrap_or(peers[0]);
        assert_eq!(single.client(peers[0], &headers_of(&single_name)), expected, "{lines:?}");
        assert_eq!(forwarded.client(peers[1], &headers_of(&forwarded_name)), peers[1]);
        assert_eq!(x_forwarded_for.client(peers[1], &headers_of(&header)), peers[1]);
    }
    assert!(named > 1000 && skipped > 100, "{named} {skipped}");
}

#[test]
fn garbage_on_the_left_of_what_a_proxy_wrote_changes_nothing() {
    let mut random = Random(2);
    let written = [
        ("x-forwarded-for", "203.0.113.9"),
        ("x-forwarded-for", "203.0.113.9:80, fd00::2"),
        ("x-forwarded-for", "unknown"),
        ("forwarded", "for=203.0.113.9"),
        ("forwarded", "for=\"[2001:db8::9]:80\";host=\"a, \\\"b\\\\\""),
        ("forwarded", "proto=https;for=\"203.0.113.9\", for=10.0.0.2;by=_x"),
        ("forwarded", "for=_hidden"),
    ];
    for _ in 0..20_000 {
        let garbage = random.line();
        let before: Vec<_> = (0..random.below(3)).map(|_| random.line()).collect();
        for (header, proxies) in all() {
            for (_, written) in written.iter().filter(|(name, _)| header == *name) {
                let expected = proxies
                    .client("10.0.0.1".parse().unwrap(), &HeaderMap::from_iter([(header.clone(), bytes(written))]));
                let line = [&garbage, &b", "[..], written.as_bytes()].concat();
                let lines = before.iter().chain([&line]);
                let headers: HeaderMap = lines.map(|line| (header.clone(), value(line))).collect();
                let client = proxies.client("10.0.0.1".parse().unwrap(), &headers);
                assert_eq!(client, expected, "{headers:?}");
            }
        }
    }
}

#[test]
fn garbage_in_cookies_queries_and_networks_is_a_key_or_an_error() {
    let mut random = Random(3);
    let (cookie, query, header) = (CookieKey::new("for"), QueryKey::new("for"), HeaderKey::new(http::header::COOKIE));
    let tuple = (cookie.clone().required(), query.optional().or(MethodKey), header);
    for _ in 0..20_000 {
        let line = random.line();
        let text = String::from_utf8_lossy(&line);
        let uri = format!("/?{}", text.replace(|byte: char| !byte.is_ascii_graphic() || "\"\\".contains(byte), "%"));
        let (head, ()) = Request::get(&uri).header("cookie", value(&line)).body(()).unwrap().into_parts();
        assert!(cookie.key(&head).unwrap().is_some());
        assert_eq!(tuple.key(&head).is_err(), cookie.clone().required().key(&head).is_err());
        if let Err(error) = TrustedProxies::forwarded([&text]) {
            assert!(error.to_string().contains(&format!("{:?}", text.trim())), "{error}");
        }
    }
}

#[test]
fn a_line_of_many_elements_is_read_to_the_first_stranger() {
    let case = cases().into_iter().find(|case| case.header == "forwarded").unwrap();
    let long = format!("for=203.0.113.9{}", ", for=10.0.0.2;host=\"\\\\\\\"\"".repeat(10_000));
    let headers = HeaderMap::from_iter([(case.header.clone(), bytes(&long))]);
    assert_eq!(case.proxies.client("10.0.0.1".parse().unwrap(), &headers), IpAddr::from([203, 0, 113, 9]));
}
