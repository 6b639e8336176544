//! The URLs of Redis stores.
//!
//! ```text
//! redis://[USER[:PASSWORD]@]HOST[:PORT][/DB]                  one server
//! unix:///PATH/OF/SOCKET[?db=DB]                              one server, by its socket
//! redis+sentinel://[…@]HOST[:PORT],HOST[:PORT]…/SERVICE[/DB]  whichever server the Sentinels name master
//! redis+cluster://[…@]HOST[:PORT],HOST[:PORT]…                a Cluster
//! ```
//!
//! With `rediss` for `redis` they are reached by TLS. Options follow a question mark and are separated by `&`.

use std::fmt;
use std::ops::Range;
use std::path::PathBuf;
use std::str::FromStr;

use thiserror::Error;

use super::secret::Secret;

const REDIS_PORT: u16 = 6379;
const SENTINEL_PORT: u16 = 26_379;

/// What is shown in the place of a password.
pub(crate) const HIDDEN: &str = "***";

/// Where a Redis store is, and as whom to use it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RedisUrl {
    pub(super) topology: Topology,
    pub(super) tls: Option<Tls>,
    pub(super) database: u32,
    pub(super) login: Login,
    /// As whom to ask the Sentinels, which have users of their own.
    pub(super) sentinel_login: Login,
}

/// Which servers make up the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Topology {
    Standalone(Place),
    Sentinel { sentinels: Vec<Place>, service: String },
    Cluster(Vec<Place>),
}

/// Where a server is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Place {
    Tcp(String, u16),
    Unix(PathBuf),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Tls {
    /// Certificates to trust in place of the public ones.
    pub(super) ca: Option<PathBuf>,
}

/// A user and where its password is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Login {
    pub(super) user: Option<String>,
    pub(super) password: Option<Secret>,
    pub(super) password_file: Option<PathBuf>,
}

/// What is wrong with the URL of a Redis store. No password is in it.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum RedisUrlError {
    /// It does not begin as a URL of a Redis store does.
    #[error(
        "it does not begin with redis://, rediss://, unix://, redis+sentinel://, redis+cluster://, rediss+sentinel:// or rediss+cluster://"
    )]
    Scheme,
    /// There is no host.
    #[error("the host is missing")]
    NoHost,
    /// More hosts than one where one server is meant.
    #[error(
        "there are several hosts: write redis+sentinel://…/SERVICE or redis+cluster://… for more than one server"
    )]
    ManyHosts,
    /// A host that is none.
    #[error("{0:?} is not HOST or HOST:PORT (an IPv6 address is written in brackets)")]
    Host(String),
    /// A socket without an absolute path.
    #[error("the path of the socket is missing: it is absolute, as in unix:///run/redis/redis.sock")]
    NoPath,
    /// Sentinels without the service they watch.
    #[error("the service is missing: it follows the hosts, as in redis+sentinel://HOST,HOST,HOST/mymaster")]
    NoService,
    /// Not the number of a database.
    #[error("{0:?} is not the number of a database")]
    Database(String),
    /// A path where none is expected.
    #[error("{0:?} is too much: a Cluster has no databases, and no path follows its hosts")]
    Path(String),
    /// Not a percent-encoding.
    #[error(
        "a percent sign is written %25 in user and password, as @ is written %40, : %3A, / %2F and ? %3F"
    )]
    Percent,
    /// An option that does not exist, or not here.
    #[error("it has no option {0:?} (there are: {1})")]
    Option(String, String),
    /// An option without value.
    #[error("the option {0:?} has no value")]
    Value(String),
    /// The password twice.
    #[error("the password is given twice, in the URL and as password_file")]
    TwoPasswords,
}

impl FromStr for RedisUrl {
    type Err = RedisUrlError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (scheme, rest) = text.split_once(':').ok_or(RedisUrlError::Scheme)?;
        let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        let read = match scheme {
            "unix" => Self::unix(rest, query),
            _ if Self::SCHEMES.contains(&scheme) => Self::tcp(scheme, rest, query),
            _ => Err(RedisUrlError::Scheme),
        };
        // What stands before the question mark may be a part of the password, which no message may show.
        let splits_login = !rest.contains('@') && query.contains('@');
        read.map_err(|error| if splits_login { RedisUrlError::Percent } else { error })
    }
}

impl RedisUrl {
    /// What the URLs begin with, up to the colon.
    pub const SCHEMES: [&str; 7] =
        ["redis", "rediss", "unix", "redis+sentinel", "rediss+sentinel", "redis+cluster", "rediss+cluster"];

    const fn new(topology: Topology, database: u32) -> Self {
        const NOBODY: Login = Login { user: None, password: None, password_file: None };
        Self { topology, tls: None, database, login: NOBODY, sentinel_login: NOBODY }
    }

    fn tcp(scheme: &str, rest: &str, query: &str) -> Result<Self, RedisUrlError> {
        let rest = rest.strip_prefix("//").ok_or(RedisUrlError::Scheme)?;
        // The last one: an @ in a password is then read as what was meant.
        let (login, rest) = rest.rsplit_once('@').map_or((None, rest), |(login, rest)| (Some(login), rest));
        let (hosts, path) = rest.split_once('/').unwrap_or((rest, ""));
        let login = login.map(Login::parse).transpose()?.unwrap_or_default();
        let mut url = match scheme.split_once('+').map(|(_, topology)| topology) {
            None => Self::standalone(hosts, path),
            Some("sentinel") => Self::sentinel(hosts, path),
            Some(_) => Self::cluster(hosts, path),
        }?;
        url.login = login;
        url.tls = scheme.starts_with("rediss").then_some(Tls { ca: None });
        url.set_options(query)?;
        Ok(url)
    }

    fn standalone(hosts: &str, path: &str) -> Result<Self, RedisUrlError> {
        let mut places = places(hosts, REDIS_PORT)?;
        match (places.pop(), places.is_empty()) {
            (Some(place), true) => Ok(Self::new(Topology::Standalone(place), database(path)?)),
            (Some(_), false) => Err(RedisUrlError::ManyHosts),
            (None, _) => Err(RedisUrlError::NoHost),
        }
    }

    fn sentinel(hosts: &str, path: &str) -> Result<Self, RedisUrlError> {
        let sentinels = places(hosts, SENTINEL_PORT)?;
        let (service, database_path) = path.split_once('/').unwrap_or((path, ""));
        if service.is_empty() {
            return Err(RedisUrlError::NoService);
        }
        let service = service.to_owned();
        Ok(Self::new(Topology::Sentinel { sentinels, service }, database(database_path)?))
    }

    fn cluster(hosts: &str, path: &str) -> Result<Self, RedisUrlError> {
        if !path.is_empty() {
            return Err(RedisUrlError::Path(format!("/{path}")));
        }
        Ok(Self::new(Topology::Cluster(places(hosts, REDIS_PORT)?), 0))
    }

    fn unix(rest: &str, query: &str) -> Result<Self, RedisUrlError> {
        let rest = rest.strip_prefix("//").unwrap_or(rest);
        let (login, path) = match rest.find('/') {
            Some(0) => (None, rest),
            Some(slash) => (rest[..slash].strip_suffix('@'), &rest[slash..]),
            None => return Err(RedisUrlError::NoPath),
        };
        if login.is_none() && !rest.starts_with('/') {
            return Err(RedisUrlError::NoPath);
        }
        let mut url = Self::new(Topology::Standalone(Place::Unix(path.into())), 0);
        url.login = login.map(Login::parse).transpose()?.unwrap_or_default();
        url.set_options(query)?;
        Ok(url)
    }

    fn set_options(&mut self, query: &str) -> Result<(), RedisUrlError> {
        let is_unix = matches!(self.topology, Topology::Standalone(Place::Unix(_)));
        let is_sentinel = matches!(self.topology, Topology::Sentinel { .. });
        for option in query.split('&').filter(|option| !option.is_empty()) {
            let (name, value) = option.split_once('=').unwrap_or((option, ""));
            if value.is_empty() {
                return Err(RedisUrlError::Value(name.to_owned()));
            }
            match (name, &mut self.tls) {
                ("db", _) if is_unix => self.database = database(value)?,
                ("password_file", _) => self.login.password_file = Some(value.into()),
                ("ca", Some(tls)) => tls.ca = Some(value.into()),
                ("sentinel_user", _) if is_sentinel => self.sentinel_login.user = Some(decode(value)?),
                ("sentinel_password_file", _) if is_sentinel => {
                    self.sentinel_login.password_file = Some(value.into());
                }
                _ => {
                    let known = [
                        ("password_file", true),
                        ("db", is_unix),
                        ("ca", self.tls.is_some()),
                        ("sentinel_user", is_sentinel),
                        ("sentinel_password_file", is_sentinel),
                    ];
                    let known: Vec<&str> =
                        known.iter().filter(|(_, here)| *here).map(|(name, _)| *name).collect();
                    return Err(RedisUrlError::Option(name.to_owned(), known.join(", ")));
                }
            }
        }
        match self.login {
            Login { password: Some(_), password_file: Some(_), .. } => Err(RedisUrlError::TwoPasswords),
            _ => Ok(()),
        }
    }
}

impl Login {
    /// `USER:PASSWORD`, `USER`, or `:PASSWORD` for the default user.
    fn parse(text: &str) -> Result<Self, RedisUrlError> {
        let (user, password) =
            text.split_once(':').map_or((text, None), |(user, password)| (user, Some(password)));
        Ok(Self {
            user: if user.is_empty() { None } else { Some(decode(user)?) },
            password: password
                .map(decode)
                .transpose()?
                .filter(|password| !password.is_empty())
                .map(Secret::new),
            password_file: None,
        })
    }
}

/// Where in `text` the password stands of the first URL in it, whatever its scheme and whatever else is wrong with it. A URL in quotes
/// ends with them.
pub(crate) fn password_in(text: &str) -> Option<Range<usize>> {
    let begin = behind_scheme(text)?;
    let url = text.get(begin..)?;
    let quote = text.get(..begin)?.rfind(['"', '\'']).and_then(|at| text.get(at..)?.chars().next());
    let url = quote.and_then(|quote| url.get(..end_of_quoted(url, quote)?)).unwrap_or(url);
    let (login, _) = url.rsplit_once('@')?;
    let (user, password) = login.split_once(':')?;
    let start = begin + user.len() + 1;
    Some(start..start + password.len())
}

/// Where the first URL in `text` goes on behind its scheme: behind `://`, or behind a colon where the slashes were forgotten. A scheme
/// of ours is one where a word begins, as passwords and hosts may have its letters in them; any other only where the text begins.
fn behind_scheme(text: &str) -> Option<usize> {
    let begins_word = |at: usize| {
        let before = text.get(..at).and_then(|before| before.chars().next_back());
        before.is_none_or(|before| before.is_whitespace() || matches!(before, '"' | '\'' | '='))
    };
    let is_scheme = |word: &str| word.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '+' | '-'));
    let first = text.split_once(':').filter(|(word, _)| is_scheme(word)).map(|(word, _)| (0, word));
    let ours = RedisUrl::SCHEMES.iter().flat_map(|scheme| text.match_indices(scheme));
    let without_slashes = ours
        .chain(first)
        .map(|(at, scheme)| (at, at + scheme.len()))
        .filter(|(at, end)| begins_word(*at) && text.get(*end..).is_some_and(|rest| rest.starts_with(':')))
        .map(|(_, end)| end + 1);
    without_slashes.chain(text.find("://").map(|at| at + 3)).min()
}

/// Where a text in quotes ends, of which `rest` is left; in double quotes a backslash takes the next character's meaning away.
fn end_of_quoted(rest: &str, quote: char) -> Option<usize> {
    let mut is_escaped = false;
    rest.char_indices().find_map(|(at, c)| {
        let ends = c == quote && !is_escaped;
        is_escaped = quote == '"' && c == '\\' && !is_escaped;
        ends.then_some(at)
    })
}

/// `text`, which may be the URL of a store, without the password in it.
pub(crate) fn without_password(text: &str) -> String {
    let mut shown = text.to_owned();
    if let Some(place) = password_in(text) {
        shown.replace_range(place, HIDDEN);
    }
    shown
}

fn places(hosts: &str, default_port: u16) -> Result<Vec<Place>, RedisUrlError> {
    if hosts.is_empty() {
        return Err(RedisUrlError::NoHost);
    }
    hosts.split(',').map(|host| place(host, default_port)).collect()
}

fn place(text: &str, default_port: u16) -> Result<Place, RedisUrlError> {
    let wrong = || RedisUrlError::Host(text.to_owned());
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (address, port) = rest.split_once(']').ok_or_else(wrong)?;
            address.parse::<std::net::Ipv6Addr>().map_err(|_| wrong())?;
            (address, port)
        }
        None => text.find(':').map_or((text, ""), |colon| text.split_at(colon)),
    };
    let port = match port.strip_prefix(':') {
        Some(digits) if digits.bytes().all(|byte| byte.is_ascii_digit()) => {
            digits.parse().map_err(|_| wrong())?
        }
        None if port.is_empty() => default_port,
        _ => return Err(wrong()),
    };
    let is_host = !host.is_empty() && !host.contains(|c: char| c.is_whitespace() || c.is_control());
    if is_host && port != 0 { Ok(Place::Tcp(host.to_owned(), port)) } else { Err(wrong()) }
}

fn database(text: &str) -> Result<u32, RedisUrlError> {
    let is_number = text.bytes().all(|byte| byte.is_ascii_digit());
    match text {
        "" => Ok(0),
        _ if is_number => text.parse().map_err(|_| RedisUrlError::Database(text.to_owned())),
        _ => Err(RedisUrlError::Database(text.to_owned())),
    }
}

fn decode(text: &str) -> Result<String, RedisUrlError> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('%') {
        let byte = after.get(..2).and_then(|digits| u8::from_str_radix(digits, 16).ok());
        bytes.extend_from_slice(before.as_bytes());
        bytes.push(byte.ok_or(RedisUrlError::Percent)?);
        rest = &after[2..];
    }
    bytes.extend_from_slice(rest.as_bytes());
    String::from_utf8(bytes).map_err(|_| RedisUrlError::Percent)
}

/// What [`decode`] undoes.
fn encode(text: &str) -> String {
    let special = |c: char| matches!(c, '%' | '@' | ':' | '/' | '?' | '&');
    text.chars().map(|c| if special(c) { format!("%{:02X}", c as u32) } else { c.to_string() }).collect()
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(host, port) if host.contains(':') => write!(f, "[{host}]:{port}"),
            Self::Tcp(host, port) => write!(f, "{host}:{port}"),
            Self::Unix(path) => write!(f, "{}", path.display()),
        }
    }
}

/// As it is read, but for passwords, which are shown as `***`.
impl fmt::Display for RedisUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.tls.is_some() { "rediss" } else { "redis" };
        let many = |places: &[Place]| places.iter().map(Place::to_string).collect::<Vec<_>>().join(",");
        let (login, mut options) = (self.login.to_string(), Vec::new());
        match &self.topology {
            Topology::Standalone(Place::Unix(path)) => {
                write!(f, "unix://{login}{}", path.display())?;
                if self.database != 0 {
                    options.push(format!("db={}", self.database));
                }
            }
            Topology::Standalone(place) => write!(f, "{scheme}://{login}{place}")?,
            Topology::Sentinel { sentinels, service } => {
                write!(f, "{scheme}+sentinel://{login}{}/{service}", many(sentinels))?;
            }
            Topology::Cluster(nodes) => write!(f, "{scheme}+cluster://{login}{}", many(nodes))?,
        }
        if self.database != 0 && options.is_empty() {
            write!(f, "/{}", self.database)?;
        }
        let mut add = |name: &str, value: Option<String>| {
            options.extend(value.map(|value| format!("{name}={value}")));
        };
        let path = |path: &Option<PathBuf>| path.as_ref().map(|path| path.display().to_string());
        add("password_file", path(&self.login.password_file));
        add("ca", self.tls.as_ref().and_then(|tls| path(&tls.ca)));
        add("sentinel_user", self.sentinel_login.user.as_deref().map(encode));
        add("sentinel_password_file", path(&self.sentinel_login.password_file));
        if options.is_empty() { Ok(()) } else { write!(f, "?{}", options.join("&")) }
    }
}

/// What stands before the hosts.
impl fmt::Display for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let user = self.user.as_deref().map(encode).unwrap_or_default();
        match self.password {
            Some(_) => write!(f, "{user}:{HIDDEN}@"),
            None if user.is_empty() => Ok(()),
            None => write!(f, "{user}@"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tcp(host: &str, port: u16) -> Place {
        Place::Tcp(host.into(), port)
    }

    fn parse(text: &str) -> RedisUrl {
        text.parse().unwrap()
    }

    #[test]
    fn urls_are_read_and_written_alike() {
        for text in [
            "redis://localhost:6379",
            "redis://[2001:db8::1]:7000/3",
            "rediss://greylag@redis.example.test:6380?password_file=/etc/greylag/redis&ca=/etc/ssl/ca.pem",
            "unix:///run/redis/redis.sock",
            "unix://greylag@/run/redis/redis.sock?db=2&password_file=/p",
            "redis+sentinel://a:26379,b:26380/mymaster",
            "rediss+sentinel://u@a:26379/mymaster/4?ca=/c&sentinel_user=w%40x&sentinel_password_file=/s",
            "redis+cluster://a:6379,b:6379,[::1]:7000",
            "rediss+cluster://u%3Av@a:6379",
        ] {
            assert_eq!(parse(text).to_string(), text);
        }
    }

    #[test]
    fn what_is_left_out_has_its_default() {
        assert_eq!(parse("redis://r").topology, Topology::Standalone(tcp("r", 6379)));
        assert_eq!(parse("redis://r/").database, 0);
        assert_eq!(
            parse("unix:/run/r.sock").topology,
            Topology::Standalone(Place::Unix("/run/r.sock".into()))
        );
        assert_eq!(
            parse("redis+cluster://a,b:1").topology,
            Topology::Cluster(vec![tcp("a", 6379), tcp("b", 1)])
        );
        let sentinel =
            Topology::Sentinel { sentinels: vec![tcp("a", 26_379), tcp("b", 1)], service: "s".into() };
        assert_eq!(parse("redis+sentinel://a,b:1/s").topology, sentinel);
        assert_eq!(parse("rediss://r").tls, Some(Tls { ca: None }));
        assert_eq!(parse("redis://r").tls, None);
    }

    #[test]
    fn users_and_passwords_are_decoded_and_never_shown() {
        let login = |user: Option<&str>, password: Option<&str>| Login {
            user: user.map(str::to_owned),
            password: password.map(|password| Secret::new(password.to_owned())),
            password_file: None,
        };
        for (text, expected, shown) in [
            ("redis://joe:s%2Fe%40c:ret@r:1", login(Some("joe"), Some("s/e@c:ret")), "redis://joe:***@r:1"),
            ("redis://:hidden@r:1", login(None, Some("hidden")), "redis://:***@r:1"),
            ("redis://joe@r:1", login(Some("joe"), None), "redis://joe@r:1"),
            ("redis://joe:@r:1", login(Some("joe"), None), "redis://joe@r:1"),
            ("redis://joe:a@b@r:1", login(Some("joe"), Some("a@b")), "redis://joe:***@r:1"),
            ("unix://joe:hidden@/r", login(Some("joe"), Some("hidden")), "unix://joe:***@/r"),
        ] {
            let url = parse(text);
            assert_eq!(url.login, expected, "{text}");
            assert_eq!(url.to_string(), shown);
            assert!(!format!("{url:?}").contains("hidden"), "{url:?}");
        }
    }

    #[test]
    fn other_texts_are_refused_with_the_reason() {
        use RedisUrlError as E;
        for (text, error) in [
            ("redis", E::Scheme),
            ("http://r", E::Scheme),
            ("redis:r", E::Scheme),
            ("redis://", E::NoHost),
            ("redis://u:p@", E::NoHost),
            ("redis://a,b", E::ManyHosts),
            ("redis://a:x", E::Host("a:x".into())),
            ("redis://a:+1", E::Host("a:+1".into())),
            ("redis://a:0", E::Host("a:0".into())),
            ("redis://a:65536", E::Host("a:65536".into())),
            ("redis://::1", E::Host("::1".into())),
            ("redis://[::1", E::Host("[::1".into())),
            ("redis://[a]", E::Host("[a]".into())),
            ("redis+cluster://a,,b", E::Host(String::new())),
            ("redis://a/one", E::Database("one".into())),
            ("redis://a/-1", E::Database("-1".into())),
            ("redis://a/99999999999", E::Database("99999999999".into())),
            ("unix:", E::NoPath),
            ("unix://run/redis.sock", E::NoPath),
            ("unix:run", E::NoPath),
            ("redis+sentinel://a", E::NoService),
            ("redis+sentinel://a/", E::NoService),
            ("redis+cluster://a/0", E::Path("/0".into())),
            ("redis://u:%zz@a", E::Percent),
            ("redis://u:%e@a", E::Percent),
            ("redis://u:%FF@a", E::Percent),
            ("redis://u:what?secret@a", E::Percent),
            ("redis://u:1?secret@a", E::Percent),
            ("redis://a?pass=x", E::Option("pass".into(), "password_file".into())),
            ("redis://a?ca=x", E::Option("ca".into(), "password_file".into())),
            ("rediss://a?db=1", E::Option("db".into(), "password_file, ca".into())),
            ("redis://a?password_file=", E::Value("password_file".into())),
            ("redis://:p@a?password_file=/p", E::TwoPasswords),
        ] {
            assert_eq!(text.parse::<RedisUrl>(), Err(error), "{text}");
        }
    }

    #[test]
    fn whatever_is_written_hides_its_passwords() {
        for (text, shown) in [
            ("redis://u:secret@host", "redis://u:***@host"),
            ("redis://:se@cr/et@host/x", "redis://:***@host/x"),
            ("nonsense://u:secret@", "nonsense://u:***@"),
            ("redis://u@host", "redis://u@host"),
            ("redb:/var/lib/greylag", "redb:/var/lib/greylag"),
            ("unix:u:secret@/run/r.sock", "unix:u:***@/run/r.sock"),
            ("unix://u:secret@/run/r.sock", "unix://u:***@/run/r.sock"),
            ("redis://u:what?secret@host", "redis://u:***@host"),
            ("store = \"redis://u:it's@host\" # x@y", "store = \"redis://u:***@host\" # x@y"),
            ("store = 'redis://u:a\"b@host' # x@y", "store = 'redis://u:***@host' # x@y"),
            ("store = \"redis://u:secret@host # x", "store = \"redis://u:***@host # x"),
            ("store = redis://u:secret@host", "store = redis://u:***@host"),
            (r#"store = "redis://u:se\"cret@host" # x@y"#, r#"store = "redis://u:***@host" # x@y"#),
            (r#"store = "redis://u:secret\\" # x:y@z"#, r#"store = "redis://u:secret\\" # x:y@z"#),
            ("redis:u:secret@host", "redis:u:***@host"),
            ("reddis:u:secret@host", "reddis:u:***@host"),
            ("store = \"rediss+sentinel:u:secret@a,b/s\"", "store = \"rediss+sentinel:u:***@a,b/s\""),
            ("store=unix:u:secret@/run/r.sock", "store=unix:u:***@/run/r.sock"),
            ("redis://u:secret@redis-unix:6379/x", "redis://u:***@redis-unix:6379/x"),
            ("redis://unix:secret@redis:6379/x", "redis://unix:***@redis:6379/x"),
            ("redis://u:secret@a#://b", "redis://u:***@a#://b"),
        ] {
            assert_eq!(without_password(text), shown);
        }
    }
}
