//! Reading policies for a command, with their mistakes shown where they stand.

use std::io::{self, IsTerminal, Write};
use std::path::Path;

use crate::config::PolicyDirectory;
use crate::policy::{Policy, Problem, render};

/// The policy of `directory`, or the built-in one. Problems are written to `errors`; `None` when the policy cannot be used.
pub(super) fn load_or_report(directory: Option<&Path>, errors: &mut dyn Write) -> io::Result<Option<Policy>> {
    let Some(path) = directory else { return Ok(Some(Policy::default())) };
    let read = PolicyDirectory::read(path);
    let (policy, problems) = match read.load() {
        Ok((policy, warnings)) => (Some(policy), warnings),
        Err(problems) => (None, problems),
    };
    report(&problems, &read, path, errors)?;
    Ok(policy)
}

fn report(
    problems: &[Problem],
    read: &PolicyDirectory,
    path: &Path,
    errors: &mut dyn Write,
) -> io::Result<()> {
    if problems.is_empty() {
        return Ok(());
    }
    let colours = io::stderr().is_terminal();
    write!(errors, "{}", render(problems, &read.files, &path.display().to_string(), colours))
}
