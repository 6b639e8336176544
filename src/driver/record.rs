//! What is written down of a decision: metrics and one log line.

use std::time::Duration;

use super::Transaction;
use crate::checks::greylist;
use crate::facts::{Facts, Stage};
use crate::policy::Mode;
use crate::reason::Check;
use crate::store::Timestamp;
use crate::telemetry::{DecisionLine, Trace, log, metrics};
use crate::verdict::{Action, Finding, Verdict};

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
        let settings = transaction.policy.settings(facts);
        greylist::exemption(facts, &settings).into_iter().for_each(metrics::greylist_exempt);
    }
    let identities = transaction.attempt.as_ref().map_or(&[][..], |attempt| &attempt.identities);
    let line = |finding, mode| DecisionLine {
        protocol: transaction.protocol,
        stage,
        facts,
        finding,
        mode,
        helo_dns: &transaction.known.helo,
        spf: &transaction.known.spf,
        identities,
        took,
    };
    let decided = line(told(verdict), Mode::Enforce);
    log::decision_line(&decided);
    for finding in &verdict.would {
        log::decision_line(&line(Some(finding), Mode::Monitor));
    }
    trace.record(transaction.number, now, &decided, verdict);
}

/// The finding the log tells of: the decisive one. Of a mail that passes it is what the greylist knew, rather than what other checks
/// noticed and let pass.
fn told(verdict: &Verdict) -> Option<&Finding> {
    let greylist = verdict.findings.iter().find(|finding| finding.reason.check() == Check::Greylist);
    match verdict.action() {
        Action::Accept => greylist.or_else(|| verdict.decisive()),
        _ => verdict.decisive(),
    }
}
