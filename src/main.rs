//! The `greylag` command: reads the command line, runs the subcommand, exits with its code.

use std::process::ExitCode;

use greylag::cli::{parse, run};

fn main() -> ExitCode {
    parse(std::env::args_os().collect()).map_or_else(|exit| exit, run).into()
}
