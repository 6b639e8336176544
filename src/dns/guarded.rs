//! The circuit breaker before the live resolver: while no name server answers, nobody waits for one.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use super::{DnsFault, Lookup, RecordType, Resolver};
use crate::breaker::{Breaker, Change, Limits, Permit};
use crate::telemetry::metrics;

/// Control questions without answer after which the DNS counts as dead.
const LIMITS: Limits =
    Limits { failures: 3, first_pause: Duration::from_secs(1), longest_pause: Duration::from_secs(30) };
/// The control question: the mail exchangers of the root, which has none. Every resolver knows that from its cache.
const CONTROL: (&str, RecordType) = ("", RecordType::Mx);

/// A circuit breaker before another resolver. While it is open, look-ups fail at once.
///
/// A look-up without answer proves nothing: the name may be one whose own servers are dead, and anybody can own such a name.
/// So it only raises the suspicion, and control questions, asked beside the mail, tell whether the resolver is alive. They
/// open the breaker, and close it too, so that it needs no mail to recover.
#[derive(Debug)]
pub struct Guarded {
    shared: Arc<Shared>,
}

struct Shared {
    inner: Arc<dyn Resolver>,
    breaker: Breaker,
    /// Whether control questions are being asked.
    watching: AtomicBool,
    on_change: Box<dyn Fn(bool) + Send + Sync>,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { inner, breaker, watching, on_change: _ } = self;
        f.debug_struct("Shared")
            .field("inner", inner)
            .field("breaker", breaker)
            .field("watching", watching)
            .finish_non_exhaustive()
    }
}

impl Guarded {
    /// A breaker before `inner`. `on_change` is told whether the DNS answers: once now (it is taken to), then at each change.
    pub fn new(inner: Arc<dyn Resolver>, on_change: impl Fn(bool) + Send + Sync + 'static) -> Self {
        Self::with_limits(inner, LIMITS, on_change)
    }

    fn with_limits(
        inner: Arc<dyn Resolver>,
        limits: Limits,
        on_change: impl Fn(bool) + Send + Sync + 'static,
    ) -> Self {
        metrics::dns_up(true);
        on_change(true);
        let breaker = Breaker::new(limits);
        let on_change = Box::new(on_change);
        Self { shared: Arc::new(Shared { inner, breaker, watching: AtomicBool::new(false), on_change }) }
    }
}

impl Resolver for Guarded {
    fn lookup<'a>(&'a self, name: &'a str, record_type: RecordType) -> Lookup<'a> {
        if self.shared.breaker.is_open() {
            self.shared.watch();
            return Box::pin(std::future::ready(Err(DnsFault::NotAsked("the DNS is not answering"))));
        }
        Box::pin(async move {
            let result = self.shared.inner.lookup(name, record_type).await;
            match &result {
                Err(fault) if fault.is_silence() => self.shared.watch(),
                _ => self.shared.answered(),
            }
            result
        })
    }
}

impl Shared {
    /// Starts to ask control questions, unless they are being asked.
    fn watch(self: &Arc<Self>) {
        if !self.watching.swap(true, Ordering::Relaxed) {
            tokio::spawn(watch(Watch(Arc::downgrade(self))));
        }
    }

    /// Asks the control question; whether there was an answer, be it a failure.
    async fn control(&self) -> bool {
        match self.inner.lookup(CONTROL.0, CONTROL.1).await {
            Err(fault) if fault.is_silence() => {
                self.silent(&fault);
                false
            }
            _ => {
                self.answered();
                true
            }
        }
    }

    fn answered(&self) {
        if self.breaker.on_success() == Change::Closed {
            tracing::info!("the DNS answers again");
            self.changed(true);
        }
    }

    fn silent(&self, fault: &DnsFault) {
        if self.breaker.on_failure(Instant::now()) == Change::Opened {
            tracing::warn!(
                error = %fault,
                "the DNS does not answer: what is asked of it is unknown, and nothing is refused for it; \
                 see that the name servers of --dns or /etc/resolv.conf are up and reachable"
            );
            self.changed(false);
        }
    }

    fn changed(&self, up: bool) {
        metrics::dns_up(up);
        (self.on_change)(up);
    }
}

/// Asks control questions until one is answered, or nobody uses the resolver any more.
async fn watch(watch: Watch) {
    while let Some(shared) = watch.0.upgrade() {
        match shared.breaker.permit(Instant::now()) {
            Permit::Pass | Permit::Probe => {
                if shared.control().await {
                    return;
                }
            }
            Permit::Refused(until) => {
                // Not to keep alive what nobody uses while waiting.
                drop(shared);
                tokio::time::sleep_until(until.into()).await;
            }
        }
    }
}

/// That control questions are asked; the end of this is the end of that, however it comes.
struct Watch(Weak<Shared>);

impl Drop for Watch {
    fn drop(&mut self) {
        if let Some(shared) = self.0.upgrade() {
            shared.watching.store(false, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dns::{Answer, Zone};
    use std::sync::Mutex;
    use std::sync::atomic::AtomicUsize;

    const SHORT: Limits = Limits {
        failures: 2,
        first_pause: Duration::from_millis(20),
        longest_pause: Duration::from_millis(20),
    };

    /// A DNS that may be dead as a whole; names in `silent.test` never have an answer.
    #[derive(Debug, Default)]
    struct Net {
        dead: AtomicBool,
        asked: AtomicUsize,
        changes: Mutex<Vec<bool>>,
    }

    impl Resolver for Net {
        fn lookup<'a>(&'a self, name: &'a str, record_type: RecordType) -> Lookup<'a> {
            self.asked.fetch_add(1, Ordering::Relaxed);
            if self.dead.load(Ordering::Relaxed) || name.ends_with("silent.test") {
                return Box::pin(async {
                    tokio::time::sleep(Duration::from_millis(1)).await;
                    Err(DnsFault::Timeout)
                });
            }
            let zone = Zone::parse("broken.test !");
            Box::pin(async move { zone.lookup(name, record_type).await })
        }
    }

    fn guarded() -> (Arc<Net>, Guarded) {
        let net = Arc::new(Net::default());
        let told = Arc::clone(&net);
        let on_change = move |up| told.changes.lock().unwrap().push(up);
        (Arc::clone(&net), Guarded::with_limits(net, SHORT, on_change))
    }

    async fn until(what: &str, condition: impl Fn() -> bool) {
        for _ in 0..5_000 {
            if condition() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        panic!("not {what}");
    }

    #[tokio::test]
    async fn a_dead_dns_is_left_alone_and_comes_back_by_itself() {
        let (net, guarded) = guarded();
        net.dead.store(true, Ordering::Relaxed);
        assert_eq!(guarded.lookup("a.test", RecordType::A).await, Err(DnsFault::Timeout));
        until("open", || guarded.shared.breaker.is_open()).await;
        let refused = Err(DnsFault::NotAsked("the DNS is not answering"));
        assert_eq!(guarded.lookup("a.test", RecordType::A).await, refused);

        net.dead.store(false, Ordering::Relaxed);
        until("closed", || !guarded.shared.breaker.is_open()).await;
        assert_eq!(guarded.lookup("a.test", RecordType::A).await.unwrap().answer, Answer::NoSuchName);
        until("at rest", || !guarded.shared.watching.load(Ordering::Relaxed)).await;
        assert_eq!(*net.changes.lock().unwrap(), [true, false, true]);
    }

    #[tokio::test]
    async fn one_silent_zone_does_not_make_the_dns_dead() {
        let (net, guarded) = guarded();
        for number in 0..20 {
            let name = format!("{number}.silent.test");
            assert_eq!(guarded.lookup(&name, RecordType::A).await, Err(DnsFault::Timeout));
            until("at rest", || !guarded.shared.watching.load(Ordering::Relaxed)).await;
        }
        assert_eq!(net.asked.load(Ordering::Relaxed), 40, "each silence is followed by one control question");
        assert_eq!(*net.changes.lock().unwrap(), [true]);
    }

    #[tokio::test]
    async fn failures_and_denials_are_answers() {
        let (net, guarded) = guarded();
        for _ in 0..20 {
            assert!(guarded.lookup("broken.test", RecordType::A).await.is_err());
            assert!(guarded.lookup("no.test", RecordType::A).await.is_ok());
        }
        assert_eq!(net.asked.load(Ordering::Relaxed), 40, "no control question was needed");
        assert_eq!(*net.changes.lock().unwrap(), [true]);
    }

    #[tokio::test]
    async fn control_questions_end_with_the_resolver() {
        let (net, guarded) = guarded();
        net.dead.store(true, Ordering::Relaxed);
        assert_eq!(guarded.lookup("a.test", RecordType::A).await, Err(DnsFault::Timeout));
        until("open", || guarded.shared.breaker.is_open()).await;
        let shared = Arc::downgrade(&guarded.shared);
        drop(guarded);
        until("gone", || shared.strong_count() == 0).await;
    }
}
