//! What the hottest paths cost, in instructions and heap allocations rather than in time: the same on any machine.
//!
//! `cargo counts` (an alias in `.cargo/config.toml`) counts each path under callgrind, shows it beside `benches/counts.toml`, and
//! fails where one costs more than 5 % more than recorded there. `cargo counts --record` writes the file anew, `cargo counts NAME`
//! counts the paths with NAME in their name only. With KEEP_CALLGRIND=DIR callgrind's output is kept in DIR. Needs valgrind.
//!
//! Each path runs in a process of its own, twice as long the second time: the difference is the path, without start and warm-up. The
//! thread that answers is counted apart from those beside it, such as the writer of the log.

#![allow(clippy::expect_used, clippy::panic, reason = "a bench fails by panicking")]

mod counting;
#[path = "../load/dns.rs"]
mod dns;
#[allow(dead_code, reason = "the load benchmark uses more of it")]
#[path = "../load/mail.rs"]
mod mail;
mod paths;
#[allow(dead_code, reason = "the load benchmark uses more of it")]
#[path = "../load/postfix.rs"]
mod postfix;
mod recorded;
mod script;
mod talk;

use std::process::ExitCode;

use counting::Cost;
use paths::Path;
use recorded::Recorded;

/// More than this over what is recorded, in percent, is a regression. Instructions vary by up to three, with the seeds of hash maps and
/// with what the allocator has at hand.
const TOLERANCE: f64 = 5.0;

/// A path that costs more is counted so often: what happens now and then may fall into one of the two runs that are compared, and on a
/// busy machine does. A regression costs more each time.
const TRIES: usize = 3;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|it| it != "--bench").collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["--run", path, times] => {
            let path = Path::ALL.into_iter().find(|known| known.name() == path).expect("a path's name");
            path.run(times.parse().expect("a number"));
            ExitCode::SUCCESS
        }
        ["--record"] => {
            let costs: Vec<_> = Path::ALL.map(|path| (path, counting::count(path))).into();
            Recorded::of(&costs).write();
            ExitCode::SUCCESS
        }
        [] => compare(|_| true),
        [wanted] => compare(|path| path.name().contains(wanted)),
        _ => {
            eprintln!("cost: expected --record, or a part of a path's name");
            ExitCode::from(64)
        }
    }
}

fn compare(wanted: impl Fn(Path) -> bool) -> ExitCode {
    let recorded = Recorded::read();
    let mut is_fine = true;
    println!("{:<18} {:>13} {:>12} {:>8} {:>12}", "path", "instructions", "recorded", "allocs", "beside");
    for path in Path::ALL.into_iter().filter(|path| wanted(*path)) {
        let before = recorded.instructions(path);
        let is_more = |now: f64, before: f64| now > before * (1.0 + TOLERANCE / 100.0);
        let is_worse = |cost: &Cost| {
            is_more(cost.instructions, before) || is_more(cost.allocations, recorded.allocations(path))
        };
        let mut cost = counting::count(path);
        for _ in 1..TRIES {
            if is_worse(&cost) {
                cost = counting::count(path);
            }
        }
        let is_worse = is_worse(&cost);
        is_fine &= !is_worse;
        println!(
            "{:<18} {:>13.0} {before:>12.0} {:>8.1} {:>12.0}{}",
            path.name(),
            cost.instructions,
            cost.allocations,
            cost.beside,
            if is_worse { "  MORE THAN RECORDED" } else { "" },
        );
    }
    if is_fine {
        return ExitCode::SUCCESS;
    }
    println!(
        "Find the cost (callgrind_annotate) and remove it; where it is worth it, record it: cargo counts --record"
    );
    ExitCode::FAILURE
}
