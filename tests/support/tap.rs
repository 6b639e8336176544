//! Stands between a mail server and the milter and writes down who says what, packet by packet.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use super::process::{self, loopback};

/// Where the mail server's OPTNEG says which changes of the conversation it can do: behind command, version and actions.
const OFFERED: std::ops::Range<usize> = 9..13;

/// What the milter is told of the changes that the mail server offers to make in the conversation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Offer {
    /// All of them.
    AsItIs,
    /// None, so that every stage is sent and its answer waited for.
    Nothing,
}

/// A tapped line. Its threads end with its connections.
#[derive(Debug)]
pub struct Tap {
    port: u16,
    heard: Arc<Mutex<Vec<String>>>,
    macros: Arc<Mutex<BTreeSet<String>>>,
}

impl Tap {
    /// Starts one that hands everything on to `milter`.
    pub fn start(milter: u16) -> Self {
        Self::start_with(milter, Offer::AsItIs)
    }

    /// Starts one that hands everything on to `milter`, but for what is left out of the `offer`.
    pub fn start_with(milter: u16, offer: Offer) -> Self {
        let port = process::free_port();
        let listener = TcpListener::bind(loopback(port)).unwrap();
        let heard: Arc<Mutex<Vec<String>>> = Arc::default();
        let all = Arc::clone(&heard);
        let macros: Arc<Mutex<BTreeSet<String>>> = Arc::default();
        let every = Arc::clone(&macros);
        std::thread::spawn(move || {
            for mta in listener.incoming().map_while(Result::ok) {
                // Nobody there: the mail server is hung up on.
                let Ok(milter) = TcpStream::connect(loopback(milter)) else { continue };
                let number = {
                    let mut all = all.lock().unwrap();
                    all.push(String::new());
                    all.len() - 1
                };
                for stream in [&mta, &milter] {
                    stream.set_nodelay(true).unwrap();
                }
                let (from, to) = (mta.try_clone().unwrap(), milter.try_clone().unwrap());
                let note = |all: &Arc<Mutex<Vec<String>>>, is_mta: bool| {
                    let all = Arc::clone(all);
                    move |code: u8| {
                        let code = char::from(code);
                        let code = if is_mta { code } else { code.to_ascii_lowercase() };
                        // Macros go with the command after them.
                        if code != 'D' {
                            all.lock().unwrap()[number].push(code);
                        }
                    }
                };
                let (of_mta, of_milter) = (note(&all, true), note(&all, false));
                let every = Arc::clone(&every);
                let offer = move |packet: &mut [u8]| match packet {
                    [b'O', ..] if offer == Offer::Nothing => packet[OFFERED].fill(0),
                    [b'D', macros @ ..] => every.lock().unwrap().extend(names(macros)),
                    _ => {}
                };
                std::thread::spawn(move || hand_on(from, to, of_mta, offer));
                std::thread::spawn(move || hand_on(milter, mta, of_milter, |_| {}));
            }
        });
        Self { port, heard, macros }
    }

    /// Where the mail server connects to.
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// The macros that the mail server sent on any connection, each as its command, a colon, and its name.
    pub fn macros(&self) -> Vec<String> {
        self.macros.lock().unwrap().iter().cloned().collect()
    }

    /// What was said on each connection so far: commands of the mail server in capitals, without macros, what the milter said in small
    /// letters, a dot where one of them hung up, and what came several times in a row once.
    pub fn conversations(&self) -> Vec<String> {
        let once = |heard: &String| {
            let mut once: Vec<char> = heard.chars().collect();
            once.dedup();
            once.into_iter().collect()
        };
        self.heard.lock().unwrap().iter().map(once).collect()
    }
}

/// The command that macros are of, a colon, and the name of each.
fn names(macros: &[u8]) -> impl Iterator<Item = String> {
    let (command, pairs) = macros.split_first().unwrap();
    let names = pairs.split(|byte| *byte == 0).step_by(2).filter(|name| !name.is_empty());
    names.map(|name| format!("{}:{}", char::from(*command), String::from_utf8_lossy(name)))
}

/// Notes each packet, then hands it on with that `change`.
fn hand_on(mut from: TcpStream, mut to: TcpStream, note: impl Fn(u8), change: impl Fn(&mut [u8])) {
    let mut length = [0; 4];
    // What was read is acknowledged at once: a mail server that writes twice in a row would wait for it between them.
    let acknowledge = |stream: &TcpStream| socket2::SockRef::from(stream).set_tcp_quickack(true).unwrap();
    acknowledge(&from);
    while from.read_exact(&mut length).is_ok() {
        let mut packet = vec![0; u32::from_be_bytes(length) as usize];
        if from.read_exact(&mut packet).is_err() {
            break;
        }
        acknowledge(&from);
        note(packet[0]);
        change(&mut packet);
        if to.write_all(&[&length, &packet[..]].concat()).is_err() {
            break;
        }
    }
    note(b'.');
    let _ = to.shutdown(Shutdown::Write);
}
