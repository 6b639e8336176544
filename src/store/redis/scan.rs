//! Looks at every record: what people ask for now and then, and may take its time.

use std::collections::HashSet;

use redis::cluster_routing::{Route, RoutingInfo, SingleNodeRoutingInfo, SlotAddr};
use redis::{Cmd, RedisError, Value, cmd, from_redis_value};

use super::dial::Connection;
use super::names::{self, Kind};
use super::standing;
use crate::store::model::Proven;
use crate::store::{Held, Key, QueryKeys, Stats};

/// Keys looked at for each round trip.
const COUNT: u32 = 1_000;

/// Counts the records of each kind.
pub(super) async fn stats(connection: &Connection) -> Result<Stats, RedisError> {
    let mut stats = Stats::default();
    each_key(connection, |kind, _| {
        let count = match kind {
            Kind::Clock | Kind::Capped => &mut stats.unproven,
            Kind::Proof => &mut stats.proven,
            Kind::Standing => &mut stats.standings,
            Kind::Release => &mut stats.releases,
            Kind::Account => return,
        };
        *count += 1;
    })
    .await?;
    Ok(stats)
}

/// What is held about all that is `wanted`.
pub(super) async fn show(connection: &Connection, wanted: &QueryKeys) -> Result<Vec<Held>, RedisError> {
    let mut held = Vec::new();
    for (kind, key) in matching(connection, wanted).await? {
        held.extend(read(connection, kind, &key).await?);
    }
    if let Some(identity) = wanted.standing() {
        let found: Option<String> = connection.query(cmd("GET").arg(names::standing(&identity))).await?;
        held.extend(found.as_deref().and_then(standing::read).as_ref().map(Held::standing));
    }
    Ok(held)
}

/// Forgets what [`show`] shows; how many records that were.
pub(super) async fn forget(connection: &Connection, wanted: &QueryKeys) -> Result<u64, RedisError> {
    let mut forgotten = 0;
    for (kind, key) in matching(connection, wanted).await? {
        let name = name(kind, &key);
        if kind == Kind::Clock {
            leave_account(connection, &key).await?;
        }
        forgotten += connection.query::<u64>(cmd("DEL").arg(name)).await?;
    }
    if let Some(identity) = wanted.standing() {
        forgotten += connection.query::<u64>(cmd("DEL").arg(names::standing(&identity))).await?;
    }
    Ok(forgotten)
}

/// The proofs, clocks and releases that match. A key that moves under SCAN may come twice, and counts once.
async fn matching(connection: &Connection, wanted: &QueryKeys) -> Result<Vec<(Kind, Key)>, RedisError> {
    let (mut found, mut seen) = (Vec::new(), HashSet::new());
    each_key(connection, |kind, key| {
        let is_asked_for = matches!(kind, Kind::Proof | Kind::Clock | Kind::Release) && key.matches(wanted);
        if is_asked_for && seen.insert(name(kind, &key)) {
            found.push((kind, key));
        }
    })
    .await?;
    Ok(found)
}

fn name(kind: Kind, key: &Key) -> Vec<u8> {
    match kind {
        Kind::Clock => names::clock(key),
        Kind::Release => names::release(key),
        _ => names::proof(key),
    }
}

/// `None` when it expired meanwhile.
async fn read(connection: &Connection, kind: Kind, key: &Key) -> Result<Option<Held>, RedisError> {
    let value: Option<Vec<u8>> = connection.query(cmd("GET").arg(name(kind, key))).await?;
    let Some(time) = value.as_deref().and_then(names::first_number) else { return Ok(None) };
    Ok(Some(match kind {
        Kind::Clock => Held::Waiting { first_seen: time },
        Kind::Release => Held::Release { expires: time },
        _ => Held::proven(key, Proven { expires: time }),
    }))
}

async fn leave_account(connection: &Connection, key: &Key) -> Result<(), RedisError> {
    let value: Option<Vec<u8>> = connection.query(cmd("GET").arg(names::clock(key))).await?;
    let value = value.unwrap_or_default();
    let (Some(began), Some(blank)) =
        (names::first_number(&value), value.iter().position(|byte| *byte == b' '))
    else {
        return Ok(());
    };
    let network = value.get(blank + 1..).unwrap_or_default();
    let began = began.as_millis().to_be_bytes();
    let entry = [key.as_bytes(), began.get(2..).unwrap_or_default()].concat();
    connection.query::<u64>(cmd("ZREM").arg(names::account(network)).arg(entry)).await.map(drop)
}

async fn each_key(connection: &Connection, mut look: impl FnMut(Kind, Key)) -> Result<(), RedisError> {
    for node in nodes(connection).await? {
        let mut cursor = 0_u64;
        loop {
            let scan =
                cmd("SCAN").arg(cursor).arg("MATCH").arg(names::PATTERN).arg("COUNT").arg(COUNT).to_owned();
            let (next, keys): (u64, Vec<Vec<u8>>) = from_redis_value(node.ask(scan).await?)?;
            keys.iter().filter_map(|key| names::parse(key)).for_each(|(kind, key)| look(kind, key));
            cursor = next;
            if cursor == 0 {
                break;
            }
        }
    }
    Ok(())
}

/// A server that has a part of the keys.
enum Node<'a> {
    Server(&'a Connection),
    /// The master of this slot.
    Master(redis::cluster_async::ClusterConnection, u16),
}

impl Node<'_> {
    async fn ask(&self, command: Cmd) -> Result<Value, RedisError> {
        match self {
            Self::Server(connection) => connection.query(&command).await,
            Self::Master(connection, slot) => {
                let master = SingleNodeRoutingInfo::SpecificNode(Route::new(*slot, SlotAddr::Master));
                connection.clone().route_command(command, RoutingInfo::SingleNode(master)).await
            }
        }
    }
}

async fn nodes(connection: &Connection) -> Result<Vec<Node<'_>>, RedisError> {
    let Connection::Cluster(cluster) = connection else { return Ok(vec![Node::Server(connection)]) };
    let slots: Vec<Vec<Value>> = connection.query(cmd("CLUSTER").arg("SLOTS")).await?;
    let mut masters = HashSet::new();
    let mut nodes = Vec::new();
    for range in slots {
        if let [first, _, master, ..] = range.as_slice()
            && masters.insert(format!("{master:?}"))
        {
            nodes.push(Node::Master(cluster.clone(), redis::from_redis_value_ref(first)?));
        }
    }
    Ok(nodes)
}
