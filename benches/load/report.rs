//! What is printed.

use std::process::Command;

use serde_json::{Value, json};

use crate::{Args, daemon};

/// One line of the table.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    /// The case.
    pub(crate) case: &'static str,
    /// What Greylag did.
    pub(crate) greylag: f64,
    /// What the server that does nothing did, where there is one to compare with.
    pub(crate) nothing: Option<f64>,
    /// What both are counted in.
    pub(crate) unit: &'static str,
    /// What is wanted: of the ratio where there is one, else of the figure.
    pub(crate) target: Target,
}

/// What is wanted of a figure.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Target {
    AtLeast(f64),
    AtMost(f64),
    None,
}

impl Target {
    fn name(self) -> String {
        match self {
            Self::AtLeast(target) => format!(">= {target}"),
            Self::AtMost(target) => format!("<= {target}"),
            Self::None => String::new(),
        }
    }
}

impl Row {
    /// Greylag's figure over the other; the figure itself where there is no other.
    fn measured(&self) -> f64 {
        self.nothing.map_or(self.greylag, |nothing| self.greylag / nothing)
    }

    fn is_met(&self) -> Option<bool> {
        match self.target {
            Target::AtLeast(target) => Some(self.measured() >= target),
            Target::AtMost(target) => Some(self.measured() <= target),
            Target::None => None,
        }
    }
}

/// What was measured, on what.
fn run_of(args: &Args) -> Value {
    let read = |path| std::fs::read_to_string(path).unwrap_or_default();
    let processors = read("/proc/cpuinfo");
    let processor = processors.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    let described = Command::new("git")
        .args(["-C", env!("CARGO_MANIFEST_DIR"), "describe", "--always", "--dirty"])
        .output()
        .map(|git| String::from_utf8_lossy(&git.stdout).trim().to_owned());
    json!({
        "program": daemon::program().to_string_lossy(),
        "commit_of_the_bench": described.unwrap_or_default(),
        "seconds": args.seconds,
        "rounds": args.rounds,
        "connections": args.connections,
        "processor": processor.map(|(_, model)| model),
        "processors": std::thread::available_parallelism().map_or(0, std::num::NonZero::get),
        "kernel": read("/proc/sys/kernel/osrelease").trim(),
    })
}

pub(crate) fn table(args: &Args, rows: &[Row]) {
    println!("{}\n", run_of(args));
    println!("| case | Greylag | nothing | unit | ratio | target | |\n|---|---:|---:|---|---:|---|---|");
    for row in rows {
        let nothing = row.nothing.map_or_else(|| "-".to_owned(), number);
        let ratio = row.nothing.map_or_else(|| "-".to_owned(), |_| format!("{:.2}", row.measured()));
        let target = row.target.name();
        let met = row.is_met().map_or("", |met| if met { "met" } else { "missed" });
        println!(
            "| {} | {} | {nothing} | {} | {ratio} | {target} | {met} |",
            row.case,
            number(row.greylag),
            row.unit
        );
    }
}

pub(crate) fn json(args: &Args, rows: &[Row]) {
    println!("{}", run_of(args));
    for row in rows {
        let row = json!({
            "case": row.case,
            "unit": row.unit,
            "greylag": row.greylag,
            "nothing": row.nothing,
            "measured": row.measured(),
            "target": row.target.name(),
            "met": row.is_met(),
        });
        println!("{row}");
    }
}

fn number(value: f64) -> String {
    if value >= 100.0 { format!("{value:.0}") } else { format!("{value:.2}") }
}
