//! One thing wrong in a policy file, with the place it stands at.

use std::ops::Range;

/// How bad a problem is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Accepted, but not likely what was meant.
    Warning,
    /// The policy cannot be used.
    Error,
}

/// Something wrong in a policy file.
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
