//! Lists of addresses and networks.

use std::collections::HashSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use foldhash::fast::RandomState;
use ipnet::{IpNet, Ipv4Net, Ipv4Subnets, Ipv6Subnets};

use super::{BadEntry, Entry, Set};

impl Entry for IpNet {
    const LIST: &'static str =
        "a list of addresses and networks, such as [\"192.0.2.0/24\", \"2001:db8::1\"]";
    const ENTRY: &'static str = "an address or a network";
    type Set = NetworkSet;

    fn parse(text: &str) -> Result<Self, BadEntry> {
        let network = match text.parse::<IpAddr>() {
            Ok(address) => Self::from(address.to_canonical()),
            Err(_) => canonical(text.parse().map_err(|_| not_a_network(text))?),
        };
        if network.addr() != network.network() {
            let help = format!("the network is {}, the address alone {}", network.trunc(), network.addr());
            return Err(
                BadEntry::new(format!("has bits set beyond /{}", network.prefix_len())).with_help(help)
            );
        }
        Ok(network)
    }

    fn wider(&self) -> Vec<Self> {
        std::iter::successors(self.supernet(), Self::supernet).collect()
    }
}

/// IPv4-mapped networks are IPv4 here, as IPv4-mapped clients are.
fn canonical(network: IpNet) -> IpNet {
    let mapped = match network {
        IpNet::V6(v6) => v6.addr().to_ipv4_mapped().zip(v6.prefix_len().checked_sub(96)),
        IpNet::V4(_) => None,
    };
    mapped.and_then(|(address, prefix)| Ipv4Net::new(address, prefix).ok()).map_or(network, IpNet::V4)
}

fn not_a_network(text: &str) -> BadEntry {
    let bad = BadEntry::new(format!("expected {}", <IpNet as Entry>::LIST.trim_start_matches("a list of ")));
    match text.split_once('/') {
        Some((address, prefix)) => match address.parse::<IpAddr>() {
            Ok(IpAddr::V4(_)) => BadEntry::new(format!("/{prefix} is not a prefix length from /0 to /32")),
            Ok(IpAddr::V6(_)) => BadEntry::new(format!("/{prefix} is not a prefix length from /0 to /128")),
            Err(_) => bad,
        },
        None if text.starts_with('[') => bad.with_help("write it without brackets"),
        None if text.contains(|c: char| c.is_ascii_alphabetic()) && !text.contains(':') => {
            bad.with_help("names are matched by `client_name`")
        }
        None => bad,
    }
}

/// Networks to look up in: sorted ranges that do not touch, searched by halving.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct NetworkSet {
    v4: Vec<(u32, u32)>,
    v6: Vec<(u128, u128)>,
    /// Every network while the list is read; empty after it.
    listed: HashSet<IpNet, RandomState>,
}

impl NetworkSet {
    /// Whether `address` is in one of the networks; IPv4-mapped addresses are IPv4.
    pub fn contains(&self, address: IpAddr) -> bool {
        match address.to_canonical() {
            IpAddr::V4(address) => in_ranges(&self.v4, address.to_bits(), address.to_bits()),
            IpAddr::V6(address) => in_ranges(&self.v6, address.to_bits(), address.to_bits()),
        }
    }
}

impl Set<IpNet> for NetworkSet {
    fn insert(&mut self, network: &IpNet) -> bool {
        let is_new = self.listed.insert(*network);
        if is_new {
            match network {
                IpNet::V4(v4) => self.v4.push((v4.network().to_bits(), v4.broadcast().to_bits())),
                IpNet::V6(v6) => self.v6.push((v6.network().to_bits(), v6.broadcast().to_bits())),
            }
        }
        is_new
    }

    fn shrink(&mut self) {
        self.listed = HashSet::default();
        merge(&mut self.v4, |last| last.checked_add(1));
        merge(&mut self.v6, |last| last.checked_add(1));
    }

    fn covers(&self, network: &IpNet) -> bool {
        match network {
            IpNet::V4(v4) => in_ranges(&self.v4, v4.network().to_bits(), v4.broadcast().to_bits()),
            IpNet::V6(v6) => in_ranges(&self.v6, v6.network().to_bits(), v6.broadcast().to_bits()),
        }
    }

    fn entries(&self) -> impl Iterator<Item = IpNet> {
        let v4 = self.v4.iter().flat_map(|(first, last)| {
            Ipv4Subnets::new(Ipv4Addr::from_bits(*first), Ipv4Addr::from_bits(*last), 0).map(IpNet::V4)
        });
        let v6 = self.v6.iter().flat_map(|(first, last)| {
            Ipv6Subnets::new(Ipv6Addr::from_bits(*first), Ipv6Addr::from_bits(*last), 0).map(IpNet::V6)
        });
        v4.chain(v6)
    }

    fn len(&self) -> usize {
        self.v4.len() + self.v6.len()
    }
}

/// Sorts ranges and joins those that overlap or touch. `next` is what follows a number.
fn merge<T: Ord + Copy>(ranges: &mut Vec<(T, T)>, next: impl Fn(T) -> Option<T>) {
    ranges.sort_unstable();
    ranges.dedup_by(|later, kept| {
        let touches = next(kept.1).is_none_or(|next| later.0 <= next);
        if touches {
            kept.1 = kept.1.max(later.1);
        }
        touches
    });
    ranges.shrink_to_fit();
}

/// Whether all from `first` to `last` is in one of `ranges`.
fn in_ranges<T: Ord + Copy>(ranges: &[(T, T)], first: T, last: T) -> bool {
    let after = ranges.partition_point(|(start, _)| *start <= first);
    after.checked_sub(1).is_some_and(|at| last <= ranges[at].1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::Networks;

    #[test]
    fn an_address_is_found_in_the_network_that_holds_it() {
        let list: Networks = [
            "10.1.0.0/16",
            "10.0.0.0/8",
            "192.0.2.7",
            "255.255.255.255",
            "2001:db8::/32",
            "::1",
            "::ffff:198.51.100.0/120",
        ]
        .into_iter()
        .collect();
        for (address, listed) in [
            ("9.255.255.255", false),
            ("10.0.0.0", true),
            ("10.1.2.3", true),
            ("10.255.255.255", true),
            ("11.0.0.0", false),
            ("192.0.2.6", false),
            ("192.0.2.7", true),
            ("192.0.2.8", false),
            ("255.255.255.255", true),
            ("0.0.0.0", false),
            ("::ffff:10.0.0.1", true),
            ("198.51.100.200", true),
            ("2001:db8:ffff::1", true),
            ("2001:db9::", false),
            ("::1", true),
            ("::", false),
        ] {
            assert_eq!(list.contains(address.parse().unwrap()), listed, "{address}");
        }
        let all: Networks = ["0.0.0.0/0"].into_iter().collect();
        assert!(all.contains("255.255.255.255".parse().unwrap()));
        assert!(!all.contains("::1".parse().unwrap()));
    }

    #[test]
    fn what_is_no_network_is_refused_with_what_was_meant() {
        let example = "expected addresses and networks, such as [\"192.0.2.0/24\", \"2001:db8::1\"]";
        for (text, label, help) in [
            (
                "10.0.0.1/8",
                "has bits set beyond /8",
                Some("the network is 10.0.0.0/8, the address alone 10.0.0.1"),
            ),
            (
                "2001:db8::1/32",
                "has bits set beyond /32",
                Some("the network is 2001:db8::/32, the address alone 2001:db8::1"),
            ),
            ("10.0.0.0/33", "/33 is not a prefix length from /0 to /32", None),
            ("10.0.0.0/255.0.0.0", "/255.0.0.0 is not a prefix length from /0 to /32", None),
            ("::/129", "/129 is not a prefix length from /0 to /128", None),
            ("10.0.0.256", example, None),
            ("10.0.0", example, None),
            ("[::1]", example, Some("write it without brackets")),
            ("mail.example.test", example, Some("names are matched by `client_name`")),
            ("", example, None),
        ] {
            let bad = BadEntry { label: label.into(), help: help.map(str::to_owned) };
            assert_eq!(<IpNet as Entry>::parse(text), Err(bad), "{text}");
        }
    }
}
