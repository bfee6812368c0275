//! Describes what a command does, for the message when it fails.

use crate::shell::{Argv, RUN_NAME};

/// What each script does; `{1}` stands for its first argument.
const PURPOSES: &[(&str, &str)] = &[
    ("o3r-answer", "{1} a release"),
    ("o3r-await", "wait for the confirmation of release {1}"),
    ("o3r-arm", "arm the watchdog of release {1}"),
    ("o3r-block-sums", "compute block checksums of {1}"),
    (
        "o3r-bring-volumes-back",
        "restore the anonymous volumes of {2}",
    ),
    ("o3r-cpu-speed", "measure the VPU's processors"),
    ("o3r-create-volume", "create volume {1}"),
    ("o3r-disarm", "end the watchdog of release {1}"),
    ("o3r-device-api", "call the device's API"),
    ("o3r-earlier-networks", "remove the new networks of {1}"),
    (
        "o3r-forget-parts",
        "remove parts of images that are no longer needed",
    ),
    ("o3r-linked-paths", "see whether paths lead through links"),
    ("o3r-load-again", "remove image {1} and load it again"),
    (
        "o3r-load-delta",
        "build the image on the VPU and load it into docker",
    ),
    ("o3r-data-sizes", "see how much data is left"),
    ("o3r-forget-release", "forget release {1}"),
    ("o3r-history", "read the history of releases"),
    ("o3r-keep-generation", "keep release {1} for a rollback"),
    ("o3r-load-image", "docker load"),
    ("o3r-load-part", "docker load of {1}"),
    ("o3r-load-zstd", "zstd -d | docker load"),
    ("o3r-move-files", "move files to {1}"),
    ("o3r-note-attempt", "note an apply of {1}"),
    ("o3r-patch-file", "build {2} from its old version"),
    ("o3r-put-back", "start the previous containers of {1} again"),
    ("o3r-put-file", "write {1}"),
    ("o3r-receive-part", "receive {1}"),
    ("o3r-record-release", "record the release in {1}"),
    (
        "o3r-record-started",
        "record what the containers of {1} were started from",
    ),
    (
        "o3r-recorded",
        "check whether the release is recorded in {1}",
    ),
    ("o3r-recreate", "recreate containers of {1}"),
    ("o3r-remove-containers", "remove replaced containers"),
    ("o3r-remove-data", "remove data that is no longer declared"),
    ("o3r-remove-file", "remove {1}"),
    ("o3r-remove-files", "remove files in {1}"),
    ("o3r-remove-images", "remove damaged images"),
    ("o3r-remove-networks", "remove unused networks"),
    (
        "o3r-remove-project",
        "remove the containers and networks of {1}",
    ),
    ("o3r-replace-volume", "replace volume {1}"),
    ("o3r-repair-layer", "repair files of image {1}"),
    ("o3r-restart-policy", "set the restart policy of {2} in {1}"),
    ("o3r-restore-file", "restore {1}"),
    ("o3r-restored", "remove what was kept for a rollback"),
    ("o3r-set-aside", "rename {2}"),
    ("o3r-show-containers", "show the containers of {1}"),
    ("o3r-show-generation", "read release {2} that the VPU keeps"),
    ("o3r-show-recorded", "read what release {2} has on the VPU"),
    ("o3r-stage-files", "unpack and check files in {1}"),
    ("o3r-stage-kept", "put files that the VPU keeps into {1}"),
    (
        "o3r-stand-in",
        "replace container {1}, whose image is gone, by one that holds its anonymous volumes",
    ),
    ("o3r-step-aside", "stop and rename the containers of {1}"),
    ("o3r-take-over", "note in {1} what moves to another release"),
    (
        "o3r-uncover-mounts",
        "replace containers of {1} whose mounts changed",
    ),
    (
        "o3r-trust-images",
        "note that the files of images were compared",
    ),
    ("o3r-untag-image", "remove the name {1} of its image"),
    ("o3r-verify-image", "compare the files of image {1}"),
    (
        "o3r-wait-healthy",
        "wait until the containers of {1} are healthy",
    ),
    ("o3r-what-runs", "show what runs"),
    ("o3r-whole-files", "verify files that a rollback needs"),
];

/// What a command does, in a few words: a purpose for scripts, the words of a plain command. The log names the scripts.
pub fn purpose(command: &Argv) -> String {
    if let Some(commands) = command.in_turn() {
        let purposes: Vec<String> = commands.iter().map(purpose).collect();
        return purposes.join(", then ");
    }
    let Some(name) = command.script_name() else {
        return command.to_display();
    };
    let arguments = &command.words()[4..];
    match (name, arguments) {
        (RUN_NAME, [_, _, _, inner @ ..]) | ("o3r-from-store", [_, inner @ ..])
            if !inner.is_empty() =>
        {
            purpose(&words(inner))
        }
        ("o3r-in", [directory, inner @ ..]) if !inner.is_empty() => {
            format!("{} (in {directory})", purpose(&words(inner)))
        }
        _ => match PURPOSES.iter().find(|(known, _)| *known == name) {
            Some((_, text)) => filled(text, arguments),
            None => command.to_display(),
        },
    }
}

fn words(words: &[String]) -> Argv {
    let (program, arguments) = words
        .split_first()
        .map_or(("", words), |(program, rest)| (program.as_str(), rest));
    Argv::new(program).args(arguments)
}

fn filled(text: &str, arguments: &[String]) -> String {
    let argument = |index: usize| arguments.get(index).map_or("", String::as_str);
    text.replace("{1}", argument(0)).replace("{2}", argument(1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::remote;

    #[test]
    fn every_script_has_a_purpose() {
        let source = concat!(
            include_str!("mod.rs"),
            include_str!("images.rs"),
            include_str!("health.rs"),
            include_str!("generations.rs")
        );
        let names = source.split("\"o3r-").skip(1).filter_map(|rest| {
            let name = rest.split('"').next()?;
            let is_name = name.bytes().all(|b| b.is_ascii_lowercase() || b == b'-');
            (is_name && !["in", "from-store"].contains(&name)).then(|| format!("o3r-{name}"))
        });
        let known = |name: &String| PURPOSES.iter().any(|(known, _)| known == name);
        let unknown: Vec<String> = names.filter(|name| !known(name)).collect();
        assert!(unknown.is_empty(), "{unknown:?}");
    }

    #[test]
    fn commands_are_told_by_what_they_do() {
        let up = Argv::new("docker-compose").args(["up", "-d"]);
        assert_eq!(purpose(&up), "docker-compose up -d");
        let script = |name: &str, words: &[&str]| Argv::script("true", name, words.to_vec());
        let several = remote::in_turn(&[
            script("o3r-step-aside", &["hello", "web="]),
            script("o3r-in", &["/srv/hello", "docker-compose", "up", "-d"]),
        ]);
        assert_eq!(
            purpose(&several),
            "stop and rename the containers of hello, then docker-compose up -d (in /srv/hello)"
        );
        assert_eq!(
            purpose(&script("o3r-wait-healthy", &["hello", "auto"])),
            "wait until the containers of hello are healthy"
        );
        assert_eq!(purpose(&script("o3r-new", &["a"])), "o3r-new a");
    }
}
