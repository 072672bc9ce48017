//! Real servers for tests: each on a free loopback port, in a temporary folder, gone with the test that started it.
//!
//! Everything blocks and needs no async runtime. A server that will not start panics with what it printed, a program
//! that is missing with the package it is in: no test passes by skipping.
//!
//! Any integration test of this package says `mod servers;`; other packages point there:
//! `#[path = "../../limiter-core/tests/servers/mod.rs"] mod servers;`.

// Every test binary compiles all of it and uses a part; and to a binary nothing is public.
#![allow(dead_code, unused_imports, unreachable_pub, missing_debug_implementations)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod cluster;
mod nginx;
mod pooler;
mod ports;
mod postgres;
mod process;
mod proxy;
mod redis;
mod resp;
mod sentinel;

pub use self::{
    cluster::RedisCluster,
    nginx::{NginxServer, Served},
    pooler::Pooler,
    postgres::{Database, PostgresServer, psql},
    process::{eventually, is_running, program},
    proxy::CutProxy,
    redis::{Monitor, RedisServer},
    resp::Reply,
    sentinel::Sentinels,
};
