//! A mail server behind a NAT shows one private client address only; the daemon says so.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod support;

use std::net::SocketAddr;

use support::greylag::{Greylag, Setup};
use support::milter::{Mta, OFFER, Reply};
use support::policy::{PolicyClient, PolicyRequest};
use support::process;

const GATEWAY: &str = "172.17.0.1";
const WARNING: &str = "1000 of the last 1000 SMTP connections came from 172.17.0.1, a private address";

fn start() -> Greylag {
    let nobody = process::loopback(process::free_port());
    Greylag::start(Setup { dns: Some(nobody), ..Setup::default() })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_sessions_of_one_private_address_are_warned_of_once() {
    let greylag = start();
    let mut client = PolicyClient::tcp(process::loopback(greylag.ports().policy)).await;
    // One connection of Postfix carries many sessions, and each session asks several times.
    for session in 0..1_200 {
        if session == 999 {
            assert_eq!(greylag.log_lines(&["a private address"]), [""; 0]);
        }
        for instance in ["a", "b"] {
            let request = PolicyRequest::at("MAIL")
                .with("client_address", GATEWAY)
                .with("client_port", &(20_000 + session).to_string())
                .with("instance", &format!("{session}.{instance}"));
            assert_eq!(client.ask(&request).await.as_deref(), Some("DUNNO"));
        }
    }
    process::eventually("warned", || !greylag.log_lines(&[WARNING]).is_empty());
    assert_eq!(greylag.log_lines(&["a private address"]).len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_milter_connection_counts_once() {
    let greylag = start();
    for session in 0..1_000 {
        assert_eq!(greylag.log_lines(&[WARNING]).len(), 0, "session {session}");
        let mut mta = Mta::tcp(process::loopback(greylag.ports().milter)).await;
        mta.negotiate(OFFER).await;
        assert_eq!(
            mta.connect("[172.17.0.1]", SocketAddr::new(GATEWAY.parse().unwrap(), 4242)).await,
            Reply::Continue
        );
        mta.quit().await;
    }
    process::eventually("warned", || greylag.log_lines(&[WARNING]).len() == 1);
}
