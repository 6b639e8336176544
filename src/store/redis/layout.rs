//! Whether the store may be read and written, and what it says of itself.

use redis::{RedisError, cmd};

use super::dial::{Connection, Dialled, refused};
use super::fault::{self, RedisFault};
use super::names;
use super::script::{Script, lua};
use super::url::Place;
use crate::store::HashKey;

/// The layout this version reads and writes.
const LAYOUT: u32 = 1;

static EXAMINE: Script = lua!("examine");

/// Sees that our user may do what is needed, and that the server takes writes.
pub(super) async fn examine(dialled: &Dialled, user: &str) -> Result<(), RedisFault> {
    let Dialled { connection, place, .. } = dialled;
    let fault = |error: RedisError| match error.code() {
        Some("ERR")
            if error.detail().is_some_and(|detail| detail.to_lowercase().contains("unknown command")) =>
        {
            RedisFault::NoScripts { place: place.to_string(), error: fault::server_text(&error) }
        }
        _ => refused(place, user, error),
    };
    let keys = probe_keys();
    // By its text first: a server that knows it would not tell that EVAL is forbidden.
    EXAMINE.run_by_text::<Vec<String>>(connection, &keys, &[]).await.map_err(fault)?;
    let errors: Vec<String> = EXAMINE.run(connection, &keys, &[]).await.map_err(fault)?;
    let scan = cmd("SCAN").arg(0).arg("COUNT").arg(1).to_owned();
    connection.query_any_node(scan).await.map_err(fault)?;
    let errors: Vec<(&str, &str)> = errors.iter().filter_map(|error| error.split_once(' ')).collect();
    let mut missing: Vec<String> =
        errors.iter().filter_map(|(command, error)| fault::missing_right(error, Some(command))).collect();
    missing.dedup();
    match errors.first() {
        _ if !missing.is_empty() => Err(RedisFault::NoRight {
            place: place.to_string(),
            user: user.to_owned(),
            missing: missing.join(" nor "),
        }),
        Some((_, error)) => Err(RedisFault::Refused((*error).to_owned())),
        None => Ok(()),
    }
}

/// Whether the server takes writes.
pub(super) async fn probe(connection: &Connection) -> Result<(), RedisFault> {
    const LASTS_MILLIS: u32 = 60_000;
    let [key, _] = probe_keys();
    Ok(connection.query(cmd("SET").arg(key).arg(1).arg("PX").arg(LASTS_MILLIS)).await?)
}

/// Keys in some slot: of a Cluster of which a part is lost, in another one each time.
fn probe_keys() -> [Vec<u8>; 2] {
    let mut slot = [0; 2];
    // Without random numbers it is always the same slot.
    let _ = getrandom::fill(&mut slot);
    ["probe", "probe-sorted"]
        .map(|name| format!("greylag:{{{:04x}}}{name}", u16::from_le_bytes(slot)).into_bytes())
}

/// The hash key of the store; `own` for a store that has none yet.
pub(super) async fn agree(
    connection: &Connection,
    place: &Place,
    user: &str,
    own: HashKey,
) -> Result<HashKey, RedisFault> {
    let refused = |error| refused(place, user, error);
    let get = cmd("GET").arg(names::STORE).to_owned();
    let mut found: Option<String> = connection.query(&get).await.map_err(refused)?;
    if found.is_none() {
        let description = format!("{LAYOUT} {}", hex(&own));
        let set = cmd("SET").arg(names::STORE).arg(description).arg("NX").to_owned();
        connection.query::<redis::Value>(&set).await.map_err(refused)?;
        found = connection.query(&get).await.map_err(refused)?;
    }
    read(found.as_deref().unwrap_or_default(), place)
}

fn read(description: &str, place: &Place) -> Result<HashKey, RedisFault> {
    let foreign = || RedisFault::Foreign { place: place.to_string(), key: names::STORE };
    let (layout, hash_key) = description.split_once(' ').ok_or_else(foreign)?;
    match layout.parse::<u32>() {
        Ok(LAYOUT) => {
            let is_key = hash_key.len() == 32 && hash_key.bytes().all(|byte| byte.is_ascii_hexdigit());
            let number = u128::from_str_radix(hash_key, 16).ok().filter(|_| is_key).ok_or_else(foreign)?;
            Ok(HashKey::from_bytes(number.to_be_bytes()))
        }
        Ok(found) if found > LAYOUT => {
            Err(RedisFault::NewerLayout { place: place.to_string(), found, known: LAYOUT })
        }
        _ => Err(foreign()),
    }
}

fn hex(hash_key: &HashKey) -> String {
    format!("{:032x}", u128::from_be_bytes(*hash_key.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_description_of_a_store_is_read_strictly() {
        let place = Place::Tcp("r".into(), 6379);
        let hash_key = HashKey::from_bytes([0xAB; 16]);
        assert_eq!(read(&format!("1 {}", hex(&hash_key)), &place).unwrap(), hash_key);
        let newer = read("2 something else", &place).unwrap_err();
        assert_eq!(
            newer.to_string(),
            "the store at r:6379 has layout 2, and this version of Greylag knows layouts up to 1: \
             run a later version, or use another database"
        );
        for text in [
            "",
            "1",
            "1 ",
            "0 x",
            "x y",
            "1 +bababababababababababababababab",
            &format!("1 {}0", hex(&hash_key)),
        ] {
            assert!(matches!(read(text, &place), Err(RedisFault::Foreign { .. })), "{text}");
        }
    }
}
