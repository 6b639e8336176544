//! The settings of all checks together, and the one place that knows which type of settings belongs to which check.

use std::sync::Arc;

use toml::Spanned;
use toml::de::DeValue;

use super::reading::Reading;
use super::settings::{CheckSettings, Conflict, KeyDoc, Mode, SettingChange};
use crate::checks::{
    AddressSettings, AttachmentSettings, AuthSettings, ContentSettings, GreylistSettings, HeloSettings,
    RecipientSettings,
};
use crate::reason::Check;

macro_rules! settings_of_checks {
    ($($(#[doc = $doc:literal])+ $check:ident $field:ident: $settings:ty,)+) => {
        /// The settings in force for one recipient of one mail.
        #[derive(Clone, Debug, Default, PartialEq)]
        pub struct Settings {
            $($(#[doc = $doc])+ pub $field: Arc<$settings>,)+
        }

        impl Settings {
            /// What the settings of `check` are for.
            pub const fn about(check: Check) -> &'static str {
                match check { $(Check::$check => <$settings>::ABOUT,)+ }
            }

            /// Whether `check` decides, only watches, or is not run.
            pub fn mode(&self, check: Check) -> Mode {
                match check { $(Check::$check => self.$field.mode,)+ }
            }

            /// The settings `check` has, in documentation order.
            pub const fn keys(check: Check) -> &'static [KeyDoc] {
                match check { $(Check::$check => <$settings>::KEYS,)+ }
            }

            /// Every setting of `check` with its present value as TOML, in documentation order.
            pub fn entries(&self, check: Check) -> Vec<(&'static str, String)> {
                match check { $(Check::$check => self.$field.entries(),)+ }
            }

            /// Sets `key` of `check`; `false` when there is no such key. A bad value is recorded in `reading`.
            pub(super) fn set(
                &mut self,
                check: Check,
                key: &str,
                value: &Spanned<DeValue<'_>>,
                reading: &mut Reading<'_>,
            ) -> bool {
                match check { $(Check::$check => Arc::make_mut(&mut self.$field).set(key, value, reading),)+ }
            }

            /// Copies `key` of `check` from other settings.
            pub(super) fn copy(&mut self, check: Check, key: &str, from: &Self) {
                match check { $(Check::$check => Arc::make_mut(&mut self.$field).copy(key, &from.$field),)+ }
            }

            /// How the value of `key` of `check` differs from that of `old`.
            pub(super) fn change(&self, check: Check, key: &str, old: &Self) -> Option<SettingChange> {
                match check { $(Check::$check => self.$field.change(key, &old.$field),)+ }
            }

            /// Every setting of `check` whose value is not that of `old`, in documentation order.
            pub(super) fn changes(&self, check: Check, old: &Self) -> Vec<SettingChange> {
                match check { $(Check::$check => self.$field.changes(&old.$field),)+ }
            }

            /// Settings of `check` that do not go together.
            pub(super) fn conflicts(&self, check: Check) -> Vec<Conflict> {
                match check { $(Check::$check => self.$field.conflicts(),)+ }
            }
        }

        /// Settings that were handed out, so that equal settings of a check are one `Arc` whatever made them equal.
        #[derive(Debug, Default)]
        pub(super) struct Pool {
            $($field: Vec<Arc<$settings>>,)+
        }

        impl Pool {
            /// Far more than there are different settings in one policy; beyond it, sharing starts anew.
            const MOST: usize = 10_000;

            pub(super) fn share(&mut self, settings: &mut Settings) {
                $(share(&mut self.$field, &mut settings.$field, Self::MOST);)+
            }
        }
    };
}

settings_of_checks! {
    /// Settings of [`crate::checks::address`].
    Address address: AddressSettings,
    /// Settings of [`crate::checks::helo`].
    Helo helo: HeloSettings,
    /// Settings of [`crate::checks::recipients`].
    Recipients recipients: RecipientSettings,
    /// Settings of [`crate::checks::auth`].
    Auth auth: AuthSettings,
    /// Settings of [`crate::checks::greylist`].
    Greylist greylist: GreylistSettings,
    /// Settings of [`crate::checks::content`].
    Content content: ContentSettings,
    /// Settings of [`crate::checks::attachments`].
    Attachments attachments: AttachmentSettings,
}

fn share<T: PartialEq>(known: &mut Vec<Arc<T>>, settings: &mut Arc<T>, most: usize) {
    match known.iter().find(|known| Arc::ptr_eq(known, settings) || ***known == **settings) {
        Some(same) => *settings = Arc::clone(same),
        None => {
            if known.len() >= most {
                known.clear();
            }
            known.push(Arc::clone(settings));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_settings_of_a_check_are_one() {
        let mut pool = Pool::default();
        let mut first = Settings::default();
        let mut second = Settings::default();
        pool.share(&mut first);
        pool.share(&mut second);
        assert!(Arc::ptr_eq(&first.helo, &second.helo));
        assert!(Arc::ptr_eq(&first.attachments, &second.attachments));
    }

    #[test]
    fn a_full_pool_starts_anew() {
        let mut known: Vec<Arc<usize>> = Vec::new();
        for number in 0..25 {
            share(&mut known, &mut Arc::new(number), 10);
            assert!(known.len() <= 10);
        }
    }
}
