//! The MTA's side of the milter protocol, as Postfix 3.10 speaks it: what need not be answered goes out with the next
//! command that must.

use std::io;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::mail::{Content, Triplet};

/// Largest piece of a body in a packet.
const CHUNK: usize = 65_535;

/// OPTNEG of Postfix.
const OFFER: &[u8] = b"\0\0\0\x0dO\0\0\0\x06\0\0\x01\xff\0\x1f\xff\xff";

const NO_CONNECT: u32 = 0x1;
const NO_HELO: u32 = 0x2;
const NO_MAIL: u32 = 0x4;
const NO_RCPT: u32 = 0x8;
const NO_BODY: u32 = 0x10;
const NO_HEADER: u32 = 0x20;
const NO_END_OF_HEADER: u32 = 0x40;
const NO_REPLY_HEADER: u32 = 0x80;
const NO_DATA: u32 = 0x200;
const NO_REPLY_CONNECT: u32 = 0x1000;
const NO_REPLY_HELO: u32 = 0x2000;
const NO_REPLY_MAIL: u32 = 0x4000;
const NO_REPLY_RCPT: u32 = 0x8000;
const NO_REPLY_DATA: u32 = 0x1_0000;
const NO_REPLY_END_OF_HEADER: u32 = 0x4_0000;
const NO_REPLY_BODY: u32 = 0x8_0000;

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
            out: OFFER.to_vec(),
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
        let macros = format!(
            "Cj\0mx.recipient.example\0_\0{name} [{client}]\0v\0Postfix 3.10.0\0{{daemon_name}}\0smtpd\0\
             {{daemon_addr}}\x00127.0.0.1\0{{daemon_port}}\x0025\0{{client_addr}}\0{client}\0{{client_name}}\0{name}\0\
             {{client_port}}\x0053850\0{{client_ptr}}\0{name}\0"
        );
        self.command(b'D', &[macros.as_bytes()]);
        self.command(b'C', &[name.as_bytes(), b"\x004\xd2\x5a", client.as_bytes(), b"\0"]);
        self.reply(NO_CONNECT, NO_REPLY_CONNECT).await?;
        self.command(b'D', &[b"H{tls_version}\0TLSv1.3\0{cipher}\0TLS_AES_256_GCM_SHA384\0"]);
        self.command(b'H', &[name.as_bytes(), b"\0"]);
        self.reply(NO_HELO, NO_REPLY_HELO).await?;
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
        self.command(b'D', &[b"M{mail_addr}\0", sender.as_bytes(), b"\0"]);
        self.command(b'M', &[b"<", sender.as_bytes(), b">\0"]);
        self.reply(NO_MAIL, NO_REPLY_MAIL).await?;
        let mut accepted = 0;
        for recipient in recipients {
            self.command(b'D', &[b"R{rcpt_addr}\0", recipient.as_bytes(), b"\0"]);
            self.command(b'R', &[b"<", recipient.as_bytes(), b">\0"]);
            accepted += usize::from(self.reply(NO_RCPT, NO_REPLY_RCPT).await? == End::Accepted);
        }
        if accepted == 0 {
            self.command(b'A', &[]);
            return Ok(End::Refused);
        }
        self.command(b'D', &[b"Ti\x004F2A1B\0"]);
        self.command(b'T', &[]);
        self.reply(NO_DATA, NO_REPLY_DATA).await?;
        if self.protocol & NO_HEADER == 0 {
            for (name, value) in &content.header {
                self.command(b'L', &[name.as_bytes(), b"\0", value.as_bytes(), b"\0"]);
                self.reply(NO_HEADER, NO_REPLY_HEADER).await?;
            }
        }
        if self.protocol & NO_END_OF_HEADER == 0 {
            self.command(b'N', &[]);
            self.reply(NO_END_OF_HEADER, NO_REPLY_END_OF_HEADER).await?;
        }
        if self.protocol & NO_BODY == 0 {
            for chunk in content.body.chunks(CHUNK) {
                self.command(b'B', &[chunk]);
                self.reply(NO_BODY, NO_REPLY_BODY).await?;
                if self.out.len() >= CHUNK {
                    self.flush().await?;
                }
            }
        }
        self.command(b'D', &[b"Ei\x004F2A1B\0"]);
        self.command(b'E', &[]);
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
        self.command(b'Q', &[]);
        self.flush().await
    }

    fn command(&mut self, command: u8, payload: &[&[u8]]) {
        let length = 1 + payload.iter().map(|part| part.len()).sum::<usize>();
        self.out.extend_from_slice(&(length as u32).to_be_bytes());
        self.out.push(command);
        payload.iter().for_each(|part| self.out.extend_from_slice(part));
    }

    /// Waits for the answer to the last command, unless there is none by `no_reply`. A command that is not to be sent
    /// (`not_sent`) is sent by this program all the same where Greylag never asks for that; it is then an error.
    async fn reply(&mut self, not_sent: u32, no_reply: u32) -> io::Result<End> {
        assert!(self.protocol & not_sent == 0, "a stage that is not sent is not written");
        if self.protocol & no_reply != 0 {
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
