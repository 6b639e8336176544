//! Peers that mean harm or make no sense, on every port, and a log that takes no lines: the daemon lives, stays small, and answers the
//! next honest peer.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod support;

use std::fs::File;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::process::Command;
use std::time::{Duration, Instant};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use support::greylag::{Greylag, Setup};
use support::milter::{ask, tell};
use support::policy::PolicyRequest;
use support::process::{eventually, http_get, loopback, temp_dir};

/// Growth that is not a leak.
const SLACK_KIB: u64 = 32 * 1024;
/// What an open connection may take in an unoptimised build: buffer, session and task. Measured: 16 to 24 KiB.
const CONNECTION_KIB: u64 = 48;
/// What Postfix and Sendmail offer.
const OFFER: &[u8] = b"O\0\0\0\x06\0\0\x01\xff\0\x1f\xff\xff";
/// What the policy service says of a client that calls itself `localhost`.
const REFUSAL: &str = "action=550 5.7.1 Access denied - bogus HELO [5]\n\n";
const CONNECT: &[u8] = b"C[198.51.100.10]\x004\xb8\x3c198.51.100.10\0";

#[test]
fn a_thousand_silent_connections_on_each_mail_port_stop_nothing() {
    raise_the_limit_of_files();
    let greylag = Greylag::start(Setup::default());
    assert_answers(&greylag);
    let before = greylag.resident_kib();
    let silent = open_silent(&greylag);
    assert_answers(&greylag);
    let each = (greylag.resident_kib() - before) / silent.len() as u64;
    assert!(each < CONNECTION_KIB, "an open connection takes {each} KiB");

    // Some say goodbye for one direction only, the others vanish without a word; as many come again.
    silent.iter().step_by(3).for_each(|stream| stream.shutdown(Shutdown::Write).unwrap());
    assert_answers(&greylag);
    drop(silent);
    eventually("all connections are closed", || greylag.metrics().sum("greylag_connections", &[]) == 0.0);
    let before = greylag.resident_kib();
    let silent = open_silent(&greylag);
    assert_answers(&greylag);
    assert_small(&greylag, before);
    drop(silent);
}

/// Peers that say nothing, or half of a request, and stay.
fn open_silent(greylag: &Greylag) -> Vec<TcpStream> {
    let mut silent = Vec::new();
    // The admin port takes 64 at a time and ends silent ones itself.
    for (port, count, half) in [
        (greylag.ports().policy, 1000, b"request=smtpd_access_policy\nprotocol_st".as_slice()),
        (greylag.ports().milter, 1000, b"\0\0\0\x0dO\0\0"),
        (greylag.admin_port(), 60, b"GET /metr"),
    ] {
        for number in 0..count {
            let mut stream = TcpStream::connect(loopback(port)).unwrap();
            if number % 2 == 0 {
                stream.write_all(half).unwrap();
            }
            silent.push(stream);
        }
    }
    silent
}

#[test]
fn lengths_without_measure_are_refused_before_they_are_kept() {
    let greylag = Greylag::start(Setup::default());
    assert_answers(&greylag);
    let before = greylag.resident_kib();
    let line = vec![b'x'; 10 << 20];
    let negotiated = [b"\0\0\0\x0d", OFFER].concat();
    for _ in 0..5 {
        throw(greylag.ports().policy, &line);
        throw(greylag.ports().policy, &[b"request=", line.as_slice(), b"\n\n"].concat());
        throw(greylag.ports().policy, &b"a=b\n".repeat(1 << 20));
        for header in [b"\xff\xff\xff\xffB", b"\x7f\xff\xff\xffL", b"\0\xff\xff\xffO", b"\0\0\0\0\0"] {
            throw(greylag.ports().milter, &[header, line.as_slice()].concat());
            throw(greylag.ports().milter, &[&negotiated, header.as_slice(), &line].concat());
        }
        throw(greylag.admin_port(), &[b"GET /", line.as_slice()].concat());
        throw(greylag.admin_port(), &[b"GET / HTTP/1.1\r\nX: ", line.as_slice()].concat());
    }
    assert_answers(&greylag);
    assert_small(&greylag, before);
}

#[test]
fn noise_is_survived() {
    let greylag = Greylag::start(Setup::default());
    let mut noise = Noise(0x9e37_79b9_7f4a_7c15);
    let negotiated = [b"\0\0\0\x0d", OFFER].concat();
    let ports = [greylag.ports().policy, greylag.ports().milter, greylag.admin_port()];
    ports.iter().for_each(|port| throw(*port, &noise.bytes(1 << 20)));
    let before = greylag.resident_kib();
    let deadline = Instant::now() + Duration::from_secs(5);
    while Instant::now() < deadline {
        for port in ports {
            throw(port, &noise.bytes(4096));
        }
        // As far into the protocols as it takes for the noise to be read as something.
        throw(greylag.ports().milter, &[negotiated.clone(), noise.packets(50)].concat());
        throw(
            greylag.ports().policy,
            &[b"request=smtpd_access_policy\n", noise.bytes(512).as_slice(), b"\n\n"].concat(),
        );
    }
    assert_answers(&greylag);
    assert_small(&greylag, before);
}

#[test]
fn a_log_that_nobody_reads_stops_neither_mail_nor_the_end() {
    let dir = temp_dir();
    let pipe = dir.path().join("log");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    // Keeps it open, and never reads.
    let _reader = File::options().read(true).write(true).open(&pipe).unwrap();
    let redirection = format!("2>'{}'", pipe.display());
    let mut greylag = Greylag::start(Setup { redirection: &redirection, ..Setup::default() });
    // Some hundred lines fill a pipe.
    ask_about_recipients(&greylag, 1_000);
    // One event for each thread that might wait until it is written.
    for _ in 0..8 {
        throw(greylag.ports().policy, b"GET / HTTP/1.0\r\n\r\n");
    }
    assert_answers(&greylag);
    greylag.begin_to_terminate();
    assert_eq!(greylag.wait(), Some(0));
}

#[test]
fn lines_that_cannot_be_written_are_counted() {
    let greylag = Greylag::start(Setup {
        configuration: "log_level = \"warn\"\n",
        redirection: "2>/dev/full",
        ..Setup::default()
    });
    let dropped = || greylag.metrics().sum("greylag_log_lines_dropped_total", &[]);
    assert_eq!(dropped(), 0.0);
    for _ in 0..3 {
        throw(greylag.ports().policy, b"GET / HTTP/1.0\r\n\r\n");
    }
    eventually("each event is counted", || dropped() == 3.0);
    drop(greylag);

    let greylag = Greylag::start(Setup { redirection: "2>/dev/full", ..Setup::default() });
    let dropped = || greylag.metrics().sum("greylag_log_lines_dropped_total", &[]);
    ask_about_recipients(&greylag, 100);
    // What it says at its start are some more.
    eventually("each decision is counted", || dropped() >= 100.0);
}

/// Asks the policy service so many times, for a decision each.
fn ask_about_recipients(greylag: &Greylag, times: usize) {
    let mut smtpd = TcpStream::connect(loopback(greylag.ports().policy)).unwrap();
    smtpd.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    let request = PolicyRequest::rcpt("bob@example.test").with("helo_name", "localhost").to_bytes();
    let mut reply = vec![0; REFUSAL.len()];
    for _ in 0..times {
        smtpd.write_all(&request).unwrap();
        smtpd.read_exact(&mut reply).unwrap();
        assert_eq!(String::from_utf8_lossy(&reply), REFUSAL);
    }
}

/// An honest peer on each port gets what it asks for, within seconds.
fn assert_answers(greylag: &Greylag) {
    let connect = |port| {
        let stream = TcpStream::connect(loopback(port)).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        stream
    };
    ask_about_recipients(greylag, 1);
    let mut mta = connect(greylag.ports().milter);
    assert_eq!(ask(&mut mta, OFFER)[0], b'O');
    tell(&mut mta, CONNECT);
    tell(&mut mta, b"Hlocalhost\0");
    assert_eq!(ask(&mut mta, b"M<alice@sender.example>\0"), b"c");
    let refusal = ask(&mut mta, b"R<bob@example.test>\0");
    assert_eq!(String::from_utf8_lossy(&refusal), "y550 5.7.1 Access denied - bogus HELO [5]\0");

    let code = http_get(greylag.admin_port(), "/readyz").map(|(code, _)| code);
    assert_eq!(code, Some(200));
}

fn assert_small(greylag: &Greylag, before: u64) {
    let after = greylag.resident_kib();
    assert!(after < before + SLACK_KIB, "resident memory grew from {before} to {after} KiB");
}

/// Sends bytes, says that no more come, and reads until the other side closes or has nothing more to say.
fn throw(port: u16, bytes: &[u8]) {
    let stream = TcpStream::connect(loopback(port)).expect("Greylag accepts connections");
    stream.set_write_timeout(Some(Duration::from_secs(5))).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            // A peer that closes in the middle does right.
            let _ = (&stream).write_all(bytes);
            let _ = stream.shutdown(Shutdown::Write);
        });
        let _ = (&stream).read_to_end(&mut Vec::new());
    });
}

/// The connections of this program and of the daemon, which inherits the limit.
fn raise_the_limit_of_files() {
    let maximum = getrlimit(Resource::Nofile).maximum;
    setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }).unwrap();
}

/// Bytes without sense, the same in every run (xorshift).
struct Noise(u64);

impl Noise {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn bytes(&mut self, length: usize) -> Vec<u8> {
        (0..length).map(|_| self.next().to_le_bytes()[0]).collect()
    }

    /// Well-framed packets of the milter protocol with senseless payloads.
    fn packets(&mut self, count: usize) -> Vec<u8> {
        const COMMANDS: &[u8] = b"ABCDEHKLMNORTUQ";
        let mut packets = Vec::new();
        for _ in 0..count {
            let length = self.next() as usize % 64;
            packets.extend(u32::try_from(length + 1).unwrap().to_be_bytes());
            packets.push(COMMANDS[self.next() as usize % COMMANDS.len()]);
            packets.extend(self.bytes(length));
        }
        packets
    }
}
