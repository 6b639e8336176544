//! Writing text from outside into a log line, so that it can forge neither a field nor a line.
//!
//! Nearly every text stands as it is, which one look at each of its bytes tells; it is copied at once then.

/// What a byte may do, as bits of its entry in [`ALLOWED`].
const PRINTABLE: u8 = 1;
/// It may stand in a logfmt value without quotes.
const BARE: u8 = 2;
/// It may stand between quotes.
const QUOTED: u8 = 4;
/// It may stand in an item of a list, within quotes.
const ITEM: u8 = 8;
/// It may stand in a JSON string.
const JSON: u8 = 16;

static ALLOWED: [u8; 256] = {
    let mut allowed = [0; 256];
    let mut byte: u8 = 0;
    loop {
        let is_special = matches!(byte, b'"' | b'\\');
        let is_printable = matches!(byte, b' '..=b'~');
        let mut bits = 0;
        if is_printable {
            bits |= PRINTABLE;
        }
        if is_printable && !is_special {
            bits |= QUOTED;
        }
        if is_printable && !is_special && byte != b',' {
            bits |= ITEM;
        }
        if is_printable && !is_special && !matches!(byte, b' ' | b'=') {
            bits |= BARE;
        }
        if byte >= b' ' && !is_special {
            bits |= JSON;
        }
        allowed[byte as usize] = bits;
        if byte == u8::MAX {
            break;
        }
        byte += 1;
    }
    allowed
};

/// In which ways every byte of `text` may stand.
#[inline]
fn allowed(text: &[u8]) -> u8 {
    text.iter().fold(u8::MAX, |all, byte| all & ALLOWED[usize::from(*byte)])
}

/// How many bytes at the beginning of `text` are `allowed`.
fn run(text: &[u8], allowed: u8) -> usize {
    text.iter().position(|byte| ALLOWED[usize::from(*byte)] & allowed == 0).unwrap_or(text.len())
}

/// Writes a logfmt value: as it stands where that is unmistakable, else in double quotes with the escapes of JSON.
///
/// A bare `-` stands for an absent value, so a value of just that is quoted. Everything but printable ASCII is escaped: control
/// characters end lines, and letters of right-to-left scripts reorder what a terminal shows.
pub(super) fn write_value(out: &mut Vec<u8>, text: &[u8]) {
    let allowed = allowed(text);
    if allowed & BARE != 0 && !is_mistakable(text) {
        return out.extend_from_slice(text);
    }
    out.push(b'"');
    if allowed & QUOTED != 0 {
        out.extend_from_slice(text)
    } else {
        write_quoted(out, text)
    }
    out.push(b'"');
}

/// Writes a text between quotes that are there already.
pub(super) fn write_quoted(out: &mut Vec<u8>, text: &[u8]) {
    write_escaped(out, text, QUOTED);
}

/// Writes an item of a list that stands without quotes, or tells that it needs them: nothing is written then.
pub(super) fn write_bare_item(out: &mut Vec<u8>, text: &[u8]) -> bool {
    let is_bare = allowed(text) & (BARE | ITEM) == BARE | ITEM && !is_mistakable(text);
    if is_bare {
        out.extend_from_slice(text);
    }
    is_bare
}

/// Writes an item of a list that stands in quotes; a comma, which separates items, is escaped.
pub(super) fn write_quoted_item(out: &mut Vec<u8>, text: &[u8]) {
    write_escaped(out, text, ITEM);
}

/// Whether a text without quotes could be taken for none.
fn is_mistakable(text: &[u8]) -> bool {
    matches!(text, b"" | b"-")
}

/// Writes a text for people, with control characters escaped.
pub(super) fn write_text(out: &mut Vec<u8>, text: &[u8]) {
    write_escaped(out, text, PRINTABLE);
}

/// Writes a JSON string, as `serde_json` does.
pub(super) fn write_json(out: &mut Vec<u8>, text: &[u8]) {
    out.push(b'"');
    if allowed(text) & JSON != 0 {
        out.extend_from_slice(text)
    } else {
        write_json_part(out, text)
    }
    out.push(b'"');
}

/// Writes a part of a JSON string.
pub(super) fn write_json_part(out: &mut Vec<u8>, mut text: &[u8]) {
    loop {
        let (as_it_is, rest) = text.split_at(run(text, JSON));
        out.extend_from_slice(as_it_is);
        let Some((special, rest)) = rest.split_first() else { return };
        match special {
            0x08 => out.extend_from_slice(b"\\b"),
            0x0c => out.extend_from_slice(b"\\f"),
            other => write_escaped_ascii(out, *other),
        }
        text = rest;
    }
}

fn write_escaped(out: &mut Vec<u8>, mut text: &[u8], allowed: u8) {
    loop {
        let (as_it_is, rest) = text.split_at(run(text, allowed));
        out.extend_from_slice(as_it_is);
        let Some((special, after)) = rest.split_first() else { return };
        if special.is_ascii() {
            write_escaped_ascii(out, *special);
            text = after;
        } else {
            let end = rest.iter().position(u8::is_ascii).unwrap_or(rest.len());
            let (other, after) = rest.split_at(end);
            String::from_utf8_lossy(other).encode_utf16().for_each(|unit| write_unicode_escape(out, unit));
            text = after;
        }
    }
}

fn write_escaped_ascii(out: &mut Vec<u8>, byte: u8) {
    match byte {
        b'"' => out.extend_from_slice(b"\\\""),
        b'\\' => out.extend_from_slice(b"\\\\"),
        b'\n' => out.extend_from_slice(b"\\n"),
        b'\r' => out.extend_from_slice(b"\\r"),
        b'\t' => out.extend_from_slice(b"\\t"),
        other => write_unicode_escape(out, other.into()),
    }
}

fn write_unicode_escape(out: &mut Vec<u8>, unit: u16) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digit = |shift: u32| DIGITS[usize::from(unit >> shift & 0xf)];
    out.extend_from_slice(&[b'\\', b'u', digit(12), digit(8), digit(4), digit(0)]);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(write: fn(&mut Vec<u8>, &[u8]), text: &str) -> String {
        let mut out = Vec::new();
        write(&mut out, text.as_bytes());
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn values_are_quoted_where_they_could_be_mistaken() {
        for (text, expected) in [
            ("mx.example.test", "mx.example.test"),
            ("[192.0.2.1]", "[192.0.2.1]"),
            ("<>", "<>"),
            ("", r#""""#),
            ("-", r#""-""#),
            ("--", "--"),
            ("a b", r#""a b""#),
            ("a=b", r#""a=b""#),
            ("x action=accept", r#""x action=accept""#),
            ("a\"b", r#""a\"b""#),
            ("a\\", r#""a\\""#),
            ("a\r\nb\tc", r#""a\r\nb\tc""#),
            ("\0\x1b[2J\x7f", r#""\u0000\u001b[2J\u007f""#),
            ("\u{85}\u{2028}\u{202e}", r#""\u0085\u2028\u202e""#),
            ("b\u{fc}cher", r#""b\u00fccher""#),
            ("\u{1f986}", r#""\ud83e\udd86""#),
        ] {
            assert_eq!(written(write_value, text), expected);
        }
    }

    #[test]
    fn quoted_values_are_json_strings() {
        for text in ["a\"\\\r\n\t\0\u{7f}\u{85}\u{1f986} =", ""] {
            assert_eq!(serde_json::from_str::<String>(&written(write_value, text)).unwrap(), text);
        }
    }

    #[test]
    fn json_strings_are_those_of_serde_json() {
        let every: String = (0..=0x2_100_u32).filter_map(char::from_u32).collect();
        for text in [&*every, "", "plain", "\u{1f986}\u{202e}", "a\"\\\u{8}\u{c}\r\n\t\0\u{7f}\u{85}z"] {
            assert_eq!(written(write_json, text), serde_json::Value::from(text).to_string());
        }
    }

    #[test]
    fn bytes_that_are_no_utf_8_are_shown_as_such() {
        let mut out = Vec::new();
        write_value(&mut out, b"a\xff\xfcz");
        assert_eq!(out, br#""a\ufffd\ufffdz""#);
    }

    #[test]
    fn text_stays_on_one_line() {
        let text = "cannot read \"a\\b\":\nno\x1b";
        assert_eq!(written(write_text, text), r#"cannot read "a\b":\nno\u001b"#);
    }
}
