//! The raw view of a message: every line that looks like a `Content-*` field or opens an encoded file, wherever
//! it stands.
//!
//! MIME parsers disagree on where parts begin. This view knows nothing of parts, so no boundary, nesting or
//! damaged header can hide a name from it.

use std::borrow::Cow;

use super::filename::MAX_NAME;
use super::parameters;
use super::salvage::decode::{self, Padding};

/// Longest field name that is looked at, in bytes.
const MAX_FIELD_NAME: usize = 80;

/// The property of a calendar that holds a file, with parameters.
const ATTACH: &[u8] = b"ATTACH;";

/// What a line can tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Seen<'n> {
    /// A name of a file.
    Name(&'n str),
    /// The type of a fragment of a message.
    Partial,
    /// The type of a part whose content is elsewhere.
    External,
}

/// Calls `found` for what each line in `text` tells, in order, until it fails.
pub(super) fn seen<E>(text: &[u8], mut found: impl FnMut(Seen<'_>) -> Result<(), E>) -> Result<(), E> {
    let mut lines = Lines::new(text);
    let mut next = lines.next();
    // The last line that was not indented: a field behind another line than those of a header is a quotation.
    let mut above: &[u8] = b"--";
    // Files that were begun without data: there may be other lines before it, as some decoders read on to `end`.
    let mut begun = Vec::new();
    while let Some(line) = next {
        next = lines.next();
        let is_indented = is_folded(line);
        let field = content_field(line)
            .filter(|_| !is_indented || above.starts_with(b"--") || begins_field(above))
            .or_else(|| folded_before_colon(line, &mut next, &mut lines));
        if !is_indented {
            above = line;
        }
        let Some((name, value)) = field else {
            if let Some(name) = encoded_file(line) {
                if line.starts_with(b"=") || begins_data(next, &lines) {
                    found(Seen::Name(&String::from_utf8_lossy(&name)))?;
                } else {
                    begun.push(name);
                }
            } else if !begun.is_empty() && is_data(line, next) {
                begun.drain(..).try_for_each(|name| found(Seen::Name(&String::from_utf8_lossy(&name))))?;
            } else if line == b"end" {
                begun.clear();
            }
            continue;
        };
        let mut field = Cow::Borrowed(value);
        while let Some(folded) = next.filter(|line| is_folded(line) || is_rest(&field, line)) {
            field.to_mut().push(b'\n');
            field.to_mut().extend_from_slice(folded);
            next = lines.next();
        }
        if name.eq_ignore_ascii_case(ATTACH) {
            let end = end_of_parameters(&field);
            field.to_mut().truncate(end);
            // Otherwise the value is a link.
            if !field.to_ascii_uppercase().windows(6).any(|word| matches!(word, b"BINARY" | b"BASE64")) {
                continue;
            }
        }
        if let Some(kind) = kind_of_message(&field) {
            found(kind)?;
        }
        parameters::names(&field).iter().try_for_each(|name| found(Seen::Name(name)))?;
        if let Some(name) = name_of_field(name, &field) {
            found(Seen::Name(&name))?;
        }
    }
    Ok(())
}

/// Whether a line is uuencoded, and no heading that looks so: most are of full length, or have another or the end behind them.
fn is_data(line: &[u8], next: Option<&[u8]>) -> bool {
    const FULL: usize = 61;
    let goes_on = |next: &[u8]| decode::is_uuencoded(next) || matches!(next, b"end" | b"`" | b" " | b"");
    decode::is_uuencoded(line) && (line.len() >= FULL || next.is_some_and(goes_on))
}

/// Fields whose whole value may be a name.
const NAMING_FIELDS: [&[u8]; 3] = [b"content-description", b"content-location", b"content-id"];
/// Those whose value is nothing else; Thunderbird reads the last of them.
const FILE_FIELDS: [&[u8]; 3] = [b"content-name", b"content-filename", SUN];
const SUN: &[u8] = b"x-sun-data-name";

/// The name that a field without parameters gives, where it can be that of a file. Unless the field is for such a name, it is no
/// phrase, no address on the web, nor the name of a site. An identifier has a host behind an `@`.
pub(super) fn name_of_field(name: &[u8], value: &[u8]) -> Option<String> {
    let name = name.trim_ascii();
    let is_file = FILE_FIELDS.iter().any(|field| name.eq_ignore_ascii_case(field));
    if !is_file && !NAMING_FIELDS.iter().any(|field| name.eq_ignore_ascii_case(field)) {
        return None;
    }
    let value = String::from_utf8_lossy(value);
    let value = value.trim();
    let value = match value.get(..7) {
        Some(scheme) if scheme.eq_ignore_ascii_case("file://") => value[7..].trim_start_matches('/'),
        _ => value,
    };
    let value = value.trim_start_matches('<').trim_end_matches('>');
    if name.eq_ignore_ascii_case(b"content-id") && value.contains('@') {
        return None;
    }
    let is_site = value.to_ascii_lowercase().ends_with(".com");
    let is_phrase = value.contains([' ', '\t']) || value.contains("://") || is_site;
    (!value.is_empty() && (is_file || !is_phrase)).then(|| value.to_owned())
}

/// A type that is forbidden whatever is in the part. Outside the structure only a field that means it is believed.
fn kind_of_message(value: &[u8]) -> Option<Seen<'static>> {
    let value = value.trim_ascii_start();
    let begins = |kind: &[u8]| value.get(..kind.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(kind));
    let says = |word: &[u8]| value.windows(word.len()).any(|window| window.eq_ignore_ascii_case(word));
    if begins(b"message/partial") && says(b"number") && says(b"id") {
        Some(Seen::Partial)
    } else if begins(b"message/external-body") && says(b"access-type") {
        Some(Seen::External)
    } else {
        None
    }
}

/// Whether a field name is one of MIME's, whatever spaces, comments or control characters stand in it.
pub(super) fn is_content_field(name: &[u8]) -> bool {
    // Most fields begin with another letter.
    let is_other =
        name.first().is_some_and(|byte| byte.is_ascii_alphabetic() && !matches!(byte, b'c' | b'C'));
    !is_other && (begins_plainly(name, b"content-") || bare(name).take(8).eq(*b"content-"))
}

/// Whether a field may give the name of a part.
pub(super) fn may_name(name: &[u8]) -> bool {
    is_content_field(name) || name.trim_ascii().eq_ignore_ascii_case(SUN)
}

fn begins_plainly(name: &[u8], word: &[u8]) -> bool {
    name.get(..word.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(word))
}

/// A field name or value in lower case, without spaces, comments and control characters.
pub(super) fn bare(text: &[u8]) -> impl Iterator<Item = u8> {
    let mut depth = 0usize;
    let keep = move |byte: &&u8| {
        match byte {
            b'(' => depth += 1,
            b')' => depth = depth.saturating_sub(1),
            _ => return depth == 0 && byte.is_ascii_graphic(),
        }
        false
    };
    text.iter().filter(keep).map(u8::to_ascii_lowercase)
}

/// Name and value of the field that begins in a line. A calendar may have files in it, too (RFC 5545 §3.8.1.1).
fn content_field(line: &[u8]) -> Option<(&[u8], &[u8])> {
    if let Some((name, rest)) = line.split_at_checked(ATTACH.len())
        && name.eq_ignore_ascii_case(ATTACH)
    {
        return Some((name, rest));
    }
    let begins = line.iter().find(|byte| byte.is_ascii_graphic());
    if !begins.is_some_and(|byte| matches!(byte, b'c' | b'C' | b'(' | b'x' | b'X')) {
        return None;
    }
    let colon = line.iter().take(MAX_FIELD_NAME).position(|byte| *byte == b':')?;
    may_name(&line[..colon]).then(|| (&line[..colon], &line[colon + 1..]))
}

/// Name and value of a field whose name stands alone in its `line`: a folded line behind it, which is taken, begins with the
/// colon. Thunderbird reads it so.
fn folded_before_colon<'t>(
    line: &'t [u8],
    next: &mut Option<&'t [u8]>,
    lines: &mut Lines<'t>,
) -> Option<(&'t [u8], &'t [u8])> {
    let is_name = matches!(line.first(), Some(b'c' | b'C' | b'x' | b'X'))
        && line.len() <= MAX_FIELD_NAME
        && may_name(line);
    let value = next.filter(|line| is_name && is_folded(line))?.trim_ascii_start().strip_prefix(b":")?;
    *next = lines.next();
    Some((line, value))
}

/// Where the parameters of a property end, and its value follows: at a colon outside of quotes.
fn end_of_parameters(property: &[u8]) -> usize {
    let mut is_quoted = false;
    let end = property.iter().position(|byte| {
        is_quoted ^= *byte == b'"';
        *byte == b':' && !is_quoted
    });
    end.unwrap_or(property.len())
}

/// Whether a line begins as any field does.
fn begins_field(line: &[u8]) -> bool {
    let name =
        line.iter().take(MAX_FIELD_NAME).take_while(|byte| byte.is_ascii_graphic() && **byte != b':').count();
    name > 0 && line[name..].trim_ascii_start().starts_with(b":")
}

fn is_folded(line: &[u8]) -> bool {
    matches!(line.first(), Some(b' ' | b'\t')) && !line.trim_ascii().is_empty()
}

/// Whether a line of encoded data follows, `next` the first line of what does. Without any, the line before is a sentence
/// about how a file begins.
fn begins_data(next: Option<&[u8]>, lines: &Lines<'_>) -> bool {
    let after = Lines::new(lines.rest).take(2);
    let data = next.into_iter().chain(after).find(|line| !line.trim_ascii().is_empty());
    data.is_some_and(|line| {
        let may_stand = |byte: &u8| decode::digit(*byte).is_some() || *byte == b'=';
        let is_base64 = line.len() >= 8 && line.trim_ascii().iter().all(may_stand);
        is_base64 || !decode::uuencoded(line).0.is_empty() || !decode::xxencoded(line).is_empty()
    })
}

/// Whether a line goes on with the field before it though it is not folded: a semicolon and a parameter on either line.
fn is_rest(field: &[u8], line: &[u8]) -> bool {
    if line.starts_with(b";") {
        return true;
    }
    let key =
        line.iter().take_while(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'*' | b'-')).count();
    field.trim_ascii_end().ends_with(b";") && key > 0 && line[key..].trim_ascii_start().starts_with(b"=")
}

/// The name in the first line of a uuencoded (`begin 644 name`) or yEnc (`=ybegin ... name=`) file. In uuencode it may be in
/// base64 itself (`begin-encoded 644 bmFtZQ==`).
pub(super) fn encoded_file(line: &[u8]) -> Option<Cow<'_, [u8]>> {
    let is_space = |byte: &u8| matches!(byte, b' ' | b'\t');
    let open = line.trim_ascii_start();
    // Most lines begin with another letter.
    if !matches!(open.first(), Some(b'b' | b'B' | b'=')) {
        return None;
    }
    let words: [&[u8]; 4] = [b"begin-base64-encoded", b"begin-encoded", b"begin-base64", b"begin"];
    let word = words.into_iter().find(|word| begins_plainly(open, word));
    if let Some(rest) =
        word.and_then(|word| open.get(word.len()..)).filter(|rest| rest.first().is_some_and(is_space))
    {
        let rest = rest.trim_ascii_start();
        let mode = rest.iter().take_while(|byte| matches!(byte, b'0'..=b'7')).count();
        let name = rest.get(mode..)?;
        let is_named = name.first().is_some_and(is_space) && !name.trim_ascii().is_empty();
        let is_encoded = word.is_some_and(|word| word.ends_with(b"-encoded"));
        return ((1..=6).contains(&mode) && is_named).then(|| match is_encoded {
            true => decode::base64(name, Padding::EndsAll, MAX_NAME).into(),
            false => name.trim_ascii().into(),
        });
    }
    let rest = line.strip_prefix(b"=ybegin ")?;
    let name = rest.windows(6).position(|window| window == b" name=")?;
    Some(rest[name + 6..].trim_ascii().into())
}

/// Lines ended by CRLF, LF or a bare CR, which some mail programs take for one.
pub(super) struct Lines<'t> {
    rest: &'t [u8],
    length: usize,
}

impl<'t> Lines<'t> {
    /// The lines of `text`.
    pub(super) const fn new(text: &'t [u8]) -> Self {
        Self { rest: text, length: text.len() }
    }

    /// Where the next line begins.
    pub(super) const fn offset(&self) -> usize {
        self.length - self.rest.len()
    }
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
        let result: Result<(), ()> = seen(text.as_bytes(), |seen| {
            found.push(match seen {
                Seen::Name(name) => name.to_owned(),
                kind => format!("{kind:?}"),
            });
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
            "\r\n--b\r\n  Content-Type: x;\r\n  name=a.exe",
            "\r\nX-Y: z\r\n Content-Type: x;\r\n  name=a.exe",
            "Con\0tent-Type: x; name=a.exe",
            "Content-Type: x/y\r\n\r\nbegin 644 a.exe\r\nM...",
            "=ybegin line=128 size=5 name=a.exe\r\n",
            "Content-Description: a.exe",
            "content-location:a.exe\r\n",
            "Content-Filename: a.exe",
            "Content-ID: <a.exe>",
            "X-Sun-Data-Name: a.exe",
            "Content-Disposition\r\n : attachment; filename=a.exe",
            "Content-Type\r\n\t:x/y;\r\n name=a.exe\r\n",
            "X-Sun-Data-Name\n : a.exe",
            "begin 644 a.exe\r\n`\r\n`\r\n`\r\n#86)C\r\nend",
            "begin 644 a.exe\r\nA few\r\nwords\r\nbefore\r\n#86)C\r\n`\r\nend",
            "Content-Disposition: attachment;\r\nfilename=a.exe",
            "Content-Disposition: attachment\r\n; filename=a.exe",
            "begin-base64 644 a.exe\r\naGVsbG8=\r\n====",
            "begin-encoded 644 YS5leGU=\r\nM2&5L;&\\",
            "BEGIN:VEVENT\r\nATTACH;VALUE=BINARY;\r\n X-FILENAME=a.exe:aGVsbG8=;name=b.exe",
            " BEGIN\t100644\ta.exe\r\n\r\nM2&5L;&\\\r\n",
        ] {
            assert_eq!(all(text), ["a.exe"], "{text:?}");
        }
    }

    #[test]
    fn a_field_for_the_name_of_a_file_may_hold_any() {
        for field in ["Content-Name", "content-filename", "X-Sun-Data-Name"] {
            for name in ["invoice 2026.js", "evil.com", "http://x/evil.js"] {
                assert_eq!(all(&format!("{field}: {name}\r\n")), [name], "{field}");
            }
        }
    }

    #[test]
    fn text_is_no_field() {
        for text in [
            "content of the box: name=a.exe",
            "> Content-Type: x; name=a.exe",
            "begin at 9, a.exe",
            "begin 644",
            "begin 644 a.exe\r\nis how such a file begins",
            "begin 644 a.exe",
            "begin 644 a.exe\r\n`\r\n`\r\n`\r\nend\r\n#86)C",
            "begin 644 a.exe\r\nis how such a file begins.\r\n\r\nREGARDS,\r\nBOB\r\n",
            "begin 644 a.exe\r\nis how it begins.\r\nNext comes\r\n# FOO\r\nwhich is a heading.\r\n",
            "X-Sun: a.exe",
            "beginning 644 a.exe",
            "Subject: name=a.exe",
            "Contents: name=a.exe",
            "Content-Description: how to open a.exe",
            "Content-Description: www.example.com",
            "The rule is:\r\n\r\n    Content-Type: x; name=a.exe",
            "It says so:\r\n Content-Type: x; name=a.exe",
            "Content-Location: http://example.com/a.js",
            "Content-ID: <part1.abc@a.exe>",
            "Content-ID: <logo.example.com>",
            "Content-Type: message/partial is a type",
            "ATTACH;FILENAME=a.exe;FMTTYPE=x/y:https://example.com/a",
            "ATTACH;VALUE=BINARY:name=a.exe",
        ] {
            assert_eq!(all(text), [""; 0], "{text:?}");
        }
    }

    #[test]
    fn types_of_messages_are_told() {
        assert_eq!(all("Content-Type: message/partial; number=1; total=2;\r\n id=\"x\""), ["Partial"]);
        assert_eq!(all("Content-Type: Message/External-Body; access-type=URL"), ["External"]);
    }

    #[test]
    fn the_first_failure_ends_it() {
        let text = "Content-Type: x; name=a.exe\r\n".repeat(3);
        let mut calls = 0;
        let result = seen(text.as_bytes(), |_| {
            calls += 1;
            Err(())
        });
        assert_eq!((result, calls), (Err(()), 1));
    }
}
