//! Many findings, one verdict.

use crate::policy::Mode;
use crate::verdict::{Action, Finding, Verdict};

/// Collects what the checks find, by the mode of each.
#[derive(Debug, Default)]
pub(super) struct Fold {
    verdict: Verdict,
}

impl From<Verdict> for Fold {
    fn from(verdict: Verdict) -> Self {
        Self { verdict }
    }
}

impl Fold {
    /// Adds the findings of one check. In monitor mode they are kept apart and count for nothing.
    pub(super) fn add(&mut self, mode: Mode, findings: impl IntoIterator<Item = Finding>) {
        for finding in findings {
            let Verdict { findings: counting, would, .. } = &self.verdict;
            // Recipients of several groups find the same things in one message; each counts once.
            match mode {
                Mode::Enforce if !counting.contains(&finding) => self.verdict.insert(finding),
                Mode::Monitor if !would.contains(&finding) => self.verdict.would.push(finding),
                Mode::Enforce | Mode::Monitor | Mode::Off => {}
            }
        }
    }

    /// The hardest action so far.
    pub(super) fn action(&self) -> Action {
        self.verdict.action()
    }

    /// The verdict of all that was added.
    pub(super) fn verdict(self) -> Verdict {
        self.verdict
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reason::Reason;
    use crate::verdict::{Code, Outcome, Reply};

    fn finding(reason: Reason, action: Action) -> Finding {
        Finding {
            reason,
            outcome: Outcome::of(action, Reply::new(Code::C550, (7, 1), "no")),
            detail: String::new(),
        }
    }

    #[test]
    fn the_hardest_finding_decides_and_the_first_of_equals() {
        let mut fold = Fold::default();
        fold.add(Mode::Enforce, vec![finding(Reason::HeloMismatched, Action::Accept)]);
        fold.add(Mode::Enforce, vec![finding(Reason::HeloBanned, Action::Reject)]);
        fold.add(Mode::Enforce, vec![finding(Reason::GreylistFirstSeen, Action::Defer)]);
        fold.add(Mode::Enforce, vec![finding(Reason::RecipientsTooMany, Action::Reject)]);
        fold.add(Mode::Enforce, vec![finding(Reason::HeloBanned, Action::Reject)]);
        assert_eq!(fold.action(), Action::Reject);
        let order: Vec<Reason> = fold.verdict().findings.iter().map(|finding| finding.reason).collect();
        let expected = [
            Reason::HeloBanned,
            Reason::RecipientsTooMany,
            Reason::GreylistFirstSeen,
            Reason::HeloMismatched,
        ];
        assert_eq!(order, expected);
    }

    #[test]
    fn monitor_counts_for_nothing_and_off_is_nothing() {
        let mut fold = Fold::default();
        fold.add(Mode::Monitor, vec![finding(Reason::HeloBanned, Action::Reject)]);
        fold.add(Mode::Off, vec![finding(Reason::HeloLocalhost, Action::Reject)]);
        assert_eq!(fold.action(), Action::Accept);
        let verdict = fold.verdict();
        assert_eq!((verdict.action(), verdict.findings.len(), verdict.would.len()), (Action::Accept, 0, 1));
    }
}
