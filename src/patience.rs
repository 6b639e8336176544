//! Waiting, but not for ever.

use std::future::poll_fn;
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use tokio::time::timeout;

/// What comes of `work` if it takes no longer than `budget`. What is done at once, as nearly everything is, takes no timer.
pub(crate) async fn within<T>(budget: Duration, work: impl Future<Output = T>) -> Option<T> {
    let mut work = pin!(work);
    let at_once = poll_fn(|context| match work.as_mut().poll(context) {
        Poll::Ready(done) => Poll::Ready(Some(done)),
        Poll::Pending => Poll::Ready(None),
    });
    match at_once.await {
        Some(done) => Some(done),
        None => timeout(budget, work).await.ok(),
    }
}

/// What comes of `work` if there is nothing it has to wait for; it is given up otherwise.
pub(crate) fn at_once<T>(work: impl Future<Output = T>) -> Option<T> {
    match pin!(work).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(done) => Some(done),
        Poll::Pending => None,
    }
}

/// What comes of each of `works`, which are done side by side, in their order.
pub(crate) async fn all<T>(works: impl Iterator<Item = impl Future<Output = T>>) -> Vec<T> {
    let mut works: Vec<_> = works.map(|work| (Box::pin(work), None)).collect();
    poll_fn(|context| {
        for (work, done) in &mut works {
            if done.is_none()
                && let Poll::Ready(result) = work.as_mut().poll(context)
            {
                *done = Some(result);
            }
        }
        let are_done = works.iter().all(|(_, done)| done.is_some());
        if are_done { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
    works.into_iter().filter_map(|(_, done)| done).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::{pending, ready};
    use tokio::time::{Instant, sleep};

    #[tokio::test(start_paused = true)]
    async fn work_is_waited_for_as_long_as_it_may_take() {
        let second = Duration::from_secs(1);
        assert_eq!(within(Duration::ZERO, ready(1)).await, Some(1));
        let began = Instant::now();
        assert_eq!(within(3 * second, async { sleep(2 * second).await }).await, Some(()));
        assert_eq!(within(3 * second, pending::<()>()).await, None);
        assert_eq!(began.elapsed().as_secs(), 5);
    }

    #[tokio::test(start_paused = true)]
    async fn works_are_done_side_by_side() {
        let began = Instant::now();
        let works = [3, 1, 2].map(|seconds| async move {
            sleep(Duration::from_secs(seconds)).await;
            seconds
        });
        assert_eq!(all(works.into_iter()).await, [3, 1, 2]);
        assert_eq!(began.elapsed().as_secs(), 3);
        assert_eq!(all(std::iter::empty::<std::future::Ready<()>>()).await, []);
    }

    #[tokio::test]
    async fn work_that_has_to_wait_is_given_up() {
        assert_eq!(at_once(async { ready(1).await + ready(2).await }), Some(3));
        assert_eq!(at_once(async { ready(1).await + pending::<i32>().await }), None);
    }
}
