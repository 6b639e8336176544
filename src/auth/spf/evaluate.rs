//! `check_host()` of RFC 7208 §4.

use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use mail_auth::spf::{Directive, Macro, Mechanism, Qualifier, SpfRecord, Variables};
use tokio::time::Instant;

use super::SpfResult;
use super::memory::Records;
use super::record::NoRecord;
use crate::dns::{Answer, DnsFault, Record, RecordType, Resolver, Timed, look_up, reverse_name};
use crate::facts::host_name;
use crate::patience::{all, within};

/// Terms that look something up, all records of one evaluation together.
const MAX_TERMS: u32 = 10;
/// Terms whose look-up found nothing.
const MAX_VOID: u32 = 2;
/// Names of one `mx` or `ptr`.
const MAX_NAMES: usize = 10;
/// How long the client's host names may take, which its own DNS answers for: less than half of what an evaluation has.
const CLIENT_NAMES_BUDGET: Duration = Duration::from_millis(600);

/// What stands for an at sign in a local part: a character that no address has, so that it is not taken for another one.
const SUBSTITUTE: &str = "\u{1a}";

/// One evaluation: what is asked about, and what it cost so far.
pub(super) struct Evaluation<'a> {
    client: IpAddr,
    helo: &'a str,
    sender: Mailbox<'a>,
    resolver: &'a dyn Resolver,
    records: &'a Records,
    terms: u32,
    void: u32,
    /// The client's host names that resolve to it, once asked.
    client_names: Option<Vec<String>>,
    /// Whether the term that passed the client has the whole Internet in it, or as good as.
    passes_anyone: bool,
    /// Whether a macro was met, so that another sender of the domain, or another HELO name, may have another result.
    is_personal: bool,
    /// How long all answers so far may be kept.
    ttl: Duration,
}

/// The mailbox that sends: the reverse-path, or the postmaster of what there is in its place (RFC 7208 §4.3).
#[derive(Clone, Copy)]
pub(super) struct Mailbox<'a> {
    pub(super) local: &'a str,
    pub(super) domain: &'a str,
}

/// What ends an evaluation without a match.
enum Stop {
    PermError,
    TempError,
}

impl From<DnsFault> for Stop {
    fn from(_: DnsFault) -> Self {
        Self::TempError
    }
}

type Evaluated<'b> = Pin<Box<dyn Future<Output = SpfResult> + Send + 'b>>;

impl<'a> Evaluation<'a> {
    /// Asks about `client`, which sends as `sender` and said `helo`.
    pub(super) const fn new(
        client: IpAddr,
        helo: &'a str,
        sender: Mailbox<'a>,
        resolver: &'a dyn Resolver,
        records: &'a Records,
    ) -> Self {
        Self {
            client,
            helo,
            sender,
            resolver,
            records,
            terms: 0,
            void: 0,
            client_names: None,
            passes_anyone: false,
            is_personal: false,
            ttl: Duration::MAX,
        }
    }

    /// How long the result holds for every sender of the domain; `None` where it is of this sender, or of this moment, only.
    pub(super) fn holds(&self, result: SpfResult) -> Option<Duration> {
        let is_general = !self.is_personal && result != SpfResult::TempError && !self.ttl.is_zero();
        is_general.then_some(self.ttl)
    }

    /// Whether the term that passed the client would have passed anyone, whatever terms before it were to hide that.
    pub(super) const fn passes_anyone(&self) -> bool {
        self.passes_anyone
    }

    /// What the record of `domain` says.
    pub(super) async fn check_host(&mut self, domain: &str) -> SpfResult {
        // RFC 7208 §4.3
        if !is_asked(domain) {
            return SpfResult::None;
        }
        let record = match self.look_up(domain, RecordType::Txt).await {
            Ok(answer) => self.records.read(domain, &answer),
            Err(_) => return SpfResult::TempError,
        };
        let record: Arc<SpfRecord> = match record {
            Ok(record) => record,
            Err(NoRecord::Missing) => return SpfResult::None,
            Err(NoRecord::Malformed) => return SpfResult::PermError,
        };
        match self.evaluate(&record, domain).await {
            Ok(result) => result,
            Err(Stop::PermError) => SpfResult::PermError,
            Err(Stop::TempError) => SpfResult::TempError,
        }
    }

    /// What the record says that another one refers to. Boxed, as records include each other; [`MAX_TERMS`] bounds how deep.
    fn check_referred<'b>(&'b mut self, domain: &'b str) -> Evaluated<'b> {
        Box::pin(self.check_host(domain))
    }

    async fn evaluate(&mut self, record: &SpfRecord, domain: &str) -> Result<SpfResult, Stop> {
        for Directive { qualifier, mechanism } in &record.directives {
            if self.matches(mechanism, domain).await? {
                self.passes_anyone |= *qualifier == Qualifier::Pass && is_boundless(mechanism);
                return Ok(result_of(qualifier));
            }
        }
        let Some(redirect) = &record.redirect else { return Ok(SpfResult::Neutral) };
        self.count_term()?;
        let target = self.expand(redirect, domain).await;
        match self.check_referred(&target).await {
            SpfResult::None => Err(Stop::PermError),
            result => Ok(result),
        }
    }

    async fn matches(&mut self, mechanism: &Mechanism, domain: &str) -> Result<bool, Stop> {
        let client = self.client;
        match mechanism {
            Mechanism::All | Mechanism::Ip4 { .. } | Mechanism::Ip6 { .. } => {
                Ok(matches_by_itself(mechanism, client) == Some(true))
            }
            Mechanism::A { macro_string, ip4_mask, ip6_mask } => {
                self.count_term()?;
                let target = self.expand(macro_string, domain).await;
                let addresses = self.addresses(&target).await?;
                self.count_void(&addresses)?;
                Ok(addresses.iter().any(|address| in_network(client, *address, *ip4_mask, *ip6_mask)))
            }
            Mechanism::Mx { macro_string, ip4_mask, ip6_mask } => {
                self.count_term()?;
                let target = self.expand(macro_string, domain).await;
                let exchangers = names(self.ask(&target, RecordType::Mx).await?);
                self.count_void(&exchangers)?;
                if exchangers.len() > MAX_NAMES {
                    return Err(Stop::PermError);
                }
                for exchanger in exchangers {
                    let addresses = self.addresses(&exchanger).await?;
                    if addresses.iter().any(|address| in_network(client, *address, *ip4_mask, *ip6_mask)) {
                        return Ok(true);
                    }
                }
                Ok(false)
            }
            Mechanism::Ptr { macro_string } => {
                self.count_term()?;
                let target = self.expand(macro_string, domain).await;
                Ok(self.client_names().await.iter().any(|name| is_at_or_below(name, &target)))
            }
            Mechanism::Exists { macro_string } => {
                self.count_term()?;
                let target = self.expand(macro_string, domain).await;
                // RFC 7208 §5.7: A records, whatever the client's address is.
                let found = self.ask(&target, RecordType::A).await?;
                self.count_void(&found)?;
                Ok(!found.is_empty())
            }
            Mechanism::Include { macro_string } => {
                self.count_term()?;
                let target = self.expand(macro_string, domain).await;
                match self.check_referred(&target).await {
                    SpfResult::Pass => Ok(true),
                    SpfResult::Fail | SpfResult::SoftFail | SpfResult::Neutral => Ok(false),
                    SpfResult::None | SpfResult::PermError => Err(Stop::PermError),
                    SpfResult::TempError => Err(Stop::TempError),
                }
            }
        }
    }

    const fn count_term(&mut self) -> Result<(), Stop> {
        self.terms += 1;
        if self.terms > MAX_TERMS { Err(Stop::PermError) } else { Ok(()) }
    }

    const fn count_void<T>(&mut self, found: &[T]) -> Result<(), Stop> {
        self.void += found.is_empty() as u32;
        if self.void > MAX_VOID { Err(Stop::PermError) } else { Ok(()) }
    }

    /// The name a term is about: its macros expanded (RFC 7208 §7), or the domain under evaluation where it gives none.
    async fn expand(&mut self, name: &Macro, domain: &str) -> String {
        let is_personal = !matches!(name, Macro::Literal(_) | Macro::None);
        self.is_personal |= is_personal;
        let validated = if name.needs_ptr() {
            let names = self.client_names().await;
            let by_closeness: [&dyn Fn(&&String) -> bool; 3] =
                [&|name| *name == domain, &|name| is_at_or_below(name, domain), &|_| true];
            let found = by_closeness.into_iter().find_map(|fits| names.iter().find(fits));
            found.map_or("unknown", String::as_str).to_owned()
        } else {
            String::new()
        };
        let mut variables = Variables::new();
        let (sender, helo);
        if is_personal {
            // mail-auth takes the domain from the first at sign on; a quoted local part may have more of them.
            let local = self.sender.local.replace('@', SUBSTITUTE);
            sender = [&local, "@", self.sender.domain].concat();
            helo = host_name(self.helo).unwrap_or_default();
            variables.set_ip(&self.client);
            variables.set_sender(sender.as_bytes());
            variables.set_helo_domain(helo.as_bytes());
            variables.set_domain(domain.as_bytes());
            variables.set_validated_domain(validated.as_bytes());
        }
        let expanded = name.eval(&variables, domain, false);
        let mut name = expanded.strip_suffix('.').unwrap_or(&expanded);
        // RFC 7208 §7.3: labels are dropped from the left until the name fits.
        while name.len() > MAX_NAME {
            name = name.split_once('.').map_or("", |(_, rest)| rest);
        }
        name.to_ascii_lowercase()
    }

    /// Host names of the client that resolve back to it (RFC 7208 §5.5). What cannot be looked up is no name of it.
    async fn client_names(&mut self) -> &[String] {
        if self.client_names.is_none() {
            self.client_names = Some(self.validated_names().await);
        }
        self.client_names.as_deref().unwrap_or_default()
    }

    async fn validated_names(&mut self) -> Vec<String> {
        let (resolver, client, record_type) = (self.resolver, self.client, self.address_type());
        let deadline = Instant::now() + CLIENT_NAMES_BUDGET;
        let in_time = async |name: &str, record_type| {
            let left = deadline.saturating_duration_since(Instant::now());
            within(left, look_up(resolver, name, record_type)).await.unwrap_or(Err(DnsFault::Timeout))
        };
        let claimed = in_time(&reverse_name(client), RecordType::Ptr).await;
        let claimed = self.noted(claimed).map(records_of).map(names).unwrap_or_default();
        let claimed: Vec<String> = claimed.into_iter().filter(|name| is_name(name)).take(MAX_NAMES).collect();
        let answers = all(claimed.iter().map(|name| in_time(name, record_type))).await;
        let mut validated = Vec::new();
        for (name, answer) in claimed.into_iter().zip(answers) {
            let addresses = self.noted(answer).map(records_of).unwrap_or_default();
            if addresses.iter().filter_map(Record::address).any(|address| address == client) {
                validated.push(name);
            }
        }
        validated
    }

    /// Addresses of `name` of the client's kind.
    async fn addresses(&mut self, name: &str) -> Result<Vec<IpAddr>, Stop> {
        let record_type = self.address_type();
        Ok(self.ask(name, record_type).await?.iter().filter_map(Record::address).collect())
    }

    const fn address_type(&self) -> RecordType {
        if self.client.is_ipv4() { RecordType::A } else { RecordType::Aaaa }
    }

    /// The records of `name`; what is no name has none.
    async fn ask(&mut self, name: &str, record_type: RecordType) -> Result<Vec<Record>, Stop> {
        if !is_name(name) {
            return Ok(Vec::new());
        }
        Ok(records_of(self.look_up(name, record_type).await?))
    }

    async fn look_up(&mut self, name: &str, record_type: RecordType) -> Result<Answer, DnsFault> {
        let asked = look_up(self.resolver, name, record_type).await;
        self.noted(asked)
    }

    /// The answer, whose time to live is that of the result, too.
    fn noted(&mut self, asked: Result<Timed, DnsFault>) -> Result<Answer, DnsFault> {
        // What rests on a failure holds for this moment.
        self.ttl = self.ttl.min(asked.as_ref().map_or(Duration::ZERO, |timed| timed.ttl));
        asked.map(|timed| timed.answer)
    }
}

/// What `record` says of `client`, and whether the term that passes it would pass anyone, where no term before has to look anything
/// up: as [`Evaluation::check_host`] of a domain that has it.
pub(super) fn read_off(record: &SpfRecord, client: IpAddr) -> Option<(SpfResult, bool)> {
    for Directive { qualifier, mechanism } in &record.directives {
        if matches_by_itself(mechanism, client)? {
            let passes_anyone = *qualifier == Qualifier::Pass && is_boundless(mechanism);
            return Some((result_of(qualifier), passes_anyone));
        }
    }
    record.redirect.is_none().then_some((SpfResult::Neutral, false))
}

/// Whether a term that looks nothing up matches the client; `None` for the others.
fn matches_by_itself(mechanism: &Mechanism, client: IpAddr) -> Option<bool> {
    match mechanism {
        Mechanism::All => Some(true),
        Mechanism::Ip4 { addr, mask } => Some(in_network(client, (*addr).into(), *mask, 0)),
        Mechanism::Ip6 { addr, mask } => Some(in_network(client, (*addr).into(), 0, *mask)),
        _ => None,
    }
}

const fn result_of(qualifier: &Qualifier) -> SpfResult {
    match qualifier {
        Qualifier::Pass => SpfResult::Pass,
        Qualifier::Fail => SpfResult::Fail,
        Qualifier::SoftFail => SpfResult::SoftFail,
        Qualifier::Neutral => SpfResult::Neutral,
    }
}

/// Whether a term takes in more than any network operator has: a /8 of IPv4, a /16 of IPv6.
const fn is_boundless(mechanism: &Mechanism) -> bool {
    match mechanism {
        Mechanism::All => true,
        Mechanism::Ip4 { mask, .. } => mask.leading_ones() < 8,
        Mechanism::Ip6 { mask, .. } => mask.leading_ones() < 16,
        Mechanism::A { ip4_mask, ip6_mask, .. } | Mechanism::Mx { ip4_mask, ip6_mask, .. } => {
            ip4_mask.leading_ones() < 8 || ip6_mask.leading_ones() < 16
        }
        Mechanism::Ptr { .. } | Mechanism::Exists { .. } | Mechanism::Include { .. } => false,
    }
}

/// Longest name in bytes, without final dot (RFC 1035 §2.3.4).
pub(in crate::auth) const MAX_NAME: usize = 253;

/// Longest part of a name between dots, in bytes (RFC 1035 §2.3.4).
const MAX_LABEL: usize = 63;

/// Whether a domain can have a policy (RFC 7208 §4.3).
pub(super) fn is_asked(domain: &str) -> bool {
    labels(domain).is_some_and(|labels| labels > 1)
}

/// Whether the DNS can be asked for `name`.
pub(in crate::auth) fn is_name(name: &str) -> bool {
    labels(name).is_some()
}

/// How many labels `name` has, if the DNS can be asked for it.
fn labels(name: &str) -> Option<usize> {
    let mut labels = 0;
    let are_labels = name.as_bytes().split(|byte| *byte == b'.').all(|label| {
        labels += 1;
        (1..=MAX_LABEL).contains(&label.len())
    });
    (are_labels && name.is_ascii() && name.len() <= MAX_NAME).then_some(labels)
}

fn records_of(answer: Answer) -> Vec<Record> {
    match answer {
        Answer::Records(records) => records.to_vec(),
        Answer::NoRecords | Answer::NoSuchName => Vec::new(),
    }
}

/// Names of MX and PTR records; the null MX (RFC 7505) is none.
fn names(records: Vec<Record>) -> Vec<String> {
    let name = |record| match record {
        Record::Mx(name) | Record::Ptr(name) => host_name(&name),
        Record::A(_) | Record::Aaaa(_) | Record::Txt(_) => None,
    };
    records.into_iter().filter_map(name).collect()
}

fn is_at_or_below(name: &str, domain: &str) -> bool {
    name.strip_suffix(domain).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
}

/// Whether `client` is in the network of `address`; the mask of the client's kind counts, and kinds never match across.
fn in_network(client: IpAddr, address: IpAddr, v4_mask: u32, v6_mask: u128) -> bool {
    match (client, address) {
        (IpAddr::V4(client), IpAddr::V4(address)) => (client.to_bits() ^ address.to_bits()) & v4_mask == 0,
        (IpAddr::V6(client), IpAddr::V6(address)) => (client.to_bits() ^ address.to_bits()) & v6_mask == 0,
        _ => false,
    }
}
