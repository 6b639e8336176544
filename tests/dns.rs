//! Look-ups in a real DNS: names of every kind, and servers that fail, are slow, or say nothing.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod support;

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use greylag::dns::{
    self, Answer, Cached, DnsFault, Guarded, HeloResolution, Hickory, Record, RecordType, Resolver,
    resolve_helo,
};
use support::dns::{Dns, MANY};
use support::odd_dns::OddDns;

/// As in the daemon; every RCPT is to be answered within 2 s.
const BUDGET: Duration = Duration::from_millis(1_200);
/// What a look-up may take when it is to end within its budget, on a busy machine.
const IN_TIME: Duration = Duration::from_millis(1_500);

fn resolver(servers: &[SocketAddr]) -> Hickory {
    Hickory::new(servers, BUDGET).unwrap()
}

async fn answer(resolver: &dyn Resolver, name: &str, record_type: RecordType) -> Result<Answer, DnsFault> {
    resolver.lookup(name, record_type).await.map(|timed| timed.answer)
}

fn records(records: impl Into<Arc<[Record]>>) -> Result<Answer, DnsFault> {
    Ok(Answer::Records(records.into()))
}

fn a(text: &str) -> Result<Answer, DnsFault> {
    records([Record::A(text.parse().unwrap())])
}

#[tokio::test]
async fn names_of_every_kind() {
    let dns = Dns::start();
    let resolver = resolver(&[dns.address()]);
    let aaaa = |text: &str| records([Record::Aaaa(text.parse().unwrap())]);
    let mx = |name: &str| records([Record::Mx(name.into())]);
    let txt = |text: &str| records([Record::Txt(text.into())]);
    let ptr = |name: &str| records([Record::Ptr(name.into())]);
    for (name, record_type, expected) in [
        ("mail.sender.example", RecordType::A, a("198.51.100.10")),
        ("mail.sender.example", RecordType::Aaaa, Ok(Answer::NoRecords)),
        ("dual.example", RecordType::A, a("198.51.100.13")),
        ("dual.example", RecordType::Aaaa, aaaa("2001:db8::13")),
        ("six.example", RecordType::A, Ok(Answer::NoRecords)),
        ("six.example", RecordType::Aaaa, aaaa("2001:db8::10")),
        ("mx-only.example", RecordType::Mx, mx("mail.sender.example")),
        ("no-mail.example", RecordType::Mx, mx("")),
        ("texts.example", RecordType::Txt, txt("v=spf1 a -all")),
        ("dual.example", RecordType::Txt, Ok(Answer::NoRecords)),
        ("10.100.51.198.in-addr.arpa", RecordType::Ptr, ptr("mail.sender.example")),
        ("bounce+joe=a@b.example", RecordType::A, a("198.51.100.14")),
        ("a%b!c.example", RecordType::A, Ok(Answer::NoSuchName)),
        ("no-address.example", RecordType::A, Ok(Answer::NoRecords)),
        ("nowhere.example", RecordType::A, Ok(Answer::NoSuchName)),
        ("nowhere.example", RecordType::Mx, Ok(Answer::NoSuchName)),
        ("under_score.example", RecordType::A, a("198.51.100.11")),
        ("r3---odd.example", RecordType::A, a("198.51.100.12")),
        ("alias.example", RecordType::A, a("198.51.100.10")),
        ("alias.example", RecordType::Mx, Ok(Answer::NoRecords)),
        ("gone.example", RecordType::A, Ok(Answer::NoSuchName)),
        ("", RecordType::Mx, Ok(Answer::NoRecords)),
    ] {
        assert_eq!(answer(&resolver, name, record_type).await, expected, "{name} {record_type:?}");
    }
}

#[tokio::test]
async fn names_that_are_none_are_failures() {
    let dns = Dns::start();
    let resolver = resolver(&[dns.address()]);
    for name in ["a..b", &"a".repeat(64), &"a.".repeat(200), "b\u{fc}cher.example"] {
        let answer = answer(&resolver, name, RecordType::A).await;
        assert!(
            matches!(&answer, Err(DnsFault::Failed(why)) if why.contains("no name")),
            "{name}: {answer:?}"
        );
    }
}

#[tokio::test]
async fn a_cname_loop_has_no_records_and_takes_no_time() {
    let dns = Dns::start();
    let resolver = resolver(&[dns.address()]);
    for name in ["loop1.example", "loop2.example", "self.example"] {
        let began = Instant::now();
        assert_eq!(answer(&resolver, name, RecordType::A).await, Ok(Answer::NoRecords), "{name}");
        assert!(began.elapsed() < IN_TIME, "{name}: {:?}", began.elapsed());
    }
}

#[tokio::test]
async fn times_to_live_are_those_of_the_zone() {
    let dns = Dns::start();
    let resolver = resolver(&[dns.address()]);
    for (name, seconds) in [("mail.sender.example", 300), ("alias.example", 300), ("nowhere.example", 60)] {
        let ttl = resolver.lookup(name, RecordType::A).await.unwrap().ttl;
        let seconds = Duration::from_secs(seconds);
        assert!(ttl <= seconds && ttl + Duration::from_secs(2) > seconds, "{name}: {ttl:?}");
    }
}

#[tokio::test]
async fn a_truncated_answer_is_fetched_over_tcp() {
    let dns = Dns::start();
    let Ok(Answer::Records(all)) = answer(&resolver(&[dns.address()]), "many.example", RecordType::A).await
    else {
        panic!("no records");
    };
    assert_eq!(all.len(), MANY);

    let udp_only = OddDns::udp_only(dns.address());
    let resolver = resolver(&[udp_only.address()]);
    assert_eq!(answer(&resolver, "mail.sender.example", RecordType::A).await, a("198.51.100.10"));
    let truncated = answer(&resolver, "many.example", RecordType::A).await;
    assert!(truncated.is_err(), "half an answer is none: {truncated:?}");
}

#[tokio::test]
async fn a_server_that_keeps_no_case_is_asked_over_tcp() {
    let dns = Dns::start();
    let lower_casing = OddDns::lower_casing(dns.address());
    let resolver = resolver(&[lower_casing.address()]);
    for _ in 0..3 {
        assert_eq!(answer(&resolver, "mail.sender.example", RecordType::A).await, a("198.51.100.10"));
        assert_eq!(answer(&resolver, "nowhere.example", RecordType::A).await, Ok(Answer::NoSuchName));
    }
}

#[tokio::test]
async fn a_failing_zone_is_a_failure_of_its_own() {
    let dns = Dns::start();
    let changes = Arc::new(Mutex::new(Vec::new()));
    let resolver = guarded(resolver(&[dns.address()]), &changes);
    for number in 0..20 {
        let failure = answer(&resolver, &format!("{number}.broken.example"), RecordType::A).await;
        assert!(
            matches!(&failure, Err(DnsFault::Failed(why)) if why.contains("Server Failure")),
            "{failure:?}"
        );
    }
    assert_eq!(answer(&resolver, "mail.sender.example", RecordType::A).await, a("198.51.100.10"));
    assert_eq!(*changes.lock().unwrap(), [true]);
}

#[tokio::test]
async fn a_slow_server_is_waited_for_and_a_silent_one_only_for_the_budget() {
    let dns = Dns::start();
    let slow = OddDns::slow(dns.address(), Duration::from_millis(300));
    let silent = OddDns::silent();

    let slow = resolver(&[slow.address()]);
    assert_eq!(answer(&slow, "mail.sender.example", RecordType::A).await, a("198.51.100.10"));

    let resolver = dns::live(&[silent.address()], |_| ()).unwrap();
    let began = Instant::now();
    assert_eq!(resolve_helo(&resolver, "mail.sender.example").await, Err(DnsFault::Timeout));
    assert!(began.elapsed() < IN_TIME, "{:?}", began.elapsed());
    let began = Instant::now();
    assert_eq!(resolve_helo(&resolver, "mail.sender.example").await, Err(DnsFault::Timeout));
    assert!(began.elapsed() < Duration::from_millis(100), "remembered: {:?}", began.elapsed());
}

#[tokio::test]
async fn another_server_helps_out() {
    let dns = Dns::start();
    let silent = OddDns::silent();
    let refusing = OddDns::refusing();
    let nobody = support::process::loopback(support::process::free_port());
    for bad in [silent.address(), refusing.address(), nobody] {
        let resolver = resolver(&[bad, dns.address()]);
        for name in ["mail.sender.example", "alias.example"] {
            let began = Instant::now();
            assert_eq!(answer(&resolver, name, RecordType::A).await, a("198.51.100.10"), "{bad}");
            assert!(began.elapsed() < IN_TIME, "{bad}: {:?}", began.elapsed());
        }
        assert_eq!(answer(&resolver, "nowhere.example", RecordType::A).await, Ok(Answer::NoSuchName));
    }
    let refused =
        answer(&resolver(&[refusing.address(), silent.address()]), "a.example", RecordType::A).await;
    assert!(matches!(&refused, Err(DnsFault::Failed(_))), "an answer tells more than silence: {refused:?}");
}

#[tokio::test]
async fn a_silent_server_is_asked_last_after_a_while() {
    let dns = Dns::start();
    let silent = OddDns::silent();
    let resolver = resolver(&[silent.address(), dns.address()]);
    for number in 0..3 {
        let missing = answer(&resolver, &format!("{number}.example"), RecordType::A).await;
        assert_eq!(missing, Ok(Answer::NoSuchName));
    }
    // Its look-ups end at their deadline, and only then count.
    tokio::time::sleep(BUDGET).await;
    let began = Instant::now();
    assert_eq!(answer(&resolver, "mail.sender.example", RecordType::A).await, a("198.51.100.10"));
    assert!(began.elapsed() < BUDGET / 4, "{:?}", began.elapsed());
}

#[tokio::test]
async fn helo_names_are_resolved_by_what_they_have() {
    let dns = Dns::start();
    let resolver = dns::live(&[dns.address()], |_| ()).unwrap();
    let addresses = |texts: &[&str]| {
        Ok(HeloResolution::Addresses(texts.iter().map(|text| text.parse().unwrap()).collect()))
    };
    for (name, expected) in [
        ("dual.example", addresses(&["198.51.100.13", "2001:db8::13"])),
        ("six.example", addresses(&["2001:db8::10"])),
        ("alias.example", addresses(&["198.51.100.10"])),
        ("mx-only.example", Ok(HeloResolution::MailExchangerOnly)),
        ("no-mail.example", Ok(HeloResolution::NoAddress)),
        ("no-address.example", Ok(HeloResolution::NoAddress)),
        ("loop1.example", Ok(HeloResolution::NoAddress)),
        ("nowhere.example", Ok(HeloResolution::NoSuchName)),
        ("gone.example", Ok(HeloResolution::NoSuchName)),
    ] {
        assert_eq!(resolve_helo(&resolver, name).await, expected, "{name}");
    }
    assert!(resolve_helo(&resolver, "www.broken.example").await.is_err());
}

#[tokio::test]
async fn a_dead_dns_is_noticed_left_alone_and_taken_up_again() {
    let mut dns = Dns::start();
    let changes = Arc::new(Mutex::new(Vec::new()));
    let hickory = Hickory::new(&[dns.address()], Duration::from_millis(600)).unwrap();
    let resolver = Cached::new(Arc::new(guarded(hickory, &changes)), 1_000);
    let told = |expected: &[bool]| *changes.lock().unwrap() == expected;
    assert_eq!(answer(&resolver, "mail.sender.example", RecordType::A).await, a("198.51.100.10"));

    dns.stop();
    assert_eq!(answer(&resolver, "dual.example", RecordType::A).await, Err(DnsFault::Timeout));
    until("open", || told(&[true, false])).await;
    let began = Instant::now();
    for number in 0..100 {
        let refused = answer(&resolver, &format!("{number}.example"), RecordType::A).await;
        assert_eq!(refused, Err(DnsFault::NotAsked("the DNS is not answering")));
    }
    assert!(began.elapsed() < Duration::from_millis(500), "{:?}", began.elapsed());
    assert_eq!(
        answer(&resolver, "mail.sender.example", RecordType::A).await,
        a("198.51.100.10"),
        "still known"
    );

    dns.start_again();
    until("closed", || told(&[true, false, true])).await;
    assert_eq!(answer(&resolver, "6.example", RecordType::A).await, Ok(Answer::NoSuchName));
}

#[tokio::test]
async fn a_flood_of_names_without_answer_ends_in_time() {
    let silent = OddDns::silent();
    let resolver = Arc::new(dns::live(&[silent.address()], |_| ()).unwrap());
    let began = Instant::now();
    let askers: Vec<_> = (0..2_000)
        .map(|number| {
            let resolver = Arc::clone(&resolver);
            tokio::spawn(async move { answer(&*resolver, &format!("{number}.example"), RecordType::A).await })
        })
        .collect();
    let mut timed_out = 0;
    for asker in askers {
        match asker.await.unwrap() {
            Err(DnsFault::Timeout) => timed_out += 1,
            other => assert!(matches!(other, Err(DnsFault::NotAsked(_))), "{other:?}"),
        }
    }
    assert!((1..1_000).contains(&timed_out), "{timed_out} were under way");
    assert!(began.elapsed() < 2 * IN_TIME, "{:?}", began.elapsed());
}

fn guarded(inner: Hickory, changes: &Arc<Mutex<Vec<bool>>>) -> Guarded {
    let changes = Arc::clone(changes);
    Guarded::new(Arc::new(inner), move |up| changes.lock().unwrap().push(up))
}

async fn until(what: &str, condition: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !condition() {
        assert!(Instant::now() < deadline, "not {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
