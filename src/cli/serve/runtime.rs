//! The runtime that everything is served by.

use std::io;
use std::panic;
use std::sync::mpsc;
use std::thread;

use tokio::runtime::{Builder, Runtime};

/// Most threads that wait for disks, or do what takes long: the signatures of mails, reloads.
const MAX_BLOCKING: usize = 64;

/// Builds it.
///
/// # Errors
/// When the system has too few threads for it, or no file for its events.
pub(super) fn build() -> io::Result<Runtime> {
    let (sender, built) = mpsc::channel();
    let failed = sender.clone();
    // Where Tokio cannot begin a thread it panics, and then waits without end for those that it began: the panic itself has to tell.
    let usual = panic::take_hook();
    panic::set_hook(Box::new(move |panic| {
        let why = panic.payload_as_str().unwrap_or("it panicked");
        // Nobody waits any more when it was built.
        let _ = failed.send(Err(io::Error::other(why.to_owned())));
    }));
    let builder = thread::Builder::new().spawn(move || {
        let _ =
            sender.send(Builder::new_multi_thread().enable_all().max_blocking_threads(MAX_BLOCKING).build());
    });
    let result = builder.and_then(|builder| {
        let runtime = built.recv().unwrap_or_else(|gone| Err(io::Error::other(gone)))?;
        // Its thread is free for others then.
        let _ = builder.join();
        Ok(runtime)
    });
    panic::set_hook(usual);
    result.map_err(|error| {
        let remedy = "is the service's limit of threads (TasksMax=) too low for so many processors?";
        io::Error::new(error.kind(), format!("cannot start the threads that answer: {error}; {remedy}"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shipped_unit_has_room_for_the_threads_of_256_processors() {
        let unit = include_str!("../../../deploy/systemd/greylag.service");
        let most = unit.lines().find_map(|line| line.strip_prefix("TasksMax=")).unwrap();
        // One that answers and one that scans for each; the main one, the log's, the store's, the watch's and jemalloc's four.
        assert!(most.parse::<usize>().unwrap() >= 2 * 256 + 8 + MAX_BLOCKING, "{most}");
    }

    #[test]
    fn the_shipped_unit_lets_threads_give_way() {
        let unit = include_str!("../../../deploy/systemd/greylag.service");
        // Of lines in a row, the later one wins.
        let filters: Vec<_> =
            unit.lines().filter_map(|line| line.strip_prefix("SystemCallFilter=")).collect();
        assert_eq!(filters, ["@system-service", "~@privileged @resources", "setpriority"]);
    }

    #[test]
    fn the_shipped_unit_starts_where_no_passwords_are() {
        let unit = include_str!("../../../deploy/systemd/greylag.service");
        let passwords = unit.lines().filter_map(|line| line.strip_prefix("LoadCredential="));
        // A path behind a name would have to be there.
        assert_eq!(passwords.collect::<Vec<_>>(), ["greylag-store-password", "greylag-sentinel-password"]);
        let readme = include_str!("../../../README.md");
        assert!(readme.contains("?password_file=/run/credentials/greylag.service/greylag-store-password\""));
    }

    #[test]
    fn the_shipped_unit_tries_a_start_that_fails_until_it_succeeds() {
        let unit = include_str!("../../../deploy/systemd/greylag.service");
        let (head, service) = unit.split_once("[Service]").unwrap();
        assert!(head.lines().any(|line| line == "StartLimitIntervalSec=0"), "{head}");
        assert!(service.lines().any(|line| line == "Restart=always"), "{service}");
    }
}
