//! Who sent a request, by address.

use super::{IPV6_PREFIX_BITS, TrustedProxies, address_group};
use crate::key::{KeyError, KeyExtractor};
use http::request::Parts;
use limiter_core::KeyBuf;
use std::{fmt, net::IpAddr, sync::Arc};

/// The address of the client: the other end of the socket, or whom one's own proxies name.
///
/// An IPv4 address, also where it comes mapped into IPv6; of an IPv6 address the first 64 bits
/// ([`ipv6_prefix`](Self::ipv6_prefix)). Nothing that a client sends buys it another one.
///
/// HTTP does not carry the address of the socket, so the server has to leave it in the request:
/// [`from_peer`](Self::from_peer) takes a closure that finds it there. With axum, `PeerAddr` of `limiter-axum` does.
///
/// ```
/// use http::{Request, request::Parts};
/// use limiter_core::Limiter;
/// use limiter_tower::{ClientAddr, KeyError, RateLimitLayer, TrustedProxies};
/// use std::net::{IpAddr, SocketAddr};
///
/// // The accept loop inserts each connection's address: request.extensions_mut().insert(peer_address).
/// fn peer(request: &Parts) -> Result<IpAddr, KeyError> {
///     let peer = request.extensions.get::<SocketAddr>().map(SocketAddr::ip);
///     peer.ok_or(KeyError::new("the accept loop inserted no SocketAddr"))
/// }
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let client = ClientAddr::from_peer(peer).behind(TrustedProxies::x_forwarded_for(["10.0.0.0/8"])?);
/// let layer = RateLimitLayer::new(Limiter::parse("10/s, 1000/h")?).key(client.clone());
/// # let _ = layer;
///
/// let mut request = Request::get("/").header("x-forwarded-for", "203.0.113.7").body(())?;
/// request.extensions_mut().insert(SocketAddr::from(([10, 0, 0, 1], 4711)));
/// assert_eq!(client.address(&request.into_parts().0)?, IpAddr::from([203, 0, 113, 7]));
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct ClientAddr {
    peer: Arc<Peer>,
    proxies: Option<TrustedProxies>,
    ipv6_prefix_bits: u8,
}

type Peer = dyn Fn(&Parts) -> Result<IpAddr, KeyError> + Send + Sync;

impl ClientAddr {
    /// The address at the other end of the socket, which `peer` finds in the request.
    ///
    /// Where it finds none, the request is answered with its error; it never passes unlimited. For a service that only
    /// a proxy reaches, over a Unix socket, the peer is always the same:
    ///
    /// ```
    /// use limiter_tower::{ClientAddr, TrustedProxies};
    /// use std::net::Ipv4Addr;
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let proxies = TrustedProxies::x_forwarded_for(["127.0.0.1"])?;
    /// let client = ClientAddr::from_peer(|_| Ok(Ipv4Addr::LOCALHOST.into())).behind(proxies);
    /// # let _ = client;
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn from_peer(peer: impl Fn(&Parts) -> Result<IpAddr, KeyError> + Send + Sync + 'static) -> Self {
        Self { peer: Arc::new(peer), proxies: None, ipv6_prefix_bits: IPV6_PREFIX_BITS }
    }

    /// Where the peer is one of `proxies`, the client that they name.
    ///
    /// ```
    /// use limiter_tower::{ClientAddr, TrustedProxies};
    /// use std::net::{IpAddr, Ipv4Addr};
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let nginx = TrustedProxies::x_forwarded_for(["127.0.0.1"])?;
    /// let client = ClientAddr::from_peer(|_| Ok(Ipv4Addr::LOCALHOST.into())).behind(nginx);
    /// let (head, ()) = http::Request::get("/").header("x-forwarded-for", "203.0.113.7").body(())?.into_parts();
    /// assert_eq!(client.address(&head)?, "203.0.113.7".parse::<IpAddr>()?);
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn behind(self, proxies: TrustedProxies) -> Self {
        Self { proxies: Some(proxies), ..self }
    }

    /// Groups IPv6 addresses by their first `bits` bits, 64 unless set; 128 and above do not group them at all.
    ///
    /// ```
    /// use limiter_tower::{ClientAddr};
    /// use std::net::{IpAddr, Ipv4Addr};
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let by_site = ClientAddr::from_peer(|_| Ok(Ipv4Addr::LOCALHOST.into())).ipv6_prefix(48);
    /// assert_eq!(by_site.group("2001:db8:1:2::3".parse()?), "2001:db8:1::".parse::<IpAddr>()?);
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn ipv6_prefix(self, bits: u8) -> Self {
        Self { ipv6_prefix_bits: bits, ..self }
    }

    /// The client's address, ungrouped: for logs and allow lists.
    ///
    /// ```
    /// use limiter_tower::{ClientAddr};
    /// use std::net::{IpAddr, Ipv4Addr};
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let client = ClientAddr::from_peer(|_| Ok(Ipv4Addr::LOCALHOST.into()));
    /// let (head, ()) = http::Request::new(()).into_parts();
    /// assert_eq!(client.address(&head)?, IpAddr::from([127, 0, 0, 1]));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// The peer's address is not in the request.
    pub fn address(&self, request: &Parts) -> Result<IpAddr, KeyError> {
        let peer = (self.peer)(request)?;
        Ok(self.proxies.as_ref().map_or_else(|| peer.to_canonical(), |proxies| proxies.client(peer, &request.headers)))
    }

    /// The key that an address is counted under, to ask or reset the limiter for it.
    ///
    /// ```
    /// use limiter_tower::{ClientAddr};
    /// use std::net::{IpAddr, Ipv4Addr};
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let limiter = limiter_core::Limiter::parse("10/s")?;
    /// let client = ClientAddr::from_peer(|_| Ok(Ipv4Addr::LOCALHOST.into()));
    /// limiter.reset(client.group("::ffff:192.0.2.1".parse()?))?;
    /// assert!(limiter.check(client.group(IpAddr::from([192, 0, 2, 1])))?.allowed());
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn group(&self, address: IpAddr) -> IpAddr {
        address_group(address, self.ipv6_prefix_bits)
    }
}

impl KeyExtractor for ClientAddr {
    fn key(&self, request: &Parts) -> Result<Option<KeyBuf>, KeyError> {
        Ok(Some(KeyBuf::of(&self.group(self.address(request)?))))
    }
}

impl fmt::Debug for ClientAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientAddr")
            .field("proxies", &self.proxies)
            .field("ipv6_prefix_bits", &self.ipv6_prefix_bits)
            .finish_non_exhaustive()
    }
}
