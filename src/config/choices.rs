//! Settings of the configuration that are a word or a path.

use std::num::NonZeroU32;
use std::path::{Path, PathBuf};

use toml::Spanned;
use toml::de::DeValue;

use crate::policy::{Reading, Setting, quoted};
use crate::store::{StoreUrl, StoreUrlError};

macro_rules! choice {
    ($(#[doc = $doc:literal])+ $name:ident, $expected:literal, $($(#[$attr:meta])+ $variant:ident = $word:literal,)+) => {
        $(#[doc = $doc])+
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
        pub enum $name { $($(#[$attr])+ $variant,)+ }

        impl $name {
            /// The word in the file.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $word,)+ }
            }
        }

        impl Setting for $name {
            const EXPECTED: &'static str = $expected;

            fn read(value: &Spanned<DeValue<'_>>, reading: &mut Reading<'_>) -> Option<Self> {
                reading.choice(value, &[$(($word, Self::$variant),)+])
            }

            fn show(&self) -> String {
                format!("{:?}", self.name())
            }
        }
    };
}

choice! {
    /// How log lines are written.
    LogFormat, "\"logfmt\" or \"json\"",
    /// `key=value` pairs.
    #[default]
    Logfmt = "logfmt",
    /// One JSON object a line.
    Json = "json",
}

choice! {
    /// The least severe log lines that are written.
    LogLevel, "\"error\", \"warn\", \"info\", \"debug\" or \"trace\"",
    /// The operator must act.
    Error = "error",
    /// Something failed and was recovered from.
    Warn = "warn",
    /// One line a decision.
    #[default]
    Info = "info",
    /// What happens on connections.
    Debug = "debug",
    /// Every command.
    Trace = "trace",
}

/// Where the policy files are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PolicySource {
    /// Compiled in.
    BuiltIn,
    /// In this directory; a relative path starts where the configuration file is.
    Directory(PathBuf),
}

impl PolicySource {
    /// The directory, for a configuration file at `config`.
    pub fn directory(&self, config: &Path) -> Option<PathBuf> {
        match self {
            Self::BuiltIn => None,
            Self::Directory(path) => Some(config.with_file_name("").join(path)),
        }
    }
}

impl Setting for PolicySource {
    const EXPECTED: &'static str = "\"built-in\" or a directory, such as \"policies\"";

    fn read(value: &Spanned<DeValue<'_>>, reading: &mut Reading<'_>) -> Option<Self> {
        match value.get_ref().as_str() {
            Some("built-in") => Some(Self::BuiltIn),
            Some(path) if !path.is_empty() => Some(Self::Directory(path.into())),
            _ => reading.wrong(value),
        }
    }

    fn show(&self) -> String {
        match self {
            Self::BuiltIn => "\"built-in\"".to_owned(),
            Self::Directory(path) => show_path(path),
        }
    }
}

/// Where Greylag keeps files of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StateDirectory {
    /// By the environment: see [`super::Environment::state_directory`].
    Auto,
    /// In this directory, an absolute path.
    Path(PathBuf),
}

impl Setting for StateDirectory {
    const EXPECTED: &'static str = "\"auto\" or an absolute path, such as \"/var/lib/greylag\"";

    fn read(value: &Spanned<DeValue<'_>>, reading: &mut Reading<'_>) -> Option<Self> {
        match value.get_ref().as_str() {
            Some("auto") => Some(Self::Auto),
            Some(path) if path.starts_with('/') => Some(Self::Path(path.into())),
            _ => reading.wrong(value),
        }
    }

    fn show(&self) -> String {
        match self {
            Self::Auto => "\"auto\"".to_owned(),
            Self::Path(path) => show_path(path),
        }
    }
}

/// How many threads look into attachments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ScanThreads {
    /// One a processor.
    Auto,
    /// This many.
    Number(NonZeroU32),
}

impl Setting for ScanThreads {
    const EXPECTED: &'static str = "\"auto\" or a whole number from 1 to 1024, such as 4";

    fn read(value: &Spanned<DeValue<'_>>, reading: &mut Reading<'_>) -> Option<Self> {
        const MOST: u32 = 1024;
        let number = value.get_ref().as_integer();
        let number = number.and_then(|number| u32::from_str_radix(number.as_str(), number.radix()).ok());
        match number.and_then(NonZeroU32::new) {
            Some(number) if number.get() <= MOST => Some(Self::Number(number)),
            None if value.get_ref().as_str() == Some("auto") => Some(Self::Auto),
            _ => reading.wrong(value),
        }
    }

    fn show(&self) -> String {
        match self {
            Self::Auto => "\"auto\"".to_owned(),
            Self::Number(number) => number.to_string(),
        }
    }
}

/// The URL of the greylist's store as it is written, which is one that a store can be opened by; `redb:` alone is the state directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoreText(String);

impl StoreText {
    const STATE_DIRECTORY: &'static str = "redb:";

    /// The URL.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Default for StoreText {
    fn default() -> Self {
        Self(Self::STATE_DIRECTORY.to_owned())
    }
}

impl Setting for StoreText {
    const EXPECTED: &'static str =
        "the URL of a store, such as \"redb:/var/lib/greylag\" or \"redis://HOST\"";

    fn read(value: &Spanned<DeValue<'_>>, reading: &mut Reading<'_>) -> Option<Self> {
        let Some(text) = value.get_ref().as_str() else { return reading.wrong(value) };
        let error = match text.parse::<StoreUrl>() {
            Err(error) if text != Self::STATE_DIRECTORY => error,
            _ => return Some(Self(text.to_owned())),
        };
        let title = format!("{} names no store", quoted(text));
        match error {
            StoreUrlError::Redis { source, .. } => {
                reading.error(value.span(), title, source.to_string());
            }
            StoreUrlError::Unknown { hint, .. } if !hint.is_empty() => {
                reading.error(value.span(), title, hint.trim_start_matches(" (").trim_end_matches(')'));
            }
            StoreUrlError::Unknown { .. } => {
                let scheme = text.split(':').next().unwrap_or_default();
                let meant =
                    || text.starts_with('/').then(|| format!("a directory is written \"redb:{text}\""));
                let expected = format!("expected {}", Self::EXPECTED);
                reading.error(value.span(), title, expected).did_you_mean(scheme, StoreUrl::schemes(), meant);
            }
        }
        None
    }

    fn show(&self) -> String {
        toml::Value::from(self.0.as_str()).to_string()
    }
}

fn show_path(path: &Path) -> String {
    toml::Value::from(path.to_string_lossy().as_ref()).to_string()
}
