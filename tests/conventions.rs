//! Rules of the house that no compiler checks.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

use std::path::{Path, PathBuf};
use std::process::Command;

/// Rooms without sockets and without a clock: time and answers come in as arguments.
const PURE: [&str; 7] =
    ["src/milter", "src/delegation", "src/policy", "src/facts", "src/filter", "src/checks", "src/content"];
/// The files in them that own a socket.
const IMPURE: [&str; 2] = ["src/milter/server.rs", "src/delegation/server.rs"];
/// What would break that.
const SOCKETS_AND_CLOCK: [&str; 7] =
    ["tokio", "std::net::Tcp", "TcpStream", "TcpListener", "UdpSocket", "SystemTime::now", "Instant::now"];
/// Where bytes are inflated, under one budget.
const INFLATING: &str = "src/content";
/// Crates that inflate.
const DECODERS: [&str; 8] =
    ["flate2", "zip::", "bzip2", "lzma_rust2", "ruzstd", "sevenz_rust2", "delharc", "cab::"];

const MAX_LINES: usize = 600;
const MAX_LINES_OF_MAIN: usize = 150;
/// What lies at the top beside dotfiles.
const TOP: [&str; 8] =
    ["Cargo.lock", "Cargo.toml", "README.md", "benches", "deploy", "policies", "src", "tests"];

#[test]
fn pure_rooms_have_no_sockets_and_no_clock() {
    let mut found = Vec::new();
    for path in sources().iter().filter(|path| PURE.iter().any(|room| path.starts_with(room))) {
        if IMPURE.iter().any(|file| path == Path::new(file)) {
            continue;
        }
        found.extend(uses(path, &SOCKETS_AND_CLOCK));
    }
    assert!(found.is_empty(), "sockets or clock in a room without:\n{}", found.join("\n"));
}

#[test]
fn only_the_content_room_inflates() {
    let outside =
        sources().into_iter().filter(|path| path.starts_with("src") && !path.starts_with(INFLATING));
    let found: Vec<String> = outside.flat_map(|path| uses(&path, &DECODERS)).collect();
    assert!(found.is_empty(), "decoders outside {INFLATING}:\n{}", found.join("\n"));
}

#[test]
fn files_are_short() {
    let long: Vec<String> = sources()
        .into_iter()
        .filter_map(|path| {
            let limit = if path == Path::new("src/main.rs") { MAX_LINES_OF_MAIN } else { MAX_LINES };
            let lines = read(&path).lines().count();
            (lines > limit).then(|| format!("{}: {lines} lines, at most {limit}", path.display()))
        })
        .collect();
    assert!(long.is_empty(), "{}", long.join("\n"));
}

#[test]
fn the_top_holds_only_what_was_agreed() {
    let mut strange: Vec<String> = files()
        .iter()
        .filter_map(|path| path.components().next())
        .map(|first| first.as_os_str().to_string_lossy().into_owned())
        .filter(|name| !name.starts_with('.') && !TOP.contains(&name.as_str()))
        .collect();
    strange.sort();
    strange.dedup();
    assert!(strange.is_empty(), "not agreed at the top: {strange:?}");
}

#[test]
fn no_test_is_ignored_and_nothing_is_left_to_do() {
    // Put together here so that this file does not find itself.
    let words = [
        concat!("#[", "ignore"),
        concat!("TO", "DO"),
        concat!("FIX", "ME"),
        concat!("todo", "!("),
        concat!("unimplemented", "!("),
    ];
    let found: Vec<String> =
        sources().iter().flat_map(|path| lines_with(path, &read(path), &words)).collect();
    assert!(found.is_empty(), "{}", found.join("\n"));
}

/// Where code that is shipped uses one of `words`: comments and tests apart.
fn uses(path: &Path, words: &[&str]) -> Vec<String> {
    if path.ends_with("tests.rs") {
        return Vec::new();
    }
    let text = read(path);
    let code = text.split("#[cfg(test)]\nmod tests").next().unwrap_or_default();
    let comment = |found: &String| found.split_once(": ").is_some_and(|(_, line)| line.starts_with("//"));
    let mut found = lines_with(path, code, words);
    found.retain(|found| !comment(found));
    found
}

/// `file:line: text` of each line with one of `words` in it.
fn lines_with(path: &Path, text: &str, words: &[&str]) -> Vec<String> {
    text.lines()
        .enumerate()
        .filter(|(_, line)| words.iter().any(|word| line.contains(word)))
        .map(|(number, line)| format!("{}:{}: {}", path.display(), number + 1, line.trim()))
        .collect()
}

fn sources() -> Vec<PathBuf> {
    let sources: Vec<PathBuf> = files()
        .into_iter()
        .filter(|path| path.extension().is_some_and(|extension| extension == "rs"))
        .collect();
    assert!(sources.contains(&PathBuf::from("src/lib.rs")), "no sources found: {sources:?}");
    sources
}

/// Every file of the repository, those to be committed next included; every file there is where it is no git repository.
fn files() -> Vec<PathBuf> {
    let git = Command::new("git")
        .current_dir(root())
        .args(["ls-files", "--cached", "--others", "--exclude-standard"])
        .output();
    match git {
        Ok(output) if output.status.success() => {
            let listed = String::from_utf8(output.stdout).unwrap();
            listed.lines().map(PathBuf::from).filter(|path| root().join(path).exists()).collect()
        }
        _ => walk(Path::new("")),
    }
}

/// The files below `directory`, but for dotfiles and build results.
fn walk(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(root().join(directory)).unwrap().map(Result::unwrap) {
        let name = entry.file_name();
        let path = directory.join(&name);
        match entry.file_type().unwrap().is_dir() {
            _ if name.to_string_lossy().starts_with('.') || path == Path::new("target") => {}
            true => found.extend(walk(&path)),
            false => found.push(path),
        }
    }
    found
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}
