//! Recipients with different settings in one message.

use std::thread::sleep;
use std::time::Duration;

use crate::support::mail;
use crate::support::postfix::HookUp;
use crate::support::smtp::Smtp;
use crate::{GREYLIST_2S, NO_GREYLIST, RECIPIENT, SENDER, Site, assert_queued};

/// A recipient whose domain is not greylisted; all else is as for [`RECIPIENT`].
const OPTED_OUT: &str = "carol@example.net";
/// A recipient whose domain takes every attachment.
const OWN: &str = "dave@example.org";
const SCOPES: (&str, &str) = (
    "scopes.toml",
    "[[scope]]\nname = \"opted out\"\nrecipient = [\"@example.net\"]\nset.greylist.mode = \"off\"\n\
     [[scope]]\nname = \"own\"\nrecipient = [\"@example.org\"]\nset.attachments.mode = \"off\"\n",
);
const STRICTEST: (&str, &str) = ("recipients.toml", "mixed_recipients = \"strictest\"\n");
const OK: &str = "250 2.1.5 Ok";
const REFUSED: &str =
    "554 5.7.0 Forbidden attachment: evil.exe - files of type exe are not accepted, remove it and send again";

fn program() -> Vec<u8> {
    mail::with_attachment("program", "evil.exe", b"MZ not really")
}

fn split(recipient: &str) -> String {
    format!(
        "452 4.5.3 <{recipient}>... This recipient has other rules for content than the first: send it in a message of its own"
    )
}

/// What each recipient of one message is told.
fn offer(smtp: &mut Smtp, recipients: &[&str]) -> Vec<String> {
    assert_eq!(smtp.mail(SENDER), "250 2.1.0 Ok");
    recipients.iter().map(|recipient| smtp.rcpt(recipient)).collect()
}

#[test]
fn split_recipients_come_again_are_not_delayed_again_and_each_domain_has_its_own_rules() {
    let site = Site::start(HookUp::Milter, &[GREYLIST_2S, SCOPES]);
    let greylisted =
        |recipient: &str| format!("451 4.7.1 <{recipient}>... Greylisted, try again in 2 seconds");
    let mut smtp = site.connect();
    let told = offer(&mut smtp, &[RECIPIENT, OPTED_OUT, OWN]);
    assert_eq!(
        told,
        [greylisted(RECIPIENT), OK.into(), greylisted(OWN)],
        "who is greylisted is told so, not split"
    );
    assert_queued(&smtp.data(&mail::plain("opted-out")));
    assert_eq!(site.sink.next().recipients, [OPTED_OUT]);
    smtp.quit();
    sleep(Duration::from_millis(2100));

    let mut smtp = site.connect();
    assert_eq!(offer(&mut smtp, &[RECIPIENT, OPTED_OUT, OWN]), [OK.into(), OK.into(), split(OWN)]);
    assert_eq!(smtp.data(&program()), REFUSED);
    assert_eq!(offer(&mut smtp, &[OWN]), [OK], "the greylist remembers it");
    assert_queued(&smtp.data(&program()));
    assert_eq!(site.sink.next().recipients, [OWN]);
    assert_eq!(
        offer(&mut smtp, &[OWN, RECIPIENT]),
        [OK.into(), split(RECIPIENT)],
        "the first recipient decides"
    );
    assert_queued(&smtp.data(&program()));
    assert_eq!(site.sink.next().recipients, [OWN]);
    site.sink.assert_empty();

    let metrics = site.greylag.metrics();
    assert_eq!(metrics.sum("greylag_greylist_total", &[("outcome", "first_seen")]), 2.0);
    let splits = [("reason", "recipients.mixed"), ("action", "defer")];
    assert_eq!(metrics.sum("greylag_decisions_total", &splits), 2.0);
}

#[test]
fn with_strictest_the_hardest_verdict_counts_for_all() {
    let site = Site::start(HookUp::Milter, &[NO_GREYLIST, SCOPES, STRICTEST]);
    let mut smtp = site.connect();
    for recipients in [[RECIPIENT, OWN], [OWN, RECIPIENT], [OPTED_OUT, OWN]] {
        assert_eq!(offer(&mut smtp, &recipients), [OK, OK]);
        assert_eq!(smtp.data(&program()), REFUSED, "{recipients:?}");
    }
    assert_eq!(offer(&mut smtp, &[RECIPIENT, OPTED_OUT, OWN]), [OK, OK, OK]);
    assert_queued(&smtp.data(&mail::plain("to-all")));
    assert_eq!(site.sink.next().recipients, [RECIPIENT, OPTED_OUT, OWN]);
    assert_eq!(offer(&mut smtp, &[OWN]), [OK]);
    assert_queued(&smtp.data(&program()));
    assert_eq!(site.sink.next().recipients, [OWN]);
}

#[test]
fn with_strictest_each_recipient_is_greylisted_by_its_own_rules_and_the_content_judged_by_all() {
    let site = Site::start(HookUp::Milter, &[GREYLIST_2S, SCOPES, STRICTEST]);
    let greylisted =
        |recipient: &str| format!("451 4.7.1 <{recipient}>... Greylisted, try again in 2 seconds");
    let mut smtp = site.connect();
    let told = offer(&mut smtp, &[RECIPIENT, OPTED_OUT, OWN]);
    assert_eq!(told, [greylisted(RECIPIENT), OK.into(), greylisted(OWN)]);
    assert_eq!(smtp.data(&program()), REFUSED, "the domain that opted out of greylisting alone");
    smtp.quit();
    sleep(Duration::from_millis(2100));

    let mut smtp = site.connect();
    assert_eq!(offer(&mut smtp, &[RECIPIENT, OPTED_OUT, OWN]), [OK, OK, OK]);
    assert_eq!(smtp.data(&program()), REFUSED, "who would take it is in bad company");
    assert_eq!(offer(&mut smtp, &[RECIPIENT, OPTED_OUT, OWN]), [OK, OK, OK]);
    assert_queued(&smtp.data(&mail::plain("to-all")));
    assert_eq!(site.sink.next().recipients, [RECIPIENT, OPTED_OUT, OWN]);
    assert_eq!(site.greylag.metrics().sum("greylag_greylist_total", &[("outcome", "first_seen")]), 2.0);
}

#[test]
fn after_ten_splits_in_a_session_the_hardest_verdict_counts() {
    let site = Site::start(HookUp::Milter, &[NO_GREYLIST, SCOPES]);
    let mut smtp = site.connect();
    assert_eq!(offer(&mut smtp, &[RECIPIENT]), [OK]);
    for number in 1..=9 {
        let recipient = format!("user{number}@example.org");
        assert_eq!(smtp.rcpt(&recipient), split(&recipient));
    }
    assert_eq!(smtp.data(&program()), REFUSED);
    // Another mail of the session goes on counting.
    assert_eq!(offer(&mut smtp, &[RECIPIENT, OWN, OWN]), [OK.into(), split(OWN), OK.into()]);
    assert_eq!(smtp.data(&program()), REFUSED);
    assert_eq!(offer(&mut smtp, &[OWN, RECIPIENT]), [OK, OK]);
    assert_eq!(smtp.data(&program()), REFUSED);
    smtp.quit();
    let mut smtp = site.connect();
    assert_eq!(offer(&mut smtp, &[RECIPIENT, OWN]), [OK.into(), split(OWN)], "a new session");
}

#[test]
fn a_policy_service_sees_no_content_and_splits_nothing() {
    let site = Site::start(HookUp::Policy, &[NO_GREYLIST, SCOPES]);
    let mut smtp = site.connect();
    assert_eq!(offer(&mut smtp, &[RECIPIENT, OPTED_OUT, OWN]), [OK, OK, OK]);
    assert_queued(&smtp.data(&program()));
    assert_eq!(site.sink.next().recipients, [RECIPIENT, OPTED_OUT, OWN]);
}

#[test]
fn with_both_hooks_the_milter_splits_what_the_policy_service_accepted() {
    let site = Site::start(HookUp::Both, &[NO_GREYLIST, SCOPES]);
    let mut smtp = site.connect();
    assert_eq!(offer(&mut smtp, &[RECIPIENT, OPTED_OUT, OWN]), [OK.into(), OK.into(), split(OWN)]);
    assert_queued(&smtp.data(&mail::plain("split")));
    assert_eq!(site.sink.next().recipients, [RECIPIENT, OPTED_OUT]);
    assert_eq!(site.greylag.log_lines(&["recipients.mixed", "protocol=milter"]).len(), 1);
    assert_eq!(site.greylag.log_lines(&["stage=rcpt", "protocol=policy"]).len(), 3);
    assert_eq!(site.greylag.log_lines(&["stage=rcpt", "protocol=milter"]).len(), 1, "the rest is adopted");
}
