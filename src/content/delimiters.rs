//! Delimiters that the MIME tree did not use: lines that look like one, and behind which a part begins.
//!
//! Which boundary a mail program takes where there are two, or where one is encoded, damaged or missing, nobody can
//! know. But whichever it is, it stands in the text.

use std::collections::HashSet;
use std::ops::Range;
use std::sync::LazyLock;

use memchr::memmem::Finder;

use super::raw::{Lines, is_content_field};

static DASHES: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(b"--"));

/// Other readings of one text that are followed, at most.
const MAX_READINGS: usize = 8;
/// Further readings, by boundaries that some header declares, at most.
pub(super) const MAX_DECLARED: usize = 16;
/// Longest boundary that is taken for one; RFC 2046 §5.1.1 allows 70, programs take more.
const MAX_BOUNDARY: usize = 1000;
/// Lines behind a delimiter among which a field of MIME must be.
const MAX_FIELDS: usize = 30;

/// A boundary that nothing used, and where its first delimiter stands.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Unused {
    pub(super) boundary: Vec<u8>,
    pub(super) at: usize,
}

/// The delimiters in `text` that are not among `used`, in order. None is in what lies between the `pieces` of the text.
pub(super) fn unused(text: &[u8], pieces: &[Range<usize>], used: &HashSet<Vec<u8>>) -> Vec<Unused> {
    let mut found: Vec<Unused> = Vec::new();
    let mut met: HashSet<&[u8]> = HashSet::new();
    for at in starts(text, pieces) {
        if found.len() == MAX_READINGS {
            break;
        }
        let mut lines = Lines::new(&text[at + 2..]);
        let boundary = lines.next().unwrap_or_default().trim_ascii_end();
        if boundary.is_empty()
            || boundary.len() > MAX_BOUNDARY
            || is_used(boundary, used)
            || met.contains(boundary)
        {
            continue;
        }
        let mut fields =
            lines.take(MAX_FIELDS).take_while(|line| !line.is_empty() && !line.starts_with(b"--"));
        if fields.any(begins_field) && met.insert(boundary) {
            found.push(Unused { boundary: boundary.to_vec(), at });
        }
    }
    found
}

/// Adds to `found` where the boundaries stand that are `declared` but not in it. What a header declares needs no field behind
/// it to be taken for a delimiter.
pub(super) fn add_declared(
    found: &mut Vec<Unused>,
    text: &[u8],
    pieces: &[Range<usize>],
    declared: &HashSet<Vec<u8>>,
) {
    let mut known: HashSet<Vec<u8>> = found.iter().map(|found| found.boundary.clone()).collect();
    for at in starts(text, pieces) {
        let boundary = Lines::new(&text[at + 2..]).next().unwrap_or_default().trim_ascii_end();
        if declared.contains(boundary) && !known.contains(boundary) {
            known.insert(boundary.to_vec());
            found.push(Unused { boundary: boundary.to_vec(), at });
        }
    }
}

/// Where lines begin with two dashes.
fn starts(text: &[u8], pieces: &[Range<usize>]) -> impl Iterator<Item = usize> {
    let in_piece = |piece: Range<usize>| {
        let start = piece.start;
        DASHES.find_iter(&text[piece]).map(move |at| start + at)
    };
    let is_at_start = |at: &usize| {
        let before = at.checked_sub(1).and_then(|before| text.get(before));
        before.is_none_or(|byte| matches!(byte, b'\r' | b'\n'))
    };
    pieces.iter().cloned().flat_map(in_piece).filter(is_at_start)
}

/// Also the final delimiter of a boundary is its use.
fn is_used(boundary: &[u8], used: &HashSet<Vec<u8>>) -> bool {
    used.contains(boundary) || boundary.strip_suffix(b"--").is_some_and(|bare| used.contains(bare))
}

fn begins_field(line: &[u8]) -> bool {
    let colon = line.iter().take(80).position(|byte| *byte == b':');
    colon.is_some_and(|colon| is_content_field(&line[..colon]))
}

impl Unused {
    /// The text from this delimiter on as a message of its own, in which it is the boundary.
    pub(super) fn as_message(&self, text: &[u8]) -> Vec<u8> {
        let mut message = b"Content-Type: multipart/mixed; boundary=\"".to_vec();
        for &byte in &self.boundary {
            if matches!(byte, b'"' | b'\\') {
                message.push(b'\\');
            }
            message.push(byte);
        }
        message.extend_from_slice(b"\"\r\n\r\n");
        message.extend_from_slice(&text[self.at..]);
        message
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn boundaries(text: &str, used: &[&str]) -> Vec<String> {
        let used = used.iter().map(|boundary| boundary.as_bytes().to_vec()).collect();
        let all = 0..text.len();
        let found = unused(text.as_bytes(), std::slice::from_ref(&all), &used);
        found.iter().map(|found| String::from_utf8_lossy(&found.boundary).into_owned()).collect()
    }

    #[test]
    fn delimiters_that_begin_a_part_are_found() {
        let text = "x\r\n--a\r\nContent-Type: x\r\n\r\n--b \nX: y\nContent-Type : x\n\n--c\r\n\r\nContent-Type: x\r\n--a--\r\n";
        assert_eq!(boundaries(text, &[]), ["a", "b"]);
        assert_eq!(boundaries(text, &["a"]), ["b"]);
        assert_eq!(boundaries("--a\rContent-Type: x", &[]), ["a"]);
        assert_eq!(boundaries("-- \r\nContent-Type: x", &[]), [""; 0]);
        assert_eq!(boundaries("x --a\r\nContent-Type: x", &[]), [""; 0]);
        assert_eq!(boundaries("--a--\r\nContent-Type: x", &["a"]), [""; 0]);
    }

    #[test]
    fn a_declared_boundary_needs_no_field_behind_its_delimiter() {
        let text = b"--a--\r\n--a \r\n\r\nx\r\n--a\r\n--b\r\n --c\r\n--d\r\nX: y";
        let declared = [b"a", b"c", b"d"].map(|boundary| boundary.to_vec()).into();
        let mut found = vec![Unused { boundary: b"d".to_vec(), at: 3 }];
        let all = 0..text.len();
        add_declared(&mut found, text, std::slice::from_ref(&all), &declared);
        let expected = [(b"d".to_vec(), 3), (b"a".to_vec(), 7)];
        assert_eq!(found, expected.map(|(boundary, at)| Unused { boundary, at }));
    }

    #[test]
    fn other_readings_are_bounded() {
        let text: String = (0..100).map(|n| format!("--{n}\r\nContent-Type: x\r\n\r\n")).collect();
        assert_eq!(boundaries(&text, &[]).len(), MAX_READINGS);
    }

    #[test]
    fn a_reading_is_a_message() {
        let unused = Unused { boundary: b"a\"b".to_vec(), at: 2 };
        let expected = "Content-Type: multipart/mixed; boundary=\"a\\\"b\"\r\n\r\n--a\"b\r\n\r\nx";
        assert_eq!(unused.as_message(b"x\n--a\"b\r\n\r\nx"), expected.as_bytes());
    }
}
