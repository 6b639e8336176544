//! The command line: one file a subcommand.

mod check;
mod configuration;
mod control;
mod explain;
mod generate;
mod greylist;
mod handbook;
mod policies;
mod progress;
mod recent;
mod reload;
mod scan;
mod serve;
mod status;
mod test;
mod usage;

use std::ffi::OsString;
use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::explain::printable;

/// Inbound mail policy daemon for Postfix and Sendmail: greylisting, HELO validation, the recipient cap, forbidden attachments.
#[derive(Debug, Parser)]
#[command(name = "greylag", version, max_term_width = 100, after_help = EXAMPLES)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

const EXAMPLES: &str = "\
Examples:
  greylag serve                                    # built-in policies, embedded greylist
  greylag serve --policies /etc/greylag/policies   # policies of your own
  greylag check /etc/greylag/policies              # every mistake in them at once
  greylag test /etc/greylag/policies               # what they decide of the mails in tests/*.toml
  greylag explain --client 192.0.2.1 --helo mail.example.org \\
      --from a@example.org --to b@example.net      # what would happen to a mail, and why
  greylag scan message.eml invoice.zip             # what is inside, and whether it is forbidden
  greylag reload                                   # the running daemon reads its policies anew
  greylag greylist show --sender a@example.org     # what its greylist holds about somebody

Exit codes: 0 fine, 1 something was found, 64 wrong usage, 66 a file cannot be read,
69 the daemon cannot run or be asked, 78 wrong configuration or policy.";

#[derive(Debug, Subcommand)]
enum Command {
    Serve(serve::Args),
    Check(check::Args),
    Explain(Box<explain::Args>),
    Test(test::Args),
    Scan(scan::Args),
    Reload(reload::Args),
    Status(status::Args),
    Greylist(greylist::Args),
    Generate(generate::Args),
}

/// How a command ended; its exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// All is well.
    Success,
    /// The command did its work and found something: a forbidden attachment, a refused mail; or the daemon refuses what the
    /// greylist is asked.
    Findings,
    /// A file that was named cannot be read (`EX_NOINPUT`).
    NoInput,
    /// The service cannot do its work; what failed was said (`EX_UNAVAILABLE`).
    Failure,
    /// The command line cannot be carried out (`EX_USAGE`).
    Usage,
    /// Configuration or policy are wrong (`EX_CONFIG`).
    Config,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(match exit {
            Exit::Success => 0,
            Exit::Findings => 1,
            Exit::NoInput => 66,
            Exit::Failure => 69,
            Exit::Usage => 64,
            Exit::Config => 78,
        })
    }
}

/// Reads the command line `words`, the program's name first.
///
/// # Errors
/// How the program ends where there is nothing to run: the help or version asked for was written, or the mistake was.
pub fn parse(words: Vec<OsString>) -> Result<Cli, Exit> {
    let error = match Cli::try_parse_from(&words) {
        Ok(cli) => return Ok(cli),
        Err(error) => error,
    };
    let words: Vec<String> = words.iter().map(|word| printable(&word.to_string_lossy())).collect();
    // Writing fails only where nobody reads.
    match usage::mistake(&error, &words, io::stderr().is_terminal()) {
        Some(mistake) => {
            let _ = io::stderr().write_all(mistake.as_bytes());
        }
        None => {
            let _ = error.print();
        }
    }
    Err(if error.use_stderr() { Exit::Usage } else { Exit::Success })
}

/// Runs a command line. Results go to standard output, what keeps it from having any to standard error.
pub fn run(cli: Cli) -> Exit {
    let (mut out, mut errors) = (io::stdout().lock(), io::stderr());
    let result = match cli.command {
        Command::Serve(args) => Ok(serve::run(&args, &mut errors)),
        Command::Check(args) => check::run(&args, out.is_terminal(), &mut out).map(Exit::from),
        Command::Explain(args) => explain::run(&args, &mut out, &mut errors),
        Command::Test(args) => test::run(&args, &mut out, &mut errors),
        Command::Generate(args) => generate::run(&args, &mut out, &mut errors),
        Command::Scan(args) => scan::run(&args, &mut out, &mut errors),
        Command::Reload(args) => reload::run(&args, &mut out, &mut errors),
        Command::Status(args) => status::run(&args, &mut out, &mut errors),
        Command::Greylist(args) => greylist::run(&args, &mut out, &mut errors),
    };
    // Output fails where its reader went away (`greylag scan … | head`): nobody is left to tell.
    result.and_then(|exit| out.flush().map(|()| exit)).unwrap_or(Exit::Failure)
}

impl From<check::Outcome> for Exit {
    fn from(outcome: check::Outcome) -> Self {
        match outcome {
            check::Outcome::Clean | check::Outcome::Warnings => Self::Success,
            check::Outcome::Errors => Self::Config,
        }
    }
}
