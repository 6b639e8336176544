//! The same question again: a decision of the log, judged by a policy.
//!
//! What the line tells is judged anew: the HELO name, the addresses, what the DNS and SPF said, how many recipients there were. What it
//! does not tell is taken as it was: what the greylist said, and what was found in a message; what follows from that is what the
//! policy says now.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use super::{Explanation, Found, Judged, checks, deciding, found, lookups};
use crate::auth::{SpfOutcome, SpfResult};
use crate::dns::HeloResolution;
use crate::driver::Protocol;
use crate::facts::{Client, Connection, Facts, Recipient, ReversePath, Stage, host_name};
use crate::filter::{self, Fault, Known, Slot, Step};
use crate::policy::{Mode, Policy, Settings};
use crate::reason::{Check, Reason};
use crate::telemetry::LoggedDecision;
use crate::verdict::{Action, Verdict};

/// Rounds of asking: one for each slot, at most.
const MAX_ROUNDS: usize = 8;
/// Recipients that a line may claim were accepted before it.
const MAX_RECIPIENTS: usize = 10_000;
/// What a look-up came to that the line does not tell.
const NOT_LOGGED: &str = "not in the log";

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

/// What was decided then.
struct Then<'a> {
    stage: Stage,
    action: Action,
    reason: Option<Reason>,
    reply: Option<&'a str>,
    detail: &'a str,
    counted: bool,
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
        Ok(Self { stage, action, reason, reply: decision.get("reply"), detail: text("detail"), counted })
    }

    fn is(&self, check: Check) -> bool {
        self.reason.is_some_and(|reason| reason.check() == check)
    }

    /// A number of recipients, where the detail begins with one.
    fn count(&self) -> Option<usize> {
        let number = self.detail.split(' ').next()?.parse::<usize>().ok()?;
        (self.reason == Some(Reason::RecipientsTooMany)).then(|| number.min(MAX_RECIPIENTS))
    }

    /// The finding as it was logged, with what `settings` say follows from it; none where it would not be found now.
    fn again(&self, facts: &Facts, settings: &[Arc<Settings>], policy: &Policy) -> Option<Found> {
        let reason = self.reason?;
        let all = settings.iter().filter_map(|settings| self.now(reason, facts, settings));
        // Enforced before monitored, then the hardest.
        let (monitored, action) = all.max_by_key(|(monitored, action)| (!monitored, *action))?;
        Some(Found {
            check: reason.check().name().to_owned(),
            reason: reason.code().to_owned(),
            summary: reason.summary().to_owned(),
            action: action.name().to_owned(),
            reply: self.reply.filter(|_| action == self.action).map(str::to_owned),
            saw: self.detail.to_owned(),
            monitored,
            by: deciding::of(reason, action, self.detail, self.stage, facts, policy),
        })
    }

    /// Whether the cause would only be watched now, and what it leads to.
    fn now(&self, reason: Reason, facts: &Facts, settings: &Settings) -> Option<(bool, Action)> {
        let mode = checks(self.stage, settings).into_iter().find(|(check, _)| *check == reason.check())?.1;
        let action = if deciding::is_of_rule(reason) {
            deciding::rule(reason, self.detail, settings)?.action
        } else {
            let key = deciding::key(reason, self.stage, facts);
            key.and_then(|key| deciding::action(reason, key, settings)).unwrap_or(self.action)
        };
        (mode != Mode::Off).then_some((mode == Mode::Monitor, action))
    }
}

/// Judges a decision of the log once more, by `policy`.
///
/// # Errors
/// What keeps the line from being a decision of Greylag, in one sentence.
pub fn explain_logged(decision: &LoggedDecision, policy: &Policy) -> Result<Explanation, String> {
    let then = Then::read(decision)?;
    let mut facts = facts(decision);
    let mut notes = vec![then_told(&then)];
    let recipients: Vec<&str> = facts.accepted.iter().map(Recipient::raw).collect();
    let subject = match then.stage {
        Stage::Rcpt => format!("recipient {}", recipients.first().unwrap_or(&"-")),
        _ => format!("message to {}", recipients.join(", ")),
    };
    let mut known = Known::default();
    let (verdict, taken) = match then.stage {
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
    let mut findings: Vec<Found> =
        verdict.findings.iter().map(|finding| found(finding, false, then.stage, &facts, policy)).collect();
    findings.extend(verdict.would.iter().map(|finding| found(finding, true, then.stage, &facts, policy)));
    if taken {
        match then.again(&facts, &settings, policy) {
            Some(again) => {
                notes.push("what was found is taken from the log".to_owned());
                findings.push(again);
            }
            None if then.reason.is_some() => {
                notes.push("by this policy, what was found then leads to nothing".to_owned());
            }
            None => {}
        }
    }
    let hardness = |found: &Found| Action::ALL.iter().position(|action| action.name() == found.action);
    findings.sort_by_key(|found| (found.monitored, std::cmp::Reverse(hardness(found))));
    let decisive = findings.iter().find(|found| !found.monitored);
    let first = settings.first().map(|settings| checks(then.stage, settings)).unwrap_or_default();
    let action = decisive.map_or_else(|| Action::Accept.name().to_owned(), |found| found.action.clone());
    if action == then.action.name() || !then.counted {
        notes.push("the verdict would be the same".to_owned());
    }
    let judged = Judged {
        subject,
        stage: then.stage.name().to_owned(),
        action,
        reason: decisive.map(|found| found.reason.clone()),
        reply: decisive.and_then(|found| found.reply.clone()),
        scopes: super::scopes(&facts, policy),
        checks: first
            .into_iter()
            .map(|(check, mode)| super::Checked {
                check: check.name().to_owned(),
                mode: mode.name().to_owned(),
                mode_by: deciding::of_mode(check, mode, &facts, policy),
                note: if taken_from_line(then.stage, check) { "nothing to say" } else { NOT_LOGGED }
                    .to_owned(),
            })
            .collect(),
        findings,
        lookups: lookups::of_line(&known),
    };
    Ok(Explanation { notes, stages: vec![judged] })
}

/// Whether what the check judges is on the line.
fn taken_from_line(stage: Stage, check: Check) -> bool {
    stage == Stage::Rcpt && matches!(check, Check::Address | Check::Helo | Check::Auth)
}

fn then_told(then: &Then<'_>) -> String {
    let reason = then.reason.map_or(String::new(), |reason| format!(" for {reason}"));
    let counted = if then.counted { "" } else { ", in monitor mode" };
    let reply = then.reply.map_or(String::new(), |reply| format!(": {reply}"));
    format!("the log says {}{reason}{counted}{reply}", then.action.name())
}

fn facts(decision: &LoggedDecision) -> Facts {
    let text = |key: &str| decision.get(key).map(str::to_owned);
    // After a hundred recipients the line has a number.
    let recipients = decision.list("recipients").iter().filter(|recipient| !recipient.starts_with('+'));
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
    notes: &mut Vec<String>,
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
                if needs.helo.is_some() {
                    known.helo = helo(decision);
                }
                if needs.spf.is_some() {
                    known.spf = spf(decision, then, facts);
                }
                if needs.greylist.is_some() {
                    known.greylist = Slot::Unknown(not_logged());
                }
            }
        }
    }
    let asks_greylist = !known.greylist.is_not_asked();
    // The answer stood in for the one of then, which is not on the line but for its outcome.
    verdict.findings.retain(|finding| finding.reason != Reason::GreylistStoreFailure);
    verdict.would.retain(|finding| finding.reason != Reason::GreylistStoreFailure);
    if asks_greylist && then.action.refuses() && !then.is(Check::Greylist) {
        notes.push("the greylist was not asked then: what it would say now is not known".to_owned());
    }
    let mixed = then.reason == Some(Reason::RecipientsMixed);
    (verdict, mixed || asks_greylist && then.is(Check::Greylist))
}

fn helo(decision: &LoggedDecision) -> Slot<HeloResolution> {
    let got = |resolution| Slot::Got(resolution, Duration::ZERO);
    match decision.list("helo_dns") {
        [one] if one == "no_such_name" => got(HeloResolution::NoSuchName),
        [one] if one == "no_address" => got(HeloResolution::NoAddress),
        [one] if one == "mail_exchanger_only" => got(HeloResolution::MailExchangerOnly),
        [] => Slot::Unknown(not_logged()),
        several => {
            let addresses: Option<Vec<IpAddr>> = several.iter().map(|address| address.parse().ok()).collect();
            addresses.map_or_else(
                // Why there was no answer; it may have commas.
                || Slot::Unknown(Fault::Failed(several.join(","))),
                |addresses| got(HeloResolution::Addresses(addresses)),
            )
        }
    }
}

/// What SPF said: the line's own field, or the reason, where it is one of SPF's.
fn spf(decision: &LoggedDecision, then: &Then<'_>, facts: &Facts) -> Slot<SpfOutcome> {
    let field = decision.get("spf");
    let logged = field.and_then(|field| SPF_RESULTS.into_iter().find(|result| result.name() == field));
    let Some(result) = logged else {
        return Slot::Unknown(field.map_or_else(not_logged, |why| Fault::Failed(why.to_owned())));
    };
    // The detail names the domain, which is that of the HELO name where there is no sender.
    let sender = facts.sender.as_ref().and_then(ReversePath::address).and_then(|address| address.domain());
    let detail = then.detail.split('"').nth(1).filter(|_| then.is(Check::Auth));
    let domain = detail.or(sender).or(facts.helo.as_deref()).unwrap_or_default();
    Slot::Got(SpfOutcome { result, domain: domain.to_owned(), ..SpfOutcome::none() }, Duration::ZERO)
}

fn not_logged() -> Fault {
    Fault::Failed(NOT_LOGGED.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    fn policy(files: &[(&str, &str)]) -> Policy {
        let files: BTreeMap<_, _> =
            files.iter().map(|(file, text)| ((*file).into(), (*text).into())).collect();
        Policy::load(&files).map(|(policy, _)| policy).unwrap()
    }

    fn explained(line: &str, policy: &Policy) -> Result<Explanation, String> {
        explain_logged(&LoggedDecision::parse(line).unwrap(), policy)
    }

    const ATTACHMENT: &str = "decision protocol=milter stage=end_of_message queue_id=4F client=192.0.2.1 client_name=- \
        helo=mx.example.test sender=a@x.test recipients=b@x.test action=reject reason=attachment.forbidden_extension \
        reply=\"554 5.7.0 Forbidden attachment: a.exe\" helo_dns=- spf=- identities=- login=- tls=- micros=1 mode=enforce \
        detail=\"a.exe\"";

    #[test]
    fn what_was_found_is_judged_by_the_policy_of_today() {
        for (text, action, reply) in [
            ("", "reject", Some("554 5.7.0 Forbidden attachment: a.exe")),
            ("forbidden_extension = \"quarantine\"", "quarantine", None),
            ("mode = \"off\"", "accept", None),
            ("mode = \"monitor\"", "accept", None),
        ] {
            let found = explained(ATTACHMENT, &policy(&[("attachments.toml", text)])).unwrap();
            let stage = &found.stages[0];
            assert_eq!((stage.action.as_str(), stage.reply.as_deref()), (action, reply), "{text}");
            let same = found.notes.iter().any(|note| note == "the verdict would be the same");
            assert_eq!(same, action == "reject", "{:?}", found.notes);
        }
    }

    #[test]
    fn the_number_of_recipients_counts_again() {
        let line = "decision protocol=milter stage=rcpt client=192.0.2.1 helo=[192.0.2.1] sender=<> recipients=b@x.test \
            action=defer reason=recipients.too_many reply=\"452 4.5.3 no\" login=joe mode=enforce \
            detail=\"100 recipients are accepted already\"";
        let reason = |text: &str| {
            explained(line, &policy(&[("recipients.toml", text)])).unwrap().stages[0].reason.clone()
        };
        assert_eq!(reason("").as_deref(), Some("recipients.too_many"));
        assert_ne!(reason("max_recipients = 101").as_deref(), Some("recipients.too_many"));
    }

    #[test]
    fn what_is_no_decision_is_told() {
        for (line, told) in [
            ("decision protocol=milter stage=x action=accept", "nothing is decided at a stage named \"x\""),
            ("decision protocol=milter stage=rcpt action=y", "there is no action named \"y\""),
            (
                "decision protocol=milter stage=rcpt action=defer reason=z.z",
                "\"z.z\" is no reason that this Greylag knows",
            ),
        ] {
            assert_eq!(explained(line, &Policy::default()).unwrap_err(), told);
        }
    }
}
