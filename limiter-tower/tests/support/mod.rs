//! What tests over sockets share, those of other packages among them: clients, and the fields as others read them.

#![allow(dead_code, unreachable_pub, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

pub mod client;
pub mod fields;
