//! Which line of the policy decided: the setting or the rule behind a finding.

use super::Decider;
use crate::facts::{Facts, Recipient, Stage};
use crate::policy::{Mode, Place, Policy, Rule, Settings};
use crate::reason::{Check, Reason};
use crate::verdict::Action;

/// The rule that a finding names in its detail, of those in force.
pub(super) fn rule<'s>(reason: Reason, detail: &str, settings: &'s Settings) -> Option<&'s Rule> {
    let is_it = |rule: &&Rule| detail.starts_with(&format!("rule {:?}: ", rule.name));
    is_of_rule(reason).then(|| settings.content.rule.in_force().find(is_it))?
}

/// Whether a rule of the administrator is behind the cause.
pub(super) const fn is_of_rule(reason: Reason) -> bool {
    matches!(
        reason,
        Reason::ContentHeaderRule
            | Reason::ContentBodyRule
            | Reason::ContentLinkRule
            | Reason::ContentAttachmentNameRule
    )
}

/// The setting that says what a cause leads to; for some, the one that says when it is met. A rule has none.
pub(super) fn key(reason: Reason, stage: Stage, facts: &Facts) -> Option<&'static str> {
    match reason {
        _ if is_of_rule(reason) => None,
        Reason::AddressInvalidLocalPart | Reason::AddressTooLong | Reason::AddressNonAscii => Some("action"),
        Reason::RecipientsTooMany if stage == Stage::Rcpt => Some("max_recipients"),
        Reason::RecipientsTooMany => Some("too_many_at_data"),
        Reason::RecipientsTooManyInHeader if facts.login.is_some() => {
            Some("too_many_in_header_authenticated")
        }
        Reason::RecipientsTooManyInHeader => Some("too_many_in_header_inbound"),
        Reason::RecipientsMixed => Some("mixed_recipients"),
        Reason::GreylistFirstSeen | Reason::GreylistTooEarly | Reason::GreylistMatured => Some("min_delay"),
        Reason::GreylistKnown => Some("pass_ttl"),
        Reason::GreylistStoreFailure => Some("on_store_failure"),
        Reason::GreylistReleased | Reason::ContentTooLarge | Reason::ContentForgedFields => None,
        Reason::GreylistCapped => Some("network_cap"),
        _ => reason.code().split_once('.').map(|(_, cause)| cause),
    }
}

/// The action that a setting of its own has for the cause.
pub(super) fn action(reason: Reason, key: &str, settings: &Settings) -> Option<Action> {
    let value = value(reason.check(), key, settings)?;
    Action::ALL.into_iter().find(|action| action.name() == value.trim_matches('"'))
}

fn value(check: Check, key: &str, settings: &Settings) -> Option<String> {
    settings.entries(check).into_iter().find(|(name, _)| *name == key).map(|(_, value)| value)
}

/// What decided that a cause leads to `action`: of the recipients of a message, for the first for whom it does.
pub(super) fn of(
    reason: Reason,
    wanted: Action,
    detail: &str,
    stage: Stage,
    facts: &Facts,
    policy: &Policy,
) -> Option<Decider> {
    let judged: Vec<Option<&Recipient>> = match &facts.recipient {
        None if !facts.accepted.is_empty() && stage != Stage::Rcpt => {
            facts.accepted.iter().map(Some).collect()
        }
        recipient => vec![recipient.as_ref()],
    };
    let first = judged.first().copied().flatten();
    if is_of_rule(reason) {
        let mut all = judged.iter().map(|recipient| policy.settings_for(facts, *recipient));
        let name = all.find_map(|settings| Some(rule(reason, detail, &settings)?.name.clone()))?;
        return Some(Decider::new(policy.place_of_rule(&name), Check::Content, format!("rule {name:?}")));
    }
    let key = key(reason, stage, facts)?;
    let decides = |recipient: &Option<&Recipient>| {
        action(reason, key, &policy.settings_for(facts, *recipient)).is_none_or(|action| action == wanted)
    };
    let recipient = judged.iter().copied().find(decides).unwrap_or(first);
    setting(reason.check(), key, facts, recipient, policy)
}

/// What decided in which mode a check is, where it is not the usual one.
pub(super) fn of_mode(check: Check, mode: Mode, facts: &Facts, policy: &Policy) -> Option<Decider> {
    let recipient = super::shown_for(facts);
    if mode == Mode::Enforce { None } else { setting(check, "mode", facts, recipient, policy) }
}

fn setting(
    check: Check,
    key: &str,
    facts: &Facts,
    recipient: Option<&Recipient>,
    policy: &Policy,
) -> Option<Decider> {
    let value = value(check, key, &policy.settings_for(facts, recipient))?;
    let place = policy.place(facts, recipient, check, key);
    let is_role = check == Check::Auth && key != "mode" && recipient.is_some_and(Recipient::is_role);
    // No line says so, and one may say otherwise.
    let why = if is_role { " (mail to postmaster and abuse is tagged at most)" } else { "" };
    Some(Decider::new(place, check, format!("{key} = {value}{why}")))
}

impl Decider {
    fn new(place: Option<Place>, check: Check, what: String) -> Self {
        match place {
            Some(Place { file, line, scope }) => Self { file, line: Some(line), scope, what },
            None => Self { file: format!("{}.toml", check.name()), line: None, scope: None, what },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_cause_has_a_setting_a_rule_or_an_administrator_behind_it() {
        let settings = Settings::default();
        for reason in Reason::ALL.iter().copied() {
            for stage in [Stage::Rcpt, Stage::Data, Stage::EndOfMessage] {
                match key(reason, stage, &Facts::default()) {
                    Some(key) => assert!(value(reason.check(), key, &settings).is_some(), "{reason}: {key}"),
                    // The administrator's word, a setting of greylag.toml, and a limit that is none.
                    None if matches!(
                        reason,
                        Reason::GreylistReleased | Reason::ContentTooLarge | Reason::ContentForgedFields
                    ) => {}
                    None => assert!(is_of_rule(reason), "{reason}"),
                }
            }
        }
    }
}
