use super::*;

const HOUR: u64 = 3_600_000;

fn key(n: u64) -> Key {
    let mixed = u128::from(n + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15_F39C_C060_5CED_C835);
    Key::from_bytes(mixed.to_le_bytes())
}

fn network(n: u64) -> NetworkKey {
    NetworkKey::from_number((n + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15)).unwrap()
}

fn at(millis: u64) -> Timestamp {
    Timestamp::from_millis(millis)
}

fn clock(first_seen: u64, of: u64) -> Clock {
    Clock { first_seen: at(first_seen), lasts: Duration::from_secs(48 * 3600), network: Some(network(of)) }
}

/// Checks that all lists, counts and indexes tell the same.
fn all(clocks: &Clocks) -> Vec<Key> {
    let mut listed = Vec::new();
    let (mut next, mut before) = (clocks.all.oldest, NONE);
    while let Some(slot) = clocks.slot(next) {
        assert_eq!(slot.all.older, before);
        assert_eq!(clocks.get(&slot.key), Some(slot.first_seen));
        listed.push(slot.key);
        before = std::mem::replace(&mut next, slot.all.newer);
    }
    assert_eq!((clocks.all.newest, clocks.len()), (before, listed.len()));
    let indexed: usize = clocks.index.iter().map(HashTable::len).sum();
    assert_eq!(indexed, listed.len());
    for account in &clocks.accounts.slots {
        let keys: Vec<Key> = clocks.oldest_of(account.key).map(|(key, _)| key).collect();
        let expected: Vec<Key> = listed
            .iter()
            .copied()
            .filter(|key| {
                let slot = clocks.find(key).and_then(|at| clocks.slot(at)).unwrap();
                clocks.accounts.key(slot.network) == Some(account.key)
            })
            .collect();
        assert_eq!((clocks.running(account.key) as usize, keys), (expected.len(), expected));
    }
    listed
}

fn keys(numbers: impl IntoIterator<Item = u64>) -> Vec<Key> {
    numbers.into_iter().map(key).collect()
}

#[test]
fn clocks_stand_in_the_order_in_which_they_begin() {
    let mut clocks = Clocks::new(100);
    (0..6).for_each(|n| clocks.begin(key(n), clock(n, n % 2), 0, at(n)));
    assert_eq!(all(&clocks), keys(0..6));
    clocks.end(&key(2));
    clocks.end(&key(0));
    clocks.end(&key(9));
    clocks.begin(key(1), clock(7, 0), 0, at(7));
    clocks.begin(key(7), clock(7, 5), 0, at(7));
    assert_eq!(all(&clocks), keys([3, 4, 5, 1, 7]));
    assert_eq!(clocks.oldest_of(network(0)).map(|(key, _)| key).collect::<Vec<_>>(), keys([4, 1]));
    assert_eq!(
        (clocks.running(network(1)), clocks.running(network(5)), clocks.running(network(6))),
        (2, 1, 0)
    );
    assert_eq!((clocks.get(&key(1)), clocks.get(&key(2))), (Some(at(7)), None));
}

#[test]
fn the_only_clock_of_a_network_begins_anew_in_its_account_or_in_another() {
    let mut clocks = Clocks::new(100);
    for (millis, of) in [(1, 5), (2, 5), (3, 6)] {
        clocks.begin(key(0), clock(millis, of), 0, at(millis));
        assert_eq!(all(&clocks), keys([0]));
        assert_eq!(clocks.oldest_of(network(of)).collect::<Vec<_>>(), [(key(0), at(millis))]);
    }
    assert_eq!((clocks.running(network(5)), clocks.accounts.slots.len()), (0, 1));
}

#[test]
fn when_full_the_oldest_goes() {
    let mut clocks = Clocks::new(3);
    (0..5).for_each(|n| clocks.begin(key(n), clock(n, n), 0, at(n)));
    assert_eq!(all(&clocks), keys([2, 3, 4]));
    clocks.begin(key(2), clock(9, 2), 0, at(9));
    clocks.begin(key(5), clock(9, 2), 0, at(9));
    assert_eq!(all(&clocks), keys([4, 2, 5]));
    assert_eq!((clocks.places(), clocks.accounts.slots.len()), (3, 3));
}

#[test]
fn what_is_over_is_swept_by_what_begins_once_no_clock_can_want_it_back() {
    let mut clocks = Clocks::new(1_000);
    (0..10).for_each(|n| clocks.begin(key(n), clock(0, n), 0, at(0)));
    clocks.begin(key(10), clock(49 * HOUR, 0), 0, at(49 * HOUR));
    assert_eq!(all(&clocks).len(), 11);
    (11..14).for_each(|n| clocks.begin(key(n), clock(49 * HOUR, n), 0, at(49 * HOUR + 1)));
    assert_eq!(all(&clocks), keys(6..14));
    (14..18).for_each(|n| clocks.begin(key(n), clock(49 * HOUR, n), 0, at(49 * HOUR + 1)));
    assert_eq!(all(&clocks), keys(10..18));
}

#[test]
fn the_oldest_tag_is_that_of_the_oldest_clock() {
    let mut clocks = Clocks::new(100);
    assert_eq!(clocks.oldest_tag(), None);
    (0..4).for_each(|n| clocks.begin(key(n), clock(0, 0), n as u16 / 2, at(0)));
    assert_eq!(clocks.oldest_tag(), Some(0));
    clocks.end(&key(0));
    clocks.begin(key(1), clock(0, 0), 7, at(0));
    assert_eq!(clocks.oldest_tag(), Some(1));
}

#[test]
fn clocks_are_found_by_what_is_wanted_of_their_key() {
    let mut clocks = Clocks::new(100);
    (0..20).for_each(|n| clocks.begin(key(n), clock(n, 0), 0, at(0)));
    clocks.end(&key(3));
    let found = |places| clocks.find_in(places, |_| true).into_iter().map(|(key, _)| key).collect::<Vec<_>>();
    assert_eq!(found(0..5), keys([0, 1, 2, 4]));
    assert_eq!(found(18..99), keys([18, 19]));
    assert_eq!(clocks.find_in(0..clocks.places(), |found| *found == key(7)), [(key(7), at(7))]);
}

#[test]
fn of_several_tables_the_clock_begun_first_is_told_first_whatever_its_time() {
    let totals = Arc::new(Totals::default());
    // As after four thousand million clocks.
    totals.counter(network(1)).store((u64::from(u32::MAX) - 2) << 32, Ordering::Relaxed);
    let mut tables = [0; 3].map(|_| Clocks::counted_in(Arc::clone(&totals), 100));
    for n in 0..12 {
        tables[n as usize * 7 % 3].begin(key(n), clock(100 - n, n / 6), 0, at(100));
    }
    tables[0].end(&key(9));
    tables[2].begin(key(11), clock(0, 1), 0, at(100));
    let oldest = |of| Clocks::oldest_in(tables.iter(), network(of)).map(|(key, _)| key).collect::<Vec<_>>();
    assert_eq!((oldest(0), oldest(1), oldest(2)), (keys(0..6), keys([6, 7, 8, 10, 11]), Vec::new()));
    assert_eq!([0, 1, 2].map(|of| totals.at_most(network(of))), [6, 5, 0]);
}

#[test]
fn many_clocks_of_many_networks_keep_every_list_in_order() {
    let mut clocks = Clocks::new(700);
    let mut state = 1_u64;
    for step in 0..20_000_u64 {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let n = (state >> 33) % 1_500;
        if state >> 61 == 0 {
            clocks.end(&key(n));
        } else {
            clocks.begin(key(n), clock(step, n % 37), 0, at(step));
        }
        if step % 4_000 == 0 {
            all(&clocks);
        }
    }
    assert!(all(&clocks).len() > 600);
}

#[test]
fn a_clock_takes_56_bytes() {
    assert_eq!((size_of::<Slot>(), size_of::<Account>()), (56, 24));
}
