//! Files that are whole or not there.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use crate::store::{StoreFault, Timestamp};

/// Makes a fault of an error met while doing `action` to `path`.
pub(super) fn fault(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> StoreFault {
    let path = path.to_owned();
    move |source| StoreFault::Io { action, path, source }
}

/// Creates the directory of a store, for its owner only: it holds the hash key.
pub(super) fn create_directory(directory: &Path) -> Result<(), StoreFault> {
    let created = fs::DirBuilder::new().recursive(true).mode(0o700).create(directory);
    created.map_err(fault("create the directory", directory))
}

/// Creates `path` with what `write` puts into it: after a crash it is there as a whole or not at all. Returns it open for
/// appending.
pub(super) fn create(
    path: &Path,
    write: impl FnOnce(&mut BufWriter<&File>) -> io::Result<()>,
) -> Result<File, StoreFault> {
    let temporary = temporary(path);
    let try_write = || -> io::Result<File> {
        let _ = fs::remove_file(&temporary);
        let file = OpenOptions::new().append(true).create_new(true).open(&temporary)?;
        let mut writer = BufWriter::new(&file);
        write(&mut writer)?;
        writer.flush()?;
        drop(writer);
        file.sync_all()?;
        fs::rename(&temporary, path)?;
        Ok(file)
    };
    let file = try_write().map_err(fault("write", path))?;
    sync_directory_of(path)?;
    Ok(file)
}

/// The name of a file while it is being written.
pub(super) fn temporary(path: &Path) -> PathBuf {
    path.with_extension("tmp")
}

/// Removes a file, if it is there.
pub(super) fn remove(path: &Path) -> Result<(), StoreFault> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(fault("remove", path)(error)),
        _ => Ok(()),
    }
}

/// Renames a file that cannot be used, as `why` says in a word, to `NAME.WHY-TIME`, for somebody to look at; returns the new name.
pub(super) fn set_aside(path: &Path, why: &str, now: Timestamp) -> Result<PathBuf, StoreFault> {
    let name = |count: u32| {
        let mut name = path.as_os_str().to_owned();
        name.push(format!(".{why}-{}", now.as_millis()));
        if count > 1 {
            name.push(format!("-{count}"));
        }
        PathBuf::from(name)
    };
    let aside = (1..).map(name).find(|name| !name.exists()).unwrap_or_else(|| name(u32::MAX));
    fs::rename(path, &aside).map_err(fault("set aside", path))?;
    sync_directory_of(path)?;
    Ok(aside)
}

/// The files of a directory.
pub(super) fn list(directory: &Path) -> Result<Vec<PathBuf>, StoreFault> {
    let paths = fs::read_dir(directory).and_then(|entries| entries.map(|entry| Ok(entry?.path())).collect());
    paths.map_err(fault("list", directory))
}

fn sync_directory_of(path: &Path) -> Result<(), StoreFault> {
    let directory =
        path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."));
    File::open(directory).and_then(|handle| handle.sync_all()).map_err(fault("sync", directory))
}
