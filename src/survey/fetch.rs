//! Fetches files of a VPU with tar, and unpacks them below a folder of this machine.

use std::collections::BTreeSet;

use camino::Utf8Path;

use super::SurveyError;
use crate::{
    compose::{ComposeFile, MountSource, parse_env},
    host::{Host, Stdin},
    observe::READ_BY_COMPOSE,
    shell::Argv,
};

/// The most bytes that are fetched at once: more are data, not configuration.
const MOST: usize = 32 << 20;

/// Fetches a project's compose file and the files beside it that it names; returns whether there is a compose file.
pub(super) async fn project<H: Host>(
    host: &H,
    directory: &str,
    file: &str,
    folder: &Utf8Path,
    notes: &mut Vec<String>,
) -> Result<bool, SurveyError> {
    // Those that docker-compose reads beside docker-compose.yml, if they are there.
    let beside = READ_BY_COMPOSE
        .iter()
        .copied()
        .filter(|name| name.contains("override") || *name == ".env");
    let first: BTreeSet<String> = beside.chain([file]).map(str::to_owned).collect();
    tar(host, directory, &first, folder, notes).await?;
    let Ok(text) = fs_err::read_to_string(folder.join(file)) else {
        return Ok(false);
    };
    let env = fs_err::read_to_string(folder.join(".env")).unwrap_or_default();
    let named = match ComposeFile::parse_with(&text, &parse_env(&env)) {
        Ok(parsed) => named(&parsed),
        Err(error) => {
            notes.push(format!("{directory}/{file} was not read: {error}"));
            return Ok(true);
        }
    };
    tar(host, directory, &named, folder, notes).await?;
    Ok(true)
}

/// Returns the files and directories beside a compose file that its services use.
fn named(parsed: &ComposeFile) -> BTreeSet<String> {
    let mut paths: Vec<&str> = vec![];
    for service in &parsed.services {
        paths.extend(service.env_files.iter().map(|file| file.value.as_str()));
        paths.extend(service.secret_files.iter().map(|file| file.value.as_str()));
        paths.extend(
            service
                .mounts
                .iter()
                .filter_map(|mount| match &mount.source {
                    MountSource::Bind(source) => Some(source.as_str()),
                    _ => None,
                }),
        );
    }
    let relative = paths
        .into_iter()
        .map(|path| path.strip_prefix("./").unwrap_or(path));
    let relative = relative.map(|path| path.trim_end_matches('/'));
    relative
        .filter(|path| {
            let is_outside =
                path.starts_with(['/', '~']) || path.split('/').any(|part| part == "..");
            !matches!(*path, "" | ".") && !is_outside
        })
        .map(str::to_owned)
        .collect()
}

/// Fetches the files of a transfer: those of a directory, or a single file.
pub(super) async fn transfer<H: Host>(
    host: &H,
    target: &str,
    is_file: bool,
    files: &[String],
    local: &Utf8Path,
    notes: &mut Vec<String>,
) -> Result<(), SurveyError> {
    if !is_file {
        fs_err::create_dir_all(local)?;
        let names = files.iter().cloned().collect();
        return tar(host, target, &names, local, notes).await;
    }
    let (parent, name) = target.rsplit_once('/').unwrap_or(("~", target));
    let parent = if parent.is_empty() { "/" } else { parent };
    let folder = local.parent().unwrap_or(local);
    tar(host, parent, &[name.to_owned()].into(), folder, notes).await?;
    if folder.join(name) != *local && folder.join(name).exists() {
        fs_err::rename(folder.join(name), local)?;
    }
    Ok(())
}

/// Fetches what is there of these names below a directory, and unpacks it into a folder. What cannot be read becomes a
/// note.
async fn tar<H: Host>(
    host: &H,
    directory: &str,
    names: &BTreeSet<String>,
    folder: &Utf8Path,
    notes: &mut Vec<String>,
) -> Result<(), SurveyError> {
    if names.is_empty() {
        return Ok(());
    }
    let script = include_str!("fetch.sh");
    let command = Argv::script(
        script,
        "o3r-fetch",
        [directory.to_owned(), MOST.to_string()],
    );
    let mut lines = String::new();
    for name in names {
        lines.push_str(name);
        lines.push('\n');
    }
    let output = host.run(&command, Stdin::Bytes(lines.into_bytes())).await?;
    if !output.success() {
        let said = output.tail(3);
        notes.push(format!(
            "some files of {directory} were not fetched: {said}"
        ));
    }
    // A login shell may print lines before the archive.
    let begin = b"\no3r-fetch\n";
    let at = output
        .stdout
        .windows(begin.len())
        .position(|window| window == begin);
    let Some(at) = at else {
        return Ok(());
    };
    let mut archive = tar::Archive::new(&output.stdout[at + begin.len()..]);
    fs_err::create_dir_all(folder)?;
    for entry in archive.entries()? {
        // Refuses what leaves the folder.
        entry?.unpack_in(folder)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::LocalHost;

    #[tokio::test]
    async fn a_project_is_fetched_with_what_it_names() {
        let directory = tempfile::tempdir().unwrap();
        let root = Utf8Path::from_path(directory.path()).unwrap();
        let (there, here) = (root.join("there"), root.join("here"));
        fs_err::create_dir_all(there.join("conf/sub")).unwrap();
        let text = "services:\n  a:\n    image: app:${V}\n    env_file: [app.env, ../outside.env]\n    volumes: \
                    ['./conf:/c', '/etc:/e', './none:/n']\n";
        fs_err::write(there.join("docker-compose.yml"), text).unwrap();
        fs_err::write(there.join(".env"), "V=1\n").unwrap();
        fs_err::write(there.join("app.env"), "A=1\n").unwrap();
        fs_err::write(there.join("conf/sub/it's $HOME"), "x").unwrap();
        fs_err::write(there.join("unused"), "x").unwrap();
        let host = LocalHost::default();
        let mut notes = vec![];
        let found = project(
            &host,
            there.as_str(),
            "docker-compose.yml",
            &here,
            &mut notes,
        )
        .await;
        assert!(found.unwrap());
        assert_eq!(notes, [""; 0]);
        for name in [
            "docker-compose.yml",
            ".env",
            "app.env",
            "conf/sub/it's $HOME",
        ] {
            assert!(here.join(name).exists(), "{name}");
        }
        assert!(!here.join("unused").exists() && !here.join("none").exists());
        let missing = project(
            &host,
            there.as_str(),
            "x.yml",
            &root.join("other"),
            &mut notes,
        )
        .await;
        assert!(!missing.unwrap());
    }
}
