//! Requests in the order in which Postfix writes them, found in one pass.

use super::{Found, MAX_REQUEST, Place, Places};

/// Finds a request as Postfix 3.11 writes it, and earlier versions that know fewer attributes: whole, in this order, without control
/// characters. `None` for any other, which says nothing of whether it is one. `tail` is that of the last one on this connection.
pub(super) fn in_order<'a>(buffer: &'a [u8], tail: &mut Tail) -> Option<Found<'a>> {
    let mut lines = InOrder { rest: buffer, at: 0 };
    let mut places = Places::default();
    if lines.skip(OF_A_RECIPIENT) {
        places.request = Place { start: 8, end: 27 };
        places.protocol_state = Place { start: 43, end: 47 };
    } else {
        places.request = lines.value(b"request=")?;
        places.protocol_state = lines.value(b"protocol_state=")?;
        lines.value(b"protocol_name=")?;
    }
    places.client_address = lines.value(b"client_address=")?;
    places.client_name = lines.value(b"client_name=")?;
    let port = lines.at;
    places.client_port = lines.value(b"client_port=")?;
    let port = port..lines.at;
    lines.value(b"reverse_client_name=")?;
    places.server_address = lines.value(b"server_address=")?;
    places.server_port = lines.value(b"server_port=")?;
    places.helo_name = lines.value(b"helo_name=")?;
    places.sender = lines.value(b"sender=")?;
    places.recipient = lines.value(b"recipient=")?;
    let progress = lines.at;
    places.recipient_count = lines.value(b"recipient_count=")?;
    places.queue_id = lines.value(b"queue_id=")?;
    places.instance = lines.value(b"instance=")?;
    lines.value(b"size=")?;
    let progress = progress..lines.at;
    let start = lines.at;
    if tail.text.is_empty() || !lines.rest.starts_with(&tail.text) {
        *tail = Tail::read(lines.rest)?;
    }
    tail.place_from(start, &mut places);
    let whole = buffer.get(..start as usize + tail.text.len())?;
    if tail.text.len() > LONGEST_TAIL {
        *tail = Tail::default();
    }
    (whole.len() <= MAX_REQUEST).then_some(Found { whole, places, of_one_mail: Some([port, progress]) })
}

/// The longest tail that is kept for the next request, in bytes. They take some 250.
const LONGEST_TAIL: usize = 1024;

/// What stands behind the size, with the empty line that ends the request: nothing of it is of one mail, so that it is mostly the same
/// in the next request of a connection, and need not be read again.
#[derive(Debug, Default)]
pub(super) struct Tail {
    text: Box<[u8]>,
    sasl_username: Place,
    encryption_protocol: Place,
    policy_context: Place,
    mail_version: Place,
}

impl Tail {
    /// Reads the tail that `text` begins with. The places are those in it.
    fn read(text: &[u8]) -> Option<Self> {
        let mut lines = InOrder { rest: text, at: 0 };
        let mut tail = Self::default();
        if !lines.skip(OF_A_STRANGER) {
            lines.value(b"etrn_domain=")?;
            lines.value(b"stress=")?;
            lines.value(b"sasl_method=")?;
            tail.sasl_username = lines.value(b"sasl_username=")?;
            lines.value(b"sasl_sender=")?;
            lines.value(b"ccert_subject=")?;
            lines.value(b"ccert_issuer=")?;
            lines.value(b"ccert_fingerprint=")?;
            lines.value(b"ccert_pubkey_fingerprint=")?;
        }
        tail.encryption_protocol = lines.value(b"encryption_protocol=")?;
        lines.value(b"encryption_cipher=")?;
        lines.value(b"encryption_keysize=")?;
        tail.policy_context = lines.value(b"policy_context=")?;
        lines.value(b"compatibility_level=")?;
        tail.mail_version = lines.value(b"mail_version=")?;
        let end = lines.skip(b"\n").then_some(lines.at as usize)?;
        Some(Self { text: text.get(..end)?.into(), ..tail })
    }

    /// Sets the places of a request whose tail begins at `start`.
    fn place_from(&self, start: u32, places: &mut Places) {
        places.sasl_username = self.sasl_username.from(start);
        places.encryption_protocol = self.encryption_protocol.from(start);
        places.policy_context = self.policy_context.from(start);
        places.mail_version = self.mail_version.from(start);
    }
}

/// How most requests begin.
const OF_A_RECIPIENT: &[u8; 68] = b"request=smtpd_access_policy\nprotocol_state=RCPT\nprotocol_name=ESMTP\n";

/// What most requests say of a client that has neither login nor certificate.
const OF_A_STRANGER: &[u8; 136] = b"etrn_domain=\nstress=\nsasl_method=\nsasl_username=\nsasl_sender=\n\
    ccert_subject=\nccert_issuer=\nccert_fingerprint=\nccert_pubkey_fingerprint=\n";

/// Lines that are still to be read, and where they begin.
struct InOrder<'a> {
    rest: &'a [u8],
    at: u32,
}

impl InOrder<'_> {
    /// Whether these lines are next, which are skipped then.
    fn skip<const LENGTH: usize>(&mut self, lines: &[u8; LENGTH]) -> bool {
        let Some((next, after)) = self.rest.split_first_chunk() else { return false };
        let are_next = next == lines;
        if are_next {
            self.at += LENGTH as u32;
            self.rest = after;
        }
        are_next
    }

    /// Where the value of `name` stands, if it is next; then the next line is. `None` where the line does not end, or has a control
    /// character.
    #[inline(always)]
    fn value<const LENGTH: usize>(&mut self, name: &[u8; LENGTH]) -> Option<Place> {
        let Some((next, after)) = self.rest.split_first_chunk() else { return Some(Place::default()) };
        if next != name {
            return Some(Place::default());
        }
        let length = line_length(after)?;
        let start = self.at + LENGTH as u32;
        let end = start + length as u32;
        self.at = end + 1;
        self.rest = after.get(length + 1..)?;
        Some(Place { start, end })
    }
}

/// The length of the line that `text` begins with; `None` where it does not end, or has a control character. Lines are short: to call
/// upon memchr for each costs more.
#[inline(always)]
fn line_length(text: &[u8]) -> Option<usize> {
    const ONES: u64 = u64::MAX / 0xff;
    let (words, rest) = text.as_chunks();
    let mut length = 0;
    for word in words {
        let word = u64::from_le_bytes(*word);
        // The highest bit of each byte below a space; the lowest that is marked truly is, and no other matters.
        let marks = word.wrapping_sub(ONES * b' ' as u64) & !word & (ONES << 7);
        if marks != 0 {
            length += marks.trailing_zeros() as usize / 8;
            return (text.get(length) == Some(&b'\n')).then_some(length);
        }
        length += size_of::<u64>();
    }
    length += rest.iter().position(|byte| *byte < b' ')?;
    (text.get(length) == Some(&b'\n')).then_some(length)
}

#[cfg(test)]
mod tests {
    use super::line_length;

    #[test]
    fn a_line_ends_at_its_lf_wherever_that_is() {
        for length in 0..40 {
            let line = "\u{fc} !~"[..].repeat(10).chars().take(length).collect::<String>();
            for rest in ["\n", "\n\n", "\nsender=\t\r\n", "\n\u{fc}\u{fc}\u{fc}\u{fc}\u{fc}"] {
                assert_eq!(line_length(format!("{line}{rest}").as_bytes()), Some(line.len()), "{line}{rest}");
            }
            for rest in ["", "\r\n", "\t\n", "\0\n", "\x1f          \n"] {
                assert_eq!(line_length(format!("{line}{rest}").as_bytes()), None, "{line}{rest}");
            }
        }
    }
}
