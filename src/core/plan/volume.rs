//! Plans bind volumes: compares their driver and normalised options.

use std::collections::BTreeMap;

use super::{
    Action, Address, Cause, Command, Phase, ResourceKind,
    builder::{Builder, Draft},
    compose, directory,
    obstacle::{BlockCode, Obstacle},
};
use crate::{desired, driver::Driver, facts, remote};

pub(super) fn address(name: &str) -> Address {
    Address::new(ResourceKind::Volume, name)
}

pub(super) fn plan(builder: &mut Builder<'_>) {
    let Some(volumes) = builder.facts.volumes.known() else {
        if let Err(reason) = builder.facts.volumes.as_result() {
            for volume in &builder.desired.volumes {
                let remedy = "check on the VPU: docker volume ls";
                builder.block(address(&volume.name), Obstacle::unknown(reason, remedy));
            }
        }
        return;
    };
    for volume in &builder.desired.volumes {
        diff_volume(builder, volume, volumes.get(volume.name.as_str()));
    }
}

fn diff_volume(builder: &mut Builder<'_>, volume: &desired::Volume, found: Option<&facts::Volume>) {
    let address = address(&volume.name);
    let path = volume.path.resolve(&builder.facts.system.home);
    let release = &builder.desired.release.name;
    let create = remote::create_volume(&volume.name, &path, release);
    let directory = directory::address(builder, &volume.path);
    let after: Vec<Address> = builder
        .changes(&directory)
        .then_some(directory)
        .into_iter()
        .collect();
    let Some(found) = found else {
        let draft = Draft::new(address, Action::Create, Phase::Stage, Cause::Missing);
        let draft = draft.source(volume.source.as_ref()).after(after);
        return builder.step(draft.run([Command::new(create)]));
    };
    let mut causes = differences(found, &path).into_iter();
    let Some(cause) = causes.next() else {
        return builder.unchanged();
    };
    if !volume.replace {
        let reason = format!(
            "a volume of that name exists and differs: {}",
            found.describe()
        );
        let remedy = format!(
            "choose another name than `{}`, or set `replace = true`: it is then removed, with the data that \
             docker keeps in it, and recreated",
            volume.name
        );
        let obstacle = Obstacle::new(BlockCode::VolumeDiffers, reason, remedy);
        return builder.block(address, obstacle);
    }
    if let Err(reason) = users_are_ours(builder, &volume.name) {
        let remedy = "remove that container, or choose another name";
        let obstacle = Obstacle::new(BlockCode::VolumeInUse, reason, remedy);
        return builder.block(address, obstacle);
    }
    let replace = |device: &str, owner| {
        let projects = builder.desired.projects.iter();
        let projects = projects.map(|project| project.name.as_str());
        Command::new(remote::replace_volume(
            &volume.name,
            device,
            owner,
            projects,
        ))
    };
    let mut draft = Draft::new(address, Action::Replace, Phase::Switch, cause);
    draft.further_causes = causes.collect();
    draft = draft.source(volume.source.as_ref()).after(after);
    draft = draft.run(compose::free_volume(builder, &volume.name));
    draft = draft.run([replace(&path, Some(release))]);
    let recorded = builder.previous_input(&facts::Input::Volume(volume.name.to_string()));
    // A volume that holds its own data loses it, and no undo can restore that.
    if let Some(device) = found.bound_to() {
        let old = recorded.unwrap_or(device);
        draft = draft.undo([replace(old, found.owner.as_deref())]);
        draft = draft.rollback_always(old != device);
    }
    builder.step(draft);
}

/// Checks that all containers that use the volume belong to
/// desired projects; otherwise returns why not.
fn users_are_ours(builder: &Builder<'_>, volume: &str) -> Result<(), String> {
    let containers = builder.facts.containers.as_result()?;
    let foreign = containers.values().find(|container| {
        container.volumes.contains(volume)
            && !builder.desired.projects.iter().any(|project| {
                project.name == container.project && project.directory() == container.working_dir
            })
    });
    match foreign {
        None => Ok(()),
        Some(container) => Err(format!(
            "the volume differs and cannot be replaced: container {}, which this manifest does not declare, uses it",
            container.name
        )),
    }
}

/// Returns how an existing volume differs from a bind of `path`.
fn differences(found: &facts::Volume, path: &str) -> Vec<Cause> {
    let mut causes = vec![];
    if found.driver != Driver::Local {
        causes.push(Cause::differs(
            "driver",
            found.driver.as_str(),
            Driver::Local.as_str(),
        ));
    }
    let wanted = BTreeMap::from([
        ("device".to_owned(), path.to_owned()),
        ("o".to_owned(), "bind".to_owned()),
        ("type".to_owned(), "none".to_owned()),
    ]);
    let found = normalised(&found.options);
    for key in wanted
        .keys()
        .chain(found.keys().filter(|key| !wanted.contains_key(*key)))
    {
        let value = |map: &BTreeMap<String, String>| map.get(key).cloned().unwrap_or_default();
        if value(&found) != value(&wanted) {
            causes.push(Cause::differs(
                format!("option {key}"),
                value(&found),
                value(&wanted),
            ));
        }
    }
    causes
}

/// Normalises options as docker treats them: mount flags are a set, trailing slashes of a device
/// mean nothing, and a bind has no file system type.
fn normalised(options: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    let mut map = options.clone();
    if let Some(flags) = map.get_mut("o") {
        let mut list: Vec<&str> = flags
            .split(',')
            .map(str::trim)
            .filter(|f| *f != "rw")
            .collect();
        list.sort_unstable();
        list.dedup();
        *flags = list.join(",");
        if flags == "bind" {
            map.insert("type".to_owned(), "none".to_owned());
        }
    }
    if let Some(device) = map.get_mut("device")
        && device.len() > 1
    {
        *device = device.trim_end_matches('/').to_owned();
    }
    map
}

impl facts::Volume {
    /// Returns the bound directory of a plain bind.
    pub fn bound_to(&self) -> Option<&str> {
        let bind = self.driver == Driver::Local && normalised(&self.options).get("o")? == "bind";
        self.options
            .get("device")
            .filter(|_| bind)
            .map(String::as_str)
    }

    /// For people.
    fn describe(&self) -> String {
        match self.bound_to() {
            Some(device) => format!("it is bound to {device}"),
            None if self.options.is_empty() => {
                format!("it is a plain {} volume, which may hold data", self.driver)
            }
            None => {
                let list: Vec<String> = self
                    .options
                    .iter()
                    .map(|(key, value)| format!("{key}={value}"))
                    .collect();
                format!("driver {}, {}", self.driver, list.join(" "))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{desired::Desired, facts::Probed, offers::Offers, plan::Plan, testing};

    fn volume(driver: &str, options: &[(&str, &str)]) -> facts::Volume {
        let options = options.iter();
        facts::Volume {
            driver: driver.into(),
            options: options
                .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
                .collect(),
            owner: None,
            project: String::new(),
            key: String::new(),
            anonymous: false,
        }
    }

    #[test]
    fn a_volume_is_described_by_the_data_that_its_removal_may_lose() {
        let bind = [("device", "/data"), ("o", "rw,bind"), ("type", "none")];
        let tmpfs = [("device", "tmpfs"), ("o", "size=1m"), ("type", "tmpfs")];
        for (volume, text) in [
            (volume("local", &bind), "it is bound to /data"),
            (
                volume("nfs", &bind),
                "driver nfs, device=/data o=rw,bind type=none",
            ),
            (
                volume("local", &tmpfs),
                "driver local, device=tmpfs o=size=1m type=tmpfs",
            ),
            (
                volume("local", &[]),
                "it is a plain local volume, which may hold data",
            ),
        ] {
            assert_eq!(volume.describe(), text);
        }
    }

    #[test]
    fn options_are_compared_as_docker_treats_them() {
        let bound = |device, flags, kind| {
            normalised(
                &volume("local", &[("device", device), ("o", flags), ("type", kind)]).options,
            )
        };
        let wanted = bound("/data", "bind", "none");
        assert_eq!(bound("/data/", "bind", "none"), wanted);
        assert_eq!(bound("/data", "rw, bind,bind", "ext4"), wanted);
        assert_ne!(bound("/data", "bind,ro", "none"), wanted);
        assert_ne!(bound("/data", "ro", "none"), bound("/data", "ro", "ext4"));
        assert_eq!(bound("/", "bind", "none")["device"], "/");
    }

    /// The volume `share` of `~/share`, which may be replaced.
    fn desired_volume() -> Desired {
        let mut desired = testing::desired(vec![testing::project("web", [])]);
        desired.volumes = vec![desired::Volume {
            name: "share".parse().unwrap(),
            path: "~/share".parse().unwrap(),
            replace: true,
            source: None,
        }];
        desired
    }

    /// The plan where the volume is bound to a directory, and was to another when the release was recorded.
    fn replaced(bound: &str, recorded: &str) -> Plan {
        let desired = desired_volume();
        let mut observed = testing::observed();
        let options = [("device", bound), ("o", "bind"), ("type", "none")];
        let there = volume("local", &options);
        observed.facts.volumes = Probed::Known([("share".to_owned(), there)].into());
        let input = facts::Input::Volume("share".into());
        let made = facts::Made {
            running: true,
            inputs: [(input, recorded.to_owned())].into(),
        };
        let release = testing::release("web", made);
        observed.facts.records = Probed::Known(facts::Records {
            releases: [("app".to_owned(), release)].into(),
            ..facts::Records::default()
        });
        let offers = Offers::default();
        let mut builder = Builder::new(&desired, &observed, &offers);
        plan(&mut builder);
        builder.finish("host")
    }

    #[test]
    fn a_volume_is_rolled_back_always_where_it_is_not_the_recorded_one_before() {
        for (bound, recorded, is_always) in [("/a", "/a", false), ("/b", "/a", true)] {
            let step = replaced(bound, recorded).steps.pop().unwrap();
            assert_eq!(step.action, Action::Replace);
            assert_eq!(step.rollback_always, is_always, "{bound}");
            let back = remote::replace_volume("share", "/a", None, ["web"]);
            assert_eq!(step.undo, [Command::new(back)]);
        }
    }

    #[test]
    fn a_volume_of_containers_of_others_is_not_replaced() {
        let desired = desired_volume();
        let directory = desired.projects[0].directory();
        let is_ours = |project: &str, working_dir: &str| {
            let container = facts::Container {
                project: project.into(),
                working_dir: working_dir.into(),
                volumes: ["share".to_owned()].into(),
                ..facts::Container::default()
            };
            let mut observed = testing::observed();
            observed.facts.containers = Probed::Known([("1".to_owned(), container)].into());
            let offers = Offers::default();
            let builder = Builder::new(&desired, &observed, &offers);
            users_are_ours(&builder, "share").is_ok()
        };
        assert!(is_ours("web", &directory));
        assert!(!is_ours("other", &directory));
        assert!(!is_ours("web", "/home/oem/web"));
    }

    #[test]
    fn an_option_that_no_bind_has_is_a_difference() {
        let bind = [("device", "/data"), ("o", "bind"), ("type", "none")];
        let count =
            |options: &[(&str, &str)]| differences(&volume("local", options), "/data").len();
        assert_eq!(count(&bind), 0);
        assert_eq!(count(&[&bind[..], &[("size", "1m")]].concat()), 1);
    }
}
