//! Finds large files of transfers that the VPU has in another version, and creates patches for
//! them.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
};

use crate::{
    blocks::BlockSums,
    cost::file::patched,
    desired::{Desired, Entry, FileEntry},
    digest::Digest,
    observe::{Facts, Node, Observed, Probed},
    offers::SMALLEST_PATCHED,
    patch::Patch,
};

/// The patches of this process, so that none is computed again when the VPU is observed again: by
/// the digests of the new file and of the old file's block checksums; `None` if there is no patch.
#[derive(Debug, Default)]
pub struct PatchCache(Mutex<BTreeMap<(Digest, Digest), Option<Patch>>>);

/// A file of a transfer that the VPU has in another version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outdated {
    /// The transfer's number, from 0.
    pub transfer: usize,
    /// The path below the target.
    pub name: String,
    /// The absolute path on the VPU.
    pub path: String,
    /// Its current size in bytes.
    pub size: u64,
    /// Its desired size in bytes.
    pub bytes: u64,
}

/// Returns the large outdated files.
pub fn outdated(desired: &Desired, facts: &Facts) -> Vec<Outdated> {
    let mut found = vec![];
    if desired.contents.are_on_vpu() {
        return found;
    }
    for (number, transfer) in desired.transfers.iter().enumerate() {
        let Some(Probed::Known(tree)) = facts.trees.targets.get(&transfer.name()) else {
            continue;
        };
        let target = transfer.target.resolve(&facts.system.home);
        for (name, entry) in &transfer.entries {
            let (Entry::File(file), Some(Probed::Known(node))) = (entry, tree.nodes.get(name))
            else {
                continue;
            };
            let Node::File { size, sha256, .. } = node else {
                continue;
            };
            let large = file.bytes.min(*size) >= SMALLEST_PATCHED;
            if large && !file.secret && *sha256 != Some(file.sha256) {
                found.push(Outdated {
                    transfer: number,
                    name: name.clone(),
                    path: if name.is_empty() {
                        target.clone()
                    } else {
                        format!("{target}/{name}")
                    },
                    size: *size,
                    bytes: file.bytes,
                });
            }
        }
    }
    found
}

/// Creates patches of files whose old versions' blocks were queried, if a patch is faster than the
/// whole file; by the transfer's number and the path below its target. Blocks.
pub(super) fn patches(
    desired: &Desired,
    observed: &Observed,
    cache: &PatchCache,
) -> BTreeMap<(usize, String), Patch> {
    let speeds = observed.readings.speeds;
    let patches = outdated(desired, &observed.facts)
        .into_iter()
        .filter_map(|file| {
            let sums = observed.readings.blocks.get(&file.path)?;
            let Some(Entry::File(wanted)) =
                desired.transfers[file.transfer].entries.get(&file.name)
            else {
                return None;
            };
            if desired.rendered.contains_key(&wanted.sha256) {
                return None; // it is small
            }
            let patch = cache.patch(wanted, sums)?;
            let is_quicker =
                patched(speeds, wanted.bytes, &patch.offer) < speeds.sending(wanted.bytes);
            is_quicker.then_some(((file.transfer, file.name), patch))
        });
    patches.collect()
}

impl PatchCache {
    fn patch(&self, file: &FileEntry, sums: &BlockSums) -> Option<Patch> {
        // An entry is complete whenever it is visible.
        let mut made = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let patch = made.entry((file.sha256, sums.digest())).or_insert_with(|| {
            let new = fs_err::File::open(&file.local);
            match new.and_then(|new| Patch::make(new, sums)) {
                Ok(patch) => patch,
                Err(error) => {
                    tracing::warn!(%error, "no delta could be built; the file is sent whole");
                    None
                }
            }
        });
        patch.clone()
    }
}
