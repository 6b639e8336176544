//! What `/metrics` shows, as Prometheus' own linter reads it.

#![allow(clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

use std::io::Write;
use std::process::{Command, Stdio};
use std::time::Duration;

use greylag::checks::greylist::Exemption;
use greylag::dns::RecordType;
use greylag::driver::Protocol;
use greylag::facts::Stage;
use greylag::reason::Reason;
use greylag::store::{Answer, IdentityKind, KnownBy};
use greylag::telemetry::metrics::{
    self, DnsCache, DnsResult, LateSpfResult, Lookup, LookupResult, StoreResult,
};
use greylag::verdict::{Code, Finding, Outcome, Reply, Verdict};

#[test]
fn metrics_count_what_happened_and_promtool_has_nothing_against_them() {
    let handle = metrics::install().expect("the only recorder of this process");
    assert!(metrics::install().is_err());
    record_one_of_each();
    let text = handle.render();

    for line in [
        r#"greylag_decisions_total{protocol="milter",check="greylist",reason="greylist.first_seen",action="defer"} 2"#,
        r#"greylag_decisions_total{protocol="policy",check="none",reason="none",action="accept"} 1"#,
        r#"greylag_would_total{protocol="policy",check="helo",reason="helo.missing",action="tag"} 1"#,
        r#"greylag_decision_duration_seconds_bucket{protocol="policy",stage="rcpt",le="0.00005"} 0"#,
        r#"greylag_decision_duration_seconds_bucket{protocol="policy",stage="rcpt",le="0.0001"} 1"#,
        r#"greylag_decision_duration_seconds_bucket{protocol="policy",stage="rcpt",le="10"} 1"#,
        r#"greylag_decision_duration_seconds_count{protocol="policy",stage="rcpt"} 1"#,
        r#"greylag_lookup_duration_seconds_count{lookup="helo_dns",result="got"} 1"#,
        r#"greylag_lookup_duration_seconds_count{lookup="greylist",result="timeout"} 1"#,
        r#"greylag_lookup_duration_seconds_count{lookup="scan",result="failed"} 1"#,
        r#"greylag_greylist_total{outcome="first_seen"} 1"#,
        r#"greylag_greylist_total{outcome="too_early"} 1"#,
        r#"greylag_greylist_total{outcome="matured"} 1"#,
        r#"greylag_greylist_total{outcome="known"} 1"#,
        r#"greylag_greylist_total{outcome="capped"} 1"#,
        r#"greylag_greylist_total{outcome="released"} 1"#,
        r#"greylag_store_duration_seconds_count{result="got"} 1"#,
        r#"greylag_store_duration_seconds_count{result="left_alone"} 1"#,
        r#"greylag_greylist_matured_total{identity="spf"} 1"#,
        r#"greylag_greylist_known_total{by="pair",identity="host"} 1"#,
        r#"greylag_greylist_known_total{by="promotion",identity="spf"} 0"#,
        r#"greylag_greylist_exempt_total{reason="role"} 1"#,
        r#"greylag_greylist_late_spf_total{result="added"} 1"#,
        r#"greylag_greylist_wait_seconds_bucket{le="120"} 0"#,
        r#"greylag_greylist_wait_seconds_bucket{le="300"} 1"#,
        r#"greylag_greylist_wait_seconds_bucket{le="172800"} 1"#,
        r#"greylag_connections{protocol="policy"} 1"#,
        r#"greylag_connections{protocol="milter"} 0"#,
        r#"greylag_connections_total{protocol="policy"} 2"#,
        r#"greylag_protocol_errors_total{protocol="milter"} 1"#,
        r#"greylag_protocol_errors_total{protocol="policy"} 0"#,
        "greylag_scanned_bytes_total 4096",
        "greylag_policy_generation 3",
        "greylag_policy_reload_failed 1",
        "greylag_store_up 1",
        "greylag_log_lines_dropped_total 1",
        r#"greylag_dns_lookups_total{type="MX",result="negative"} 1"#,
        r#"greylag_dns_lookups_total{type="AAAA",result="refused"} 1"#,
        r#"greylag_dns_lookups_total{type="A",result="got"} 0"#,
        r#"greylag_dns_cache_total{result="hit"} 0"#,
        r#"greylag_dns_cache_total{result="miss"} 1"#,
        r#"greylag_dns_cache_total{result="shared"} 2"#,
        "greylag_dns_up 1",
        concat!(r#"greylag_build_info{version=""#, env!("CARGO_PKG_VERSION"), r#""} 1"#),
    ] {
        assert!(text.lines().any(|it| it == line), "missing: {line}\n{text}");
    }
    for metric in text.lines().filter_map(|line| line.strip_prefix("# TYPE ")) {
        let name = metric.split(' ').next().expect("a name");
        assert!(name.starts_with("greylag_"), "{name}");
        assert!(text.contains(&format!("# HELP {name} ")), "{name} has no help");
    }
    assert_eq!(promtool_check(&text), "");
}

fn record_one_of_each() {
    let greylisted = Finding {
        reason: Reason::GreylistFirstSeen,
        outcome: Outcome::Defer(Reply::new(Code::C451, (7, 1), "Greylisted")),
        detail: String::new(),
    };
    let helo = Finding { reason: Reason::HeloMissing, outcome: Outcome::Tag, detail: String::new() };
    let deferred = Verdict { findings: vec![greylisted, helo.clone()], would: vec![], edits: vec![] };
    metrics::decision(Protocol::Milter, &deferred);
    metrics::decision(Protocol::Milter, &deferred);
    metrics::decision(Protocol::Policy, &Verdict { findings: vec![], would: vec![helo], edits: vec![] });
    metrics::decision_duration(Protocol::Policy, Stage::Rcpt, Duration::from_micros(70));

    metrics::lookup(Lookup::HeloDns, LookupResult::Got, Duration::from_millis(3));
    metrics::lookup(Lookup::Greylist, LookupResult::Timeout, Duration::from_secs(2));
    metrics::lookup(Lookup::Scan, LookupResult::Failed, Duration::from_millis(3));

    let wait = Duration::from_secs(60);
    metrics::greylist(&Answer::FirstSeen { wait });
    metrics::greylist(&Answer::TooEarly { wait });
    metrics::greylist(&Answer::Matured { waited: Duration::from_secs(200), identity: IdentityKind::Spf });
    metrics::greylist(&Answer::Known { by: KnownBy::Pair, identity: IdentityKind::Host });

    metrics::greylist(&Answer::Capped { wait: Some(wait) });
    metrics::greylist(&Answer::Released);
    metrics::store(StoreResult::Got, Duration::from_millis(1));
    // The circuit breaker was open.
    metrics::store(StoreResult::LeftAlone, Duration::ZERO);

    metrics::greylist_exempt(Exemption::Role);
    metrics::greylist_late_spf(LateSpfResult::Added);

    // One connection that ended, one that never does.
    drop(metrics::connection(Protocol::Policy));
    std::mem::forget(metrics::connection(Protocol::Policy));
    metrics::protocol_error(Protocol::Milter);
    metrics::scanned_bytes(4096);
    metrics::policy_generation(3);
    metrics::policy_reload_failed(true);
    metrics::store_up(false);
    metrics::store_up(true);
    metrics::log_lines_dropped(1);

    metrics::dns_lookup(RecordType::Mx, DnsResult::Negative);
    metrics::dns_lookup(RecordType::Aaaa, DnsResult::Refused);
    for answered_by in [DnsCache::Miss, DnsCache::Shared, DnsCache::Shared] {
        metrics::dns_cache(answered_by);
    }
    metrics::dns_up(false);
    metrics::dns_up(true);
}

/// What `promtool check metrics` says of a text: nothing, if all is well.
fn promtool_check(text: &str) -> String {
    let mut promtool = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("cannot run promtool ({error}): apt-get install prometheus"));
    let mut stdin = promtool.stdin.take().expect("piped");
    stdin.write_all(text.as_bytes()).expect("promtool reads");
    drop(stdin);
    let output = promtool.wait_with_output().expect("promtool ends");
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said).into_owned();
    assert!(output.status.success(), "{}: {said}", output.status);
    said
}
