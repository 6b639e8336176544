//! Scans run beside the connections: on threads of their own, a bounded number at once, in fair shares of the clients.

mod faults;
mod queue;

use std::panic::{self, AssertUnwindSafe};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use crate::checks::{AttachmentSettings, ContentSettings};
use crate::content::{self, Cancel, Inspection, Report, Structure};
use crate::facts::{Client, Message};
use crate::filter::Fault;
use faults::Faults;
use queue::{FairQueue, Sender, Ticket};

/// A bounded pool for scans. Clones are the same pool.
#[derive(Clone)]
pub struct Scanner {
    pool: Arc<Pool>,
    /// Ends the threads with the last clone.
    _end: Arc<End>,
}

type Scan = dyn Fn(&Structure, &AttachmentSettings, &Cancel) -> Report + Send + Sync;
type ScanAtOnce = fn(&Structure, &AttachmentSettings) -> Option<Report>;

struct Pool {
    scan: Box<Scan>,
    /// For messages that may be little work.
    scan_at_once: Option<ScanAtOnce>,
    threads: usize,
    waiting: Mutex<Waiting>,
    /// Told when something waits, and when the pool ends.
    news: Condvar,
    faults: Faults,
    /// Those of content rules: one message may fail both.
    inspection_faults: Faults,
}

#[derive(Default)]
struct Waiting {
    queue: FairQueue<Job>,
    /// Threads there are, and those of them that scan.
    started: usize,
    running: usize,
    is_over: bool,
}

type Work = dyn FnOnce(&Pool, &Structure, &Cancel) + Send;

struct Job {
    structure: Arc<Structure>,
    cancel: Cancel,
    work: Box<Work>,
}

impl Scanner {
    /// A pool that runs at most `threads` scans at once.
    pub fn new(threads: usize) -> Self {
        Self::with(threads, content::scan_structure, Some(content::scan_at_once))
    }

    fn with(
        threads: usize,
        scan: impl Fn(&Structure, &AttachmentSettings, &Cancel) -> Report + Send + Sync + 'static,
        scan_at_once: Option<ScanAtOnce>,
    ) -> Self {
        let pool = Pool {
            scan: Box::new(scan),
            scan_at_once,
            threads: threads.max(1),
            waiting: Mutex::default(),
            news: Condvar::new(),
            faults: Faults::new(),
            inspection_faults: Faults::new(),
        };
        let pool = Arc::new(pool);
        Self { _end: Arc::new(End(Arc::clone(&pool))), pool }
    }

    /// Scans a message from `client`, waiting for its turn and for the result within `budget` together.
    ///
    /// # Errors
    /// [`Fault::Timeout`] when the time was up; the scan is cancelled. [`Fault::Failed`] when it failed by a fault of ours, a
    /// panic included: the mail is deferred, and the process goes on. [`Fault::FailedAgain`] when it did so before.
    pub async fn scan(
        &self,
        client: Client,
        structure: &Arc<Structure>,
        settings: Arc<AttachmentSettings>,
        budget: Duration,
    ) -> Result<Arc<Report>, Fault> {
        let message = structure.message();
        if let Some(scan) = self.pool.scan_at_once
            && let Some(result) =
                at_once_or_later(message, &self.pool.faults, || scan(structure, &settings)).await
        {
            return result;
        }
        let scan = move |pool: &Pool, structure: &Structure, cancel: &Cancel| {
            (pool.scan)(structure, &settings, cancel)
        };
        self.run(client, structure, budget, |pool| &pool.faults, scan).await
    }

    /// Reads a message by content rules, as [`Self::scan`] scans it.
    ///
    /// # Errors
    /// Those of [`Self::scan`].
    pub async fn inspect(
        &self,
        client: Client,
        structure: &Arc<Structure>,
        settings: Arc<ContentSettings>,
        budget: Duration,
    ) -> Result<Arc<Inspection>, Fault> {
        let message = structure.message();
        let at_once = || content::inspect_at_once(structure, &settings);
        if let Some(result) = at_once_or_later(message, &self.pool.inspection_faults, at_once).await {
            return result;
        }
        let inspect = move |_: &Pool, structure: &Structure, cancel: &Cancel| {
            content::inspect_structure(structure, &settings, cancel)
        };
        self.run(client, structure, budget, |pool| &pool.inspection_faults, inspect).await
    }

    async fn run<T: Send + Sync + 'static>(
        &self,
        client: Client,
        structure: &Arc<Structure>,
        budget: Duration,
        faults: fn(&Pool) -> &Faults,
        work: impl FnOnce(&Pool, &Structure, &Cancel) -> T + Send + 'static,
    ) -> Result<Arc<T>, Fault> {
        let (answer, answered) = oneshot::channel();
        let work = Box::new(move |pool: &Pool, structure: &Structure, cancel: &Cancel| {
            let result =
                guarded(structure.message(), faults(pool), || work(pool, structure, cancel)).map(Arc::new);
            // Nobody may be waiting any more.
            let _ = answer.send(result);
        });
        let (cancel, bytes) = (Cancel::default(), structure.message().len() as u64);
        let job = Job { structure: Arc::clone(structure), cancel: cancel.clone(), work };
        let ticket = self.pool.lock().queue.push(Sender::of(client), bytes, job);
        let _asked = Asked { pool: &self.pool, ticket, cancel };
        self.pool.start();
        match tokio::time::timeout(budget, answered).await {
            Ok(Ok(result)) => result,
            Ok(Err(_)) => Err(Fault::Failed("the scan was lost".into())),
            Err(_) => Err(Fault::Timeout),
        }
    }
}

impl Pool {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has somebody look at what waits. A thread once started is kept, and so is the memory that scans took from the system: were each
    /// scan on another thread, the memory of all of them would grow to what the largest takes.
    fn start(self: &Arc<Self>) {
        let mut waiting = self.lock();
        let idle = waiting.started - waiting.running;
        if waiting.queue.len() <= idle || waiting.started == self.threads {
            self.news.notify_one();
            return;
        }
        let pool = Arc::clone(self);
        match thread::Builder::new().name("scan".to_owned()).spawn(move || pool.work()) {
            Ok(_) => waiting.started += 1,
            Err(error) => {
                tracing::error!(
                    %error,
                    threads = waiting.started,
                    "cannot start a thread for scans: raise the service's limit of threads (TasksMax=) or lower \
                     scan_threads"
                )
            }
        }
    }

    /// Serves one after the other, and waits when nothing waits for it.
    fn work(&self) {
        let mut waiting = self.lock();
        loop {
            if let Some((sender, Job { structure, cancel, work })) = waiting.queue.pop() {
                waiting.running += 1;
                drop(waiting);
                work(self, &structure, &cancel);
                drop(structure);
                waiting = self.lock();
                waiting.running -= 1;
                waiting.queue.done(sender);
            } else if waiting.is_over {
                return;
            } else {
                waiting = self.news.wait(waiting).unwrap_or_else(PoisonError::into_inner);
            }
        }
    }
}

struct End(Arc<Pool>);

impl Drop for End {
    fn drop(&mut self) {
        self.0.lock().is_over = true;
        self.0.news.notify_all();
    }
}

/// What `work` makes of the message here and now; `None` where it is left to a thread of the pool: handing it over and back takes longer
/// than a small mail does.
async fn at_once_or_later<T>(
    message: &Message,
    faults: &Faults,
    work: impl FnOnce() -> Option<T>,
) -> Option<Result<Arc<T>, Fault>> {
    if !content::may_be_little_work(message) {
        return None;
    }
    // Behind those that only wait for an answer; and another thread may take it over from here.
    tokio::task::yield_now().await;
    guarded(message, faults, work).transpose().map(|result| result.map(Arc::new))
}

/// A scan that panics leaves nothing behind: what it works on is its own, or read only.
fn guarded<T>(message: &Message, faults: &Faults, work: impl FnOnce() -> T) -> Result<T, Fault> {
    panic::catch_unwind(AssertUnwindSafe(work)).map_err(|_| fault(faults, message))
}

fn fault(faults: &Faults, message: &Message) -> Fault {
    let again = faults.again(message, Instant::now());
    tracing::error!(again, bytes = message.len(), "a scan failed by a fault of ours");
    let why = "the scan failed".to_owned();
    if again { Fault::FailedAgain(why) } else { Fault::Failed(why) }
}

/// Somebody waits for a scan; when they do no more, whatever the reason, it is neither run nor run on.
struct Asked<'p> {
    pool: &'p Pool,
    ticket: Ticket,
    cancel: Cancel,
}

impl Drop for Asked<'_> {
    fn drop(&mut self) {
        self.cancel.cancel();
        self.pool.lock().queue.remove(self.ticket);
    }
}

impl std::fmt::Debug for Scanner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Scanner").field("threads", &self.pool.threads).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
