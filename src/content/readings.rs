//! What a name can mean: every reading that a mail program, archiver or operating system may give it.

use mail_parser::Encoding;
use mail_parser::decoders::charsets;
use unicode_normalization::UnicodeNormalization;

use super::filename::MAX_NAME;
use super::text::Page;

/// Readings of one name that are looked at; more come from hostile names only.
pub(super) const MAX_READINGS: usize = 64;

/// So many spaces in a name that nobody sees what comes behind them.
const WIDE_GAP: &str = "                    ";

/// The name itself, then every other reading of it, each once.
pub(super) fn readings(name: &str) -> Vec<String> {
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
pub(super) fn is_plain_name(name: &str) -> bool {
    if name.len() > MAX_NAME {
        return false;
    }
    let mut spaces = 0;
    let are_plain = name.bytes().all(|byte| {
        spaces += usize::from(byte == b' ');
        PLAIN[usize::from(byte)]
    });
    // To prepare a search takes longer than to read a name.
    are_plain && (spaces < WIDE_GAP.len() || !name.contains(WIDE_GAP))
}

/// Whether [`is_plain`], for each byte: every name is looked at by it.
const PLAIN: [bool; 256] = {
    let mut plain = [false; 256];
    let mut byte = 0;
    while byte < plain.len() {
        plain[byte] = is_plain(byte as u8);
        byte += 1;
    }
    plain
};

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
    // Escapes of pages, scripts and mail bodies have no meaning in a name, but some programs undo them.
    if reading.contains('&') {
        out.push(Page::read(reading).text.trim().to_owned());
    }
    if reading.contains('\\') {
        out.push(unescaped(reading));
    }
    if reading.contains('=') {
        out.push(String::from_utf8_lossy(&Encoding::QuotedPrintable.decode(reading.as_bytes())).into_owned());
    }
    if reading.contains(['\n', '\t']) {
        out.push(reading.split_whitespace().collect());
    }
    if reading.contains('(') {
        out.push(without_comments(reading));
    }
    // What stands behind a wide gap is out of sight, and cut off by some.
    if let Some(gap) = reading.find(WIDE_GAP) {
        out.push(reading[..gap].to_owned());
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
pub(super) fn normalised(name: &str) -> String {
    if name.is_ascii() {
        return name.chars().filter(|c| !c.is_control()).collect();
    }
    let dots = |c| if matches!(c, '\u{3002}' | '\u{ff61}') { '.' } else { c };
    name.chars().filter(|c| !is_invisible(*c)).map(dots).nfkc().filter(|c| !c.is_control()).collect()
}

/// Characters that take no room or turn the direction of text (Unicode `Default_Ignorable_Code_Point` and the
/// Braille blank).
pub(super) const fn is_invisible(c: char) -> bool {
    matches!(c,
        '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}' | '\u{180b}'..='\u{180f}'
        | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{2800}' | '\u{3164}'
        | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e0fff}')
}

/// RFC 2047 words decoded: joined without what stands between them, joined with it, and as bare bytes (a charset
/// may be a lie).
///
/// A word that does not end goes to the end of the text. Where base64 is split between two words, only its digits
/// together give the text.
fn decoded_words(text: &str) -> [String; 4] {
    let (mut joined, mut spaced, mut bare) = (String::new(), String::new(), String::new());
    let mut digits = String::new();
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
            Some(word) => {
                digits.push_str(word.encoded);
                (word.bytes, word.charset, word.length)
            }
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
    let digits = Encoding::Base64.decode(digits.as_bytes());
    [joined, spaced, bare, String::from_utf8_lossy(&digits).into_owned()]
}

struct EncodedWord<'t> {
    charset: &'t str,
    encoded: &'t str,
    bytes: Vec<u8>,
    /// Of the whole word.
    length: usize,
}

/// The encoded word `text` begins with.
fn encoded_word(text: &str) -> Option<EncodedWord<'_>> {
    let (charset, rest) = text.strip_prefix("=?")?.split_once('?')?;
    let (encoding, rest) = rest.split_once('?')?;
    let (encoded, after) = rest.split_once("?=").unwrap_or_else(|| (rest.trim_end_matches('?'), ""));
    let bytes = match encoding {
        "b" | "B" => Encoding::Base64.decode(encoded.as_bytes()).into_owned(),
        "q" | "Q" => Encoding::QuotedPrintable.decode(encoded.replace('_', " ").as_bytes()).into_owned(),
        _ => return None,
    };
    let charset = charset.split('*').next().unwrap_or_default();
    Some(EncodedWord { charset, encoded, bytes, length: text.len() - after.len() })
}

pub(super) fn percent_decoded(text: &str) -> Vec<u8> {
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

/// `\u0065` and `\x65` as the characters they stand for in scripts.
fn unescaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('\\') {
        let (before, escape) = rest.split_at(at);
        out.push_str(before);
        let length = match escape.as_bytes().get(1) {
            Some(b'u' | b'U') => 6,
            Some(b'x' | b'X') => 4,
            _ => 0,
        };
        let number = escape.get(2..length).and_then(|digits| u32::from_str_radix(digits, 16).ok());
        match number.and_then(char::from_u32) {
            Some(character) => {
                out.push(character);
                rest = &escape[length..];
            }
            None => {
                out.push('\\');
                rest = &escape[1..];
            }
        }
    }
    out + rest
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

    #[test]
    fn a_gap_so_wide_that_nobody_sees_behind_it_makes_no_plain_name() {
        let name = |gaps: &[usize]| {
            gaps.iter().map(|gap| format!("a{}", " ".repeat(*gap))).collect::<String>() + ".txt"
        };
        for (gaps, is_plain) in
            [(&[0][..], true), (&[19], true), (&[20], false), (&[19, 19], true), (&[1, 40], false)]
        {
            assert_eq!(is_plain_name(&name(gaps)), is_plain, "{gaps:?}");
        }
        assert!(is_plain_name("") && !is_plain_name("a%2Eexe") && !is_plain_name(&"a".repeat(MAX_NAME + 1)));
    }
}
