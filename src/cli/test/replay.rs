//! Judges the decisions of a log by a policy, and lists those that would be others now.
//!
//! [`Again`] says what is judged anew, and how it takes what a log does not tell. What a check in monitor mode found counts where the
//! policy enforces it now.

use std::collections::{HashMap, VecDeque};
use std::fs::File;
use std::io::{self, BufRead, BufReader, Write};
use std::path::Path;

use serde_json::{Value, json};

use crate::cli::progress::Progress;
use crate::cli::{Exit, printable};
use crate::explain::{Again, Decided};
use crate::policy::Policy;
use crate::reason::Reason;
use crate::telemetry::LoggedDecision;
use crate::verdict::Action;

/// Changes that are listed; a policy that changes more needs no list.
const MAX_LISTED: usize = 1_000;
/// Decisions that lines of checks in monitor mode may still belong to; they follow them at once, but for those of other mails.
const MAX_REMEMBERED: usize = 1_000;
/// Decisions between two words of progress.
const PROGRESS: usize = 1_000;

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
    let mut decided = Remembered::default();
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
        let again = match Again::judge(&decision, policy) {
            Ok(again) => again,
            Err(why) => {
                progress.hide();
                writeln!(errors, "greylag test: line {} is no decision of Greylag: {why}", index + 1)?;
                continue;
            }
        };
        let (then, now) = if again.then.counted {
            decisions += 1;
            if decisions.is_multiple_of(PROGRESS) {
                progress.now(&format!("line {}", index + 1));
            }
            decided.add(&decision, again.then(), again.now());
            (again.then(), again.now())
        } else {
            // What the line of the decision tells was judged there.
            let Some(found) = again.found_then().filter(|cause| !cause.monitored) else { continue };
            let (then, now) = decided.of(&decision);
            if now.action >= found.action {
                continue;
            }
            (then, Decided { action: found.action, reason: Some(found.reason) })
        };
        if !differs(then, now) {
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

/// The decisions of the latest lines, then and now.
#[derive(Default)]
struct Remembered {
    decided: HashMap<String, (Decided, Decided)>,
    order: VecDeque<String>,
}

impl Remembered {
    fn add(&mut self, decision: &LoggedDecision, then: Decided, now: Decided) {
        let key = Self::key(decision);
        if self.decided.insert(key.clone(), (then, now)).is_none() {
            self.order.push_back(key);
        }
        if self.order.len() > MAX_REMEMBERED {
            self.order.pop_front().map(|oldest| self.decided.remove(&oldest));
        }
    }

    /// What was decided of the mail of which `decision` tells something else.
    fn of(&self, decision: &LoggedDecision) -> (Decided, Decided) {
        let accepted = Decided { action: Action::Accept, reason: None };
        self.decided.get(&Self::key(decision)).copied().unwrap_or((accepted, accepted))
    }

    /// What the lines of one verdict have in common.
    fn key(decision: &LoggedDecision) -> String {
        let keys = ["protocol", "stage", "queue_id", "client", "helo", "sender", "micros"];
        let mut values: Vec<&str> = keys.iter().map(|key| decision.get(key).unwrap_or("-")).collect();
        values.extend(decision.list("recipients").iter().map(String::as_str));
        values.join("\n")
    }
}

/// Whether a sender or a recipient would see a difference.
fn differs(then: Decided, now: Decided) -> bool {
    then.action != now.action || (then.action.refuses() && then.reason != now.reason)
}

fn shown(decided: Decided) -> String {
    match decided.reason.filter(|_| decided.action != Action::Accept) {
        Some(reason) => format!("{} {reason}", decided.action.name()),
        None => decided.action.name().to_owned(),
    }
}

fn write_change(
    out: &mut dyn Write,
    line: usize,
    decision: &LoggedDecision,
    then: Decided,
    now: Decided,
) -> io::Result<()> {
    let field = |key: &str| printable(decision.get(key).unwrap_or("-"));
    let recipients: Vec<String> = decision.list("recipients").iter().map(|it| printable(it)).collect();
    let stage = field("stage");
    writeln!(
        out,
        "line {line}: {stage} {} from {} at {}: {} -> {}",
        recipients.join(","),
        field("sender"),
        field("client"),
        shown(then),
        shown(now),
    )
}

fn change_as_json(line: usize, decision: &LoggedDecision, then: Decided, now: Decided) -> Value {
    let outcome = |it: Decided| json!({ "action": it.action.name(), "reason": it.reason.map(Reason::code) });
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
