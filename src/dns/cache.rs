//! Answers kept for their time to live, and look-ups under way shared by all who ask.

use std::sync::Arc;
use std::time::{Duration, Instant};

use quick_cache::sync::Cache;

use super::{DnsFault, Lookup, RecordType, Resolver, Timed};

/// Answers are kept at least this long, so that a burst of one sender asks once.
const MIN_TTL: Duration = Duration::from_secs(5);
/// Answers are kept at most this long, whatever the zone says.
const MAX_TTL: Duration = Duration::from_secs(3600);
/// A failure is remembered this long, so that a dead name server is not asked for each recipient.
const FAILURE_TTL: Duration = Duration::from_secs(5);

/// A cache before another resolver. A look-up goes on when the one who asked no longer waits, and serves the next one.
#[derive(Debug)]
pub struct Cached {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    inner: Arc<dyn Resolver>,
    answers: Cache<(Box<str>, RecordType), Kept>,
}

#[derive(Clone, Debug)]
struct Kept {
    result: Result<Timed, DnsFault>,
    until: Instant,
}

impl Cached {
    /// A cache of at most `capacity` answers before `inner`.
    pub fn new(inner: Arc<dyn Resolver>, capacity: usize) -> Self {
        Self { shared: Arc::new(Shared { inner, answers: Cache::new(capacity) }) }
    }
}

impl Resolver for Cached {
    fn lookup<'a>(&'a self, name: &'a str, record_type: RecordType) -> Lookup<'a> {
        let key: (Box<str>, RecordType) = (name.into(), record_type);
        if let Some(kept) = self.shared.fresh(&key) {
            return Box::pin(std::future::ready(kept.result));
        }
        let shared = Arc::clone(&self.shared);
        let task = tokio::spawn(async move { shared.fetch(key).await });
        Box::pin(async move {
            task.await
                .unwrap_or_else(|error| Err(DnsFault::Failed(format!("the look-up task ended: {error}"))))
        })
    }
}

impl Shared {
    fn fresh(&self, key: &(Box<str>, RecordType)) -> Option<Kept> {
        self.answers.get(key).filter(|kept| Instant::now() < kept.until)
    }

    async fn fetch(&self, key: (Box<str>, RecordType)) -> Result<Timed, DnsFault> {
        self.answers.remove_if(&key, |kept| kept.until <= Instant::now());
        let kept = self.answers.get_or_insert_async(&key, async {
            let result = self.inner.lookup(&key.0, key.1).await;
            let ttl = result.as_ref().map_or(FAILURE_TTL, |timed| timed.ttl.clamp(MIN_TTL, MAX_TTL));
            Ok::<_, std::convert::Infallible>(Kept { result, until: Instant::now() + ttl })
        });
        match kept.await {
            Ok(kept) => kept.result,
            Err(never) => match never {},
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dns::{Answer, Zone};
    use std::sync::atomic::{AtomicUsize, Ordering};

    /// Counts the questions that reach it and answers each after a while.
    #[derive(Debug)]
    struct Slow {
        zone: Zone,
        asked: AtomicUsize,
    }

    impl Resolver for Slow {
        fn lookup<'a>(&'a self, name: &'a str, record_type: RecordType) -> Lookup<'a> {
            self.asked.fetch_add(1, Ordering::Relaxed);
            Box::pin(async move {
                tokio::time::sleep(Duration::from_millis(50)).await;
                self.zone.lookup(name, record_type).await
            })
        }
    }

    fn cached(zone: &str) -> (Arc<Slow>, Cached) {
        let slow = Arc::new(Slow { zone: Zone::parse(zone), asked: AtomicUsize::new(0) });
        (Arc::clone(&slow), Cached::new(slow, 100))
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
            assert!(matches!(asker.await.unwrap().unwrap().answer, Answer::Records(_)));
        }
        assert_eq!(slow.asked.load(Ordering::Relaxed), 1);
        cached.lookup("a.test", RecordType::Aaaa).await.unwrap();
        assert_eq!(slow.asked.load(Ordering::Relaxed), 2, "another type is another question");
    }

    #[tokio::test]
    async fn negative_answers_and_failures_are_kept_too() {
        let (slow, cached) = cached("dead.test !");
        for _ in 0..3 {
            assert_eq!(cached.lookup("no.test", RecordType::A).await.unwrap().answer, Answer::NoSuchName);
            assert!(cached.lookup("dead.test", RecordType::A).await.is_err());
        }
        assert_eq!(slow.asked.load(Ordering::Relaxed), 2);
    }

    #[tokio::test]
    async fn a_look_up_goes_on_when_the_asker_left() {
        let (slow, cached) = cached("a.test A 192.0.2.1");
        let impatient =
            tokio::time::timeout(Duration::from_millis(5), cached.lookup("a.test", RecordType::A));
        assert!(impatient.await.is_err());
        assert!(cached.lookup("a.test", RecordType::A).await.is_ok());
        assert_eq!(slow.asked.load(Ordering::Relaxed), 1);
    }
}
