//! Finds out what the recorded release has on a VPU and is no longer declared.

use std::collections::{BTreeMap, BTreeSet};

use o3r_core::{
    facts::{Data, Observed, Undeclared},
    names::absolute,
    units,
};

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
    let own = desired.release.name.as_str();
    let Some(records) = observed.facts.records.known() else {
        return Ok(Undeclared::default());
    };
    let recorded = records.releases.get(own);
    let home = &observed.facts.system.home;
    let mut paths = desired.paths(home);
    let left = recorded
        .into_iter()
        .flat_map(|recorded| &recorded.left.directories);
    let left: BTreeSet<String> = left
        .filter(|path| !paths.contains(*path))
        .cloned()
        .collect();
    let mut undeclared = Undeclared {
        directories: left,
        ..Undeclared::default()
    };
    let is_deployed = recorded.is_some_and(|recorded| recorded.desired == desired.digest());
    if is_deployed && !desired.permits.prune {
        return Ok(undeclared);
    }
    let mut header = None;
    if let Some(recorded) = recorded {
        let text = recorded_text(host, own, &recorded.desired, false).await?;
        header = text.and_then(|text| Header::read(text.trim_end()).ok());
        undeclared.unknown = header.is_none().then(|| not_kept(own));
    }
    let bound = plan::undeclared_directories(desired, &observed.facts);
    let has_left = |header: &Header| {
        let mut directories = header.directories();
        header.may_transfer_more(desired)
            || directories.any(|path| !paths.contains(&path.resolve(home)))
    };
    let has_more = header.as_ref().is_some_and(has_left) || !undeclared.directories.is_empty();
    if !has_more && bound.is_empty() {
        return Ok(undeclared);
    }
    let others = match of_others(host, desired, observed).await? {
        Ok(others) => others,
        Err(reason) => {
            return Ok(Undeclared {
                any_shared: true,
                unknown: Some(reason),
                ..undeclared
            });
        }
    };
    let shared = bound.into_iter().filter(|path| others.contains(path));
    undeclared.shared = shared.collect();
    paths.extend(others);
    if let (Some(header), Some(recorded)) = (&header, recorded)
        && header.may_transfer_more(desired)
    {
        match kept_of(host, own, &recorded.desired).await? {
            Some(kept) => {
                undeclared.transfers = desired.formerly(kept.transfers(), home, &paths);
            }
            None => undeclared.unknown = Some(not_kept(own)),
        }
    }
    let had = header.iter().flat_map(Header::directories);
    let had = had.map(|path| path.resolve(home));
    undeclared.directories.extend(had);
    undeclared.directories.retain(|path| !paths.contains(path));
    let at = |path: &String| absolute(path, home);
    let all = undeclared.transfers.keys().chain(&undeclared.directories);
    let linked = linked(host, all.map(at).collect()).await?;
    undeclared
        .transfers
        .retain(|path, _| !linked.contains(&at(path)));
    undeclared
        .directories
        .retain(|path| !linked.contains(&at(path)));
    Ok(undeclared)
}

fn not_kept(release: &str) -> String {
    format!("the VPU does not keep release {release}, whose files are unknown")
}

/// Returns the paths that others have, with the directories above them: other releases, and containers of others. Or why
/// that is unknown.
async fn of_others<H: Host>(
    host: &H,
    desired: &Desired,
    observed: &Observed,
) -> Result<Result<BTreeSet<String>, String>, HostError> {
    let home = &observed.facts.system.home;
    let (mut paths, mut roots) = (mounted(desired, observed), desired.roots(home));
    let records = observed.facts.records.known();
    let releases = records.into_iter().flat_map(|records| &records.releases);
    for (name, recorded) in releases.filter(|(name, _)| **name != *desired.release.name) {
        let Some(kept) = kept_of(host, name, &recorded.desired).await? else {
            return Ok(Err(not_kept(name)));
        };
        paths.extend(kept.paths(home));
        roots.extend(kept.roots(home));
    }
    // By a link, another path may name the same.
    let linked = linked(host, roots).await?;
    Ok(match linked.first() {
        None => Ok(paths),
        Some(path) => Err(format!(
            "{path} leads through a symbolic link, so another path may name the same"
        )),
    })
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

/// Returns what is in directories (by absolute path) and docker's own volumes (by name) that are no longer declared.
///
/// # Errors
/// The connection failed.
pub async fn data<H: Host>(
    host: &H,
    all: impl IntoIterator<Item = String>,
) -> Result<BTreeMap<String, Data>, HostError> {
    let list: String = all.into_iter().map(|path| path + "\n").collect();
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
        let (size, kind, path) = (words.next()?, words.next()?, words.next()?);
        let bytes = match kind {
            "volume" => units::parse_docker(size)?,
            _ => size.parse::<u64>().ok()?.saturating_mul(1024),
        };
        let data = Data {
            bytes,
            is_empty: kind == "empty",
            is_partial: kind == "part",
        };
        Some((path.to_owned(), data))
    });
    Ok(all.collect())
}
