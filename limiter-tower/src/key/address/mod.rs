//! The client's address as key.

mod client;
mod elements;
mod group;
mod proxies;

pub use client::ClientAddr;
pub use group::{IPV6_PREFIX_BITS, address_group};
pub use proxies::{ProxyError, TrustedProxies};
