//! Mail that is made to get past DKIM and DMARC, or to keep them busy.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

#[path = "support/mod.rs"]
mod support;

use std::time::{Duration, Instant};

use greylag::auth::{DkimResult, DmarcResult, MessageAuth, SpfResult};
use support::auth::{checked, exact, spf};
use support::dkim::published;

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
