//! The raw view of a message: every line that looks like a `Content-*` field or opens an encoded file, wherever
//! it stands.
//!
//! MIME parsers disagree on where parts begin. This view knows nothing of parts, so no boundary, nesting or
//! damaged header can hide a name from it.

use super::parameters;

/// Longest field name that is looked at, in bytes.
const MAX_FIELD_NAME: usize = 80;

/// Calls `found` for each name in `text`, in order, until it fails.
pub(super) fn names<E>(text: &[u8], mut found: impl FnMut(&str) -> Result<(), E>) -> Result<(), E> {
    let mut lines = Lines { rest: text };
    let mut next = lines.next();
    while let Some(line) = next {
        next = lines.next();
        let Some(value) = content_field_value(line) else {
            encoded_file(line).map_or(Ok(()), |name| found(&String::from_utf8_lossy(name)))?;
            continue;
        };
        let mut field = value.to_vec();
        while let Some(folded) = next.filter(|line| is_folded(line)) {
            field.push(b'\n');
            field.extend_from_slice(folded);
            next = lines.next();
        }
        parameters::names(&field).iter().try_for_each(|name| found(name))?;
    }
    Ok(())
}

/// Whether a field name is one of MIME's, whatever spaces, comments or control characters stand in it.
pub(super) fn is_content_field(name: &[u8]) -> bool {
    let mut depth = 0usize;
    let bare = name.iter().filter(|byte| {
        match byte {
            b'(' => depth += 1,
            b')' => depth = depth.saturating_sub(1),
            _ => return depth == 0 && byte.is_ascii_graphic(),
        }
        false
    });
    bare.map(u8::to_ascii_lowercase).take(8).eq(*b"content-")
}

fn content_field_value(line: &[u8]) -> Option<&[u8]> {
    if !line
        .iter()
        .find(|byte| byte.is_ascii_graphic())
        .is_some_and(|byte| matches!(byte, b'c' | b'C' | b'('))
    {
        return None;
    }
    let colon = line.iter().take(MAX_FIELD_NAME).position(|byte| *byte == b':')?;
    is_content_field(&line[..colon]).then(|| &line[colon + 1..])
}

fn is_folded(line: &[u8]) -> bool {
    matches!(line.first(), Some(b' ' | b'\t')) && !line.trim_ascii().is_empty()
}

/// The name in the first line of a uuencoded (`begin 644 name`) or yEnc (`=ybegin ... name=`) file.
fn encoded_file(line: &[u8]) -> Option<&[u8]> {
    if let Some(rest) = line.strip_prefix(b"begin ").or_else(|| line.strip_prefix(b"begin-base64 ")) {
        let rest = rest.trim_ascii_start();
        let mode = rest.iter().take_while(|byte| matches!(byte, b'0'..=b'7')).count();
        let name = rest.get(mode..)?.trim_ascii();
        return ((3..=4).contains(&mode) && rest.get(mode) == Some(&b' ') && !name.is_empty())
            .then_some(name);
    }
    let rest = line.strip_prefix(b"=ybegin ")?;
    let name = rest.windows(6).position(|window| window == b" name=")?;
    Some(rest[name + 6..].trim_ascii())
}

/// Lines ended by CRLF, LF or a bare CR, which some mail programs take for one.
struct Lines<'t> {
    rest: &'t [u8],
}

impl<'t> Iterator for Lines<'t> {
    type Item = &'t [u8];

    fn next(&mut self) -> Option<&'t [u8]> {
        if self.rest.is_empty() {
            return None;
        }
        let end = memchr::memchr2(b'\r', b'\n', self.rest).unwrap_or(self.rest.len());
        let (line, after) = self.rest.split_at(end);
        let ending = if after.starts_with(b"\r\n") { 2 } else { 1 };
        self.rest = after.get(ending..).unwrap_or_default();
        Some(line)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(text: &str) -> Vec<String> {
        let mut found = Vec::new();
        let result: Result<(), ()> = names(text.as_bytes(), |name| {
            found.push(name.to_owned());
            Ok(())
        });
        result.unwrap();
        found
    }

    #[test]
    fn names_are_seen_wherever_they_stand() {
        for text in [
            "Content-Disposition: attachment; filename=a.exe\r\n",
            "junk\nCONTENT-TYPE : x/y;\n\tname=a.exe\n",
            "x\rContent-Type: x/y;\r name=a.exe\rx",
            "Content-Disposition(comment): attachment; filename=a.exe",
            " Content-Disposition: attachment;\r\n filename=a.exe\r\n\r\n name=no.exe",
            "Con\0tent-Type: x; name=a.exe",
            "Content-Type: x/y\r\n\r\nbegin 644 a.exe\r\nM...",
            "=ybegin line=128 size=5 name=a.exe\r\n",
        ] {
            assert_eq!(all(text), ["a.exe"], "{text:?}");
        }
    }

    #[test]
    fn text_is_no_field() {
        for text in [
            "content of the box: name=a.exe",
            "> Content-Type: x; name=a.exe",
            "begin at 9, a.exe",
            "begin 644",
            "beginning 644 a.exe",
            "Subject: name=a.exe",
            "Contents: name=a.exe",
        ] {
            assert_eq!(all(text), [""; 0], "{text:?}");
        }
    }

    #[test]
    fn the_first_failure_ends_it() {
        let text = "Content-Type: x; name=a.exe\r\n".repeat(3);
        let mut seen = 0;
        let result = names(text.as_bytes(), |_| {
            seen += 1;
            Err(())
        });
        assert_eq!((result, seen), (Err(()), 1));
    }
}
