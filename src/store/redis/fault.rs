//! Why a Redis store cannot be used, or has no answer: what is wrong, and what to do about it.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use redis::{ErrorKind, RedisError, ServerErrorKind};
use thiserror::Error;

/// Commands a user needs for Greylag, as a line of an ACL file has them. Those of scripts are among them: Redis checks them too.
pub const ACL_RULES: &str = "~greylag:* +auth +select +info +eval +evalsha +time +get +mget +set +del +pexpire +zadd +zcard \
                             +zrange +zrem +zremrangebyscore +scan +cluster|slots";

/// Why a Redis store cannot be used, or has no answer.
#[derive(Debug, Error)]
pub enum RedisFault {
    /// Nobody answers there; or not as a Redis server does.
    #[error("cannot reach Redis at {place}: {error}")]
    Unreachable {
        /// The server.
        place: String,
        /// What the system or the connection says.
        error: String,
    },
    /// A file the URL names cannot be read.
    #[error("cannot read {what} from {}: {source}", path.display())]
    File {
        /// What it should hold.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The certificate of the server is not trusted, or it speaks no TLS.
    #[error(
        "no TLS with Redis at {place}: {error}; a server with a certificate of your own authority needs ?ca=FILE in the URL, \
         one without TLS a URL that begins with redis instead of rediss"
    )]
    Tls {
        /// The server.
        place: String,
        /// What is wrong.
        error: String,
    },
    /// The server refused user and password.
    #[error("Redis at {place} refuses the password of user {user:?}: {error}")]
    WrongPassword {
        /// The server.
        place: String,
        /// The user.
        user: String,
        /// What the server says.
        error: String,
    },
    /// The server wants a password, and there is none.
    #[error(
        "Redis at {place} wants a password: put it into a file and name that with ?password_file=FILE in the URL, \
         or into the environment variable {variable}"
    )]
    NoPassword {
        /// The server.
        place: String,
        /// The environment variable that may hold it.
        variable: &'static str,
    },
    /// The user may not do what Greylag needs.
    #[error(
        "Redis at {place} does not let user {user:?} use {missing}; allow it: ACL SETUSER {user} {ACL_RULES}"
    )]
    NoRight {
        /// The server.
        place: String,
        /// The user.
        user: String,
        /// The commands or keys, for a sentence.
        missing: String,
    },
    /// The server copies another one, and takes no writes.
    #[error(
        "Redis at {place} is a replica of {master}: name the master in the URL, or the Sentinels, \
         as in redis+sentinel://HOST/SERVICE"
    )]
    Replica {
        /// The server.
        place: String,
        /// Its master.
        master: String,
    },
    /// A Cluster where one server was named.
    #[error(
        "Redis at {place} is a node of a Cluster: write redis+cluster://HOST:PORT (any of its nodes will do)"
    )]
    IsCluster {
        /// The server.
        place: String,
    },
    /// One server where a Cluster was named.
    #[error("Redis at {place} is no Cluster: write redis://{place}")]
    NoCluster {
        /// The server.
        place: String,
    },
    /// A Sentinel where a server was named.
    #[error("Redis at {place} is a Sentinel: write redis+sentinel://{place}/SERVICE")]
    IsSentinel {
        /// The server.
        place: String,
    },
    /// A server where a Sentinel was named.
    #[error("Redis at {place} is no Sentinel: Sentinels listen on a port of their own, mostly 26379")]
    NoSentinel {
        /// The server.
        place: String,
    },
    /// The Sentinels do not watch that service.
    #[error("the Sentinel at {place} watches no service {service:?}; it watches {known}")]
    UnknownService {
        /// The Sentinel.
        place: String,
        /// The service of the URL.
        service: String,
        /// The services it watches.
        known: String,
    },
    /// The server has no database of that number.
    #[error("Redis at {place} has no database {database}: {error}")]
    NoDatabase {
        /// The server.
        place: String,
        /// The number.
        database: u32,
        /// What the server says.
        error: String,
    },
    /// The server runs no Lua scripts.
    #[error(
        "Redis at {place} runs no Lua scripts ({error}): Greylag needs EVAL and EVALSHA; do not rename or disable them"
    )]
    NoScripts {
        /// The server.
        place: String,
        /// What the server says.
        error: String,
    },
    /// A later version of Greylag uses the store. Nothing was changed.
    #[error(
        "the store at {place} has layout {found}, and this version of Greylag knows layouts up to {known}: \
         run a later version, or use another database"
    )]
    NewerLayout {
        /// The server.
        place: String,
        /// Its layout.
        found: u32,
        /// The newest layout this version knows.
        known: u32,
    },
    /// The key that describes the store holds something else.
    #[error(
        "the key {key} in Redis at {place} is not Greylag's: use another database, or delete it if nothing else needs it"
    )]
    Foreign {
        /// The server.
        place: String,
        /// The key.
        key: &'static str,
    },
    /// No answer in time.
    #[error("no answer within {} ms", .0.as_millis())]
    Timeout(Duration),
    /// It failed a moment ago, and is left alone until it answers again.
    #[error("Redis is not answering")]
    LeftAlone,
    /// The server refused a command.
    #[error("Redis says: {0}")]
    Refused(String),
    /// The server answered something that makes no sense.
    #[error("Redis gave an answer without sense: {0}")]
    Nonsense(String),
    /// The connection broke.
    #[error("the connection to Redis broke: {0}")]
    Broken(String),
}

impl RedisFault {
    /// Whether a human has to change something, here or at the server; else it may pass by itself.
    pub const fn is_configuration(&self) -> bool {
        !matches!(
            self,
            Self::Unreachable { .. }
                | Self::Timeout(_)
                | Self::LeftAlone
                | Self::Refused(_)
                | Self::Nonsense(_)
                | Self::Broken(_)
        )
    }
}

/// Whether a connection that gave this error is of no more use: it is broken, or leads to the wrong server by now.
pub(super) fn needs_other_connection(error: &RedisError) -> bool {
    matches!(
        error.kind(),
        ErrorKind::Io
            | ErrorKind::Parse
            | ErrorKind::AuthenticationFailed
            | ErrorKind::ClusterConnectionNotFound
            | ErrorKind::Server(
                ServerErrorKind::ReadOnly | ServerErrorKind::MasterDown | ServerErrorKind::Moved
            )
    ) && !error.is_timeout()
}

/// Whether the server answered, be it with a refusal.
pub(super) fn is_from_server(error: &RedisError) -> bool {
    matches!(error.kind(), ErrorKind::Server(_) | ErrorKind::Extension)
}

/// Whether the server refused user and password, wants none, or talks to its own host only; its other refusals may pass by themselves. Servers before Redis 6 have
/// no code of their own for it.
pub(super) fn is_about_login(error: &RedisError) -> bool {
    let says = |word: &str| error.detail().is_some_and(|detail| detail.to_ascii_lowercase().contains(word));
    match error.code() {
        Some("WRONGPASS" | "NOAUTH" | "NOPERM" | "DENIED") => true,
        Some("ERR") => says("auth") || says("password"),
        _ => false,
    }
}

/// Whether it is TLS that failed: the other side is not trusted, or does not speak it.
pub(super) fn is_tls(error: &RedisError) -> bool {
    type Shared = std::sync::Arc<dyn std::error::Error + Send + Sync>;
    let inner = std::error::Error::source(error).and_then(|source| source.downcast_ref::<Shared>());
    let io = inner.and_then(|inner| inner.downcast_ref::<io::Error>());
    io.and_then(io::Error::get_ref).is_some_and(|inner| inner.is::<rustls::Error>())
}

/// What the server said: its code and text.
pub(super) fn server_text(error: &RedisError) -> String {
    match (error.code(), error.detail()) {
        (Some(code), Some(detail)) => format!("{code} {detail}"),
        _ => error.to_string(),
    }
}

/// What is missing, for a sentence, by an error of missing rights. Only some versions name the command: `tried` is known else.
pub(super) fn missing_right(text: &str, tried: Option<&str>) -> Option<String> {
    let named =
        text.split_once("run the '").and_then(|(_, rest)| rest.split_once('\'')).map(|(name, _)| name);
    let is_denied =
        ["ermissions", "can't run this command", "can't access"].iter().any(|word| text.contains(word));
    match named.or(tried) {
        _ if !is_denied => None,
        _ if text.contains("key") => Some("keys that begin with greylag:".to_owned()),
        Some(command) => Some(format!("the command {command}")),
        None => Some(format!("what it needs ({text})")),
    }
}

impl From<RedisError> for RedisFault {
    fn from(error: RedisError) -> Self {
        match error.kind() {
            _ if is_from_server(&error) => Self::Refused(server_text(&error)),
            ErrorKind::UnexpectedReturnType | ErrorKind::Parse => Self::Nonsense(error.to_string()),
            _ => Self::Broken(error.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_pass_by_itself_is_no_matter_of_configuration() {
        let place = || "r:6379".to_owned();
        assert!(RedisFault::IsCluster { place: place() }.is_configuration());
        assert!(RedisFault::NewerLayout { place: place(), found: 2, known: 1 }.is_configuration());
        assert!(!RedisFault::Unreachable { place: place(), error: String::new() }.is_configuration());
        assert!(!RedisFault::Timeout(Duration::ZERO).is_configuration());
        assert!(
            !RedisFault::Refused("LOADING Redis is loading the dataset in memory".into()).is_configuration()
        );
    }

    #[test]
    fn a_wrong_password_is_told_from_a_server_that_is_full_or_busy() {
        for (reply, is_about_login) in [
            ("WRONGPASS invalid username-password pair or user is disabled.", true),
            ("NOAUTH Authentication required.", true),
            ("NOPERM this user has no permissions to run the 'auth' command", true),
            ("ERR AUTH <password> called without any password configured for the default user.", true),
            ("ERR invalid password", true),
            ("DENIED Redis is running in protected mode", true),
            ("ERR wrong number of arguments for 'auth' command", true),
            ("ERR max number of clients reached", false),
            ("LOADING Redis is loading the dataset in memory", false),
            ("BUSY Redis is busy running a script.", false),
        ] {
            let answer = redis::parse_redis_value(format!("-{reply}\r\n").as_bytes());
            let error = answer.and_then(redis::Value::extract_error).unwrap_err();
            assert_eq!(
                (is_from_server(&error), super::is_about_login(&error)),
                (true, is_about_login),
                "{reply}"
            );
        }
    }

    #[test]
    fn tls_is_told_from_other_faults_of_a_connection() {
        let tls = rustls::Error::InvalidCertificate(rustls::CertificateError::UnknownIssuer);
        assert!(is_tls(&io::Error::new(io::ErrorKind::InvalidData, tls).into()));
        assert!(!is_tls(&io::Error::from(io::ErrorKind::InvalidData).into()));
        assert!(!is_tls(&RedisError::from((ErrorKind::Io, "x"))));
    }

    #[test]
    fn a_missing_right_is_named() {
        for (text, missing) in [
            ("User g has no permissions to run the 'eval' command", "the command eval"),
            (
                "this user has no permissions to run the 'cluster|slots' command or its subcommand",
                "the command cluster|slots",
            ),
            (
                "ACL failure in script: User g has no permissions to run the 'mget' command",
                "the command mget",
            ),
            ("The user executing the script can't run this command or subcommand", "the command tried"),
            ("no permissions to access a key", "keys that begin with greylag:"),
            (
                "The user executing the script can't access at least one of the keys mentioned",
                "keys that begin with greylag:",
            ),
            (
                "this user has no permissions to access one of the keys used as arguments",
                "keys that begin with greylag:",
            ),
        ] {
            assert_eq!(missing_right(text, Some("tried")).as_deref(), Some(missing));
        }
        assert_eq!(missing_right("no permissions", None), Some("what it needs (no permissions)".into()));
        assert_eq!(missing_right("READONLY You can't write against a read only replica.", Some("set")), None);
    }

    #[test]
    fn a_replica_or_a_broken_connection_is_left_but_not_a_server_that_refuses() {
        let server = |kind| RedisError::from((ErrorKind::Server(kind), "x"));
        assert!(needs_other_connection(&server(ServerErrorKind::ReadOnly)));
        assert!(needs_other_connection(&io::Error::from(io::ErrorKind::ConnectionReset).into()));
        assert!(!needs_other_connection(&io::Error::from(io::ErrorKind::TimedOut).into()));
        assert!(!needs_other_connection(&server(ServerErrorKind::BusyLoading)));
        assert!(!needs_other_connection(&server(ServerErrorKind::NoPerm)));
    }
}
