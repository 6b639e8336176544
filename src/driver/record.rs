//! What is written down of a decision: metrics and one log line.

use std::time::Duration;

use super::Transaction;
use crate::checks::greylist;
use crate::facts::{Facts, Stage};
use crate::store::Timestamp;
use crate::telemetry::{Decision, Trace, metrics};
use crate::verdict::Verdict;

/// Counts, logs and traces what was decided of a recipient or a message at `now`, and what a check in monitor mode would have decided. Stages that
/// only collect leave no trace, and DATA only where it is refused.
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
        Stage::Data => verdict.action().refuses() || !verdict.would.is_empty(),
        Stage::Rcpt | Stage::EndOfMessage => true,
    };
    if !decides {
        return;
    }
    metrics::decision(transaction.protocol, verdict);
    if stage == Stage::Rcpt && transaction.known.greylist.is_not_asked() && !verdict.action().refuses() {
        let settings = transaction.known.settings(facts, &transaction.policy);
        greylist::exemption(facts, settings).into_iter().for_each(metrics::greylist_exempt);
    }
    let identities = transaction.attempt().map_or(&[][..], |attempt| &attempt.identities);
    trace.record(&Decision {
        transaction: transaction.number,
        at: now,
        took,
        protocol: transaction.protocol,
        stage,
        facts,
        verdict,
        helo_dns: &transaction.known.helo,
        spf: &transaction.known.spf,
        identities,
    });
}
