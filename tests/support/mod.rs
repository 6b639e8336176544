//! What the integration tests are made of: real servers in temporary directories on free loopback ports, and small clients for them.

#![allow(dead_code, unreachable_pub, reason = "each test program uses its own part of it")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

pub mod auth;
pub mod dkim;
pub mod dns;
pub mod greylag;
pub mod load;
pub mod mail;
pub mod metrics;
pub mod milter;
pub mod odd_dns;
pub mod policy;
pub mod postfix;
pub mod process;
pub mod redis;
pub mod sendmail;
pub mod sink;
pub mod smtp;
pub mod tap;

use std::collections::BTreeMap;
use std::sync::Arc;

use ::greylag::dns::Zone;
use ::greylag::driver::{Driver, Scanner};
use ::greylag::policy::Policy;
use ::greylag::reason::Check;
use ::greylag::store::MemoryStore;

/// A driver that accepts everything.
pub fn accepting_driver() -> Arc<Driver> {
    driver_with_checks_off("")
}

/// The same, but for these scopes.
pub fn driver_with_checks_off(exceptions: &str) -> Arc<Driver> {
    // Off for everybody by scopes, so that what is negotiated is what the shipped policies need.
    let off: String = Check::ALL.map(|check| format!("set.{}.mode = \"off\"\n", check.name())).concat();
    let scope = |tls: bool| format!("[[scope]]\nname = \"tls {tls}\"\ntls = {tls}\n{off}");
    driver_of([("scopes.toml".to_owned(), scope(true) + &scope(false) + exceptions)].into())
}

/// A driver with these policy files, whose DNS knows nothing.
pub fn driver_of(files: BTreeMap<String, String>) -> Arc<Driver> {
    let (policy, _) = Policy::load(&files).expect("a policy");
    let store = MemoryStore::new(1_000).expect("a store in memory");
    Arc::new(Driver::new(policy, Arc::new(Zone::default()), Arc::new(store), Scanner::new(1)))
}
