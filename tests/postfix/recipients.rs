//! The cap on recipients, with Postfix counting as `deploy/postfix/master.cf` tells it to.

use crate::support::mail;
use crate::support::postfix::HookUp;
use crate::{NO_GREYLIST, SENDER, Site, assert_queued};

#[test]
fn the_first_100_recipients_go_through_and_the_rest_is_to_come_again() {
    for hook_up in [HookUp::Milter, HookUp::Policy] {
        let site = Site::start(hook_up, &[NO_GREYLIST]);
        for offered in [100, 130, 200] {
            let recipients: Vec<String> = (1..=offered).map(|n| format!("user{n:03}@example.test")).collect();
            let (taken, excess) = recipients.split_at(100);
            let mut smtp = site.connect();
            smtp.mail(SENDER);
            for recipient in taken {
                assert_eq!(smtp.rcpt(recipient), "250 2.1.5 Ok", "{hook_up:?}, {recipient} of {offered}");
            }
            for recipient in excess {
                assert_eq!(
                    smtp.rcpt(recipient),
                    "452 4.5.3 Error: too many recipients",
                    "{hook_up:?}, {recipient} of {offered}"
                );
            }
            assert_queued(&smtp.data(&mail::plain("to-many")));
            assert_eq!(site.sink.next().recipients, taken, "{hook_up:?}, {offered} offered");
        }
    }
}
