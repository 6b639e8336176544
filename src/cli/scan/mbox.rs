//! Mailbox files (RFC 4155): messages one behind the other, each after a line that begins with `From `.

use std::io::{self, BufRead};

/// What separates messages, at the beginning of a line after an empty one.
const SEPARATOR: &[u8] = b"From ";

/// Whether a file that begins so is a mailbox: a separator line, then a header field.
pub(super) fn is_mailbox(beginning: &[u8]) -> bool {
    let mut lines = beginning.split(|byte| *byte == b'\n');
    let first = lines.next().is_some_and(|line| line.starts_with(SEPARATOR));
    let is_field = |line: &[u8]| {
        let name = line.split(|byte| *byte == b':').next().unwrap_or_default();
        name.len() < line.len() && !name.is_empty() && name.iter().all(u8::is_ascii_graphic)
    };
    first && lines.next().is_some_and(is_field)
}

/// The messages of a mailbox, one at a time.
pub(super) struct Messages<R> {
    lines: R,
    ended: bool,
}

impl<R: BufRead> Messages<R> {
    /// The messages of `mailbox`, which begins with a separator.
    pub(super) fn of(mut mailbox: R) -> io::Result<Self> {
        let ended = read_line(&mut mailbox)?.is_none();
        Ok(Self { lines: mailbox, ended })
    }
}

impl<R: BufRead> Iterator for Messages<R> {
    type Item = io::Result<Vec<u8>>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        let mut message = Vec::new();
        let mut after_empty_line = false;
        loop {
            match read_line(&mut self.lines) {
                Ok(Some(line)) if after_empty_line && line.starts_with(SEPARATOR) => break,
                Ok(Some(line)) => {
                    after_empty_line = matches!(line.as_slice(), b"\n" | b"\r\n");
                    message.extend_from_slice(unquoted(&line));
                }
                Ok(None) => {
                    self.ended = true;
                    break;
                }
                Err(error) => {
                    self.ended = true;
                    return Some(Err(error));
                }
            }
        }
        Some(Ok(message))
    }
}

/// Lines that would be separators were written with a `>` before them, and those with such a sign with one more.
fn unquoted(line: &[u8]) -> &[u8] {
    let bare = line.iter().position(|byte| *byte != b'>').unwrap_or_default();
    let is_quoted = bare > 0 && line.get(bare..).is_some_and(|rest| rest.starts_with(SEPARATOR));
    line.get(usize::from(is_quoted)..).unwrap_or_default()
}

fn read_line(from: &mut impl BufRead) -> io::Result<Option<Vec<u8>>> {
    let mut line = Vec::new();
    Ok((from.read_until(b'\n', &mut line)? > 0).then_some(line))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAILBOX: &str = "From a@b Mon Jan  1 00:00:00 2026\nSubject: one\n\nHello\nFrom here on\n\n>From there\n>>From x\n\n\
        From c@d Mon Jan  1 00:00:00 2026\r\nSubject: two\r\n\r\nHi\r\n\r\n";

    #[test]
    fn messages_are_told_apart_and_quoted_lines_restored() {
        let messages: Vec<_> = Messages::of(MAILBOX.as_bytes())
            .unwrap()
            .map(|message| String::from_utf8(message.unwrap()).unwrap())
            .collect();
        assert_eq!(
            messages,
            [
                "Subject: one\n\nHello\nFrom here on\n\nFrom there\n>From x\n\n",
                "Subject: two\r\n\r\nHi\r\n\r\n"
            ]
        );
        assert_eq!(Messages::of(&b""[..]).unwrap().count(), 0);
    }

    #[test]
    fn a_mailbox_begins_with_a_separator_and_a_field() {
        for (text, expected) in [
            (MAILBOX, true),
            ("From a\nX-Mozilla-Status: 0001\n", true),
            ("From: a@b\nSubject: x\n\n", false),
            ("From here on:\nno mailbox", false),
            ("From there\n", false),
            ("", false),
        ] {
            assert_eq!(is_mailbox(text.as_bytes()), expected, "{text:?}");
        }
    }
}
