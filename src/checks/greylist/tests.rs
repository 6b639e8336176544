use super::*;
use crate::auth::{SpfIdentity, SpfOutcome, SpfResult};
use crate::dns::HeloResolution;
use crate::facts::{Client, Recipient};
use crate::store::{Identity, IdentityKind, Promotion, Rules};
use smallvec::smallvec;
use std::num::NonZeroU32;
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
    needs(facts, settings, &Known::default())
}

fn answered(slot: Slot<Answer>) -> Known {
    Known { greylist: slot, ..Known::default() }
}

#[test]
fn an_attempt_has_the_clients_network_and_folded_addresses() {
    let attempt = asked(&facts("192.0.2.77", "<A@Sender.TEST>", "<R@Example.test>"), &Settings::default());
    let expected = Attempt {
        identities: vec![Identity { kind: IdentityKind::Network, key: "192.0.2.0/24".into() }],
        client: [192, 0, 2, 77].into(),
        sender: "a@sender.test".into(),
        recipient: "r@example.test".into(),
        never_promote: false,
        mail_counted: false,
        rules: Rules::DEFAULT,
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
        let keys: Vec<&str> = attempt.identities.iter().map(|identity| &*identity.key).collect();
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
    assert!(needs(&mail(), &default, &again).is_none(), "an attempt is recorded once");
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
            Answer::Matured { waited: secs(301), identity: IdentityKind::Network },
            Reason::GreylistMatured,
            None,
            "192.0.2.0/24 came again after 301 s, known by its network",
        ),
        (
            Answer::Known { by: KnownBy::Pair, identity: IdentityKind::Network },
            Reason::GreylistKnown,
            None,
            "known by its network with this sender",
        ),
        (
            Answer::Known { by: KnownBy::Triplet, identity: IdentityKind::Network },
            Reason::GreylistKnown,
            None,
            "known by its network with this sender and recipient",
        ),
        (
            Answer::Known { by: KnownBy::Promotion, identity: IdentityKind::Address },
            Reason::GreylistKnown,
            None,
            "known by its address as a whole",
        ),
        (Answer::Released, Reason::GreylistReleased, None, "a rule releases this mail of 192.0.2.0/24"),
        (
            Answer::Capped { wait: Some(secs(7)) },
            Reason::GreylistCapped,
            deferred(7),
            "the network of 192.0.2.0/24 has too many first attempts, and is judged as a whole",
        ),
        (
            Answer::Capped { wait: None },
            Reason::GreylistCapped,
            None,
            "the network of 192.0.2.0/24 has too many first attempts, and is judged as a whole",
        ),
    ] {
        let mail = facts("192.0.2.1", "a@b.test", "r@example.test");
        let known = answered(Slot::Got(answer, Duration::ZERO));
        let finding = judge(&mail, &Settings::default(), &known).unwrap();
        assert_eq!(
            (finding.reason, finding.outcome.reply().map(ToString::to_string), finding.detail.as_str()),
            (reason, reply, detail)
        );
    }
}

#[test]
fn a_failing_store_accepts_or_defers_as_set() {
    let mail = facts("192.0.2.1", "a@b.test", "r@example.test");
    let known = answered(Slot::Unknown(Fault::Failed("disk full".into()), Duration::ZERO));
    let accepted = judge(&mail, &Settings::default(), &known);
    let expected = Finding {
        reason: Reason::GreylistStoreFailure,
        outcome: Outcome::Accept,
        detail: "greylist store: disk full".into(),
    };
    assert_eq!(accepted, Some(expected));
    let settings = with(|settings| settings.on_store_failure = OnStoreFailure::Defer);
    let unanswered = answered(Slot::Unknown(Fault::Timeout, Duration::ZERO));
    let deferred = judge(&mail, &settings, &unanswered).unwrap();
    assert_eq!(deferred.reason, Reason::GreylistStoreFailure);
    assert_eq!(
        deferred.outcome.reply().map(ToString::to_string),
        Some("451 4.3.0 Temporary failure, please try again later".into())
    );
    assert_eq!(judge(&mail, &settings, &Known::default()), None);
    let role = facts("192.0.2.1", "a@b.test", "postmaster@example.test");
    assert_eq!(judge(&role, &settings, &unanswered), None, "whatever became of another recipient");
}

fn spf(result: SpfResult, passes_anyone: bool) -> Slot<SpfOutcome> {
    let outcome =
        SpfOutcome { result, identity: SpfIdentity::MailFrom, domain: "b.test".into(), passes_anyone };
    Slot::Got(outcome, Duration::ZERO)
}

fn ladder(facts: &Facts, settings: &Settings, known: &Known) -> String {
    let attempt = needs(facts, settings, known).unwrap();
    let identities = attempt.identities.iter();
    identities.map(|it| format!("{}:{}", it.kind.name(), it.key)).collect::<Vec<_>>().join(" ")
}

#[test]
fn the_ladder_has_what_is_known_strongest_first() {
    let default = Settings::default();
    let plain = with(|settings| {
        settings.client_identity = ClientIdentities::new(vec![IdentityKind::Address]).unwrap();
    });
    let pass = || spf(SpfResult::Pass, false);
    for (name, spf, expected) in [
        (None, Slot::NotAsked, "network:192.0.2.0/24"),
        (None, Slot::Unknown(Fault::Timeout, Duration::ZERO), "network:192.0.2.0/24"),
        (None, pass(), "spf:b.test network:192.0.2.0/24"),
        (None, spf(SpfResult::Pass, true), "network:192.0.2.0/24"),
        (None, spf(SpfResult::SoftFail, false), "network:192.0.2.0/24"),
        (Some("h7.pool.sender.test"), pass(), "spf:b.test network:192.0.2.0/24"),
        (Some("mx7.out.sender.test"), pass(), "spf:b.test host:sender.test network:192.0.2.0/24"),
        (Some("192-0-2-1.isp.test"), Slot::NotAsked, "network:192.0.2.0/24"),
    ] {
        let mut mail = facts("192.0.2.1", "a@b.test", "r@example.test");
        mail.connection.client_name = name.map(str::to_owned);
        let known = Known { spf, ..Known::default() };
        assert_eq!(ladder(&mail, &default, &known), expected, "{name:?} {:?}", known.spf);
        assert_eq!(ladder(&mail, &plain, &known), "address:192.0.2.1");
    }
}

#[test]
fn a_client_without_any_of_the_identities_is_known_by_its_network() {
    for kinds in [&[IdentityKind::Spf][..], &[IdentityKind::Host], &[IdentityKind::Spf, IdentityKind::Host]] {
        let settings = with(|settings| {
            settings.client_identity = ClientIdentities::new(kinds.to_vec()).unwrap();
        });
        let mail = facts("192.0.2.1", "a@b.test", "r@example.test");
        let known = Known { spf: spf(SpfResult::None, false), ..Known::default() };
        assert_eq!(ladder(&mail, &settings, &known), "network:192.0.2.0/24", "{kinds:?}");
    }
}

#[test]
fn a_bounce_is_known_by_its_helo_name_when_that_resolves_to_the_client() {
    let resolved = |address: &str| HeloResolution::Addresses(smallvec![address.parse().unwrap()]);
    for (helo, name, answer, expected) in [
        ("mx.out.sender.test", None, resolved("192.0.2.1"), "host:sender.test network:192.0.2.0/24"),
        ("MX.sender.test.", None, resolved("192.0.2.1"), "host:sender.test network:192.0.2.0/24"),
        ("mx.sender.test", None, resolved("192.0.2.2"), "network:192.0.2.0/24"),
        ("mx.sender.test", None, HeloResolution::NoSuchName, "network:192.0.2.0/24"),
        ("vps12.hoster.test", None, resolved("192.0.2.1"), "network:192.0.2.0/24"),
        (
            "mx.sender.test",
            Some("mx.sender.test"),
            resolved("192.0.2.1"),
            "host:sender.test network:192.0.2.0/24",
        ),
        (
            "mx.sender.test",
            Some("mx.other.test"),
            resolved("192.0.2.1"),
            "host:other.test host:sender.test network:192.0.2.0/24",
        ),
    ] {
        let mut bounce = facts("192.0.2.1", "<>", "r@example.test");
        bounce.helo = Some(helo.into());
        bounce.connection.client_name = name.map(str::to_owned);
        let known = Known { helo: Slot::Got(answer, Duration::ZERO), ..Known::default() };
        assert_eq!(ladder(&bounce, &Settings::default(), &known), expected, "{helo} {name:?}");
        let mail = Facts { sender: Some(ReversePath::parse("a@b.test")), ..bounce };
        assert!(
            !ladder(&mail, &Settings::default(), &known).contains("host:sender.test") || name == Some(helo)
        );
    }
}

#[test]
fn what_identifies_the_client_is_asked_before_the_attempt_is_recorded() {
    let default = Settings::default();
    let asked = |facts: &Facts, settings: &Settings| {
        let needs = early(facts, settings, &Known::default());
        (needs.spf, needs.helo)
    };
    let helo = |text: &str, sender: &str| {
        let facts = facts("192.0.2.1", sender, "r@example.test");
        Facts { helo: Some(text.into()), ..facts }
    };
    assert_eq!(asked(&helo("MX.sender.test", "a@b.test"), &default), (true, false));
    assert_eq!(asked(&helo("MX.sender.test", "a"), &default), (false, false));
    assert_eq!(asked(&helo("MX.sender.test", "<>"), &default), (false, true));
    for literal in ["[192.0.2.1]", "192.0.2.1", "localhost", "co.uk", ""] {
        assert_eq!(asked(&helo(literal, "<>"), &default), (false, false), "{literal}");
    }
    let plain = with(|settings| {
        settings.client_identity = ClientIdentities::new(vec![IdentityKind::Address]).unwrap();
    });
    assert_eq!(asked(&helo("mx.sender.test", "a@b.test"), &plain), (false, false));
    assert_eq!(asked(&helo("mx.sender.test", "<>"), &plain), (false, false));
    let exempt = Facts { login: Some("joe".into()), ..helo("mx.sender.test", "a@b.test") };
    assert_eq!(asked(&exempt, &default), (false, false));
    let known = Known { spf: spf(SpfResult::Fail, false), ..Known::default() };
    assert!(early(&helo("mx.sender.test", "a@b.test"), &default, &known).is_empty(), "asked once");
}

#[test]
fn exemptions_have_reasons() {
    let default = Settings::default();
    let mail = || facts("192.0.2.1", "a@b.test", "r@example.test");
    let login = Some("joe".to_owned());
    assert_eq!(exemption(&mail(), &default), None);
    let off = with(|settings| settings.mode = Mode::Off);
    assert_eq!(exemption(&Facts { login, ..mail() }, &off), Some(Exemption::Authenticated));
    assert_eq!(exemption(&facts("192.0.2.1", "a@b.test", "Abuse@x"), &off), Some(Exemption::Role));
    assert_eq!(exemption(&mail(), &off), Some(Exemption::Off));
    let bounces = with(|settings| settings.null_sender = NullSender::Exempt);
    assert_eq!(exemption(&facts("192.0.2.1", "<>", "r@x"), &bounces), Some(Exemption::NullSender));
    assert_eq!(exemption(&facts("192.0.2.1", "<>", "r@x"), &default), None);
    assert_eq!(exemption(&facts("local", "a@b.test", "r@x"), &default), Some(Exemption::NoAddress));
}

#[test]
fn sender_and_recipient_are_normalised() {
    let known = Known::default();
    let asked = |recipient: &str| {
        let mail = facts("192.0.2.1", "list-return-7-joe=example.test@lists.test", recipient);
        let attempt = needs(&mail, &Settings::default(), &known).unwrap();
        (attempt.sender, attempt.recipient)
    };
    let sender = "list-return-#@lists.test";
    assert_eq!(asked("Joe@example.test"), (sender.into(), "joe@example.test".into()));
    assert_eq!(asked("ann+x@example.test"), (sender.into(), "ann@example.test".into()));
}

#[test]
fn who_is_never_promoted_is_listed_by_address_or_domain() {
    let settings =
        |entry: &'static str| with(|settings| settings.never_promote = [entry].into_iter().collect());
    for (entry, listed) in [
        ("192.0.2.0/24", true),
        ("198.51.100.0/24", false),
        ("b.test", true),
        ("a.b.test", false),
        ("*.test", true),
        ("sender.test", true),
        ("mx1.sender.test", true),
        ("mx2.sender.test", false),
        ("from.test", true),
    ] {
        let mut mail = facts("192.0.2.1", "a@from.test", "r@example.test");
        mail.connection.client_name = Some("mx1.sender.test".into());
        let known = Known { spf: spf(SpfResult::Pass, false), ..Known::default() };
        let attempt = needs(&mail, &settings(entry), &known).unwrap();
        assert_eq!(attempt.never_promote, listed, "{entry}");
    }
    let mail = facts("192.0.2.1", "a@from.test", "r@example.test");
    assert!(!asked(&mail, &Settings::default()).unwrap().never_promote);
}

#[test]
fn attempts_carry_the_rules_that_are_set() {
    let mail = || facts("192.0.2.1", "a@b.test", "r@example.test");
    let settings = with(|settings| {
        settings.promote_after_senders = Distinct::new(3).unwrap();
        settings.promote_after_recipients = Distinct::new(2).unwrap();
        settings.promote_after = Duration::from_secs(60);
        settings.demote_above = NonZeroU32::MIN;
        settings.network_cap = NetworkCap::new(4).unwrap();
    });
    let promotion =
        Promotion { senders: 3, recipients: 2, span: Duration::from_secs(60), first_seen_per_matured: 1 };
    let expected = Rules { promotion: Some(promotion), network_cap: 4, ..Rules::DEFAULT };
    assert_eq!(asked(&mail(), &settings).unwrap().rules, expected);
    let never = with(|settings| settings.promote_identities = false);
    assert_eq!(asked(&mail(), &never).unwrap().rules, Rules { promotion: None, ..Rules::DEFAULT });
}

#[test]
fn a_mail_counts_as_a_first_attempt_once() {
    let mail = facts("192.0.2.1", "a@b.test", "r@example.test");
    let counted = |answers: &[Answer]| {
        let mut known = Known::default();
        for answer in answers {
            known.greylist = Slot::Got(*answer, Duration::ZERO);
            known.forget_recipient();
        }
        needs(&mail, &Settings::default(), &known).unwrap().mail_counted
    };
    let known = |by| Answer::Known { by, identity: IdentityKind::Network };
    let (wait, waited) = (Duration::ZERO, Duration::ZERO);
    let [pair, matured] = [known(KnownBy::Pair), Answer::Matured { waited, identity: IdentityKind::Network }];
    for answer in [Answer::FirstSeen { wait }, Answer::Released, known(KnownBy::Promotion)] {
        assert!(counted(&[pair, answer]), "{answer:?}");
        assert!(counted(&[answer, pair]), "{answer:?}");
    }
    for answer in [pair, matured, Answer::TooEarly { wait }, Answer::Capped { wait: None }] {
        assert!(!counted(&[answer]), "{answer:?}");
    }
    let mut known = Known { greylist_counted: true, ..Known::default() };
    known.forget_mail();
    assert!(!known.greylist_counted);
}

#[test]
fn spf_is_asked_on_for_attempts_that_were_recorded_without_it() {
    let mail = facts("192.0.2.1", "a@b.test", "r@example.test");
    let first = || Slot::Got(Answer::FirstSeen { wait: Duration::ZERO }, Duration::ZERO);
    let pair = Answer::Known { by: KnownBy::Pair, identity: IdentityKind::Network };
    let settings = Settings::default().greylist;
    let asked =
        |spf, greylist| late_spf(&mail, &settings, &Known { spf, greylist, ..Known::default() }).is_some();
    assert!(asked(Slot::Unknown(Fault::Timeout, Duration::ZERO), first()));
    assert!(asked(spf(SpfResult::TempError, false), first()));
    assert!(!asked(spf(SpfResult::Pass, false), first()), "it has the identity");
    assert!(!asked(spf(SpfResult::Fail, false), first()), "there is none");
    assert!(
        !asked(Slot::Unknown(Fault::Timeout, Duration::ZERO), Slot::Got(pair, Duration::ZERO)),
        "nothing is recorded"
    );
    assert!(!asked(
        Slot::Unknown(Fault::Timeout, Duration::ZERO),
        Slot::Unknown(Fault::Timeout, Duration::ZERO)
    ));
    let plain = with(|settings| {
        settings.client_identity = ClientIdentities::new(vec![IdentityKind::Address]).unwrap();
    });
    let known =
        Known { spf: Slot::Unknown(Fault::Timeout, Duration::ZERO), greylist: first(), ..Known::default() };
    assert_eq!(late_spf(&mail, &plain.greylist, &known), None);
}
