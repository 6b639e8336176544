//! First try, early retry, retry in time.

use std::thread::sleep;
use std::time::Duration;

use crate::support::mail;
use crate::support::postfix::HookUp;
use crate::{GREYLIST_2S, RECIPIENT, SENDER, Site, assert_queued};

#[test]
fn the_milter_defers_the_first_try_and_lets_the_retry_through() {
    let site = Site::start(HookUp::Milter, &[GREYLIST_2S]);
    let mut smtp = site.connect();
    assert_eq!(
        smtp.send(SENDER, RECIPIENT, b""),
        "451 4.7.1 <bob@example.test>... Greylisted, try again in 2 seconds"
    );
    smtp.quit();
    sleep(Duration::from_millis(1100));

    let mut smtp = site.connect();
    assert_eq!(
        smtp.send(SENDER, RECIPIENT, b""),
        "451 4.7.1 <bob@example.test>... Greylisted, try again in 1 seconds",
        "an early retry does not start the clock again"
    );
    smtp.quit();
    sleep(Duration::from_millis(1000));

    let mut smtp = site.connect();
    assert_queued(&smtp.send(SENDER, RECIPIENT, &mail::plain("retried")));
    assert_eq!(site.sink.next().recipients, [RECIPIENT]);

    assert_eq!(smtp.mail(SENDER), "250 2.1.0 Ok");
    assert_eq!(smtp.rcpt("carol@example.test"), "250 2.1.5 Ok", "client and sender are proven together");
}

#[test]
fn the_policy_service_defers_the_first_try_and_lets_the_retry_through() {
    let site = Site::start(HookUp::Policy, &[GREYLIST_2S]);
    let mut smtp = site.connect();
    assert_eq!(
        smtp.send(SENDER, RECIPIENT, b""),
        "450 4.7.1 <bob@example.test>: Recipient address rejected: Greylisted, try again in 2 seconds"
    );
    smtp.quit();
    sleep(Duration::from_millis(2100));

    let mut smtp = site.connect();
    assert_queued(&smtp.send(SENDER, RECIPIENT, &mail::plain("retried")));
    assert_eq!(site.sink.next().recipients, [RECIPIENT]);
}

#[test]
fn a_message_to_many_comes_through_with_its_first_retry() {
    let site = Site::start(HookUp::Milter, &[GREYLIST_2S]);
    let recipients: Vec<String> = (1..=12).map(|n| format!("user{n:02}@example.test")).collect();
    let mut smtp = site.connect();
    smtp.mail(SENDER);
    for recipient in &recipients {
        assert_eq!(
            smtp.rcpt(recipient),
            format!("451 4.7.1 <{recipient}>... Greylisted, try again in 2 seconds")
        );
    }
    smtp.quit();
    sleep(Duration::from_millis(2100));

    let mut smtp = site.connect();
    smtp.mail(SENDER);
    for recipient in &recipients {
        assert_eq!(smtp.rcpt(recipient), "250 2.1.5 Ok", "{recipient}");
    }
    assert_queued(&smtp.data(&mail::plain("to-many")));
    assert_eq!(site.sink.next().recipients, recipients);
}
