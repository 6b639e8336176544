//! The trace: the last decisions with all that was known and found, kept in memory for `greylag explain --recent`.

use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::decision::DecisionLine;
use super::form::{Form, Json, Key, key};
use super::kept::{Kept, Record};
use super::log;
use super::per_thread::LockedPerThread;
use super::record::{Decision, Made, RecordedMade, RecordedSaid};
use super::said::Said;
use crate::store::Timestamp;

/// What the trace may take in memory where nothing else is said, in bytes: some 10,000 decisions.
const CAPACITY: usize = 4 << 20;

/// Most mails that are shown at once.
const MOST_SHOWN: usize = 1_000;

/// The last decisions of this process, as [`super::Decision`] writes them. The oldest go when the memory is full.
#[derive(Debug)]
pub struct Trace {
    /// Bytes that each of `kept` may take.
    capacity: usize,
    kept: LockedPerThread<Kept>,
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
        let kept = LockedPerThread::default();
        Self { capacity: capacity / kept.len(), kept }
    }

    /// Whether it keeps nothing.
    pub const fn is_off(&self) -> bool {
        self.capacity == 0
    }

    /// Logs a decision and keeps it.
    pub fn record(&self, decision: &Decision<'_>) {
        self.record_bytes(|bytes| decision.write(bytes), None);
    }

    /// Logs and keeps a decision that says what another one said.
    pub fn record_again(&self, made: Made<'_>, said: &Arc<Said>) {
        self.record_bytes(|bytes| made.write(bytes), Some(said));
    }

    fn record_bytes(&self, write: impl FnOnce(&mut Vec<u8>), shared: Option<&Arc<Said>>) {
        thread_local! {
            static BYTES: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
        }
        BYTES.with_borrow_mut(|bytes| {
            bytes.clear();
            write(bytes);
            log::decision(bytes, shared);
            self.push(bytes, shared);
        });
    }

    fn push(&self, bytes: &[u8], shared: Option<&Arc<Said>>) {
        let size = Kept::size_of(bytes, shared);
        if size > self.capacity {
            return;
        }
        let Some(mut kept) = self.kept.lock_own() else { return };
        while kept.size() + size > self.capacity {
            kept.drop_oldest();
        }
        kept.push(bytes, shared);
    }

    /// The latest mails that were asked for, the oldest first. Reads all that is kept: not for a thread that answers mail.
    pub fn find(&self, query: &TraceQuery) -> Vec<Traced> {
        let mut kept: Vec<Kept> = self.kept.lock_each().map(|kept| kept.clone()).collect();
        let mut decisions: Vec<_> = kept.iter_mut().flat_map(Kept::records).collect();
        decisions.sort_by_key(|decision| decision.made.at);
        find(&decisions, query, value)
    }
}

/// The mails of `decisions` that were asked for; `value` reads one decision.
///
/// As a [`Value`] a decision takes many times what it takes in the trace: those that are not shown are read one by one, and dropped.
fn find<'a>(
    decisions: &[Record<'a>],
    query: &TraceQuery,
    mut value: impl FnMut(&Record<'a>) -> Option<Value>,
) -> Vec<Traced> {
    let mut shown: Vec<Traced> = wanted(decisions, query, &mut value)
        .into_iter()
        .map(|transaction| Traced { transaction, steps: Vec::new() })
        .collect();
    let places: HashMap<u64, usize> =
        shown.iter().enumerate().map(|(place, mail)| (mail.transaction, place)).collect();
    for record in decisions {
        let place = places.get(&record.made.transaction);
        let Some(mail) = place.and_then(|place| shown.get_mut(*place)) else { continue };
        let at = record.made.at.since(Timestamp::EPOCH).as_secs_f64();
        mail.steps.extend(value(record).map(|decision| TracedStep { at, decision }));
    }
    shown
}

/// The transactions of which a decision matches, in the order of their first decisions: the latest, as many as are shown.
fn wanted<'a>(
    decisions: &[Record<'a>],
    query: &TraceQuery,
    mut value: impl FnMut(&Record<'a>) -> Option<Value>,
) -> Vec<u64> {
    let mut mails: Vec<(u64, bool)> = Vec::new();
    let mut places = HashMap::new();
    for record in decisions {
        let transaction = record.made.transaction;
        let place = *places.entry(transaction).or_insert(mails.len());
        if place == mails.len() {
            mails.push((transaction, false));
        }
        let Some((_, is_wanted)) = mails.get_mut(place) else { continue };
        *is_wanted = *is_wanted || value(record).is_some_and(|decision| query.matches(&decision));
    }
    let mut wanted: Vec<u64> =
        mails.into_iter().filter(|(_, is_wanted)| *is_wanted).map(|(transaction, _)| transaction).collect();
    let most = query.last.min(MOST_SHOWN);
    wanted.split_off(wanted.len().saturating_sub(most))
}

/// A decision with everything that was found.
fn value(record: &Record<'_>) -> Option<Value> {
    serde_json::from_slice(&json(&record.made, &record.said.read()?)).ok()
}

impl TraceQuery {
    fn matches(&self, decision: &Value) -> bool {
        let is = |wanted: &Option<String>, found: &Value| {
            wanted
                .as_ref()
                .is_none_or(|wanted| found.as_str().is_some_and(|found| found.eq_ignore_ascii_case(wanted)))
        };
        // Addresses are shown without brackets, but for the null reverse-path.
        let bare = |address: &Option<String>| {
            let inner = |text: &str| {
                text.strip_prefix('<')?.strip_suffix('>').filter(|it| !it.is_empty()).map(str::to_owned)
            };
            address.as_ref().map(|text| inner(text).unwrap_or_else(|| text.clone()))
        };
        let (sender, recipient) = (bare(&self.sender), bare(&self.recipient));
        let recipients = decision.get("recipients").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
        let field = |key| decision.get(key).unwrap_or(&Value::Null);
        is(&self.client, field("client"))
            && is(&sender, field("sender"))
            && is(&self.queue_id, field("queue_id"))
            && (recipient.is_none() || recipients.iter().any(|found| is(&recipient, found)))
    }
}

fn json(made: &RecordedMade<'_>, said: &RecordedSaid<'_>) -> Vec<u8> {
    let mut out = b"{\"findings\":[".to_vec();
    for (index, found) in said.findings.items().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        out.extend_from_slice(b"{\"check\":\"");
        out.extend_from_slice(found.reason.check().name().as_bytes());
        out.push(b'"');
        let mut members = Json(&mut out);
        members.name(key!("reason"), found.reason.code());
        members.name(key!("action"), found.action.name());
        members.name(key!("mode"), found.mode.name());
        members.text(key!("detail"), found.detail);
        out.push(b'}');
    }
    out.push(b']');
    DecisionLine::decided(said).write(made, &mut Json(&mut out));
    out.push(b'}');
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::driver::Protocol;
    use crate::facts::{Client, Facts, Recipient, ReversePath, Stage};
    use crate::filter::Slot;
    use crate::reason::Reason;
    use crate::verdict::{Finding, Outcome, Verdict};
    use std::time::Duration;

    fn record(trace: &Trace, transaction: u64, sender: &str, recipient: &str, verdict: &Verdict) {
        let mut facts = Facts {
            sender: Some(ReversePath::parse(sender)),
            recipient: Some(Recipient::parse(recipient)),
            queue_id: Some(format!("Q{transaction}")),
            ..Facts::default()
        };
        facts.connection.client = Client::parse("192.0.2.1");
        let mut bytes = Vec::new();
        let decision = Decision {
            transaction,
            at: Timestamp::from_millis(transaction * 1_000),
            took: Duration::from_micros(7),
            protocol: Protocol::Milter,
            stage: Stage::Rcpt,
            facts: &facts,
            verdict,
            helo_dns: &Slot::NotAsked,
            spf: &Slot::NotAsked,
            identities: &[],
        };
        decision.write(&mut bytes);
        trace.push(&bytes, None);
    }

    /// Records what was said of this mail of another one.
    fn record_again(trace: &Trace, transaction: u64, said: &Arc<Said>) {
        let made = Made {
            transaction,
            at: Timestamp::from_millis(transaction * 1_000),
            took: Duration::from_micros(3),
            protocol: Protocol::Policy,
            stage: Stage::Rcpt,
            queue_id: None,
        };
        trace.record_again(made, said);
    }

    fn said(sender: &str) -> Arc<Said> {
        let facts = Facts { sender: Some(ReversePath::parse(sender)), ..Facts::default() };
        let decision = Decision {
            transaction: 0,
            at: Timestamp::EPOCH,
            took: Duration::ZERO,
            protocol: Protocol::Policy,
            stage: Stage::Rcpt,
            facts: &facts,
            verdict: &Verdict::default(),
            helo_dns: &Slot::NotAsked,
            spf: &Slot::NotAsked,
            identities: &[],
        };
        Arc::new(decision.said())
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
        assert_eq!(find(TraceQuery { sender: text("<a@x.test>"), ..all() }), [(1, 2)]);
        assert_eq!(find(TraceQuery { recipient: text("<carol@example.test>"), ..all() }), [(1, 2)]);
        assert_eq!(find(TraceQuery { queue_id: text("Q2"), ..all() }), [(2, 1)]);
        assert_eq!(find(TraceQuery { client: text("192.0.2.1"), ..all() }).len(), 2);
        assert_eq!(find(TraceQuery { client: text("192.0.2.2"), ..all() }), []);
        // Both in one decision.
        let neither = TraceQuery { sender: text("<>"), recipient: text("carol@example.test"), ..all() };
        assert_eq!(find(neither), []);
        assert_eq!(numbers(&trace.find(&TraceQuery { last: 1, ..all() })), [(2, 1)]);
    }

    #[test]
    fn only_what_is_shown_is_held() {
        let trace = Trace::default();
        let accepted = Verdict::default();
        for (transaction, sender) in
            [(1, "<a@x.test>"), (2, "<a@x.test>"), (3, "<b@x.test>"), (2, "<a@x.test>")]
        {
            record(&trace, transaction, sender, "<bob@example.test>", &accepted);
        }
        let mut kept: Vec<Kept> = trace.kept.lock_each().map(|kept| kept.clone()).collect();
        let mut decisions: Vec<_> = kept.iter_mut().flat_map(Kept::records).collect();
        decisions.sort_by_key(|decision| decision.made.at);
        let query = TraceQuery { sender: Some("a@x.test".into()), last: 1, ..TraceQuery::default() };

        // What is sought yields numbers; each decision is read until it is known that its mail is wanted.
        let mut read = Vec::new();
        let counted = |record: &Record<'_>| {
            read.push(record.made.transaction);
            value(record)
        };
        assert_eq!(wanted(&decisions, &query, counted), [2]);
        assert_eq!(read, [1, 2, 3]);

        let mut read = Vec::new();
        let found = find(&decisions, &query, |record| {
            read.push(record.made.transaction);
            value(record)
        });
        assert_eq!(read, [1, 2, 3, 2, 2], "then the decisions of the mail that is shown, and no other");
        assert_eq!(numbers(&found), [(2, 2)]);
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
    fn what_is_said_again_is_found_like_what_is_said_once() {
        let trace = Trace::default();
        let (one, other) = (said("<a@x.test>"), said("<b@x.test>"));
        record_again(&trace, 1, &one);
        record(&trace, 2, "<c@x.test>", "<bob@example.test>", &Verdict::default());
        record_again(&trace, 3, &other);
        record_again(&trace, 4, &one);
        let find = |sender: &str| -> Vec<(u64, Value)> {
            let query = TraceQuery { sender: Some(sender.into()), last: 10, ..TraceQuery::default() };
            let found = trace.find(&query);
            found.iter().map(|mail| (mail.transaction, mail.steps[0].decision["micros"].clone())).collect()
        };
        assert_eq!(find("a@x.test"), [(1, 3.into()), (4, 3.into())]);
        assert_eq!(find("b@x.test"), [(3, 3.into())]);
        assert_eq!(find("c@x.test"), [(2, 7.into())]);
        assert_eq!(find("d@x.test"), []);
    }

    #[test]
    fn what_is_shared_goes_with_the_last_decision_that_says_it() {
        let trace = Trace::with_capacity(20_000);
        let shared = said("<a@x.test>");
        for transaction in 0..10 {
            record_again(&trace, transaction, &shared);
        }
        assert_eq!(Arc::strong_count(&shared), 11);
        for transaction in 10..1_000 {
            record(&trace, transaction, "<b@x.test>", "<bob@example.test>", &Verdict::default());
        }
        assert_eq!(Arc::strong_count(&shared), 1);
        for mut kept in trace.kept.lock_each() {
            while !kept.is_empty() {
                kept.drop_oldest();
            }
            assert_eq!(kept.size(), 0);
        }
    }

    #[test]
    fn memory_is_bounded_and_the_latest_stay() {
        let trace = Trace::with_capacity(20_000);
        for transaction in 0..1_000 {
            record(&trace, transaction, "<a@x.test>", "<bob@example.test>", &Verdict::default());
        }
        let bytes: usize = trace.kept.lock_each().map(|kept| kept.size()).sum();
        assert!((trace.capacity / 2..=trace.capacity).contains(&bytes), "{bytes}");
        let found = trace.find(&TraceQuery { last: 1_000, ..TraceQuery::default() });
        let kept: Vec<u64> = found.iter().map(|mail| mail.transaction).collect();
        assert_eq!(kept, (1_000 - kept.len() as u64..1_000).collect::<Vec<_>>());
        let none = Trace::with_capacity(0);
        record(&none, 1, "<a@x.test>", "<bob@example.test>", &Verdict::default());
        assert_eq!(none.find(&TraceQuery { last: 10, ..TraceQuery::default() }), []);
    }
}
