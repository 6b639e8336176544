//! Policy service and milter configured at once: one decision, made by the one asked first.

use std::thread::sleep;
use std::time::Duration;

use crate::support::mail;
use crate::support::metrics::Metrics;
use crate::support::postfix::HookUp;
use crate::{GREYLIST_2S, RECIPIENT, SENDER, Site, assert_queued};

#[test]
fn the_greylist_records_and_counts_each_recipient_once() {
    let site = Site::start(HookUp::Both, &[GREYLIST_2S]);
    let mut smtp = site.connect();
    assert_eq!(
        smtp.send(SENDER, RECIPIENT, b""),
        "450 4.7.1 <bob@example.test>: Recipient address rejected: Greylisted, try again in 2 seconds"
    );
    smtp.quit();
    assert_eq!(decisions(&site.greylag.metrics(), "greylist.first_seen"), 1.0);
    sleep(Duration::from_millis(2100));

    // The policy service finds the retry in time; the milter adopts that and neither delays nor counts it again.
    let mut smtp = site.connect();
    assert_queued(&smtp.send(SENDER, RECIPIENT, &mail::plain("both-hooks")));
    assert_eq!(site.sink.next().recipients, [RECIPIENT]);
    let metrics = site.greylag.metrics();
    assert_eq!(decisions(&metrics, "greylist.first_seen"), 1.0);
    assert_eq!(decisions(&metrics, "greylist.matured"), 1.0);
    assert_eq!(decisions(&metrics, "greylist.known"), 0.0);
    assert_eq!(decisions(&metrics, "greylist.too_early"), 0.0);
    assert_eq!(site.greylag.log_lines(&["greylist.first_seen"]).len(), 1);
    assert_eq!(site.greylag.log_lines(&["greylist.matured"]).len(), 1);
}

#[test]
fn a_recipient_is_logged_once_where_nobody_is_looked_up() {
    let off = |file| (file, "mode = \"off\"\n");
    let site = Site::start(HookUp::Both, &[off("helo.toml"), off("auth.toml"), off("greylist.toml")]);
    let mut smtp = site.connect();
    assert_queued(&smtp.send(SENDER, RECIPIENT, &mail::plain("both-hooks")));
    assert_eq!(site.greylag.log_lines(&["stage=rcpt"]).len(), 1);
}

/// How often this was the reason, in both protocols together.
fn decisions(metrics: &Metrics, reason: &str) -> f64 {
    metrics.sum("greylag_decisions_total", &[("reason", reason)])
}
