//! What the flags of `ovp_docker_utils` mean, as its script `deployment_examples.py` reads them.

use camino::Utf8Path;

use super::{
    Draft, FlagError, Image, Project, Source,
    flags::{
        Flag,
        Takes::{Nothing, One},
        Words,
    },
};
use crate::scaffold;

/// The tool.
pub(super) const NAME: &str = "ovp_docker_utils";

/// Its flags; each switch has a second one that turns it off.
pub(super) const FLAGS: &[Flag] = &[
    ("ip", One),
    ("possible-initial-ip-addresses-to-try", One),
    ("gateway", One),
    ("netmask", One),
    ("time-server", One),
    ("can-bitrate", One),
    ("ssh-key-file-name", One),
    ("firmware-image-to-use", One),
    ("firmware-version-to-use", One),
    ("seconds-of-output", One),
    ("tmp-dir", One),
    ("image-delivery-mode", One),
    ("pc-image-aquisition-mode", One),
    ("docker-registry-port", One),
    ("docker-registry-host-relative-to-pc", One),
    ("dusty-nv-packages", One),
    ("reset-vpu", Nothing),
    ("no-reset-vpu", Nothing),
    ("docker-rebuild", Nothing),
    ("no-docker-rebuild", Nothing),
    ("purge-docker-images-on-ovp", Nothing),
    ("no-purge-docker-images-on-ovp", Nothing),
    ("disable-autostart", Nothing),
    ("no-disable-autostart", Nothing),
    ("enable-autostart", Nothing),
    ("no-enable-autostart", Nothing),
    ("additional-deployment-components", Nothing),
    ("no-additional-deployment-components", Nothing),
];

/// Returns what a command line asks for.
pub(super) fn draft(
    words: &[String],
    folder: &Utf8Path,
    release: &str,
) -> Result<Draft, FlagError> {
    let words = Words::read(words, FLAGS, NAME)?;
    if let Some(word) = words.bare.get(1) {
        return Err(FlagError::Bare { word: word.clone() });
    }
    let mut draft = Draft {
        release: release.to_owned(),
        host: words.one("ip").map(str::to_owned),
        identity: words
            .one("ssh-key-file-name")
            .map(|name| format!("~/.ssh/{name}")),
        firmware: words.one("firmware-version-to-use").and_then(exact),
        device: device(&words),
        ..Draft::default()
    };
    if let Some(service) = words.bare.first() {
        project(&words, folder, service, &mut draft);
    } else {
        draft.instead(
            "SERVICE_NAME",
            "the service is missing: declare its compose file in [[compose]]",
        );
    }
    rest(&words, &mut draft);
    Ok(draft)
}

/// Accepts only this firmware; the tool compares the version without its build.
fn exact(version: &str) -> Option<String> {
    let numbers = version.split('-').next()?;
    let is_version = numbers.split('.').all(|part| part.parse::<u32>().is_ok());
    is_version.then(|| format!("={numbers}"))
}

/// Returns the attributes of the device's configuration that the flags set.
fn device(words: &Words) -> Option<(String, bool)> {
    let mut parts = vec![];
    if let Some(server) = words.one("time-server") {
        let server = scaffold::quoted(server);
        parts.push(format!(
            "clock = {{ sntp = {{ active = true, availableServers = [{server}] }} }}"
        ));
    }
    let bitrate = words.one("can-bitrate").filter(|rate| *rate != "0");
    if let Some(bitrate) = bitrate {
        let value = match bitrate.parse::<u64>() {
            Ok(number) => number.to_string(),
            Err(_) => scaffold::quoted(bitrate),
        };
        parts.push(format!(
            "network = {{ interfaces = {{ can0 = {{ active = true, bitrate = {value} }} }} }}"
        ));
    }
    let config = format!("{{ device = {{ {} }} }}", parts.join(", "));
    (!parts.is_empty()).then_some((config, bitrate.is_some()))
}

/// Declares the compose project whose file the tool wrote into its working directory.
fn project(words: &Words, folder: &Utf8Path, service: &str, draft: &mut Draft) {
    let directory = words.one("tmp-dir").unwrap_or("tmp").replace('\\', "/");
    let directory = directory.trim_end_matches('/');
    let name = format!("{service}_dc.yml");
    let found = scaffold::compose(&folder.join(directory), &name);
    let archives = scaffold::archives_in(&folder.join(directory));
    for image in &found.images {
        let archive = archives
            .iter()
            .find(|archive| scaffold::holds(archive, image));
        draft.images.push(Image {
            name: image.clone(),
            source: match archive {
                Some(archive) => Source::Archive(format!("{directory}/{}", archive.file)),
                None => Source::Engine,
            },
        });
    }
    let file = format!("{directory}/{name}");
    if !folder.join(&file).exists() {
        draft.instead(
            service,
            format!("{NAME} writes the compose file to {file} at its next run; copy it from there, and declare its image"),
        );
    }
    draft.instead(
        service,
        "the files that its DeploymentComponents map are named only in Python: declare each in [[transfers]]",
    );
    draft.needs(&file, &found);
    draft.projects.push(Project {
        name: service.to_lowercase().replace('.', "-"),
        file,
        extra_files: found.extra_files,
        autostart: !words.has("no-enable-autostart"),
        is_started: true,
    });
}

/// Says what to do instead of flags that are commands, not a state.
fn rest(words: &Words, draft: &mut Draft) {
    let login = draft.login();
    if !words.has("no-disable-autostart") {
        draft.instead(
            "--disable-autostart",
            "the tool disables all other services: list those that must not start in `disable` of [autostart]; \
             `o3r-deploy status` shows them",
        );
    }
    if words.has("purge-docker-images-on-ovp") {
        draft.instead(
            "--purge-docker-images-on-ovp",
            "none is needed: `keep_releases` in [apply] bounds the images of old releases",
        );
    }
    if words.has("reset-vpu") {
        draft.instead(
            "--reset-vpu",
            "reset the VPU with ifm's Vision Assistant, or with ifm3dpy: O3R().factory_reset(True)",
        );
    }
    if let Some(image) = words.one("firmware-image-to-use") {
        draft.instead(
            format!("--firmware-image-to-use {image}"),
            "update the firmware before apply, on the web page of the VPU; `firmware` in [vpu] rejects any other",
        );
    }
    if let Some(version) = words.one("firmware-version-to-use")
        && draft.firmware.is_none()
    {
        draft.instead(
            format!("--firmware-version-to-use {version}"),
            "declare the range of versions as `firmware` in [vpu], for example \">=1.4.30, <2\"",
        );
    }
    for flag in ["gateway", "netmask", "possible-initial-ip-addresses-to-try"] {
        if let Some(value) = words.one(flag) {
            draft.instead(
                format!("--{flag} {value}"),
                "the address of the VPU is part of `config` in [device], together with `network = true`",
            );
        }
    }
    if let Some(seconds) = words.one("seconds-of-output") {
        draft.instead(
            format!("--seconds-of-output {seconds}"),
            format!(
                "show the output of a container with: ssh {login} docker logs --follow CONTAINER"
            ),
        );
    }
    let mode = words.one("image-delivery-mode");
    if let Some(mode) = mode.filter(|mode| *mode != "local-tar") {
        draft.instead(
            format!("--image-delivery-mode {mode}"),
            "the image comes from this machine's docker or an archive; only missing layers are sent",
        );
    }
    if !words.has("no-docker-rebuild") {
        draft.instead(
            "--docker-rebuild",
            "build before apply: docker build --platform linux/arm64 -t IMAGE DIRECTORY",
        );
    }
}
