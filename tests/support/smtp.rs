//! A blocking SMTP client that says what it is told and returns the replies as they came.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::time::Duration;

use super::process::loopback;

/// An SMTP session. Every command returns the whole reply, its lines joined by LF, without the last line end.
#[derive(Debug)]
pub struct Smtp {
    replies: BufReader<TcpStream>,
}

impl Smtp {
    /// Connects and reads the greeting.
    pub fn connect(port: u16) -> Self {
        let stream = TcpStream::connect(loopback(port)).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        stream.set_nodelay(true).unwrap();
        let mut smtp = Self { replies: BufReader::new(stream) };
        let greeting = smtp.reply();
        assert!(greeting.starts_with("220 "), "greeting: {greeting}");
        smtp
    }

    /// Connects as the client with this address, which has no name in the DNS, and greets with `helo`.
    pub fn connect_as(port: u16, client: &str, helo: &str) -> Self {
        let mut smtp = Self::connect(port);
        smtp.xclient(client, "[UNAVAILABLE]");
        let reply = smtp.ehlo(helo);
        assert!(reply.starts_with("250-"), "EHLO {helo}: {reply}");
        smtp
    }

    /// Takes over the address and the verified name of another client (Postfix's XCLIENT); the session begins anew.
    pub fn xclient(&mut self, address: &str, name: &str) {
        self.xclient_with(&format!("ADDR={address} NAME={name}"));
    }

    /// The same with any attributes of XCLIENT, such as `LOGIN=joe`; the port is our own.
    pub fn xclient_with(&mut self, attributes: &str) {
        let port = self.replies.get_ref().local_addr().unwrap().port();
        let reply = self.command(&format!("XCLIENT {attributes} PORT={port}"));
        assert!(reply.starts_with("220 "), "XCLIENT: {reply}");
    }

    /// `EHLO name`.
    pub fn ehlo(&mut self, name: &str) -> String {
        self.command(&format!("EHLO {name}"))
    }

    /// `HELO name`.
    pub fn helo(&mut self, name: &str) -> String {
        self.command(&format!("HELO {name}"))
    }

    /// `MAIL FROM:<sender>`.
    pub fn mail(&mut self, sender: &str) -> String {
        self.command(&format!("MAIL FROM:<{sender}>"))
    }

    /// `RCPT TO:<recipient>`.
    pub fn rcpt(&mut self, recipient: &str) -> String {
        self.command(&format!("RCPT TO:<{recipient}>"))
    }

    /// `RSET`.
    pub fn rset(&mut self) -> String {
        self.command("RSET")
    }

    /// `DATA` and, when the server goes ahead, the message with its dots stuffed; lines must end with CRLF.
    pub fn data(&mut self, message: &[u8]) -> String {
        let reply = self.command("DATA");
        if !reply.starts_with("354 ") {
            return reply;
        }
        let mut stuffed = Vec::with_capacity(message.len() + 64);
        for line in message.split_inclusive(|byte| *byte == b'\n') {
            if line.starts_with(b".") {
                stuffed.push(b'.');
            }
            stuffed.extend_from_slice(line);
        }
        stuffed.extend_from_slice(b".\r\n");
        self.replies.get_mut().write_all(&stuffed).unwrap();
        self.reply()
    }

    /// `MAIL`, `RCPT` and `DATA`: the first reply that is no success, or the last.
    pub fn send(&mut self, sender: &str, recipient: &str, message: &[u8]) -> String {
        let reply = self.mail(sender);
        if !reply.starts_with("250 ") {
            return reply;
        }
        let reply = self.rcpt(recipient);
        if !reply.starts_with("250 ") {
            return reply;
        }
        self.data(message)
    }

    /// `QUIT`.
    pub fn quit(mut self) -> String {
        self.command("QUIT")
    }

    /// Sends a line as it is and reads the reply.
    pub fn command(&mut self, line: &str) -> String {
        self.replies.get_mut().write_all(format!("{line}\r\n").as_bytes()).unwrap();
        self.reply()
    }

    /// A reply is complete with the first line that has a space after the code (RFC 5321 §4.2.1).
    fn reply(&mut self) -> String {
        let mut reply = String::new();
        loop {
            let start = reply.len();
            assert!(self.replies.read_line(&mut reply).unwrap() > 0, "connection closed after {reply:?}");
            reply.truncate(reply.trim_end().len());
            if reply.as_bytes().get(start + 3) != Some(&b'-') {
                return reply;
            }
            reply.push('\n');
        }
    }
}
