//! Bodies at a quota's pace: exact in virtual time, whole in any case, and over sockets.

#![allow(clippy::unwrap_used, clippy::panic)]

#[path = "../common/mod.rs"]
mod common;
mod frames;
mod pace;
mod responses;
mod sockets;
mod whole;
