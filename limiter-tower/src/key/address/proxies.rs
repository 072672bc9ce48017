//! The proxies whose word is taken for where a request comes from.

use super::elements::{forwarded, node, x_forwarded_for};
use http::{HeaderMap, HeaderName, HeaderValue, header::FORWARDED};
use ipnet::{IpNet, Ipv4Net};
use std::{error::Error, fmt, net::IpAddr, sync::Arc};

/// The addresses of one's own proxies, and the header in which they say who sent a request.
///
/// The header is read only where the peer is one of them, and from the right: all its lines in order, proxies of this
/// list are skipped, and the first other address is the client. Whatever a client sends stands further left and
/// changes nothing. Text that is no address (`unknown`, `_hidden`, anything malformed) ends the walk: the last
/// address before it is the client. Where all are proxies, the leftmost is. Other headers are never read.
///
/// Proxies are addresses (`10.0.0.7`, `2001:db8::7`) or networks (`10.0.0.0/8`, `2001:db8::/32`). With none, the peer
/// is the client.
///
/// ```
/// use http::HeaderMap;
/// use limiter_tower::TrustedProxies;
/// use std::net::IpAddr;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let proxies = TrustedProxies::x_forwarded_for(["10.0.0.0/8"])?;
/// let mut headers = HeaderMap::new();
/// headers.insert("x-forwarded-for", "1.2.3.4, 203.0.113.7, 10.0.0.2".parse()?); // the client sent the first itself
/// assert_eq!(proxies.client("10.0.0.1".parse()?, &headers), "203.0.113.7".parse::<IpAddr>()?);
/// assert_eq!(proxies.client("198.51.100.1".parse()?, &headers), "198.51.100.1".parse::<IpAddr>()?);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TrustedProxies {
    networks: Arc<[IpNet]>,
    source: Source,
}

#[derive(Clone, PartialEq, Eq, Debug)]
enum Source {
    XForwardedFor,
    Forwarded,
    Single(HeaderName),
}

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

impl TrustedProxies {
    /// Proxies that append the address they were called from to `X-Forwarded-For`.
    ///
    /// ```
    /// use limiter_tower::TrustedProxies;
    ///
    /// # fn main() -> Result<(), limiter_tower::ProxyError> {
    /// let settings = "10.0.0.0/8, fd00::/8";
    /// let proxies = TrustedProxies::x_forwarded_for(settings.split(','))?;
    /// # let _ = proxies;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`ProxyError`] where one of them is neither an address nor a network, or is everybody.
    pub fn x_forwarded_for<T: AsRef<str>>(proxies: impl IntoIterator<Item = T>) -> Result<Self, ProxyError> {
        Self::new(proxies, Source::XForwardedFor)
    }

    /// Proxies that append the address they were called from to `Forwarded`
    /// ([RFC 7239](https://www.rfc-editor.org/rfc/rfc7239)).
    ///
    /// ```
    /// use http::HeaderMap;
    /// use limiter_tower::TrustedProxies;
    /// use std::net::IpAddr;
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let proxies = TrustedProxies::forwarded(["10.0.0.1"])?;
    /// let mut headers = HeaderMap::new();
    /// headers.insert("forwarded", r#"for="[2001:db8::7]:4711";proto=https"#.parse()?);
    /// assert_eq!(proxies.client("10.0.0.1".parse()?, &headers), "2001:db8::7".parse::<IpAddr>()?);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`ProxyError`] where one of them is neither an address nor a network, or is everybody.
    pub fn forwarded<T: AsRef<str>>(proxies: impl IntoIterator<Item = T>) -> Result<Self, ProxyError> {
        Self::new(proxies, Source::Forwarded)
    }

    /// Proxies that put the client's address into a header of its own, in place of what the client sent: `X-Real-IP`,
    /// `CF-Connecting-IP`.
    ///
    /// Where it has several lines, the last one counts; where that is no single address, the peer is the client.
    ///
    /// ```
    /// use http::{HeaderMap, HeaderName};
    /// use limiter_tower::TrustedProxies;
    /// use std::net::IpAddr;
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let proxies = TrustedProxies::single_address(HeaderName::from_static("x-real-ip"), ["127.0.0.1", "::1"])?;
    /// let mut headers = HeaderMap::new();
    /// headers.insert("x-real-ip", "203.0.113.7".parse()?);
    /// assert_eq!(proxies.client("127.0.0.1".parse()?, &headers), "203.0.113.7".parse::<IpAddr>()?);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`ProxyError`] where one of them is neither an address nor a network, or is everybody.
    pub fn single_address<T: AsRef<str>>(
        header: HeaderName,
        proxies: impl IntoIterator<Item = T>,
    ) -> Result<Self, ProxyError> {
        Self::new(proxies, Source::Single(header))
    }

    fn new<T: AsRef<str>>(proxies: impl IntoIterator<Item = T>, source: Source) -> Result<Self, ProxyError> {
        let networks: Result<Vec<_>, _> = proxies.into_iter().map(|proxy| network(proxy.as_ref())).collect();
        Ok(Self { networks: networks?.into(), source })
    }

    /// The address of the client behind `peer`, the other end of the socket; ungrouped.
    ///
    /// ```
    /// use http::HeaderMap;
    /// use limiter_tower::TrustedProxies;
    /// use std::net::IpAddr;
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let nobody = TrustedProxies::x_forwarded_for([""; 0])?;
    /// let client = nobody.client("::ffff:192.0.2.1".parse()?, &HeaderMap::new());
    /// assert_eq!(client, IpAddr::from([192, 0, 2, 1]));
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn client(&self, peer: IpAddr, headers: &HeaderMap) -> IpAddr {
        let peer = peer.to_canonical();
        if !self.contains(peer) {
            return peer;
        }
        let from_last = |name| headers.get_all(name).iter().rev().map(HeaderValue::as_bytes);
        match &self.source {
            Source::XForwardedFor => self.walk(peer, from_last(&X_FORWARDED_FOR).flat_map(x_forwarded_for)),
            Source::Forwarded => self.walk(peer, from_last(&FORWARDED).flat_map(forwarded)),
            Source::Single(name) => from_last(name).next().and_then(|line| node(line.trim_ascii())).unwrap_or(peer),
        }
    }

    /// From the peer towards the client, until somebody is met whose word does not count.
    fn walk(&self, peer: IpAddr, hops: impl Iterator<Item = Option<IpAddr>>) -> IpAddr {
        let mut last = peer;
        for hop in hops {
            let Some(hop) = hop else { break };
            last = hop;
            if !self.contains(hop) {
                break;
            }
        }
        last
    }

    fn contains(&self, address: IpAddr) -> bool {
        self.networks.iter().any(|network| network.contains(&address))
    }
}

impl fmt::Display for TrustedProxies {
    /// The networks, and the header that is read.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, network) in self.networks.iter().enumerate() {
            write!(f, "{}{network}", if i > 0 { ", " } else { "" })?;
        }
        let header = match &self.source {
            Source::XForwardedFor => "x-forwarded-for",
            Source::Forwarded => "forwarded",
            Source::Single(name) => name.as_str(),
        };
        write!(f, " by {header}")
    }
}

/// Reads an address or a network; one of IPv4 addresses that are mapped into IPv6 is the IPv4 one.
fn network(text: &str) -> Result<IpNet, ProxyError> {
    let text = text.trim();
    let parsed = match text.parse::<IpAddr>() {
        Ok(address) => Ok(IpNet::from(address)),
        Err(_) => text.parse::<IpNet>(),
    };
    let network = unmapped(parsed.map_err(|_| ProxyError::NoNetwork { text: text.to_owned() })?);
    if network.trunc() != network {
        return Err(ProxyError::HostBits { text: text.to_owned(), network: network.trunc().to_string() });
    }
    if network.prefix_len() == 0 {
        return Err(ProxyError::Everybody { text: text.to_owned() });
    }
    Ok(network)
}

fn unmapped(network: IpNet) -> IpNet {
    let ipv4 = match network.addr().to_canonical() {
        IpAddr::V4(address) => {
            network.prefix_len().checked_sub(network.max_prefix_len() - 32).map(|bits| (address, bits))
        }
        IpAddr::V6(_) => None,
    };
    ipv4.and_then(|(address, bits)| Ipv4Net::new(address, bits).ok()).map_or(network, IpNet::V4)
}

/// Why a proxy cannot be trusted.
///
/// ```
/// use limiter_tower::TrustedProxies;
///
/// for (text, reason) in [
///     ("10.0.0.0/33", "neither an address nor a network"),
///     ("10.0.0.1/8", "write 10.0.0.0/8"),
///     ("0.0.0.0/0", "everybody"),
/// ] {
///     let error = TrustedProxies::x_forwarded_for([text]).unwrap_err();
///     assert!(error.to_string().contains(text) && error.to_string().contains(reason), "{error}");
/// }
/// ```
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum ProxyError {
    /// The text is neither an address nor a network.
    NoNetwork {
        /// The text.
        text: String,
    },
    /// The address has bits beyond the network's prefix, so that one of the two is a mistake.
    HostBits {
        /// The text.
        text: String,
        /// The network that has its prefix.
        network: String,
    },
    /// The network is all addresses: each client could choose its own.
    Everybody {
        /// The text.
        text: String,
    },
}

impl fmt::Display for ProxyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoNetwork { text } => write!(
                f,
                "{text:?} is neither an address nor a network: write one such as 10.0.0.7, 2001:db8::7, 10.0.0.0/8 or \
                 2001:db8::/32"
            ),
            Self::HostBits { text, network } => write!(
                f,
                "{text:?} has bits beyond its prefix: write {network} for the network, or the address alone for one \
                 proxy"
            ),
            Self::Everybody { text } => write!(
                f,
                "{text:?} is everybody, so that each client could choose its address: write the networks of your proxies"
            ),
        }
    }
}

impl Error for ProxyError {}
