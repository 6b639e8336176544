//! Keeps a connection to the store, and mail from waiting for a store that is dead.
//!
//! One task dials, watches over the connection, and dials anew when it is lost. A circuit breaker counts failures; while it is
//! open mail is told so at once, and the same task tries the store until it answers. So it needs no mail to recover.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use redis::RedisError;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{sleep, sleep_until, timeout};

use super::cluster;
use super::dial::{Connection, Dialled, Endpoint};
use super::fault::{self, RedisFault};
use super::layout;
use super::url::Place;
use crate::breaker::{Breaker, Change, Limits, Permit};
use crate::store::HashKey;
use crate::telemetry::metrics::{self, StoreResult};

/// Longest time for a decision, a second try on a new connection included; shorter than the driver waits.
pub(super) const ANSWER_WITHIN: Duration = Duration::from_millis(400);
/// Longest time to find, dial and examine the store.
const DIAL_TIMEOUT: Duration = Duration::from_secs(3);
/// How often an idle connection is tried.
const HEARTBEAT: Duration = Duration::from_secs(2);
/// Pause after a failure while the breaker is closed.
const PAUSE: Duration = Duration::from_millis(50);
/// Short enough that full service is back well within 5 s of the store.
const LIMITS: Limits =
    Limits { failures: 5, first_pause: Duration::from_millis(200), longest_pause: Duration::from_secs(1) };
/// A Cluster that served somebody within this time is not dead, whatever fails: a node of several is lost.
const SIGN_OF_LIFE: Duration = Duration::from_secs(1);

/// A connection with the hash key of the store it leads to.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) connection: Connection,
    pub(super) place: Place,
    pub(super) hash_key: HashKey,
}

/// Something to do over a connection; it may be begun anew on another one.
pub(super) trait Operation: Sync {
    type Answer: Send;

    fn run(&self, link: &Link) -> impl Future<Output = Result<Self::Answer, RedisError>> + Send;
}

/// Told whether the store answers, at each change.
pub(super) type OnChange = Box<dyn Fn(bool) + Send + Sync>;

/// The connection, and the task that keeps it. The task ends with this value.
#[derive(Debug)]
pub(super) struct Keeper {
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

struct Shared {
    endpoint: Endpoint,
    answer_within: Duration,
    breaker: Breaker,
    /// The connection in use, `None` while there is none.
    link: watch::Sender<Option<Arc<Link>>>,
    /// The hash key of the store as last seen, and whether it was seen; before that one that becomes the store's if it has none.
    /// Where a store was emptied all Greylags on it come with the old key again, and so stay agreed.
    hash_key: Mutex<(HashKey, bool)>,
    on_change: OnChange,
    last_success: Mutex<Option<Instant>>,
    /// The last heartbeat was refused.
    refusing: AtomicBool,
    /// Whether somebody was warned of an evicting server.
    warned: AtomicBool,
    /// What was last logged as the reason of the outage.
    told: Mutex<String>,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { endpoint, breaker, .. } = self;
        f.debug_struct("Shared").field("endpoint", endpoint).field("breaker", breaker).finish_non_exhaustive()
    }
}

impl Keeper {
    /// Connects. A store that is merely not there is waited for beside the mail, with the breaker open.
    pub(super) async fn start(
        endpoint: Endpoint,
        own: HashKey,
        answer_within: Duration,
        on_change: OnChange,
    ) -> Result<Self, RedisFault> {
        let shared = Arc::new(Shared {
            endpoint,
            answer_within,
            breaker: Breaker::new(LIMITS),
            link: watch::Sender::new(None),
            hash_key: Mutex::new((own, false)),
            on_change,
            refusing: AtomicBool::new(false),
            warned: AtomicBool::new(false),
            last_success: Mutex::default(),
            told: Mutex::default(),
        });
        match shared.connect().await {
            Ok(link) => {
                shared.link.send_replace(Some(Arc::new(link)));
                shared.changed(true);
            }
            Err(fault) if fault.is_configuration() => return Err(fault),
            Err(fault) => (0..LIMITS.failures).for_each(|_| shared.failed(&fault)),
        }
        let task = tokio::spawn(keep(Arc::clone(&shared)));
        Ok(Self { shared, task })
    }

    /// Runs `operation` over the connection, for mail that waits: at once an error while the store is known to fail.
    pub(super) async fn run<O: Operation>(&self, operation: O) -> Result<O::Answer, RedisFault> {
        if self.shared.breaker.is_open() {
            metrics::store(StoreResult::LeftAlone, Duration::ZERO);
            return Err(RedisFault::LeftAlone);
        }
        let began = Instant::now();
        let within = self.shared.answer_within;
        let result = timeout(within, self.shared.run(&operation)).await;
        let result = result.unwrap_or(Err(RedisFault::Timeout(within)));
        let ended = match &result {
            Ok(_) => StoreResult::Got,
            Err(RedisFault::Timeout(_)) => StoreResult::Timeout,
            Err(_) => StoreResult::Failed,
        };
        metrics::store(ended, began.elapsed());
        // While the store refuses to be written, those it knows say nothing of those it does not.
        if result.is_err() || !self.shared.refusing.load(Ordering::Relaxed) {
            self.shared.note(&result);
        }
        result
    }

    /// Runs an `operation` that nobody's mail waits for, and that may take its time.
    pub(super) async fn run_at_leisure<O: Operation>(
        &self,
        within: Duration,
        operation: O,
    ) -> Result<O::Answer, RedisFault> {
        if self.shared.breaker.is_open() {
            return Err(RedisFault::LeftAlone);
        }
        timeout(within, self.shared.run(&operation)).await.unwrap_or(Err(RedisFault::Timeout(within)))
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Shared {
    /// A connection that breaks under an operation costs it a second try: servers restart, and close what is idle.
    async fn run<O: Operation>(&self, operation: &O) -> Result<O::Answer, RedisFault> {
        let link = self.link().await?;
        match operation.run(&link).await {
            Err(error) if self.is_lost(&link, &error) => {
                self.replace(&link, None);
                let link = self.link().await?;
                Ok(operation.run(&link).await?)
            }
            result => Ok(result?),
        }
    }

    /// The connection, when there is one.
    async fn link(&self) -> Result<Arc<Link>, RedisFault> {
        let mut link = self.link.subscribe();
        let found = link.wait_for(Option::is_some).await.ok().and_then(|link| link.clone());
        found.ok_or(RedisFault::LeftAlone)
    }

    /// The connections of a Cluster are looked after by the library: that one node is lost says nothing of the others.
    fn is_lost(&self, link: &Link, error: &RedisError) -> bool {
        matches!(link.connection, Connection::Server(_)) && fault::needs_other_connection(error)
    }

    /// Puts `new` in the place of `old`, unless somebody else did before.
    fn replace(&self, old: &Arc<Link>, new: Option<Arc<Link>>) {
        self.link.send_if_modified(|link| match link {
            Some(current) if Arc::ptr_eq(current, old) => {
                *link = new;
                true
            }
            _ => false,
        });
    }

    async fn connect(&self) -> Result<Link, RedisFault> {
        let connecting = async {
            let dialled = self.endpoint.dial().await?;
            self.warn_of_eviction(&dialled);
            layout::examine(&dialled, self.endpoint.user()).await?;
            let hash_key = self.agree(&dialled.connection, &dialled.place).await?;
            if self.endpoint.is_cluster() {
                cluster::teach(&dialled.connection).await;
            }
            Ok(Link { connection: dialled.connection, place: dialled.place, hash_key })
        };
        timeout(DIAL_TIMEOUT, connecting).await.unwrap_or(Err(RedisFault::Timeout(DIAL_TIMEOUT)))
    }

    /// A store that forgets at random delays mail anew, and refuses none: a reason to warn, none to stand still.
    fn warn_of_eviction(&self, dialled: &Dialled) {
        let Some(policy) = dialled.info.evicts_by() else { return };
        if !self.warned.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                store = %self.endpoint.url(),
                "Redis at {} forgets senders when its memory is full, by maxmemory-policy {policy}: \
                 set maxmemory-policy noeviction (records expire by themselves)",
                dialled.place
            );
        }
    }

    /// Takes the hash key of the store, or gives it ours. In a Cluster the node that has it may be lost: the others go on with the
    /// one we know.
    async fn agree(&self, connection: &Connection, place: &Place) -> Result<HashKey, RedisFault> {
        let (own, is_agreed) = self.with_hash_key(|known| *known);
        match layout::agree(connection, place, self.endpoint.user(), own).await {
            Ok(hash_key) => {
                self.with_hash_key(|known| *known = (hash_key, true));
                if is_agreed && hash_key != own {
                    tracing::warn!(store = %self.endpoint.url(), "the greylist store was begun anew by another Greylag");
                }
                Ok(hash_key)
            }
            Err(fault) if is_agreed && self.endpoint.is_cluster() && !fault.is_configuration() => {
                layout::probe(connection).await?;
                Ok(own)
            }
            Err(fault) => Err(fault),
        }
    }

    fn with_hash_key<T>(&self, with: impl FnOnce(&mut (HashKey, bool)) -> T) -> T {
        with(&mut self.hash_key.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn note<T>(&self, result: &Result<T, RedisFault>) {
        match result {
            Ok(_) => self.succeeded(),
            Err(fault) => self.failed(fault),
        }
    }

    fn succeeded(&self) {
        *self.last_success.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
        if self.breaker.on_success() == Change::Closed {
            tracing::info!(store = %self.endpoint.url(), "the greylist store answers again");
            self.changed(true);
        }
    }

    fn failed(&self, fault: &RedisFault) {
        let last_success = *self.last_success.lock().unwrap_or_else(PoisonError::into_inner);
        if self.endpoint.is_cluster() && last_success.is_some_and(|last| last.elapsed() < SIGN_OF_LIFE) {
            return;
        }
        let change = self.breaker.on_failure(Instant::now());
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if change == Change::Opened {
            tracing::error!(
                store = %self.endpoint.url(), error = %fault,
                "the greylist store does not answer: on_store_failure decides until it does"
            );
            *told = fault.to_string();
            // Dial anew: the connection may lead to a host that is gone.
            self.link.send_replace(None);
            self.changed(false);
        } else if self.breaker.is_open() && fault.is_configuration() && *told != fault.to_string() {
            tracing::error!(store = %self.endpoint.url(), error = %fault, "the greylist store cannot be used");
            *told = fault.to_string();
        }
    }

    fn changed(&self, up: bool) {
        metrics::store_up(up);
        (self.on_change)(up);
    }

    /// Whether the store answers over this connection, is still the one we agreed with, and takes writes: one whose memory or disk is
    /// full, or that lacks replicas, may be read all the same.
    async fn heartbeat(&self, link: &Arc<Link>) -> Result<(), RedisFault> {
        let beat = timeout(self.answer_within, self.agree(&link.connection, &link.place)).await;
        let hash_key = beat.unwrap_or(Err(RedisFault::Timeout(self.answer_within)))?;
        let probe = timeout(self.answer_within, layout::probe(&link.connection)).await;
        match probe.unwrap_or(Err(RedisFault::Timeout(self.answer_within))) {
            // A Cluster may have lost the node of this slot, which says nothing of the others.
            Err(RedisFault::Refused(text)) if !text.starts_with("CLUSTERDOWN") => {
                return Err(RedisFault::Refused(text));
            }
            Err(_) if self.endpoint.is_cluster() => {}
            probe => probe?,
        }
        if hash_key != link.hash_key {
            let renewed = Link { connection: link.connection.clone(), place: link.place.clone(), hash_key };
            self.replace(link, Some(Arc::new(renewed)));
        }
        Ok(())
    }
}

async fn keep(shared: Arc<Shared>) {
    loop {
        watch_over(&shared).await;
        dial(&shared).await;
    }
}

/// Tries the connection from time to time, until it is lost.
async fn watch_over(shared: &Shared) {
    let mut links = shared.link.subscribe();
    let mut pause = HEARTBEAT;
    while timeout(pause, links.wait_for(Option::is_none)).await.is_err() {
        let link = links.borrow().clone();
        let Some(link) = link else { return };
        let beat = shared.heartbeat(&link).await;
        shared.refusing.store(matches!(beat, Err(RedisFault::Refused(_))), Ordering::Relaxed);
        shared.note(&beat);
        pause = if beat.is_ok() { HEARTBEAT } else { PAUSE };
        if matches!((&beat, &link.connection), (Err(RedisFault::Unreachable { .. }), Connection::Server(_))) {
            shared.replace(&link, None);
        }
    }
}

/// Dials until there is a connection, as often as the breaker allows.
async fn dial(shared: &Shared) {
    loop {
        match shared.breaker.permit(Instant::now()) {
            Permit::Refused(until) => sleep_until(until.into()).await,
            Permit::Pass | Permit::Probe => match shared.connect().await {
                Ok(link) => {
                    shared.link.send_replace(Some(Arc::new(link)));
                    // It was just examined whether it takes writes.
                    shared.refusing.store(false, Ordering::Relaxed);
                    shared.succeeded();
                    return;
                }
                Err(fault) => {
                    shared.failed(&fault);
                    sleep(PAUSE).await;
                }
            },
        }
    }
}
