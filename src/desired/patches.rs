//! Finds the large files of transfers that a VPU has in another version, and makes patches for them.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use super::{Desired, Entry, FileEntry};
use crate::{
    digest::Digest,
    observe::{Facts, Node, Observed, Probed},
    patch::{self, BlockSums, Patch, cost},
};

/// The patches of a transfer's files.
#[derive(Debug, Clone, Default)]
pub struct Patches {
    /// Those that are quicker than the whole files, by path below the target.
    pub chosen: BTreeMap<String, Patch>,
    /// All that were made, so that none is made again for the next look at the VPU.
    made: Arc<Mutex<Made>>,
}

/// By the digests of the new file, and of the sums of the old one's blocks; none where there is none.
type Made = BTreeMap<(Digest, Digest), Option<Patch>>;

/// A file of a transfer that the VPU has in another version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outdated {
    /// The transfer's number, from 0.
    pub transfer: usize,
    /// Below its target.
    pub name: String,
    /// Absolute, on the VPU.
    pub path: String,
    /// Bytes that it has there.
    pub size: u64,
    /// Bytes that it is to have.
    pub bytes: u64,
}

/// The large ones among them.
pub fn outdated(desired: &Desired, facts: &Facts) -> Vec<Outdated> {
    let mut found = vec![];
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
            let large = file.bytes.min(*size) >= patch::SMALLEST;
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

/// Makes patches from the versions whose blocks were asked for, and chooses those that are quicker than the
/// whole file. Blocks.
pub(super) fn prepare(desired: &mut Desired, observed: &Observed) {
    let speeds = observed.readings.speeds;
    for transfer in &mut desired.transfers {
        transfer.patches.chosen.clear();
    }
    for file in outdated(desired, &observed.facts) {
        let transfer = &mut desired.transfers[file.transfer];
        let (Some(sums), Some(Entry::File(wanted))) = (
            observed.readings.blocks.get(&file.path),
            transfer.entries.get(&file.name),
        ) else {
            continue;
        };
        let patch = transfer.patches.patch(wanted, sums);
        let pays = |patch: &Patch| {
            cost::patched(speeds, wanted.bytes, patch) < speeds.sending(wanted.bytes)
        };
        if let Some(patch) = patch.filter(pays) {
            transfer.patches.chosen.insert(file.name, patch);
        }
    }
}

impl Patches {
    /// The patch of which these bytes are sent, if this process made it.
    pub fn made(&self, sha256: Digest) -> Option<Patch> {
        let made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        let mut patches = made.values().flatten();
        patches.find(|patch| patch.sha256 == sha256).cloned()
    }

    fn patch(&self, file: &FileEntry, sums: &BlockSums) -> Option<Patch> {
        // What is in it is whole whenever it is seen.
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        let patch = made.entry((file.sha256, sums.digest())).or_insert_with(|| {
            let new = fs_err::File::open(&file.local);
            match new.and_then(|new| Patch::make(new, sums)) {
                Ok(patch) => patch,
                Err(error) => {
                    tracing::warn!(%error, "no patch could be made; the file is sent whole");
                    None
                }
            }
        });
        patch.clone()
    }
}
