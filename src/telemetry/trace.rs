//! The trace: the last decisions with all that was known and found, kept in memory for `greylag explain --recent`.

use std::collections::VecDeque;
use std::fmt::Write;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::DecisionLine;
use crate::store::Timestamp;
use crate::verdict::{Finding, Verdict};

/// What the trace may take in memory where nothing else is said, in bytes: some 5,000 decisions.
const CAPACITY: usize = 4 << 20;

/// What a decision takes beside its text: its place in the queue, its counters, what the allocator adds.
const OVERHEAD: usize = 80;

/// Most mails that are shown at once.
const MOST_SHOWN: usize = 1_000;

/// The last decisions of this process. The oldest go when the memory is full.
#[derive(Debug)]
pub struct Trace {
    capacity: usize,
    ring: Mutex<Ring>,
}

#[derive(Debug, Default)]
struct Ring {
    steps: VecDeque<Step>,
    bytes: usize,
}

#[derive(Clone, Debug)]
struct Step {
    transaction: u64,
    /// Since the epoch.
    at: Duration,
    json: Arc<str>,
}

impl Step {
    fn bytes(&self) -> usize {
        self.json.len() + OVERHEAD
    }
}

/// Which mails are asked for: those of which a decision has all that is given here.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TraceQuery {
    /// The client's address.
    pub client: Option<String>,
    /// The sender, in whatever case; `<>` for the null reverse-path.
    pub sender: Option<String>,
    /// A recipient, in whatever case.
    pub recipient: Option<String>,
    /// The queue id.
    pub queue_id: Option<String>,
    /// How many mails at most, the latest of them.
    pub last: usize,
}

/// What was decided of one mail.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Traced {
    /// The mail's number in this process.
    pub transaction: u64,
    /// Its decisions in their order.
    pub steps: Vec<TracedStep>,
}

/// One decision.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TracedStep {
    /// When it was made, in seconds since 1970 (UTC).
    pub at: f64,
    /// The fields of its log line, and `findings`: everything found, each with check, reason, action, mode and detail.
    pub decision: Value,
}

impl Default for Trace {
    fn default() -> Self {
        Self::with_capacity(CAPACITY)
    }
}

impl Trace {
    /// A trace that takes so many bytes at most; of none, it keeps nothing.
    pub fn with_capacity(capacity: usize) -> Self {
        Self { capacity, ring: Mutex::default() }
    }

    /// Whether it keeps nothing.
    pub const fn is_off(&self) -> bool {
        self.capacity == 0
    }

    /// Keeps a decision about the mail with the number `transaction`, made at `now`.
    pub fn record(&self, transaction: u64, now: Timestamp, line: &DecisionLine<'_>, verdict: &Verdict) {
        if self.is_off() {
            return;
        }
        let at = now.since(Timestamp::EPOCH);
        let json = json(line, verdict);
        let step = Step { transaction, at, json: json.into() };
        let mut ring = self.ring.lock().unwrap_or_else(PoisonError::into_inner);
        ring.bytes += step.bytes();
        ring.steps.push_back(step);
        while ring.bytes > self.capacity {
            let Some(oldest) = ring.steps.pop_front() else { break };
            ring.bytes -= oldest.bytes();
        }
    }

    /// The latest mails that were asked for, the oldest first. Reads all that is kept: not for a thread that answers mail.
    pub fn find(&self, query: &TraceQuery) -> Vec<Traced> {
        let steps: Vec<Step> = {
            let ring = self.ring.lock().unwrap_or_else(PoisonError::into_inner);
            ring.steps.iter().cloned().collect()
        };
        let mut mails: Vec<(bool, Traced)> = Vec::new();
        let mut places = std::collections::HashMap::new();
        for Step { transaction, at, json } in steps {
            let Ok(decision) = serde_json::from_str::<Value>(&json) else { continue };
            let place = *places.entry(transaction).or_insert(mails.len());
            if place == mails.len() {
                mails.push((false, Traced { transaction, steps: Vec::new() }));
            }
            let Some((wanted, mail)) = mails.get_mut(place) else { continue };
            *wanted |= query.matches(&decision);
            mail.steps.push(TracedStep { at: at.as_secs_f64(), decision });
        }
        let mut found: Vec<Traced> =
            mails.into_iter().rev().filter(|(wanted, _)| *wanted).map(|(_, mail)| mail).collect();
        found.truncate(query.last.min(MOST_SHOWN));
        found.reverse();
        found
    }
}

impl TraceQuery {
    fn matches(&self, decision: &Value) -> bool {
        let is = |wanted: &Option<String>, found: &Value| {
            wanted
                .as_ref()
                .is_none_or(|wanted| found.as_str().is_some_and(|found| found.eq_ignore_ascii_case(wanted)))
        };
        let recipients = decision.get("recipients").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
        let field = |key| decision.get(key).unwrap_or(&Value::Null);
        is(&self.client, field("client"))
            && is(&self.sender, field("sender"))
            && is(&self.queue_id, field("queue_id"))
            && (self.recipient.is_none() || recipients.iter().any(|found| is(&self.recipient, found)))
    }
}

fn json(line: &DecisionLine<'_>, verdict: &Verdict) -> String {
    let mut json = String::with_capacity(1024);
    // Writing to a string does not fail.
    let _ = write!(json, "{{{},\"findings\":[", line.json_members());
    let found = verdict.findings.iter().map(|finding| (finding, "enforce"));
    let would = verdict.would.iter().map(|finding| (finding, "monitor"));
    for (index, (finding, mode)) in found.chain(would).enumerate() {
        let Finding { reason, outcome, detail } = finding;
        let _ = write!(
            json,
            "{}{{\"check\":\"{}\",\"reason\":\"{}\",\"action\":\"{}\",\"mode\":\"{mode}\",\"detail\":{}}}",
            if index > 0 { "," } else { "" },
            reason.check().name(),
            reason.code(),
            outcome.action().name(),
            Value::from(super::decision::detail_shown(detail)),
        );
    }
    json.push_str("]}");
    json
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::driver::Protocol;
    use crate::facts::{Client, Facts, Recipient, ReversePath, Stage};
    use crate::filter::Slot;
    use crate::policy::Mode;
    use crate::reason::Reason;
    use crate::verdict::Outcome;

    fn record(trace: &Trace, transaction: u64, sender: &str, recipient: &str, verdict: &Verdict) {
        let mut facts = Facts {
            sender: Some(ReversePath::parse(sender)),
            recipient: Some(Recipient::parse(recipient)),
            queue_id: Some(format!("Q{transaction}")),
            ..Facts::default()
        };
        facts.connection.client = Client::parse("192.0.2.1");
        let line = DecisionLine {
            protocol: Protocol::Milter,
            stage: Stage::Rcpt,
            facts: &facts,
            finding: verdict.decisive(),
            mode: Mode::Enforce,
            helo_dns: &Slot::NotAsked,
            spf: &Slot::NotAsked,
            identities: &[],
            took: Duration::from_micros(7),
        };
        trace.record(transaction, Timestamp::from_millis(transaction * 1_000), &line, verdict);
    }

    fn numbers(found: &[Traced]) -> Vec<(u64, usize)> {
        found.iter().map(|mail| (mail.transaction, mail.steps.len())).collect()
    }

    #[test]
    fn mails_are_found_whole_by_any_of_their_decisions() {
        let trace = Trace::default();
        let accepted = Verdict::default();
        record(&trace, 1, "<a@x.test>", "<bob@example.test>", &accepted);
        record(&trace, 2, "<>", "<bob@example.test>", &accepted);
        record(&trace, 1, "<a@x.test>", "<Carol@example.test>", &accepted);
        let find = |query: TraceQuery| numbers(&trace.find(&TraceQuery { last: 10, ..query }));
        let text = |text: &str| Some(text.to_owned());
        let all = TraceQuery::default;
        assert_eq!(find(all()), [(1, 2), (2, 1)]);
        assert_eq!(find(TraceQuery { recipient: text("carol@EXAMPLE.test"), ..all() }), [(1, 2)]);
        assert_eq!(find(TraceQuery { sender: text("<>"), ..all() }), [(2, 1)]);
        assert_eq!(find(TraceQuery { queue_id: text("Q2"), ..all() }), [(2, 1)]);
        assert_eq!(find(TraceQuery { client: text("192.0.2.1"), ..all() }).len(), 2);
        assert_eq!(find(TraceQuery { client: text("192.0.2.2"), ..all() }), []);
        // Both in one decision.
        let neither = TraceQuery { sender: text("<>"), recipient: text("carol@example.test"), ..all() };
        assert_eq!(find(neither), []);
        assert_eq!(numbers(&trace.find(&TraceQuery { last: 1, ..all() })), [(2, 1)]);
    }

    #[test]
    fn a_step_has_everything_that_was_found() {
        let trace = Trace::default();
        let finding = |reason, detail: &str| Finding { reason, outcome: Outcome::Tag, detail: detail.into() };
        let verdict = Verdict {
            findings: vec![finding(Reason::HeloNoAddress, "saw \"x\"\n")],
            would: vec![finding(Reason::HeloMissing, "")],
            edits: Vec::new(),
        };
        record(&trace, 1, "<a@x.test>", "<bob@example.test>", &verdict);
        let found = trace.find(&TraceQuery { last: 1, ..TraceQuery::default() });
        let step = &found[0].steps[0];
        assert_eq!((step.at, &step.decision["reason"]), (1.0, &Value::from("helo.no_address")));
        let expected = serde_json::json!([
            { "check": "helo", "reason": "helo.no_address", "action": "tag", "mode": "enforce", "detail": "saw \"x\"\n" },
            { "check": "helo", "reason": "helo.missing", "action": "tag", "mode": "monitor", "detail": "" },
        ]);
        assert_eq!(step.decision["findings"], expected);
    }

    #[test]
    fn memory_is_bounded_and_the_latest_stay() {
        let trace = Trace::with_capacity(10_000);
        for transaction in 0..1_000 {
            record(&trace, transaction, "<a@x.test>", "<bob@example.test>", &Verdict::default());
        }
        let ring = trace.ring.lock().unwrap();
        let bytes: usize = ring.steps.iter().map(Step::bytes).sum();
        assert_eq!(bytes, ring.bytes);
        assert!((5_000..=10_000).contains(&bytes), "{bytes}");
        assert_eq!(ring.steps.back().map(|step| step.transaction), Some(999));
        let none = Trace::with_capacity(0);
        record(&none, 1, "<a@x.test>", "<bob@example.test>", &Verdict::default());
        assert_eq!(none.find(&TraceQuery { last: 10, ..TraceQuery::default() }), []);
    }
}
