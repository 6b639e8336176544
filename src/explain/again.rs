//! A decision of the log, judged once more.
//!
//! What the line tells is judged anew: the HELO name, the addresses, what the DNS and SPF said, how many recipients there were. What it
//! does not tell is taken as it was: what the greylist said, and what was found in a message; what follows from that is what the
//! policy says now. A greylist that was not asked because something refused before it is taken not to know the triplet. Another
//! look-up that is asked now and was not then is unknown, which refuses nobody.

use std::sync::Arc;
use std::time::Duration;

use super::{Cause, checks, deciding};
use crate::auth::{SpfOutcome, SpfResult};
use crate::checks::recipients::CAP_OF_ANOTHER;
use crate::dns::{Addresses, HeloResolution};
use crate::driver::Protocol;
use crate::facts::{Client, Connection, Facts, Recipient, ReversePath, Stage, host_name};
use crate::filter::{self, Fault, Known, Slot, Step};
use crate::policy::{Mode, Policy, Settings};
use crate::reason::{Check, Reason};
use crate::store::Answer;
use crate::telemetry::LoggedDecision;
use crate::verdict::{Action, Verdict};

/// Rounds of asking: one for each slot, at most.
const MAX_ROUNDS: usize = 8;
/// Recipients that a line may claim were accepted before it.
const MAX_RECIPIENTS: usize = 10_000;
/// What a look-up came to that the line does not tell.
pub(super) const NOT_LOGGED: &str = "not in the log";

/// What the line does not tell of a failure of SPF that the policy service did not refuse.
const HELD_FOR_MILTER: &str =
    "if the milter was asked after the policy service, SPF was judged at the end of the message";

/// What SPF can have said.
const SPF_RESULTS: [SpfResult; 7] = [
    SpfResult::Pass,
    SpfResult::Fail,
    SpfResult::SoftFail,
    SpfResult::Neutral,
    SpfResult::None,
    SpfResult::PermError,
    SpfResult::TempError,
];

/// An action, and the cause that decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Decided {
    pub(crate) action: Action,
    pub(crate) reason: Option<Reason>,
}

/// What was decided then.
pub(crate) struct Then<'a> {
    pub(super) stage: Stage,
    pub(super) decided: Decided,
    pub(super) reply: Option<&'a str>,
    detail: &'a str,
    /// Whether it had an effect; what is found in monitor mode has none.
    pub(crate) counted: bool,
}

impl<'a> Then<'a> {
    fn read(decision: &'a LoggedDecision) -> Result<Self, String> {
        let text = |key| decision.get(key).unwrap_or_default();
        let stage = [Stage::Rcpt, Stage::Data, Stage::EndOfMessage]
            .into_iter()
            .find(|stage| stage.name() == text("stage"))
            .ok_or_else(|| format!("nothing is decided at a stage named {:?}", text("stage")))?;
        let action = Action::ALL
            .into_iter()
            .find(|action| action.name() == text("action"))
            .ok_or_else(|| format!("there is no action named {:?}", text("action")))?;
        let reason = match decision.get("reason") {
            None => None,
            Some(code) => Some(
                Reason::from_code(code)
                    .ok_or_else(|| format!("{code:?} is no reason that this Greylag knows"))?,
            ),
        };
        let counted = decision.get("mode") != Some(Mode::Monitor.name());
        let decided = Decided { action, reason };
        Ok(Self { stage, decided, reply: decision.get("reply"), detail: text("detail"), counted })
    }

    fn is(&self, check: Check) -> bool {
        self.decided.reason.is_some_and(|reason| reason.check() == check)
    }

    /// Whether it kept the recipient from the greylist, which is asked last but for what splits messages.
    fn spared_greylist(&self) -> bool {
        let after = self.is(Check::Greylist)
            || self.decided.reason == Some(Reason::RecipientsMixed)
            || self.detail == CAP_OF_ANOTHER;
        self.counted && self.decided.action.refuses() && !after
    }

    /// A number of recipients, where the detail begins with one.
    fn count(&self) -> Option<usize> {
        let number = self.detail.split(' ').next()?.parse::<usize>().ok()?;
        (self.decided.reason == Some(Reason::RecipientsTooMany)).then(|| number.min(MAX_RECIPIENTS))
    }

    /// The cause as it was logged, with what `settings` say follows from it; none where it would not be found now.
    fn again(&self, facts: &Facts, settings: &[Arc<Settings>]) -> Option<Cause> {
        let reason = self.decided.reason?;
        let all = settings.iter().filter_map(|settings| self.now(reason, facts, settings));
        // Enforced before monitored, then the hardest.
        let (monitored, action) = all.max_by_key(|(monitored, action)| (!monitored, *action))?;
        let reply = self.reply.filter(|_| action == self.decided.action).map(str::to_owned);
        Some(Cause { reason, action, reply, detail: self.detail.to_owned(), monitored })
    }

    /// Whether the cause would only be watched now, and what it leads to.
    fn now(&self, reason: Reason, facts: &Facts, settings: &Settings) -> Option<(bool, Action)> {
        let mode = checks(self.stage, settings).into_iter().find(|(check, _)| *check == reason.check())?.1;
        let action = if deciding::is_of_rule(reason) {
            deciding::rule(reason, self.detail, settings)?.action
        } else {
            let key = deciding::key(reason, self.stage, facts);
            key.and_then(|key| deciding::action(reason, key, settings)).unwrap_or(self.decided.action)
        };
        (mode != Mode::Off).then_some((mode == Mode::Monitor, action))
    }
}

/// A decision of the log, and what would be decided now.
pub(crate) struct Again<'a> {
    pub(crate) then: Then<'a>,
    pub(super) facts: Facts,
    /// The settings of the recipient; of a message, those of each recipient.
    pub(super) settings: Vec<Arc<Settings>>,
    pub(super) known: Known,
    /// What was found then and is taken as it was, with what follows from it now.
    taken: Option<Reason>,
    /// Every cause found now, the decisive one first: those that count before the monitored, then the hardest.
    pub(super) causes: Vec<Cause>,
    /// How what the line does not tell was taken.
    pub(super) notes: Vec<&'static str>,
}

impl<'a> Again<'a> {
    /// Judges `decision` by `policy`.
    ///
    /// # Errors
    /// What keeps the line from being a decision of Greylag, in one sentence.
    pub(crate) fn judge(decision: &'a LoggedDecision, policy: &Policy) -> Result<Self, String> {
        let then = Then::read(decision)?;
        let mut facts = facts(decision);
        let mut known = Known::default();
        let mut notes = Vec::new();
        let (verdict, is_taken) = match then.stage {
            Stage::Rcpt => recipient(&mut facts, decision, &then, policy, &mut known, &mut notes),
            _ => {
                facts.recipient_count = then.count().and_then(|count| u32::try_from(count).ok());
                let verdict = match filter::judge(Stage::Data, &facts, policy, &known) {
                    Step::Done(verdict) if then.stage == Stage::Data => verdict,
                    Step::Done(_) | Step::Ask(_) => Verdict::default(),
                };
                (verdict, then.stage == Stage::EndOfMessage)
            }
        };
        let settings: Vec<Arc<Settings>> = match &facts.recipient {
            None if !facts.accepted.is_empty() => {
                facts.accepted.iter().map(|recipient| policy.settings_for(&facts, Some(recipient))).collect()
            }
            _ => vec![policy.settings(&facts)],
        };
        let counting = verdict.findings.iter().map(|finding| Cause::new(finding, false));
        let watched = verdict.would.iter().map(|finding| Cause::new(finding, true));
        let mut causes: Vec<Cause> = counting.chain(watched).collect();
        let taken = then.decided.reason.filter(|_| is_taken);
        if taken.is_some() {
            let again = then.again(&facts, &settings);
            notes.push(match again {
                Some(_) => "what was found is taken from the log",
                None => "by this policy, what was found then leads to nothing",
            });
            causes.extend(again);
        }
        causes.sort_by_key(|cause| (cause.monitored, std::cmp::Reverse(cause.action)));
        Ok(Self { then, facts, settings, known, taken, causes, notes })
    }

    /// What was decided then.
    pub(crate) const fn then(&self) -> Decided {
        self.then.decided
    }

    /// What would be decided now.
    pub(crate) fn now(&self) -> Decided {
        self.decisive().map_or(Decided { action: Action::Accept, reason: None }, |cause| Decided {
            action: cause.action,
            reason: Some(cause.reason),
        })
    }

    /// What was found then, where it is not judged anew, with what follows from it now.
    pub(crate) fn found_then(&self) -> Option<&Cause> {
        self.taken.and_then(|reason| self.causes.iter().find(|cause| cause.reason == reason))
    }

    /// The cause that decides now.
    pub(super) fn decisive(&self) -> Option<&Cause> {
        self.causes.iter().find(|cause| !cause.monitored)
    }
}

fn facts(decision: &LoggedDecision) -> Facts {
    let text = |key: &str| decision.get(key).map(str::to_owned);
    let recipients = decision.shown("recipients").iter();
    Facts {
        connection: Connection {
            client: match decision.get("client") {
                Some("local") => Client::Local,
                client => Client::parse(client.unwrap_or_default()),
            },
            client_name: decision.get("client_name").and_then(host_name),
            ..Connection::default()
        },
        helo: text("helo"),
        sender: decision.get("sender").map(ReversePath::parse),
        login: text("login"),
        tls: text("tls"),
        queue_id: text("queue_id"),
        accepted: recipients.map(|recipient| Recipient::parse(recipient)).collect(),
        content_follows: decision.get("protocol") == Some(Protocol::Milter.name()),
        ..Facts::default()
    }
}

/// Judges one recipient; with whether the logged finding is taken as it was.
fn recipient(
    facts: &mut Facts,
    decision: &LoggedDecision,
    then: &Then<'_>,
    policy: &Policy,
    known: &mut Known,
    notes: &mut Vec<&'static str>,
) -> (Verdict, bool) {
    facts.recipient = facts.accepted.pop();
    facts.accepted.clear();
    if let (Some(recipient), Some(count)) = (&facts.recipient, then.count()) {
        facts.accepted = vec![recipient.clone(); count];
    }
    let mut verdict = Verdict::default();
    for _ in 0..MAX_ROUNDS {
        match filter::judge(Stage::Rcpt, facts, policy, known) {
            Step::Done(done) => {
                verdict = done;
                break;
            }
            Step::Ask(needs) => {
                if needs.helo {
                    known.helo = helo(decision);
                }
                if needs.spf {
                    known.spf = spf(decision, then, facts);
                }
                if let Some(attempt) = needs.greylist {
                    known.greylist = if then.spared_greylist() {
                        notes.push("the greylist was not asked then, and is taken not to know the mail");
                        Slot::Got(Answer::FirstSeen { wait: attempt.rules.min_delay }, Duration::ZERO)
                    } else {
                        Slot::Unknown(not_logged(), Duration::ZERO)
                    };
                }
            }
        }
    }
    let asks_greylist = !known.greylist.is_not_asked();
    // The answer stood in for the one of then, which is not on the line but for its outcome.
    verdict.findings.retain(|finding| finding.reason != Reason::GreylistStoreFailure);
    verdict.would.retain(|finding| finding.reason != Reason::GreylistStoreFailure);
    let fails = verdict.findings.iter().any(|finding| finding.reason == Reason::AuthSpfFail);
    if fails && !facts.content_follows && then.decided.reason != Some(Reason::AuthSpfFail) {
        notes.push(HELD_FOR_MILTER);
    }
    let by_others = then.decided.reason == Some(Reason::RecipientsMixed) || then.detail == CAP_OF_ANOTHER;
    (verdict, by_others || asks_greylist && then.is(Check::Greylist))
}

fn helo(decision: &LoggedDecision) -> Slot<HeloResolution> {
    let got = |resolution| Slot::Got(resolution, Duration::ZERO);
    match decision.list("helo_dns") {
        [one] if one == "no_such_name" => got(HeloResolution::NoSuchName),
        [one] if one == "no_address" => got(HeloResolution::NoAddress),
        [one] if one == "mail_exchanger_only" => got(HeloResolution::MailExchangerOnly),
        [] => Slot::Unknown(not_logged(), Duration::ZERO),
        several => {
            let addresses: Option<Addresses> = several.iter().map(|address| address.parse().ok()).collect();
            addresses.map_or_else(
                // Why there was no answer; it may have commas.
                || Slot::Unknown(Fault::Failed(several.join(",")), Duration::ZERO),
                |addresses| got(HeloResolution::Addresses(addresses)),
            )
        }
    }
}

/// What SPF said: the line's own field, or the reason, where it is one of SPF's.
fn spf(decision: &LoggedDecision, then: &Then<'_>, facts: &Facts) -> Slot<SpfOutcome> {
    let field = decision.get("spf");
    let logged = field.and_then(|field| SPF_RESULTS.into_iter().find(|result| result.name() == field));
    let Some(result) = logged.or_else(|| spf_of_reason(then.decided.reason?)) else {
        return Slot::Unknown(
            field.map_or_else(not_logged, |why| Fault::Failed(why.to_owned())),
            Duration::ZERO,
        );
    };
    // The detail names the domain, which is that of the HELO name where there is no sender.
    let sender = facts.sender.as_ref().and_then(ReversePath::address).and_then(|address| address.domain());
    let detail = then.detail.split('"').nth(1).filter(|_| then.is(Check::Auth));
    let domain = detail.or(sender).or(facts.helo.as_deref()).unwrap_or_default();
    Slot::Got(SpfOutcome { result, domain: domain.into(), ..SpfOutcome::none() }, Duration::ZERO)
}

/// What SPF said where the reason tells it.
const fn spf_of_reason(reason: Reason) -> Option<SpfResult> {
    match reason {
        Reason::AuthSpfFail => Some(SpfResult::Fail),
        Reason::AuthSpfSoftFail => Some(SpfResult::SoftFail),
        Reason::AuthSpfNone => Some(SpfResult::None),
        Reason::AuthSpfNeutral => Some(SpfResult::Neutral),
        Reason::AuthSpfPermError => Some(SpfResult::PermError),
        _ => None,
    }
}

fn not_logged() -> Fault {
    Fault::Failed(NOT_LOGGED.to_owned())
}
