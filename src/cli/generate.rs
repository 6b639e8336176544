//! `greylag generate`: completions for shells, manual pages, and `policies/README.md`, from the code's own documentation.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use clap::{CommandFactory, ValueEnum};

use super::{Cli, Exit, handbook};

/// Write shell completions, manual pages or the policy reference into a directory.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  greylag generate completions /usr/local/share/greylag/completions
  greylag generate man /usr/local/share/man/man1
  greylag generate reference /etc/greylag/policies   # README.md: every setting, cause and default")]
pub(super) struct Args {
    /// What to write.
    what: What,
    /// The directory to write into; it is made where it is missing.
    #[arg(value_name = "DIR")]
    directory: PathBuf,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum What {
    /// Completions for bash, zsh, fish and elvish.
    Completions,
    /// `greylag.1` and a page for each subcommand.
    Man,
    /// `README.md` of the policy directory: every setting, cause and default.
    Reference,
}

pub(super) fn run(args: &Args, out: &mut dyn Write, errors: &mut dyn Write) -> io::Result<Exit> {
    match write(args.what, &args.directory) {
        Ok(files) => {
            files.iter().try_for_each(|file| writeln!(out, "{}", file.display()))?;
            Ok(Exit::Success)
        }
        Err(error) => {
            writeln!(errors, "greylag generate: cannot write into {}: {error}", args.directory.display())?;
            Ok(Exit::Failure)
        }
    }
}

fn write(what: What, directory: &Path) -> io::Result<Vec<PathBuf>> {
    fs::create_dir_all(directory)?;
    let mut command = Cli::command();
    let mut files = Vec::new();
    match what {
        What::Completions => {
            for shell in clap_complete::Shell::value_variants() {
                files.push(clap_complete::generate_to(*shell, &mut command, "greylag", directory)?);
            }
        }
        What::Man => {
            command.build();
            let mut page = |name: String, command: clap::Command| {
                let path = directory.join(format!("{name}.1"));
                let mut text = Vec::new();
                clap_mangen::Man::new(command).title(name).render(&mut text)?;
                fs::write(&path, text)?;
                files.push(path);
                Ok::<_, io::Error>(())
            };
            for subcommand in command.get_subcommands() {
                let name = subcommand.get_name();
                if name != "help" {
                    page(format!("greylag-{name}"), subcommand.clone())?;
                }
            }
            page("greylag".to_owned(), command)?;
        }
        What::Reference => {
            let path = directory.join("README.md");
            fs::write(&path, handbook::render())?;
            files.push(path);
        }
    }
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn completions_and_manual_pages_know_every_subcommand() {
        let directory = tempfile::tempdir().unwrap();
        let completions = write(What::Completions, &directory.path().join("completions")).unwrap();
        assert!(completions.len() >= 4, "{completions:?}");
        for file in completions {
            let text = fs::read_to_string(&file).unwrap();
            assert!(["explain", "from-log"].iter().all(|word| text.contains(word)), "{}", file.display());
        }
        let pages = write(What::Man, directory.path()).unwrap();
        let names: Vec<String> =
            pages.iter().map(|page| page.file_name().unwrap().to_string_lossy().into_owned()).collect();
        for name in
            ["greylag.1", "greylag-serve.1", "greylag-check.1", "greylag-test.1", "greylag-generate.1"]
        {
            assert!(names.iter().any(|known| known == name), "{names:?}");
        }
        let text = fs::read_to_string(directory.path().join("greylag-test.1")).unwrap();
        assert!(text.contains("transcripts"), "{text}");
    }
}
