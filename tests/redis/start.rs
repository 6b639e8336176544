//! What is said at start, and with what exit code.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use greylag::store::{ACL_RULES, Timestamp};

use super::support::greylag::{Greylag, Setup, Store};
use super::support::process;
use super::support::redis::{Cluster, Redis, Sentinels};
use super::{first_seen, fresh_attempt, open, open_watched};

/// The error of a store that must not open.
async fn refusal(url: &str) -> String {
    let fault = open(url).await.expect_err("the store is refused");
    assert!(fault.is_configuration(), "{fault}");
    fault.to_string()
}

async fn assert_works(url: &str) {
    let store = open(url).await.unwrap();
    assert_eq!(store.attempt(&fresh_attempt(), Timestamp::EPOCH).await.unwrap(), first_seen());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_is_reached_by_tcp_and_by_its_socket() {
    let redis = Redis::start("");
    for url in
        [redis.url(), format!("{}/3", redis.url()), redis.unix_url(), format!("{}?db=4", redis.unix_url())]
    {
        assert_works(&url).await;
    }
    assert_eq!(redis.ask(&["INFO", "keyspace"]).lines().count(), 4, "three databases and a headline");
}

#[tokio::test(flavor = "multi_thread")]
async fn passwords_are_asked_for_refused_and_read_from_where_they_are() {
    let redis = Redis::start("requirepass s3cret/@:%\nuser joe on >joes ~greylag:* +@all");
    let at = redis.address();
    assert_eq!(
        refusal(&redis.url()).await,
        format!(
            "Redis at {at} wants a password: put it into a file and name that with ?password_file=FILE in the URL, \
             or into the environment variable GREYLAG_STORE_PASSWORD"
        )
    );
    let wrong = "WRONGPASS invalid username-password pair or user is disabled.";
    for (login, user) in
        [(":wrong", "default"), ("joe:wrong", "joe"), ("nobody:joes", "nobody"), ("joe", "joe")]
    {
        assert_eq!(
            refusal(&format!("redis://{login}@{at}")).await,
            format!("Redis at {at} refuses the password of user {user:?}: {wrong}")
        );
    }
    let directory = process::temp_dir();
    let file = directory.path().join("password");
    std::fs::write(&file, "s3cret/@:%\n").unwrap();
    assert_works(&format!("redis://:s3cret%2F%40%3A%25@{at}")).await;
    assert_works(&format!("redis://{at}?password_file={}", file.display())).await;
    assert_works(&format!("redis://joe:joes@{at}")).await;
    let missing = refusal(&format!("redis://{at}?password_file=/nowhere")).await;
    assert_eq!(missing, "cannot read the password from /nowhere: No such file or directory (os error 2)");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_password_that_the_server_does_not_have_is_told() {
    let redis = Redis::start("");
    let told = refusal(&format!("redis://:x@{}", redis.address())).await;
    let expected = format!(
        "Redis at {} refuses the password of user \"default\": ERR AUTH <password> called",
        redis.address()
    );
    assert!(told.starts_with(&expected), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_full_is_waited_for_and_no_matter_of_the_password() {
    let redis = Redis::start("requirepass right\nmaxclients 1");
    // The one that it takes, once it is rid of the one that saw it start.
    let other = (0..1_000).find_map(|_| {
        let mut other = UnixStream::connect(redis.socket()).unwrap();
        other.write_all(b"PING\r\n").unwrap();
        let mut reply = [0; 7];
        (other.read_exact(&mut reply).is_ok() && reply == *b"-NOAUTH").then_some(other)
    });
    let other = other.expect("a connection");
    let changes = Arc::default();
    let store = open_watched(&format!("redis://:right@{}", redis.address()), &changes).await.unwrap();
    assert_eq!(*changes.lock().unwrap(), [false]);
    drop(other);
    let began = Instant::now();
    while changes.lock().unwrap().last() != Some(&true) {
        assert!(began.elapsed().as_secs() < 10, "not reached");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(store.attempt(&fresh_attempt(), Timestamp::EPOCH).await.unwrap(), first_seen());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_documented_rights_are_enough_and_each_missing_one_is_named() {
    let redis = Redis::start("");
    let user = |rules: &str| {
        let mut command = vec!["ACL", "SETUSER", "mail", "reset", "on", ">pass"];
        command.extend(rules.split_whitespace());
        assert_eq!(redis.ask(&command), "OK", "{rules}");
    };
    let url = format!("redis://mail:pass@{}", redis.address());
    user(ACL_RULES);
    assert_works(&url).await;
    let store = open(&url).await.unwrap();
    store.stats().await.unwrap();

    let told = |missing: &str| {
        format!(
            "Redis at {} does not let user \"mail\" use {missing}; allow it: ACL SETUSER mail {ACL_RULES}",
            redis.address()
        )
    };
    for command in ACL_RULES.split_whitespace().filter_map(|rule| rule.strip_prefix('+')) {
        // Needed elsewhere, or not at all.
        if ["auth", "select", "cluster|slots"].contains(&command) {
            continue;
        }
        user(&format!("{ACL_RULES} -{command}"));
        assert_eq!(refusal(&url).await, told(&format!("the command {command}")));
    }
    user(&format!("{ACL_RULES} -zadd -mget"));
    assert_eq!(refusal(&url).await, told("the command mget nor the command zadd"));
    user(&ACL_RULES.replace("~greylag:*", "~other:*"));
    assert_eq!(refusal(&url).await, told("keys that begin with greylag:"));
}

#[test]
fn the_shipped_user_has_the_documented_rights() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/redis/users.acl");
    let shipped = std::fs::read_to_string(path).unwrap();
    assert_eq!(shipped.lines().last().unwrap(), format!("user greylag on >CHANGE-ME {ACL_RULES}"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_is_refused() {
    let master = Redis::start("");
    let replica = Redis::start(&format!("replicaof 127.0.0.1 {}", master.port()));
    assert_eq!(
        refusal(&replica.url()).await,
        format!(
            "Redis at {} is a replica of {}: name the master in the URL, or the Sentinels, as in \
             redis+sentinel://HOST/SERVICE",
            replica.address(),
            master.address()
        )
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_of_another_kind_than_the_url_says_is_refused() {
    let (redis, cluster, sentinels) = (Redis::start(""), Cluster::start(), Sentinels::start());
    assert_works(&cluster.url()).await;
    assert_works(&sentinels.url()).await;

    let (at, node, sentinel) =
        (redis.address(), cluster.nodes[0].address(), sentinels.sentinels[0].address());
    for (url, told) in [
        (
            format!("redis://{node}"),
            format!(
                "Redis at {node} is a node of a Cluster: write redis+cluster://HOST:PORT (any of its nodes will do)"
            ),
        ),
        (format!("redis+cluster://{at}"), format!("Redis at {at} is no Cluster: write redis://{at}")),
        (
            format!("redis://{sentinel}"),
            format!("Redis at {sentinel} is a Sentinel: write redis+sentinel://{sentinel}/SERVICE"),
        ),
        (
            format!("redis+sentinel://{at}/greylag"),
            format!("Redis at {at} is no Sentinel: Sentinels listen on a port of their own, mostly 26379"),
        ),
        (
            format!("redis+sentinel://{sentinel}/other"),
            format!("the Sentinel at {sentinel} watches no service \"other\"; it watches greylag"),
        ),
        (
            format!("redis://{at}/99"),
            format!("Redis at {at} has no database 99: ERR DB index is out of range"),
        ),
    ] {
        assert_eq!(refusal(&url).await, told, "{url}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_without_scripts_is_refused() {
    for command in ["EVAL", "EVALSHA"] {
        let redis = Redis::start(&format!("rename-command {command} \"\""));
        let told = refusal(&redis.url()).await;
        let expected =
            format!("Redis at {} runs no Lua scripts (ERR unknown command '{command}'", redis.address());
        assert!(told.starts_with(&expected), "{told}");
        assert!(told.ends_with("Greylag needs EVAL and EVALSHA; do not rename or disable them"), "{told}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_of_a_later_version_or_of_somebody_else_is_left_alone() {
    let redis = Redis::start("");
    for (value, told) in [
        (
            "2 whatever",
            format!(
                "the store at {} has layout 2, and this version of Greylag knows layouts up to 1: run a later version, or \
                 use another database",
                redis.address()
            ),
        ),
        (
            "something",
            format!(
                "the key greylag:store in Redis at {} is not Greylag's: use another database, or delete it if nothing else \
                 needs it",
                redis.address()
            ),
        ),
    ] {
        redis.ask(&["SET", "greylag:store", value]);
        assert_eq!(refusal(&redis.url()).await, told);
        assert_eq!(redis.ask(&["GET", "greylag:store"]), value);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn tls_is_spoken_with_servers_that_are_trusted() {
    let directory = process::temp_dir();
    let [trusted, other] = ["trusted", "other"].map(|name| {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let [certificate, key] = ["pem", "key"].map(|end| directory.path().join(format!("{name}.{end}")));
        std::fs::write(&certificate, made.cert.pem()).unwrap();
        std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
        (certificate, key)
    });
    let redis = Redis::start_tls(&trusted.0, &trusted.1);
    let url = |ca: Option<&PathBuf>| {
        let option = ca.map(|path| format!("?ca={}", path.display())).unwrap_or_default();
        format!("rediss://localhost:{}{option}", redis.port())
    };
    assert_works(&url(Some(&trusted.0))).await;
    for ca in [None, Some(&other.0)] {
        let told = refusal(&url(ca)).await;
        assert!(told.starts_with(&format!("no TLS with Redis at localhost:{}: ", redis.port())), "{told}");
        assert!(told.contains("invalid peer certificate"), "{told}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_not_there_yet_is_waited_for() {
    let mut redis = Redis::start("");
    redis.kill();
    let changes = Arc::new(Mutex::new(Vec::new()));
    let store = open_watched(&redis.url(), &changes).await.unwrap();
    let fault = store.attempt(&fresh_attempt(), Timestamp::EPOCH).await.unwrap_err();
    assert_eq!(fault.to_string(), "Redis is not answering");
    redis.start_again();
    process::eventually("the store is back", || changes.lock().unwrap().last() == Some(&true));
    assert_eq!(store.attempt(&fresh_attempt(), Timestamp::EPOCH).await.unwrap(), first_seen());
    assert_eq!(*changes.lock().unwrap(), [false, true]);
}

/// Exit code and standard error of a `serve` that must not start.
fn serve(url: &str) -> (Option<i32>, String) {
    let directory = process::temp_dir();
    let output = Command::new(env!("CARGO_BIN_EXE_greylag"))
        .args([
            "serve",
            "--store",
            url,
            "--milter",
            "127.0.0.1:0",
            "--policy",
            "127.0.0.1:0",
            "--admin",
            "127.0.0.1:0",
        ])
        .current_dir(directory.path())
        .stdin(Stdio::null())
        .output()
        .unwrap();
    (output.status.code(), String::from_utf8(output.stderr).unwrap())
}

#[test]
fn the_daemon_ends_with_78_for_what_a_human_has_to_change() {
    let redis = Redis::start("requirepass right");
    let (code, told) = serve(&format!("redis://:wr0ng@{}", redis.address()));
    assert_eq!(code, Some(78), "{told}");
    let expected =
        format!("greylag: Redis at {} refuses the password of user \"default\": WRONGPASS", redis.address());
    assert!(told.contains(&expected), "{told}");
    assert!(!told.contains("wr0ng"), "{told}");
    let (code, told) = serve("redis://joe:wr0ng@a,b");
    assert_eq!(code, Some(78), "{told}");
    assert!(told.contains("there are several hosts") && !told.contains("wr0ng"), "{told}");
}

#[test]
fn the_daemon_serves_without_its_store_and_warns_of_one_that_forgets() {
    let mut redis = Redis::start("requirepass secret-word\nmaxmemory 100mb\nmaxmemory-policy allkeys-lru");
    redis.kill();
    let url = redis.url();
    let setup = Setup {
        store: Store::Url(&url),
        environment: &[("GREYLAG_STORE_PASSWORD", "secret-word")],
        may_be_unready: true,
        ..Setup::default()
    };
    let greylag = Greylag::start(setup);
    assert_eq!(greylag.readyz(), (503, "store: the greylist store does not answer\n".to_owned()));
    assert_eq!(greylag.metrics().sum("greylag_store_up", &[]), 0.0);
    // Events are in the log a moment after they are said.
    let logged = |parts: &[&str]| process::eventually(parts[1], || greylag.log_lines(parts).len() == 1);
    logged(&["ERROR", "the greylist store does not answer: on_store_failure decides until it does"]);
    redis.start_again();
    process::eventually("ready", || greylag.readyz().0 == 200);
    assert_eq!(greylag.metrics().sum("greylag_store_up", &[]), 1.0);
    logged(&["INFO", "the greylist store answers again"]);
    logged(&["WARN", "allkeys-lru", "maxmemory-policy noeviction"]);
    assert_eq!(greylag.log_lines(&["secret-word"]), Vec::<String>::new());
}
