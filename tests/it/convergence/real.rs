//! Checks what the tool cannot see: that what is there and runs was really created from what is declared.

use super::*;

/// Checks that after a boot the name is still set, and only what is declared to start runs.
pub(super) fn survives_a_boot(world: &World, desired: &Desired) {
    let mut world = world.clone();
    world.reboot();
    if let Some(wanted) = &desired.device_name {
        let name = world.settings.pointer("/device/info/name");
        assert_eq!(name.and_then(|name| name.as_str()), Some(&*wanted.name));
    }
    for (pointer, wanted) in desired
        .device_settings
        .iter()
        .flat_map(|settings| &settings.values)
    {
        assert_eq!(
            world.settings.pointer(pointer),
            Some(wanted),
            "{pointer} after a boot"
        );
    }
    let running = |project: &str| {
        let mut containers = world.containers.values();
        containers.any(|c| c.project == project && c.status == "running")
    };
    assert!(!running("old-demo"), "a disabled service runs after a boot");
    let project = &desired.projects[0];
    let policies = project.services.values().any(|s| s.restart.is_some());
    match (project.state, project.autostart) {
        (ProjectState::Running, Some(true)) => {
            let count = world.containers.values().filter(|c| c.project == "app");
            let count = count.filter(|c| c.status == "running").count();
            let wanted: usize = project.services.values().map(|s| s.replicas).sum();
            assert_eq!(count, wanted, "does not run after a boot");
        }
        (_, Some(false)) if !policies => assert!(!running("app")),
        (ProjectState::Absent, _) => assert!(!running("app")),
        _ => {}
    }
}

/// Checks what the tool cannot see and users care about: containers were created from the declared
/// files, image and volume.
pub(super) fn is_real(world: &mut World, desired: &Desired) {
    for transfer in &desired.transfers {
        is_there(world, transfer, desired);
    }
    assert_eq!(world.below("/home/oem/.o3r-deploy/staging").len(), 0);
    let project = &desired.projects[0];
    let containers: Vec<_> = world
        .containers
        .values()
        .filter(|c| c.project == "app")
        .collect();
    let there = world.files_below(&remote::project_directory("app"));
    // Files that somebody else wrote are kept.
    let is_kept = |path: &&String| path.ends_with(remote::FOUND);
    let there: Vec<&String> = there.keys().filter(|path| !is_kept(path)).collect();
    if project.state == ProjectState::Absent {
        let mut ours = there
            .iter()
            .filter(|path| !path.ends_with("/docker-compose.override.yml"));
        assert!(containers.is_empty() && ours.next().is_none(), "{there:?}");
        return;
    }
    let mut declared: Vec<String> = project.files.iter().map(|f| project.path(f)).collect();
    declared.sort();
    assert_eq!(there, declared.iter().collect::<Vec<_>>());
    let wanted: usize = project
        .services
        .values()
        .map(|service| service.replicas)
        .sum();
    assert_eq!(containers.len(), wanted);
    networks_are_real(world, project);
    let content = desired.images[0].content.as_ref().unwrap();
    let image = world.stored_id(content.config_digest);
    let directory = remote::project_directory("app");
    for container in containers {
        assert_eq!(container.image, image);
        shares_what_is_there(world, container, &project.services[&container.service]);
        assert_eq!(
            container.status == "running",
            project.state == ProjectState::Running
        );
        let service = &project.services[&container.service];
        for file in project.files.iter().filter(|file| {
            file.relative == "docker-compose.yml" || service.files.contains(&file.relative)
        }) {
            let path = format!("{directory}/{}", file.relative);
            let seen = container.made_from.get(&path).map(Digest::of);
            assert_eq!(
                seen,
                Some(file.sha256),
                "{} was made from another {path}",
                container.name
            );
        }
        for transfer in &desired.transfers {
            let target = transfer.target.resolve(&world.home);
            // A file that is mounted alone is never stale.
            let must = transfer.is_file() || transfer.restart.contains(&project.name);
            for (name, entry) in transfer
                .entries
                .iter()
                .filter(|_| must && container.service == "main")
            {
                let path = format!("{target}/{name}");
                let path = path.trim_end_matches('/');
                if let Entry::File(file) = entry {
                    let seen = container.made_from.get(path).map(Digest::of);
                    assert_eq!(
                        seen,
                        Some(file.sha256),
                        "{} saw another {path}",
                        container.name
                    );
                }
            }
        }
        let policy = service.restart.clone().unwrap_or_default().to_string();
        assert_eq!(container.restart_policy, policy);
        for (destination, mounted) in &service.mounts {
            let wanted = match mounted {
                Mounted::Path(path) => vpu::Mount::Bind(path.replacen('~', &world.home, 1)),
                Mounted::Volume(name, _) => vpu::Mount::Volume(name.clone()),
                Mounted::Memory => continue,
            };
            let found = container.details.mounts.get(destination);
            assert_eq!(found, Some(&wanted), "{destination} of {}", container.name);
        }
        if service.volumes.contains(&"share".to_owned()) {
            let bound = desired.volumes[0].path.resolve(&world.home);
            assert_eq!(container.mounted.get("share"), Some(&bound));
        }
    }
}

/// Checks that a container uses the namespace of an existing
/// container of the service that its own service names.
fn shares_what_is_there(world: &World, container: &vpu::Container, service: &Service) {
    let mode = &container.details.network_mode;
    let owner = mode.strip_prefix("container:");
    let owner = owner.map(|id| world.containers.get(id).map(|c| c.service.clone()));
    let wanted = service.network_of.clone().map(Some);
    assert_eq!(owner, wanted, "{} uses {mode}", container.name);
}

/// Checks that the project has exactly the networks that it declares and uses, as declared.
fn networks_are_real(world: &World, project: &Project) {
    let used = project.networks.iter().filter(|network| network.used);
    let mut wanted: Vec<&str> = used.clone().map(|network| network.name.as_str()).collect();
    let own = world
        .networks
        .values()
        .filter(|network| network.project == "app");
    let mut found: Vec<&str> = own.clone().map(|network| network.name.as_str()).collect();
    wanted.sort_unstable();
    found.sort_unstable();
    assert_eq!(found, wanted);
    for network in used {
        let found = own
            .clone()
            .find(|found| found.name == network.name)
            .unwrap();
        let declared = &network.declared;
        assert_eq!(found.options, declared.options, "{found:?}");
        assert_eq!(found.internal, declared.internal == Some(true), "{found:?}");
        assert_eq!(
            found.driver,
            declared.driver.clone().unwrap_or_default(),
            "{found:?}"
        );
        if let Some(pool) = declared.pools.first() {
            assert_eq!(Some(&found.subnet), pool.subnet.as_ref());
        }
    }
}

fn is_there(world: &World, transfer: &Transfer, desired: &Desired) {
    let target = transfer.target.resolve(&world.home);
    let at = |name: &str| format!("{target}/{name}").trim_end_matches('/').to_owned();
    for (name, entry) in &transfer.entries {
        let path = at(name);
        match entry {
            Entry::File(file) => {
                let found = &world.files[&path];
                assert_eq!(
                    (Digest::of(&found.bytes), found.mode),
                    (file.sha256, file.mode),
                    "{path}"
                );
            }
            Entry::Directory { mode } => {
                let found = world.directories[&path].0;
                assert_eq!(mode.unwrap_or(found), found, "{path}");
            }
            Entry::Symlink { target } => assert_eq!(&world.links[&path], target, "{path}"),
        }
    }
    if transfer.delete {
        for path in world.below(&target) {
            let name = path.strip_prefix(&format!("{target}/")).unwrap();
            let kept = path.contains(".keep") || path == at("kept");
            assert!(
                kept || transfer.entries.contains_key(name) || is_of_others(world, desired, &path),
                "{path} is left"
            );
        }
    }
}

/// Whether a path below the tree is declared there, is in
/// something that is, or is put there by the transfer above.
pub(super) fn is_of_others(world: &World, desired: &Desired, path: &str) -> bool {
    let below = trees::BELOW.parse::<RemotePath>().unwrap();
    let directories = desired.directories.iter().map(|one| &one.path);
    let volumes = desired.volumes.iter().map(|one| &one.path);
    let targets = desired.transfers.iter().map(|one| &one.target);
    let declared = directories.chain(volumes).chain(targets);
    let is_declared = declared.into_iter().any(|path| *path == below);
    let mut above = desired.transfers.iter();
    let above = above.find(|one| one.target.resolve("~") == trees::ABOVE);
    let in_above = above.is_some_and(|above| {
        let root = above.target.resolve(&world.home);
        let names = above.entries.keys();
        names
            .map(|name| format!("{root}/{name}"))
            .any(|put| put == path)
    });
    in_above || is_declared && Utf8Path::new(path).starts_with(below.resolve(&world.home))
}
