//! Listeners that scopes name, against those the configuration has.

use toml::de::{DeTable, DeValue};

use super::names::ListenerName;
use crate::policy::lists::Entry;
use crate::policy::reading::{Reading, quoted};

/// Warns of each listener that a scope names and that is none of `listeners`.
pub(in crate::policy) fn unknown_listeners(
    table: &DeTable<'_>,
    listeners: &[String],
    reading: &mut Reading<'_>,
) {
    let scopes = table.get("scope").and_then(|scopes| scopes.get_ref().as_array());
    let named = scopes
        .into_iter()
        .flat_map(|scopes| scopes.iter())
        .filter_map(|scope| scope.get_ref().as_table()?.get("listener")?.get_ref().as_array());
    for entry in named.flat_map(|named| named.iter()) {
        let DeValue::String(text) = entry.get_ref() else { continue };
        let Ok(name) = ListenerName::parse(text) else { continue };
        if listeners.iter().all(|listener| listener != name.as_ref()) {
            let title = format!("{} can never match", quoted(text));
            let all = || match listeners {
                [] => Some("it has neither milter nor policy listeners".to_owned()),
                _ => Some(format!("its listeners are {}", listeners.join(", "))),
            };
            reading.warning(entry.span(), title, "the configuration has no such listener").did_you_mean(
                text,
                listeners.iter().map(String::as_str),
                all,
            );
        }
    }
}
