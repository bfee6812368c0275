//! Builds the commands that keep releases on the VPU, and return to them.

use super::State;
use crate::{digest::Digest, shell::Argv};

/// Kilobytes that stay free when a release is kept.
pub(super) const RESERVE: u64 = 128 << 10;

/// Bytes from which a file is kept as a link, and staged as one: it takes no space twice.
pub const LARGE: u64 = 1 << 20;

/// Lines of attempts that the VPU keeps for a release.
const ATTEMPTS: u32 = 100;

/// Lines of each file that [`history`] prints.
const SHOWN: u32 = 40;

impl State<'_> {
    /// The contents of files of kept releases, by sha256.
    pub fn store(self) -> String {
        format!("{}/.o3r-deploy/store", self.home)
    }

    /// Where the contents of a file are kept.
    pub fn stored(self, sha256: &Digest) -> String {
        format!("{}/{}", self.store(), sha256.hex())
    }
}

/// Keeps the release that stdin describes in the form of `generation/mod.rs`.
pub fn keep_generation(release: &str) -> Argv {
    let script = concat!(
        include_str!("generations-shared.sh"),
        include_str!("keep-generation.sh")
    );
    let words = [RESERVE.to_string(), LARGE.to_string()];
    Argv::script(script, "o3r-keep-generation", [release]).args(words)
}

/// Forgets a release: its record, its history, what is kept of it, our names of its images, and these names where no
/// container uses the image and no other release keeps it.
pub fn forget_release<'a>(release: &str, images: impl IntoIterator<Item = &'a str>) -> Argv {
    let script = concat!(
        include_str!("generations-shared.sh"),
        include_str!("prune-generations.sh"),
        include_str!("forget-release.sh")
    );
    Argv::script(script, "o3r-forget-release", [release]).args(images)
}

/// Runs a command with the file at `path` as its standard input.
pub fn from_store(path: &str, command: &Argv) -> Argv {
    let script = include_str!("from-store.sh");
    Argv::script(script, "o3r-from-store", [path]).args(command.words().iter().cloned())
}

/// Puts the members that stdin lists from the store into a staging directory.
pub fn stage_kept(staging: &str, store: &str) -> Argv {
    let script = concat!(include_str!("kept.sh"), include_str!("stage-kept.sh"));
    Argv::script(script, "o3r-stage-kept", [staging, store]).arg(LARGE.to_string())
}

/// Prints `word` before each of the lines `SHA256 PATH` on stdin whose file has that content.
pub fn whole_files(word: &str) -> Argv {
    let script = concat!(include_str!("kept.sh"), include_str!("whole-files.sh"));
    Argv::script(script, "o3r-whole-files", [word])
}

/// Prints the releases that are kept, and the applies; each line begins with `word`.
pub fn history(word: &str) -> Argv {
    let script = include_str!("history.sh");
    Argv::script(script, "o3r-history", [word, &SHOWN.to_string()])
}

/// Prints the home directory after `word`, then the text of a kept release.
pub fn show_generation(word: &str, release: &str, number: u64) -> Argv {
    let script = include_str!("show-generation.sh");
    let number = number.to_string();
    Argv::script(script, "o3r-show-generation", [word, release, &number])
}

/// Prints the home directory after `word`, then the text of the kept release with this digest of what was declared, or
/// only its first line; nothing if the VPU does not keep it.
pub fn show_recorded(word: &str, release: &str, desired: &Digest, whole: bool) -> Argv {
    let script = include_str!("show-recorded.sh");
    let desired = desired.to_string();
    let what = if whole { "text" } else { "header" };
    Argv::script(script, "o3r-show-recorded", [word, release, &desired, what])
}

/// Appends the line on stdin to the attempts of a release, and removes the copies that were kept of the files of
/// `projects`, because no rollback will need them.
pub fn note_attempt<'a>(release: &str, projects: impl IntoIterator<Item = &'a str>) -> Argv {
    let script = concat!(
        include_str!("forget-unfinished.sh"),
        include_str!("forget-kept.sh"),
        include_str!("note-attempt.sh")
    );
    let lines = ATTEMPTS.to_string();
    Argv::script(script, "o3r-note-attempt", [release, &lines]).args(projects)
}
