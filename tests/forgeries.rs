//! Mail that is made to get past DKIM and DMARC, or to keep them busy.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

#[path = "support/mod.rs"]
mod support;

use std::sync::Arc;
use std::time::{Duration, Instant};

use greylag::auth::{self, DkimResult, DmarcPolicy, DmarcResult, MessageAuth, SpfOutcome, SpfResult};
use greylag::dns::{DnsFault, Lookup, RecordType, Resolver, Zone};
use mail_auth::dkim::Canonicalization::Relaxed;
use support::auth::{checked, exact, spf};
use support::dkim::{name, published, record, sign, sign_headers};

const POLICY: &str = "_dmarc.bank.test TXT v=DMARC1; p=reject\n";

/// Mail of the spammer's own server, which passes SPF.
async fn forged(mail: &str, zone: &str) -> MessageAuth {
    checked(&exact(mail), &spf(SpfResult::Pass, "evil.test"), zone).await
}

fn results(found: &MessageAuth) -> Vec<DkimResult> {
    found.signatures.iter().map(|signature| signature.result).collect()
}

/// A signature field with nothing behind it. The hash is that of the body `Hello`.
fn signature_field(domain: &str, selector: &str, names: &str) -> String {
    let hash = "Ba3gj8+xBPQLJTahTfzW6RbWQ/XPgESxkCi2B66PSQg=";
    let signature = "A".repeat(86);
    format!(
        "DKIM-Signature: v=1; a=ed25519-sha256; c=relaxed/relaxed; d={domain}; s={selector}; h={names}; \
         bh={hash}; b={signature}==\n"
    )
}

/// Time for anything but work that grows with the square of the message.
const AT_ONCE: Duration = Duration::from_secs(5);

#[tokio::test]
async fn names_longer_than_any_of_the_dns_are_not_looked_at() {
    let long = "a.".repeat(29_000) + "evil.test";
    for (from, domain, selector) in [
        ("x@evil.test", long.as_str(), "s"),
        ("x@evil.test", "evil.test", &long),
        (&format!("x@{long}"), "evil.test", "s"),
    ] {
        let mail = signature_field(domain, selector, "From").repeat(8) + &format!("From: {from}\n\nHello\n");
        let began = Instant::now();
        let found = forged(&mail, &published("evil.test")).await;
        assert!(began.elapsed() < AT_ONCE, "{:?}", began.elapsed());
        assert_eq!(found.dmarc.result, DmarcResult::None);
        if domain.len() + selector.len() > 253 {
            assert_eq!(results(&found), []);
            assert!(found.ignored_signatures);
        } else {
            assert_eq!(results(&found), [DkimResult::Fail; 8]);
            assert_eq!(found.dmarc.domain, "");
        }
    }
}

#[tokio::test]
async fn a_long_list_of_signed_fields_does_not_count() {
    let names: Vec<String> = (0..3_000).map(|number| format!("x{number}")).collect();
    let fields = "zz1:\n".repeat(10_000);
    let from = "From: ceo@bank.test\n";
    let zone = published("bank.test") + POLICY;
    let mail =
        |names: &str| signature_field("bank.test", "s", names).repeat(8) + from + &fields + "\nHello\n";
    let began = Instant::now();
    let found = forged(&mail(&format!("From:{}", names.join(":"))), &zone).await;
    assert!(began.elapsed() < AT_ONCE, "{:?}", began.elapsed());
    assert_eq!((results(&found), found.ignored_signatures), (vec![], true));
    assert_eq!((found.dmarc.result, found.dmarc.policy), (DmarcResult::Fail, DmarcPolicy::Reject));

    let began = Instant::now();
    let found = forged(&mail(&format!("From:{}", names[..99].join(":"))), &zone).await;
    assert!(began.elapsed() < AT_ONCE, "{:?}", began.elapsed());
    assert_eq!(results(&found), [DkimResult::Fail; 8]);
}

/// By OpenSSL with a key of 512 bits.
#[tokio::test]
async fn a_weak_key_vouches_for_nobody() {
    let zone = "weak._domainkey.bank.test TXT v=DKIM1; k=rsa; p=\
        MFwwDQYJKoZIhvcNAQEBBQADSwAwSAJBAM2pYQsHHjHsc7AYC62RugtJEzwIH3B29KcPuWgu+fE8nK0lcslsAtEp/k/x/EyP/1Pg7QFt1zCpt6UcINfjN7ECAwEAAQ==\n"
        .to_owned() + POLICY;
    let mail = "DKIM-Signature: v=1; a=rsa-sha256; c=relaxed/relaxed; d=bank.test; s=weak; h=From:To:Subject; \
        bh=Ba3gj8+xBPQLJTahTfzW6RbWQ/XPgESxkCi2B66PSQg=; \
        b=aAtmGcIkMmKo6q0w0tpOvwEpoeKiQP/XRdbapKHvfaKOF71aFD2lRVBEtwksyzo6GuozZ09+h8BeNx33ocZGxQ==\n\
        From: CEO <ceo@bank.test>\nTo: a@here.test\nSubject: x\n\nHello\n";
    let found = forged(mail, &zone).await;
    assert_eq!((results(&found), found.ignored_signatures), (vec![], true));
    assert_eq!(found.dmarc.result, DmarcResult::Fail);
}

/// As real servers are asked: what is not ASCII cannot be.
#[derive(Debug)]
struct AsciiOnly(Zone);

impl Resolver for AsciiOnly {
    fn lookup<'a>(&'a self, name: &'a str, record_type: RecordType) -> Lookup<'a> {
        if name.is_ascii() {
            return self.0.lookup(name, record_type);
        }
        Box::pin(std::future::ready(Err(DnsFault::Failed("not ASCII".into()))))
    }
}

#[tokio::test]
async fn names_of_other_letters_are_asked_for_as_the_dns_writes_them() {
    let zone = published("xn--bcher-kva.test")
        + &format!("xn--tda._domainkey.bank.test TXT {}\n", record())
        + POLICY
        + "_dmarc.xn--bcher-kva.test TXT v=DMARC1; p=reject\n";
    let resolver: Arc<dyn Resolver> = Arc::new(AsciiOnly(Zone::parse(&zone)));
    let of_bank = "From: ceo@bank.test\n\nHello\n";
    let of_books = "From: joe@b\u{fc}cher.test\nTo: a@here.test\nSubject: x\n\nHello\n";
    let books = sign(of_books, "b\u{fc}cher.test", Relaxed);
    for (mail, signatures, dmarc) in [
        (signature_field("bank.test", "\u{fc}", "From") + of_bank, vec![DkimResult::Fail], DmarcResult::Fail),
        (
            signature_field("bank.test", "\u{e4}", "From") + of_bank,
            vec![DkimResult::PermError],
            DmarcResult::Fail,
        ),
        (signature_field("bank.test", "\u{fffd}", "From") + of_bank, vec![], DmarcResult::Fail),
        (books.clone(), vec![DkimResult::Pass], DmarcResult::Pass),
        (books.replacen("d=b\u{fc}cher", "d=B\u{dc}cher", 1), vec![DkimResult::Fail], DmarcResult::Fail),
    ] {
        let found = auth::message(&exact(&mail), &SpfOutcome::none(), &resolver).await.unwrap();
        assert_eq!((results(&found), found.dmarc.result), (signatures, dmarc), "{mail}");
        assert!(found.signatures.iter().all(|signature| signature.aligned), "{mail}");
    }
}

#[tokio::test]
async fn the_author_is_found_however_from_is_spelled() {
    for from in [
        "ceo@bank.test",
        "CEO <ceo@bank.test.>",
        "ceo @ bank . test",
        "ceo@\n bank.test",
        "<foo>, ceo@bank.test",
        "ceo@bank.test, foo",
        "CEO <ceo@bank . test>",
        "a@, ceo@bank.test",
        "a@[192.0.2.1], ceo@bank.test",
        "ceo@(x)bank.test",
        "ceo@\n (x)\n bank.test",
        "CEO\n <ceo@\n bank.test\n >",
        "\"CEO\n of\" Bank <ceo@bank.test>",
        "=?utf-8?q?CEO?= <ceo@bank.test>",
        "(x)ceo(y)@(z)bank.test",
        "<@relay.test:ceo@bank.test>",
        "<@relay.test,@b.test:ceo@bank.test>",
        "\"x, y\"@bank.test",
        "<ceo@bank.test",
        ", , ceo@bank.test,",
        "CEO <ceo@bank.test> x",
        "CEO :-( <ceo@bank.test>",
        "\"CEO <ceo@bank.test>",
        "ceo@bank(x).test",
        "ceo@bank.test (the (one) boss)",
        "CEO <ceo@(\\)x)bank.test>",
        "\"x@evil.test\" <ceo@Bank.Test>",
        "bosses: ceo@bank.test, cto@bank.test;",
        "x@evil.test, CEO <ceo@bank.test>",
        "CEO <ceo@bank.test>, x@evil.test",
        "x@evil.test\nFrom: ceo@bank.test",
    ] {
        let found = forged(&format!("From: {from}\n\nHello\n"), POLICY).await.dmarc;
        let expected = (DmarcResult::Fail, DmarcPolicy::Reject, "bank.test");
        assert_eq!((found.result, found.policy, found.domain.as_str()), expected, "{from}");
    }
}

#[tokio::test]
async fn a_signature_that_leaves_out_the_author_does_not_count() {
    let mail = "From: ceo@bank.test\nTo: a@here.test\nSubject: x\n\nHello\n";
    let zone = published("bank.test") + POLICY;
    for (headers, counts) in [(&["From", "To"][..], true), (&["fRoM"], true), (&["To", "Subject"], false)] {
        let found = forged(&sign_headers(headers, mail, "bank.test", Relaxed), &zone).await;
        let expected =
            if counts { (vec![DkimResult::Pass], DmarcResult::Pass) } else { (vec![], DmarcResult::Fail) };
        assert_eq!((results(&found), found.dmarc.result), expected, "{headers:?}");
        assert_eq!(found.ignored_signatures, !counts);
    }
}

#[tokio::test]
async fn a_key_counts_for_what_it_is_published_for() {
    let mail = sign("From: ceo@bank.test\nTo: a@here.test\nSubject: x\n\nHello\n", "bank.test", Relaxed);
    for (tags, expected) in [
        ("", DkimResult::Pass),
        ("h=sha256; ", DkimResult::Pass),
        ("h=sha1 : SHA256; s=* ; ", DkimResult::Pass),
        ("s=tlsrpt:Email; ", DkimResult::Pass),
        ("h=; s=; ", DkimResult::Pass),
        ("h=sha1; ", DkimResult::PermError),
        ("S = tlsrpt; ", DkimResult::PermError),
    ] {
        let text = record().replacen("k=", &format!("{tags}k="), 1);
        let zone = format!("{} TXT {text}\n", name("bank.test"));
        assert_eq!(results(&forged(&mail, &zone).await), [expected], "{tags}");
    }
}
