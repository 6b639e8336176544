//! Tells when files of the policy directory change.
//!
//! Directories are watched and not files, since editors put a new file in the old one's place.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use notify::event::{AccessKind, AccessMode};
use notify::{Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::Notify;
use tokio::time::{Instant, timeout, timeout_at};
use tracing::warn;

use super::links::Places;

/// Changes end when none came for this long: a save is several events, a copied directory many.
const QUIET: Duration = Duration::from_millis(200);

/// Changes that do not end are looked at after this time all the same.
const LONGEST: Duration = Duration::from_secs(2);

/// Watches the directories that the policy is read from.
pub(super) struct Watch {
    root: Option<PathBuf>,
    changes: Arc<Notify>,
    /// When the changes began that were not told yet.
    began: Option<Instant>,
    watcher: Option<RecommendedWatcher>,
    complained: bool,
}

impl Watch {
    /// Watches nothing yet.
    pub(super) fn new(root: Option<&Path>) -> Self {
        let changes = Arc::new(Notify::new());
        Self { root: root.map(Path::to_owned), changes, began: None, watcher: None, complained: false }
    }

    /// Watches what is there now: directories may have come, and links may lead elsewhere. To be called before the files are read,
    /// so that no change is missed.
    pub(super) fn renew(&mut self) {
        self.began = None;
        let Some(root) = &self.root else { return };
        let places = Places::find(root);
        let started = start(&places, &self.changes);
        let is_gone = |error: &notify::Error| matches!(error.kind, notify::ErrorKind::PathNotFound);
        let is_stale = started.as_ref().is_err_and(is_gone) || Places::find(root) != places;
        if is_stale {
            // What came or went meanwhile may not be watched: once more, in a moment.
            self.changes.notify_one();
        }
        match started {
            Ok(watcher) => {
                self.watcher = Some(watcher);
                self.complained = false;
            }
            Err(error) if !is_stale && !self.complained => {
                warn!(%error, "policy files are not watched: after a change send SIGHUP or say `greylag reload`");
                self.complained = true;
            }
            Err(_) => {}
        }
    }

    /// Waits until something changed and the changes came to an end. Nothing is lost where the caller stops waiting.
    pub(super) async fn changed(&mut self) {
        let began = match self.began {
            Some(began) => began,
            None => {
                self.changes.notified().await;
                *self.began.insert(Instant::now())
            }
        };
        let deadline = began + LONGEST;
        let quiet = async { while timeout(QUIET, self.changes.notified()).await.is_ok() {} };
        // At the deadline it is time as well.
        let _ = timeout_at(deadline, quiet).await;
        self.began = None;
    }
}

impl std::fmt::Debug for Watch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Watch").field("root", &self.root).finish_non_exhaustive()
    }
}

fn start(places: &Places, changes: &Arc<Notify>) -> notify::Result<RecommendedWatcher> {
    let (changes, concerns) = (Arc::clone(changes), places.clone());
    let mut watcher = notify::recommended_watcher(move |event: notify::Result<Event>| {
        // What went wrong may have hidden a change.
        if event.is_ok_and(|event| !is_change(&event.kind) || !concerns.concern(&event.paths)) {
            return;
        }
        changes.notify_one();
    })?;
    for directory in places.directories_above() {
        // Before those below, so that none is replaced unseen. Some may be closed to us: the files are watched all the same.
        let _ = watcher.watch(directory, RecursiveMode::NonRecursive);
    }
    for directory in places.directories() {
        watcher.watch(directory, RecursiveMode::NonRecursive)?;
    }
    Ok(watcher)
}

/// Reading, which we do ourselves, is none.
fn is_change(kind: &EventKind) -> bool {
    match kind {
        EventKind::Access(access) => *access == AccessKind::Close(AccessMode::Write),
        _ => true,
    }
}
