//! What every match of a pattern must contain.

use regex_syntax::hir::{Hir, HirKind};

use crate::content::text::folded;

/// Shortest text that is worth looking for first, in bytes.
const SHORTEST: usize = 3;
/// Alternatives that are kept.
const MOST: usize = 64;

/// Texts, [`folded`], one of which is in every text that `pattern` matches whatever the case of letters; none where no such texts of
/// at least three letters are found. Looking for all of them at once tells which patterns are worth a closer look, so that the price
/// of a mail does not grow with the number of patterns.
pub(super) fn required(pattern: &str) -> Vec<String> {
    let hir = regex_syntax::ParserBuilder::new().build().parse(pattern);
    hir.ok().and_then(|hir| of(&hir)).unwrap_or_default()
}

fn of(hir: &Hir) -> Option<Vec<String>> {
    match hir.kind() {
        HirKind::Literal(literal) => long_enough(std::str::from_utf8(&literal.0).ok()?),
        HirKind::Capture(capture) => of(&capture.sub),
        HirKind::Repetition(repetition) if repetition.min > 0 => of(&repetition.sub),
        // The rarest part: that with the longest shortest alternative.
        HirKind::Concat(parts) => {
            parts.iter().filter_map(of).max_by_key(|texts| texts.iter().map(String::len).min())
        }
        HirKind::Alternation(alternatives) => {
            let texts: Vec<Vec<String>> = alternatives.iter().map(of).collect::<Option<_>>()?;
            let texts: Vec<String> = texts.into_iter().flatten().collect();
            (texts.len() <= MOST).then_some(texts)
        }
        HirKind::Repetition(_) | HirKind::Empty | HirKind::Class(_) | HirKind::Look(_) => None,
    }
}

/// Simple case folding, by which patterns match, and small letters agree on letters with one capital and one small form; others end
/// the text. White space does, too: texts have it normalised.
fn long_enough(literal: &str) -> Option<Vec<String>> {
    let is_simple = |c: char| {
        c.is_ascii() && !c.is_ascii_control()
            || (c.is_alphabetic() && c.to_lowercase().count() == 1 && c != 'ı')
    };
    let runs = literal.split(|c| !is_simple(c));
    let longest = runs.max_by_key(|run| run.len()).unwrap_or_default();
    (longest.len() >= SHORTEST).then(|| vec![folded(longest)])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_match_has_one_of_them() {
        for (pattern, expected) in [
            ("lottery", &["lottery"][..]),
            ("(?i)LOTTERY", &[]),
            (r"you\s+have\s+WON \d+", &["won "]),
            ("(?:invoice|bill of sale) no", &["bill of sale", "invoice"]),
            ("(?:invoice|[0-9]+)x", &[]),
            ("a+b?cdef", &["cdef"]),
            ("(free){2,}", &["free"]),
            ("(free)*", &[]),
            (r"^\d{16}$", &[]),
            ("", &[]),
            ("(", &[]),
        ] {
            let mut found = required(pattern);
            found.sort();
            assert_eq!(found, expected, "{pattern}");
        }
    }
}
