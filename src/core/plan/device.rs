//! Plans the device's own configuration: sets its name and the declared settings, attribute by attribute, and saves them for
//! the next boot without saving anyone's temporary settings.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::{
    Action, Address, Cause, Command, Phase, ResourceKind,
    builder::{Builder, Draft},
    guard::api_help,
    obstacle::{BlockCode, Obstacle},
};
use crate::{
    desired::Desired,
    device_words::{NAME, fragment, is_same_value},
    facts::{Device, Probed, Saved, Setting},
    names::escape,
    shell::Argv,
};

/// The number of pointers that a reason lists; the rest is counted.
const LISTED: usize = 8;

/// What is below it decides whether the VPU can be reached.
const NETWORK: &str = "/device/network/";

/// A declared setting, and what the device has.
struct Declared {
    pointer: String,
    wanted: Value,
    found: Setting,
    /// Whether it has to outlive a reboot.
    saves: bool,
}

impl Declared {
    fn is_set(&self) -> bool {
        let now = self.found.now.as_ref();
        now.is_some_and(|now| is_same_value(now, &self.wanted))
    }

    fn has_saved(&self) -> bool {
        let saved = self.found.saved.as_ref();
        saved.is_some_and(|saved| is_same_value(saved, &self.wanted))
    }

    /// Whether nothing has to be saved for it.
    fn is_saved(&self) -> bool {
        !self.saves || self.has_saved()
    }

    /// Returns the attribute as shown to people.
    fn attribute(&self) -> &str {
        if self.pointer == NAME {
            "name"
        } else {
            &self.pointer
        }
    }

    /// Returns a value as shown to people.
    fn shown(&self, value: Option<&Value>) -> String {
        match value {
            Some(Value::String(name)) if self.pointer == NAME && !name.is_empty() => escape(name),
            Some(value) if self.pointer != NAME => escape(&value.to_string()),
            _ => "(none)".to_owned(),
        }
    }
}

/// Plans one step for the name and the settings: `saveInit` saves the current values of all that is saved, so that they must
/// be set before.
pub(super) fn plan(builder: &mut Builder<'_>) {
    let desired = builder.desired;
    let (name, what, key) = match (&desired.device_settings, &desired.device_name) {
        (Some(_), _) => ("config", "configuration", "[device]"),
        (None, Some(_)) => ("name", "name", "`name` out of [vpu]"),
        (None, None) => return,
    };
    let address = Address::new(ResourceKind::Vpu, name);
    let (device, saved) = match known(builder) {
        Ok(found) => found,
        Err(reason) => {
            let help = api_help(builder.facts, desired.guards.api_port);
            let reason = format!("the device's {what} could not be determined: {reason}");
            let remedy = format!("{help}; or leave {key}");
            let obstacle = Obstacle::new(BlockCode::DeviceUnknown, reason, remedy);
            return builder.block(address, obstacle);
        }
    };
    let declared = declared(desired, device, saved);
    let is_saved = declared.iter().all(Declared::is_saved);
    if is_saved && declared.iter().all(Declared::is_set) {
        return builder.unchanged();
    }
    let may_change_network = desired
        .device_settings
        .as_ref()
        .is_some_and(|one| one.network);
    let obstacle = refused(&declared)
        .or_else(|| network(&declared).filter(|_| !may_change_network))
        .or_else(|| at_risk(&declared, saved, what).filter(|_| !is_saved));
    if let Some(obstacle) = obstacle {
        return builder.block(address, obstacle);
    }
    let port = desired.guards.api_port;
    let call = |words: Argv| Command::device_api(port, words);
    let missing = declared.iter().filter(|one| !one.is_set());
    let calls = set(missing.map(|one| (one.pointer.as_str(), &one.wanted)));
    let calls = calls
        .into_iter()
        .chain((!is_saved).then(|| save(pointers(&declared, saved))));
    let undo = undo(&declared, saved, !is_saved);
    let settings = desired
        .device_settings
        .as_ref()
        .and_then(|one| one.source.as_ref());
    let source = settings.or(desired
        .device_name
        .as_ref()
        .and_then(|one| one.source.as_ref()));
    let draft = draft(address, &declared).source(source);
    builder.step(draft.run(calls.map(call)).undo(undo.into_iter().map(call)));
}

/// Returns the device and what it has saved, or why that is unknown.
fn known<'a>(builder: &Builder<'a>) -> Result<(&'a Device, &'a Saved), &'a str> {
    let device = builder.facts.device.as_result()?;
    match &device.saved {
        Some(Probed::Known(saved)) => Ok((device, saved)),
        Some(Probed::Unknown(reason)) => Err(reason.as_str()),
        None => Err("saved settings were not read"),
    }
}

fn declared(desired: &Desired, device: &Device, saved: &Saved) -> Vec<Declared> {
    let name = desired.device_name.iter().map(|wanted| Declared {
        pointer: NAME.to_owned(),
        wanted: wanted.name.as_str().into(),
        found: Setting {
            now: Some(device.name.as_str().into()),
            saved: saved.name.as_deref().map(Value::from),
            ..Setting::default()
        },
        saves: true,
    });
    let settings = desired.device_settings.iter().flat_map(|settings| {
        settings.values.iter().map(|(pointer, wanted)| Declared {
            pointer: pointer.clone(),
            wanted: wanted.clone(),
            found: device.settings.get(pointer).cloned().unwrap_or_default(),
            saves: settings.save,
        })
    });
    // A dump of the configuration has them, too.
    let is_setting = |one: &Declared| !(one.found.read_only && one.is_set());
    name.chain(settings).filter(is_setting).collect()
}

fn draft(address: Address, declared: &[Declared]) -> Draft {
    let causes = declared.iter().filter_map(|one| {
        let wanted = one.shown(Some(&one.wanted));
        let attribute = one.attribute();
        if !one.is_set() {
            return Some(Cause::differs(
                attribute,
                one.shown(one.found.now.as_ref()),
                wanted,
            ));
        }
        (!one.is_saved()).then(|| {
            let attribute = format!("{attribute} after the next boot");
            Cause::differs(attribute, one.shown(one.found.saved.as_ref()), wanted)
        })
    });
    let mut causes: Vec<Cause> = causes.collect();
    let first = causes.remove(0);
    let mut draft = Draft::new(address, Action::Update, Phase::Switch, first);
    draft.further_causes = causes;
    draft
}

/// Returns an obstacle if the device would reject a setting.
fn refused(declared: &[Declared]) -> Option<Obstacle> {
    let reasons = declared.iter().filter_map(|one| {
        let reason = one.found.refused.as_ref()?;
        Some(escape(&format!("{}: {reason}", one.pointer)))
    });
    let reasons: Vec<String> = reasons.collect();
    (!reasons.is_empty()).then(|| {
        Obstacle::new(
            BlockCode::SettingRejected,
            format!("the device rejects {}", reasons.join("; ")),
            "correct `config` in [device]; `ifm3d dump` shows the attributes that the device has",
        )
    })
}

/// Returns an obstacle if the network of the device would change.
fn network(declared: &[Declared]) -> Option<Obstacle> {
    let changed = declared.iter();
    let changed =
        changed.filter(|one| one.pointer.starts_with(NETWORK) && !(one.is_set() && one.is_saved()));
    let changed: BTreeSet<String> = changed.map(|one| one.pointer.clone()).collect();
    (!changed.is_empty()).then(|| {
        Obstacle::new(
            BlockCode::NetworkSettings,
            format!("the network of the device would change: {}", listed(&changed)),
            "leave it out of `config`; if the VPU may get another address, set `network = true` in [device]",
        )
    })
}

/// Returns the call that sets these values, unless there are none.
fn set<'a>(values: impl Iterator<Item = (&'a str, &'a Value)>) -> Option<Argv> {
    let values: Vec<(&str, &Value)> = values.collect();
    (!values.is_empty()).then(|| Argv::new("set").arg(fragment(values).to_string()))
}

/// Returns what to save: `saveInit` replaces the saved list, so it names the earlier pointers as well.
fn pointers<'a>(declared: &'a [Declared], saved: &'a Saved) -> BTreeSet<&'a str> {
    let own = declared.iter().filter(|one| one.saves);
    let own = own.map(|one| one.pointer.as_str());
    own.chain(saved.pointers.iter().map(String::as_str))
        .collect()
}

/// Returns the calls that restore the former values, and what was saved before. What the device did not have stays.
fn undo(declared: &[Declared], saved: &Saved, is_permanent: bool) -> Vec<Argv> {
    let had = declared
        .iter()
        .filter_map(|one| Some((one, one.found.now.as_ref()?)));
    let had: Vec<(&Declared, &Value)> = had.collect();
    let now = || had.iter().map(|(one, now)| (one.pointer.as_str(), *now));
    if !is_permanent {
        return set(now()).into_iter().collect();
    }
    let after_boot: BTreeMap<&str, &Value> = had
        .iter()
        .map(|(one, now)| {
            (
                one.pointer.as_str(),
                one.found.saved.as_ref().unwrap_or(now),
            )
        })
        .collect();
    let mut pointers: BTreeSet<&str> = saved.pointers.iter().map(String::as_str).collect();
    // Nothing was saved, and the device cannot save nothing: it takes an empty list for all settings. The name is the
    // one whose current value harms nobody; what was only set must not become permanent.
    if pointers.is_empty() {
        pointers.insert(NAME);
    }
    let temporary = now().filter(|(pointer, now)| !is_same_value(after_boot[pointer], now));
    let mut calls: Vec<Argv> = set(after_boot.iter().map(|(pointer, value)| (*pointer, *value)))
        .into_iter()
        .collect();
    calls.push(save(pointers));
    calls.extend(set(temporary));
    calls
}

/// Returns an obstacle if saving would save or lose more than what is declared.
fn at_risk(declared: &[Declared], saved: &Saved, what: &str) -> Option<Obstacle> {
    let mut differing = saved.differing.clone();
    let unsaved = declared.iter().filter(|one| !one.saves && !one.has_saved());
    let unsaved = unsaved.map(|one| one.pointer.clone());
    differing.extend(unsaved.filter(|pointer| saved.pointers.contains(pointer)));
    if !differing.is_empty() {
        return Some(Obstacle::new(
            BlockCode::SettingsAtRisk,
            format!(
                "saving the {what} would also save settings that somebody changed and did not save: {}",
                listed(&differing)
            ),
            "undo these settings (a reboot does) or save them, and plan again",
        ));
    }
    if !saved.missing.is_empty() {
        return Some(Obstacle::new(
            BlockCode::SettingsAtRisk,
            format!(
                "saving the {what} would lose saved settings of parts that are not connected: {}",
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

/// Returns the call that saves the pointers. They are never
/// empty: the device takes an empty list for all settings.
fn save<'a>(pointers: impl IntoIterator<Item = &'a str>) -> Argv {
    Argv::new("saveInit").args(pointers)
}
