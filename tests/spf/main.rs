//! SPF case by case, in the shape of the test suite that accompanies RFC 7208: a zone, and what each client gets from it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod suite;

use std::time::Duration;

use greylag::auth::SpfResult::{Fail, None, Pass};
use greylag::auth::{SpfIdentity, SpfOutcome, SpfQuery, spf};
use greylag::dns::{Lookup, RecordType, Resolver, Zone};
use greylag::facts::ReversePath;
use suite::{Group, SUITE, V4, V6};
use tokio::time::timeout;

async fn ask(zone: &str, client: &str, helo: &str, sender: &str) -> SpfOutcome {
    let client: std::net::IpAddr = client.parse().unwrap();
    let query =
        SpfQuery { client: client.to_canonical(), helo: helo.to_owned(), sender: ReversePath::parse(sender) };
    spf(&query, &Zone::parse(zone)).await
}

#[tokio::test]
async fn every_case_of_the_suite_has_its_result() {
    let mut wrong = Vec::new();
    let mut count = 0;
    for Group { section, zone, cases } in SUITE {
        for (client, sender, expected) in *cases {
            let result = ask(zone, client, "mail.client.test", sender).await.result;
            if result != *expected {
                wrong.push(format!("{section}: {client} as {sender}: {result:?} instead of {expected:?}"));
            }
            count += 1;
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(count >= 100, "{count} cases");
}

/// RFC 7208 §2.4: the null reverse-path has no domain, so the HELO name is asked.
#[tokio::test]
async fn without_a_sender_the_helo_name_is_asked() {
    let zone = "
        mail.client.test TXT v=spf1 ip4:192.0.2.1 -all
        local.test TXT v=spf1 exists:%{l}.%{o}.%{d}.ok.test -all
        postmaster.local.test.local.test.ok.test A 127.0.0.2
        postmaster.test TXT v=spf1 exists:%{l}.ok.test -all
        postmaster.ok.test A 127.0.0.2
        joe.test TXT v=spf1 -all";
    let helo = SpfIdentity::Helo;
    for (client, name, sender, expected) in [
        (V4, "mail.client.test", "<>", (Pass, helo, "mail.client.test")),
        (V4, "Mail.Client.TEST.", "<>", (Pass, helo, "mail.client.test")),
        ("192.0.2.2", "mail.client.test", "", (Fail, helo, "mail.client.test")),
        (V4, "local.test", "<>", (Pass, helo, "local.test")),
        (V4, "nowhere.test", "<>", (None, helo, "nowhere.test")),
        (V4, "localhost", "<>", (None, helo, "localhost")),
        (V4, "[192.0.2.1]", "<>", (None, helo, "[192.0.2.1]")),
        (V4, "", "<>", (None, helo, "")),
        (V4, "mail.client.test", "<joe>", (Pass, helo, "mail.client.test")),
        (V4, "mail.client.test", "<joe@joe.test>", (Fail, SpfIdentity::MailFrom, "joe.test")),
        (V4, "mail.client.test", "<@postmaster.test>", (Pass, SpfIdentity::MailFrom, "postmaster.test")),
    ] {
        let outcome = ask(zone, client, name, sender).await;
        assert_eq!(
            (outcome.result, outcome.identity, &*outcome.domain),
            expected,
            "{client} {name} {sender}"
        );
    }
}

#[tokio::test]
async fn a_domain_that_passes_anyone_vouches_for_nobody() {
    let zone = "
        open.test TXT v=spf1 +all
        halves.test TXT v=spf1 ip4:0.0.0.0/1 ip4:128.0.0.0/1 -all
        six.test TXT v=spf1 ip6:2000::/3 -all
        indirect.test TXT v=spf1 include:open.test -all
        closed.test TXT v=spf1 ip4:192.0.2.0/24 ip6:2001:db8::/32 -all
        mail.client.test TXT v=spf1 ip4:192.0.2.0/24 -all
        hiding.test TXT v=spf1 -ip4:22.0.0.1 -ip4:169.254.0.1 -ip4:215.0.0.1 -ip4:250.0.0.1 +all
        quarter.test TXT v=spf1 ip4:192.0.0.0/2 -all
        sub.test TXT v=spf1 ip6:2000::/12 -all
        neutral.test TXT v=spf1 ip4:192.0.2.0/24 ?all
        yes.test A 127.0.0.2
        exists.test TXT v=spf1 exists:yes.test -all
        by-address.test TXT v=spf1 exists:%{i}.by-address.test -all
        192.0.2.1.by-address.test A 127.0.0.2
        wide.test TXT v=spf1 ip4:192.0.0.0/8 -all";
    for (client, sender, vouching) in [
        (V4, "<joe@open.test>", Option::None),
        (V4, "<joe@halves.test>", Option::None),
        (V6, "<joe@six.test>", Option::None),
        (V6, "<joe@indirect.test>", Option::None),
        (V4, "<joe@hiding.test>", Option::None),
        (V4, "<joe@quarter.test>", Option::None),
        (V6, "<joe@sub.test>", Option::None),
        (V4, "<joe@exists.test>", Option::None),
        (V4, "<joe@by-address.test>", Some("by-address.test")),
        (V4, "<joe@neutral.test>", Some("neutral.test")),
        (V4, "<joe@closed.test>", Some("closed.test")),
        (V6, "<joe@closed.test>", Some("closed.test")),
        (V4, "<joe@wide.test>", Some("wide.test")),
        ("198.51.100.1", "<joe@closed.test>", Option::None),
        (V4, "<>", Option::None),
    ] {
        let outcome = ask(zone, client, "mail.client.test", sender).await;
        assert_eq!(
            outcome.vouching_domain().map(|domain| &**domain),
            vouching,
            "{client} {sender}: {outcome:?}"
        );
    }
}

/// A DNS that never answers for names that begin with `slow`.
#[derive(Debug)]
struct Dropping(Zone);

impl Resolver for Dropping {
    fn lookup<'a>(&'a self, name: &'a str, record_type: RecordType) -> Lookup<'a> {
        if name.starts_with("slow") {
            Box::pin(std::future::pending())
        } else {
            self.0.lookup(name, record_type)
        }
    }
}

/// RFC 7208 §5.5: what the client's own DNS does not answer in time is no name of it.
#[tokio::test(start_paused = true)]
async fn a_client_cannot_hold_an_evaluation_up_by_its_names() {
    // What the daemon waits for SPF.
    let budget = Duration::from_millis(1_400);
    let zone = "
        ptr.test TXT v=spf1 ptr -all
        macro.test TXT v=spf1 exists:%{p}.macro.test -all
        unknown.macro.test A 127.0.0.2
        1.2.0.192.in-addr.arpa PTR slow1.evil.test
        1.2.0.192.in-addr.arpa PTR slow2.evil.test
        1.2.0.192.in-addr.arpa PTR mail.ptr.test
        2.2.0.192.in-addr.arpa PTR slow1.evil.test
        2.2.0.192.in-addr.arpa PTR slow2.evil.test
        mail.ptr.test A 192.0.2.1";
    for (client, sender, expected) in [
        ("192.0.2.1", "<joe@ptr.test>", Pass),
        ("192.0.2.2", "<joe@ptr.test>", Fail),
        ("192.0.2.2", "<joe@macro.test>", Pass),
        ("192.0.2.1", "<joe@macro.test>", Fail),
    ] {
        let query = SpfQuery {
            client: client.parse().unwrap(),
            helo: "mail.client.test".into(),
            sender: ReversePath::parse(sender),
        };
        let zone = Dropping(Zone::parse(zone));
        let outcome = timeout(budget, spf(&query, &zone)).await;
        assert_eq!(outcome.map(|outcome| outcome.result), Ok(expected), "{client} {sender}");
    }
}

#[tokio::test]
async fn an_at_sign_in_a_local_part_is_no_end_of_it() {
    let zone = "
        domain.test TXT v=spf1 exists:%{o}.l.test -all
        domain.test.l.test A 127.0.0.2
        local.test TXT v=spf1 exists:%{l}.l.test -all
        x.l.test A 127.0.0.2
        x_y.l.test A 127.0.0.2";
    for (sender, expected) in [
        ("<\"x@y\"@domain.test>", Pass),
        ("<x@domain.test>", Pass),
        ("<\"x@y\"@local.test>", Fail),
        ("<x@local.test>", Pass),
    ] {
        assert_eq!(ask(zone, V4, "mail.client.test", sender).await.result, expected, "{sender}");
    }
}
