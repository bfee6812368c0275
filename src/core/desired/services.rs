//! Extracts the parts of compose services that plans depend on.

use std::collections::{BTreeMap, BTreeSet};

use super::{COMPOSE_FILE, Mounted, ProjectFile, Service};
use crate::{
    compose::{self, ComposeFile, MountSource, Release},
    names::{ImageRef, is_within},
    remote,
};

/// Returns the paths that a service mounts, as written.
fn bind_sources(service: &compose::Service) -> impl Iterator<Item = &String> {
    let mounts = service.mounts.iter();
    mounts.filter_map(|mount| match &mount.source {
        MountSource::Bind(path) => Some(path),
        _ => None,
    })
}

/// Returns the paths on the VPU that a service mounts;
/// relative ones are resolved against the project's directory.
fn binds(service: &compose::Service, directory: &str) -> Vec<String> {
    let mounts = bind_sources(service);
    // An environment file is not mounted, but its values
    // are read at the start as well; a secret is a mount.
    let files = service.env_files.iter().chain(&service.secret_files);
    let paths = mounts.chain(files.map(|file| &file.value));
    paths.map(|path| from_directory(path, directory)).collect()
}

/// Returns a service's mounts whose source is specified.
fn mounts(
    service: &compose::Service,
    parsed: &ComposeFile,
    project: &str,
    directory: &str,
) -> BTreeMap<String, Mounted> {
    let mounts = service.mounts.iter().filter_map(|mount| {
        let mounted = match &mount.source {
            MountSource::Bind(path) => Mounted::Path(from_directory(path, directory)),
            MountSource::Volume(key) => {
                let declared = parsed.volumes.iter().find(|volume| volume.key == *key)?;
                let (name, older_name) = declared.docker_names(project);
                Mounted::Volume(name, older_name)
            }
            MountSource::Memory => Mounted::Memory,
            MountSource::Anonymous => return None,
        };
        Some((normalised(mount.target.as_deref()?), mounted))
    });
    mounts.collect()
}

/// Returns the service whose namespace a mode names.
fn service_in(mode: Option<&str>) -> Option<String> {
    mode?.strip_prefix("service:").map(str::to_owned)
}

/// Resolves a path on the VPU against the project's directory.
fn from_directory(path: &str, directory: &str) -> String {
    if path.starts_with(['/', '~']) {
        normalised(path)
    } else {
        normalised(&format!("{directory}/{path}"))
    }
}

/// Returns the environment files of a service that are outside the project's directory.
fn env_files(service: &compose::Service, directory: &str) -> Vec<String> {
    let files = service.env_files.iter().map(|file| file.value.as_str());
    let files = files.filter(|path| path.starts_with(['/', '~']));
    let files = files.map(normalised);
    let is_inside = |path: &String| path.starts_with(&format!("{directory}/"));
    files.filter(|path| !is_inside(path)).collect()
}

/// Returns the environment files beside the compose file that the service does not mount as well.
fn only_environment(service: &compose::Service, directory: &str) -> BTreeSet<String> {
    let mounts = bind_sources(service);
    let secrets = service.secret_files.iter().map(|file| &file.value);
    let mounted: Vec<String> = mounts
        .chain(secrets)
        .map(|path| from_directory(path, directory))
        .collect();
    let is_mounted = |path: &str| {
        let mut mounted = mounted.iter();
        mounted.any(|mounted| is_within(path, mounted))
    };
    let files = service.env_files.iter();
    let paths = files.map(|file| from_directory(&file.value, directory));
    paths
        .filter(|path| !is_mounted(path))
        .filter_map(|path| Some(path.strip_prefix(directory)?.strip_prefix('/')?.to_owned()))
        .collect()
}

/// Removes `.`, `..` and trailing slashes from a path; a `..` that leads out of `~` is kept.
fn normalised(path: &str) -> String {
    let root = if path.starts_with('/') { "/" } else { "" };
    let mut parts: Vec<&str> = vec![];
    for part in path.split('/').skip(root.len()) {
        match part {
            "" | "." => {}
            ".." if root.is_empty() && matches!(parts[..], ["~"] | [.., ".."]) => parts.push(part),
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    format!("{root}{}", parts.join("/"))
}

/// Returns the relevant part of each service.
pub fn services(
    parsed: &ComposeFile,
    files: &[ProjectFile],
    project: &str,
    release: Release,
) -> BTreeMap<String, Service> {
    let directory = &remote::project_directory(project);
    let mut services: BTreeMap<String, Service> = parsed
        .services
        .iter()
        .map(|service| {
            let image = service.image.as_ref().map(|image| &image.value);
            let image = image.map(|name| match name.parse::<ImageRef>() {
                Ok(parsed) => parsed.canonical(),
                Err(_) => name.clone(), // by digest: not a name that this tool manages
            });
            let matters = Service {
                image,
                container_name: service
                    .container_name
                    .as_ref()
                    .map(|name| name.value.clone()),
                files: vec![],
                only_environment: only_environment(service, directory),
                volumes: vec![],
                binds: binds(service, directory),
                env_files: env_files(service, directory),
                networks: service.networks.clone(),
                network_of: service_in(service.network_mode.as_deref()),
                processes_of: service_in(service.pid.as_deref()),
                mounts: mounts(service, parsed, project, directory),
                replicas: service.containers(release),
                ports: service
                    .published_ports
                    .iter()
                    .map(|port| port.value.clone())
                    .collect(),
                runtime: service
                    .runtime
                    .as_ref()
                    .map(|runtime| runtime.value.clone()),
                restart: service.restart.clone(),
                stop_seconds: service.stop_seconds,
                limits: service.limits.clone(),
                definition: Some(service.definition),
                resolved: None,
            };
            (service.name.clone(), matters)
        })
        .collect();
    for file in files.iter().filter(|file| file.relative != COMPOSE_FILE) {
        for name in parsed.services_using_file(&file.relative) {
            if let Some(service) = services.get_mut(&name) {
                service.files.push(file.relative.clone());
            }
        }
    }
    for volume in parsed
        .volumes
        .iter()
        .filter(|v| v.external || v.name.is_some())
    {
        let docker_name = volume.external_name();
        for name in parsed.services_using_volume(docker_name) {
            if let Some(service) = services.get_mut(&name) {
                service.volumes.push(docker_name.to_owned());
            }
        }
    }
    services
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_environment_file_that_is_mounted_too_is_not_only_one() {
        let text = "services:\n  a:\n    image: a:1\n    env_file: [./a.env, conf/b.env, ../c.env, /etc/d.env]\n    \
                    volumes: ['./conf:/c']\n  b:\n    image: a:1\n    volumes: ['./a.env:/a']\n";
        let parsed = ComposeFile::parse(text).unwrap();
        let files = ["a.env", "conf/b.env"].map(|name| ProjectFile::named(name.to_owned()));
        let services = services(&parsed, &files, "app", Release::ALL[0]);
        assert_eq!(services["a"].only_environment, ["a.env".to_owned()].into());
        assert_eq!(services["b"].only_environment, [].into());
    }

    #[test]
    fn environment_files_outside_of_the_projects_directory_are_kept() {
        let inside = format!("{}/in.env", remote::project_directory("app"));
        let beside = format!("{}/in.env", remote::project_directory("apple"));
        let text = format!(
            "services:\n  web:\n    image: web\n    env_file: [in.env, {inside}, {beside}, ~/./a/../b.env, /etc//c.env]\n"
        );
        let parsed = ComposeFile::parse_with(&text, &compose::Environment::new()).unwrap();
        let services = services(&parsed, &[], "app", Release::of("1.29.2"));
        assert_eq!(
            services["web"].env_files,
            [beside.as_str(), "~/b.env", "/etc/c.env"]
        );
    }

    #[test]
    fn regression_a_path_that_leads_out_of_the_home_directory_stays_one() {
        for (written, path) in [
            ("~/../other/web.env", "~/../other/web.env"),
            ("~/a/../../../b/../c", "~/../../c"),
            ("~", "~"),
            ("/~/../a", "/a"),
            ("/../a/", "/a"),
            ("/a/./b//../c", "/a/c"),
        ] {
            assert_eq!(normalised(written), path, "{written}");
        }
    }

    #[test]
    fn the_paths_that_a_service_mounts_are_seen_from_the_projects_directory() {
        let text = "services:\n  web:\n    image: web\n    volumes: [./data:/data, ~/share:/share, named:/named]\n    \
                    env_file: [/etc/web.env]\nvolumes:\n  named:\n";
        let parsed = ComposeFile::parse_with(text, &compose::Environment::new()).unwrap();
        let services = services(&parsed, &[], "app", Release::of("1.29.2"));
        let data = format!("{}/data", remote::project_directory("app"));
        assert_eq!(
            services["web"].binds,
            [data.as_str(), "~/share", "/etc/web.env"]
        );
    }

    #[test]
    fn a_service_depends_on_the_projects_files_that_it_reads() {
        let text = "services:\n  web:\n    image: web\n    volumes: [./:/project, ./a.conf:/a.conf]\n  other:\n    image: web\n";
        let parsed = ComposeFile::parse_with(text, &compose::Environment::new()).unwrap();
        let file = |relative: &str| ProjectFile {
            relative: relative.into(),
            local: relative.into(),
            sha256: crate::digest::Digest::of(b""),
            bytes: 0,
            mode: 0o644,
        };
        let files = [file(COMPOSE_FILE), file("a.conf")];
        let services = services(&parsed, &files, "app", Release::of("1.29.2"));
        // What becomes of the compose file is docker-compose's to see.
        assert_eq!(services["web"].files, ["a.conf"]);
        assert_eq!(services["other"].files, [""; 0]);
    }

    #[test]
    fn a_service_uses_volumes_that_are_known_by_a_name_of_their_own() {
        let text = "services:\n  web:\n    image: web\n    volumes: [own:/own, named:/named, theirs:/theirs]\n\
                    volumes:\n  own:\n  named:\n    name: share\n  theirs:\n    external: true\n";
        let parsed = ComposeFile::parse_with(text, &compose::Environment::new()).unwrap();
        let services = services(&parsed, &[], "app", Release::of("1.29.2"));
        let mut volumes = services["web"].volumes.clone();
        volumes.sort();
        assert_eq!(volumes, ["share", "theirs"]);
    }
}
