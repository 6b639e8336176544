//! SPF that answers too late: the recipient was answered without it, and the identity is added to the attempt when it comes, so
//! that the retry from another host is known by it.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Semaphore, mpsc};

use crate::auth::{self, SpfQuery, SpfResult};
use crate::dns::Resolver;
use crate::store::{Attempt, Identity, IdentityKind, Store, Timestamp};
use crate::telemetry::metrics::{self, LateSpfResult};

/// How long an answer is waited for, counted from when the recipient was answered without it, and attempts of the same mail are
/// taken.
const PATIENCE: Duration = Duration::from_secs(20);
/// Before asking again where the DNS failed; the resolver's cache remembers a failure for five seconds.
const PAUSE: Duration = Duration::from_secs(6);
/// Mails that are waited for at a time. Beyond it a mail goes without; slow name servers must not fill the memory.
const MAX_MAILS: usize = 256;
/// Attempts of one mail.
const MAX_ATTEMPTS: usize = 1_000;

/// What waits for SPF, of all mails.
#[derive(Debug)]
pub(super) struct LateSpf {
    places: Arc<Semaphore>,
}

/// What waits for SPF, of one mail. When it is dropped, no further attempts come.
#[derive(Debug)]
pub(super) struct LateMail {
    attempts: mpsc::Sender<(Attempt, Timestamp)>,
}

impl Default for LateSpf {
    fn default() -> Self {
        Self { places: Arc::new(Semaphore::new(MAX_MAILS)) }
    }
}

impl LateSpf {
    /// Goes on asking `query` beside the mail; `None` where too many do. What was looked up already is in the resolver's cache.
    pub(super) fn go_on(
        &self,
        query: SpfQuery,
        resolver: Arc<dyn Resolver>,
        store: Arc<dyn Store>,
    ) -> Option<LateMail> {
        let Ok(place) = Arc::clone(&self.places).try_acquire_owned() else {
            metrics::greylist_late_spf(LateSpfResult::Refused);
            return None;
        };
        let (attempts, taken) = mpsc::channel(MAX_ATTEMPTS);
        tokio::spawn(async move {
            let _place = place;
            let _ = tokio::time::timeout(PATIENCE, add(&query, &*resolver, &*store, taken)).await;
        });
        Some(LateMail { attempts })
    }
}

impl LateMail {
    /// An attempt that was recorded at `made` without the identity.
    pub(super) fn add(&self, attempt: &Attempt, made: Timestamp) {
        // Where SPF has answered that it identifies nobody, or not at all, nobody takes it.
        if self.attempts.try_send((attempt.clone(), made)).is_err() {
            metrics::greylist_late_spf(LateSpfResult::None);
        }
    }
}

async fn add(
    query: &SpfQuery,
    resolver: &dyn Resolver,
    store: &dyn Store,
    mut attempts: mpsc::Receiver<(Attempt, Timestamp)>,
) {
    let mut spf = auth::spf(query, resolver).await;
    while spf.result == SpfResult::TempError {
        tokio::time::sleep(PAUSE).await;
        spf = auth::spf(query, resolver).await;
    }
    let domain = spf.vouching_domain().map(Arc::clone);
    while let Some((mut attempt, made)) = attempts.recv().await {
        let Some(domain) = &domain else {
            metrics::greylist_late_spf(LateSpfResult::None);
            continue;
        };
        attempt.identities = vec![Identity { kind: IdentityKind::Spf, key: Arc::clone(domain) }];
        match store.add_identities(&attempt, made).await {
            Ok(()) => metrics::greylist_late_spf(LateSpfResult::Added),
            Err(error) => tracing::debug!(%error, "an identity that was found late is not recorded"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dns::{Lookup, RecordType, Zone};
    use crate::driver::{Clock, Driver, Protocol, Scanner};
    use crate::facts::{Client, Facts, Recipient, ReversePath, Stage};
    use crate::policy::Policy;
    use crate::store::{Answer, MemoryStore, Rules};

    /// A DNS that knows this zone, and answers after a while.
    #[derive(Debug)]
    struct Slow(Zone, Duration);

    impl Resolver for Slow {
        fn lookup<'a>(&'a self, name: &'a str, record_type: RecordType) -> Lookup<'a> {
            Box::pin(async move {
                tokio::time::sleep(self.1).await;
                self.0.lookup(name, record_type).await
            })
        }
    }

    const ZONE: &str = "pool.test TXT v=spf1 include:_spf.pool.test -all
        _spf.pool.test TXT v=spf1 ip4:192.0.2.0/24 ip4:198.51.100.0/24 -all
        open.test TXT v=spf1 +all";

    fn facts(sender: &str, recipient: &str) -> Facts {
        let mut facts = Facts {
            sender: Some(ReversePath::parse(sender)),
            recipient: Some(Recipient::parse(recipient)),
            content_follows: true,
            ..Facts::default()
        };
        facts.connection.client = Client::parse("192.0.2.1");
        facts
    }

    /// What the greylist would say of the SPF domain's attempt.
    async fn peek(store: &dyn Store, domain: &str, recipient: &str) -> Answer {
        let attempt = Attempt {
            identities: vec![Identity { kind: IdentityKind::Spf, key: domain.into() }],
            client: [198, 51, 100, 1].into(),
            sender: format!("a@{domain}"),
            recipient: recipient.into(),
            never_promote: false,
            mail_counted: false,
            rules: Rules::DEFAULT,
        };
        store.peek(&attempt, Clock::default().now()).await.unwrap()
    }

    fn driver(delay: Duration) -> (Driver, Arc<MemoryStore>) {
        let off = ["helo", "auth"].map(|check| (format!("{check}.toml"), "mode = \"off\"".to_owned()));
        let policy = Policy::load(&off.into()).map(|(policy, _)| policy).unwrap();
        let store = Arc::new(MemoryStore::new(1_000).unwrap());
        let resolver = Arc::new(Slow(Zone::parse(ZONE), delay));
        (Driver::new(policy, resolver, Arc::clone(&store) as Arc<dyn Store>, Scanner::new(1)), store)
    }

    #[tokio::test(start_paused = true)]
    async fn an_identity_that_is_known_late_is_added_to_every_attempt_of_the_mail() {
        let (driver, store) = driver(Duration::from_secs(1));
        let mut transaction = driver.begin(Protocol::Milter);
        for recipient in ["r1@example.test", "r2@example.test"] {
            let verdict = driver.judge(Stage::Rcpt, &facts("a@pool.test", recipient), &mut transaction).await;
            assert!(verdict.action().refuses());
            assert!(matches!(peek(&*store, "pool.test", recipient).await, Answer::FirstSeen { .. }));
        }
        tokio::time::sleep(Duration::from_secs(6)).await;
        for recipient in ["r1@example.test", "r2@example.test"] {
            assert!(
                matches!(peek(&*store, "pool.test", recipient).await, Answer::TooEarly { .. }),
                "{recipient}"
            );
        }
        // SPF stays unknown to the mail, and its attempts are completed at once.
        driver.judge(Stage::Rcpt, &facts("a@pool.test", "r3@example.test"), &mut transaction).await;
        tokio::time::sleep(Duration::from_millis(1)).await;
        assert!(matches!(peek(&*store, "pool.test", "r3@example.test").await, Answer::TooEarly { .. }));
        assert!(matches!(peek(&*store, "pool.test", "r4@example.test").await, Answer::FirstSeen { .. }));
        drop(transaction);
        tokio::time::sleep(Duration::from_millis(1)).await;
        assert_eq!(driver.late_spf.places.available_permits(), MAX_MAILS);
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_only_explained_adds_nothing() {
        let (driver, store) = driver(Duration::from_secs(1));
        let driver = driver.explaining();
        let mut transaction = driver.begin(Protocol::Milter);
        let verdict =
            driver.judge(Stage::Rcpt, &facts("a@pool.test", "r@example.test"), &mut transaction).await;
        assert!(verdict.action().refuses());
        assert_eq!(driver.late_spf.places.available_permits(), MAX_MAILS);
        tokio::time::sleep(PATIENCE).await;
        assert!(matches!(peek(&*store, "pool.test", "r@example.test").await, Answer::FirstSeen { .. }));
    }

    #[tokio::test(start_paused = true)]
    async fn what_passes_anyone_identifies_nobody_late_either() {
        let (driver, store) = driver(Duration::from_secs(2));
        let mut transaction = driver.begin(Protocol::Milter);
        driver.judge(Stage::Rcpt, &facts("a@open.test", "r@example.test"), &mut transaction).await;
        tokio::time::sleep(PATIENCE).await;
        assert!(matches!(peek(&*store, "open.test", "r@example.test").await, Answer::FirstSeen { .. }));
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_is_waited_for_without_end() {
        let (driver, store) = driver(Duration::from_secs(3_600));
        let mut transaction = driver.begin(Protocol::Milter);
        driver.judge(Stage::Rcpt, &facts("a@pool.test", "r@example.test"), &mut transaction).await;
        assert_eq!(driver.late_spf.places.available_permits(), MAX_MAILS - 1);
        tokio::time::sleep(PATIENCE + Duration::from_millis(1)).await;
        assert_eq!(driver.late_spf.places.available_permits(), MAX_MAILS);
        assert!(matches!(peek(&*store, "pool.test", "r@example.test").await, Answer::FirstSeen { .. }));

        let full = LateSpf { places: Arc::new(Semaphore::new(0)) };
        let query = SpfQuery {
            client: [192, 0, 2, 1].into(),
            helo: String::new(),
            sender: ReversePath::parse("a@pool.test"),
        };
        let resolver = Arc::new(Zone::parse(ZONE));
        assert!(full.go_on(query, resolver, store).is_none());
    }
}
