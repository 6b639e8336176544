//! Tests of forgetting, and of what happens at the same time.

use std::thread;
use std::time::Duration;

use super::*;
use crate::store::{Identity, IdentityKind, Rules};

const START: u64 = 1_000_000_000;
const PROOF: Proven = Proven { expires: Timestamp::from_millis(2 * START) };

fn open(directory: &Path) -> State {
    State::open(directory, 100_000, Timestamp::from_millis(START)).unwrap()
}

fn attempt(state: &State, sender: &str, at: u64) -> Answer {
    let attempt = Attempt {
        identities: vec![Identity { kind: IdentityKind::Address, key: "192.0.2.1".into() }],
        client: [192, 0, 2, 1].into(),
        sender: sender.into(),
        recipient: "r@example.test".into(),
        never_promote: true,
        mail_counted: false,
        rules: Rules { network_cap: u32::MAX, ..Rules::DEFAULT },
    };
    state.record(&attempt, Timestamp::from_millis(at)).unwrap()
}

fn key(n: u64) -> Key {
    let mixed = u128::from(n + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15_F39C_C060_5CED_C835);
    Key::from_bytes(mixed.to_le_bytes())
}

#[test]
fn opening_commits_nothing_for_what_was_forgotten() {
    const SENDERS: u64 = 2_000;
    const NEW: Answer = Answer::FirstSeen { wait: Duration::from_secs(120) };
    let directory = tempfile::tempdir().unwrap();
    let state = open(directory.path());
    for n in 0..SENDERS {
        attempt(&state, &format!("s{n}"), START);
        attempt(&state, &format!("s{n}"), START + 120_000);
    }
    state.settle().unwrap();
    let proofs = state.database.proofs().unwrap();
    assert!(proofs >= SENDERS, "{proofs} proofs");
    assert!(state.forget(&Query::default()).unwrap() >= proofs);
    assert_eq!((state.database.proofs().unwrap(), state.database.waiting()), (0, 0));
    attempt(&state, "s7", START + 121_000);
    attempt(&state, "s7", START + 241_000);
    drop(state);

    let state = open(directory.path());
    assert_eq!(state.database.commits(), 0);
    assert!(matches!(attempt(&state, "s7", START + 242_000), Answer::Known { .. }));
    assert_eq!(attempt(&state, "s8", START + 242_000), NEW);
    state.settle().unwrap();
    assert!(matches!(attempt(&state, "s7", START + 243_000), Answer::Known { .. }));
    assert_eq!(attempt(&state, "s9", START + 243_000), NEW);
}

#[test]
fn a_proof_is_found_while_it_is_written_out() {
    let directory = tempfile::tempdir().unwrap();
    let state = open(directory.path());
    (0..50_000).for_each(|n| state.database.prove(key(n), PROOF));
    state.settle().unwrap();
    let all = state.hash_key.query(&Query::default());
    for round in 0..20 {
        let fresh = key(1_000_000 + round);
        state.database.prove(fresh, PROOF);
        let found = thread::scope(|scope| {
            scope.spawn(|| state.database.flush().unwrap());
            state.database.find(&all).unwrap()
        });
        assert!(found.contains(&(fresh, PROOF)), "{round}");
        assert_eq!(found.len() as u64, 50_001 + round);
    }
}

#[test]
fn what_is_forgotten_while_it_is_written_out_does_not_come_back() {
    let directory = tempfile::tempdir().unwrap();
    let state = open(directory.path());
    for round in 0..50 {
        // So many that it takes a while.
        let fresh: Vec<Key> = (0..5_000).map(|n| key(5_000 * round + n)).collect();
        fresh.iter().for_each(|key| state.database.prove(*key, PROOF));
        thread::scope(|scope| {
            scope.spawn(|| state.database.flush().unwrap());
            thread::sleep(Duration::from_micros(40 * round));
            state.database.forget(&fresh[..10]);
        });
        for _ in 0..2 {
            let proven = fresh.iter().filter(|key| state.database.proven(key).unwrap().is_some());
            assert_eq!(proven.count(), 4_990, "{round}");
            state.settle().unwrap();
        }
    }
    assert_eq!((state.database.proofs().unwrap(), state.database.waiting()), (50 * 4_990, 0));
}
