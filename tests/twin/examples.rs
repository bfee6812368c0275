//! The examples that run on a twin. The quickstart and the README use `hello`.

use std::{fs, path::Path, process::Command};

use crate::support::{App, Site, Twin, run};

const PYTHON: &str = "o3r-twin:test-python";

/// Returns an image with Python; built once, and removed by
/// `twin.sh purge` like the twins' own images.
fn python() -> &'static str {
    let known = Command::new("docker")
        .args(["image", "inspect", PYTHON])
        .output();
    if !known.unwrap().status.success() {
        let dockerfile = "FROM o3r-twin-base:bookworm\nRUN apt-get update -q && apt-get install -qy --no-install-recommends python3 \
                          && rm -rf /var/lib/apt/lists/*\n";
        build(PYTHON, &[], dockerfile.as_bytes());
    }
    PYTHON
}

/// Builds an image; `input` is a Dockerfile, or empty if the last of `args` is a directory.
fn build(name: &str, args: &[&str], input: &[u8]) {
    let mut docker = Command::new("docker");
    docker.env("DOCKER_BUILDKIT", "0");
    docker
        .args(["build", "--quiet", "--network", "host", "--tag", name])
        .args(args);
    if input.is_empty() {
        run(&mut docker).exits(0);
    } else {
        crate::support::feed(docker.arg("-"), input).exits(0);
    }
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

#[test]
fn python_app() {
    let twin = Twin::up();
    let site = Site::new(&twin);
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/python-app");
    copy(&example, &site.path("."));
    let manifest = fs::read_to_string(site.path("deploy.toml")).unwrap();
    let (_, rest) = manifest.split_once("[release]").unwrap();
    // With a name of its own, to be separate from another test's build.
    let image = format!("o3r-test-python-app-{}:1.0.0", std::process::id());
    let rest = rest.replace(
        "engine = \"python-app:${release.version}\"",
        &format!("engine = \"{image}\""),
    );
    site.manifest(&format!("[release]{rest}"));
    let built = || {
        let directory = site.path(".").display().to_string();
        let base = format!("BASE={}", python());
        build(&image, &["--build-arg", &base, &directory], b"");
    };
    built();

    site.run(&["check"]).exits(0);
    site.apply();
    site.nothing_to_do();
    let answer = || {
        twin.oem("for try in 1 2 3 4 5; do busybox wget -qO- localhost:8090 && exit; sleep 1; done; exit 1")
    };
    assert!(answer().contains("\"name\": \"gate 4\""), "{}", answer());
    assert!(
        twin.oem("cat share/logs/app.log")
            .contains("started as gate 4")
    );

    // A changed setting: its lines are shown, only that file is sent, and the container reads it.
    twin.oem("echo '{}' >share/config/site.local.json");
    let settings = fs::read_to_string(site.path("config/app.json")).unwrap();
    site.write("config/app.json", &settings.replace("gate 4", "gate 5"));
    let plan = site.run(&["plan", "-v"]).exits(0);
    plan.says("-  \"name\": \"gate 4\"")
        .says("+  \"name\": \"gate 5\"");
    site.apply();
    assert!(answer().contains("gate 5"));
    assert_eq!(twin.oem("cat share/config/site.local.json"), "{}");

    // A changed program: its layer is sent, and Python is not.
    let program = fs::read_to_string(site.path("app.py")).unwrap();
    site.write("app.py", &program.replace("pallets\")", "boxes\")"));
    built();
    site.run(&["plan"])
        .exits(0)
        .says("load, 1 of 3 layers missing");
    site.apply();
    assert!(twin.oem("docker logs python-app_app_1").contains("boxes"));

    twin.reboot();
    assert!(answer().contains("gate 5"));
    site.nothing_to_do();
    run(Command::new("docker").args(["image", "rm", "--force", &image])).exits(0);
}

/// A program that uses the library does the same as the commands.
#[test]
fn library() {
    let twin = Twin::up();
    let site = Site::new(&twin);
    let app = App::new("1.0.0");
    app.write(&site);
    let program = Path::new(env!("CARGO_BIN_EXE_o3r-deploy")).with_file_name("examples/library");
    let library = |what: &str| {
        let mut command = Command::new(&program);
        command.env("HOME", site.path("home"));
        command.arg(what).arg(site.path("deploy.toml"));
        run(&mut command)
    };
    let planned = library("plan").exits(0);
    assert_eq!(planned.stdout, site.run(&["plan"]).exits(0).stdout);
    library("apply").exits(0).says("create compose.hello");
    app.runs_on(&twin);
    site.nothing_to_do();
    library("plan").exits(0).says("Nothing to do");
    library("status")
        .exits(0)
        .says("\"by\": \"a program\"")
        .says("hello_web_1");
}
