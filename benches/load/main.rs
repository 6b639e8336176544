//! Greylag beside servers that do nothing, in one run on one machine: a table of ratios.
//!
//! `cargo bench --ignore-rust-version --bench load` prints it; `-- --help` tells more. `benches/README.md` has the last one.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a bench fails by panicking")]

mod cases;
mod daemon;
mod dns;
mod mail;
mod measure;
mod milter;
mod nothing;
mod policy;
mod ports;
mod report;

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
    /// Serve nothing: ports of policy service and milter, and the milter's answer to OPTNEG in hexadecimal.
    #[arg(long, num_args = 3, hide = true)]
    nothing: Option<Vec<String>>,
    /// Given by `cargo bench`.
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> std::io::Result<()> {
    let args = Args::parse();
    if let Some([policy, milter, agreed]) = args.nothing.as_deref() {
        return nothing::serve(policy.parse().unwrap(), milter.parse().unwrap(), agreed);
    }
    let rows = cases::run(&args)?;
    if args.json {
        report::json(&rows)
    } else {
        report::table(&rows)
    }
    Ok(())
}
