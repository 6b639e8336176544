//! What the header of a part says under every reading: which boundaries, encodings and types, and whether mail
//! programs can disagree on it.

use mail_parser::{Encoding, MessagePart};

use super::{parameters, raw};

const TYPE: &[u8] = b"content-type";
const TRANSFER_ENCODING: &[u8] = b"content-transfer-encoding";

/// The fields of one part that tell how it is read.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Header {
    /// Every boundary that any Content-Type gives.
    pub(super) boundaries: Vec<Vec<u8>>,
    /// Every transfer encoding that any field gives, however damaged.
    pub(super) encodings: Vec<Encoding>,
    /// Whether mail programs can disagree.
    pub(super) is_ambiguous: bool,
    /// Whether some Content-Type says that the part is a fragment of a message.
    pub(super) is_partial: bool,
    /// Whether some Content-Type says that the content is elsewhere.
    pub(super) is_external: bool,
    /// Whether some Content-Type says that there are parts.
    pub(super) is_multipart: bool,
    /// Whether some field says that the content is in uuencode.
    pub(super) is_uuencoded: bool,
    /// Whether there is a Content-Type at all.
    pub(super) has_type: bool,
}

impl Header {
    /// Reads the header of `part`.
    pub(super) fn of(part: &MessagePart<'_>) -> Self {
        let mut header = Self::default();
        let (mut first_type, mut first_encoding) = (None, None);
        for field in part.headers().iter() {
            let (name, value) = (field.raw_name().as_bytes(), field.raw_value());
            if !raw::is_content_field(name) {
                continue;
            }
            let is_plain = |known: &[u8]| name.eq_ignore_ascii_case(known);
            let is = |known: &[u8]| is_plain(known) || raw::bare(name).eq(known.iter().copied());
            let is_type = is(TYPE);
            if !is_type && !is(TRANSFER_ENCODING) {
                continue;
            }
            let full = bare(value);
            let first = if is_type {
                header.content_type(value, &full);
                &mut first_type
            } else {
                header.transfer_encoding(&full);
                &mut first_encoding
            };
            let is_contradiction = first.as_ref().is_some_and(|first| *first != full);
            let is_damaged = !(is_plain(TYPE) || is_plain(TRANSFER_ENCODING)) || has_odd_controls(value);
            header.is_ambiguous |= is_contradiction || is_damaged;
            first.get_or_insert(full);
        }
        header
    }

    /// The `value` of a Content-Type, and the same in `full` [`bare`].
    fn content_type(&mut self, value: &[u8], full: &[u8]) {
        self.has_type = true;
        let says = |word: &[u8]| memchr::memmem::find(full, word).is_some();
        self.is_partial |= full.starts_with(b"message/partial") && (says(b"number=") || says(b"id="));
        self.is_external |= full.starts_with(b"message/external-body");
        // Also behind a stray semicolon, where some look for it.
        self.is_multipart |= memchr::memmem::find(&full[..full.len().min(80)], b"multipart/").is_some();
        self.is_ambiguous |= parameters::is_ambiguous_boundary(value);
        self.boundaries.extend(parameters::boundaries(value));
    }

    /// A Content-Transfer-Encoding that is [`bare`].
    fn transfer_encoding(&mut self, full: &[u8]) {
        let text = &full[..full.len().min(80)];
        let says = |word: &[u8]| memchr::memmem::find(text, word).is_some();
        let (encoding, is_exact) = if says(b"base64") {
            (Encoding::Base64, text == b"base64")
        } else if says(b"quoted") {
            (Encoding::QuotedPrintable, text == b"quoted-printable")
        } else {
            (Encoding::None, true)
        };
        self.is_uuencoded |= says(b"uu");
        self.is_ambiguous |= !is_exact;
        if !self.encodings.contains(&encoding) {
            self.encodings.push(encoding);
        }
    }
}

/// A field value without what does not belong there.
fn bare(value: &[u8]) -> Vec<u8> {
    if value.iter().any(|byte| matches!(byte, b'(' | b')')) {
        return raw::bare(value).collect();
    }
    // The same where there are no comments, a byte at a time.
    let mut full = value.to_ascii_lowercase();
    full.retain(u8::is_ascii_graphic);
    full
}

/// NUL, or a CR that ends no line: a line break for some and nothing for others.
fn has_odd_controls(value: &[u8]) -> bool {
    let bare_cr = |at: usize| !matches!(value.get(at + 1), Some(b'\n'));
    value.contains(&0) || memchr::memchr_iter(b'\r', value).any(bare_cr)
}

#[cfg(test)]
mod tests {
    use super::*;
    use mail_parser::MessageParser;
    use proptest::prelude::*;

    fn read(fields: &str) -> Header {
        let text = format!("{fields}\r\n\r\nx");
        Header::of(&MessageParser::new().parse(text.as_bytes()).unwrap().root().root_part())
    }

    #[test]
    fn contradictions_are_told() {
        for fields in [
            "Content-Type: text/plain\r\nContent-Type: multipart/mixed; boundary=b",
            "Content-Type: multipart/mixed; boundary=a; boundary=b",
            "Content-Transfer-Encoding: 7bit\r\nContent-Transfer-Encoding: base64",
            "Content-Transfer-Encoding: x-base64",
            "Content-Transfer-Encoding: base64; x=y",
            "Content-Transfer-Encoding: \"base64\"",
            "Content-Type: text/\0plain",
            "Content-Type(x): text/plain",
        ] {
            assert!(read(fields).is_ambiguous, "{fields:?}");
        }
        for fields in [
            "Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: Base64",
            "content-type: multipart/mixed;\r\n\tboundary=\"a b\"",
            "Content-Transfer-Encoding: 8BIT (as is)",
            "Content-Type: text/plain\r\nContent-Type: Text/Plain",
            "Subject: Content-Type",
        ] {
            assert!(!read(fields).is_ambiguous, "{fields:?}");
        }
    }

    proptest! {
        #[test]
        fn a_value_is_bared_as_by_reading_its_comments(value in "[ -~\\t\\r\\n\0()]{0,40}") {
            let value = value.as_bytes();
            prop_assert_eq!(bare(value), raw::bare(value).collect::<Vec<u8>>());
        }

        #[test]
        fn a_field_of_mime_is_told_as_by_its_bare_name(name in "(?i)[c(]?[o]?(content-)?[ ()a-z\0-]{0,12}") {
            let is_content = raw::bare(name.as_bytes()).take(8).eq(*b"content-");
            prop_assert_eq!(raw::is_content_field(name.as_bytes()), is_content);
        }
    }

    #[test]
    fn every_type_and_encoding_counts() {
        let header = read(
            "Content-Type: message/partial; id=x; number=1\r\nContent-Type: ;multipart/mixed; boundary=b\r\n\
             Content-Transfer-Encoding: 7bit\r\nContent-Transfer-Encoding: x-BASE64",
        );
        assert!(header.is_partial && header.is_multipart && header.has_type && !header.is_external);
        assert_eq!(header.boundaries, [b"b"]);
        assert_eq!(header.encodings, [Encoding::None, Encoding::Base64]);
    }
}
