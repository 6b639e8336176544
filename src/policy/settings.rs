//! How settings are declared: once, with type, default and documentation in one place. Policy files, scopes, the reference
//! and the shipped `policies/*.toml` are all checked against this declaration.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::ops::Range;
use std::time::Duration;

use toml::Spanned;
use toml::de::DeValue;

use super::problem::{Problem, Severity};
use crate::verdict::Action;

/// What a reader of settings works with: the file it reads, the files beside it, and where problems go.
pub struct Reading<'a> {
    /// The file being read, relative to the policy directory.
    pub file: &'a str,
    /// All files of the policy directory by relative path, for settings that name a list.
    pub files: &'a BTreeMap<String, String>,
    /// Problems found so far.
    pub problems: &'a mut Vec<Problem>,
}

impl Reading<'_> {
    /// Records an error at `span`.
    pub fn error(&mut self, span: Range<usize>, title: impl Into<String>, label: impl Into<String>) {
        self.problems.push(Problem {
            severity: Severity::Error,
            file: self.file.to_owned(),
            span,
            title: title.into(),
            label: label.into(),
            help: None,
        });
    }

    /// Records that the value at `span` is not what `T` expects; returns `None` for the caller to pass on.
    pub fn wrong<T: Setting>(&mut self, value: &Spanned<DeValue<'_>>) -> Option<T> {
        let found = match value.get_ref() {
            DeValue::String(text) => format!("{:?}", text.as_ref()),
            DeValue::Integer(number) => number.as_str().to_owned(),
            other => format!("a {}", other.type_str()),
        };
        self.error(value.span(), format!("{found} is not allowed here"), format!("expected {}", T::EXPECTED));
        None
    }
}

/// A type that settings may have.
pub trait Setting: Sized {
    /// What may be written, with an example, to follow the word "expected".
    const EXPECTED: &'static str;

    /// Reads the value; on failure records every problem and returns `None`.
    fn read(value: &Spanned<DeValue<'_>>, reading: &mut Reading<'_>) -> Option<Self>;

    /// The value as it is written in TOML, for the reference and `explain`.
    fn show(&self) -> String;
}

/// What is known about one setting at compile time.
#[derive(Clone, Copy, Debug)]
pub struct KeyDoc {
    /// The key in the file.
    pub key: &'static str,
    /// Its documentation.
    pub doc: &'static str,
    /// What may be written.
    pub expected: &'static str,
}

/// The settings of one check.
pub trait CheckSettings: Default {
    /// The settings in documentation order.
    const KEYS: &'static [KeyDoc];

    /// Sets `key`; `false` when there is no such key. A bad value is recorded in `reading` and leaves the setting as it was.
    fn set(&mut self, key: &str, value: &Spanned<DeValue<'_>>, reading: &mut Reading<'_>) -> bool;

    /// Every key with its present value as TOML, in documentation order.
    fn entries(&self) -> Vec<(&'static str, String)>;
}

/// Declares a struct of settings: documentation, type and default of each key. See `checks/helo.rs` for one.
#[macro_export]
macro_rules! settings {
    (
        $(#[doc = $struct_doc:literal])+
        pub struct $name:ident {
            $($(#[doc = $doc:literal])+ $key:ident: $ty:ty = $default:expr,)+
        }
    ) => {
        $(#[doc = $struct_doc])+
        #[derive(Clone, Debug, PartialEq)]
        pub struct $name {
            $($(#[doc = $doc])+ pub $key: $ty,)+
        }

        impl Default for $name {
            fn default() -> Self {
                Self { $($key: $default,)+ }
            }
        }

        impl $crate::policy::CheckSettings for $name {
            const KEYS: &'static [$crate::policy::KeyDoc] = &[
                $($crate::policy::KeyDoc {
                    key: stringify!($key),
                    doc: concat!($($doc, "\n"),+),
                    expected: <$ty as $crate::policy::Setting>::EXPECTED,
                },)+
            ];

            fn set(
                &mut self,
                key: &str,
                value: &::toml::Spanned<::toml::de::DeValue<'_>>,
                reading: &mut $crate::policy::Reading<'_>,
            ) -> bool {
                match key {
                    $(stringify!($key) => {
                        if let Some(value) = <$ty as $crate::policy::Setting>::read(value, reading) {
                            self.$key = value;
                        }
                    })+
                    _ => return false,
                }
                true
            }

            fn entries(&self) -> Vec<(&'static str, String)> {
                vec![$((stringify!($key), $crate::policy::Setting::show(&self.$key)),)+]
            }
        }
    };
}

/// Whether a check decides, only watches, or does nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Mode {
    /// Findings count.
    #[default]
    Enforce,
    /// Findings are counted and logged as `would_…` and change nothing.
    Monitor,
    /// The check is not run.
    Off,
}

impl Mode {
    const NAMES: [(&'static str, Self); 3] =
        [("enforce", Self::Enforce), ("monitor", Self::Monitor), ("off", Self::Off)];
}

/// An action a check of the envelope may take; quarantine has no meaning before there is a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EnvelopeAction(Action);

impl EnvelopeAction {
    /// Let it pass, as evidence only.
    pub const ACCEPT: Self = Self(Action::Accept);
    /// Deliver with a header that names the reason.
    pub const TAG: Self = Self(Action::Tag);
    /// Refuse for now.
    pub const DEFER: Self = Self(Action::Defer);
    /// Refuse for good.
    pub const REJECT: Self = Self(Action::Reject);

    /// The action.
    pub const fn action(self) -> Action {
        self.0
    }
}

impl Setting for Mode {
    const EXPECTED: &'static str = "\"enforce\", \"monitor\" or \"off\"";

    fn read(value: &Spanned<DeValue<'_>>, reading: &mut Reading<'_>) -> Option<Self> {
        let found =
            value.get_ref().as_str().and_then(|text| Self::NAMES.iter().find(|(name, _)| *name == text));
        found.map(|(_, mode)| *mode).or_else(|| reading.wrong(value))
    }

    fn show(&self) -> String {
        let name = Self::NAMES.iter().find(|(_, mode)| mode == self).map_or("", |(name, _)| name);
        format!("{name:?}")
    }
}

impl Setting for Action {
    const EXPECTED: &'static str = "\"accept\", \"tag\", \"quarantine\", \"defer\" or \"reject\"";

    fn read(value: &Spanned<DeValue<'_>>, reading: &mut Reading<'_>) -> Option<Self> {
        let found = value
            .get_ref()
            .as_str()
            .and_then(|text| Self::ALL.into_iter().find(|action| action.name() == text));
        found.or_else(|| reading.wrong(value))
    }

    fn show(&self) -> String {
        format!("{:?}", self.name())
    }
}

impl Setting for EnvelopeAction {
    const EXPECTED: &'static str = "\"accept\", \"tag\", \"defer\" or \"reject\"";

    fn read(value: &Spanned<DeValue<'_>>, reading: &mut Reading<'_>) -> Option<Self> {
        let found = value.get_ref().as_str().and_then(|text| {
            Action::ALL.into_iter().find(|action| action.name() == text && *action != Action::Quarantine)
        });
        found.map(Self).or_else(|| reading.wrong(value))
    }

    fn show(&self) -> String {
        self.0.show()
    }
}

impl Setting for bool {
    const EXPECTED: &'static str = "true or false";

    fn read(value: &Spanned<DeValue<'_>>, reading: &mut Reading<'_>) -> Option<Self> {
        value.get_ref().as_bool().or_else(|| reading.wrong(value))
    }

    fn show(&self) -> String {
        self.to_string()
    }
}

impl Setting for NonZeroU32 {
    const EXPECTED: &'static str = "a whole number from 1 up, such as 100";

    fn read(value: &Spanned<DeValue<'_>>, reading: &mut Reading<'_>) -> Option<Self> {
        let number = value.get_ref().as_integer().and_then(|number| {
            u32::from_str_radix(&number.as_str().replace('_', ""), number.radix()).ok().and_then(Self::new)
        });
        number.or_else(|| reading.wrong(value))
    }

    fn show(&self) -> String {
        self.to_string()
    }
}

impl Setting for Duration {
    const EXPECTED: &'static str = "a duration with its unit, such as \"120s\", \"5m\", \"48h\" or \"36d\"";

    fn read(value: &Spanned<DeValue<'_>>, reading: &mut Reading<'_>) -> Option<Self> {
        let parsed = value.get_ref().as_str().and_then(parse_duration);
        parsed.or_else(|| reading.wrong(value))
    }

    fn show(&self) -> String {
        format!("{:?}", show_duration(*self))
    }
}

const DURATION_UNITS: [(&str, u64); 5] =
    [("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)];

fn parse_duration(text: &str) -> Option<Duration> {
    let digits = text.find(|c: char| !c.is_ascii_digit())?;
    let (number, unit) = text.split_at(digits);
    let (_, millis) = DURATION_UNITS.into_iter().find(|(name, _)| *name == unit)?;
    number.parse::<u64>().ok()?.checked_mul(millis).map(Duration::from_millis)
}

fn show_duration(duration: Duration) -> String {
    let millis = duration.as_millis();
    let unit = DURATION_UNITS.into_iter().rev().find(|(_, size)| millis.is_multiple_of(u128::from(*size)));
    let (name, size) = unit.unwrap_or(("ms", 1));
    match millis {
        0 => "0s".to_owned(),
        _ => format!("{}{name}", millis / u128::from(size)),
    }
}

/// A size in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ByteSize(pub u64);

impl ByteSize {
    const UNITS: [(&'static str, u64); 4] = [("B", 1), ("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30)];

    /// `n` MiB.
    pub const fn mib(n: u64) -> Self {
        Self(n << 20)
    }

    fn parse(text: &str) -> Option<Self> {
        let digits = text.find(|c: char| !c.is_ascii_digit())?;
        let (number, unit) = text.split_at(digits);
        let (_, size) = Self::UNITS.into_iter().find(|(name, _)| *name == unit)?;
        number.parse::<u64>().ok()?.checked_mul(size).map(Self)
    }
}

impl Setting for ByteSize {
    const EXPECTED: &'static str =
        "a size with its unit, such as \"512B\", \"100KiB\", \"64MiB\" or \"1GiB\"";

    fn read(value: &Spanned<DeValue<'_>>, reading: &mut Reading<'_>) -> Option<Self> {
        let parsed = value.get_ref().as_str().and_then(Self::parse);
        parsed.or_else(|| reading.wrong(value))
    }

    fn show(&self) -> String {
        let unit = Self::UNITS.into_iter().rev().find(|(_, size)| self.0.is_multiple_of(*size));
        let (name, size) = unit.unwrap_or(("B", 1));
        format!("\"{}{name}\"", self.0 / size)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_carry_their_unit() {
        for (text, millis) in
            [("120s", 120_000), ("36d", 3_110_400_000), ("500ms", 500), ("48h", 172_800_000), ("0s", 0)]
        {
            assert_eq!(parse_duration(text), Some(Duration::from_millis(millis)), "{text}");
        }
        for text in
            ["120", "", "s", "1.5h", "-1s", "1w", "1 s", "99999999999999999999s", "18446744073709551615d"]
        {
            assert_eq!(parse_duration(text), None, "{text}");
        }
        assert_eq!(show_duration(Duration::from_secs(120)), "2m");
        assert_eq!(show_duration(Duration::from_millis(1500)), "1500ms");
    }

    #[test]
    fn sizes_carry_their_unit() {
        assert_eq!(ByteSize::parse("64MiB"), Some(ByteSize::mib(64)));
        assert_eq!(ByteSize::parse("64MB"), None);
        assert_eq!(ByteSize::parse("64"), None);
        assert_eq!(ByteSize::mib(1024).show(), "\"1GiB\"");
    }
}
