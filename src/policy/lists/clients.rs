//! Lists of clients, by address or by verified name.

use ipnet::IpNet;

use super::{BadEntry, Entry, HostPattern, HostSet, NetworkSet, Set};
use crate::facts::Connection;

/// One entry of a list of clients.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum ClientPattern {
    /// An address or a network.
    Network(IpNet),
    /// A host name, or `*.suffix`, for the client's FCrDNS-verified name.
    Name(HostPattern),
}

impl Entry for ClientPattern {
    const LIST: &'static str =
        "a list of addresses, networks and host names, such as [\"192.0.2.0/24\", \"*.forwarder.test\"]";
    const ENTRY: &'static str = "an address, a network, a host name or *.suffix";
    type Set = ClientSet;

    fn parse(text: &str) -> Result<Self, BadEntry> {
        // What is without letters, or has a colon or a slash, is an address with a mistake in it rather than a name.
        let is_name = text.contains(|c: char| c.is_alphabetic()) && !text.contains([':', '/']);
        match is_name {
            true => HostPattern::parse(text).map(Self::Name),
            false => <IpNet as Entry>::parse(text).map(Self::Network),
        }
    }

    fn wider(&self) -> Vec<Self> {
        match self {
            Self::Network(network) => network.wider().into_iter().map(Self::Network).collect(),
            Self::Name(name) => name.wider().into_iter().map(Self::Name).collect(),
        }
    }

    fn never_met(&self) -> Option<BadEntry> {
        match self {
            Self::Network(network) => network.never_met(),
            Self::Name(name) => name.never_met(),
        }
    }
}

/// Clients to look up in.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ClientSet {
    networks: NetworkSet,
    names: HostSet,
}

impl ClientSet {
    /// Whether the client of `connection` is listed.
    pub fn contains(&self, connection: &Connection) -> bool {
        connection.client.ip().is_some_and(|address| self.networks.contains(address))
            || connection.client_name.as_deref().is_some_and(|name| self.contains_name(name))
    }

    /// Whether this name is listed.
    pub fn contains_name(&self, name: &str) -> bool {
        self.names.contains(name)
    }
}

impl Set<ClientPattern> for ClientSet {
    fn insert(&mut self, entry: &ClientPattern) -> bool {
        match entry {
            ClientPattern::Network(network) => self.networks.insert(network),
            ClientPattern::Name(name) => self.names.insert(name),
        }
    }

    fn shrink(&mut self) {
        self.networks.shrink();
        self.names.shrink();
    }

    fn covers(&self, entry: &ClientPattern) -> bool {
        match entry {
            ClientPattern::Network(network) => self.networks.covers(network),
            ClientPattern::Name(name) => self.names.covers(name),
        }
    }

    fn entries(&self) -> impl Iterator<Item = ClientPattern> {
        let networks = self.networks.entries().map(ClientPattern::Network);
        networks.chain(self.names.entries().map(ClientPattern::Name))
    }

    fn len(&self) -> usize {
        self.networks.len() + self.names.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::facts::Client;
    use crate::policy::Clients;

    #[test]
    fn a_client_is_known_by_its_address_or_its_verified_name() {
        let clients: Clients =
            ["192.0.2.0/24", "2001:db8::1", "Mail.list.test", "*.forward.test"].into_iter().collect();
        for (address, name, listed) in [
            ("192.0.2.77", None, true),
            ("::ffff:192.0.2.77", None, true),
            ("192.0.3.1", None, false),
            ("2001:db8::1", None, true),
            ("2001:db8::2", None, false),
            ("198.51.100.1", Some("mail.list.test"), true),
            ("198.51.100.1", Some("a.b.forward.test"), true),
            ("198.51.100.1", Some("forward.test"), false),
            ("unknown", None, false),
        ] {
            let connection = Connection {
                client: Client::parse(address),
                client_name: name.map(str::to_owned),
                ..Connection::default()
            };
            assert_eq!(clients.contains(&connection), listed, "{address} {name:?}");
        }
    }

    #[test]
    fn what_is_no_client_is_refused_with_what_was_meant() {
        let example = "expected addresses and networks, such as [\"192.0.2.0/24\", \"2001:db8::1\"]";
        for (text, label) in [
            ("192.0.2.300", example),
            ("10.0.0.0/33", "/33 is not a prefix length from /0 to /32"),
            ("10.0.0.1/8", "has bits set beyond /8"),
            ("mail.test:25", example),
            ("", example),
            ("a b.test", "' ' cannot be part of a host name"),
            ("mail.*.test", "* may only stand in front, as in *.example.test"),
        ] {
            assert_eq!(ClientPattern::parse(text).map_err(|bad| bad.label), Err(label.to_owned()), "{text}");
        }
    }
}
