//! Why a transfer is blocked, and the remedy.

use crate::{
    plan::obstacle::{BlockCode, Obstacle},
    shell::quote,
};

/// Something of another user.
pub(super) fn foreign(path: &str, target: &str, uid: u32) -> Obstacle {
    let reason = format!("{path} belongs to user {uid}");
    Obstacle::new(BlockCode::NotOwner, reason, chown(target))
}

pub(super) fn in_the_way(path: &str, what: &str) -> Obstacle {
    let quoted = quote(path);
    Obstacle::new(
        BlockCode::WrongKind,
        format!("{path} is {what}"),
        format!(
            "look at it and move it away: mv {quoted} {}; or allow it with `delete = true`",
            quote(&format!("{path}.old"))
        ),
    )
}

/// Only root can give a file away, and docker is root: any image with a chown does. All of the
/// target, for one of its files is seldom alone.
pub(super) fn chown(path: &str) -> String {
    let mount = quote(&format!("{path}:/d")).into_owned();
    format!(
        "change its owner with a container of any image that has chown: docker run --rm -v {mount} IMAGE \
         chown -R \"$(id -u):$(id -g)\" /d"
    )
}
