//! Several Greylags on one store.

use std::time::Duration;

use greylag::store::{Answer, IdentityKind, KnownBy, Store, Timestamp};

use super::support::redis::Redis;
use super::{at, attempt, calls, first_seen, open, open_with_given_times};

#[tokio::test(flavor = "multi_thread")]
async fn a_first_try_at_one_and_the_retry_at_the_other_are_accepted() {
    let redis = Redis::start("");
    let one = open_with_given_times(&redis.url()).await;
    let other = open_with_given_times(&redis.unix_url()).await;
    let mail = attempt("192.0.2.0/24", "a@sender.test", "r@example.test");
    let matured = Answer::Matured { waited: Duration::from_secs(300), identity: IdentityKind::Network };
    let known = Answer::Known { by: KnownBy::Pair, identity: IdentityKind::Network };
    assert_eq!(one.attempt(&mail, at(0)).await.unwrap(), first_seen());
    assert_eq!(other.attempt(&mail, at(300)).await.unwrap(), matured);
    assert_eq!(one.attempt(&mail, at(301)).await.unwrap(), known);
}

#[tokio::test(flavor = "multi_thread")]
async fn first_tries_at_the_same_moment_keep_the_earlier_time() {
    let redis = Redis::start("");
    let stores = [open_with_given_times(&redis.url()).await, open_with_given_times(&redis.url()).await];
    for round in 0..100 {
        let mail = attempt("192.0.2.0/24", &format!("{round}@sender.test"), "r@example.test");
        let (early, late) = (at(0), at(50));
        let (one, two) = match round % 2 {
            0 => tokio::join!(stores[0].attempt(&mail, early), stores[1].attempt(&mail, late)),
            _ => tokio::join!(stores[0].attempt(&mail, late), stores[1].attempt(&mail, early)),
        };
        let answers = [one.unwrap(), two.unwrap()];
        assert_eq!(answers.iter().filter(|answer| **answer == first_seen()).count(), 1, "{answers:?}");
        // Whichever came first, the earlier moment counts.
        let matured = Answer::Matured { waited: Duration::from_secs(120), identity: IdentityKind::Network };
        assert_eq!(stores[0].peek(&mail, at(120)).await.unwrap(), matured, "{answers:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn all_take_the_clock_of_the_server() {
    let redis = Redis::start("");
    let (one, other) = (open(&redis.url()).await.unwrap(), open(&redis.url()).await.unwrap());
    let mail = attempt("192.0.2.0/24", "a@sender.test", "r@example.test");
    assert_eq!(one.attempt(&mail, Timestamp::EPOCH).await.unwrap(), first_seen());
    let Answer::TooEarly { wait } = other.attempt(&mail, at(1_000_000)).await.unwrap() else {
        panic!("the clock of the second host, months ahead, does not count")
    };
    assert!(wait > Duration::from_secs(60) && wait <= Duration::from_secs(120), "{wait:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_was_emptied_stays_one_for_all() {
    let redis = Redis::start("");
    let (one, other) = (open_with_given_times(&redis.url()).await, open_with_given_times(&redis.url()).await);
    redis.ask(&["FLUSHALL"]);
    // A third one that comes now makes the hash key, and the others take it over.
    let third = open_with_given_times(&redis.url()).await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    let mail = attempt("192.0.2.0/24", "a@sender.test", "r@example.test");
    assert_eq!(one.attempt(&mail, at(0)).await.unwrap(), first_seen());
    for store in [&other, &third] {
        assert_eq!(
            store.attempt(&mail, at(1)).await.unwrap(),
            Answer::TooEarly { wait: Duration::from_secs(119) }
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_decision_is_one_round_trip() {
    let redis = Redis::start("");
    let store = open_with_given_times(&redis.unix_url()).await;
    let mail = |number: u64| attempt("192.0.2.0/24", &format!("{number}@sender.test"), "r@example.test");
    // Once, so that the server knows the script.
    store.attempt(&mail(0), at(0)).await.unwrap();
    let before = (calls(&redis, "eval"), calls(&redis, "evalsha"));
    for number in 1..=100 {
        store.attempt(&mail(number), at(0)).await.unwrap();
        store.attempt(&mail(number), at(1)).await.unwrap();
        store.attempt(&mail(number), at(120)).await.unwrap();
        store.attempt(&mail(number), at(121)).await.unwrap();
    }
    assert_eq!((calls(&redis, "eval"), calls(&redis, "evalsha")), (before.0, before.1 + 400));
}
