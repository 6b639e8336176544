//! Reading policies for a command, with their mistakes shown where they stand.

use std::io::{self, IsTerminal, Write};
use std::path::Path;

use super::progress::Progress;
use crate::config::PolicyDirectory;
use crate::policy::{Policy, Problem, render};

/// The policy of `directory`, or the built-in one. Problems are written to `errors`; `None` when the policy cannot be used.
pub(super) fn load_or_report(directory: Option<&Path>, errors: &mut dyn Write) -> io::Result<Option<Policy>> {
    let progress = directory.map(|path| Progress::at("reading", &path.display().to_string()));
    let read = directory.map(PolicyDirectory::read).unwrap_or_default();
    drop(progress);
    let (policy, problems) = match read.load() {
        Ok((policy, warnings)) => (Some(policy), warnings),
        Err(problems) => (None, problems),
    };
    report(&problems, &read, directory, errors)?;
    Ok(policy)
}

/// Writes what is wrong in what was `read` from `directory`, or from nowhere.
pub(super) fn report(
    problems: &[Problem],
    read: &PolicyDirectory,
    directory: Option<&Path>,
    errors: &mut dyn Write,
) -> io::Result<()> {
    let (colours, path) = (io::stderr().is_terminal(), directory.unwrap_or_else(|| Path::new("")));
    write!(errors, "{}", render(problems, &read.files, &path.display().to_string(), colours))
}
