//! What a decision of the log would be by a policy, and why, in words.

use super::again::{Again, NOT_LOGGED, Then};
use super::{Checked, Explanation, Judged, checks, deciding, found, lookups};
use crate::facts::{Recipient, Stage};
use crate::policy::Policy;
use crate::reason::Check;
use crate::telemetry::LoggedDecision;

/// Judges a decision of the log once more, by `policy`.
///
/// # Errors
/// What keeps the line from being a decision of Greylag, in one sentence.
pub fn explain_logged(decision: &LoggedDecision, policy: &Policy) -> Result<Explanation, String> {
    let again = Again::judge(decision, policy)?;
    let now = again.now();
    let Again { then, facts, .. } = &again;
    let recipients = facts.recipient.as_ref().map_or(facts.accepted.as_slice(), std::slice::from_ref);
    let recipients: Vec<&str> = recipients.iter().map(Recipient::raw).collect();
    let subject = match then.stage {
        Stage::Rcpt => format!("recipient {}", recipients.first().unwrap_or(&"-")),
        _ => format!("message to {}", recipients.join(", ")),
    };
    let mut notes = vec![then_told(then)];
    notes.extend(again.notes.iter().map(|note| (*note).to_owned()));
    if now.action == then.decided.action && then.counted {
        notes.push("the verdict would be the same".to_owned());
    }
    notes.extend(super::scopes_without(facts, policy, "which the log does not tell"));
    let first = again.settings.first().map(|settings| checks(then.stage, settings)).unwrap_or_default();
    let judged = Judged {
        subject,
        stage: then.stage.name().to_owned(),
        action: now.action.name().to_owned(),
        reason: now.reason.map(|reason| reason.code().to_owned()),
        reply: again.decisive().and_then(|cause| cause.reply.clone()),
        scopes: super::scopes(facts, policy),
        checks: first
            .into_iter()
            .map(|(check, mode)| Checked {
                check: check.name().to_owned(),
                mode: mode.name().to_owned(),
                mode_by: deciding::of_mode(check, mode, facts, policy),
                note: if taken_from_line(then.stage, check) { "nothing to say" } else { NOT_LOGGED }
                    .to_owned(),
            })
            .collect(),
        findings: again.causes.iter().map(|cause| found(cause, then.stage, facts, policy)).collect(),
        lookups: lookups::of_line(&again.known),
    };
    Ok(Explanation { notes, stages: vec![judged] })
}

/// Whether what the check judges is on the line.
fn taken_from_line(stage: Stage, check: Check) -> bool {
    stage == Stage::Rcpt && matches!(check, Check::Address | Check::Helo | Check::Auth)
}

fn then_told(then: &Then<'_>) -> String {
    let reason = then.decided.reason.map_or(String::new(), |reason| format!(" for {reason}"));
    let counted = if then.counted { "" } else { ", in monitor mode" };
    let reply = then.reply.map_or(String::new(), |reply| format!(": {reply}"));
    format!("the log says {}{reason}{counted}{reply}", then.decided.action.name())
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
    fn a_line_of_monitor_mode_tells_no_verdict_to_compare_with() {
        let line = ATTACHMENT.replace("mode=enforce", "mode=monitor");
        let found = explained(&line, &policy(&[])).unwrap();
        assert_eq!(found.stages[0].action, "reject");
        assert!(!found.notes.iter().any(|note| note == "the verdict would be the same"), "{:?}", found.notes);
    }

    #[test]
    fn a_greylist_that_was_spared_does_not_know_the_mail() {
        let line = "decision protocol=policy stage=rcpt client=192.0.2.1 helo=localhost sender=a@x.test recipients=b@x.test \
            action=reject reason=helo.localhost reply=\"550 5.7.1 no\" spf=pass mode=enforce";
        let greylists = |line: &str| {
            let files = [("helo.toml", "localhost = \"accept\""), ("greylist.toml", "min_delay = \"120s\"")];
            let found = explained(line, &policy(&files)).unwrap();
            let note = "the greylist was not asked then, and is taken not to know the mail";
            (found.stages[0].reply.clone(), found.notes.iter().any(|it| it == note))
        };
        let reply = "451 4.7.1 Greylisted, try again in 120 seconds".to_owned();
        assert_eq!(greylists(line), (Some(reply), true));
        // What is found in monitor mode keeps nobody from the greylist.
        assert_eq!(greylists(&line.replace("enforce", "monitor")), (None, false));
    }

    #[test]
    fn a_reason_tells_what_spf_said_where_its_field_is_missing() {
        let line = "decision protocol=policy stage=rcpt client=192.0.2.1 helo=mail.x.test sender=a@x.test recipients=b@x.test \
            action=reject reason=auth.spf_fail reply=\"550 5.7.23 no\" helo_dns=192.0.2.1 mode=enforce";
        let found = explained(line, &policy(&[])).unwrap();
        assert_eq!(found.stages[0].reason.as_deref(), Some("auth.spf_fail"));
    }

    #[test]
    fn scopes_by_what_the_log_does_not_tell_are_said_to_be_left_out() {
        let scope = |condition: &str| {
            format!("[[scope]]\nname = \"s\"\n{condition}\nset.attachments.mode = \"off\"\n")
        };
        let told = |key: &str| {
            format!("the policy has scopes by {key}, which the log does not tell: none of them holds")
        };
        for (condition, action, note) in [
            ("listener = [\"127.0.0.1:1\"]", "reject", Some(told("listener"))),
            ("policy_context = [\"mx\"]", "reject", Some(told("policy_context"))),
            ("tls = false", "accept", None),
        ] {
            let found = explained(ATTACHMENT, &policy(&[("scopes.toml", &scope(condition))])).unwrap();
            assert_eq!(found.stages[0].action, action, "{condition}");
            let notes = found.notes.iter().find(|note| note.contains("has scopes by"));
            assert_eq!(notes, note.as_ref(), "{condition}");
        }
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
