//! Whether the daemon can do its work right now.

use std::sync::atomic::{AtomicBool, Ordering};

/// A part of the daemon that mail waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// The greylist store.
    Store,
    /// The DNS.
    Dns,
    /// The policy files.
    Policy,
}

impl Part {
    /// Every part, in the order `/readyz` shows them.
    pub const ALL: [Self; 3] = [Self::Store, Self::Dns, Self::Policy];

    /// What is the matter while the part is not ready.
    const fn complaint(self) -> &'static str {
        match self {
            Self::Store => "store: the greylist store does not answer",
            Self::Dns => "dns: the DNS resolver does not answer",
            Self::Policy => "policy: no policy is loaded",
        }
    }
}

/// Which parts are ready. None is at first: each says so itself, and says so again when it no longer is.
#[derive(Debug, Default)]
pub struct Readiness {
    store: AtomicBool,
    dns: AtomicBool,
    policy: AtomicBool,
}

impl Readiness {
    /// Sets whether a part is ready.
    pub fn set(&self, part: Part, ready: bool) {
        self.flag(part).store(ready, Ordering::Relaxed);
    }

    /// Whether a part is ready.
    pub fn is_ready(&self, part: Part) -> bool {
        self.flag(part).load(Ordering::Relaxed)
    }

    /// One line for each part that is not ready.
    pub(super) fn complaints(&self) -> Vec<&'static str> {
        Part::ALL.into_iter().filter(|part| !self.is_ready(*part)).map(Part::complaint).collect()
    }

    const fn flag(&self, part: Part) -> &AtomicBool {
        match part {
            Part::Store => &self.store,
            Part::Dns => &self.dns,
            Part::Policy => &self.policy,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_part_that_is_not_ready_has_its_line() {
        let readiness = Readiness::default();
        assert_eq!(readiness.complaints().len(), 3);
        readiness.set(Part::Store, true);
        readiness.set(Part::Policy, true);
        assert_eq!(readiness.complaints(), ["dns: the DNS resolver does not answer"]);
        readiness.set(Part::Dns, true);
        assert_eq!(readiness.complaints(), Vec::<&str>::new());
        readiness.set(Part::Store, false);
        assert_eq!(readiness.complaints(), ["store: the greylist store does not answer"]);
    }
}
