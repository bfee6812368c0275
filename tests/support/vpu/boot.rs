//! Boots the in-memory VPU, in both generations of its autostart.

use std::collections::BTreeSet;

use super::{device::merge, projects::compose_up, world::World};

/// What starts projects at boot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Autostart {
    /// Whether the firmware has the template `oem-dc@.service`.
    pub units: bool,
    /// Whether it has `oem-dc-autostart.service`, and whether that is enabled.
    pub service: Option<bool>,
    /// Enabled instances of the template.
    pub enabled: BTreeSet<String>,
    /// Lingering.
    pub lingering: bool,
    /// The template's working directory.
    pub working_directory: String,
}

impl Default for Autostart {
    fn default() -> Self {
        Self {
            units: true,
            service: None,
            enabled: BTreeSet::new(),
            lingering: true,
            working_directory: format!("{}/%i", o3r_deploy::internal::remote::COMPOSE_ROOT),
        }
    }
}

impl Autostart {
    /// What the newer firmware ships.
    pub fn by_policy() -> Self {
        Self {
            units: false,
            service: Some(false),
            ..Self::default()
        }
    }

    /// Runs `systemctl --user enable|disable`.
    pub(super) fn set(&mut self, unit: &str, enabled: bool) -> bool {
        let instance = unit
            .strip_prefix("oem-dc@")
            .and_then(|rest| rest.strip_suffix(".service"));
        match (instance, &mut self.service) {
            (Some(instance), _) if self.units => {
                if enabled {
                    self.enabled.insert(instance.to_owned());
                } else {
                    self.enabled.remove(instance);
                }
                true
            }
            (None, Some(service)) if unit == "oem-dc-autostart.service" => {
                *service = enabled;
                true
            }
            _ => false,
        }
    }
}

impl World {
    /// Restarts it. dockerd, if it starts, starts the containers that ran, by their policies;
    /// enabled units recreate their projects; unsaved settings are lost.
    pub fn reboot(&mut self) {
        self.boot_id.push('+');
        self.settings = Self::default().settings;
        merge(&mut self.settings, &self.saved_settings);
        let docker_starts = self.autostart.service.is_none_or(|enabled| enabled)
            && (self.autostart.units || self.autostart.lingering);
        for container in self.containers.values_mut() {
            let ran = matches!(container.status.as_str(), "running" | "restarting");
            let policy = container.restart_policy.as_str();
            let comes = match policy {
                "always" => container.status != "created",
                "unless-stopped" => ran,
                _ => false,
            };
            if comes && docker_starts {
                "running".clone_into(&mut container.status);
            } else if container.status != "created" {
                "exited".clone_into(&mut container.status);
            }
        }
        if !self.autostart.units || !self.autostart.lingering {
            return;
        }
        for project in self.autostart.enabled.clone() {
            // The shutdown took the project down, and the boot recreates it.
            self.containers
                .retain(|_, container| container.project != project);
            let _ = compose_up(self, &project, true, false);
        }
    }
}
