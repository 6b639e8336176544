//! `greylag status`: how the running daemon is.

use std::io::{self, Write};

use super::Exit;
use super::control::AskArgs;
use crate::admin::control::{Request, Status};

/// Show how the running daemon is: version, uptime, the policy in force, and what is not ready.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  greylag status
  greylag status --json

Exit code 0 when everything works, 1 when a part is not ready or the last reload was refused,
69 when no daemon answers.")]
pub(super) struct Args {
    #[command(flatten)]
    ask: AskArgs,
}

pub(super) fn run(args: &Args, out: &mut dyn Write, errors: &mut dyn Write) -> io::Result<Exit> {
    let end = |status: &Status| {
        let fine = status.not_ready.is_empty() && !status.policy.reload_refused;
        if fine { Exit::Success } else { Exit::Findings }
    };
    args.ask.ask(&Request::Status, out, errors, write_text, end, Exit::Failure)
}

fn write_text(status: &Status, out: &mut dyn Write, _errors: &mut dyn Write) -> io::Result<()> {
    let Status { version, pid, uptime_seconds, policy, not_ready } = status;
    writeln!(out, "greylag {version}, process {pid}, serving for {uptime_seconds} s")?;
    let source = policy.directory.as_deref().unwrap_or("built-in policies");
    writeln!(out, "policy: {source}, generation {}", policy.generation)?;
    if policy.reload_refused {
        writeln!(out, "policy: the last reload was refused; `greylag reload` shows why")?;
    }
    not_ready.iter().try_for_each(|complaint| writeln!(out, "not ready: {complaint}"))
}
