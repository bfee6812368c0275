//! Matches the `exclude` globs of a transfer, with the same rules on both machines.

use camino::Utf8Path;
use globset::{Glob, GlobSet, GlobSetBuilder};

use crate::names::NameGlob;

/// Globs of paths that are neither copied nor removed, relative to the transfer's directory.
///
/// A glob matches a path below the directory, or the last segment of one; everything in an excluded
/// directory is excluded with it.
#[derive(Debug, Clone, Default)]
pub struct Exclude {
    globs: Vec<NameGlob>,
    set: GlobSet,
}

impl Exclude {
    /// Compiles the globs; they were checked when the manifest was read.
    pub fn new(globs: &[NameGlob]) -> Self {
        let mut set = GlobSetBuilder::new();
        for glob in globs {
            // `logs/` is accepted for a directory.
            let text = glob.as_str().trim_end_matches('/');
            if let Ok(glob) = Glob::new(text) {
                set.add(glob);
            }
        }
        Self {
            globs: globs.to_vec(),
            set: set.build().unwrap_or_default(),
        }
    }

    /// Returns the globs as declared.
    pub fn globs(&self) -> &[NameGlob] {
        &self.globs
    }

    /// Whether `relative`, or a directory above it, is excluded.
    pub fn covers(&self, relative: &str) -> bool {
        !self.set.is_empty()
            && Utf8Path::new(relative)
                .ancestors()
                .any(|part| self.names(part))
    }

    /// Whether a glob matches the path itself, whatever is above it.
    pub fn names(&self, relative: &Utf8Path) -> bool {
        !relative.as_str().is_empty()
            && (self.set.is_match(relative)
                || relative
                    .file_name()
                    .is_some_and(|name| self.set.is_match(name)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn globs_match_paths_names_and_everything_below() {
        let globs: Vec<NameGlob> = ["*.tmp", "logs/", "a/b"]
            .iter()
            .map(|glob| glob.parse().unwrap())
            .collect();
        let exclude = Exclude::new(&globs);
        for path in ["x.tmp", "deep/x.tmp", "logs", "deep/logs/x", "a/b", "a/b/c"] {
            assert!(exclude.covers(path), "{path}");
        }
        for path in ["", "x.tmpl", "c/a/b", "logs2", "b"] {
            assert!(!exclude.covers(path), "{path}");
        }
        assert!(!Exclude::default().covers("x"));
    }
}
