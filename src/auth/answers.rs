//! Answers in hand for mail-auth, which else asks a resolver of its own.

use std::borrow::Borrow;
use std::collections::HashMap;
use std::hash::Hash;
use std::net::Ipv4Addr;
use std::sync::LazyLock;
use std::time::Instant;

use hickory_resolver::config::{ResolveHosts, ResolverConfig, ResolverOpts};
use hickory_resolver::net::NetError;
use hickory_resolver::proto::op::ResponseCode;
use mail_auth::dkim::DomainKey;
use mail_auth::dmarc::DmarcRecord;
use mail_auth::dns::TxtRecordParser;
use mail_auth::{
    DnsCache, DnsError, DnssecStatus, Error, MessageAuthenticator, Negative, NoCache, RecordSet,
    ResolverCache, TxtRecord,
};

use crate::dns::{Answer, DnsFault, Record};

/// What a name is looked up for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Purpose {
    /// TXT: the public key of a signature.
    Key,
    /// TXT: a DMARC policy.
    Policy,
    /// A: whether the name exists.
    Existence,
}

/// Everything mail-auth may ask while it checks one message. What is not in it does not exist, so that it never gets as far as its
/// own resolver.
pub(super) struct Answers {
    texts: Table<TxtRecord>,
    addresses: Table<Result<RecordSet<Ipv4Addr>, Negative>>,
}

impl Answers {
    pub(super) fn new() -> Self {
        Self {
            texts: Table::new(TxtRecord::Error(negative(ResponseCode::NXDomain).into())),
            addresses: Table::new(Err(negative(ResponseCode::NoError))),
        }
    }

    /// Adds what the DNS said of `name` (lower case, no final dot).
    pub(super) fn add(&mut self, name: &str, purpose: Purpose, answer: Result<Answer, DnsFault>) {
        let name = [name, "."].concat().into_boxed_str();
        match purpose {
            Purpose::Key => {
                self.texts.known.insert(name, text(answer, key_for_mail));
            }
            Purpose::Policy => {
                self.texts.known.insert(name, text(answer, the_one_policy));
            }
            Purpose::Existence => {
                self.addresses.known.insert(name, existence(answer));
            }
        }
    }

    /// Adds what the DNS said of the texts of `name` (as in [`Self::add`]) under `called` (with a final dot), too.
    pub(super) fn also_called(&mut self, name: &str, called: &str) {
        if let Some(text) = self.texts.known.get([name, "."].concat().as_str()).cloned() {
            self.texts.known.insert(called.into(), text);
        }
    }
}

/// The first key that may be used for mail with SHA-256, the only hash we count (RFC 6376 §3.6.1). mail-auth looks at neither.
fn key_for_mail(texts: &[Vec<u8>]) -> mail_auth::Result<DomainKey> {
    let is_for_mail =
        |text: &&Vec<u8>| permits(text, "h", &["sha256"]) && permits(text, "s", &["*", "email"]);
    DomainKey::parse_records(&texts.iter().filter(is_for_mail).cloned().collect::<Vec<_>>())
}

/// Whether the list in a tag of a key has one of `these` in it. Without the tag, or with nothing in it, all are permitted.
fn permits(key: &[u8], tag: &str, these: &[&str]) -> bool {
    let key = String::from_utf8_lossy(key);
    let mut tags = key.split(';').filter_map(|field| field.split_once('='));
    let list = tags.find(|(name, _)| name.trim().eq_ignore_ascii_case(tag)).map_or("", |(_, list)| list);
    let mut items = list.split(':').map(str::trim).filter(|item| !item.is_empty()).peekable();
    items.peek().is_none() || items.any(|item| these.iter().any(|this| item.eq_ignore_ascii_case(this)))
}

/// RFC 9989 §4.7: several policies are none.
fn the_one_policy(texts: &[Vec<u8>]) -> mail_auth::Result<DmarcRecord> {
    let not_a_policy = || Error::Dns(DnsError::InvalidRecordType);
    let mut policies =
        texts.iter().map(|text| DmarcRecord::parse(text)).filter(|read| *read != Err(not_a_policy()));
    match (policies.next(), policies.next()) {
        (Some(policy), None) => policy,
        _ => Err(not_a_policy()),
    }
}

fn text<T: Into<TxtRecord>>(
    answer: Result<Answer, DnsFault>,
    read: impl Fn(&[Vec<u8>]) -> mail_auth::Result<T>,
) -> TxtRecord {
    match answer {
        Ok(Answer::Records(records)) => {
            let texts = records.iter().filter_map(|record| match record {
                Record::Txt(text) => Some(text.clone()),
                _ => None,
            });
            read(&texts.collect::<Vec<_>>()).into()
        }
        Ok(Answer::NoRecords) => TxtRecord::Error(negative(ResponseCode::NoError).into()),
        Ok(Answer::NoSuchName) => TxtRecord::Error(negative(ResponseCode::NXDomain).into()),
        Err(fault) => TxtRecord::Error(Error::Dns(DnsError::Resolver(fault.to_string()))),
    }
}

/// A name that cannot be looked up is taken to exist, for which policies are milder.
fn existence(answer: Result<Answer, DnsFault>) -> Result<RecordSet<Ipv4Addr>, Negative> {
    match answer {
        Ok(Answer::Records(_)) => {
            Ok(RecordSet { records: [].into(), dnssec_status: DnssecStatus::Indeterminate })
        }
        Ok(Answer::NoSuchName) => Err(negative(ResponseCode::NXDomain)),
        Ok(Answer::NoRecords) | Err(_) => Err(negative(ResponseCode::NoError)),
    }
}

const fn negative(code: ResponseCode) -> Negative {
    Negative { code }
}

impl DnsCache for Answers {
    type Txt = Table<TxtRecord>;
    type Mx = NoCache;
    type Ipv4 = Table<Result<RecordSet<Ipv4Addr>, Negative>>;
    type Ipv6 = NoCache;
    type Ptr = NoCache;

    fn txt(&self) -> Option<&Self::Txt> {
        Some(&self.texts)
    }

    fn mx(&self) -> Option<&Self::Mx> {
        None
    }

    fn ipv4(&self) -> Option<&Self::Ipv4> {
        Some(&self.addresses)
    }

    fn ipv6(&self) -> Option<&Self::Ipv6> {
        None
    }

    fn ptr(&self) -> Option<&Self::Ptr> {
        None
    }
}

/// Answers of one type by name, and the answer for every other name.
pub(super) struct Table<V> {
    known: HashMap<Box<str>, V>,
    otherwise: V,
}

impl<V> Table<V> {
    fn new(otherwise: V) -> Self {
        Self { known: HashMap::new(), otherwise }
    }
}

impl<V: Clone> ResolverCache<Box<str>, V> for Table<V> {
    fn get<Q>(&self, name: &Q) -> Option<V>
    where
        Box<str>: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        Some(self.known.get(name).unwrap_or(&self.otherwise).clone())
    }

    fn remove<Q>(&self, _: &Q) -> Option<V>
    where
        Box<str>: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        None
    }

    fn insert(&self, _: Box<str>, _: V, _: Instant) {}
}

/// mail-auth's entry point, over a resolver that has nobody to ask.
pub(super) fn verifier() -> Result<&'static MessageAuthenticator, &'static NetError> {
    static VERIFIER: LazyLock<Result<MessageAuthenticator, NetError>> = LazyLock::new(|| {
        let mut options = ResolverOpts::default();
        options.use_hosts_file = ResolveHosts::Never;
        MessageAuthenticator::new(ResolverConfig::from_parts(None, Vec::new(), Vec::new()), options)
    });
    VERIFIER.as_ref()
}
