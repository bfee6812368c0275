//! Finds what a manifest could declare.

use camino::{Utf8Path, Utf8PathBuf};
use walkdir::{DirEntry, WalkDir};

use super::{Archive, Compose, Found};
use crate::{
    compose::{ComposeFile, MountSource, parse_env},
    image::{Image, ImageError, Platform, ScratchDir, Source},
};
use o3r_core::names::USUAL_HOME;

/// The names that compose itself looks for, in the order of preference on a VPU.
const COMPOSE_FILES: &[&str] = &[
    "docker-compose.yml",
    "docker-compose.yaml",
    "compose.yml",
    "compose.yaml",
];

/// How deep to search for archives: `dist/arm64/app.tar`.
const MAX_DEPTH: usize = 3;

/// The most entries that are visited: a folder with more is something else, such as a home
/// directory.
const MAX_ENTRIES: usize = 20_000;

/// The most archives that are opened; each may have to be unpacked.
const MAX_ARCHIVES: usize = 50;

/// The version of the release, in a string of the manifest.
pub(super) const RELEASE_VERSION: &str = "${release.version}";

/// Directories with many files that are not the user's own.
const SKIPPED: &[&str] = &["target", "node_modules", "venv", "__pycache__"];

/// The release's name if the folder's has no usable character.
const DEFAULT_NAME: &str = "app";

/// Finds what is in a folder. Unpacks compressed archives into `scratch`. Blocks.
pub fn find(folder: &Utf8Path, scratch: &ScratchDir) -> Found {
    let mut found = Found {
        name: name_of(folder),
        has_dockerfile: folder.join("Dockerfile").is_file(),
        ..Found::default()
    };
    if let Some(file) = COMPOSE_FILES
        .iter()
        .find(|file| folder.join(file).is_file())
    {
        let compose = read_compose(folder, file, &mut found.notes);
        let here = |path: &String| {
            let name = path
                .rsplit('/')
                .next()
                .filter(|name| folder.join(name).is_dir())?;
            Some((name.to_owned(), path.clone()))
        };
        found.copied = compose.directories.iter().filter_map(here).collect();
        found.compose = Some(compose);
    }
    for file in archives(folder) {
        match peek(folder, &file, scratch) {
            Ok(Some(archive)) => found.archives.push(archive),
            Ok(None) => {}
            Err(error) => found.notes.push(crate::host::chain(&error)),
        }
    }
    found
}

/// Derives a release's name from the folder's.
pub fn name_of(folder: &Utf8Path) -> String {
    let absolute = folder.canonicalize_utf8();
    let name = absolute.as_ref().ok().and_then(|path| path.file_name());
    let mut clean = String::new();
    for c in name.unwrap_or_default().to_lowercase().chars() {
        if c.is_ascii_lowercase() || c.is_ascii_digit() {
            clean.push(c);
        } else if !clean.is_empty() && !clean.ends_with('-') {
            clean.push('-');
        }
    }
    match clean.trim_end_matches('-') {
        "" => DEFAULT_NAME.to_owned(),
        name => name.to_owned(),
    }
}

/// Finds what a compose file in `folder` needs; nothing if it cannot be read.
pub fn compose(folder: &Utf8Path, file: &str) -> Compose {
    read_compose(folder, file, &mut vec![])
}

/// Finds the image archives in a folder; those that would have to be unpacked are left out.
pub fn archives_in(folder: &Utf8Path) -> Vec<Archive> {
    let plain = archives(folder).into_iter();
    let plain = plain.filter(|file| file.extension() == Some("tar"));
    let scratch = ScratchDir::new(folder);
    let found = plain.filter_map(|file| peek(folder, &file, &scratch).ok().flatten());
    found.collect()
}

fn read_compose(folder: &Utf8Path, file: &str, notes: &mut Vec<String>) -> Compose {
    let mut found = Compose {
        file: file.to_owned(),
        ..Compose::default()
    };
    let read = |name: &str| fs_err::read_to_string(folder.join(name));
    let env = read(".env").ok();
    let parsed = match read(file) {
        Ok(text) => {
            let mut values = parse_env(env.as_deref().unwrap_or_default());
            let mut parsed = ComposeFile::parse_with(&text, &values);
            if env.is_none()
                && let Ok(first) = &parsed
            {
                found.versions = versions(first);
                let release = |name: &String| (name.clone(), RELEASE_VERSION.to_owned());
                values.extend(found.versions.iter().map(release));
                parsed = ComposeFile::parse_with(&text, &values);
            }
            parsed.map_err(|error| error.to_string())
        }
        Err(error) => Err(error.to_string()),
    };
    let parsed = match parsed {
        Ok(parsed) => parsed,
        Err(reason) => {
            notes.push(format!("{file} was not read: {reason}"));
            return found;
        }
    };
    if env.is_some() {
        found.extra_files.push(".env".to_owned());
    }
    for service in &parsed.services {
        let image = service.image.iter().map(|image| image.value.clone());
        push_new(&mut found.images, image);
        let files = service.env_files.iter().map(|file| file.value.as_str());
        let secrets = service.secret_files.iter();
        let files = files.chain(secrets.map(|file| file.value.as_str()));
        let beside = files.filter_map(|path| beside(folder, path));
        push_new(&mut found.extra_files, beside);
        for mount in &service.mounts {
            let MountSource::Bind(source) = &mount.source else {
                continue;
            };
            push_new(&mut found.directories, home_directory(source));
            push_new(&mut found.extra_files, self::beside(folder, source));
        }
    }
    let external = parsed.volumes.iter().filter(|volume| volume.external);
    let names = external.map(|volume| volume.external_name().to_owned());
    push_new(&mut found.volumes, names);
    found
}

/// Returns the variables of images that are not set and are probably meant to be the release's version.
fn versions(parsed: &ComposeFile) -> Vec<String> {
    let mut names = vec![];
    let unset = parsed
        .services
        .iter()
        .flat_map(|service| &service.unset_in_image);
    let is_version = |name: &&String| {
        ["VERSION", "TAG"]
            .iter()
            .any(|word| name.to_uppercase().ends_with(word))
    };
    push_new(&mut names, unset.filter(is_version).cloned());
    names
}

fn push_new(list: &mut Vec<String>, items: impl IntoIterator<Item = String>) {
    for item in items {
        if !list.contains(&item) {
            list.push(item);
        }
    }
}

/// Converts a path below the VPU's home directory to `~/data`; `None` for other paths and paths
/// with a variable.
fn home_directory(source: &str) -> Option<String> {
    let below = source
        .strip_prefix("~/")
        .or_else(|| source.strip_prefix(USUAL_HOME)?.strip_prefix('/'))?;
    let below = below.trim_end_matches('/');
    // `~/settings.json` is probably a file, which must not be created as a directory.
    let is_directory = !below.is_empty() && Utf8Path::new(below).extension().is_none();
    is_directory.then(|| format!("~/{below}"))
}

/// Returns a file or directory next to the compose file, in the form of `extra_files`.
fn beside(folder: &Utf8Path, path: &str) -> Option<String> {
    let relative = path.strip_prefix("./").unwrap_or(path);
    let relative = relative.trim_end_matches('/');
    let is_outside =
        relative.starts_with(['/', '~']) || relative.split('/').any(|part| part == "..");
    if matches!(relative, "" | ".") || is_outside {
        return None;
    }
    match folder.join(relative) {
        path if path.is_dir() => Some(format!("{relative}/")),
        path if path.is_file() => Some(relative.to_owned()),
        _ => None,
    }
}

/// Returns the files that are named like archives, relative to the folder, sorted.
fn archives(folder: &Utf8Path) -> Vec<Utf8PathBuf> {
    let is_wanted = |entry: &DirEntry| {
        let name = entry.file_name().to_string_lossy();
        entry.depth() == 0 || !(name.starts_with('.') || SKIPPED.contains(&name.as_ref()))
    };
    let entries = WalkDir::new(folder)
        .max_depth(MAX_DEPTH)
        .sort_by_file_name()
        .into_iter()
        .filter_entry(is_wanted);
    entries
        .take(MAX_ENTRIES)
        .filter_map(Result::ok)
        .filter(|entry| entry.file_type().is_file())
        .filter_map(|entry| Utf8PathBuf::from_path_buf(entry.into_path()).ok())
        .filter(|path| {
            [".tar", ".tar.gz", ".tgz", ".tar.zst"]
                .iter()
                .any(|ending| path.as_str().ends_with(ending))
        })
        .filter_map(|path| Some(path.strip_prefix(folder).ok()?.to_owned()))
        .take(MAX_ARCHIVES)
        .collect()
}

/// Opens an archive; `None` if it has no image.
fn peek(
    folder: &Utf8Path,
    file: &Utf8Path,
    scratch: &ScratchDir,
) -> Result<Option<Archive>, ImageError> {
    let source = Source::Archive(folder.join(file));
    // With any name, and for a VPU's platform if there are several.
    let open = |name: &str, platform: &Platform| Image::open(&source, name, platform, scratch);
    let for_any = |name: &str| match open(name, &Platform::linux("arm64")) {
        Err(ImageError::WrongPlatform { found, wanted, .. }) => {
            open(name, found.first().unwrap_or(&wanted))
        }
        opened => opened,
    };
    let (names, first) = match for_any("") {
        Ok(image) => (image.repo_tags().to_vec(), image),
        Err(ImageError::Several { names, .. }) => {
            let first = for_any(names.first().map_or("", String::as_str))?;
            (names, first)
        }
        Err(ImageError::NotAnImage { .. }) => return Ok(None),
        Err(error) => return Err(error),
    };
    Ok(Some(Archive {
        file: file.to_owned(),
        names,
        arch: first.platform().architecture.clone(),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_fit_a_release() {
        let directory = tempfile::tempdir().unwrap();
        let base = Utf8Path::from_path(directory.path()).unwrap();
        for (folder, name) in [
            ("My App (2)", "my-app-2"),
            ("palletizer", "palletizer"),
            ("_x.y_", "x-y"),
            ("ßß", "app"),
        ] {
            let folder = base.join(folder);
            fs_err::create_dir(&folder).unwrap();
            assert_eq!(name_of(&folder), name);
            let parsed = name.parse::<o3r_core::names::ReleaseName>();
            assert!(parsed.is_ok(), "{name}");
        }
    }

    #[test]
    fn only_directories_below_home_are_declared() {
        for (source, found) in [
            ("~/share/", Some("~/share")),
            ("/home/oem/a b", Some("~/a b")),
            ("/home/oem", None),
            ("/home/oem/settings.json", None),
            ("/home/oemx/y", None),
            ("/dev", None),
            ("./conf", None),
        ] {
            assert_eq!(home_directory(source).as_deref(), found, "{source}");
        }
    }

    #[test]
    fn an_unset_version_of_an_image_is_that_of_the_release() {
        let directory = tempfile::tempdir().unwrap();
        let folder = Utf8Path::from_path(directory.path()).unwrap();
        let text = "services:\n  a:\n    image: gate:${VERSION}\n  b:\n    image: broker:${BROKER_TAG}-alpine\n  \
                    c:\n    image: db:${X:-1}\n";
        fs_err::write(folder.join("compose.yml"), text).unwrap();
        let found = compose(folder, "compose.yml");
        assert_eq!(found.versions, ["VERSION", "BROKER_TAG"]);
        let version = RELEASE_VERSION;
        let images = [
            format!("gate:{version}"),
            format!("broker:{version}-alpine"),
            "db:1".into(),
        ];
        assert_eq!(found.images, images);
        let written = Found {
            name: "app".into(),
            compose: Some(found),
            ..Found::default()
        };
        let text = super::super::text(&written, "./x.json");
        let line =
            "env = { VERSION = \"${release.version}\", BROKER_TAG = \"${release.version}\" }";
        assert!(text.contains(line), "{text}");
        assert!(
            text.contains("# docker save -o FILE gate:0.1.0\n"),
            "{text}"
        );
        let loaded = crate::manifest::parse("deploy.toml", text.as_bytes()).unwrap();
        assert_eq!(loaded.manifest.images[0].name.to_string(), "gate:0.1.0");
        // With a `.env`, that is where it is set.
        fs_err::write(folder.join(".env"), "VERSION=2\n").unwrap();
        let found = compose(folder, "compose.yml");
        assert_eq!(
            (found.versions.len(), found.images[0].as_str()),
            (0, "gate:2")
        );
    }

    #[test]
    fn only_files_next_to_the_compose_file_are_extra_files() {
        let directory = tempfile::tempdir().unwrap();
        let folder = Utf8Path::from_path(directory.path()).unwrap();
        fs_err::create_dir(folder.join("conf")).unwrap();
        fs_err::write(folder.join("app.env"), "").unwrap();
        fs_err::write(folder.join(".env.prod"), "").unwrap();
        for (path, found) in [
            ("./conf", Some("conf/")),
            ("conf/", Some("conf/")),
            ("app.env", Some("app.env")),
            (".env.prod", Some(".env.prod")),
            ("./missing", None),
            ("../x", None),
            ("conf/../../x", None),
            (".", None),
            ("/etc", None),
        ] {
            assert_eq!(beside(folder, path).as_deref(), found, "{path}");
        }
    }
}
