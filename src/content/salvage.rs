//! The salvage view of a message: files encoded somewhere in its bytes, whatever its structure says.
//!
//! MIME parsers disagree on where parts begin and how they are encoded. This view knows nothing of either: it
//! decodes what looks like base64, quoted-printable, uuencode, yEnc or BinHex, and looks at what surely begins as a
//! container or program ([`magic::is_sure`]). What the MIME tree decoded without doubt is left out, so that it
//! costs ordinary mail one look at each line that is left.

pub(super) mod decode;
pub(super) mod script;

use std::sync::LazyLock;

use encoding_rs::Encoding;
use memchr::memmem::{self, Finder};

use self::decode::Padding;
use super::archive::looks_like_message;
use super::budget::Exceeded;
use super::magic;
use super::raw::{Lines, encoded_file};
use super::scanner::{Part, Place, Scanner};

/// How a `data:` URL goes on where base64 begins.
static DATA: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(b";base64,"));

/// Files that one run of base64 may begin, for each of the four ways in which its digits can be grouped.
const STARTS_PER_GROUPING: usize = 2;
/// Bytes at the start of a line that are decoded to see whether a file begins there.
const GLANCE: usize = 48;
/// Bytes between the parts of a file in yEnc, at most.
const MAX_GAP: usize = 1000;
/// Files of quoted-printable or of bare bytes in one text, at most: each goes on to its end.
const MAX_OPEN_ENDED: usize = 8;

/// Looks for encoded files in `text`, a message or a piece of one, which is in `place`.
pub(super) fn scan(scanner: &mut Scanner<'_>, text: &[u8], place: &Place) -> Result<(), Exceeded> {
    let place = place.salvaged();
    let mut salvage = Salvage { scanner, text, place: &place, open_ended: 0 };
    salvage.data_urls()?;
    for data in script::files(text) {
        salvage.file_or_page(&data)?;
    }
    let mut at = 0;
    while at < text.len() {
        at = salvage.line(at)?;
    }
    Ok(())
}

/// A text in UTF-16 that says so by its first character, in UTF-8.
pub(super) fn from_utf16(data: &[u8]) -> Option<Vec<u8>> {
    let (encoding, mark) = Encoding::for_bom(data).filter(|(encoding, _)| *encoding != encoding_rs::UTF_8)?;
    let (text, _) = encoding.decode_without_bom_handling(&data[mark..]);
    Some(text.into_owned().into_bytes())
}

/// Whether a file begins as a page does, or as a picture with a script.
pub(super) fn begins_page(data: &[u8]) -> bool {
    const BEGINNINGS: [&[u8]; 4] = [b"<html", b"<!doctype html", b"<script", b"<svg"];
    let text = data.strip_prefix(b"\xef\xbb\xbf").unwrap_or(data).trim_ascii_start();
    let begins_as = |tag: &&[u8]| text.get(..tag.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(tag));
    BEGINNINGS.iter().any(begins_as)
}

struct Salvage<'v, 's, 't> {
    scanner: &'v mut Scanner<'s>,
    text: &'t [u8],
    place: &'v Place,
    open_ended: usize,
}

impl Salvage<'_, '_, '_> {
    /// Looks at what begins in the line at `at`. Returns where to go on.
    fn line(&mut self, at: usize) -> Result<usize, Exceeded> {
        let rest = &self.text[at..];
        let mut lines = Lines::new(rest);
        let line = lines.next().unwrap_or_default();
        let next = at + lines.offset();
        match line.first() {
            Some(b'b' | b'B' | b' ' | b'\t') if encoded_file(line).is_some() => self.uuencoded(line, next),
            Some(b'=') if line.starts_with(b"=ybegin ") => self.yenc(line, next),
            Some(b'(') if line.starts_with(b"(This file must be converted with BinHex") => self.binhex(next),
            None => Ok(next),
            Some(b'M') if is_uuencoded(line) => self.uuencoded_without_name(at),
            _ => {
                self.open_ended(line, at)?;
                if is_base64(line) { self.base64(at) } else { Ok(next) }
            }
        }
    }

    /// A run of lines of base64. Returns its end.
    fn base64(&mut self, start: usize) -> Result<usize, Exceeded> {
        let end = self.end_of_base64(start);
        let mut starts: Vec<(usize, usize)> = Vec::new();
        let mut digits = 0;
        let mut lines = Lines::new(&self.text[start..end]);
        loop {
            let at = start + lines.offset();
            let Some(line) = lines.next() else { break };
            if line.trim_ascii().is_empty() {
                continue;
            }
            // A message needs more of its beginning to be told, so that is looked at only where a run begins.
            let glance = if at == start { magic::SURE } else { GLANCE };
            let from = &self.text[at..end];
            let begins = decode::base64(&from[..from.len().min(glance * 2)], Padding::EndsGroup, glance);
            let grouping = digits % 4;
            let same = starts.iter().filter(|(_, other)| *other == grouping).count();
            if same < STARTS_PER_GROUPING && (magic::is_sure(&begins) || begins_with_delimiter(&begins)) {
                starts.push((at, grouping));
            }
            digits += line.iter().filter(|byte| decode::digit(**byte).is_some()).count();
        }
        for (at, _) in starts {
            let data = decode::base64(&self.text[at..end], Padding::EndsGroup, usize::MAX);
            self.file(&[], &data)?;
        }
        Ok(end)
    }

    /// Where the run of lines of base64 ends that begins at `start`; empty lines may stand among them.
    fn end_of_base64(&self, start: usize) -> usize {
        let mut lines = Lines::new(&self.text[start..]);
        let mut end = start;
        loop {
            let at = start + lines.offset();
            let Some(line) = lines.next() else { return end };
            if line.trim_ascii().is_empty() {
                continue;
            }
            if at > start && (!is_base64(line) || self.quoted_printable(line, at)) {
                return end;
            }
            end = start + lines.offset();
        }
    }

    /// Files in `data:` URLs (RFC 2397), as pages that save a file by script carry them.
    fn data_urls(&mut self) -> Result<(), Exceeded> {
        for at in DATA.find_iter(self.text) {
            let from = &self.text[at + DATA.needle().len()..];
            let begins = decode::base64(&from[..from.len().min(2 * GLANCE)], Padding::EndsAll, GLANCE);
            if !magic::is_sure(&begins) && !begins_page(&begins) {
                continue;
            }
            let belongs = |byte: &&u8| {
                decode::digit(**byte).is_some() || matches!(byte, b'=' | b'\r' | b'\n' | b'\t' | b' ')
            };
            let length = from.iter().take_while(belongs).count();
            let data = decode::base64(&from[..length], Padding::EndsAll, usize::MAX);
            self.file_or_page(&data)?;
        }
        Ok(())
    }

    /// A file in quoted-printable or bare bytes that begins at a line and has no end that could be told.
    fn open_ended(&mut self, line: &[u8], at: usize) -> Result<(), Exceeded> {
        if self.open_ended >= MAX_OPEN_ENDED {
            return Ok(());
        }
        let from = &self.text[at..];
        if self.quoted_printable(line, at) {
            self.open_ended += 1;
            let data = decode::quoted_printable(from, usize::MAX);
            return self.file(&[], &data);
        }
        // Text that begins like a message is all around here; the raw view reads its fields.
        let begins = &from[..from.len().min(magic::SURE)];
        if at > 0
            && line.first().is_some_and(|byte| may_begin_file(*byte))
            && magic::is_sure_file(begins)
            && !looks_like_message(begins)
        {
            self.open_ended += 1;
            return self.file(&[], from);
        }
        Ok(())
    }

    /// Whether a file in quoted-printable begins in the `line` at `at`.
    fn quoted_printable(&self, line: &[u8], at: usize) -> bool {
        let may_begin = line.first().is_some_and(|byte| {
            *byte == b'=' || may_begin_file(*byte) || matches!(byte, b'#' | b' ' | b'\t' | b'<')
        });
        if !may_begin || memchr::memchr(b'=', &line[..line.len().min(24)]).is_none() {
            return false;
        }
        let from = &self.text[at..];
        // A page may have an application behind its first tags, which would have to say so soon.
        if line.starts_with(b"<") && !may_be_application(&from[..from.len().min(3 * GLANCE)]) {
            return false;
        }
        let begins = decode::quoted_printable(&from[..from.len().min(3 * GLANCE)], GLANCE);
        magic::is_sure_file(&begins) && !looks_like_message(&begins)
    }

    fn uuencoded(&mut self, line: &[u8], start: usize) -> Result<usize, Exceeded> {
        let Some(name) = encoded_file(line) else { return Ok(start) };
        let names = [String::from_utf8_lossy(&name).into_owned()];
        let (data, length) = decode::uuencoded(&self.text[start..]);
        if !data.is_empty() {
            self.file(&names, &data)?;
        }
        let data = decode::xxencoded(&self.text[start..]);
        if magic::is_sure(&data[..data.len().min(magic::SURE)]) {
            self.file(&names, &data)?;
        }
        Ok(start + length)
    }

    /// Lines of uuencode without the one that begins it. Returns their end.
    fn uuencoded_without_name(&mut self, start: usize) -> Result<usize, Exceeded> {
        let (data, length) = decode::uuencoded(&self.text[start..]);
        self.file(&[], &data)?;
        Ok(start + length)
    }

    fn yenc(&mut self, line: &[u8], start: usize) -> Result<usize, Exceeded> {
        let Some(name) = encoded_file(line) else { return Ok(start) };
        let mut lines = Lines::new(&self.text[start..]);
        let is_numbered = lines.next().is_some_and(|line| line.starts_with(b"=ypart "));
        let begin = start + if is_numbered { lines.offset() } else { 0 };
        let rest = &self.text[begin..];
        let length = memmem::find(rest, b"\n=yend").unwrap_or(rest.len());
        let mut data = decode::yenc(&rest[..length]);
        let mut end = begin + length;
        // Further parts of the same file follow, perhaps in the same text.
        while is_numbered && let Some((part, after)) = next_part(&self.text[end..], &name) {
            data.extend(decode::yenc(part));
            end += after;
        }
        self.file(&[String::from_utf8_lossy(&name).into_owned()], &data)?;
        Ok(end)
    }

    fn binhex(&mut self, start: usize) -> Result<usize, Exceeded> {
        let rest = &self.text[start..];
        let Some(colon) = memchr::memchr(b':', &rest[..rest.len().min(GLANCE)]) else { return Ok(start) };
        let from = &rest[colon + 1..];
        let length = memchr::memchr(b':', from).unwrap_or(from.len());
        self.scanner.budget.work(length as u64)?;
        if let Some(file) = decode::binhex(&from[..length], 4 * length) {
            self.file(&[String::from_utf8_lossy(&file.name).into_owned()], &file.data)?;
        }
        Ok(start + colon + 1 + length)
    }

    /// A file that was found, or a page, which may put together others.
    fn file_or_page(&mut self, data: &[u8]) -> Result<(), Exceeded> {
        if !begins_page(data) {
            return self.file(&[], data);
        }
        let inside = self.place.child("page");
        self.scanner.budget.part()?;
        self.scanner.budget.work(data.len() as u64)?;
        if self.scanner.enter(&inside) { scan(self.scanner, data, &inside) } else { Ok(()) }
    }

    /// A file that was found.
    fn file(&mut self, names: &[String], data: &[u8]) -> Result<(), Exceeded> {
        self.scanner.budget.part()?;
        self.scanner.part(&Part { names, data, is_message: begins_with_delimiter(data) }, self.place)
    }
}

/// The next part in yEnc of the file `name`, which begins close behind the part that `rest` begins behind, and where it ends.
fn next_part<'t>(rest: &'t [u8], name: &[u8]) -> Option<(&'t [u8], usize)> {
    let begin = memmem::find(&rest[..rest.len().min(MAX_GAP)], b"\n=ybegin ")? + 1;
    let mut lines = Lines::new(&rest[begin..]);
    let is_same = encoded_file(lines.next()?).as_deref() == Some(name);
    let is_numbered = lines.next()?.starts_with(b"=ypart ");
    let start = begin + lines.offset();
    let length = memmem::find(&rest[start..], b"\n=yend").unwrap_or(rest.len() - start);
    (is_same && is_numbered).then(|| (&rest[start..start + length], start + length))
}

/// Whether this is the inside of a multipart: a delimiter and a field of its first part.
fn begins_with_delimiter(data: &[u8]) -> bool {
    data.starts_with(b"--") && memmem::find(&data[..data.len().min(magic::SURE)], b"\nContent-").is_some()
}

/// Whether a full line of uuencode is the first of a file.
fn is_uuencoded(line: &[u8]) -> bool {
    matches!(line.len(), 61..=63)
        && line.iter().all(|byte| matches!(byte, b' '..=b'`'))
        && magic::is_sure(&decode::uuencoded(line).0)
}

/// Whether a line has base64 digits and nothing else but padding and space around.
fn is_base64(line: &[u8]) -> bool {
    let line = line.trim_ascii();
    !line.is_empty() && line.iter().all(|byte| decode::digit(*byte).is_some() || *byte == b'=')
}

/// Whether a page that begins so, in quoted-printable, may be an application: a tag begins as its tag does.
fn may_be_application(begins: &[u8]) -> bool {
    let mut tags = memchr::memchr_iter(b'<', begins).map(|at| &begins[at + 1..]);
    tags.any(|tag| matches!(tag, [b'h' | b'H', b't' | b'T' | b'=', ..] | [b'=', ..]))
}

/// First bytes of what [`magic::is_sure`] knows; a quick look, as most lines are text.
const fn may_begin_file(byte: u8) -> bool {
    matches!(byte, b'P' | b'R' | b'7' | b'M' | b'I' | b'L' | b'B' | b'`' | b'x' | b'(' | b'E')
        || byte < 0x20
        || byte >= 0x7f
}

#[cfg(test)]
mod tests {
    use crate::checks::AttachmentSettings;
    use crate::content::{Cancel, scan};
    use crate::facts::Message;

    fn causes(body: &[u8]) -> Vec<String> {
        let text = [b"Subject: x\r\n\r\nHello\r\n", body].concat();
        let report = scan(&Message::from_bytes(&text), &AttachmentSettings::default(), &Cancel::default());
        report
            .found
            .iter()
            .map(|found| format!("{} {} {}", found.reason, found.path, found.view.name()))
            .collect()
    }

    const PROGRAM: &[u8] =
        b"MZ\x90\0\x03\0\0\0\x04\0\0\0\xff\xff\0\0\xb8\0\0\0\0\0\0\0\x40\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\
        \0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x80\0\0\0";

    fn base64(data: &[u8], columns: usize) -> Vec<u8> {
        use base64::Engine;
        let text = base64::engine::general_purpose::STANDARD.encode(data);
        text.as_bytes().chunks(columns).flat_map(|line| [line, b"\r\n"].concat()).collect()
    }

    #[test]
    fn programs_are_found_in_every_encoding() {
        let quoted: String = PROGRAM.iter().map(|byte| format!("={byte:02X}")).collect();
        let yenc: Vec<u8> = PROGRAM
            .iter()
            .flat_map(|byte| match byte.wrapping_add(42) {
                byte @ (0 | b'\n' | b'\r' | b'=') => vec![b'=', byte.wrapping_add(64)],
                byte => vec![byte],
            })
            .collect();
        for body in [
            base64(PROGRAM, 76),
            base64(PROGRAM, 4),
            base64(PROGRAM, 75),
            [b"attachment\r\n".as_slice(), &base64(PROGRAM, 76)].concat(),
            [base64(b"PK is no zip at all, and not at the start of one", 76), base64(PROGRAM, 76)].concat(),
            [b"<a href=\"data:application/x;base64,".as_slice(), &base64(PROGRAM, 4000), b"\">"].concat(),
            quoted.into_bytes(),
            [b"=ybegin line=128 size=64 name=a.bin\r\n".as_slice(), &yenc, b"\r\n=yend size=64\r\n"].concat(),
            PROGRAM.to_vec(),
        ] {
            let found = causes(&body);
            assert_eq!(found.len(), 1, "{found:?} {}", body.escape_ascii());
            assert!(found[0].starts_with("attachment.forbidden_type "), "{found:?}");
            assert!(found[0].ends_with(" salvage"), "{found:?}");
        }
    }

    #[test]
    fn text_is_no_file() {
        for body in [
            &b"begin 644 words, and then\r\nwe went on\r\n"[..],
            b"PK\r\nMZ\r\nRar\r\n7z\r\n",
            b"one\r\nword\r\na\r\nline\r\n",
            b"-----BEGIN PGP MESSAGE-----\r\n\r\nhQEMA0eVtVZyzBfbAQf/Xtb2\r\n=abcd\r\n-----END PGP MESSAGE-----\r\n",
            b"<img src=\"data:image/png;base64,iVBORw0KGgo=\">\r\n",
            b"",
        ] {
            assert_eq!(causes(body), [""; 0], "{}", body.escape_ascii());
        }
        assert_eq!(causes(&base64(&[b'x'; 500], 76)), [""; 0]);
    }
}
