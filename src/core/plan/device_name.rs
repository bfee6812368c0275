//! Plans the device's own name: sets it, and saves it for
//! the next boot without saving anyone's temporary settings.

use std::collections::BTreeSet;

use super::{
    Action, Address, Cause, Command, Phase, ResourceKind,
    builder::{Builder, Draft},
    guard::api_help,
    obstacle::{BlockCode, Obstacle},
};
use crate::{
    desired::DeviceName,
    device_words::{NAME, name_fragment},
    facts::{Device, Probed, Saved},
    names::escape,
    shell::Argv,
};

/// The number of pointers that a reason lists; the rest is counted.
const LISTED: usize = 8;

pub(super) fn plan(builder: &mut Builder<'_>) {
    let Some(wanted) = &builder.desired.device_name else {
        return;
    };
    let address = Address::new(ResourceKind::Vpu, "name");
    let found = match builder.facts.device.as_result() {
        Ok(device) => match &device.saved {
            Some(Probed::Known(saved)) => Ok((device, saved)),
            Some(Probed::Unknown(reason)) => Err(reason.as_str()),
            None => Err("saved settings were not read"),
        },
        Err(reason) => Err(reason),
    };
    let (device, saved) = match found {
        Ok(found) => found,
        Err(reason) => {
            let help = api_help(builder.facts, builder.desired.guards.api_port);
            let reason = format!("the device's name could not be determined: {reason}");
            let remedy = format!("{help}; or leave `name` out of [vpu]");
            let obstacle = Obstacle::new(BlockCode::DeviceUnknown, reason, remedy);
            return builder.block(address, obstacle);
        }
    };
    let is_saved = saved.name.as_deref() == Some(wanted.name.as_str());
    if is_saved && device.name == wanted.name {
        return builder.unchanged();
    }
    if !is_saved && let Some(obstacle) = in_the_way(saved) {
        return builder.block(address, obstacle);
    }
    let draft = draft(address, device, saved, wanted);
    let port = builder.desired.guards.api_port;
    let (calls, undo) = if is_saved {
        (vec![set(&wanted.name)], vec![set(&device.name)])
    } else {
        (apply(device, saved, wanted), restore(device, saved))
    };
    let call = |words: Argv| Command::device_api(port, words);
    builder.step(
        draft
            .source(wanted.source.as_ref())
            .run(calls.into_iter().map(call))
            .undo(undo.into_iter().map(call)),
    );
}

fn draft(address: Address, device: &Device, saved: &Saved, wanted: &DeviceName) -> Draft {
    let shown = |name: &str| {
        if name.is_empty() {
            "(none)".to_owned()
        } else {
            escape(name)
        }
    };
    let cause =
        |attribute: &str, found: &str| Cause::differs(attribute, shown(found), shown(&wanted.name));
    let mut causes = vec![];
    if device.name != wanted.name {
        causes.push(cause("name", &device.name));
    }
    if saved.name.as_deref() != Some(wanted.name.as_str()) {
        let found = saved.name.as_deref().unwrap_or_default();
        causes.push(cause("name after the next boot", found));
    }
    let first = causes.remove(0);
    let mut draft = Draft::new(address, Action::Update, Phase::Switch, first);
    draft.further_causes = causes;
    draft
}

/// Returns an obstacle if saving would save or lose more than the name.
fn in_the_way(saved: &Saved) -> Option<Obstacle> {
    if !saved.differing.is_empty() {
        return Some(Obstacle::new(
            BlockCode::SettingsAtRisk,
            format!(
                "saving the name would also save settings that somebody changed and did not save: {}",
                listed(&saved.differing)
            ),
            "undo these settings (a reboot does) or save them, and plan again",
        ));
    }
    if !saved.missing.is_empty() {
        return Some(Obstacle::new(
            BlockCode::SettingsAtRisk,
            format!(
                "saving the name would lose saved settings of parts that are not connected: {}",
                listed(&saved.missing)
            ),
            "connect the missing parts (such as a camera) and plan again",
        ));
    }
    None
}

fn listed(pointers: &BTreeSet<String>) -> String {
    let shown: Vec<&str> = pointers.iter().map(String::as_str).take(LISTED).collect();
    let text = escape(&shown.join(", "));
    match pointers.len() - shown.len() {
        0 => text,
        more => format!("{text} and {more} more"),
    }
}

fn set(name: &str) -> Argv {
    Argv::new("set").arg(name_fragment(name))
}

/// Returns the call that saves the pointers. They are never
/// empty: the device takes an empty list for all settings.
fn save<'a>(pointers: impl IntoIterator<Item = &'a str>) -> Argv {
    Argv::new("saveInit").args(pointers)
}

/// Returns the calls that set the name if it differs, and save it with all that is saved already.
fn apply(device: &Device, saved: &Saved, wanted: &DeviceName) -> Vec<Argv> {
    let mut pointers: BTreeSet<&str> = saved.pointers.iter().map(String::as_str).collect();
    pointers.insert(NAME);
    let mut calls = vec![];
    if device.name != wanted.name {
        calls.push(set(&wanted.name));
    }
    // `saveInit` replaces the saved list, so it names the earlier pointers as well.
    calls.push(save(pointers));
    calls
}

/// Returns the calls that restore the former name, with what was saved before.
fn restore(device: &Device, saved: &Saved) -> Vec<Argv> {
    let after_boot = saved.name.as_ref().unwrap_or(&device.name);
    let pointers: Vec<&str> = match saved.pointers.len() {
        0 => vec![NAME],
        _ => saved.pointers.iter().map(String::as_str).collect(),
    };
    let mut calls = vec![set(after_boot), save(pointers)];
    if *after_boot != device.name {
        calls.push(set(&device.name));
    }
    calls
}
