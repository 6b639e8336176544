//! Sockets and timers of the milter protocol. One task owns a connection: its socket, its buffers, its session.

use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use super::frame;
use super::options::{Transport, Wishes};
use super::reply::{PROGRESS, Response};
use super::session::{Limits, ProtocolError, Session, Step};
use crate::driver::{Driver, Protocol, Transaction};
use crate::facts::Stage;
use crate::filter::{self, Interest};
use crate::listener::{self, Listener, Stream};
use crate::telemetry::metrics;
use crate::verdict::Verdict;

/// An SMTP client may be silent for as long as its MTA lets it; libmilter waits as long.
const IDLE_TIMEOUT: Duration = Duration::from_secs(7210);

/// An MTA waits for our answer, so it reads it at once.
const WRITE_TIMEOUT: Duration = Duration::from_secs(60);

/// Sendmail gives up after 10 s without a sign of life.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(5);

/// Room for packets whose length is not yet known, in bytes; longer ones get what they need.
const READ_SIZE: usize = 4096;

/// Less room than this and a new buffer is taken, in bytes.
const MIN_READ_SIZE: usize = 1024;

/// What all connections of one listener share.
#[derive(Clone, Debug)]
pub struct ListenerOptions {
    /// Name of the listener in logs and facts.
    pub name: Arc<str>,
    /// What one connection may take.
    pub limits: Limits,
    /// One permit for each open connection; listeners may share it. Beyond it connections wait in the kernel's
    /// queue, as a refused one would make the MTA take its default action.
    pub connections: Arc<Semaphore>,
}

/// Serves MTAs until `drain` is cancelled; then accepts no more and returns when the last open connection has ended. How long that
/// may take is the caller's to decide: there is no way to tell an MTA to come back, so a session under way is let finish.
pub async fn serve(
    listener: Listener,
    driver: Arc<Driver>,
    options: ListenerOptions,
    drain: CancellationToken,
) {
    let connections = Arc::clone(&options.connections);
    listener::serve(listener, connections, drain, move |stream, peer| {
        converse(stream, peer, Arc::clone(&driver), options.clone())
    })
    .await;
}

/// What a conversation is held over.
trait Conversation: AsyncRead + AsyncWrite + Unpin {
    /// What carries it.
    fn transport(&self) -> Transport;

    /// Called before each read that may wait.
    fn before_read(&self) {}
}

impl Conversation for Stream {
    fn transport(&self) -> Transport {
        match self {
            Self::Left(_) => Transport::Tcp,
            Self::Right(_) => Transport::Unix,
        }
    }

    /// MTAs write in small pieces and leave Nagle's algorithm on: a delayed acknowledgement of ours costs 40 ms
    /// a message with Postfix, and more with Sendmail. The kernel forgets the setting after a while.
    #[cfg(target_os = "linux")]
    fn before_read(&self) {
        if let Self::Left(tcp) = self {
            let _ = socket2::SockRef::from(tcp).set_tcp_quickack(true);
        }
    }
}

async fn converse(stream: Stream, peer: String, driver: Arc<Driver>, options: ListenerOptions) {
    let (listener, peer) = (&*options.name, peer.as_str());
    let _open = metrics::connection(Protocol::Milter);
    let mut connection = Connection::new(stream, driver, &options);
    debug!(listener, peer, "milter connection opened");
    match connection.run().await {
        Ok(()) if connection.heard_nothing => debug!(listener, peer, "milter connection closed unused"),
        Ok(()) => debug!(listener, peer, "milter connection closed"),
        Err(ConnectionError::Protocol(error)) => {
            metrics::protocol_error(Protocol::Milter);
            warn!(listener, peer, %error, "milter protocol error, connection closed");
        }
        Err(error) => debug!(listener, peer, %error, "milter connection lost"),
    }
}

#[derive(Debug, thiserror::Error)]
enum ConnectionError {
    #[error(transparent)]
    Protocol(#[from] ProtocolError),
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error("nothing heard for {} s", IDLE_TIMEOUT.as_secs())]
    Idle,
}

struct Connection<S> {
    stream: S,
    input: BytesMut,
    output: BytesMut,
    heard_nothing: bool,
    session: Session,
    driver: Arc<Driver>,
    transaction: Transaction,
    transaction_number: u64,
}

impl<S: Conversation> Connection<S> {
    fn new(stream: S, driver: Arc<Driver>, options: &ListenerOptions) -> Self {
        let transaction = driver.begin(Protocol::Milter);
        let wishes = Wishes { interest: Interest::of(&transaction.policy), transport: stream.transport() };
        let session = Session::new(Arc::clone(&options.name), options.limits.clone(), wishes);
        Self {
            stream,
            input: BytesMut::with_capacity(READ_SIZE),
            output: BytesMut::new(),
            heard_nothing: true,
            transaction,
            transaction_number: session.transaction_number(),
            session,
            driver,
        }
    }

    /// Converses until the MTA quits or closes.
    async fn run(&mut self) -> Result<(), ConnectionError> {
        loop {
            while let Some(frame) = frame::decode(&mut self.input).map_err(ProtocolError::from)? {
                match self.session.on_frame(frame) {
                    Step::Silent => {}
                    Step::Answer(response) => self.answer(&response).await?,
                    Step::Judge(pending) => {
                        let verdict = self.judge(pending.stage()).await?;
                        let response = self.session.on_verdict(pending, &verdict);
                        self.answer(&response).await?;
                    }
                    Step::JudgeUnheard(unheard) => {
                        let verdict = self.judge(unheard.stage()).await?;
                        self.session.on_unheard(unheard, &verdict);
                    }
                    Step::WeighBody(pending) => {
                        let reads_body = filter::reads_body(self.session.facts(), &self.transaction.policy);
                        let response = self.session.on_body_weighed(pending, reads_body);
                        self.answer(&response).await?;
                    }
                    Step::Quit => return Ok(()),
                    Step::Close(error) => return Err(error.into()),
                }
            }
            if !self.read().await? {
                return match self.input.len() {
                    0 => Ok(()),
                    received => Err(ProtocolError::Truncated { received }.into()),
                };
            }
        }
    }

    async fn judge(&mut self, stage: Stage) -> io::Result<Verdict> {
        if self.transaction_number != self.session.transaction_number() {
            self.transaction_number = self.session.transaction_number();
            let session = &self.session;
            self.transaction =
                self.driver.begin_next(&self.transaction, |policy| session.serves(&Interest::of(policy)));
        }
        let verdict = self.driver.judge(stage, self.session.facts(), &mut self.transaction);
        match stage {
            Stage::EndOfMessage => with_progress(&mut self.stream, verdict).await,
            _ => Ok(verdict.await),
        }
    }

    /// Writes all packets of one answer at once.
    async fn answer(&mut self, response: &Response) -> io::Result<()> {
        self.output.clear();
        response.encode(&mut self.output);
        write(&mut self.stream, &self.output).await
    }

    /// Reads what is there; `false` at the end of the stream.
    async fn read(&mut self) -> Result<bool, ConnectionError> {
        // Once its length is known, `frame::decode` has made room for the packet.
        if self.input.len() < size_of::<u32>() && self.input.capacity() - self.input.len() < MIN_READ_SIZE {
            self.input.reserve(READ_SIZE);
        }
        self.stream.before_read();
        let read = timeout(IDLE_TIMEOUT, self.stream.read_buf(&mut self.input)).await;
        let count = read.map_err(|_| ConnectionError::Idle)??;
        self.heard_nothing &= count == 0;
        Ok(count > 0)
    }
}

/// Waits for `work` and tells the MTA meanwhile that we are alive.
async fn with_progress<S: Conversation, T>(stream: &mut S, work: impl Future<Output = T>) -> io::Result<T> {
    let mut work = std::pin::pin!(work);
    loop {
        match timeout(PROGRESS_INTERVAL, &mut work).await {
            Ok(done) => return Ok(done),
            Err(_) => write(stream, PROGRESS).await?,
        }
    }
}

async fn write<S: Conversation>(stream: &mut S, bytes: &[u8]) -> io::Result<()> {
    timeout(WRITE_TIMEOUT, stream.write_all(bytes)).await?
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::DuplexStream;
    use tokio::time::sleep;

    impl Conversation for DuplexStream {
        fn transport(&self) -> Transport {
            Transport::Unix
        }
    }

    #[tokio::test(start_paused = true)]
    async fn progress_is_told_every_five_seconds_while_work_runs() {
        let (mut ours, mut theirs) = tokio::io::duplex(64);
        let work = async {
            sleep(Duration::from_secs(12)).await;
            "done"
        };
        assert_eq!(with_progress(&mut ours, work).await.unwrap(), "done");
        drop(ours);
        let mut heard = Vec::new();
        theirs.read_to_end(&mut heard).await.unwrap();
        assert_eq!(heard, [PROGRESS, PROGRESS].concat());
    }

    #[tokio::test(start_paused = true)]
    async fn work_that_is_soon_done_is_not_announced() {
        let (mut ours, mut theirs) = tokio::io::duplex(64);
        with_progress(&mut ours, sleep(Duration::from_millis(4999))).await.unwrap();
        drop(ours);
        assert_eq!(theirs.read_to_end(&mut Vec::new()).await.unwrap(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn work_for_an_mta_that_left_is_dropped() {
        let (mut ours, theirs) = tokio::io::duplex(64);
        drop(theirs);
        let error = with_progress(&mut ours, std::future::pending::<()>()).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
    }

    #[tokio::test(start_paused = true)]
    async fn a_peer_that_does_not_read_is_given_up() {
        let (mut ours, _theirs) = tokio::io::duplex(4);
        let error = write(&mut ours, PROGRESS).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_connection_ends_after_two_hours() {
        let (ours, _theirs) = tokio::io::duplex(64);
        let options = ListenerOptions {
            name: "test".into(),
            limits: Limits::default(),
            connections: Arc::new(Semaphore::new(1)),
        };
        let mut connection = Connection::new(ours, Arc::new(Driver::accepting()), &options);
        let begun = tokio::time::Instant::now();
        let error = connection.run().await.unwrap_err();
        assert_eq!(error.to_string(), "nothing heard for 7210 s");
        assert_eq!(begun.elapsed().as_secs(), 7210);
    }
}
