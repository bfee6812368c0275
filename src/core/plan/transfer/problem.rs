//! Builds the obstacles of a transfer.

use crate::{
    plan::obstacle::{BlockCode, Obstacle},
    shell::quote,
};

/// Returns the obstacle for a path that belongs to another user.
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

/// Returns the remedy for a path of another owner. Only root may change an owner, and docker runs
/// as root: any image with `chown` does. Covers the whole target, as one such file is seldom alone.
pub(super) fn chown(path: &str) -> String {
    let mount = quote(&format!("{path}:/d")).into_owned();
    format!(
        "change its owner with a container of any image that has chown: docker run --rm -v {mount} IMAGE \
         chown -R \"$(id -u):$(id -g)\" /d"
    )
}
