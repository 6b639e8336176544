//! Whether the disk takes what is written: found out beside the mail, as who is known is answered without the disk.

use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::time::sleep;

use super::{EmbeddedStore, State};
use crate::telemetry::metrics;

/// How often it is looked at. What was queued before must be written by then, or the disk hangs: mail waits half a second at most.
const LOOK_EVERY: Duration = Duration::from_secs(1);

impl EmbeddedStore {
    /// Tells `on_change` and the metrics whether the store can write, in the runtime of the caller: that it can now, then at each change.
    pub fn watch(&self, on_change: impl Fn(bool) + Send + Sync + 'static) {
        let tell = move |up| {
            metrics::store_up(up);
            on_change(up);
        };
        tell(true);
        tokio::spawn(watch(Arc::downgrade(&self.state), tell));
    }
}

/// Ends with the store.
async fn watch(state: Weak<State>, tell: impl Fn(bool)) {
    let (mut queued, mut was_up) = (None, true);
    loop {
        sleep(LOOK_EVERY).await;
        let Some(state) = state.upgrade() else { return };
        let is_written = queued.is_none_or(|place| state.journal.keeps_up_with(place));
        let is_up = is_written && state.database.check_room().is_ok();
        queued = Some(state.journal.queued());
        if is_up == was_up {
            continue;
        }
        was_up = is_up;
        let directory = state.directory.display();
        if is_up {
            tracing::info!(store = %directory, "the greylist store takes writes again");
        } else {
            tracing::error!(
                store = %directory,
                "the greylist store takes no writes: on_store_failure decides of unknown senders until it does"
            );
        }
        tell(is_up);
    }
}
