//! Computes text diffs of small files for a plan that people read. Nothing depends on them.

use camino::Utf8Path;
use similar::TextDiff;

use super::{CommandError, session::Session};
use crate::{
    desired::{Desired, Entry, is_secret},
    digest::Digest,
    observe::{Node, Observed, PathFact, Probed, contents},
    plan::{Action, Address, ChangeKind, Plan, ResourceKind},
    render::Details,
};

/// The maximum size, in bytes, of a file whose diff is shown: nobody reads that of a larger one.
const FILE_LIMIT: u64 = 64 << 10;

/// The maximum number of files whose diffs are shown, which bounds what is fetched.
const FILES: usize = 50;

/// The number of context lines around a change.
const CONTEXT: usize = 3;

/// A file whose diff is shown.
struct Shown<'a> {
    address: Address,
    name: String,
    local: &'a Utf8Path,
    sha256: Digest,
    there: String,
}

/// Returns the text diffs of a plan; fetches the files only if they are shown.
pub(super) async fn details(
    session: &Session,
    observed: &Observed,
    plan: &Plan,
) -> Result<Details, CommandError> {
    let desired = session.vpu.desired();
    let mut shown = in_projects(desired, observed, plan);
    shown.extend(in_transfers(desired, observed, plan));
    shown.truncate(FILES);
    if shown.is_empty() {
        return Ok(Details::new());
    }
    let paths: Vec<String> = shown.iter().map(|shown| shown.there.clone()).collect();
    let found = contents(session.vpu.host(), &paths, FILE_LIMIT).await?;
    let diffs = shown.iter().zip(found).filter_map(|(shown, found)| {
        let here = match desired.rendered.get(&shown.sha256) {
            Some(content) if !content.may_be_compared() => return None,
            Some(content) => content.bytes().to_vec(),
            None => fs_err::read(shown.local).ok()?,
        };
        let diff = diff(&found?, &here)?;
        Some(((shown.address.clone(), shown.name.clone()), diff))
    });
    Ok(diffs.collect())
}

/// Returns the existing files of compose projects whose contents change.
fn in_projects<'a>(desired: &'a Desired, observed: &Observed, plan: &Plan) -> Vec<Shown<'a>> {
    let mut shown = vec![];
    for project in &desired.projects {
        for file in &project.files {
            let name = format!("{}/{}", project.name, file.relative);
            let address = Address::new(ResourceKind::File, name);
            let there = project.path(file);
            let fact = observed.facts.paths.get(&there).and_then(Probed::known);
            let Some(PathFact::File { size, mode, .. }) = fact else {
                continue;
            };
            let mut steps = plan.steps.iter();
            let changes =
                steps.any(|step| step.address == address && step.action == Action::Update);
            let is_public =
                !is_secret(&file.relative) && is_readable(*mode) && is_readable(file.mode);
            if changes && is_public && file.bytes.max(*size) <= FILE_LIMIT {
                shown.push(Shown {
                    address,
                    name: String::new(),
                    local: &file.local,
                    sha256: file.sha256,
                    there,
                });
            }
        }
    }
    shown
}

/// Returns the existing files of transfers whose contents change.
fn in_transfers<'a>(desired: &'a Desired, observed: &Observed, plan: &Plan) -> Vec<Shown<'a>> {
    let home = &observed.facts.system.home;
    let mut shown = vec![];
    for transfer in &desired.transfers {
        let address = Address::new(ResourceKind::Transfer, transfer.name());
        let Some(Probed::Known(tree)) = observed.facts.trees.targets.get(&transfer.name()) else {
            continue;
        };
        let step = plan.steps.iter().find(|step| step.address == address);
        let changes = step.map_or(&[][..], |step| &step.changes);
        for change in changes.iter().filter(|c| c.change == ChangeKind::Changed) {
            let (Some(Entry::File(file)), Some(Probed::Known(Node::File { size, mode, .. }))) = (
                transfer.entries.get(&change.path),
                tree.nodes.get(&change.path),
            ) else {
                continue;
            };
            let is_public = !file.secret && is_readable(*mode) && is_readable(file.mode);
            if !is_public || file.bytes.max(*size) > FILE_LIMIT {
                continue;
            }
            let target = transfer.target.resolve(home);
            shown.push(Shown {
                address: address.clone(),
                name: change.path.clone(),
                local: &file.local,
                sha256: file.sha256,
                there: format!("{target}/{}", change.path)
                    .trim_end_matches('/')
                    .to_owned(),
            });
        }
    }
    shown
}

/// Whether others than the owner may read a file: one that only its owner may read is likely to hold a secret.
fn is_readable(mode: u32) -> bool {
    mode & 0o044 != 0
}

/// Returns a unified diff if both are text.
fn diff(found: &[u8], here: &[u8]) -> Option<String> {
    let text = |bytes: &[u8]| {
        let text = std::str::from_utf8(bytes).ok()?;
        (!text.contains('\0')).then(|| text.to_owned())
    };
    let (found, here) = (text(found)?, text(here)?);
    let diff = TextDiff::from_lines(&found, &here);
    Some(diff.unified_diff().context_radius(CONTEXT).to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_compared_by_lines_and_binary_files_are_not() {
        let shown = diff(b"a\nb\n", b"a\nc\n").unwrap();
        assert_eq!(shown, "@@ -1,2 +1,2 @@\n a\n-b\n+c\n");
        assert_eq!(diff(b"a\0", b"b"), None);
        assert_eq!(diff(b"\xff", b"b"), None);
    }
}
