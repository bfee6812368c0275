//! A manifest for what runs on a VPU.

use crate::support::{App, Profile, Site, Twin};

/// A folder without a manifest, on a machine that may log in.
fn stranger(twin: &Twin) -> Site {
    let site = Site::new(twin);
    let known = site.path("known_hosts");
    let config = format!(
        "UserKnownHostsFile {}\nIdentityFile {}\n",
        known.display(),
        twin.key
    );
    site.write("ssh_config", &config);
    site
}

#[test]
fn a_recorded_release_is_described_and_its_plan_is_empty() {
    let twin = Twin::up();
    let site = Site::new(&twin);
    let mut app = App::new("1.2.3");
    app.compose = "autostart = true\n".into();
    app.more = "[[transfers]]\nsrc = \"tree/\"\ndst = \"~/share/tree/\"\nmode = \"0640\"\ndelete = true\nexclude = [\"*.tmp\"]\n\
                [[directories]]\npath = \"~/logs\"\nmode = \"0775\"\n\
                [device]\nconfig = { device = { info = { description = \"ours\" } } }\n"
        .into();
    site.write("tree/a file", "1");
    site.write("tree/sub/b", "2");
    std::fs::create_dir(site.path("tree/empty")).unwrap();
    app.write(&site);
    site.apply();
    twin.oem("echo mine >~/share/tree/x.tmp");

    let found = stranger(&twin);
    let words = ["--host", &twin.address, "init", "--from-vpu", "--yes"];
    found
        .run(&words)
        .exits(0)
        .says("release hello, as the VPU recorded it");
    let text = std::fs::read_to_string(found.path("deploy.toml")).unwrap();
    for line in [
        "name = \"hello\"",
        "version = \"1.2.3\"",
        "autostart = true",
        "delete = true",
        "exclude = [\"*.tmp\"]",
        "mode = \"0640\"",
        "settle = \"2s\"",
        "config = \"o3r.json\"",
    ] {
        assert!(text.contains(line), "{line} in {text}");
    }
    found.run(&["check"]).exits(0);
    found.nothing_to_do();
    found.run(&["plan", "--exit-code", "-v"]).exits(0);

    // Nothing is overwritten.
    let again = [
        "--host",
        &twin.address,
        "-f",
        "other.toml",
        "init",
        "--from-vpu",
        "--yes",
    ];
    found
        .run(&again)
        .exits(1)
        .says("exists, and the VPU has a file of that name")
        .says("code: file-exists");
    assert!(!found.path("other.toml").exists());
}

/// Projects that docker-compose alone started.
fn by_hand(twin: &Twin) {
    let site = Site::new(twin);
    let app = App::new("1.0.0");
    app.write(&site);
    twin.copy(&site.path("dist"), "/home/oem/dist");
    twin.oem(
        "docker load -i ~/dist/hello-1.0.0.tar && mkdir -p ~/data && \
         docker volume create -o type=none -o o=bind -o device=$HOME/data data && \
         for name in one two; do d=/usr/share/oem/docker/compose/$name; mkdir -p $d && cd $d && \
         printf 'version: \"2.4\"\\nservices:\\n  a:\\n    image: hello:${TAG}\\n    restart: unless-stopped\\n    \
         env_file: app.env\\n    init: true\\n    command: sleep 1000\\n    volumes: [\"data:/d\"]\\nvolumes:\\n  data:\\n    external: true\\n' \
         >docker-compose.yml && (umask 077; echo TAG=1.0.0 >.env; echo SECRET=$name >app.env) && \
         docker-compose up -d; done",
    );
    let nobody = stranger(twin);
    nobody
        .run(&[
            "--host",
            &twin.address,
            "-f",
            "x.toml",
            "init",
            "--from-vpu",
            "--yes",
            "--name",
            "both",
        ])
        .exits(0);
    let text = std::fs::read_to_string(nobody.path("x.toml")).unwrap();
    assert!(
        text.contains("file = \"two/docker-compose.yml\"\nextra_files = [\".env\", \"app.env\"]"),
        "{text}"
    );
    assert!(
        text.contains("name = \"hello:1.0.0\"") && text.contains("path = \"~/data\""),
        "{text}"
    );
    let before = twin.oem("docker ps -q --no-trunc | sort");
    // The containers stay; only their record is missing.
    nobody
        .run(&["-f", "x.toml", "plan"])
        .exits(0)
        .says("no record of what they were started from -> recorded")
        .says_not("recreates");
    nobody.run(&["-f", "x.toml", "apply", "--yes"]).exits(0);
    assert_eq!(twin.oem("docker ps -q --no-trunc | sort"), before);
    nobody
        .run(&["-f", "x.toml", "plan", "--exit-code"])
        .exits(0);
}

#[test]
fn projects_of_nobody_are_described_and_taken_over() {
    by_hand(&Twin::up());
}

#[test]
fn projects_of_nobody_with_the_newer_generation() {
    let twin = Twin::of(Profile::Fw1_21_16);
    stranger(&twin)
        .run(&["--host", &twin.address, "init", "--from-vpu", "--yes"])
        .exits(1)
        .says("nothing is deployed")
        .says("code: not-described");
    by_hand(&twin);
}
