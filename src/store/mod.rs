//! The greylist's memory: one trait, one pure model of its behaviour, several stores.
//!
//! [`model`] decides; the stores only hold records and apply the writes it returns, so that all of them behave alike.
//! Records carry their own expiry, and the time is an argument: no store reads a clock.

mod attempt;
mod clocks;
mod embedded;
mod fault;
mod key;
mod memory;
pub mod model;
mod redis;
mod table;
mod timestamp;
mod url;

use std::fmt::Debug;
use std::future::{Ready, ready};
use std::pin::Pin;

use tokio_util::either::Either;

pub use attempt::{
    Answer, Attempt, Held, Identity, IdentityError, IdentityKind, KnownBy, Promotion, Query, Release,
    ReleaseOf, Rules, cap_network,
};
pub use embedded::EmbeddedStore;
pub use fault::StoreFault;
pub use key::{AttemptKeys, HashKey, IdentityKey, Key, KeysUnder, MAX_IDENTITIES, NetworkKey, QueryKeys};
pub use memory::MemoryStore;
pub use redis::{ACL_RULES, RedisFault, RedisStore, RedisUrl, RedisUrlError};
pub(crate) use redis::{HIDDEN, password_in, without_password};
pub use timestamp::Timestamp;
pub use url::{StoreUrl, StoreUrlError};

/// A store's answer: at hand, or some time later.
pub type StoreFuture<'a, T> =
    Either<Ready<Result<T, StoreFault>>, Pin<Box<dyn Future<Output = Result<T, StoreFault>> + Send + 'a>>>;

fn at_hand<'a, T>(answer: Result<T, StoreFault>) -> StoreFuture<'a, T> {
    Either::Left(ready(answer))
}

fn later<'a, T>(answer: impl Future<Output = Result<T, StoreFault>> + Send + 'a) -> StoreFuture<'a, T> {
    Either::Right(Box::pin(answer))
}

/// Where the greylist is kept.
pub trait Store: Send + Sync + Debug {
    /// Records an attempt made at `now` and says what the greylist thinks of it. What was answered is not forgotten when the
    /// process is killed, unless the store lives in memory only.
    fn attempt<'a>(&'a self, attempt: &'a Attempt, now: Timestamp) -> StoreFuture<'a, Answer>;

    /// What [`Self::attempt`] would answer; records nothing.
    fn peek<'a>(&'a self, attempt: &'a Attempt, now: Timestamp) -> StoreFuture<'a, Answer>;

    /// How long `attempt`, which was just answered as that of a known sender, is answered so again without a record being written:
    /// so long it need not be asked. `None` where that is not certain.
    fn lasting(&self, _attempt: &Attempt, _now: Timestamp) -> Option<Lasting> {
        None
    }

    /// How often something was forgotten that [`Self::lasting`] was said of. `None` where nothing can be said of it, as somebody else
    /// writes to the store, too.
    fn removals(&self) -> Option<u64> {
        None
    }

    /// Records that an attempt made at `made` has further identities, those of `attempt`, whose look-up came too late: their clocks
    /// run from then on. Earlier ones stay.
    fn add_identities<'a>(&'a self, attempt: &'a Attempt, made: Timestamp) -> StoreFuture<'a, ()>;

    /// Lets mail pass by a rule. Every Greylag on the store knows of it within 5 s.
    fn release<'a>(&'a self, release: &'a Release, now: Timestamp) -> StoreFuture<'a, ()>;

    /// What is held about all that `query` has, expired or not, in no particular order. The standing of an identity is shown
    /// when it alone is asked for. May look at every record.
    fn show<'a>(&'a self, query: &'a Query) -> StoreFuture<'a, Vec<Held>>;

    /// Forgets what [`Self::show`] would show, and says how many records that were.
    fn forget<'a>(&'a self, query: &'a Query) -> StoreFuture<'a, u64>;

    /// How much is held.
    fn stats(&self) -> StoreFuture<'_, Stats>;

    /// Writes everything out, for shutdown. No attempt may follow: a store on disk fails it.
    fn close(&self) -> StoreFuture<'_, ()>;
}

/// How long an answer holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lasting {
    /// The last moment at which it does.
    pub until: Timestamp,
    /// [`Store::removals`] as it was: once it is another, the answer does not hold.
    pub removals: u64,
}

/// How much a store holds. Expired records count until they are swept away.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Records of triplets that wait for their retry.
    pub unproven: u64,
    /// Records of proven pairs and triplets; on disk, those renewed within the last seconds count twice.
    pub proven: u64,
    /// Identities that are promoted, or on their way.
    pub standings: u64,
    /// Rules of release.
    pub releases: u64,
}
