//! The policy delegation service against the client side of Postfix smtpd.

#![allow(clippy::expect_used, reason = "a test fails by panicking")]

mod support;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use greylag::delegation::{Limits, MAX_ATTRIBUTES, serve};
use greylag::listener::Listener;
use support::policy::{PolicyClient, PolicyRequest};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

const SOON: Duration = Duration::from_secs(10);

struct Service {
    drain: CancellationToken,
    task: JoinHandle<()>,
}

fn start(listener: Listener, idle_timeout: Duration, connections: usize) -> Service {
    let limits = Limits { idle_timeout, connections: Arc::new(Semaphore::new(connections)) };
    let drain = CancellationToken::new();
    let driver = support::accepting_driver();
    let task = tokio::spawn(serve(listener, "policy".into(), driver, limits, drain.clone()));
    Service { drain, task }
}

async fn start_tcp(idle_timeout: Duration, connections: usize) -> (SocketAddr, Service) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind");
    let address = listener.local_addr().expect("address");
    (address, start(Listener::Tcp(listener), idle_timeout, connections))
}

async fn client() -> PolicyClient {
    let (address, _) = start_tcp(SOON, 100).await;
    PolicyClient::tcp(address).await
}

fn dunno() -> Option<String> {
    Some("DUNNO".to_owned())
}

#[tokio::test]
async fn a_kept_open_connection_answers_request_after_request() {
    let mut client = client().await;
    for mail in 0..50 {
        let instance = format!("3903.6b03b16e.f2bf9.{mail}");
        for recipient in ["bob@example.org", "carol@example.org"] {
            let request = PolicyRequest::rcpt(recipient).with("instance", &instance);
            assert_eq!(client.ask(&request).await, dunno());
        }
    }
}

#[tokio::test]
async fn a_unix_socket_is_served_like_tcp() {
    let directory = tempfile::tempdir().expect("directory");
    let path = directory.path().join("policy");
    let service = start(Listener::Unix(UnixListener::bind(&path).expect("bind")), SOON, 100);
    let mut client = PolicyClient::unix(&path).await;
    assert_eq!(client.ask(&PolicyRequest::at("RCPT")).await, dunno());
    assert_eq!(client.ask(&PolicyRequest::at("DATA")).await, dunno());
    service.drain.cancel();
    assert_eq!(client.reply().await, None);
    timeout(SOON, service.task).await.expect("drained").expect("no panic");
}

#[tokio::test]
async fn every_state_is_answered() {
    // smtpd_delay_reject = no, and the service in every restriction list.
    let before_mail = |state| PolicyRequest::at(state).with("instance", "").with("recipient", "");
    let mut client = client().await;
    for request in [
        before_mail("CONNECT").with("helo_name", "").with("sender", ""),
        before_mail("EHLO").with("protocol_name", "SMTP").with("sender", ""),
        before_mail("HELO").with("sender", ""),
        before_mail("VRFY").with("recipient", "bob").with("sender", ""),
        before_mail("ETRN").with("etrn_domain", "example.org").with("sender", ""),
        before_mail("MAIL").with("size", "99"),
        PolicyRequest::at("RCPT"),
        PolicyRequest::at("RCPT").with("queue_id", "F2DEA9A6504").with("sender", ""),
        PolicyRequest::at("DATA").with("recipient", "").with("recipient_count", "3"),
        PolicyRequest::at("END-OF-MESSAGE").with("recipient", "").with("recipient_count", "3"),
        PolicyRequest::at("SOMETHING-NEW"),
        PolicyRequest::at(""),
        PolicyRequest::at("RCPT").without("protocol_state"),
        PolicyRequest::at("RCPT").with("a_later_attribute", "x=y"),
    ] {
        assert_eq!(client.ask(&request).await, dunno(), "{request:?}");
    }
}

#[tokio::test]
async fn a_request_may_come_split_at_every_byte() {
    let mut client = client().await;
    let request = PolicyRequest::rcpt("bob@example.org").to_bytes();
    for at in 1..request.len() {
        client.send(&request[..at]).await.expect("open");
        tokio::task::yield_now().await;
        client.send(&request[at..]).await.expect("open");
        assert_eq!(client.reply().await, dunno(), "split at {at}");
    }
    for byte in &request {
        client.send(&[*byte]).await.expect("open");
    }
    assert_eq!(client.reply().await, dunno());
}

#[tokio::test]
async fn requests_sent_at_once_are_answered_in_order_even_before_a_bad_one() {
    let mut client = client().await;
    let mut bytes = PolicyRequest::rcpt("bob@example.org").to_bytes().repeat(20);
    bytes.extend_from_slice(b"nonsense\n");
    client.send(&bytes).await.expect("open");
    for _ in 0..20 {
        assert_eq!(client.reply().await, dunno());
    }
    assert_eq!(client.reply().await, None);
}

#[tokio::test]
async fn a_peer_that_breaks_the_protocol_is_closed_without_reply() {
    let (address, _service) = start_tcp(SOON, 100).await;
    let crlf = String::from_utf8(PolicyRequest::at("RCPT").to_bytes()).expect("UTF-8").replace('\n', "\r\n");
    let many = "x=y\n".repeat(MAX_ATTRIBUTES + 1);
    for bytes in [
        PolicyRequest::at("RCPT").without("request").to_bytes(),
        PolicyRequest::at("RCPT").with("request", "something_else").to_bytes(),
        PolicyRequest::at("RCPT").with("sender", "a\0b@example.test").to_bytes(),
        crlf.into_bytes(),
        many.into_bytes(),
        b"\n".to_vec(),
        b"EHLO mx.example.test\n".to_vec(),
        b"=x\n".to_vec(),
    ] {
        let mut client = PolicyClient::tcp(address).await;
        assert_eq!(client.ask(&PolicyRequest::at("RCPT")).await, dunno());
        client.send(&bytes).await.expect("open");
        assert_eq!(client.reply().await, None, "{}", String::from_utf8_lossy(&bytes));
    }
    // The others are none the worse for it.
    assert_eq!(PolicyClient::tcp(address).await.ask(&PolicyRequest::at("RCPT")).await, dunno());
}

#[tokio::test]
async fn an_endless_line_is_closed_and_takes_no_memory() {
    let mut client = client().await;
    let chunk = vec![b'x'; 64 * 1024];
    let before = peak_memory_kib();
    let mut sent = 0;
    while sent < 10 * 1024 * 1024 && client.send(&chunk).await.is_ok() {
        sent += chunk.len();
    }
    assert_eq!(client.reply().await, None);
    let grown = peak_memory_kib() - before;
    assert!(grown < 5 * 1024, "memory grew by {grown} KiB over {sent} bytes");
}

/// The highest resident memory of this process so far.
fn peak_memory_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("procfs");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("VmHWM");
    line.trim().trim_end_matches(" kB").parse().expect("a number")
}

#[tokio::test]
async fn an_idle_connection_is_closed() {
    let (address, _service) = start_tcp(Duration::from_millis(100), 100).await;
    let mut client = PolicyClient::tcp(address).await;
    assert_eq!(client.ask(&PolicyRequest::at("RCPT")).await, dunno());
    assert_eq!(client.reply().await, None);
}

#[tokio::test]
async fn connections_beyond_the_limit_wait_until_there_is_room() {
    let (address, _service) = start_tcp(SOON, 1).await;
    let mut first = PolicyClient::tcp(address).await;
    assert_eq!(first.ask(&PolicyRequest::at("RCPT")).await, dunno());
    let mut second = PolicyClient::tcp(address).await;
    let request = PolicyRequest::at("RCPT");
    let mut waiting = std::pin::pin!(second.ask(&request));
    assert!(timeout(Duration::from_millis(100), &mut waiting).await.is_err(), "there is no room yet");
    assert_eq!(first.ask(&PolicyRequest::at("RCPT")).await, dunno());
    drop(first);
    assert_eq!(timeout(SOON, waiting).await.expect("room for one again"), dunno());
}

#[tokio::test]
async fn draining_answers_what_is_there_and_closes_the_rest() {
    let (address, service) = start_tcp(SOON, 100).await;
    let mut idle = PolicyClient::tcp(address).await;
    assert_eq!(idle.ask(&PolicyRequest::at("RCPT")).await, dunno());
    let mut halfway = PolicyClient::tcp(address).await;
    assert_eq!(halfway.ask(&PolicyRequest::at("RCPT")).await, dunno());
    halfway.send(b"request=smtpd_access_policy\n").await.expect("open");
    service.drain.cancel();
    assert_eq!(idle.reply().await, None);
    assert_eq!(halfway.reply().await, None);
    timeout(SOON, service.task).await.expect("drained").expect("no panic");
    assert!(tokio::net::TcpStream::connect(address).await.is_err());
}
