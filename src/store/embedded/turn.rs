//! A lock for what may take long: threads that answer mail never block on it.

use std::hint;
use std::sync::{Mutex, MutexGuard, TryLockError};

use tokio::sync::Notify;

use crate::store::table::lock;

/// How often it is tried before something else is done meanwhile: what is commonly done in a turn takes no longer.
const TRIES: usize = 100;

/// A value that one at a time may change.
#[derive(Debug)]
pub(super) struct Turn<T> {
    value: Mutex<T>,
    /// Told each time a turn ends.
    ended: Notify,
}

impl<T> Turn<T> {
    pub(super) fn new(value: T) -> Self {
        Self { value: Mutex::new(value), ended: Notify::new() }
    }

    /// Blocks until it has its turn: for threads that may wait.
    pub(super) fn wait<R>(&self, work: impl FnOnce(&mut T) -> R) -> R {
        self.take(lock(&self.value), work)
    }

    /// Does `work`, unless it is somebody else's turn for longer than a moment.
    pub(super) fn attempt<R>(&self, work: impl FnOnce(&mut T) -> R) -> Option<R> {
        for _ in 0..TRIES {
            match self.value.try_lock() {
                Ok(value) => return Some(self.take(value, work)),
                Err(TryLockError::Poisoned(value)) => return Some(self.take(value.into_inner(), work)),
                Err(TryLockError::WouldBlock) => hint::spin_loop(),
            }
        }
        None
    }

    /// Returns what `attempt` does once it does it, without blocking: it is made each time a turn has ended.
    pub(super) async fn until<R>(&self, mut attempt: impl FnMut() -> Option<R>) -> R {
        loop {
            if let Some(done) = attempt() {
                // It may not have needed its turn, which is the next one's then.
                self.ended.notify_one();
                return done;
            }
            self.ended.notified().await;
        }
    }

    fn take<R>(&self, value: MutexGuard<'_, T>, work: impl FnOnce(&mut T) -> R) -> R {
        // Told after the lock is released, even if `work` panics.
        let _end = End(&self.ended);
        let mut value = value;
        work(&mut value)
    }
}

struct End<'a>(&'a Notify);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::sync::mpsc;
    use std::task::{Context, Poll, Waker};
    use std::thread;
    use std::time::Duration;

    use super::*;

    /// Has a thread take its turn until the sender that is returned is dropped.
    fn occupy<'scope>(scope: &'scope thread::Scope<'scope, '_>, turn: &'scope Turn<u32>) -> mpsc::Sender<()> {
        let (end, ended) = mpsc::channel::<()>();
        let (begin, begun) = mpsc::channel();
        scope.spawn(move || {
            turn.wait(|value| {
                begin.send(()).unwrap();
                let _ = ended.recv();
                *value += 1;
            });
        });
        begun.recv().unwrap();
        end
    }

    #[test]
    fn an_attempt_does_not_wait_for_the_turn_of_another() {
        let turn = Turn::new(0);
        thread::scope(|scope| {
            let end = occupy(scope, &turn);
            assert_eq!(turn.attempt(|value| *value), None);
            drop(end);
            assert_eq!(turn.wait(|value| *value), 1);
            assert_eq!(turn.attempt(|value| *value), Some(1));
        });
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn all_who_wait_have_their_turn_when_it_ends() {
        let turn: &'static Turn<u32> = Box::leak(Box::new(Turn::new(0)));
        let take = || turn.until(|| turn.attempt(|value| std::mem::replace(value, *value + 1)));
        let mut early = pin!(take());
        let waiters: Vec<_> = thread::scope(|scope| {
            let end = occupy(scope, turn);
            assert_eq!(early.as_mut().poll(&mut Context::from_waker(Waker::noop())), Poll::Pending);
            let waiters = (0..20).map(|_| tokio::spawn(take())).collect();
            thread::sleep(Duration::from_millis(20));
            drop(end);
            waiters
        });
        let mut seen = vec![early.await];
        for waiter in waiters {
            seen.push(waiter.await.unwrap());
        }
        seen.sort_unstable();
        assert_eq!(seen, (1..=21).collect::<Vec<_>>());
    }

    #[tokio::test]
    async fn whoever_needs_no_turn_any_more_passes_it_on() {
        let turn = Turn::new(0);
        let mut tries = (0, 0);
        thread::scope(|scope| {
            let end = occupy(scope, &turn);
            let context = &mut Context::from_waker(Waker::noop());
            let mut first = pin!(turn.until(|| {
                tries.0 += 1;
                // Somebody else has done it by then.
                (tries.0 == 2).then_some("done by others")
            }));
            let mut second = pin!(turn.until(|| {
                tries.1 += 1;
                turn.attempt(|value| *value)
            }));
            assert_eq!(first.as_mut().poll(context), Poll::Pending);
            assert_eq!(second.as_mut().poll(context), Poll::Pending);
            drop(end);
            turn.wait(|_| ());
            assert_eq!(first.as_mut().poll(context), Poll::Ready("done by others"));
            assert_eq!(second.as_mut().poll(context), Poll::Ready(1));
        });
        assert_eq!(tries, (2, 2));
    }

    #[test]
    fn a_turn_ends_by_a_panic_too() {
        let turn = Turn::new(0);
        let waiting = turn.until(|| turn.attempt(|value| *value));
        thread::scope(|scope| {
            let panicking = scope.spawn(|| turn.wait(|_| panic!("as the test wants")));
            assert!(panicking.join().is_err());
        });
        assert_eq!(pin!(waiting).poll(&mut Context::from_waker(Waker::noop())), Poll::Ready(0));
        assert_eq!(
            pin!(turn.ended.notified()).poll(&mut Context::from_waker(Waker::noop())),
            Poll::Ready(())
        );
    }
}
