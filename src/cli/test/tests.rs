use std::fs;

use super::*;

fn test(args: &Args) -> (Exit, String, String) {
    let (mut out, mut errors) = (Vec::new(), Vec::new());
    let exit = run(args, &mut out, &mut errors).unwrap();
    (exit, String::from_utf8(out).unwrap(), String::from_utf8(errors).unwrap())
}

#[test]
fn the_shipped_policies_do_what_their_transcripts_say() {
    let (exit, out, errors) = test(&Args::default());
    assert_eq!((exit, errors.as_str()), (Exit::Success, ""), "{out}");
    let cases = embedded::TESTS.iter().map(|(_, text)| text.matches("\n[[case]]").count()).sum::<usize>();
    assert!(cases >= 60, "{cases} cases");
    assert_eq!(out, format!("built-in policies: {cases} cases, {cases} passed, 0 failed\n"));
}

/// Policies that do not what the shipped transcripts expect of them: what each broken line makes of a case, expected and got.
#[test]
fn broken_policies_fail_with_what_was_expected_and_what_came() {
    for (file, line, broken, told) in [
        ("helo.toml", "localhost = \"reject\"", "localhost = \"accept\"", ["reject", "accept"]),
        ("helo.toml", "unresolvable = \"reject\"", "unresolvable = \"tag\"", ["reject", "tag"]),
        ("helo.toml", "mode = \"enforce\"", "mode = \"monitor\"", ["reject", "accept"]),
        ("helo.toml", "address_literal = \"reject\"", "address_literal = \"accept\"", ["reject", "accept"]),
        ("recipients.toml", "max_recipients = 100", "max_recipients = 1000", ["defer", "accept"]),
        ("auth.toml", "spf_fail = \"reject\"", "spf_fail = \"accept\"", ["reject", "accept"]),
        ("greylist.toml", "mode = \"enforce\"", "mode = \"off\"", ["defer", "accept"]),
        ("greylist.toml", "min_delay = \"2m\"", "min_delay = \"1h\"", ["accept", "defer"]),
        ("content.toml", "malformed_link = \"tag\"", "malformed_link = \"reject\"", ["tag", "reject"]),
        (
            "attachments.toml",
            "forbidden_extension = \"reject\"",
            "forbidden_extension = \"tag\"",
            ["reject", "tag"],
        ),
    ] {
        let directory = tempfile::tempdir().unwrap();
        for (path, text) in embedded::files_and_tests() {
            let path = directory.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            let is_broken = path.ends_with(file) && !path.parent().unwrap().ends_with("tests");
            assert!(!is_broken || text.contains(&format!("\n{line}\n")), "{file} has no {line}");
            let text =
                if is_broken { text.replace(&format!("\n{line}\n"), &format!("\n{broken}\n")) } else { text };
            fs::write(path, text).unwrap();
        }
        let only = Some(format!("tests/{}", file.trim_end_matches(".toml")));
        let (exit, out, errors) =
            test(&Args { directory: Some(directory.path().to_owned()), only, ..Args::default() });
        assert_eq!((exit, errors.as_str()), (Exit::Findings, ""), "{broken}: {out}");
        assert!(
            out.starts_with(&format!("FAILED tests/{}", file.trim_end_matches(".toml"))),
            "{broken}: {out}"
        );
        let verdicts = out.lines().filter(|line| line.starts_with("  verdict "));
        let mut verdicts = verdicts.map(|line| line.split_whitespace().skip(1).collect::<Vec<_>>());
        assert!(verdicts.any(|verdict| verdict == told), "{broken}: {out}");
    }
}

/// Transcripts that are wrong, each in its own way; what is said of them stands in `broken.txt`.
#[test]
fn broken_transcripts_are_told_readably() {
    let told = include_str!("broken.txt");
    let mut anew = String::new();
    let mut count = 0;
    for case in told.split("### ").skip(1) {
        let (title, rest) = case.split_once('\n').unwrap();
        let (transcript, says) = rest.split_once("--- says\n").unwrap_or((rest, ""));
        let directory = tempfile::tempdir().unwrap();
        fs::create_dir(directory.path().join("tests")).unwrap();
        fs::write(directory.path().join("helo.toml"), "").unwrap();
        fs::write(directory.path().join("tests/x.toml"), transcript).unwrap();
        let args = Args { directory: Some(directory.path().to_owned()), ..Args::default() };
        let (exit, out, errors) = test(&args);
        assert_ne!(exit, Exit::Success, "{title}: {out}");
        let found = (errors + &out).replace(&directory.path().display().to_string(), "policies");
        if std::env::var_os("UPDATE_MISTAKES").is_some() {
            anew += &format!("### {title}\n{transcript}--- says\n{}\n\n", found.trim_end());
        } else {
            assert_eq!(found.trim_end(), says.trim_end(), "{title} (UPDATE_MISTAKES=1 writes it anew)");
        }
        count += 1;
    }
    if !anew.is_empty() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/src/cli/test/broken.txt");
        fs::write(path, anew.trim_end().to_owned() + "\n").unwrap();
    }
    assert!(count >= 10, "{count}");
}

#[test]
fn a_log_is_judged_by_the_policy_of_today() {
    let line = |stage: &str, helo: &str, action: &str, reason: &str| {
        format!(
            "2026-11-23T13:51:28Z INFO decision protocol=milter stage={stage} queue_id=- client=198.51.100.10 client_name=- \
             helo={helo} sender=a@example.org recipients=b@example.net action={action} reason={reason} reply=- helo_dns=198.51.100.10 \
             identities=- login=- tls=- micros=7 mode=enforce detail=-\n"
        )
    };
    let log = [
        line("rcpt", "localhost", "reject", "helo.localhost"),
        line("rcpt", "mail.example.org", "defer", "greylist.first_seen"),
        line("rcpt", "mail.example.org", "accept", "greylist.known"),
        line("end_of_message", "mail.example.org", "reject", "attachment.forbidden_extension"),
        "2026-11-23T13:51:28Z INFO something else\n".to_owned(),
    ]
    .concat();
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("mail.log");
    fs::write(&file, log).unwrap();
    let policies = directory.path().join("policies");
    fs::create_dir(&policies).unwrap();
    fs::write(policies.join("auth.toml"), "spf_none = \"accept\"\n").unwrap();
    let args = |json| Args {
        directory: Some(policies.clone()),
        from_log: Some(file.clone()),
        json,
        ..Args::default()
    };
    let (exit, out, errors) = test(&args(false));
    let name = file.display();
    assert_eq!((exit, errors.as_str()), (Exit::Success, ""), "{out}");
    assert_eq!(out, format!("{name}: 4 decisions, 0 would change\n"));

    fs::write(policies.join("helo.toml"), "localhost = \"accept\"\n").unwrap();
    fs::write(policies.join("attachments.toml"), "forbidden_extension = \"quarantine\"\n").unwrap();
    let (exit, out, _) = test(&args(false));
    assert_eq!(exit, Exit::Findings);
    assert_eq!(
        out,
        format!(
            "line 1: rcpt b@example.net from a@example.org at 198.51.100.10: reject helo.localhost -> defer greylist.first_seen\n\
             line 4: end_of_message b@example.net from a@example.org at 198.51.100.10: reject attachment.forbidden_extension \
             -> quarantine attachment.forbidden_extension\n{name}: 4 decisions, 2 would change\n"
        )
    );
    let (_, out, _) = test(&args(true));
    let first: serde_json::Value = serde_json::from_str(out.lines().next().unwrap()).unwrap();
    assert_eq!(
        (&first["was"]["reason"], &first["is"]["action"]),
        (&"helo.localhost".into(), &"defer".into())
    );

    // A mail that was let through while attachments and HELO were only watched, and one that was refused all the same.
    let watched = |action: &str, reason: &str, mode: &str, sender: &str, stage: &str, helo: &str| {
        line(stage, helo, action, reason).replace("mode=enforce", mode).replace("a@example.org", sender)
    };
    let log = [
        watched("accept", "-", "mode=enforce", "b@example.org", "end_of_message", "mail.example.org"),
        watched(
            "reject",
            "attachment.macros",
            "mode=monitor",
            "b@example.org",
            "end_of_message",
            "mail.example.org",
        ),
        watched(
            "reject",
            "content.body_rule",
            "mode=enforce",
            "c@example.org",
            "end_of_message",
            "mail.example.org",
        ),
        watched(
            "reject",
            "attachment.macros",
            "mode=monitor",
            "c@example.org",
            "end_of_message",
            "mail.example.org",
        ),
        watched("accept", "greylist.known", "mode=enforce", "d@example.org", "rcpt", "localhost"),
        watched("reject", "helo.localhost", "mode=monitor", "d@example.org", "rcpt", "localhost"),
    ];
    fs::write(&file, log.concat().replace("content.body_rule", "content.malformed_link")).unwrap();
    fs::write(policies.join("content.toml"), "malformed_link = \"reject\"\n").unwrap();
    for (attachments, helo, expected) in [
        ("macros = \"reject\"\nmode = \"monitor\"\n", "mode = \"monitor\"\n", &[][..]),
        (
            "macros = \"reject\"\n",
            "mode = \"enforce\"\n",
            &[
                "line 2: end_of_message b@example.net from b@example.org at 198.51.100.10: accept -> reject attachment.macros",
                "line 5: rcpt b@example.net from d@example.org at 198.51.100.10: accept -> reject helo.localhost",
            ],
        ),
        (
            "macros = \"tag\"\n",
            "mode = \"off\"\n",
            &[
                "line 2: end_of_message b@example.net from b@example.org at 198.51.100.10: accept -> tag attachment.macros",
            ],
        ),
    ] {
        fs::write(policies.join("attachments.toml"), attachments).unwrap();
        fs::write(policies.join("helo.toml"), helo).unwrap();
        let (_, out, errors) = test(&args(false));
        let (listed, total) = out.trim_end().rsplit_once('\n').unwrap_or_else(|| ("", out.trim_end()));
        assert_eq!(listed.lines().collect::<Vec<_>>(), expected, "{errors}");
        assert_eq!(total, format!("{name}: 3 decisions, {} would change", expected.len()));
    }

    fs::write(&file, "nothing of ours\n").unwrap();
    let (exit, _, errors) = test(&args(false));
    assert_eq!(exit, Exit::NoInput);
    assert!(errors.contains("has no decision lines of Greylag"), "{errors}");
}

#[test]
fn what_a_line_tells_of_other_recipients_is_taken_and_what_cannot_be_judged_is_told() {
    let line = |reason: &str, login: &str, detail: &str| {
        format!(
            "decision protocol=milter stage=rcpt client=198.51.100.10 helo=mail.example.org sender=a@example.org \
             recipients=b@example.net action=defer reason={reason} reply=\"452 4.5.3 no\" helo_dns=198.51.100.10 spf=pass \
             login={login} mode=enforce detail=\"{detail}\"\n"
        )
    };
    let file = tempfile::NamedTempFile::new().unwrap();
    let log = [
        line("recipients.too_many", "joe", "100 recipients are accepted already"),
        line("recipients.mixed", "-", "other settings"),
        line("recipients.from_tomorrow", "-", "x"),
    ];
    fs::write(file.path(), log.concat()).unwrap();
    let (exit, out, errors) = test(&Args { from_log: Some(file.path().to_owned()), ..Args::default() });
    let name = file.path().display();
    assert_eq!((exit, out), (Exit::Success, format!("{name}: 2 decisions, 0 would change\n")), "{errors}");
    assert_eq!(
        errors,
        "greylag test: line 3 is no decision of Greylag: \"recipients.from_tomorrow\" is no reason that this Greylag knows\n"
    );
}
