//! The MTA's side of the policy delegation protocol, as Postfix 3.10 speaks it.

use std::fmt::Write;
use std::io;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::mail::Triplet;

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
        let Triplet { client, name, sender, recipient } = triplet;
        self.mails += 1;
        let mail = self.mails;
        self.request.clear();
        let _ = write!(
            self.request,
            "request=smtpd_access_policy\nprotocol_state=RCPT\nprotocol_name=ESMTP\nclient_address={client}\n\
             client_name={name}\nclient_port=53850\nreverse_client_name={name}\nserver_address=127.0.0.1\n\
             server_port=25\nhelo_name={name}\nsender={sender}\nrecipient={recipient}\nrecipient_count=0\n\
             queue_id=\ninstance=3903.6b03b16e.f2bf9.{mail}\nsize=777\netrn_domain=\nstress=\nsasl_method=\n\
             sasl_username=\nsasl_sender=\nccert_subject=\nccert_issuer=\nccert_fingerprint=\n\
             ccert_pubkey_fingerprint=\nencryption_protocol=TLSv1.3\nencryption_cipher=TLS_AES_256_GCM_SHA384\n\
             encryption_keysize=256\npolicy_context=\ncompatibility_level=3.6\nmail_version=3.10.0\n\n"
        );
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
