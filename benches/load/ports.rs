//! Loopback ports, and waiting until somebody listens there.

use std::net::{Ipv4Addr, TcpStream};
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::support::process::free_port;

/// Where a server listens.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ports {
    pub(crate) policy: u16,
    pub(crate) milter: u16,
}

impl Ports {
    /// Two ports nobody listens on.
    pub(crate) fn free() -> Self {
        Self { policy: free_port(), milter: free_port() }
    }
}

/// Waits until somebody accepts connections at `port`; returns how long that took.
pub(crate) fn wait(port: u16) -> Duration {
    let began = Instant::now();
    while TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err() {
        assert!(began.elapsed() < Duration::from_secs(60), "nobody listens at port {port}");
        sleep(Duration::from_millis(1));
    }
    began.elapsed()
}
