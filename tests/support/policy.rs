//! The smtpd side of the policy delegation protocol.

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::timeout;
use tokio_util::either::Either;

/// Longest wait for a reply; Postfix waits 100 s.
const PATIENCE: Duration = Duration::from_secs(10);

/// One request, by default what Postfix 3.11 sends at the first RCPT of a plain session.
#[derive(Clone, Debug)]
pub struct PolicyRequest {
    attributes: Vec<(String, String)>,
}

impl PolicyRequest {
    /// A request in this `protocol_state`.
    pub fn at(protocol_state: &str) -> Self {
        let attributes = [
            ("request", "smtpd_access_policy"),
            ("protocol_state", protocol_state),
            ("protocol_name", "ESMTP"),
            ("client_address", "192.0.2.1"),
            ("client_name", "mx.example.test"),
            ("client_port", "53850"),
            ("reverse_client_name", "mx.example.test"),
            ("server_address", "127.0.0.1"),
            ("server_port", "25"),
            ("helo_name", "mx.example.test"),
            ("sender", "alice@example.test"),
            ("recipient", "bob@example.org"),
            ("recipient_count", "0"),
            ("queue_id", ""),
            ("instance", "3903.6b03b16e.f2bf9.0"),
            ("size", "77"),
            ("etrn_domain", ""),
            ("stress", ""),
            ("sasl_method", ""),
            ("sasl_username", ""),
            ("sasl_sender", ""),
            ("ccert_subject", ""),
            ("ccert_issuer", ""),
            ("ccert_fingerprint", ""),
            ("ccert_pubkey_fingerprint", ""),
            ("encryption_protocol", ""),
            ("encryption_cipher", ""),
            ("encryption_keysize", "0"),
            ("policy_context", ""),
            ("compatibility_level", "3.6"),
            ("mail_version", "3.11.0"),
        ];
        let owned = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
        Self { attributes: attributes.map(owned).into() }
    }

    /// A request about a recipient.
    pub fn rcpt(recipient: &str) -> Self {
        Self::at("RCPT").with("recipient", recipient)
    }

    /// Sets an attribute, or adds it.
    pub fn with(mut self, name: &str, value: &str) -> Self {
        match self.attributes.iter_mut().find(|(it, _)| it == name) {
            Some((_, old)) => *old = value.to_owned(),
            None => self.attributes.push((name.to_owned(), value.to_owned())),
        }
        self
    }

    /// Leaves an attribute out.
    pub fn without(mut self, name: &str) -> Self {
        self.attributes.retain(|(it, _)| it != name);
        self
    }

    /// The request as sent.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut text = String::new();
        for (name, value) in &self.attributes {
            text.push_str(&format!("{name}={value}\n"));
        }
        text.push('\n');
        text.into_bytes()
    }
}

/// A connection of smtpd to a policy service.
#[derive(Debug)]
pub struct PolicyClient {
    stream: Either<TcpStream, UnixStream>,
}

impl PolicyClient {
    /// Connects over TCP.
    pub async fn tcp(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).await.expect("connect");
        stream.set_nodelay(true).expect("nodelay");
        Self { stream: Either::Left(stream) }
    }

    /// Connects to a UNIX socket.
    pub async fn unix(path: &Path) -> Self {
        Self { stream: Either::Right(UnixStream::connect(path).await.expect("connect")) }
    }

    /// Sends bytes as they are.
    pub async fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        timeout(PATIENCE, self.stream.write_all(bytes)).await.expect("the service reads or closes")
    }

    /// The action of the next reply; `None` when the service closed instead.
    ///
    /// # Panics
    ///
    /// On no reply in time, and on bytes that are not exactly `action=…` and an empty line.
    pub async fn reply(&mut self) -> Option<String> {
        let mut reply = Vec::new();
        let mut byte = [0];
        while !reply.ends_with(b"\n\n") {
            let read = timeout(PATIENCE, self.stream.read(&mut byte)).await.expect("a reply in time");
            // A service that closes before it read everything resets the connection.
            if read.unwrap_or(0) == 0 {
                assert_eq!(String::from_utf8_lossy(&reply), "", "closed within a reply");
                return None;
            }
            reply.extend_from_slice(&byte);
        }
        let reply = String::from_utf8(reply).expect("UTF-8");
        let action = reply.strip_prefix("action=").and_then(|rest| rest.strip_suffix("\n\n"));
        let action = action.unwrap_or_else(|| panic!("malformed reply {reply:?}"));
        assert!(!action.is_empty() && !action.contains(['\n', '\r', '\0']), "malformed action {action:?}");
        Some(action.to_owned())
    }

    /// Sends a request and waits for the action.
    pub async fn ask(&mut self, request: &PolicyRequest) -> Option<String> {
        // A service that closed is told by the missing reply.
        self.send(&request.to_bytes()).await.ok();
        self.reply().await
    }
}
