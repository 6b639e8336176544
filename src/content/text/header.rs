//! Header fields as a reader sees them: unfolded, encoded words (RFC 2047) decoded.

use mail_parser::Encoding;
use mail_parser::decoders::charsets::Charset;

use super::charset::guess;

/// Decodes `value`. Words next to each other are one text: bytes of a character that were split between two words of one charset
/// come together again, as every mail program does, though RFC 2047 §5 forbids to split there.
pub(super) fn decoded(value: &[u8]) -> String {
    let text = guess(value);
    let mut out = String::with_capacity(text.len());
    let mut rest = text.as_str();
    let mut last: Option<Word<'_>> = None;
    // Every word that is cut out ends somewhere before here: without this, many that begin and do not end would each be
    // searched to the end of the field.
    let end = text.rfind("?=").map_or(0, |at| at + 2);
    while let Some(at) = rest.find("=?") {
        let (before, from) = rest.split_at(at);
        if text.len() - from.len() >= end {
            break;
        }
        let Some((word, length)) = Word::parse(from) else {
            flush(&mut last, &mut out);
            out.push_str(before);
            out.push_str("=?");
            rest = &from[2..];
            continue;
        };
        if !before.trim().is_empty() || last.is_none() {
            flush(&mut last, &mut out);
            out.push_str(before);
        }
        last = match last.take() {
            Some(mut known) if known.charset.eq_ignore_ascii_case(word.charset) => {
                known.bytes.extend(word.bytes);
                Some(known)
            }
            known => {
                flush(&mut { known }, &mut out);
                Some(word)
            }
        };
        rest = &from[length..];
    }
    flush(&mut last, &mut out);
    out.push_str(rest);
    out
}

struct Word<'t> {
    charset: &'t str,
    bytes: Vec<u8>,
}

impl<'t> Word<'t> {
    /// The encoded word that `text` begins with, and its length. White space inside, which RFC 2047 §2 forbids and senders write,
    /// is let pass.
    fn parse(text: &'t str) -> Option<(Self, usize)> {
        let (charset, rest) = text.strip_prefix("=?")?.split_once('?')?;
        let (encoding, rest) = rest.split_once('?')?;
        let is_base64 = match encoding {
            "b" | "B" => true,
            "q" | "Q" => false,
            _ => return None,
        };
        let (encoded, after) = rest.split_once("?=")?;
        let bytes = if is_base64 {
            Encoding::Base64.decode(encoded.as_bytes()).into_owned()
        } else {
            let encoded: String =
                encoded.chars().filter(|c| !matches!(c, '\r' | '\n')).collect::<String>().replace('_', " ");
            Encoding::QuotedPrintable.decode(encoded.as_bytes()).into_owned()
        };
        let charset = charset.split('*').next().unwrap_or_default();
        Some((Self { charset, bytes }, text.len() - after.len()))
    }
}

fn flush(word: &mut Option<Word<'_>>, out: &mut String) {
    let Some(word) = word.take() else { return };
    match Charset::from_label(word.charset.as_bytes()) {
        // Others than those of Western Europe are not labelled so by mistake, and few bytes of theirs may look like UTF-8.
        None | Some(Charset::Replacement | Charset::Windows1252) => out.push_str(&guess(&word.bytes)),
        Some(charset) => out.push_str(&charset.decode(&word.bytes)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn encoded_words_are_decoded() {
        for (value, text) in [
            ("plain", "plain"),
            ("=?utf-8?B?TG90dGVyeQ==?=", "Lottery"),
            ("=?iso-8859-1?Q?caf=E9_now?=", "café now"),
            ("=?utf-8?B?TG90?=\n =?utf-8?B?dGVyeQ==?=", "Lottery"),
            ("=?utf-8?B?TG90?= and =?utf-8?B?dGVyeQ==?=", "Lot and tery"),
            ("=?utf-8?Q?caf=C3?=\n\t=?UTF-8?Q?=A9?=", "café"),
            ("=?utf-8?B?ww==?= =?utf-8?B?qQ==?=", "é"),
            ("=?utf-8*en?Q?free?=", "free"),
            ("=?x-nobody?Q?free?=", "free"),
            ("=?us-ascii?Q?caf=C3=A9?=", "café"),
            ("=?iso-8859-1?Q?caf=C3=A9?=", "café"),
            ("\"=?utf-8?Q?Bank?=\" <a@b.test>", "\"Bank\" <a@b.test>"),
            ("a =? b ?= c", "a =? b ?= c"),
            ("=?utf-8?X?abc?=", "=?utf-8?X?abc?="),
            ("=?koi8-r?B?0NLJ18XU?= =?utf-8?Q?!?=", "привет!"),
        ] {
            assert_eq!(decoded(value.as_bytes()), text, "{value}");
        }
        assert_eq!(decoded(b"caf\xe9 caf\xe9"), "café café");
        assert_eq!(decoded("café \u{1}".as_bytes()), "café \u{1}");
        assert_eq!(decoded(b"caf\xc3\xa9 \xff"), "café \u{fffd}");
    }

    #[test]
    fn words_without_an_end_are_searched_for_it_once() {
        // Each on its own would take minutes if every word were searched to the end of the field.
        for word in ["=?x?q?a", "=?x?b?a", "=?x?z?a", "=?x"] {
            let field = word.repeat(4_000_000 / word.len());
            assert!(decoded(field.as_bytes()) == field, "{word}");
        }
        let damaged = "=?x?z?a".repeat(500_000);
        assert!(decoded(format!("{damaged} =?utf-8?Q?end?=").as_bytes()) == format!("{damaged} end"));
    }

    #[test]
    fn damaged_words_are_kept_as_they_are() {
        for value in ["=?", "=?=", "=?utf-8", "=?utf-8?B", "=?utf-8?B?", "=?utf-8?B?abc", "?=", "=?????="] {
            assert!(!decoded(value.as_bytes()).is_empty(), "{value}");
        }
    }
}
