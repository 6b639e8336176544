//! Greylag beside servers that do nothing, in one run on one machine: a table of ratios.
//!
//! `cargo bench --ignore-rust-version --bench load` prints it; `-- --help` tells more. `benches/README.md` has the last one.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a bench fails by panicking")]

mod cases;
mod curves;
mod daemon;
mod dns;
mod drive;
mod mail;
mod measure;
mod milter;
mod nothing;
mod peers;
mod plot;
mod policy;
mod ports;
mod postfix;
mod redis;
mod report;
mod soak;
mod syscalls;

#[path = "../../tests/support/mod.rs"]
mod support;

use clap::Parser;

/// Greylag beside servers that do nothing: requests and mails a second, latency, memory, start.
#[derive(Debug, Parser)]
pub(crate) struct Args {
    /// Cases to run: those whose name contains one of these; all without.
    cases: Vec<String>,
    /// Seconds each measurement takes.
    #[arg(long, default_value_t = 4.0)]
    seconds: f64,
    /// Measurements of each case, Greylag and nothing in turn; the median ratio counts.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Connections of the closed and open loops.
    #[arg(long, default_value_t = 16)]
    connections: usize,
    /// Print JSON instead of a table.
    #[arg(long)]
    json: bool,
    /// Measure other servers too: postgrey, postfwd, rspamd (`benches/peers.sh` installs them).
    #[arg(long)]
    peers: bool,
    /// Measure how costs grow. Where no cases are named they are drawn into `benches/curves.svg`; the figures go to `benches/curves.json`.
    #[arg(long)]
    curves: bool,
    /// Run for so many minutes at a low rate and print the resident memory every ten seconds, and what it grew by.
    #[arg(long, value_name = "MINUTES")]
    soak: Option<f64>,
    /// Count system calls, among them those by which threads wait for each other, at 16, 1,000 and 10,000 connections. Needs perf and root.
    #[arg(long)]
    syscalls: bool,
    /// Operations a second of `--soak`.
    #[arg(long, default_value_t = 500.0)]
    rate: f64,
    /// Serve nothing: ports of policy service and milter, and the milter's answer to OPTNEG in hexadecimal.
    #[arg(long, num_args = 3, hide = true)]
    nothing: Option<Vec<String>>,
    /// Given by `cargo bench`.
    #[arg(long, hide = true)]
    bench: bool,
}

impl Args {
    /// Whether the case is one of those to run.
    fn is_asked(&self, case: &str) -> bool {
        self.cases.is_empty() || self.cases.iter().any(|wanted| case.contains(wanted.as_str()))
    }
}

fn main() -> std::io::Result<()> {
    let args = Args::parse();
    if let Some([policy, milter, agreed]) = args.nothing.as_deref() {
        return nothing::serve(policy.parse().unwrap(), milter.parse().unwrap(), agreed);
    }
    if args.syscalls {
        return syscalls::run(&args);
    }
    if let Some(minutes) = args.soak {
        return soak::run(&args, minutes);
    }
    if args.curves {
        let curves = curves::run(&args)?;
        plot::print(&curves);
        return if args.cases.is_empty() { plot::write(&curves) } else { Ok(()) };
    }
    let rows = if args.peers { cases::run_peers(&args) } else { cases::run(&args) }?;
    if args.json {
        report::json(&args, &rows)
    } else {
        report::table(&args, &rows)
    }
    Ok(())
}
