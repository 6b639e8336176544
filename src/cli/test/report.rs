//! How a run of transcripts is told: what failed, expected and got side by side.

use std::io::{self, Write};

use serde_json::{Value, json};

use super::fields::Expected;
use super::play::Outcome;
use super::transcript::{Case, Mail};
use crate::cli::printable;

/// Width of the column of what was expected.
const MAX_WIDTH: usize = 60;

/// One thing that was compared.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Difference {
    pub(super) what: &'static str,
    pub(super) expected: String,
    pub(super) got: String,
}

/// What differs between what was expected of a mail and what became of it; nothing where all is as expected.
pub(super) fn differences(mail: &Mail, got: &Outcome) -> Vec<Difference> {
    let mut differences = Vec::new();
    let mut compare = |what, expected: Option<String>, got: String| {
        if let Some(expected) = expected.filter(|expected| *expected != got) {
            differences.push(Difference { what, expected, got });
        }
    };
    let none = || "-".to_owned();
    compare("verdict", mail.expect.map(|action| action.name().to_owned()), got.action.name().to_owned());
    compare_any(&mut compare, "reason", mail.reason, &got.reasons);
    compare(
        "reply",
        mail.reply.as_ref().map(|reply| reply.0.clone()),
        got.reply.clone().unwrap_or_else(none),
    );
    compare_any(&mut compare, "would", mail.would, &got.would);
    compare("accepted", mail.accepted.map(|number| number.to_string()), got.accepted.to_string());
    differences
}

/// Compares a reason with those found; `-` is that there is none.
fn compare_any(
    compare: &mut impl FnMut(&'static str, Option<String>, String),
    what: &'static str,
    expected: Option<Expected>,
    found: &[&'static str],
) {
    let Some(expected) = expected.map(Expected::code) else { return };
    let is_met = found.contains(&expected) || (expected == "-" && found.is_empty());
    let all = if found.is_empty() { "-".to_owned() } else { found.join(", ") };
    compare(what, Some(expected.to_owned()), if is_met { expected.to_owned() } else { all });
}

/// A mail of a case that did not end as expected.
pub(super) struct Failure<'c> {
    pub(super) case: &'c Case,
    /// Which mail of the case it is, counted from 1.
    pub(super) number: usize,
    pub(super) differences: Vec<Difference>,
    pub(super) found: Vec<String>,
}

impl Failure<'_> {
    /// Writes expected and got side by side, and what was found on the way.
    pub(super) fn write(&self, out: &mut dyn Write) -> io::Result<()> {
        let Case { file, line, name, mails, .. } = self.case;
        let which = if mails.len() > 1 {
            format!(", mail {} of {}", self.number, mails.len())
        } else {
            String::new()
        };
        writeln!(out, "FAILED {file}:{line}: {}{which}", printable(name))?;
        let widest = self.differences.iter().map(|it| it.expected.chars().count()).max().unwrap_or_default();
        let width = widest.clamp("expected".len(), MAX_WIDTH);
        writeln!(out, "  {:<9} {:<width$}  got", "", "expected")?;
        for Difference { what, expected, got } in &self.differences {
            let (expected, got) = (printable(expected), printable(got));
            if expected.chars().count() > width {
                // Too wide for two columns: one above the other.
                writeln!(out, "  {what:<9} {expected}")?;
                writeln!(out, "  {:<9} {:<width$}  {got}", "", "")?;
            } else {
                writeln!(out, "  {what:<9} {expected:<width$}  {got}")?;
            }
        }
        match self.found.as_slice() {
            [] => writeln!(out, "  found     nothing")?,
            [first, more @ ..] => {
                writeln!(out, "  found     {}", printable(first))?;
                more.iter().try_for_each(|line| writeln!(out, "            {}", printable(line)))?;
            }
        }
        writeln!(out)
    }

    pub(super) fn to_json(&self) -> Value {
        let differences: Vec<Value> = self
            .differences
            .iter()
            .map(|it| json!({ "what": it.what, "expected": it.expected, "got": it.got }))
            .collect();
        json!({
            "file": self.case.file,
            "line": self.case.line,
            "name": self.case.name,
            "mail": self.number,
            "differences": differences,
            "found": self.found,
        })
    }
}
