//! An explanation, as the daemon sends it and as people read it.

use std::fmt::{self, Display};

use serde::{Deserialize, Serialize};

/// What would happen to a mail, and why.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Explanation {
    /// Who was asked, and what could not be known; each is one clause of a sentence.
    pub notes: Vec<String>,
    /// What was judged, in order: each recipient, then the message.
    pub stages: Vec<Judged>,
}

impl Explanation {
    /// Whether a recipient or the message would be refused.
    pub fn refuses(&self) -> bool {
        self.stages.iter().any(|stage| matches!(stage.action.as_str(), "defer" | "reject"))
    }
}

/// One recipient, or the message.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Judged {
    /// What was judged.
    pub subject: String,
    /// The stage's name.
    pub stage: String,
    /// What would be done.
    pub action: String,
    /// The code of the decisive reason; a mail about which nothing is found has none.
    pub reason: Option<String>,
    /// What the sender would be told, where refused.
    pub reply: Option<String>,
    /// The scopes that hold, with file and line, in the order in which they apply.
    pub scopes: Vec<String>,
    /// The checks of the stage in their order.
    pub checks: Vec<Checked>,
    /// What they found, the hardest first, then those in monitor mode.
    pub findings: Vec<Found>,
    /// What the world was asked.
    pub lookups: Vec<Lookup>,
}

/// One check.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Checked {
    /// Its name.
    pub check: String,
    /// Its mode.
    pub mode: String,
    /// What decided its mode, where it is not that findings count.
    pub mode_by: Option<Decider>,
    /// What there is to say where it found nothing.
    pub note: String,
}

/// One finding.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Found {
    /// The check's name.
    pub check: String,
    /// The reason's code.
    pub reason: String,
    /// What the reason means, in one sentence.
    pub summary: String,
    /// What it leads to.
    pub action: String,
    /// What the sender would be told.
    pub reply: Option<String>,
    /// What was seen.
    pub saw: String,
    /// Whether it counts for nothing, as its check is in monitor mode.
    pub monitored: bool,
    /// What decided that it leads to its action.
    pub by: Option<Decider>,
}

/// A line of the policy that decides: a setting or a rule.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Decider {
    /// The file, relative to the policy directory.
    pub file: String,
    /// The line; a default has none.
    pub line: Option<usize>,
    /// The scope that sets it.
    pub scope: Option<String>,
    /// The setting with its value, or the rule with its name.
    pub what: String,
}

impl Display for Decider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { file, line, scope, what } = self;
        match line {
            Some(line) => write!(f, "{file}:{line}")?,
            None => write!(f, "default of {file}")?,
        }
        if let Some(scope) = scope {
            write!(f, ", scope {}", printable(scope))?;
        }
        write!(f, ": {}", printable(what))
    }
}

/// One question to the world.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Lookup {
    /// The question.
    pub question: String,
    /// The answer, or why there is none.
    pub answer: String,
    /// How long it took, or was waited for, in microseconds; nothing where that is not known.
    pub micros: Option<u64>,
}

impl Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.stages.iter().try_for_each(|stage| stage.fmt(f))?;
        let notes: Vec<String> = self.notes.iter().map(|note| printable(note)).collect();
        match notes.as_slice() {
            [] => Ok(()),
            notes => writeln!(f, "\nNote: {}.", notes.join(";\n      ")),
        }
    }
}

impl Display for Judged {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", printable(&self.subject))?;
        for Checked { check, mode, mode_by, note } in &self.checks {
            let mut found = self.findings.iter().filter(|found| found.check == *check).peekable();
            if mode == "off" {
                let by = mode_by.as_ref().map_or(String::new(), |by| format!("         by {by}"));
                writeln!(f, "  {check:<12} off{by}")?;
            } else if found.peek().is_none() {
                writeln!(f, "  {check:<12} accept      {note}")?;
            }
            for found in found {
                found.fmt(f)?;
                if let Some(by) = mode_by.as_ref().filter(|_| found.monitored) {
                    writeln!(f, "  {:<24} by  {by}", "")?;
                }
            }
        }
        for Lookup { question, answer, micros } in &self.lookups {
            let took = micros.map_or(String::new(), |micros| format!(" ({} ms)", shown_millis(micros)));
            writeln!(f, "  look-up      {}: {}{took}", printable(question), printable(answer))?;
        }
        if !self.scopes.is_empty() {
            writeln!(f, "  scopes       {}", printable(&self.scopes.join(", ")))?;
        }
        match &self.reply {
            Some(reply) => writeln!(f, "  => {}: {reply}", self.action),
            None => writeln!(f, "  => {}", self.action),
        }
    }
}

impl Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { check, reason, summary, action, saw, monitored, .. } = self;
        let would = if *monitored { " (monitored only)" } else { "" };
        writeln!(f, "  {check:<12} {action:<11} {reason}{would}: {summary}")?;
        if !saw.is_empty() {
            writeln!(f, "  {:<24} saw {}", "", printable(saw))?;
        }
        self.by.iter().try_for_each(|by| writeln!(f, "  {:<24} by  {by}", ""))
    }
}

/// Text from a mail as a terminal may show it.
pub(crate) fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c }).collect()
}

/// Milliseconds with as many decimals as tell something.
fn shown_millis(micros: u64) -> String {
    match micros {
        0..10_000 => format!("{}.{}", micros / 1_000, micros % 1_000 / 100),
        _ => (micros / 1_000).to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn people_read_each_check_with_what_it_saw() {
        let text = str::to_owned;
        let checked = |check: &str, mode: &str| Checked {
            check: text(check),
            mode: text(mode),
            mode_by: None,
            note: text("nothing to say"),
        };
        let found = |monitored| Found {
            check: text("helo"),
            reason: text("helo.localhost"),
            summary: text("The name is `localhost`."),
            action: text("reject"),
            reply: None,
            saw: text("HELO \"local\nhost\""),
            monitored,
            by: Some(Decider {
                file: text("scopes.toml"),
                line: Some(4),
                scope: Some(text("strict")),
                what: text("localhost = \"reject\""),
            }),
        };
        let mut judged = Judged {
            subject: text("recipient b@x.test"),
            stage: text("rcpt"),
            action: text("reject"),
            reason: Some(text("helo.localhost")),
            reply: Some(text("550 5.7.1 no")),
            scopes: vec![text("ours"), text("strict")],
            checks: vec![checked("address", "off"), checked("helo", "enforce"), checked("auth", "enforce")],
            findings: vec![found(false)],
            lookups: vec![
                Lookup { question: text("SPF"), answer: text("pass"), micros: Some(1_260) },
                Lookup { question: text("DNS"), answer: text("unknown"), micros: None },
            ],
        };
        let notes = vec![text("one"), text("two")];
        let explanation = Explanation { notes, stages: vec![judged.clone()] };
        assert!(explanation.refuses());
        assert_eq!(
            explanation.to_string(),
            "recipient b@x.test\n\
             \x20 address      off\n\
             \x20 helo         reject      helo.localhost: The name is `localhost`.\n\
             \x20                          saw HELO \"local\u{fffd}host\"\n\
             \x20                          by  scopes.toml:4, scope strict: localhost = \"reject\"\n\
             \x20 auth         accept      nothing to say\n\
             \x20 look-up      SPF: pass (1.2 ms)\n\
             \x20 look-up      DNS: unknown\n\
             \x20 scopes       ours, strict\n\
             \x20 => reject: 550 5.7.1 no\n\
             \nNote: one;\n      two.\n"
        );
        judged.findings = vec![found(true)];
        assert!(judged.to_string().contains("helo.localhost (monitored only): "));
    }
}
