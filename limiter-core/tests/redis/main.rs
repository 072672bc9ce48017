//! The Redis store over real servers.

#![cfg(feature = "redis")]

#[path = "../servers/mod.rs"]
mod servers;
#[path = "../support/mod.rs"]
mod support;

mod fresh;
mod stream;
mod traces;
