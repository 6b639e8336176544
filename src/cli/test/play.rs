//! Plays the mails of a transcript to the driver, with the DNS and the clock of the transcript and a greylist in memory.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::fields::Text;
use super::transcript::{Case, Mail, Step};
use crate::dns::Zone;
use crate::driver::{Clock, Driver, Protocol, Scanner};
use crate::facts::{Client, Connection, Facts, Message, Recipient, ReversePath, Stage, host_name};
use crate::policy::{Policy, Problem};
use crate::store::{MemoryStore, Timestamp};
use crate::verdict::{Action, Finding, Verdict};

/// Room in the greylist of one case.
const MAX_ATTEMPTS: usize = 100_000;
/// When the first mail of a case comes: 2026-01-01, for whoever looks at a clock.
const BEGIN: Timestamp = Timestamp::from_millis(1_767_225_600_000);

/// What became of one mail.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Outcome {
    pub(super) action: Action,
    /// The reasons for the action, the first of which decided.
    pub(super) reasons: Vec<&'static str>,
    pub(super) reply: Option<String>,
    pub(super) would: Vec<&'static str>,
    pub(super) accepted: usize,
    /// What was found on the way, for people.
    pub(super) found: Vec<String>,
}

/// The policy of a case: `files` with the texts the case lays over them. Texts for `scopes.toml` come after the scopes there, others
/// replace the file.
pub(super) fn policy_files(files: &BTreeMap<String, String>, case: &Case) -> BTreeMap<String, String> {
    let mut files = files.clone();
    for (file, text) in &case.policy {
        match file.as_str() {
            "scopes.toml" => {
                let before =
                    files.get(file).map(String::as_str).or_else(|| crate::policy::embedded::text(file));
                files.insert(file.clone(), format!("{}\n{text}", before.unwrap_or_default()));
            }
            _ => {
                files.insert(file.clone(), text.clone());
            }
        }
    }
    files
}

/// Plays all mails of `case` one after the other.
///
/// # Errors
/// What is wrong with the policy, where the case changes it; why there is no greylist.
pub(super) async fn play(
    case: &Case,
    files: &BTreeMap<String, String>,
) -> Result<Vec<Outcome>, Vec<Problem>> {
    let (policy, _) = Policy::load(&policy_files(files, case))?;
    let Ok(store) = MemoryStore::new(MAX_ATTEMPTS) else { return Ok(Vec::new()) };
    let clock = Clock::stopped(BEGIN);
    let zone = Arc::new(Zone::parse(&case.dns));
    let driver = Driver::new(policy, zone, Arc::new(store), Scanner::new(1)).with_clock(clock.clone());
    let mut outcomes = Vec::new();
    for step in &case.mails {
        clock.advance(step.mail.after.unwrap_or(Duration::ZERO));
        outcomes.push(mail(&driver, step).await);
    }
    Ok(outcomes)
}

async fn mail(driver: &Driver, step: &Step) -> Outcome {
    let mut transaction = driver.begin(Protocol::Milter);
    let mut facts = facts(&step.mail, step.message.is_some());
    let mut worst = Verdict::default();
    let mut found = Vec::new();
    let recipients = step.mail.to.iter().flat_map(|to| &to.0);
    for recipient in recipients.map(|to| Recipient::parse(to)) {
        facts.recipient = Some(recipient.clone());
        let verdict = driver.judge(Stage::Rcpt, &facts, &mut transaction).await;
        note(&mut found, &format!("rcpt {}", recipient.raw()), &verdict);
        if !verdict.action().refuses() {
            facts.accepted.push(recipient);
        }
        if verdict.action() > worst.action() || worst == Verdict::default() {
            worst = (*verdict).clone();
        }
    }
    facts.recipient = None;
    if let Some(text) = step.message.as_ref().filter(|_| !facts.accepted.is_empty()) {
        facts.message = Some(Message::from_bytes(text));
        worst = (*driver.judge(Stage::EndOfMessage, &facts, &mut transaction).await).clone();
        note(&mut found, "message", &worst);
    }
    Outcome {
        action: worst.action(),
        reasons: worst
            .findings
            .iter()
            .filter(|finding| finding.outcome.action() == worst.action())
            .map(|finding| finding.reason.code())
            .collect(),
        reply: worst.reply().map(ToString::to_string),
        would: worst.would.iter().map(|finding| finding.reason.code()).collect(),
        accepted: facts.accepted.len(),
        found,
    }
}

/// Lines about what was found that are kept for one mail.
const MAX_NOTES: usize = 8;

fn note(found: &mut Vec<String>, subject: &str, verdict: &Verdict) {
    let say = |finding: &Finding, would: &str| {
        let action = finding.outcome.action().name();
        let detail = if finding.detail.is_empty() { String::new() } else { format!(" ({})", finding.detail) };
        format!("{subject}: {would}{action} {}{detail}", finding.reason)
    };
    let lines = verdict.findings.iter().map(|finding| say(finding, ""));
    let lines = lines.chain(verdict.would.iter().map(|finding| say(finding, "would ")));
    let room = MAX_NOTES.saturating_sub(found.len());
    found.extend(lines.take(room));
}

fn facts(mail: &Mail, content_follows: bool) -> Facts {
    let text = |value: &Option<Text>| value.as_ref().map(|Text(text)| text.clone());
    Facts {
        connection: Connection {
            client: mail.client.map_or(Client::Unknown, |client| Client::Ip(client.0)),
            client_name: text(&mail.client_name).as_deref().and_then(host_name),
            ..Connection::default()
        },
        helo: text(&mail.helo),
        sender: text(&mail.from).map(|from| ReversePath::parse(&from)),
        login: text(&mail.login),
        tls: text(&mail.tls),
        content_follows,
        ..Facts::default()
    }
}
