//! Has commands that are sent in the same turn of the scheduler share a write.
//!
//! The library's task writes as soon as it is given one command. Where sixteen decisions are asked at once that is sixteen writes, and
//! each wakes Redis. So its task waits, each time it is woken, until the tasks that are ready have run and may have given it more.

use std::future::poll_fn;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, RedisConnectionInfo, RedisError};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, lookup_host};
use tokio::task::{JoinSet, yield_now};
use tokio_util::task::AbortOnDropHandle;

/// A connection to one server, and the task that speaks over it: it ends with the last clone.
#[derive(Clone)]
pub(super) struct Server {
    pub(super) connection: MultiplexedConnection,
    _task: Option<Arc<AbortOnDropHandle<()>>>,
}

impl Server {
    /// Over what the library connected, and speaks over by itself.
    pub(super) const fn of_library(connection: MultiplexedConnection) -> Self {
        Self { connection, _task: None }
    }

    /// Over a stream.
    pub(super) async fn over(
        stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
        settings: &RedisConnectionInfo,
        config: AsyncConnectionConfig,
    ) -> Result<Self, RedisError> {
        let (connection, speaker) = MultiplexedConnection::new_with_config(settings, stream, config).await?;
        let task = AbortOnDropHandle::new(tokio::spawn(in_turns(speaker)));
        Ok(Self { connection, _task: Some(Arc::new(task)) })
    }
}

/// Connects to the first address of a host that answers: one of them may be of a network that leads nowhere.
pub(super) async fn connect(host: &str, port: u16) -> io::Result<TcpStream> {
    let mut attempts: JoinSet<io::Result<TcpStream>> =
        lookup_host((host, port)).await?.map(TcpStream::connect).collect();
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the host has no address");
    while let Some(attempt) = attempts.join_next().await {
        match attempt.map_err(io::Error::other).flatten() {
            Ok(stream) => return Ok(stream),
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// Runs `work` a turn after it is woken, however often it is woken until then.
async fn in_turns(work: impl Future<Output = ()>) {
    let mut work = pin!(work);
    let mut turn: Option<Arc<Turn>> = None;
    poll_fn(|context| {
        let waited = turn.get_or_insert_with(|| Turn::begin(context.waker()));
        if !waited.is_over.load(Ordering::Acquire) {
            return Poll::Pending;
        }
        turn = None;
        work.as_mut().poll(context)
    })
    .await;
}

/// A turn of the scheduler, which wakes a task when it is over.
struct Turn {
    is_over: AtomicBool,
    task: Waker,
}

impl Turn {
    fn begin(task: &Waker) -> Arc<Self> {
        let turn = Arc::new(Self { is_over: AtomicBool::new(false), task: task.clone() });
        let waker = Waker::from(Arc::clone(&turn));
        // It gives the waker to the scheduler, and is not needed for more.
        let _ = pin!(yield_now()).poll(&mut Context::from_waker(&waker));
        turn
    }
}

impl Wake for Turn {
    fn wake(self: Arc<Self>) {
        self.is_over.store(true, Ordering::Release);
        self.task.wake_by_ref();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::RefCell;
    use std::rc::Rc;
    use tokio::sync::mpsc;
    use tokio::task::LocalSet;

    #[test]
    fn what_is_sent_in_one_turn_is_taken_in_one() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let taken = Rc::new(RefCell::new(Vec::new()));
        LocalSet::new().block_on(&runtime, async {
            let (sender, mut receiver) = mpsc::channel(16);
            let seen = Rc::clone(&taken);
            let taking = tokio::task::spawn_local(in_turns(async move {
                loop {
                    let mut together = Vec::new();
                    if receiver.recv_many(&mut together, 16).await == 0 {
                        return;
                    }
                    seen.borrow_mut().push(together);
                }
            }));
            yield_now().await;
            for number in 0..3 {
                let sender = sender.clone();
                tokio::task::spawn_local(async move { sender.send(number).await });
            }
            drop(sender);
            taking.await.unwrap();
        });
        assert_eq!(*taken.borrow(), [vec![0, 1, 2]]);
    }
}
