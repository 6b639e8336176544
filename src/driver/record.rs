//! What is written down of a decision: metrics and one log line.

use std::time::Duration;

use super::Transaction;
use super::regulars::{Again, Regular};
use crate::checks::greylist;
use crate::facts::{Facts, Stage};
use crate::reason::Reason;
use crate::store::Timestamp;
use crate::telemetry::{Decision, Made, Trace, metrics};
use crate::verdict::{Action, Verdict};

/// Counts, logs and traces what was decided of a recipient or a message at `now`, and what a check in monitor mode would have decided. Stages that
/// only collect leave no trace, and DATA only where something is found there.
pub(super) fn decision(
    stage: Stage,
    facts: &Facts,
    transaction: &Transaction,
    verdict: &Verdict,
    (now, took): (Timestamp, Duration),
    trace: &Trace,
) {
    metrics::decision_duration(transaction.protocol, stage, took);
    let decides = match stage {
        Stage::Connect | Stage::Helo | Stage::Mail => false,
        Stage::Data => verdict.action() != Action::Accept || !verdict.would.is_empty(),
        Stage::Rcpt | Stage::EndOfMessage => true,
    };
    if !decides {
        return;
    }
    metrics::decision(transaction.protocol, verdict);
    let known = &transaction.known;
    if stage == Stage::Rcpt && known.greylist.is_not_asked() && !verdict.action().refuses() {
        let settings = known.settings(facts, &transaction.policy);
        greylist::exemption(facts, settings).into_iter().for_each(metrics::greylist_exempt);
    }
    trace.record(&of(stage, facts, transaction, verdict, (now, took)));
}

/// What is logged and traced of a decision.
pub(super) fn of<'a>(
    stage: Stage,
    facts: &'a Facts,
    transaction: &'a Transaction,
    verdict: &'a Verdict,
    (at, took): (Timestamp, Duration),
) -> Decision<'a> {
    let Transaction { protocol, number, known, regular, .. } = transaction;
    // Of a recipient that comes regularly nothing was asked this time.
    let asked = regular.as_deref().and_then(|regular| regular.asked.as_deref());
    let helo_dns = asked.map_or(&known.helo, |asked| &asked.helo);
    let spf = asked.map(|asked| &asked.spf).filter(|_| known.spf.is_not_asked()).unwrap_or(&known.spf);
    let attempted = known.attempt.as_ref().map_or(&[][..], |attempt| &attempt.identities);
    Decision {
        transaction: *number,
        at,
        took,
        protocol: *protocol,
        stage,
        facts,
        verdict,
        helo_dns,
        spf,
        identities: asked.map_or(attempted, |asked| &asked.identities),
    }
}

/// Counts, logs and traces what was decided of a recipient as it had been before.
pub(super) fn again(
    Regular { verdict, again, .. }: &Regular,
    queue_id: Option<&str>,
    transaction: &Transaction,
    when: (Timestamp, Duration),
    trace: &Trace,
) {
    metrics::decision(transaction.protocol, verdict);
    said_again(again, queue_id, transaction, when, trace);
}

/// The same of one who passes for this reason, of whom nothing else was found.
pub(super) fn passed_again(
    reason: Reason,
    again: &Again,
    queue_id: Option<&str>,
    transaction: &Transaction,
    when: (Timestamp, Duration),
    trace: &Trace,
) {
    metrics::passed(transaction.protocol, reason);
    said_again(again, queue_id, transaction, when, trace);
}

fn said_again(
    Again { answer, said, .. }: &Again,
    queue_id: Option<&str>,
    transaction: &Transaction,
    (at, took): (Timestamp, Duration),
    trace: &Trace,
) {
    let &Transaction { protocol, number: transaction, .. } = transaction;
    let stage = Stage::Rcpt;
    metrics::decision_duration(protocol, stage, took);
    metrics::greylist(answer);
    metrics::decision_remembered();
    trace.record_again(Made { transaction, at, took, protocol, stage, queue_id }, said);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::driver::{Driver, Protocol};
    use crate::policy::Policy;
    use crate::telemetry::TraceQuery;

    #[tokio::test]
    async fn what_is_found_at_data_is_written_down_and_nothing_else() {
        for (action, count, expected) in
            [("tag", 2, Some("tag")), ("reject", 2, Some("reject")), ("accept", 2, None), ("tag", 1, None)]
        {
            let driver = Driver::accepting();
            let file = format!("max_recipients = 1\ntoo_many_at_data = {action:?}\n");
            let files = [("recipients.toml".to_owned(), file)].into();
            driver.set_policy(Policy::load(&files).map(|(policy, _)| policy).unwrap());
            let mut mail = driver.begin(Protocol::Policy);
            let facts = Facts { recipient_count: Some(count), ..Facts::default() };
            driver.judge(Stage::Data, &facts, &mut mail).await;
            let traced = driver.trace().find(&TraceQuery { last: 2, ..TraceQuery::default() });
            let steps: Vec<_> = traced.iter().flat_map(|mail| &mail.steps).collect();
            let actions: Vec<_> = steps.iter().map(|step| step.decision["action"].as_str()).collect();
            assert_eq!(actions, expected.map(Some).into_iter().collect::<Vec<_>>(), "{action} {count}");
        }
    }
}
