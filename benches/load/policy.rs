//! The MTA's side of the policy delegation protocol, as Postfix 3.10 speaks it.

use std::io;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::mail::Triplet;
use crate::postfix;

/// One connection, kept open as smtpd does.
pub(crate) struct Smtpd {
    stream: TcpStream,
    request: String,
    reply: Vec<u8>,
    /// Numbers its mails, as `instance` does.
    mails: u64,
}

impl Smtpd {
    pub(crate) async fn connect(port: u16) -> io::Result<Self> {
        let stream = TcpStream::connect(("127.0.0.1", port)).await?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, request: String::with_capacity(1024), reply: Vec::with_capacity(256), mails: 0 })
    }

    /// Asks about a recipient; returns the action.
    pub(crate) async fn ask(&mut self, triplet: &Triplet) -> io::Result<&str> {
        self.mails += 1;
        self.request.clear();
        postfix::policy_request(triplet, self.mails, &mut self.request);
        self.stream.write_all(self.request.as_bytes()).await?;
        self.reply.clear();
        while !self.reply.ends_with(b"\n\n") {
            if self.stream.read_buf(&mut self.reply).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        Ok(std::str::from_utf8(&self.reply).unwrap_or_default().trim_end().trim_start_matches("action="))
    }
}
