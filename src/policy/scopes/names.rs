//! What scopes compare beside addresses and host names: logins, listeners, and Postfix's policy contexts.

use crate::config::ListenAddress;
use crate::facts::host_name;
use crate::policy::lists::{BadEntry, Entry, List, NameMap, NameSet, Set};

/// Login names and `*@domain`.
pub type Logins = List<Login>;

/// Listeners by their addresses.
pub type Listeners = List<ListenerName>;

/// Values of `policy_context`, compared as they stand.
pub type PolicyContexts = List<PolicyContext>;

/// One entry of a list of login names, in lower case: which case counts is for the login service to say, and most say none.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Login {
    /// This name, with or without a domain.
    Name(String),
    /// `*@domain`: every name of the domain.
    At(String),
}

impl Entry for Login {
    const LIST: &'static str =
        "a list of login names, such as [\"joe\", \"joe@example.org\", \"*@example.org\"]";
    const ENTRY: &'static str = "a login name or *@domain";
    type Set = LoginSet;

    fn parse(text: &str) -> Result<Self, BadEntry> {
        if let Some(domain) = text.strip_prefix("*@") {
            return crate::policy::host_name_checked(domain)
                .map(Self::At)
                .ok_or_else(|| BadEntry::new("what follows the @ is not a domain"));
        }
        if text.contains('*') {
            return Err(BadEntry::new(
                "* may only stand for the whole name before an @, as in *@example.org",
            ));
        }
        if let Some(domain) = text.strip_prefix('@') {
            let help = format!("every login of a domain is written *@{domain}");
            return Err(BadEntry::new("has no name before the @").with_help(help));
        }
        match text.trim() {
            "" => Err(BadEntry::new("an empty name")),
            name => Ok(Self::Name(name.to_lowercase())),
        }
    }

    fn wider(&self) -> Vec<Self> {
        match self {
            Self::Name(name) => domain(name).map(Self::At).into_iter().collect(),
            Self::At(_) => Vec::new(),
        }
    }
}

/// Login names to look up in.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LoginSet {
    names: NameMap<()>,
    domains: NameMap<()>,
}

impl LoginSet {
    /// Whether the login `name` is listed, in whatever case.
    pub fn contains(&self, name: &str) -> bool {
        let name = name.to_lowercase();
        self.names.get(&name).is_some()
            || !self.domains.is_empty()
                && domain(&name).is_some_and(|domain| self.domains.get(&domain).is_some())
    }
}

impl Set<Login> for LoginSet {
    fn insert(&mut self, login: &Login) -> bool {
        match login {
            Login::Name(name) => self.names.get_or_insert(name, ()).1,
            Login::At(domain) => self.domains.get_or_insert(domain, ()).1,
        }
    }

    fn shrink(&mut self) {
        self.names.shrink();
        self.domains.shrink();
    }

    fn covers(&self, login: &Login) -> bool {
        match login {
            Login::Name(name) => self.contains(name),
            Login::At(domain) => self.domains.get(domain).is_some(),
        }
    }

    fn entries(&self) -> impl Iterator<Item = Login> {
        let names = self.names.names().map(|name| Login::Name(name.to_owned()));
        names.chain(self.domains.names().map(|domain| Login::At(domain.to_owned())))
    }

    fn len(&self) -> usize {
        self.names.len() + self.domains.len()
    }
}

fn domain(login: &str) -> Option<String> {
    login.rsplit_once('@').and_then(|(_, domain)| host_name(domain))
}

macro_rules! plain_name {
    ($name:ident) => {
        impl From<String> for $name {
            fn from(name: String) -> Self {
                Self(name)
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }
    };
}

/// The address of a listener as `greylag.toml` writes it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ListenerName(String);

plain_name!(ListenerName);

impl Entry for ListenerName {
    const LIST: &'static str =
        "a list of listeners as greylag.toml names them, such as [\"127.0.0.1:10034\"]";
    const ENTRY: &'static str = "the address of a listener";
    type Set = NameSet;

    fn parse(text: &str) -> Result<Self, BadEntry> {
        match text.parse::<ListenAddress>() {
            Ok(address) => Ok(Self(address.to_string())),
            Err(error) => Err(BadEntry::new(error.to_string())),
        }
    }
}

/// A value of Postfix's `policy_context`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PolicyContext(String);

plain_name!(PolicyContext);

impl Entry for PolicyContext {
    const LIST: &'static str = "a list of what master.cf sets as policy_context, such as [\"submission\"]";
    const ENTRY: &'static str = "a policy_context";
    type Set = NameSet;

    fn parse(text: &str) -> Result<Self, BadEntry> {
        // Postfix passes it on in one line.
        match text {
            "" => Err(BadEntry::new("an empty text: Postfix sends it where no policy_context is set")),
            text if text.contains(char::is_control) => Err(BadEntry::new("has a control character in it")),
            text => Ok(Self(text.to_owned())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn logins_are_found_by_name_or_domain() {
        let list: Logins = ["Joe", "ann@Example.test", "*@dom.test."].into_iter().collect();
        for (login, listed) in [
            ("joe", true),
            ("JOE", true),
            ("joe@example.test", false),
            ("Ann@example.TEST", true),
            ("ann", false),
            ("x@DOM.test", true),
            ("x@sub.dom.test", false),
            ("dom.test", false),
            ("", false),
        ] {
            assert_eq!(list.contains(login), listed, "{login}");
        }
    }

    #[test]
    fn what_is_no_login_is_refused() {
        for (text, label) in [
            ("", "an empty name"),
            ("@example.test", "has no name before the @"),
            ("joe*", "* may only stand for the whole name before an @, as in *@example.org"),
            ("*", "* may only stand for the whole name before an @, as in *@example.org"),
            ("*@a b", "what follows the @ is not a domain"),
        ] {
            assert_eq!(Login::parse(text).map_err(|bad| bad.label), Err(label.to_owned()), "{text}");
        }
    }
}
