//! Which directories have to be watched for a policy directory, symbolic links included.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Component, Path, PathBuf};

/// Links that may lead to one another; the kernel follows as many.
const MAX_LINKS: usize = 40;

/// Where a change concerns the policy.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Places {
    /// Directories of which every entry counts.
    whole: BTreeSet<PathBuf>,
    /// Other entries that count: links, where they lead to, and what is not there yet.
    names: BTreeSet<PathBuf>,
    /// Directories on the way, which may be renamed or made anew.
    above: BTreeSet<PathBuf>,
}

impl Places {
    /// The places of the policy directory `root` as it is now.
    pub(super) fn find(root: &Path) -> Self {
        let mut places = Self::default();
        let root = std::path::absolute(root).unwrap_or_else(|_| root.to_owned());
        for directory in [root.clone(), root.join("lists")] {
            let Some(real) = places.follow(&directory) else { continue };
            let links = fs::read_dir(&real).into_iter().flatten().flatten();
            let links = links.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_symlink()));
            for link in links {
                places.follow(&link.path());
            }
            if real.is_dir() {
                places.whole.insert(real);
            }
        }
        places
    }

    /// The directories to watch, those of the entries among them.
    pub(super) fn directories(&self) -> BTreeSet<&Path> {
        self.whole.iter().map(PathBuf::as_path).chain(nearest(&self.names)).collect()
    }

    /// The directories to watch as well where we may: those in which a directory on the way may be replaced.
    pub(super) fn directories_above(&self) -> BTreeSet<&Path> {
        nearest(&self.above).collect()
    }

    /// Whether an event about `paths` concerns the policy; one about nothing may.
    pub(super) fn concern(&self, paths: &[PathBuf]) -> bool {
        let concerns = |path: &PathBuf| {
            self.names.contains(path)
                || self.above.contains(path)
                || self.whole.contains(path)
                || path.parent().is_some_and(|parent| self.whole.contains(parent))
        };
        paths.is_empty() || paths.iter().any(concerns)
    }

    /// Notes every link and every directory on the way to where `path` leads, which is returned; `None` where links lead in circles.
    fn follow(&mut self, path: &Path) -> Option<PathBuf> {
        let mut links = 0;
        let mut rest: Vec<PathBuf> = components(path);
        let mut real = PathBuf::new();
        while let Some(next) = rest.pop() {
            match next.components().next() {
                Some(Component::ParentDir) => _ = real.pop(),
                Some(Component::CurDir) | None => {}
                _ => real.push(next),
            }
            if let Ok(target) = fs::read_link(&real) {
                links += 1;
                if links > MAX_LINKS {
                    return None;
                }
                self.names.insert(real.clone());
                // A relative target begins where the link is; an absolute one replaces the path when it is pushed.
                real.pop();
                rest.extend(components(&target));
            } else if real.is_dir() {
                self.above.insert(real.clone());
            } else {
                self.names.insert(real.clone());
            }
        }
        Some(real)
    }
}

/// The directories these entries are in; of one in a directory that is not there, the nearest that is.
fn nearest(names: &BTreeSet<PathBuf>) -> impl Iterator<Item = &Path> {
    names.iter().filter_map(|name| name.ancestors().skip(1).find(|above| above.is_dir()))
}

/// The components of a path, the first one last.
fn components(path: &Path) -> Vec<PathBuf> {
    path.components().rev().map(|component| PathBuf::from(component.as_os_str())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn links_are_followed_to_their_end() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path().canonicalize().unwrap();
        let path = |name: &str| dir.join(name);
        fs::create_dir_all(path("v1/policies/lists")).unwrap();
        fs::create_dir(path("shared")).unwrap();
        symlink("v1", path("current")).unwrap();
        symlink(path("shared/helo.toml"), path("v1/policies/helo.toml")).unwrap();
        symlink("other.toml", path("shared/helo.toml")).unwrap();
        symlink("circle", path("v1/policies/circle")).unwrap();
        let places = Places::find(&path("current/policies"));
        let whole = ["v1/policies", "v1/policies/lists"].map(path);
        assert_eq!(places.whole, whole.into());
        for name in
            ["current", "v1/policies/helo.toml", "shared/helo.toml", "shared/other.toml", "v1/policies"]
        {
            assert!(places.concern(&[path(name)]), "{name}");
        }
        assert!(places.concern(&[path("v1/policies/greylist.toml")]));
        assert!(places.concern(&[path("v1/policies/lists/new.txt")]));
        assert!(places.concern(&[]));
        assert!(!places.concern(&[path("shared/stranger.toml"), path("v2")]));
        let expected = ["", "shared", "v1/policies", "v1/policies/lists"].map(path);
        let expected: BTreeSet<&Path> = expected.iter().map(|path| path.as_path()).collect();
        assert_eq!(places.directories(), expected);
        // Each of these can be replaced in the one above it.
        for name in ["", "v1", "v1/policies", "v1/policies/lists"] {
            assert!(places.above.contains(&path(name)), "{name}");
        }
    }

    #[test]
    fn directories_above_count_and_their_other_entries_do_not() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path().canonicalize().unwrap();
        fs::create_dir_all(dir.join("greylag/policies/lists")).unwrap();
        let places = Places::find(&dir.join("greylag/policies"));
        let below: Vec<PathBuf> =
            ["greylag/policies", "greylag/policies/lists"].map(|it| dir.join(it)).into();
        assert_eq!(places.directories().into_iter().collect::<Vec<_>>(), below);
        let above: BTreeSet<&Path> = below[1].ancestors().skip(1).collect();
        assert_eq!(places.directories_above(), above);
        for directory in above {
            assert!(places.concern(&[directory.to_owned()]), "{}", directory.display());
        }
        assert!(!places.concern(&[
            dir.join("greylag.new"),
            dir.join("greylag/greylag.toml"),
            "/tmp/x".into()
        ]));
    }

    #[test]
    fn a_directory_that_is_not_there_is_waited_for() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path().canonicalize().unwrap();
        for name in ["policies", "greylag/policies"] {
            let places = Places::find(&dir.join(name));
            assert_eq!(places.directories().into_iter().collect::<Vec<_>>(), [dir.as_path()]);
            let above: BTreeSet<&Path> = dir.ancestors().skip(1).collect();
            assert_eq!(places.directories_above(), above);
            for missing in dir.join(name).ancestors().take_while(|path| *path != dir) {
                assert!(places.concern(&[missing.to_owned()]), "{}", missing.display());
            }
        }
    }
}
