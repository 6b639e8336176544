//! Decisions on a Cluster, whose records lie in several slots: one round trip.
//!
//! The slot of the sender has the proofs and the clocks; one script reads and writes them, as if the account of the network had room. In
//! the same flush other slots are asked for what the rest of the decision needs, unless it is known from less than a minute ago
//! ([`Recent`]): how full the account is, the standings, the releases. By all that [`model`] decides. What counts only is written
//! after the answer ([`Behind`]): the account, standings, and clocks that end because there was no room for them.

use std::pin::pin;
use std::time::Duration;

use redis::{RedisError, cmd};
use tokio::time::timeout;

use super::behind::{Behind, Work};
use super::dial::Connection;
use super::names;
use super::question::{At, Question, millis, nonsense};
use super::recent::Recent;
use super::script::{Script, lua};
use super::standing;
use crate::store::model::{self, MAX_SWEPT, Proofs, Proven, Records, Standing, Standings, Write};
use crate::store::{
    Answer, IdentityKey, IdentityKind, Key, MAX_IDENTITIES, NetworkKey, StoreFault, Timestamp,
};

static CLOCKS: Script = lua!("common", "proofs", "part_known", "clocks", "write", "part_clocks");
static ADD: Script = lua!("common", "proofs", "clocks", "add", "part_add");
static LOOK: Script = lua!("part_look");
static ACCOUNT: Script = lua!("common", "append", "part_account");
static STANDING: Script = lua!("common", "standing", "part_standing");
static RENEW: Script = lua!("common", "standing", "part_renew");
static END: Script = lua!("part_end");

/// Longest time to have all masters know a script.
const LESSON_TIMEOUT: Duration = Duration::from_millis(100);

/// Has every master know the scripts. One that does not, as it was no master yet or could not be reached, learns each when it first
/// meets it, which takes a second round trip.
pub(super) async fn teach(connection: &Connection) {
    let learn = [&CLOCKS, &ADD, &LOOK, &ACCOUNT, &STANDING, &RENEW, &END]
        .map(|script| connection.query_all_masters(script.lesson()));
    for lesson in learn {
        let _ = timeout(LESSON_TIMEOUT, lesson).await;
    }
}

/// Expired records stay for so many milliseconds, as `lua/common.lua` has it.
const SLACK: u64 = 3_600_000;

/// A clock in the account of its network: its key, and when it began.
type Entry = Vec<u8>;

/// A Cluster, and what this process has of it beside.
#[derive(Clone, Copy)]
pub(super) struct Cluster<'a> {
    pub(super) connection: &'a Connection,
    pub(super) recent: &'a Recent,
    pub(super) behind: &'a Behind,
}

impl Cluster<'_> {
    pub(super) async fn decide(
        self,
        question: &Question<'_>,
        at: At,
        record: bool,
    ) -> Result<Answer, RedisError> {
        let (keys, arguments) = (keys_of_sender(question), question.arguments(at, record));
        let mut clocks = pin!(CLOCKS.run::<Reply>(self.connection, &keys, &arguments));
        let mut looks = pin!(self.look_around(question));
        let mut looked = None;
        // The clocks first, so that they are sent first; who is known waits for nothing else.
        let found = loop {
            tokio::select! {
                biased;
                reply = &mut clocks => break Found::read(reply?, question)?,
                around = &mut looks, if looked.is_none() => looked = Some(around),
            }
        };
        let found = match found {
            Found::Known { now, answer, renewed } => {
                self.renew_standings(question, now, &renewed).await;
                return Ok(answer);
            }
            Found::Clocks(found) => found,
        };
        let around = match looked {
            Some(around) => around?,
            None => looks.await?,
        };
        let snapshot = Snapshot { question, clocks: &found, around: &around };
        let Question { attempt, hash_key, keys, .. } = question;
        let decision = model::decide(attempt, hash_key, keys, found.now, &snapshot);
        let decision = decision.map_err(|fault| nonsense(&fault.to_string()))?;
        if record {
            self.settle(question, &found, &around, &decision.writes).await?;
        }
        Ok(decision.answer)
    }

    pub(super) async fn add_identities(self, question: &Question<'_>, at: At) -> Result<(), RedisError> {
        let (keys, arguments) = (keys_of_sender(question), question.arguments(at, true));
        let add = ADD.run::<Reply>(self.connection, &keys, &arguments);
        let (reply, account) = tokio::join!(add, self.look_at_account(question));
        let found = Clocks::read(reply?, question)?;
        let around = Around { account: account?, standings: [None; 2], releases: Vec::new() };
        let snapshot = Snapshot { question, clocks: &found, around: &around };
        let Question { attempt, hash_key, keys, .. } = question;
        let writes = model::add_identities(attempt, hash_key, keys, found.now, &snapshot);
        let writes = writes.map_err(|fault| nonsense(&fault.to_string()))?;
        self.settle(question, &found, &around, &writes).await
    }

    /// What the slots of others have.
    async fn look_around(self, question: &Question<'_>) -> Result<Around, RedisError> {
        let [spf, others] = question.standings;
        let (account, spf, others, releases) = tokio::join!(
            self.look_at_account(question),
            self.look_at_standing(spf),
            self.look_at_standing(others),
            self.look_for_releases(question)
        );
        Ok(Around { account: account?, standings: [spf?, others?], releases: releases? })
    }

    async fn look_at_account(self, question: &Question<'_>) -> Result<Account, RedisError> {
        let cap = question.attempt.rules.network_cap;
        let has_room = |running: u32| running.saturating_add(MAX_IDENTITIES as u32) <= cap;
        if let Some(running) = self.recent.running(question.network).filter(|running| has_room(*running)) {
            return Ok(Account { running, oldest: Vec::new(), capped: None });
        }
        let keys = [question.account_key(), question.capped_key()];
        let enough = cap.saturating_sub(MAX_IDENTITIES as u32).to_string();
        let most = (MAX_SWEPT + MAX_IDENTITIES).to_string();
        let reply: (u32, Vec<Entry>, Vec<u8>) =
            LOOK.run(self.connection, &keys, &[enough.into(), most.into()]).await?;
        let (running, oldest, capped) = reply;
        self.recent.note_running(question.network, running);
        let oldest = oldest.iter().map(|entry| read_entry(entry)).collect::<Result<_, _>>()?;
        Ok(Account { running, oldest, capped: names::first_number(&capped) })
    }

    async fn look_at_standing(
        self,
        identity: Option<IdentityKey>,
    ) -> Result<Option<(IdentityKey, Option<Standing>)>, RedisError> {
        let Some(identity) = identity else { return Ok(None) };
        if let Some(standing) = self.recent.standing(&identity) {
            return Ok(Some((identity, standing)));
        }
        let text: Option<String> = self.connection.query(cmd("GET").arg(names::standing(&identity))).await?;
        let standing = text.as_deref().and_then(standing::read);
        self.recent.note_standing(identity, standing);
        Ok(Some((identity, standing)))
    }

    async fn look_for_releases(self, question: &Question<'_>) -> Result<Vec<Option<u64>>, RedisError> {
        self.connection.query(cmd("MGET").arg(question.release_keys())).await
    }

    /// Renews the standings beside the proofs of the identities with these letters.
    async fn renew_standings(self, question: &Question<'_>, now: Timestamp, renewed: &str) {
        let standings = question.standings;
        let kinds = standings.iter().zip(["s", "o"]).filter(|(_, letter)| renewed.contains(letter));
        let work = kinds.filter_map(|(identity, _)| {
            let identity = (*identity)?;
            self.recent.forget_standing(&identity);
            let arguments = question.arguments(At::Given(now), true);
            Some(Work::Script(&RENEW, names::standing(&identity), arguments))
        });
        self.behind.send(self.connection, work.collect()).await;
    }

    /// Brings everything up to date after what the slot of the sender has already. Only the clock of a network over its cap is waited
    /// for, as it is what the client was told.
    async fn settle(
        self,
        question: &Question<'_>,
        found: &Clocks,
        around: &Around,
        writes: &[Write],
    ) -> Result<(), RedisError> {
        let arguments = || question.arguments(At::Given(found.now), true);
        let begins = |write: &Write| matches!(write, Write::Begin(_, clock) if clock.network.is_some());
        let has_room = writes.iter().any(begins) || found.come.is_empty();
        let leaving = around.account.oldest.iter().filter(|(key, _)| writes.contains(&Write::End(*key)));
        let leaving: Vec<Entry> = leaving.map(|(key, began)| entry(key, *began)).collect();
        let come = if has_room { &found.come[..] } else { &[] };

        let mut work = Vec::new();
        if !leaving.is_empty() || !come.is_empty() {
            let mut arguments = arguments();
            arguments.push(leaving.len().to_string().into());
            arguments.extend(leaving.iter().chain(come).cloned());
            work.push(Work::Script(&ACCOUNT, question.account_key(), arguments));
            self.recent.add_running(question.network, come.len());
        }
        for entry in &leaving {
            work.push(end(entry)?);
        }
        for pair in found.leave.chunks_exact(2) {
            let [network, entry] = pair else { continue };
            let was_begun_anew =
                found.come.iter().any(|begun| begun.first_chunk::<16>() == entry.first_chunk());
            // What was swept out of the full account stays ended.
            work.push(match was_begun_anew && !has_room && !leaving.contains(entry) {
                true => restore(question, network, entry)?,
                false => Work::Command(cmd("ZREM").arg(names::account(network)).arg(entry).to_owned()),
            });
        }
        if !has_room {
            for entry in &found.come {
                work.push(end(entry)?);
            }
        }
        let counts = !question.attempt.mail_counted;
        let is_first = counts && found.is_first(question) && writes.iter().any(begins);
        for write in writes {
            match *write {
                Write::Stand(identity, standing) => {
                    self.recent.note_standing(identity, standing);
                    let is_spf = question.standings.first() == Some(&Some(identity));
                    let mut arguments = arguments();
                    arguments.extend(
                        [found.has_matured(question, is_spf), is_first]
                            .map(|it| Vec::from(if it { b"1" } else { b"0" })),
                    );
                    work.push(Work::Script(&STANDING, names::standing(&identity), arguments));
                }
                Write::Begin(_, clock) if clock.network.is_none() => {
                    let value = format!("{} ", clock.first_seen.as_millis());
                    let mut set = cmd("SET");
                    set.arg(question.capped_key()).arg(value).arg("PX").arg(millis(clock.lasts) + SLACK);
                    self.connection.query::<()>(&set).await?;
                }
                _ => {}
            }
        }
        self.behind.send(self.connection, work).await;
        Ok(())
    }
}

/// The keys in the slot of the sender; one at least, as a script without does nothing.
fn keys_of_sender(question: &Question<'_>) -> Vec<Vec<u8>> {
    let keys = question.clock_keys();
    if keys.is_empty() { vec![question.account_key()] } else { keys }
}

/// Puts a clock back that was begun anew where there was no room for that.
fn restore(question: &Question<'_>, network: &[u8], entry: &[u8]) -> Result<Work, RedisError> {
    let (key, began) = read_entry(entry)?;
    let value = [format!("{} ", began.as_millis()).as_bytes(), network].concat();
    let lasts = 2 * millis(question.attempt.rules.retry_window);
    let mut set = cmd("SET");
    set.arg(names::clock(&key)).arg(value).arg("PX").arg(lasts.max(1));
    Ok(Work::Command(set))
}

/// Ends the clock of an entry, unless it was begun at another time since.
fn end(entry: &[u8]) -> Result<Work, RedisError> {
    let (key, began) = read_entry(entry)?;
    Ok(Work::Script(&END, names::clock(&key), vec![began.as_millis().to_string().into()]))
}

/// The clock of an entry, and when it began.
fn read_entry(entry: &[u8]) -> Result<(Key, Timestamp), RedisError> {
    let (key, began) = entry.split_first_chunk::<16>().ok_or_else(|| nonsense("an entry of an account"))?;
    let began = began.iter().fold(0, |began, byte| (began << 8) | u64::from(*byte));
    Ok((Key::from_bytes(*key), Timestamp::from_millis(began)))
}

fn entry(key: &Key, began: Timestamp) -> Entry {
    let began = began.as_millis().to_be_bytes();
    [key.as_bytes(), began.get(2..).unwrap_or_default()].concat()
}

/// The time; by what and as which identity somebody is known; letters; when the clocks began; what leaves accounts, as network and
/// entry by turns, and what comes.
type Reply = (String, String, String, String, Vec<String>, Vec<Vec<u8>>, Vec<Entry>);

/// What was found in the slot of the sender.
enum Found {
    Known { now: Timestamp, answer: Answer, renewed: String },
    Clocks(Clocks),
}

impl Found {
    fn read(reply: Reply, question: &Question<'_>) -> Result<Self, RedisError> {
        let (now, by, place, renewed, ..) = &reply;
        if by.is_empty() {
            return Clocks::read(reply, question).map(Self::Clocks);
        }
        let answer = question.answer(by, place, "")?;
        Ok(Self::Known { now: timestamp(now)?, answer, renewed: renewed.clone() })
    }
}

/// The clocks of an attempt, and what became of them as if there were room.
struct Clocks {
    now: Timestamp,
    /// Of each triplet, when its clock began before this attempt.
    began: Vec<(Key, Option<Timestamp>)>,
    /// Triplets that are proven, where that is told.
    proven: Vec<Key>,
    leave: Vec<Vec<u8>>,
    come: Vec<Entry>,
}

impl Clocks {
    fn read(reply: Reply, question: &Question<'_>) -> Result<Self, RedisError> {
        let (now, _, _, proven, began, leave, come) = reply;
        let triplets = || question.keys.identities().map(|under| under.triplet);
        let began = triplets().zip(began).map(|(key, began)| match began.as_str() {
            "" => Ok((key, None)),
            began => timestamp(began).map(|began| (key, Some(began))),
        });
        let proven = triplets().zip(proven.chars()).filter(|(_, flag)| *flag == '1');
        Ok(Self {
            now: timestamp(&now)?,
            began: began.collect::<Result<_, RedisError>>()?,
            proven: proven.map(|(key, _)| key).collect(),
            leave,
            come,
        })
    }

    /// Whether none of the clocks runs.
    fn is_first(&self, question: &Question<'_>) -> bool {
        !self.began.iter().filter_map(|(_, began)| *began).any(|began| self.runs(question, began))
    }

    /// Whether a clock matured of the SPF domain, or of another identity.
    fn has_matured(&self, question: &Question<'_>, of_spf: bool) -> bool {
        let is_mature = |began: Timestamp| {
            let rules = &question.attempt.rules;
            self.runs(question, began) && began <= self.now && self.now.since(began) >= rules.min_delay
        };
        let mut clocks = question.keys.identities().zip(&self.began);
        clocks.any(|(under, (_, began))| {
            (under.kind == IdentityKind::Spf) == of_spf && began.is_some_and(is_mature)
        })
    }

    fn runs(&self, question: &Question<'_>, began: Timestamp) -> bool {
        self.now.since(began) <= question.attempt.rules.retry_window
    }
}

/// What was found in the slots of others.
struct Around {
    account: Account,
    standings: [Option<(IdentityKey, Option<Standing>)>; 2],
    /// When the releases expire, in the order of the question.
    releases: Vec<Option<u64>>,
}

/// The account of a network; all but how full it is only where it may be too full.
struct Account {
    running: u32,
    oldest: Vec<(Key, Timestamp)>,
    capped: Option<Timestamp>,
}

/// All that was found, for the model.
struct Snapshot<'a> {
    question: &'a Question<'a>,
    clocks: &'a Clocks,
    around: &'a Around,
}

impl Proofs for Snapshot<'_> {
    fn proven(&self, key: &Key) -> Result<Option<Proven>, StoreFault> {
        const FOREVER: Timestamp = Timestamp::from_millis(u64::MAX);
        Ok(self.clocks.proven.contains(key).then_some(Proven { expires: FOREVER }))
    }
}

impl Standings for Snapshot<'_> {
    fn standing(&self, identity: &IdentityKey) -> Result<Option<Standing>, StoreFault> {
        let found = self.around.standings.iter().flatten().find(|(of, _)| of == identity);
        Ok(found.and_then(|(_, standing)| *standing))
    }
}

impl Records for Snapshot<'_> {
    fn clock(&self, triplet: &Key) -> Result<Option<Timestamp>, StoreFault> {
        if *triplet == self.question.capped() {
            return Ok(self.around.account.capped);
        }
        Ok(self.clocks.began.iter().find(|(key, _)| key == triplet).and_then(|(_, began)| *began))
    }

    fn running(&self, _: NetworkKey) -> Result<u32, StoreFault> {
        Ok(self.around.account.running)
    }

    fn oldest(&self, _: NetworkKey) -> impl Iterator<Item = (Key, Timestamp)> {
        self.around.account.oldest.iter().copied()
    }

    fn release(&self, key: &Key) -> Result<Option<Timestamp>, StoreFault> {
        let found = self.question.releases().zip(&self.around.releases).find(|(release, _)| release == key);
        Ok(found.and_then(|(_, expires)| *expires).map(Timestamp::from_millis))
    }
}

fn timestamp(text: &str) -> Result<Timestamp, RedisError> {
    text.parse().map(Timestamp::from_millis).map_err(|_| nonsense(text))
}
