//! Counting under callgrind.

use std::collections::HashMap;
use std::fs::{self, File};
use std::path::Path as FilePath;
use std::process::Command;

use crate::paths::Path;

/// What one round of a path costs.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cost {
    /// Instructions of the thread that answers.
    pub(crate) instructions: f64,
    /// Its heap allocations.
    pub(crate) allocations: f64,
    /// Instructions of all other threads.
    pub(crate) beside: f64,
}

/// Runs `path` once and once more twice as long, and takes the difference.
pub(crate) fn count(path: Path) -> Cost {
    let times = path.times();
    let (once, twice) = (run(path, times), run(path, 2 * times));
    // Where there is next to none, the longer run may by chance have fewer.
    let each = |of: fn(&Counted) -> u64| of(&twice).saturating_sub(of(&once)) as f64 / times as f64;
    Cost {
        instructions: each(|it| it.instructions),
        allocations: each(|it| it.allocations),
        beside: each(|it| it.beside),
    }
}

struct Counted {
    instructions: u64,
    allocations: u64,
    beside: u64,
}

fn run(path: Path, times: u64) -> Counted {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let out = directory.path().join("callgrind");
    let log = File::create(directory.path().join("log")).expect("a log file");
    let program = std::env::current_exe().expect("the path of this program");
    let status = Command::new("valgrind")
        .args(["--tool=callgrind", "--separate-threads=yes", "--quiet"])
        // The clock of the metrics is calibrated by waiting, at start: some million instructions, never as many as before.
        .args(["--toggle-collect=*quanta*Calibration*calibrate*", "--collect-atstart=yes"])
        .arg(format!("--callgrind-out-file={}", out.display()))
        .arg(program)
        .args(["--run", path.name(), &times.to_string()])
        .stderr(log)
        .status()
        .expect("valgrind runs; install it with .ci/setup");
    if !status.success() {
        let log = fs::read_to_string(directory.path().join("log")).unwrap_or_default();
        panic!("{} failed: {status}\n{log}", path.name());
    }
    if let Some(keep) = std::env::var_os("KEEP_CALLGRIND") {
        let name = format!("{}.{times}", path.name());
        fs::copy(directory.path().join("callgrind-01"), FilePath::new(&keep).join(name)).expect("a copy");
    }
    read(directory.path())
}

/// Callgrind writes a file for each thread, numbered from 1: the main thread, which answers.
fn read(directory: &FilePath) -> Counted {
    let mut counted = Counted { instructions: 0, allocations: 0, beside: 0 };
    for entry in fs::read_dir(directory).expect("the directory of the counts") {
        let path = entry.expect("an entry of it").path();
        let Some(thread) =
            path.to_str().and_then(|path| path.rsplit_once("callgrind-")?.1.parse::<u32>().ok())
        else {
            continue;
        };
        let text = fs::read_to_string(&path).expect("callgrind's output");
        let total = text.lines().find_map(|line| line.strip_prefix("totals: ")?.trim().parse().ok());
        match thread {
            1 => {
                counted.instructions = total.expect("a total");
                counted.allocations = allocations(&text);
            }
            _ => counted.beside += total.unwrap_or(0),
        }
    }
    counted
}

/// What the allocator is asked by: for memory, for zeros, for more room.
const ALLOCATOR: [&str; 5] =
    ["_rjem_malloc", "_rjem_mallocx", "_rjem_calloc", "_rjem_realloc", "_rjem_rallocx"];

/// Calls of the allocator: `cfn=(12) _rjem_malloc`, where the name stands at the first mention only, then `calls=3 …`.
fn allocations(text: &str) -> u64 {
    let mut names = HashMap::new();
    let (mut total, mut is_allocator) = (0, false);
    for line in text.lines() {
        if let Some(function) = line.strip_prefix("cfn=").or_else(|| line.strip_prefix("fn=")) {
            let (id, name) = function.split_once(' ').unwrap_or((function, ""));
            if !name.is_empty() {
                names.insert(id, ALLOCATOR.contains(&name));
            }
            is_allocator = line.starts_with("cfn=") && names.get(id).copied().unwrap_or(false);
        } else if let Some(calls) = line.strip_prefix("calls=").filter(|_| is_allocator) {
            total += calls.split(' ').next().and_then(|count| count.parse::<u64>().ok()).unwrap_or(0);
        }
    }
    total
}
