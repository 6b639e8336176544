//! Connections: to one server, to the master the Sentinels name, to a Cluster.

use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use redis::cluster::ClusterClient;
use redis::cluster_async::ClusterConnection;
use redis::cluster_routing::{MultipleNodeRoutingInfo, ResponsePolicy, RoutingInfo, SingleNodeRoutingInfo};
use redis::{
    AsyncConnectionConfig, Client, Cmd, ConnectionAddr, ConnectionInfo, FromRedisValue, IntoConnectionInfo,
    RedisConnectionInfo, RedisError, TlsCertificates, Value, cmd,
};

use tokio::net::UnixStream;
use tokio::time::timeout;

use super::fault::{self, RedisFault};
use super::info::Info;
use super::secret::Secret;
use super::turns::{self, Server};
use super::url::{Login, Place, RedisUrl, Topology};

/// The environment variable that holds the password when neither the URL nor a file does.
pub(super) const PASSWORD_VARIABLE: &str = "GREYLAG_STORE_PASSWORD";
/// Longest time to connect to one server, TLS included.
const CONNECT_TIMEOUT: Duration = Duration::from_millis(700);
/// Longest time for one answer of one server.
pub(super) const RESPONSE_TIMEOUT: Duration = Duration::from_millis(500);
/// A request that met a moved slot or a closed connection is sent again so often.
const CLUSTER_RETRIES: u32 = 3;
/// Pauses before that, in milliseconds.
const CLUSTER_RETRY_WAIT: (u64, u64) = (5, 40);

/// A connection that many use at once. Cloning is cheap.
#[derive(Clone)]
pub(super) enum Connection {
    Server(Server),
    Cluster(ClusterConnection),
}

impl Connection {
    pub(super) async fn query<T: FromRedisValue>(&self, command: &Cmd) -> Result<T, RedisError> {
        match self {
            Self::Server(server) => command.query_async(&mut server.connection.clone()).await,
            Self::Cluster(connection) => command.query_async(&mut connection.clone()).await,
        }
    }

    /// Asks the server, or every master of a Cluster for one answer of all.
    pub(super) async fn query_all_masters(&self, command: Cmd) -> Result<Value, RedisError> {
        match self {
            Self::Server(_) => self.query(&command).await,
            Self::Cluster(connection) => {
                let all = RoutingInfo::MultiNode((
                    MultipleNodeRoutingInfo::AllMasters,
                    Some(ResponsePolicy::AllSucceeded),
                ));
                connection.clone().route_command(command, all).await
            }
        }
    }

    /// Asks the server, or whichever of a Cluster.
    pub(super) async fn query_any_node(&self, command: Cmd) -> Result<Value, RedisError> {
        match self {
            Self::Server(_) => self.query(&command).await,
            Self::Cluster(connection) => {
                let any = RoutingInfo::SingleNode(SingleNodeRoutingInfo::Random);
                connection.clone().route_command(command, any).await
            }
        }
    }
}

impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Server(_) => "Server",
            Self::Cluster(_) => "Cluster",
        })
    }
}

/// Where to connect, with every password and certificate at hand.
#[derive(Debug)]
pub(super) struct Endpoint {
    url: RedisUrl,
    login: Credentials,
    sentinel_login: Credentials,
    ca: Option<Vec<u8>>,
    response_timeout: Duration,
    /// How many of several hosts were asked so far.
    asked: AtomicUsize,
}

#[derive(Debug)]
struct Credentials {
    user: Option<String>,
    password: Option<Secret>,
}

/// A connection, and what the server says of itself; of a Cluster, one of its nodes.
pub(super) struct Dialled {
    pub(super) connection: Connection,
    pub(super) info: Info,
    pub(super) place: Place,
}

impl Endpoint {
    /// Reads what the URL names. `environment` looks variables up.
    pub(super) fn new(
        url: RedisUrl,
        response_timeout: Duration,
        environment: impl Fn(&str) -> Option<String>,
    ) -> Result<Self, RedisFault> {
        let mut login = Credentials::read(&url.login)?;
        // Set to nothing is not set, as a unit file or a Compose file may have it.
        let variable = || environment(PASSWORD_VARIABLE).filter(|password| !password.is_empty());
        login.password = login.password.or_else(|| variable().map(Secret::new));
        let sentinel_login = Credentials::read(&url.sentinel_login)?;
        let ca = match url.tls.as_ref().and_then(|tls| tls.ca.as_ref()) {
            Some(path) => Some(std::fs::read(path).map_err(|source| RedisFault::File {
                what: "certificates",
                path: path.clone(),
                source,
            })?),
            None => None,
        };
        if url.tls.is_some() {
            // It fails where one is installed already, which is as good.
            let _ = rustls::crypto::ring::default_provider().install_default();
        }
        Ok(Self { url, login, sentinel_login, ca, response_timeout, asked: AtomicUsize::new(0) })
    }

    /// The URL, for people.
    pub(super) const fn url(&self) -> &RedisUrl {
        &self.url
    }

    pub(super) const fn is_cluster(&self) -> bool {
        matches!(self.url.topology, Topology::Cluster(_))
    }

    /// As whom the servers know us.
    pub(super) fn user(&self) -> &str {
        self.login.name()
    }

    /// Connects, and sees that the other side is what the URL says.
    pub(super) async fn dial(&self) -> Result<Dialled, RedisFault> {
        match &self.url.topology {
            Topology::Standalone(place) => {
                let (connection, info) = self.server(place, &self.login, self.url.database).await?;
                match () {
                    () if info.is_sentinel() => Err(RedisFault::IsSentinel { place: place.to_string() }),
                    () if info.is_cluster() => Err(RedisFault::IsCluster { place: place.to_string() }),
                    () if info.is_replica() => {
                        Err(RedisFault::Replica { place: place.to_string(), master: info.master() })
                    }
                    () => {
                        Ok(Dialled { connection: Connection::Server(connection), info, place: place.clone() })
                    }
                }
            }
            Topology::Sentinel { sentinels, service } => self.master(sentinels, service).await,
            Topology::Cluster(nodes) => self.cluster(nodes).await,
        }
    }

    /// The hosts of a URL one after the other, each once, from the one after that which was asked last: a dial that ends because the
    /// first of them are dead goes on behind them the next time. One that answered is put back, and asked first.
    fn in_turn<'a>(&'a self, places: &'a [Place]) -> impl Iterator<Item = &'a Place> {
        places.iter().filter_map(|_| {
            let asked = self.asked.fetch_add(1, Ordering::Relaxed);
            places.get(asked.checked_rem(places.len())?)
        })
    }

    fn put_back(&self) {
        self.asked.fetch_sub(1, Ordering::Relaxed);
    }

    /// One server, logged in, with the database selected.
    async fn server(
        &self,
        place: &Place,
        login: &Credentials,
        database: u32,
    ) -> Result<(Server, Info), RedisFault> {
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(CONNECT_TIMEOUT))
            .set_response_timeout(Some(self.response_timeout));
        let unreachable = |error: RedisError| unreachable(place, &error);
        // User, password and database are not left to the library, which does not tell what the server says of them.
        let connected = timeout(CONNECT_TIMEOUT, self.connect(place, config)).await;
        let server = connected
            .unwrap_or_else(|_| Err(unreachable(io::Error::from(io::ErrorKind::TimedOut).into())))?;
        let mut connection = server.connection.clone();
        if login.user.is_some() || login.password.is_some() {
            let mut auth = cmd("AUTH");
            if let Some(user) = &login.user {
                auth.arg(user);
            }
            auth.arg(login.password());
            let answer = auth.query_async::<()>(&mut connection).await;
            answer.map_err(|error| match fault::is_from_server(&error) {
                true if fault::is_about_login(&error) => RedisFault::WrongPassword {
                    place: place.to_string(),
                    user: login.name().to_owned(),
                    error: fault::server_text(&error),
                },
                // It is full, loads its data, is busy: it may take the same password in a moment.
                true => error.into(),
                false => unreachable(error),
            })?;
        }
        let refused = |error: RedisError| refused(place, login.name(), error);
        let info: String = cmd("INFO").query_async(&mut connection).await.map_err(refused)?;
        if database != 0 {
            let answer = cmd("SELECT").arg(database).query_async::<()>(&mut connection).await;
            answer.map_err(|error| match error.code() {
                Some("NOPERM") | None => refused(error),
                Some(_) => RedisFault::NoDatabase {
                    place: place.to_string(),
                    database,
                    error: fault::server_text(&error),
                },
            })?;
        }
        Ok((server, Info::parse(&info)))
    }

    async fn connect(&self, place: &Place, config: AsyncConnectionConfig) -> Result<Server, RedisFault> {
        let unreachable = |error: RedisError| unreachable(place, &error);
        let settings = RedisConnectionInfo::default().set_skip_set_lib_name();
        let server = match (place, &self.url.tls) {
            (Place::Unix(path), _) => {
                let stream = UnixStream::connect(path).await.map_err(|error| unreachable(error.into()))?;
                Server::over(stream, &settings, config).await
            }
            (Place::Tcp(host, port), None) => {
                let stream = turns::connect(host, *port).await.map_err(|error| unreachable(error.into()))?;
                Server::over(stream, &settings, config).await
            }
            (Place::Tcp(..), Some(_)) => {
                let client = self.client(place)?;
                let connection = client.get_multiplexed_async_connection_with_config(&config).await;
                connection.map(Server::of_library)
            }
        };
        server.map_err(unreachable)
    }

    fn client(&self, place: &Place) -> Result<Client, RedisFault> {
        let broken = |error: RedisError| tls_fault(place, &error);
        let settings = RedisConnectionInfo::default().set_skip_set_lib_name();
        let info = self.address(place).into_connection_info().map_err(broken)?.set_redis_settings(settings);
        match &self.ca {
            Some(_) => Client::build_with_tls(info, self.certificates()).map_err(broken),
            None => Client::open(info).map_err(broken),
        }
    }

    fn address(&self, place: &Place) -> ConnectionAddr {
        match (place, &self.url.tls) {
            (Place::Unix(path), _) => ConnectionAddr::Unix(path.clone()),
            (Place::Tcp(host, port), None) => ConnectionAddr::Tcp(host.clone(), *port),
            (Place::Tcp(host, port), Some(_)) => {
                ConnectionAddr::TcpTls { host: host.clone(), port: *port, insecure: false, tls_params: None }
            }
        }
    }

    fn certificates(&self) -> TlsCertificates {
        TlsCertificates { client_tls: None, root_cert: self.ca.clone() }
    }

    /// Asks one Sentinel after the other for the master, until one names a server that says so itself: who was cut off for a
    /// while may still name the old one.
    async fn master(&self, sentinels: &[Place], service: &str) -> Result<Dialled, RedisFault> {
        let mut worst: Option<RedisFault> = None;
        let mut tried: Vec<Place> = Vec::new();
        for sentinel in self.in_turn(sentinels) {
            let fault = match self.named_master(sentinel, service).await {
                Ok(place) if tried.contains(&place) => continue,
                Ok(place) => {
                    let found = self.server(&place, &self.login, self.url.database).await;
                    tried.push(place.clone());
                    match found {
                        Ok((connection, info)) if !info.is_replica() => {
                            self.put_back();
                            return Ok(Dialled { connection: Connection::Server(connection), info, place });
                        }
                        Ok(_) => RedisFault::Unreachable {
                            place: place.to_string(),
                            error: format!(
                                "the Sentinel at {sentinel} names it master of {service:?}, but it is a replica"
                            ),
                        },
                        Err(fault) => fault,
                    }
                }
                Err(fault) => fault,
            };
            // What a human has to change is worth more to know than who else was not reached.
            if worst.as_ref().is_none_or(|worst| !worst.is_configuration()) {
                worst = Some(fault);
            }
        }
        Err(worst.unwrap_or(RedisFault::LeftAlone))
    }

    async fn named_master(&self, sentinel: &Place, service: &str) -> Result<Place, RedisFault> {
        let (server, info) = self.server(sentinel, &self.sentinel_login, 0).await?;
        if !info.is_sentinel() {
            return Err(RedisFault::NoSentinel { place: sentinel.to_string() });
        }
        let refused = |error: RedisError| refused(sentinel, self.sentinel_login.name(), error);
        let mut ask = cmd("SENTINEL");
        ask.arg("GET-MASTER-ADDR-BY-NAME").arg(service);
        let address: Option<(String, u16)> =
            ask.query_async(&mut server.connection.clone()).await.map_err(refused)?;
        match address {
            Some((host, port)) => Ok(Place::Tcp(host, port)),
            None => {
                let known = info.services();
                let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
                Err(RedisFault::UnknownService {
                    place: sentinel.to_string(),
                    service: service.to_owned(),
                    known,
                })
            }
        }
    }

    /// Looks at one node first, whose answers are plain; then lets the library find the others.
    async fn cluster(&self, nodes: &[Place]) -> Result<Dialled, RedisFault> {
        let mut last = RedisFault::LeftAlone;
        for node in self.in_turn(nodes) {
            match self.server(node, &self.login, 0).await {
                Ok((_, info)) if info.is_sentinel() => {
                    return Err(RedisFault::IsSentinel { place: node.to_string() });
                }
                Ok((_, info)) if !info.is_cluster() => {
                    return Err(RedisFault::NoCluster { place: node.to_string() });
                }
                Ok((_, info)) => {
                    self.put_back();
                    let client = self.cluster_client(nodes).map_err(|error| tls_fault(node, &error))?;
                    let connection = client.get_async_connection().await;
                    let connection = connection.map_err(|error| refused(node, self.login.name(), error))?;
                    return Ok(Dialled {
                        connection: Connection::Cluster(connection),
                        info,
                        place: node.clone(),
                    });
                }
                Err(fault) if fault.is_configuration() => return Err(fault),
                Err(fault) => last = fault,
            }
        }
        Err(last)
    }

    fn cluster_client(&self, nodes: &[Place]) -> Result<ClusterClient, RedisError> {
        let nodes = nodes.iter().map(|node| self.address(node).into_connection_info());
        let nodes: Vec<ConnectionInfo> = nodes.collect::<Result<_, _>>()?;
        let (shortest_wait, longest_wait) = CLUSTER_RETRY_WAIT;
        let mut builder = ClusterClient::builder(nodes)
            .retries(CLUSTER_RETRIES)
            .min_retry_wait(shortest_wait)
            .max_retry_wait(longest_wait)
            .connection_timeout(CONNECT_TIMEOUT)
            .response_timeout(self.response_timeout);
        if let Some(user) = &self.login.user {
            builder = builder.username(user);
        }
        if self.login.user.is_some() || self.login.password.is_some() {
            builder = builder.password(self.login.password());
        }
        if self.ca.is_some() {
            builder = builder.certs(self.certificates());
        }
        builder.build()
    }
}

impl Credentials {
    fn read(login: &Login) -> Result<Self, RedisFault> {
        let password = match &login.password_file {
            Some(path) => Some(Secret::read(path)?),
            None => login.password.clone(),
        };
        Ok(Self { user: login.user.clone(), password })
    }

    /// The user, for people.
    fn name(&self) -> &str {
        self.user.as_deref().unwrap_or("default")
    }

    /// What AUTH sends: a user may have none.
    fn password(&self) -> &str {
        self.password.as_ref().map_or("", Secret::reveal)
    }
}

/// What a failure to connect means.
fn unreachable(place: &Place, error: &RedisError) -> RedisFault {
    match fault::is_tls(error) {
        true => tls_fault(place, error),
        false => RedisFault::Unreachable { place: place.to_string(), error: error.to_string() },
    }
}

fn tls_fault(place: &Place, error: &RedisError) -> RedisFault {
    RedisFault::Tls { place: place.to_string(), error: error.to_string() }
}

/// What it means that the server did not do as it was told.
pub(super) fn refused(place: &Place, user: &str, error: RedisError) -> RedisFault {
    let place_text = || place.to_string();
    match error.code() {
        Some("NOAUTH") => RedisFault::NoPassword { place: place_text(), variable: PASSWORD_VARIABLE },
        Some("NOPERM") => RedisFault::NoRight {
            place: place_text(),
            user: user.to_owned(),
            missing: fault::missing_right(error.detail().unwrap_or_default(), None)
                .unwrap_or_else(|| fault::server_text(&error)),
        },
        Some(_) => error.into(),
        None => unreachable(place, &error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_variable_without_a_password_is_none() {
        let login = |variable: &str| {
            let url = "redis://r".parse().unwrap();
            let endpoint = Endpoint::new(url, RESPONSE_TIMEOUT, |_| Some(variable.to_owned())).unwrap();
            endpoint.login.password.map(|password| password.reveal().to_owned())
        };
        assert_eq!(login(""), None);
        assert_eq!(login("x"), Some("x".to_owned()));
    }

    #[test]
    fn a_dial_goes_on_where_the_last_one_ended() {
        let url = "redis://r".parse().unwrap();
        let endpoint = Endpoint::new(url, RESPONSE_TIMEOUT, |_| None).unwrap();
        let places = [1, 2, 3].map(|port| Place::Tcp("r".into(), port));
        let asked = |count: usize| -> Vec<String> {
            endpoint.in_turn(&places).take(count).map(ToString::to_string).collect()
        };
        assert_eq!(asked(2), ["r:1", "r:2"]);
        assert_eq!(asked(9), ["r:3", "r:1", "r:2"]);
        endpoint.put_back();
        assert_eq!(asked(1), ["r:2"]);
        assert_eq!(endpoint.in_turn(&[]).count(), 0);
    }
}
