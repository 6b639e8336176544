//! What time it is, for what a driver asks: the system's clock, or one that a transcript sets.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use crate::store::Timestamp;

/// A clock. Clones are the same clock.
#[derive(Clone, Debug, Default)]
pub struct Clock(Option<Arc<AtomicU64>>);

impl Clock {
    /// A clock that stands still until it is told to go on.
    pub fn stopped(at: Timestamp) -> Self {
        Self(Some(Arc::new(AtomicU64::new(at.as_millis()))))
    }

    /// Puts a stopped clock forward; the system's takes no notice.
    pub fn advance(&self, by: Duration) {
        if let Some(millis) = &self.0 {
            let now = Timestamp::from_millis(millis.load(Ordering::Relaxed));
            millis.store(now.plus(by).as_millis(), Ordering::Relaxed);
        }
    }

    /// What time it is.
    pub fn now(&self) -> Timestamp {
        match &self.0 {
            Some(millis) => Timestamp::from_millis(millis.load(Ordering::Relaxed)),
            None => Timestamp::from(SystemTime::now()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stopped_clock_goes_on_when_told() {
        let clock = Clock::stopped(Timestamp::from_millis(1_000));
        clock.clone().advance(Duration::from_secs(2));
        assert_eq!(clock.now(), Timestamp::from_millis(3_000));
        assert!(Clock::default().now() > clock.now());
    }
}
