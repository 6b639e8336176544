//! How `greylag serve` begins, and why it does not; how it ends.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;
use std::thread::sleep;
use std::time::Duration;

use crate::support::greylag::{Greylag, Setup, Store};
use crate::support::milter::{ask, tell};
use crate::support::process::{Process, loopback, temp_dir};
use crate::{Outcome, outcome};

/// `greylag serve` on ports of the system's choice, for runs that are to fail.
fn serve(arguments: &[&str]) -> Outcome {
    let dir = temp_dir();
    let mut command = Command::new(env!("CARGO_BIN_EXE_greylag"));
    command.env("STATE_DIRECTORY", dir.path()).arg("serve");
    for service in ["--milter", "--policy", "--admin"] {
        if !arguments.contains(&service) {
            command.args([service, "127.0.0.1:0"]);
        }
    }
    outcome(command.args(arguments))
}

#[test]
fn wrong_configuration_is_78_and_shown_where_it_stands() {
    let dir = temp_dir();
    let path = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    fs::write(path("greylag.toml"), "mliter = [\"127.0.0.1:0\"]\n").unwrap();
    fs::create_dir(path("policies")).unwrap();
    fs::write(path("policies/helo.toml"), "mode = \"onn\"\n").unwrap();
    fs::create_dir(path("empty")).unwrap();
    symlink("/nonexistent", path("dangling.toml")).unwrap();
    for (arguments, parts) in [
        (["--config", &path("greylag.toml")], &["greylag.toml:1:1", "did you mean `milter`?"][..]),
        (["--config", "/nonexistent.toml"], &["cannot be read", "/nonexistent.toml"]),
        (["--config", &path("dangling.toml")], &["cannot be read", "/dangling.toml"]),
        (["--policies", &path("policies")], &["policies/helo.toml:1:8", "onn"]),
        (["--policies", "/nonexistent"], &["cannot be read", "/nonexistent"]),
        (["--policies", &path("empty")], &["holds no policy file (*.toml)", "/empty", "help: "]),
        (["--store", "garbage"], &["\"garbage\" names no store: expected \"memory:\""]),
        (["--store", "redb://var/lib"], &["write the path right behind the colon"]),
    ] {
        let found = serve(&arguments);
        assert_eq!((found.code, found.out.as_str()), (Some(78), ""), "{arguments:?}: {}", found.errors);
        for part in parts {
            assert!(found.errors.contains(part), "{arguments:?}: no {part:?} in {}", found.errors);
        }
    }
}

#[test]
fn what_is_in_use_is_69_and_named() {
    let taken = TcpListener::bind(loopback(0)).unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let found = serve(&["--store", "memory:", "--policy", &address]);
    let error = format!("greylag: cannot listen at {address} (policy): Address already in use");
    assert!(found.errors.contains(&error), "{}", found.errors);
    assert!(found.errors.contains("is another Greylag running?"), "{}", found.errors);
    assert_eq!(found.code, Some(69));

    let running = Greylag::start(Setup { store: Store::Embedded, ..Setup::default() });
    let store = running.store_directory();
    let found = serve(&["--store", &format!("redb:{}", store.display())]);
    let error = "is in use: is another Greylag running on it?";
    assert!(
        found.errors.contains(error) && found.errors.contains(store.to_str().unwrap()),
        "{}",
        found.errors
    );
    assert_eq!(found.code, Some(69));
}

/// `greylag serve` that answers by three threads and has room for so many in all. A limit of memory does what one of threads would,
/// which does not hold for root.
fn serve_with_threads(threads: u64, policies: &Path) -> Outcome {
    const STACK: u64 = 1 << 30;
    /// All else takes half of it; what is over is less than a stack.
    const OTHERS: u64 = 900 << 20;
    let dir = temp_dir();
    let mut command = Command::new("sh");
    let limit = format!("ulimit -v {}; exec \"$@\"", (threads * STACK + OTHERS) >> 10);
    command.args(["-c", &limit, "sh", env!("CARGO_BIN_EXE_greylag"), "serve", "--store", "memory:"]);
    command.env("RUST_MIN_STACK", STACK.to_string()).env("TOKIO_WORKER_THREADS", "3");
    command.env("STATE_DIRECTORY", dir.path()).arg("--policies").arg(policies);
    for service in ["--milter", "--policy", "--admin"] {
        command.args([service, "127.0.0.1:0"]);
    }
    outcome(&mut command)
}

#[test]
fn too_few_threads_are_69_and_not_a_daemon_that_does_nothing() {
    let policies = temp_dir();
    fs::write(policies.path().join("helo.toml"), "").unwrap();
    // The one that starts the others, and two of three.
    let found = serve_with_threads(3, policies.path());
    let error = "greylag: cannot start the threads that answer: OS can't spawn worker thread: \
                 Resource temporarily unavailable (os error 11); \
                 is the service's limit of threads (TasksMax=) too low for so many processors?\n";
    assert_eq!((found.code, found.errors.as_str()), (Some(69), error), "{}", found.out);

    // The log's, three that answer, the watch's, and none to read the policies.
    let found = serve_with_threads(5, policies.path());
    assert_eq!(found.code, Some(69), "{}{}", found.out, found.errors);
    assert!(found.errors.contains("ERROR policies can no longer be reloaded"), "{}", found.errors);
}

/// The warning in a log in JSON.
fn the_one_warning(greylag: &Greylag) -> serde_json::Value {
    let lines = greylag.log_lines(&[]);
    let events = lines.iter().map(|line| serde_json::from_str(line).expect("one line an event"));
    let mut warnings: Vec<serde_json::Value> =
        events.filter(|event: &serde_json::Value| event["level"] == "WARN").collect();
    assert_eq!(warnings.len(), 1, "{lines:?}");
    warnings.remove(0)
}

#[test]
fn warnings_of_the_policy_are_events_of_the_log() {
    let greylag = Greylag::start(Setup {
        policies: &[("helo.toml", "banned_names = [\"a.test\", \"a.test\"]\n"), ("notes.txt", "")],
        configuration: "log_format = \"json\"\n",
        ..Setup::default()
    });
    let warning = the_one_warning(&greylag);
    assert_eq!(warning["message"], "the policy has warnings");
    let problems = "helo.toml:1:27: \"a.test\" is listed twice: already in this list; \
                    notes.txt:1:1: notes.txt is not read: only *.toml, lists/*.txt and tests/*.toml are";
    assert_eq!(warning["problems"], problems);
}

#[test]
fn warnings_of_the_configuration_are_events_of_the_log() {
    let greylag = Greylag::start(Setup {
        configuration: "log_format = \"json\"\nmilter = [\"127.0.0.1:1\", \"127.0.0.1:1\"]\n",
        ..Setup::default()
    });
    let warning = the_one_warning(&greylag);
    assert_eq!(warning["message"], "the configuration has warnings");
    let problem = warning["problems"].as_str().unwrap().rsplit_once("greylag.toml:").unwrap().1;
    assert_eq!(problem, "2:26: 127.0.0.1:1 is listed twice: already in this list");
}

#[test]
fn a_signal_to_reload_that_comes_early_ends_nothing() {
    let dir = temp_dir();
    let pipe = dir.path().join("greylag.toml");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let mut command = Command::new(env!("CARGO_BIN_EXE_greylag"));
    command.env("STATE_DIRECTORY", dir.path()).arg("serve").arg("--config").arg(&pipe);
    for service in ["--milter", "--policy", "--admin"] {
        command.args([service, "127.0.0.1:0"]);
    }
    let mut greylag = Process::spawn(command.args(["--store", "memory:"]), &dir.path().join("log"));
    // It reads its configuration from here on, for as long as the test wants.
    let mut configuration = File::options().write(true).open(&pipe).unwrap();
    greylag.hang_up();
    sleep(Duration::from_millis(100));
    configuration.write_all(b"log_level = \"info\"\n").unwrap();
    drop(configuration);
    greylag
        .wait_until("serving", || fs::read_to_string(dir.path().join("log")).unwrap().contains(" serving "));
    greylag.begin_to_terminate();
    assert_eq!(greylag.wait(), Some(0));
}

#[test]
fn sigterm_lets_a_session_finish_and_ends_with_0() {
    let mut greylag = Greylag::start(Setup::default());
    let port = greylag.ports().milter;
    let mut mta = TcpStream::connect(loopback(port)).unwrap();
    mta.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    assert_eq!(ask(&mut mta, b"O\0\0\0\x06\0\0\x01\xff\0\x1f\xff\xff")[0], b'O');
    tell(&mut mta, b"C[198.51.100.10]\x004\xb8\x3c198.51.100.10\0");
    tell(&mut mta, b"Hlocalhost\0");
    // Idle, as Postfix keeps them: closed at once.
    let idle = TcpStream::connect(loopback(greylag.ports().policy)).unwrap();

    greylag.begin_to_terminate();
    let deadline = std::time::Instant::now() + Duration::from_secs(10);
    while TcpStream::connect(loopback(port)).is_ok() {
        assert!(std::time::Instant::now() < deadline, "still accepts connections");
        sleep(Duration::from_millis(20));
    }
    // Reset where the listener closed before it was accepted.
    assert_eq!((&idle).read(&mut [0]).unwrap_or(0), 0);

    // The session under way goes on as if nothing had happened.
    assert_eq!(ask(&mut mta, b"M<alice@sender.example>\0"), b"c");
    let refusal = ask(&mut mta, b"R<bob@example.test>\0");
    assert_eq!(String::from_utf8_lossy(&refusal), "y550 5.7.1 Access denied - bogus HELO [5]\0");
    mta.write_all(b"\0\0\0\x01Q").unwrap();
    assert_eq!(greylag.wait(), Some(0));
}
