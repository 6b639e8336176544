//! Reads the configuration file and the policy directory from disk. What cannot be read is a problem like any other.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::hash::{Hash, Hasher};
use std::io::{self, Read};
use std::path::Path;

use siphasher::sip::SipHasher13;

use super::Config;
use crate::policy::{Policy, Problem, Severity, sort_problems};

/// Where the configuration file is when no other is named; it may be missing.
pub const DEFAULT_PATH: &str = "/etc/greylag/greylag.toml";

/// Largest configuration or policy file in bytes, and largest list: some two million entries.
const MAX_TOML: u64 = 1 << 20;
const MAX_LIST: u64 = 64 << 20;

/// Most files of a policy directory.
const MAX_FILES: usize = 10_000;

/// Whether nothing stands at `path`. What may not be looked at, and a link that leads nowhere, stands there: reading it says what is
/// wrong.
pub fn is_missing(path: &Path) -> bool {
    fs::symlink_metadata(path).is_err_and(|error| error.kind() == io::ErrorKind::NotFound)
}

/// A configuration file as it was read.
#[derive(Clone, Debug, Default)]
pub struct ConfigFile {
    /// Its text by its path, to show problems with.
    pub files: BTreeMap<String, String>,
    path: String,
    unreadable: Option<Problem>,
}

impl ConfigFile {
    /// Reads the file at `path`.
    pub fn read(path: &Path) -> Self {
        let name = path.display().to_string();
        let (text, unreadable) = read_text(path, &name, MAX_TOML);
        Self { files: BTreeMap::from([(name.clone(), text)]), path: name, unreadable }
    }

    /// The configuration and its warnings.
    ///
    /// # Errors
    /// Everything wrong in it, or why it cannot be read.
    pub fn load(&self) -> Result<(Config, Vec<Problem>), Vec<Problem>> {
        match &self.unreadable {
            Some(problem) => Err(vec![problem.clone()]),
            None => Config::load(&self.path, self.files.get(&self.path).map_or("", String::as_str)),
        }
    }
}

/// A policy directory as it was read.
#[derive(Clone, Debug, Default)]
pub struct PolicyDirectory {
    /// The text of each file, by its path in the directory.
    pub files: BTreeMap<String, String>,
    /// What could not be read.
    pub problems: Vec<Problem>,
}

impl PolicyDirectory {
    /// Reads what makes up the policy: `*.toml` and `lists/*.txt` below `root`. Hidden files and copies that editors and package
    /// managers leave are passed over, other files are warnings. A directory without any policy file is an error: a mount that is
    /// lost or files that are being copied must not put the built-in policies in force.
    pub fn read(root: &Path) -> Self {
        let mut directory = Self::default();
        directory.read_level(root, "");
        let is_policy = |path: &String| path.ends_with(".toml") && !path.contains('/');
        if !directory.problems.iter().any(Problem::is_error) && !directory.files.keys().any(is_policy) {
            let mut problem = problem("", Severity::Error, "holds no policy file (*.toml)".to_owned());
            problem.help(
                "put the policy files here, those shipped or your own; for the built-in policies name no directory",
            );
            directory.problems.push(problem);
        }
        directory
    }

    /// Reads `tests/*.toml` as well, which a policy is tried by and which the daemon has no use for.
    pub fn read_with_tests(root: &Path) -> Self {
        let mut directory = Self::read(root);
        // Nothing more is to be said of a directory that cannot be read.
        if !is_missing(&root.join("tests")) && !directory.files.is_empty() {
            directory.read_entry(root, "", "tests");
        }
        directory
    }

    /// The policy and its warnings.
    ///
    /// # Errors
    /// Everything wrong in the directory, what could not be read included.
    pub fn load(&self) -> Result<(Policy, Vec<Problem>), Vec<Problem>> {
        let (policy, mut problems) = match Policy::load(&self.files) {
            Ok((policy, warnings)) => (Some(policy), warnings),
            Err(problems) => (None, problems),
        };
        problems.extend(self.problems.iter().cloned());
        sort_problems(&mut problems);
        match policy {
            Some(policy) if !problems.iter().any(Problem::is_error) => Ok((policy, problems)),
            _ => Err(problems),
        }
    }

    /// A number for what was read that makes up the policy: the same text gives the same number within one process.
    pub fn fingerprint(&self) -> u64 {
        let mut hasher = SipHasher13::new();
        self.files.hash(&mut hasher);
        self.problems.iter().for_each(|problem| (&problem.file, &problem.title).hash(&mut hasher));
        hasher.finish()
    }

    fn read_level(&mut self, root: &Path, below: &str) {
        let entries = fs::read_dir(root.join(below)).and_then(|entries| {
            entries.map(|entry| entry.map(|entry| entry.file_name())).collect::<io::Result<Vec<_>>>()
        });
        let mut names = match entries {
            Ok(names) => names,
            Err(error) => return self.problem(below, Severity::Error, format!("cannot be read: {error}")),
        };
        names.sort();
        for name in names {
            let Some(name) = name.to_str() else {
                let title = format!("{} is not read: its name is not UTF-8", name.display());
                self.problem(below, Severity::Warning, title);
                continue;
            };
            if is_passed_over(name) || (below, name) == ("", "tests") {
                continue;
            }
            if self.files.len() >= MAX_FILES {
                let title = format!("more than {MAX_FILES} files: this is no policy directory");
                return self.problem(below, Severity::Error, title);
            }
            self.read_entry(root, below, name);
        }
    }

    fn read_entry(&mut self, root: &Path, below: &str, name: &str) {
        let path = format!("{below}{name}");
        let extension = Path::new(name).extension().and_then(|extension| extension.to_str());
        // Looked at only where it matters: nothing depends on where other links lead.
        let most = match (below, extension) {
            ("", _) if matches!(name, "lists" | "tests") => None,
            ("" | "tests/", Some("toml")) => Some(MAX_TOML),
            ("lists/", Some("txt")) => Some(MAX_LIST),
            // Messages that the tests name.
            ("tests/", _) => return,
            _ => return self.not_read(&path),
        };
        match (fs::metadata(root.join(&path)), most) {
            (Err(error), _) => self.problem(&path, Severity::Error, format!("cannot be read: {error}")),
            (Ok(metadata), None) if metadata.is_dir() => self.read_level(root, &format!("{name}/")),
            (Ok(metadata), Some(most)) if metadata.is_file() => self.read_file(root, path, most),
            (Ok(_), _) => self.not_read(&path),
        }
    }

    fn not_read(&mut self, path: &str) {
        let what = "only *.toml, lists/*.txt and tests/*.toml are";
        self.problem(path, Severity::Warning, format!("{path} is not read: {what}"));
    }

    fn read_file(&mut self, root: &Path, path: String, most: u64) {
        let (text, problem) = read_text(&root.join(&path), &path, most);
        self.problems.extend(problem);
        self.files.insert(path, text);
    }

    fn problem(&mut self, path: &str, severity: Severity, title: String) {
        self.problems.push(problem(path.trim_end_matches('/'), severity, title));
    }
}

/// Reads a file; what cannot be read is returned as far as it goes, with a problem in `file`.
fn read_text(path: &Path, file: &str, most: u64) -> (String, Option<Problem>) {
    let mut bytes = Vec::new();
    let read = File::open(path).and_then(|open| open.take(most + 1).read_to_end(&mut bytes));
    if let Err(error) = read {
        let title = format!("cannot be read: {error}");
        return (String::new(), Some(problem(file, Severity::Error, title)));
    }
    if bytes.len() as u64 > most {
        let title = format!("is larger than {} MiB", most >> 20);
        return (String::new(), Some(problem(file, Severity::Error, title)));
    }
    String::from_utf8(bytes).map_or_else(
        |error| {
            let at = error.utf8_error().valid_up_to();
            let mut problem = problem(file, Severity::Error, "is not UTF-8 text".to_owned());
            problem.span = at..at + char::REPLACEMENT_CHARACTER.len_utf8();
            problem.label = "the first byte that is none".to_owned();
            problem.help("save the file as UTF-8");
            (String::from_utf8_lossy(error.as_bytes()).into_owned(), Some(problem))
        },
        |text| (text, None),
    )
}

fn problem(file: &str, severity: Severity, title: String) -> Problem {
    Problem { severity, file: file.to_owned(), span: 0..0, title, label: String::new(), help: None }
}

/// Hidden files, and copies that editors and package managers leave.
fn is_passed_over(name: &str) -> bool {
    const COPIES: [&str; 11] = [
        "~",
        "#",
        ".bak",
        ".orig",
        ".swp",
        ".tmp",
        ".rpmnew",
        ".rpmsave",
        ".dpkg-dist",
        ".dpkg-new",
        ".dpkg-old",
    ];
    name.starts_with(['.', '#']) || name.ends_with(".md") || COPIES.iter().any(|copy| name.ends_with(copy))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn titles(problems: &[Problem]) -> Vec<(&str, &str)> {
        problems.iter().map(|problem| (problem.file.as_str(), problem.title.as_str())).collect()
    }

    #[test]
    fn a_policy_directory_is_read_with_its_lists_and_tests() {
        let root = tempfile::tempdir().unwrap();
        for directory in ["lists", "tests", "..data", "old"] {
            fs::create_dir(root.path().join(directory)).unwrap();
        }
        for file in [
            "helo.toml",
            "lists/banned.txt",
            "tests/one.toml",
            "tests/one.eml",
            ".helo.toml.swp",
            "helo.toml~",
            "helo.toml.rpmnew",
            "README.md",
            "helo.toml.txt",
            "lists/banned",
            "..data/helo.toml",
        ] {
            fs::write(root.path().join(file), file).unwrap();
        }
        std::os::unix::fs::symlink(root.path().join("helo.toml"), root.path().join("linked.toml")).unwrap();
        // Not looked at: only files that are read matter.
        std::os::unix::fs::symlink("/nonexistent", root.path().join("tests/old.eml")).unwrap();
        std::os::unix::fs::symlink("/nonexistent", root.path().join("old.txt")).unwrap();
        let read = |directory: &PolicyDirectory| directory.files.keys().cloned().collect::<Vec<_>>();
        let directory = PolicyDirectory::read(root.path());
        assert_eq!(read(&directory), ["helo.toml", "linked.toml", "lists/banned.txt"]);
        let directory = PolicyDirectory::read_with_tests(root.path());
        assert_eq!(read(&directory), ["helo.toml", "linked.toml", "lists/banned.txt", "tests/one.toml"]);
        let what = "only *.toml, lists/*.txt and tests/*.toml are";
        let not_read = ["helo.toml.txt", "lists/banned", "old", "old.txt"]
            .map(|name| format!("{name} is not read: {what}"));
        let not_read: Vec<&str> = not_read.iter().map(String::as_str).collect();
        assert_eq!(titles(&directory.problems).iter().map(|(_, title)| *title).collect::<Vec<_>>(), not_read);
    }

    #[test]
    fn what_cannot_be_read_is_an_error_at_its_place() {
        let root = tempfile::tempdir().unwrap();
        fs::write(root.path().join("helo.toml"), b"# caf\xe9\nmode = \"off\"\n").unwrap();
        fs::write(root.path().join("greylist.toml"), vec![b'#'; MAX_TOML as usize + 1]).unwrap();
        std::os::unix::fs::symlink("/nonexistent", root.path().join("attachments.toml")).unwrap();
        let directory = PolicyDirectory::read(root.path());
        let expected = [
            ("attachments.toml", "cannot be read: No such file or directory (os error 2)"),
            ("greylist.toml", "is larger than 1 MiB"),
            ("helo.toml", "is not UTF-8 text"),
        ];
        let found = directory.load().map_or_else(|problems| problems, |_| Vec::new());
        assert_eq!(titles(&found), expected);
        assert_eq!(found[2].span, 5..8);
    }

    #[test]
    fn broken_tests_concern_only_who_reads_them() {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir(root.path().join("tests")).unwrap();
        fs::write(root.path().join("helo.toml"), "").unwrap();
        std::os::unix::fs::symlink("/nonexistent", root.path().join("tests/one.toml")).unwrap();
        assert_eq!(PolicyDirectory::read(root.path()).problems, []);
        let directory = PolicyDirectory::read_with_tests(root.path());
        let expected = [("tests/one.toml", "cannot be read: No such file or directory (os error 2)")];
        assert_eq!(titles(&directory.problems), expected);
    }

    #[test]
    fn a_directory_without_policy_files_is_none() {
        let root = tempfile::tempdir().unwrap();
        for directory in ["lists", "tests"] {
            fs::create_dir(root.path().join(directory)).unwrap();
        }
        for file in ["lists/banned.txt", "tests/one.toml", ".helo.toml"] {
            fs::write(root.path().join(file), "").unwrap();
        }
        let directory = PolicyDirectory::read(root.path());
        assert_eq!(titles(&directory.problems), [("", "holds no policy file (*.toml)")]);
        assert!(directory.load().is_err());
        fs::write(root.path().join("helo.toml"), "").unwrap();
        assert!(PolicyDirectory::read(root.path()).load().is_ok());
    }

    #[test]
    fn only_what_is_not_there_is_missing() {
        let root = tempfile::tempdir().unwrap();
        let path = |name: &str| root.path().join(name);
        std::os::unix::fs::symlink("/nonexistent", path("dangling")).unwrap();
        fs::write(path("file"), "").unwrap();
        for (name, missing) in
            [("none", true), ("none/none", true), ("dangling", false), ("file", false), ("file/x", false)]
        {
            assert_eq!(is_missing(&path(name)), missing, "{name}");
        }
    }

    #[test]
    fn a_directory_that_is_none_has_no_policy() {
        let directory = PolicyDirectory::read(Path::new("/nonexistent"));
        assert_eq!(
            titles(&directory.problems),
            [("", "cannot be read: No such file or directory (os error 2)")]
        );
        assert!(directory.load().is_err());
    }
}
