//! `greylag scan`: messages, mailboxes and files, as text and as JSON.

use std::fs;
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use serde_json::Value;

use crate::support::mail;
use crate::support::process::temp_dir;
use crate::{Outcome, greylag};

#[test]
fn scan_tells_clean_files_forbidden_ones_and_those_it_cannot_read() {
    let dir = temp_dir();
    let path = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    fs::write(path("clean.eml"), mail::plain("clean")).unwrap();
    fs::write(path("nested.zip"), mail::zip("b.zip", &mail::zip("evil.exe", b"MZ"))).unwrap();

    let found = greylag(&["scan", &path("clean.eml")]);
    assert_eq!((found.code, found.errors.as_str()), (Some(0), ""), "{}", found.out);

    let found = greylag(&["scan", &path("clean.eml"), &path("nested.zip")]);
    assert_eq!((found.code, found.errors.as_str()), (Some(1), ""), "{}", found.out);
    assert!(
        found.out.contains("\n      evil.exe (file, 2 bytes) attachment.forbidden_extension\n"),
        "{}",
        found.out
    );

    let found = greylag(&["scan", "/nonexistent", &path("nested.zip")]);
    assert_eq!(found.code, Some(66));
    assert!(found.errors.starts_with("greylag scan: cannot read /nonexistent: "), "{}", found.errors);
    assert!(found.out.contains("nested.zip: reject\n"), "the others are scanned: {}", found.out);
}

#[test]
fn the_tree_shows_sizes_causes_views_and_the_verdict() {
    let dir = temp_dir();
    let file = dir.path().join("forward.eml");
    let archive = mail::zip("evil.exe", b"MZ");
    fs::write(&file, mail::with_attachment("photos", "photos.zip", &archive)).unwrap();
    let found = greylag(&["scan", file.to_str().unwrap()]);
    assert_eq!((found.code, found.errors.as_str()), (Some(1), ""));
    let zip = format!("  photos.zip (zip, {} bytes)\n    evil.exe (file, 2 bytes)", archive.len());
    for part in [
        "forward.eml: reject\n",
        &zip,
        "attachment.forbidden_extension -> reject: photos.zip/evil.exe (central_directory)",
        "  reply: 554 5.7.0 Forbidden attachment: photos.zip/evil.exe - ",
    ] {
        assert!(found.out.contains(part), "no {part:?} in {}", found.out);
    }
}

#[test]
fn a_mailbox_is_scanned_message_by_message() {
    let dir = temp_dir();
    let path = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    let text = |mail: Vec<u8>| String::from_utf8(mail).unwrap();
    let separator = "From alice@sender.example Mon Jan  1 00:00:00 2026\r\n";
    let forbidden = text(mail::with_attachment("two", "evil.exe", b"MZ"));
    let mailbox = [text(mail::plain("one")), forbidden, text(mail::plain("three"))]
        .map(|mail| format!("{separator}{mail}\r\n"))
        .concat();
    fs::write(path("inbox"), &mailbox).unwrap();

    let found = greylag(&["scan", &path("inbox")]);
    assert_eq!((found.code, found.errors.as_str()), (Some(1), ""), "{}", found.out);
    for (number, action) in [(1, "accept"), (2, "reject"), (3, "accept")] {
        let line = format!("inbox, message {number}: {action}\n");
        assert!(found.out.contains(&line), "no {line:?} in {}", found.out);
    }

    let found = json(&greylag(&["scan", "--json", &path("inbox")]));
    let verdicts: Vec<_> = found.iter().map(|it| (it["message"].as_u64(), it["action"].as_str())).collect();
    assert_eq!(verdicts, [(Some(1), Some("accept")), (Some(2), Some("reject")), (Some(3), Some("accept"))]);
    assert_eq!(found[1]["found"][0]["path"], "evil.exe");
    assert_eq!(found[1]["tree"][1]["name"], "evil.exe");
}

#[test]
fn the_policies_named_decide() {
    let dir = temp_dir();
    let path = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    fs::create_dir(path("policies")).unwrap();
    fs::write(path("policies/attachments.toml"), "forbidden_extensions = [\"dwg\"]\n").unwrap();
    fs::write(path("plan.dwg"), "AC1032").unwrap();
    assert_eq!(greylag(&["scan", &path("plan.dwg")]).code, Some(0));
    let found = greylag(&["scan", "--policies", &path("policies"), &path("plan.dwg")]);
    assert_eq!(found.code, Some(1), "{}", found.out);

    fs::write(path("policies/attachments.toml"), "forbidden_extension = \"explode\"\n").unwrap();
    let found = greylag(&["scan", "--policies", &path("policies"), &path("plan.dwg")]);
    assert_eq!((found.code, found.out.as_str()), (Some(78), ""));
    assert!(found.errors.contains("attachments.toml:1:23"), "{}", found.errors);
}

/// The file is a pipe that is written late, so that the scan takes as long as the test wants.
#[test]
fn progress_is_told_on_a_terminal_after_a_second_and_nowhere_else() {
    let dir = temp_dir();
    let pipe = dir.path().join("slow.eml");
    let late = || {
        assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        let (pipe, mail) = (pipe.clone(), mail::plain("late"));
        thread::spawn(move || {
            thread::sleep(Duration::from_millis(2500));
            fs::write(pipe, mail).unwrap();
        })
    };
    let command = format!("{} scan {}", env!("CARGO_BIN_EXE_greylag"), pipe.display());

    let writer = late();
    // script(1) of util-linux, an essential package of Debian, runs the command on a terminal and copies what it shows.
    let shown = Command::new("script")
        .args(["--quiet", "--return", "--command", &command, "/dev/null"])
        .stdin(Stdio::null())
        .output()
        .unwrap();
    writer.join().unwrap();
    let text = String::from_utf8(shown.stdout).unwrap();
    assert_eq!(shown.status.code(), Some(0), "{text}");
    let (progress, result) = text.rsplit_once("\r\x1b[K").unwrap();
    assert!(progress.contains("slow.eml (1 s)") && progress.contains("slow.eml (2 s)"), "{text:?}");
    assert!(!progress.contains("(0 s)"), "{text:?}");
    assert!(result.contains("slow.eml: accept\r\n"), "{text:?}");

    fs::remove_file(&pipe).unwrap();
    let writer = late();
    let found = greylag(&["scan", pipe.to_str().unwrap()]);
    writer.join().unwrap();
    assert_eq!((found.code, found.errors.as_str()), (Some(0), ""), "{}", found.out);
}

fn json(outcome: &Outcome) -> Vec<Value> {
    outcome.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}
