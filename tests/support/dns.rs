//! A private DNS: NSD serving a root zone of its own, so that a name in it exists and every other name does not.

use std::net::SocketAddr;
use std::process::Command;

use tempfile::TempDir;

use super::process::{self, Process};

/// A name that resolves, for clients that are to pass the HELO check.
pub const HELO: &str = "mail.sender.example";

const ZONE: &str = "
$TTL 300
.                    SOA  ns.test. root.test. 1 3600 600 86400 60
.                    NS   ns.test.
ns.test.             A    127.0.0.1
mail.sender.example. A    198.51.100.10
sender.example.      MX   10 mail.sender.example.
no-address.example.  TXT  \"exists, but has no address\"
";

/// The running server.
#[derive(Debug)]
pub struct Dns {
    port: u16,
    _process: Process,
    _dir: TempDir,
}

impl Dns {
    /// Starts one on a port of its own.
    pub fn start() -> Self {
        let dir = process::temp_dir();
        let port = process::free_port();
        let root = dir.path().display();
        let config = format!(
            "server:\n ip-address: 127.0.0.1@{port}\n server-count: 1\n username: \"\"\n database: \"\"\n pidfile: \"\"\n \
             zonesdir: \"{root}\"\n zonelistfile: \"{root}/zone.list\"\n xfrdfile: \"{root}/xfrd.state\"\n\
             remote-control:\n control-enable: no\n\
             zone:\n name: \".\"\n zonefile: \"root.zone\"\n"
        );
        std::fs::write(dir.path().join("nsd.conf"), config).unwrap();
        std::fs::write(dir.path().join("root.zone"), ZONE).unwrap();
        let mut command = Command::new(process::program("nsd"));
        command.arg("-d").arg("-c").arg(dir.path().join("nsd.conf"));
        let mut process = Process::spawn(&mut command, &dir.path().join("nsd.log"));
        process.wait_until("answering", || process::accepts(port));
        Self { port, _process: process, _dir: dir }
    }

    /// Where it listens, UDP and TCP.
    pub fn address(&self) -> SocketAddr {
        process::loopback(self.port)
    }
}
