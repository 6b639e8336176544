//! The fuzzers' corpora, replayed: inputs that together reach all the code that fuzzing reached, and those that once broke something.

#[path = "../fuzz/src/target.rs"]
mod target;

use std::fs;
use std::path::{Path, PathBuf};

use target::{Target, work_limit};

/// The corpora are part of the repository, so they stay small.
const MAX_BYTES: usize = 1_000_000;

fn corpora() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/corpus")
}

/// The inputs of a target, by name.
fn inputs(target: Target) -> Vec<(PathBuf, Vec<u8>)> {
    let directory = corpora().join(target.name());
    let mut paths: Vec<PathBuf> =
        fs::read_dir(&directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths.into_iter().map(|path| (path.clone(), fs::read(path).unwrap())).collect()
}

#[test]
fn every_input_is_scanned_with_work_in_proportion_to_its_size() {
    for target in Target::ALL {
        let inputs = inputs(target);
        assert!(!inputs.is_empty(), "{target:?} has no corpus");
        for (path, data) in inputs {
            let report = target.scan(&data);
            let limit = work_limit(data.len());
            assert!(report.work > 0 && report.work <= limit, "{}: {} of work", path.display(), report.work);
        }
    }
}

#[test]
fn each_target_has_a_corpus_and_each_corpus_a_target() {
    let mut folders: Vec<String> = fs::read_dir(corpora())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    folders.sort();
    let mut targets = Target::ALL.map(Target::name);
    targets.sort_unstable();
    assert_eq!(folders, targets);
}

#[test]
fn the_corpora_are_small() {
    let bytes: usize = Target::ALL.into_iter().flat_map(inputs).map(|(_, data)| data.len()).sum();
    assert!(bytes <= MAX_BYTES, "{bytes} bytes");
}
