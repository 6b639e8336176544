//! What the integration tests share.

#![allow(unreachable_pub, dead_code, reason = "every test binary has its own copy and uses a part of it")]
#![allow(clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

pub mod policy;

use std::sync::Arc;

use greylag::driver::Driver;

/// A driver that accepts everything.
pub fn accepting_driver() -> Arc<Driver> {
    Arc::new(Driver::default())
}
