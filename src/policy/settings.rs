//! How settings are declared: once, with type, default and documentation in one place. Policy files, scopes, the reference
//! and the shipped `policies/*.toml` are all checked against this declaration.

use std::num::NonZeroU32;

use toml::Spanned;
use toml::de::DeValue;

use super::problem::Severity;
use super::reading::Reading;
use crate::verdict::Action;

/// A type that settings may have.
pub trait Setting: Sized {
    /// What may be written, with an example, to follow the word "expected".
    const EXPECTED: &'static str;

    /// An example in TOML, for settings that are tables and so have no value to be written in one line; empty for all others.
    const EXAMPLE: &'static str = "";

    /// Reads the value; on failure records every problem and returns `None`.
    fn read(value: &Spanned<DeValue<'_>>, reading: &mut Reading<'_>) -> Option<Self>;

    /// The value as it is written in TOML, for the reference and `explain`.
    fn show(&self) -> String;

    /// Of a list, how many entries stand for something that `old` does not list, and how many of `old` are missing here.
    fn entries_changed(&self, _old: &Self) -> Option<(usize, usize)> {
        None
    }
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
    /// How its tables are written; empty for settings that are a value.
    pub example: &'static str,
}

/// Settings that do not go together, though each is allowed by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conflict {
    /// How bad it is.
    pub severity: Severity,
    /// The keys that fight, the one to report first.
    pub keys: &'static [&'static str],
    /// What is wrong, in one line.
    pub title: String,
    /// What would be right; stands at the caret.
    pub label: String,
}

/// A setting whose value is not what it was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SettingChange {
    /// Its key.
    pub key: &'static str,
    /// The value it had, as TOML.
    pub old: String,
    /// The value it has.
    pub new: String,
    /// Of a list, how many entries were added and removed; it may name a file, and be written as before.
    pub entries: Option<(usize, usize)>,
}

/// The settings of one file: of a check, or `greylag.toml`.
pub trait CheckSettings: Default {
    /// What the settings are for.
    const ABOUT: &'static str;

    /// The settings in documentation order.
    const KEYS: &'static [KeyDoc];

    /// Sets `key`; `false` when there is no such key. A bad value is recorded in `reading` and leaves the setting as it was.
    fn set(&mut self, key: &str, value: &Spanned<DeValue<'_>>, reading: &mut Reading<'_>) -> bool;

    /// Copies the value of `key` from other settings; does nothing when there is no such key.
    fn copy(&mut self, key: &str, from: &Self);

    /// Every key with its present value as TOML, in documentation order.
    fn entries(&self) -> Vec<(&'static str, String)>;

    /// How the value of `key` differs from that of `old`; `None` when it does not.
    fn change(&self, key: &str, old: &Self) -> Option<SettingChange>;

    /// Every key whose value is not that of `old`, in documentation order.
    fn changes(&self, old: &Self) -> Vec<SettingChange> {
        Self::KEYS.iter().filter_map(|known| self.change(known.key, old)).collect()
    }

    /// Settings that do not go together.
    fn conflicts(&self) -> Vec<Conflict>;
}

/// Declares a struct of settings: documentation, type and default of each key. See `checks/helo.rs` for one.
///
/// Where settings may fight each other, `conflicts = function;` after the struct names a `fn(&Self) -> Vec<Conflict>`.
#[macro_export]
macro_rules! settings {
    (
        $(#[doc = $struct_doc:literal])+
        $vis:vis struct $name:ident {
            $($(#[doc = $doc:literal])+ $key:ident: $ty:ty = $default:expr,)+
        }
        $(conflicts = $conflicts:path;)?
    ) => {
        $(#[doc = $struct_doc])+
        #[derive(Clone, Debug, PartialEq)]
        $vis struct $name {
            $($(#[doc = $doc])+ pub $key: $ty,)+
        }

        impl Default for $name {
            fn default() -> Self {
                Self { $($key: $default,)+ }
            }
        }

        impl $crate::policy::CheckSettings for $name {
            const ABOUT: &'static str = concat!($($struct_doc, "\n"),+);

            const KEYS: &'static [$crate::policy::KeyDoc] = &[
                $($crate::policy::KeyDoc {
                    key: stringify!($key),
                    doc: concat!($($doc, "\n"),+),
                    expected: <$ty as $crate::policy::Setting>::EXPECTED,
                    example: <$ty as $crate::policy::Setting>::EXAMPLE,
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

            fn copy(&mut self, key: &str, from: &Self) {
                match key {
                    $(stringify!($key) => self.$key = from.$key.clone(),)+
                    _ => {}
                }
            }

            fn entries(&self) -> Vec<(&'static str, String)> {
                vec![$((stringify!($key), $crate::policy::Setting::show(&self.$key)),)+]
            }

            fn change(&self, key: &str, old: &Self) -> Option<$crate::policy::SettingChange> {
                match key {
                    $(stringify!($key) if self.$key != old.$key => Some($crate::policy::SettingChange {
                        key: stringify!($key),
                        old: $crate::policy::Setting::show(&old.$key),
                        new: $crate::policy::Setting::show(&self.$key),
                        entries: $crate::policy::Setting::entries_changed(&self.$key, &old.$key),
                    }),)+
                    _ => None,
                }
            }

            fn conflicts(&self) -> Vec<$crate::policy::Conflict> {
                let none = Vec::new();
                $(let none = [none, $conflicts(self)].concat();)?
                none
            }
        }
    };
}

/// Whether a check decides, only watches, or does nothing; the hardest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Default)]
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
    /// The mode's name in policy files and logs.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Enforce => "enforce",
            Self::Monitor => "monitor",
            Self::Off => "off",
        }
    }
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
        reading.choice(value, &Self::NAMES)
    }

    fn show(&self) -> String {
        let name = Self::NAMES.iter().find(|(_, mode)| mode == self).map_or("", |(name, _)| name);
        format!("{name:?}")
    }
}

impl Setting for Action {
    const EXPECTED: &'static str = "\"accept\", \"tag\", \"quarantine\", \"defer\" or \"reject\"";

    fn read(value: &Spanned<DeValue<'_>>, reading: &mut Reading<'_>) -> Option<Self> {
        reading.choice(value, &Self::ALL.map(|action| (action.name(), action)))
    }

    fn show(&self) -> String {
        format!("{:?}", self.name())
    }
}

impl Setting for EnvelopeAction {
    const EXPECTED: &'static str = "\"accept\", \"tag\", \"defer\" or \"reject\"";

    fn read(value: &Spanned<DeValue<'_>>, reading: &mut Reading<'_>) -> Option<Self> {
        let actions = [Self::ACCEPT, Self::TAG, Self::DEFER, Self::REJECT];
        if value.get_ref().as_str() == Some(Action::Quarantine.name()) {
            let help = "there is no message yet that could be quarantined; \"tag\" marks it when it comes";
            reading.unexpected::<Self>(value).help(help);
            return None;
        }
        reading.choice(value, &actions.map(|action| (action.0.name(), action)))
    }

    fn show(&self) -> String {
        self.0.show()
    }
}

impl Setting for bool {
    const EXPECTED: &'static str = "true or false";

    fn read(value: &Spanned<DeValue<'_>>, reading: &mut Reading<'_>) -> Option<Self> {
        value.get_ref().as_bool().or_else(|| reading.wrong_if_quoted(value))
    }

    fn show(&self) -> String {
        self.to_string()
    }
}

/// A setting that may be left out; written, it is what `T` is.
impl<T: Setting> Setting for Option<T> {
    const EXPECTED: &'static str = T::EXPECTED;

    fn read(value: &Spanned<DeValue<'_>>, reading: &mut Reading<'_>) -> Option<Self> {
        T::read(value, reading).map(Some)
    }

    fn show(&self) -> String {
        self.as_ref().map_or_else(String::new, T::show)
    }

    fn entries_changed(&self, old: &Self) -> Option<(usize, usize)> {
        self.as_ref().zip(old.as_ref()).and_then(|(new, old)| new.entries_changed(old))
    }
}

impl Setting for NonZeroU32 {
    const EXPECTED: &'static str = "a whole number from 1 to 4294967295, such as 100";

    fn read(value: &Spanned<DeValue<'_>>, reading: &mut Reading<'_>) -> Option<Self> {
        let number = value
            .get_ref()
            .as_integer()
            .and_then(|number| u32::from_str_radix(number.as_str(), number.radix()).ok().and_then(Self::new));
        number.or_else(|| reading.wrong_if_quoted(value))
    }

    fn show(&self) -> String {
        self.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    crate::settings! {
        /// Settings of a test.
        struct Delays {
            /// The shorter one.
            short: NonZeroU32 = NonZeroU32::MIN,
            /// The longer one.
            long: NonZeroU32 = NonZeroU32::MAX,
        }
        conflicts = not_in_order;
    }

    fn not_in_order(delays: &Delays) -> Vec<Conflict> {
        let conflict = Conflict {
            severity: Severity::Error,
            keys: &["long", "short"],
            title: "not in order".into(),
            label: String::new(),
        };
        if delays.short > delays.long { vec![conflict] } else { Vec::new() }
    }

    #[test]
    fn a_declaration_knows_its_keys_and_its_conflicts() {
        assert_eq!(Delays::ABOUT, " Settings of a test.\n");
        assert_eq!(Delays::KEYS.iter().map(|key| key.key).collect::<Vec<_>>(), ["short", "long"]);
        assert_eq!(Delays::default().conflicts(), []);
        let mut delays = Delays { short: NonZeroU32::MAX, long: NonZeroU32::MIN };
        assert_eq!(delays.conflicts().len(), 1);
        delays.copy("short", &Delays::default());
        delays.copy("unknown", &Delays::default());
        assert_eq!(delays.entries(), [("short", "1".to_owned()), ("long", "1".to_owned())]);
    }
}
