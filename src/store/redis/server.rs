//! Decisions on one server: one script, one round trip.

use redis::RedisError;

use super::dial::Connection;
use super::names;
use super::question::{At, Question};
use super::script::{Script, lua};
use crate::store::Answer;

static DECIDE: Script =
    lua!("common", "proofs", "standing", "whole_known", "clocks", "write", "append", "account", "whole");
static ADD: Script = lua!("common", "proofs", "clocks", "add", "append", "account", "whole_add");

pub(super) async fn decide(
    connection: &Connection,
    question: &Question<'_>,
    at: At,
    record: bool,
) -> Result<Answer, RedisError> {
    let standings = question.standings;
    let mut keys = question.clock_keys();
    keys.extend([question.account_key(), question.capped_key()]);
    // What does not count is not looked at, but it has to be a key that an ACL allows.
    let unused = || question.account_key();
    keys.extend(
        standings.map(|identity| identity.map_or_else(unused, |identity| names::standing(&identity))),
    );
    keys.extend(question.release_keys());
    let reply: Vec<String> = DECIDE.run(connection, &keys, &question.arguments(at, record)).await?;
    let field = |at: usize| reply.get(at).map_or("", String::as_str);
    question.answer(field(0), field(1), field(2))
}

pub(super) async fn add_identities(
    connection: &Connection,
    question: &Question<'_>,
    at: At,
) -> Result<(), RedisError> {
    let mut keys = question.clock_keys();
    keys.push(question.account_key());
    ADD.run(connection, &keys, &question.arguments(at, true)).await
}
