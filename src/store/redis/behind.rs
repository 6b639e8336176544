//! Writes that no answer waits for.
//!
//! They are on their way to the server before the answer is given, and a connection keeps what it is given in order: so the next
//! decision of this process finds them done. One that fails leaves a count too low or too high, and nothing else: it is not tried again.

use std::future::poll_fn;
use std::task::Poll;

use redis::{Cmd, RedisError, Value};
use tokio_util::task::TaskTracker;

use super::dial::Connection;
use super::script::Script;

/// One write.
pub(super) enum Work {
    /// A script over one key.
    Script(&'static Script, Vec<u8>, Vec<Vec<u8>>),
    Command(Cmd),
}

impl Work {
    async fn run(self, connection: &Connection) -> Result<Value, RedisError> {
        match self {
            Self::Script(script, key, arguments) => script.run(connection, &[key], &arguments).await,
            Self::Command(command) => connection.query(&command).await,
        }
    }
}

/// The writes under way.
#[derive(Debug)]
pub(super) struct Behind(TaskTracker);

impl Behind {
    pub(super) fn new() -> Self {
        let tasks = TaskTracker::new();
        // It takes more all the same: this lets `wait` end when none is under way.
        tasks.close();
        Self(tasks)
    }

    /// Sends writes over `connection`, and waits for no reply.
    pub(super) async fn send(&self, connection: &Connection, work: Vec<Work>) {
        for work in work {
            let connection = connection.clone();
            let mut task = Box::pin(async move {
                if let Err(error) = work.run(&connection).await {
                    tracing::debug!(%error, "the greylist store did not take a count");
                }
            });
            // The first step of it is to send; the rest is to wait for the reply.
            let is_done = poll_fn(|context| Poll::Ready(task.as_mut().poll(context).is_ready())).await;
            if !is_done {
                self.0.spawn(task);
            }
        }
    }

    /// Waits until none is under way.
    pub(super) async fn wait(&self) {
        self.0.wait().await;
    }
}
