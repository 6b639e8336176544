//! All metrics, declared in one place. Other rooms call the functions here and never write a metric's name.
//!
//! Labels are closed: they come from enums, never from an address, a domain or a text. Handles are looked up once, so that an event
//! costs an atomic operation. Before [`install`] every function does nothing.

mod histogram;
mod labelled;

use std::sync::OnceLock;
use std::time::Duration;

use metrics::{Counter, Gauge, Unit, counter, describe_counter, describe_gauge, gauge};
use metrics_exporter_prometheus::{BuildError, PrometheusBuilder, PrometheusHandle};

use super::protocol_name;
use crate::checks::greylist::Exemption;
use crate::dns::{self, DnsFault, RecordType};
use crate::driver::Protocol;
use crate::facts::Stage;
use crate::filter::Fault;
use crate::reason::Reason;
use crate::store::{Answer, IdentityKind, KnownBy};
use crate::verdict::{Action, Verdict};
use histogram::Histogram;
use labelled::{DecisionCounters, Labelled, PROTOCOLS};

const DECISIONS: &str = "greylag_decisions_total";
const REMEMBERED: &str = "greylag_decisions_remembered_total";
const WOULD: &str = "greylag_would_total";
const DECISION_DURATION: &str = "greylag_decision_duration_seconds";
const LOOKUP_DURATION: &str = "greylag_lookup_duration_seconds";
const GREYLIST: &str = "greylag_greylist_total";
const GREYLIST_WAIT: &str = "greylag_greylist_wait_seconds";
const GREYLIST_MATURED: &str = "greylag_greylist_matured_total";
const GREYLIST_KNOWN: &str = "greylag_greylist_known_total";
const GREYLIST_LATE_SPF: &str = "greylag_greylist_late_spf_total";
const GREYLIST_EXEMPT: &str = "greylag_greylist_exempt_total";
const CONNECTIONS: &str = "greylag_connections";
const CONNECTIONS_TOTAL: &str = "greylag_connections_total";
const PROTOCOL_ERRORS: &str = "greylag_protocol_errors_total";
const SCANNED_BYTES: &str = "greylag_scanned_bytes_total";
const POLICY_GENERATION: &str = "greylag_policy_generation";
const POLICY_RELOAD_FAILED: &str = "greylag_policy_reload_failed";
const STORE_UP: &str = "greylag_store_up";
const STORE_DURATION: &str = "greylag_store_duration_seconds";
const DNS_LOOKUPS: &str = "greylag_dns_lookups_total";
const DNS_CACHE: &str = "greylag_dns_cache_total";
const DNS_UP: &str = "greylag_dns_up";
const LOG_LINES_DROPPED: &str = "greylag_log_lines_dropped_total";
const BUILD_INFO: &str = "greylag_build_info";

/// From 50 µs, what a decision without look-up takes, to 10 s, what no MTA waits for.
const DURATION_BUCKETS: [f64; 17] = [
    0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5,
    5.0, 10.0,
];

/// From one minute to two days, the widest retry window by default.
const WAIT_BUCKETS: [f64; 13] = [
    60.0, 120.0, 300.0, 600.0, 900.0, 1_800.0, 3_600.0, 7_200.0, 14_400.0, 28_800.0, 43_200.0, 86_400.0,
    172_800.0,
];

fn describe() {
    describe_counter!(DECISIONS, Unit::Count, "Decisions, by the finding that was decisive.");
    describe_counter!(
        REMEMBERED,
        Unit::Count,
        "Decisions on known senders that were the same again, and not made anew."
    );
    describe_counter!(WOULD, Unit::Count, "What checks in monitor mode would have decided.");
    describe_counter!(GREYLIST, Unit::Count, "Delivery attempts, by what the greylist knew of them.");
    describe_counter!(
        GREYLIST_MATURED,
        Unit::Count,
        "Retries that passed, by the identity under which they were known."
    );
    describe_counter!(
        GREYLIST_KNOWN,
        Unit::Count,
        "Attempts that passed at once, by what was known of them."
    );
    describe_counter!(
        GREYLIST_LATE_SPF,
        Unit::Count,
        "Attempts answered before SPF was, by what became of the identity."
    );
    describe_counter!(GREYLIST_EXEMPT, Unit::Count, "Recipients that were not greylisted, by why.");
    describe_gauge!(CONNECTIONS, Unit::Count, "Connections that are open.");
    describe_counter!(CONNECTIONS_TOTAL, Unit::Count, "Connections accepted.");
    describe_counter!(PROTOCOL_ERRORS, Unit::Count, "Connections closed for a violation of the protocol.");
    describe_counter!(SCANNED_BYTES, Unit::Bytes, "Message bytes scanned for forbidden attachments.");
    describe_gauge!(POLICY_GENERATION, Unit::Count, "Loads of the policy so far; a refused reload keeps it.");
    describe_gauge!(
        POLICY_RELOAD_FAILED,
        Unit::Count,
        "Whether the policy files as they were last read are refused, and those before in force: 1 or 0."
    );
    describe_gauge!(STORE_UP, Unit::Count, "Whether the greylist store answers: 1 or 0.");
    describe_counter!(
        DNS_LOOKUPS,
        Unit::Count,
        "Look-ups that the cache could not answer, by their outcome."
    );
    describe_counter!(
        DNS_CACHE,
        Unit::Count,
        "Look-ups, by whether the cache or one under way answered them."
    );
    describe_gauge!(DNS_UP, Unit::Count, "Whether the name servers answer: 1 or 0.");
    describe_counter!(
        LOG_LINES_DROPPED,
        Unit::Count,
        "Lines that were not logged, as the log takes them more slowly than they come or cannot be written."
    );
    describe_gauge!(BUILD_INFO, Unit::Count, "The version that runs; always 1.");
}

/// Renders the metrics of this process.
#[derive(Clone, Debug)]
pub struct Metrics(PrometheusHandle);

impl Metrics {
    /// What `/metrics` shows, in the text format of Prometheus.
    pub fn render(&self) -> String {
        let mut out = self.0.render();
        if let Some(handles) = HANDLES.get() {
            handles.render_histograms(&mut out);
        }
        out
    }
}

/// What this recorder has, and the histograms of this process.
impl From<PrometheusHandle> for Metrics {
    fn from(handle: PrometheusHandle) -> Self {
        Self(handle)
    }
}

/// Installs the recorder of this process. What is returned renders what `/metrics` shows.
///
/// # Errors
///
/// When a recorder is installed already.
pub fn install() -> Result<Metrics, BuildError> {
    let handle = PrometheusBuilder::new().install_recorder()?;
    describe();
    gauge!(BUILD_INFO, "version" => env!("CARGO_PKG_VERSION")).set(1);
    HANDLES.get_or_init(Handles::register);
    Ok(handle.into())
}

/// Counts a verdict: its decisive finding, or that there was none, and every finding of a check in monitor mode. To be called once
/// for a recipient and once for a message, not for stages that only collect.
pub fn decision(protocol: Protocol, verdict: &Verdict) {
    let Some(handles) = HANDLES.get() else { return };
    handles.decisions.count(protocol, verdict.decisive());
    for finding in &verdict.would {
        handles.would.count(protocol, Some(finding));
    }
}

/// Counts the verdict on a recipient who passes for this reason, and nothing else was found.
pub fn passed(protocol: Protocol, reason: Reason) {
    if let Some(handles) = HANDLES.get() {
        handles.decisions.count_one(protocol, Some(reason), Action::Accept);
    }
}

/// Counts a decision that was remembered from the last time, beside [`decision`] or [`passed`].
pub fn decision_remembered() {
    if let Some(handles) = HANDLES.get() {
        handles.remembered.increment(1);
    }
}

/// Records how long the MTA waited for a verdict.
pub fn decision_duration(protocol: Protocol, stage: Stage, took: Duration) {
    let place = protocol as usize * Stage::ALL.len() + stage as usize;
    if let Some(times) = HANDLES.get().and_then(|it| it.decision_duration.get_at(place, (protocol, stage))) {
        times.record(took);
    }
}

/// A question put to the world.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lookup {
    /// The DNS, about a HELO name.
    HeloDns,
    /// The DNS, for SPF.
    Spf,
    /// The DNS, and the hashing of the message, for DKIM and DMARC.
    MessageAuth,
    /// The greylist store.
    Greylist,
    /// Content rules over a message.
    Inspection,
    /// A scan for forbidden attachments.
    Scan,
}

/// How a look-up ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LookupResult {
    /// With an answer.
    Got,
    /// Without one in time.
    Timeout,
    /// Without one by some other fault.
    Failed,
}

impl From<&Fault> for LookupResult {
    fn from(fault: &Fault) -> Self {
        match fault {
            Fault::Timeout => Self::Timeout,
            Fault::Failed(_) | Fault::FailedAgain(_) => Self::Failed,
        }
    }
}

/// Records a look-up.
pub fn lookup(lookup: Lookup, result: LookupResult, took: Duration) {
    let place = lookup as usize * (LookupResult::Failed as usize + 1) + result as usize;
    if let Some(times) = HANDLES.get().and_then(|it| it.lookup_duration.get_at(place, (lookup, result))) {
        times.record(took);
    }
}

/// Counts what the greylist said of an attempt, and records how long a sender was kept waiting when its wait is over.
pub fn greylist(answer: &Answer) {
    let Some(handles) = HANDLES.get() else { return };
    match answer {
        Answer::FirstSeen { .. } => handles.greylist_first_seen.increment(1),
        Answer::TooEarly { .. } => handles.greylist_too_early.increment(1),
        Answer::Matured { waited, identity } => {
            handles.greylist_matured.increment(1);
            handles.greylist_wait.record(*waited);
            handles.greylist_matured_by.get(*identity).into_iter().for_each(|matured| matured.increment(1));
        }
        Answer::Known { by, identity } => {
            handles.greylist_known.increment(1);
            handles.greylist_known_by.get((*by, *identity)).into_iter().for_each(|known| known.increment(1));
        }
        Answer::Released => handles.greylist_released.increment(1),
        Answer::Capped { .. } => handles.greylist_capped.increment(1),
    }
}

/// What became of an attempt that was answered before SPF was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LateSpfResult {
    /// SPF answered after all, and the attempt has the identity.
    Added,
    /// SPF answered after all, and identifies nobody; or not at all.
    None,
    /// Too many attempts wait for SPF: nobody asked further.
    Refused,
}

/// Counts an attempt that was answered before SPF was.
pub fn greylist_late_spf(result: LateSpfResult) {
    if let Some(late) = HANDLES.get().and_then(|handles| handles.greylist_late_spf.get(result)) {
        late.increment(1);
    }
}

/// Counts a recipient that was not greylisted.
pub fn greylist_exempt(exemption: Exemption) {
    if let Some(exempt) = HANDLES.get().and_then(|handles| handles.greylist_exempt.get(exemption)) {
        exempt.increment(1);
    }
}

/// Counts a connection, as open until the returned value is dropped.
#[must_use = "the connection counts as closed when this is dropped"]
pub fn connection(protocol: Protocol) -> OpenConnection {
    let handles = HANDLES.get();
    if let Some(total) = handles.and_then(|handles| handles.connections_total.get(protocol)) {
        total.increment(1);
    }
    let open = handles.and_then(|handles| handles.connections.get(protocol));
    if let Some(open) = open {
        open.increment(1);
    }
    OpenConnection { open }
}

/// A connection that counts as open.
#[derive(Debug)]
pub struct OpenConnection {
    open: Option<&'static Gauge>,
}

impl Drop for OpenConnection {
    fn drop(&mut self) {
        if let Some(open) = self.open {
            open.decrement(1);
        }
    }
}

/// Counts a connection closed because the peer broke the protocol.
pub fn protocol_error(protocol: Protocol) {
    if let Some(errors) = HANDLES.get().and_then(|handles| handles.protocol_errors.get(protocol)) {
        errors.increment(1);
    }
}

/// Counts the bytes of a message that was scanned.
pub fn scanned_bytes(bytes: u64) {
    if let Some(handles) = HANDLES.get() {
        handles.scanned_bytes.increment(bytes);
    }
}

/// Shows how many policies were loaded so far.
pub fn policy_generation(generation: u64) {
    if let Some(handles) = HANDLES.get() {
        #[expect(clippy::cast_precision_loss, reason = "a gauge is a float; nobody reloads 2^53 times")]
        handles.policy_generation.set(generation as f64);
    }
}

/// Shows whether the policy was refused when it was last read.
pub fn policy_reload_failed(failed: bool) {
    if let Some(handles) = HANDLES.get() {
        handles.policy_reload_failed.set(if failed { 1.0 } else { 0.0 });
    }
}

/// Shows whether the store answers.
pub fn store_up(up: bool) {
    if let Some(handles) = HANDLES.get() {
        handles.store_up.set(if up { 1.0 } else { 0.0 });
    }
}

/// How a request to a store over the network ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StoreResult {
    /// With an answer.
    Got,
    /// No answer came in time.
    Timeout,
    /// With an error of the server or the connection.
    Failed,
    /// It was not sent: the circuit breaker is open.
    LeftAlone,
}

/// Records a request to a store over the network.
pub fn store(result: StoreResult, took: Duration) {
    if let Some(times) = HANDLES.get().and_then(|handles| handles.store_duration.get(result)) {
        times.record(took);
    }
}

/// Shows whether the name servers answer.
pub fn dns_up(up: bool) {
    if let Some(handles) = HANDLES.get() {
        handles.dns_up.set(if up { 1.0 } else { 0.0 });
    }
}

/// How a look-up in the DNS ended that the cache could not answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DnsResult {
    /// With records.
    Got,
    /// The name does not exist, or has no such records.
    Negative,
    /// No server answered in time.
    Timeout,
    /// With a failure.
    Failed,
    /// Nobody was asked: the name servers are silent, or too many look-ups were under way.
    Refused,
}

impl From<&Result<dns::Timed, DnsFault>> for DnsResult {
    fn from(result: &Result<dns::Timed, DnsFault>) -> Self {
        match result {
            Ok(timed) if matches!(timed.answer, dns::Answer::Records(_)) => Self::Got,
            Ok(_) => Self::Negative,
            Err(DnsFault::Timeout) => Self::Timeout,
            Err(DnsFault::Failed(_) | DnsFault::Unreachable(_)) => Self::Failed,
            Err(DnsFault::NotAsked(_)) => Self::Refused,
        }
    }
}

/// Counts a look-up in the DNS that the cache could not answer.
pub fn dns_lookup(record_type: RecordType, result: DnsResult) {
    if let Some(lookups) = HANDLES.get().and_then(|it| it.dns_lookups.get((record_type, result))) {
        lookups.increment(1);
    }
}

/// Who answered a look-up in the DNS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DnsCache {
    /// The cache.
    Hit,
    /// Nobody yet: a look-up had to be made.
    Miss,
    /// A look-up that was under way for somebody else.
    Shared,
}

/// Counts who answered a look-up in the DNS.
pub fn dns_cache(answered_by: DnsCache) {
    if let Some(handles) = HANDLES.get() {
        let counter = match answered_by {
            DnsCache::Hit => &handles.dns_cache_hits,
            DnsCache::Miss => &handles.dns_cache_misses,
            DnsCache::Shared => &handles.dns_cache_shared,
        };
        counter.increment(1);
    }
}

/// Counts lines that were not logged.
pub fn log_lines_dropped(lines: u64) {
    if let Some(handles) = HANDLES.get() {
        handles.log_lines_dropped.increment(lines);
    }
}

static HANDLES: OnceLock<Handles> = OnceLock::new();

struct Handles {
    remembered: Counter,
    decisions: DecisionCounters,
    would: DecisionCounters,
    decision_duration: Labelled<(Protocol, Stage), Histogram>,
    lookup_duration: Labelled<(Lookup, LookupResult), Histogram>,
    greylist_first_seen: Counter,
    greylist_too_early: Counter,
    greylist_matured: Counter,
    greylist_known: Counter,
    greylist_released: Counter,
    greylist_capped: Counter,
    greylist_wait: Histogram,
    greylist_matured_by: Labelled<IdentityKind, Counter>,
    greylist_known_by: Labelled<(KnownBy, IdentityKind), Counter>,
    greylist_late_spf: Labelled<LateSpfResult, Counter>,
    greylist_exempt: Labelled<Exemption, Counter>,
    connections: Labelled<Protocol, Gauge>,
    connections_total: Labelled<Protocol, Counter>,
    protocol_errors: Labelled<Protocol, Counter>,
    scanned_bytes: Counter,
    policy_generation: Gauge,
    policy_reload_failed: Gauge,
    store_up: Gauge,
    store_duration: Labelled<StoreResult, Histogram>,
    dns_lookups: Labelled<(RecordType, DnsResult), Counter>,
    dns_cache_hits: Counter,
    dns_cache_misses: Counter,
    dns_cache_shared: Counter,
    dns_up: Gauge,
    log_lines_dropped: Counter,
}

impl Handles {
    fn register() -> Self {
        const LOOKUPS: [(Lookup, &str); 6] = [
            (Lookup::HeloDns, "helo_dns"),
            (Lookup::Spf, "spf"),
            (Lookup::MessageAuth, "message_auth"),
            (Lookup::Greylist, "greylist"),
            (Lookup::Inspection, "inspection"),
            (Lookup::Scan, "scan"),
        ];
        const RESULTS: [(LookupResult, &str); 3] = [
            (LookupResult::Got, "got"),
            (LookupResult::Timeout, "timeout"),
            (LookupResult::Failed, "failed"),
        ];
        const STORE_RESULTS: [(StoreResult, &str); 4] = [
            (StoreResult::Got, "got"),
            (StoreResult::Timeout, "timeout"),
            (StoreResult::Failed, "failed"),
            (StoreResult::LeftAlone, "left_alone"),
        ];
        const DNS_RESULTS: [(DnsResult, &str); 5] = [
            (DnsResult::Got, "got"),
            (DnsResult::Negative, "negative"),
            (DnsResult::Timeout, "timeout"),
            (DnsResult::Failed, "failed"),
            (DnsResult::Refused, "refused"),
        ];

        const KNOWN_BY: [KnownBy; 3] = [KnownBy::Triplet, KnownBy::Pair, KnownBy::Promotion];
        const LATE_SPF: [(LateSpfResult, &str); 3] = [
            (LateSpfResult::Added, "added"),
            (LateSpfResult::None, "none"),
            (LateSpfResult::Refused, "refused"),
        ];

        let stages = PROTOCOLS.iter().flat_map(|protocol| Stage::ALL.map(|stage| (*protocol, stage)));
        let lookups = LOOKUPS.iter().flat_map(|lookup| RESULTS.map(|result| (*lookup, result)));
        Self {
            decisions: DecisionCounters::new(DECISIONS),
            would: DecisionCounters::new(WOULD),
            decision_duration: Labelled::new(stages, |(protocol, stage)| {
                let protocol = protocol_name(protocol);
                Histogram::new(&DURATION_BUCKETS, &[("protocol", protocol), ("stage", stage.name())])
            }),
            lookup_duration: Labelled::of(
                lookups
                    .map(|((lookup, name), (result, ended))| {
                        let labels = [("lookup", name), ("result", ended)];
                        let handle = Histogram::new(&DURATION_BUCKETS, &labels);
                        ((lookup, result), handle)
                    })
                    .collect(),
            ),
            remembered: counter!(REMEMBERED),
            greylist_first_seen: counter!(GREYLIST, "outcome" => "first_seen"),
            greylist_too_early: counter!(GREYLIST, "outcome" => "too_early"),
            greylist_matured: counter!(GREYLIST, "outcome" => "matured"),
            greylist_known: counter!(GREYLIST, "outcome" => "known"),
            greylist_released: counter!(GREYLIST, "outcome" => "released"),
            greylist_capped: counter!(GREYLIST, "outcome" => "capped"),
            greylist_wait: Histogram::new(&WAIT_BUCKETS, &[]),
            greylist_matured_by: Labelled::new(
                IdentityKind::ALL,
                |it| counter!(GREYLIST_MATURED, "identity" => it.name()),
            ),
            greylist_known_by: Labelled::new(
                KNOWN_BY.iter().flat_map(|by| IdentityKind::ALL.map(|identity| (*by, identity))),
                |(by, identity)| counter!(GREYLIST_KNOWN, "by" => by.name(), "identity" => identity.name()),
            ),
            greylist_late_spf: Labelled::of(
                LATE_SPF
                    .iter()
                    .map(|(it, name)| (*it, counter!(GREYLIST_LATE_SPF, "result" => *name)))
                    .collect(),
            ),
            greylist_exempt: Labelled::new(
                Exemption::ALL,
                |it| counter!(GREYLIST_EXEMPT, "reason" => it.name()),
            ),
            connections: Labelled::new(PROTOCOLS, |it| gauge!(CONNECTIONS, "protocol" => protocol_name(it))),
            connections_total: Labelled::new(
                PROTOCOLS,
                |it| counter!(CONNECTIONS_TOTAL, "protocol" => protocol_name(it)),
            ),
            protocol_errors: Labelled::new(
                PROTOCOLS,
                |it| counter!(PROTOCOL_ERRORS, "protocol" => protocol_name(it)),
            ),
            scanned_bytes: counter!(SCANNED_BYTES),
            policy_generation: gauge!(POLICY_GENERATION),
            policy_reload_failed: gauge!(POLICY_RELOAD_FAILED),
            store_up: gauge!(STORE_UP),
            store_duration: Labelled::of(
                STORE_RESULTS
                    .map(|(result, ended)| (result, Histogram::new(&DURATION_BUCKETS, &[("result", ended)])))
                    .into(),
            ),
            dns_lookups: Labelled::of(
                RecordType::ALL
                    .iter()
                    .flat_map(|record_type| DNS_RESULTS.map(|result| (*record_type, result)))
                    .map(|(record_type, (result, ended))| {
                        let handle = counter!(DNS_LOOKUPS, "type" => record_type.name(), "result" => ended);
                        ((record_type, result), handle)
                    })
                    .collect(),
            ),
            dns_cache_hits: counter!(DNS_CACHE, "result" => "hit"),
            dns_cache_misses: counter!(DNS_CACHE, "result" => "miss"),
            dns_cache_shared: counter!(DNS_CACHE, "result" => "shared"),
            dns_up: gauge!(DNS_UP),
            log_lines_dropped: counter!(LOG_LINES_DROPPED),
        }
    }

    fn render_histograms(&self, out: &mut String) {
        let decisions = self.decision_duration.each();
        render(DECISION_DURATION, "Time from a question of the MTA to the verdict.", decisions, out);
        let lookups = self.lookup_duration.each();
        render(LOOKUP_DURATION, "Time a look-up took until its answer or failure.", lookups, out);
        let waits = std::iter::once(&self.greylist_wait);
        render(GREYLIST_WAIT, "Time from first attempt to the retry that passed.", waits, out);
        let requests = self.store_duration.each();
        let help = "Time a request to a store over the network took, by its outcome.";
        render(STORE_DURATION, help, requests, out);
    }
}

/// Appends the histograms of one name.
fn render<'a>(name: &str, help: &str, series: impl Iterator<Item = &'a Histogram>, out: &mut String) {
    out.extend(["# HELP ", name, " ", help, "\n# TYPE ", name, " histogram\n"]);
    series.for_each(|histogram| histogram.render(name, out));
    out.push('\n');
}
