//! Where the control socket is.

use std::path::PathBuf;

use toml::Spanned;
use toml::de::DeValue;

use super::{Environment, ListenAddress};
use crate::policy::{Reading, Setting};

/// The control socket's name in the state directory.
const NAME: &str = "control.sock";

/// Where commands such as `greylag reload` reach the daemon.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum ControlSocket {
    /// `control.sock` in the state directory.
    #[default]
    Auto,
    /// Nowhere.
    Off,
    /// At this path.
    Path(PathBuf),
}

impl ControlSocket {
    /// The socket's path, with that of the state directory; `None` where there shall be none.
    pub fn path(&self, state_directory: impl FnOnce() -> PathBuf) -> Option<PathBuf> {
        match self {
            Self::Auto => Some(state_directory().join(NAME)),
            Self::Off => None,
            Self::Path(path) => Some(path.clone()),
        }
    }

    /// The socket a command asks at: a user whose own state directory has none means the one of the system's service.
    pub fn path_to_ask(&self, state_directory: PathBuf) -> Option<PathBuf> {
        let path = self.path(|| state_directory)?;
        let system = Environment::system_state_directory().join(NAME);
        let take_system = *self == Self::Auto && !path.exists() && system.exists();
        Some(if take_system { system } else { path })
    }
}

/// For the command line.
impl std::str::FromStr for ControlSocket {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, &'static str> {
        match text {
            "auto" => Ok(Self::Auto),
            "off" => Ok(Self::Off),
            text => match text.parse() {
                Ok(ListenAddress::Unix(path)) => Ok(Self::Path(path)),
                _ => Err("expected unix:PATH with an absolute path of at most 107 bytes"),
            },
        }
    }
}

impl Setting for ControlSocket {
    const EXPECTED: &'static str =
        "\"auto\", \"off\" or the path of a socket, such as \"unix:/run/greylag/control.sock\"";

    fn read(value: &Spanned<DeValue<'_>>, reading: &mut Reading<'_>) -> Option<Self> {
        match value.get_ref().as_str().map(str::parse) {
            Some(Ok(socket)) => Some(socket),
            _ => reading.wrong(value),
        }
    }

    fn show(&self) -> String {
        match self {
            Self::Auto => "\"auto\"".to_owned(),
            Self::Off => "\"off\"".to_owned(),
            Self::Path(path) => toml::Value::from(format!("unix:{}", path.display())).to_string(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_socket_stands_in_the_state_directory_unless_told_otherwise() {
        let path = |text: &str| text.parse::<ControlSocket>().unwrap().path(|| "/srv/greylag".into());
        assert_eq!(path("auto"), Some("/srv/greylag/control.sock".into()));
        assert_eq!(path("unix:/run/c"), Some("/run/c".into()));
        assert_eq!(path("off"), None);
        for wrong in ["", "unix:relative", "/run/c", "127.0.0.1:10036"] {
            assert!(wrong.parse::<ControlSocket>().is_err(), "{wrong}");
        }
    }
}
