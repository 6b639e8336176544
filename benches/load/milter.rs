//! The MTA's side of the milter protocol, as Postfix 3.10 speaks it: what need not be answered goes out with the next
//! command that must.

use std::io;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::mail::{Content, Triplet};
use crate::postfix::{
    self, BODY, CLIENT_PORT, CONNECT, Command, DATA, END_OF_HEADER, END_OF_MESSAGE, HEADER, HELO, MACROS,
    MAIL, RCPT,
};

/// Largest piece of a body in a packet.
const CHUNK: usize = 65_535;

/// What the end of a mail was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    Accepted,
    Refused,
}

/// One SMTP session's connection.
pub(crate) struct Session {
    stream: TcpStream,
    protocol: u32,
    out: Vec<u8>,
    input: Vec<u8>,
    /// The answer to OPTNEG, packet and all.
    pub(crate) agreed: Vec<u8>,
}

impl Session {
    /// Connects and negotiates.
    pub(crate) async fn open(port: u16) -> io::Result<Self> {
        let stream = TcpStream::connect(("127.0.0.1", port)).await?;
        stream.set_nodelay(true)?;
        let mut session = Self {
            stream,
            protocol: 0,
            out: postfix::OFFER.to_vec(),
            input: Vec::with_capacity(1024),
            agreed: Vec::new(),
        };
        session.flush().await?;
        let answer = session.packet().await?;
        let mask = answer.get(9..13).and_then(|mask| mask.try_into().ok());
        session.protocol = mask.map_or(0, u32::from_be_bytes);
        session.agreed = [&(answer.len() as u32).to_be_bytes()[..], &answer].concat();
        Ok(session)
    }

    /// CONNECT and HELO.
    pub(crate) async fn greet(&mut self, triplet: &Triplet) -> io::Result<()> {
        let Triplet { client, name, .. } = triplet;
        self.packet_of(MACROS, &[&postfix::connect_macros(triplet)]);
        self.command(CONNECT, &[name.as_bytes(), CLIENT_PORT, client.as_bytes(), b"\0"]);
        self.reply(CONNECT).await?;
        self.packet_of(MACROS, &[postfix::HELO_MACROS]);
        self.command(HELO, &[name.as_bytes(), b"\0"]);
        self.reply(HELO).await?;
        Ok(())
    }

    /// One mail, from MAIL to its end.
    pub(crate) async fn mail(&mut self, triplet: &Triplet, content: &Content) -> io::Result<End> {
        self.mail_to(triplet, std::slice::from_ref(&triplet.recipient), content).await
    }

    /// One mail to several recipients, those of them that are accepted.
    pub(crate) async fn mail_to(
        &mut self,
        triplet: &Triplet,
        recipients: &[String],
        content: &Content,
    ) -> io::Result<End> {
        let sender = &triplet.sender;
        self.packet_of(MACROS, &[b"M{mail_addr}\0", sender.as_bytes(), b"\0"]);
        self.command(MAIL, &[b"<", sender.as_bytes(), b">\0"]);
        self.reply(MAIL).await?;
        let mut accepted = 0;
        for recipient in recipients {
            self.packet_of(MACROS, &[b"R{rcpt_addr}\0", recipient.as_bytes(), b"\0"]);
            self.command(RCPT, &[b"<", recipient.as_bytes(), b">\0"]);
            accepted += usize::from(self.reply(RCPT).await? == End::Accepted);
        }
        if accepted == 0 {
            self.packet_of(postfix::ABORT, &[]);
            return Ok(End::Refused);
        }
        self.packet_of(MACROS, &[postfix::DATA_MACROS]);
        self.command(DATA, &[]);
        self.reply(DATA).await?;
        if HEADER.is_sent(self.protocol) {
            for (name, value) in &content.header {
                self.command(HEADER, &[name.as_bytes(), b"\0", value.as_bytes(), b"\0"]);
                self.reply(HEADER).await?;
            }
        }
        if END_OF_HEADER.is_sent(self.protocol) {
            self.command(END_OF_HEADER, &[]);
            self.reply(END_OF_HEADER).await?;
        }
        if BODY.is_sent(self.protocol) {
            for chunk in content.body.chunks(CHUNK) {
                self.command(BODY, &[chunk]);
                self.reply(BODY).await?;
                if self.out.len() >= CHUNK {
                    self.flush().await?;
                }
            }
        }
        self.packet_of(MACROS, &[postfix::END_MACROS]);
        self.command(END_OF_MESSAGE, &[]);
        self.flush().await?;
        loop {
            let packet = self.packet().await?;
            match packet.first() {
                Some(b'c' | b'a') => return Ok(End::Accepted),
                Some(b'y' | b'r' | b't' | b'd') => return Ok(End::Refused),
                _ => {}
            }
        }
    }

    /// QUIT.
    pub(crate) async fn quit(mut self) -> io::Result<()> {
        self.packet_of(postfix::QUIT, &[]);
        self.flush().await
    }

    fn command(&mut self, command: Command, parts: &[&[u8]]) {
        self.packet_of(command.code, parts);
    }

    fn packet_of(&mut self, code: u8, parts: &[&[u8]]) {
        postfix::packet(code, parts, &mut self.out);
    }

    /// Waits for the answer to the last command, if there is one. A command that is not to be sent is sent by this program all the
    /// same where Greylag never asks for that; it is then an error.
    async fn reply(&mut self, command: Command) -> io::Result<End> {
        assert!(command.is_sent(self.protocol), "a stage that is not sent is not written");
        if !command.is_answered(self.protocol) {
            return Ok(End::Accepted);
        }
        self.flush().await?;
        let packet = self.packet().await?;
        Ok(if matches!(packet.first(), Some(b'c')) { End::Accepted } else { End::Refused })
    }

    async fn flush(&mut self) -> io::Result<()> {
        self.stream.write_all(&self.out).await?;
        self.out.clear();
        Ok(())
    }

    async fn packet(&mut self) -> io::Result<Vec<u8>> {
        loop {
            if let Some(length) = self.input.get(..4) {
                let end = 4 + u32::from_be_bytes([length[0], length[1], length[2], length[3]]) as usize;
                if self.input.len() >= end {
                    let packet = self.input[4..end].to_vec();
                    self.input.drain(..end);
                    return Ok(packet);
                }
            }
            if self.stream.read_buf(&mut self.input).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }
}
