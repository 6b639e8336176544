//! Greylisting: an unknown (client, sender, recipient) is deferred once; a real mail server comes again, most bots do not.
//!
//! The check says under which identities and rules an attempt is recorded, and turns the store's answer into a finding. What
//! the answer is, [`crate::store::model`] decides.

mod settings;

use std::net::IpAddr;
use std::time::Duration;

use ipnet::IpNet;

pub use self::settings::{
    ClientIdentities, GreylistSettings, Ipv4Prefix, Ipv6Prefix, NullSender, OnStoreFailure,
};
use crate::facts::{Facts, ReversePath};
use crate::filter::{Fault, Known, Needs, Slot};
use crate::policy::{Mode, Settings};
use crate::reason::Reason;
use crate::store::{Answer, Attempt, Identity, IdentityKind, KnownBy, Rules};
use crate::verdict::{Code, Finding, Outcome, Reply};

/// Asks for an attempt of the recipient judged now to be recorded.
pub fn needs(facts: &Facts, settings: &Settings, known: &Known) -> Needs {
    let greylist = if known.greylist.is_not_asked() { attempt(facts, &settings.greylist) } else { None };
    Needs { greylist, ..Needs::default() }
}

/// Judges the recipient by the store's answer; at most one finding.
pub fn judge(facts: &Facts, settings: &Settings, known: &Known) -> Vec<Finding> {
    let settings = &settings.greylist;
    let finding = match &known.greylist {
        Slot::NotAsked => None,
        Slot::Got(answer, _) => Some(judge_answer(*answer, &client_text(facts, settings))),
        Slot::Unknown(fault) => Some(judge_fault(fault, settings.on_store_failure)),
    };
    finding.into_iter().collect()
}

/// The attempt to record, unless the recipient is none of the greylist's business.
fn attempt(facts: &Facts, settings: &GreylistSettings) -> Option<Attempt> {
    let recipient = facts.recipient.as_ref()?;
    let sender = facts.sender.as_ref()?;
    let address = facts.connection.client.ip()?;
    let exempt_sender = *sender == ReversePath::Null && settings.null_sender == NullSender::Exempt;
    if settings.mode == Mode::Off || facts.login.is_some() || recipient.is_role() || exempt_sender {
        return None;
    }
    Some(Attempt {
        identities: identities(address, settings).collect(),
        sender: sender.key(),
        recipient: recipient.address().key(),
        rules: Rules {
            min_delay: settings.min_delay,
            retry_window: settings.retry_window,
            pass_ttl: settings.pass_ttl,
            promote_pairs: settings.promote_pairs,
        },
    })
}

fn identities(address: IpAddr, settings: &GreylistSettings) -> impl Iterator<Item = Identity> {
    settings.client_identity.kinds().iter().filter_map(move |kind| {
        let key = match kind {
            // No setting can ask for these yet.
            IdentityKind::Spf | IdentityKind::Host => return None,
            IdentityKind::Network => network(address, settings).to_string(),
            IdentityKind::Address => address.to_string(),
        };
        Some(Identity { kind: *kind, key })
    })
}

fn network(address: IpAddr, settings: &GreylistSettings) -> IpNet {
    let prefix = match address {
        IpAddr::V4(_) => settings.ipv4_prefix.length(),
        IpAddr::V6(_) => settings.ipv6_prefix.length(),
    };
    // A prefix too long for its family cannot be set; it would stand for the exact address.
    IpNet::new(address, prefix).unwrap_or_else(|_| address.into()).trunc()
}

fn client_text(facts: &Facts, settings: &GreylistSettings) -> String {
    let address = facts.connection.client.ip();
    let keys =
        address.into_iter().flat_map(|address| identities(address, settings)).map(|identity| identity.key);
    keys.collect::<Vec<_>>().join(" or ")
}

fn judge_answer(answer: Answer, client: &str) -> Finding {
    let (reason, outcome, detail) = match answer {
        Answer::FirstSeen { wait } => {
            (Reason::GreylistFirstSeen, come_again(wait), format!("first attempt of {client}"))
        }
        Answer::TooEarly { wait } => {
            (Reason::GreylistTooEarly, come_again(wait), format!("{client} came again too early"))
        }
        Answer::Matured { waited } => {
            let detail = format!("{client} came again after {} s", waited.as_secs());
            (Reason::GreylistMatured, Outcome::Accept, detail)
        }
        Answer::Known { by } => {
            let by = match by {
                KnownBy::Triplet => "this sender and recipient",
                KnownBy::Pair => "this sender",
            };
            (Reason::GreylistKnown, Outcome::Accept, format!("{client} is known with {by}"))
        }
    };
    Finding { reason, outcome, detail }
}

/// The wait is rounded up, so that who waits as long as told is never told again.
fn come_again(wait: Duration) -> Outcome {
    let seconds = wait.as_millis().div_ceil(1_000).max(1);
    let text = format!("Greylisted, try again in {seconds} seconds");
    Outcome::Defer(Reply::new(Code::C451, (7, 1), &text))
}

fn judge_fault(fault: &Fault, on_store_failure: OnStoreFailure) -> Finding {
    let outcome = match on_store_failure {
        OnStoreFailure::Accept => Outcome::Accept,
        OnStoreFailure::Defer => {
            Outcome::Defer(Reply::new(Code::C451, (3, 0), "Temporary failure, please try again later"))
        }
    };
    Finding { reason: Reason::GreylistStoreFailure, outcome, detail: format!("greylist store: {fault}") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::facts::{Client, Recipient};
    use std::sync::Arc;

    fn facts(client: &str, sender: &str, recipient: &str) -> Facts {
        let mut facts = Facts {
            sender: Some(ReversePath::parse(sender)),
            recipient: Some(Recipient::parse(recipient)),
            ..Facts::default()
        };
        facts.connection.client = Client::parse(client);
        facts
    }

    fn with(change: impl FnOnce(&mut GreylistSettings)) -> Settings {
        let mut greylist = GreylistSettings::default();
        change(&mut greylist);
        Settings { greylist: Arc::new(greylist), ..Settings::default() }
    }

    fn asked(facts: &Facts, settings: &Settings) -> Option<Attempt> {
        needs(facts, settings, &Known::default()).greylist
    }

    fn answered(slot: Slot<Answer>) -> Known {
        Known { greylist: slot, ..Known::default() }
    }

    #[test]
    fn an_attempt_has_the_clients_network_and_folded_addresses() {
        let attempt =
            asked(&facts("192.0.2.77", "<A@Sender.TEST>", "<R@Example.test>"), &Settings::default());
        let expected = Attempt {
            identities: vec![Identity { kind: IdentityKind::Network, key: "192.0.2.0/24".into() }],
            sender: "a@sender.test".into(),
            recipient: "r@example.test".into(),
            rules: Rules {
                min_delay: Duration::from_secs(120),
                retry_window: Duration::from_secs(172_800),
                pass_ttl: Duration::from_secs(3_110_400),
                promote_pairs: true,
            },
        };
        assert_eq!(attempt, Some(expected));
    }

    #[test]
    fn identities_are_what_the_settings_say() {
        let settings = with(|settings| {
            settings.client_identity =
                ClientIdentities::new(vec![IdentityKind::Network, IdentityKind::Address]).unwrap();
            settings.ipv4_prefix = Ipv4Prefix::new(16).unwrap();
            settings.ipv6_prefix = Ipv6Prefix::new(48).unwrap();
        });
        for (client, expected) in [
            ("192.0.2.77", ["192.0.0.0/16", "192.0.2.77"]),
            ("::ffff:192.0.2.77", ["192.0.0.0/16", "192.0.2.77"]),
            ("IPv6:2001:db8:1:2:3::4", ["2001:db8:1::/48", "2001:db8:1:2:3::4"]),
        ] {
            let attempt = asked(&facts(client, "a@b.test", "r@example.test"), &settings).unwrap();
            let keys: Vec<&str> = attempt.identities.iter().map(|identity| identity.key.as_str()).collect();
            assert_eq!(keys, expected, "{client}");
        }
    }

    #[test]
    fn what_is_not_greylisted_is_not_asked_for() {
        let default = Settings::default();
        let mail = || facts("192.0.2.1", "a@b.test", "r@example.test");
        assert!(asked(&mail(), &default).is_some());
        assert!(asked(&mail(), &with(|settings| settings.mode = Mode::Monitor)).is_some());
        assert!(asked(&mail(), &with(|settings| settings.mode = Mode::Off)).is_none());
        assert!(asked(&facts("local", "a@b.test", "r@example.test"), &default).is_none());
        assert!(asked(&facts("192.0.2.1", "a@b.test", "Postmaster@example.test"), &default).is_none());
        assert!(asked(&facts("192.0.2.1", "a@b.test", "abuse@example.test"), &default).is_none());
        assert!(asked(&Facts { login: Some("joe".into()), ..mail() }, &default).is_none());
        assert!(asked(&Facts { recipient: None, ..mail() }, &default).is_none());
        assert!(asked(&Facts { sender: None, ..mail() }, &default).is_none());
        let again = answered(Slot::Got(Answer::FirstSeen { wait: Duration::ZERO }, Duration::ZERO));
        assert!(needs(&mail(), &default, &again).is_empty(), "an attempt is recorded once");
    }

    #[test]
    fn the_null_sender_is_greylisted_or_exempt() {
        let bounce = facts("192.0.2.1", "<>", "r@example.test");
        assert_eq!(asked(&bounce, &Settings::default()).unwrap().sender, "");
        let exempt = with(|settings| settings.null_sender = NullSender::Exempt);
        assert!(asked(&bounce, &exempt).is_none());
        assert!(asked(&facts("192.0.2.1", "a@b.test", "r@example.test"), &exempt).is_some());
    }

    #[test]
    fn answers_become_findings() {
        let secs = Duration::from_secs;
        let deferred = |seconds: u32| Some(format!("451 4.7.1 Greylisted, try again in {seconds} seconds"));
        for (answer, reason, reply, detail) in [
            (
                Answer::FirstSeen { wait: secs(120) },
                Reason::GreylistFirstSeen,
                deferred(120),
                "first attempt of 192.0.2.0/24",
            ),
            (
                Answer::TooEarly { wait: Duration::from_millis(59_001) },
                Reason::GreylistTooEarly,
                deferred(60),
                "192.0.2.0/24 came again too early",
            ),
            (
                Answer::FirstSeen { wait: Duration::ZERO },
                Reason::GreylistFirstSeen,
                deferred(1),
                "first attempt of 192.0.2.0/24",
            ),
            (
                Answer::Matured { waited: secs(301) },
                Reason::GreylistMatured,
                None,
                "192.0.2.0/24 came again after 301 s",
            ),
            (
                Answer::Known { by: KnownBy::Pair },
                Reason::GreylistKnown,
                None,
                "192.0.2.0/24 is known with this sender",
            ),
            (
                Answer::Known { by: KnownBy::Triplet },
                Reason::GreylistKnown,
                None,
                "192.0.2.0/24 is known with this sender and recipient",
            ),
        ] {
            let mail = facts("192.0.2.1", "a@b.test", "r@example.test");
            let known = answered(Slot::Got(answer, Duration::ZERO));
            let [finding] = &judge(&mail, &Settings::default(), &known)[..] else { panic!("one finding") };
            assert_eq!(
                (finding.reason, finding.outcome.reply().map(ToString::to_string), finding.detail.as_str()),
                (reason, reply, detail)
            );
        }
    }

    #[test]
    fn a_failing_store_accepts_or_defers_as_set() {
        let mail = facts("192.0.2.1", "a@b.test", "r@example.test");
        let known = answered(Slot::Unknown(Fault::Failed("disk full".into())));
        let accepted = judge(&mail, &Settings::default(), &known);
        let expected = Finding {
            reason: Reason::GreylistStoreFailure,
            outcome: Outcome::Accept,
            detail: "greylist store: disk full".into(),
        };
        assert_eq!(accepted, [expected]);
        let settings = with(|settings| settings.on_store_failure = OnStoreFailure::Defer);
        let deferred = judge(&mail, &settings, &answered(Slot::Unknown(Fault::Timeout)));
        assert_eq!(deferred[0].reason, Reason::GreylistStoreFailure);
        assert_eq!(
            deferred[0].outcome.reply().map(ToString::to_string),
            Some("451 4.3.0 Temporary failure, please try again later".into())
        );
        assert_eq!(judge(&mail, &settings, &Known::default()), []);
    }
}
