//! The files of `policies/`, compiled in: the policy where there is no policy directory, or a file is missing from it.

use std::collections::BTreeMap;

/// Every shipped file: path relative to the policy directory, and text.
pub const FILES: &[(&str, &str)] = &[
    ("address.toml", include_str!("../../policies/address.toml")),
    ("attachments.toml", include_str!("../../policies/attachments.toml")),
    ("auth.toml", include_str!("../../policies/auth.toml")),
    ("content.toml", include_str!("../../policies/content.toml")),
    ("greylist.toml", include_str!("../../policies/greylist.toml")),
    ("helo.toml", include_str!("../../policies/helo.toml")),
    ("lists/attachments-core.txt", include_str!("../../policies/lists/attachments-core.txt")),
    ("lists/attachments-macros.txt", include_str!("../../policies/lists/attachments-macros.txt")),
    ("lists/attachments-strict.txt", include_str!("../../policies/lists/attachments-strict.txt")),
    ("lists/sender-pools.txt", include_str!("../../policies/lists/sender-pools.txt")),
    ("recipients.toml", include_str!("../../policies/recipients.toml")),
    ("scopes.toml", include_str!("../../policies/scopes.toml")),
];

/// The shipped transcripts for `greylag test`.
pub const TESTS: &[(&str, &str)] = &[
    ("tests/address.toml", include_str!("../../policies/tests/address.toml")),
    ("tests/attachments.toml", include_str!("../../policies/tests/attachments.toml")),
    ("tests/auth.toml", include_str!("../../policies/tests/auth.toml")),
    ("tests/content-malformed-link.toml", include_str!("../../policies/tests/content-malformed-link.toml")),
    ("tests/content.toml", include_str!("../../policies/tests/content.toml")),
    ("tests/cookbook-01-opt-out.toml", include_str!("../../policies/tests/cookbook-01-opt-out.toml")),
    (
        "tests/cookbook-02-trusted-forwarder.toml",
        include_str!("../../policies/tests/cookbook-02-trusted-forwarder.toml"),
    ),
    (
        "tests/cookbook-03-strict-department.toml",
        include_str!("../../policies/tests/cookbook-03-strict-department.toml"),
    ),
    (
        "tests/cookbook-04-monitor-first.toml",
        include_str!("../../policies/tests/cookbook-04-monitor-first.toml"),
    ),
    (
        "tests/cookbook-05-broken-partner.toml",
        include_str!("../../policies/tests/cookbook-05-broken-partner.toml"),
    ),
    ("tests/cookbook-06-hold.toml", include_str!("../../policies/tests/cookbook-06-hold.toml")),
    (
        "tests/cookbook-07-rule-for-some.toml",
        include_str!("../../policies/tests/cookbook-07-rule-for-some.toml"),
    ),
    (
        "tests/cookbook-08-own-mailboxes.toml",
        include_str!("../../policies/tests/cookbook-08-own-mailboxes.toml"),
    ),
    (
        "tests/cookbook-09-plain-greylisting.toml",
        include_str!("../../policies/tests/cookbook-09-plain-greylisting.toml"),
    ),
    (
        "tests/cookbook-10-doubtful-spf.toml",
        include_str!("../../policies/tests/cookbook-10-doubtful-spf.toml"),
    ),
    (
        "tests/cookbook-11-sender-pools.toml",
        include_str!("../../policies/tests/cookbook-11-sender-pools.toml"),
    ),
    ("tests/greylist.toml", include_str!("../../policies/tests/greylist.toml")),
    ("tests/helo-own-name.toml", include_str!("../../policies/tests/helo-own-name.toml")),
    ("tests/helo.toml", include_str!("../../policies/tests/helo.toml")),
    ("tests/recipients.toml", include_str!("../../policies/tests/recipients.toml")),
];

/// The paths of the shipped files.
pub(crate) fn paths() -> impl Iterator<Item = &'static str> {
    FILES.iter().map(|(path, _)| *path)
}

/// The text of a shipped file.
pub(crate) fn text(path: &str) -> Option<&'static str> {
    FILES.iter().find(|(shipped, _)| *shipped == path).map(|(_, text)| *text)
}

/// The shipped policy directory.
pub fn files() -> BTreeMap<String, String> {
    FILES.iter().map(|(path, text)| ((*path).to_owned(), (*text).to_owned())).collect()
}

/// The shipped policy directory with its transcripts.
pub fn files_and_tests() -> BTreeMap<String, String> {
    let tests = TESTS.iter().map(|(path, text)| ((*path).to_owned(), (*text).to_owned()));
    files().into_iter().chain(tests).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::{Policy, Settings, reference};
    use crate::reason::Check;

    #[test]
    fn every_check_has_its_shipped_file_as_its_declaration_says() {
        for check in Check::ALL {
            let path = format!("{}.toml", check.name());
            let rendered = reference::render(check);
            if std::env::var_os("UPDATE_POLICIES").is_some() {
                let target = format!("{}/policies/{path}", env!("CARGO_MANIFEST_DIR"));
                std::fs::write(target, rendered).unwrap();
                continue;
            }
            assert!(
                text(&path) == Some(&rendered),
                "policies/{path} differs from the settings declared in src/checks/; \
                 write it anew with UPDATE_POLICIES=1 cargo test --ignore-rust-version --lib shipped"
            );
        }
    }

    #[test]
    fn the_shipped_files_hold_the_defaults_and_no_problems() {
        let (policy, warnings) = Policy::load(&files()).unwrap();
        assert_eq!(warnings, []);
        assert_eq!(**policy.base(), Settings::default());
    }

    #[test]
    fn every_shipped_file_is_compiled_in() {
        let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("policies");
        let mut found = Vec::new();
        for directory in ["", "lists", "tests"] {
            let Ok(entries) = std::fs::read_dir(root.join(directory)) else { continue };
            for path in entries.map(|entry| entry.unwrap().path()).filter(|path| path.is_file()) {
                found.push(path.strip_prefix(&root).unwrap().to_str().unwrap().to_owned());
            }
        }
        found.retain(|path| path != "README.md");
        found.sort();
        let mut compiled: Vec<&str> = paths().chain(TESTS.iter().map(|(path, _)| *path)).collect();
        compiled.sort_unstable();
        assert_eq!(found, compiled);
    }
}
