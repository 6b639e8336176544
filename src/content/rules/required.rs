//! What every match of an expression contains, so that one automaton can look for all of that at once, and expressions are tried
//! only where it was found.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;

use regex_syntax::hir::{Class, Hir, HirKind};
use unicode_normalization::is_nfkc;

use crate::content::readings::is_invisible;
use crate::content::text::folded;

/// Shortest text that is worth looking for first, in bytes.
const SHORTEST: usize = 3;
/// Longest text that is looked for; of longer ones the beginning will do.
const LONGEST: usize = 64;
/// Alternatives that are kept.
const MOST: usize = 64;
/// Alternatives that a class of characters adds; more make texts many rather than telling.
const MOST_OF_CLASS: usize = 4;
/// Farthest place before a text at which a match is tried, in bytes.
const FARTHEST: usize = 64;

/// Texts, [`folded`], that every match contains whatever the case of its letters.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Required {
    /// Tells where matches can begin.
    pub(super) anchor: Option<Anchor>,
    /// One of these is in every match, too; none where there is nothing to add.
    pub(super) also: Vec<String>,
}

/// One of these texts is in every match, and so far from where the match begins, in bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Anchor {
    pub(super) texts: Vec<String>,
    pub(super) before: RangeInclusive<usize>,
}

/// Texts of which each match has one, and what may stand before it.
#[derive(Clone, Debug)]
struct Candidate {
    texts: Vec<String>,
    before: Width,
}

/// Bytes, at least and at most.
#[derive(Clone, Copy, Debug)]
struct Width {
    least: usize,
    most: Option<usize>,
}

pub(super) fn required(hir: &Hir) -> Required {
    let all = candidates(hir);
    let near = |candidate: &&Candidate| candidate.before.most.is_some_and(|most| most <= FARTHEST);
    let anchor = all.iter().filter(near).max_by_key(|candidate| candidate.worth());
    let also = all.iter().max_by_key(|candidate| candidate.worth());
    // A match that ends soon is tried as quickly as another text is looked for.
    let is_short = hir.properties().maximum_len().is_some();
    let is_same = |also: &Candidate| anchor.is_some_and(|anchor| anchor.texts == also.texts);
    let also = also.filter(|also| !is_same(also) && (anchor.is_none() || !is_short));
    Required {
        anchor: anchor.map(|Candidate { texts, before }| Anchor {
            texts: texts.clone(),
            before: before.least..=before.most.unwrap_or(FARTHEST),
        }),
        also: also.map(|also| also.texts.clone()).unwrap_or_default(),
    }
}

/// Texts worth looking for, all of them in every match.
fn candidates(hir: &Hir) -> Vec<Candidate> {
    if let Some(texts) = exact(hir) {
        return Candidate::new(texts, Width::NONE).into_iter().collect();
    }
    match hir.kind() {
        HirKind::Capture(capture) => candidates(&capture.sub),
        HirKind::Repetition(repetition) if repetition.min > 0 => candidates(&repetition.sub),
        HirKind::Concat(parts) => of_sequence(parts),
        HirKind::Alternation(alternatives) => of_any(alternatives).into_iter().collect(),
        _ => Vec::new(),
    }
}

/// Runs of parts of which all texts are known, and what is in the parts between.
fn of_sequence(parts: &[Hir]) -> Vec<Candidate> {
    let mut found = Vec::new();
    let mut run = vec![String::new()];
    let (mut before_run, mut before) = (Width::NONE, Width::NONE);
    for part in parts {
        let texts = exact(part);
        match texts.as_deref().and_then(|texts| product(&run, texts)) {
            Some(longer) => run = longer,
            None => {
                found.extend(Candidate::new(std::mem::take(&mut run), before_run));
                before_run = before;
                match texts {
                    Some(texts) => run = texts,
                    None => {
                        let inside = candidates(part).into_iter();
                        found.extend(inside.map(|it| Candidate { before: before.plus(it.before), ..it }));
                        run.push(String::new());
                        before_run = before.plus(Width::of(part));
                    }
                }
            }
        }
        before = before.plus(Width::of(part));
    }
    found.extend(Candidate::new(run, before_run));
    found
}

/// The best of each alternative.
fn of_any(alternatives: &[Hir]) -> Option<Candidate> {
    let mut all: Option<Candidate> = None;
    for alternative in alternatives {
        let best = candidates(alternative).into_iter().max_by_key(Candidate::worth)?;
        all = Some(match all {
            None => best,
            Some(all) => {
                Candidate { texts: [all.texts, best.texts].concat(), before: all.before.or(best.before) }
            }
        });
    }
    all.filter(|all| all.texts.len() <= MOST)
}

/// All texts that are matched, where they are few.
fn exact(hir: &Hir) -> Option<Vec<String>> {
    match hir.kind() {
        HirKind::Empty | HirKind::Look(_) => Some(vec![String::new()]),
        HirKind::Literal(literal) => Some(vec![folded(std::str::from_utf8(&literal.0).ok()?)]),
        HirKind::Class(class) => of_class(class),
        HirKind::Capture(capture) => exact(&capture.sub),
        HirKind::Repetition(repetition) => {
            let once = exact(&repetition.sub)?;
            let mut times = vec![String::new()];
            for _ in 0..repetition.min {
                times = product(&times, &once)?;
            }
            let mut all = times.clone();
            for _ in repetition.min..repetition.max? {
                times = product(&times, &once)?;
                all.extend(times.iter().cloned());
                if all.len() > MOST {
                    return None;
                }
            }
            Some(all)
        }
        HirKind::Concat(parts) => {
            parts.iter().try_fold(vec![String::new()], |texts, part| product(&texts, &exact(part)?))
        }
        HirKind::Alternation(alternatives) => {
            let mut all = Vec::new();
            for alternative in alternatives {
                all.extend(exact(alternative)?);
                if all.len() > MOST {
                    return None;
                }
            }
            Some(all)
        }
    }
}

/// The characters of a class as they are in folded text: `[Ll]` is one, `[i1!]` are three. What no visible text has is left out.
fn of_class(class: &Class) -> Option<Vec<String>> {
    const MOST_CASES: usize = 4 * MOST_OF_CLASS;
    let Class::Unicode(class) = class else { return None };
    if class.iter().map(|range| range.len()).sum::<usize>() > MOST_CASES {
        return None;
    }
    let characters = class.iter().flat_map(|range| range.start()..=range.end());
    let is_met = |c: &char| {
        let is_stable = is_nfkc(c.encode_utf8(&mut [0; 4]));
        is_stable && !is_invisible(*c) && !c.is_control() && (*c == ' ' || !c.is_whitespace())
    };
    let texts: BTreeSet<String> =
        characters.filter(is_met).map(|c| folded(c.encode_utf8(&mut [0; 4]))).collect();
    (1..=MOST_OF_CLASS).contains(&texts.len()).then(|| texts.into_iter().collect())
}

/// Each text followed by each other one, where they are few and short.
fn product(texts: &[String], next: &[String]) -> Option<Vec<String>> {
    let longest = |texts: &[String]| texts.iter().map(String::len).max().unwrap_or_default();
    if texts.len() * next.len() > MOST || longest(texts) + longest(next) > LONGEST {
        return None;
    }
    let all: BTreeSet<String> =
        texts.iter().flat_map(|text| next.iter().map(move |next| format!("{text}{next}"))).collect();
    Some(all.into_iter().collect())
}

impl Candidate {
    /// None where the texts are too short to be worth it.
    fn new(mut texts: Vec<String>, before: Width) -> Option<Self> {
        for text in &mut texts {
            text.truncate(text.floor_char_boundary(LONGEST));
        }
        let is_telling = !texts.is_empty() && texts.iter().all(|text| text.len() >= SHORTEST);
        is_telling.then_some(Self { texts, before })
    }

    /// The rarer the better: the shortest text as long, and the alternatives as few as can be.
    fn worth(&self) -> (usize, std::cmp::Reverse<usize>) {
        let shortest = self.texts.iter().map(String::len).min().unwrap_or_default();
        (shortest, std::cmp::Reverse(self.texts.len()))
    }
}

impl Width {
    const NONE: Self = Self { least: 0, most: Some(0) };

    fn of(hir: &Hir) -> Self {
        let properties = hir.properties();
        Self { least: properties.minimum_len().unwrap_or_default(), most: properties.maximum_len() }
    }

    fn plus(self, other: Self) -> Self {
        let most = self.most.zip(other.most).map(|(one, other)| one.saturating_add(other));
        Self { least: self.least.saturating_add(other.least), most }
    }

    fn or(self, other: Self) -> Self {
        let most = self.most.zip(other.most).map(|(one, other)| one.max(other));
        Self { least: self.least.min(other.least), most }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::content::rules::Pattern;

    #[test]
    fn every_match_has_one_of_them() {
        for (pattern, texts, before, also) in [
            ("lottery", &["lottery"][..], 0..=0, &[][..]),
            ("(?i)LOTTERY", &["lottery"], 0..=0, &[]),
            ("(?-i:ACT) now", &["act now"], 0..=0, &[]),
            (r"you\s+have\s+WON \d+", &["you have won "], 0..=0, &[]),
            (r"\bv[i1!]agra\b", &["v!agra", "v1agra", "viagra"], 0..=0, &[]),
            ("(?:invoice|bill of sale) no", &["bill of sale no", "invoice no"], 0..=0, &[]),
            ("a+b?cdef.*lottery", &[], 0..=0, &["lottery"]),
            ("[a-z]{2,5}cdef", &["cdef"], 2..=15, &[]),
            ("dear.*lottery winner", &["dear"], 0..=0, &["lottery winner"]),
            ("(free){2,}", &["free"], 0..=0, &[]),
            ("[0-9a-z]{0,8}@evil\\.test", &["@evil.test"], 0..=24, &[]),
            (r"\d*lottery", &[], 0..=0, &["lottery"]),
            ("(free)*", &[], 0..=0, &[]),
            (r"^\d{16}$", &[], 0..=0, &[]),
            ("(?:invoice|[0-9]+)x", &[], 0..=0, &[]),
        ] {
            let found = Pattern::parse(pattern).unwrap().required();
            let anchor = found.anchor.unwrap_or(Anchor { texts: Vec::new(), before: 0..=0 });
            assert_eq!(anchor.texts, texts, "{pattern}");
            assert_eq!(anchor.before, before, "{pattern}");
            assert_eq!(found.also, also, "{pattern}");
        }
    }
}
