//! `policies/README.md`, written from the code's own documentation: settings, causes, conditions, transcripts, and the cookbook,
//! whose recipes are transcripts that `greylag test` plays.

use std::fmt::Write;

use toml::Table;

use super::test::Mail;
use crate::config::{Config, DEFAULT_PATH};
use crate::policy::{CheckSettings, KeyDoc, Mode, RuleSettings, Settings, When, embedded};
use crate::reason::{Check, Reason};
use crate::verdict::Action;

/// How it is written anew.
#[cfg(test)]
const REGENERATE: &str = "UPDATE_POLICIES=1 cargo test --ignore-rust-version --lib shipped";

const HEAD: &str = "\
# Policies

<!-- Written by `greylag generate reference policies`; edit the documentation in the code instead. -->

One file a check. Copy this directory, change what you want, and prove it before it bites:

```
greylag check /etc/greylag/policies
greylag test /etc/greylag/policies
```

A setting or a file that is left out has its default. `greylag check` tells every mistake at once, with file, line and remedy; a running
Greylag takes up what was changed, and refuses a policy with mistakes and stays with the old one.

";

/// The whole text.
pub(super) fn render() -> String {
    let mut out = HEAD.to_owned();
    // Writing into a String does not fail.
    let _ = sections(&mut out);
    out
}

fn sections(out: &mut String) -> std::fmt::Result {
    contents(out)?;
    modes_and_actions(out)?;
    for check in Check::ALL {
        of_check(out, check)?;
    }
    rules(out)?;
    scopes(out)?;
    lists(out)?;
    transcripts(out)?;
    configuration(out)?;
    cookbook(out)
}

fn contents(out: &mut String) -> std::fmt::Result {
    writeln!(out, "| file | |\n|---|---|")?;
    for check in Check::ALL {
        let name = check.name();
        writeln!(out, "| [`{name}.toml`](#{name}toml) | {} |", cell(first_sentence(Settings::about(check))))?;
    }
    writeln!(
        out,
        "| [`scopes.toml`](#scopestoml) | exceptions: other settings for some clients, senders, recipients |"
    )?;
    writeln!(out, "| [`lists/*.txt`](#lists) | long lists, one entry on a line |")?;
    writeln!(
        out,
        "| [`tests/*.toml`](#transcripts) | what is to be decided of which mail, for `greylag test` |\n\n\
         The daemon's own settings, which are in no file here, stand under [greylag.toml](#greylagtoml).\n"
    )
}

fn modes_and_actions(out: &mut String) -> std::fmt::Result {
    writeln!(out, "## Modes and actions\n")?;
    writeln!(
        out,
        "Each check has a `mode`: `\"enforce\"` decides; `\"monitor\"` counts (`greylag_would_total`) and logs what it would have \
         decided, and changes nothing; `\"off\"` does not run it. Each cause has an action, and the hardest of all wins:\n"
    )?;
    writeln!(out, "| action | |\n|---|---|")?;
    for action in Action::ALL {
        let meaning = match action {
            Action::Accept => "nothing is done; the finding is evidence in the log",
            Action::Tag => "delivered with an `X-Greylag` header that names the reason",
            Action::Quarantine => "put on hold in the MTA",
            Action::Defer => "refused for now (4xx): the sender comes again",
            Action::Reject => "refused for good (5xx)",
        };
        writeln!(out, "| `{}` | {meaning} |", action.name())?;
    }
    writeln!(out)
}

fn of_check(out: &mut String, check: Check) -> std::fmt::Result {
    writeln!(out, "## {}.toml\n", check.name())?;
    writeln!(out, "{}\n", prose(Settings::about(check)))?;
    let defaults = Settings::default().entries(check);
    settings(out, Settings::keys(check), &defaults)?;
    writeln!(out, "| n | cause | |\n|---|---|---|")?;
    for reason in Reason::ALL.iter().filter(|reason| reason.check() == check) {
        writeln!(out, "| {} | `{}` | {} |", reason.number(), reason.code(), cell(reason.summary()))?;
    }
    writeln!(out)
}

fn settings(out: &mut String, keys: &[KeyDoc], defaults: &[(&str, String)]) -> std::fmt::Result {
    writeln!(out, "| setting | default | |\n|---|---|---|")?;
    for KeyDoc { key, doc, expected, example } in keys {
        let default = defaults.iter().find(|(name, _)| name == key).map_or("", |(_, value)| value.as_str());
        let default = if default.is_empty() || !example.is_empty() { "-".to_owned() } else { code(default) };
        writeln!(out, "| `{key}` | {default} | {} Expected: {}. |", cell(&prose(doc)), cell(expected))?;
    }
    writeln!(out)
}

fn rules(out: &mut String) -> std::fmt::Result {
    writeln!(out, "### Rules\n\n{}\n", prose(RuleSettings::ABOUT))?;
    let example = Settings::keys(Check::Content).iter().find(|key| !key.example.is_empty());
    writeln!(out, "```toml\n{}```\n", example.map_or("", |key| key.example))?;
    settings(out, RuleSettings::KEYS, &RuleSettings::default().entries())?;
    writeln!(
        out,
        "`name` is in the log and in what explain tells; `in` lists places: `\"header:NAME\"`, `\"header:*\"`, `\"body\"`, \
         `\"links\"`, `\"attachment_names\"`; `scope` limits the rule to mail for which that scope of `scopes.toml` holds. A regular \
         expression with three letters or more of fixed text in it costs nothing in mail without that text; others are run on all.\n"
    )
}

fn scopes(out: &mut String) -> std::fmt::Result {
    writeln!(out, "## scopes.toml\n\n{}\n", prose(When::ABOUT))?;
    writeln!(
        out,
        "```toml\n[[scope]]\nname = \"a partner with a broken HELO\"\nclient = [\"203.0.113.0/24\"]\nset.helo.mode = \"{}\"\n```\n",
        if Mode::default() == Mode::Enforce { "monitor" } else { "enforce" }
    )?;
    writeln!(
        out,
        "Of several scopes that hold, the later one wins. What a scope sets is written `set.CHECK.SETTING`.\n\n\
         A `scopes.toml` of your own stands in for the shipped one: add your scopes to a copy of it and keep those that are there, which \
         exempt your own hosts and clients that logged in from HELO, SPF and greylisting.\n"
    )?;
    settings(out, When::KEYS, &When::default().entries())
}

fn lists(out: &mut String) -> std::fmt::Result {
    writeln!(
        out,
        "## Lists\n\nA setting that is a list may name files: `banned_names = [\"fakedomain.xyz\", \"file:lists/banned.txt\"]`. Such a \
         file has one entry on a line; `#` at the beginning of a line or after a space starts a comment. These are shipped; a file of the \
         same name in the policy directory stands in for one:\n"
    )?;
    writeln!(out, "| List | Holds |\n|---|---|")?;
    for (path, text) in embedded::FILES.iter().filter(|(path, _)| path.starts_with("lists/")) {
        let about = text.lines().next().unwrap_or_default().trim_start_matches("# ");
        let about = about.split([':', ',']).next().unwrap_or_default();
        writeln!(out, "| [`{path}`]({path}) | {} |", cell(about))?;
    }
    writeln!(out)
}

fn transcripts(out: &mut String) -> std::fmt::Result {
    writeln!(out, "## Transcripts\n")?;
    writeln!(
        out,
        "`greylag test` plays the mails of `tests/*.toml` to the policy, with the DNS, the clock and an empty greylist of the \
         transcript's own, and compares what is decided with what is expected:\n"
    )?;
    writeln!(
        out,
        "```toml\ndns = \"\"\"\nmail.sender.example A 198.51.100.10\nsender.example TXT v=spf1 ip4:198.51.100.10 -all\n\"\"\"\n\n\
         [[case]]\nname = \"a first try is put off, the retry accepted\"\nclient = \"198.51.100.10\"\n\
         client_name = \"mail.sender.example\"\nhelo = \"mail.sender.example\"\nfrom = \"alice@sender.example\"\n\
         to = \"bob@example.net\"\nexpect = \"defer\"\nreason = \"greylist.first_seen\"\n\n[[case.then]]\nafter = \"2m\"\n\
         expect = \"accept\"\n```\n"
    )?;
    writeln!(
        out,
        "Above the cases stand `about`, for people; `dns`, one record a line (`NAME A ADDRESS`, also AAAA, MX, PTR and TXT; `NAME -` \
         exists without records, `NAME !` fails); and `[policy]`, texts for policy files that hold for this transcript alone: that for \
         `scopes.toml` comes after the scopes there, others replace the file.\n\n{}\n",
        prose(Mail::ABOUT)
    )?;
    settings(out, Mail::KEYS, &[])?;
    writeln!(
        out,
        "What a change of policy would have meant for mail that came is told by the log:\n\n```\ngreylag test /etc/greylag/policies \
         --from-log mail.log\n```\n\nlists the decisions that would be others now. What the log does not tell is taken as it was: what the \
         greylist said, and what was found in messages.\n"
    )
}

fn cookbook(out: &mut String) -> std::fmt::Result {
    writeln!(
        out,
        "## Cookbook\n\nEach recipe is a transcript in `tests/`, so that what it promises is tested."
    )?;
    for (path, text) in embedded::TESTS.iter().filter(|(path, _)| path.starts_with("tests/cookbook-")) {
        let Ok(transcript) = text.parse::<Table>() else { continue };
        let about = transcript.get("about").and_then(toml::Value::as_str).unwrap_or_default();
        let (title, why) = about.trim().split_once('\n').unwrap_or((about, ""));
        writeln!(out, "\n### {title}\n\n{} ([`{path}`]({path}))", why.trim())?;
        let policy = transcript.get("policy").and_then(toml::Value::as_table).into_iter().flatten();
        for (file, text) in policy {
            let text = text.as_str().unwrap_or_default().trim();
            // What only keeps the greylist out of the cases is none of the recipe.
            if !(file == "greylist.toml" && text == "mode = \"off\"") {
                writeln!(out, "\n`{file}`:\n\n```toml\n{text}\n```")?;
            }
        }
    }
    Ok(())
}

/// The settings that are none of the policy, so that every setting there is stands in one place.
fn configuration(out: &mut String) -> std::fmt::Result {
    writeln!(
        out,
        "## greylag.toml\n\n{} It is no file of this directory: `greylag serve` reads `{DEFAULT_PATH}`, or the one that `--config` \
         names, once at its start. Without it the defaults hold.\n",
        prose(Config::ABOUT)
    )?;
    settings(out, Config::KEYS, &Config::default().entries())
}

/// Documentation without the space that comments begin with, its lines joined but for empty ones.
fn prose(doc: &str) -> String {
    let lines: Vec<&str> = doc.lines().map(str::trim).collect();
    let paragraphs: Vec<String> = lines.split(|line| line.is_empty()).map(|lines| lines.join(" ")).collect();
    paragraphs.join("\n\n").trim().to_owned()
}

fn first_sentence(doc: &str) -> &str {
    let line = doc.trim();
    line.find(['.', ':']).map_or(line, |end| &line[..end])
}

/// Text for a cell of a table.
fn cell(text: &str) -> String {
    text.replace("\n\n", " ").replace('\n', " ").replace('|', "\\|")
}

fn code(value: &str) -> String {
    format!("`{}`", value.replace('|', "\\|"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shipped_reference_is_what_the_code_says() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/policies/README.md");
        let rendered = render();
        if std::env::var_os("UPDATE_POLICIES").is_some() {
            return std::fs::write(path, rendered).unwrap();
        }
        let shipped = std::fs::read_to_string(path).unwrap_or_default();
        assert!(
            shipped == rendered,
            "policies/README.md differs from the documentation in the code; write it anew with\n{REGENERATE}"
        );
    }

    #[test]
    fn every_setting_and_cause_is_in_the_reference() {
        let text = render();
        for check in Check::ALL {
            for key in Settings::keys(check) {
                assert!(text.contains(&format!("\n| `{}` | ", key.key)), "{}", key.key);
            }
        }
        for key in Config::KEYS {
            assert!(text.contains(&format!("\n| `{}` | ", key.key)), "{}", key.key);
        }
        for reason in Reason::ALL {
            assert!(text.contains(&format!("| `{}` | ", reason.code())), "{reason}");
        }
        assert_eq!(text.matches("\n### ").count(), 1 + 11, "rules, and eleven recipes");
    }
}
