//! Writes the packets to the MTA. What would not mean the same to Postfix and Sendmail cannot be expressed:
//! nothing accepts, discards or shuts down, of a message only the body can be skipped, and it is changed only where it is
//! let through.

use std::borrow::Cow;
use std::num::NonZeroU32;

use bytes::BytesMut;

use super::frame;
use super::options::Options;
use crate::verdict::{HeaderName, Reply};

/// Tells the MTA that the end-of-message judgement is under way; it restarts its timer. Sendmail allows it
/// nowhere else.
pub(super) const PROGRESS: &[u8] = b"\0\0\0\x01p";

/// Longest recipient quoted in a refusal, in bytes. With [`MAX_TEXT`](crate::verdict::MAX_TEXT) and the codes
/// it stays within the 512 bytes of RFC 5321 §4.5.3.1.5.
const MAX_QUOTED_RECIPIENT: usize = 256;

/// Longest header value or quarantine reason in bytes; a packet may hold 65535.
const MAX_VALUE: usize = 32 * 1024;

/// Where lines of a folded list end, in characters.
const FOLD_AT: usize = 66;

/// The one answer to a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Response {
    /// The answer to OPTNEG.
    Negotiated(Options),
    /// Nothing against it; the next event may come.
    Continue,
    /// Only to BODY, where it was agreed: the rest of the body need not come. In reply to anything else Sendmail takes SKIP for more.
    SkipBody,
    /// The command, or at its end the message, is refused.
    Refuse(Refusal),
    /// Only at the end of the message: it is changed and let through to other filters and the queue.
    Deliver(Vec<Modification>),
}

impl Response {
    /// Appends the response's packets to `out`.
    pub fn encode(&self, out: &mut BytesMut) {
        match self {
            Self::Negotiated(options) => options.encode(out),
            Self::Continue => frame::encode(out, b'c', &[]),
            Self::SkipBody => frame::encode(out, b's', &[]),
            Self::Refuse(refusal) => frame::encode(out, b'y', &[refusal.0.as_bytes(), b"\0"]),
            Self::Deliver(modifications) => {
                for modification in modifications {
                    modification.encode(out);
                }
                frame::encode(out, b'c', &[]);
            }
        }
    }
}

/// A refusal as it travels: `550 5.7.1 text`, one line of printable ASCII, with every `%` doubled, because
/// Sendmail takes the text for a format string and Postfix halves it too.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal(String);

impl Refusal {
    /// The refusal with this reply.
    pub fn new(reply: &Reply) -> Self {
        Self::build("", reply)
    }

    /// The refusal of a recipient by an MTA that does not itself put `<recipient>... ` before the text.
    pub fn of_recipient(recipient: &str, reply: &Reply) -> Self {
        let printable = |c: char| if (' '..='~').contains(&c) { c } else { '?' };
        let recipient: String = recipient.chars().take(MAX_QUOTED_RECIPIENT).map(printable).collect();
        Self::build(&format!("<{recipient}>... "), reply)
    }

    fn build(prefix: &str, reply: &Reply) -> Self {
        // Postfix reads a reply without text as malformed.
        let text = if reply.text().is_empty() { "Refused" } else { reply.text() };
        let line = format!("{} {} {prefix}{text}", reply.code().as_str(), reply.enhanced());
        Self(line.replace('%', "%%"))
    }
}

/// A change of the message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Modification {
    /// A header field above all others, also above the MTA's own Received field, on both MTAs.
    PrependHeader {
        /// Its name.
        name: HeaderName,
        /// Its value.
        value: HeaderValue,
    },
    /// Removes a header field. Where several of one name go, the last goes first, as the others are counted anew.
    DeleteHeader {
        /// Its name.
        name: HeaderName,
        /// Which of the fields of that name that the MTA showed us, counted from 1.
        occurrence: NonZeroU32,
    },
    /// Puts the message on hold.
    Quarantine(QuarantineReason),
}

impl Modification {
    fn encode(&self, out: &mut BytesMut) {
        match self {
            Self::PrependHeader { name, value } => {
                let (name, value) = (name.as_str().as_bytes(), value.0.as_bytes());
                frame::encode(out, b'i', &[&0u32.to_be_bytes(), name, b"\0", value, b"\0"]);
            }
            Self::DeleteHeader { name, occurrence } => {
                let index = occurrence.get().to_be_bytes();
                frame::encode(out, b'm', &[&index, name.as_str().as_bytes(), b"\0\0"]);
            }
            Self::Quarantine(reason) => frame::encode(out, b'q', &[reason.0.as_bytes(), b"\0"]),
        }
    }
}

/// A header value no MTA can misread as two fields or as the end of the header. MTAs do not check that.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeaderValue(String);

impl HeaderValue {
    /// The value `text`: control characters become spaces, each line after an LF begins with white space, and
    /// empty lines vanish.
    pub fn new(text: &str) -> Self {
        // Room for the space of `spaced` too.
        let mut value = String::with_capacity(text.len() + 1);
        for line in text[..text.floor_char_boundary(MAX_VALUE)].split('\n') {
            let line = printable(line);
            if line.trim().is_empty() {
                continue;
            }
            if !value.is_empty() {
                value.push('\n');
                if !line.starts_with([' ', '\t']) {
                    value.push(' ');
                }
            }
            value.push_str(&line);
        }
        Self(value)
    }

    /// The value with the space after the colon, for an MTA that writes none itself.
    pub fn spaced(mut self) -> Self {
        self.0.insert(0, ' ');
        self
    }

    /// The items with `; ` between them, folded into lines.
    pub fn list<'a>(items: impl IntoIterator<Item = &'a str>) -> Self {
        let mut value = String::new();
        let mut column = 0;
        for item in items {
            if !value.is_empty() {
                let fold = column + item.len() > FOLD_AT;
                value.push_str(if fold { ";\n " } else { "; " });
                column = if fold { 0 } else { column };
            }
            value.push_str(item);
            column += item.len() + 2;
        }
        Self::new(&value)
    }
}

/// The line with its control characters as spaces, but for tabs. Hardly any has one.
fn printable(line: &str) -> Cow<'_, str> {
    // Without a way out of the loop it takes many bytes at a time.
    let is_plain = |byte: u8| matches!(byte, b'\t' | b' '..=b'~');
    if line.bytes().fold(true, |all, byte| all & is_plain(byte)) {
        return line.into();
    }
    line.chars().map(|c| if c.is_control() && c != '\t' { ' ' } else { c }).collect()
}

/// Why a message is on hold, for the operator: one line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QuarantineReason(String);

impl QuarantineReason {
    /// The reason `text`; control characters become spaces.
    pub fn new(text: &str) -> Self {
        let text = &text[..text.floor_char_boundary(MAX_VALUE)];
        Self(text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verdict::Code;

    fn encoded(response: &Response) -> Vec<u8> {
        let mut out = BytesMut::new();
        response.encode(&mut out);
        out.to_vec()
    }

    fn reply(text: &str) -> Reply {
        Reply::new(Code::C550, (7, 1), text)
    }

    #[test]
    fn continue_is_a_bare_packet() {
        assert_eq!(encoded(&Response::Continue), b"\0\0\0\x01c");
        assert_eq!(encoded(&Response::Deliver(Vec::new())), b"\0\0\0\x01c");
        assert_eq!(encoded(&Response::SkipBody), b"\0\0\0\x01s");
    }

    #[test]
    fn a_refusal_is_one_line_with_one_nul() {
        for (refusal, packet) in [
            (Refusal::new(&reply("No.")), &b"\0\0\0\x0fy550 5.7.1 No.\0"[..]),
            (Refusal::new(&reply("50% off")), b"\0\0\0\x14y550 5.7.1 50%% off\0"),
            (Refusal::new(&reply("")), b"\0\0\0\x13y550 5.7.1 Refused\0"),
            (Refusal::new(&reply("a\0b\r\nc")), b"\0\0\0\x12y550 5.7.1 a?b??c\0"),
            (
                Refusal::of_recipient("bob@x.test", &reply("No.")),
                b"\0\0\0\x1fy550 5.7.1 <bob@x.test>... No.\0",
            ),
            (
                Refusal::of_recipient("a%b\r\n\0\u{e9}", &reply("No.")),
                b"\0\0\0\x1dy550 5.7.1 <a%%b????>... No.\0",
            ),
        ] {
            assert_eq!(encoded(&Response::Refuse(refusal)), packet, "{}", packet.escape_ascii());
        }
    }

    #[test]
    fn the_longest_refusal_fits_an_smtp_reply_line() {
        let refusal = Refusal::of_recipient(&"r".repeat(5000), &reply(&"t".repeat(5000)));
        assert!(refusal.0.len() + "\r\n".len() <= 512, "{}", refusal.0.len());
    }

    #[test]
    fn modifications_come_before_the_final_reply_in_one_buffer() {
        let response = Response::Deliver(vec![
            Modification::Quarantine(QuarantineReason::new("a\r\nb")),
            Modification::DeleteHeader {
                name: HeaderName::AuthenticationResults,
                occurrence: NonZeroU32::MIN,
            },
            Modification::PrependHeader { name: HeaderName::XGreylag, value: HeaderValue::new("tag") },
        ]);
        let expected = b"\0\0\0\x06qa  b\0\
            \0\0\0\x1dm\0\0\0\x01Authentication-Results\0\0\
            \0\0\0\x13i\0\0\0\0X-Greylag\0tag\0\
            \0\0\0\x01c";
        assert_eq!(encoded(&response), expected);
    }

    #[test]
    fn header_values_cannot_break_the_header() {
        for (text, expected) in [
            ("one", "one"),
            ("one\ntwo", "one\n two"),
            ("one\n\ttwo", "one\n\ttwo"),
            ("one\r\n two\r\n", "one \n two "),
            ("one\n\n\nX-Evil: 1", "one\n X-Evil: 1"),
            ("one\n \nBody", "one\n Body"),
            ("\n\none", "one"),
            ("a\0b\x0bc\u{85}d", "a b c d"),
            ("gr\u{fc}n", "gr\u{fc}n"),
            ("", ""),
        ] {
            assert_eq!(HeaderValue::new(text).0, expected, "{text:?}");
        }
        assert!(HeaderValue::new(&"\u{fc}".repeat(100_000)).0.len() <= MAX_VALUE);
    }

    #[test]
    fn long_lists_are_folded() {
        assert_eq!(HeaderValue::list(["tag", "reason=helo.no_address"]).0, "tag; reason=helo.no_address");
        let item = "reason=attachment.forbidden_extension";
        assert_eq!(
            HeaderValue::list(["tag", item, item, item]).0,
            "tag; reason=attachment.forbidden_extension;\n reason=attachment.forbidden_extension;\n \
             reason=attachment.forbidden_extension"
        );
    }
}
