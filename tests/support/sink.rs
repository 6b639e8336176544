//! Where Postfix delivers to: an SMTP server that takes everything and keeps envelope and exact bytes of each message.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::Duration;

use super::process::loopback;

/// How long a delivery may take.
const PATIENCE: Duration = Duration::from_secs(20);

/// A message as it was delivered.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Delivered {
    /// The reverse-path without brackets.
    pub sender: String,
    /// The recipients without brackets, sorted: Postfix does not keep their order.
    pub recipients: Vec<String>,
    /// Header and body, dot-stuffing undone, lines ended by CRLF as they came.
    pub data: Vec<u8>,
}

/// The running sink. Its threads end with the test program.
#[derive(Debug)]
pub struct Sink {
    port: u16,
    delivered: Receiver<Delivered>,
}

impl Sink {
    /// Starts one on a port of its own.
    pub fn start() -> Self {
        let listener = TcpListener::bind(loopback(0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let (deliver, delivered) = channel();
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let deliver = deliver.clone();
                std::thread::spawn(move || serve(&stream, &deliver));
            }
        });
        Self { port, delivered }
    }

    /// The port it listens on.
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// The next delivered message; panics when none comes.
    pub fn next(&self) -> Delivered {
        self.delivered
            .recv_timeout(PATIENCE)
            .unwrap_or_else(|_| panic!("nothing delivered within {PATIENCE:?}"))
    }

    /// Panics when a message comes that nobody took with [`Self::next`].
    pub fn assert_empty(&self) {
        let more = self.delivered.recv_timeout(Duration::from_millis(300));
        assert_eq!(more, Err(RecvTimeoutError::Timeout), "a message that should not have been delivered");
    }
}

/// One SMTP session (RFC 5321); a sender that breaks off ends it.
fn serve(stream: &TcpStream, deliver: &Sender<Delivered>) -> Option<()> {
    let mut lines = BufReader::new(stream);
    let mut out = stream;
    let mut message = Delivered::default();
    out.write_all(b"220 sink.test ESMTP\r\n").ok()?;
    loop {
        let line = String::from_utf8_lossy(&read_line(&mut lines)?).into_owned();
        let verb = line.split([' ', '\r']).next().unwrap_or_default().to_ascii_uppercase();
        let reply = match verb.as_str() {
            "EHLO" => "250-sink.test\r\n250-8BITMIME\r\n250 SMTPUTF8",
            "HELO" | "NOOP" => "250 sink.test",
            "MAIL" => {
                message = Delivered { sender: path(&line), ..Delivered::default() };
                "250 2.1.0 Ok"
            }
            "RCPT" => {
                message.recipients.push(path(&line));
                "250 2.1.5 Ok"
            }
            "DATA" => {
                out.write_all(b"354 go ahead\r\n").ok()?;
                message.data = read_data(&mut lines)?;
                message.recipients.sort();
                deliver.send(std::mem::take(&mut message)).ok()?;
                "250 2.0.0 Ok"
            }
            "RSET" => {
                message = Delivered::default();
                "250 2.0.0 Ok"
            }
            "QUIT" => {
                out.write_all(b"221 2.0.0 Bye\r\n").ok()?;
                return None;
            }
            _ => "502 5.5.2 Command not recognized",
        };
        // One write: two would meet Nagle's algorithm and cost 40 ms a reply.
        out.write_all(format!("{reply}\r\n").as_bytes()).ok()?;
    }
}

fn read_data(lines: &mut impl BufRead) -> Option<Vec<u8>> {
    let mut data = Vec::new();
    loop {
        let line = read_line(lines)?;
        match line.strip_prefix(b".") {
            Some(b"\r\n") => return Some(data),
            Some(unstuffed) => data.extend_from_slice(unstuffed),
            None => data.extend_from_slice(&line),
        }
    }
}

fn read_line(lines: &mut impl BufRead) -> Option<Vec<u8>> {
    let mut line = Vec::new();
    (lines.read_until(b'\n', &mut line).ok()? > 0).then_some(line)
}

/// What stands between the brackets of `MAIL FROM:<…>` and `RCPT TO:<…>`.
fn path(line: &str) -> String {
    line.split_once('<').and_then(|(_, rest)| rest.split_once('>')).map_or("", |(path, _)| path).to_owned()
}
