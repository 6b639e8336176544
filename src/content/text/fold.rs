//! Text without its disguises: what the eye sees, then what it takes for the same.

use unicode_normalization::{UnicodeNormalization, is_nfkc};

use crate::content::readings::is_invisible;

/// Compatibility characters folded (NFKC), invisible and control characters gone, every run of white space one space.
pub(crate) fn visible(text: &str) -> String {
    if text.is_ascii() {
        return visible_ascii(text);
    }
    let mut out = String::with_capacity(text.len());
    let mut pending = false;
    let mut push = |c: char| {
        if c.is_whitespace() {
            pending = !out.is_empty();
        } else if !c.is_control() {
            if std::mem::take(&mut pending) {
                out.push(' ');
            }
            out.push(c);
        }
    };
    let seen = text.chars().filter(|c| !is_invisible(*c));
    if is_nfkc(text) {
        seen.for_each(&mut push);
    } else {
        seen.nfkc().for_each(&mut push);
    }
    out
}

/// The same, of most mail, in a fifth of the time.
fn visible_ascii(text: &str) -> String {
    let mut out = Vec::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'!'..=b'~' => out.push(byte),
            // White space of Unicode, which has the vertical tab.
            b' ' | b'\t'..=b'\r' if out.last().is_some_and(|last| *last != b' ') => out.push(b' '),
            _ => {}
        }
    }
    if out.last() == Some(&b' ') {
        out.pop();
    }
    String::from_utf8(out).unwrap_or_default()
}

/// Small letters for capitals, so that texts that differ in nothing else are equal. To be given [`visible`] text.
pub(crate) fn folded(text: &str) -> String {
    Folded::new(text).text
}

/// A folded text that knows where each of its bytes came from.
pub(in crate::content) struct Folded {
    pub(in crate::content) text: String,
    /// Where small letters that are longer or shorter than their capitals end, here and in the text that was folded.
    shifts: Vec<(usize, usize)>,
}

impl Folded {
    pub(in crate::content) fn new(text: &str) -> Self {
        if text.is_ascii() {
            return Self { text: text.to_ascii_lowercase(), shifts: Vec::new() };
        }
        let mut folded = Self { text: String::with_capacity(text.len()), shifts: Vec::new() };
        for (at, c) in text.char_indices() {
            let before = folded.text.len();
            match c {
                // The one small letter that has two forms for one capital.
                'ς' => folded.text.push('σ'),
                c => folded.text.extend(c.to_lowercase()),
            }
            if folded.text.len() - before != c.len_utf8() {
                folded.shifts.push((folded.text.len(), at + c.len_utf8()));
            }
        }
        folded
    }

    /// Where in the text that was folded the character stands that begins at `at` here; a character too early for what comes from
    /// the middle of a letter.
    pub(in crate::content) fn origin(&self, at: usize) -> usize {
        let after = self.shifts.partition_point(|(here, _)| *here <= at);
        match after.checked_sub(1).and_then(|last| self.shifts.get(last)) {
            Some((here, there)) => there + (at - here),
            None => at,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_sees_the_difference() {
        for (text, expected) in [
            (" a\r\n\t b\u{a0}\u{3000}c ", "a b c"),
            ("vi\u{200b}a\u{ad}gra\u{feff}", "viagra"),
            ("ｆｒｅｅ ﬁne ①", "free fine 1"),
            ("\u{202e}abc\u{2066}", "abc"),
            ("cafe\u{301}", "café"),
            ("\0\x07x", "x"),
            (" \t\x0b\x0c a \0 \x1b b\r\n\r\n", "a b"),
            (" \t\x0b\x0c a \0 \x1b b\u{e9}\r\n\r\n", "a b\u{e9}"),
            ("", ""),
        ] {
            assert_eq!(visible(text), expected, "{text:?}");
        }
    }

    #[test]
    fn every_place_of_a_folded_text_has_its_origin() {
        // Capitals that are shorter and longer than their small letters.
        let text = "aİbẞcÉd";
        let folded = Folded::new(text);
        assert_eq!(folded.text, "ai\u{307}bßcéd");
        for letter in ['a', 'b', 'c', 'd'] {
            let at = folded.text.find(letter).unwrap();
            assert!(text[folded.origin(at)..].starts_with(letter), "{letter}");
        }
    }

    #[test]
    fn capitals_do_not_matter() {
        assert_eq!(folded("LOTTERY Straße ÀÉ"), "lottery straße àé");
        assert_eq!(folded("ΟΔΥΣΣΕΥΣ"), folded("Οδυσσεύς").replace('ύ', "υ"));
    }
}
