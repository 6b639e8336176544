//! The service Postfix connects to: one task owns a connection, which stays open, and answers its requests in order.

use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, BytesMut};
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use super::{Decoder, RequestError, Session, Step};
use crate::driver::{Driver, Protocol, Transaction};
use crate::listener::{self, Input, Listener, Readable, Stream};
use crate::patience::within;
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
        serve_one(stream, peer, Arc::clone(&name), Arc::clone(&driver), idle_timeout, drain.clone())
    })
    .await;
}

async fn serve_one(
    stream: Stream,
    peer: String,
    name: Arc<str>,
    driver: Arc<Driver>,
    idle_timeout: Duration,
    drain: CancellationToken,
) {
    let _open = metrics::connection(Protocol::Policy);
    let mut connection = Connection::new(stream, Session::new(name), &driver);
    match connection.run(&driver, idle_timeout, &drain).await {
        Ok(()) => {}
        // Closing without an answer makes Postfix ask once more, then take its own default action.
        Err(ConnectionError::Request(error)) => {
            metrics::protocol_error(Protocol::Policy);
            warn!(%peer, %error, "connection closed: not the policy protocol");
        }
        Err(ConnectionError::Io(error)) => debug!(%peer, %error, "connection lost"),
    }
}

/// Why a connection ended early.
#[derive(Debug, Error)]
pub enum ConnectionError {
    /// The peer does not speak the policy protocol.
    #[error(transparent)]
    Request(#[from] RequestError),
    /// The connection is lost.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// Answers requests on one connection until the peer closes, is idle for too long, or `drain` is cancelled.
///
/// # Errors
///
/// When the peer speaks another protocol, or the connection is lost.
pub async fn converse(
    stream: impl AsyncRead + AsyncWrite + Readable + Unpin,
    session: Session,
    driver: &Driver,
    idle_timeout: Duration,
    drain: &CancellationToken,
) -> Result<(), ConnectionError> {
    Connection::new(stream, session, driver).run(driver, idle_timeout, drain).await
}

struct Connection<S> {
    stream: S,
    decoder: Decoder,
    session: Session,
    transaction: Transaction,
    input: Input,
    output: BytesMut,
}

impl<S: AsyncRead + AsyncWrite + Readable + Unpin> Connection<S> {
    fn new(stream: S, session: Session, driver: &Driver) -> Self {
        let transaction = driver.begin(Protocol::Policy);
        let (decoder, input, output) = (Decoder::default(), Input::default(), BytesMut::new());
        Self { stream, decoder, session, transaction, input, output }
    }

    async fn run(
        &mut self,
        driver: &Driver,
        idle_timeout: Duration,
        drain: &CancellationToken,
    ) -> Result<(), ConnectionError> {
        // A token of the connection's own, for its whole life: to wait for the one that all share is to take its lock, for each
        // request.
        let drain = drain.child_token();
        let mut drained = pin!(drain.cancelled());
        loop {
            let Self { stream, input, output, .. } = self;
            let read = tokio::select! {
                biased;
                () = &mut drained => return Ok(()),
                read = input.fill(stream, READ_SIZE, idle_timeout, || *output = BytesMut::new()) => read?,
            };
            match read {
                Some(0) => return Ok(()),
                Some(_) => {}
                None => {
                    debug!(idle = ?idle_timeout, "connection closed: idle");
                    return Ok(());
                }
            }
            let answered = self.answer(driver).await;
            self.send().await?;
            answered?;
        }
    }

    /// Answers every request that was read.
    async fn answer(&mut self, driver: &Driver) -> Result<(), RequestError> {
        while let Some(step) = self.next_step()? {
            let response = match step {
                Step::Answer(response) => response,
                Step::Judge { stage, begins } => {
                    if begins {
                        driver.begin_next(&mut self.transaction, |_| true);
                    }
                    let verdict = driver.judge(stage, self.session.facts(), &mut self.transaction).await;
                    self.session.on_verdict(stage, &verdict)
                }
            };
            response.encode(&mut self.output);
        }
        self.input.release();
        Ok(())
    }

    /// Takes in the next request, if all of it was read. Apart, as what it borrows would lie in the connection's task for as long as it
    /// is judged.
    fn next_step(&mut self) -> Result<Option<Step>, RequestError> {
        let Some(request) = self.decoder.decode(&self.input.buffer)? else { return Ok(None) };
        let (step, length) = (self.session.on_request(&request), request.length);
        self.input.buffer.advance(length);
        Ok(Some(step))
    }

    /// Sends the answers, by one write.
    async fn send(&mut self) -> io::Result<()> {
        if !self.output.is_empty() {
            within(WRITE_TIMEOUT, self.stream.write_all(&self.output))
                .await
                .ok_or(io::ErrorKind::TimedOut)??;
            self.output.clear();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio_util::either::Either;

    /// A task is as large as its future, whatever it is doing: this is most of what an idle connection costs.
    #[tokio::test]
    async fn an_idle_connection_is_small() {
        let driver = Arc::new(Driver::accepting());
        let stream = Either::Right(tokio::net::UnixStream::pair().unwrap().0);
        let (drain, timeout) = (CancellationToken::new(), Duration::from_secs(1));
        let size = size_of_val(&serve_one(stream, String::new(), "test".into(), driver, timeout, drain));
        assert!(size <= 5 * 1024, "{size} bytes");
    }
}
