//! Garbage on both ports while mail keeps flowing.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use crate::support::mail;
use crate::support::postfix::HookUp;
use crate::support::process::loopback;
use crate::{NO_GREYLIST, RECIPIENT, SENDER, Site, assert_queued};

const ROUNDS: usize = 20;
/// Growth that is not a leak: the allocator's heaps and buffers of the connections that are open.
const SLACK_KIB: u64 = 48 * 1024;

/// A milter frame: length, command, payload. Here an honest OPTNEG, after which the garbage is read as commands.
const OPTNEG: &[u8] = b"\0\0\0\x0dO\0\0\0\x06\0\0\x01\xff\0\x1f\xff\xff";

#[test]
fn garbage_on_both_ports_neither_stops_mail_nor_takes_memory() {
    let site = Site::start(HookUp::Both, &[NO_GREYLIST]);
    let ports = site.greylag.ports();
    let idle: Vec<TcpStream> = [ports.milter, ports.policy]
        .into_iter()
        .flat_map(|port| (0..100).map(move |_| TcpStream::connect(loopback(port)).unwrap()))
        .collect();
    round(ports.milter, ports.policy, 0);
    let before = site.greylag.resident_kib();

    std::thread::scope(|scope| {
        scope.spawn(|| (1..=ROUNDS).for_each(|seed| round(ports.milter, ports.policy, seed)));
        let mut smtp = site.connect();
        for n in 0..ROUNDS {
            assert_queued(&smtp.send(SENDER, RECIPIENT, &mail::plain(&format!("flowing-{n}"))));
        }
    });
    for _ in 0..ROUNDS {
        assert_eq!(site.sink.next().recipients, [RECIPIENT]);
    }

    let after = site.greylag.resident_kib();
    assert!(after < before + SLACK_KIB, "resident memory grew from {before} to {after} KiB");
    drop(idle);
}

/// Every kind of garbage once on each port.
fn round(milter: u16, policy: u16, seed: usize) {
    let noise = noise(seed, 256 * 1024);
    for port in [milter, policy] {
        throw(port, &noise);
        throw(port, b"GET / HTTP/1.1\r\nHost: greylag\r\n\r\n");
        throw(port, b"");
    }
    throw(milter, &[0; 64]);
    throw(milter, b"\xff\xff\xff\xffO");
    throw(milter, b"\x7f\xff\xff\xffB");
    throw(milter, &OPTNEG[..9]);
    throw(milter, &[OPTNEG, &noise].concat());
    throw(milter, &[OPTNEG, b"\0\0\0\x05L\0\0\0\0"].concat());
    throw(milter, &OPTNEG.repeat(10_000));
    throw(policy, &vec![b'x'; 4 << 20]);
    throw(policy, "request=smtpd_access_policy\n".repeat(100_000).as_bytes());
    throw(policy, &b"\n".repeat(100_000));
    throw(policy, b"request=smtpd_access_policy\nprotocol_state=RCPT\nrecipient=\xff\xfe\0\n\n");
}

/// Sends bytes, says that no more come, and reads what is answered until the other side closes or waits for more.
fn throw(port: u16, bytes: &[u8]) {
    let stream = TcpStream::connect(loopback(port)).expect("Greylag accepts connections");
    stream.set_write_timeout(Some(Duration::from_secs(5))).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    let mut writer = stream.try_clone().unwrap();
    std::thread::scope(|scope| {
        scope.spawn(move || {
            // A peer that closes in the middle does right.
            let _ = writer.write_all(bytes);
            let _ = writer.shutdown(std::net::Shutdown::Write);
        });
        let _ = (&stream).read_to_end(&mut Vec::new());
    });
}

/// Bytes without sense, the same for the same seed (xorshift).
fn noise(seed: usize, length: usize) -> Vec<u8> {
    let mut state = seed as u64 + 0x9e37_79b9_7f4a_7c15;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[0]
    };
    (0..length).map(|_| next()).collect()
}
