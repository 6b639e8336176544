//! A circuit breaker: after enough failures in a row a service is left alone for a while, instead of every mail waiting for it.
//!
//! *Closed*, everything passes. After [`Limits::failures`] failures without a success between them it *opens*: nothing passes.
//! When the pause is over, one caller is let through as a probe (*half-open*); its success closes the breaker, its failure
//! opens it again for twice as long. Time comes in as an argument.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// When a breaker opens, and for how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Failures in a row after which it opens; 0 counts as 1.
    pub failures: u32,
    /// How long it is open the first time. Each failed probe doubles it.
    pub first_pause: Duration,
    /// The longest it is open between two probes.
    pub longest_pause: Duration,
}

/// Whether a call may be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Permit {
    /// It may.
    Pass,
    /// It may, and on its outcome depends whether others may.
    Probe,
    /// It may not: the service is known to fail. The next probe is due at the instant given.
    Refused(Instant),
}

/// What the outcome of a call changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// Nothing that others would notice.
    None,
    /// The service counts as failed from now on.
    Opened,
    /// The service is back.
    Closed,
}

/// A circuit breaker, shared by all callers of one service.
#[derive(Debug)]
pub struct Breaker {
    limits: Limits,
    state: Mutex<State>,
}

#[derive(Clone, Copy, Debug)]
enum State {
    Closed {
        failures: u32,
    },
    Open {
        until: Instant,
        pause: Duration,
    },
    /// A probe is under way. One that never comes back makes room for the next after the same pause.
    HalfOpen {
        until: Instant,
        pause: Duration,
    },
}

impl Breaker {
    /// A closed breaker.
    pub const fn new(limits: Limits) -> Self {
        Self { limits, state: Mutex::new(State::Closed { failures: 0 }) }
    }

    /// Asks whether a call may be made now. Its outcome is to be told to [`Self::on_success`] or [`Self::on_failure`].
    pub fn permit(&self, now: Instant) -> Permit {
        self.with(|state| match *state {
            State::Closed { .. } => Permit::Pass,
            State::Open { until, .. } | State::HalfOpen { until, .. } if now < until => {
                Permit::Refused(until)
            }
            State::Open { pause, .. } | State::HalfOpen { pause, .. } => {
                *state = State::HalfOpen { until: now + pause, pause };
                Permit::Probe
            }
        })
    }

    /// Whether it is open or half-open: calls are refused, but for a probe.
    pub fn is_open(&self) -> bool {
        self.with(|state| !matches!(state, State::Closed { .. }))
    }

    /// A call succeeded. It closes the breaker even when the call began before it opened: the service answers.
    pub fn on_success(&self) -> Change {
        self.with(|state| {
            let before = std::mem::replace(state, State::Closed { failures: 0 });
            if matches!(before, State::Closed { .. }) { Change::None } else { Change::Closed }
        })
    }

    /// A call failed. While the breaker is open, failures of calls that began before change nothing.
    pub fn on_failure(&self, now: Instant) -> Change {
        let limits = self.limits;
        self.with(|state| match *state {
            State::Closed { failures } if failures.saturating_add(1) < limits.failures => {
                *state = State::Closed { failures: failures + 1 };
                Change::None
            }
            State::Closed { .. } => {
                *state = State::Open { until: now + limits.first_pause, pause: limits.first_pause };
                Change::Opened
            }
            State::HalfOpen { pause, .. } => {
                let pause = pause.saturating_mul(2).min(limits.longest_pause);
                *state = State::Open { until: now + pause, pause };
                Change::None
            }
            State::Open { .. } => Change::None,
        })
    }

    fn with<T>(&self, step: impl FnOnce(&mut State) -> T) -> T {
        // Every state is whole at any time, so one left behind by a panic is as good as another.
        step(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits =
        Limits { failures: 3, first_pause: Duration::from_secs(1), longest_pause: Duration::from_secs(3) };

    /// A breaker, and the instant at which its first pause ends if it is opened at once.
    fn breaker() -> (Breaker, Instant) {
        (Breaker::new(LIMITS), Instant::now())
    }

    fn opened() -> (Breaker, Instant) {
        let (breaker, now) = breaker();
        for _ in 0..LIMITS.failures {
            breaker.on_failure(now);
        }
        (breaker, now)
    }

    const fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn it_opens_after_enough_failures_in_a_row() {
        let (breaker, now) = breaker();
        assert_eq!(breaker.on_failure(now), Change::None);
        assert_eq!(breaker.on_failure(now), Change::None);
        assert_eq!(breaker.permit(now), Permit::Pass);
        assert!(!breaker.is_open());
        assert_eq!(breaker.on_failure(now), Change::Opened);
        assert_eq!(breaker.permit(now), Permit::Refused(now + seconds(1)));
        assert!(breaker.is_open());
    }

    #[test]
    fn a_success_between_failures_starts_the_count_anew() {
        let (breaker, now) = breaker();
        for _ in 0..10 {
            breaker.on_failure(now);
            breaker.on_failure(now);
            assert_eq!(breaker.on_success(), Change::None);
        }
        assert_eq!(breaker.permit(now), Permit::Pass);
    }

    #[test]
    fn one_probe_passes_when_the_pause_is_over() {
        let (breaker, now) = opened();
        assert_eq!(breaker.permit(now + Duration::from_millis(999)), Permit::Refused(now + seconds(1)));
        assert_eq!(breaker.permit(now + seconds(1)), Permit::Probe);
        assert_eq!(breaker.permit(now + seconds(1)), Permit::Refused(now + seconds(2)));
    }

    #[test]
    fn a_probe_that_succeeds_closes_it() {
        let (breaker, now) = opened();
        assert_eq!(breaker.permit(now + seconds(1)), Permit::Probe);
        assert!(breaker.is_open(), "half-open is not closed");
        assert_eq!(breaker.on_success(), Change::Closed);
        assert!(!breaker.is_open());
        assert_eq!(breaker.permit(now + seconds(1)), Permit::Pass);
        assert_eq!(breaker.on_failure(now + seconds(1)), Change::None, "it counts from zero again");
    }

    #[test]
    fn each_probe_that_fails_doubles_the_pause_up_to_the_longest() {
        let (breaker, mut now) = opened();
        for pause in [1, 2, 3, 3].map(seconds) {
            assert_eq!(breaker.permit(now), Permit::Refused(now + pause));
            now += pause;
            assert_eq!(breaker.permit(now), Permit::Probe);
            assert_eq!(breaker.on_failure(now), Change::None, "it was known to fail");
        }
    }

    #[test]
    fn a_probe_that_never_comes_back_makes_room_for_another() {
        let (breaker, now) = opened();
        assert_eq!(breaker.permit(now + seconds(1)), Permit::Probe);
        assert_eq!(breaker.permit(now + seconds(2)), Permit::Probe);
        assert_eq!(breaker.on_success(), Change::Closed);
    }

    #[test]
    fn calls_from_before_it_opened_prolong_nothing_but_may_close_it() {
        let (breaker, now) = opened();
        assert_eq!(breaker.on_failure(now + Duration::from_millis(900)), Change::None);
        assert_eq!(breaker.permit(now + seconds(1)), Permit::Probe);

        let (breaker, now) = opened();
        assert_eq!(breaker.on_success(), Change::Closed);
        assert_eq!(breaker.permit(now), Permit::Pass);
    }

    #[test]
    fn a_limit_of_no_failures_counts_as_one() {
        let (breaker, now) = (Breaker::new(Limits { failures: 0, ..LIMITS }), Instant::now());
        assert_eq!(breaker.permit(now), Permit::Pass);
        assert_eq!(breaker.on_failure(now), Change::Opened);
    }
}
