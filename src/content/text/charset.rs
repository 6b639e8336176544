//! Bytes of a text part as text, under each charset they may be in.

use mail_parser::decoders::charsets::Charset;

/// How far into a page its own declaration of a charset is looked for, in bytes (HTML standard, "prescan a byte stream").
const PRESCAN: usize = 1024;

/// The readings of `bytes`, the likeliest first: one, where nothing speaks against the charset `label`.
pub(super) fn readings(bytes: &[u8], label: Option<&[u8]>, is_html: bool) -> Vec<String> {
    if let Some(text) = with_byte_order_mark(bytes) {
        return vec![text];
    }
    let declared_inside = if is_html { declared_in_page(bytes) } else { None };
    let charset = label.or(declared_inside).and_then(Charset::from_label);
    let guessed = guess(bytes);
    // Most mail, which need not be decoded twice.
    if charset == Some(Charset::Utf8) && std::str::from_utf8(bytes).is_ok() {
        return vec![guessed];
    }
    match charset {
        // Charsets nobody decodes any more, and names nobody knows: mail programs show what they can.
        None | Some(Charset::Replacement) => with_western(guessed, bytes),
        // Nothing tells the byte order, and programs differ (RFC 2781 §4.3, Encoding standard §14.4).
        Some(Charset::Utf16) => {
            let mut texts =
                [Charset::Utf16Be, Charset::Utf16Le].map(|order| order.decode(bytes).into_owned()).to_vec();
            texts.extend((!bytes.contains(&0)).then_some(guessed));
            texts
        }
        Some(charset) => {
            let declared = charset.decode(bytes).into_owned();
            let is_doubtful = declared != guessed && !agrees(charset, bytes, &declared);
            if is_doubtful { vec![declared, guessed] } else { vec![declared] }
        }
    }
}

/// Whether the bytes look like what `charset` says. Text that is valid UTF-8 beyond ASCII hardly ever is anything else, and UTF-16
/// of Latin letters has zero bytes.
fn agrees(charset: Charset, bytes: &[u8], decoded: &str) -> bool {
    match charset {
        Charset::Utf8 | Charset::Utf7 => !decoded.contains(char::REPLACEMENT_CHARACTER),
        Charset::Utf16 | Charset::Utf16Be | Charset::Utf16Le => bytes.contains(&0),
        _ => {
            let is_utf8 = !bytes.is_ascii() && std::str::from_utf8(bytes).is_ok();
            !is_utf8 && !decoded.contains(char::REPLACEMENT_CHARACTER)
        }
    }
}

fn with_byte_order_mark(bytes: &[u8]) -> Option<String> {
    let (charset, rest) = match bytes {
        [0xef, 0xbb, 0xbf, rest @ ..] => (Charset::Utf8, rest),
        [0xfe, 0xff, rest @ ..] => (Charset::Utf16Be, rest),
        [0xff, 0xfe, rest @ ..] => (Charset::Utf16Le, rest),
        _ => return None,
    };
    Some(charset.decode(rest).into_owned())
}

/// UTF-8 where there is a character of it beyond ASCII, whatever stands between them, else windows-1252, which has a character for
/// every byte.
pub(super) fn guess(bytes: &[u8]) -> String {
    // Most fields and many bodies.
    if bytes.is_ascii() {
        return String::from_utf8_lossy(bytes).into_owned();
    }
    let text = String::from_utf8_lossy(bytes);
    let is_utf8 = text.chars().any(|c| !c.is_ascii() && c != char::REPLACEMENT_CHARACTER);
    if is_utf8 { text.into_owned() } else { Charset::Windows1252.decode(bytes).into_owned() }
}

/// The guess, and the other one where bytes speak against it.
fn with_western(guessed: String, bytes: &[u8]) -> Vec<String> {
    let western = Charset::Windows1252.decode(bytes);
    let is_doubtful = std::str::from_utf8(bytes).is_err() && guessed != western;
    if is_doubtful { vec![guessed, western.into_owned()] } else { vec![guessed] }
}

/// The value of `charset=` near the top of a page.
fn declared_in_page(bytes: &[u8]) -> Option<&[u8]> {
    let head = bytes.get(..PRESCAN).unwrap_or(bytes);
    let key = b"charset";
    let at = head.windows(key.len()).position(|window| window.eq_ignore_ascii_case(key))?;
    let rest = head.get(at + key.len()..)?.trim_ascii_start().strip_prefix(b"=")?.trim_ascii_start();
    let rest = rest.strip_prefix(b"\"").or_else(|| rest.strip_prefix(b"'")).unwrap_or(rest);
    let is_label = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b':' | b'.');
    let end = rest.iter().position(|byte| !is_label(byte)).unwrap_or(rest.len());
    rest.get(..end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_label_says_is_decoded() {
        for (label, bytes, text) in [
            ("iso-8859-1", &b"caf\xe9"[..], "café"),
            ("UTF-8", "naïve".as_bytes(), "naïve"),
            ("koi8-r", b"\xd0\xd2\xc9\xd7\xc5\xd4", "привет"),
            ("windows-1251", b"\xef\xf0\xe8\xe2\xe5\xf2", "привет"),
            ("gb2312", b"\xc4\xe3\xba\xc3", "你好"),
            ("shift_jis", b"\x82\xb1\x82\xf1", "こん"),
            ("utf-7", b"+AGYAcgBlAGU-", "free"),
            ("utf-16be", b"\0f\0r\0e\0e", "free"),
        ] {
            assert_eq!(readings(bytes, Some(label.as_bytes()), false), [text], "{label}");
        }
    }

    #[test]
    fn a_label_that_is_likely_a_lie_gives_both_readings() {
        for (label, bytes, expected) in [
            ("us-ascii", "café".as_bytes(), &["cafÃ©", "café"][..]),
            ("utf-8", b"caf\xe9", &["caf\u{fffd}", "café"]),
            ("x-unknown", b"caf\xe9", &["café"]),
            ("hz-gb-2312", b"free", &["free"]),
            ("x-unknown", b"\xc3\xa9t\xc3\xa9 \xff", &["été \u{fffd}", "Ã©tÃ© ÿ"]),
            ("utf-16", b"\0f\0r", &["fr", "\u{6600}\u{7200}"]),
            ("utf-16", b"f\0r\0", &["\u{6600}\u{7200}", "fr"]),
            ("iso-8859-1", b"plain", &["plain"]),
        ] {
            assert_eq!(readings(bytes, Some(label.as_bytes()), false), expected, "{label}");
        }
        let utf16 = readings(b"cheap pills", Some(b"utf-16le"), false);
        assert_eq!(utf16.last().map(String::as_str), Some("cheap pills"));
    }

    #[test]
    fn without_a_label_marks_and_pages_speak_for_themselves() {
        assert_eq!(readings(b"\xef\xbb\xbfhi", Some(b"utf-16"), false), ["hi"]);
        assert_eq!(readings(b"\xff\xfeh\0i\0", None, false), ["hi"]);
        assert_eq!(readings(b"caf\xe9", None, false), ["café"]);
        assert_eq!(readings(b"\xd1\x82 \xff", None, false), ["т \u{fffd}", "Ñ‚ ÿ"]);
        let page = b"<meta http-equiv=x content='text/html; charset=koi8-r'>\xd0\xd2";
        assert!(readings(page, None, true)[0].ends_with("пр"));
        assert!(readings(page, None, false)[0].ends_with("ÐÒ"));
    }
}
