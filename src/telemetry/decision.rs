//! The one line the log has for a decision.

use super::form::{Form, Item, Key, key};
use super::protocol_name;
use super::record::{Found, HeloDns, RecordedMade, RecordedSaid};
use crate::policy::Mode;
use crate::reason::Check;
use crate::verdict::Action;

/// What is logged of a decision. Every [`Form`] has the same keys, always all of them, in one order: `protocol stage queue_id client
/// client_name helo sender recipients action reason reply helo_dns spf identities login tls micros mode detail`. What is absent is
/// `-`, in JSON `null`.
#[derive(Clone, Copy, Debug)]
pub(super) struct DecisionLine<'a> {
    said: &'a RecordedSaid<'a>,
    /// What it tells: the decisive finding, or one of a check in monitor mode.
    finding: Option<Found<'a>>,
    /// Whether the finding counts ([`Mode::Enforce`]) or only would have ([`Mode::Monitor`]).
    mode: Mode,
}

impl RecordedMade<'_> {
    /// Writes all fields, those around the time as they were written before.
    pub(super) fn write_with(&self, [said, end]: [&[u8]; 2], out: &mut impl Form) {
        self.write_beginning(out);
        out.written(said);
        self.write_time(out);
        out.written(end);
    }

    fn write_beginning(&self, out: &mut impl Form) {
        out.name(key!("protocol"), protocol_name(self.protocol));
        out.name(key!("stage"), self.stage.name());
        out.optional(key!("queue_id"), self.queue_id);
    }

    fn write_time(&self, out: &mut impl Form) {
        out.number(key!("micros"), self.micros);
    }
}

impl<'a> DecisionLine<'a> {
    /// The line that tells what was decided.
    pub(super) fn decided(said: &'a RecordedSaid<'a>) -> Self {
        Self { said, finding: told(said.findings.items()), mode: Mode::Enforce }
    }

    /// That line, then one for each finding of a check in monitor mode.
    pub(super) fn all(said: &'a RecordedSaid<'a>) -> impl Iterator<Item = Self> {
        let would = said.findings.items().filter(|finding| finding.mode == Mode::Monitor);
        let would = would.map(move |finding| Self { said, finding: Some(finding), mode: Mode::Monitor });
        std::iter::once(Self::decided(said)).chain(would)
    }

    /// Writes all fields.
    pub(super) fn write(&self, made: &RecordedMade<'_>, out: &mut impl Form) {
        made.write_beginning(out);
        self.write_before_time(out);
        made.write_time(out);
        self.write_after_time(out);
    }

    /// Writes all fields but those of [`super::Made`]; returns behind how many bytes the time goes.
    pub(super) fn write_said(&self, out: &mut impl Form) -> usize {
        self.write_before_time(out);
        let time_at = out.len();
        self.write_after_time(out);
        time_at
    }

    fn write_before_time(&self, out: &mut impl Form) {
        let Self { said, finding, mode: _ } = self;
        out.client(key!("client"), said.client);
        out.optional(key!("client_name"), said.client_name);
        out.optional(key!("helo"), said.helo);
        out.optional(key!("sender"), said.sender);
        let recipients = &said.recipients;
        out.list(key!("recipients"), recipients.items().map(Item::Text), recipients.more());
        out.name(key!("action"), finding.map_or(Action::Accept, |finding| finding.action).name());
        match finding {
            Some(finding) => out.name(key!("reason"), finding.reason.code()),
            None => out.absent(key!("reason")),
        }
        match finding.and_then(|finding| finding.reply) {
            Some(reply) => out.reply(key!("reply"), &reply),
            None => out.absent(key!("reply")),
        }
        write_helo_dns(out, key!("helo_dns"), &said.helo_dns);
        out.optional(key!("spf"), said.spf);
        let identities = &said.identities;
        let shown = identities.items().map(|(kind, key)| Item::Identity(kind, key));
        out.list(key!("identities"), shown, identities.more());
        out.optional(key!("login"), said.login);
        out.optional(key!("tls"), said.tls);
    }

    fn write_after_time(&self, out: &mut impl Form) {
        out.name(key!("mode"), self.mode.name());
        let detail = self.finding.map(|finding| finding.detail);
        out.optional(key!("detail"), detail.filter(|it| !it.is_empty()));
    }
}

fn write_helo_dns(out: &mut impl Form, key: Key, helo_dns: &HeloDns<'_>) {
    match helo_dns {
        HeloDns::NotAsked => out.absent(key),
        HeloDns::Said(said) => out.text(key, said),
        HeloDns::Addresses(addresses) => {
            out.list(key, addresses.items().map(Item::Address), addresses.more());
        }
    }
}

/// The finding the log tells of: the decisive one. Of a mail that passes it is what the greylist knew, rather than what other checks
/// noticed and let pass.
fn told<'a>(findings: impl Iterator<Item = Found<'a>>) -> Option<Found<'a>> {
    let mut counting = findings.filter(|finding| finding.mode == Mode::Enforce);
    let decisive = counting.next()?;
    let is_greylist = |finding: &Found<'_>| finding.reason.check() == Check::Greylist;
    match decisive.action {
        Action::Accept if !is_greylist(&decisive) => counting.find(is_greylist).or(Some(decisive)),
        _ => Some(decisive),
    }
}

#[cfg(test)]
impl super::Decision<'_> {
    /// Its lines in the log, each in logfmt and as a JSON object.
    pub(crate) fn lines(&self) -> Vec<[String; 2]> {
        use super::form::{Json, Logfmt};
        let mut bytes = Vec::new();
        self.write(&mut bytes);
        let (made, said) = RecordedMade::read(&bytes).unwrap();
        let said = RecordedSaid::read(said).unwrap();
        let lines = DecisionLine::all(&said).map(|line| {
            let (mut logfmt, mut json) = (b"decision".to_vec(), Vec::new());
            line.write(&made, &mut Logfmt(&mut logfmt));
            line.write(&made, &mut Json(&mut json));
            let [logfmt, json] = [logfmt, json].map(|written| String::from_utf8(written).unwrap());
            [logfmt, format!("{{{}}}", json.strip_prefix(',').unwrap())]
        });
        lines.collect()
    }
}

#[cfg(test)]
mod tests {
    use crate::auth::{SpfOutcome, SpfResult};
    use crate::dns::HeloResolution;
    use crate::driver::Protocol;
    use crate::facts::{Client, Facts, Recipient, ReversePath, Stage};
    use crate::filter::{Fault, Slot};
    use crate::reason::Reason;
    use crate::store::{Identity, IdentityKind, Timestamp};
    use crate::telemetry::record::{Decision, MAX_ADDRESS};
    use crate::verdict::{Code, Finding, Outcome, Reply, Verdict};
    use std::time::Duration;

    const KEYS: &str = "protocol stage queue_id client client_name helo sender recipients action reason reply \
        helo_dns spf identities login tls micros mode detail";

    static NOTHING: Verdict = Verdict { findings: Vec::new(), would: Vec::new(), edits: Vec::new() };

    fn decision<'a>(facts: &'a Facts, helo_dns: &'a Slot<HeloResolution>) -> Decision<'a> {
        Decision {
            transaction: 1,
            at: Timestamp::EPOCH,
            took: Duration::from_micros(1234),
            protocol: Protocol::Milter,
            stage: Stage::Rcpt,
            facts,
            verdict: &NOTHING,
            helo_dns,
            spf: &Slot::NotAsked,
            identities: &[],
        }
    }

    fn text(decision: &Decision<'_>) -> String {
        decision.lines().swap_remove(0)[0].clone()
    }

    fn json(decision: &Decision<'_>) -> String {
        decision.lines().swap_remove(0)[1].clone()
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
            text(&decision(&facts, &slot)),
            "decision protocol=milter stage=rcpt queue_id=- client=unknown client_name=- helo=- sender=- \
             recipients=- action=accept reason=- reply=- helo_dns=- spf=- identities=- login=- tls=- micros=1234 \
             mode=enforce detail=-"
        );
        assert_eq!(
            json(&decision(&facts, &slot)),
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
        let finding = |detail: &str| Finding {
            reason: Reason::GreylistFirstSeen,
            outcome: Outcome::Defer(Reply::new(Code::C451, (7, 1), "Greylisted")),
            detail: detail.into(),
        };
        let verdict =
            Verdict { findings: vec![finding("a b")], would: vec![finding("wait 120 s")], edits: Vec::new() };
        let addresses = ["192.0.2.1".parse().unwrap(), "2001:db8::1".parse().unwrap()];
        let slot = Slot::Got(HeloResolution::Addresses(addresses.into()), Duration::ZERO);
        let spf = SpfOutcome { result: SpfResult::SoftFail, ..SpfOutcome::none() };
        let spf = Slot::Got(spf, Duration::ZERO);
        let identity = |kind, key: &str| Identity { kind, key: key.into() };
        let identities =
            [identity(IdentityKind::Network, "192.0.2.0/24"), identity(IdentityKind::Address, "192.0.2.1")];
        let lines = Decision {
            protocol: Protocol::Policy,
            verdict: &verdict,
            spf: &spf,
            identities: &identities,
            ..decision(&facts, &slot)
        }
        .lines();
        assert_eq!(lines.len(), 2);
        assert!(lines[0][0].ends_with(" mode=enforce detail=\"a b\""), "{}", lines[0][0]);
        assert_eq!(
            lines[1][0],
            "decision protocol=policy stage=rcpt queue_id=4F2 client=192.0.2.1 client_name=mx.example.test \
             helo=mx.example.test sender=<> recipients=Bob@example.test action=defer \
             reason=greylist.first_seen reply=\"451 4.7.1 Greylisted\" helo_dns=192.0.2.1,2001:db8::1 \
             spf=softfail identities=network:192.0.2.0/24,address:192.0.2.1 login=joe tls=TLSv1.3 micros=1234 mode=monitor \
             detail=\"wait 120 s\""
        );
        let json: serde_json::Value = serde_json::from_str(&lines[1][1]).unwrap();
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
            let written = text(&decision(&facts, &slot));
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

            let json = json(&decision(&facts, &slot));
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
        let shown = |helo: &str| split(&text(&decision(&with_helo(helo), &slot)))[5].1.clone();
        assert_eq!(shown(&longest), longest);
        assert_eq!(shown(&format!("{longest}y")), format!("{longest}..."));
        let umlauts = "\u{fc}".repeat(MAX_ADDRESS);
        let whole = "\\u00fc".repeat(MAX_ADDRESS / 2);
        assert_eq!(shown(&umlauts), format!("\"{whole}...\""));
    }

    #[test]
    fn of_many_recipients_a_hundred_are_shown() {
        let (mut facts, slot) = (Facts::default(), Slot::NotAsked);
        facts.accepted = (0..100).map(|n| Recipient::parse(&format!("r{n}@x"))).collect();
        let shown = |facts: &Facts| split(&text(&decision(facts, &slot)))[7].1.clone();
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
            assert_eq!(split(&text(&decision(&facts, &slot)))[11].1, shown);
        }
    }
}
