//! What a request costs in system calls, and how often threads wait for each other: counted by `perf stat`, so that the server is
//! hardly slowed down.

use std::io::{self, Read};
use std::process::{Child, Command, Stdio};
use std::rc::Rc;

use rustix::process::{Pid, Signal, kill_process};

use crate::daemon::{Daemon, Home};
use crate::drive::{self, Expect, Load, Which};
use crate::mail::{Content, KNOWN};
use crate::support::redis::Redis;
use crate::{Args, dns};

/// What is counted. Threads that wait for a lock, or for work, do so by `futex`; so do those that wake them.
const COUNTED: [&str; 6] = ["futex", "epoll_wait", "recvfrom", "sendto", "write", "writev"];

/// Counts the cases that were asked for.
pub(crate) fn run(args: &Args) -> io::Result<()> {
    let dns = dns::start();
    let (home, redis_home, redis) = (Home::new(), Home::new(), Redis::start(""));
    let greylag = Daemon::start(&home, dns, None);
    let in_redis = Daemon::start(&redis_home, dns, Some(&redis.url()));
    let time = std::time::Duration::from_secs_f64(args.seconds);
    let load = Load::new(args.connections, time, Expect::Answer);
    drive::make_known(greylag.ports.policy, KNOWN)?;
    drive::make_known(in_redis.ports.policy, KNOWN)?;
    let small = Rc::new(Content::small());
    println!("| per 1,000 | connections | a second | ms of a processor | {} |", COUNTED.join(" | "));
    println!("|---|---:|---:|---:{}|", "|---:".repeat(COUNTED.len()));
    for connections in [16, 1_000, 10_000] {
        let load = load.over(connections);
        let case = |name: &str, daemon: &Daemon, rate: &dyn Fn() -> io::Result<f64>| {
            if !args.is_asked(name) {
                return Ok(());
            }
            let perf = start(daemon)?;
            let rate = rate()?;
            // The time before it is measured is a fifth more, and is counted too.
            let thousands = rate * args.seconds * 1.2 / 1_000.0;
            let counts = finish(perf)?;
            let each: Vec<String> = counts.iter().map(|count| format!("{:.1}", count / thousands)).collect();
            println!("| {name} | {connections} | {rate:.0} | {} |", each.join(" | "));
            io::Result::Ok(())
        };
        let policy = |daemon: &Daemon, which| load.policy(daemon.ports.policy, which);
        case("policy, known triplets", &greylag, &|| policy(&greylag, Which::Known))?;
        case("policy, new triplets", &greylag, &|| policy(&greylag, Which::New))?;
        case("milter, small mail, a session each", &greylag, &|| {
            load.milter(greylag.ports.milter, 1, &small)
        })?;
        case("milter, small mail, ten a session", &greylag, &|| {
            load.milter(greylag.ports.milter, 10, &small)
        })?;
        case("policy with Redis, new triplets", &in_redis, &|| policy(&in_redis, Which::New))?;
    }
    Ok(())
}

fn start(daemon: &Daemon) -> io::Result<Child> {
    let calls = COUNTED.iter().map(|call| format!("syscalls:sys_enter_{call}"));
    let events: Vec<String> = std::iter::once("task-clock".to_owned()).chain(calls).collect();
    let perf = Command::new("perf")
        .args(["stat", "-x", ",", "-e", &events.join(","), "-p", &daemon.id().to_string()])
        .stdin(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| io::Error::other(format!("perf: {error}; apt-get install linux-perf")))?;
    // It says nothing when it begins to count.
    std::thread::sleep(std::time::Duration::from_millis(500));
    Ok(perf)
}

/// Ends counting: milliseconds of a processor, then the counts in the order of [`COUNTED`].
fn finish(mut perf: Child) -> io::Result<Vec<f64>> {
    if let Some(id) = i32::try_from(perf.id()).ok().and_then(Pid::from_raw) {
        kill_process(id, Signal::INT)?;
    }
    let mut text = String::new();
    if let Some(mut stderr) = perf.stderr.take() {
        stderr.read_to_string(&mut text)?;
    }
    perf.wait()?;
    let count = |event: String| {
        let line = text.lines().find(|line| line.contains(&event))?;
        line.split(',').next()?.parse().ok()
    };
    let calls = COUNTED.iter().map(|call| format!(",syscalls:sys_enter_{call},"));
    let counts: Option<Vec<f64>> =
        std::iter::once(",task-clock,".to_owned()).chain(calls).map(count).collect();
    counts.ok_or_else(|| io::Error::other(format!("perf stat said {text:?}; it has to run as root")))
}
