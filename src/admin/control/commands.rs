//! What each command does.

use std::sync::Arc;
use std::time::Instant;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::sync::Mutex;

use super::{GreylistRequest, Request, greylist};
use crate::admin::Readiness;
use crate::driver::Driver;
use crate::explain::{explain, explain_logged};
use crate::facts::Message;
use crate::reload::{Cause, PolicyState, Reload};
use crate::store::Store;
use crate::telemetry::TraceQuery;

/// The parts of the daemon that commands ask.
#[derive(Debug)]
pub struct Control {
    /// Judges mails.
    pub driver: Arc<Driver>,
    /// Reads the policies anew.
    pub reload: Reload,
    /// Which parts can do their work.
    pub readiness: Arc<Readiness>,
    /// The greylist.
    pub store: Arc<dyn Store>,
    /// When the daemon began to serve.
    pub since: Instant,
    /// Most bytes of a message that is asked about.
    pub message_memory: u64,
    /// Held by who reads the trace, one at a time: that takes many times the memory of what is shown.
    pub trace_turn: Mutex<()>,
}

impl Control {
    /// Carries out a request; `message` is what followed it. `Err` says in one sentence why it cannot be.
    pub(super) async fn answer(&self, request: Request, message: Option<Message>) -> Result<Value, String> {
        match request {
            Request::Reload => json(self.reload.ask(Cause::Control).await?),
            Request::Status => json(self.status()),
            Request::Greylist(request) => self.greylist(request).await,
            Request::Explain(envelope) | Request::ExplainMessage { envelope, .. } => {
                json(explain(&envelope, message, &self.driver).await)
            }
            Request::ExplainLogged { decision } => json(explain_logged(&decision, &self.driver.policy())?),
            Request::Trace(query) => self.trace(query).await,
        }
    }

    async fn greylist(&self, request: GreylistRequest) -> Result<Value, String> {
        let (store, policy) = (&*self.store, self.driver.policy());
        match request {
            GreylistRequest::Show(about) => json(greylist::show(store, &policy, &about).await?),
            GreylistRequest::Release { about, seconds } => {
                json(greylist::release(store, &policy, &about, seconds).await?)
            }
            GreylistRequest::Forget(about) => json(greylist::forget(store, &about).await?),
            GreylistRequest::Stats => json(greylist::stats(store).await?),
        }
    }

    async fn trace(&self, query: TraceQuery) -> Result<Value, String> {
        let driver = Arc::clone(&self.driver);
        if driver.trace().is_off() {
            return Err("its decisions are not kept: `trace_memory` in greylag.toml is 0".to_owned());
        }
        let _turn = self.trace_turn.lock().await;
        let found = tokio::task::spawn_blocking(move || json(driver.trace().find(&query))).await;
        found.map_err(|error| format!("the trace cannot be read: {error}"))?
    }

    fn status(&self) -> Status {
        Status {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            uptime_seconds: self.since.elapsed().as_secs(),
            policy: self.reload.state(),
            not_ready: self.readiness.complaints().into_iter().map(str::to_owned).collect(),
        }
    }
}

fn json(value: impl Serialize) -> Result<Value, String> {
    serde_json::to_value(value).map_err(|error| format!("the answer cannot be written: {error}"))
}

/// How the daemon is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// Its version.
    pub version: String,
    /// Its process id.
    pub pid: u32,
    /// How long it has been serving.
    pub uptime_seconds: u64,
    /// The policy in force.
    pub policy: PolicyState,
    /// One line for each part that cannot do its work, as `/readyz` shows them.
    pub not_ready: Vec<String>,
}
