//! Renders a first manifest: what was found, with comments on further options.

use std::fmt::Write as _;

use super::{Archive, Compose, Found, find::RELEASE_VERSION};
use o3r_core::names::{ImageRef, ReleaseVersion};

/// The version if no image has one.
const DEFAULT_VERSION: &str = "0.1.0";

/// Further options of a compose project.
const OPTIONS: &str = "\
# autostart = true                       # starts when the VPU boots; default: unchanged
# health = { log_contains = \"ready\" }    # the conditions after a start; if one is not met, the apply rolls back
";

/// Renders a manifest for what was found; `schema` is the path of its schema, relative to it.
pub fn text(found: &Found, schema: &str) -> String {
    let mut out = format!(
        "#:schema {schema}

# The desired state of an O3R VPU. `o3r-deploy check` validates this file, `plan` shows what `apply`
# would change on the VPU.

[vpu]
# host = \"192.168.0.69\"           # default: $IFM3D_IP, then this address, which every VPU ships with
# serial = \"000018988497\"         # any other VPU is rejected; `o3r-deploy status` shows it
# firmware = \">=1.4.30, <2\"       # any other firmware is rejected
# identity = \"~/.ssh/id_ed25519\"  # default: the keys of your ssh_config and ssh-agent
{:<34}# the default, for every VPU; a test twin on a PC has \"amd64\"
# Without `host_key`, your known_hosts decides; `o3r-deploy plan` shows an unknown key as a line to add.

[release]
{:<32}# the owner of everything below
{:<32}# ${{release.version}} inserts it into any string
",
        "# arch = \"arm64\"",
        format!("name = {}", quoted(&found.name)),
        format!("version = {}", quoted(&version(found))),
    );
    let nothing = Compose::default();
    let compose = found.compose.as_ref().unwrap_or(&nothing);
    directories(&mut out, compose);
    volumes(&mut out, compose);
    images(&mut out, found, compose);
    transfers(&mut out, found);
    projects(&mut out, found);
    out
}

/// Suggests to copy directories that services mount, where this folder has one of that name.
fn transfers(out: &mut String, found: &Found) {
    out.push_str(
        "\n# Files and directories to copy to the VPU; of a directory, the contents are copied.\n",
    );
    let mut copied = found.copied.clone();
    if copied.is_empty() {
        copied.push(("config".to_owned(), "~/share/config".to_owned()));
    }
    let tables = copied.iter().map(|(name, path)| {
        let (src, dst) = (quoted(&format!("{name}/")), quoted(&format!("{path}/")));
        format!("# [[transfers]]\n# src = {src}\n# dst = {dst}\n")
    });
    out.push_str(&tables.collect::<Vec<_>>().join("\n"));
}

/// Returns the version of the first of the user's own images that has one: those that are built here, in an archive, or
/// named like the release. Images that have the release's version say nothing of it.
fn version(found: &Found) -> String {
    let mut composes = found.compose.iter();
    if composes.any(|compose| !compose.versions.is_empty()) {
        return DEFAULT_VERSION.to_owned();
    }
    let compose = found.compose.iter().flat_map(|compose| &compose.images);
    let archived = found.archives.iter().flat_map(|archive| &archive.names);
    let is_archived = |name: &&String| found.archives.iter().any(|archive| holds(archive, name));
    let is_named = |name: &&String| {
        let repository = name
            .rsplit_once(':')
            .map_or(name.as_str(), |(repository, _)| repository);
        repository.rsplit('/').next() == Some(found.name.as_str())
    };
    let is_only_one = found.has_dockerfile && compose.clone().count() == 1;
    compose
        .filter(|name| is_only_one || is_archived(name) || is_named(name))
        .chain(archived)
        .filter_map(|name| Some(canonical(name)?.rsplit_once(':')?.1.to_owned()))
        .find(|tag| tag != "latest" && tag.parse::<ReleaseVersion>().is_ok())
        .unwrap_or_else(|| DEFAULT_VERSION.to_owned())
}

fn directories(out: &mut String, compose: &Compose) {
    out.push_str("\n# Directories that exist on the VPU; `~` is /home/oem.\n");
    if compose.directories.is_empty() {
        out.push_str("# [[directories]]\n# path = \"~/share/logs\"\n# mode = \"0775\"\n");
    }
    let tables = compose.directories.iter();
    let tables: Vec<String> = tables
        .map(|path| format!("[[directories]]\npath = {}\n", quoted(path)))
        .collect();
    out.push_str(&tables.join("\n"));
}

fn volumes(out: &mut String, compose: &Compose) {
    out.push_str("\n# Docker volumes, each bound to a directory on the VPU.\n");
    if compose.volumes.is_empty() {
        out.push_str("# [[volumes]]\n# name = \"share\"\n# path = \"~/share\"\n");
    }
    let tables = compose.volumes.iter().map(|name| {
        let path = quoted(&format!("~/{name}"));
        format!("[[volumes]]\nname = {}\npath = {path}\n", quoted(name))
    });
    out.push_str(&tables.collect::<Vec<_>>().join("\n"));
}

fn images(out: &mut String, found: &Found, compose: &Compose) {
    out.push_str("\n# Images. Without a source, an image must be on the VPU already.\n");
    let mut tables = Vec::new();
    let mut used = Vec::new();
    let version = version(found);
    for name in &compose.images {
        let archive = found.archives.iter().find(|archive| holds(archive, name));
        used.extend(archive);
        tables.push(image(name, archive, &version));
    }
    let mut unused = String::new();
    for archive in &found.archives {
        if used.contains(&archive) {
            continue;
        }
        if found.compose.is_none() {
            let unnamed = format!("{}:{DEFAULT_VERSION}", found.name);
            let names = match archive.names.as_slice() {
                [] => std::slice::from_ref(&unnamed),
                names => names,
            };
            tables.extend(
                names
                    .iter()
                    .map(|name| image(name, Some(archive), &version)),
            );
        } else {
            let _ = writeln!(
                unused,
                "# found, but not used by {}: {} ({})",
                compose.file,
                archive.file,
                contents(archive)
            );
        }
    }
    if tables.is_empty() {
        let example = format!("{}:${{release.version}}", found.name);
        let _ = write!(
            out,
            "# [[images]]\n# name = {}\n# archive = \"dist/{}.tar\"   # docker save or OCI archive, also .gz, .zst, .xz or .bz2\n",
            quoted(&example),
            found.name
        );
    }
    out.push_str(&tables.join("\n"));
    out.push_str(&unused);
    if found.has_dockerfile {
        let name = compose.images.first();
        let name = name.map_or_else(
            || format!("{}:{version}", found.name),
            |name| name.replace(RELEASE_VERSION, &version),
        );
        let _ = write!(
            out,
            "# To build from the Dockerfile for the VPU's architecture:\n\
             #   docker build --platform linux/arm64 -t {name} .\n\
             #   docker save -o {} {name}\n",
            archive_for(&name)
        );
    }
}

/// Formats `hello:1.0, arm64`.
fn contents(archive: &Archive) -> String {
    let arch = std::iter::once(archive.arch.as_str());
    let words: Vec<&str> = archive
        .names
        .iter()
        .map(String::as_str)
        .chain(arch)
        .collect();
    words.join(", ")
}

fn image(name: &str, archive: Option<&Archive>, version: &str) -> String {
    let mut table = format!("[[images]]\nname = {}\n", quoted(name));
    match archive {
        Some(archive) => {
            let _ = writeln!(table, "archive = {}", quoted(archive.file.as_str()));
        }
        None => {
            let _ = writeln!(
                table,
                "# engine = {}   # from this machine's docker; or from a file:\n\
                 # archive = {}   # docker save -o FILE {}",
                quoted(name),
                quoted(&archive_for(name)),
                name.replace(RELEASE_VERSION, version)
            );
        }
    }
    table
}

/// Suggests a path for the archive of an image: `dist/palletizer-1.4.0.tar`.
fn archive_for(name: &str) -> String {
    let last = name.rsplit('/').next().unwrap_or(name);
    format!("dist/{}.tar", last.replace([':', '@'], "-"))
}

fn projects(out: &mut String, found: &Found) {
    out.push_str("\n# Compose projects; each has a directory below /usr/share/oem/docker/compose on the VPU.\n");
    let project: String = found.name.replace('.', "-");
    match &found.compose {
        None => {
            let _ = write!(
                out,
                "# [[compose]]\n# name = {}\n# file = \"docker-compose.yml\"\n{OPTIONS}",
                quoted(&project)
            );
        }
        Some(compose) => {
            let _ = write!(
                out,
                "[[compose]]\nname = {}\nfile = {}\n",
                quoted(&project),
                quoted(&compose.file)
            );
            if !compose.extra_files.is_empty() {
                let files: Vec<String> = compose.extra_files.iter().map(|f| quoted(f)).collect();
                let _ = writeln!(
                    out,
                    "extra_files = [{}]   # placed beside it",
                    files.join(", ")
                );
            }
            if !compose.versions.is_empty() {
                let version = quoted(RELEASE_VERSION);
                let values = compose.versions.iter();
                let values: Vec<String> =
                    values.map(|name| format!("{name} = {version}")).collect();
                let _ = writeln!(
                    out,
                    "env = {{ {} }}   # becomes the project's .env",
                    values.join(", ")
                );
            }
            out.push_str(OPTIONS);
        }
    }
}

/// Whether an archive has an image of this name.
pub fn holds(archive: &Archive, name: &str) -> bool {
    let wanted = canonical(name);
    let mut names = archive.names.iter();
    wanted.is_some() && names.any(|found| canonical(found) == wanted)
}

fn canonical(name: &str) -> Option<String> {
    Some(name.parse::<ImageRef>().ok()?.canonical())
}

/// Formats a TOML string.
pub fn quoted(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest;

    fn archive(file: &str, name: &str) -> Archive {
        Archive {
            file: file.into(),
            names: vec![name.to_owned()],
            arch: "arm64".to_owned(),
        }
    }

    #[track_caller]
    fn parsed(found: &Found) -> manifest::Loaded {
        let text = text(found, "./deploy.schema.json");
        let parsed = manifest::parse("deploy.toml", text.as_bytes());
        parsed.unwrap_or_else(|findings| panic!("{text}\n{}", findings.render_plain(100)))
    }

    #[test]
    fn an_empty_folder_yields_comments_that_are_valid_when_uncommented() {
        let found = Found {
            name: "app".into(),
            ..Found::default()
        };
        let loaded = parsed(&found);
        assert_eq!(loaded.manifest.release.version.unwrap().as_str(), "0.1.0");
        // Removing the `#` in front of a table must yield a valid one.
        let text = text(&found, "./x.json");
        let uncommented: String = text
            .lines()
            .map(|line| match line.strip_prefix("# ") {
                Some(rest) if rest.starts_with('[') || rest.contains(" = ") => format!("{rest}\n"),
                _ => format!("{line}\n"),
            })
            .collect();
        let loaded = manifest::parse("deploy.toml", uncommented.as_bytes());
        let manifest = loaded
            .unwrap_or_else(|f| panic!("{}", f.render_plain(100)))
            .manifest;
        assert_eq!((manifest.images.len(), manifest.compose.len()), (1, 1));
        let project = &manifest.compose[0];
        assert!(project.autostart == Some(true) && project.health.is_some());
        assert!(manifest.vpu.serial.is_some() && manifest.vpu.firmware.is_some());
    }

    #[test]
    fn what_was_found_is_declared() {
        let found = Found {
            name: "palletizer".into(),
            compose: Some(Compose {
                file: "docker-compose.yml".into(),
                images: vec!["palletizer:1.4.0".into(), "broker".into()],
                volumes: vec!["share".into()],
                directories: vec!["~/data \"x\"".into()],
                extra_files: vec![".env".into(), "conf/".into()],
                versions: vec![],
            }),
            archives: vec![
                archive("dist/p.tar.gz", "docker.io/library/palletizer:1.4.0"),
                archive("dist/old.tar", "palletizer:1.3.0"),
            ],
            copied: vec![("data".to_owned(), "~/share/data".to_owned())],
            has_dockerfile: true,
            notes: vec![],
        };
        assert_eq!(found.images_without_source(), ["broker"]);
        let manifest = parsed(&found).manifest;
        assert_eq!(manifest.release.version.unwrap().as_str(), "1.4.0");
        let archive = manifest.images[0].archive.as_ref();
        assert_eq!(archive.unwrap().as_str(), "dist/p.tar.gz");
        assert!(manifest.images[1].archive.is_none());
        assert_eq!(manifest.volumes[0].name.as_str(), "share");
        assert_eq!(manifest.directories[0].path.resolve("~"), "~/data \"x\"");
        assert_eq!(manifest.compose[0].extra_files.len(), 2);
        insta::assert_snapshot!(text(&found, "./deploy.schema.json"));
    }

    #[test]
    fn without_a_compose_file_every_archive_is_an_image() {
        let found = Found {
            name: "app".into(),
            archives: vec![archive("a.tar", "a:1"), archive("b.tar", "b:2")],
            ..Found::default()
        };
        assert_eq!(parsed(&found).manifest.images.len(), 2);
    }
}
