//! Text without its disguises: what the eye sees, then what it takes for the same.

use unicode_normalization::{UnicodeNormalization, is_nfkc};

use crate::content::readings::is_invisible;

/// Compatibility characters folded (NFKC), invisible and control characters gone, every run of white space one space.
pub(crate) fn visible(text: &str) -> String {
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
    if text.is_ascii() {
        text.chars().for_each(push);
    } else {
        let seen = text.chars().filter(|c| !is_invisible(*c));
        if is_nfkc(text) {
            seen.for_each(&mut push);
        } else {
            seen.nfkc().for_each(&mut push);
        }
    }
    out
}

/// Small letters for capitals, so that texts that differ in nothing else are equal. To be given [`visible`] text.
pub(crate) fn folded(text: &str) -> String {
    if text.is_ascii() {
        return text.to_ascii_lowercase();
    }
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            // The one small letter that has two forms for one capital.
            'ς' => out.push('σ'),
            c => out.extend(c.to_lowercase()),
        }
    }
    out
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
        ] {
            assert_eq!(visible(text), expected, "{text:?}");
        }
    }

    #[test]
    fn capitals_do_not_matter() {
        assert_eq!(folded("LOTTERY Straße ÀÉ"), "lottery straße àé");
        assert_eq!(folded("ΟΔΥΣΣΕΥΣ"), folded("Οδυσσεύς").replace('ύ', "υ"));
    }
}
