//! What proxies and clients send, and the address that must result.

use http::{HeaderMap, HeaderName, HeaderValue};
use limiter_tower::TrustedProxies;
use std::net::IpAddr;

/// The proxies of the whole table.
const PROXIES: [&str; 4] = ["10.0.0.0/8", "192.168.7.7", "fd00::/8", "::ffff:172.16.0.0/108"];

/// What the header's text says, the peer, the header's lines, and the client.
type Row = (&'static str, &'static str, &'static [&'static str], &'static str);

pub(crate) struct Case {
    pub(crate) name: &'static str,
    pub(crate) proxies: TrustedProxies,
    pub(crate) header: HeaderName,
    pub(crate) peer: IpAddr,
    pub(crate) lines: &'static [&'static str],
    pub(crate) client: IpAddr,
    /// Whether a client could have written what stands left of the lines, or in front of them.
    pub(crate) left: Left,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Left {
    /// The walk ends before it gets there.
    Ignored,
    /// As `Ignored`, but the header has a single address, which the proxy puts in place of the client's text.
    Replaced,
    /// The walk goes on to the left end: only proxies have written.
    Read,
}

impl Case {
    pub(crate) fn headers(&self) -> HeaderMap {
        self.lines.iter().map(|line| (self.header.clone(), bytes(line))).collect()
    }
}

pub(crate) fn bytes(text: &str) -> HeaderValue {
    HeaderValue::from_bytes(text.as_bytes()).unwrap()
}

pub(crate) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    let mut add = |proxies: TrustedProxies, header: &'static str, left: Left, rows: &'static [Row]| {
        cases.extend(rows.iter().map(|&(name, peer, lines, client)| Case {
            name,
            proxies: proxies.clone(),
            header: HeaderName::from_static(header),
            peer: peer.parse().unwrap(),
            lines,
            client: client.parse().unwrap(),
            left,
        }));
    };
    let x_forwarded_for = TrustedProxies::x_forwarded_for(PROXIES).unwrap();
    add(x_forwarded_for.clone(), "x-forwarded-for", Left::Ignored, X_FORWARDED_FOR);
    add(x_forwarded_for, "x-forwarded-for", Left::Read, X_FORWARDED_FOR_BY_PROXIES_ONLY);
    let forwarded = TrustedProxies::forwarded(PROXIES).unwrap();
    add(forwarded.clone(), "forwarded", Left::Ignored, FORWARDED);
    add(forwarded, "forwarded", Left::Read, FORWARDED_BY_PROXIES_ONLY);
    for name in ["x-real-ip", "cf-connecting-ip"] {
        let single = TrustedProxies::single_address(HeaderName::from_static(name), PROXIES).unwrap();
        add(single, name, Left::Replaced, SINGLE_ADDRESS);
    }
    cases
}

const X_FORWARDED_FOR: &[Row] = &[
    ("a client that is no proxy", "203.0.113.9", &["1.2.3.4"], "203.0.113.9"),
    ("a client that names a proxy", "203.0.113.9", &["1.2.3.4, 10.0.0.1"], "203.0.113.9"),
    ("a client without the header", "203.0.113.9", &[], "203.0.113.9"),
    ("an IPv6 client", "2001:db8::9", &["1.2.3.4"], "2001:db8::9"),
    ("a mapped client", "::ffff:203.0.113.9", &["1.2.3.4"], "203.0.113.9"),
    ("a client next to the proxies", "11.0.0.1", &["1.2.3.4"], "11.0.0.1"),
    ("a client next to the one proxy", "192.168.7.8", &["1.2.3.4"], "192.168.7.8"),
    ("one proxy", "10.0.0.1", &["203.0.113.9"], "203.0.113.9"),
    ("a proxy by its address", "192.168.7.7", &["203.0.113.9"], "203.0.113.9"),
    ("a proxy of a mapped network", "172.31.255.1", &["203.0.113.9"], "203.0.113.9"),
    ("a mapped proxy", "::ffff:10.0.0.1", &["203.0.113.9"], "203.0.113.9"),
    ("an IPv6 proxy", "fd00::1", &["203.0.113.9"], "203.0.113.9"),
    ("text on the left", "10.0.0.1", &["1.2.3.4, 203.0.113.9"], "203.0.113.9"),
    ("much text on the left", "10.0.0.1", &["::1, unknown, 1.2.3.4, 10.0.0.9,, 203.0.113.9"], "203.0.113.9"),
    ("a quote on the left", "10.0.0.1", &["\"1.2.3.4, 203.0.113.9"], "203.0.113.9"),
    ("a proxy on the left", "10.0.0.1", &["10.0.0.2, 203.0.113.9"], "203.0.113.9"),
    ("two proxies", "10.0.0.1", &["203.0.113.9, 10.0.0.2"], "203.0.113.9"),
    ("two proxies and text on the left", "10.0.0.1", &["1.2.3.4, 203.0.113.9, 10.0.0.2"], "203.0.113.9"),
    ("three proxies of both families", "10.0.0.1", &["203.0.113.9, fd00::3, 10.0.0.2"], "203.0.113.9"),
    ("a mapped proxy in the chain", "10.0.0.1", &["203.0.113.9, ::ffff:10.0.0.2"], "203.0.113.9"),
    ("a stranger between proxies", "10.0.0.1", &["1.2.3.4, 10.0.0.3, 198.51.100.5, 10.0.0.2"], "198.51.100.5"),
    ("several lines", "10.0.0.1", &["1.2.3.4", "203.0.113.9"], "203.0.113.9"),
    ("several lines, a proxy alone on the last", "10.0.0.1", &["1.2.3.4", "203.0.113.9", "10.0.0.2"], "203.0.113.9"),
    (
        "lines of several elements",
        "10.0.0.1",
        &["1.2.3.4, 5.6.7.8", "6.6.6.6, 203.0.113.9, 10.0.0.3", "10.0.0.2"],
        "203.0.113.9",
    ),
    ("an empty last line", "10.0.0.1", &["203.0.113.9", ""], "203.0.113.9"),
    ("empty elements on the right", "10.0.0.1", &["203.0.113.9, ,, "], "203.0.113.9"),
    ("empty elements between proxies", "10.0.0.1", &["203.0.113.9,, 10.0.0.3,\t,10.0.0.2"], "203.0.113.9"),
    ("no spaces", "10.0.0.1", &["1.2.3.4,203.0.113.9"], "203.0.113.9"),
    ("spaces and tabs", "10.0.0.1", &["1.2.3.4 , \t203.0.113.9 \t"], "203.0.113.9"),
    ("a port", "10.0.0.1", &["203.0.113.9:4711"], "203.0.113.9"),
    ("another port", "10.0.0.1", &["203.0.113.9:4712"], "203.0.113.9"),
    ("a proxy's port", "10.0.0.1", &["203.0.113.9, 10.0.0.2:443"], "203.0.113.9"),
    ("a mapped address", "10.0.0.1", &["::ffff:203.0.113.9"], "203.0.113.9"),
    ("a mapped address in digits", "10.0.0.1", &["::FFFF:CB00:7109"], "203.0.113.9"),
    ("a mapped address, written out", "10.0.0.1", &["0:0:0:0:0:ffff:203.0.113.9"], "203.0.113.9"),
    ("a mapped address and a port", "10.0.0.1", &["[::ffff:cb00:7109]:80"], "203.0.113.9"),
    ("IPv6", "10.0.0.1", &["2001:db8::9"], "2001:db8::9"),
    ("IPv6, written out", "10.0.0.1", &["2001:0DB8:0:0:0:0:0:9"], "2001:db8::9"),
    ("IPv6 in brackets", "10.0.0.1", &["[2001:db8::9]"], "2001:db8::9"),
    ("IPv6 and a port", "10.0.0.1", &["[2001:db8::9]:4711"], "2001:db8::9"),
    ("unknown", "10.0.0.1", &["1.2.3.4, unknown"], "10.0.0.1"),
    ("unknown behind a second proxy", "10.0.0.1", &["1.2.3.4, unknown, 10.0.0.2"], "10.0.0.2"),
    ("a hidden name", "10.0.0.1", &["1.2.3.4, _hidden"], "10.0.0.1"),
    ("a malformed address", "10.0.0.1", &["1.2.3.4, 203.0.113"], "10.0.0.1"),
    ("an address with a leading zero", "10.0.0.1", &["1.2.3.4, 203.0.113.09"], "10.0.0.1"),
    ("an address in one number", "10.0.0.1", &["1.2.3.4, 3405803785"], "10.0.0.1"),
    ("an address in hexadecimal", "10.0.0.1", &["1.2.3.4, 0xcb007109"], "10.0.0.1"),
    ("an address with a zone", "10.0.0.1", &["1.2.3.4, fe80::1%eth0"], "10.0.0.1"),
    ("an address with a mask", "10.0.0.1", &["1.2.3.4, 203.0.113.9/32"], "10.0.0.1"),
    ("two addresses without a comma", "10.0.0.1", &["1.2.3.4, 5.6.7.8 203.0.113.9"], "10.0.0.1"),
    ("a semicolon", "10.0.0.1", &["1.2.3.4; 203.0.113.9"], "10.0.0.1"),
    ("a port that is none", "10.0.0.1", &["1.2.3.4, 203.0.113.9:http"], "10.0.0.1"),
    ("a bracket that is not closed", "10.0.0.1", &["1.2.3.4, [2001:db8::9"], "10.0.0.1"),
    ("IPv4 in brackets", "10.0.0.1", &["1.2.3.4, [203.0.113.9]:80"], "10.0.0.1"),
    ("a name", "10.0.0.1", &["1.2.3.4, example.com"], "10.0.0.1"),
    ("letters of another script", "10.0.0.1", &["1.2.3.4, \u{662}03.0.113.9"], "10.0.0.1"),
    ("letters of another script on the left", "10.0.0.1", &["\u{662}\u{e9}, 203.0.113.9"], "203.0.113.9"),
    ("an element of Forwarded", "10.0.0.1", &["1.2.3.4, for=203.0.113.9"], "10.0.0.1"),
];

const X_FORWARDED_FOR_BY_PROXIES_ONLY: &[Row] = &[
    ("a proxy without the header", "10.0.0.1", &[], "10.0.0.1"),
    ("a mapped proxy without the header", "::ffff:10.0.0.1", &[], "10.0.0.1"),
    ("an empty header", "10.0.0.1", &[""], "10.0.0.1"),
    ("empty elements only", "10.0.0.1", &[" , ,", ","], "10.0.0.1"),
    ("a call of a proxy's own", "10.0.0.1", &["10.0.0.2"], "10.0.0.2"),
    ("a call of a proxy's own through another", "10.0.0.1", &["10.0.0.3, 10.0.0.2"], "10.0.0.3"),
    ("a call of a proxy's own over several lines", "10.0.0.1", &["fd00::4", "10.0.0.3, 10.0.0.2"], "fd00::4"),
];

const FORWARDED: &[Row] = &[
    ("a client that is no proxy", "203.0.113.9", &["for=1.2.3.4"], "203.0.113.9"),
    ("one proxy", "10.0.0.1", &["for=203.0.113.9"], "203.0.113.9"),
    ("all parameters", "10.0.0.1", &["by=10.0.0.1;for=203.0.113.9;host=a.example:80;proto=https"], "203.0.113.9"),
    ("another case", "10.0.0.1", &["For=203.0.113.9;Proto=HTTPS"], "203.0.113.9"),
    ("a quoted address", "10.0.0.1", &["for=\"203.0.113.9\""], "203.0.113.9"),
    ("a quoted address with escapes", "10.0.0.1", &[r#"for="\203.0.\113.9""#], "203.0.113.9"),
    ("a port", "10.0.0.1", &["for=\"203.0.113.9:4711\""], "203.0.113.9"),
    ("a port without quotes", "10.0.0.1", &["for=203.0.113.9:4711"], "203.0.113.9"),
    ("a hidden port", "10.0.0.1", &["for=\"203.0.113.9:_http\""], "203.0.113.9"),
    ("IPv6", "10.0.0.1", &["for=\"[2001:db8::9]\""], "2001:db8::9"),
    ("IPv6 and a port", "10.0.0.1", &["for=\"[2001:db8::9]:4711\""], "2001:db8::9"),
    ("IPv6 without quotes", "10.0.0.1", &["for=[2001:db8::9]"], "2001:db8::9"),
    ("a mapped address", "10.0.0.1", &["for=\"[::ffff:203.0.113.9]\""], "203.0.113.9"),
    ("text on the left", "10.0.0.1", &["for=1.2.3.4, for=203.0.113.9"], "203.0.113.9"),
    ("a quote on the left that is not closed", "10.0.0.1", &["for=\"1.2.3.4, for=203.0.113.9"], "203.0.113.9"),
    (
        "a quote on the left before quotes",
        "10.0.0.1",
        &["for=\"1.2.3.4, for=\"203.0.113.9\";proto=http"],
        "203.0.113.9",
    ),
    ("a backslash on the left", "10.0.0.1", &["for=\"1.2.3.4\\, for=\"203.0.113.9\""], "203.0.113.9"),
    (
        "an element of the client's inside quotes",
        "10.0.0.1",
        &["for=1.2.3.4;host=\"a, for=5.6.7.8\", for=203.0.113.9"],
        "203.0.113.9",
    ),
    (
        "a comma in a proxy's quotes",
        "10.0.0.1",
        &["for=1.2.3.4, for=203.0.113.9;host=\"a, for=5.6.7.8\""],
        "203.0.113.9",
    ),
    (
        "an escaped quote in a proxy's quotes",
        "10.0.0.1",
        &[r#"for=1.2.3.4, for=203.0.113.9;host="a\", for=5.6.7.8""#],
        "203.0.113.9",
    ),
    (
        "an escaped backslash in a proxy's quotes",
        "10.0.0.1",
        &[r#"for=1.2.3.4, for=203.0.113.9;host="a\\""#],
        "203.0.113.9",
    ),
    ("two proxies", "10.0.0.1", &["for=203.0.113.9, for=10.0.0.2"], "203.0.113.9"),
    (
        "two proxies and text on the left",
        "10.0.0.1",
        &["for=1.2.3.4,for=203.0.113.9,for=\"[fd00::2]\";proto=http"],
        "203.0.113.9",
    ),
    ("several lines", "10.0.0.1", &["for=1.2.3.4", "for=203.0.113.9", "for=10.0.0.2"], "203.0.113.9"),
    ("a quote of another line", "10.0.0.1", &["for=\"", "for=203.0.113.9"], "203.0.113.9"),
    ("empty elements", "10.0.0.1", &["for=203.0.113.9, ,,", ""], "203.0.113.9"),
    ("spaces around a semicolon", "10.0.0.1", &["for=203.0.113.9 ; proto=http"], "203.0.113.9"),
    ("empty parameters", "10.0.0.1", &[";for=203.0.113.9;;proto=http;"], "203.0.113.9"),
    ("unknown", "10.0.0.1", &["for=1.2.3.4, for=unknown"], "10.0.0.1"),
    ("unknown behind a second proxy", "10.0.0.1", &["for=1.2.3.4, for=unknown, for=10.0.0.2"], "10.0.0.2"),
    ("a hidden name", "10.0.0.1", &["for=1.2.3.4, for=_hidden"], "10.0.0.1"),
    ("a quoted hidden name", "10.0.0.1", &["for=1.2.3.4, for=\"_SEVKISEK\""], "10.0.0.1"),
    ("an element without for", "10.0.0.1", &["for=1.2.3.4, proto=https;by=_me"], "10.0.0.1"),
    ("two fors in an element", "10.0.0.1", &["for=1.2.3.4;for=203.0.113.9"], "10.0.0.1"),
    ("a proxy's quote that is not closed", "10.0.0.1", &["for=203.0.113.9;host=\"a"], "10.0.0.1"),
    ("text behind a quoted string", "10.0.0.1", &["for=\"203.0.113.9\"5"], "10.0.0.1"),
    ("an address alone", "10.0.0.1", &["for=1.2.3.4, 203.0.113.9"], "10.0.0.1"),
    ("a space before the equals sign", "10.0.0.1", &["for=1.2.3.4, for =203.0.113.9"], "10.0.0.1"),
    ("a parameter whose name ends alike", "10.0.0.1", &["for=1.2.3.4, xfor=203.0.113.9"], "10.0.0.1"),
    ("IPv6 that is not closed", "10.0.0.1", &["for=1.2.3.4, for=\"[2001:db8::9\""], "10.0.0.1"),
];

const FORWARDED_BY_PROXIES_ONLY: &[Row] = &[
    ("a proxy without the header", "10.0.0.1", &[], "10.0.0.1"),
    ("empty elements only", "10.0.0.1", &[", ,"], "10.0.0.1"),
    ("a call of a proxy's own", "10.0.0.1", &["for=10.0.0.3, for=\"10.0.0.2:80\""], "10.0.0.3"),
];

const SINGLE_ADDRESS: &[Row] = &[
    ("a client that is no proxy", "203.0.113.9", &["1.2.3.4"], "203.0.113.9"),
    ("a proxy", "10.0.0.1", &["203.0.113.9"], "203.0.113.9"),
    ("a mapped proxy", "::ffff:10.0.0.1", &["203.0.113.9"], "203.0.113.9"),
    ("a mapped address", "10.0.0.1", &["::ffff:203.0.113.9"], "203.0.113.9"),
    ("spaces and a port", "10.0.0.1", &[" 203.0.113.9:4711 "], "203.0.113.9"),
    ("IPv6", "10.0.0.1", &["2001:db8::9"], "2001:db8::9"),
    ("several lines", "10.0.0.1", &["1.2.3.4", "203.0.113.9"], "203.0.113.9"),
    ("a proxy's address", "10.0.0.1", &["10.0.0.2"], "10.0.0.2"),
    ("several addresses", "10.0.0.1", &["1.2.3.4, 203.0.113.9"], "10.0.0.1"),
    ("unknown", "10.0.0.1", &["unknown"], "10.0.0.1"),
    ("an empty line behind another", "10.0.0.1", &["1.2.3.4", ""], "10.0.0.1"),
];
