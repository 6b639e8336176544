//! Scans run beside the connections: on threads of their own, a bounded number at once, first come first served.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;

use crate::checks::AttachmentSettings;
use crate::content::{self, Cancel, Report};
use crate::facts::Message;
use crate::filter::Fault;

/// A bounded pool for scans.
#[derive(Clone, Debug)]
pub struct Scanner {
    places: Arc<Semaphore>,
}

impl Scanner {
    /// A pool that runs at most `threads` scans at once.
    pub fn new(threads: usize) -> Self {
        Self { places: Arc::new(Semaphore::new(threads.max(1))) }
    }

    /// Scans `message`, waiting for a place and for the result within `budget` together.
    ///
    /// # Errors
    /// [`Fault::Timeout`] when the time was up; the scan is cancelled. [`Fault::Failed`] when it failed by a fault of ours, a
    /// panic included: the mail is deferred, and the process goes on.
    pub async fn scan(
        &self,
        message: Message,
        settings: Arc<AttachmentSettings>,
        budget: Duration,
    ) -> Result<Arc<Report>, Fault> {
        let cancel = CancelOnDrop(Cancel::default());
        let scan = self.run(message, settings, cancel.0.clone());
        tokio::time::timeout(budget, scan).await.unwrap_or(Err(Fault::Timeout))
    }

    async fn run(
        &self,
        message: Message,
        settings: Arc<AttachmentSettings>,
        cancel: Cancel,
    ) -> Result<Arc<Report>, Fault> {
        let place = Arc::clone(&self.places).acquire_owned().await;
        let place = place.map_err(|_| Fault::Failed("the scanner is closed".into()))?;
        let job = tokio::task::spawn_blocking(move || {
            let report = content::scan(&message, &settings, &cancel);
            drop(place);
            report
        });
        match job.await {
            Ok(report) => Ok(Arc::new(report)),
            Err(error) => {
                tracing::error!(%error, "a scan failed by a fault of ours");
                Err(Fault::Failed("the scan failed".into()))
            }
        }
    }
}

/// Cancels the scan when nobody waits for it any more, whatever the reason.
struct CancelOnDrop(Cancel);

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        self.0.cancel();
    }
}
