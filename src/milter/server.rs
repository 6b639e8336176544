//! Sockets and timers of the milter protocol. One task owns a connection: its socket, its buffers, its session.

use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::{BufMut as _, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt};
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use super::frame::{self, Frame};
use super::options::{Transport, Wishes};
use super::reply::{PROGRESS, Response};
use super::session::{Limits, ProtocolError, Session, Step};
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

/// A piece of a body of which so much is missing is read to where it stays, in bytes.
const LARGE: usize = 16 << 10;

/// What is read behind such a piece, in bytes: its macros and the beginning of the next, for which nobody need read again.
const BEHIND: usize = 512;

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
            transaction,
            transaction_number: session.transaction_number(),
            session,
            driver,
        }
    }

    /// Converses until the MTA quits or closes.
    async fn run(&mut self) -> Result<(), ConnectionError> {
        loop {
            let step = match Frame::decode(&mut self.input.buffer).map_err(ProtocolError::from)? {
                Some(frame) => self.session.on_frame(frame),
                None => match self.read_piece().await? {
                    Some(step) => step,
                    None if self.read().await? => continue,
                    None => return self.end(),
                },
            };
            match step {
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
    }

    /// What the end of the stream means.
    fn end(&self) -> Result<(), ConnectionError> {
        match self.input.buffer.len() {
            0 => Ok(()),
            received => Err(ProtocolError::Truncated { received }.into()),
        }
    }

    async fn judge(&mut self, stage: Stage) -> io::Result<Judged> {
        // At MAIL in any case: since the client was met, the policy may have changed.
        if stage == Stage::Mail || self.transaction_number != self.session.transaction_number() {
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

    /// Reads a large piece of a body to where it stays; `None` where none has begun.
    async fn read_piece(&mut self) -> Result<Option<Step>, ConnectionError> {
        let Self { stream, input, session, .. } = self;
        let Some(piece) = frame::begun_piece(&input.buffer).filter(|piece| piece.missing >= LARGE) else {
            return Ok(None);
        };
        let (wire_len, missing) = (piece.wire_len, piece.missing);
        let Some(body) = session.place_of_piece(wire_len) else { return Ok(None) };
        body.extend_from_slice(piece.begin);
        input.buffer.clear();
        input.release();
        let end = body.len() + missing;
        body.reserve(missing + BEHIND);
        while let Some(missing) = end.checked_sub(body.len()).filter(|missing| *missing > 0) {
            stream.before_read();
            let mut room = (&mut *body).limit(missing + BEHIND);
            let read = within(IDLE_TIMEOUT, stream.read_buf(&mut room));
            if read.await.ok_or(ConnectionError::Idle)?? == 0 {
                return Err(ProtocolError::Truncated { received: wire_len - missing }.into());
            }
        }
        input.put(&body[end..]);
        body.truncate(end);
        Ok(Some(session.on_piece()))
    }

    /// Writes all packets of one answer at once.
    async fn answer(&mut self, response: &Response) -> io::Result<()> {
        self.output.clear();
        response.encode(&mut self.output);
        write(&mut self.stream, &self.output).await
    }

    /// Reads what is there; `false` at the end of the stream.
    async fn read(&mut self) -> Result<bool, ConnectionError> {
        self.input.release();
        // All that is missing of a packet, as far as that is known.
        let room = frame::missing(&self.input.buffer).unwrap_or(READ_SIZE);
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
    use proptest::prelude::*;
    use std::pin::Pin;
    use std::task::{Context, Poll};
    use tokio::io::{DuplexStream, ReadBuf};
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

    /// What an MTA sends, of which each read gets so much or as much as there is room for; then the end. What is written is heard.
    struct Wire {
        sent: Vec<u8>,
        at: usize,
        /// The sizes of reads, by turns.
        most: Vec<usize>,
        reads: usize,
        heard: Vec<u8>,
    }

    impl AsyncRead for Wire {
        fn poll_read(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
            room: &mut ReadBuf<'_>,
        ) -> Poll<io::Result<()>> {
            let most = self.most[self.reads % self.most.len()];
            let rest = &self.sent[self.at..];
            let count = rest.len().min(most).min(room.remaining());
            room.put_slice(&rest[..count]);
            self.at += count;
            self.reads += 1;
            Poll::Ready(Ok(()))
        }
    }

    impl AsyncWrite for Wire {
        fn poll_write(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
            bytes: &[u8],
        ) -> Poll<io::Result<usize>> {
            self.heard.extend_from_slice(bytes);
            Poll::Ready(Ok(bytes.len()))
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    impl Readable for Wire {
        fn poll_readable(&self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    impl Conversation for Wire {
        fn transport(&self) -> Transport {
            Transport::Unix
        }
    }

    fn packet(code: u8, payload: &[u8]) -> Vec<u8> {
        [&(payload.len() as u32 + 1).to_be_bytes(), &[code][..], payload].concat()
    }

    /// All that comes before a body: its MTA offers `protocol`.
    fn before_body(protocol: u32) -> Vec<u8> {
        let offer = [6, 0x1ff, protocol].map(u32::to_be_bytes).concat();
        [
            packet(b'O', &offer),
            packet(b'C', b"mx.sender.test\x004\0\x19192.0.2.1\0"),
            packet(b'H', b"mx.sender.test\0"),
            packet(b'M', b"<a@sender.test>\0"),
            packet(b'R', b"<bob@example.test>\0"),
            packet(b'T', b""),
            packet(b'L', b"Subject\0large\0"),
            packet(b'N', b""),
        ]
        .concat()
    }

    /// The connection after all of `sent` was read, by so much at a time.
    async fn read_by(sent: Vec<u8>, most: Vec<usize>, limits: Limits) -> (Connection<Wire>, Option<String>) {
        let wire = Wire { sent, at: 0, most, reads: 0, heard: Vec::new() };
        let options =
            ListenerOptions { name: "test".into(), limits, connections: Arc::new(Semaphore::new(1)) };
        let mut connection = Connection::new(wire, Arc::new(Driver::accepting()), &options);
        let error = connection.run().await.err().map(|error| error.to_string());
        (connection, error)
    }

    const ALL: u32 = 0x1f_ffff;

    /// What Postfix sends of a large body, and how it arrives: the kernel fills what room there is.
    #[tokio::test]
    async fn a_large_piece_takes_one_read() {
        let chunk = [packet(b'D', b"Bi\x006283C9913D7\0"), packet(b'B', &[b'x'; 65_535])].concat();
        let sent = [before_body(ALL), chunk.repeat(16)].concat();
        let (connection, error) = read_by(sent, vec![usize::MAX], Limits::default()).await;
        assert_eq!((error, connection.session.message().body().len()), (None, 16 * 65_535));
        assert!(connection.stream.reads <= 16 + 4, "{} reads", connection.stream.reads);
        assert_eq!(connection.input.buffer.capacity(), 0);
    }

    #[tokio::test]
    async fn a_large_piece_that_does_not_end_is_told() {
        let sent = [before_body(ALL), packet(b'B', &[b'x'; 50_000])].concat();
        let sent = sent[..sent.len() - 1].to_vec();
        let (_, error) = read_by(sent, vec![1000], Limits::default()).await;
        assert_eq!(error.as_deref(), Some("connection closed after 50004 bytes of a packet"));
    }

    #[tokio::test]
    async fn nothing_is_kept_of_a_large_piece_beyond_the_limit() {
        let sent = [before_body(ALL), packet(b'B', &[b'x'; 65_535]).repeat(3)].concat();
        let limits = Limits { message_bytes: 150_000, ..Limits::default() };
        let (connection, error) = read_by(sent, vec![usize::MAX], limits).await;
        assert_eq!((error, connection.session.message().body().len()), (None, 0));
        assert_eq!(connection.stream.at, connection.stream.sent.len());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn a_body_is_whole_however_it_arrives(
            pieces in prop::collection::vec(prop_oneof![0..40usize, 16_000..17_000usize, 60_000..70_000usize], 1..6),
            most in prop::collection::vec(prop_oneof![1..600usize, 4_000..5_000usize, Just(usize::MAX)], 1..4),
            with_macros in any::<bool>(),
            protocol in prop_oneof![Just(ALL), Just(0)],
        ) {
            let mut body = Vec::new();
            let mut sent = before_body(protocol);
            for (number, length) in pieces.into_iter().enumerate() {
                let piece: Vec<u8> = (0..length).map(|at| (number * 31 + at) as u8).collect();
                if with_macros {
                    sent.extend(packet(b'D', b"Bi\x006283C9913D7\0"));
                }
                sent.extend(packet(b'B', &piece));
                body.extend(piece);
            }
            let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
            let reads_all = Limits::default();
            let (connection, error) = runtime.block_on(read_by(sent, most, reads_all));
            prop_assert_eq!(error, None);
            prop_assert_eq!(connection.session.message().body(), body);
        }
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

    #[tokio::test]
    async fn the_first_mail_is_judged_by_the_policy_it_begins_with() {
        let policy = |helo: &str| {
            let off = crate::reason::Check::ALL
                .map(|check| (format!("{}.toml", check.name()), "mode = \"off\"".to_owned()));
            let mut files = std::collections::BTreeMap::from(off);
            files.insert("helo.toml".to_owned(), format!("localhost = {helo:?}\nunresolvable = \"accept\""));
            Policy::load(&files).map(|(policy, _)| policy).unwrap()
        };
        let driver = Arc::new(Driver::accepting());
        driver.set_policy(policy("reject"));
        let (ours, mut theirs) = tokio::io::duplex(4096);
        let mut connection = connection(ours, &driver);
        let offer = packet(b'O', &[6, 0x1ff, 0].map(u32::to_be_bytes).concat());
        let client = packet(b'C', b"mx.sender.test\x004\0\x19192.0.2.1\0");
        theirs.write_all(&[offer, client, packet(b'H', b"localhost\0")].concat()).await.unwrap();
        let conversation = async {
            for _ in [b'O', b'C', b'H'] {
                let length = theirs.read_u32().await.unwrap();
                theirs.read_exact(&mut vec![0; length as usize]).await.unwrap();
            }
            driver.set_policy(policy("accept"));
            let mail = [packet(b'M', b"<a@sender.test>\0"), packet(b'R', b"<bob@example.test>\0")];
            theirs.write_all(&mail.concat()).await.unwrap();
            let mut answers = [0; 10];
            theirs.read_exact(&mut answers).await.unwrap();
            drop(theirs);
            answers
        };
        let (ended, answers) = tokio::join!(connection.run(), conversation);
        ended.unwrap();
        assert_eq!(answers[..], packet(b'c', b"").repeat(2));
    }
}
