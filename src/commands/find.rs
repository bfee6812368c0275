//! Finds the manifest of a folder in the folders above it, as cargo and git do.

use std::os::unix::fs::MetadataExt as _;

use camino::{Utf8Path, Utf8PathBuf};

use crate::{
    cli::{Cli, Command, DEFAULT_FILE},
    surroundings,
    ui::Ui,
};

/// Names the manifest of the nearest folder above, if the command line names none and this folder has none.
pub fn find_manifest(cli: &mut Cli, ui: Ui) {
    let needs_none = matches!(
        cli.command,
        Command::Init(_)
            | Command::Migrate(_)
            | Command::Schema(_)
            | Command::Completions(_)
            | Command::Man(_)
    );
    if needs_none || !cli.global.is_default_file {
        return;
    }
    let Some(here) = surroundings::current_directory() else {
        return;
    };
    match nearest(&here) {
        None => {}
        Some(Found::Own(path)) => {
            ui.note(&format!("using {path}"));
            cli.global.file = path;
        }
        Some(Found::OfOther(path)) => ui.note(&format!(
            "ignored {path}, which belongs to another user: name it with -f to use it"
        )),
    }
}

/// A manifest in a folder above.
#[derive(Debug, PartialEq, Eq)]
enum Found {
    /// It belongs to this user or to root.
    Own(Utf8PathBuf),
    /// Another user wrote it, who may mean ill.
    OfOther(Utf8PathBuf),
}

/// Returns the nearest manifest above `here`, as a path relative to it; none if `here` itself has one.
fn nearest(here: &Utf8Path) -> Option<Found> {
    let exists = |path: &Utf8Path| path.symlink_metadata().is_ok();
    if exists(&here.join(DEFAULT_FILE)) {
        return None;
    }
    let above = here.ancestors().skip(1).enumerate();
    let mut found = above.filter(|(_, folder)| exists(&folder.join(DEFAULT_FILE)));
    let (steps, folder) = found.next()?;
    let path = Utf8PathBuf::from(format!("{}{DEFAULT_FILE}", "../".repeat(steps + 1)));
    // What a link points to, and the files beside it, may be those of another user.
    let mut owners = [folder.join(DEFAULT_FILE), folder.to_owned()]
        .into_iter()
        .map(|path| path.symlink_metadata().ok().map(|data| data.uid()));
    let us = rustix::process::geteuid().as_raw();
    let is_own = owners.all(|owner| owner.is_some_and(|owner| owner == 0 || owner == us));
    Some(if is_own {
        Found::Own(path)
    } else {
        Found::OfOther(path)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_manifest_above_is_found() {
        let directory = tempfile::tempdir().unwrap();
        let root = Utf8Path::from_path(directory.path()).unwrap();
        let deep = root.join("app/src/deep");
        fs_err::create_dir_all(&deep).unwrap();
        assert_eq!(nearest(&deep), None);
        fs_err::write(root.join("deploy.toml"), "").unwrap();
        let found = |path: &str| Some(Found::Own(path.into()));
        assert_eq!(nearest(&deep), found("../../../deploy.toml"));
        fs_err::write(root.join("app/deploy.toml"), "").unwrap();
        assert_eq!(nearest(&deep), found("../../deploy.toml"));
        fs_err::write(deep.join("deploy.toml"), "").unwrap();
        assert_eq!(nearest(&deep), None);
    }

    #[test]
    fn a_manifest_of_another_user_is_not_used_even_by_a_link_to_an_own_one() {
        // Only root can give files away.
        if !rustix::process::geteuid().is_root() {
            return;
        }
        let directory = tempfile::tempdir().unwrap();
        let root = Utf8Path::from_path(directory.path()).unwrap();
        let (theirs, own) = (root.join("theirs"), root.join("own.toml"));
        let work = theirs.join("work");
        fs_err::create_dir_all(&work).unwrap();
        fs_err::write(&own, "").unwrap();
        fs_err::os::unix::fs::symlink(&own, theirs.join("deploy.toml")).unwrap();
        let other = Some(Found::OfOther("../deploy.toml".into()));
        std::os::unix::fs::lchown(theirs.join("deploy.toml"), Some(12345), None).unwrap();
        assert_eq!(nearest(&work), other, "the link is theirs");
        std::os::unix::fs::lchown(theirs.join("deploy.toml"), Some(0), None).unwrap();
        assert_eq!(nearest(&work), Some(Found::Own("../deploy.toml".into())));
        std::os::unix::fs::chown(&theirs, Some(12345), None).unwrap();
        assert_eq!(nearest(&work), other, "the folder is theirs");
    }
}
