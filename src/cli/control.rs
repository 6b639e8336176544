//! Asking the running daemon by its control socket.

use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;
use thiserror::Error;

use super::Exit;
use super::configuration::read_configuration;
use super::progress::Progress;
use crate::admin::control::{Answer, Request};
use crate::config::{Config, ControlSocket, DEFAULT_PATH, Environment, is_missing};

/// Longest time for an answer: a reload may have millions of list entries to read.
const PATIENCE: Duration = Duration::from_secs(120);

/// Longest answer in bytes.
const MAX_ANSWER: u64 = 64 << 20;

/// How a command finds the daemon.
#[derive(Clone, Debug, Default, clap::Args)]
pub(super) struct ControlArgs {
    /// The daemon's control socket, unix:PATH [default: what the configuration file says].
    #[arg(long, value_name = "ADDR")]
    control: Option<ControlSocket>,
    /// The daemon's configuration file [default: /etc/greylag/greylag.toml, if it exists].
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

/// A question to the daemon, answered for people or for programs.
#[derive(Debug, clap::Args)]
pub(super) struct AskArgs {
    #[command(flatten)]
    control: ControlArgs,
    /// Answer as JSON.
    #[arg(long)]
    json: bool,
}

impl AskArgs {
    /// Asks, and writes the answer as JSON or by `write`; `end` says of the answer how the command ends, `refused` how it does
    /// where the daemon cannot do what it is asked.
    pub(super) fn ask<T: Serialize + DeserializeOwned>(
        &self,
        request: &Request,
        out: &mut dyn Write,
        errors: &mut dyn Write,
        write: impl FnOnce(&T, &mut dyn Write, &mut dyn Write) -> io::Result<()>,
        end: impl FnOnce(&T) -> Exit,
        refused: Exit,
    ) -> io::Result<Exit> {
        let answer: T = match self.control.ask(request, refused, errors) {
            Ok(answer) => answer,
            Err(exit) => return Ok(exit),
        };
        if self.json {
            writeln!(out, "{}", serde_json::to_string(&answer)?)?;
        } else {
            write(&answer, out, errors)?;
        }
        Ok(end(&answer))
    }
}

/// Why the daemon gave no answer.
#[derive(Debug, Error)]
pub(super) enum NoAnswer {
    /// There is no daemon, or it may not be asked.
    #[error("no Greylag answers at {path}: {error}{}", hint(error))]
    NotThere {
        /// The control socket.
        path: String,
        /// What the system said.
        error: io::Error,
    },
    /// The daemon is there and did not answer.
    #[error("the daemon at {path} gave no answer: {error}")]
    Broken {
        /// The control socket.
        path: String,
        /// What went wrong.
        error: io::Error,
    },
    /// The daemon cannot do what it was asked.
    #[error("the daemon says: {0}")]
    Refused(String),
}

fn hint(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::PermissionDenied => "; its socket is for its user and group, and for root",
        _ => {
            "; is it running? its socket is set by `control` in greylag.toml, or named by --control unix:PATH"
        }
    }
}

impl ControlArgs {
    /// Whether the command line says which daemon is meant.
    pub(super) const fn is_named(&self) -> bool {
        self.control.is_some() || self.config.is_some()
    }

    /// The daemon's configuration, and the directory of the policies that it names; `None` for the built-in ones.
    pub(super) fn configuration(&self, errors: &mut dyn Write) -> Result<(Config, Option<PathBuf>), Exit> {
        let path = self.config.as_deref().unwrap_or_else(|| Path::new(DEFAULT_PATH));
        if self.config.is_none() && is_missing(path) {
            return Ok((Config::default(), None));
        }
        let config = read_configuration(path, errors)?;
        let policies = config.policies.directory(path);
        Ok((config, policies))
    }

    /// The socket to ask at; says what is wrong where there is none.
    pub(super) fn socket(&self, errors: &mut dyn Write) -> Result<PathBuf, Exit> {
        let path = self.config.as_deref().unwrap_or_else(|| Path::new(DEFAULT_PATH));
        let no_file = self.config.is_none() && (self.control.is_some() || is_missing(path));
        let config = if no_file { Config::default() } else { read_configuration(path, errors)? };
        let socket = self.control.as_ref().unwrap_or(&config.control);
        let state_directory = config.state_directory(&Environment::current());
        socket.path_to_ask(state_directory).ok_or_else(|| {
            // Nobody is left to tell when standard error is closed.
            let _ =
                writeln!(errors, "greylag: the control socket is switched off (`control` in greylag.toml)");
            Exit::Config
        })
    }

    /// Asks the daemon; says why there is no answer where there is none. `refused` is for what the daemon cannot do.
    pub(super) fn ask<T: DeserializeOwned>(
        &self,
        request: &Request,
        refused: Exit,
        errors: &mut dyn Write,
    ) -> Result<T, Exit> {
        let socket = self.socket(errors)?;
        ask(&socket, request, &[]).map_err(|why| {
            let exit = failed(&why, errors);
            if matches!(why, NoAnswer::Refused(_)) { refused } else { exit }
        })
    }
}

/// Says why there is no answer.
pub(super) fn failed(why: &NoAnswer, errors: &mut dyn Write) -> Exit {
    let _ = writeln!(errors, "greylag: {why}");
    Exit::Failure
}

/// Asks the daemon at the socket `path`; `message` is what follows the request.
///
/// # Errors
/// When there is no daemon, it does not answer, or cannot do what it is asked.
pub(super) fn ask<T: DeserializeOwned>(
    path: &Path,
    request: &Request,
    message: &[u8],
) -> Result<T, NoAnswer> {
    let name = || path.display().to_string();
    let stream = UnixStream::connect(path).map_err(|error| NoAnswer::NotThere { path: name(), error })?;
    let progress = Progress::at("asking", "the running daemon");
    let answer =
        exchange(stream, request, message).map_err(|error| NoAnswer::Broken { path: name(), error })?;
    drop(progress);
    match answer {
        Answer::Ok(value) => serde_json::from_value(value)
            .map_err(|error| NoAnswer::Broken { path: name(), error: io::Error::other(error) }),
        Answer::Err { message } => Err(NoAnswer::Refused(message)),
    }
}

fn exchange(mut stream: UnixStream, request: &Request, message: &[u8]) -> io::Result<Answer> {
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let mut line = serde_json::to_vec(request)?;
    line.push(b'\n');
    // A daemon that does not want all of it says why.
    let _ = stream.write_all(&line).and_then(|()| stream.write_all(message));
    let _ = stream.shutdown(Shutdown::Write);
    let mut answer = Vec::new();
    if let Err(error) = stream.take(MAX_ANSWER).read_to_end(&mut answer) {
        // A daemon that closes with some of our request unread resets the connection behind its answer, which is whole.
        let is_whole = error.kind() == io::ErrorKind::ConnectionReset && answer.ends_with(b"\n");
        if !is_whole {
            return Err(error);
        }
    }
    if answer.is_empty() {
        return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "it closed the connection"));
    }
    Ok(serde_json::from_slice(&answer)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixListener;

    #[test]
    fn a_refusal_is_heard_from_a_daemon_that_takes_no_message() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("control.sock");
        let listener = UnixListener::bind(&path).unwrap();
        let daemon = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            // What is left unread resets the connection.
            stream.read_exact(&mut [0; 10]).unwrap();
            stream.write_all(b"{\"err\":{\"message\":\"too large\"}}\n").unwrap();
        });
        let answer: Result<(), NoAnswer> = ask(&path, &Request::Status, &[b'x'; 60_000]);
        assert_eq!(answer.unwrap_err().to_string(), "the daemon says: too large");
        daemon.join().unwrap();
    }
}
