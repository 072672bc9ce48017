//! Keys that axum knows: who is at the other end of the socket, and which route it is.

use axum::extract::{ConnectInfo, MatchedPath, connect_info::MockConnectInfo};
use http::request::Parts;
use limiter_core::KeyBuf;
use limiter_tower::{ClientAddr, IPV6_PREFIX_BITS, KeyError, KeyExtractor, MethodKey, TrustedProxies, address_group};
use std::net::{IpAddr, SocketAddr};

/// The address at the other end of the socket. Nothing that a client sends can change it.
///
/// An IPv4 address, also where it comes mapped into IPv6 (`::ffff:192.0.2.1`); of an IPv6 address the first 64 bits,
/// since whoever has one has all those of its prefix. Behind a proxy, this is the proxy's address, unless
/// [`behind`](Self::behind) names the proxy.
///
/// The app must be served with `into_make_service_with_connect_info::<SocketAddr>()`; where it is not, requests are
/// answered with a 500 that says so.
///
/// ```
/// use limiter_axum::{PeerAddr, RateLimitLayer};
/// use limiter_core::Limiter;
///
/// # fn main() -> Result<(), limiter_core::QuotaError> {
/// let layer = RateLimitLayer::new(Limiter::parse("10/s, 1000/h")?).key(PeerAddr::new());
/// # let _ = layer;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PeerAddr {
    ipv6_prefix_bits: u8,
}

impl PeerAddr {
    /// Each IPv4 address and each IPv6 /64.
    #[must_use]
    pub const fn new() -> Self {
        Self { ipv6_prefix_bits: IPV6_PREFIX_BITS }
    }

    /// Groups IPv6 addresses by their first `bits` bits; 128 and above do not group them at all.
    ///
    /// ```
    /// use limiter_axum::PeerAddr;
    /// use std::net::IpAddr;
    ///
    /// # fn main() -> Result<(), std::net::AddrParseError> {
    /// let by_site = PeerAddr::new().ipv6_prefix(48);
    /// assert_eq!(by_site.group("2001:db8:1:2::3".parse()?), "2001:db8:1::".parse::<IpAddr>()?);
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub const fn ipv6_prefix(self, bits: u8) -> Self {
        Self { ipv6_prefix_bits: bits }
    }

    /// The key that an address is counted under, to ask or reset the limiter for it.
    ///
    /// ```
    /// use limiter_axum::PeerAddr;
    /// use limiter_core::Limiter;
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let limiter = Limiter::parse("10/s")?;
    /// limiter.reset(PeerAddr::new().group("::ffff:192.0.2.1".parse()?))?;
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn group(&self, address: IpAddr) -> IpAddr {
        address_group(address, self.ipv6_prefix_bits)
    }

    /// Where the peer is one of `proxies`, the client that they name.
    ///
    /// ```
    /// use limiter_axum::{PeerAddr, RateLimitLayer, TrustedProxies};
    /// use limiter_core::Limiter;
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let proxies = TrustedProxies::x_forwarded_for(["10.0.0.0/8", "fd00::/8"])?;
    /// let layer = RateLimitLayer::new(Limiter::parse("10/s, 1000/h")?).key(PeerAddr::new().behind(proxies));
    /// # let _ = layer;
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn behind(self, proxies: TrustedProxies) -> ClientAddr {
        ClientAddr::from_peer(connected).behind(proxies).ipv6_prefix(self.ipv6_prefix_bits)
    }
}

impl Default for PeerAddr {
    fn default() -> Self {
        Self::new()
    }
}

impl KeyExtractor for PeerAddr {
    fn key(&self, request: &Parts) -> Result<Option<KeyBuf>, KeyError> {
        Ok(Some(KeyBuf::of(&self.group(connected(request)?))))
    }
}

/// The socket's peer, of which axum tells only when it is asked to.
pub(crate) fn connected(request: &Parts) -> Result<IpAddr, KeyError> {
    let connected = request.extensions.get::<ConnectInfo<SocketAddr>>().map(|ConnectInfo(address)| address);
    let mocked = || request.extensions.get::<MockConnectInfo<SocketAddr>>().map(|MockConnectInfo(address)| address);
    connected.or_else(mocked).map(SocketAddr::ip).ok_or(KeyError::new(
        "the peer's address is unknown: serve the app with \
         Router::into_make_service_with_connect_info::<SocketAddr>()",
    ))
}

/// The method and the pattern of the matched route, `GET /users/{id}`: each route has its own quota.
///
/// Never the raw path, of which a client can invent as many as it likes: all paths that match no route share one key,
/// and on each route so do all methods that HTTP itself does not define. `HEAD` counts as `GET`, whose handler answers
/// it.
///
/// ```
/// use axum::{Router, routing::get};
/// use limiter_axum::{MatchedRoute, RateLimitLayer};
/// use limiter_core::Limiter;
///
/// # fn main() -> Result<(), limiter_core::QuotaError> {
/// let app: Router = Router::new()
///     .route("/users/{id}", get(async || "a user"))
///     .layer(RateLimitLayer::new(Limiter::parse("100/s")?).key(MatchedRoute));
/// # let _ = app;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct MatchedRoute;

impl KeyExtractor for MatchedRoute {
    fn key(&self, request: &Parts) -> Result<Option<KeyBuf>, KeyError> {
        let route = request.extensions.get::<MatchedPath>();
        Ok(Some(
            route.map_or_else(KeyBuf::new, |route| KeyBuf::of(&(MethodKey::group(&request.method), route.as_str()))),
        ))
    }
}
