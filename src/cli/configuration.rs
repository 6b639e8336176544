//! Reading `greylag.toml` for a command, with its mistakes shown where they stand.

use std::io::{self, IsTerminal, Write};
use std::path::Path;

use super::Exit;
use crate::config::{Config, ConfigFile};
use crate::policy::render;

/// The configuration at `path`; its problems are written to `errors`.
pub(super) fn read_configuration(path: &Path, errors: &mut dyn Write) -> Result<Config, Exit> {
    let file = ConfigFile::read(path);
    let (config, problems) = match file.load() {
        Ok((config, warnings)) => (Some(config), warnings),
        Err(problems) => (None, problems),
    };
    let _ = write!(errors, "{}", render(&problems, &file.files, "", io::stderr().is_terminal()));
    config.ok_or(Exit::Config)
}
