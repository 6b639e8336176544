//! Puts changed policies in force: on SIGHUP, when a file changed, and when the control socket asks.
//!
//! One task does it, so that reloads follow one another. It reads and checks the whole directory aside, and then swaps the policy in
//! one step: a mail sees the old policy or the new one, from beginning to end. A policy with mistakes is never put in force.

mod links;
mod read;
mod watch;

use std::path::PathBuf;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, oneshot, watch as state};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use crate::driver::Driver;
use crate::telemetry::metrics;
use read::Read;
use watch::Watch;

/// Requests that may wait for the one under way.
const WAITING: usize = 32;

/// Most changes that a report names one by one.
const MAX_CHANGES: usize = 100;

/// Why the policies are read anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// SIGHUP.
    Signal,
    /// A file of the directory changed, or may have.
    FileChange,
    /// The control socket was asked to.
    Control,
}

impl Cause {
    const fn name(self) -> &'static str {
        match self {
            Self::Signal => "signal",
            Self::FileChange => "file_change",
            Self::Control => "control",
        }
    }
}

/// How a reload ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// What was read is in force.
    Reloaded,
    /// It has mistakes, and the policy before stays in force.
    Refused,
}

/// What a reload did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// How it ended.
    pub outcome: Outcome,
    /// The number of the policy in force now; each one that is put in force has the next.
    pub generation: u64,
    /// What differs from the policy before, one line each.
    pub changes: Vec<String>,
    /// Mistakes and warnings as `greylag check` shows them.
    pub diagnostics: String,
}

/// The policy in force.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PolicyState {
    /// Its number.
    pub generation: u64,
    /// The directory it was read from; `None` for the built-in policies.
    pub directory: Option<String>,
    /// Whether the files were read since and refused.
    pub reload_refused: bool,
}

/// Asks the reloading task.
#[derive(Clone, Debug)]
pub struct Reload {
    requests: mpsc::Sender<Request>,
    state: state::Receiver<PolicyState>,
}

type Request = (Cause, oneshot::Sender<Report>);

impl Reload {
    /// Has the policies read anew, and waits for it.
    ///
    /// # Errors
    /// When the daemon is shutting down.
    pub async fn ask(&self, cause: Cause) -> Result<Report, String> {
        let (sender, report) = oneshot::channel();
        let gone = "the daemon is shutting down";
        self.requests.send((cause, sender)).await.map_err(|_| gone.to_owned())?;
        report.await.map_err(|_| gone.to_owned())
    }

    /// The policy in force.
    pub fn state(&self) -> PolicyState {
        self.state.borrow().clone()
    }
}

/// The task that reloads.
#[derive(Debug)]
pub struct Reloader {
    directory: Option<PathBuf>,
    driver: Arc<Driver>,
    /// Of what was last read, good or bad.
    fingerprint: u64,
    state: state::Sender<PolicyState>,
    requests: mpsc::Receiver<Request>,
}

impl Reloader {
    /// For a driver whose policy was read from `directory`, or is built in. `fingerprint` is that of what was read.
    pub fn new(directory: Option<PathBuf>, fingerprint: u64, driver: Arc<Driver>) -> (Self, Reload) {
        let shown = directory.as_ref().map(|path| path.display().to_string());
        let (state, state_receiver) =
            state::channel(PolicyState { generation: 1, directory: shown, reload_refused: false });
        let (sender, requests) = mpsc::channel(WAITING);
        let reload = Reload { requests: sender, state: state_receiver };
        (Self { directory, driver, fingerprint, state, requests }, reload)
    }

    /// Reloads when there is cause to, until `drain` is cancelled.
    pub async fn run(mut self, drain: CancellationToken) {
        metrics::policy_generation(1);
        metrics::policy_reload_failed(false);
        let mut watch = Watch::new(self.directory.as_deref());
        // The files may have changed between the start and the first watch.
        watch.renew();
        self.reload(Cause::FileChange).await;
        loop {
            tokio::select! {
                () = drain.cancelled() => return,
                request = self.requests.recv() => {
                    let Some((cause, answer)) = request else { return };
                    watch.renew();
                    // Who asked may have gone away meanwhile.
                    let _ = answer.send(self.reload(cause).await);
                }
                () = watch.changed() => {
                    watch.renew();
                    self.reload(Cause::FileChange).await;
                }
            }
        }
    }

    async fn reload(&mut self, cause: Cause) -> Report {
        let (directory, old) = (self.directory.clone(), self.driver.policy());
        let seen = (cause == Cause::FileChange).then_some(self.fingerprint);
        let read = tokio::task::spawn_blocking(move || Read::new(directory.as_deref(), &old, seen)).await;
        let read = read.unwrap_or_else(|panic| Read::failed(&panic));
        match read {
            Read::Same => self.report(Outcome::Reloaded, Vec::new(), String::new()),
            Read::Good { fingerprint, policy, changes, warnings, diagnostics } => {
                self.fingerprint = fingerprint;
                self.driver.set_policy(*policy);
                self.state.send_modify(|state| {
                    state.generation += 1;
                    state.reload_refused = false;
                });
                let changes = cut(changes);
                let report = self.report(Outcome::Reloaded, changes, diagnostics);
                metrics::policy_generation(report.generation);
                metrics::policy_reload_failed(false);
                let summary = summary(&report.changes);
                info!(generation = report.generation, cause = cause.name(), changes = %summary, "policy reloaded");
                if !warnings.is_empty() {
                    warn!(problems = %warnings.join("; "), "the policy has warnings");
                }
                report
            }
            Read::Bad { fingerprint, errors, diagnostics } => {
                self.fingerprint = fingerprint.unwrap_or(self.fingerprint);
                self.state.send_modify(|state| state.reload_refused = true);
                metrics::policy_reload_failed(true);
                error!(
                    cause = cause.name(),
                    problems = %errors.join("; "),
                    "policy not reloaded, the one before stays in force"
                );
                self.report(Outcome::Refused, Vec::new(), diagnostics)
            }
        }
    }

    fn report(&self, outcome: Outcome, changes: Vec<String>, diagnostics: String) -> Report {
        Report { outcome, generation: self.state.borrow().generation, changes, diagnostics }
    }
}

fn summary(changes: &[String]) -> String {
    if changes.is_empty() { "none".to_owned() } else { changes.join("; ") }
}

fn cut(mut changes: Vec<String>) -> Vec<String> {
    let more = changes.len().saturating_sub(MAX_CHANGES);
    changes.truncate(MAX_CHANGES);
    if more > 0 {
        changes.push(format!("and {more} more"));
    }
    changes
}
