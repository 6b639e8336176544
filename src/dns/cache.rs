//! Answers kept for their time to live, and look-ups under way shared by all who ask.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use quick_cache::sync::Cache;
use quick_cache::{Equivalent, Weighter};
use tokio::sync::watch;

use super::{Answer, DnsFault, Lookup, RecordType, Resolver, Timed};
use crate::telemetry::metrics::{self, DnsCache, DnsResult};

/// Answers are kept at least this long, so that a burst of one sender asks once.
const MIN_TTL: Duration = Duration::from_secs(5);
/// Records are kept at most this long, whatever the zone says.
const MAX_TTL: Duration = Duration::from_secs(3_600);
/// That there are none is kept at most this long: a name just set up is to be seen soon.
const MAX_NEGATIVE_TTL: Duration = Duration::from_secs(300);
/// A failure is remembered this long, so that a dead name server is not asked for each recipient.
const FAILURE_TTL: Duration = Duration::from_secs(5);
/// Records stand in for a failed look-up until they are this much older than their time to live (RFC 8767). That there were
/// none does not: mail is refused for it.
const MAX_STALE: Duration = Duration::from_secs(3_600);

/// Bytes an answer takes on average, to turn a number of answers into bytes.
const AVERAGE_SIZE: usize = 256;
/// Look-ups under way at a time, which is plenty where answers come: thousands a second. Where none come, each holds up to
/// three sockets for its repeated questions, and all together are to stay below the usual limit of 1024 open files.
const MAX_FLIGHTS: usize = 256;

/// A cache before another resolver. A look-up goes on when the one who asked no longer waits, and serves the next one.
#[derive(Debug)]
pub struct Cached {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    inner: Arc<dyn Resolver>,
    answers: Cache<Key, Kept, Size>,
    flights: Mutex<HashMap<Key, Landing>>,
    max_flights: usize,
}

type Key = (Box<str>, RecordType);

/// A key that is looked for, without a name of its own.
#[derive(Hash)]
struct Question<'a>(&'a str, RecordType);

impl Equivalent<Key> for Question<'_> {
    fn equivalent(&self, (name, record_type): &Key) -> bool {
        self.1 == *record_type && *self.0 == **name
    }
}

type Outcome = Result<Timed, DnsFault>;
/// Where a look-up's outcome is to be seen when it ends.
type Landing = watch::Receiver<Option<Outcome>>;

#[derive(Clone, Debug)]
struct Kept {
    outcome: Outcome,
    /// Until when it is as good as asking.
    until: Instant,
    /// Until when it is better than nothing.
    stale_until: Instant,
}

impl Cached {
    /// A cache before `inner`, with room for about `capacity` answers of usual size.
    pub fn new(inner: Arc<dyn Resolver>, capacity: usize) -> Self {
        Self::with_max_flights(inner, capacity, MAX_FLIGHTS)
    }

    fn with_max_flights(inner: Arc<dyn Resolver>, capacity: usize, max_flights: usize) -> Self {
        let bytes = capacity.saturating_mul(AVERAGE_SIZE) as u64;
        let answers = Cache::with_weighter(capacity, bytes, Size);
        Self { shared: Arc::new(Shared { inner, answers, flights: Mutex::default(), max_flights }) }
    }
}

impl Resolver for Cached {
    fn lookup<'a>(&'a self, name: &'a str, record_type: RecordType) -> Lookup<'a> {
        if let Some(outcome) = self.at_hand(name, record_type) {
            return Box::pin(std::future::ready(outcome));
        }
        let landing = self.shared.join((name.into(), record_type));
        Box::pin(async move { landed(landing?).await })
    }

    /// What is kept, with the time it has left.
    fn at_hand(&self, name: &str, record_type: RecordType) -> Option<Outcome> {
        let kept = self.shared.answers.get(&Question(name, record_type))?;
        let left = kept.until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return None;
        }
        metrics::dns_cache(DnsCache::Hit);
        Some(kept.outcome.map(|timed| Timed { ttl: left, ..timed }))
    }
}

async fn landed(mut landing: Landing) -> Outcome {
    match landing.wait_for(Option::is_some).await.as_deref() {
        Ok(Some(outcome)) => outcome.clone(),
        Ok(None) | Err(_) => Err(DnsFault::Failed("the look-up was given up".into())),
    }
}

impl Shared {
    /// The look-up for `key` that is under way, or a new one.
    fn join(self: &Arc<Self>, key: Key) -> Result<Landing, DnsFault> {
        let mut flights = self.flights();
        if let Some(landing) = flights.get(&key) {
            metrics::dns_cache(DnsCache::Shared);
            return Ok(landing.clone());
        }
        metrics::dns_cache(DnsCache::Miss);
        if flights.len() >= self.max_flights {
            metrics::dns_lookup(key.1, DnsResult::Refused);
            return Err(DnsFault::NotAsked("too many look-ups are under way"));
        }
        let (sender, landing) = watch::channel(None);
        flights.insert(key.clone(), landing.clone());
        let flight = Flight { shared: Arc::clone(self), key };
        tokio::spawn(async move {
            let outcome = flight.shared.fetch(&flight.key).await;
            // From here on the cache answers.
            drop(flight);
            sender.send_replace(Some(outcome));
        });
        Ok(landing)
    }

    async fn fetch(&self, key: &Key) -> Outcome {
        let outcome = self.inner.lookup(&key.0, key.1).await;
        metrics::dns_lookup(key.1, DnsResult::from(&outcome));
        let kept = self.kept(key, outcome);
        // Who asked first is told what the others will be: what rests on the answer must not outlast it here.
        let ttl = kept.until.saturating_duration_since(Instant::now());
        let outcome = kept.outcome.clone().map(|timed| Timed { ttl, ..timed });
        // That nobody was asked says nothing of the name.
        if !matches!(outcome, Err(DnsFault::NotAsked(_))) {
            self.answers.insert(key.clone(), kept);
        }
        outcome
    }

    /// What becomes of an outcome in the cache.
    fn kept(&self, key: &Key, outcome: Outcome) -> Kept {
        let now = Instant::now();
        let Ok(timed) = &outcome else {
            let until = now + FAILURE_TTL;
            return match self.answers.get(key).filter(|old| now < old.stale_until) {
                Some(old) => Kept { until, ..old },
                None => Kept { outcome, until, stale_until: until },
            };
        };
        let is_positive = matches!(timed.answer, Answer::Records(_));
        let (max_ttl, max_stale) =
            if is_positive { (MAX_TTL, MAX_STALE) } else { (MAX_NEGATIVE_TTL, Duration::ZERO) };
        let until = now + timed.ttl.clamp(MIN_TTL, max_ttl);
        Kept { outcome, until, stale_until: until + max_stale }
    }

    fn flights(&self) -> MutexGuard<'_, HashMap<Key, Landing>> {
        self.flights.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A look-up under way; others join it until this ends, however it ends.
struct Flight {
    shared: Arc<Shared>,
    key: Key,
}

impl Drop for Flight {
    fn drop(&mut self) {
        self.shared.flights().remove(&self.key);
    }
}

/// Answers are weighed in bytes: a name may have one record or a thousand.
#[derive(Clone, Debug)]
struct Size;

impl Weighter<Key, Kept> for Size {
    fn weight(&self, (name, _): &Key, kept: &Kept) -> u64 {
        let records = match &kept.outcome {
            Ok(Timed { answer: Answer::Records(records), .. }) => {
                records.iter().map(super::Record::size).sum()
            }
            Ok(_) | Err(_) => 0,
        };
        (size_of::<Key>() + size_of::<Kept>() + name.len() + records) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dns::{Record, Zone};
    use std::sync::atomic::{AtomicUsize, Ordering};

    /// Counts the questions that reach it and answers each after a while, by a zone that may be exchanged.
    #[derive(Debug)]
    struct Slow {
        zone: Mutex<Zone>,
        asked: AtomicUsize,
    }

    impl Slow {
        fn asked(&self) -> usize {
            self.asked.load(Ordering::Relaxed)
        }
    }

    impl Resolver for Slow {
        fn lookup<'a>(&'a self, name: &'a str, record_type: RecordType) -> Lookup<'a> {
            self.asked.fetch_add(1, Ordering::Relaxed);
            Box::pin(async move {
                tokio::time::sleep(Duration::from_millis(50)).await;
                let zone = self.zone.lock().unwrap().clone();
                zone.lookup(name, record_type).await
            })
        }
    }

    fn slow(zone: &str) -> Arc<Slow> {
        Arc::new(Slow { zone: Mutex::new(Zone::parse(zone)), asked: AtomicUsize::new(0) })
    }

    fn cached(zone: &str) -> (Arc<Slow>, Cached) {
        let slow = slow(zone);
        (Arc::clone(&slow), Cached::new(slow, 100))
    }

    fn key(name: &str) -> Key {
        (name.into(), RecordType::A)
    }

    fn records() -> Answer {
        Answer::Records(Arc::new([Record::A([192, 0, 2, 1].into())]))
    }

    #[tokio::test]
    async fn many_askers_share_one_look_up() {
        let (slow, cached) = cached("a.test A 192.0.2.1");
        let cached = Arc::new(cached);
        let askers: Vec<_> = (0..20)
            .map(|_| {
                let cached = Arc::clone(&cached);
                tokio::spawn(async move { cached.lookup("a.test", RecordType::A).await })
            })
            .collect();
        for asker in askers {
            assert_eq!(asker.await.unwrap().unwrap().answer, records());
        }
        assert_eq!(slow.asked(), 1);
        cached.lookup("a.test", RecordType::Aaaa).await.unwrap();
        assert_eq!(slow.asked(), 2, "another type is another question");
    }

    #[tokio::test]
    async fn negative_answers_and_failures_are_kept_too() {
        let (slow, cached) = cached("dead.test !");
        for _ in 0..3 {
            assert_eq!(cached.lookup("no.test", RecordType::A).await.unwrap().answer, Answer::NoSuchName);
            assert!(cached.lookup("dead.test", RecordType::A).await.is_err());
        }
        assert_eq!(slow.asked(), 2);
    }

    #[tokio::test]
    async fn a_look_up_goes_on_when_the_asker_left() {
        let (slow, cached) = cached("a.test A 192.0.2.1");
        let impatient =
            tokio::time::timeout(Duration::from_millis(5), cached.lookup("a.test", RecordType::A));
        assert!(impatient.await.is_err());
        assert!(cached.lookup("a.test", RecordType::A).await.is_ok());
        assert_eq!(slow.asked(), 1);
    }

    #[tokio::test]
    async fn a_flood_of_slow_names_is_refused_beyond_the_limit() {
        let slow = slow("");
        let cached = Cached::with_max_flights(Arc::clone(&slow) as Arc<dyn Resolver>, 100, 2);
        let first = cached.lookup("a.test", RecordType::A);
        let second = cached.lookup("b.test", RecordType::A);
        let refused = Err(DnsFault::NotAsked("too many look-ups are under way"));
        assert_eq!(cached.lookup("c.test", RecordType::A).await, refused);
        let joined = cached.lookup("a.test", RecordType::A);
        for lookup in [first, second, joined] {
            assert_eq!(lookup.await.unwrap().answer, Answer::NoSuchName);
        }
        assert_eq!(slow.asked(), 2);
        assert_eq!(cached.lookup("c.test", RecordType::A).await.unwrap().answer, Answer::NoSuchName);
        assert!(cached.shared.flights().is_empty());
    }

    #[tokio::test]
    async fn each_outcome_is_kept_as_long_as_it_is_worth() {
        let (_, cached) = cached("");
        let timed = |answer: Answer, seconds| Ok(Timed { answer, ttl: Duration::from_secs(seconds) });
        for (outcome, kept_for, stale_for) in [
            (timed(records(), 0), 5, 3_600),
            (timed(records(), 300), 300, 3_600),
            (timed(records(), 86_400), 3_600, 3_600),
            (timed(Answer::NoSuchName, 0), 5, 0),
            (timed(Answer::NoSuchName, 60), 60, 0),
            (timed(Answer::NoRecords, 86_400), 300, 0),
            (Err(DnsFault::Timeout), 5, 0),
        ] {
            let before = Instant::now();
            let kept = cached.shared.kept(&key("a.test"), outcome.clone());
            let off = kept.until - before - Duration::from_secs(kept_for);
            assert!(off < Duration::from_secs(1), "{outcome:?}: {off:?}");
            assert_eq!(kept.stale_until - kept.until, Duration::from_secs(stale_for), "{outcome:?}");
        }
    }

    /// Says this of every name.
    #[derive(Debug)]
    struct Always(Timed);

    impl Resolver for Always {
        fn lookup<'a>(&'a self, _: &'a str, _: RecordType) -> Lookup<'a> {
            Box::pin(std::future::ready(Ok(self.0.clone())))
        }
    }

    #[tokio::test]
    async fn the_first_asker_is_told_how_long_an_answer_is_kept_here() {
        for (answer, seconds, kept_for) in [
            (records(), 300, 300),
            (records(), 86_400, 3_600),
            (Answer::NoSuchName, 86_400, 300),
            (Answer::NoRecords, 0, 5),
        ] {
            let always = Always(Timed { answer, ttl: Duration::from_secs(seconds) });
            let cached = Cached::new(Arc::new(always), 100);
            let first = cached.lookup("a.test", RecordType::A).await.unwrap();
            let second = cached.lookup("a.test", RecordType::A).await.unwrap();
            assert!(
                second.ttl <= first.ttl && first.ttl <= Duration::from_secs(kept_for),
                "{first:?} {second:?}"
            );
            assert!(second.ttl > Duration::from_secs(kept_for - 2), "{second:?}");
        }
    }

    /// Makes what is kept of a name older than it is.
    fn expire(cached: &Cached, name: &str, stale_for: Duration) {
        let kept = cached.shared.answers.get(&key(name)).unwrap();
        let now = Instant::now();
        cached.shared.answers.insert(key(name), Kept { until: now, stale_until: now + stale_for, ..kept });
    }

    #[tokio::test]
    async fn old_records_stand_in_for_a_failure_and_old_denials_do_not() {
        let (slow, cached) = cached("a.test A 192.0.2.1");
        let minute = Duration::from_secs(60);
        assert_eq!(cached.lookup("a.test", RecordType::A).await.unwrap().answer, records());
        assert_eq!(cached.lookup("b.test", RecordType::A).await.unwrap().answer, Answer::NoSuchName);
        *slow.zone.lock().unwrap() = Zone::parse("a.test !\nb.test !");
        expire(&cached, "a.test", minute);
        expire(&cached, "b.test", Duration::ZERO);
        for _ in 0..2 {
            let stand_in = cached.lookup("a.test", RecordType::A).await.unwrap();
            assert_eq!(stand_in.answer, records());
            assert!(stand_in.ttl <= FAILURE_TTL, "{:?}: the name is soon asked again", stand_in.ttl);
            assert!(cached.lookup("b.test", RecordType::A).await.is_err());
        }
        assert_eq!(slow.asked(), 4, "a failure is remembered for a while, whoever stands in");

        expire(&cached, "a.test", Duration::ZERO);
        assert!(cached.lookup("a.test", RecordType::A).await.is_err());
    }

    /// Says that nobody was asked.
    #[derive(Debug)]
    struct Refusing(AtomicUsize);

    impl Resolver for Refusing {
        fn lookup<'a>(&'a self, _: &'a str, _: RecordType) -> Lookup<'a> {
            self.0.fetch_add(1, Ordering::Relaxed);
            Box::pin(std::future::ready(Err(DnsFault::NotAsked("not now"))))
        }
    }

    #[tokio::test]
    async fn that_nobody_was_asked_is_not_remembered() {
        let refusing = Arc::new(Refusing(AtomicUsize::new(0)));
        let cached = Cached::new(Arc::clone(&refusing) as Arc<dyn Resolver>, 100);
        for _ in 0..3 {
            assert_eq!(cached.lookup("a.test", RecordType::A).await, Err(DnsFault::NotAsked("not now")));
        }
        assert_eq!(refusing.0.load(Ordering::Relaxed), 3);
    }

    #[test]
    fn names_with_many_records_weigh_more() {
        let now = Instant::now();
        let kept =
            |answer| Kept { outcome: Ok(Timed { answer, ttl: MIN_TTL }), until: now, stale_until: now };
        let none = Size.weight(&key("a.test"), &kept(Answer::NoRecords));
        let many: Vec<_> = (0..100).map(|_| Record::Mx("mail.example.test".into())).collect();
        let many = Size.weight(&key("a.test"), &kept(Answer::Records(many.into())));
        assert!(none < AVERAGE_SIZE as u64, "{none}");
        assert!(many > none + 100 * 17, "{many}");
    }
}
