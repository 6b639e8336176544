//! One thing wrong in a policy or configuration file, with the place it stands at.

use std::ops::Range;

/// How bad a problem is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Accepted, but not likely what was meant.
    Warning,
    /// The policy cannot be used.
    Error,
}

impl Severity {
    /// The word in diagnostics and JSON.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Warning => "warning",
            Self::Error => "error",
        }
    }
}

/// Something wrong in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// How bad it is.
    pub severity: Severity,
    /// The file, relative to the policy directory.
    pub file: String,
    /// The bytes of the file it is about.
    pub span: Range<usize>,
    /// What is wrong, in one line.
    pub title: String,
    /// What was expected there; stands at the caret.
    pub label: String,
    /// What to do about it, where there is more to say.
    pub help: Option<String>,
}

impl Problem {
    /// Whether the policy cannot be used for it.
    pub fn is_error(&self) -> bool {
        self.severity == Severity::Error
    }

    /// Adds what to do about it.
    pub fn help(&mut self, help: impl Into<String>) {
        self.help = Some(help.into());
    }

    /// Adds "did you mean" with the one of `candidates` most like `typed`; where none is like it, adds `otherwise`.
    pub fn did_you_mean<'c>(
        &mut self,
        typed: &str,
        candidates: impl IntoIterator<Item = &'c str>,
        otherwise: impl FnOnce() -> Option<String>,
    ) {
        self.help = match closest(typed, candidates) {
            Some(candidate) => Some(format!("did you mean `{candidate}`?")),
            None => otherwise(),
        };
    }
}

/// Puts problems into the order of files and lines, and drops those found twice because two settings name one list.
pub(crate) fn sort(problems: &mut Vec<Problem>) {
    problems.sort_by(|a, b| {
        let place = |problem: &Problem| (problem.span.start, problem.span.end);
        a.file
            .cmp(&b.file)
            .then_with(|| place(a).cmp(&place(b)))
            .then_with(|| b.severity.cmp(&a.severity))
            .then_with(|| a.title.cmp(&b.title))
    });
    problems.dedup();
}

/// Where the lines of a text begin.
pub(crate) struct Lines(Vec<usize>);

impl Lines {
    pub(crate) fn new(text: &str) -> Self {
        let ends = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n');
        Self(std::iter::once(0).chain(ends.map(|(at, _)| at + 1)).collect())
    }

    /// The line that holds the byte `offset`, counted from 1.
    pub(crate) fn number(&self, offset: usize) -> usize {
        self.0.partition_point(|start| *start <= offset)
    }

    /// Where line `number` begins.
    pub(crate) fn start(&self, number: usize) -> usize {
        number.checked_sub(1).and_then(|index| self.0.get(index)).copied().unwrap_or_default()
    }
}

/// The line of `text` that holds the byte `offset`, counted from 1.
pub(crate) fn line_of(text: &str, offset: usize) -> usize {
    Lines::new(text).number(offset)
}

/// The candidate that needs the fewest edits (insert, delete, replace, swap neighbours): at most one for every three letters, or
/// any number where one is the beginning of the other.
pub(crate) fn closest<'c>(typed: &str, candidates: impl IntoIterator<Item = &'c str>) -> Option<&'c str> {
    const LONGEST: usize = 64;
    if typed.len() > LONGEST {
        return None;
    }
    let typed = typed.to_lowercase();
    let letters = typed.chars().count();
    let edits = (letters / 3).max(1);
    let begins = |candidate: &str| candidate.starts_with(&typed) || typed.starts_with(candidate);
    candidates
        .into_iter()
        .filter(|candidate| candidate.len() <= LONGEST)
        .map(|candidate| (strsim::damerau_levenshtein(&typed, candidate), candidate))
        .filter(|(distance, candidate)| *distance <= edits || letters >= 3 && begins(candidate))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_counted_from_one() {
        let lines = Lines::new("a\nbc\n");
        assert_eq!([0, 1, 2, 4, 5, 99].map(|offset| lines.number(offset)), [1, 1, 2, 2, 3, 3]);
        assert_eq!([0, 1, 2, 3, 4].map(|number| lines.start(number)), [0, 0, 2, 5, 0]);
        assert_eq!(Lines::new("").number(0), 1);
    }

    #[test]
    fn the_closest_candidate_is_meant_when_it_is_close() {
        let candidates = ["mode", "missing", "banned_names"];
        for (typed, meant) in [
            ("mdoe", Some("mode")),
            ("Mode", Some("mode")),
            ("mod", Some("mode")),
            ("baned_name", Some("banned_names")),
            ("banned-names", Some("banned_names")),
            ("miss", Some("missing")),
            ("modes_of_all_checks", Some("mode")),
            ("mi", None),
            ("quarantine", None),
            ("", None),
        ] {
            assert_eq!(closest(typed, candidates), meant, "{typed}");
        }
        assert_eq!(closest(&"m".repeat(100_000), candidates), None);
    }
}
