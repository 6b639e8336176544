//! What a file name ends in, under every reading a mail program, archiver or operating system may give it.

use mail_parser::Encoding;
use mail_parser::decoders::charsets;
use unicode_normalization::UnicodeNormalization;

use crate::policy::Extensions;

/// Readings of one name that are looked at; more come from hostile names only.
const MAX_READINGS: usize = 64;
/// Bytes of a name that are looked at from each end.
pub(super) const MAX_NAME: usize = 1024;
/// Bytes of a name that are kept for reports.
const MAX_SHOWN: usize = 255;
/// Extensions that only say how the file in it is packed.
const ENCODERS: [&str; 9] = ["gz", "bz2", "xz", "zst", "lzma", "lz4", "br", "z", "lz"];
/// The largest program a DOS `.com` file can hold.
const MAX_COM: u64 = 65_280;
/// How the EICAR test file begins: a `.com` program made of printable characters.
const EICAR: &[u8] = b"X5O!P%@AP";

/// The content behind a name, as far as it is known.
#[derive(Clone, Copy)]
pub(super) enum Content<'c> {
    /// Nothing is known: the name alone decides.
    Unknown,
    /// How it begins, and how long it is.
    Known { prefix: &'c [u8], size: u64 },
}

/// A name that ends in a forbidden extension.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Forbidden {
    /// The name, under the reading that ends so.
    pub(super) name: String,
    /// The extension in lower case, without dot.
    pub(super) extension: String,
}

/// The first reading of `name` that ends in a forbidden extension.
pub(super) fn forbidden(name: &str, content: Content<'_>, extensions: &Extensions) -> Option<Forbidden> {
    if !may_have_extension(name) {
        return None;
    }
    readings(name).into_iter().find_map(|reading| {
        let extension = endings(&reading).into_iter().find(|ending| {
            let key = if is_class_id(ending) { "{clsid}" } else { ending };
            extensions.contains(key) && !(key == "com" && is_web_site(&reading, content))
        })?;
        Some(Forbidden { name: shown(&reading), extension })
    })
}

/// Work of judging a name, in bytes: a name of plain characters has one reading, others may have all.
pub(super) fn work(name: &str) -> u64 {
    let length = name.len() as u64;
    if is_plain_name(name) { length } else { length.min(2 * MAX_NAME as u64) * MAX_READINGS as u64 }
}

/// The extension of the plain reading of `name`, in lower case, empty where it has none.
pub(super) fn extension(name: &str) -> String {
    let tail = &name[name.ceil_char_boundary(name.len().saturating_sub(MAX_SHOWN))..];
    endings(&normalised(tail)).into_iter().next().unwrap_or_default()
}

/// A name as reports and replies show it: no control or invisible characters, at most 255 bytes, the end kept.
pub(super) fn shown(name: &str) -> String {
    let tail = &name[name.ceil_char_boundary(name.len().saturating_sub(2 * MAX_SHOWN))..];
    let visible: String = tail.chars().filter(|c| !c.is_control() && !is_invisible(*c)).collect();
    let visible = visible.trim();
    visible[visible.ceil_char_boundary(visible.len().saturating_sub(MAX_SHOWN))..].to_owned()
}

/// The part of a name's bytes that counts: no system has much longer paths, and headers may overlap in millions.
pub(super) fn end_of_name(name: &[u8]) -> &[u8] {
    &name[name.len().saturating_sub(MAX_NAME)..]
}

/// Whether any reading of the name can have an extension; most parameters of a header have none.
pub(super) fn may_have_extension(name: &str) -> bool {
    name.bytes().any(|byte| matches!(byte, b'.' | b'%' | b'?' | 0x80..))
}

/// The extensions of a reading: the last one, and where that is an encoder's, those before it.
fn endings(reading: &str) -> Vec<String> {
    let file = reading.trim_end_matches(is_ignored_at_end);
    let mut rest = file.rsplit(['/', '\\']).next().unwrap_or_default();
    let mut endings = Vec::new();
    while let Some((stem, ending)) = rest.rsplit_once('.') {
        endings.push(ending.trim().to_lowercase());
        if !endings.last().is_some_and(|ending| ENCODERS.contains(&ending.as_str())) {
            break;
        }
        rest = stem.trim_end_matches(is_ignored_at_end);
    }
    endings
}

/// Windows drops final dots and spaces; quotes are left over where a header is damaged.
fn is_ignored_at_end(c: char) -> bool {
    c == '.' || c.is_whitespace() || matches!(c, '"' | '\'' | '`' | '\u{2018}'..='\u{201f}')
}

/// `{` 32 hexadecimal digits in five groups `}`: Windows takes it for the type of the file and hides it.
fn is_class_id(ending: &str) -> bool {
    let inner = ending.strip_prefix('{').and_then(|rest| rest.strip_suffix('}'));
    inner.is_some_and(|inner| {
        inner.len() == 36 && inner.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b'-')
    })
}

/// Whether a name in `.com` is that of a web site or an address, or a sentence about one, and the content is no
/// program.
fn is_web_site(reading: &str, content: Content<'_>) -> bool {
    let Content::Known { prefix, size } = content else { return false };
    let is_text = !prefix.iter().any(|byte| matches!(byte, 0..=8 | 14..=26 | 28..=31));
    if prefix.starts_with(b"MZ") || prefix.starts_with(EICAR) || (size < MAX_COM && !is_text) {
        return false;
    }
    reading.contains('@') || reading.trim().contains(' ') || reading.matches('.').count() >= 2
}

/// The name itself, then every other reading of it, each once.
fn readings(name: &str) -> Vec<String> {
    if is_plain_name(name) {
        return vec![name.to_owned()];
    }
    let (head, tail) = ends(name);
    let mut readings = Vec::new();
    add(&mut readings, normalised(tail));
    add(&mut readings, tail.to_owned());
    add(&mut readings, head.to_owned());
    let mut next = 0;
    while next < readings.len() {
        let reading = readings[next].clone();
        for other in derived(&reading) {
            add(&mut readings, other);
        }
        next += 1;
    }
    readings
}

/// Whether the name has only one reading.
fn is_plain_name(name: &str) -> bool {
    name.len() <= MAX_NAME && name.bytes().all(is_plain)
}

/// Bytes that mean the same to everyone.
const fn is_plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b' ' | b'.' | b'_' | b'-' | b'/' | b'+' | b',' | b'@')
}

fn add(readings: &mut Vec<String>, reading: String) {
    if readings.len() < MAX_READINGS && !reading.is_empty() && !readings.contains(&reading) {
        readings.push(reading);
    }
}

/// What one step of decoding, cleaning or splitting makes of a reading.
fn derived(reading: &str) -> Vec<String> {
    let mut out = vec![normalised(reading)];
    if reading.contains("=?") {
        out.extend(decoded_words(reading));
    }
    if reading.contains('%') {
        out.push(String::from_utf8_lossy(&percent_decoded(reading)).into_owned());
    }
    if reading.contains(['\n', '\t']) {
        out.push(reading.split_whitespace().collect());
    }
    if reading.contains('(') {
        out.push(without_comments(reading));
    }
    // A final NUL, `;` or `:` ends the name for some and is part of it for others.
    for separator in ['\0', ';', ':'] {
        let mut pieces = reading.split(separator);
        if let (Some(first), Some(last)) = (pieces.next(), pieces.next_back()) {
            out.extend([first.to_owned(), last.to_owned()]);
            out.extend(pieces.take(4).map(str::to_owned));
        }
    }
    out
}

/// Compatibility characters folded (NFKC), every kind of full stop a dot, invisible and control characters gone.
fn normalised(name: &str) -> String {
    if name.is_ascii() {
        return name.chars().filter(|c| !c.is_control()).collect();
    }
    let dots = |c| if matches!(c, '\u{3002}' | '\u{ff61}') { '.' } else { c };
    name.chars().filter(|c| !is_invisible(*c)).map(dots).nfkc().filter(|c| !c.is_control()).collect()
}

/// Characters that take no room or turn the direction of text (Unicode `Default_Ignorable_Code_Point` and the
/// Braille blank).
const fn is_invisible(c: char) -> bool {
    matches!(c,
        '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}' | '\u{180b}'..='\u{180f}'
        | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{2800}' | '\u{3164}'
        | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e0fff}')
}

/// RFC 2047 words decoded: joined without what stands between them, joined with it, and as bare bytes (a charset
/// may be a lie).
fn decoded_words(text: &str) -> [String; 3] {
    let (mut joined, mut spaced, mut bare) = (String::new(), String::new(), String::new());
    let mut rest = text;
    let mut after_word = false;
    while let Some(at) = rest.find("=?") {
        let (before, word) = rest.split_at(at);
        if !(after_word && before.trim_matches(['"', ' ', '\t', '\n']).is_empty()) {
            joined.push_str(before);
            bare.push_str(before);
        }
        spaced.push_str(before);
        let (bytes, charset, end) = match encoded_word(word) {
            Some((charset, bytes, end)) => (bytes, charset, end),
            None => (b"=?".to_vec(), "", 2),
        };
        after_word = end > 2;
        let decoded = charsets::decode(charset.as_bytes(), &bytes);
        joined.push_str(&decoded);
        spaced.push_str(&decoded);
        bare.push_str(&String::from_utf8_lossy(&bytes));
        rest = &word[end..];
    }
    for reading in [&mut joined, &mut spaced, &mut bare] {
        reading.push_str(rest);
    }
    [joined, spaced, bare]
}

/// The encoded word `text` begins with: charset, decoded bytes, length of the word.
fn encoded_word(text: &str) -> Option<(&str, Vec<u8>, usize)> {
    let (charset, rest) = text.strip_prefix("=?")?.split_once('?')?;
    let (encoding, rest) = rest.split_once('?')?;
    let (encoded, after) = rest.split_once("?=")?;
    let bytes = match encoding {
        "b" | "B" => Encoding::Base64.decode(encoded.as_bytes()).into_owned(),
        "q" | "Q" => Encoding::QuotedPrintable.decode(encoded.replace('_', " ").as_bytes()).into_owned(),
        _ => return None,
    };
    let charset = charset.split('*').next().unwrap_or_default();
    Some((charset, bytes, text.len() - after.len()))
}

fn percent_decoded(text: &str) -> Vec<u8> {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        let digits = text.get(at + 1..at + 3).filter(|digits| digits.bytes().all(|d| d.is_ascii_hexdigit()));
        match digits.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(decoded) if byte == b'%' => {
                out.push(decoded);
                at += 3;
            }
            _ => {
                out.push(byte);
                at += 1;
            }
        }
    }
    out
}

/// RFC 5322 comments left out; an unclosed one goes to the end.
fn without_comments(text: &str) -> String {
    let mut depth = 0usize;
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '(' => depth += 1,
            ')' if depth > 0 => depth -= 1,
            c if depth == 0 => out.push(c),
            _ => {}
        }
    }
    out
}

/// The first and the last [`MAX_NAME`] bytes, cut between characters.
fn ends(name: &str) -> (&str, &str) {
    let head = &name[..name.floor_char_boundary(MAX_NAME)];
    let tail = &name[name.ceil_char_boundary(name.len().saturating_sub(MAX_NAME))..];
    (head, tail)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn core() -> Extensions {
        ["file:lists/attachments-core.txt"].into_iter().collect()
    }

    fn found(name: &str) -> Option<String> {
        forbidden(name, Content::Unknown, &core()).map(|found| found.extension)
    }

    #[test]
    fn forbidden_names_are_found_in_every_disguise() {
        for name in [
            "evil.exe",
            "EVIL.EXE",
            "evil.exe. ",
            "evil.exe . .",
            "evil.exe\u{a0}\u{3000}",
            "evil. exe",
            "evil.exe\0.txt",
            "good.txt\0.exe",
            "evil.e\0xe",
            "evil.exe::$DATA",
            "a.txt:evil.exe",
            "a.txt:evil.exe:$DATA",
            "annex\u{202e}gpj.exe",
            "evil.ex\u{200b}e",
            "evil.e\u{ad}xe",
            "evil.exe\u{feff}",
            "evil\u{ff0e}exe",
            "evil.\u{ff45}\u{ff58}\u{ff45}",
            "evil\u{3002}exe",
            "evil\u{2024}exe",
            "evil\u{fe52}exe",
            "invoice.pdf.exe",
            "invoice.pdf                                             .exe",
            "good.txt;.exe",
            "evil.exe;.txt",
            "C:\\Users\\evil.exe",
            "dir.txt/evil.exe",
            "'evil.exe'",
            "\"evil.exe\"",
            "evil.exe\"",
            "evil%2Eexe",
            "evil.%65%78%65",
            "evil%252Eexe",
            "utf-8''evil%2Eexe",
            "=?utf-8?B?ZXZpbC5leGU=?=",
            "=?utf-8?Q?evil=2Eexe?=",
            "=?utf-8*en?q?evil.exe?=",
            "=?utf-8?Q?evil.e?= =?utf-8?Q?xe?=",
            "=?utf-8?Q?evil.e?=\n =?utf-8?Q?xe?=",
            "\"=?utf-8?Q?evil.e?=\" \"=?utf-8?Q?xe?=\"",
            "=?utf-16be?B?AGUAdgBpAGwALgBlAHgAZQ==?=",
            "=?utf-16le?B?ZQB2AGkAbAAuAGUAeABlAA==?=",
            "utf-16be''%00e%00v%00i%00l%00.%00e%00x%00e",
            "evil.e\n xe",
            "evil.e(comment)xe",
            "evil(c).exe",
            "evil.exe.gz",
            "evil.exe.gz.xz",
            "evil.exe .bz2",
            ".exe",
            "\u{202e}\u{200b}.exe",
        ] {
            assert_eq!(found(name).as_deref(), Some("exe"), "{name:?}");
        }
        assert_eq!(
            found("x.txt.{3050F4D8-98B5-11CF-BB82-00AA00BDCE0B}").as_deref(),
            Some("{3050f4d8-98b5-11cf-bb82-00aa00bdce0b}")
        );
        assert_eq!(found("a.SettingContent-ms").as_deref(), Some("settingcontent-ms"));
    }

    #[test]
    fn long_names_are_read_from_both_ends() {
        assert_eq!(found(&format!("{}.exe", "x".repeat(100_000))).as_deref(), Some("exe"));
        assert_eq!(found(&format!("evil.exe\0{}", "x".repeat(100_000))).as_deref(), Some("exe"));
        assert_eq!(found(&"\u{e9};:\0%(".repeat(100_000)), None);
        assert_eq!(found(&"=?".repeat(100_000)), None);
    }

    #[test]
    fn ordinary_names_pass() {
        for name in [
            "report.2026.01.pdf",
            "www.example.com.pdf",
            "report.2026.01",
            "exe",
            "exe.txt",
            "100%.pdf",
            "50% off; see more.pdf",
            "R\u{e9}sum\u{e9} (final).docx",
            "\u{5831}\u{544a}\u{66f8}\u{3002}pdf",
            "a.tar.gz",
            "readme",
            "",
            ".",
            "...",
            "smime.p7s",
            "invite.ics",
            "photo.exe.jpg",
            "=?utf-8?B?cmVwb3J0LnBkZg==?=",
            "Re: your message.eml",
            "{3050F4D8}.txt",
            "archive.zip",
            "image001.png@01D00000.00000000",
        ] {
            assert_eq!(found(name), None, "{name:?}");
        }
    }

    #[test]
    fn a_web_site_is_no_program_unless_its_content_is() {
        let text = Content::Known { prefix: b"Hello from our site", size: 5000 };
        let program = Content::Known { prefix: b"MZ\x90\0", size: 5_000_000 };
        let small_binary = Content::Known { prefix: &[0xe9, 0, 1, 0xb4], size: 900 };
        let eicar = Content::Known { prefix: b"X5O!P%@AP[4\\PZX54(P^)7CC)7}$EICAR", size: 68 };
        for name in ["www.example.com", "bob@example.com", "Your order at example.com"] {
            assert_eq!(forbidden(name, text, &core()), None, "{name}");
            for content in [program, small_binary, eicar, Content::Unknown] {
                assert!(forbidden(name, content, &core()).is_some(), "{name}");
            }
        }
        assert!(forbidden("setup.com", text, &core()).is_some());
        assert!(forbidden("www.example.exe", text, &core()).is_some());
    }

    #[test]
    fn names_are_shown_without_what_cannot_be_seen() {
        assert_eq!(shown("annex\u{202e}gpj\r\n.exe\0"), "annexgpj.exe");
        assert_eq!(shown(&format!("{}.exe", "\u{e9}".repeat(3000))).len(), 254);
        assert_eq!(extension("A.ZIP. "), "zip");
        assert_eq!(extension("a"), "");
    }
}
