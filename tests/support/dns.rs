//! A private DNS: NSD serving a root zone of its own, so that a name in it exists and every other name does not.

use std::fmt::Write;
use std::net::{SocketAddr, UdpSocket};
use std::process::Command;
use std::time::Duration;

use tempfile::TempDir;

use super::dkim;
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
sender.example.      TXT  \"v=spf1 ip4:127.0.0.1 ip4:198.51.100.10 -all\"
no-address.example.  TXT  \"exists, but has no address\"
mx-only.example.     MX   10 Mail.Sender.example.
no-mail.example.     MX   0 .
pool.example.        TXT  \"v=spf1 ip4:192.0.2.21 ip4:198.51.100.22 ip4:203.0.113.23 include:_spf.pool.example -all\"
_spf.pool.example.   TXT  \"v=spf1 ip4:198.18.1.24 ip4:198.18.2.25 -all\"
open.example.        TXT  \"v=spf1 +all\"
halves.example.      TXT  \"v=spf1 ip4:0.0.0.0/1 ip4:128.0.0.0/1 -all\"
no-spf.example.      A    198.51.100.15
mx1.bouncer.example. A    198.51.100.41
mx2.bouncer.example. A    203.0.113.42
texts.example.       TXT  \"v=spf1 a\" \" -all\"
bounce+joe=a@b.example. A  198.51.100.14
10.100.51.198.in-addr.arpa. PTR Mail.Sender.example.
under_score.example. A    198.51.100.11
r3---odd.example.    A    198.51.100.12
dual.example.        A    198.51.100.13
dual.example.        AAAA 2001:db8::13
six.example.         AAAA 2001:db8::10
alias.example.       CNAME alias2.example.
alias2.example.      CNAME alias3.example.
alias3.example.      CNAME mail.sender.example.
loop1.example.       CNAME loop2.example.
loop2.example.       CNAME loop1.example.
self.example.        CNAME self.example.
gone.example.        CNAME nowhere.example.
";

/// How many addresses `many.example` has: far more than fit into a UDP answer.
pub const MANY: usize = 300;

/// A zone that NSD cannot load: every name in it is a SERVFAIL.
const BROKEN_ZONE: &str = "broken.example. this is no zone";

/// The running server.
#[derive(Debug)]
pub struct Dns {
    port: u16,
    process: Process,
    dir: TempDir,
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
             zone:\n name: \".\"\n zonefile: \"root.zone\"\n\
             zone:\n name: \"broken.example\"\n zonefile: \"broken.zone\"\n"
        );
        let mut zone = ZONE.to_owned();
        for number in 0..MANY {
            writeln!(zone, "many.example. A 10.0.{}.{}", number / 256, number % 256).unwrap();
        }
        writeln!(zone, "{}. TXT \"{}\"", dkim::name("sender.example"), dkim::record()).unwrap();
        std::fs::write(dir.path().join("nsd.conf"), config).unwrap();
        std::fs::write(dir.path().join("root.zone"), zone).unwrap();
        std::fs::write(dir.path().join("broken.zone"), BROKEN_ZONE).unwrap();
        let process = spawn(&dir, port);
        Self { port, process, dir }
    }

    /// Ends it with SIGTERM; [`Self::start_again`] brings it back.
    pub fn stop(&mut self) {
        self.process.terminate();
    }

    /// Starts it again on the same port after [`Self::stop`].
    pub fn start_again(&mut self) {
        self.process = spawn(&self.dir, self.port);
    }

    /// Where it listens, UDP and TCP.
    pub fn address(&self) -> SocketAddr {
        process::loopback(self.port)
    }
}

fn spawn(dir: &TempDir, port: u16) -> Process {
    let mut command = Command::new(process::program("nsd"));
    command.arg("-d").arg("-c").arg(dir.path().join("nsd.conf"));
    let mut process = Process::spawn(&mut command, &dir.path().join("nsd.log"));
    process.wait_until("answering", || answers(process::loopback(port)));
    process
}

/// Whether a question is answered. That TCP connects says little: NSD listens a second before it serves.
fn answers(server: SocketAddr) -> bool {
    const ROOT_SOA: [u8; 17] = [0, 1, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 6, 0, 1];
    let socket = UdpSocket::bind(process::loopback(0)).unwrap();
    socket.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
    socket.send_to(&ROOT_SOA, server).is_ok() && socket.recv(&mut [0; 512]).is_ok()
}
