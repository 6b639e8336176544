//! A moment, as stores keep it.

use std::time::{Duration, SystemTime};

/// Milliseconds since the UNIX epoch. Arithmetic saturates: a clock that was set back makes no span negative.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Timestamp(u64);

impl Timestamp {
    /// The epoch itself.
    pub const EPOCH: Self = Self(0);

    /// The moment `millis` ms after the epoch.
    pub const fn from_millis(millis: u64) -> Self {
        Self(millis)
    }

    /// Milliseconds since the epoch.
    pub const fn as_millis(self) -> u64 {
        self.0
    }

    /// The moment `span` later, or the end of time.
    pub fn plus(self, span: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(span.as_millis()).unwrap_or(u64::MAX)))
    }

    /// The time passed since `earlier`; none when the clock was set back in between.
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }
}

impl From<SystemTime> for Timestamp {
    /// The moment in milliseconds; the epoch for a clock set before it.
    fn from(time: SystemTime) -> Self {
        Self::EPOCH.plus(time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arithmetic_saturates_at_both_ends() {
        let now = Timestamp::from_millis(1_000);
        assert_eq!(now.plus(Duration::from_millis(1)).as_millis(), 1_001);
        assert_eq!(now.plus(Duration::MAX).as_millis(), u64::MAX);
        assert_eq!(now.since(Timestamp::from_millis(400)), Duration::from_millis(600));
        assert_eq!(now.since(Timestamp::from_millis(1_001)), Duration::ZERO);
    }

    #[test]
    fn a_clock_before_the_epoch_reads_as_the_epoch() {
        let before = SystemTime::UNIX_EPOCH - Duration::from_secs(1);
        assert_eq!(Timestamp::from(before), Timestamp::EPOCH);
        let after = SystemTime::UNIX_EPOCH + Duration::from_millis(1_500);
        assert_eq!(Timestamp::from(after), Timestamp::from_millis(1_500));
    }
}
