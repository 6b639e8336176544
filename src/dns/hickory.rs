//! The live resolver.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hickory_resolver::TokioResolver;
use hickory_resolver::config::{NameServerConfig, ResolveHosts, ResolverConfig, ResolverOpts};
use hickory_resolver::lookup::Lookup as Found;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::{DnsError, NetError};
use hickory_resolver::proto::rr::{self, Name, RData};
use hickory_resolver::system_conf::read_system_conf;
use tokio::task::JoinSet;

use super::{Answer, DnsFault, Lookup, Record, RecordType, Resolver, Timed};
use crate::breaker::{Breaker, Limits, Permit};
use crate::facts::host_name;

/// How long a negative answer without SOA is kept.
const DEFAULT_NEGATIVE_TTL: Duration = Duration::from_secs(60);

/// When a server is asked last instead of in its turn.
const SERVER_LIMITS: Limits =
    Limits { failures: 3, first_pause: Duration::from_secs(5), longest_pause: Duration::from_secs(60) };

/// Asks real name servers, each through a hickory-resolver of its own.
///
/// hickory knows servers in plural too, but takes the first answer of any of them for the whole: a broken server that says
/// SERVFAIL at once would hide one that works.
#[derive(Debug)]
pub struct Hickory {
    servers: Vec<Arc<Server>>,
    budget: Duration,
}

#[derive(Debug)]
struct Server {
    resolver: TokioResolver,
    breaker: Breaker,
}

impl Hickory {
    /// A resolver for these servers, or for those of `/etc/resolv.conf` (read once) where there are none. Every look-up ends within
    /// `budget`, retries, CNAMEs and other servers included. A server that is silent for a third of it is joined by the
    /// next; one that fails makes way for the next at once.
    ///
    /// # Errors
    /// When the system's configuration cannot be read, or names no server.
    pub fn new(servers: &[SocketAddr], budget: Duration) -> Result<Self, DnsFault> {
        let servers = if servers.is_empty() {
            let of_system = |error: NetError| DnsFault::Unreachable(format!("/etc/resolv.conf: {error}"));
            read_system_conf().map_err(of_system)?.0.name_servers().to_vec()
        } else {
            servers.iter().map(name_server).collect()
        };
        let servers =
            servers.into_iter().map(|server| Server::new(server, budget)).collect::<Result<_, _>>()?;
        Ok(Self { servers, budget })
    }

    /// The servers in their order, those that keep failing last.
    fn in_order(&self) -> impl Iterator<Item = Arc<Server>> {
        let now = Instant::now();
        let (fine, failing): (Vec<_>, Vec<_>) = self
            .servers
            .iter()
            .map(Arc::clone)
            .partition(|server| !matches!(server.breaker.permit(now), Permit::Refused(_)));
        fine.into_iter().chain(failing)
    }

    async fn ask(&self, name: &str, record_type: RecordType) -> Result<Timed, DnsFault> {
        let name = dns_name(name)?;
        let patience = self.budget / 3;
        let deadline = tokio::time::Instant::now() + self.budget;
        let mut servers = self.in_order().peekable();
        let mut asked = JoinSet::new();
        let mut fault: Option<DnsFault> = None;
        loop {
            if let Some(server) = servers.next() {
                asked.spawn(server.ask(name.clone(), record_type, deadline));
            }
            let ended = tokio::select! {
                ended = asked.join_next() => ended,
                () = tokio::time::sleep(patience), if servers.peek().is_some() => continue,
            };
            match ended {
                Some(Ok(Ok(answer))) => {
                    // Servers still silent note it for themselves, at their deadline.
                    asked.detach_all();
                    return Ok(answer);
                }
                Some(Ok(Err(new))) if fault.as_ref().is_none_or(DnsFault::is_silence) => fault = Some(new),
                Some(Ok(Err(_))) => {}
                Some(Err(error)) => {
                    fault = Some(DnsFault::Failed(format!("the look-up task ended: {error}")))
                }
                None => return Err(fault.unwrap_or(DnsFault::Timeout)),
            }
        }
    }
}

impl Resolver for Hickory {
    fn lookup<'a>(&'a self, name: &'a str, record_type: RecordType) -> Lookup<'a> {
        Box::pin(self.ask(name, record_type))
    }
}

impl Server {
    fn new(server: NameServerConfig, budget: Duration) -> Result<Arc<Self>, DnsFault> {
        let config = ResolverConfig::from_parts(None, Vec::new(), vec![server]);
        let resolver = TokioResolver::builder_with_config(config, TokioRuntimeProvider::default())
            .with_options(options(budget))
            .build()
            .map_err(|error| DnsFault::Unreachable(error.to_string()))?;
        Ok(Arc::new(Self { resolver, breaker: Breaker::new(SERVER_LIMITS) }))
    }

    async fn ask(
        self: Arc<Self>,
        name: Name,
        record_type: RecordType,
        deadline: tokio::time::Instant,
    ) -> Result<Timed, DnsFault> {
        let wanted = match record_type {
            RecordType::A => rr::RecordType::A,
            RecordType::Aaaa => rr::RecordType::AAAA,
            RecordType::Mx => rr::RecordType::MX,
            RecordType::Txt => rr::RecordType::TXT,
            RecordType::Ptr => rr::RecordType::PTR,
        };
        let result = match tokio::time::timeout_at(deadline, self.resolver.lookup(name, wanted)).await {
            Ok(Ok(found)) => Ok(answer(&found)),
            Ok(Err(error)) => negative(&error),
            Err(_) => Err(DnsFault::Timeout),
        };
        match &result {
            Err(fault) if fault.is_silence() => self.breaker.on_failure(Instant::now()),
            _ => self.breaker.on_success(),
        };
        result
    }
}

/// The name as it stands, whatever its characters: macros of SPF put local parts into names. Reading it as text would not do.
fn dns_name(name: &str) -> Result<Name, DnsFault> {
    let wrong = |why: &str| DnsFault::Failed(format!("{name:?} is no name of the DNS: {why}"));
    match name {
        "" => Ok(Name::root()),
        name if !name.is_ascii() => Err(wrong("it is not ASCII")),
        name => {
            Name::from_labels(name.split('.').map(str::as_bytes)).map_err(|error| wrong(&error.to_string()))
        }
    }
}

fn name_server(server: &SocketAddr) -> NameServerConfig {
    let mut config = NameServerConfig::udp_and_tcp(server.ip());
    for connection in &mut config.connections {
        connection.port = server.port();
    }
    config
}

/// Questions over UDP are repeated by hickory every third of a second within its timeout. Truncated answers are fetched over
/// TCP, and so are those whose question came back in other letters than it was asked in (0x20 against forgery): a server that
/// keeps no case costs one round trip more. CNAMEs are followed 8 times; a longer chain or a loop has no records.
fn options(budget: Duration) -> ResolverOpts {
    let mut options = ResolverOpts::default();
    options.timeout = budget;
    options.attempts = 0;
    // Our own cache stands before this one: it knows negative answers and shares look-ups under way.
    options.cache_size = 0;
    options.use_hosts_file = ResolveHosts::Never;
    // Past the default of 32 hickory answers "busy".
    options.max_active_requests = 10_000;
    options.case_randomization = true;
    options
}

fn answer(found: &Found) -> Timed {
    let records: Vec<Record> = found.answers().iter().filter_map(|record| data(&record.data)).collect();
    let ttl = found.valid_until().saturating_duration_since(Instant::now());
    let answer = if records.is_empty() { Answer::NoRecords } else { Answer::Records(records.into()) };
    Timed { answer, ttl }
}

fn data(data: &RData) -> Option<Record> {
    match data {
        RData::A(address) => Some(Record::A(address.0)),
        RData::AAAA(address) => Some(Record::Aaaa(address.0)),
        RData::MX(mx) => Some(Record::Mx(host_name(&mx.exchange.to_ascii()).unwrap_or_default())),
        RData::TXT(text) => Some(Record::Txt(text.txt_data.concat())),
        RData::PTR(name) => host_name(&name.to_ascii()).map(Record::Ptr),
        _ => None,
    }
}

fn negative(error: &NetError) -> Result<Timed, DnsFault> {
    match error {
        NetError::Dns(DnsError::NoRecordsFound(none)) => {
            let ttl =
                none.negative_ttl.map_or(DEFAULT_NEGATIVE_TTL, |seconds| Duration::from_secs(seconds.into()));
            let answer = if error.is_nx_domain() { Answer::NoSuchName } else { Answer::NoRecords };
            Ok(Timed { answer, ttl })
        }
        NetError::Timeout => Err(DnsFault::Timeout),
        NetError::Io(_) | NetError::NoConnections => Err(DnsFault::Unreachable(error.to_string())),
        other => Err(DnsFault::Failed(other.to_string())),
    }
}
