//! The fuzzer: one scan of each input, and what must hold of it. `FUZZ_TARGET` names the target; `tests/fuzz/README.md` tells more.

#![no_main]

mod target;

use std::sync::LazyLock;
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use target::Target;

/// What any input may take of the processor; a fuzzer's inputs are at most some 64 KiB.
const MAX_CPU: Duration = Duration::from_secs(2);

static TARGET: LazyLock<Target> = LazyLock::new(|| {
    let wanted = std::env::var("FUZZ_TARGET").expect("FUZZ_TARGET to name a target");
    Target::ALL.into_iter().find(|target| target.name() == wanted).expect("a target of this name")
});

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let began = cpu();
    let report = TARGET.scan(data);
    let took = cpu().saturating_sub(began);
    assert!(report.work <= target::work_limit(data.len()), "{} of work", report.work);
    assert!(took <= MAX_CPU, "{took:?} for {} of work", report.work);
});

fn cpu() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or(0))
}
