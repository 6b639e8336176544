//! Who passes as a whole, who no longer does, and what a network may have waiting.

use std::thread::sleep;
use std::time::Duration;

use crate::Site;
use crate::identities::{POOL, nameless};
use crate::support::postfix::HookUp;

const DEFERRED: &str = "451 4.7.1 <bob@example.test>... Greylisted, try again in 1 seconds";
const ACCEPTED: &str = "250 2.1.5 Ok";
const LITTLE_MORE_THAN_1S: Duration = Duration::from_millis(1100);

#[test]
fn a_domain_is_promoted_by_its_retries_and_demoted_by_first_attempts_without() {
    let rules = "min_delay = \"1s\"\npromote_after_senders = 2\npromote_after_recipients = 1\npromote_after = \"1s\"\ndemote_above = 1\n";
    let site = Site::start(HookUp::Milter, &[("greylist.toml", rules)]);
    let ask = |host: usize, sender: &str| nameless(&site, POOL[host], &format!("{sender}@pool.example"));
    for sender in ["one", "two"] {
        assert_eq!(ask(0, sender), DEFERRED, "{sender}");
        sleep(LITTLE_MORE_THAN_1S);
        assert_eq!(ask(1, sender), ACCEPTED, "{sender}");
    }
    // Two retries carry two first attempts, that of the second sender and another; the third is one too many, and still passes.
    assert_eq!(ask(2, "three"), ACCEPTED);
    assert_eq!(ask(3, "four"), ACCEPTED);
    assert_eq!(ask(4, "five"), DEFERRED);
    assert_eq!(ask(4, "one"), ACCEPTED, "what came again properly stays known");
    let known = |by| site.greylag.metrics().sum("greylag_greylist_known_total", &[("by", by)]);
    assert_eq!((known("promotion"), known("pair")), (2.0, 1.0));
}

#[test]
fn a_network_over_its_cap_waits_as_a_whole_and_its_oldest_gives_way() {
    let rules = "min_delay = \"1s\"\nnetwork_cap = 4\n";
    let site = Site::start(HookUp::Milter, &[("greylist.toml", rules)]);
    let ask = |address: &str, sender: &str| nameless(&site, address, &format!("{sender}@no-spf.example"));
    let (here, beside, elsewhere) = ("198.51.100.61", "198.51.100.62", POOL[0]);
    for sender in ["one", "two", "three", "four"] {
        assert_eq!(ask(here, sender), DEFERRED, "{sender}");
    }
    // None is older than twice the delay: by the network and the recipient's domain from now on.
    assert_eq!(ask(here, "five"), DEFERRED);
    assert_eq!(ask(elsewhere, "one"), DEFERRED, "another network is not concerned");
    sleep(LITTLE_MORE_THAN_1S);
    assert_eq!(ask(beside, "six"), ACCEPTED, "the network has waited");
    sleep(LITTLE_MORE_THAN_1S);
    assert_eq!(ask(here, "seven"), DEFERRED, "the oldest gives way");
    assert_eq!(ask(here, "two"), ACCEPTED);
    let counted = |outcome| site.greylag.metrics().sum("greylag_greylist_total", &[("outcome", outcome)]);
    assert_eq!((counted("capped"), counted("first_seen"), counted("matured")), (2.0, 6.0, 1.0));
    let lines = site.greylag.log_lines(&["client=198.51.100.61", "reason=greylist.capped"]);
    assert_eq!(lines.len(), 1, "{lines:?}");
}
