//! The settings of greylisting.

use std::net::IpAddr;
use std::num::NonZeroU32;
use std::time::Duration;

use toml::Spanned;
use toml::de::DeValue;

use crate::policy::{Clients, Conflict, Mode, Reading, Setting, Severity};
use crate::store::model::MAX_DISTINCT;
use crate::store::{Identity, IdentityKind, MAX_IDENTITIES, Promotion, Rules};

crate::settings! {
    /// Greylisting: an unknown (client, sender, recipient) is deferred with "451 4.7.1 Greylisted, try again in N seconds".
    /// Mail servers come again; most bots do not, and those that do meet fresher block lists. Authenticated clients, local
    /// submissions, and mail to postmaster and abuse are never greylisted.
    pub struct GreylistSettings {
        /// Whether the check decides ("enforce"), only counts and logs what it would have done ("monitor"), or is not run
        /// ("off"). In monitor mode attempts are recorded all the same, so that nothing jumps on the day it is enforced.
        mode: Mode = Mode::Enforce,
        /// How long an unknown client has to wait. An early retry is deferred again, and never restarts the clock. Many mail
        /// servers try again after three to five minutes.
        min_delay: Duration = Duration::from_secs(120),
        /// How long after its first attempt a client may come again. Later than that counts as a first attempt.
        retry_window: Duration = Duration::from_secs(48 * 3600),
        /// How long a client that came again stays known. A mail renews this once an eighth of it is over, so that it lasts for at
        /// least seven eighths after the last mail: 31 of 36 days, which outlast a monthly newsletter.
        pass_ttl: Duration = Duration::from_secs(36 * 86_400),
        /// What a client is known by. An attempt counts under each that is listed and known, and one is enough, so that another
        /// host of the same sender may retry. "spf": the sender's domain, when its SPF record names the client, unless it
        /// names anyone; a key, never a pass. "host": the registrable domain of the client's verified host name, unless an
        /// access provider or hoster gave it the name; of mail with the null sender, that of the HELO name too. "network":
        /// the client's network, by the two settings below. "address": its exact address; alone, it makes the classic triplet.
        /// A client that has none of those listed is known by its network.
        client_identity: ClientIdentities =
            ClientIdentities(vec![IdentityKind::Spf, IdentityKind::Host, IdentityKind::Network]),
        /// Size of the network an IPv4 client belongs to, as a prefix length from 8 to 32.
        ipv4_prefix: Ipv4Prefix = Ipv4Prefix(24),
        /// Size of the network an IPv6 client belongs to, as a prefix length from 16 to 128.
        ipv6_prefix: Ipv6Prefix = Ipv6Prefix(64),
        /// After one proper retry the (client, sender) pair passes for every recipient. Without it, each recipient of a mail to
        /// many is greylisted on its own, and such a mail needs many attempts.
        promote_pairs: bool = true,
        /// Whether a client that has proven itself with several senders and recipients passes as a whole, whatever it sends: an
        /// "spf" identity for all its hosts, else the exact address. By the five settings below.
        promote_identities: bool = true,
        /// So many different senders of the client must have come again properly, from 1 to 8.
        promote_after_senders: Distinct = Distinct(5),
        /// And so many different recipients must have been written to, from 1 to 8.
        promote_after_recipients: Distinct = Distinct(5),
        /// From the first to the last of them so much time must have passed.
        promote_after: Duration = Duration::from_secs(24 * 3600),
        /// A client no longer passes as a whole when, within a day, it makes more first attempts than this for each proper
        /// retry. A mail is one first attempt, however many recipients it has.
        demote_above: NonZeroU32 = NonZeroU32::MIN.saturating_add(19),
        /// Clients that never pass as a whole, by address, network, or domain of sender or host, such as a hoster's relay that
        /// sends anyone's mail.
        never_promote: Clients = Clients::default(),
        /// Clocks of attempts that may wait for their retry in one /24 or /48. An attempt begins one for each identity it has,
        /// four at most. Beyond it the oldest gives way, and where none is old enough the network's further mail waits together,
        /// by domain of the recipient.
        network_cap: NetworkCap = NetworkCap(10_000),
        /// Mail with the null sender <>, such as bounces: "greylist" it like any other, or "exempt" it.
        null_sender: NullSender = NullSender::Greylist,
        /// When the greylist store fails: "accept" the recipient, or "defer" it. A Redis that refuses writes has failed for senders
        /// it knows, too.
        on_store_failure: OnStoreFailure = OnStoreFailure::Accept,
    }
    conflicts = conflicts;
}

impl GreylistSettings {
    /// The rules each attempt carries to the store.
    pub fn rules(&self) -> Rules {
        Rules {
            min_delay: self.min_delay,
            retry_window: self.retry_window,
            pass_ttl: self.pass_ttl,
            promote_pairs: self.promote_pairs,
            promotion: self.promote_identities.then_some(Promotion {
                senders: self.promote_after_senders.count(),
                recipients: self.promote_after_recipients.count(),
                span: self.promote_after,
                first_seen_per_matured: self.demote_above.get(),
            }),
            network_cap: self.network_cap.clocks(),
        }
    }
}

impl GreylistSettings {
    /// Whether a client may be known by such an identity.
    pub fn may_know(&self, identity: &Identity) -> bool {
        match identity.kind {
            IdentityKind::Network => {
                identity.address().and_then(|address| self.network_of(address)).as_ref() == Some(identity)
            }
            kind => self.client_identity.kinds().contains(&kind),
        }
    }

    /// The network a client with this address may be known by; `None` where it never is.
    pub fn network_of(&self, address: IpAddr) -> Option<Identity> {
        let key = || super::identity::network(address, self).to_string().into();
        self.client_identity.may_be_network().then(|| Identity { kind: IdentityKind::Network, key: key() })
    }
}

fn conflicts(settings: &GreylistSettings) -> Vec<Conflict> {
    let mut found = Vec::new();
    let mut longer_than_delay = |duration: Duration, keys: &'static [&'static str; 2], label: &str| {
        if duration <= settings.min_delay {
            let title = format!("`{}` is not longer than `{}`", keys[0], keys[1]);
            found.push(Conflict { severity: Severity::Error, keys, title, label: label.to_owned() });
        }
    };
    longer_than_delay(
        settings.retry_window,
        &["retry_window", "min_delay"],
        "no retry would ever come in time",
    );
    longer_than_delay(
        settings.pass_ttl,
        &["pass_ttl", "min_delay"],
        "clients would be forgotten as they pass",
    );
    let default = GreylistSettings::default();
    if !settings.promote_identities {
        let unused: [(&'static [&'static str], bool); 5] = [
            (
                &["promote_after_senders", "promote_identities"],
                settings.promote_after_senders != default.promote_after_senders,
            ),
            (
                &["promote_after_recipients", "promote_identities"],
                settings.promote_after_recipients != default.promote_after_recipients,
            ),
            (&["promote_after", "promote_identities"], settings.promote_after != default.promote_after),
            (&["demote_above", "promote_identities"], settings.demote_above != default.demote_above),
            (&["never_promote", "promote_identities"], settings.never_promote != default.never_promote),
        ];
        found.extend(without_effect(unused, "`promote_identities` is false"));
    }
    if !settings.client_identity.may_be_network() {
        let unused: [(&'static [&'static str], bool); 2] = [
            (&["ipv4_prefix", "client_identity"], settings.ipv4_prefix != default.ipv4_prefix),
            (&["ipv6_prefix", "client_identity"], settings.ipv6_prefix != default.ipv6_prefix),
        ];
        found.extend(without_effect(unused, "`client_identity` lists \"address\", and not \"network\""));
    }
    found
}

fn without_effect(
    unused: impl IntoIterator<Item = (&'static [&'static str], bool)>,
    label: &'static str,
) -> impl Iterator<Item = Conflict> {
    unused.into_iter().filter(|(_, is_set)| *is_set).map(move |(keys, _)| Conflict {
        severity: Severity::Warning,
        keys,
        title: format!("`{}` has no effect", keys[0]),
        label: label.to_owned(),
    })
}

/// What a client is known by, strongest first; never empty, each at most once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientIdentities(Vec<IdentityKind>);

impl ClientIdentities {
    const NAMES: [(&'static str, IdentityKind); 4] = [
        (IdentityKind::Spf.name(), IdentityKind::Spf),
        (IdentityKind::Host.name(), IdentityKind::Host),
        (IdentityKind::Network.name(), IdentityKind::Network),
        (IdentityKind::Address.name(), IdentityKind::Address),
    ];

    /// These kinds; `None` if there are none, or one is there twice.
    pub fn new(mut kinds: Vec<IdentityKind>) -> Option<Self> {
        kinds.sort_unstable();
        let is_set = kinds.is_sorted_by(|one, next| one < next);
        (is_set && !kinds.is_empty()).then_some(Self(kinds))
    }

    /// The kinds of identities.
    pub fn kinds(&self) -> &[IdentityKind] {
        &self.0
    }

    /// Whether a client may be known by its network: where that is listed, and where it may have nothing else.
    pub fn may_be_network(&self) -> bool {
        self.0.contains(&IdentityKind::Network) || !self.0.contains(&IdentityKind::Address)
    }
}

impl Setting for ClientIdentities {
    const EXPECTED: &'static str =
        "a list of \"spf\", \"host\", \"network\" and \"address\", each at most once";

    fn read(value: &Spanned<DeValue<'_>>, reading: &mut Reading<'_>) -> Option<Self> {
        let Some(array) = value.get_ref().as_array() else { return reading.wrong(value) };
        let mut kinds = Vec::with_capacity(array.len());
        for entry in array.iter() {
            match named(&Self::NAMES, entry) {
                Some(kind) => kinds.push(kind),
                None => {
                    let typed = entry.get_ref().as_str().unwrap_or_default();
                    let names = Self::NAMES.map(|(name, _)| name);
                    reading.unexpected::<Self>(entry).did_you_mean(typed, names, || None);
                    return None;
                }
            }
        }
        Self::new(kinds).or_else(|| reading.wrong(value))
    }

    fn show(&self) -> String {
        let names: Vec<&str> = self.0.iter().map(|kind| name_of(&Self::NAMES, *kind)).collect();
        format!("{names:?}")
    }
}

/// Length of an IPv4 network prefix, from 8 to 32.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ipv4Prefix(u8);

impl Ipv4Prefix {
    /// This length, if it is in range.
    pub fn new(length: u8) -> Option<Self> {
        (8..=32).contains(&length).then_some(Self(length))
    }

    /// The length in bits.
    pub const fn length(self) -> u8 {
        self.0
    }
}

impl Setting for Ipv4Prefix {
    const EXPECTED: &'static str = "a prefix length from 8 to 32, such as 24";

    fn read(value: &Spanned<DeValue<'_>>, reading: &mut Reading<'_>) -> Option<Self> {
        whole_number(value).and_then(Self::new).or_else(|| reading.wrong(value))
    }

    fn show(&self) -> String {
        self.0.to_string()
    }
}

/// Length of an IPv6 network prefix, from 16 to 128.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ipv6Prefix(u8);

impl Ipv6Prefix {
    /// This length, if it is in range.
    pub fn new(length: u8) -> Option<Self> {
        (16..=128).contains(&length).then_some(Self(length))
    }

    /// The length in bits.
    pub const fn length(self) -> u8 {
        self.0
    }
}

impl Setting for Ipv6Prefix {
    const EXPECTED: &'static str = "a prefix length from 16 to 128, such as 64";

    fn read(value: &Spanned<DeValue<'_>>, reading: &mut Reading<'_>) -> Option<Self> {
        whole_number(value).and_then(Self::new).or_else(|| reading.wrong(value))
    }

    fn show(&self) -> String {
        self.0.to_string()
    }
}

/// How many different ones are asked for, from 1 to 8: the store remembers no more of a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Distinct(u8);

impl Distinct {
    /// This many, if the store can count them.
    pub fn new(count: u8) -> Option<Self> {
        (1..=MAX_DISTINCT).contains(&usize::from(count)).then_some(Self(count))
    }

    /// The number.
    pub const fn count(self) -> u8 {
        self.0
    }
}

impl Setting for Distinct {
    const EXPECTED: &'static str = "a number from 1 to 8, such as 5";

    fn read(value: &Spanned<DeValue<'_>>, reading: &mut Reading<'_>) -> Option<Self> {
        whole_number(value).and_then(Self::new).or_else(|| reading.wrong(value))
    }

    fn show(&self) -> String {
        self.0.to_string()
    }
}

/// Clocks that may run for one network. One attempt can always begin its clocks, or nothing of a network would ever mature.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NetworkCap(u32);

impl NetworkCap {
    /// This many, if they are enough for one attempt.
    pub fn new(clocks: u32) -> Option<Self> {
        (clocks >= MAX_IDENTITIES as u32).then_some(Self(clocks))
    }

    /// The number.
    pub const fn clocks(self) -> u32 {
        self.0
    }
}

impl Setting for NetworkCap {
    const EXPECTED: &'static str = "a whole number from 4 to 4294967295, such as 10000";

    fn read(value: &Spanned<DeValue<'_>>, reading: &mut Reading<'_>) -> Option<Self> {
        whole_number(value).and_then(Self::new).or_else(|| reading.wrong_if_quoted(value))
    }

    fn show(&self) -> String {
        self.0.to_string()
    }
}

/// What to do with mail that has the null sender.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NullSender {
    /// Greylist it like any other.
    Greylist,
    /// Let it pass.
    Exempt,
}

impl NullSender {
    const NAMES: [(&'static str, Self); 2] = [("greylist", Self::Greylist), ("exempt", Self::Exempt)];
}

impl Setting for NullSender {
    const EXPECTED: &'static str = "\"greylist\" or \"exempt\"";

    fn read(value: &Spanned<DeValue<'_>>, reading: &mut Reading<'_>) -> Option<Self> {
        reading.choice(value, &Self::NAMES)
    }

    fn show(&self) -> String {
        format!("{:?}", name_of(&Self::NAMES, *self))
    }
}

/// What to do with a recipient when the store has no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnStoreFailure {
    /// Let it pass.
    Accept,
    /// Refuse it for now.
    Defer,
}

impl OnStoreFailure {
    const NAMES: [(&'static str, Self); 2] = [("accept", Self::Accept), ("defer", Self::Defer)];
}

impl Setting for OnStoreFailure {
    const EXPECTED: &'static str = "\"accept\" or \"defer\"";

    fn read(value: &Spanned<DeValue<'_>>, reading: &mut Reading<'_>) -> Option<Self> {
        reading.choice(value, &Self::NAMES)
    }

    fn show(&self) -> String {
        format!("{:?}", name_of(&Self::NAMES, *self))
    }
}

fn named<T: Copy>(names: &[(&'static str, T)], value: &Spanned<DeValue<'_>>) -> Option<T> {
    let text = value.get_ref().as_str()?;
    names.iter().find(|(name, _)| *name == text).map(|(_, value)| *value)
}

fn name_of<T: PartialEq>(names: &[(&'static str, T)], value: T) -> &'static str {
    names.iter().find(|(_, named)| *named == value).map_or("", |(name, _)| name)
}

fn whole_number<N: TryFrom<u32>>(value: &Spanned<DeValue<'_>>) -> Option<N> {
    let number = value.get_ref().as_integer()?;
    u32::from_str_radix(&number.as_str().replace('_', ""), number.radix()).ok()?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::CheckSettings;
    use std::collections::BTreeMap;
    use toml::de::DeTable;

    fn read(text: &str) -> (GreylistSettings, Vec<String>) {
        let (files, mut problems) = (BTreeMap::new(), Vec::new());
        let mut reading = Reading { file: "greylist.toml", files: &files, problems: &mut problems };
        let mut settings = GreylistSettings::default();
        for (key, value) in DeTable::parse(text).unwrap().get_ref().iter() {
            assert!(settings.set(key.get_ref(), value, &mut reading), "{}", key.get_ref());
        }
        (settings, problems.into_iter().map(|problem| problem.label).collect())
    }

    #[test]
    fn values_out_of_range_are_refused() {
        for (line, expected) in [
            ("ipv4_prefix = 7", Ipv4Prefix::EXPECTED),
            ("ipv4_prefix = 33", Ipv4Prefix::EXPECTED),
            ("ipv4_prefix = \"24\"", Ipv4Prefix::EXPECTED),
            ("ipv6_prefix = 15", Ipv6Prefix::EXPECTED),
            ("ipv6_prefix = 129", Ipv6Prefix::EXPECTED),
            ("ipv6_prefix = -64", Ipv6Prefix::EXPECTED),
            ("client_identity = []", ClientIdentities::EXPECTED),
            ("client_identity = \"network\"", ClientIdentities::EXPECTED),
            ("client_identity = [\"network\", \"network\"]", ClientIdentities::EXPECTED),
            ("client_identity = [\"dkim\"]", ClientIdentities::EXPECTED),
            ("promote_after_senders = 0", Distinct::EXPECTED),
            ("promote_after_recipients = 9", Distinct::EXPECTED),
            ("network_cap = 3", NetworkCap::EXPECTED),
            ("network_cap = 4294967296", NetworkCap::EXPECTED),
            ("null_sender = true", NullSender::EXPECTED),
            ("on_store_failure = \"reject\"", OnStoreFailure::EXPECTED),
        ] {
            assert_eq!(
                read(line),
                (GreylistSettings::default(), vec![format!("expected {expected}")]),
                "{line}"
            );
        }
        let (settings, labels) = read(
            "ipv4_prefix = 32\nipv6_prefix = 1_28\nclient_identity = [\"address\", \"network\", \"spf\"]",
        );
        assert_eq!((settings.ipv4_prefix, settings.ipv6_prefix), (Ipv4Prefix(32), Ipv6Prefix(128)));
        assert_eq!(settings.client_identity.show(), "[\"spf\", \"network\", \"address\"]");
        assert_eq!(labels, Vec::<String>::new());
    }

    #[test]
    fn settings_that_make_no_sense_together_are_told() {
        assert_eq!(GreylistSettings::default().conflicts(), []);
        let (settings, _) = read("min_delay = \"1h\"\nretry_window = \"1h\"\npass_ttl = \"30m\"");
        let keys: Vec<&str> = settings.conflicts().iter().map(|conflict| conflict.keys[0]).collect();
        assert_eq!(keys, ["retry_window", "pass_ttl"]);
    }
}
