//! Tests of forgetting, and of what happens at the same time.

use std::thread;

use super::*;

const START: u64 = 1_000_000_000;
const PROOF: Proven = Proven { expires: Timestamp::from_millis(2 * START) };

fn open(directory: &Path) -> State {
    State::open(directory, 100_000, Timestamp::from_millis(START)).unwrap()
}

fn key(n: u64) -> Key {
    let mixed = u128::from(n + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15_F39C_C060_5CED_C835);
    Key::from_bytes(mixed.to_le_bytes())
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
