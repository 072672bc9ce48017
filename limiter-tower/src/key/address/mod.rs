//! The client's address as key.
//!
//! * Why from the right? Proxies append. The last element was written by the peer, whom we trust; the one before it by
//!   whom the last one names, and so on while those are trusted. The first address that is not is the client, and what
//!   stands further left is his own text.
//! * Why does text that is no address end the walk? Whoever wrote it is trusted and does not say who called. What
//!   stands further left cannot be attributed to anybody, so that to go on would be to believe a stranger; the requests
//!   are counted for the last one known.
//! * Why one header and no list to choose from? A proxy writes one and passes the others on as the client sent them.
//! * Why is `10.0.0.1/8` refused? It is meant either as one address or as sixteen million; trust is not the place to
//!   guess. `0.0.0.0/0` would let every client name his own address, which is a limit that limits nobody.
//! * Why the first 64 bits of IPv6? That is the smallest network that is handed out; whoever has it can send from any of
//!   its 2⁶⁴ addresses. Providers that hand out a /56 or a /48 are a reason to set less.

mod client;
mod elements;
mod group;
mod proxies;

pub use client::ClientAddr;
pub use group::{IPV6_PREFIX_BITS, address_group};
pub use proxies::{ProxyError, TrustedProxies};
