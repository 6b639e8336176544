//! Closed loops, which find the most a server can do, and open ones, which find how long it takes at a given rate.

use std::cell::{Cell, RefCell};
use std::io;
use std::rc::Rc;
use std::thread;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use tokio::task::{LocalSet, yield_now};

/// Operations a second of `connections` loops, each of which does the next when the last is done.
///
/// `start` makes one loop's operation: a closure that does one and says how many mails or requests it was.
pub(crate) fn closed<S, O>(connections: usize, time: Duration, start: S) -> io::Result<f64>
where
    S: Fn(usize) -> O,
    O: AsyncFnMut() -> io::Result<u64> + 'static,
{
    let done = Rc::new(Cell::new(0u64));
    let warm = time / 5;
    run(async {
        let began = Instant::now();
        all(connections, |connection| {
            let (mut operation, done) = (start(connection), Rc::clone(&done));
            async move {
                while began.elapsed() < warm + time {
                    let count = operation().await?;
                    // What ends later would be one more for each connection.
                    if (warm..warm + time).contains(&began.elapsed()) {
                        done.set(done.get() + count);
                    }
                }
                Ok(())
            }
        })
        .await
    })??;
    Ok(done.get() as f64 / time.as_secs_f64())
}

/// Latencies in microseconds at `rate` operations a second over `connections`, each measured from the moment at which it was due and
/// not from when its connection got round to it: a server that stalls is charged for everybody who waits (coordinated omission).
pub(crate) fn open<S, O>(
    connections: usize,
    time: Duration,
    rate: f64,
    start: S,
) -> io::Result<Histogram<u64>>
where
    S: Fn(usize) -> O,
    O: AsyncFnMut() -> io::Result<u64> + 'static,
{
    let empty = || Histogram::<u64>::new_with_bounds(1, 60_000_000, 3).map_err(io::Error::other);
    let seen = Rc::new(RefCell::new(empty()?));
    let interval = Duration::from_secs_f64(connections as f64 / rate);
    run(async {
        let began = Instant::now();
        all(connections, |connection| {
            let (mut operation, seen) = (start(connection), Rc::clone(&seen));
            let offset = interval.mul_f64(connection as f64 / connections as f64);
            async move {
                let mut due = began + offset;
                while due < began + time {
                    // Timers are too coarse for this. Whoever is due on this processor goes first: waiting must not keep the server
                    // from its work.
                    while Instant::now() < due {
                        thread::yield_now();
                        yield_now().await;
                    }
                    operation().await?;
                    let micros = u64::try_from(due.elapsed().as_micros()).unwrap_or(u64::MAX);
                    seen.borrow_mut().saturating_record(micros.max(1));
                    due += interval;
                }
                Ok(())
            }
        })
        .await
    })??;
    let histogram = seen.replace(empty()?);
    Ok(histogram)
}

/// Runs a loop for each connection until all have ended.
pub(crate) async fn all<F: Future<Output = io::Result<()>> + 'static>(
    connections: usize,
    task: impl Fn(usize) -> F,
) -> io::Result<()> {
    let set = LocalSet::new();
    let tasks: Vec<_> = (0..connections).map(|connection| set.spawn_local(task(connection))).collect();
    set.await;
    for task in tasks {
        task.await.map_err(io::Error::other)??;
    }
    Ok(())
}

/// Runs on this thread alone, so that the server has the other core.
pub(crate) fn run<T>(work: impl Future<Output = T>) -> io::Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().event_interval(8).build()?;
    Ok(runtime.block_on(work))
}
