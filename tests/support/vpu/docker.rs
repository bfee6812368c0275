//! The effect of a single docker call, as of 20.10, on
//! containers, networks, volumes and names of images.

use std::collections::BTreeMap;

use super::{
    commands::{Ran, fail},
    projects::may_start,
    world::{Container, Mount, Store, Volume, World},
};
use o3r_deploy::internal::digest::Digest;

/// The prefix of docker-compose's labels.
const COMPOSE: &str = "com.docker.compose.";

/// The exit code of a process that docker has to kill.
const KILLED: i32 = 137;

/// Returns the hash of a container that docker-compose did not create.
pub(super) fn no_hash() -> Digest {
    Digest::of(b"a stand-in")
}

impl Container {
    /// Docker's `State.Running`: also true while it is paused or about to be restarted.
    pub(super) fn is_up(&self) -> bool {
        matches!(self.status.as_str(), "running" | "paused" | "restarting")
    }

    /// Returns docker-compose's labels.
    pub(super) fn labels(&self) -> BTreeMap<String, String> {
        if self.project.is_empty() {
            return BTreeMap::new();
        }
        let one_off = if self.details.one_off {
            "True"
        } else {
            "False"
        };
        let mut labels = vec![
            ("project", self.project.clone()),
            ("service", self.service.clone()),
            ("container-number", self.details.number.to_string()),
            ("oneoff", one_off.to_owned()),
            ("version", "1.29.2".to_owned()),
            ("project.working_dir", self.working_dir.clone()),
            ("project.config_files", "docker-compose.yml".to_owned()),
        ];
        if self.config_hash != no_hash() {
            labels.push(("config-hash", self.config_hash.hex()));
        }
        let labels = labels.into_iter();
        labels
            .map(|(name, value)| (format!("{COMPOSE}{name}"), value))
            .collect()
    }
}

/// The parameters of a new container.
#[derive(Debug, Default)]
pub(super) struct Wanted {
    pub(super) image: String,
    pub(super) network_mode: String,
    pub(super) labels: BTreeMap<String, String>,
    /// Volumes, by destination.
    pub(super) volumes: BTreeMap<String, String>,
    /// Destinations in memory.
    pub(super) in_memory: Vec<String>,
}

impl World {
    /// Returns the IDs of the containers that `is_meant`
    /// selects, newest first, as docker lists them.
    pub(super) fn newest(&self, is_meant: impl Fn(&Container) -> bool) -> Vec<String> {
        let all = self.containers.iter().rev();
        let meant = all.filter(|(_, container)| is_meant(container));
        meant.map(|(id, _)| id.clone()).collect()
    }

    /// Creates a container and its missing volumes; returns its ID.
    pub(super) fn create_container(&mut self, wanted: Wanted) -> Ran {
        let Some(image) = self.image_id(&wanted.image) else {
            return fail(format!("No such image: {}", wanted.image));
        };
        let id = self.fresh_id();
        let declared = self.images[&image].volumes.clone();
        let mut volumes = wanted.volumes;
        for path in declared {
            let path = path.trim_end_matches('/').to_owned();
            if !volumes.contains_key(&path) && !wanted.in_memory.contains(&path) {
                let name = self.fresh_id();
                volumes.insert(path, name);
            }
        }
        for name in volumes.values() {
            self.create_volume(name, BTreeMap::new(), None);
        }
        let label = |name: &str| {
            let value = wanted.labels.get(&format!("{COMPOSE}{name}"));
            value.cloned().unwrap_or_default()
        };
        let mut container = Container {
            name: format!("random_{}", &id[..12]),
            image,
            status: "created".to_owned(),
            restart_policy: "no".to_owned(),
            project: label("project"),
            service: label("service"),
            working_dir: label("project.working_dir"),
            volumes: volumes.values().cloned().collect(),
            host_network: false,
            config_hash: no_hash(),
            made_from: BTreeMap::new(),
            mounted: BTreeMap::new(),
            details: super::Details::default(),
        };
        let mounts = volumes.into_iter();
        let details = &mut container.details;
        details.mounts = mounts.map(|(at, name)| (at, Mount::Volume(name))).collect();
        details.image_ref = wanted.image;
        details.network_mode = wanted.network_mode;
        details.number = label("container-number").parse().unwrap_or_default();
        details.one_off = label("oneoff") == "True";
        self.containers.insert(id.clone(), container);
        Ok(id)
    }

    /// Stops a container; one that was never started stays created.
    pub(super) fn stop_container(&mut self, id: &str) -> Ran {
        let Some(container) = self.containers.get_mut(id) else {
            return fail(format!("No such container: {id}"));
        };
        if container.is_up() {
            "exited".clone_into(&mut container.status);
            container.details.exit_code = KILLED;
        }
        Ok(String::new())
    }

    /// Starts a container. One that was never started finds its networks by name, any other by ID.
    pub(super) fn start_container(&mut self, id: &str) -> Ran {
        let Some(container) = self.containers.get(id) else {
            return fail(format!("No such container: {id}"));
        };
        match container.status.as_str() {
            "paused" => return fail("cannot start a paused container, try unpause instead"),
            "running" | "restarting" => return Ok(String::new()),
            _ => {}
        }
        may_start(&self.containers, container)?;
        let mut networks = container.details.networks.clone();
        for (name, network) in &mut networks {
            let is_it = |(id, found): &(&String, &super::Network)| {
                if container.status == "created" {
                    found.name == *name
                } else {
                    *id == network
                }
            };
            match self.networks.iter().find(is_it) {
                Some((id, _)) => id.clone_into(network),
                None => return fail(format!("network {name} not found")),
            }
        }
        let is_crashing = self.crashing.contains(&container.image);
        let status = if is_crashing { "restarting" } else { "running" };
        if let Some(container) = self.containers.get_mut(id) {
            container.details.networks = networks;
            container.details.exit_code = 0;
            status.clone_into(&mut container.status);
        }
        Ok(String::new())
    }

    /// Renames a container.
    pub(super) fn rename_container(&mut self, id: &str, name: &str) -> Ran {
        if self.containers.values().any(|c| c.name == name) {
            return fail(format!("the container name \"/{name}\" is in use"));
        }
        match self.containers.get_mut(id) {
            Some(container) => name.clone_into(&mut container.name),
            None => return fail(format!("No such container: {id}")),
        }
        Ok(String::new())
    }

    /// Removes a container, running or not; its volumes stay.
    pub(super) fn remove_container(&mut self, id: &str) -> Ran {
        match self.containers.remove(id) {
            Some(_) => Ok(String::new()),
            None => fail(format!("No such container: {id}")),
        }
    }

    /// Sets the restart policies of the existing ones among these containers.
    pub(super) fn update_restart_policy(&mut self, ids: &[&str], policy: &str) -> Ran {
        let mut ran = Ok(String::new());
        for id in ids {
            match self.containers.get_mut(*id) {
                Some(container) => policy.clone_into(&mut container.restart_policy),
                None => ran = fail(format!("No such container: {id}")),
            }
        }
        ran
    }

    /// Removes a network, unless a running container is on it.
    pub(super) fn remove_network(&mut self, id: &str) -> Ran {
        let mut users = self.containers.values().filter(|c| c.is_up());
        if users.any(|c| c.details.networks.values().any(|network| network == id)) {
            return fail(format!("network {id} has active endpoints"));
        }
        match self.networks.remove(id) {
            Some(_) => Ok(String::new()),
            None => fail(format!("network {id} not found")),
        }
    }

    /// Creates a volume. An existing one of that name is kept, whatever its options.
    pub(super) fn create_volume(
        &mut self,
        name: &str,
        options: BTreeMap<String, String>,
        owner: Option<String>,
    ) {
        let volume = Volume { options, owner };
        self.volumes.entry(name.to_owned()).or_insert(volume);
    }

    /// Removes a volume, unless a container uses it.
    pub(super) fn remove_volume(&mut self, name: &str) -> Ran {
        if self.containers.values().any(|c| c.volumes.contains(name)) {
            return fail(format!("remove {name}: volume is in use"));
        }
        match self.volumes.remove(name) {
            Some(_) => Ok(String::new()),
            None => fail(format!("get {name}: no such volume")),
        }
    }

    /// Gives an image a name.
    pub(super) fn tag_image(&mut self, image: &str, name: &str) -> Ran {
        let Some(id) = self.image_id(image) else {
            return fail(format!("No such image: {image}"));
        };
        for image in self.images.values_mut() {
            image.tags.remove(name);
        }
        let image = self.images.entry(id).or_default();
        image.tags.insert(name.to_owned());
        Ok(String::new())
    }

    /// Removes a name from an image, and the image with its last name, unless a container uses it.
    pub(super) fn untag_image(&mut self, name: &str) -> Ran {
        let Some(id) = self.image_id(name) else {
            return fail(format!("No such image: {name}"));
        };
        let is_last = self.images[&id].tags.len() == 1;
        let mut users = self.containers.values().filter(|c| c.image == id);
        if is_last && self.store == Store::Classic && users.next().is_some() {
            return fail(format!("conflict: a container is using {name}"));
        }
        let image = self.images.entry(id.clone()).or_default();
        image.tags.remove(name);
        if image.tags.is_empty() {
            self.images.remove(&id);
        }
        Ok(String::new())
    }
}
