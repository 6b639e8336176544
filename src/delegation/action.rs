//! Writing replies: `action=` with one of the few actions that are safe to send.
//!
//! Postfix takes an empty action and a bare number for a *permit*, an unknown word for a configuration error, and a line end for the
//! end of the reply; none of these can be written here.

use bytes::{BufMut, BytesMut};

use crate::reason::Reason;
use crate::verdict::{Finding, Outcome, Reply};

/// Stands in for an empty reply text, as a code alone would permit.
const NO_TEXT: &str = "Access denied";

/// What Postfix is told to do; a refusal in the words of the verdict.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Response<'a> {
    /// No opinion: Postfix goes on to its next restriction.
    Dunno,
    /// Refuse for now, unless a later restriction refuses for good. Postfix shows the client a 450, whatever code the reply has, and
    /// the class of the enhanced code is always 4.
    DeferIfPermit(&'a Reply),
    /// Refuse with code, enhanced code and text. Postfix puts `<recipient>: Recipient address rejected: ` in front of the text.
    Refuse(&'a Reply),
    /// Put a header in front of the message, then go on.
    Prepend(TagHeader),
}

impl Response<'_> {
    /// Appends the reply to what is sent.
    pub fn encode(&self, out: &mut BytesMut) {
        match self {
            // Nearly always.
            Self::Dunno => return out.put_slice(b"action=DUNNO\n\n"),
            Self::DeferIfPermit(reply) => {
                out.put_slice(b"action=DEFER_IF_PERMIT 4");
                put_reply(out, reply);
            }
            Self::Refuse(reply) => {
                out.put_slice(b"action=");
                out.put_slice(reply.code().as_str().as_bytes());
                out.put_slice(if reply.code().class() == 4 { b" 4" } else { b" 5" });
                put_reply(out, reply);
            }
            Self::Prepend(header) => {
                out.put_slice(b"action=PREPEND X-Greylag: tag");
                for reason in &header.reasons {
                    out.put_slice(b"; reason=");
                    out.put_slice(reason.code().as_bytes());
                }
            }
        }
        out.put_slice(b"\n\n");
    }
}

/// The enhanced code of a reply without its class, and the text.
fn put_reply(out: &mut BytesMut, reply: &Reply) {
    let (subject, detail) = reply.status();
    for number in [subject, detail] {
        out.put_u8(b'.');
        out.put_slice(itoa::Buffer::new().format(number).as_bytes());
    }
    out.put_u8(b' ');
    out.put_slice(text(reply).as_bytes());
}

fn text(reply: &Reply) -> &str {
    match reply.text().trim_ascii() {
        "" => NO_TEXT,
        text => text,
    }
}

/// The header of a tagged message: `X-Greylag: tag; reason=helo.no_address`. It names at least one reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TagHeader {
    reasons: Vec<Reason>,
}

impl TagHeader {
    /// The header for those of `findings` that tag, each reason once; `None` if none does.
    pub fn new(findings: &[Finding]) -> Option<Self> {
        let mut reasons = Vec::new();
        for finding in findings {
            if finding.outcome == Outcome::Tag && !reasons.contains(&finding.reason) {
                reasons.push(finding.reason);
            }
        }
        if reasons.is_empty() { None } else { Some(Self { reasons }) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verdict::Code;

    impl Response<'_> {
        /// Its line, without `action=`.
        pub(crate) fn action(&self) -> String {
            let line = encoded(self);
            line.strip_prefix("action=").and_then(|line| line.strip_suffix("\n\n")).unwrap().to_owned()
        }
    }

    fn encoded(response: &Response<'_>) -> String {
        let mut out = BytesMut::new();
        response.encode(&mut out);
        String::from_utf8(out.to_vec()).unwrap()
    }

    fn finding(reason: Reason, outcome: Outcome) -> Finding {
        Finding { reason, outcome, detail: "private".into() }
    }

    #[test]
    fn each_response_has_one_form() {
        let reply = |code, text| Reply::new(code, (7, 1), text);
        for (response, bytes) in [
            (Response::Dunno, "action=DUNNO\n\n"),
            (
                Response::DeferIfPermit(&reply(Code::C451, "Greylisted, try again in 120 seconds")),
                "action=DEFER_IF_PERMIT 4.7.1 Greylisted, try again in 120 seconds\n\n",
            ),
            (Response::DeferIfPermit(&reply(Code::C554, "x")), "action=DEFER_IF_PERMIT 4.7.1 x\n\n"),
            (
                Response::Refuse(&reply(Code::C550, "Access denied - bogus HELO [2]")),
                "action=550 5.7.1 Access denied - bogus HELO [2]\n\n",
            ),
            (
                Response::Refuse(&Reply::new(Code::C452, (5, 3), "Too many recipients")),
                "action=452 4.5.3 Too many recipients\n\n",
            ),
        ] {
            assert_eq!(encoded(&response), bytes);
        }
    }

    #[test]
    fn no_text_can_end_the_line_or_leave_a_bare_code() {
        for (text, written) in [
            ("", "Access denied"),
            (" \t ", "?"),
            ("   ", "Access denied"),
            ("a\r\n\naction=OK\n\n", "a???action=OK??"),
            ("a\0b\u{2028}\u{e9}", "a?b??"),
        ] {
            let reply = Reply::new(Code::C550, (7, 1), text);
            assert_eq!(encoded(&Response::Refuse(&reply)), format!("action=550 5.7.1 {written}\n\n"));
            let deferred = encoded(&Response::DeferIfPermit(&reply));
            assert_eq!(deferred, format!("action=DEFER_IF_PERMIT 4.7.1 {written}\n\n"));
        }
    }

    #[test]
    fn the_header_names_the_tagging_reasons_once() {
        let findings = [
            finding(Reason::HeloNoAddress, Outcome::Tag),
            finding(Reason::HeloMismatched, Outcome::Accept),
            finding(Reason::HeloNoAddress, Outcome::Tag),
            finding(Reason::RecipientsTooManyInHeader, Outcome::Tag),
        ];
        let header = TagHeader::new(&findings).unwrap();
        assert_eq!(
            encoded(&Response::Prepend(header)),
            "action=PREPEND X-Greylag: tag; reason=helo.no_address; reason=recipients.too_many_in_header\n\n"
        );
        assert_eq!(TagHeader::new(&findings[1..2]), None);
        assert_eq!(TagHeader::new(&[]), None);
    }
}
