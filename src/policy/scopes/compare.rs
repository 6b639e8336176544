//! Which mails the conditions of two scopes have in common, decided from the conditions alone.

use super::When;
use crate::policy::CheckSettings;
use crate::policy::lists::{Entry, List, Set};

impl When {
    /// Whether `other` holds for every mail that this holds for. Exact for each condition by itself; that one condition may
    /// imply another is known of logins only.
    pub(super) fn implies(&self, other: &Self) -> bool {
        is_within(&self.client, &other.client)
            && is_within(&self.client_name, &other.client_name)
            && is_within(&self.helo, &other.helo)
            && is_within(&self.sender, &other.sender)
            && is_within(&self.recipient, &other.recipient)
            && is_equal(self.authenticated(), other.authenticated)
            && is_within(&self.login, &other.login)
            && is_equal(self.tls, other.tls)
            && is_within(&self.listener, &other.listener)
            && is_within(&self.policy_context, &other.policy_context)
    }

    /// Whether there is no mail that both hold for.
    pub(super) fn excludes(&self, other: &Self) -> bool {
        is_apart(&self.client, &other.client)
            || is_apart(&self.client_name, &other.client_name)
            || is_apart(&self.helo, &other.helo)
            || is_apart(&self.sender, &other.sender)
            || is_apart(&self.recipient, &other.recipient)
            || differs(self.authenticated(), other.authenticated())
            || is_apart(&self.login, &other.login)
            || differs(self.tls, other.tls)
            || is_apart(&self.listener, &other.listener)
            || is_apart(&self.policy_context, &other.policy_context)
    }

    /// Whether it holds for authenticated clients only; who is named by login is one.
    fn authenticated(&self) -> Option<bool> {
        self.login.as_ref().map_or(self.authenticated, |_| Some(true))
    }

    /// Whether it holds for no mail at all.
    pub(super) fn is_never(&self) -> bool {
        Self::KEYS.iter().any(|key| self.is_empty(key.key))
            || self.login.is_some() && self.authenticated == Some(false)
    }

    /// Whether the condition `key` is a list without entries.
    pub(super) fn is_empty(&self, key: &str) -> bool {
        match key {
            "client" => is_empty(&self.client),
            "client_name" => is_empty(&self.client_name),
            "helo" => is_empty(&self.helo),
            "sender" => is_empty(&self.sender),
            "recipient" => is_empty(&self.recipient),
            "login" => is_empty(&self.login),
            "listener" => is_empty(&self.listener),
            "policy_context" => is_empty(&self.policy_context),
            _ => false,
        }
    }
}

fn is_within<E: Entry>(inner: &Option<List<E>>, outer: &Option<List<E>>) -> bool {
    match (inner, outer) {
        (_, None) => true,
        (None, Some(_)) => false,
        (Some(inner), Some(outer)) => Set::is_within(&**inner, outer),
    }
}

fn is_apart<E: Entry>(one: &Option<List<E>>, other: &Option<List<E>>) -> bool {
    one.as_ref().zip(other.as_ref()).is_some_and(|(one, other)| !Set::meets(&**one, other))
}

fn is_equal(inner: Option<bool>, outer: Option<bool>) -> bool {
    outer.is_none() || inner == outer
}

fn differs(one: Option<bool>, other: Option<bool>) -> bool {
    one.zip(other).is_some_and(|(one, other)| one != other)
}

fn is_empty<E: Entry>(list: &Option<List<E>>) -> bool {
    list.as_ref().is_some_and(List::is_empty)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::policy::Reading;
    use toml::de::DeTable;

    fn when(text: &str) -> When {
        let (files, mut problems) = (BTreeMap::new(), Vec::new());
        let mut reading = Reading { file: "scopes.toml", files: &files, problems: &mut problems };
        let mut when = When::default();
        for (key, value) in DeTable::parse(&text.replace("; ", "\n")).unwrap().get_ref().iter() {
            assert!(when.set(key.get_ref(), value, &mut reading), "{text}");
        }
        assert!(problems.iter().all(|problem| !problem.is_error()), "{text}: {problems:?}");
        when
    }

    #[test]
    fn narrower_conditions_imply_wider_ones() {
        for (narrow, wide) in [
            ("tls = true", ""),
            ("tls = true", "tls = true"),
            ("client = ['192.0.2.7']", "client = ['192.0.2.0/24', '::1']"),
            ("client = ['192.0.2.0/24']", "client = ['192.0.2.0/25', '192.0.2.128/25']"),
            ("client = ['2001:db8::/64']", "client = ['2001:db8::/32']"),
            ("client_name = ['a.b.test', '*.c.b.test']", "client_name = ['*.b.test']"),
            ("helo = ['b.test']", "helo = ['b.test', 'c.test']"),
            ("sender = ['<>']", "sender = ['<>', '@b.test']"),
            ("sender = ['a@b.test']", "sender = ['@b.test']"),
            ("sender = ['a@b.test']", "sender = ['a@']"),
            ("sender = ['a@c.b.test', '@c.b.test']", "sender = ['@*.b.test']"),
            ("login = ['joe@b.test']", "login = ['*@b.test']"),
            ("login = ['joe']", "authenticated = true"),
            ("listener = ['unix:/a']", "listener = ['unix:/b', 'unix:/a']"),
            ("policy_context = ['a']; tls = false", "policy_context = ['a', 'b']"),
        ] {
            assert!(when(narrow).implies(&when(wide)), "{narrow} in {wide}");
            assert!(!when(narrow).excludes(&when(wide)), "{narrow} and {wide}");
            let same = matches!(narrow, "tls = true") && wide == narrow || wide.contains("/25");
            assert_eq!(when(wide).implies(&when(narrow)), same, "{wide} in {narrow}");
        }
    }

    #[test]
    fn conditions_that_share_no_mail_exclude_each_other() {
        for (one, other, apart) in [
            ("client = ['192.0.2.0/24']", "client = ['198.51.100.0/24']", true),
            ("client = ['192.0.2.0/24']", "client = ['192.0.2.7']", false),
            ("client = ['192.0.2.0/24']", "client = ['::/0']", true),
            ("client = ['192.0.2.0/24']", "recipient = ['@b.test']", false),
            ("helo = ['*.b.test']", "helo = ['b.test']", true),
            ("recipient = ['@b.test']", "recipient = ['a@c.test']", true),
            ("recipient = ['@b.test']", "recipient = ['abuse@']", false),
            ("recipient = ['abuse@']", "recipient = ['postmaster@']", true),
            ("recipient = ['@b.test', '@d.test']", "recipient = ['@*.test']", false),
            ("authenticated = false", "login = ['joe']", true),
            ("tls = false", "tls = true", true),
            ("policy_context = ['a']", "policy_context = ['b']", true),
        ] {
            assert_eq!(when(one).excludes(&when(other)), apart, "{one} and {other}");
            assert_eq!(when(other).excludes(&when(one)), apart, "{other} and {one}");
        }
    }

    #[test]
    fn a_contradiction_never_holds() {
        for (text, never) in [
            ("", false),
            ("client = []", true),
            ("login = ['joe']; authenticated = true", false),
            ("login = ['joe']; authenticated = false", true),
            ("tls = true; policy_context = []", true),
        ] {
            assert_eq!(when(text).is_never(), never, "{text}");
        }
    }
}
