//! Answers the probe for the in-memory VPU.

use std::fmt::Write as _;

use serde_json::json;

use super::{
    boot::Autostart,
    generations,
    world::{Container, Mount, Store, World},
};
use o3r_deploy::internal::{digest::Digest, observe::READ_BY_COMPOSE};

/// Returns what the probe script would print.
pub(super) fn answer(world: &World, nonce: &str, queries: &[u8]) -> String {
    let queries = String::from_utf8_lossy(queries);
    framed(
        nonce,
        [
            ("system", system(world)),
            ("listeners", "tcp\n".to_owned()),
            ("paths", paths(world, &queries)),
            ("projects", projects(world, &queries)),
            ("environment", environment_files(world, &queries)),
            ("records", records(world)),
            ("autostart", autostart(world, &queries)),
            ("compose", "1.29.2\n".to_owned()),
        ],
        0,
    )
}

/// Returns what docker's client would print.
pub(super) fn docker(world: &World, nonce: &str) -> String {
    let sections = [
        ("docker", engine(world)),
        ("networks", networks(world)),
        ("volumes", volumes(world)),
        ("containers", containers(world)),
        ("images", images(world)),
    ];
    if world.docker_runs {
        return framed(nonce, sections, 0);
    }
    let refused = |(name, _)| (name, "Cannot connect to the Docker daemon".to_owned());
    framed(nonce, sections.map(refused), 1)
}

/// Returns the kernel's data about running containers, whose only process is 4711.
pub(super) fn running(nonce: &str) -> String {
    let text = "docker 16000000 9000000\nstarted 4711 4000\n".to_owned();
    framed(nonce, [("running", text)], 0)
}

fn framed<const N: usize>(nonce: &str, sections: [(&str, String); N], code: i32) -> String {
    let mut out = String::new();
    for (name, text) in sections {
        let _ = write!(
            out,
            "{nonce} begin {name}\n{text}\n{nonce} end {name} {code}\n"
        );
    }
    out
}

fn autostart(world: &World, queries: &str) -> String {
    let Autostart {
        units,
        service,
        enabled,
        lingering,
        working_directory,
    } = &world.autostart;
    let mut out = String::new();
    if *units {
        let state = if enabled.is_empty() {
            "disabled"
        } else {
            "indirect"
        };
        let _ = writeln!(out, "file oem-dc@.service {state}");
    }
    if let Some(service) = service {
        let state = if *service { "enabled" } else { "disabled" };
        let _ = writeln!(out, "file oem-dc-autostart.service {state}");
    }
    let _ = writeln!(out, "lingering {}", if *lingering { "yes" } else { "no" });
    for instance in enabled {
        let _ = writeln!(out, "enabled own {instance}");
    }
    for instance in queries
        .lines()
        .filter_map(|line| line.strip_prefix("unit "))
    {
        if *units {
            let _ = writeln!(
                out,
                "unit 0 {instance}\n [Service]\n WorkingDirectory={working_directory}\n \
                 ExecStart=/usr/bin/docker-compose up -d\n [Install]\n WantedBy=default.target"
            );
        }
    }
    out
}

fn system(world: &World) -> String {
    let World {
        home,
        machine,
        boot_id,
        ..
    } = world;
    let login = Digest::of(format!("HOME={home}\nUSER=oem\n")).hex();
    let zstd = if world.zstd { "zstd=yes\n" } else { "" };
    format!(
        "{zstd}home={home}\nenv.HOME={home}\nenv.USER=oem\nuid=989\nmachine={machine}\nboot_id={boot_id}\nenvironment={login}\nuptime=100.0\nsha256=sha256sum\n\
         home_disk=8000000 5000000 500000 /dev/mmcblk0p5 /home\n\
         memory_kb=3800000\nmemory_available_kb=1900000\n"
    )
}

fn engine(world: &World) -> String {
    let (version, status, root) = match world.store {
        Store::Classic => (
            "20.10.24",
            ["Backing Filesystem", "extfs"],
            "/var/lib/docker",
        ),
        Store::Containerd => (
            "26.1.5",
            ["driver-type", "io.containerd.snapshotter.v1"],
            "/var/lib/docker",
        ),
        Store::Podman => (
            "4.3.1",
            ["Supports d_type", "true"],
            "/var/lib/containers/storage",
        ),
    };
    json!({
        "version": version, "arch": world.machine, "status": [status], "root": root, "runtimes": world.runtimes,
    })
    .to_string()
}

fn lines(values: impl Iterator<Item = serde_json::Value>) -> String {
    let mut text = String::new();
    for value in values {
        let _ = writeln!(text, "{value}");
    }
    text
}

fn images(world: &World) -> String {
    // Podman stores loaded images under names of its own,
    // and those that its service tagged under docker's.
    let said = |tag: &String| match (world.store, tag.starts_with("o3r-deploy")) {
        (Store::Podman, true) => format!("localhost/{tag}"),
        (Store::Podman, false) => format!("docker.io/library/{tag}"),
        _ => tag.clone(),
    };
    lines(world.images.iter().map(|(id, image)| {
        let tags: Vec<String> = image.tags.iter().map(said).collect();
        json!({"id": id, "tags": tags, "layers": image.layers, "arch": image.arch, "os": "linux"})
    }))
}

fn volumes(world: &World) -> String {
    lines(world.volumes.iter().map(|(name, volume)| {
        json!({"name": name, "driver": "local", "options": volume.options, "owner": volume.owner})
    }))
}

fn containers(world: &World) -> String {
    lines(world.containers.iter().map(|(id, container)| {
        let pid = if container.status == "running" {
            4711
        } else {
            0
        };
        json!({
            "pid": pid, "id": id, "name": format!("/{}", container.name), "image": container.image,
            "status": container.status, "exit_code": i32::from(container.status == "exited"),
            "health": null, "restart_policy": container.restart_policy, "project": container.project,
            "service": container.service, "working_dir": container.working_dir, "one_off": "False",
            "image_ref": container.details.image_ref, "number": container.details.number.to_string(),
            "config_hash": container.config_hash.hex(), "config_files": "docker-compose.yml",
            "volumes": container.volumes, "mounts": mounts(container),
            "links": container.details.links.iter().map(|to| format!("/{to}:/{}/it", container.name)).collect::<Vec<_>>(),
            "networks": container.details.networks.iter().map(|(name, id)| {
                (name.clone(), json!({"id": id, "aliases": [container.service, &id[..12]]}))
            }).collect::<serde_json::Map<_, _>>(),
            "limits": {"Memory": container.details.memory, "PidsLimit": null},
            "network": match container.details.network_mode.as_str() {
                "" if container.host_network => "host",
                "" => "default",
                mode => mode,
            },
        })
    }))
}

fn mounts(container: &Container) -> Vec<serde_json::Value> {
    let mounts = container.details.mounts.iter();
    let one = |(destination, mount): (&String, &Mount)| {
        let (kind, name, source) = match mount {
            Mount::Bind(path) => ("bind", "", path.clone()),
            Mount::Volume(name) => {
                let source = format!("/var/lib/docker/volumes/{name}/_data");
                ("volume", name.as_str(), source)
            }
        };
        json!({"Type": kind, "Name": name, "Source": source, "Destination": destination, "RW": true})
    };
    mounts.map(one).collect()
}

fn networks(world: &World) -> String {
    lines(world.networks.iter().map(|(id, network)| {
        json!({
            "id": id, "name": network.name,
            "driver": if network.driver.is_unknown() { "bridge" } else { network.driver.as_str() },
            "options": network.options, "ipam_driver": "default", "ipam_options": null,
            "pools": [{"Subnet": if network.subnet.is_empty() { "172.18.0.0/16" } else { &network.subnet }}],
            "internal": network.internal, "project": network.project, "key": network.key,
        })
    }))
}

fn projects(world: &World, queries: &str) -> String {
    let mut out = String::new();
    let directories = queries.lines().filter_map(|l| l.strip_prefix("project "));
    for (index, directory) in directories.enumerate() {
        for name in READ_BY_COMPOSE {
            let path = format!("{directory}/{name}");
            let _ = write!(out, "{index} {name} ");
            look(world, &path, |_| true, &mut out);
        }
    }
    out
}

fn environment_files(world: &World, queries: &str) -> String {
    let mut out = String::new();
    let paths = queries.lines();
    let paths = paths.filter_map(|line| line.strip_prefix("environment "));
    for (index, path) in paths.enumerate() {
        let _ = write!(out, "{index} ");
        look(world, &below_home(world, path), |_| true, &mut out);
    }
    out
}

fn below_home(world: &World, path: &str) -> String {
    path.replacen('~', &world.home, usize::from(path.starts_with('~')))
}

/// Writes a line about a path; the file is hashed if its size is the expected one.
fn look(world: &World, path: &str, is_asked: impl Fn(usize) -> bool, out: &mut String) {
    if let Some((mode, uid)) = world.directory_at(path) {
        let _ = writeln!(out, "directory d{} {uid}", permissions(mode));
    } else if let Some(target) = world.links.get(path) {
        let _ = writeln!(out, "link {target}");
    } else if let Some(file) = world.files.get(path) {
        let length = file.bytes.len();
        let hash = if is_asked(length) {
            format!("{}  -", Digest::of(&file.bytes).hex())
        } else {
            "-".to_owned()
        };
        let _ = writeln!(out, "file -{} 989 {length} {hash}", permissions(file.mode));
    } else {
        out.push_str("missing\n");
    }
}

fn paths(world: &World, queries: &str) -> String {
    let mut out = String::new();
    let lines = queries.lines().filter(|line| line.starts_with("path "));
    for (index, line) in lines.enumerate() {
        let mut words = line.splitn(4, ' ').skip(1);
        let (kind, size, path) = (words.next(), words.next(), words.next().unwrap_or_default());
        let path = below_home(world, path);
        let _ = write!(out, "{index} ");
        let is_asked = |length: usize| match kind {
            Some("h") => size.and_then(|size| size.parse().ok()) >= Some(length),
            Some("f") => size == Some(&length.to_string()),
            _ => false,
        };
        look(world, &path, is_asked, &mut out);
    }
    out
}

fn permissions(mode: u32) -> String {
    let letters = "rwxrwxrwx".chars().enumerate();
    letters
        .map(|(index, c)| {
            if mode & (1 << (8 - index)) == 0 {
                '-'
            } else {
                c
            }
        })
        .collect()
}

fn records(world: &World) -> String {
    let base = format!("{}/.o3r-deploy", world.home);
    let mut out = String::new();
    for (path, bytes) in world.files_below(&format!("{base}/started")) {
        let name = path.rsplit('/').next().unwrap_or_default();
        let _ = write!(
            out,
            "started {name}\n{}.\n",
            String::from_utf8_lossy(&bytes)
        );
    }
    for (path, bytes) in world.files_below(&format!("{base}/releases")) {
        let name = path.rsplit('/').next().unwrap_or_default();
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if let Some(name) = name.strip_suffix(".taken") {
            let _ = write!(out, "taken {name}\n{text}.\n");
            continue;
        }
        let name = name.trim_end_matches(".jsonl");
        let last = text.lines().last().unwrap_or_default();
        let _ = write!(out, "release {name}\n{last}\n.\n");
    }
    let kept = world.files_below(&format!("{base}/generations"));
    let held = kept.into_values().flat_map(|text| generations::held(&text));
    let held: Vec<String> = held.collect();
    if !held.is_empty() {
        let _ = write!(out, "held\n{}\n.\n", held.join("\n"));
    }
    let moved = format!("{base}/moved");
    for path in world.files_below(&moved).keys() {
        let _ = write!(out, "moved {}\n.\n", &path[moved.len() + 1..]);
    }
    let arriving = format!("{base}/arriving");
    for (path, bytes) in world.files_below(&arriving) {
        let name = &path[arriving.len() + 1..];
        let sha256 = Digest::of(&bytes).hex();
        let _ = write!(out, "arrived {name} {} {sha256}\n.\n", bytes.len());
    }
    let kept = format!("{base}/previous");
    for path in world.files_below(&kept).keys() {
        if path.contains("/%added-") {
            let _ = write!(out, "added {}\n.\n", &path[kept.len() + 1..]);
        }
    }
    out
}
