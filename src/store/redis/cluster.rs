//! Decisions on a Cluster, whose records lie in several slots: who is known is told by one round trip. Of the others the network's
//! account is asked next, then the standings and the releases, at the same time.

use redis::{RedisError, cmd};

use super::dial::Connection;
use super::names;
use super::question::{At, Question, millis, nonsense};
use super::script::{Script, lua};
use crate::store::{Answer, IdentityKind, Key, KnownBy, Timestamp};

static CLOCKS: Script = lua!("common", "clocks", "part_clocks");
static ADD: Script = lua!("common", "clocks", "part_add");
static ACCOUNT: Script = lua!("common", "account", "part_account");
static CAPPED: Script = lua!("common", "capped", "part_capped");
static STANDING: Script = lua!("common", "standing", "part_standing");
static END: Script = lua!("part_end");

/// A clock in the account of its network: its key, and when it began.
type Entry = Vec<u8>;

pub(super) async fn decide(
    connection: &Connection,
    question: &Question<'_>,
    at: At,
    record: bool,
) -> Result<Answer, RedisError> {
    let reply: redis::Value =
        CLOCKS.run(connection, &question.clock_keys(), &question.arguments(at, record)).await?;
    let found = match read_known(&reply) {
        Some((word, place)) => return question.answer(&word, &place, ""),
        None => Found::read(reply)?,
    };
    let at = At::Given(found.now);
    let mut word = found.answer.as_str();
    let mut value = found.value;
    let has_room = settle(connection, question, at, record, found.begins, found.changed).await?;
    if !has_room && found.earliest_of == "0" {
        word = "capped";
        value = CAPPED.run(connection, &[question.capped_key()], &question.arguments(at, record)).await?;
    }

    let is_first = word == "first";
    let [spf, address] = question.standings();
    let stand = async |identity: Option<crate::store::IdentityKey>, matured: bool| match identity {
        Some(identity) => {
            let mut arguments = question.arguments(at, record);
            arguments.extend([matured, is_first].map(|it| Vec::from(if it { b"1" } else { b"0" })));
            STANDING
                .run::<u8>(connection, &[names::standing(&identity)], &arguments)
                .await
                .map(|passes| passes == 1)
        }
        None => Ok(false),
    };
    let must_wait = word != "matured" && !value.is_empty();
    let (spf, address, released) =
        tokio::join!(stand(spf, found.matured_spf), stand(address, found.matured_other), async {
            if must_wait { is_released(connection, question, found.now).await } else { Ok(false) }
        },);
    let promoted = |identity| Answer::Known { by: KnownBy::Promotion, identity };
    match (spf?, address?, released?) {
        (true, _, _) => Ok(promoted(IdentityKind::Spf)),
        (_, true, _) => Ok(promoted(IdentityKind::Address)),
        (_, _, true) => Ok(Answer::Released),
        _ => question.answer(word, &value, &found.earliest_of),
    }
}

pub(super) async fn add_identities(
    connection: &Connection,
    question: &Question<'_>,
    at: At,
) -> Result<(), RedisError> {
    let reply: (String, u32, Vec<Vec<u8>>, Vec<Entry>) =
        ADD.run(connection, &question.clock_keys(), &question.arguments(at, true)).await?;
    let (now, begins, leave, come) = reply;
    let at = At::Given(timestamp(&now)?);
    settle(connection, question, at, true, begins, Changed { leave, come }).await.map(drop)
}

/// What the scripts of the sender's slot changed in the accounts of networks.
struct Changed {
    /// Networks and entries by turns.
    leave: Vec<Vec<u8>>,
    come: Vec<Entry>,
}

/// Brings the accounts up to date; whether that of the attempt's network has room for the clocks that began. If not, they are ended.
async fn settle(
    connection: &Connection,
    question: &Question<'_>,
    at: At,
    record: bool,
    begins: u32,
    changed: Changed,
) -> Result<bool, RedisError> {
    let Changed { leave, come } = changed;
    let (mut has_room, mut swept) = (true, Vec::new());
    if begins > 0 || !come.is_empty() {
        let mut arguments = question.arguments(at, record);
        arguments.push(begins.to_string().into());
        arguments.extend(come.iter().cloned());
        let reply: (u8, Vec<Entry>) = ACCOUNT.run(connection, &[question.account_key()], &arguments).await?;
        (has_room, swept) = (reply.0 == 1, reply.1);
        for entry in swept.iter().filter(|_| record) {
            end(connection, entry).await?;
        }
    }
    for pair in leave.chunks_exact(2) {
        let [network, entry] = pair else { continue };
        // What was swept out of the full account stays ended.
        let is_undone = !has_room
            && !swept.contains(entry)
            && come.iter().any(|begun| begun.first_chunk::<16>() == entry.first_chunk());
        if is_undone {
            restore(connection, question, network, entry).await?;
        } else {
            connection.query::<u64>(cmd("ZREM").arg(names::account(network)).arg(entry)).await?;
        }
    }
    for entry in come.iter().filter(|_| record && !has_room) {
        end(connection, entry).await?;
    }
    Ok(has_room)
}

/// Puts a clock back that was begun anew where there was no room for that.
async fn restore(
    connection: &Connection,
    question: &Question<'_>,
    network: &[u8],
    entry: &[u8],
) -> Result<(), RedisError> {
    let (key, began) = read_entry(entry)?;
    let value = [format!("{began} ").as_bytes(), network].concat();
    let lasts = 2 * millis(question.attempt.rules.retry_window);
    let mut set = cmd("SET");
    set.arg(names::clock(&key)).arg(value).arg("PX").arg(lasts.max(1));
    connection.query(&set).await
}

/// Ends the clock of an entry, unless it was begun at another time since.
async fn end(connection: &Connection, entry: &[u8]) -> Result<(), RedisError> {
    let (key, began) = read_entry(entry)?;
    END.run(connection, &[names::clock(&key)], &[began.to_string().into()]).await
}

/// The clock of an entry, and when it began.
fn read_entry(entry: &[u8]) -> Result<(Key, u64), RedisError> {
    let (key, began) = entry.split_first_chunk::<16>().ok_or_else(|| nonsense("an entry of an account"))?;
    Ok((Key::from_bytes(*key), began.iter().fold(0, |began, byte| (began << 8) | u64::from(*byte))))
}

async fn is_released(
    connection: &Connection,
    question: &Question<'_>,
    now: Timestamp,
) -> Result<bool, RedisError> {
    let found: Vec<Option<u64>> = connection.query(cmd("MGET").arg(question.release_keys())).await?;
    Ok(found.into_iter().flatten().any(|expires| now.as_millis() <= expires))
}

/// What was found in the slot of the sender.
struct Found {
    now: Timestamp,
    answer: String,
    value: String,
    /// The place of the identity with the earliest clock; 0 without any.
    earliest_of: String,
    begins: u32,
    matured_spf: bool,
    matured_other: bool,
    changed: Changed,
}

impl Found {
    fn read(reply: redis::Value) -> Result<Self, RedisError> {
        type Reply = (String, String, String, String, u32, u8, u8, Vec<Vec<u8>>, Vec<Entry>);
        let reply: Reply = redis::from_redis_value(reply)?;
        let (now, answer, value, earliest_of, begins, matured_spf, matured_other, leave, come) = reply;
        Ok(Self {
            now: timestamp(&now)?,
            answer,
            value,
            earliest_of,
            begins,
            matured_spf: matured_spf == 1,
            matured_other: matured_other == 1,
            changed: Changed { leave, come },
        })
    }
}

/// By what, and the place of the identity, if the reply is that somebody is known.
fn read_known(reply: &redis::Value) -> Option<(String, String)> {
    match redis::from_redis_value_ref::<Vec<redis::Value>>(reply).ok()?.as_slice() {
        [_, word, place] => {
            Some((redis::from_redis_value_ref(word).ok()?, redis::from_redis_value_ref(place).ok()?))
        }
        _ => None,
    }
}

fn timestamp(text: &str) -> Result<Timestamp, RedisError> {
    text.parse().map(Timestamp::from_millis).map_err(|_| nonsense(text))
}
