//! Reading requests: `name=value` lines, each ended by a bare LF, and an empty line.

use bytes::{Buf, BytesMut};
use thiserror::Error;

/// Longest request in bytes. Postfix sends about 1 KiB and sets no limit of its own.
pub const MAX_REQUEST: usize = 64 * 1024;

/// Most attributes in one request. Postfix 3.11 sends 33.
pub const MAX_ATTRIBUTES: usize = 256;

/// The only `request` there is.
const ACCESS_POLICY: &str = "smtpd_access_policy";

/// What the client is at, by the `protocol_state` attribute.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ProtocolState {
    /// It connected.
    Connect,
    /// EHLO.
    Ehlo,
    /// HELO.
    Helo,
    /// MAIL FROM.
    Mail,
    /// RCPT TO.
    Rcpt,
    /// DATA. Postfix reports BDAT under this name too.
    Data,
    /// The whole message was received.
    EndOfMessage,
    /// VRFY.
    Vrfy,
    /// ETRN.
    Etrn,
    /// A state this version does not know, or none.
    Other,
}

impl ProtocolState {
    fn parse(text: &str) -> Self {
        match text {
            "CONNECT" => Self::Connect,
            "EHLO" => Self::Ehlo,
            "HELO" => Self::Helo,
            "MAIL" => Self::Mail,
            "RCPT" => Self::Rcpt,
            "DATA" | "BDAT" => Self::Data,
            "END-OF-MESSAGE" => Self::EndOfMessage,
            "VRFY" => Self::Vrfy,
            "ETRN" => Self::Etrn,
            _ => Self::Other,
        }
    }
}

/// One request: the attributes that matter here, in their own text. An attribute that is empty or was not sent is `None`, and so is
/// a number that cannot be read. Bytes that are no UTF-8 became U+FFFD.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// What the client is at.
    pub protocol_state: ProtocolState,
    /// The client's address, or `unknown`.
    pub client_address: Option<String>,
    /// The client's FCrDNS-verified host name, or `unknown`.
    pub client_name: Option<String>,
    /// The client's port (since Postfix 3.0).
    pub client_port: Option<u16>,
    /// The HELO name.
    pub helo_name: Option<String>,
    /// The reverse-path in Postfix's internal form; empty for `<>` and before MAIL.
    pub sender: Option<String>,
    /// The recipient in Postfix's internal form; at DATA only if there is exactly one.
    pub recipient: Option<String>,
    /// Accepted recipients at DATA and at the end of message, 0 before.
    pub recipient_count: Option<u32>,
    /// The queue id; none before the first recipient was accepted.
    pub queue_id: Option<String>,
    /// The same text for all requests about one message; none before MAIL was accepted.
    pub instance: Option<String>,
    /// The login name of an authenticated client.
    pub sasl_username: Option<String>,
    /// The TLS version of an encrypted session.
    pub encryption_protocol: Option<String>,
    /// What `policy_context` is set to for the restriction that asks (since 3.1).
    pub policy_context: Option<String>,
    /// The address of Postfix the client reached (since 3.2).
    pub server_address: Option<String>,
    /// The port of Postfix the client reached (since 3.2).
    pub server_port: Option<u16>,
    /// The version of Postfix (since 3.8).
    pub mail_version: Option<String>,
}

/// Bytes that are no request of the policy protocol. The connection cannot be used any further.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum RequestError {
    /// No end of the request within [`MAX_REQUEST`] bytes.
    #[error("the request is longer than {MAX_REQUEST} bytes; is the peer a Postfix smtpd?")]
    TooLong,
    /// More than [`MAX_ATTRIBUTES`] lines.
    #[error("the request has more than {MAX_ATTRIBUTES} attributes; is the peer a Postfix smtpd?")]
    TooManyAttributes,
    /// A carriage return: the protocol ends its lines with a bare LF.
    #[error("line {line} of the request contains CR; lines must end in a bare LF")]
    CarriageReturn {
        /// The line, counted from 1.
        line: usize,
    },
    /// A NUL byte.
    #[error("line {line} of the request contains NUL")]
    Nul {
        /// The line, counted from 1.
        line: usize,
    },
    /// A line without `=`, or with nothing before it.
    #[error("line {line} of the request is not name=value; is the peer a Postfix smtpd?")]
    NotAnAttribute {
        /// The line, counted from 1.
        line: usize,
    },
    /// No `request` attribute.
    #[error("the request has no attribute \"request={ACCESS_POLICY}\"")]
    NoRequestAttribute,
    /// A `request` other than `smtpd_access_policy`.
    #[error("unknown request {0:?}; only \"{ACCESS_POLICY}\" is served")]
    UnknownRequest(String),
}

/// Finds requests in the bytes of one connection. They may be split anywhere, and several may be in the buffer.
#[derive(Debug, Default)]
pub struct Decoder {
    attributes: Attributes,
    /// Complete lines of the request under way, and their bytes.
    lines: usize,
    size: usize,
    /// Bytes at the head of the buffer that hold no LF, so that none is looked at twice.
    searched: usize,
}

impl Decoder {
    /// Takes the next request off the buffer; `None` when its end is still to come.
    ///
    /// # Errors
    ///
    /// See [`RequestError`]. After one, neither decoder nor connection can be used any further.
    pub fn decode(&mut self, buffer: &mut BytesMut) -> Result<Option<Request>, RequestError> {
        loop {
            let Some(length) = buffer[self.searched..].iter().position(|byte| *byte == b'\n') else {
                self.searched = buffer.len();
                return if self.size + buffer.len() < MAX_REQUEST {
                    Ok(None)
                } else {
                    Err(RequestError::TooLong)
                };
            };
            let length = self.searched + length;
            self.searched = 0;
            self.size += length + 1;
            if self.size > MAX_REQUEST {
                return Err(RequestError::TooLong);
            }
            if length == 0 {
                buffer.advance(1);
                return std::mem::take(self).attributes.into_request().map(Some);
            }
            self.line(&buffer[..length])?;
            buffer.advance(length + 1);
        }
    }

    fn line(&mut self, line: &[u8]) -> Result<(), RequestError> {
        self.lines += 1;
        if self.lines > MAX_ATTRIBUTES {
            return Err(RequestError::TooManyAttributes);
        }
        if line.contains(&b'\r') {
            return Err(RequestError::CarriageReturn { line: self.lines });
        }
        if line.contains(&0) {
            return Err(RequestError::Nul { line: self.lines });
        }
        match line.iter().position(|byte| *byte == b'=') {
            None | Some(0) => Err(RequestError::NotAnAttribute { line: self.lines }),
            Some(equals) => {
                self.attributes.set(&line[..equals], &line[equals + 1..]);
                Ok(())
            }
        }
    }
}

/// Attributes as they come in; the first of several with one name is kept.
#[derive(Debug, Default)]
struct Attributes {
    request: Option<String>,
    protocol_state: Option<String>,
    client_address: Option<String>,
    client_name: Option<String>,
    client_port: Option<String>,
    helo_name: Option<String>,
    sender: Option<String>,
    recipient: Option<String>,
    recipient_count: Option<String>,
    queue_id: Option<String>,
    instance: Option<String>,
    sasl_username: Option<String>,
    encryption_protocol: Option<String>,
    policy_context: Option<String>,
    server_address: Option<String>,
    server_port: Option<String>,
    mail_version: Option<String>,
}

impl Attributes {
    fn set(&mut self, name: &[u8], value: &[u8]) {
        let slot = match name {
            b"request" => &mut self.request,
            b"protocol_state" => &mut self.protocol_state,
            b"client_address" => &mut self.client_address,
            b"client_name" => &mut self.client_name,
            b"client_port" => &mut self.client_port,
            b"helo_name" => &mut self.helo_name,
            b"sender" => &mut self.sender,
            b"recipient" => &mut self.recipient,
            b"recipient_count" => &mut self.recipient_count,
            b"queue_id" => &mut self.queue_id,
            b"instance" => &mut self.instance,
            b"sasl_username" => &mut self.sasl_username,
            b"encryption_protocol" => &mut self.encryption_protocol,
            b"policy_context" => &mut self.policy_context,
            b"server_address" => &mut self.server_address,
            b"server_port" => &mut self.server_port,
            b"mail_version" => &mut self.mail_version,
            _ => return,
        };
        slot.get_or_insert_with(|| String::from_utf8_lossy(value).into_owned());
    }

    fn into_request(self) -> Result<Request, RequestError> {
        let request = self.request.ok_or(RequestError::NoRequestAttribute)?;
        if request != ACCESS_POLICY {
            return Err(RequestError::UnknownRequest(request.chars().take(40).collect()));
        }
        Ok(Request {
            protocol_state: self
                .protocol_state
                .map_or(ProtocolState::Other, |text| ProtocolState::parse(&text)),
            client_address: filled(self.client_address),
            client_name: filled(self.client_name),
            client_port: number(self.client_port),
            helo_name: filled(self.helo_name),
            sender: filled(self.sender),
            recipient: filled(self.recipient),
            recipient_count: number(self.recipient_count),
            queue_id: filled(self.queue_id),
            instance: filled(self.instance),
            sasl_username: filled(self.sasl_username),
            encryption_protocol: filled(self.encryption_protocol),
            policy_context: filled(self.policy_context),
            server_address: filled(self.server_address),
            server_port: number(self.server_port),
            mail_version: filled(self.mail_version),
        })
    }
}

fn filled(value: Option<String>) -> Option<String> {
    value.filter(|text| !text.is_empty())
}

fn number<T: std::str::FromStr>(value: Option<String>) -> Option<T> {
    value.and_then(|text| text.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What Postfix 3.10.13 sends at RCPT.
    const POSTFIX: &str = "request=smtpd_access_policy\nprotocol_state=RCPT\nprotocol_name=ESMTP\n\
        client_address=127.0.0.1\nclient_name=unknown\nclient_port=53850\nreverse_client_name=unknown\n\
        server_address=127.0.0.1\nserver_port=18835\nhelo_name=c.test\nsender=a@b\n\
        recipient=carol@example.test\nrecipient_count=0\nqueue_id=F2DEA9A6504\n\
        instance=3903.6b03b16e.f2bf9.0\nsize=77\netrn_domain=\nstress=\nsasl_method=\nsasl_username=\n\
        sasl_sender=\nccert_subject=\nccert_issuer=\nccert_fingerprint=\nccert_pubkey_fingerprint=\n\
        encryption_protocol=\nencryption_cipher=\nencryption_keysize=0\npolicy_context=\n\
        compatibility_level=3.6\nmail_version=3.10.13\n\n";

    fn decode(text: impl AsRef<[u8]>) -> Result<Option<Request>, RequestError> {
        Decoder::default().decode(&mut BytesMut::from(text.as_ref()))
    }

    fn text(value: &str) -> Option<String> {
        Some(value.to_owned())
    }

    #[test]
    fn a_request_of_postfix_is_read() {
        let expected = Request {
            protocol_state: ProtocolState::Rcpt,
            client_address: text("127.0.0.1"),
            client_name: text("unknown"),
            client_port: Some(53850),
            helo_name: text("c.test"),
            sender: text("a@b"),
            recipient: text("carol@example.test"),
            recipient_count: Some(0),
            queue_id: text("F2DEA9A6504"),
            instance: text("3903.6b03b16e.f2bf9.0"),
            sasl_username: None,
            encryption_protocol: None,
            policy_context: None,
            server_address: text("127.0.0.1"),
            server_port: Some(18835),
            mail_version: text("3.10.13"),
        };
        assert_eq!(decode(POSTFIX), Ok(Some(expected)));
    }

    #[test]
    fn a_request_may_be_split_at_every_byte() {
        let whole = decode(POSTFIX);
        for at in 0..POSTFIX.len() {
            let mut decoder = Decoder::default();
            let mut buffer = BytesMut::from(&POSTFIX.as_bytes()[..at]);
            assert_eq!(decoder.decode(&mut buffer), Ok(None), "split at {at}");
            buffer.extend_from_slice(&POSTFIX.as_bytes()[at..]);
            assert_eq!(decoder.decode(&mut buffer), whole, "split at {at}");
            assert!(buffer.is_empty());
        }
    }

    #[test]
    fn several_requests_come_out_in_order_and_share_nothing() {
        let one = "request=smtpd_access_policy\nprotocol_state=RCPT\nhelo_name=one\nsender=a@b\n\n";
        let two = "request=smtpd_access_policy\nhelo_name=two\n\nrequest=";
        let mut buffer = BytesMut::from([one, two].concat().as_bytes());
        let mut decoder = Decoder::default();
        let first = decoder.decode(&mut buffer).unwrap().unwrap();
        assert_eq!((first.helo_name, first.sender), (text("one"), text("a@b")));
        let second = decoder.decode(&mut buffer).unwrap().unwrap();
        assert_eq!((second.helo_name, second.sender), (text("two"), None));
        assert_eq!(second.protocol_state, ProtocolState::Other);
        assert_eq!(decoder.decode(&mut buffer), Ok(None));
    }

    #[test]
    fn values_are_kept_as_they_are() {
        for (line, sender) in [
            ("sender=a=b@c", text("a=b@c")),
            ("sender= a b@c ", text(" a b@c ")),
            ("sender=", None),
            ("sender=j\u{fc}rgen@x", text("j\u{fc}rgen@x")),
            ("sender=first@x\nsender=second@x", text("first@x")),
            ("sender=\nsender=second@x", None),
            ("Sender=a@b", None),
            ("sender_domain=b", None),
        ] {
            let request = decode(format!("request=smtpd_access_policy\n{line}\n\n")).unwrap().unwrap();
            assert_eq!(request.sender, sender, "{line}");
        }
        let request = decode(b"request=smtpd_access_policy\nsender=\xff@x\nclient_port=70000\n\n").unwrap();
        let request = request.unwrap();
        assert_eq!((request.sender, request.client_port), (text("\u{fffd}@x"), None));
    }

    #[test]
    fn every_state_of_postfix_is_known() {
        use ProtocolState::*;
        for (name, state) in [
            ("CONNECT", Connect),
            ("EHLO", Ehlo),
            ("HELO", Helo),
            ("MAIL", Mail),
            ("RCPT", Rcpt),
            ("DATA", Data),
            ("BDAT", Data),
            ("END-OF-MESSAGE", EndOfMessage),
            ("VRFY", Vrfy),
            ("ETRN", Etrn),
            ("rcpt", Other),
            ("", Other),
            ("NOOP", Other),
        ] {
            let request = decode(format!("protocol_state={name}\nrequest=smtpd_access_policy\n\n"));
            assert_eq!(request.unwrap().unwrap().protocol_state, state, "{name}");
        }
    }

    #[test]
    fn what_is_no_request_is_named() {
        let attributes = |count: usize| "x=y\n".repeat(count);
        for (bytes, error) in [
            ("\n".into(), RequestError::NoRequestAttribute),
            ("sender=a\n\n".into(), RequestError::NoRequestAttribute),
            ("request=junk\n\n".into(), RequestError::UnknownRequest("junk".into())),
            ("request=\n\n".into(), RequestError::UnknownRequest(String::new())),
            ("a=b\nrequest=x\r\n\r\n".into(), RequestError::CarriageReturn { line: 2 }),
            ("a=b\0c\n".into(), RequestError::Nul { line: 1 }),
            ("GET / HTTP/1.1\n".into(), RequestError::NotAnAttribute { line: 1 }),
            ("=value\n".into(), RequestError::NotAnAttribute { line: 1 }),
            (attributes(MAX_ATTRIBUTES + 1), RequestError::TooManyAttributes),
            ("x".repeat(MAX_REQUEST), RequestError::TooLong),
            (format!("x={}\n", "y".repeat(MAX_REQUEST - 2)), RequestError::TooLong),
            (format!("x=y\nx={}", "y".repeat(MAX_REQUEST - 6)), RequestError::TooLong),
        ] {
            let head: String = bytes.chars().take(30).collect();
            assert_eq!(decode(&bytes), Err(error), "{head}");
        }
        assert_eq!(decode(attributes(MAX_ATTRIBUTES)), Ok(None));
        assert_eq!(decode("x".repeat(MAX_REQUEST - 1)), Ok(None));
    }

    #[test]
    fn a_request_of_just_the_longest_length_is_read() {
        let head = "request=smtpd_access_policy\nx=";
        let request = format!("{head}{}\n\n", "y".repeat(MAX_REQUEST - head.len() - 2));
        assert_eq!(request.len(), MAX_REQUEST);
        assert!(decode(request).unwrap().is_some());
    }

    #[test]
    fn an_error_shows_nothing_that_forges_a_log_line() {
        let error = decode("request=a\x1b[2J\"b\u{2028}\n\n").unwrap_err();
        assert_eq!(
            error.to_string(),
            r#"unknown request "a\u{1b}[2J\"b\u{2028}"; only "smtpd_access_policy" is served"#
        );
    }
}
