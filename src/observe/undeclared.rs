//! Finds out what the recorded release has on a VPU and is no longer declared.

use std::collections::{BTreeMap, BTreeSet};

use o3r_core::facts::{Data, Observed, Undeclared};

use super::history::shown;
use crate::{
    desired::{Desired, with_above},
    digest::Digest,
    generation::{Generation, Header},
    host::{Host, HostError, Stdin},
    nonce::nonce,
    plan, remote,
};

/// Returns what the recorded release has on the VPU, and neither the desired state declares nor another release has.
///
/// # Errors
/// The connection failed.
pub async fn undeclared<H: Host>(
    host: &H,
    desired: &Desired,
    observed: &Observed,
) -> Result<Undeclared, HostError> {
    let none = Undeclared::default();
    let unknown = |reason: String| Undeclared {
        unknown: Some(reason),
        ..Undeclared::default()
    };
    let not_kept = |release: &str| {
        unknown(format!(
            "the VPU does not keep release {release}, whose files are unknown"
        ))
    };
    let own = desired.release.name.as_str();
    let Some(records) = observed.facts.records.known() else {
        return Ok(none);
    };
    let bound = plan::undeclared_directories(desired, &observed.facts);
    let Some(recorded) = records.releases.get(own) else {
        // Its volumes outlive a record that is lost.
        return Ok(if bound.is_empty() {
            none
        } else {
            not_kept(own)
        });
    };
    let may_prune = desired.permits.prune;
    if !may_prune && recorded.desired == desired.digest() && bound.is_empty() {
        return Ok(none);
    }
    let home = &observed.facts.system.home;
    let Some(text) = recorded_text(host, own, &recorded.desired, false).await? else {
        return Ok(not_kept(own));
    };
    let Ok(header) = Header::read(text.trim_end()) else {
        return Ok(not_kept(own));
    };
    let mut paths = desired.paths(home);
    let mut directories = header.directories();
    let has_left = directories.any(|path| !paths.contains(&path.resolve(home)));
    if !header.may_transfer_more(desired) && !has_left && bound.is_empty() {
        return Ok(none);
    }
    // Others may have the same files.
    let (mut others, mut roots) = (mounted(desired, observed), desired.roots(home));
    for (name, other) in records.releases.iter().filter(|(name, _)| *name != own) {
        match kept_of(host, name, &other.desired).await? {
            Some(kept) => {
                others.extend(kept.paths(home));
                roots.extend(kept.roots(home));
            }
            None => return Ok(not_kept(name)),
        }
    }
    // By a link, another path may name the same.
    if let Some(path) = linked(host, roots).await?.first() {
        let reason =
            format!("{path} leads through a symbolic link, so another path may name the same");
        return Ok(unknown(reason));
    }
    let shared = bound
        .into_iter()
        .filter(|path| others.contains(path))
        .collect();
    paths.extend(others);
    let mut transfers = BTreeMap::new();
    if header.may_transfer_more(desired) {
        let Some(kept) = kept_of(host, own, &recorded.desired).await? else {
            return Ok(not_kept(own));
        };
        transfers = desired.formerly(kept.transfers(), home, &paths);
    }
    let left = header
        .directories()
        .filter(|path| !paths.contains(&path.resolve(home)));
    let left: BTreeMap<String, String> = left
        .map(|path| (path.resolve(home), path.resolve("~")))
        .collect();
    let mut undeclared = Undeclared {
        transfers,
        directories: left.into_values().collect(),
        shared,
        unknown: None,
    };
    let absolute = |path: &String| match path.strip_prefix('~') {
        Some(rest) => format!("{home}{rest}"),
        None => path.clone(),
    };
    let all = undeclared.transfers.keys().chain(&undeclared.directories);
    let linked = linked(host, all.map(absolute).collect()).await?;
    undeclared
        .transfers
        .retain(|path, _| !linked.contains(&absolute(path)));
    undeclared
        .directories
        .retain(|path| !linked.contains(&absolute(path)));
    Ok(undeclared)
}

/// Returns what containers mount that belong to no project of this release, with the directories above.
fn mounted(desired: &Desired, observed: &Observed) -> BTreeSet<String> {
    let containers = observed.facts.containers.known();
    let containers = containers.into_iter().flat_map(BTreeMap::values);
    let is_own = |name: &str| desired.projects.iter().any(|project| project.name == name);
    let foreign = containers.filter(|container| !is_own(&container.project));
    let mounts = foreign.flat_map(|container| container.mounts.values());
    with_above(mounts.map(|mount| mount.source.clone()))
}

/// Returns the paths that lead through symbolic links.
async fn linked<H: Host>(host: &H, paths: BTreeSet<String>) -> Result<BTreeSet<String>, HostError> {
    if paths.is_empty() {
        return Ok(paths);
    }
    let list: String = paths.into_iter().map(|path| path + "\n").collect();
    let word = nonce();
    let command = remote::linked_paths(&word);
    let output = host.run(&command, Stdin::Bytes(list.into_bytes())).await?;
    let text = String::from_utf8_lossy(&output.stdout);
    let lines = text.lines();
    let linked = lines.filter_map(|line| line.strip_prefix(&word)?.strip_prefix(' '));
    Ok(linked.map(ToOwned::to_owned).collect())
}

/// Returns what the VPU keeps of a recorded release; `None` if it does not keep it.
async fn kept_of<H: Host>(
    host: &H,
    release: &str,
    desired: &Digest,
) -> Result<Option<Generation>, HostError> {
    let text = recorded_text(host, release, desired, true).await?;
    Ok(text.and_then(|text| Generation::read(&text).ok()))
}

async fn recorded_text<H: Host>(
    host: &H,
    release: &str,
    desired: &Digest,
    whole: bool,
) -> Result<Option<String>, HostError> {
    let word = nonce();
    let command = remote::show_recorded(&word, release, desired, whole);
    let output = host.run(&command, Stdin::Empty).await?;
    let text = String::from_utf8_lossy(&output.stdout);
    Ok(shown(&text, &word).map(|(_, text)| text.to_owned()))
}

/// Returns what is in directories that are no longer declared, by absolute path.
///
/// # Errors
/// The connection failed.
pub async fn data<H: Host>(
    host: &H,
    directories: impl IntoIterator<Item = String>,
) -> Result<BTreeMap<String, Data>, HostError> {
    let list: String = directories.into_iter().map(|path| path + "\n").collect();
    if list.is_empty() {
        return Ok(BTreeMap::new());
    }
    let word = nonce();
    let command = remote::data_sizes(&word);
    let output = host.run(&command, Stdin::Bytes(list.into_bytes())).await?;
    let text = String::from_utf8_lossy(&output.stdout);
    let all = text.lines().filter_map(|line| {
        let line = line.strip_prefix(&word)?.strip_prefix(' ')?;
        let mut words = line.splitn(3, ' ');
        let (kib, kind, path) = (words.next()?, words.next()?, words.next()?);
        let data = Data {
            bytes: kib.parse::<u64>().ok()?.saturating_mul(1024),
            is_empty: kind == "empty",
            is_partial: kind == "part",
        };
        Some((path.to_owned(), data))
    });
    Ok(all.collect())
}
