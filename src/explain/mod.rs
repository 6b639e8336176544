//! What would happen to a mail, and why: for `greylag explain`, be it by the running daemon or alone.
//!
//! The mail is judged by the driver that judges all mail, but by one that [leaves no trace](Driver::explaining).

mod again;
mod compare;
mod deciding;
mod explanation;
mod logged;
mod lookups;
#[cfg(test)]
mod reproduced;

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

pub(crate) use again::{Again, Decided};
pub use compare::Comparison;
pub(crate) use explanation::printable;
pub use explanation::{Checked, Decider, Explanation, Found, Judged, Lookup};
pub use logged::explain_logged;

use crate::checks::{greylist, helo};
use crate::driver::{Driver, Protocol, Transaction};
use crate::facts::{Client, Connection, Facts, Message, Recipient, ReversePath, Stage, host_name};
use crate::filter::Known;
use crate::policy::{Mode, Place, Policy, Settings};
use crate::reason::{Check, Reason};
use crate::verdict::{Action, Finding, Verdict};

/// Said where no message is there to be judged.
const NO_MESSAGE: &str = "without the message, nothing is known of DKIM, DMARC, content and attachments";

/// Said where scopes ask for encryption and no TLS version is given.
const NO_TLS: &str =
    "the policy has scopes by tls, which was not given: the session is taken as not encrypted";

/// The mail that is asked about, but for its message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Envelope {
    /// The client's address.
    pub client: IpAddr,
    /// The client's verified host name.
    pub client_name: Option<String>,
    /// The HELO name.
    pub helo: Option<String>,
    /// The sender; `<>` for the null reverse-path.
    pub sender: String,
    /// The recipients.
    pub recipients: Vec<String>,
    /// The name the client logged in with.
    pub login: Option<String>,
    /// The listener of ours that is asked, by the name scopes know it by.
    #[serde(default)]
    pub listener: Option<String>,
    /// The TLS version of an encrypted session.
    #[serde(default)]
    pub tls: Option<String>,
    /// Postfix's `policy_context`.
    #[serde(default)]
    pub policy_context: Option<String>,
}

impl Envelope {
    fn facts(&self) -> Facts {
        // As the protocols have it: an empty text says nothing.
        let filled = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
        Facts {
            connection: Connection {
                client: Client::Ip(self.client.to_canonical()),
                client_name: self.client_name.as_deref().and_then(host_name),
                listener: self.listener.as_deref().unwrap_or_default().into(),
                ..Connection::default()
            },
            helo: self.helo.clone(),
            sender: Some(ReversePath::parse(&self.sender)),
            login: self.login.clone(),
            tls: filled(&self.tls),
            policy_context: filled(&self.policy_context),
            ..Facts::default()
        }
    }
}

/// Judges as `driver` does at this moment, and leaves no trace of it there.
pub async fn explain(envelope: &Envelope, message: Option<Message>, driver: &Driver) -> Explanation {
    let driver = driver.explaining();
    let mut transaction = driver.begin(Protocol::Milter);
    let mut facts = envelope.facts();
    facts.content_follows = message.is_some();
    let mut explanation = Explanation::default();
    let mut greylisted = Vec::new();
    for recipient in envelope.recipients.iter().map(|recipient| Recipient::parse(recipient)) {
        let subject = format!("recipient {}", recipient.raw());
        facts.recipient = Some(recipient.clone());
        let verdict = driver.judge(Stage::Rcpt, &facts, &mut transaction).await;
        if !verdict.action().refuses() {
            facts.accepted.push(recipient);
        } else if verdict.decisive().is_some_and(|finding| finding.reason.check() == Check::Greylist) {
            greylisted.push(recipient);
        }
        explanation.stages.push(judged(subject, Stage::Rcpt, &facts, &transaction, &verdict));
    }
    facts.recipient = None;
    let policy = &transaction.policy;
    explanation.notes.extend(scopes_without(&facts, policy, "which was not given"));
    if facts.tls.is_none() && policy.has_scope(|when| when.tls.is_some()) {
        explanation.notes.push(NO_TLS.to_owned());
    }
    let Some(message) = message else {
        explanation.notes.push(NO_MESSAGE.to_owned());
        return explanation;
    };
    if facts.accepted.is_empty() {
        // The message comes again for these, and is judged then.
        facts.accepted = greylisted;
    }
    let subject = format!("message of {} bytes", message.len());
    facts.message = Some(message);
    let verdict = driver.judge(Stage::EndOfMessage, &facts, &mut transaction).await;
    explanation.stages.push(judged(subject, Stage::EndOfMessage, &facts, &transaction, &verdict));
    explanation
}

fn judged(
    subject: String,
    stage: Stage,
    facts: &Facts,
    transaction: &Transaction,
    verdict: &Verdict,
) -> Judged {
    let Transaction { policy, known, .. } = transaction;
    let settings = policy.settings_for(facts, shown_for(facts));
    let findings = verdict.findings.iter().map(|finding| Cause::new(finding, false));
    let would = verdict.would.iter().map(|finding| Cause::new(finding, true));
    let check = |(check, mode): (Check, Mode)| Checked {
        check: check.name().to_owned(),
        mode: mode.name().to_owned(),
        mode_by: deciding::of_mode(check, mode, facts, policy),
        note: note(check, mode, facts, &settings, known, verdict),
    };
    Judged {
        subject,
        stage: stage.name().to_owned(),
        action: verdict.action().name().to_owned(),
        reason: verdict.decisive().map(|finding| finding.reason.code().to_owned()),
        reply: verdict.reply().map(ToString::to_string),
        scopes: scopes(facts, policy),
        checks: checks(stage, &settings).into_iter().map(check).collect(),
        findings: findings.chain(would).map(|cause| found(&cause, stage, facts, policy)).collect(),
        lookups: lookups::all(stage, &settings, transaction),
    }
}

/// The checks of a stage in their order, and the mode of each.
fn checks(stage: Stage, settings: &Settings) -> Vec<(Check, Mode)> {
    let (recipients, auth) = (settings.recipients.mode, settings.auth.mode);
    match stage {
        Stage::EndOfMessage => vec![
            (Check::Recipients, recipients),
            (Check::Auth, auth),
            (Check::Content, settings.content.mode),
            (Check::Attachments, settings.attachments.mode),
        ],
        _ => vec![
            (Check::Address, settings.address.mode),
            (Check::Recipients, recipients),
            (Check::Helo, settings.helo.mode),
            (Check::Auth, auth),
            (Check::Greylist, settings.greylist.mode),
        ],
    }
}

/// Why a check found nothing.
fn note(
    check: Check,
    mode: Mode,
    facts: &Facts,
    settings: &Settings,
    known: &Known,
    verdict: &Verdict,
) -> String {
    match check {
        _ if mode == Mode::Off => "switched off".to_owned(),
        Check::Helo if helo::is_exempt(facts) => {
            "not asked: mail to postmaster and abuse always passes".to_owned()
        }
        Check::Greylist if verdict.action().refuses() && known.greylist.is_not_asked() => {
            "not asked: refused before it".to_owned()
        }
        Check::Greylist => greylist::exemption(facts, settings)
            .map_or("nothing to say", greylist::Exemption::summary)
            .to_owned(),
        Check::Attachments if known.scan(&settings.attachments).got().is_some() => {
            "nothing forbidden inside".to_owned()
        }
        _ => "nothing to say".to_owned(),
    }
}

/// The recipient whose modes and scopes are shown: of a message the first.
fn shown_for(facts: &Facts) -> Option<&Recipient> {
    facts.recipient.as_ref().or_else(|| facts.accepted.first())
}

/// The scopes that hold, with their places.
fn scopes(facts: &Facts, policy: &Policy) -> Vec<String> {
    let shown = |place: Place| format!("{} ({}:{})", place.scope.unwrap_or_default(), place.file, place.line);
    policy.scope_places(facts, shown_for(facts)).into_iter().map(shown).collect()
}

/// The scopes that hold for nothing while it is not known how the mail server asks; `why` it is not.
fn scopes_without(facts: &Facts, policy: &Policy, why: &str) -> Vec<String> {
    let listener = facts.connection.listener.is_empty() && policy.has_scope(|when| when.listener.is_some());
    let context = facts.policy_context.is_none() && policy.has_scope(|when| when.policy_context.is_some());
    let keys = [(listener, "listener"), (context, "policy_context")];
    let told = |key| format!("the policy has scopes by {key}, {why}: none of them holds");
    keys.into_iter().filter(|(is_missing, _)| *is_missing).map(|(_, key)| told(key)).collect()
}

/// A cause that was found, and what it leads to.
pub(crate) struct Cause {
    pub(crate) reason: Reason,
    pub(crate) action: Action,
    reply: Option<String>,
    detail: String,
    pub(crate) monitored: bool,
}

impl Cause {
    fn new(finding: &Finding, monitored: bool) -> Self {
        let Finding { reason, outcome, detail } = finding;
        let reply = outcome.reply().map(ToString::to_string);
        Self { reason: *reason, action: outcome.action(), reply, detail: detail.clone(), monitored }
    }
}

fn found(cause: &Cause, stage: Stage, facts: &Facts, policy: &Policy) -> Found {
    let Cause { reason, action, reply, detail, monitored } = cause;
    Found {
        check: reason.check().name().to_owned(),
        reason: reason.code().to_owned(),
        summary: reason.summary().to_owned(),
        action: action.name().to_owned(),
        reply: reply.clone(),
        saw: detail.clone(),
        monitored: *monitored,
        by: deciding::of(*reason, *action, detail, stage, facts, policy),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dns::Zone;
    use crate::driver::Scanner;
    use crate::store::MemoryStore;
    use std::sync::Arc;

    const MAIL: &[u8] = b"From: a@x.test\r\nContent-Disposition: attachment; filename=evil.exe\r\n\r\nMZ";

    /// What is said of the message of a mail to these.
    async fn of_message(recipients: &[&str]) -> Judged {
        let scopes = "[[scope]]\nname = \"free\"\nrecipient = [\"@free.test\"]\nset.attachments.mode = \"off\"\n\
                      [[scope]]\nname = \"quick\"\nrecipient = [\"quick@\"]\nset.greylist.mode = \"off\"\n";
        let files = [("scopes.toml".to_owned(), scopes.to_owned())].into();
        let policy = Policy::load(&files).map(|(policy, _)| policy).unwrap();
        let zone = Zone::parse("mail.x.test A 192.0.2.1\nx.test TXT v=spf1 ip4:192.0.2.1 -all");
        let store = Arc::new(MemoryStore::new(100).unwrap());
        let driver = Driver::new(policy, Arc::new(zone), store, Scanner::new(1));
        let envelope = Envelope {
            client: [192, 0, 2, 1].into(),
            client_name: None,
            helo: Some("mail.x.test".into()),
            sender: "a@x.test".into(),
            recipients: recipients.iter().map(|recipient| (*recipient).to_owned()).collect(),
            login: None,
            listener: None,
            tls: None,
            policy_context: None,
        };
        let found = explain(&envelope, Some(Message::from_bytes(MAIL)), &driver).await;
        found.stages.last().unwrap().clone()
    }

    #[tokio::test]
    async fn a_message_is_judged_for_whom_it_is_for_when_it_comes_again() {
        for (recipients, action, mode, scopes) in [
            (&["bob@free.test"][..], "accept", "off", &["free (scopes.toml:1)"][..]),
            (&["bob@x.test"], "reject", "enforce", &[]),
            (&["bob@free.test", "bob@x.test"], "reject", "off", &["free (scopes.toml:1)"]),
            // Those who are not greylisted have the message now.
            (
                &["bob@x.test", "quick@free.test"],
                "accept",
                "off",
                &["free (scopes.toml:1)", "quick (scopes.toml:5)"],
            ),
        ] {
            let found = of_message(recipients).await;
            let attachments = found.checks.iter().find(|check| check.check == "attachments").unwrap();
            assert_eq!((&*found.action, &*attachments.mode), (action, mode), "{recipients:?}");
            assert_eq!(found.scopes, scopes, "{recipients:?}");
        }
    }
}
