//! The same mail by two policies.

use std::fmt::{self, Display};

use serde::{Deserialize, Serialize};

use super::explanation::printable;
use super::{Explanation, Found, Judged};

/// What two policies say of a mail.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Comparison {
    /// Whether a sender or a recipient would see a difference.
    pub differs: bool,
    /// By the one policy.
    pub policy: Explanation,
    /// By the other.
    pub against: Explanation,
}

impl Comparison {
    /// Compares what two policies say of the same recipients and message.
    pub fn new(policy: Explanation, against: Explanation) -> Self {
        let differs = policy.stages.iter().zip(&against.stages).any(|(one, other)| !is_same(one, other));
        Self { differs, policy, against }
    }
}

fn is_same(one: &Judged, other: &Judged) -> bool {
    (&one.action, &one.reply) == (&other.action, &other.reply)
}

/// What a finding does, wherever the line stands that decided.
fn is_alike(one: &Found, other: &Found) -> bool {
    let effect =
        |found: &Found| (found.reason.clone(), found.action.clone(), found.reply.clone(), found.monitored);
    effect(one) == effect(other)
}

impl Display for Comparison {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (one, other) in self.policy.stages.iter().zip(&self.against.stages) {
            writeln!(f, "{}", printable(&one.subject))?;
            let mut missing =
                one.findings.iter().filter(|found| !other.findings.iter().any(|it| is_alike(it, found)));
            missing.try_for_each(|found| write_finding(f, '-', found))?;
            let mut added =
                other.findings.iter().filter(|found| !one.findings.iter().any(|it| is_alike(it, found)));
            added.try_for_each(|found| write_finding(f, '+', found))?;
            match is_same(one, other) {
                true => writeln!(f, "  => the same: {}", Told(one))?,
                false => writeln!(f, "  - => {}\n  + => {}", Told(one), Told(other))?,
            }
        }
        let notes: Vec<String> = self.policy.notes.iter().map(|note| printable(note)).collect();
        if notes.is_empty() { Ok(()) } else { writeln!(f, "\nNote: {}.", notes.join(";\n      ")) }
    }
}

fn write_finding(f: &mut fmt::Formatter<'_>, sign: char, found: &Found) -> fmt::Result {
    let Found { check, reason, action, monitored, by, .. } = found;
    let would = if *monitored { " (monitored only)" } else { "" };
    let by = by.as_ref().map_or(String::new(), |by| format!(", by {by}"));
    writeln!(f, "  {sign} {check:<12} {action:<11} {reason}{would}{by}")
}

struct Told<'a>(&'a Judged);

impl Display for Told<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Judged { action, reply, .. } = self.0;
        match reply {
            Some(reply) => write!(f, "{action}: {reply}"),
            None => f.write_str(action),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::explain::explain_logged;
    use crate::policy::Policy;
    use crate::telemetry::LoggedDecision;

    #[test]
    fn what_differs_is_shown_with_the_lines_that_decide() {
        let line = "decision protocol=policy stage=rcpt client=192.0.2.1 helo=localhost sender=<> recipients=b@x.test \
            action=reject reason=helo.localhost reply=\"550 5.7.1 no\" mode=enforce";
        let decision = LoggedDecision::parse(line).unwrap();
        let by = |text: &str| {
            let files = [("helo.toml".to_owned(), text.to_owned())].into();
            let policy = Policy::load(&files).map(|(policy, _)| policy).unwrap();
            Explanation { notes: Vec::new(), ..explain_logged(&decision, &policy).unwrap() }
        };
        let same = Comparison::new(by(""), by("missing = \"defer\""));
        assert!(!same.differs);
        let told = "reject: 550 5.7.1 Access denied - bogus HELO [5]";
        assert_eq!(same.to_string(), format!("recipient b@x.test\n  => the same: {told}\n"));
        let other = Comparison::new(by(""), by("\nlocalhost = \"tag\""));
        assert!(other.differs);
        assert_eq!(
            other.to_string(),
            format!(
                "recipient b@x.test\n\
                 \x20 - helo         reject      helo.localhost, by default of helo.toml: localhost = \"reject\"\n\
                 \x20 + greylist     defer       greylist.first_seen, by default of greylist.toml: min_delay = \"2m\"\n\
                 \x20 + helo         tag         helo.localhost, by helo.toml:2: localhost = \"tag\"\n\
                 \x20 - => {told}\n\
                 \x20 + => defer: 451 4.7.1 Greylisted, try again in 120 seconds\n"
            )
        );
    }
}
