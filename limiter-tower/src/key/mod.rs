//! Whose quota a request is counted under.

mod address;
mod cookie;
mod error;
mod extension;
mod extractor;
mod global;
mod header;
mod into_key;
mod method;
mod missing;
mod query;

pub use address::{ClientAddr, IPV6_PREFIX_BITS, ProxyError, TrustedProxies, address_group};
pub use cookie::CookieKey;
pub use error::KeyError;
pub use extension::ExtensionKey;
pub use extractor::{KeyExtractor, Or, OrRefuse};
pub use global::Global;
pub use header::HeaderKey;
pub use into_key::IntoKey;
pub use method::MethodKey;
pub use query::QueryKey;
