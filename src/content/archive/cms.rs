//! S/MIME (RFC 8551): what is inside a signed message of type `application/pkcs7-mime`, what is in a
//! compressed one (RFC 3274), and that an encrypted one is.
//!
//! Such a file is a ContentInfo of CMS (RFC 5652) in BER, so lengths may be unknown until the end and the content may
//! come in pieces. Only what leads to the content is read.

#![expect(clippy::disallowed_types, reason = "each decoder here is read through the budget")]

use std::io::Read;

use flate2::bufread::ZlibDecoder;
use mail_parser::Encoding;
use memchr::memmem;

use super::entry::{self, Entry};
use crate::content::View;
use crate::content::budget::Exceeded;
use crate::content::scanner::{Place, Scanner};
use crate::reason::Reason;

const SEQUENCE: u8 = 0x30;
const OBJECT_ID: u8 = 0x06;
const OCTETS: u8 = 0x04;
/// The same in pieces, each an OCTET STRING itself.
const OCTET_PIECES: u8 = 0x24;
/// `[0] EXPLICIT`.
const CONTENT: u8 = 0xa0;
/// Content types: signed, enveloped, and enveloped with authentication.
const SIGNED: &[u8] = b"\x2a\x86\x48\x86\xf7\x0d\x01\x07\x02";
const ENVELOPED: &[u8] = b"\x2a\x86\x48\x86\xf7\x0d\x01\x07\x03";
/// Compressed (RFC 3274).
const COMPRESSED: &[u8] = b"\x2a\x86\x48\x86\xf7\x0d\x01\x09\x10\x01\x09";
const AUTHENTICATED: &[u8] = b"\x2a\x86\x48\x86\xf7\x0d\x01\x09\x10\x01\x17";

/// Whether a file begins as such a ContentInfo.
pub(super) fn begins(data: &[u8]) -> bool {
    content_type(&mut Ber(data))
        .is_some_and(|kind| [SIGNED, ENVELOPED, AUTHENTICATED, COMPRESSED].contains(&kind))
}

/// Looks into the file `data` called `name`, whose content is in `place`.
pub(super) fn scan(
    scanner: &mut Scanner<'_>,
    name: &str,
    data: &[u8],
    place: &Place,
) -> Result<(), Exceeded> {
    // Some programs leave it in base64, with lines of PEM around it or without.
    let decoded = if begins(data) { data.into() } else { Encoding::Base64.decode(without_armour(data)) };
    scanner.budget.work(decoded.len() as u64)?;
    let mut ber = Ber(&decoded);
    match content_type(&mut ber) {
        Some(SIGNED) => match signed_content(ber) {
            Some(content) => inside(scanner, name, &mut &*content, content.len(), place),
            // The signature of a message that stands beside it.
            None => Ok(()),
        },
        Some(COMPRESSED) => match compressed_content(ber) {
            Some(content) => inside(scanner, name, &mut ZlibDecoder::new(&*content), 0, place),
            None => {
                scanner.unreadable_in(place);
                Ok(())
            }
        },
        Some(ENVELOPED | AUTHENTICATED) => {
            scanner.found_in(place, Reason::AttachmentEncryptedEntry, View::Entry);
            Ok(())
        }
        _ => {
            scanner.unreadable_in(place);
            Ok(())
        }
    }
}

fn inside(
    scanner: &mut Scanner<'_>,
    name: &str,
    content: &mut dyn Read,
    size: usize,
    place: &Place,
) -> Result<(), Exceeded> {
    scanner.budget.entry()?;
    let stem = name.rsplit_once('.').map_or(name, |(stem, _)| stem);
    let names = [stem.to_owned()];
    let entry = Entry { names: &names, size: size as u64, is_encrypted: false, view: View::Entry };
    entry::scan(scanner, place, &entry, Some(content)).map(drop)
}

/// What stands between the lines of PEM (RFC 7468), or everything where there are none.
fn without_armour(data: &[u8]) -> &[u8] {
    let Some(rest) = data.trim_ascii_start().strip_prefix(b"-----BEGIN ") else { return data };
    let start = memchr::memchr(b'\n', rest).map_or(rest.len(), |at| at + 1);
    let rest = &rest[start..];
    &rest[..memmem::find(rest, b"-----END ").unwrap_or(rest.len())]
}

/// What is compressed: behind the version and the algorithm, of which there is but zlib.
fn compressed_content(mut ber: Ber<'_>) -> Option<Vec<u8>> {
    ber.enter(SEQUENCE)?;
    ber.skip()?;
    ber.skip()?;
    encapsulated(ber)
}

/// Enters a ContentInfo and its content. Returns the content's type.
fn content_type<'b>(ber: &mut Ber<'b>) -> Option<&'b [u8]> {
    ber.enter(SEQUENCE)?;
    let kind = ber.value(OBJECT_ID)?;
    ber.enter(CONTENT)?;
    Some(kind)
}

/// What is signed, if it is inside.
fn signed_content(mut ber: Ber<'_>) -> Option<Vec<u8>> {
    ber.enter(SEQUENCE)?;
    // The version and the digest algorithms.
    ber.skip()?;
    ber.skip()?;
    encapsulated(ber)
}

fn encapsulated(mut ber: Ber<'_>) -> Option<Vec<u8>> {
    ber.enter(SEQUENCE)?;
    ber.value(OBJECT_ID)?;
    ber.enter(CONTENT)?;
    Some(ber.octets())
}

/// BER (X.690), read from the outside inwards.
struct Ber<'b>(&'b [u8]);

impl<'b> Ber<'b> {
    /// The tag of the next element and, if it is known, its length.
    fn header(&mut self) -> Option<(u8, Option<usize>)> {
        let [tag, first, rest @ ..] = self.0 else { return None };
        // None of the elements here has a tag of more than one byte.
        if tag & 0x1f == 0x1f {
            return None;
        }
        let (length, rest) = match first {
            0x80 => (None, rest),
            0x81..=0x88 => {
                let (bytes, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
                let length = bytes.iter().fold(0, |length, byte| length << 8 | u64::from(*byte));
                (Some(usize::try_from(length).ok()?), rest)
            }
            0..=0x7f => (Some(usize::from(*first)), rest),
            _ => return None,
        };
        self.0 = rest;
        Some((*tag, length))
    }

    /// Enters the next element, which has this tag. What stands behind it is out of sight, if its length is known.
    fn enter(&mut self, expected: u8) -> Option<()> {
        let (tag, length) = self.header()?;
        if let Some(length) = length {
            self.0 = &self.0[..self.0.len().min(length)];
        }
        (tag == expected).then_some(())
    }

    /// The value of the next element, which has this tag and a known length.
    fn value(&mut self, expected: u8) -> Option<&'b [u8]> {
        let (tag, length) = self.header()?;
        let (value, rest) = self.0.split_at_checked(length?)?;
        self.0 = rest;
        (tag == expected).then_some(value)
    }

    /// Skips the next element with all that is in it.
    fn skip(&mut self) -> Option<()> {
        let mut open = 0u64;
        loop {
            match self.header()? {
                (_, None) => open += 1,
                (0, Some(0)) if open > 0 => open -= 1,
                (_, Some(length)) => self.0 = self.0.get(length..)?,
            }
            if open == 0 {
                return Some(());
            }
        }
    }

    /// The octets of the next element, its pieces joined; where it is cut, what there is of it.
    fn octets(&mut self) -> Vec<u8> {
        let mut octets = Vec::new();
        // Elements of unknown length that are not closed yet.
        let mut open = match self.header() {
            Some((OCTETS, Some(length))) => return self.0[..length.min(self.0.len())].to_vec(),
            Some((OCTET_PIECES, Some(length))) => {
                self.0 = &self.0[..length.min(self.0.len())];
                0
            }
            Some((OCTET_PIECES, None)) => 1u64,
            _ => return octets,
        };
        let is_open = open > 0;
        while let Some(element) = self.header() {
            match element {
                (OCTETS, Some(length)) => {
                    let (piece, rest) = self.0.split_at(length.min(self.0.len()));
                    octets.extend(piece);
                    self.0 = rest;
                }
                (OCTET_PIECES, None) => open += 1,
                // Its pieces follow.
                (OCTET_PIECES, Some(_)) => {}
                (0, Some(0)) if open > 0 => open -= 1,
                _ => break,
            }
            if is_open && open == 0 {
                break;
            }
        }
        octets
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::content::archive::tests::{causes, tree};
    use base64::prelude::*;

    /// An element of known length.
    fn der(tag: u8, content: &[u8]) -> Vec<u8> {
        let length = content.len();
        let header = match length {
            0..=0x7f => vec![tag, length as u8],
            _ => [&[tag, 0x83], &(length as u32).to_be_bytes()[1..]].concat(),
        };
        [header, content.to_vec()].concat()
    }

    /// An element whose length is unknown until its end.
    fn ber(tag: u8, content: &[u8]) -> Vec<u8> {
        [&[tag, 0x80], content, &[0, 0]].concat()
    }

    type Element = fn(u8, &[u8]) -> Vec<u8>;

    fn signed(element: Element, octets: &[u8]) -> Vec<u8> {
        let data = der(OBJECT_ID, b"\x2a\x86\x48\x86\xf7\x0d\x01\x07\x01");
        let inner = element(SEQUENCE, &[data, element(CONTENT, octets)].concat());
        let algorithms = element(0x31, &element(SEQUENCE, &der(OBJECT_ID, b"\x2a\x03")));
        let signers = element(0x31, &[]);
        let signed = element(SEQUENCE, &[der(2, &[1]), algorithms, inner, signers].concat());
        element(SEQUENCE, &[der(OBJECT_ID, SIGNED), element(CONTENT, &signed)].concat())
    }

    const MIME: &[u8] = b"Content-Type: application/octet-stream; name=evil.exe\r\n\r\nMZ";

    #[test]
    fn the_message_inside_is_opened_in_every_encoding() {
        let (head, tail) = MIME.split_at(20);
        let pieces = [der(OCTETS, head), der(OCTETS, tail)].concat();
        for (element, octets) in [
            (der as Element, der(OCTETS, MIME)),
            (ber, der(OCTETS, MIME)),
            (ber, ber(OCTET_PIECES, &pieces)),
            (der, der(OCTET_PIECES, &pieces)),
            (ber, ber(OCTET_PIECES, &[ber(OCTET_PIECES, &der(OCTETS, head)), der(OCTETS, tail)].concat())),
        ] {
            let message = signed(element, &octets);
            let expected = ["attachment.forbidden_extension smime.p7m/smime/evil.exe"];
            assert_eq!(causes("smime.p7m", &message), expected);
            assert_eq!(causes("smime.p7m", BASE64_STANDARD.encode(&message).as_bytes()), expected);
        }
        let invoice = signed(der, &der(OCTETS, b"<?xml version=\"1.0\"?>"));
        assert_eq!(tree("invoice.xml.p7m", &invoice), ["invoice.xml.p7m", " invoice.xml"]);
    }

    #[test]
    fn signatures_alone_hold_nothing_and_envelopes_are_encrypted() {
        let data = der(OBJECT_ID, b"\x2a\x86\x48\x86\xf7\x0d\x01\x07\x01");
        let inner = [der(2, &[1]), der(0x31, &[]), der(SEQUENCE, &data), der(0x31, &[])].concat();
        let info = |kind: &[u8], content: &[u8]| {
            der(SEQUENCE, &[der(OBJECT_ID, kind), der(CONTENT, &der(SEQUENCE, content))].concat())
        };
        assert_eq!(causes("smime.p7s", &info(SIGNED, &inner)), [""; 0]);
        for kind in [ENVELOPED, AUTHENTICATED] {
            assert_eq!(causes("smime.p7m", &info(kind, b"")), ["attachment.encrypted_entry smime.p7m"]);
        }
        assert_eq!(causes("smime.p7m", b"text"), ["attachment.unreadable_container smime.p7m"]);
    }

    #[test]
    fn no_cut_reads_past_the_end() {
        let message = signed(ber, &ber(OCTET_PIECES, &der(OCTETS, MIME)));
        for cut in 0..message.len() {
            causes("smime.p7m", &message[..cut]);
        }
        let deep = [&signed(ber, b"")[..30], &[OCTET_PIECES, 0x80].repeat(100_000)].concat();
        causes("smime.p7m", &deep);
        assert!(Ber(&[0x30, 0x80].repeat(100_000)).skip().is_none());
    }
}
