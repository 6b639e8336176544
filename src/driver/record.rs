//! What is written down of a decision: metrics and one log line.

use std::time::Duration;

use super::Transaction;
use super::regulars::Regular;
use crate::auth::SpfOutcome;
use crate::checks::greylist;
use crate::dns::HeloResolution;
use crate::facts::{Facts, Stage};
use crate::filter::Slot;
use crate::store::{Identity, Timestamp};
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
    let known = &transaction.known;
    if stage == Stage::Rcpt && known.greylist.is_not_asked() && !verdict.action().refuses() {
        let settings = known.settings(facts, &transaction.policy);
        greylist::exemption(facts, settings).into_iter().for_each(metrics::greylist_exempt);
    }
    let identities = transaction.attempt().map_or(&[][..], |attempt| &attempt.identities);
    let grounds = Grounds { helo_dns: &known.helo, spf: &known.spf, identities };
    write(stage, facts, transaction, verdict, grounds, (now, took), trace);
}

/// Counts, logs and traces what was decided of a recipient as it had been before.
pub(super) fn regular(
    regular: &Regular,
    facts: &Facts,
    transaction: &Transaction,
    (now, took): (Timestamp, Duration),
    trace: &Trace,
) {
    metrics::decision_duration(transaction.protocol, Stage::Rcpt, took);
    metrics::greylist(&regular.answer);
    metrics::decision_remembered();
    let Regular { verdict, helo_dns, spf, identities, .. } = regular;
    let grounds = Grounds { helo_dns, spf, identities };
    write(Stage::Rcpt, facts, transaction, verdict, grounds, (now, took), trace);
}

/// What the world said of a mail.
struct Grounds<'a> {
    helo_dns: &'a Slot<HeloResolution>,
    spf: &'a Slot<SpfOutcome>,
    identities: &'a [Identity],
}

fn write(
    stage: Stage,
    facts: &Facts,
    transaction: &Transaction,
    verdict: &Verdict,
    Grounds { helo_dns, spf, identities }: Grounds<'_>,
    (at, took): (Timestamp, Duration),
    trace: &Trace,
) {
    let &Transaction { protocol, number: transaction, .. } = transaction;
    metrics::decision(protocol, verdict);
    trace.record(&Decision {
        transaction,
        at,
        took,
        protocol,
        stage,
        facts,
        verdict,
        helo_dns,
        spf,
        identities,
    });
}
