//! Who a client is: pools of mail servers that retry from whichever of them is free.

use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::support::dns::{Dns, HELO};
use crate::support::greylag::{Greylag, Setup};
use crate::support::mail;
use crate::support::odd_dns::OddDns;
use crate::support::postfix::{HookUp, Postfix};
use crate::support::process::eventually;
use crate::support::sink::Sink;
use crate::support::smtp::Smtp;
use crate::{GREYLIST_2S, RECIPIENT, Site, assert_queued};

const DEFERRED: &str = "451 4.7.1 <bob@example.test>... Greylisted, try again in 2 seconds";
const ACCEPTED: &str = "250 2.1.5 Ok";
const LITTLE_MORE_THAN_2S: Duration = Duration::from_millis(2100);

/// Five addresses of five networks. The SPF record of `pool.example` names them, that of `open.example` passes anyone.
pub(crate) const POOL: [&str; 5] =
    ["192.0.2.21", "198.51.100.22", "203.0.113.23", "198.18.1.24", "198.18.2.25"];

/// What a client with this address and verified name is told of [`RECIPIENT`].
fn rcpt(site: &Site, address: &str, name: &str, sender: &str, recipient: &str) -> String {
    let mut smtp = Smtp::connect(site.postfix.port());
    smtp.xclient(address, name);
    smtp.ehlo(HELO);
    smtp.mail(sender);
    let reply = smtp.rcpt(recipient);
    smtp.quit();
    reply
}

/// What a client without a name is told.
pub(crate) fn nameless(site: &Site, address: &str, sender: &str) -> String {
    rcpt(site, address, "[UNAVAILABLE]", sender, RECIPIENT)
}

#[test]
fn another_host_that_the_senders_spf_record_names_may_retry() {
    for hook_up in [HookUp::Milter, HookUp::Policy] {
        let site = Site::start(hook_up, &[GREYLIST_2S]);
        let sender = "alice@pool.example";
        let first = nameless(&site, POOL[0], sender);
        assert!(first.contains("Greylisted, try again in 2 seconds"), "{first}");
        let early = nameless(&site, POOL[1], sender);
        assert!(early.contains("Greylisted, try again in"), "{early}");
        sleep(LITTLE_MORE_THAN_2S);
        for address in &POOL[1..] {
            assert_eq!(nameless(&site, address, sender), ACCEPTED, "{hook_up:?} {address}");
        }
        assert!(nameless(&site, POOL[1], "bob@pool.example").contains("Greylisted"), "SPF is no pass");
        let lines = site.greylag.log_lines(&["client=198.51.100.22", "reason=greylist.matured"]);
        assert_eq!(lines.len(), 1, "{lines:?}");
        assert!(lines[0].contains(" identities=spf:pool.example,network:198.51.100.0/24 "), "{}", lines[0]);
        assert!(lines[0].contains(" s, known by its spf"), "{}", lines[0]);
        let known =
            |labels: &[(&str, &str)]| site.greylag.metrics().sum("greylag_greylist_known_total", labels);
        assert_eq!(known(&[("by", "pair"), ("identity", "spf")]), 3.0);
        assert_eq!(site.greylag.metrics().sum("greylag_greylist_matured_total", &[("identity", "spf")]), 1.0);
    }
}

#[test]
fn an_spf_record_that_passes_anyone_identifies_nobody() {
    let site = Site::start(HookUp::Milter, &[GREYLIST_2S]);
    for sender in ["alice@open.example", "alice@halves.example"] {
        assert_eq!(nameless(&site, POOL[0], sender), DEFERRED);
        sleep(LITTLE_MORE_THAN_2S);
        for address in &POOL[1..] {
            assert_eq!(nameless(&site, address, sender), DEFERRED, "{sender} {address}");
        }
        assert_eq!(
            nameless(&site, "192.0.2.99", sender),
            ACCEPTED,
            "{sender}: another host of the first network"
        );
    }
}

#[test]
fn another_host_with_a_name_of_the_same_domain_may_retry() {
    let site = Site::start(HookUp::Milter, &[GREYLIST_2S]);
    let sender = "alice@no-spf.example";
    let ask = |address, name| rcpt(&site, address, name, sender, RECIPIENT);
    assert_eq!(ask(POOL[0], "mx1.out.hosts.example"), DEFERRED);
    assert_eq!(ask(POOL[2], "198-51-100-9.isp.example"), DEFERRED);
    sleep(LITTLE_MORE_THAN_2S);
    assert_eq!(ask(POOL[3], "203-0-113-9.isp.example"), DEFERRED, "a line of the same access provider");
    assert_eq!(ask(POOL[4], "mx1.other.example"), DEFERRED);
    assert_eq!(ask(POOL[1], "mx2.out.hosts.example"), ACCEPTED);
    assert_eq!(ask("198.18.3.26", "relay.hosts.example"), ACCEPTED);
}

#[test]
fn a_bounce_is_known_by_the_helo_name_that_resolves_to_the_client() {
    let site = Site::start(HookUp::Milter, &[GREYLIST_2S]);
    let ask = |address: &str, helo: &str| {
        let mut smtp = Smtp::connect_as(site.postfix.port(), address, helo);
        smtp.mail("");
        smtp.rcpt(RECIPIENT)
    };
    assert_eq!(ask("198.51.100.41", "mx1.bouncer.example"), DEFERRED);
    sleep(LITTLE_MORE_THAN_2S);
    assert_eq!(ask("198.18.9.9", "mx1.bouncer.example"), DEFERRED, "the name is another host's");
    assert_eq!(ask("203.0.113.42", "mx2.bouncer.example"), ACCEPTED);
}

#[test]
fn a_message_to_a_hundred_comes_through_at_its_second_attempt() {
    let site = Site::start(HookUp::Milter, &[GREYLIST_2S]);
    let recipients: Vec<String> = (1..=100).map(|n| format!("user{n:03}@example.test")).collect();
    let mut smtp = Smtp::connect_as(site.postfix.port(), POOL[0], HELO);
    smtp.mail("alice@pool.example");
    let refused = recipients
        .iter()
        .map(|recipient| smtp.rcpt(recipient))
        .take_while(|reply| reply.starts_with("451 "))
        .count();
    assert!(refused >= 19, "Postfix hangs up after 20 errors; {refused} were refused before");
    drop(smtp);
    sleep(LITTLE_MORE_THAN_2S);

    // By another host of the pool.
    let mut smtp = Smtp::connect_as(site.postfix.port(), POOL[1], HELO);
    smtp.mail("alice@pool.example");
    for recipient in &recipients {
        assert_eq!(smtp.rcpt(recipient), ACCEPTED, "{recipient}");
    }
    assert_queued(&smtp.data(&mail::plain("to-a-hundred")));
    assert_eq!(site.sink.next().recipients, recipients);
}

#[test]
fn authenticated_and_exempt_clients_are_never_delayed() {
    let scopes = "
[[scope]]
name = \"authenticated\"
authenticated = true
set.greylist.mode = \"off\"
[[scope]]
name = \"backup\"
client = [\"203.0.113.0/24\"]
set.greylist.mode = \"off\"
[[scope]]
name = \"opted out\"
recipient = [\"@example.net\"]
set.greylist.mode = \"off\"
";
    for (hook_up, policies) in [
        (HookUp::Milter, &[GREYLIST_2S, ("scopes.toml", scopes)][..]),
        (HookUp::Policy, &[GREYLIST_2S, ("scopes.toml", scopes)][..]),
        (HookUp::Milter, &[GREYLIST_2S][..]),
    ] {
        let site = Site::start(hook_up, policies);
        let with_scopes = policies.len() > 1;
        let ask = |attributes: &str, recipient: &str| {
            let mut smtp = Smtp::connect(site.postfix.port());
            smtp.xclient_with(attributes);
            smtp.ehlo(HELO);
            smtp.mail("alice@no-spf.example");
            smtp.rcpt(recipient)
        };
        let stranger = "ADDR=198.51.100.77 NAME=[UNAVAILABLE]";
        for n in 0..3 {
            let sender_has_logged_in = format!("{stranger} LOGIN=joe{n}");
            assert_eq!(ask(&sender_has_logged_in, RECIPIENT), ACCEPTED);
            assert_eq!(ask(stranger, "postmaster@example.test"), ACCEPTED);
            if with_scopes {
                assert_eq!(ask("ADDR=203.0.113.9 NAME=[UNAVAILABLE]", RECIPIENT), ACCEPTED);
                assert_eq!(ask(stranger, "carol@example.net"), ACCEPTED);
            } else {
                assert_eq!(ask("ADDR=127.0.0.9 NAME=localhost", RECIPIENT), ACCEPTED);
            }
        }
        assert!(ask(stranger, RECIPIENT).contains("Greylisted"));
        let exempt =
            |reason| site.greylag.metrics().sum("greylag_greylist_exempt_total", &[("reason", reason)]);
        assert_eq!((exempt("authenticated"), exempt("role")), (3.0, 3.0));
        assert_eq!(exempt("off"), if with_scopes { 6.0 } else { 3.0 });
    }
}

#[test]
fn a_client_without_any_of_the_identities_is_accepted_on_its_retry() {
    let only_spf = ("greylist.toml", "min_delay = \"2s\"\nclient_identity = [\"spf\"]\n");
    for hook_up in [HookUp::Milter, HookUp::Policy] {
        let site = Site::start(hook_up, &[only_spf, ("auth.toml", "mode = \"off\"\n")]);
        let sender = "alice@sender.example";
        let first = nameless(&site, "198.18.3.26", sender);
        assert!(first.contains("Greylisted, try again in 2 seconds"), "{first}");
        sleep(LITTLE_MORE_THAN_2S);
        assert_eq!(nameless(&site, "198.18.3.26", sender), ACCEPTED, "{hook_up:?}");
        let lines = site.greylag.log_lines(&["reason=greylist.matured"]);
        assert_eq!(lines.len(), 1, "{lines:?}");
        assert!(lines[0].contains(" identities=network:198.18.3.0/24 "), "{}", lines[0]);
    }
}

#[test]
fn an_spf_answer_that_comes_after_the_reply_counts_from_the_attempt_on() {
    // The record includes another one, so that SPF takes two answers, longer than a recipient may wait.
    let dns = Dns::start();
    let slow = OddDns::slow(dns.address(), Duration::from_millis(900));
    let policies = &[("greylist.toml", "min_delay = \"3s\"\n")];
    let greylag = Greylag::start(Setup { policies, dns: Some(slow.address()), ..Setup::default() });
    let sink = Sink::start();
    let postfix = Postfix::start(HookUp::Milter, greylag.ports(), &sink);
    let site = Site { postfix, greylag, sink, _dns: dns };
    let deferred = "451 4.7.1 <bob@example.test>... Greylisted, try again in 3 seconds";
    assert_eq!(nameless(&site, POOL[0], "alice@pool.example"), deferred);
    let answered = Instant::now();
    let lines = site.greylag.log_lines(&["client=192.0.2.21", "greylist.first_seen"]);
    assert!(lines[0].contains(" spf=timeout identities=network:192.0.2.0/24 "), "{}", lines[0]);
    let added = [("result", "added")];
    eventually("the identity is added", || {
        site.greylag.metrics().sum("greylag_greylist_late_spf_total", &added) == 1.0
    });
    sleep(Duration::from_millis(3100).saturating_sub(answered.elapsed()));
    assert_eq!(nameless(&site, POOL[1], "alice@pool.example"), ACCEPTED);
}
