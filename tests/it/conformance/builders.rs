//! Checks that every command builder is compared by a conformance test, or listed with a reason.

use std::{collections::BTreeSet, fs, path::Path};

/// Returns the modules of [`o3r_deploy::internal::remote`].
fn modules() -> Vec<String> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/core/remote");
    let files = fs::read_dir(directory).unwrap();
    let files = files.map(|file| file.unwrap().path());
    // `purpose` describes commands and builds none.
    let modules = files.filter(|path| path.extension().is_some_and(|end| end == "rs"));
    let modules = modules.filter(|path| !path.ends_with("purpose.rs"));
    modules
        .map(|path| fs::read_to_string(path).unwrap())
        .collect()
}

const GENERATIONS: &str = include_str!("generations.rs");
const DOCKER: &str = include_str!("docker.rs");
const LARGE_FILES: &str = include_str!("large_files.rs");
const LOCK: &str = include_str!("lock.rs");
const PARTS: &str = include_str!("parts.rs");
const PROJECT_FILES: &str = include_str!("project_files.rs");
const RECORDS: &str = include_str!("records.rs");
const TRANSFERS: &str = include_str!("transfers.rs");

/// Builders, with the test that compares their commands.
const COMPARED: &[(&str, &[&str])] = &[
    (
        DOCKER,
        &[
            "bring_volumes_back",
            "create_volume",
            "earlier_networks",
            "forget_parts",
            "put_back",
            "remove_containers",
            "remove_networks",
            "remove_project",
            "rename_container",
            "replace_volume",
            "restart_policy",
            "service_restart_policy",
            "step_aside",
            "tag_image",
            "stand_in",
            "uncover_mounts",
            "untag_image",
            "wait_healthy",
        ],
    ),
    (
        GENERATIONS,
        &[
            "from_store",
            "history",
            "keep_generation",
            "show_generation",
            "show_recorded",
            "stage_kept",
            "whole_files",
        ],
    ),
    (LARGE_FILES, &["block_sums", "patch_file"]),
    (LOCK, &["lock", "run"]),
    (PARTS, &["receive_part"]),
    (
        PROJECT_FILES,
        &[
            "change_mode",
            "in_turn",
            "make_directory",
            "put_file",
            "remove_file",
            "remove_files",
            "remove_paths",
            "restore_file",
            "restored",
            "set_aside",
        ],
    ),
    (
        RECORDS,
        &["record_release", "record_started", "recorded", "take_over"],
    ),
    // With the lists of real plans.
    (TRANSFERS, &["move_files", "stage_files"]),
];

/// Builders that are not compared, by reason.
const NOT_COMPARED: &[(&str, &[&str])] = &[
    (
        "docker unpacks the image: the tests on the twin load into a real one",
        &["load_delta", "load_image", "load_part", "load_zstd"],
    ),
    (
        "what docker-compose makes of a project is its own: the twin has a real one",
        &["compose", "recreate"],
    ),
    (
        "it needs a systemd or a device: the twin has both",
        &["device_api", "systemctl"],
    ),
    ("it measures the machine that it runs on", &["cpu_speed"]),
    (
        "no plan has it: `forget` alone runs it, on the twin",
        &["forget_release"],
    ),
    (
        "a container removes what others wrote, and sizes are those of a disk: the twin tests `undeclared` run them",
        &["data_sizes", "linked_paths", "remove_data"],
    ),
    (
        "it shows what docker says, for people",
        &["show_containers", "what_runs"],
    ),
    (
        "the watchdog is a program of its own: `shells::watchdog` runs it, and the twin",
        &[
            "answer",
            "arm",
            "await_answer",
            "disarm",
            "disarm_with_verdict",
        ],
    ),
    ("it is part of `lock`", &["lock_program"]),
    ("`shells::generations` runs it", &["note_attempt"]),
    (
        "the twin tests `verify` run them: they read what docker has on its disk",
        &[
            "load_again",
            "remove_images",
            "repair_layer",
            "trust_images",
            "verify_image",
        ],
    ),
    ("it shows nothing", &["sync"]),
];

/// Returns the names of the public functions that return an `Argv`.
fn builders(source: &str) -> BTreeSet<&str> {
    let functions = source.split("\npub fn ").skip(1);
    let commands = functions.filter_map(|function| {
        let (signature, _) = function.split_once(" {\n")?;
        let name = signature.split(['(', '<']).next()?;
        signature.ends_with("-> Argv").then_some(name)
    });
    commands.collect()
}

#[test]
fn every_builder_is_compared_or_has_a_reason() {
    let mut listed = BTreeSet::new();
    for (_, names) in COMPARED.iter().chain(NOT_COMPARED) {
        for name in *names {
            assert!(listed.insert(*name), "{name} is listed twice");
        }
    }
    let modules = modules();
    let built: BTreeSet<&str> = modules.iter().flat_map(|text| builders(text)).collect();
    assert_eq!(built, listed, "built, and listed");
    for (test, names) in COMPARED {
        for name in *names {
            let calls = test.contains(&format!("remote::{name}("));
            let says = test.contains(&format!("`{name}`"));
            assert!(
                calls || says,
                "the test that is to compare {name} does not name it"
            );
        }
    }
}
