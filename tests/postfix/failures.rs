//! Greylag restarted, and killed, under a running Postfix.

use std::thread::sleep;
use std::time::Duration;

use crate::support::greylag::Store;
use crate::support::mail;
use crate::support::postfix::HookUp;
use crate::{GREYLIST_2S, NO_GREYLIST, RECIPIENT, SENDER, Site, assert_queued};

#[test]
fn after_a_restart_the_next_session_works() {
    for hook_up in [HookUp::Milter, HookUp::Policy] {
        let mut site = Site::start(hook_up, &[NO_GREYLIST]);
        let mut smtp = site.connect();
        assert_queued(&smtp.send(SENDER, RECIPIENT, &mail::plain("before")));
        smtp.quit();
        site.greylag.restart();
        let mut smtp = site.connect();
        assert_queued(&smtp.send(SENDER, RECIPIENT, &mail::plain("after")));
        assert_eq!([site.sink.next().recipients, site.sink.next().recipients], [[RECIPIENT], [RECIPIENT]]);
    }
}

#[test]
fn a_session_that_loses_the_milter_is_deferred_and_nothing_unscanned_enters() {
    let mut site = Site::start(HookUp::Milter, &[NO_GREYLIST]);
    let mut smtp = site.connect();
    assert_eq!(smtp.mail(SENDER), "250 2.1.0 Ok");
    assert_eq!(smtp.rcpt(RECIPIENT), "250 2.1.5 Ok");
    site.greylag.kill();
    assert_eq!(smtp.data(b"Subject: x\r\n\r\n"), "451 4.7.1 Service unavailable - try again later");
    site.greylag.start_again();
    smtp.quit();

    let mut smtp = site.connect();
    assert_queued(&smtp.send(SENDER, RECIPIENT, &mail::plain("again")));
    assert_eq!(site.sink.next().recipients, [RECIPIENT]);
    site.sink.assert_empty();
}

#[test]
fn the_embedded_greylist_survives_kill_9_between_first_try_and_retry() {
    let mut site = Site::start_with(HookUp::Milter, &[GREYLIST_2S], Store::Embedded);
    let mut smtp = site.connect();
    assert_eq!(
        smtp.send(SENDER, RECIPIENT, b""),
        "451 4.7.1 <bob@example.test>... Greylisted, try again in 2 seconds"
    );
    site.greylag.kill();
    drop(smtp);
    site.greylag.start_again();
    sleep(Duration::from_millis(2100));

    let mut smtp = site.connect();
    assert_queued(&smtp.send(SENDER, RECIPIENT, &mail::plain("remembered")));
    assert_eq!(site.sink.next().recipients, [RECIPIENT]);
}
