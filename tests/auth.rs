//! DKIM and DMARC of whole messages: signed here or by other software, changed on the way, forwarded.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

#[path = "support/mod.rs"]
mod support;

use std::sync::Arc;
use std::time::Duration;

use greylag::auth::{
    self, DkimResult, DkimSignature, DmarcPolicy, DmarcResult, MessageAuth, SpfOutcome, SpfResult,
};
use greylag::checks::auth as check;
use greylag::dns::{Resolver, Zone};
use greylag::facts::{Client, Facts, Message, ReversePath, Stage};
use greylag::filter::{Known, Slot};
use greylag::policy::Settings;
use greylag::reason::Reason;
use greylag::verdict::{Action, Finding, HeaderEdit, HeaderName};
use mail_auth::dkim::Canonicalization;
use support::auth::{checked, exact, spf};
use support::dkim::{published, sign};

const MAIL: &str = "From: Joe <joe@example.org>\nTo: ann@example.test\nSubject: hello\n\nHello Ann\n";

async fn dkim(mail: &str, zone: &str) -> Vec<(DkimResult, bool)> {
    let found = checked(&exact(mail), &SpfOutcome::none(), zone).await;
    found.signatures.iter().map(|signature| (signature.result, signature.aligned)).collect()
}

#[tokio::test]
async fn a_signature_holds_until_what_it_covers_is_changed() {
    let zone = published("example.org");
    for canonicalization in [Canonicalization::Simple, Canonicalization::Relaxed] {
        let mail = sign(MAIL, "example.org", canonicalization);
        let strict = canonicalization == Canonicalization::Simple;
        let strictly = if strict { DkimResult::Fail } else { DkimResult::Pass };
        for (change, by, expected) in [
            ("", "", DkimResult::Pass),
            ("Hello Ann", "Hello Bob", DkimResult::Fail),
            ("Subject: hello", "Subject: Hello", DkimResult::Fail),
            ("Subject: hello", "Subject:  hello", strictly),
            ("To: ann@example.test\n", "To: ann@example.test\nX-New: field\n", DkimResult::Pass),
        ] {
            let changed = mail.replacen(change, by, 1);
            let found = dkim(&changed, &zone).await;
            assert_eq!(found, [(expected, true)], "{canonicalization:?}: {change:?} by {by:?}");
        }
    }
    assert_eq!(dkim(MAIL, &zone).await, []);
}

/// Signed by Python's `cryptography` with RSA, `c=simple/simple`, over spacing that only the exact bytes of the header keep.
#[tokio::test]
async fn the_exact_header_verifies_what_other_software_signed() {
    let zone = "rsa._domainkey.example.org TXT v=DKIM1; k=rsa; p=\
        MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEA0U65J6CYBCQsZxyPGjTNUKUpOgROWDjQNfJpa07j/Mdt4x9P6EIX/52UT5PWrpy0iwqjUFH4DW8a2ql65DTN\
        vwXCixJF6xoIhCqPoMko7RQr9i69wq/2iX4JikJAbWqrm+BHKs5gegIDDjuI4j18g8U7kcUgekaoyVBC+xu5eYtm9sMJ6KTB/md2DrzWQLaTnejd0sV28MzqH4vym9GD\
        5R/iD7ZMgP4qFAGwb6EMZ7wofdPwY1F68hUZDrCwcnIPi0K6jz09+PFTH/eSJBq3ctdRwPiatqSuJQg0KI5FhCWieLH6w/qQoseEAy+r2kx5PZNsYZKyMgU8PzAmcCEx\
        3wIDAQAB";
    let mail = "DKIM-Signature: v=1; a=rsa-sha256; c=simple/simple; d=example.org; s=rsa;\n \
        h=From:Subject; bh=Ba3gj8+xBPQLJTahTfzW6RbWQ/XPgESxkCi2B66PSQg=;\n \
        b=fyF3hzYH2yZyIgktNPD0yByr5AmF580kH5NAMpJR1B3/iw4gRmt7xAhwDXBJDTnreMa89WKaculdbCXVQT/JgO5c2+FKVke6AZlp/pH1rfTP8Djf57m4E+vaYtOrI\
        H1eFgylR9YPjjQMJxzI8O93YhT8Ke+pPBPw5sSjvQQpAH8biHLjj8mkdUmukTBQzHzdlP+Xc0ETkBMyI1xbxg5QT3SXCwb5KJBTBifpSoz4+Mulsck67xmyMmfUJB9F0\
        ggVy3/en0Oo+MLDVMrS3jieXzOmEGQchMYsq03tFZuvk6FS0AjM/60WHjUfifNn0cubgvYHhIDZwhJ8RyQIDQsdiA==\n\
        From:\tJoe  <joe@example.org>\nSubject:two  lines\n  and no space\n\nHello\n";
    assert_eq!(dkim(mail, zone).await, [(DkimResult::Pass, true)]);

    let mut spaced = exact(mail);
    spaced.set_exact(false);
    let found = checked(&spaced, &SpfOutcome::none(), zone).await;
    assert_eq!(found.signatures[0].result, DkimResult::Fail, "a space that nobody sent");
}

#[tokio::test]
async fn what_is_wrong_with_a_key_or_a_signature_is_told_apart() {
    let good = published("example.org");
    let mail = sign(MAIL, "example.org", Canonicalization::Relaxed);
    let revoked = "s._domainkey.example.org TXT v=DKIM1; k=ed25519; p=";
    let with_length = mail.replacen("DKIM-Signature: v=1;", "DKIM-Signature: v=1; l=9;", 1);
    assert_ne!(with_length, mail);
    let sha1 = mail.replacen("a=ed25519-sha256", "a=rsa-sha1", 1);
    assert_ne!(sha1, mail);
    for (mail, zone, expected) in [
        (&mail, good.as_str(), vec![(DkimResult::Pass, true)]),
        (&mail, "", vec![(DkimResult::PermError, true)]),
        (&mail, revoked, vec![(DkimResult::PermError, true)]),
        (&mail, "s._domainkey.example.org !", vec![(DkimResult::TempError, true)]),
        (&with_length, &good, vec![]),
        (&sha1, &good, vec![]),
    ] {
        let found = checked(&exact(mail), &SpfOutcome::none(), zone).await;
        assert_eq!(found.ignored_signatures, expected.is_empty(), "{zone:?}");
        assert_eq!(dkim(mail, zone).await, expected, "{zone:?}");
    }
}

#[tokio::test]
async fn only_so_many_signatures_are_checked() {
    let mut mail = MAIL.to_owned();
    let mut zone = String::new();
    for number in 0..20 {
        mail = sign(&mail, &format!("d{number}.test"), Canonicalization::Relaxed);
        zone += &published(&format!("d{number}.test"));
    }
    let found = checked(&exact(&mail), &SpfOutcome::none(), &zone).await;
    let domains: Vec<&str> = found.signatures.iter().map(|signature| signature.domain.as_str()).collect();
    let expected =
        ["d19.test", "d18.test", "d17.test", "d16.test", "d15.test", "d14.test", "d13.test", "d12.test"];
    assert_eq!(domains, expected, "those on top");
    assert!(found.signatures.iter().all(|signature| signature.result == DkimResult::Pass));
}

#[tokio::test]
async fn a_signature_is_aligned_with_the_domain_in_from() {
    let relaxed = "_dmarc.example.co.uk TXT v=DMARC1; p=none\n";
    let strict = "_dmarc.example.co.uk TXT v=DMARC1; p=none; adkim=s\n";
    for (from, signer, policy, aligned) in [
        ("joe@example.co.uk", "example.co.uk", "", true),
        ("joe@EXAMPLE.co.uk", "example.co.uk", "", true),
        ("joe@mail.example.co.uk", "example.co.uk", "", true),
        ("joe@example.co.uk", "mail.example.co.uk", "", true),
        ("joe@example.co.uk", "mail.example.co.uk", relaxed, true),
        ("joe@example.co.uk", "mail.example.co.uk", strict, false),
        ("joe@example.co.uk", "example.co.uk", strict, true),
        ("joe@example.co.uk", "other.co.uk", "", false),
        ("joe@example.co.uk", "co.uk", "", false),
        ("joe@example.co.uk, ann@example.co.uk", "example.co.uk", "", true),
        ("joe@example.co.uk, ann@other.co.uk", "example.co.uk", "", false),
        ("joe", "example.co.uk", "", false),
    ] {
        let mail = sign(
            &MAIL.replacen("joe@example.org", from, 1).replacen(['<', '>'], "", 2),
            signer,
            Canonicalization::Relaxed,
        );
        let mail = mail.replacen("From: Joe ", "From: ", 1);
        let zone = published(signer) + policy;
        let found = checked(&exact(&mail), &SpfOutcome::none(), &zone).await;
        assert_eq!(found.signatures[0].aligned, aligned, "From {from}, d={signer}, {policy}");
    }
}

#[tokio::test]
async fn dmarc_wants_one_of_both_aligned() {
    let reject = "_dmarc.example.org TXT v=DMARC1; p=reject; sp=quarantine\n";
    let signed = |domain: &str| sign(MAIL, domain, Canonicalization::Relaxed);
    let below = MAIL.replace("joe@example.org", "joe@mail.example.org");
    let pass = |domain| spf(SpfResult::Pass, domain);
    let fail = || spf(SpfResult::Fail, "example.org");
    let keys = published("example.org") + &published("other.test");
    let policy = |text: &str| format!("{keys}{text}");
    for (case, mail, spf, zone, expected) in [
        ("spf", MAIL.into(), pass("example.org"), policy(reject), (DmarcResult::Pass, DmarcPolicy::Reject)),
        (
            "spf below",
            MAIL.into(),
            pass("m.example.org"),
            policy(reject),
            (DmarcResult::Pass, DmarcPolicy::Reject),
        ),
        (
            "spf of another",
            MAIL.into(),
            pass("other.test"),
            policy(reject),
            (DmarcResult::Fail, DmarcPolicy::Reject),
        ),
        ("dkim", signed("example.org"), fail(), policy(reject), (DmarcResult::Pass, DmarcPolicy::Reject)),
        (
            "dkim of another",
            signed("other.test"),
            fail(),
            policy(reject),
            (DmarcResult::Fail, DmarcPolicy::Reject),
        ),
        ("neither", MAIL.into(), fail(), policy(reject), (DmarcResult::Fail, DmarcPolicy::Reject)),
        (
            "spf unknown",
            MAIL.into(),
            spf(SpfResult::TempError, "example.org"),
            policy(reject),
            (DmarcResult::TempError, DmarcPolicy::Reject),
        ),
        (
            "subdomain policy",
            below,
            fail(),
            policy(reject) + "mail.example.org A 192.0.2.1\n",
            (DmarcResult::Fail, DmarcPolicy::Quarantine),
        ),
        ("none published", MAIL.into(), fail(), keys.clone(), (DmarcResult::None, DmarcPolicy::None)),
        (
            "two published",
            MAIL.into(),
            fail(),
            policy(&reject.repeat(2)),
            (DmarcResult::None, DmarcPolicy::None),
        ),
        (
            "other texts",
            MAIL.into(),
            fail(),
            policy(reject) + "_dmarc.example.org TXT hello\n",
            (DmarcResult::Fail, DmarcPolicy::Reject),
        ),
        (
            "dns fails",
            MAIL.into(),
            fail(),
            policy("_dmarc.example.org !"),
            (DmarcResult::TempError, DmarcPolicy::None),
        ),
        (
            "two authors",
            MAIL.replacen("Joe <", "a@other.test, <", 1),
            pass("other.test"),
            policy(reject) + "_dmarc.other.test TXT v=DMARC1; p=quarantine\n",
            (DmarcResult::Fail, DmarcPolicy::Reject),
        ),
        (
            "no author",
            MAIL.replacen("From", "X-From", 1),
            fail(),
            policy(reject),
            (DmarcResult::None, DmarcPolicy::None),
        ),
    ] {
        let found = checked(&exact(&mail), &spf, &zone).await.dmarc;
        assert_eq!((found.result, found.policy), expected, "{case}");
    }
}

#[tokio::test]
async fn hostile_messages_have_a_result() {
    for mail in [
        "X: y\n\n".to_owned(),
        "From: @\nDKIM-Signature: v=1; d=; s=; h=; b=; bh=\n\n\n".to_owned(),
        format!("From: joe@{}.test\n\nx\n", "a".repeat(70)),
        format!(
            "From: joe@{}test\nDKIM-Signature: v=1; a=rsa-sha256; d={}; s={}; h=From; b=YQ==; bh=YQ==\n\n",
            "a.".repeat(500),
            "b.".repeat(500),
            "c.".repeat(500)
        ),
        format!(
            "From: joe@example.org\n{}\n",
            "DKIM-Signature: v=1; a=rsa-sha256; d=x.test; s=s; h=From; b=YQ==; bh=YQ==\n".repeat(2000)
        ),
        format!("{}\n", "From: joe@example.org\n".repeat(2000)),
    ] {
        let found = checked(&exact(&mail), &SpfOutcome::none(), "").await;
        assert!(found.signatures.len() <= 8);
        assert_eq!(found.aligned_pass(), None);
    }
    let empty = checked(&Message::default(), &SpfOutcome::none(), "").await;
    assert_eq!(empty, MessageAuth::default());
}

/// What the driver does: asks until nothing more is needed, then judges.
async fn decided(stage: Stage, facts: &Facts, zone: &str) -> (Vec<Finding>, Vec<HeaderEdit>) {
    let resolver: Arc<dyn Resolver> = Arc::new(Zone::parse(zone));
    let (settings, mut known) = (Settings::default(), Known::default());
    loop {
        let needs = check::needs(stage, facts, &settings, &known);
        if needs.is_empty() {
            break;
        }
        if needs.spf {
            let query = check::spf_query(facts).unwrap();
            known.spf = Slot::Got(auth::spf(&query, &*resolver).await, Duration::ZERO);
        }
        if let (Some(spf), Some(message)) = (needs.message_auth, &facts.message) {
            let found = auth::message(message, &spf, &resolver).await.unwrap();
            known.message_auth = Slot::Got(Arc::new(found), Duration::ZERO);
        }
    }
    (check::judge(stage, facts, &settings, &known), check::edits(facts, &settings, &known))
}

#[tokio::test]
async fn forwarded_mail_is_saved_by_its_authors_signature() {
    let zone = "example.org TXT v=spf1 ip4:198.51.100.1 -all\n".to_owned()
        + &published("example.org")
        + &published("other.test");
    let forwarded = |mail: &str| {
        let mut facts = Facts {
            sender: Some(ReversePath::parse("<joe@example.org>")),
            helo: Some("mail.forwarder.test".into()),
            content_follows: true,
            message: Some(exact(mail)),
            ..Facts::default()
        };
        facts.connection.client = Client::parse("192.0.2.1");
        facts.connection.mta.host_name = Some("mx.example.test".into());
        facts
    };
    let refusal = "550 5.7.23 SPF: example.org does not permit 192.0.2.1 to send its mail; \
                   add it to the SPF record, or sign with DKIM";
    let signed = sign(MAIL, "example.org", Canonicalization::Relaxed);
    for (mail, expected) in [
        (signed.clone(), (Action::Accept, None)),
        (signed.replacen("Hello Ann", "Hello Bob", 1), (Action::Reject, Some(refusal))),
        (sign(MAIL, "other.test", Canonicalization::Relaxed), (Action::Reject, Some(refusal))),
        (MAIL.to_owned(), (Action::Reject, Some(refusal))),
    ] {
        let (findings, _) = decided(Stage::EndOfMessage, &forwarded(&mail), &zone).await;
        let [Finding { reason: Reason::AuthSpfFail, outcome, .. }] = &findings[..] else {
            panic!("{findings:?}")
        };
        let reply = outcome.reply().map(ToString::to_string);
        assert_eq!((outcome.action(), reply.as_deref()), expected, "{mail}");
    }

    let (_, edits) = decided(Stage::EndOfMessage, &forwarded(&signed), &zone).await;
    let value = "mx.example.test;\n\tspf=fail smtp.mailfrom=example.org;\
                 \n\tdkim=pass header.d=example.org header.s=s;\n\tdmarc=none (p=none) header.from=example.org";
    let expected = HeaderEdit::Insert { name: HeaderName::AuthenticationResults, value: value.into() };
    assert_eq!(edits, [expected]);

    let at_rcpt = decided(Stage::Rcpt, &Facts { message: None, ..forwarded(&signed) }, &zone).await.0;
    assert_eq!(at_rcpt, [], "held");
    let policy_only = Facts { message: None, content_follows: false, ..forwarded(&signed) };
    let at_rcpt = decided(Stage::Rcpt, &policy_only, &zone).await.0;
    assert_eq!(at_rcpt[0].outcome.reply().map(ToString::to_string).as_deref(), Some(refusal));
}

#[tokio::test]
async fn the_signature_that_saves_is_named() {
    let mail = sign(MAIL, "mail.example.org", Canonicalization::Relaxed);
    let found = checked(&exact(&mail), &SpfOutcome::none(), &published("mail.example.org")).await;
    let expected = DkimSignature {
        domain: "mail.example.org".into(),
        selector: "s".into(),
        result: DkimResult::Pass,
        aligned: true,
    };
    assert_eq!(found.aligned_pass(), Some(&expected));
}
