//! The `greylag` command: reads the command line, runs the subcommand, exits with its code.

use std::process::ExitCode;

use clap::Parser;
use greylag::cli::{Cli, run};

fn main() -> ExitCode {
    match Cli::try_parse() {
        Ok(cli) => run(cli).into(),
        Err(error) => {
            // Help and version are no errors; clap says so itself. Writing fails only where nobody reads.
            let _ = error.print();
            if error.use_stderr() { ExitCode::from(64) } else { ExitCode::SUCCESS }
        }
    }
}
