//! Writing text from outside into a log line, so that it can forge neither a field nor a line.

use std::fmt::{self, Write};

/// Writes a logfmt value: as it stands where that is unmistakable, else in double quotes with the escapes of JSON.
///
/// A bare `-` stands for an absent value, so a value of just that is quoted. Everything but printable ASCII is escaped: control
/// characters end lines, and letters of right-to-left scripts reorder what a terminal shows.
pub(super) fn write_value(out: &mut impl Write, value: &str) -> fmt::Result {
    if value != "-" && is_plain(value) {
        return out.write_str(value);
    }
    out.write_char('"')?;
    value.chars().try_for_each(|c| write_escaped(out, c))?;
    out.write_char('"')
}

/// Writes a list as one logfmt value, its items separated by commas; a comma within an item is escaped. An empty list is absent.
pub(super) fn write_list<'a>(
    out: &mut impl Write,
    items: impl Iterator<Item = &'a str> + Clone,
) -> fmt::Result {
    if items.clone().next().is_none() {
        return out.write_char('-');
    }
    let quoted = items.clone().any(|item| item == "-" || item.contains(',') || !is_plain(item));
    let quote = if quoted { "\"" } else { "" };
    out.write_str(quote)?;
    for (index, item) in items.enumerate() {
        if index > 0 {
            out.write_char(',')?;
        }
        if !quoted {
            out.write_str(item)?;
            continue;
        }
        for c in item.chars() {
            match c {
                ',' => write_unicode_escape(out, c)?,
                c => write_escaped(out, c)?,
            }
        }
    }
    out.write_str(quote)
}

/// Writes a text for people, with control characters escaped.
pub(super) fn write_text(out: &mut impl Write, text: &str) -> fmt::Result {
    text.chars().try_for_each(|c| match c {
        ' '..='~' => out.write_char(c),
        c => write_escaped(out, c),
    })
}

fn is_plain(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b'"' | b'=' | b'\\');
    !text.is_empty() && text.bytes().all(plain)
}

fn write_escaped(out: &mut impl Write, c: char) -> fmt::Result {
    match c {
        '"' => out.write_str("\\\""),
        '\\' => out.write_str("\\\\"),
        '\n' => out.write_str("\\n"),
        '\r' => out.write_str("\\r"),
        '\t' => out.write_str("\\t"),
        ' '..='~' => out.write_char(c),
        c => write_unicode_escape(out, c),
    }
}

fn write_unicode_escape(out: &mut impl Write, c: char) -> fmt::Result {
    c.encode_utf16(&mut [0; 2]).iter().try_for_each(|unit| write!(out, "\\u{unit:04x}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(text: &str) -> String {
        let mut out = String::new();
        write_value(&mut out, text).unwrap();
        out
    }

    fn list(items: &[&str]) -> String {
        let mut out = String::new();
        write_list(&mut out, items.iter().copied()).unwrap();
        out
    }

    #[test]
    fn values_are_quoted_where_they_could_be_mistaken() {
        for (text, written) in [
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
            assert_eq!(value(text), written);
        }
    }

    #[test]
    fn quoted_values_are_json_strings() {
        for text in ["a\"\\\r\n\t\0\u{7f}\u{85}\u{1f986} =", ""] {
            assert_eq!(serde_json::from_str::<String>(&value(text)).unwrap(), text);
        }
    }

    #[test]
    fn an_item_cannot_become_two() {
        assert_eq!(list(&[]), "-");
        assert_eq!(list(&["a@x", "b@x"]), "a@x,b@x");
        assert_eq!(list(&["a,b@x", "c"]), r#""a\u002cb@x,c""#);
        assert_eq!(list(&["a b", "c"]), r#""a b,c""#);
        assert_eq!(list(&[""]), r#""""#);
        assert_eq!(list(&["-"]), r#""-""#);
    }

    #[test]
    fn text_stays_on_one_line() {
        let mut out = String::new();
        write_text(&mut out, "cannot read \"a\\b\":\nno\x1b").unwrap();
        assert_eq!(out, r#"cannot read "a\b":\nno\u001b"#);
    }
}
