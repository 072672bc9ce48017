//! Ports that stay ours while a server is down, and that two test binaries never share.

use std::{
    hash::{BuildHasher, RandomState},
    net::{Ipv4Addr, TcpListener, TcpStream, UdpSocket},
};

/// Below the ports that systems give to outgoing connections: one of those may not sit on the port of a server that
/// restarts.
const FIRST: u16 = 15_000;
const LAST: u16 = 32_000;

/// A free TCP port of 127.0.0.1. The UDP port of the same number, which no server here uses, is held as the claim to
/// it: the system ends the claim with the process, however that ends.
pub struct Port {
    number: u16,
    _claim: UdpSocket,
}

impl Port {
    pub fn claim() -> Port {
        let count = LAST - FIRST;
        let start = u16::try_from(RandomState::new().hash_one(0) % u64::from(count)).unwrap();
        (0..count)
            .map(|step| FIRST + (start + step) % count)
            .find_map(|number| {
                let claim = UdpSocket::bind((Ipv4Addr::LOCALHOST, number)).ok()?;
                TcpListener::bind((Ipv4Addr::LOCALHOST, number)).ok()?;
                // A process that another thread is starting has that listener too, up to the moment it runs its program.
                TcpStream::connect((Ipv4Addr::LOCALHOST, number)).is_err().then_some(Port { number, _claim: claim })
            })
            .expect("no free port on 127.0.0.1")
    }

    pub fn number(&self) -> u16 {
        self.number
    }
}
