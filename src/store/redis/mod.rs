//! A greylist in Redis (or Valkey), shared by any number of mail hosts.
//!
//! A decision is one Lua script, and so one round trip and one step for all that ask; [`names`] tells what stands in the store. The
//! scripts in `lua/` do what [`super::model`] says; random histories over real servers compare them with it. On a Cluster, whose
//! records lie in several slots, a script in the slot of the sender does a part of it, and the model itself the rest ([`cluster`]).
//! [`keeper`] looks after the connection.

mod behind;
mod cluster;
mod dial;
mod fault;
mod info;
mod keeper;
mod layout;
mod names;
mod question;
mod recent;
mod scan;
mod script;
mod secret;
mod server;
mod standing;
mod turns;
mod url;

use std::time::{Duration, SystemTime};

use redis::RedisError;

pub use self::fault::{ACL_RULES, RedisFault};
pub(crate) use self::url::{HIDDEN, password_in, without_password};
pub use self::url::{RedisUrl, RedisUrlError};

use self::behind::Behind;
use self::cluster::Cluster;
use self::dial::{Connection, Endpoint, RESPONSE_TIMEOUT};
use self::keeper::{ANSWER_WITHIN, Keeper, Link, OnChange, Operation};
use self::question::{At, Question, millis, millis_of};
use self::recent::Recent;
use self::script::{Script, lua};
use super::attempt::{Answer, Attempt, Held, Query, Release};
use super::key::HashKey;
use super::timestamp::Timestamp;
use super::{Stats, Store, StoreFault, StoreFuture, later};

/// Longest time for what looks at every record.
const LEISURE: Duration = Duration::from_secs(60);

static RELEASE: Script = lua!("release");

/// A greylist in Redis.
#[derive(Debug)]
pub struct RedisStore {
    keeper: Keeper,
    recent: Recent,
    behind: Behind,
    obeys_given_times: bool,
}

impl RedisStore {
    /// Connects, in the runtime of the caller. `on_change` is told whether the store answers: once now, then at each change.
    ///
    /// # Errors
    ///
    /// What a human has to change first. A store that cannot be reached is no error: it is waited for.
    pub async fn open(url: RedisUrl, on_change: OnChange) -> Result<Self, StoreFault> {
        let endpoint = Endpoint::new(url, RESPONSE_TIMEOUT, |variable| std::env::var(variable).ok())?;
        let keeper = Keeper::start(endpoint, HashKey::random()?, ANSWER_WITHIN, on_change).await?;
        Ok(Self::over(keeper, false))
    }

    /// Connects for a test: the store takes the times that callers give, instead of the clock of the server that all hosts share, and
    /// has long to answer, as no mail waits.
    ///
    /// # Errors
    ///
    /// As [`Self::open`].
    pub async fn open_with_given_times(url: RedisUrl) -> Result<Self, StoreFault> {
        const PATIENCE: Duration = Duration::from_secs(20);
        let endpoint = Endpoint::new(url, PATIENCE, |variable| std::env::var(variable).ok())?;
        let keeper = Keeper::start(endpoint, HashKey::random()?, PATIENCE, Box::new(|_| {})).await?;
        Ok(Self::over(keeper, true))
    }

    fn over(keeper: Keeper, obeys_given_times: bool) -> Self {
        Self { keeper, recent: Recent::new(), behind: Behind::new(), obeys_given_times }
    }

    const fn cluster<'a>(&'a self, connection: &'a Connection) -> Cluster<'a> {
        Cluster { connection, recent: &self.recent, behind: &self.behind }
    }

    fn at(&self, time: Timestamp, is_now: bool) -> At {
        match (self.obeys_given_times, is_now) {
            (true, _) => At::Given(time),
            (false, true) => At::Ago(Duration::ZERO),
            (false, false) => At::Ago(Timestamp::from(SystemTime::now()).since(time)),
        }
    }
}

impl Store for RedisStore {
    fn attempt<'a>(&'a self, attempt: &'a Attempt, now: Timestamp) -> StoreFuture<'a, Answer> {
        let decide = Decide { store: self, attempt, at: self.at(now, true), record: true };
        later(async move { Ok(self.keeper.run(decide).await?) })
    }

    fn peek<'a>(&'a self, attempt: &'a Attempt, now: Timestamp) -> StoreFuture<'a, Answer> {
        let decide = Decide { store: self, attempt, at: self.at(now, true), record: false };
        later(async move { Ok(self.keeper.run(decide).await?) })
    }

    fn add_identities<'a>(&'a self, attempt: &'a Attempt, made: Timestamp) -> StoreFuture<'a, ()> {
        let add = AddIdentities { store: self, attempt, at: self.at(made, false) };
        later(async move { Ok(self.keeper.run(add).await?) })
    }

    fn release<'a>(&'a self, release: &'a Release, now: Timestamp) -> StoreFuture<'a, ()> {
        let since = if self.obeys_given_times { millis_of(now).to_string() } else { String::new() };
        let lasts = millis(release.expires.since(now)).to_string();
        let let_pass = LetPass { release, arguments: [since.into(), lasts.into()] };
        later(async move { Ok(self.keeper.run(let_pass).await?) })
    }

    fn show<'a>(&'a self, query: &'a Query) -> StoreFuture<'a, Vec<Held>> {
        later(async move {
            self.behind.wait().await;
            Ok(self.keeper.run_at_leisure(LEISURE, Show(query)).await?)
        })
    }

    fn forget<'a>(&'a self, query: &'a Query) -> StoreFuture<'a, u64> {
        later(async move {
            self.behind.wait().await;
            let forgotten = self.keeper.run_at_leisure(LEISURE, Forget(query)).await;
            self.recent.forget_all();
            Ok(forgotten?)
        })
    }

    fn stats(&self) -> StoreFuture<'_, Stats> {
        later(async {
            self.behind.wait().await;
            Ok(self.keeper.run_at_leisure(LEISURE, Count).await?)
        })
    }

    /// What was answered is in the store; counts may be on their way.
    fn close(&self) -> StoreFuture<'_, ()> {
        later(async {
            self.behind.wait().await;
            Ok(())
        })
    }
}

struct Decide<'a> {
    store: &'a RedisStore,
    attempt: &'a Attempt,
    at: At,
    record: bool,
}

impl Operation for Decide<'_> {
    type Answer = Answer;

    async fn run(&self, Link { connection, hash_key, .. }: &Link) -> Result<Answer, RedisError> {
        let question = Question::new(self.attempt, *hash_key);
        match connection {
            Connection::Server(_) => server::decide(connection, &question, self.at, self.record).await,
            Connection::Cluster(_) => {
                self.store.cluster(connection).decide(&question, self.at, self.record).await
            }
        }
    }
}

struct AddIdentities<'a> {
    store: &'a RedisStore,
    attempt: &'a Attempt,
    at: At,
}

impl Operation for AddIdentities<'_> {
    type Answer = ();

    async fn run(&self, Link { connection, hash_key, .. }: &Link) -> Result<(), RedisError> {
        let question = Question::new(self.attempt, *hash_key);
        match connection {
            Connection::Server(_) => server::add_identities(connection, &question, self.at).await,
            Connection::Cluster(_) => self.store.cluster(connection).add_identities(&question, self.at).await,
        }
    }
}

struct LetPass<'a> {
    release: &'a Release,
    arguments: [Vec<u8>; 2],
}

impl Operation for LetPass<'_> {
    type Answer = ();

    async fn run(&self, link: &Link) -> Result<(), RedisError> {
        let key = names::release(&link.hash_key.release(self.release));
        RELEASE.run(&link.connection, &[key], &self.arguments).await
    }
}

struct Show<'a>(&'a Query);

impl Operation for Show<'_> {
    type Answer = Vec<Held>;

    async fn run(&self, link: &Link) -> Result<Vec<Held>, RedisError> {
        scan::show(&link.connection, &link.hash_key.query(self.0)).await
    }
}

struct Forget<'a>(&'a Query);

impl Operation for Forget<'_> {
    type Answer = u64;

    async fn run(&self, link: &Link) -> Result<u64, RedisError> {
        scan::forget(&link.connection, &link.hash_key.query(self.0)).await
    }
}

struct Count;

impl Operation for Count {
    type Answer = Stats;

    async fn run(&self, link: &Link) -> Result<Stats, RedisError> {
        scan::stats(&link.connection).await
    }
}
