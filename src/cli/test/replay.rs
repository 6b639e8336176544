//! Judges the decisions of a log by a policy, and lists those that would be others now.
//!
//! A log tells what was decided at RCPT and at the end of the message, and what the DNS said of the HELO name. What it does not tell is
//! taken as it was: what the greylist said, and what was found in a message. A look-up that is asked now and was not then is unknown,
//! which refuses nobody.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Write};
use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use crate::auth::{SpfOutcome, SpfResult};
use crate::cli::progress::Progress;
use crate::cli::{Exit, printable};
use crate::dns::HeloResolution;
use crate::facts::{Client, Connection, Facts, Recipient, ReversePath, Stage, host_name};
use crate::filter::{self, Fault, Known, Slot, Step};
use crate::policy::{Mode, Policy, Settings};
use crate::reason::{Check, Reason};
use crate::telemetry::LoggedDecision;
use crate::verdict::{Action, Verdict};

/// Changes that are listed; a policy that changes more needs no list.
const MAX_LISTED: usize = 1_000;
/// Decisions between two words of progress.
const PROGRESS: usize = 1_000;
/// Rounds of asking, as the driver has them.
const MAX_ROUNDS: usize = 8;

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

/// A verdict, as far as a log tells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Outcome {
    action: Action,
    reason: Option<Reason>,
}

impl Outcome {
    const ACCEPTED: Self = Self { action: Action::Accept, reason: None };

    /// Whether a sender or a recipient would see a difference.
    fn differs(self, other: Self) -> bool {
        self.action != other.action || (self.action.refuses() && self.reason != other.reason)
    }
}

impl std::fmt::Display for Outcome {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.action.name())?;
        self.reason.filter(|_| self.action != Action::Accept).map_or(Ok(()), |reason| write!(f, " {reason}"))
    }
}

pub(super) fn run(
    log: &Path,
    policy: &Policy,
    as_json: bool,
    out: &mut dyn Write,
    errors: &mut dyn Write,
) -> io::Result<Exit> {
    let reader: Box<dyn BufRead> = if log == Path::new("-") {
        Box::new(io::stdin().lock())
    } else {
        match File::open(log) {
            Ok(file) => Box::new(BufReader::new(file)),
            Err(error) => {
                writeln!(errors, "greylag test: cannot read {}: {error}", log.display())?;
                return Ok(Exit::NoInput);
            }
        }
    };
    let (mut decisions, mut changes) = (0usize, 0usize);
    let progress = Progress::new("judging");
    for (index, line) in reader.split(b'\n').enumerate() {
        let line = match line {
            Ok(line) => line,
            Err(error) => {
                writeln!(errors, "greylag test: cannot read {}: {error}", log.display())?;
                return Ok(Exit::NoInput);
            }
        };
        let Some(decision) = LoggedDecision::parse(&String::from_utf8_lossy(&line)) else { continue };
        let Some((then, now)) = judged_again(&decision, policy) else { continue };
        decisions += 1;
        if decisions.is_multiple_of(PROGRESS) {
            progress.now(&format!("line {}", index + 1));
        }
        if !then.differs(now) {
            continue;
        }
        changes += 1;
        if changes <= MAX_LISTED {
            progress.hide();
            match as_json {
                true => writeln!(out, "{}", change_as_json(index + 1, &decision, then, now))?,
                false => write_change(out, index + 1, &decision, then, now)?,
            }
        }
    }
    progress.hide();
    if as_json {
        writeln!(out, "{}", json!({ "decisions": decisions, "changes": changes }))?;
    } else {
        let listed =
            if changes > MAX_LISTED { format!(", the first {MAX_LISTED} listed") } else { String::new() };
        writeln!(out, "{}: {decisions} decisions, {changes} would change{listed}", log.display())?;
    }
    if decisions == 0 {
        writeln!(errors, "greylag test: {} has no decision lines of Greylag", log.display())?;
        return Ok(Exit::NoInput);
    }
    Ok(if changes > 0 { Exit::Findings } else { Exit::Success })
}

fn write_change(
    out: &mut dyn Write,
    line: usize,
    decision: &LoggedDecision,
    then: Outcome,
    now: Outcome,
) -> io::Result<()> {
    let shown = |key: &str| printable(decision.get(key).unwrap_or("-"));
    let recipients: Vec<String> = decision.list("recipients").iter().map(|it| printable(it)).collect();
    let stage = shown("stage");
    writeln!(
        out,
        "line {line}: {stage} {} from {} at {}: {then} -> {now}",
        recipients.join(","),
        shown("sender"),
        shown("client"),
    )
}

fn change_as_json(line: usize, decision: &LoggedDecision, then: Outcome, now: Outcome) -> Value {
    let outcome = |it: Outcome| json!({ "action": it.action.name(), "reason": it.reason.map(Reason::code) });
    json!({
        "line": line,
        "stage": decision.get("stage"),
        "client": decision.get("client"),
        "sender": decision.get("sender"),
        "recipients": decision.list("recipients"),
        "was": outcome(then),
        "is": outcome(now),
    })
}

/// What was decided then, and what would be now; none for lines of checks that were only watched, and of other stages.
fn judged_again(decision: &LoggedDecision, policy: &Policy) -> Option<(Outcome, Outcome)> {
    if decision.get("mode").is_some_and(|mode| mode != "enforce") {
        return None;
    }
    let action = Action::ALL.into_iter().find(|action| Some(action.name()) == decision.get("action"))?;
    let then = Outcome { action, reason: decision.get("reason").and_then(Reason::from_code) };
    let facts = facts(decision);
    let now = match decision.get("stage")? {
        "rcpt" => recipient(facts, decision, then, policy),
        "end_of_message" => message(&facts, then, policy),
        _ => return None,
    };
    Some((then, now))
}

fn facts(decision: &LoggedDecision) -> Facts {
    let text = |key: &str| decision.get(key).map(str::to_owned);
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
        accepted: decision.list("recipients").iter().map(|recipient| Recipient::parse(recipient)).collect(),
        // Whether the message was seen is what keeps an SPF failure open until its end.
        content_follows: decision.get("protocol") == Some("milter"),
        ..Facts::default()
    }
}

/// Judges one recipient. The greylist's part in it is as logged.
fn recipient(mut facts: Facts, decision: &LoggedDecision, then: Outcome, policy: &Policy) -> Outcome {
    facts.recipient = facts.accepted.pop();
    facts.accepted.clear();
    let mut known = Known::default();
    let mut asks_greylist = false;
    let mut verdict = Verdict::default();
    for _ in 0..MAX_ROUNDS {
        match filter::judge(Stage::Rcpt, &facts, policy, &known) {
            Step::Done(done) => {
                verdict = done;
                break;
            }
            Step::Ask(needs) => {
                if needs.helo.is_some() {
                    known.helo = helo(decision);
                }
                if needs.spf.is_some() {
                    known.spf = spf(decision, then, &facts);
                }
                if needs.greylist.is_some() {
                    asks_greylist = true;
                    known.greylist = Slot::Unknown(not_logged());
                }
            }
        }
    }
    let mut others = verdict.findings.iter().filter(|finding| finding.reason.check() != Check::Greylist);
    let first = others.next().map_or(Outcome::ACCEPTED, |finding| Outcome {
        action: finding.outcome.action(),
        reason: Some(finding.reason),
    });
    let greylists = asks_greylist && policy.settings(&facts).greylist.mode == Mode::Enforce;
    match then.reason {
        _ if !greylists || first.action.refuses() => first,
        Some(reason) if reason.check() == Check::Greylist && then.action >= first.action => then,
        // It was refused before the greylist was asked: asked now, it would not know the triplet.
        _ if then.action.refuses() => {
            Outcome { action: Action::Defer, reason: Some(Reason::GreylistFirstSeen) }
        }
        _ => first,
    }
}

fn helo(decision: &LoggedDecision) -> Slot<HeloResolution> {
    let got = |resolution| Slot::Got(resolution, Duration::ZERO);
    match decision.list("helo_dns") {
        [] => Slot::Unknown(not_logged()),
        [one] if one == "no_such_name" => got(HeloResolution::NoSuchName),
        [one] if one == "no_address" => got(HeloResolution::NoAddress),
        [one] if one == "mail_exchanger_only" => got(HeloResolution::MailExchangerOnly),
        several => {
            let addresses: Option<Vec<IpAddr>> = several.iter().map(|address| address.parse().ok()).collect();
            addresses.map_or_else(
                || Slot::Unknown(not_logged()),
                |addresses| got(HeloResolution::Addresses(addresses)),
            )
        }
    }
}

/// What SPF said: the line's own field, or the reason, where it is one of SPF's.
fn spf(decision: &LoggedDecision, then: Outcome, facts: &Facts) -> Slot<SpfOutcome> {
    let logged = decision.get("spf").and_then(|field| {
        let word = field.split([' ', ':']).next().unwrap_or_default();
        SPF_RESULTS.into_iter().find(|result| result.name() == word)
    });
    let from_reason = match then.reason {
        Some(Reason::AuthSpfFail) => Some(SpfResult::Fail),
        Some(Reason::AuthSpfSoftFail) => Some(SpfResult::SoftFail),
        Some(Reason::AuthSpfNone) => Some(SpfResult::None),
        Some(Reason::AuthSpfNeutral) => Some(SpfResult::Neutral),
        Some(Reason::AuthSpfPermError) => Some(SpfResult::PermError),
        _ => None,
    };
    let Some(result) = logged.or(from_reason) else { return Slot::Unknown(not_logged()) };
    let domain =
        facts.sender.as_ref().and_then(|sender| sender.address()).and_then(|address| address.domain());
    let outcome = SpfOutcome { result, domain: domain.unwrap_or_default().to_owned(), ..SpfOutcome::none() };
    Slot::Got(outcome, Duration::ZERO)
}

fn not_logged() -> Fault {
    Fault::Failed("not in the log".into())
}

/// What was found in a message is as logged; what follows from it is what the settings of the recipients say now, the worst of them.
fn message(facts: &Facts, then: Outcome, policy: &Policy) -> Outcome {
    let Some(reason) = then.reason else { return then };
    let mut settings: Vec<Arc<Settings>> =
        facts.accepted.iter().map(|recipient| policy.settings_for(facts, Some(recipient))).collect();
    if settings.is_empty() {
        settings.push(policy.settings(facts));
    }
    let actions = settings.iter().map(|settings| action_now(settings, reason, then.action));
    let action = actions.max().unwrap_or(then.action);
    Outcome { action, reason: Some(reason) }
}

/// The action `settings` have for a cause: what its own setting says, or, for a rule, what it said then.
fn action_now(settings: &Settings, reason: Reason, then: Action) -> Action {
    let entries = settings.entries(reason.check());
    let value =
        |key: &str| entries.iter().find(|(name, _)| *name == key).map(|(_, value)| value.trim_matches('"'));
    if value("mode").is_some_and(|mode| mode != "enforce") {
        return Action::Accept;
    }
    let cause = reason.code().split_once('.').map_or("", |(_, cause)| cause);
    let written = value(cause).and_then(|name| Action::ALL.into_iter().find(|action| action.name() == name));
    written.unwrap_or(then)
}
