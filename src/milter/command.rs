//! Reads the packets of the MTA. Strings are bytes ended by one NUL; there is no charset.
//!
//! What MTAs in the field get wrong is tolerated: macro packets without macros or with a name that has no
//! value, an address that is not of the family it claims to be, a UNIX socket without a port, a payload where
//! none belongs. What cannot be read without guessing is an error.

use bytes::{Buf, Bytes};
use memchr::memchr;

use super::frame::Frame;
use super::macros::MacroStage;
use super::options::Offer;
use super::state::CommandKind;
use crate::facts::HeaderField;

/// A command of the MTA.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// `O`: version and masks the MTA offers.
    Negotiate(Offer),
    /// `D`: macros that belong to the command that follows.
    Macros {
        /// The stage they belong to; `None` for commands that keep no macros (header, body, unknown).
        stage: Option<MacroStage>,
        /// Names and values by turns, each ended by a NUL.
        definitions: Bytes,
    },
    /// `C`: a client connected.
    Connect {
        /// Its name as the MTA knows it; `[address]` or `unknown` when it has none.
        host_name: String,
        /// Where it comes from.
        peer: Peer,
    },
    /// `H`: the argument of HELO or EHLO.
    Helo(String),
    /// `M`: the reverse-path as the client typed it. ESMTP parameters are not kept.
    Mail(String),
    /// `R`: the forward-path as the client typed it. ESMTP parameters are not kept.
    Rcpt(String),
    /// `T`: DATA.
    Data,
    /// `U`: a command the MTA does not know.
    Unknown,
    /// `L`: one header field.
    Header(HeaderField),
    /// `N`: the header is complete.
    EndOfHeader,
    /// `B`: a piece of the body; line ends may be split between two.
    Body(Bytes),
    /// `E`: the message is complete. The protocol allows a last piece of the body here; mostly empty.
    EndOfMessage(Bytes),
    /// `A`: forget the message.
    Abort,
    /// `Q`: the session is over.
    Quit,
    /// `K`: the session is over; another one follows on this socket, without negotiation.
    QuitNewConnection,
}

/// The address of a CONNECT command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Peer {
    /// Family `4` or `6`. The text may be anything: Postfix writes `unknown` with family `4`.
    Internet {
        /// The client's port, 0 when unknown.
        port: u16,
        /// The address as text, with or without `IPv6:` in front.
        address: String,
    },
    /// Family `L`: a UNIX socket.
    Unix,
    /// Family `U`: the MTA does not know.
    Unknown,
}

/// Why a packet cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CommandError {
    /// No command has this byte.
    #[error("unknown command {:?} with {length} bytes", char::from(*.code))]
    Unknown {
        /// The command byte.
        code: u8,
        /// Length of its payload.
        length: usize,
    },
    /// The payload is not what the command calls for.
    #[error("malformed {command} packet of {length} bytes, expected {expected}")]
    Malformed {
        /// The command.
        command: CommandKind,
        /// Length of its payload.
        length: usize,
        /// What its payload should have been.
        expected: &'static str,
    },
}

impl Command {
    /// Reads one packet.
    ///
    /// # Errors
    /// An unknown command byte, or a payload that lacks a part or its final NUL.
    pub fn parse(frame: Frame) -> Result<Self, CommandError> {
        let Frame { code, payload } = frame;
        let length = payload.len();
        let Some(kind) = CommandKind::from_code(code) else {
            return Err(CommandError::Unknown { code, length });
        };
        let malformed = |expected| CommandError::Malformed { command: kind, length, expected };
        match kind {
            CommandKind::Negotiate => offer(&payload).map(Self::Negotiate).ok_or("three 32-bit numbers"),
            CommandKind::Macros => Ok(macros(payload)),
            CommandKind::Connect => connect(&payload).ok_or("host name, family, port and address"),
            CommandKind::Helo => text(&payload).map(Self::Helo).ok_or("a name"),
            CommandKind::Mail => text(&payload).map(Self::Mail).ok_or("a reverse-path"),
            CommandKind::Rcpt => text(&payload).map(Self::Rcpt).ok_or("a forward-path"),
            CommandKind::Data => Ok(Self::Data),
            CommandKind::Unknown => Ok(Self::Unknown),
            CommandKind::Header => header(payload).map(Self::Header).ok_or("a field name and a value"),
            CommandKind::EndOfHeader => Ok(Self::EndOfHeader),
            CommandKind::Body => Ok(Self::Body(payload)),
            CommandKind::EndOfMessage => Ok(Self::EndOfMessage(payload)),
            CommandKind::Abort => Ok(Self::Abort),
            CommandKind::Quit => Ok(Self::Quit),
            CommandKind::QuitNewConnection => Ok(Self::QuitNewConnection),
        }
        .map_err(malformed)
    }

    /// Which command it is.
    pub const fn kind(&self) -> CommandKind {
        match self {
            Self::Negotiate(_) => CommandKind::Negotiate,
            Self::Macros { .. } => CommandKind::Macros,
            Self::Connect { .. } => CommandKind::Connect,
            Self::Helo(_) => CommandKind::Helo,
            Self::Mail(_) => CommandKind::Mail,
            Self::Rcpt(_) => CommandKind::Rcpt,
            Self::Data => CommandKind::Data,
            Self::Unknown => CommandKind::Unknown,
            Self::Header(_) => CommandKind::Header,
            Self::EndOfHeader => CommandKind::EndOfHeader,
            Self::Body(_) => CommandKind::Body,
            Self::EndOfMessage(_) => CommandKind::EndOfMessage,
            Self::Abort => CommandKind::Abort,
            Self::Quit => CommandKind::Quit,
            Self::QuitNewConnection => CommandKind::QuitNewConnection,
        }
    }
}

/// The bytes before the first NUL, and those behind it. What follows the last part of a payload is ignored.
fn string(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (string, rest) = bytes.split_at_checked(memchr(0, bytes)?)?;
    Some((string, rest.get(1..)?))
}

fn text(payload: &[u8]) -> Option<String> {
    let (text, _) = string(payload)?;
    Some(String::from_utf8_lossy(text).into_owned())
}

fn offer(payload: &[u8]) -> Option<Offer> {
    let (numbers, _) = payload.as_chunks();
    let [version, actions, protocol] = numbers.first_chunk()?.map(u32::from_be_bytes);
    Some(Offer { version, actions, protocol })
}

fn macros(mut payload: Bytes) -> Command {
    let stage = payload.first().copied().and_then(MacroStage::of_command);
    let definitions = payload.split_off(payload.len().min(1));
    Command::Macros { stage, definitions }
}

fn connect(payload: &[u8]) -> Option<Command> {
    let (host_name, rest) = string(payload)?;
    let (family, rest) = rest.split_first()?;
    let peer = match family {
        b'4' | b'6' => {
            let (port, address) = rest.split_first_chunk()?;
            Peer::Internet { port: u16::from_be_bytes(*port), address: text(address)? }
        }
        // The port is always 0, and some clients leave it out. The path is of no use.
        b'L' => string(rest.strip_prefix(&[0, 0]).unwrap_or(rest)).map(|_| Peer::Unix)?,
        b'U' => Peer::Unknown,
        _ => return None,
    };
    Some(Command::Connect { host_name: String::from_utf8_lossy(host_name).into_owned(), peer })
}

/// Name and value are slices of the packet.
fn header(mut payload: Bytes) -> Option<HeaderField> {
    let (name, value) = string(&payload)?;
    let (name, value) = (name.len(), string(value)?.0.len());
    let mut rest = payload.split_off(name);
    rest.advance(1);
    rest.truncate(value);
    Some(HeaderField { name: payload, value: rest })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(code: u8, payload: &'static [u8]) -> Result<Command, CommandError> {
        Command::parse(Frame { code, payload: Bytes::from_static(payload) })
    }

    fn internet(host_name: &str, port: u16, address: &str) -> Result<Command, CommandError> {
        let peer = Peer::Internet { port, address: address.into() };
        Ok(Command::Connect { host_name: host_name.into(), peer })
    }

    #[test]
    fn connect_is_read_in_every_form_seen_on_the_wire() {
        let unix = Ok(Command::Connect { host_name: "localhost".into(), peer: Peer::Unix });
        let unknown = Ok(Command::Connect { host_name: "localhost".into(), peer: Peer::Unknown });
        for (payload, expected) in [
            (&b"[127.0.0.1]\x004\xb8\x3c127.0.0.1\0"[..], internet("[127.0.0.1]", 47164, "127.0.0.1")),
            (
                b"host.example.org\x006\x10\x922001:db8::1\0",
                internet("host.example.org", 4242, "2001:db8::1"),
            ),
            (b"h\x006\0\x19IPv6:0:0:0:0:0:0:0:1\0", internet("h", 25, "IPv6:0:0:0:0:0:0:0:1")),
            (b"unknown\x004\0\0unknown\0", internet("unknown", 0, "unknown")),
            (b"localhost\0U", unknown.clone()),
            (b"localhost\0Usurplus", unknown),
            (b"localhost\0L\0\0/run/mta.sock\0", unix.clone()),
            (b"localhost\0L/run/mta.sock\0", unix.clone()),
            (b"localhost\0L\0\0\0", unix),
        ] {
            assert_eq!(parse(b'C', payload), expected, "{:?}", payload.escape_ascii().to_string());
        }
    }

    #[test]
    fn envelope_commands_keep_their_first_string() {
        for (code, payload, expected) in [
            (b'H', &b"c.test\0"[..], Command::Helo("c.test".into())),
            (b'H', b"\0", Command::Helo(String::new())),
            (b'M', b"<a@b.test>\0SIZE=40\0BODY=8BITMIME\0", Command::Mail("<a@b.test>".into())),
            (b'M', b"<a@b.test>\0unterminated", Command::Mail("<a@b.test>".into())),
            (b'M', b"\0", Command::Mail(String::new())),
            (b'M', b"root@sender.test\0", Command::Mail("root@sender.test".into())),
            (b'R', b"<\xffob@x>\0", Command::Rcpt("<\u{fffd}ob@x>".into())),
        ] {
            assert_eq!(parse(code, payload), Ok(expected));
        }
    }

    #[test]
    fn content_commands_keep_their_bytes() {
        let field =
            |name, value| HeaderField { name: Bytes::from_static(name), value: Bytes::from_static(value) };
        assert_eq!(
            parse(b'L', b"Subject\0hi\n there\0"),
            Ok(Command::Header(field(b"Subject", b"hi\n there")))
        );
        assert_eq!(parse(b'L', b"X\0\0"), Ok(Command::Header(field(b"X", b""))));
        assert_eq!(parse(b'B', b"a\0b\r\n"), Ok(Command::Body(Bytes::from_static(b"a\0b\r\n"))));
        assert_eq!(parse(b'E', b""), Ok(Command::EndOfMessage(Bytes::new())));
        assert_eq!(parse(b'E', b"end\r\n"), Ok(Command::EndOfMessage(Bytes::from_static(b"end\r\n"))));
    }

    #[test]
    fn header_and_body_are_slices_of_the_packet() {
        let payload = Bytes::from_static(b"Name\0value\0");
        let start = payload.as_ptr();
        let Ok(Command::Header(field)) = Command::parse(Frame { code: b'L', payload }) else { panic!() };
        assert_eq!(field.name.as_ptr(), start);
    }

    #[test]
    fn macro_packets_are_read_for_any_command() {
        let macros =
            |stage, definitions| Ok(Command::Macros { stage, definitions: Bytes::from_static(definitions) });
        assert_eq!(parse(b'D', b"Mi\0A1\0"), macros(Some(MacroStage::Mail), b"i\0A1\0"));
        assert_eq!(parse(b'D', b"H"), macros(Some(MacroStage::Helo), b""));
        assert_eq!(parse(b'D', b"Li\0A1\0"), macros(None, b"i\0A1\0"));
        assert_eq!(parse(b'D', b"\xff"), macros(None, b""));
        assert_eq!(parse(b'D', b""), macros(None, b""));
    }

    #[test]
    fn commands_without_a_payload_ignore_one() {
        for (code, command) in [
            (b'T', Command::Data),
            (b'N', Command::EndOfHeader),
            (b'A', Command::Abort),
            (b'Q', Command::Quit),
            (b'K', Command::QuitNewConnection),
            (b'U', Command::Unknown),
        ] {
            assert_eq!(parse(code, b""), Ok(command.clone()));
            assert_eq!(parse(code, b"surplus"), Ok(command));
        }
    }

    #[test]
    fn the_offer_is_three_numbers() {
        let offer = Offer { version: 6, actions: 0x1ff, protocol: 0x1f_ffff };
        assert_eq!(parse(b'O', b"\0\0\0\x06\0\0\x01\xff\0\x1f\xff\xff"), Ok(Command::Negotiate(offer)));
    }

    #[test]
    fn what_cannot_be_read_is_an_error_that_says_so() {
        for (code, payload, message) in [
            (b'O', &b"\0\0\0\x06"[..], "malformed OPTNEG packet of 4 bytes, expected three 32-bit numbers"),
            (
                b'C',
                b"host",
                "malformed CONNECT packet of 4 bytes, expected host name, family, port and address",
            ),
            (
                b'C',
                b"h\0",
                "malformed CONNECT packet of 2 bytes, expected host name, family, port and address",
            ),
            (
                b'C',
                b"h\x004\0",
                "malformed CONNECT packet of 4 bytes, expected host name, family, port and address",
            ),
            (
                b'C',
                b"h\x004\0\x19::1",
                "malformed CONNECT packet of 8 bytes, expected host name, family, port and address",
            ),
            (
                b'C',
                b"h\0X\0\x19x\0",
                "malformed CONNECT packet of 7 bytes, expected host name, family, port and address",
            ),
            (
                b'C',
                b"h\0L",
                "malformed CONNECT packet of 3 bytes, expected host name, family, port and address",
            ),
            (b'H', b"c.test", "malformed HELO packet of 6 bytes, expected a name"),
            (b'M', b"", "malformed MAIL packet of 0 bytes, expected a reverse-path"),
            (b'R', b"<a@b>", "malformed RCPT packet of 5 bytes, expected a forward-path"),
            (b'L', b"Name\0value", "malformed HEADER packet of 10 bytes, expected a field name and a value"),
            (b'L', b"Name\0", "malformed HEADER packet of 5 bytes, expected a field name and a value"),
            (b'?', b"abc", "unknown command '?' with 3 bytes"),
            (0x80, b"", "unknown command '\\u{80}' with 0 bytes"),
        ] {
            let error = parse(code, payload).map_err(|error| error.to_string());
            assert_eq!(error, Err(message.to_owned()));
        }
    }
}
