//! Who a client is to the greylist: the ladder of its identities.
//!
//! A pool of mail servers retries from whichever of them is free. What they have in common, and others have not, is what the
//! client is known by: the MAIL FROM domain whose SPF policy names them, else the registrable domain of their verified names,
//! else the network. SPF is a key here and never a pass: a spammer's domain has an SPF record, too, and is greylisted under it.

use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;

use super::{GreylistSettings, generic};
use crate::checks::helo;
use crate::dns::HeloResolution;
use crate::facts::{Facts, ReversePath};
use crate::filter::Known;
use crate::policy::Clients;
use crate::store::{Identity, IdentityKind};

/// The identities the settings ask for, strongest first, as far as they are known; never empty. Who has none of them is known by the
/// network: without any identity no clock would begin, and no retry ever pass.
pub(super) fn ladder(
    address: IpAddr,
    facts: &Facts,
    settings: &GreylistSettings,
    known: &Known,
) -> Vec<Identity> {
    let mut identities = Vec::with_capacity(settings.client_identity.kinds().len() + 1);
    for kind in settings.client_identity.kinds().iter().copied() {
        let mut add = |key: Arc<str>| identities.push(Identity { kind, key });
        match kind {
            IdentityKind::Spf => {
                if let Some(domain) = known.spf.got().and_then(|spf| spf.vouching_domain()) {
                    add(Arc::clone(domain));
                }
            }
            IdentityKind::Host => {
                let owner = || {
                    let name = facts.connection.client_name.as_deref()?;
                    generic::owner(name, Some(address)).map(Arc::from)
                };
                let verified = known.greylist_host.get_or_init(owner).as_ref();
                if let Some(verified) = verified {
                    add(Arc::clone(verified));
                }
                let helo = if is_bounce(facts) { helo_owner(address, facts, known) } else { None };
                if let Some(helo) = helo.filter(|helo| Some(*helo) != verified.map(|verified| &**verified)) {
                    add(helo.into());
                }
            }
            IdentityKind::Network => add(network_text(network(address, settings))),
            IdentityKind::Address => add(address.to_string().into()),
        }
    }
    if identities.is_empty() {
        let key = network_text(network(address, settings));
        identities.push(Identity { kind: IdentityKind::Network, key });
    }
    identities
}

/// Whether the client is on the list: its address, a domain that identifies it, or the domain of the sender.
pub(super) fn is_listed(clients: &Clients, identities: &[Identity], facts: &Facts) -> bool {
    if clients.is_empty() {
        return false;
    }
    let sender = facts.sender.as_ref().and_then(|sender| sender.address()?.domain());
    let domains = identities.iter().filter(|it| matches!(it.kind, IdentityKind::Spf | IdentityKind::Host));
    clients.contains(&facts.connection)
        || domains.map(|it| &*it.key).chain(sender).any(|domain| clients.contains_name(domain))
}

/// Whether SPF is to be asked before the identities are known. Of a bounce there is no sender's domain to ask.
pub(super) fn wants_spf(facts: &Facts, settings: &GreylistSettings) -> bool {
    has(settings, IdentityKind::Spf)
        && facts
            .sender
            .as_ref()
            .is_some_and(|sender| sender.address().is_some_and(|address| address.domain().is_some()))
}

/// Whether the HELO name is to be resolved before the identities of a bounce are known: it has no sender's domain, and its HELO
/// name is the only one there is (RFC 7208 §2.4).
pub(super) fn wants_helo(facts: &Facts, settings: &GreylistSettings, known: &Known) -> bool {
    is_bounce(facts)
        && has(settings, IdentityKind::Host)
        && helo::name(facts, known).is_some_and(|name| psl::domain_str(name).is_some())
}

fn is_bounce(facts: &Facts) -> bool {
    facts.sender == Some(ReversePath::Null)
}

fn has(settings: &GreylistSettings, kind: IdentityKind) -> bool {
    settings.client_identity.kinds().contains(&kind)
}

/// The registrable domain of the HELO name, when it resolves to the client.
fn helo_owner<'a>(address: IpAddr, facts: &'a Facts, known: &'a Known) -> Option<&'a str> {
    let Some(HeloResolution::Addresses(addresses)) = known.helo.got() else { return None };
    let name = helo::name(facts, known).filter(|_| addresses.contains(&address))?;
    generic::owner(name, Some(address))
}

/// As it displays. Nearly all are of IPv4, which need no formatter.
fn network_text(network: IpNet) -> Arc<str> {
    let IpNet::V4(v4) = network else { return network.to_string().into() };
    let mut text = String::with_capacity("255.255.255.255/32".len());
    for (octet, behind) in v4.network().octets().into_iter().zip(['.', '.', '.', '/']) {
        text.push_str(itoa::Buffer::new().format(octet));
        text.push(behind);
    }
    text.push_str(itoa::Buffer::new().format(v4.prefix_len()));
    text.into()
}

/// The network the settings put the client in.
pub(super) fn network(address: IpAddr, settings: &GreylistSettings) -> IpNet {
    let prefix = match address {
        IpAddr::V4(_) => settings.ipv4_prefix.length(),
        IpAddr::V6(_) => settings.ipv6_prefix.length(),
    };
    // A prefix too long for its family cannot be set; it would stand for the exact address.
    IpNet::new(address, prefix).unwrap_or_else(|_| address.into()).trunc()
}
