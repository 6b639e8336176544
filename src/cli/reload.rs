//! `greylag reload`: the running daemon reads its policies anew.

use std::io::{self, Write};

use super::Exit;
use super::control::AskArgs;
use crate::admin::control::Request;
use crate::reload::{Outcome, Report};

/// Let the running daemon read its policies anew, and show what changed or what is wrong.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
The daemon does the same by itself when a policy file changes, and on SIGHUP.

Examples:
  greylag reload
  greylag reload --control unix:/run/greylag/control.sock --json

Exit code 0 when the policies are in force, 78 when they are refused and the old ones stay,
69 when no daemon answers.")]
pub(super) struct Args {
    #[command(flatten)]
    ask: AskArgs,
}

pub(super) fn run(args: &Args, out: &mut dyn Write, errors: &mut dyn Write) -> io::Result<Exit> {
    let end = |report: &Report| match report.outcome {
        Outcome::Reloaded => Exit::Success,
        Outcome::Refused => Exit::Config,
    };
    args.ask.ask(&Request::Reload, out, errors, write_text, end, Exit::Failure)
}

fn write_text(report: &Report, out: &mut dyn Write, errors: &mut dyn Write) -> io::Result<()> {
    write!(errors, "{}", report.diagnostics)?;
    match report.outcome {
        Outcome::Reloaded => {
            writeln!(out, "policy reloaded, generation {}", report.generation)?;
            report.changes.iter().try_for_each(|change| writeln!(out, "  {change}"))?;
            if report.changes.is_empty() {
                writeln!(out, "  nothing changed")?;
            }
        }
        Outcome::Refused => {
            writeln!(out, "policy refused: generation {} stays in force", report.generation)?;
        }
    }
    Ok(())
}
