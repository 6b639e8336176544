//! `greylag check [DIR]`: everything wrong in the policy directory and the configuration, in one run.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde_json::json;

use super::progress::Progress;
use crate::config::{ConfigFile, DEFAULT_PATH, PolicyDirectory, is_missing};
use crate::policy::{Mode, Policy, Problem, Severity, diagnostics, embedded, render, sort_problems};
use crate::reason::Check;

/// Check policy and configuration files: every mistake at once, with file, line and remedy.
#[derive(Clone, Debug, Default, clap::Args)]
#[command(after_help = "\
Examples:
  greylag check /etc/greylag/policies
  greylag check --json                             # what greylag.toml names, or what is built in

Exit code 78 when there are errors; warnings alone are 0.")]
pub(super) struct Args {
    /// The policy directory; without it, what the configuration file names.
    #[arg(value_name = "DIR")]
    pub directory: Option<PathBuf>,
    /// The configuration file [default: /etc/greylag/greylag.toml, where it exists]
    #[arg(long, value_name = "FILE", conflicts_with = "directory")]
    pub config: Option<PathBuf>,
    /// Answer as JSON.
    #[arg(long)]
    pub json: bool,
}

/// What a check found, from best to worst.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Outcome {
    /// Nothing.
    Clean,
    /// Warnings only: the policy can be used.
    Warnings,
    /// Errors: it cannot.
    Errors,
}

/// Checks and writes what was found to `out`, coloured where it is a terminal that takes `colours`. Fails only when `out` cannot be
/// written.
pub(super) fn run(args: &Args, colours: bool, out: &mut dyn Write) -> io::Result<Outcome> {
    let sources = sources(args);
    if args.json {
        let problems = |source: &Source| {
            let found = diagnostics(&source.problems, &source.files);
            json!({ "source": source.summary_name(), "problems": found })
        };
        writeln!(out, "{}", json!(sources.iter().map(problems).collect::<Vec<_>>()))?;
    } else {
        for source in &sources {
            let root = source.root.as_deref().unwrap_or_default();
            write!(out, "{}", render(&source.problems, &source.files, root, colours))?;
        }
        for source in &sources {
            writeln!(out, "{}", source.summary())?;
        }
    }
    let severities = sources.iter().flat_map(|source| &source.problems).map(Problem::is_error);
    Ok(severities
        .map(|error| if error { Outcome::Errors } else { Outcome::Warnings })
        .max()
        .unwrap_or(Outcome::Clean))
}

/// A policy directory or a configuration file, and what is wrong in it.
struct Source {
    /// The directory the paths of `files` begin in; `None` for a configuration file, whose path is whole.
    root: Option<String>,
    files: BTreeMap<String, String>,
    problems: Vec<Problem>,
}

fn sources(args: &Args) -> Vec<Source> {
    if let Some(directory) = &args.directory {
        return vec![policy_directory(directory)];
    }
    let default = Path::new(DEFAULT_PATH);
    let config = match &args.config {
        Some(path) => path,
        None if is_missing(default) => return vec![built_in()],
        None => default,
    };
    let file = ConfigFile::read(config);
    let (policy, problems) = match file.load() {
        Ok((config_read, warnings)) => {
            let directory = config_read.policies.directory(config);
            let mut policy = directory.map_or_else(built_in, |path| policy_directory(&path));
            policy.problems.extend(Policy::unknown_listeners(&policy.files, &config_read.listeners()));
            sort_problems(&mut policy.problems);
            (Some(policy), warnings)
        }
        Err(problems) => (None, problems),
    };
    let config = Source { root: None, files: file.files, problems };
    std::iter::once(config).chain(policy).collect()
}

fn policy_directory(path: &Path) -> Source {
    let _progress = Progress::at("checking", &path.display().to_string());
    let directory = PolicyDirectory::read_with_tests(path);
    let problems = directory.load().map_or_else(
        |problems| problems,
        |(policy, mut warnings)| {
            warnings
                .extend(forgotten_users(&policy).filter(|found| directory.files.contains_key(&found.file)));
            sort_problems(&mut warnings);
            warnings
        },
    );
    Source { root: Some(path.display().to_string()), files: directory.files, problems }
}

/// A `scopes.toml` of one's own stands in for the shipped one, whose scope for clients that logged in is easily forgotten: a warning
/// where they meet the checks for strangers.
fn forgotten_users(policy: &Policy) -> Option<Problem> {
    let runs = [Check::Helo, Check::Auth].iter().any(|check| policy.base().mode(*check) != Mode::Off);
    // Submission may be told by where it comes in, too.
    let has_scope = policy.has_scope(|when| {
        when.authenticated == Some(true)
            || when.login.is_some()
            || when.listener.is_some()
            || when.policy_context.is_some()
    });
    (runs && !has_scope).then(|| Problem {
        severity: Severity::Warning,
        file: "scopes.toml".to_owned(),
        span: 0..0,
        title: "no scope is for clients that logged in".to_owned(),
        label: "HELO and SPF are checked for them as for strangers".to_owned(),
        help: Some("keep the scope \"authenticated submission\" of the shipped scopes.toml".to_owned()),
    })
}

fn built_in() -> Source {
    Source { root: Some("built-in policies".to_owned()), files: embedded::files(), problems: Vec::new() }
}

impl Source {
    /// `policies/`, or the path of the configuration file.
    fn summary_name(&self) -> String {
        match &self.root {
            Some(root) => format!("{}/", root.trim_end_matches('/')),
            None => self.files.keys().cloned().collect(),
        }
    }

    fn summary(&self) -> String {
        let lists = self.files.keys().filter(|path| path.starts_with("lists/")).count();
        let tests = self.files.keys().filter(|path| path.starts_with("tests/")).count();
        let errors = self.problems.iter().filter(|problem| problem.is_error()).count();
        let mut counts = Vec::new();
        if self.root.is_some() {
            counts.push(count(self.files.len() - lists - tests, "file"));
            counts.push(count(lists, "list"));
        }
        counts.push(count(errors, "error"));
        counts.push(count(self.problems.len() - errors, "warning"));
        format!("{}: {}", self.summary_name(), counts.join(", "))
    }
}

fn count(number: usize, what: &str) -> String {
    match number {
        1 => format!("1 {what}"),
        _ => format!("{number} {what}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::Exit;
    use std::fs;

    fn check(args: &Args) -> (Outcome, String) {
        let mut out = Vec::new();
        let outcome = run(args, false, &mut out).unwrap();
        (outcome, String::from_utf8(out).unwrap())
    }

    #[test]
    fn all_problems_are_printed_and_counted() {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir(root.path().join("lists")).unwrap();
        fs::write(root.path().join("helo.toml"), "mdoe = 1\nbanned_names = [\"file:lists/x.txt\"]\n")
            .unwrap();
        fs::write(root.path().join("lists/x.txt"), "a.test\na.test\n").unwrap();
        fs::write(root.path().join("notes.txt"), "").unwrap();
        let args = Args { directory: Some(root.path().to_owned()), ..Args::default() };
        let (outcome, text) = check(&args);
        let path = root.path().display();
        let expected = format!(
            "error: unknown setting `mdoe`\n --> {path}/helo.toml:1:1\n  |\n1 | mdoe = 1\n  \
             | ^^^^ the helo check has no such setting\n  |\n  = help: did you mean `mode`?\n\n\
             warning: \"a.test\" is listed twice\n --> {path}/lists/x.txt:2:1\n  |\n2 | a.test\n  \
             | ^^^^^^ first listed on line 1\n\n\
             warning: notes.txt is not read: only *.toml, lists/*.txt and tests/*.toml are\n--> {path}/notes.txt\n\n\
             {path}/: 1 file, 1 list, 1 error, 2 warnings\n"
        );
        assert_eq!(text, expected);
        assert_eq!(outcome, Outcome::Errors);

        let (_, text) = check(&Args { json: true, ..args });
        let json: serde_json::Value = serde_json::from_str(&text).unwrap();
        let first = json!({
            "severity": "error", "file": "helo.toml", "line": 1, "column": 1, "title": "unknown setting `mdoe`",
            "label": "the helo check has no such setting", "help": "did you mean `mode`?",
        });
        assert_eq!(json[0]["problems"][0], first);
        assert_eq!(json[0]["problems"].as_array().map(Vec::len), Some(3));
    }

    #[test]
    fn the_configuration_is_checked_with_the_policies_it_names() {
        let root = tempfile::tempdir().unwrap();
        let config = root.path().join("greylag.toml");
        fs::write(&config, "policies = \"mine\"\n").unwrap();
        fs::create_dir(root.path().join("mine")).unwrap();
        let args = Args { config: Some(config.clone()), ..Args::default() };
        let (outcome, text) = check(&args);
        let path = root.path().display();
        let told = format!("error: holds no policy file (*.toml)\n--> {path}/mine\n");
        assert!(outcome == Outcome::Errors && text.starts_with(&told), "{text}");

        fs::write(root.path().join("mine/helo.toml"), "").unwrap();
        let (outcome, text) = check(&args);
        let summary = format!(
            "{path}/greylag.toml: 0 errors, 0 warnings\n{path}/mine/: 1 file, 0 lists, 0 errors, 0 warnings\n"
        );
        assert_eq!((outcome, text), (Outcome::Clean, summary));

        fs::write(&config, "polices = 1\n").unwrap();
        assert_eq!(check(&args).0, Outcome::Errors);
    }

    #[test]
    fn the_shipped_policies_are_clean() {
        let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("policies");
        let args = Args { directory: Some(shipped.clone()), ..Args::default() };
        let (outcome, text) = check(&args);
        let files = embedded::paths().filter(|path| path.ends_with(".toml")).count();
        let lists = count(embedded::paths().filter(|path| path.starts_with("lists/")).count(), "list");
        let summary = format!("{}/: {files} files, {lists}, 0 errors, 0 warnings\n", shipped.display());
        assert_eq!((outcome, text), (Outcome::Clean, summary));

        let (outcome, text) = check(&Args { json: true, ..args });
        let json: serde_json::Value = serde_json::from_str(&text).unwrap();
        let expected = json!([{ "source": format!("{}/", shipped.display()), "problems": [] }]);
        assert_eq!((outcome, json), (Outcome::Clean, expected));
    }

    #[test]
    fn listeners_that_the_configuration_has_not_are_told() {
        let root = tempfile::tempdir().unwrap();
        let config = root.path().join("greylag.toml");
        fs::write(&config, "policies = \".\"\nmilter = [\"127.0.0.1:11034\"]\npolicy = []\n").unwrap();
        let listener = "listener = [\"127.0.0.1:11034\", \"127.0.0.1:10034\"]";
        let scope =
            format!("[[scope]]\nname = \"x\"\n{listener}\nauthenticated = true\nset.helo.mode = \"off\"\n");
        fs::write(root.path().join("scopes.toml"), scope).unwrap();
        fs::rename(&config, root.path().join(".greylag.toml")).unwrap();
        let args = Args { config: Some(root.path().join(".greylag.toml")), json: true, ..Args::default() };
        let (outcome, text) = check(&args);
        let json: serde_json::Value = serde_json::from_str(&text).unwrap();
        let found = json!([{
            "severity": "warning", "file": "scopes.toml", "line": 3, "column": 32,
            "title": "\"127.0.0.1:10034\" can never match", "label": "the configuration has no such listener",
            "help": "did you mean `127.0.0.1:11034`?",
        }]);
        assert_eq!(json[1]["problems"], found, "{text}");
        assert_eq!((outcome, Exit::from(outcome)), (Outcome::Warnings, Exit::Success));

        fs::write(root.path().join("helo.toml"), "mode = 1").unwrap();
        let (outcome, _) = check(&args);
        assert_eq!((outcome, Exit::from(outcome)), (Outcome::Errors, Exit::Config));
    }

    #[test]
    fn scopes_that_forget_who_logged_in_are_told() {
        let root = tempfile::tempdir().unwrap();
        let scopes = |condition: &str| {
            let scope = format!("[[scope]]\nname = \"x\"\n{condition}\nset.helo.missing = \"tag\"\n");
            fs::write(root.path().join("scopes.toml"), scope).unwrap();
            let (_, text) =
                check(&Args { directory: Some(root.path().to_owned()), json: true, config: None });
            let json: serde_json::Value = serde_json::from_str(&text).unwrap();
            json[0]["problems"].clone()
        };
        let told = json!([{
            "severity": "warning", "file": "scopes.toml", "line": 1, "column": 1,
            "title": "no scope is for clients that logged in",
            "label": "HELO and SPF are checked for them as for strangers",
            "help": "keep the scope \"authenticated submission\" of the shipped scopes.toml",
        }]);
        for condition in ["client = [\"192.0.2.1\"]", "authenticated = false"] {
            assert_eq!(scopes(condition), told, "{condition}");
        }
        for condition in ["authenticated = true", "login = [\"joe\"]"] {
            assert_eq!(scopes(condition), json!([]), "{condition}");
        }
        fs::write(root.path().join("auth.toml"), "mode = \"off\"").unwrap();
        assert_eq!(scopes("client = [\"192.0.2.1\"]"), told);
        fs::write(root.path().join("helo.toml"), "mode = \"off\"").unwrap();
        let idle = "\"`missing` has no effect: the helo check is off\"";
        assert_eq!(scopes("client = [\"192.0.2.1\"]")[0]["title"].to_string(), idle);
    }

    #[test]
    fn what_does_not_exist_is_an_error() {
        let args = Args { directory: Some("/nonexistent/policies".into()), ..Args::default() };
        let (outcome, text) = check(&args);
        assert_eq!(outcome, Outcome::Errors);
        assert_eq!(
            text,
            "error: cannot be read: No such file or directory (os error 2)\n--> /nonexistent/policies\n\n\
             /nonexistent/policies/: 0 files, 0 lists, 1 error, 0 warnings\n"
        );
        let args = Args { config: Some("/nonexistent/greylag.toml".into()), ..Args::default() };
        assert_eq!(check(&args).0, Outcome::Errors);
    }
}
