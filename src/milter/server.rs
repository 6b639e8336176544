//! Sockets and timers of the milter protocol. One task owns a connection: its socket, its buffers, its session.

use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use super::frame::{self, Frame};
use super::options::{Transport, Wishes};
use super::reply::{PROGRESS, Response};
use super::session::{Limits, ProtocolError, Session, Step};
use super::state::CommandKind;
use crate::driver::{Driver, Judged, Protocol, Transaction};
use crate::facts::Stage;
use crate::filter::{self, Interest};
use crate::listener::{self, Input, Listener, Readable, Stream};
use crate::patience::within;
use crate::policy::Policy;
use crate::telemetry::metrics;

/// An SMTP client may be silent for as long as its MTA lets it; libmilter waits as long.
const IDLE_TIMEOUT: Duration = Duration::from_secs(7210);

/// An MTA waits for our answer, so it reads it at once.
const WRITE_TIMEOUT: Duration = Duration::from_secs(60);

/// Sendmail gives up after 10 s without a sign of life.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(5);

/// Room for packets whose length is not yet known, in bytes; longer ones get what they need.
const READ_SIZE: usize = 4096;

/// Room while a body comes in packets of the largest size, in bytes: one of them, and the macros before it. So each is read where it
/// stays, and the next one, of which hardly anything can be behind it, is not copied from there to a buffer of its own.
const LARGE_READ_SIZE: usize = 65_540 + 508;

/// Packets from this size on make the next one be expected large, in bytes.
const LARGE_PACKET: usize = 32 * 1024;

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
        serve_one(stream, peer, Arc::clone(&driver), options.clone())
    })
    .await;
}

/// Serves one connection, until the MTA quits or closes.
///
/// # Errors
/// When the peer breaks the protocol, is silent for too long, or is lost.
pub async fn converse(
    stream: impl Conversation,
    driver: Arc<Driver>,
    options: &ListenerOptions,
) -> Result<(), ConnectionError> {
    Connection::new(stream, driver, options).run().await
}

/// What a conversation is held over.
pub trait Conversation: AsyncRead + AsyncWrite + Readable + Unpin {
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

async fn serve_one(stream: Stream, peer: String, driver: Arc<Driver>, options: ListenerOptions) {
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

/// Why a connection ended early.
#[derive(Debug, thiserror::Error)]
pub enum ConnectionError {
    /// The MTA and we do not understand each other.
    #[error(transparent)]
    Protocol(#[from] ProtocolError),
    /// The connection is lost.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// The MTA says nothing any more.
    #[error("nothing heard for {} s", IDLE_TIMEOUT.as_secs())]
    Idle,
}

struct Connection<S> {
    stream: S,
    input: Input,
    output: BytesMut,
    heard_nothing: bool,
    /// Room for packets whose length is not yet known, in bytes.
    room: usize,
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
            input: Input::default(),
            output: BytesMut::new(),
            heard_nothing: true,
            room: READ_SIZE,
            transaction,
            transaction_number: session.transaction_number(),
            session,
            driver,
        }
    }

    /// Converses until the MTA quits or closes.
    async fn run(&mut self) -> Result<(), ConnectionError> {
        loop {
            while let Some(frame) = frame::decode(&mut self.input.buffer).map_err(ProtocolError::from)? {
                self.expect_after(&frame);
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
                    Step::Quit => {
                        self.input.release();
                        return Ok(());
                    }
                    Step::Close(error) => return Err(error.into()),
                }
            }
            self.input.release();
            if !self.read().await? {
                return match self.input.buffer.len() {
                    0 => Ok(()),
                    received => Err(ProtocolError::Truncated { received }.into()),
                };
            }
        }
    }

    async fn judge(&mut self, stage: Stage) -> io::Result<Judged> {
        if self.transaction_number != self.session.transaction_number() {
            self.transaction_number = self.session.transaction_number();
            let session = &self.session;
            let serves = |policy: &Policy| session.serves(&Interest::of(policy));
            self.driver.begin_next(&mut self.transaction, serves);
        }
        // Pinned where it is: moved on, the future would lie in the connection's task more than once.
        let verdict = std::pin::pin!(self.driver.judge(stage, self.session.facts(), &mut self.transaction));
        match stage {
            Stage::EndOfMessage => with_progress(&mut self.stream, verdict).await,
            _ => Ok(verdict.await),
        }
    }

    /// Large packets come in a row, with macros between them.
    fn expect_after(&mut self, frame: &Frame) {
        if frame.code != CommandKind::Macros.code() {
            self.room = if frame.wire_len() >= LARGE_PACKET { LARGE_READ_SIZE } else { READ_SIZE };
        }
    }

    /// Room to read into, in bytes: all that is missing of a packet, as far as that is known.
    fn room(&self) -> usize {
        frame::missing(&self.input.buffer).unwrap_or(self.room)
    }

    /// Writes all packets of one answer at once.
    async fn answer(&mut self, response: &Response) -> io::Result<()> {
        self.output.clear();
        response.encode(&mut self.output);
        write(&mut self.stream, &self.output).await
    }

    /// Reads what is there; `false` at the end of the stream.
    async fn read(&mut self) -> Result<bool, ConnectionError> {
        let room = self.room();
        self.stream.before_read();
        let output = &mut self.output;
        let read = self.input.fill(&mut self.stream, room, IDLE_TIMEOUT, || *output = BytesMut::new());
        let count = read.await?.ok_or(ConnectionError::Idle)?;
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
    within(WRITE_TIMEOUT, stream.write_all(bytes)).await.ok_or(io::ErrorKind::TimedOut)?
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, DuplexStream};
    use tokio::time::sleep;
    use tokio_util::either::Either;

    impl Conversation for DuplexStream {
        fn transport(&self) -> Transport {
            Transport::Unix
        }
    }

    fn connection(stream: DuplexStream, driver: &Arc<Driver>) -> Connection<DuplexStream> {
        let options = ListenerOptions {
            name: "test".into(),
            limits: Limits::default(),
            connections: Arc::new(Semaphore::new(1)),
        };
        Connection::new(stream, Arc::clone(driver), &options)
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

    /// A task is as large as its future, whatever it is doing: this is most of what an idle connection costs.
    #[tokio::test]
    async fn an_idle_connection_is_small() {
        let stream = Either::Right(tokio::net::UnixStream::pair().unwrap().0);
        let options = ListenerOptions {
            name: "test".into(),
            limits: Limits::default(),
            connections: Arc::new(Semaphore::new(1)),
        };
        let driver = Arc::new(Driver::accepting());
        let size = size_of_val(&serve_one(stream, String::new(), driver, options));
        assert!(size <= 5 * 1024, "{size} bytes");
    }

    /// What Postfix sends of a large body, and how it arrives: the kernel fills what room there is.
    #[tokio::test]
    async fn large_packets_are_read_where_they_stay() {
        let packet = |code: u8, payload: &[u8]| {
            [&(payload.len() as u32 + 1).to_be_bytes(), &[code][..], payload].concat()
        };
        let chunk = [packet(b'D', b"Bi\x006283C9913D7\0"), packet(b'B', &[b'x'; 65_535])].concat();
        let mut wire = &chunk.repeat(16)[..];
        let driver = Arc::new(Driver::accepting());
        let mut connection = connection(tokio::io::duplex(64).0, &driver);
        let (mut copied, mut bodies) = (0, Vec::new());
        loop {
            while let Some(frame) = {
                let (start, length) = (connection.input.buffer.as_ptr(), connection.input.buffer.len());
                let frame = frame::decode(&mut connection.input.buffer).unwrap();
                let moved = frame.is_none() && connection.input.buffer.as_ptr() != start;
                copied += if moved { length } else { 0 };
                frame
            } {
                connection.expect_after(&frame);
                bodies.extend(Some(frame.payload).filter(|_| frame.code == b'B'));
            }
            if wire.is_empty() {
                break;
            }
            let room = connection.room();
            connection.input.fill_from(&mut wire, room).await;
        }
        assert_eq!(bodies.iter().map(|body| body.len()).sum::<usize>(), 16 * 65_535);
        assert!(copied < 3 * READ_SIZE, "{copied} bytes were copied");
    }

    #[tokio::test]
    async fn a_connection_that_ends_leaves_its_memory_to_others() {
        let (ours, mut theirs) = tokio::io::duplex(64);
        theirs.write_all(b"\0\0\0\x01Q").await.unwrap();
        let mut connection = connection(ours, &Arc::new(Driver::accepting()));
        connection.run().await.unwrap();
        assert_eq!(connection.input.buffer.capacity(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_connection_ends_after_two_hours() {
        let (ours, _theirs) = tokio::io::duplex(64);
        let mut connection = connection(ours, &Arc::new(Driver::accepting()));
        let begun = tokio::time::Instant::now();
        let error = connection.run().await.unwrap_err();
        assert_eq!(error.to_string(), "nothing heard for 7210 s");
        assert_eq!(begun.elapsed().as_secs(), 7210);
    }
}
