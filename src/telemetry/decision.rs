//! The one line the log has for a decision.

use std::borrow::Cow;
use std::fmt::{self, Write};
use std::time::Duration;

use super::escape::{write_list, write_value};
use super::protocol_name;
use crate::auth::SpfOutcome;
use crate::dns::HeloResolution;
use crate::driver::Protocol;
use crate::facts::{Facts, ReversePath, Stage};
use crate::filter::Slot;
use crate::policy::Mode;
use crate::store::Identity;
use crate::verdict::{Action, Finding};

/// Longest name or address that is shown whole, in bytes. RFC 5321 §4.5.3.1 allows 64 + 1 + 255.
const MAX_ADDRESS: usize = 320;

/// Longest private detail that is shown whole, in bytes.
const MAX_DETAIL: usize = 2048;

/// Most items of a list that are shown; the rest is a number.
const MAX_ITEMS: usize = 100;

/// What is logged of a decision. `Display` writes logfmt, [`Self::to_json`] JSON; both have the same keys, always all of them, in one
/// order: `protocol stage queue_id client client_name helo sender recipients action reason reply helo_dns spf identities login tls
/// micros mode detail`. What is absent is `-`, in JSON `null`.
#[derive(Clone, Copy, Debug)]
pub struct DecisionLine<'a> {
    /// The protocol that asked.
    pub protocol: Protocol,
    /// The stage that was judged.
    pub stage: Stage,
    /// What was known. The line shows the recipient that is judged, or else all that were accepted.
    pub facts: &'a Facts,
    /// What was found: the decisive finding, or one of a check in monitor mode.
    pub finding: Option<&'a Finding>,
    /// Whether the finding counts ([`Mode::Enforce`]) or only would have ([`Mode::Monitor`]).
    pub mode: Mode,
    /// What the DNS said of the HELO name.
    pub helo_dns: &'a Slot<HeloResolution>,
    /// What SPF said of the sender.
    pub spf: &'a Slot<SpfOutcome>,
    /// Under which identities the greylist was asked; shown with their kinds.
    pub identities: &'a [Identity],
    /// Time from question to verdict.
    pub took: Duration,
}

impl<'a> DecisionLine<'a> {
    /// The line as a JSON object.
    pub fn to_json(&self) -> String {
        format!("{{{}}}", self.json_members())
    }

    /// The members of the JSON object, without its braces.
    pub(super) const fn json_members(&self) -> JsonMembers<'_> {
        JsonMembers(self)
    }

    fn fields(&self) -> [(&'static str, Value<'a>); 19] {
        let Self { protocol, stage, facts, finding, mode, helo_dns, spf, identities, took } = *self;
        let action = finding.map_or(Action::Accept, |finding| finding.outcome.action());
        let reply = finding.and_then(|finding| finding.outcome.reply());
        [
            ("protocol", Value::text(protocol_name(protocol))),
            ("stage", Value::text(stage.name())),
            ("queue_id", optional(facts.queue_id.as_deref())),
            ("client", Value::Text(facts.connection.client.to_string().into())),
            ("client_name", optional(facts.connection.client_name.as_deref())),
            ("helo", optional(facts.helo.as_deref())),
            ("sender", facts.sender.as_ref().map_or(Value::Absent, sender)),
            ("recipients", recipients(facts)),
            ("action", Value::text(action.name())),
            ("reason", finding.map_or(Value::Absent, |finding| Value::text(finding.reason.code()))),
            ("reply", reply.map_or(Value::Absent, |reply| Value::Text(reply.to_string().into()))),
            ("helo_dns", resolution(helo_dns)),
            ("spf", spf_result(spf)),
            ("identities", list(identities.iter().map(identity))),
            ("login", optional(facts.login.as_deref())),
            ("tls", optional(facts.tls.as_deref())),
            ("micros", Value::Number(took.as_micros())),
            ("mode", Value::text(mode.name())),
            ("detail", finding.map_or(Value::Absent, detail)),
        ]
    }
}

impl fmt::Display for DecisionLine<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("decision")?;
        self.fields().into_iter().try_for_each(|(key, value)| {
            write!(f, " {key}=")?;
            match value {
                Value::Absent => f.write_char('-'),
                Value::Text(text) => write_value(f, &text),
                Value::List(items) => write_list(f, items.iter().map(Cow::as_ref)),
                Value::Number(number) => write!(f, "{number}"),
            }
        })
    }
}

/// Writes `"key":value,…`.
pub(super) struct JsonMembers<'a>(&'a DecisionLine<'a>);

impl fmt::Display for JsonMembers<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (key, value)) in self.0.fields().into_iter().enumerate() {
            let comma = if index > 0 { "," } else { "" };
            write!(f, "{comma}\"{key}\":")?;
            match value {
                Value::Absent => f.write_str("null")?,
                Value::Text(text) => write!(f, "{}", serde_json::Value::from(text))?,
                Value::List(items) => write!(f, "{}", serde_json::Value::from(items))?,
                Value::Number(number) => write!(f, "{number}")?,
            }
        }
        Ok(())
    }
}

enum Value<'a> {
    Absent,
    Text(Cow<'a, str>),
    List(Vec<Cow<'a, str>>),
    Number(u128),
}

impl<'a> Value<'a> {
    const fn text(text: &'a str) -> Self {
        Self::Text(Cow::Borrowed(text))
    }
}

fn optional(text: Option<&str>) -> Value<'_> {
    text.map_or(Value::Absent, |text| Value::Text(cut(text, MAX_ADDRESS)))
}

fn sender(sender: &ReversePath) -> Value<'_> {
    Value::Text(cut(&sender.to_string(), MAX_ADDRESS).into_owned().into())
}

fn recipients(facts: &Facts) -> Value<'_> {
    let judged = match &facts.recipient {
        Some(recipient) => std::slice::from_ref(recipient),
        None => &facts.accepted,
    };
    list(judged.iter().map(|recipient| cut(recipient.raw(), MAX_ADDRESS)))
}

/// The kind and the key, such as `network:192.0.2.0/24`.
fn identity(identity: &Identity) -> Cow<'_, str> {
    format!("{}:{}", identity.kind.name(), cut(&identity.key, MAX_ADDRESS)).into()
}

fn resolution(slot: &Slot<HeloResolution>) -> Value<'_> {
    match slot {
        Slot::NotAsked => Value::Absent,
        Slot::Got(HeloResolution::NoSuchName, _) => Value::text("no_such_name"),
        Slot::Got(HeloResolution::NoAddress, _) => Value::text("no_address"),
        Slot::Got(HeloResolution::MailExchangerOnly, _) => Value::text("mail_exchanger_only"),
        Slot::Got(HeloResolution::Addresses(addresses), _) => {
            list(addresses.iter().map(|address| address.to_string().into()))
        }
        Slot::Unknown(fault, _) => Value::Text(cut(&fault.to_string(), MAX_DETAIL).into_owned().into()),
    }
}

fn spf_result(slot: &Slot<SpfOutcome>) -> Value<'_> {
    match slot {
        Slot::NotAsked => Value::Absent,
        Slot::Got(outcome, _) => Value::text(outcome.result.name()),
        Slot::Unknown(fault, _) => Value::Text(cut(&fault.to_string(), MAX_DETAIL).into_owned().into()),
    }
}

/// A detail of a finding, as much of it as is shown.
pub(super) fn detail_shown(detail: &str) -> Cow<'_, str> {
    cut(detail, MAX_DETAIL)
}

fn detail(finding: &Finding) -> Value<'_> {
    match finding.detail.as_str() {
        "" => Value::Absent,
        detail => Value::Text(cut(detail, MAX_DETAIL)),
    }
}

fn list<'a>(items: impl ExactSizeIterator<Item = Cow<'a, str>>) -> Value<'a> {
    let more = items.len().saturating_sub(MAX_ITEMS);
    let mut shown: Vec<_> = items.take(MAX_ITEMS).collect();
    if more > 0 {
        shown.push(format!("+{more}").into());
    }
    if shown.is_empty() { Value::Absent } else { Value::List(shown) }
}

/// `text`, cut between characters where it is longer than `max` bytes; three dots show the cut.
fn cut(text: &str, max: usize) -> Cow<'_, str> {
    if text.len() <= max {
        text.into()
    } else {
        format!("{}...", &text[..text.floor_char_boundary(max)]).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::SpfResult;
    use crate::facts::{Client, Recipient};
    use crate::filter::Fault;
    use crate::reason::Reason;
    use crate::store::IdentityKind;
    use crate::verdict::{Code, Outcome, Reply};

    const KEYS: &str = "protocol stage queue_id client client_name helo sender recipients action reason reply \
        helo_dns spf identities login tls micros mode detail";

    fn line<'a>(facts: &'a Facts, helo_dns: &'a Slot<HeloResolution>) -> DecisionLine<'a> {
        DecisionLine {
            protocol: Protocol::Milter,
            stage: Stage::Rcpt,
            facts,
            finding: None,
            mode: Mode::Enforce,
            helo_dns,
            spf: &Slot::NotAsked,
            identities: &[],
            took: Duration::from_micros(1234),
        }
    }

    fn with_helo(helo: &str) -> Facts {
        Facts { helo: Some(helo.to_owned()), ..Facts::default() }
    }

    /// The fields of a line as a reader of logfmt splits it: at spaces outside of quotes.
    fn split(line: &str) -> Vec<(String, String)> {
        let (mut fields, mut quoted, mut escaped) = (vec![String::new()], false, false);
        for c in line.chars() {
            match c {
                ' ' if !quoted => fields.push(String::new()),
                c => {
                    quoted ^= c == '"' && !escaped;
                    escaped = c == '\\' && !escaped;
                    fields.last_mut().unwrap().push(c);
                }
            }
        }
        let pair = |field: &String| field.split_once('=').map(|(key, value)| (key.into(), value.into()));
        assert_eq!(fields[0], "decision");
        fields[1..].iter().map(|field| pair(field).unwrap()).collect()
    }

    #[test]
    fn an_empty_decision_has_every_key() {
        let (facts, slot) = (Facts::default(), Slot::NotAsked);
        assert_eq!(
            line(&facts, &slot).to_string(),
            "decision protocol=milter stage=rcpt queue_id=- client=unknown client_name=- helo=- sender=- \
             recipients=- action=accept reason=- reply=- helo_dns=- spf=- identities=- login=- tls=- micros=1234 \
             mode=enforce detail=-"
        );
        assert_eq!(
            line(&facts, &slot).to_json(),
            "{\"protocol\":\"milter\",\"stage\":\"rcpt\",\"queue_id\":null,\"client\":\"unknown\",\
             \"client_name\":null,\"helo\":null,\"sender\":null,\"recipients\":null,\"action\":\"accept\",\
             \"reason\":null,\"reply\":null,\"helo_dns\":null,\"spf\":null,\"identities\":null,\"login\":null,\"tls\":null,\
             \"micros\":1234,\"mode\":\"enforce\",\"detail\":null}"
        );
    }

    #[test]
    fn a_full_decision_shows_what_was_known_and_found() {
        let mut facts = with_helo("mx.example.test");
        facts.connection.client = Client::parse("192.0.2.1");
        facts.connection.client_name = Some("mx.example.test".into());
        facts.sender = Some(ReversePath::Null);
        facts.recipient = Some(Recipient::parse("<Bob@example.test>"));
        facts.accepted = vec![Recipient::parse("carol@example.test")];
        facts.login = Some("joe".into());
        facts.tls = Some("TLSv1.3".into());
        facts.queue_id = Some("4F2".into());
        let finding = Finding {
            reason: Reason::GreylistFirstSeen,
            outcome: Outcome::Defer(Reply::new(Code::C451, (7, 1), "Greylisted")),
            detail: "wait 120 s".into(),
        };
        let addresses = ["192.0.2.1".parse().unwrap(), "2001:db8::1".parse().unwrap()];
        let slot = Slot::Got(HeloResolution::Addresses(addresses.into()), Duration::ZERO);
        let spf = SpfOutcome { result: SpfResult::SoftFail, ..SpfOutcome::none() };
        let spf = Slot::Got(spf, Duration::ZERO);
        let identity = |kind, key: &str| Identity { kind, key: key.into() };
        let identities =
            [identity(IdentityKind::Network, "192.0.2.0/24"), identity(IdentityKind::Address, "192.0.2.1")];
        let line = DecisionLine {
            protocol: Protocol::Policy,
            finding: Some(&finding),
            mode: Mode::Monitor,
            spf: &spf,
            identities: &identities,
            ..line(&facts, &slot)
        };
        assert_eq!(
            line.to_string(),
            "decision protocol=policy stage=rcpt queue_id=4F2 client=192.0.2.1 client_name=mx.example.test \
             helo=mx.example.test sender=<> recipients=Bob@example.test action=defer \
             reason=greylist.first_seen reply=\"451 4.7.1 Greylisted\" helo_dns=192.0.2.1,2001:db8::1 \
             spf=softfail identities=network:192.0.2.0/24,address:192.0.2.1 login=joe tls=TLSv1.3 micros=1234 mode=monitor \
             detail=\"wait 120 s\""
        );
        let json: serde_json::Value = serde_json::from_str(&line.to_json()).unwrap();
        assert_eq!(json["identities"], serde_json::json!(["network:192.0.2.0/24", "address:192.0.2.1"]));
        assert_eq!(json["reply"], "451 4.7.1 Greylisted");
        assert_eq!(json["recipients"], serde_json::json!(["Bob@example.test"]));
    }

    #[test]
    fn the_line_in_the_readme_has_every_key() {
        let readme = include_str!("../../README.md");
        let (_, sample) = readme.split_once(" INFO decision ").unwrap();
        let words = sample.lines().next().unwrap().split(' ');
        let keys: Vec<&str> = words.filter_map(|word| word.split_once('=')).map(|(key, _)| key).collect();
        assert_eq!(keys.join(" "), KEYS);
    }

    #[test]
    fn no_helo_name_can_forge_a_field_or_a_line() {
        let slot = Slot::NotAsked;
        for helo in [
            "x action=accept",
            "x\" action=accept helo=\"x",
            "x\\\" action=accept",
            "x\\",
            "\"",
            "-",
            "x\r\n2026-11-23T12:00:00Z INFO decision action=accept",
            "x\u{2028}action=accept",
            "\x1b[2K\x1b[1Gaction=accept",
            "\u{202e}tpecca=noitca",
            "=",
            " ",
            "",
        ] {
            let facts = with_helo(helo);
            let written = line(&facts, &slot).to_string();
            assert!(written.bytes().all(|byte| matches!(byte, b' '..=b'~')), "{written}");
            let fields = split(&written);
            let keys: Vec<&str> = fields.iter().map(|(key, _)| key.as_str()).collect();
            assert_eq!(keys.join(" "), KEYS, "{written}");
            assert_eq!(fields[8].1, "accept");
            let shown = &fields[5].1;
            if let Ok(unquoted) = serde_json::from_str::<String>(shown) {
                assert_eq!(unquoted, helo);
            } else {
                assert_eq!(shown, helo);
                assert_ne!(shown, "-");
            }

            let json = line(&facts, &slot).to_json();
            assert!(!json.contains(['\n', '\r', '\x1b']), "{json}");
            let json: serde_json::Map<String, serde_json::Value> = serde_json::from_str(&json).unwrap();
            assert_eq!(json.len(), 19);
            assert_eq!(json["helo"], helo);
        }
    }

    #[test]
    fn addresses_are_cut_only_above_the_longest_legal_one() {
        let slot = Slot::NotAsked;
        let longest = "x".repeat(MAX_ADDRESS);
        let shown = |helo: &str| split(&line(&with_helo(helo), &slot).to_string())[5].1.clone();
        assert_eq!(shown(&longest), longest);
        assert_eq!(shown(&format!("{longest}y")), format!("{longest}..."));
        let umlauts = cut("\u{fc}\u{fc}", 3).into_owned();
        assert_eq!(umlauts, "\u{fc}...");
    }

    #[test]
    fn of_many_recipients_a_hundred_are_shown() {
        let (mut facts, slot) = (Facts::default(), Slot::NotAsked);
        facts.accepted = (0..100).map(|n| Recipient::parse(&format!("r{n}@x"))).collect();
        let shown = |facts: &Facts| split(&line(facts, &slot).to_string())[7].1.clone();
        assert!(shown(&facts).ends_with(",r98@x,r99@x"));
        facts.accepted.extend((100..123).map(|n| Recipient::parse(&format!("r{n}@x"))));
        assert!(shown(&facts).ends_with(",r98@x,r99@x,+23"));
    }

    #[test]
    fn every_answer_of_the_dns_has_a_name() {
        let facts = Facts::default();
        for (slot, shown) in [
            (Slot::NotAsked, "-"),
            (Slot::Got(HeloResolution::NoSuchName, Duration::ZERO), "no_such_name"),
            (Slot::Got(HeloResolution::NoAddress, Duration::ZERO), "no_address"),
            (Slot::Got(HeloResolution::MailExchangerOnly, Duration::ZERO), "mail_exchanger_only"),
            (Slot::Unknown(Fault::Timeout, Duration::ZERO), "timeout"),
            (Slot::Unknown(Fault::Failed("refused by ::1".into()), Duration::ZERO), "\"refused by ::1\""),
        ] {
            assert_eq!(split(&line(&facts, &slot).to_string())[11].1, shown);
        }
    }
}
