use std::collections::HashMap;

use super::*;
use crate::store::clocks::Clocks as Table;
use crate::store::{Identity, Release, ReleaseOf};

const DELAY: Duration = Duration::from_millis(100);
const WINDOW: Duration = Duration::from_millis(1_000);
const TTL: Duration = Duration::from_millis(8_000);
const RULES: Rules = Rules {
    min_delay: DELAY,
    retry_window: WINDOW,
    pass_ttl: TTL,
    promote_pairs: true,
    promotion: Some(Promotion {
        senders: 2,
        recipients: 3,
        span: Duration::from_millis(500),
        first_seen_per_matured: 4,
    }),
    network_cap: 100,
};
const TRIPLETS_ONLY: Rules = Rules { promote_pairs: false, ..RULES };

const HASH_KEY: HashKey = HashKey::from_bytes([1; 16]);

/// The model over plain maps.
struct Plain {
    clocks: Table,
    proven: HashMap<Key, Proven>,
    standings: HashMap<IdentityKey, Standing>,
    releases: HashMap<Key, Timestamp>,
}

impl Default for Plain {
    fn default() -> Self {
        Self {
            clocks: Table::new(100_000),
            proven: HashMap::new(),
            standings: HashMap::new(),
            releases: HashMap::new(),
        }
    }
}

impl Proofs for Plain {
    fn proven(&self, key: &Key) -> Result<Option<Proven>, StoreFault> {
        Ok(self.proven.get(key).copied())
    }
}

impl Standings for Plain {
    fn standing(&self, identity: &IdentityKey) -> Result<Option<Standing>, StoreFault> {
        Ok(self.standings.get(identity).copied())
    }
}

impl Records for Plain {
    fn clock(&self, triplet: &Key) -> Result<Option<Timestamp>, StoreFault> {
        Ok(self.clocks.get(triplet))
    }

    fn running(&self, network: NetworkKey) -> Result<u32, StoreFault> {
        Ok(self.clocks.running(network))
    }

    fn oldest(&self, network: NetworkKey) -> impl Iterator<Item = (Key, Timestamp)> {
        self.clocks.oldest_of(network)
    }

    fn release(&self, key: &Key) -> Result<Option<Timestamp>, StoreFault> {
        Ok(self.releases.get(key).copied())
    }
}

impl Plain {
    fn apply(&mut self, writes: &[Write], now: Timestamp) {
        for write in writes {
            match *write {
                Write::Begin(key, clock) => self.clocks.begin(key, clock, 0, now),
                Write::End(key) => self.clocks.end(&key),
                Write::Prove(key, proof) => drop(self.proven.insert(key, proof)),
                Write::Stand(identity, Some(standing)) => drop(self.standings.insert(identity, standing)),
                Write::Stand(identity, None) => drop(self.standings.remove(&identity)),
            }
        }
    }

    /// Makes an attempt, and counts its writes but those of standings.
    fn attempt(&mut self, attempt: &Attempt, at: u64) -> (Answer, usize) {
        let keys = HASH_KEY.keys(attempt);
        let now = Timestamp::from_millis(10_000 + at);
        let decision = decide(attempt, &HASH_KEY, &keys, now, self).unwrap();
        self.apply(&decision.writes, now);
        let writes = decision.writes.iter().filter(|write| !matches!(write, Write::Stand(..))).count();
        (decision.answer, writes)
    }

    fn add_identities(&mut self, attempt: &Attempt, made: u64) {
        let made = Timestamp::from_millis(10_000 + made);
        let writes = add_identities(attempt, &HASH_KEY, &HASH_KEY.keys(attempt), made, self).unwrap();
        self.apply(&writes, made);
    }

    fn add_release(&mut self, recipient: &str, of: ReleaseOf, expires: u64) {
        let expires = Timestamp::from_millis(10_000 + expires);
        let release = Release { recipient: recipient.into(), of, expires };
        self.releases.insert(HASH_KEY.release(&release), expires);
    }
}

/// An attempt under these identities, separated by blanks: `spf:` and `host:` before the text say the kind, else it is an address.
fn mail(clients: &str, sender: &str, recipient: &str, rules: Rules) -> Attempt {
    let identity = |text: &str| {
        let (kind, key) = match text.split_once(':') {
            Some(("spf", key)) => (IdentityKind::Spf, key),
            Some(("host", key)) => (IdentityKind::Host, key),
            _ => (IdentityKind::Address, text),
        };
        Identity { kind, key: key.into() }
    };
    Attempt {
        identities: clients.split_whitespace().map(identity).collect(),
        client: [192, 0, 2, 1].into(),
        sender: sender.into(),
        recipient: recipient.into(),
        never_promote: false,
        mail_counted: false,
        rules,
    }
}

const fn first() -> Answer {
    Answer::FirstSeen { wait: DELAY }
}

const fn early(wait: u64) -> Answer {
    Answer::TooEarly { wait: Duration::from_millis(wait) }
}

const fn matured(waited: u64) -> Answer {
    matured_by(IdentityKind::Address, waited)
}

const fn matured_by(identity: IdentityKind, waited: u64) -> Answer {
    Answer::Matured { waited: Duration::from_millis(waited), identity }
}

const fn known(by: KnownBy, identity: IdentityKind) -> Answer {
    Answer::Known { by, identity }
}

const PAIR: Answer = known(KnownBy::Pair, IdentityKind::Address);
const TRIPLET: Answer = known(KnownBy::Triplet, IdentityKind::Address);

/// Runs attempts of (identities, recipient, ms, expected answer, expected number of writes) against one store.
fn run(rules: Rules, attempts: &[(&str, &str, u64, Answer, usize)]) {
    let mut records = Plain::default();
    for (clients, recipient, at, answer, writes) in attempts {
        let got = records.attempt(&mail(clients, "a@sender.test", recipient, rules), *at);
        assert_eq!(got, (*answer, *writes), "{clients} to {recipient} at {at}");
    }
}

#[test]
fn an_early_retry_never_restarts_the_clock() {
    run(
        RULES,
        &[
            ("A", "r", 0, first(), 1),
            ("A", "r", 0, early(100), 0),
            ("A", "r", 99, early(1), 0),
            ("A", "r", 100, matured(100), 2),
            ("A", "r", 101, PAIR, 0),
        ],
    );
}

#[test]
fn the_retry_window_includes_its_last_moment() {
    run(RULES, &[("A", "r", 0, first(), 1), ("A", "r", 1_000, matured(1_000), 2)]);
    run(RULES, &[("A", "r", 0, first(), 1), ("A", "r", 1_001, first(), 1), ("A", "r", 1_002, early(99), 0)]);
}

#[test]
fn a_proven_pair_passes_for_every_recipient() {
    let begin = [("A", "r1", 0, first(), 1), ("A", "r2", 50, first(), 1), ("A", "r1", 100, matured(100), 2)];
    run(RULES, &[&begin[..], &[("A", "r2", 101, PAIR, 0), ("A", "r3", 101, PAIR, 0)]].concat());
    let apart = [("A", "r1", 101, TRIPLET, 0), ("A", "r2", 101, early(49), 0), ("A", "r3", 101, first(), 1)];
    run(TRIPLETS_ONLY, &[&begin[..], &apart].concat());
}

#[test]
fn proofs_slide_and_are_renewed_below_seven_eighths_only() {
    let rules = Rules { promotion: None, ..RULES };
    run(
        rules,
        &[
            ("A", "r", 0, first(), 1),
            ("A", "r", 100, matured(100), 2),
            ("A", "r", 1_100, PAIR, 0),
            ("A", "r", 1_101, PAIR, 1),
            ("A", "r", 9_101, PAIR, 1),
            ("A", "r", 17_102, first(), 1),
        ],
    );
}

#[test]
fn a_clock_that_made_a_proof_does_not_count_again_when_the_proof_is_forgotten() {
    let rules = Rules { pass_ttl: Duration::from_millis(10), ..RULES };
    run(
        rules,
        &[
            ("A", "r", 0, first(), 1),
            ("A", "r", 100, matured(100), 2),
            ("A", "r", 110, PAIR, 1),
            ("A", "r", 121, first(), 1),
        ],
    );
}

#[test]
fn any_identity_matures_a_triplet_by_the_earliest_clock() {
    const SPF: IdentityKind = IdentityKind::Spf;
    run(
        RULES,
        &[
            ("spf:d A", "r", 0, first(), 2),
            ("spf:d B", "r", 60, early(40), 1),
            // Matures by "spf", which is proven; "B" keeps its own clock, which began at 60.
            ("spf:d B", "r", 100, matured_by(SPF, 100), 2),
            ("B", "r", 120, early(40), 0),
            ("spf:d C", "other", 120, known(KnownBy::Pair, SPF), 0),
            ("B", "r", 160, matured(100), 2),
            ("B", "other", 160, PAIR, 0),
            ("A", "r", 160, matured(160), 2),
        ],
    );
}

#[test]
fn all_proven_identities_are_renewed() {
    run(
        RULES,
        &[
            ("A B", "r", 0, first(), 2),
            ("A B", "r", 100, matured(100), 4),
            ("A B", "r", 4_000, PAIR, 2),
            ("B", "r", 12_000, PAIR, 1),
        ],
    );
}

#[test]
fn a_clock_set_back_makes_the_earlier_moment_count() {
    run(
        RULES,
        &[
            ("A", "r", 5_000, first(), 1),
            ("A", "r", 0, early(100), 1),
            ("A", "r", 50, early(50), 0),
            ("A", "r", 100, matured(100), 2),
            ("A", "r", 0, PAIR, 0),
        ],
    );
}

#[test]
fn switching_promotion_of_pairs_loses_no_proof_of_the_triplet() {
    let mut records = Plain::default();
    let mut attempt = |recipient: &str, rules, at| records.attempt(&mail("A", "a", recipient, rules), at);
    attempt("r", TRIPLETS_ONLY, 0);
    assert_eq!(attempt("r", TRIPLETS_ONLY, 100), (matured(100), 2));
    assert_eq!(attempt("r", RULES, 101), (TRIPLET, 1));
    assert_eq!(attempt("other", RULES, 102), (PAIR, 0));
    assert_eq!(attempt("other", TRIPLETS_ONLY, 103), (first(), 1));
}

#[test]
fn without_any_identity_an_attempt_stays_a_first_one() {
    let mut records = Plain::default();
    assert_eq!(records.attempt(&mail("", "a", "r", RULES), 0), (first(), 0));
    assert_eq!(records.attempt(&mail("", "a", "r", RULES), 500), (first(), 0));
}

#[test]
fn extreme_times_and_rules_do_not_overflow() {
    let mut records = Plain::default();
    let forever =
        Rules { min_delay: Duration::MAX, retry_window: Duration::MAX, pass_ttl: Duration::MAX, ..RULES };
    let mut attempt = |rules, at: u64| {
        let attempt = mail("A", "a", "r", rules);
        let now = Timestamp::from_millis(at);
        let decision = decide(&attempt, &HASH_KEY, &HASH_KEY.keys(&attempt), now, &records).unwrap();
        records.apply(&decision.writes, now);
        decision.answer
    };
    assert_eq!(attempt(forever, u64::MAX), Answer::FirstSeen { wait: Duration::MAX });
    assert_eq!(attempt(forever, 0), Answer::TooEarly { wait: Duration::MAX });
    let at_once = Rules { min_delay: Duration::ZERO, ..forever };
    assert_eq!(attempt(at_once, 5), matured(5));
    assert_eq!(attempt(at_once, u64::MAX), PAIR);
}

/// Lets a triplet of this sender and recipient mature for `clients` at `at`.
fn mature(records: &mut Plain, clients: &str, sender: &str, recipient: &str, at: u64) {
    let attempt = mail(clients, sender, recipient, RULES);
    assert_eq!(records.attempt(&attempt, at - 100).0, first(), "{sender} {recipient} at {at}");
    assert!(
        matches!(records.attempt(&attempt, at).0, Answer::Matured { .. }),
        "{sender} {recipient} at {at}"
    );
}

/// The address of [`mail`] has a standing of its own; under another it has none to begin with.
fn from_elsewhere(clients: &str, sender: &str, recipient: &str) -> Attempt {
    Attempt { client: [203, 0, 113, 9].into(), ..mail(clients, sender, recipient, RULES) }
}

#[test]
fn an_identity_passes_as_a_whole_after_enough_senders_recipients_and_time() {
    const BY_SPF: Answer = known(KnownBy::Promotion, IdentityKind::Spf);
    const BY_ADDRESS: Answer = known(KnownBy::Promotion, IdentityKind::Address);
    /// (sender, recipient, ms at which it matures)
    type Matured = &'static [(&'static str, &'static str, u64)];
    let cases: [(Matured, bool); 5] = [
        (&[("a", "r1", 100), ("b", "r2", 300), ("c", "r3", 600)], true),
        (&[("a", "r1", 100), ("b", "r2", 300), ("c", "r3", 599)], false),
        (&[("a", "r1", 100), ("b", "r2", 300), ("c", "r2", 600)], false),
        (&[("a", "r1", 100), ("b", "r2", 300)], false),
        (&[("a", "r1", 100), ("b", "r2", 200), ("c", "r3", 300), ("d", "r3", 600)], true),
    ];
    for (matures, promoted) in cases {
        let mut records = Plain::default();
        for (sender, recipient, at) in matures {
            mature(&mut records, "spf:d A", sender, recipient, *at);
        }
        let (by_spf, by_address) = if promoted { (BY_SPF, BY_ADDRESS) } else { (first(), first()) };
        let spf_only = from_elsewhere("spf:d", "new", "spf@r");
        assert_eq!(records.attempt(&spf_only, 700).0, by_spf, "{matures:?}");
        // The exact address, under whatever host name or network.
        let address_only = mail("host:h N", "new", "address@r", RULES);
        assert_eq!(records.attempt(&address_only, 700).0, by_address, "{matures:?}");
        // A host name or a network as a whole never passes.
        let another_host = from_elsewhere("host:h A", "new", "host@r");
        assert_eq!(records.attempt(&another_host, 700).0, first(), "{matures:?}");
        let never = Attempt { never_promote: true, ..mail("spf:d A", "new", "never@r", RULES) };
        assert_eq!(records.attempt(&never, 700).0, first(), "{matures:?}");
        let off = Rules { promotion: None, ..RULES };
        assert_eq!(records.attempt(&mail("spf:d A", "new", "off@r", off), 700).0, first(), "{matures:?}");
    }
}

#[test]
fn each_kind_of_identity_stands_by_its_own_clock() {
    let mut records = Plain::default();
    // The first attempts come from elsewhere: only the clocks of the SPF domain mature.
    for (sender, recipient, at) in [("a", "r1", 100), ("b", "r2", 300), ("c", "r3", 600)] {
        records.attempt(&from_elsewhere("spf:d B", sender, recipient), at - 100);
        let retry = records.attempt(&mail("spf:d A", sender, recipient, RULES), at);
        assert_eq!(retry.0, matured_by(IdentityKind::Spf, 100));
    }
    assert_eq!(HASH_KEY.keys(&mail("spf:d", "", "", RULES)).identities().len(), 1);
    assert_eq!(records.standings.len(), 1);
    assert_eq!(records.attempt(&mail("A", "new", "r", RULES), 700).0, first());
    let by_spf = known(KnownBy::Promotion, IdentityKind::Spf);
    assert_eq!(records.attempt(&mail("spf:d A", "new", "r", RULES), 700).0, by_spf);
}

fn promoted() -> Plain {
    let mut records = Plain::default();
    for (sender, recipient, at) in [("a", "r1", 100), ("b", "r2", 300), ("c", "r3", 600)] {
        mature(&mut records, "spf:d", sender, recipient, at);
    }
    records
}

const BY_SPF: Answer = known(KnownBy::Promotion, IdentityKind::Spf);

#[test]
fn a_promoted_identity_proves_its_pairs_all_the_same() {
    let mut records = promoted();
    let attempt = mail("spf:d", "new", "r", RULES);
    assert_eq!(records.attempt(&attempt, 700), (BY_SPF, 1));
    assert_eq!(records.attempt(&attempt, 750), (BY_SPF, 0));
    assert_eq!(records.attempt(&attempt, 800), (BY_SPF, 2));
    assert_eq!(records.attempt(&attempt, 801), (known(KnownBy::Pair, IdentityKind::Spf), 0));
}

#[test]
fn too_many_first_attempts_for_each_matured_one_cost_the_standing() {
    let mut records = promoted();
    // Three matured that day, and three first attempts went before: 4 x 3 are borne.
    for n in 3..12 {
        let attempt = mail("spf:d", &format!("spam{n}"), "r", RULES);
        assert_eq!(records.attempt(&attempt, 700).0, BY_SPF, "{n}");
    }
    // The one too many still passes, by the standing it found.
    let last = records.attempt(&mail("spf:d", "spam12", "r", RULES), 700).0;
    assert_eq!((last, records.standings.len()), (BY_SPF, 1));
    let over = records.attempt(&mail("spf:d", "spam13", "r", RULES), 700).0;
    assert_eq!((over, records.standings.len()), (BY_SPF, 0));
    assert_eq!(records.attempt(&mail("spf:d", "spam14", "r", RULES), 700).0, first());
    // What was proven stays proven.
    assert_eq!(
        records.attempt(&mail("spf:d", "a", "r9", RULES), 700).0,
        known(KnownBy::Pair, IdentityKind::Spf)
    );
}

#[test]
fn a_mail_is_one_first_attempt_however_many_it_is_for() {
    let mut records = promoted();
    for mail_no in 3..13 {
        let sender = format!("new{mail_no}");
        for n in 0..5 {
            let to = Attempt { mail_counted: n > 0, ..mail("spf:d", &sender, &format!("r{n}"), RULES) };
            assert_eq!(records.attempt(&to, 700).0, BY_SPF, "{sender} {n}");
        }
    }
    assert_eq!(records.attempt(&mail("spf:d", "one too many", "r", RULES), 700).0, BY_SPF);
    assert_eq!(records.attempt(&mail("spf:d", "late", "r", RULES), 700).0, first());
}

#[test]
fn first_attempts_are_counted_day_by_day() {
    let rules = Rules { pass_ttl: Duration::from_secs(10 * 86_400), ..RULES };
    let mut records = Plain::default();
    for (sender, recipient, at) in [("a", "r1", 100), ("b", "r2", 300), ("c", "r3", 600)] {
        records.attempt(&mail("spf:d", sender, recipient, rules), at - 100);
        records.attempt(&mail("spf:d", sender, recipient, rules), at);
    }
    for day in 1..6 {
        for n in 0..4 {
            let attempt = mail("spf:d", &format!("{day}-{n}"), "r", rules);
            assert_eq!(records.attempt(&attempt, day * 86_400_000 + 1_000).0, BY_SPF, "{day} {n}");
        }
    }
}

#[test]
fn a_standing_slides_with_its_use_and_ends_without() {
    let mut records = promoted();
    let mail = |n: u32| mail("spf:d", &format!("new{n}"), "r", RULES);
    assert_eq!(records.attempt(&mail(1), 8_000).0, BY_SPF);
    assert_eq!(records.attempt(&mail(2), 16_000).0, BY_SPF);
    assert_eq!(records.attempt(&mail(3), 24_001).0, first());
}

#[test]
fn a_standing_outlives_the_pairs_by_which_all_its_mail_is_known() {
    const BY_PAIR: Answer = known(KnownBy::Pair, IdentityKind::Spf);
    for (never_promote, at_last) in [(false, BY_SPF), (true, first())] {
        let mut records = promoted();
        let known = Attempt { never_promote, ..mail("spf:d", "a", "r", RULES) };
        for at in [4_000, 11_000, 18_000] {
            assert_eq!(records.attempt(&known, at), (BY_PAIR, 1), "{at}");
        }
        assert_eq!(records.attempt(&mail("spf:d", "new", "r", RULES), 26_000).0, at_last);
    }
    // A standing that is not promoted yet is not renewed by what passes.
    let mut records = Plain::default();
    mature(&mut records, "A", "a", "r", 100);
    let before = records.standings.clone();
    assert_eq!(records.attempt(&mail("A", "a", "r", RULES), 4_000), (PAIR, 1));
    assert_eq!((records.standings.len(), &records.standings), (1, &before));
}

#[test]
fn a_promoted_address_is_renewed_with_the_pairs_of_its_networks() {
    const BY_ADDRESS: Answer = known(KnownBy::Promotion, IdentityKind::Address);
    let mut records = Plain::default();
    for (sender, recipient, at) in [("a", "r1", 100), ("b", "r2", 300), ("c", "r3", 600)] {
        mature(&mut records, "host:h N", sender, recipient, at);
    }
    assert_eq!(records.attempt(&mail("host:h N", "a", "r", RULES), 8_000).1, 2);
    assert_eq!(records.attempt(&mail("other", "new", "r", RULES), 16_000).0, BY_ADDRESS);
}

#[test]
fn an_expired_clock_does_not_count_in_a_full_account_and_stays_while_the_time_may_be_set_back() {
    let rules = Rules { network_cap: 2, ..RULES };
    let mut records = Plain::default();
    let mut attempt = |sender: &str, at| records.attempt(&mail("A", sender, "r@d", rules), at);
    assert_eq!(attempt("a", 0), (first(), 1));
    assert_eq!(attempt("b", 10), (first(), 1));
    // "a" is over since 1,000 ms; "c" begins and ends nothing.
    assert_eq!(attempt("c", 1_005), (first(), 1));
    // Set back, the time is one at which "a" is good still.
    assert_eq!(attempt("a", 900), (matured(900), 2));
    // "b" ended by now, and "c" is not old enough to go: two of them fill the account.
    assert_eq!(attempt("d", 1_011), (first(), 1));
    assert_eq!(attempt("e", 1_012), (Answer::Capped { wait: Some(DELAY) }, 1));
    // An hour later nobody can want "b", "c" and "d" back: they end, and "f" begins.
    assert_eq!(attempt("f", 3_600_000 + 2_012), (first(), 4));
}

#[test]
fn a_full_network_lets_its_oldest_clock_go_when_that_is_old_enough() {
    let rules = Rules { network_cap: 3, ..RULES };
    let mut records = Plain::default();
    let mut attempt = |sender: &str, at| records.attempt(&mail("A", sender, "r@d", rules), at);
    assert_eq!(attempt("a", 0), (first(), 1));
    assert_eq!(attempt("b", 10), (first(), 1));
    assert_eq!(attempt("c", 20), (first(), 1));
    // "a" is not older than 200 ms yet: the network is judged with the recipient's domain.
    let capped = |wait| Answer::Capped { wait };
    assert_eq!(attempt("d", 200), (capped(Some(DELAY)), 1));
    assert_eq!(attempt("e", 201), (first(), 2));
    assert_eq!(attempt("a", 202), (capped(Some(Duration::from_millis(98))), 0));
    assert_eq!(attempt("b", 210), (matured(200), 2));
    // One has ended, so there is room.
    assert_eq!(attempt("f", 210), (first(), 1));
    assert_eq!(attempt("c", 210), (matured(190), 2));
}

#[test]
fn a_full_network_passes_by_its_own_clock_and_proves_nothing() {
    let rules = Rules { network_cap: 1, ..RULES };
    let mut records = Plain::default();
    let mut attempt = |client: [u8; 4], sender: &str, recipient: &str, at| {
        let mail = mail("A", sender, recipient, rules);
        records.attempt(&Attempt { client: client.into(), ..mail }, at)
    };
    const HERE: [u8; 4] = [192, 0, 2, 1];
    let capped = |wait: u64| Answer::Capped { wait: Some(Duration::from_millis(wait)) };
    const PASSES: Answer = Answer::Capped { wait: None };
    assert_eq!(attempt(HERE, "a", "r@d", 0), (first(), 1));
    assert_eq!(attempt([192, 0, 2, 7], "b", "r@d", 50), (capped(100), 1));
    assert_eq!(attempt(HERE, "c", "other@d", 100), (capped(50), 0));
    assert_eq!(attempt(HERE, "c", "r@elsewhere", 100), (capped(100), 1));
    assert_eq!(attempt(HERE, "d", "r@d", 150), (PASSES, 0));
    assert_eq!(attempt(HERE, "d", "r@d", 151), (PASSES, 0));
    assert_eq!(attempt([192, 0, 3, 1], "d", "r@d", 151), (first(), 1));
    assert_eq!(attempt(HERE, "a", "r@d", 152), (matured(152), 2));
}

#[test]
fn a_full_network_does_not_keep_what_began_from_maturing() {
    let rules = Rules { network_cap: 1, ..RULES };
    let mut records = Plain::default();
    let spf = |clients: &str| mail(clients, "a", "r", rules);
    assert_eq!(records.attempt(&spf("spf:d"), 0), (first(), 1));
    // "A" has no room for a clock of its own.
    assert_eq!(records.attempt(&spf("spf:d A"), 50), (early(50), 0));
    assert_eq!(records.attempt(&spf("spf:d A"), 100), (matured_by(IdentityKind::Spf, 100), 2));
    assert_eq!(
        records.attempt(&Attempt { sender: "b".into(), ..spf("A B") }, 100).0,
        Answer::Capped { wait: Some(DELAY) }
    );
}

#[test]
fn late_identities_run_from_the_attempts_own_time() {
    let mut records = Plain::default();
    let from = |clients: &str| mail(clients, "a", "r", RULES);
    assert_eq!(records.attempt(&from("A"), 0), (first(), 1));
    records.add_identities(&from("spf:d"), 0);
    assert_eq!(records.attempt(&from("spf:d B"), 60), (early(40), 1));
    // An answer that comes even later makes no later clock of it, and one of an earlier attempt an earlier one.
    records.add_identities(&from("spf:d"), 90);
    assert_eq!(records.attempt(&from("spf:d C"), 95), (early(5), 1));
    records.add_identities(&from("B"), 10);
    assert_eq!(records.attempt(&from("B"), 109).0, early(1));
    assert_eq!(records.attempt(&from("B"), 110).0, matured(100));
    // What is proven needs no clock.
    let clocks = records.clocks.len();
    records.add_identities(&from("B"), 120);
    assert_eq!(records.clocks.len(), clocks);
}

#[test]
fn late_identities_of_a_full_network_are_left_out() {
    let rules = Rules { network_cap: 1, ..RULES };
    let mut records = Plain::default();
    assert_eq!(records.attempt(&mail("A", "a", "r", rules), 0), (first(), 1));
    records.add_identities(&mail("spf:d", "a", "r", rules), 0);
    assert_eq!(records.clocks.len(), 1);
}

#[test]
fn a_rule_releases_what_would_have_to_wait() {
    let identity = Identity { kind: IdentityKind::Spf, key: "d".into() };
    for of in [ReleaseOf::Sender("a".into()), ReleaseOf::Identity(identity)] {
        let mut records = Plain::default();
        let attempt = |clients: &str, sender: &str, recipient: &str| mail(clients, sender, recipient, RULES);
        assert_eq!(records.attempt(&attempt("A spf:d", "a", "r"), 0), (first(), 2));
        records.add_release("r", of.clone(), 150);
        assert_eq!(records.attempt(&attempt("A spf:d", "a", "r"), 10), (Answer::Released, 0), "{of:?}");
        assert_eq!(records.attempt(&attempt("A spf:d", "a", "other"), 10), (first(), 2), "{of:?}");
        assert_eq!(records.attempt(&attempt("A", "b", "r"), 10), (first(), 1), "{of:?}");
        // It is greylisted beneath all the same, and so known when the rule is over.
        assert_eq!(records.attempt(&attempt("A spf:d", "a", "r"), 100).0, matured(100), "{of:?}");
        assert_eq!(records.attempt(&attempt("B spf:e", "a", "r"), 151), (first(), 2), "{of:?}");
    }
}
