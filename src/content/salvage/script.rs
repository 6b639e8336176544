//! Files that a page, a script or a document in RTF puts together: a string of base64 or hexadecimal digits, a string of
//! escapes, a list of numbers (what is called HTML smuggling).
//!
//! Where such a file may begin shows in how its first bytes are written, so one search for all of these is enough; what
//! follows is read leniently, as long as it goes on in the same way.

use std::sync::LazyLock;

use aho_corasick::AhoCorasick;
use aho_corasick::packed::Searcher;

use super::decode::{self, Padding};
use crate::content::magic;

/// Bytes of a file that are decoded to see what it is; enough for all but some programs.
const GLANCE: usize = 64;

/// How bytes are written.
#[derive(Clone, Copy)]
enum Form {
    Base64,
    /// Two digits a byte.
    Hex,
    /// `\x50`, `\u0050`, `\120` or `%50`, and plain characters.
    Escapes,
    /// Decimal or `0x50`, with commas between.
    Numbers,
}

/// Beginnings of zip, RAR, 7z, gzip, xz, bzip2, cab, compound file, shortcut, OneNote section and programs, each as short as
/// it can be told by: what follows is looked at. No more than 64 of them fit the fast search.
const BEGINNINGS: [(Form, &[&str]); 4] = [
    (
        Form::Base64,
        &[
            "UEsDB", "UmFyIRoH", "N3q8ryc", "H4sI", "/Td6WFo", "QlpoO", "TVNDRg", "0M8R4KGx", "TAAAAAEU",
            "5FJcey", "TVqQ", "TVpQ", "TVoA", "TVpB", "TVro", "TVpF", "PGh0bWw", "PHNjcmlw",
        ],
    ),
    (
        Form::Hex,
        &[
            "504b0304",
            "504B0304",
            "52617221",
            "377abcaf",
            "377ABCAF",
            "d0cf11e0",
            "D0CF11E0",
            "4d5a",
            "4D5A",
            "4c00000001",
            "4C00000001",
        ],
    ),
    (
        Form::Escapes,
        &[
            "\\x50\\x4",
            "PK\\x03",
            "%50%4",
            "PK%03",
            "\\x4d\\x5",
            "\\x4D\\x5",
            "%4d%5",
            "%4D%5",
            "MZ\\x90",
            "MZ%90",
            "\\x52\\x6",
            "%52%6",
            "Rar!\\x1",
            "Rar!%1",
            "\\u0050",
            "\\u004d",
            "\\u004D",
            "\\120\\1",
            "\\115\\1",
        ],
    ),
    (
        Form::Numbers,
        &[
            "80,75,",
            "80, 75,",
            "80 , 75 ,",
            "77,90,",
            "77, 90,",
            "82,97,",
            "82, 97,",
            "55,122,",
            "55, 122,",
            "0x50,",
            "0x4d,",
            "0x4D,",
            "0x52,",
            "0x37,",
        ],
    ),
];

/// The fast search, where the processor has it, and the other.
static SEARCH: LazyLock<(Option<Searcher>, Option<AhoCorasick>)> = LazyLock::new(|| {
    let words = || BEGINNINGS.iter().flat_map(|(_, words)| words.iter());
    match Searcher::new(words()) {
        Some(fast) => (Some(fast), None),
        None => (None, AhoCorasick::new(words()).ok()),
    }
});

/// The files in `text` that surely are containers, programs or pages. What only begins like one is decoded no further than it takes
/// to see that.
pub(super) fn files(text: &[u8]) -> impl Iterator<Item = Vec<u8>> {
    let (fast, other) = &*SEARCH;
    let fast = fast.iter().flat_map(move |search| search.find_iter(text));
    let other = other.iter().flat_map(move |search| search.find_iter(text));
    let mut end = 0;
    fast.chain(other).filter_map(move |word| {
        let form = form(word.pattern().as_usize()).filter(|_| word.start() >= end)?;
        let before = word.start().checked_sub(1).and_then(|at| text.get(at)).copied();
        let rest = &text[word.start()..];
        if before.is_some_and(|byte| form.continues(byte)) || !is_file(form, rest) {
            return None;
        }
        let (data, length) = form.decoded(rest, usize::MAX);
        end = word.start() + length;
        Some(data)
    })
}

/// Whether `text` is surely a file in this form. Little of it is decoded where little is enough to tell, as text may begin like
/// one over and over.
fn is_file(form: Form, text: &[u8]) -> bool {
    let (glance, _) = form.decoded(text, GLANCE);
    magic::is_sure(&glance)
        || super::begins_page(&glance)
        || (magic::is_told_by_more(&glance) && magic::is_sure(&form.decoded(text, magic::SURE).0))
}

fn form(pattern: usize) -> Option<Form> {
    let mut before = 0;
    BEGINNINGS.iter().find_map(|(form, words)| {
        before += words.len();
        (pattern < before).then_some(*form)
    })
}

impl Form {
    /// Whether a byte before the beginning shows that it is none.
    const fn continues(self, byte: u8) -> bool {
        match self {
            Self::Base64 => decode::digit(byte).is_some() && !matches!(byte, b'-' | b'/' | b'_' | b'+'),
            Self::Hex => byte.is_ascii_hexdigit(),
            Self::Escapes => false,
            Self::Numbers => byte.is_ascii_digit(),
        }
    }

    /// What `text` begins with, some `limit` bytes at most, and how much of it that takes.
    fn decoded(self, text: &[u8], limit: usize) -> (Vec<u8>, usize) {
        match self {
            Self::Base64 => base64(text, limit),
            Self::Hex => hexadecimal(text, limit),
            Self::Escapes => escapes(text, limit),
            Self::Numbers => numbers(text, limit),
        }
    }
}

/// Where the string goes on that ends in the quote `text` begins with: `"abc" +⏎ "def"`. None where it does not.
fn next_piece(text: &[u8]) -> Option<usize> {
    let quote = *text.first().filter(|byte| matches!(byte, b'"' | b'\'' | b'`'))?;
    let joint = text
        .get(1..)?
        .iter()
        .take(64)
        .take_while(|byte| byte.is_ascii_whitespace() || matches!(byte, b'+' | b',' | b'\\'));
    let length = 1 + joint.count();
    (text.get(length) == Some(&quote)).then_some(length + 1)
}

/// Digits, also escaped (`%2B`), in one string or several.
fn base64(text: &[u8], limit: usize) -> (Vec<u8>, usize) {
    let most = limit.saturating_mul(4) / 3 + 1;
    let mut digits = Vec::new();
    let mut at = 0;
    while let Some(&byte) = text.get(at)
        && digits.len() <= most
    {
        if decode::digit(byte).is_some() || byte == b'=' {
            digits.push(byte);
            at += 1;
        } else if byte == b'%'
            && let Some(escaped) = escape(text, at + 1)
        {
            digits.push(escaped);
            at += 3;
        } else if byte.is_ascii_whitespace() || byte == b'\\' {
            at += 1;
        } else if let Some(length) = next_piece(&text[at..]) {
            at += length;
        } else {
            break;
        }
    }
    (decode::base64(&digits, Padding::EndsAll, limit), at)
}

/// Pairs of digits, also with space between, as RTF has them.
pub(in crate::content) fn hexadecimal(text: &[u8], limit: usize) -> (Vec<u8>, usize) {
    let mut out = Vec::new();
    let mut at = 0;
    while let Some(&byte) = text.get(at)
        && out.len() < limit
    {
        if let Some(pair) = escape(text, at) {
            out.push(pair);
            at += 2;
        } else if byte.is_ascii_whitespace() {
            at += 1;
        } else if let Some(length) = next_piece(&text[at..]) {
            at += length;
        } else {
            break;
        }
    }
    (out, at)
}

/// Escapes, and between them characters that stand for themselves, up to the quote.
fn escapes(text: &[u8], limit: usize) -> (Vec<u8>, usize) {
    let mut out = Vec::new();
    let mut at = 0;
    while let Some(&byte) = text.get(at)
        && out.len() < limit
    {
        if let Some((escaped, length)) = escaped(&text[at..]) {
            out.push(escaped);
            at += length;
        } else if let Some(length) = next_piece(&text[at..]) {
            at += length;
        } else if matches!(byte, b'"' | b'\'' | b'`' | b'<' | b'>' | b'\r' | b'\n') {
            break;
        } else {
            out.push(byte);
            at += 1;
        }
    }
    (out, at)
}

/// The byte that an escape at the beginning of `text` stands for, and the length of that: `\x50`, `\u0050`, `\120`, `%50`, `%u0050`.
fn escaped(text: &[u8]) -> Option<(u8, usize)> {
    match text {
        [b'\\' | b'%', b'u', b'0', b'0', ..] => Some((escape(text, 4)?, 6)),
        [b'\\', b'x', ..] => Some((escape(text, 2)?, 4)),
        [b'%', ..] => Some((escape(text, 1)?, 3)),
        [b'\\', digits @ ..] => {
            let length = digits.iter().take(3).take_while(|digit| matches!(digit, b'0'..=b'7')).count();
            Some((number(&digits[..length], 8)?, 1 + length))
        }
        _ => None,
    }
}

/// Numbers below 256 with commas and space between.
fn numbers(text: &[u8], limit: usize) -> (Vec<u8>, usize) {
    let mut out = Vec::new();
    let mut at = 0;
    while out.len() < limit {
        let rest = &text[at..];
        let (number, length) = match rest {
            [b'0', b'x' | b'X', digits @ ..] => {
                let length = digits.iter().take(3).take_while(|byte| byte.is_ascii_hexdigit()).count();
                (number(&digits[..length], 16), 2 + length)
            }
            digits => {
                let length = digits.iter().take(4).take_while(|byte| byte.is_ascii_digit()).count();
                (number(&digits[..length], 10), length)
            }
        };
        let Some(byte) = number else { break };
        out.push(byte);
        at += length;
        at += text[at..].iter().take_while(|byte| byte.is_ascii_whitespace() || **byte == b',').count();
    }
    (out, at)
}

fn number(digits: &[u8], radix: u32) -> Option<u8> {
    u8::from_str_radix(std::str::from_utf8(digits).ok()?, radix).ok()
}

/// The byte in the two hexadecimal digits at `at`.
fn escape(text: &[u8], at: usize) -> Option<u8> {
    let digits = text.get(at..at + 2)?;
    digits.iter().all(u8::is_ascii_hexdigit).then(|| number(digits, 16)).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;
    use base64::prelude::*;

    const ZIP: &[u8] = b"PK\x03\x04\x14\0\0\0\0\0+/= \xff\xfeabc'\"\x1a";

    #[test]
    fn every_way_to_write_bytes_is_read() {
        let digits = BASE64_STANDARD.encode(ZIP);
        let list = |form: &dyn Fn(&u8) -> String, between: &str| {
            ZIP.iter().map(form).collect::<Vec<_>>().join(between)
        };
        let hex = list(&|byte| format!("{byte:02x}"), "");
        for text in [
            format!("atob('{digits}')"),
            format!("x = \"{}\" +\r\n  \"{}\";", &digits[..9], &digits[9..]),
            format!(
                "data:a/b;base64,{}\"",
                digits.replace('+', "%2B").replace('/', "%2f").replace('=', "%3d")
            ),
            format!("'{hex}'"),
            format!("{{\\*\\objdata {}\r\n{}}}", &hex[..20], &hex[20..].to_uppercase()),
            format!("\"{}\"", list(&|byte| format!("\\x{byte:02x}"), "")),
            format!("\"{}\"", list(&|byte| format!("\\u{byte:04x}"), "")),
            format!("\"{}\"", list(&|byte| format!("\\{byte:03o}"), "")),
            format!("[{}]", list(&u8::to_string, " , ")),
            format!("data:a/b,{}\"", list(&|byte| format!("%{byte:02X}"), "")),
            format!("[{}]", list(&u8::to_string, ",")),
            format!("({})", list(&u8::to_string, ", ")),
            format!("[{}]", list(&|byte| format!("0x{byte:02X}"), ", ")),
        ] {
            assert_eq!(files(text.as_bytes()).collect::<Vec<_>>(), [ZIP], "{text}");
        }
        assert_eq!(files(b"'PK\\x03\\x04\\x14\\x00abc'").collect::<Vec<_>>(), [b"PK\x03\x04\x14\0abc"]);
    }

    #[test]
    fn text_is_none() {
        for text in [
            "xUEsDBBQA",
            "77,90,100,200",
            "a504b0304 b",
            "TVqQ",
            "see 77, 90, and 80, 75, 3",
            "MZ\\x90 is a mark",
        ] {
            assert_eq!(files(text.as_bytes()).next(), None, "{text}");
        }
    }

    #[test]
    fn the_fast_search_holds_all_beginnings() {
        assert!(BEGINNINGS.iter().map(|(_, words)| words.len()).sum::<usize>() <= 64);
        assert!(SEARCH.0.is_some() || SEARCH.1.is_some());
    }
}
