//! The fuzz targets' common part: one scan, and what must hold of it. `tests/fuzz/README.md` tells how they are run.

mod target;

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
pub use target::Target;

/// What any input may take of the processor; a fuzzer's inputs are at most some 64 KiB.
const MAX_CPU: Duration = Duration::from_secs(2);

/// Scans `data`; panics when a rule is broken.
pub fn run(target: Target, data: &[u8]) {
    let began = cpu();
    let report = target.scan(data);
    let took = cpu().saturating_sub(began);
    assert!(report.work <= target::work_limit(data.len()), "{} of work", report.work);
    assert!(took <= MAX_CPU, "{took:?} for {} of work", report.work);
}

fn cpu() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or(0))
}
