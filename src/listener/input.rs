//! What a connection sent and nobody read yet: memory that a quiet connection does without.

use std::cell::Cell;
use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::time::{Instant, Sleep, sleep_until, timeout_at};

use super::Stream;

/// Silence after which a connection counts as quiet. One that is busy keeps its memory and so never waits for some.
const QUIET_AFTER: Duration = Duration::from_secs(1);

/// Less room than this and a new buffer is taken, in bytes.
const MIN_ROOM: usize = 1024;

/// Buffers that a thread keeps for whoever reads next: as many as it commonly has mails under way.
const MOST_SPARE: usize = 16;

/// A buffer with more room than this is not kept, in bytes.
const MAX_SPARE: usize = 16 << 10;

thread_local! {
    /// Buffers from which all was taken: the next connection of this thread that has something to read takes the last, which is the
    /// likeliest to be in the processor's cache. So a connection needs memory only while it is answered, and whoever is busy does not
    /// ask the allocator for each request.
    static SPARE: Cell<Vec<BytesMut>> = const { Cell::new(Vec::new()) };
}

/// What can be waited for without memory to read into.
pub trait Readable {
    /// Ready when there is something to read, the end included; it may turn out that there is nothing.
    fn poll_readable(&self, context: &mut Context<'_>) -> Poll<io::Result<()>>;
}

impl Readable for Stream {
    fn poll_readable(&self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Left(tcp) => tcp.poll_read_ready(context),
            Self::Right(unix) => unix.poll_read_ready(context),
        }
    }
}

/// What was read and is not taken yet.
#[derive(Debug, Default)]
pub struct Input {
    /// Takes from here whoever reads.
    pub buffer: BytesMut,
    /// Rings once a connection may be quiet. One for its whole life: to set a timer for each wait would take a lock that all
    /// connections share, twice. A busy one's rings once a second at most, and is set anew.
    alarm: Option<Pin<Box<Sleep>>>,
}

impl Input {
    /// Reads what is there into at least `room` bytes. Returns how much came, 0 at the end of the stream; `None` when nothing came
    /// within `patience`. Calls `when_quiet` before a long wait.
    ///
    /// # Errors
    /// Those of the stream.
    pub async fn fill<S: AsyncRead + Readable + Unpin>(
        &mut self,
        stream: &mut S,
        room: usize,
        patience: Duration,
        when_quiet: impl FnOnce(),
    ) -> io::Result<Option<usize>> {
        let read = self.fill_before_end(stream, room, patience, when_quiet).await;
        // Memory was taken to see that nothing comes any more.
        if matches!(read, Ok(Some(0))) {
            self.release();
        }
        read
    }

    async fn fill_before_end<S: AsyncRead + Readable + Unpin>(
        &mut self,
        stream: &mut S,
        room: usize,
        patience: Duration,
        when_quiet: impl FnOnce(),
    ) -> io::Result<Option<usize>> {
        let began = Instant::now();
        let quiet_from = began + QUIET_AFTER.min(patience);
        let Self { buffer, alarm } = self;
        let alarm = alarm.get_or_insert_with(|| Box::pin(sleep_until(quiet_from)));
        {
            let mut read = pin!(read_some(stream, buffer, room));
            loop {
                tokio::select! {
                    biased;
                    read = &mut read => return read.map(Some),
                    () = alarm.as_mut() => {
                        if Instant::now() >= quiet_from {
                            break;
                        }
                        // It was set for an earlier wait.
                        alarm.as_mut().reset(quiet_from);
                    }
                }
            }
        }
        if buffer.is_empty() {
            *buffer = BytesMut::new();
        }
        when_quiet();
        timeout_at(began + patience, read_some(stream, buffer, room)).await.ok().transpose()
    }

    /// Lends the memory to whoever reads next, if all that was in it is taken and there is room for a read: all of it where nobody holds
    /// what was taken, and else what lies behind that. To be called when all is answered.
    pub fn release(&mut self) {
        if self.buffer.is_empty() && self.buffer.try_reclaim(MIN_ROOM) {
            leave_spare(std::mem::take(&mut self.buffer));
        }
    }

    /// Puts behind what was read what somebody else read and does not take.
    pub fn put(&mut self, bytes: &[u8]) {
        if !bytes.is_empty() {
            make_room(&mut self.buffer, bytes.len());
            self.buffer.extend_from_slice(bytes);
        }
    }
}

async fn read_some<S: AsyncRead + Readable + Unpin>(
    stream: &mut S,
    buffer: &mut BytesMut,
    room: usize,
) -> io::Result<usize> {
    poll_fn(|context| stream.poll_readable(context)).await?;
    make_room(buffer, room);
    stream.read_buf(buffer).await
}

fn take_spare() -> BytesMut {
    let mut kept = SPARE.take();
    let last = kept.pop().unwrap_or_default();
    SPARE.set(kept);
    last
}

fn leave_spare(buffer: BytesMut) {
    let mut kept = SPARE.take();
    if kept.len() < MOST_SPARE && buffer.capacity() <= MAX_SPARE {
        kept.push(buffer);
    }
    SPARE.set(kept);
}

/// A buffer whose contents others still hold grows into a new one; a little room left in it is not worth a read.
fn make_room(buffer: &mut BytesMut, room: usize) {
    if buffer.capacity() == 0 {
        *buffer = take_spare();
    }
    if buffer.capacity() - buffer.len() < room.min(MIN_ROOM) {
        buffer.reserve(room);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncWriteExt, DuplexStream, duplex};
    use tokio::time::{sleep, timeout};

    impl Readable for DuplexStream {
        /// A pipe does not tell; whoever reads waits with the memory in hand.
        fn poll_readable(&self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_there_is_read_at_once() {
        let (mut ours, mut theirs) = duplex(64);
        let mut input = Input::default();
        theirs.write_all(b"one").await.unwrap();
        let read = input.fill(&mut ours, 4096, Duration::from_secs(60), || panic!("not quiet")).await;
        assert_eq!((read.unwrap(), &input.buffer[..]), (Some(3), &b"one"[..]));
        drop(theirs);
        assert_eq!(input.fill(&mut ours, 4096, Duration::from_secs(60), || ()).await.unwrap(), Some(0));
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_that_ends_leaves_its_memory_to_others() {
        let (mut ours, theirs) = duplex(64);
        drop(theirs);
        SPARE.set(vec![BytesMut::with_capacity(5000)]);
        let mut input = Input::default();
        let read = input.fill(&mut ours, 4096, Duration::from_secs(60), || ()).await;
        assert_eq!((read.unwrap(), input.buffer.capacity()), (Some(0), 0));
        assert_eq!(SPARE.take().iter().map(BytesMut::capacity).collect::<Vec<_>>(), [5000]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_quiet_connection_holds_no_memory() {
        let (client, listener) =
            (tokio::net::TcpSocket::new_v4().unwrap(), std::net::TcpListener::bind("127.0.0.1:0"));
        let listener = listener.unwrap();
        let mut client = client.connect(listener.local_addr().unwrap()).await.unwrap();
        let server = listener.accept().unwrap().0;
        server.set_nonblocking(true).unwrap();
        let mut server: Stream =
            tokio_util::either::Either::Left(tokio::net::TcpStream::from_std(server).unwrap());
        let mut input = Input::default();
        let mut quiet = false;
        let patience = Duration::from_secs(60);
        {
            let mut waiting = std::pin::pin!(input.fill(&mut server, 4096, patience, || quiet = true));
            assert!(timeout(Duration::from_secs(10), &mut waiting).await.is_err());
            client.write_all(b"at last").await.unwrap();
            assert_eq!(waiting.await.unwrap(), Some(7));
        }
        assert!(quiet);
        assert_eq!(&input.buffer[..], b"at last");

        let read = timeout(Duration::from_secs(1), async {
            input.buffer.clear();
            input.fill(&mut server, 4096, Duration::from_millis(10), || ()).await
        });
        assert_eq!(read.await.unwrap().unwrap(), None);
        assert_eq!(input.buffer.capacity(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_part_of_a_packet_is_kept_however_long_the_rest_takes() {
        let (mut ours, _theirs) = duplex(64);
        let mut input = Input { buffer: BytesMut::from(&b"half"[..]), ..Input::default() };
        let read = input.fill(&mut ours, 4096, Duration::from_secs(60), || ()).await;
        assert_eq!((read.unwrap(), &input.buffer[..]), (None, &b"half"[..]));
    }

    #[tokio::test(start_paused = true)]
    async fn a_busy_connection_is_never_quiet() {
        let (mut ours, mut theirs) = duplex(64);
        let mut input = Input::default();
        let sending = tokio::spawn(async move {
            for _ in 0..20 {
                sleep(QUIET_AFTER * 9 / 10).await;
                theirs.write_all(b"x").await.unwrap();
            }
            sleep(QUIET_AFTER * 2).await;
            theirs
        });
        let (patience, mut quiet) = (Duration::from_secs(1_000), 0);
        for _ in 0..20 {
            assert_eq!(input.fill(&mut ours, 4096, patience, || quiet += 1).await.unwrap(), Some(1));
        }
        assert_eq!(quiet, 0);
        let began = Instant::now();
        assert_eq!(input.fill(&mut ours, 4096, Duration::from_secs(5), || quiet += 1).await.unwrap(), None);
        assert_eq!((quiet, began.elapsed().as_secs()), (1, 5));
        drop(sending.await.unwrap());
    }

    #[test]
    fn the_last_buffer_is_lent_to_whoever_reads_next() {
        let release = |room: usize| {
            let mut input = Input { buffer: BytesMut::with_capacity(room), ..Input::default() };
            let start = input.buffer.as_ptr();
            input.release();
            (start, room)
        };
        let lent = || {
            let mut buffer = BytesMut::new();
            make_room(&mut buffer, 4096);
            (buffer.as_ptr(), buffer.capacity())
        };
        release(MAX_SPARE + 1);
        let released: Vec<_> = (5000..).take(MOST_SPARE + 1).map(release).collect();
        let all: Vec<_> = (0..MOST_SPARE).map(|_| lent()).collect();
        assert_eq!(all, released[..MOST_SPARE].iter().rev().copied().collect::<Vec<_>>());
        assert_eq!(SPARE.take(), [] as [BytesMut; 0]);
    }

    #[test]
    fn what_is_left_of_a_buffer_is_lent_where_it_is_worth_a_read() {
        let released = |taken: usize, is_held: bool| {
            let mut input = Input { buffer: BytesMut::with_capacity(4096), ..Input::default() };
            input.buffer.resize(taken, 0);
            let held = input.buffer.split_to(taken);
            let _held = is_held.then_some(held);
            input.release();
            SPARE.take().pop().map(|mut spare| {
                make_room(&mut spare, 4096);
                spare.capacity()
            })
        };
        assert_eq!(released(4096 - MIN_ROOM, true), Some(MIN_ROOM));
        assert_eq!(released(4096 - MIN_ROOM + 1, true), None);
        assert_eq!(released(4096 - MIN_ROOM + 1, false), Some(4096));
    }

    #[test]
    fn room_is_made_only_where_too_little_is_left() {
        let mut input = Input { buffer: BytesMut::with_capacity(4096), ..Input::default() };
        let start = input.buffer.as_ptr();
        make_room(&mut input.buffer, 4096);
        assert_eq!(input.buffer.as_ptr(), start);
        input.buffer.resize(4000, 0);
        let _held = input.buffer.split_to(4000);
        make_room(&mut input.buffer, 4096);
        assert_ne!(input.buffer.as_ptr(), start);
        assert!(input.buffer.capacity() >= 4096);
    }
}
