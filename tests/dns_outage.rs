//! The DNS is silent or dead: mail goes on, nobody is refused for it, and nobody waits long.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod support;

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use support::dns::HELO;
use support::greylag::{Greylag, Setup};
use support::milter::{EndOfMessage, Mta, OFFER, Reply};
use support::odd_dns::OddDns;
use support::policy::{PolicyClient, PolicyRequest};
use support::process;

/// DESIGN.md §4: every RCPT is answered within it.
const RCPT: Duration = Duration::from_secs(2);
/// A mail to 100 recipients waits once.
const MAIL: Duration = Duration::from_secs(4);
const CLIENT: &str = "198.51.100.10";
const SENDER: &str = "alice@sender.example";

fn start(dns: SocketAddr, policies: &[(&str, &str)]) -> Greylag {
    Greylag::start(Setup { policies, dns: Some(dns), ..Setup::default() })
}

fn recipients() -> impl Iterator<Item = String> {
    (1..=100).map(|number| format!("user{number:03}@example.test"))
}

/// A mail to 100 recipients by the policy protocol; what each is told.
async fn policy_mail(greylag: &Greylag, instance: &str, helo: &str) -> Vec<String> {
    let mut client = PolicyClient::tcp(process::loopback(greylag.ports().policy)).await;
    let began = Instant::now();
    let mut told = Vec::new();
    for recipient in recipients() {
        let request = PolicyRequest::rcpt(&recipient)
            .with("instance", instance)
            .with("helo_name", helo)
            .with("client_address", CLIENT)
            .with("client_name", "unknown")
            .with("sender", SENDER);
        let asked = Instant::now();
        told.push(client.ask(&request).await.expect("an answer"));
        assert!(asked.elapsed() < RCPT, "{recipient}: {:?}", asked.elapsed());
    }
    assert!(began.elapsed() < MAIL, "{:?}", began.elapsed());
    told
}

/// A mail to 100 recipients by the milter protocol, with its content if any is accepted; what each is told.
async fn milter_mail(greylag: &Greylag, helo: &str) -> Vec<Reply> {
    let mut mta = Mta::tcp(process::loopback(greylag.ports().milter)).await;
    mta.negotiate(OFFER).await;
    assert_eq!(
        mta.connect("[198.51.100.10]", SocketAddr::new(CLIENT.parse().unwrap(), 4242)).await,
        Reply::Continue
    );
    assert_eq!(mta.helo(helo).await, Reply::Continue);
    let began = Instant::now();
    assert_eq!(mta.mail(&format!("<{SENDER}>")).await, Reply::Continue);
    let mut told = Vec::new();
    for recipient in recipients() {
        let asked = Instant::now();
        told.push(mta.rcpt(&format!("<{recipient}>")).await);
        assert!(asked.elapsed() < RCPT, "{recipient}: {:?}", asked.elapsed());
    }
    assert!(began.elapsed() < MAIL, "{:?}", began.elapsed());
    if told.contains(&Reply::Continue) {
        assert_eq!(mta.data().await, Reply::Continue);
        assert_eq!(mta.content("Subject: x\r\n\r\nHello\r\n").await, EndOfMessage::unchanged());
    }
    mta.quit().await;
    told
}

/// Every decision says that the name is unknown, and none is for the name.
fn assert_unknown(greylag: &Greylag, decisions: usize) {
    let lines = greylag.log_lines(&["decision ", "stage=rcpt"]);
    assert_eq!(lines.len(), decisions);
    for line in lines {
        let unknown =
            ["helo_dns=timeout", "helo_dns=\"no name server", "helo_dns=\"the DNS is not answering\""];
        assert!(unknown.iter().any(|unknown| line.contains(unknown)), "{line}");
        assert!(!line.contains("reason=helo."), "{line}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn greylisting_goes_on_and_refuses_nobody_for_the_dns() {
    let silent = OddDns::silent();
    for dns in [silent.address(), process::loopback(process::free_port())] {
        let greylag = start(dns, &[]);
        for told in policy_mail(&greylag, "1.1", HELO).await {
            assert_eq!(told, "DEFER_IF_PERMIT 4.7.1 Greylisted, try again in 120 seconds", "{dns}");
        }
        for told in milter_mail(&greylag, HELO).await {
            let text = told.text();
            assert!(
                text.starts_with("451 4.7.1 ") && text.contains(" Greylisted, try again in "),
                "{dns}: {text}"
            );
        }
        assert_unknown(&greylag, 200);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_greylisting_mail_is_accepted_and_the_outage_is_told() {
    let silent = OddDns::silent();
    for dns in [silent.address(), process::loopback(process::free_port())] {
        let greylag = start(dns, &[("greylist.toml", "mode = \"off\"\n")]);
        assert_eq!(greylag.readyz().0, 200, "nothing was asked yet");
        assert!(milter_mail(&greylag, HELO).await.iter().all(|told| *told == Reply::Continue), "{dns}");
        process::eventually("not ready", || greylag.readyz().0 == 503);
        let (_, complaint) = greylag.readyz();
        assert!(complaint.contains("dns: the DNS resolver does not answer"), "{complaint}");
        assert_eq!(greylag.metrics().sum("greylag_dns_up", &[]), 0.0);

        // The breaker is open: names not asked for yet are unknown at once.
        assert!(
            policy_mail(&greylag, "1.2", "other.example").await.iter().all(|told| told == "DUNNO"),
            "{dns}"
        );
        assert!(
            milter_mail(&greylag, "third.example").await.iter().all(|told| *told == Reply::Continue),
            "{dns}"
        );
        for helo in ["other.example", "third.example"] {
            let not_asked = ["stage=rcpt", &format!("helo={helo}"), "helo_dns=\"the DNS is not answering\""];
            assert_eq!(greylag.log_lines(&not_asked).len(), 100, "{dns} {helo}");
        }
        assert_unknown(&greylag, 300);
    }
}
