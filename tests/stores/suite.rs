//! What every store does, whatever it is made of.

use std::sync::Barrier;
use std::time::Duration;

use greylag::store::{
    Answer, Attempt, EmbeddedStore, Held, Identity, IdentityKind, KnownBy, MemoryStore, Query, Release,
    ReleaseOf, Rules, Stats, Store,
};

use super::{
    CAPACITY, KNOWN_PAIR, KNOWN_TRIPLET, RULES, Subject, at, attempt, every_store, first_seen, matured, peek,
    record, too_early, wait_for,
};

/// Runs each scenario over each store.
macro_rules! suite {
    ($($store:ident: $make:expr),+; $scenarios:tt) => {
        $(mod $store {
            fn subject() -> crate::Subject {
                $make
            }

            super::scenarios! { $scenarios }
        })+

        listed! { $scenarios }
    };
}

/// For stores that are too dear to be made for each scenario.
macro_rules! listed {
    ({ $($scenario:ident,)+ }) => {
        /// All scenarios and their names.
        pub(super) const SCENARIOS: &[(&str, fn(&dyn Store))] = &[$((stringify!($scenario), $scenario)),+];
    };
}

macro_rules! scenarios {
    ({ $($scenario:ident,)+ }) => {
        $(#[test]
        fn $scenario() {
            super::$scenario(subject().store());
        })+
    };
}
use scenarios;

every_store! { suite!({
    a_triplet_matures_by_its_retry,
    an_early_retry_waits_the_rest,
    the_retry_window_ends,
    a_proven_pair_passes_for_every_recipient,
    without_promotion_only_the_triplet_passes,
    a_proof_slides_with_its_use_and_ends_without,
    another_host_of_one_identity_may_retry,
    a_clock_set_back_loses_no_first_attempt,
    fields_are_told_apart,
    peeking_writes_nothing,
    attempts_from_many_threads_keep_the_earliest_time,
    threads_on_many_triplets_lose_none,
    records_are_counted,
    an_identity_is_promoted_and_demoted,
    a_promoted_identity_known_by_its_pairs_stays_promoted,
    a_full_network_is_judged_as_a_whole,
    a_late_identity_runs_from_the_attempts_time,
    a_release_lets_mail_pass_at_once,
    a_release_that_expired_holds_again_when_the_clock_is_set_right,
    what_is_held_is_shown_and_forgotten,
})}

fn run(store: &dyn Store, steps: &[(Attempt, u64, Answer)]) {
    for (step, (attempt, seconds, answer)) in steps.iter().enumerate() {
        assert_eq!(record(store, attempt, at(*seconds)), *answer, "step {step}: {attempt:?}");
    }
}

fn a_triplet_matures_by_its_retry(store: &dyn Store) {
    let a = || attempt("192.0.2.0/24", "a@sender.test", "r@example.test");
    run(store, &[(a(), 0, first_seen()), (a(), 300, matured(300)), (a(), 301, KNOWN_PAIR)]);
}

fn an_early_retry_waits_the_rest(store: &dyn Store) {
    let a = || attempt("192.0.2.0/24", "", "r@example.test");
    run(
        store,
        &[
            (a(), 0, first_seen()),
            (a(), 1, too_early(119)),
            (a(), 119, too_early(1)),
            (a(), 120, matured(120)),
        ],
    );
}

fn the_retry_window_ends(store: &dyn Store) {
    let a = || attempt("192.0.2.0/24", "a@sender.test", "r@example.test");
    let b = || attempt("192.0.2.0/24", "b@sender.test", "r@example.test");
    let window = RULES.retry_window.as_secs();
    run(
        store,
        &[
            (a(), 0, first_seen()),
            (b(), 0, first_seen()),
            (a(), window, matured(window)),
            (b(), window + 1, first_seen()),
            (b(), window + 2, too_early(119)),
        ],
    );
}

fn a_proven_pair_passes_for_every_recipient(store: &dyn Store) {
    let to = |recipient| attempt("192.0.2.0/24", "a@sender.test", recipient);
    run(
        store,
        &[
            (to("r1"), 0, first_seen()),
            (to("r2"), 0, first_seen()),
            (to("r1"), 120, matured(120)),
            (to("r2"), 120, KNOWN_PAIR),
            (to("r3"), 120, KNOWN_PAIR),
            (attempt("192.0.2.0/24", "b@sender.test", "r1"), 120, first_seen()),
            (attempt("198.51.100.0/24", "a@sender.test", "r1"), 120, first_seen()),
        ],
    );
}

fn without_promotion_only_the_triplet_passes(store: &dyn Store) {
    let rules = Rules { promote_pairs: false, ..RULES };
    let to = |recipient| Attempt { rules, ..attempt("192.0.2.0/24", "a@sender.test", recipient) };
    run(
        store,
        &[
            (to("r1"), 0, first_seen()),
            (to("r1"), 120, matured(120)),
            (to("r2"), 120, first_seen()),
            (to("r1"), 121, KNOWN_TRIPLET),
        ],
    );
}

fn a_proof_slides_with_its_use_and_ends_without(store: &dyn Store) {
    let a = || attempt("192.0.2.0/24", "a@sender.test", "r@example.test");
    let ttl = RULES.pass_ttl.as_secs();
    run(
        store,
        &[
            (a(), 0, first_seen()),
            (a(), 120, matured(120)),
            (a(), ttl, KNOWN_PAIR),
            (a(), 2 * ttl, KNOWN_PAIR),
            (a(), 3 * ttl + 1, first_seen()),
        ],
    );
}

fn another_host_of_one_identity_may_retry(store: &dyn Store) {
    let from = |clients| attempt(clients, "a@pool.test", "r@example.test");
    run(
        store,
        &[
            (from("pool.test 192.0.2.0/24"), 0, first_seen()),
            (from("pool.test 198.51.100.0/24"), 120, matured(120)),
            (from("pool.test 203.0.113.0/24"), 121, KNOWN_PAIR),
            (from("198.51.100.0/24"), 130, too_early(110)),
            (from("192.0.2.0/24"), 130, matured(130)),
        ],
    );
}

fn a_clock_set_back_loses_no_first_attempt(store: &dyn Store) {
    let a = || attempt("192.0.2.0/24", "a@sender.test", "r@example.test");
    run(
        store,
        &[
            (a(), 1_000, first_seen()),
            (a(), 10, too_early(120)),
            (a(), 1_000, matured(990)),
            (a(), 0, KNOWN_PAIR),
        ],
    );
}

fn fields_are_told_apart(store: &dyn Store) {
    let long = "x".repeat(5_000);
    for (client, sender, recipient) in [
        ("a", "b", "c"),
        ("ab", "", "c"),
        ("a", "bc", ""),
        ("a", "", "bc"),
        ("a", "b\0", "c"),
        ("a", "b", "\0c"),
        ("a", "\u{fc}", "\u{1F980}"),
        ("a", long.as_str(), long.as_str()),
    ] {
        assert_eq!(record(store, &attempt(client, sender, recipient), at(0)), first_seen());
    }
}

fn peeking_writes_nothing(store: &dyn Store) {
    let a = attempt("192.0.2.0/24", "a@sender.test", "r@example.test");
    assert_eq!(peek(store, &a, at(0)), first_seen());
    assert_eq!(peek(store, &a, at(120)), first_seen());
    assert_eq!(record(store, &a, at(200)), first_seen());
    assert_eq!(peek(store, &a, at(320)), matured(120));
    assert_eq!(peek(store, &a, at(330)), matured(130));
    assert_eq!(record(store, &a, at(330)), matured(130));
    let end = 330 + RULES.pass_ttl.as_secs();
    assert_eq!(peek(store, &a, at(end)), KNOWN_PAIR);
    assert_eq!(peek(store, &a, at(end + 1)), first_seen());
}

fn attempts_from_many_threads_keep_the_earliest_time(store: &dyn Store) {
    for round in 0..20 {
        let a = attempt("pool.test 192.0.2.0/24", &format!("{round}@sender.test"), "r@example.test");
        let barrier = Barrier::new(8);
        let first = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..8)
                .map(|thread| {
                    let (a, barrier) = (&a, &barrier);
                    scope.spawn(move || {
                        barrier.wait();
                        record(store, a, at(1_000 + 7 * thread % 8))
                    })
                })
                .collect();
            let answers = threads.into_iter().map(|thread| thread.join().unwrap());
            answers.filter(|answer| *answer == first_seen()).count()
        });
        assert_eq!(first, 1, "one of them was the first");
        assert_eq!(peek(store, &a, at(1_119)), too_early(1));
        assert_eq!(peek(store, &a, at(1_120)), matured(120));
    }
}

fn threads_on_many_triplets_lose_none(store: &dyn Store) {
    let triplet = |thread: u32, n: u32| {
        attempt("192.0.2.0/24", &format!("{thread}@sender.test"), &format!("{n}@r.test"))
    };
    std::thread::scope(|scope| {
        for thread in 0..4 {
            scope.spawn(move || {
                for n in 0..200 {
                    assert_eq!(record(store, &triplet(thread, n), at(n.into())), first_seen());
                }
            });
        }
    });
    for thread in 0..4 {
        for n in 0..200 {
            assert_eq!(peek(store, &triplet(thread, n), at(u64::from(n) + 119)), too_early(1));
        }
    }
}

fn records_are_counted(store: &dyn Store) {
    for n in 0..10 {
        record(store, &attempt("192.0.2.0/24", "a@sender.test", &format!("{n}@r.test")), at(0));
    }
    assert_eq!(wait_for(store.stats()).unwrap(), Stats { unproven: 10, ..Stats::default() });
    record(store, &attempt("192.0.2.0/24", "a@sender.test", "0@r.test"), at(120));
    let Stats { unproven, proven, .. } = wait_for(store.stats()).unwrap();
    assert_eq!((unproven, proven), (9, 1));
}

const DAY: u64 = 86_400;
const PROMOTED: Answer = Answer::Known { by: KnownBy::Promotion, identity: IdentityKind::Spf };

fn of_esp(sender: &str, recipient: &str) -> Attempt {
    Attempt {
        identities: vec![Identity { kind: IdentityKind::Spf, key: "esp.test".into() }],
        ..attempt("", sender, recipient)
    }
}

/// Five senders of one SPF domain mature, the last of them on the second day.
fn promote_esp(store: &dyn Store) {
    for n in 0..5 {
        let (mail, first) = (of_esp(&format!("{n}@esp.test"), &format!("r{n}")), n * DAY / 4);
        assert_eq!(record(store, &mail, at(first)), first_seen(), "{n}");
        let matured = Answer::Matured { waited: RULES.min_delay, identity: IdentityKind::Spf };
        assert_eq!(record(store, &mail, at(first + 120)), matured, "{n}");
    }
}

fn standing_of_esp(store: &dyn Store) -> Option<Held> {
    let query = Query { identity: Some(of_esp("", "").identities.remove(0)), ..Query::default() };
    wait_for(store.show(&query)).unwrap().into_iter().find(|held| matches!(held, Held::Standing { .. }))
}

fn an_identity_is_promoted_and_demoted(store: &dyn Store) {
    promote_esp(store);
    let before = wait_for(store.stats()).unwrap();
    assert_eq!(before.standings.max(1), 1);
    let expires = at(DAY + 120).plus(RULES.pass_ttl);
    let standing = Held::Standing { promoted: true, senders: 5, recipients: 5, expires };
    assert_eq!(standing_of_esp(store), Some(standing));

    // On the second day nothing matures: 20 first attempts are borne.
    for n in 0..21 {
        assert_eq!(record(store, &of_esp(&format!("spam{n}"), "r"), at(3 * DAY)), PROMOTED, "{n}");
    }
    assert_eq!(record(store, &of_esp("spam21", "r"), at(3 * DAY)), first_seen());
}

fn a_promoted_identity_known_by_its_pairs_stays_promoted(store: &dyn Store) {
    const BY_PAIR: Answer = Answer::Known { by: KnownBy::Pair, identity: IdentityKind::Spf };
    promote_esp(store);
    let mail = of_esp("0@esp.test", "whoever");
    for day in [3, 10, 40, 70] {
        assert_eq!(peek(store, &mail, at(day * DAY)), BY_PAIR, "{day}");
        assert_eq!(record(store, &mail, at(day * DAY)), BY_PAIR, "{day}");
        // Only once less than 7/8 of its life is left.
        let renewed = if day == 3 { DAY + 120 } else { day * DAY };
        let expires = at(renewed).plus(RULES.pass_ttl);
        let standing = Held::Standing { promoted: true, senders: 5, recipients: 5, expires };
        assert_eq!(standing_of_esp(store), Some(standing), "{day}");
    }
    assert_eq!(record(store, &of_esp("new@esp.test", "whoever"), at(100 * DAY)), PROMOTED);
}

fn a_full_network_is_judged_as_a_whole(store: &dyn Store) {
    let rules = Rules { network_cap: 3, ..RULES };
    let mail = |sender: &str, client: [u8; 4]| Attempt {
        rules,
        client: client.into(),
        ..attempt("192.0.2.0/24", sender, "r@example.test")
    };
    let (here, there) = ([192, 0, 2, 9], [198, 51, 100, 1]);
    let capped = |wait: Option<u64>| Answer::Capped { wait: wait.map(Duration::from_secs) };
    run(
        store,
        &[
            (mail("a", here), 0, first_seen()),
            (mail("b", here), 10, first_seen()),
            (mail("c", here), 20, first_seen()),
            (mail("d", here), 240, capped(Some(120))),
            (mail("e", there), 240, first_seen()),
            // "a" is old enough to go.
            (mail("f", here), 241, first_seen()),
            (mail("g", here), 250, capped(Some(110))),
            (mail("b", here), 250, matured(240)),
            (mail("a", here), 250, first_seen()),
            (mail("h", here), 260, capped(Some(100))),
            (mail("h", here), 360, first_seen()),
            (mail("i", here), 361, capped(None)),
        ],
    );
}

fn a_late_identity_runs_from_the_attempts_time(store: &dyn Store) {
    let from = |clients| attempt(clients, "a@pool.test", "r@example.test");
    run(store, &[(from("192.0.2.0/24"), 0, first_seen())]);
    wait_for(store.add_identities(&from("pool.test"), at(0))).unwrap();
    run(store, &[(from("pool.test 198.51.100.0/24"), 60, too_early(60))]);
    wait_for(store.add_identities(&from("pool.test"), at(60))).unwrap();
    run(
        store,
        &[(from("pool.test 203.0.113.0/24"), 120, matured(120)), (from("pool.test"), 121, KNOWN_PAIR)],
    );
}

fn a_release_lets_mail_pass_at_once(store: &dyn Store) {
    let to = |recipient| attempt("192.0.2.0/24", "a@sender.test", recipient);
    run(store, &[(to("r1"), 0, first_seen()), (to("r2"), 0, first_seen())]);
    let by_sender = Release {
        recipient: "r1".into(),
        of: ReleaseOf::Sender("a@sender.test".into()),
        expires: at(48 * 3600),
    };
    let by_identity = Release {
        recipient: "r3".into(),
        of: ReleaseOf::Identity(to("").identities.remove(0)),
        expires: at(100),
    };
    wait_for(store.release(&by_sender, at(1))).unwrap();
    wait_for(store.release(&by_identity, at(1))).unwrap();
    assert_eq!(wait_for(store.stats()).unwrap().releases, 2);
    run(
        store,
        &[
            (to("r1"), 2, Answer::Released),
            (to("r2"), 2, too_early(118)),
            (to("r3"), 100, Answer::Released),
            (to("r3"), 101, too_early(119)),
            (attempt("198.51.100.0/24", "a@sender.test", "r1"), 48 * 3600, Answer::Released),
            (attempt("198.51.100.0/24", "b@sender.test", "r1"), 48 * 3600, first_seen()),
            (attempt("203.0.113.0/24", "a@sender.test", "r1"), 48 * 3600 + 1, first_seen()),
        ],
    );
}

fn a_release_that_expired_holds_again_when_the_clock_is_set_right(store: &dyn Store) {
    let release = |recipient: &str, expires| Release {
        recipient: recipient.into(),
        of: ReleaseOf::Sender("a@sender.test".into()),
        expires,
    };
    wait_for(store.release(&release("r1", at(100)), at(1))).unwrap();
    wait_for(store.release(&release("r2", at(5_000)), at(2_000))).unwrap();
    let to = |recipient| attempt("192.0.2.0/24", "a@sender.test", recipient);
    run(
        store,
        &[(to("r1"), 2_000, first_seen()), (to("r3"), 100, first_seen()), (to("r1"), 100, Answer::Released)],
    );
}

fn what_is_held_is_shown_and_forgotten(store: &dyn Store) {
    let to = |recipient| attempt("192.0.2.0/24", "a@sender.test", recipient);
    run(store, &[(to("r1"), 0, first_seen()), (to("r2"), 5, first_seen()), (to("r1"), 120, matured(120))]);
    let other = attempt("198.51.100.0/24", "b@sender.test", "r2");
    run(store, &[(other.clone(), 120, first_seen())]);
    let show = |query: &Query| {
        let mut held = wait_for(store.show(query)).unwrap();
        held.sort_by_key(|held| format!("{held:?}"));
        held
    };
    let expires = at(120).plus(RULES.pass_ttl);
    let (pair, waiting) = (Held::ProvenPair { expires }, |seconds| Held::Waiting { first_seen: at(seconds) });
    let sender = Query { sender: Some("a@sender.test".into()), ..Query::default() };
    assert_eq!(show(&sender), [pair, waiting(5)]);
    assert_eq!(show(&Query { recipient: Some("r2".into()), ..Query::default() }), [waiting(5), waiting(120)]);
    assert_eq!(show(&Query { recipient: Some("r2".into()), ..sender.clone() }), [waiting(5)]);
    let identity = Some(other.identities[0].clone());
    assert_eq!(show(&Query { identity, ..Query::default() }), [waiting(120)]);
    assert_eq!(show(&Query { sender: Some("c@sender.test".into()), ..Query::default() }), []);

    assert_eq!(wait_for(store.forget(&sender)).unwrap(), 2);
    assert_eq!(show(&sender), []);
    assert_eq!(wait_for(store.forget(&sender)).unwrap(), 0);
    run(store, &[(to("r1"), 130, first_seen()), (other, 130, too_early(110))]);
}

#[test]
fn what_was_forgotten_and_released_is_so_after_a_restart() {
    let mut subject = Subject::embedded(CAPACITY);
    let to = |recipient| attempt("192.0.2.0/24", "a@sender.test", recipient);
    run(subject.store(), &[(to("r1"), 0, first_seen()), (to("r1"), 120, matured(120))]);
    let sender = Query { sender: Some("a@sender.test".into()), ..Query::default() };
    assert_eq!(wait_for(subject.store().forget(&sender)).unwrap(), 1);
    let release =
        Release { recipient: "r2".into(), of: ReleaseOf::Sender("a@sender.test".into()), expires: at(1_000) };
    wait_for(subject.store().release(&release, at(130))).unwrap();
    subject.restart(at(140));
    run(subject.store(), &[(to("r1"), 140, first_seen()), (to("r2"), 140, Answer::Released)]);
}

#[test]
fn a_full_store_lets_the_oldest_go() {
    let directory = tempfile::tempdir().unwrap();
    let memory = MemoryStore::new(640).unwrap();
    let embedded = EmbeddedStore::open(directory.path(), 640, at(0)).unwrap();
    for store in [&memory as &dyn Store, &embedded] {
        let rules = Rules { network_cap: u32::MAX, ..RULES };
        let triplet = |n: u32| {
            let recipient = format!("{n}@r.test");
            Attempt { rules, ..attempt("192.0.2.0/24", "a@sender.test", &recipient) }
        };
        (0..10_000).for_each(|n| assert_eq!(record(store, &triplet(n), at(0)), first_seen()));
        assert_eq!(wait_for(store.stats()).unwrap().unproven, 640);
        assert_eq!(peek(store, &triplet(9_999), at(60)), too_early(60));
        assert_eq!(peek(store, &triplet(0), at(60)), first_seen());
    }
}

#[test]
fn a_closed_store_on_disk_takes_no_more_and_opens_again() {
    let directory = tempfile::tempdir().unwrap();
    let (a, b) = (attempt("A", "a", "r"), attempt("A", "b", "r"));
    let store = EmbeddedStore::open(directory.path(), CAPACITY, at(0)).unwrap();
    record(&store, &a, at(0));
    record(&store, &a, at(120));
    record(&store, &b, at(120));
    wait_for(store.close()).unwrap();
    wait_for(store.close()).unwrap();
    assert_eq!(wait_for(store.attempt(&a, at(121))).unwrap_err().to_string(), "the store is closed");
    drop(store);
    let store = EmbeddedStore::open(directory.path(), CAPACITY, at(130)).unwrap();
    assert_eq!(peek(&store, &a, at(130)), KNOWN_PAIR);
    assert_eq!(peek(&store, &b, at(130)), too_early(110));
    assert_eq!(wait_for(store.stats()).unwrap().proven, 1);
}

#[test]
fn waits_are_in_milliseconds() {
    let store = MemoryStore::new(CAPACITY).unwrap();
    let a = attempt("A", "a", "r");
    record(&store, &a, at(0));
    let answer = record(&store, &a, at(1).plus(Duration::from_millis(1)));
    assert_eq!(answer, Answer::TooEarly { wait: Duration::from_millis(118_999) });
}
