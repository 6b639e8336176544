//! Reading requests: `name=value` lines, each ended by a bare LF, and an empty line.

mod glance;
mod in_order;

use std::borrow::Cow;
use std::ops::Range;

use memchr::{memchr, memchr2};
use thiserror::Error;

use self::in_order::{Tail, in_order};

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
    fn parse(text: &[u8]) -> Self {
        match text {
            b"CONNECT" => Self::Connect,
            b"EHLO" => Self::Ehlo,
            b"HELO" => Self::Helo,
            b"MAIL" => Self::Mail,
            b"RCPT" => Self::Rcpt,
            b"DATA" | b"BDAT" => Self::Data,
            b"END-OF-MESSAGE" => Self::EndOfMessage,
            b"VRFY" => Self::Vrfy,
            b"ETRN" => Self::Etrn,
            _ => Self::Other,
        }
    }
}

/// One request: the attributes that matter here, in their own text. An attribute that is empty or was not sent is `None`, and so is
/// a number that cannot be read. Bytes that are no UTF-8 became U+FFFD.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request<'a> {
    /// What the client is at.
    pub protocol_state: ProtocolState,
    /// The client's address, or `unknown`.
    pub client_address: Option<Cow<'a, str>>,
    /// The client's FCrDNS-verified host name, or `unknown`.
    pub client_name: Option<Cow<'a, str>>,
    /// The client's port (since Postfix 3.0).
    pub client_port: Option<u16>,
    /// The HELO name.
    pub helo_name: Option<Cow<'a, str>>,
    /// The reverse-path in Postfix's internal form; empty for `<>` and before MAIL.
    pub sender: Option<Cow<'a, str>>,
    /// The recipient in Postfix's internal form; at DATA only if there is exactly one.
    pub recipient: Option<Cow<'a, str>>,
    /// Accepted recipients at DATA and at the end of message, 0 before.
    pub recipient_count: Option<u32>,
    /// The queue id; none before the first recipient was accepted.
    pub queue_id: Option<Cow<'a, str>>,
    /// The same text for all requests about one message; none before MAIL was accepted.
    pub instance: Option<Cow<'a, str>>,
    /// The login name of an authenticated client.
    pub sasl_username: Option<Cow<'a, str>>,
    /// The TLS version of an encrypted session.
    pub encryption_protocol: Option<Cow<'a, str>>,
    /// What `policy_context` is set to for the restriction that asks (since 3.1).
    pub policy_context: Option<Cow<'a, str>>,
    /// The address of Postfix the client reached (since 3.2).
    pub server_address: Option<Cow<'a, str>>,
    /// The port of Postfix the client reached (since 3.2).
    pub server_port: Option<u16>,
    /// The version of Postfix (since 3.8).
    pub mail_version: Option<Cow<'a, str>>,
    /// Bytes it takes in the buffer it was read from.
    pub length: usize,
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
    places: Places,
    /// Complete lines of the request under way, and their bytes.
    lines: usize,
    read: usize,
    /// Bytes in which all ends of lines are found, so that none is looked at twice.
    searched: usize,
    /// Whether a CR or NUL is somewhere in what came so far.
    has_control: bool,
    /// That of the last request that was in order.
    tail: Tail,
}

impl Decoder {
    /// Reads the request that `buffer` begins with; `None` when its end is still to come. Its [`Request::length`] has to be taken off
    /// the buffer before the next one is asked for.
    ///
    /// # Errors
    ///
    /// See [`RequestError`]. After one, neither decoder nor connection can be used any further.
    pub fn decode<'a>(&mut self, buffer: &'a [u8]) -> Result<Option<Request<'a>>, RequestError> {
        self.find(buffer)?.map(Found::read).transpose()
    }

    /// Finds the request that `buffer` begins with, as [`Self::decode`] does, and reads nothing of it.
    pub(super) fn find<'a>(&mut self, buffer: &'a [u8]) -> Result<Option<Found<'a>>, RequestError> {
        if buffer.is_empty() {
            return Ok(None);
        }
        if self.searched == 0
            && let Some(found) = in_order(buffer, &mut self.tail)
        {
            return Ok(Some(found));
        }
        let new = buffer.get(self.searched..).unwrap_or_default();
        self.has_control |= memchr2(b'\r', 0, new).is_some();
        while let Some(length) = memchr(b'\n', buffer.get(self.searched..).unwrap_or_default()) {
            let line = self.read..self.searched + length;
            self.read = line.end + 1;
            self.searched = self.read;
            if self.read > MAX_REQUEST {
                return Err(RequestError::TooLong);
            }
            if line.is_empty() {
                let tail = std::mem::take(&mut self.tail);
                let Self { places, read, .. } = std::mem::replace(self, Self { tail, ..Self::default() });
                let whole = buffer.get(..read).unwrap_or_default();
                return Ok(Some(Found { whole, places, of_one_mail: None }));
            }
            self.line(buffer, line)?;
        }
        self.searched = buffer.len();
        if buffer.len() < MAX_REQUEST { Ok(None) } else { Err(RequestError::TooLong) }
    }

    fn line(&mut self, buffer: &[u8], Range { start, end }: Range<usize>) -> Result<(), RequestError> {
        self.lines += 1;
        if self.lines > MAX_ATTRIBUTES {
            return Err(RequestError::TooManyAttributes);
        }
        let line = buffer.get(start..end).unwrap_or_default();
        if self.has_control {
            match memchr2(b'\r', 0, line).and_then(|at| line.get(at)) {
                Some(b'\r') => return Err(RequestError::CarriageReturn { line: self.lines }),
                Some(_) => return Err(RequestError::Nul { line: self.lines }),
                None => {}
            }
        }
        match memchr(b'=', line) {
            None | Some(0) => Err(RequestError::NotAnAttribute { line: self.lines }),
            Some(equals) => {
                if let Some(place) = self.places.of(&line[..equals]).filter(|place| place.start == 0) {
                    *place = Place { start: (start + equals + 1) as u32, end: end as u32 };
                }
                Ok(())
            }
        }
    }
}

/// A request that was found and is not read yet.
#[derive(Debug)]
pub(super) struct Found<'a> {
    /// All of it.
    pub(super) whole: &'a [u8],
    places: Places,
    /// Where lines stand that another request may have otherwise and still be judged as this one, if it is one in the usual order: the
    /// client's port; recipient count, queue id, instance and size.
    of_one_mail: Option<[Range<u32>; 2]>,
}

impl<'a> Found<'a> {
    /// Reads it.
    pub(super) fn read(self) -> Result<Request<'a>, RequestError> {
        self.places.into_request(self.whole)
    }
}

/// Where in the buffer a value stands. It cannot stand at the beginning, where a name is: that means that there is none.
#[derive(Clone, Copy, Debug, Default)]
struct Place {
    start: u32,
    end: u32,
}

impl Place {
    fn range(self) -> Option<Range<usize>> {
        (self.start > 0).then_some(self.start as usize..self.end as usize)
    }

    /// The same where counting begins at `start`.
    fn from(self, start: u32) -> Self {
        if self.start == 0 { self } else { Self { start: start + self.start, end: start + self.end } }
    }
}

/// Where the values that matter here stand; the first of several with one name counts.
#[derive(Debug, Default)]
struct Places {
    request: Place,
    protocol_state: Place,
    client_address: Place,
    client_name: Place,
    client_port: Place,
    helo_name: Place,
    sender: Place,
    recipient: Place,
    recipient_count: Place,
    queue_id: Place,
    instance: Place,
    sasl_username: Place,
    encryption_protocol: Place,
    policy_context: Place,
    server_address: Place,
    server_port: Place,
    mail_version: Place,
}

impl Places {
    fn of(&mut self, name: &[u8]) -> Option<&mut Place> {
        Some(match name {
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
            _ => return None,
        })
    }

    /// The request that has its values there.
    fn into_request(self, buffer: &[u8]) -> Result<Request<'_>, RequestError> {
        let bytes = |place: Place| buffer.get(place.range()?);
        let request = bytes(self.request).ok_or(RequestError::NoRequestAttribute)?;
        if request != ACCESS_POLICY.as_bytes() {
            let shown = String::from_utf8_lossy(request).chars().take(40).collect();
            return Err(RequestError::UnknownRequest(shown));
        }
        // Nearly always all of it is UTF-8, which is found out at once.
        let whole = str::from_utf8(buffer);
        let filled = |place: Place| {
            let range = place.range().filter(|range| !range.is_empty())?;
            match whole {
                Ok(whole) => whole.get(range).map(Cow::Borrowed),
                Err(_) => buffer.get(range).map(String::from_utf8_lossy),
            }
        };
        Ok(Request {
            protocol_state: bytes(self.protocol_state).map_or(ProtocolState::Other, ProtocolState::parse),
            client_address: filled(self.client_address),
            client_name: filled(self.client_name),
            client_port: number(filled(self.client_port)),
            helo_name: filled(self.helo_name),
            sender: filled(self.sender),
            recipient: filled(self.recipient),
            recipient_count: number(filled(self.recipient_count)),
            queue_id: filled(self.queue_id),
            instance: filled(self.instance),
            sasl_username: filled(self.sasl_username),
            encryption_protocol: filled(self.encryption_protocol),
            policy_context: filled(self.policy_context),
            server_address: filled(self.server_address),
            server_port: number(filled(self.server_port)),
            mail_version: filled(self.mail_version),
            length: buffer.len(),
        })
    }
}

fn number<T: std::str::FromStr>(value: Option<Cow<'_, str>>) -> Option<T> {
    value.and_then(|text| text.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What Postfix 3.10.13 sends at RCPT.
    pub(super) const POSTFIX: &str = "request=smtpd_access_policy\nprotocol_state=RCPT\nprotocol_name=ESMTP\n\
        client_address=127.0.0.1\nclient_name=unknown\nclient_port=53850\nreverse_client_name=unknown\n\
        server_address=127.0.0.1\nserver_port=18835\nhelo_name=c.test\nsender=a@b\n\
        recipient=carol@example.test\nrecipient_count=0\nqueue_id=F2DEA9A6504\n\
        instance=3903.6b03b16e.f2bf9.0\nsize=77\netrn_domain=\nstress=\nsasl_method=\nsasl_username=\n\
        sasl_sender=\nccert_subject=\nccert_issuer=\nccert_fingerprint=\nccert_pubkey_fingerprint=\n\
        encryption_protocol=\nencryption_cipher=\nencryption_keysize=0\npolicy_context=\n\
        compatibility_level=3.6\nmail_version=3.10.13\n\n";

    fn decode(text: &(impl AsRef<[u8]> + ?Sized)) -> Result<Option<Request<'_>>, RequestError> {
        Decoder::default().decode(text.as_ref())
    }

    fn text(value: &str) -> Option<Cow<'_, str>> {
        Some(value.into())
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
            length: POSTFIX.len(),
        };
        assert_eq!(decode(POSTFIX), Ok(Some(expected)));
    }

    #[test]
    fn a_request_may_be_split_at_every_byte() {
        let whole = decode(POSTFIX);
        for at in 0..POSTFIX.len() {
            let mut decoder = Decoder::default();
            assert_eq!(decoder.decode(&POSTFIX.as_bytes()[..at]), Ok(None), "split at {at}");
            assert_eq!(decoder.decode(POSTFIX.as_bytes()), whole, "split at {at}");
        }
    }

    #[test]
    fn several_requests_come_out_in_order_and_share_nothing() {
        let one = "request=smtpd_access_policy\nprotocol_state=RCPT\nhelo_name=one\nsender=a@b\n\n";
        let two = "request=smtpd_access_policy\nhelo_name=two\n\nrequest=";
        let buffer = [one, two].concat();
        let buffer = buffer.as_bytes();
        let mut decoder = Decoder::default();
        let first = decoder.decode(buffer).unwrap().unwrap();
        assert_eq!(first.length, one.len());
        let buffer = &buffer[first.length..];
        assert_eq!((first.helo_name, first.sender), (text("one"), text("a@b")));
        let second = decoder.decode(buffer).unwrap().unwrap();
        let buffer = &buffer[second.length..];
        assert_eq!((second.helo_name, second.sender), (text("two"), None));
        assert_eq!(second.protocol_state, ProtocolState::Other);
        assert_eq!(decoder.decode(buffer), Ok(None));
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
            let written = format!("request=smtpd_access_policy\n{line}\n\n");
            let request = decode(&written).unwrap().unwrap();
            assert_eq!(request.sender, sender, "{line}");
        }
        let request = decode(b"request=smtpd_access_policy\nsender=\xff@x\nclient_port=70000\n\n").unwrap();
        let request = request.unwrap();
        assert_eq!((request.sender, request.client_port), (text("\u{fffd}@x"), None));
        let of_postfix = POSTFIX.replace("a@b", "?@b").replace("3.10.13", "?.10");
        let foreign: Vec<u8> =
            of_postfix.bytes().map(|byte| if byte == b'?' { 0xff } else { byte }).collect();
        let request = decode(&foreign).unwrap().unwrap();
        assert_eq!((request.sender, request.recipient), (text("\u{fffd}@b"), text("carol@example.test")));
        assert_eq!(request.mail_version, text("\u{fffd}.10"));
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
            let written = format!("protocol_state={name}\nrequest=smtpd_access_policy\n\n");
            assert_eq!(decode(&written).unwrap().unwrap().protocol_state, state, "{name}");
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
        assert_eq!(decode(&attributes(MAX_ATTRIBUTES)), Ok(None));
        assert_eq!(decode(&"x".repeat(MAX_REQUEST - 1)), Ok(None));
    }

    #[test]
    fn requests_in_the_usual_order_are_read_as_others_are() {
        let without = |name: &str| -> String {
            POSTFIX.split_inclusive('\n').filter(|line| !line.starts_with(name)).collect()
        };
        let mut tail = Tail::default();
        for (request, is_in_order) in [
            (POSTFIX.to_owned(), true),
            (without("mail_version"), true),
            (without("client_port"), true),
            (without("sasl"), true),
            (POSTFIX.replace("sasl_username=", "sasl_username=joe"), true),
            (POSTFIX.replace("ccert_issuer=", "ccert_issuer=CA"), true),
            (POSTFIX.replace("a@b", "j\u{fc}rgen@x"), true),
            (POSTFIX.replace("helo_name=c.test", "helo_name=a\tb"), false),
            (POSTFIX.replace("helo_name=c.test", "helo_name=a\rb"), false),
            (POSTFIX.replace("compatibility_level=3.6", "compatibility_level=3\0"), false),
            (POSTFIX.replace("size=77", "future=1\nsize=77"), false),
            (POSTFIX.replace("size=77", "sender=c@d\nsize=77"), false),
            (POSTFIX.replace("\n\n", "\nfuture=1\n\n"), false),
            (POSTFIX.replace("ccert_subject=", &format!("ccert_subject={}", "x".repeat(2_000))), true),
            (POSTFIX.replace("a@b", "another@sender.test"), true),
        ] {
            // What comes in two pieces is not read in order.
            let mut decoder = Decoder::default();
            assert_eq!(decoder.decode(&request.as_bytes()[..1]), Ok(None));
            let whole = decoder.decode(request.as_bytes()).transpose().unwrap();
            // With no tail of another request, with that of the last one, and with its own.
            let first = in_order(request.as_bytes(), &mut Tail::default()).map(Found::read);
            let again = [(); 2].map(|()| in_order(request.as_bytes(), &mut tail).map(Found::read));
            for read in again.into_iter().chain([first]) {
                assert_eq!(read, is_in_order.then(|| whole.clone()), "{request}");
            }
            assert_eq!(decode(&request).transpose().unwrap(), whole, "{request}");
        }
        let without_end = POSTFIX.strip_suffix('\n').unwrap();
        assert!(in_order(without_end.as_bytes(), &mut tail).is_none());
        assert!(in_order(without_end.as_bytes(), &mut Tail::default()).is_none());
    }

    #[test]
    fn a_request_of_just_the_longest_length_is_read() {
        let head = "request=smtpd_access_policy\nx=";
        let request = format!("{head}{}\n\n", "y".repeat(MAX_REQUEST - head.len() - 2));
        assert_eq!(request.len(), MAX_REQUEST);
        assert!(decode(&request).unwrap().is_some());
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
