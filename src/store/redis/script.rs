//! Lua scripts, sent by their hash; a server that does not know one yet gets its text.

use std::sync::OnceLock;

use redis::{Cmd, ErrorKind, FromRedisValue, RedisError, ServerErrorKind};

use super::dial::Connection;

/// A script, which runs as one step on the server.
#[derive(Debug)]
pub(super) struct Script {
    text: &'static str,
    hash: OnceLock<String>,
}

/// The script made of these files of `lua/`. Without keys it does nothing.
macro_rules! lua {
    ($($file:literal),+) => {
        $crate::store::redis::script::Script::new(concat!(
            "if #KEYS == 0 then return 0 end\n",
            $(include_str!(concat!("lua/", $file, ".lua"))),+
        ))
    };
}
pub(super) use lua;

impl Script {
    pub(super) const fn new(text: &'static str) -> Self {
        Self { text, hash: OnceLock::new() }
    }

    /// Runs it in one round trip. A server that restarted, or was a replica until now, has forgotten it: a second one, once.
    pub(super) async fn run<T: FromRedisValue>(
        &self,
        connection: &Connection,
        keys: &[Vec<u8>],
        arguments: &[Vec<u8>],
    ) -> Result<T, RedisError> {
        let hash = self.hash.get_or_init(|| redis::Script::new(self.text).get_hash().to_owned());
        match connection.query(&invocation("EVALSHA", hash, keys, arguments)).await {
            Err(error) if error.kind() == ErrorKind::Server(ServerErrorKind::NoScript) => {
                self.run_by_text(connection, keys, arguments).await
            }
            answer => answer,
        }
    }

    /// The command by which a server gets to know it, and does nothing else.
    pub(super) fn lesson(&self) -> Cmd {
        invocation("EVAL", self.text, &[], &[])
    }

    /// Sends all of it, after which the server knows it.
    pub(super) async fn run_by_text<T: FromRedisValue>(
        &self,
        connection: &Connection,
        keys: &[Vec<u8>],
        arguments: &[Vec<u8>],
    ) -> Result<T, RedisError> {
        connection.query(&invocation("EVAL", self.text, keys, arguments)).await
    }
}

fn invocation(name: &str, script: &str, keys: &[Vec<u8>], arguments: &[Vec<u8>]) -> Cmd {
    let words = keys.iter().chain(arguments);
    let (count, size) =
        words.fold((3, name.len() + script.len() + 20), |(count, size), word| (count + 1, size + word.len()));
    let mut command = Cmd::with_capacity(count, size);
    command.arg(name).arg(script).arg(keys.len()).arg(keys).arg(arguments);
    command
}
