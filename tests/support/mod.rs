//! What the integration tests are made of: real servers in temporary directories on free loopback ports, and small clients for them.

#![allow(dead_code, unreachable_pub, reason = "each test program uses its own part of it")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

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

use std::sync::Arc;

use ::greylag::dns::Zone;
use ::greylag::driver::{Driver, Scanner};
use ::greylag::policy::Policy;
use ::greylag::reason::Check;
use ::greylag::store::MemoryStore;

/// A driver that accepts everything.
pub fn accepting_driver() -> Arc<Driver> {
    let off = Check::ALL.map(|check| (format!("{}.toml", check.name()), "mode = \"off\"".to_owned()));
    let (policy, _) = Policy::load(&off.into()).expect("every check can be switched off");
    let store = MemoryStore::new(1_000).expect("a store in memory");
    Arc::new(Driver::new(policy, Arc::new(Zone::default()), Arc::new(store), Scanner::new(1)))
}
