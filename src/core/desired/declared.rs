//! Collects what a compose file declares besides services: networks and volumes.

use super::{Network, ProjectVolume};
use crate::compose::{self, ComposeFile};

/// Returns the project's networks, including the default one of services that name none.
pub fn networks(file: &ComposeFile, project: &str) -> Vec<Network> {
    let keys = file.services.iter().flat_map(|service| &service.networks);
    let used: Vec<&String> = keys.collect();
    let of_services = compose::Network {
        key: "default".to_owned(),
        ..compose::Network::default()
    };
    let is_declared = file.networks.iter().any(|one| one.key == of_services.key);
    let is_added = !is_declared && used.contains(&&of_services.key);
    let all = file.networks.iter().chain(is_added.then_some(&of_services));
    all.map(|declared| {
        let (name, older_name) = declared.docker_names(project);
        Network {
            name,
            older_name,
            used: used.contains(&&declared.key),
            declared: declared.clone(),
        }
    })
    .collect()
}

/// Returns the project's volumes.
pub fn volumes(file: &ComposeFile, project: &str) -> Vec<ProjectVolume> {
    let volumes = file.volumes.iter();
    volumes
        .map(|declared| {
            let (name, older_name) = declared.docker_names(project);
            ProjectVolume {
                name,
                older_name,
                declared: declared.clone(),
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn volumes_are_known_by_dockers_names_for_them() {
        let text =
            "services:\n  web:\n    image: web\nvolumes:\n  data:\n  theirs:\n    external: true\n";
        let file = ComposeFile::parse_with(text, &compose::Environment::new()).unwrap();
        let volumes = volumes(&file, "app");
        let names: Vec<&str> = volumes.iter().map(|volume| volume.name.as_str()).collect();
        assert_eq!(names, ["app_data", "theirs"]);
    }
}
