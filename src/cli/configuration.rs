//! Reading `greylag.toml` for a command, with its mistakes shown where they stand.

use std::io::{self, IsTerminal, Write};
use std::path::Path;

use super::Exit;
use crate::config::{Config, ConfigFile};
use crate::policy::{Problem, log_lines, render};

/// The configuration at `path`; its problems are written to `errors`.
pub(super) fn read_configuration(path: &Path, errors: &mut dyn Write) -> Result<Config, Exit> {
    let file = ConfigFile::read(path);
    let (config, warnings) = load(&file, errors)?;
    report(&warnings, &file, errors);
    Ok(config)
}

/// The configuration at `path`, and its warnings as lines for the log; its errors are written to `errors`.
pub(super) fn configuration_and_warnings(
    path: &Path,
    errors: &mut dyn Write,
) -> Result<(Config, Vec<String>), Exit> {
    let file = ConfigFile::read(path);
    let (config, warnings) = load(&file, errors)?;
    let lines = log_lines(&warnings, &file.files, &path.display().to_string());
    Ok((config, lines))
}

fn load(file: &ConfigFile, errors: &mut dyn Write) -> Result<(Config, Vec<Problem>), Exit> {
    file.load().map_err(|problems| {
        report(&problems, file, errors);
        Exit::Config
    })
}

fn report(problems: &[Problem], file: &ConfigFile, errors: &mut dyn Write) {
    // Nobody is left to tell when standard error is closed.
    let _ = write!(errors, "{}", render(problems, &file.files, "", io::stderr().is_terminal()));
}
