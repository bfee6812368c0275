//! Compares a VPU with the release that a rollback restored, from what the VPU keeps of it.

use std::collections::{BTreeMap, BTreeSet};

use super::look;
use crate::{
    desired::Orphans,
    host::Host,
    observe::{self, History, Remembered},
    offers::Offers,
    plan::{self, Action, Address, Cause, Phase, Plan, ResourceKind},
    resolve::Kept,
};

/// What a comparison with the restored release found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Compared {
    /// This number of resources, all of them, match the release.
    Same(usize),
    /// These addresses are not.
    Differs(Vec<String>),
    /// It could not be compared, and why.
    Not(String),
}

/// Compares the changes that two plans for one manifest make to what runs.
pub(crate) fn compare_plans(before: &Plan, after: &Plan) -> Compared {
    let (before, after) = (changes(before), changes(after));
    let addresses: BTreeSet<&Address> = before.keys().chain(after.keys()).copied().collect();
    let differ = addresses.into_iter();
    let differ = differ.filter(|address| before.get(address) != after.get(address));
    let differ: Vec<String> = differ.map(ToString::to_string).collect();
    if differ.is_empty() {
        Compared::Same(before.len())
    } else {
        Compared::Differs(differ)
    }
}

/// Returns the steps of the switch with all their causes.
fn changes(plan: &Plan) -> BTreeMap<&Address, (Action, Vec<&Cause>)> {
    let switch = plan.steps.iter();
    let switch = switch.filter(|step| step.phase == Phase::Switch);
    let changes = switch.map(|step| {
        let causes = std::iter::once(&step.cause).chain(&step.further_causes);
        (&step.address, (step.action, causes.collect()))
    });
    changes.collect()
}

/// Compares the VPU with the last recorded release of this name.
pub(crate) async fn compare<H: Host>(
    host: &H,
    address: &str,
    release: &str,
    remembered: &Remembered,
) -> Compared {
    let looked = look_at(host, address, release, remembered).await;
    looked.unwrap_or_else(Compared::Not)
}

async fn look_at<H: Host>(
    host: &H,
    address: &str,
    release: &str,
    remembered: &Remembered,
) -> Result<Compared, String> {
    let History(releases) = observe::history(host).await.map_err(|e| e.to_string())?;
    let history = releases.get(release);
    let number = history.and_then(observe::ReleaseHistory::current);
    let number = number.ok_or("the VPU does not keep it")?;
    let read = observe::generation(host, release, number).await;
    let (home, generation) = read.map_err(|error| error.to_string())?;
    let kept = Kept::fetch(host, &home, generation).await;
    let mut kept = kept.map_err(|error| error.to_string())?;
    // What the release left where it was is no difference.
    kept.resolved.desired.orphans = Orphans::Keep;
    let desired = &kept.resolved.desired;
    let observed = look::look(host, desired, remembered, &|_| ()).await;
    let observed = observed.map_err(|error| error.to_string())?;
    let plan = plan::plan(desired, &observed, &Offers::default(), address);
    let steps = plan.steps.iter().map(|step| &step.address);
    let blocked = plan.blocked.iter().map(|blocked| &blocked.address);
    let of_release = |address: &&plan::Address| {
        // The verdict of a watchdog, and what is staged for the next apply, are not of the release.
        !matches!(
            address.kind(),
            ResourceKind::Release
                | ResourceKind::Staging
                | ResourceKind::Upload
                | ResourceKind::Vpu
        )
    };
    let differ = steps.chain(blocked).filter(of_release);
    let differ: Vec<String> = differ.map(ToString::to_string).collect();
    Ok(if differ.is_empty() {
        Compared::Same(plan.summary.unchanged)
    } else {
        Compared::Differs(differ)
    })
}
