//! Where Greylag keeps files of its own when nobody says.

use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

/// The directory of a system service.
const SYSTEM: &str = "/var/lib/greylag";

/// What the environment tells of state directories.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Environment {
    /// `$STATE_DIRECTORY`, as systemd sets it; of several, separated by colons, the first counts.
    pub state_directory: Option<String>,
    /// `$XDG_STATE_HOME`.
    pub xdg_state_home: Option<PathBuf>,
    /// `$HOME`.
    pub home: Option<PathBuf>,
    /// Whether `/var/lib/greylag` is ours to write to: we are root, or it exists and belongs to us.
    pub system_directory_usable: bool,
}

impl Environment {
    /// The environment of this process.
    pub fn current() -> Self {
        // /proc/self belongs to the effective user.
        let user = std::fs::metadata("/proc/self").map(|process| process.uid()).ok();
        let owner = std::fs::metadata(SYSTEM).map(|directory| directory.uid()).ok();
        Self {
            state_directory: std::env::var("STATE_DIRECTORY").ok(),
            xdg_state_home: std::env::var_os("XDG_STATE_HOME").map(PathBuf::from),
            home: std::env::var_os("HOME").map(PathBuf::from),
            system_directory_usable: user.is_some() && (user == Some(0) || user == owner),
        }
    }

    /// The state directory of the system's service.
    pub fn system_state_directory() -> PathBuf {
        SYSTEM.into()
    }

    /// The state directory: `$STATE_DIRECTORY`, else `/var/lib/greylag` where we may write there, else `greylag` below
    /// `$XDG_STATE_HOME` or `~/.local/state`. Relative paths are as good as unset, as the XDG base directory specification says.
    pub fn state_directory(&self) -> PathBuf {
        let given = self.state_directory.as_deref().and_then(|list| list.split(':').next());
        if let Some(given) = given.map(PathBuf::from).filter(|path| path.is_absolute()) {
            return given;
        }
        if self.system_directory_usable {
            return SYSTEM.into();
        }
        let xdg = self.xdg_state_home.clone().filter(|path| path.is_absolute());
        let home =
            || self.home.clone().filter(|path| path.is_absolute()).map(|home| home.join(".local/state"));
        xdg.or_else(home).map_or_else(|| SYSTEM.into(), |base| base.join("greylag"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_that_is_known_is_taken() {
        let all = Environment {
            state_directory: Some("/run/state/greylag:/run/state/other".into()),
            xdg_state_home: Some("/home/bob/state".into()),
            home: Some("/home/bob".into()),
            system_directory_usable: true,
        };
        let path = |environment: &Environment| environment.state_directory().display().to_string();
        assert_eq!(path(&all), "/run/state/greylag");
        let without = Environment { state_directory: None, ..all };
        assert_eq!(path(&without), "/var/lib/greylag");
        let without = Environment { system_directory_usable: false, ..without };
        assert_eq!(path(&without), "/home/bob/state/greylag");
        let without = Environment { xdg_state_home: Some("state".into()), ..without };
        assert_eq!(path(&without), "/home/bob/.local/state/greylag");
        let without = Environment { home: None, ..without };
        assert_eq!(path(&without), "/var/lib/greylag");
        let empty = Environment { state_directory: Some(String::new()), ..without };
        assert_eq!(path(&empty), "/var/lib/greylag");
    }
}
