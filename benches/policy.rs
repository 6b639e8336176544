//! Lists of a million entries, and policies of ten thousand scopes: how long they take to load, and what a look-up costs.
//!
//! `cargo bench --ignore-rust-version --bench policy`; each measurement says in its name what is done once.
#![allow(
    clippy::panic,
    missing_docs,
    reason = "a bench fails by panicking, and criterion's macro documents nothing"
)]

use std::collections::BTreeMap;
use std::hint::black_box;
use std::net::IpAddr;
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use greylag::facts::{Address, Facts, Recipient};
use greylag::policy::{AddressPatterns, Extensions, HostPatterns, Networks, Policy, embedded};

const MILLION: usize = 1_000_000;

/// The text of a list file of a million lines.
fn list(entry: impl Fn(usize) -> String) -> String {
    (0..MILLION).map(|number| entry(number) + "\n").collect()
}

fn host(number: usize) -> String {
    format!("host{number}.zone{}.example", number % 1000)
}

fn suffix(number: usize) -> String {
    format!("*.zone{number}.example")
}

fn mailbox(number: usize) -> String {
    format!("user{number}@domain{}.example", number % 1000)
}

fn domain(number: usize) -> String {
    format!("@domain{number}.example")
}

fn network(number: usize) -> String {
    // Every other /28 of 10.0.0.0/8 and what follows: neighbours would melt into one.
    let bits = (10 << 24) + (number as u32) * 32;
    format!("{}/28", std::net::Ipv4Addr::from_bits(bits))
}

fn network6(number: usize) -> String {
    format!("2001:db8:{:x}:{:x}::/64", number >> 16, (number & 0xffff) ^ 1)
}

fn extension(number: usize) -> String {
    format!("x{number}")
}

/// A policy directory with one list, which `file` names.
fn directory(file: &str, setting: &str, list: &str) -> BTreeMap<String, String> {
    let path = "lists/million.txt".to_owned();
    BTreeMap::from([(file.to_owned(), setting.to_owned()), (path, list.to_owned())])
}

fn scope(condition: &str) -> String {
    format!(
        "[[scope]]\nname = \"x\"\n{condition} = [\"file:lists/million.txt\"]\nset.recipients.mode = \"off\"\n"
    )
}

fn load(files: &BTreeMap<String, String>) -> Policy {
    match Policy::load(files) {
        Ok((policy, warnings)) if warnings.is_empty() => policy,
        Ok((_, problems)) | Err(problems) => panic!("{problems:?}"),
    }
}

fn loading(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("load");
    group.sample_size(10).measurement_time(Duration::from_secs(10));
    let banned = "banned_names = [\"file:lists/million.txt\"]";
    let forbidden = "forbidden_extensions = [\"file:lists/million.txt\"]";
    for (name, files) in [
        ("1M host names", directory("helo.toml", banned, &list(host))),
        ("1M host suffixes", directory("helo.toml", banned, &list(suffix))),
        ("1M mailboxes", directory("scopes.toml", &scope("sender"), &list(mailbox))),
        ("1M mail domains", directory("scopes.toml", &scope("sender"), &list(domain))),
        ("1M IPv4 networks", directory("scopes.toml", &scope("client"), &list(network))),
        ("1M IPv6 networks", directory("scopes.toml", &scope("client"), &list(network6))),
        ("1M extensions", directory("attachments.toml", forbidden, &list(extension))),
    ] {
        group.bench_function(name, |bencher| bencher.iter_with_large_drop(|| load(&files)));
    }
    group.sample_size(50).measurement_time(Duration::from_secs(3));
    let shipped = embedded::files();
    group.bench_function("shipped policy", |bencher| bencher.iter_with_large_drop(|| load(&shipped)));
    let scopes = scopes(10_000);
    group.sample_size(10);
    group.bench_function("10,000 scopes", |bencher| bencher.iter_with_large_drop(|| load(&scopes)));
}

fn looking_up(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("look up in 1M");
    let entries = |entry: &dyn Fn(usize) -> String| (0..MILLION).map(entry).collect::<Vec<_>>();
    let hosts: HostPatterns = entries(&host).iter().map(String::as_str).collect();
    let suffixes: HostPatterns = entries(&suffix).iter().map(String::as_str).collect();
    let mailboxes: AddressPatterns = entries(&mailbox).iter().map(String::as_str).collect();
    let networks: Networks = entries(&network).iter().map(String::as_str).collect();
    let extensions: Extensions = entries(&extension).iter().map(String::as_str).collect();
    // Names all over the list, so that the processor's cache is of as little help as it is to real mail.
    let spread = |number: usize| number.wrapping_mul(7919) % MILLION;
    macro_rules! measure {
        ($name:literal, $found:literal, $query:expr, $contains:expr) => {
            let queries: Vec<_> = (0..4096).map(|number| $query(spread(number))).collect();
            assert!(queries.iter().all(|query| $contains(query) == $found), $name);
            let mut at = 0;
            group.bench_function($name, |bencher| {
                bencher.iter(|| {
                    at = (at + 1) % queries.len();
                    $contains(black_box(&queries[at]))
                })
            });
        };
    }
    measure!("host name, hit", true, host, |name: &String| hosts.contains(name));
    measure!("host name, miss", false, |n| host(n) + ".test", |name: &String| hosts.contains(name));
    measure!("host suffix, hit", true, |n| format!("a.b.zone{n}.example"), |name: &String| suffixes
        .contains(name));
    let address = |text: String| Address::parse(&text);
    measure!("mailbox, hit", true, |n| address(mailbox(n)), |a: &Address| mailboxes.contains(Some(a)));
    measure!("mailbox, miss", false, |n| address(mailbox(n) + ".test"), |a: &Address| mailboxes
        .contains(Some(a)));
    let ip = |number: usize, offset: u32| {
        IpAddr::from(((10u32 << 24) + number as u32 * 32 + offset).to_be_bytes())
    };
    measure!("network, hit", true, |n| ip(n, 7), |ip: &IpAddr| networks.contains(*ip));
    measure!("network, miss", false, |n| ip(n, 20), |ip: &IpAddr| networks.contains(*ip));
    measure!("extension, hit", true, extension, |name: &String| extensions.contains(name));
}

/// A policy directory with a scope for each of `number` recipient domains, beside the shipped ones.
fn scopes(number: usize) -> BTreeMap<String, String> {
    let mut files = embedded::files();
    let scopes = (0..number).map(|number| {
        format!("\n[[scope]]\nname = \"{number}\"\nrecipient = [\"@domain{number}.test\"]\nset.helo.mode = \"off\"\n")
    });
    files.entry("scopes.toml".to_owned()).or_default().extend(scopes);
    files
}

fn settings(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("settings of a recipient");
    for number in [0, 10, 1_000, 10_000] {
        let policy = load(&scopes(number));
        let to = |domain: String| Facts {
            recipient: Some(Recipient::parse(&format!("bob@{domain}"))),
            ..Facts::default()
        };
        let own = to(format!("domain{}.test", number / 2));
        group.bench_with_input(BenchmarkId::new("of its own", number), &own, |bencher, facts| {
            bencher.iter(|| policy.settings(black_box(facts)));
        });
        let other = to("elsewhere.test".to_owned());
        group.bench_with_input(BenchmarkId::new("of all", number), &other, |bencher, facts| {
            bencher.iter(|| policy.settings(black_box(facts)));
        });
    }
}

criterion_group!(benches, loading, looking_up, settings);
criterion_main!(benches);
