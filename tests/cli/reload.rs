//! Policies that change under the running daemon: by a changed file, SIGHUP and `greylag reload`.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;
use std::thread::sleep;
use std::time::Duration;

use crate::support::greylag::{Greylag, Setup};
use crate::support::process::{eventually, temp_dir};
use crate::{Outcome, outcome};

/// Runs a command that asks this daemon.
fn ask(greylag: &Greylag, arguments: &[&str]) -> Outcome {
    let control = format!("unix:{}", greylag.control_socket().display());
    outcome(Command::new(env!("CARGO_BIN_EXE_greylag")).args(arguments).args(["--control", &control]))
}

fn generation(greylag: &Greylag) -> f64 {
    greylag.metrics().sum("greylag_policy_generation", &[])
}

fn failed(greylag: &Greylag) -> f64 {
    greylag.metrics().sum("greylag_policy_reload_failed", &[])
}

/// Waits for a policy that a file brought and whose changes, as they are logged, contain this.
fn reloads(greylag: &Greylag, change: &str) {
    let parts = ["INFO policy reloaded", "cause=file_change", change];
    eventually(change, || greylag.log_lines(&parts).len() == 1);
}

#[test]
fn a_saved_file_is_in_force_at_once_and_the_log_says_what_changed() {
    let greylag = Greylag::start(Setup::default());
    let policies = greylag.policies();
    assert_eq!((generation(&greylag), failed(&greylag)), (1.0, 0.0));
    fs::write(policies.join("greylist.toml"), "min_delay = \"300s\"\n").unwrap();
    reloads(&greylag, r#"changes="greylist.min_delay: \"2m\" -> \"5m\"""#);
    assert_eq!((generation(&greylag), failed(&greylag)), (2.0, 0.0));

    // As editors save: a new file in the place of the old one.
    let draft = policies.join(".greylist.toml.swp");
    fs::write(&draft, "min_delay = \"60s\"\n").unwrap();
    fs::rename(&draft, policies.join("greylist.toml")).unwrap();
    reloads(&greylag, r#"changes="greylist.min_delay: \"5m\" -> \"1m\"""#);

    // A directory that was not there, and then a file in it.
    fs::create_dir(policies.join("lists")).unwrap();
    fs::write(policies.join("lists/own.txt"), "a.test\nb.test\n").unwrap();
    fs::write(policies.join("helo.toml"), "banned_names = [\"file:lists/own.txt\"]\n").unwrap();
    reloads(&greylag, r#"-> [\"file:lists/own.txt\"]"#);
    fs::write(policies.join("lists/own.txt"), "b.test\nc.test\nd.test\n").unwrap();
    reloads(&greylag, "changes=\"helo.banned_names: 2 entries added, 1 removed\"");
}

#[test]
fn a_bad_policy_is_refused_logged_once_and_shown_until_it_is_mended() {
    let greylag = Greylag::start(Setup::default());
    let helo = greylag.policies().join("helo.toml");
    let refusals = || greylag.log_lines(&["ERROR", "policy not reloaded, the one before stays in force"]);
    fs::write(&helo, "mdoe = \"off\"\nmissing = 1\n").unwrap();
    eventually("the refusal", || failed(&greylag) == 1.0);
    // In the log a moment after it is said.
    eventually("the refusal in the log", || !refusals().is_empty());
    let [logged] = <[String; 1]>::try_from(refusals()).unwrap();
    let first =
        "helo.toml:1:1: unknown setting `mdoe`: the helo check has no such setting (did you mean `mode`?)";
    assert!(logged.contains(first) && logged.contains("helo.toml:2:11: "), "{logged}");

    // The same text again, as often as it may be saved, is not told again.
    for _ in 0..3 {
        fs::write(&helo, "mdoe = \"off\"\nmissing = 1\n").unwrap();
        sleep(Duration::from_millis(300));
    }
    assert_eq!(refusals().len(), 1);
    assert_eq!(generation(&greylag), 1.0);

    // Who asks is told.
    let found = ask(&greylag, &["reload"]);
    assert_eq!(found.code, Some(78), "{found:?}");
    assert_eq!(found.out, "policy refused: generation 1 stays in force\n");
    assert!(found.errors.contains("helo.toml:1:1\n") && found.errors.contains("^^^^"), "{}", found.errors);
    let found = ask(&greylag, &["status"]);
    assert_eq!(found.code, Some(1), "{found:?}");
    assert!(found.out.contains("the last reload was refused"), "{}", found.out);

    // Mended, even to what it was before: the gauge shows it.
    fs::remove_file(&helo).unwrap();
    eventually("the mended policy", || failed(&greylag) == 0.0);
    assert_eq!(ask(&greylag, &["status"]).code, Some(0));
}

#[test]
fn a_directory_that_is_empty_for_a_moment_keeps_the_policy_in_force() {
    let policies = [("helo.toml", "mode = \"off\"\n")];
    let greylag = Greylag::start(Setup { policies: &policies, ..Setup::default() });
    let (directory, aside) = (greylag.policies(), greylag.policies().with_file_name("aside"));
    fs::rename(&directory, &aside).unwrap();
    fs::create_dir(&directory).unwrap();
    let empty = format!("problems=\"{}: holds no policy file (*.toml) (", directory.display());
    eventually("the refusal", || greylag.log_lines(&["ERROR policy not reloaded", &empty]).len() == 1);
    assert_eq!((generation(&greylag), failed(&greylag)), (1.0, 1.0));
    let found = ask(&greylag, &["reload"]);
    assert!(found.errors.contains(&format!("--> {}\n", directory.display())), "{}", found.errors);

    fs::copy(aside.join("helo.toml"), directory.join("helo.toml")).unwrap();
    eventually("the files that came back", || failed(&greylag) == 0.0);
    assert!(greylag.log_lines(&["policy reloaded", "helo.mode"]).is_empty(), "it was never another one");
}

#[test]
fn tests_that_are_broken_keep_no_policy_back() {
    let mut greylag = Greylag::start(Setup::default());
    let tests = greylag.policies().join("tests");
    fs::create_dir(&tests).unwrap();
    for name in ["old.eml", "old.toml"] {
        symlink("/nonexistent", tests.join(name)).unwrap();
    }
    fs::write(tests.join("new.toml"), "[[case]").unwrap();
    fs::write(greylag.policies().join("helo.toml"), "mode = \"monitor\"\n").unwrap();
    reloads(&greylag, r#"changes="helo.mode: \"enforce\" -> \"monitor\"""#);
    assert_eq!(failed(&greylag), 0.0);
    greylag.restart();
    assert_eq!(ask(&greylag, &["status"]).code, Some(0));
}

#[test]
fn a_signal_and_the_control_socket_reload_at_once() {
    let greylag = Greylag::start(Setup::default());
    let helo = greylag.policies().join("helo.toml");
    fs::write(&helo, "mode = \"monitor\"\n").unwrap();
    let found = ask(&greylag, &["reload"]);
    assert_eq!((found.code, found.errors.as_str()), (Some(0), ""));
    // The changed file may have been noticed first.
    let generation = generation(&greylag);
    assert!(found.out.starts_with(&format!("policy reloaded, generation {generation}\n  ")), "{}", found.out);
    let change = r#"helo.mode: \"enforce\" -> \"monitor\""#;
    eventually("the reload in the log", || greylag.log_lines(&["INFO policy reloaded", change]).len() == 1);

    greylag.hang_up();
    let parts = ["INFO policy reloaded", "cause=signal", "changes=none"];
    eventually("the reload by signal", || greylag.log_lines(&parts).len() == 1);
    let found = ask(&greylag, &["reload", "--json"]);
    let report: serde_json::Value = serde_json::from_str(&found.out).unwrap();
    assert_eq!(report["generation"].as_f64(), Some(generation + 2.0));
    assert_eq!(report["outcome"], "reloaded");
    assert_eq!(report["changes"], serde_json::json!([]));
    let found = ask(&greylag, &["status", "--json"]);
    let status: serde_json::Value = serde_json::from_str(&found.out).unwrap();
    assert_eq!(status["policy"]["generation"].as_f64(), Some(generation + 2.0));
    assert_eq!(status["policy"]["directory"], greylag.policies().to_str().unwrap());
}

#[test]
fn a_linked_directory_is_followed_when_the_link_changes() {
    let greylag = Greylag::start(Setup::default());
    let policies = greylag.policies();
    let versions = temp_dir();
    let version = |name: &str, text: &str| {
        let path = versions.path().join(name);
        fs::create_dir(&path).unwrap();
        fs::write(path.join("helo.toml"), text).unwrap();
        path
    };
    let (one, two) = (version("one", "mode = \"monitor\"\n"), version("two", "mode = \"off\"\n"));
    let switch = |to: &Path| {
        let next = policies.with_file_name("next");
        symlink(to, &next).unwrap();
        fs::rename(&next, &policies).unwrap();
    };
    fs::remove_dir_all(&policies).unwrap();
    let missing = format!(
        "problems=\"{}: cannot be read: No such file or directory (os error 2)\"",
        policies.display()
    );
    eventually("the missing directory", || greylag.log_lines(&["policy not reloaded", &missing]).len() == 1);
    switch(&one);
    reloads(&greylag, r#"changes="helo.mode: \"enforce\" -> \"monitor\"""#);
    switch(&two);
    reloads(&greylag, r#"changes="helo.mode: \"monitor\" -> \"off\"""#);
    // Where the link leads to now is watched.
    fs::write(two.join("greylist.toml"), "min_delay = \"300s\"\n").unwrap();
    reloads(&greylag, r#"changes="greylist.min_delay: \"2m\" -> \"5m\"""#);
    assert_eq!(generation(&greylag), 4.0);
}

#[test]
fn a_directory_above_is_followed_when_it_is_replaced_and_when_it_comes_back() {
    let greylag = Greylag::start(Setup::default());
    let root = temp_dir();
    let path = |name: &str| root.path().join(name);
    let fill = |name: &str, text: &str| {
        fs::create_dir_all(path(name).join("policies")).unwrap();
        fs::write(path(name).join("policies/helo.toml"), text).unwrap();
    };
    fill("greylag", "mode = \"monitor\"\n");
    fs::remove_dir_all(greylag.policies()).unwrap();
    symlink(path("greylag/policies"), greylag.policies()).unwrap();
    reloads(&greylag, r#"changes="helo.mode: \"enforce\" -> \"monitor\"""#);

    fill("greylag.new", "mode = \"off\"\n");
    fs::rename(path("greylag"), path("greylag.old")).unwrap();
    fs::rename(path("greylag.new"), path("greylag")).unwrap();
    reloads(&greylag, r#"changes="helo.mode: \"monitor\" -> \"off\"""#);
    // The directory that is there now is watched.
    fill("greylag", "mode = \"enforce\"\n");
    reloads(&greylag, r#"changes="helo.mode: \"off\" -> \"enforce\"""#);

    fs::remove_dir_all(path("greylag")).unwrap();
    eventually("the refusal", || failed(&greylag) == 1.0);
    fill("greylag", "missing = \"tag\"\n");
    reloads(&greylag, r#"changes="helo.missing: \"reject\" -> \"tag\"""#);
    assert_eq!(failed(&greylag), 0.0);
}

#[test]
fn a_socket_in_use_is_an_error_and_one_left_behind_is_taken_over() {
    let mut greylag = Greylag::start(Setup::default());
    let control = format!("unix:{}", greylag.control_socket().display());
    let mut command = Command::new(env!("CARGO_BIN_EXE_greylag"));
    command.args(["serve", "--store", "memory:", "--control", &control]);
    for service in ["--milter", "--policy", "--admin"] {
        command.args([service, "127.0.0.1:0"]);
    }
    let found = outcome(&mut command);
    assert_eq!(found.code, Some(69), "{}", found.errors);
    let error = format!("cannot listen at {control} (control): Address already in use");
    assert!(found.errors.contains(&error) && found.errors.contains("another Greylag"), "{}", found.errors);

    greylag.kill();
    assert!(greylag.control_socket().exists());
    let found = ask(&greylag, &["status"]);
    assert_eq!((found.code, found.out.as_str()), (Some(69), ""));
    assert!(found.errors.starts_with("greylag: no Greylag answers at "), "{}", found.errors);
    greylag.start_again();
    assert_eq!(ask(&greylag, &["status"]).code, Some(0));
}
