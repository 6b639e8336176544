//! The service Postfix connects to: one task owns a connection, which stays open, and answers its requests in order.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use super::{Decoder, RequestError, Session, Step};
use crate::driver::{Driver, Protocol};
use crate::listener::{self, Input, Listener, Readable};
use crate::telemetry::metrics;

/// Room for one read; a request is about 1 KiB.
const READ_SIZE: usize = 4096;

/// A peer that does not take a reply of some bytes within this time does not read at all.
const WRITE_TIMEOUT: Duration = Duration::from_secs(10);

/// What one listener allows its peers.
#[derive(Clone, Debug)]
pub struct Limits {
    /// A connection without a request is closed after this time. Postfix itself closes after `max_idle` (300 s), but only while it
    /// has no client.
    pub idle_timeout: Duration,
    /// A permit for each connection; several listeners may share them.
    pub connections: Arc<Semaphore>,
}

/// Serves a listener until `drain` is cancelled: then no more connections are accepted, idle ones are closed, requests under way are
/// answered first. `name` names the listener in facts.
pub async fn serve(
    listener: Listener,
    name: Arc<str>,
    driver: Arc<Driver>,
    limits: Limits,
    drain: CancellationToken,
) {
    let Limits { idle_timeout, connections } = limits;
    listener::serve(listener, connections, drain.clone(), move |stream, peer| {
        let (session, driver, drain) = (Session::new(Arc::clone(&name)), Arc::clone(&driver), drain.clone());
        async move {
            let _open = metrics::connection(Protocol::Policy);
            match converse(stream, session, &driver, idle_timeout, &drain).await {
                Ok(()) => {}
                // Closing without an answer makes Postfix ask once more, then take its own default action.
                Err(ConnectionError::Request(error)) => {
                    metrics::protocol_error(Protocol::Policy);
                    warn!(%peer, %error, "connection closed: not the policy protocol");
                }
                Err(ConnectionError::Io(error)) => debug!(%peer, %error, "connection lost"),
            }
        }
    })
    .await;
}

#[derive(Debug, Error)]
enum ConnectionError {
    #[error(transparent)]
    Request(#[from] RequestError),
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// Answers requests until the peer closes, is idle for too long, or `drain` is cancelled.
async fn converse(
    mut stream: impl AsyncRead + AsyncWrite + Readable + Unpin,
    mut session: Session,
    driver: &Driver,
    idle_timeout: Duration,
    drain: &CancellationToken,
) -> Result<(), ConnectionError> {
    let mut transaction = driver.begin(Protocol::Policy);
    let mut decoder = Decoder::default();
    let mut input = Input::default();
    let mut output = BytesMut::new();
    loop {
        while let Some(request) = decoder.decode(&mut input.buffer)? {
            let response = match session.on_request(request) {
                Step::Answer(response) => response,
                Step::Judge { stage, begins } => {
                    if begins {
                        transaction = driver.begin_next(&transaction, |_| true);
                    }
                    let verdict = driver.judge(stage, session.facts(), &mut transaction).await;
                    session.on_verdict(stage, &verdict)
                }
            };
            output.clear();
            response.encode(&mut output);
            timeout(WRITE_TIMEOUT, stream.write_all(&output)).await.map_err(io::Error::from)??;
        }
        let read = tokio::select! {
            biased;
            () = drain.cancelled() => return Ok(()),
            read = input.fill(&mut stream, READ_SIZE, idle_timeout, || output = BytesMut::new()) => read?,
        };
        match read {
            Some(0) => return Ok(()),
            Some(_) => {}
            None => {
                debug!(idle = ?idle_timeout, "connection closed: idle");
                return Ok(());
            }
        }
    }
}
