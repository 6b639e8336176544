//! The live resolver.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use hickory_resolver::TokioResolver;
use hickory_resolver::config::{NameServerConfig, ResolveHosts, ResolverConfig, ResolverOpts};
use hickory_resolver::lookup::Lookup as Found;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::{DnsError, NetError};
use hickory_resolver::proto::rr::{self, RData};

use super::{Answer, DnsFault, Lookup, Record, RecordType, Resolver, Timed};
use crate::facts::host_name;

/// How long a negative answer without SOA is kept.
const DEFAULT_NEGATIVE_TTL: Duration = Duration::from_secs(60);

/// Asks real name servers, through hickory-resolver.
#[derive(Debug)]
pub struct Hickory {
    resolver: TokioResolver,
}

impl Hickory {
    /// A resolver for these servers, or for those of the system's configuration where there are none. Each server is asked once
    /// more when it does not answer within half of `budget`.
    ///
    /// # Errors
    /// When the system's configuration cannot be read.
    pub fn new(servers: &[SocketAddr], budget: Duration) -> Result<Self, DnsFault> {
        let failed = |error: NetError| DnsFault::Failed(error.to_string());
        let mut builder = if servers.is_empty() {
            TokioResolver::builder_tokio().map_err(failed)?
        } else {
            let servers = servers.iter().map(name_server).collect();
            let config = ResolverConfig::from_parts(None, Vec::new(), servers);
            TokioResolver::builder_with_config(config, TokioRuntimeProvider::default())
        };
        set_options(builder.options_mut(), budget);
        Ok(Self { resolver: builder.build().map_err(failed)? })
    }
}

impl Resolver for Hickory {
    fn lookup<'a>(&'a self, name: &'a str, record_type: RecordType) -> Lookup<'a> {
        Box::pin(async move {
            let wanted = match record_type {
                RecordType::A => rr::RecordType::A,
                RecordType::Aaaa => rr::RecordType::AAAA,
                RecordType::Mx => rr::RecordType::MX,
            };
            // The final dot keeps the search list out of it.
            match self.resolver.lookup(format!("{name}."), wanted).await {
                Ok(found) => Ok(answer(&found)),
                Err(error) => negative(&error),
            }
        })
    }
}

fn name_server(server: &SocketAddr) -> NameServerConfig {
    let mut config = NameServerConfig::udp_and_tcp(server.ip());
    for connection in &mut config.connections {
        connection.port = server.port();
    }
    config
}

fn set_options(options: &mut ResolverOpts, budget: Duration) {
    options.timeout = budget / 2;
    options.attempts = 1;
    // Our own cache stands before this one: it knows negative answers and shares look-ups under way.
    options.cache_size = 0;
    options.use_hosts_file = ResolveHosts::Never;
    // Past the default of 32 hickory answers "busy".
    options.max_active_requests = 10_000;
    options.case_randomization = true;
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
        other => Err(DnsFault::Failed(other.to_string())),
    }
}
