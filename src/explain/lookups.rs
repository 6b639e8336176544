//! What the world was asked for a verdict, in words.

use std::time::Duration;

use super::Lookup;
use crate::auth::MessageAuth;
use crate::dns::HeloResolution;
use crate::driver::Transaction;
use crate::facts::Stage;
use crate::filter::{Known, Slot};
use crate::policy::Settings;
use crate::store::{Answer, Attempt, KnownBy};

/// Every question that was put until the end of `stage`; those of earlier stages are not told again at the end of the message.
pub(super) fn all(stage: Stage, settings: &Settings, transaction: &Transaction) -> Vec<Lookup> {
    let known = &transaction.known;
    let lookups = match stage {
        Stage::EndOfMessage => [
            lookup("DKIM and DMARC", &known.message_auth, |auth| message_auth(auth)),
            lookup("content rules", known.inspection(&settings.content), |inspection| {
                format!("{} matched", inspection.matches.len())
            }),
            lookup("attachments", known.scan(&settings.attachments), |report| {
                format!("{} parts, {} causes", report.tree.len(), report.found.len())
            }),
        ],
        _ => [
            lookup("HELO name in the DNS", &known.helo, resolution),
            lookup("SPF", &known.spf, |spf| format!("{} for {:?}", spf.result.name(), spf.domain)),
            lookup(&greylist_question(transaction.attempt()), &known.greylist, |answer| {
                greylist_answer(*answer)
            }),
        ],
    };
    lookups.into_iter().flatten().collect()
}

/// The answers that a line of the log tells; it does not tell how long they took.
pub(super) fn of_line(known: &Known) -> Vec<Lookup> {
    let lookups = [
        lookup("HELO name in the DNS", &known.helo, resolution),
        lookup("SPF", &known.spf, |spf| spf.result.name().to_owned()),
    ];
    lookups.into_iter().flatten().map(|lookup| Lookup { micros: None, ..lookup }).collect()
}

fn lookup<T>(question: &str, slot: &Slot<T>, tell: impl FnOnce(&T) -> String) -> Option<Lookup> {
    let (answer, took) = match slot {
        Slot::NotAsked => return None,
        Slot::Got(answer, took) => (tell(answer), Some(*took)),
        Slot::Unknown(fault, took) => (format!("unknown ({fault})"), Some(*took)),
    };
    let micros = took.map(|took: Duration| u64::try_from(took.as_micros()).unwrap_or(u64::MAX));
    Some(Lookup { question: question.to_owned(), answer, micros })
}

/// What the DNS says of a name.
fn resolution(resolution: &HeloResolution) -> String {
    match resolution {
        HeloResolution::NoSuchName => "no such name".to_owned(),
        HeloResolution::NoAddress => "no address".to_owned(),
        HeloResolution::MailExchangerOnly => "no address, but a mail exchanger".to_owned(),
        HeloResolution::Addresses(addresses) => {
            addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
        }
    }
}

fn message_auth(auth: &MessageAuth) -> String {
    let signatures = auth.signatures.len();
    format!("{signatures} signatures checked, DMARC {}", auth.dmarc.result.name())
}

fn greylist_question(attempt: Option<&Attempt>) -> String {
    let Some(attempt) = attempt else { return "greylist".to_owned() };
    let identities: Vec<String> = attempt.identities.iter().map(ToString::to_string).collect();
    format!("greylist, of {}", identities.join(" or "))
}

/// What the greylist says of an attempt.
fn greylist_answer(answer: Answer) -> String {
    match answer {
        Answer::FirstSeen { wait } => format!("never seen, would wait {} s", seconds(wait)),
        Answer::TooEarly { wait } => format!("seen, has to wait {} s more", seconds(wait)),
        Answer::Matured { waited, identity } => {
            format!("would pass now by its {}, after {} s", identity.name(), waited.as_secs())
        }
        Answer::Known { by, identity } => {
            let by = match by {
                KnownBy::Triplet => "with this sender and recipient",
                KnownBy::Pair => "with this sender",
                KnownBy::Promotion => "as a whole",
            };
            format!("known by its {}, {by}", identity.name())
        }
        Answer::Released => "released by a rule".to_owned(),
        Answer::Capped { wait: None } => "its network has too many first attempts; may pass".to_owned(),
        Answer::Capped { wait: Some(wait) } => {
            format!("its network has too many first attempts; has to wait {} s", seconds(wait))
        }
    }
}

/// Rounded up, as the reply does.
fn seconds(wait: Duration) -> u128 {
    wait.as_millis().div_ceil(1_000)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::filter::Fault;
    use crate::store::IdentityKind;
    use smallvec::smallvec;

    #[test]
    fn every_answer_is_told() {
        let wait = Duration::from_millis(119_001);
        for (answer, told) in [
            (Answer::FirstSeen { wait }, "never seen, would wait 120 s"),
            (Answer::TooEarly { wait }, "seen, has to wait 120 s more"),
            (
                Answer::Matured { waited: wait, identity: IdentityKind::Host },
                "would pass now by its host, after 119 s",
            ),
            (
                Answer::Known { by: KnownBy::Pair, identity: IdentityKind::Network },
                "known by its network, with this sender",
            ),
            (Answer::Released, "released by a rule"),
            (Answer::Capped { wait: None }, "its network has too many first attempts; may pass"),
        ] {
            assert_eq!(greylist_answer(answer), told);
        }
        let addresses = smallvec!["192.0.2.1".parse().unwrap(), "2001:db8::1".parse().unwrap()];
        let dns = Slot::Got(HeloResolution::Addresses(addresses), Duration::from_millis(3));
        let expected =
            Lookup { question: "DNS".into(), answer: "192.0.2.1, 2001:db8::1".into(), micros: Some(3_000) };
        assert_eq!(lookup("DNS", &dns, resolution), Some(expected));
        let waited = Slot::Unknown(Fault::Timeout, Duration::from_millis(1_400));
        let unknown = lookup("DNS", &waited, resolution).unwrap();
        assert_eq!((unknown.answer.as_str(), unknown.micros), ("unknown (timeout)", Some(1_400_000)));
        assert_eq!(lookup("DNS", &Slot::NotAsked, resolution), None);
    }
}
