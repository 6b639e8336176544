//! Expressions as they are matched: texts have no other white space than single spaces, and no control characters.

use regex_syntax::hir::{Class, ClassUnicode, ClassUnicodeRange, Hir, HirKind, LookSet, Repetition};

/// The same expression for texts that are [visible](crate::content::visible): `\s+` is a space, and a line end is nothing that could
/// be met.
pub(super) fn simplified(hir: &Hir) -> Hir {
    match hir.kind() {
        HirKind::Empty | HirKind::Look(_) => hir.clone(),
        HirKind::Literal(literal) if literal.0.iter().any(u8::is_ascii_control) => Hir::fail(),
        HirKind::Literal(_) => hir.clone(),
        HirKind::Class(Class::Unicode(class)) if is_white(class) => space_of(class),
        HirKind::Class(_) => hir.clone(),
        HirKind::Repetition(repetition) => {
            let sub = simplified(&repetition.sub);
            let max = match is_space(&sub) {
                true => Some(repetition.max.unwrap_or(1).min(1)),
                false => repetition.max,
            };
            match max {
                _ if is_unmet(&sub) && repetition.min == 0 => Hir::empty(),
                _ if is_unmet(&sub) => Hir::fail(),
                // Two spaces next to each other.
                Some(max) if repetition.min > max => Hir::fail(),
                _ => Hir::repetition(Repetition { max, sub: Box::new(sub), ..repetition.clone() }),
            }
        }
        HirKind::Capture(capture) => simplified(&capture.sub),
        HirKind::Concat(parts) => {
            let parts: Vec<Hir> = parts.iter().map(simplified).collect();
            if parts.iter().any(is_unmet) { Hir::fail() } else { Hir::concat(parts) }
        }
        HirKind::Alternation(parts) => {
            Hir::alternation(parts.iter().map(simplified).filter(|part| !is_unmet(part)).collect())
        }
    }
}

/// An expression that matches whatever `hir` does, and does not ask for the ends of words, which an automaton of bytes cannot know.
pub(super) fn without_word_ends(hir: &Hir) -> Hir {
    match hir.kind() {
        HirKind::Look(look) if LookSet::singleton(*look).contains_word_unicode() => Hir::empty(),
        HirKind::Repetition(repetition) => {
            let sub = Box::new(without_word_ends(&repetition.sub));
            Hir::repetition(Repetition { sub, ..repetition.clone() })
        }
        HirKind::Capture(capture) => without_word_ends(&capture.sub),
        HirKind::Concat(parts) => Hir::concat(parts.iter().map(without_word_ends).collect()),
        HirKind::Alternation(parts) => Hir::alternation(parts.iter().map(without_word_ends).collect()),
        _ => hir.clone(),
    }
}

/// Whether no text is like this.
fn is_unmet(hir: &Hir) -> bool {
    hir.properties().minimum_len().is_none()
}

/// Whether the class has only white space and control characters.
fn is_white(class: &ClassUnicode) -> bool {
    const MOST: usize = 64;
    let characters = class.iter().flat_map(|range| range.start()..=range.end());
    class.iter().map(ClassUnicodeRange::len).sum::<usize>() <= MOST
        && characters.into_iter().all(|c| c.is_whitespace() || c.is_control())
}

fn space_of(class: &ClassUnicode) -> Hir {
    match class.iter().any(|range| (range.start()..=range.end()).contains(&' ')) {
        true => Hir::literal(*b" "),
        false => Hir::fail(),
    }
}

fn is_space(hir: &Hir) -> bool {
    matches!(hir.kind(), HirKind::Literal(literal) if *literal.0 == *b" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn white_space_is_one_space() {
        for (written, simple) in [
            (r"a\s+b", "a b"),
            (r"a[ \t]*b", "a ?b"),
            (r"a\s?b", "a ?b"),
            (r"(a)\s{1,3}", "a "),
            (r"[\s-]+", r"[\s-]+"),
            (r"a{2,}", "a{2,}"),
            (r"a(\n\n|b)c(\r\n)?", "abc"),
        ] {
            let parsed = |text| regex_syntax::parse(text).unwrap();
            assert_eq!(simplified(&parsed(written)), parsed(simple), "{written}");
        }
        for never in [r"a\n", r"\t+", r"a\s{2}b"] {
            assert_eq!(simplified(&regex_syntax::parse(never).unwrap()).properties().minimum_len(), None);
        }
    }
}
