//! The policy is reloaded while thousands of requests a second are answered: each gets one answer, by the policy in force.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

#[path = "support/mod.rs"]
mod support;

use std::time::{Duration, Instant};

use support::greylag::{Greylag, Setup};
use support::load::{Answered, Load};
use support::policy::{PolicyClient, PolicyRequest};
use support::process::loopback;

/// What the request gets by each policy in turn.
const POLICIES: [(&str, &str); 2] = [
    ("localhost = \"reject\"\n", "550 5.7.1 Access denied - bogus HELO [5]"),
    ("localhost = \"accept\"\n", "DUNNO"),
];
const RATE: u32 = 5_000;
const DURATION: Duration = Duration::from_secs(3);
const RELOADS: usize = 12;

/// A reload: when it was asked for, when it was acknowledged, and what holds from then on.
struct Reloaded {
    asked: Instant,
    acknowledged: Instant,
    action: &'static str,
}

#[tokio::test(flavor = "multi_thread")]
async fn every_request_is_answered_once_and_by_the_policy_in_force() {
    let quiet =
        [("auth.toml", "mode = \"off\""), ("greylist.toml", "mode = \"off\""), ("helo.toml", POLICIES[0].0)];
    let greylag = Greylag::start(Setup { policies: &quiet, ..Setup::default() });
    let request = PolicyRequest::rcpt("bob@example.org").with("helo_name", "localhost");
    let load = Load {
        address: loopback(greylag.ports().policy),
        request,
        rate: RATE,
        connections: 16,
        duration: DURATION,
    };
    // A mail that began before all of it.
    let address = load.address;
    let mail = |recipient| {
        PolicyRequest::rcpt(recipient).with("helo_name", "localhost").with("instance", "under way")
    };
    let mut under_way = PolicyClient::tcp(address).await;
    assert_eq!(under_way.ask(&mail("first@example.org")).await.as_deref(), Some(POLICIES[0].1));
    // Before the load begins, however late the thread that reloads does.
    let first = Instant::now();
    let sending = tokio::spawn(async move { load.run().await });
    let reloading = tokio::task::spawn_blocking(move || {
        let mut reloads = vec![Reloaded { asked: first, acknowledged: first, action: POLICIES[0].1 }];
        for (text, action) in POLICIES.iter().cycle().skip(1).take(RELOADS) {
            std::thread::sleep(DURATION / (RELOADS as u32 + 2));
            let asked = Instant::now();
            std::fs::write(greylag.policies().join("helo.toml"), text).unwrap();
            greylag.reload();
            reloads.push(Reloaded { asked, acknowledged: Instant::now(), action });
        }
        (greylag, reloads)
    });
    let connections = sending.await.unwrap();
    let (greylag, reloads) = reloading.await.unwrap();

    assert_eq!(reloads[RELOADS - 1].action, POLICIES[1].1);
    assert_eq!(under_way.ask(&mail("second@example.org")).await.as_deref(), Some(POLICIES[0].1));

    let expected = f64::from(RATE) * DURATION.as_secs_f64();
    let answers: usize = connections.iter().map(Vec::len).sum();
    assert_eq!(answers as f64, expected, "none is dropped");
    let decided = greylag.metrics().sum("greylag_decisions_total", &[("protocol", "policy")]);
    assert_eq!(decided, expected + 2.0, "each is decided once");
    for answer in connections.iter().flatten() {
        let possible = possible(answer, &reloads);
        assert!(possible.contains(&answer.action.as_str()), "{answer:?}: expected one of {possible:?}");
    }
    for (_, action) in POLICIES {
        assert!(connections.iter().flatten().any(|answer| answer.action == action), "none was {action}");
    }
}

/// The actions of the policies that may have been in force between question and answer: one, where no reload was under way.
fn possible(answer: &Answered, reloads: &[Reloaded]) -> Vec<&'static str> {
    let in_force = reloads.partition_point(|reload| reload.acknowledged < answer.sent).saturating_sub(1);
    let ended = reloads.iter().skip(in_force);
    ended.take_while(|reload| reload.asked <= answer.answered).map(|reload| reload.action).collect()
}
