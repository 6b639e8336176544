//! The whole of it: a real Postfix, hooked up as `deploy/postfix/` says, asks the real `greylag serve`, which asks a real DNS server.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

#[path = "../support/mod.rs"]
mod support;

mod attachments;
mod auth;
mod both_hooks;
mod content;
mod delivery;
mod documented;
mod failures;
mod greylisting;
mod helo;
mod hostile_input;
mod identities;
mod mixed;
mod monitor;
mod negotiation;
mod paths;
mod recipients;
mod scopes;
mod standing;
mod tags;

use support::dns::{Dns, HELO};
use support::greylag::{Greylag, Setup, Store};
use support::postfix::{HookUp, Postfix};
use support::sink::Sink;
use support::smtp::Smtp;

/// Greylisting that a test can wait for.
const GREYLIST_2S: (&str, &str) = ("greylist.toml", "min_delay = \"2s\"\n");
/// No greylisting, for what is not about it.
const NO_GREYLIST: (&str, &str) = ("greylist.toml", "mode = \"off\"\n");

const SENDER: &str = "alice@sender.example";
const RECIPIENT: &str = "bob@example.test";
/// A client of another network, so that no exemption applies.
const CLIENT: &str = "198.51.100.10";

/// A mail exchanger with Greylag, and what is around it.
struct Site {
    postfix: Postfix,
    greylag: Greylag,
    sink: Sink,
    _dns: Dns,
}

impl Site {
    fn start(hook_up: HookUp, policies: &[(&str, &str)]) -> Self {
        Self::start_with(hook_up, policies, Store::Memory)
    }

    fn start_with(hook_up: HookUp, policies: &[(&str, &str)], store: Store<'_>) -> Self {
        let dns = Dns::start();
        let greylag = Greylag::start(Setup { policies, store, dns: Some(dns.address()), ..Setup::default() });
        let sink = Sink::start();
        let postfix = Postfix::start(hook_up, greylag.ports(), &sink);
        Self { postfix, greylag, sink, _dns: dns }
    }

    /// A session of [`CLIENT`] that has greeted with a name that exists.
    fn connect(&self) -> Smtp {
        Smtp::connect_as(self.postfix.port(), CLIENT, HELO)
    }
}

/// Panics unless Postfix has taken the message.
fn assert_queued(reply: &str) {
    assert!(reply.starts_with("250 2.0.0 Ok: queued as "), "{reply}");
}
