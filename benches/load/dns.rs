//! A name server that knows every name: it has an address, and its SPF record allows the benchmark's clients.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::thread;

/// What every name resolves to; the network the benchmark's clients come from (RFC 2544).
const ADDRESS: [u8; 4] = [198, 18, 0, 1];
/// Of every name: the network of the clients, and nobody else.
const SPF: &str = "v=spf1 ip4:198.18.0.0/15 -all";

const HEADER: usize = 12;
const TYPE_A: u16 = 1;
const TYPE_TXT: u16 = 16;

/// Starts the server on a port of its own; it ends with the process.
pub(crate) fn start() -> SocketAddr {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a UDP port");
    let address = socket.local_addr().expect("a bound socket has an address");
    thread::spawn(move || {
        let mut question = [0; 1500];
        while let Ok((length, peer)) = socket.recv_from(&mut question) {
            if let Some(answer) = answer(&question[..length]) {
                let _ = socket.send_to(&answer, peer);
            }
        }
    });
    address
}

/// RFC 1035 §4.1. Types that are not served have no data, with the SOA that says for how long.
fn answer(query: &[u8]) -> Option<Vec<u8>> {
    let name_length = query.get(HEADER..)?.iter().position(|byte| *byte == 0)? + 1;
    let question = query.get(HEADER..HEADER + name_length + 4)?;
    let kind = u16::from_be_bytes(question[name_length..name_length + 2].try_into().ok()?);
    let mut out = query[..2].to_vec();
    // A response, authoritative, recursion desired and available, no error.
    out.extend([0x85, 0x80]);
    let (answers, authorities) = if matches!(kind, TYPE_A | TYPE_TXT) { (1u16, 0u16) } else { (0, 1) };
    for count in [1, answers, authorities, 0] {
        out.extend(count.to_be_bytes());
    }
    out.extend(question);
    match kind {
        TYPE_A => record(&mut out, TYPE_A, &ADDRESS),
        TYPE_TXT => record(&mut out, TYPE_TXT, &[&[SPF.len() as u8], SPF.as_bytes()].concat()),
        _ => {
            let numbers = [1u32, 3600, 600, 86_400, 3600].map(u32::to_be_bytes).concat();
            record(&mut out, 6, &[&[0, 0][..], &numbers].concat());
        }
    }
    Some(out)
}

fn record(out: &mut Vec<u8>, kind: u16, data: &[u8]) {
    // The name is the question's.
    out.extend([0xc0, HEADER as u8]);
    out.extend(kind.to_be_bytes());
    out.extend(1u16.to_be_bytes());
    out.extend(3600u32.to_be_bytes());
    out.extend((data.len() as u16).to_be_bytes());
    out.extend(data);
}
