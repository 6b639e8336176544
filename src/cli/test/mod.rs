//! `greylag test [DIR]`: proves a policy before it bites, by transcripts of mails and by the log of those that came.

mod fields;
mod play;
mod replay;
mod report;
mod transcript;

use std::collections::BTreeMap;
use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};

use serde_json::json;

use super::Exit;
use super::progress::Progress;
use crate::config::PolicyDirectory;
use crate::policy::{Problem, embedded, render};
use report::Failure;
use transcript::Case;

pub(crate) use transcript::Mail;

/// Try a policy before it bites: play transcripts of mails to it, or the log of those that came.
///
/// Without DIR, the built-in policies and their transcripts are tried. A transcript is a file `tests/*.toml` of the policy directory;
/// `policies/README.md` says how one is written. Nothing is sent or recorded, and no DNS is asked: a transcript brings its own.
#[derive(Debug, Default, clap::Args)]
#[command(after_help = "\
Examples:
  greylag test                                     # the built-in policies
  greylag test /etc/greylag/policies               # your own, with the transcripts in tests/
  greylag test /etc/greylag/policies --only greylist
  greylag test /etc/greylag/policies --from-log mail.log   # which logged decisions would change

Exit code 1 when a case fails or a decision changes, 78 when policy or transcripts have mistakes.")]
pub(super) struct Args {
    /// The policy directory; without it, the built-in policies.
    #[arg(value_name = "DIR")]
    directory: Option<PathBuf>,
    /// Play only cases with this in their file or name.
    #[arg(long, value_name = "TEXT", conflicts_with = "from_log")]
    only: Option<String>,
    /// Judge the decisions of a log of Greylag's (logfmt or JSON, `-` for standard input) by the policy, and list those that change.
    #[arg(long, value_name = "FILE")]
    from_log: Option<PathBuf>,
    /// Answer as JSON.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &Args, out: &mut dyn Write, errors: &mut dyn Write) -> io::Result<Exit> {
    let read = match &args.directory {
        Some(path) => PolicyDirectory::read_with_tests(path),
        None => PolicyDirectory { files: embedded::files_and_tests(), ..PolicyDirectory::default() },
    };
    let mut problems = Vec::new();
    let policy = match read.load() {
        Ok((policy, warnings)) => {
            problems.extend(warnings);
            Some(policy)
        }
        Err(found) => {
            problems.extend(found);
            None
        }
    };
    let cases = match &args.from_log {
        Some(_) => Vec::new(),
        None => transcript::read(&read.files, args.directory.as_deref(), &mut problems),
    };
    let root = args.directory.as_deref().unwrap_or_else(|| Path::new("built-in policies"));
    write!(
        errors,
        "{}",
        render(&problems, &read.files, &root.display().to_string(), io::stderr().is_terminal())
    )?;
    let Some(policy) = policy.filter(|_| !problems.iter().any(Problem::is_error)) else {
        return Ok(Exit::Config);
    };
    if let Some(log) = &args.from_log {
        return replay::run(log, &policy, args.json, out, errors);
    }
    let is_wanted = |case: &&Case| {
        args.only.as_ref().is_none_or(|text| case.file.contains(text) || case.name.contains(text))
    };
    let cases: Vec<&Case> = cases.iter().filter(is_wanted).collect();
    if cases.is_empty() {
        writeln!(
            errors,
            "greylag test: no case to play: transcripts are the files tests/*.toml of the policy directory"
        )?;
        return Ok(Exit::NoInput);
    }
    tell(args, &read.files, &cases, root, out, errors)
}

fn tell(
    args: &Args,
    files: &BTreeMap<String, String>,
    cases: &[&Case],
    root: &Path,
    out: &mut dyn Write,
    errors: &mut dyn Write,
) -> io::Result<Exit> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let progress = Progress::new("playing");
    let mut failures = Vec::new();
    let mut failed = 0;
    for case in cases {
        progress.now(&case.name);
        let outcomes = match runtime.block_on(play::play(case, files)) {
            Ok(outcomes) => outcomes,
            Err(problems) => {
                progress.hide();
                let shown = format!("{}:{} [policy]", root.join(&case.file).display(), case.line);
                write!(
                    errors,
                    "{}",
                    render(&problems, &play::policy_files(files, case), &shown, io::stderr().is_terminal())
                )?;
                return Ok(Exit::Config);
            }
        };
        let wrong = case.mails.iter().zip(outcomes).enumerate().filter_map(|(index, (step, got))| {
            let differences = report::differences(&step.mail, &got);
            (!differences.is_empty()).then_some(Failure {
                case,
                number: index + 1,
                differences,
                found: got.found,
            })
        });
        let before = failures.len();
        failures.extend(wrong);
        failed += usize::from(failures.len() > before);
    }
    progress.hide();
    let passed = cases.len() - failed;
    if args.json {
        let failures: Vec<_> = failures.iter().map(Failure::to_json).collect();
        writeln!(
            out,
            "{}",
            json!({ "cases": cases.len(), "passed": passed, "failed": failed, "failures": failures })
        )?;
    } else {
        failures.iter().try_for_each(|failure| failure.write(out))?;
        let case = if cases.len() == 1 { "case" } else { "cases" };
        writeln!(out, "{}: {} {case}, {passed} passed, {failed} failed", root.display(), cases.len())?;
    }
    Ok(if failed > 0 { Exit::Findings } else { Exit::Success })
}

#[cfg(test)]
mod tests;
