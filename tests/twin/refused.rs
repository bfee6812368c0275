//! What is refused before anything is done: exit codes 1, 3 and 9.

use std::{net::TcpListener, process::Command};

use crate::support::{App, Profile, Ran, Site, Twin, architecture, run};

/// Checks that nothing of the application is on the twin. The lock's process removes its directory
/// when it notices that its client ended, a moment later on a busy machine.
#[track_caller]
fn is_untouched(twin: &Twin) {
    twin.oem("for i in $(seq 50); do [ -e .o3r-deploy ] || break; sleep 0.1; done");
    assert_eq!(
        twin.oem(
            "ls -A /usr/share/oem/docker/compose; ls -d share .o3r-deploy 2>/dev/null || true"
        ),
        ""
    );
}

#[test]
fn usage() {
    let twin = Twin::up();
    let site = Site::new(&twin);
    App::new("1.0.0").write(&site);

    let ran = site.run(&["apply"]).exits(1);
    ran.says("no terminal for confirmation; nothing was done")
        .says("code: no-terminal");
    ran.says("o3r-deploy apply --yes");
    let ran = site.run_in_terminal(&["apply"], "[y/N]", "n\n").exits(1);
    ran.says("Apply this plan? [y/N]")
        .says("declined; nothing was done")
        .says("code: declined");
    site.run_in_terminal(&["apply"], "[y/N]", "\n")
        .exits(1)
        .says("declined");
    site.run_in_terminal(&["apply"], "[y/N]", "\x03").exits(130);
    is_untouched(&twin);

    site.run(&["apply", "--no-such-flag"])
        .exits(1)
        .says("--no-such-flag");
    site.run(&["--file", "none.toml", "plan"])
        .exits(1)
        .says("none.toml");
    site.write("bad.toml", "[vpu]\nhots = \"192.168.0.69\"\n[release]\n");
    let ran = site.run(&["--file", "bad.toml", "apply", "--yes"]).exits(1);
    ran.says("hots").says("host").says("name");
    std::fs::remove_file(site.path("dist/hello-1.0.0.tar")).unwrap();
    site.run(&["plan"]).exits(1).says("dist/hello-1.0.0.tar");
    is_untouched(&twin);

    App::new("1.0.0").write(&site);
    // The plan to confirm is shown, even if stdout is for a program.
    site.run_in_terminal(&["apply", "--format", "json"], "[y/N]", "n\n")
        .exits(1)
        .says("Plan:");
    site.run_in_terminal(&["apply"], "[y/N]", "y\n")
        .exits(0)
        .says("the VPU matches deploy.toml");
}

fn fingerprint(key: &str, site: &Site) -> String {
    site.write("key.pub", key);
    let ran = run(Command::new("ssh-keygen")
        .args(["-l", "-f"])
        .arg(site.path("key.pub")))
    .exits(0);
    ran.stdout.split(' ').nth(1).unwrap().to_owned()
}

fn new_key(site: &Site, name: &str) -> String {
    let path = site.path(name);
    run(Command::new("ssh-keygen")
        .args(["-q", "-t", "ed25519", "-N", "", "-f"])
        .arg(&path))
    .exits(0);
    std::fs::read_to_string(path.with_extension("pub"))
        .unwrap()
        .trim()
        .to_owned()
}

#[test]
fn unreachable() {
    let twin = Twin::up();
    let mut site = Site::new(&twin);
    let right = site.vpu.clone();
    let plan = |site: &mut Site, from: &str, to: &str| -> Ran {
        site.vpu = right.replace(from, to);
        assert_ne!(site.vpu, right);
        App::new("1.0.0").write_files(site);
        App::new("1.0.0").write(site);
        let plan = site.run(&["plan"]).exits(3);
        assert_eq!(plan.stdout, "");
        site.run(&["apply", "--yes"]).exits(3)
    };
    let host = format!("host = \"{}\"", twin.address);

    let free = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let ran = plan(
        &mut site,
        &host,
        &format!("host = \"127.0.0.1\"\nport = {free}"),
    );
    ran.says("cannot reach 127.0.0.1")
        .says("Connection refused")
        .says("check the cable");
    let ran = plan(&mut site, &host, "host = \"no-such-host.invalid\"");
    ran.says("cannot reach no-such-host.invalid");

    new_key(&site, "stranger");
    let ran = plan(&mut site, &twin.key, "stranger");
    ran.says("rejects the login of oem")
        .says("code: login-refused")
        .says("Permission denied (publickey)")
        .says("identity");

    let presented = fingerprint(&twin.host_key, &site);
    let line = format!("host_key = \"{}\"", twin.host_key);
    let other = new_key(&site, "other");
    let other: Vec<&str> = other.split(' ').take(2).collect();
    let ran = plan(
        &mut site,
        &line,
        &format!("host_key = \"{}\"", other.join(" ")),
    );
    ran.says("is not the one that is pinned in the manifest")
        .says("code: host-key-changed")
        .says(&presented)
        .says(&line);

    let ran = plan(&mut site, &line, "");
    ran.says("the host key")
        .says("code: host-key-unknown")
        .says("is not known")
        .says(&presented)
        .says(&line);
    site.write(
        "known_hosts",
        &format!("{} {}\n", twin.address, other.join(" ")),
    );
    let ran = plan(&mut site, &line, "");
    ran.says("is not the one that is in known_hosts")
        .says(&presented);
    is_untouched(&twin);

    site.write(
        "known_hosts",
        &format!("{} {}\n", twin.address, twin.host_key),
    );
    site.run(&["plan"]).exits(0);
}

#[test]
fn silent_vpu() {
    let twin = Twin::up();
    let mut site = Site::new(&twin);
    // It accepts connections but never speaks, like a VPU that hangs.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = silent.local_addr().unwrap().port();
    site.vpu = site.vpu.replace(
        &format!("host = \"{}\"", twin.address),
        &format!("host = \"127.0.0.1\"\nport = {port}"),
    );
    App::new("1.0.0").write(&site);
    let ran = site.run(&["plan"]).exits(3);
    ran.says("cannot reach 127.0.0.1").says("timed out");
}

#[test]
fn password_login_needs_a_terminal() {
    let twin = Twin::of(Profile::Fw1_1_30);
    let mut site = Site::new(&twin);
    new_key(&site, "stranger");
    site.vpu = site.vpu.replace(&twin.key, "stranger");
    App::new("1.0.0").write(&site);
    let ran = site.run(&["apply", "--yes"]).exits(3);
    ran.says("rejects the login of oem")
        .says("Permission denied")
        .says("password on a terminal");
    is_untouched(&twin);
    site.run_in_terminal(&["plan"], "password:", "oem\n")
        .exits(0)
        .says("compose.hello");
    site.run_in_terminal(&["plan"], "password:", "wrong\n")
        .exits(3)
        .says("rejects the login of oem");
}

#[test]
fn wrong_vpu() {
    let twin = Twin::up();
    let mut site = Site::new(&twin);
    let right = site.vpu.clone();
    let manifest = "[release]\nname = \"hello\"\n[[directories]]\npath = \"~/share\"\n";
    let mut blocked = |more: &str| {
        site.vpu = more.strip_prefix("arch").map_or_else(
            || format!("{right}{more}\n"),
            |rest| {
                right.replace(
                    &format!("arch = \"{}\"", architecture()),
                    &format!("arch{rest}"),
                )
            },
        );
        site.manifest(manifest);
        site.run(&["plan", "--exit-code"]).exits(9);
        let ran = site.run(&["apply", "--yes"]).exits(9);
        ran.says("nothing was done");
        is_untouched(&twin);
        ran
    };
    let ran = blocked("serial = \"000000000001\"");
    ran.says(&format!(
        "vpu.serial is blocked: this is the VPU with serial {}, not 000000000001",
        twin.serial
    ))
    .says("code: wrong-serial");
    let ran = blocked("firmware = \">=1.5, <2\"");
    ran.says("vpu.firmware is blocked: firmware is 1.4.30-")
        .says(">=1.5, <2");
    let other = if architecture() == "amd64" {
        "arm64"
    } else {
        "amd64"
    };
    let ran = blocked(&format!("arch = \"{other}\""));
    ran.says(&format!(
        "the VPU is {}, but the manifest is for {other}",
        architecture()
    ))
    .says("code: wrong-architecture");

    for answer in ["close", "garbage", "truncate", "http 500", "fault 104012"] {
        twin.root(&format!("echo '{answer}' >/run/o3r-api/inject"));
        let ran = blocked(&format!("serial = \"{}\"", twin.serial));
        ran.says("serial cannot be checked");
    }
    // If the manifest does not require it, it is only a note.
    site.vpu.clone_from(&right);
    site.manifest(manifest);
    site.apply().says("name, serial and firmware are unknown");
    twin.root("rm /run/o3r-api/inject");
    site.vpu = format!("{right}serial = \"{}\"\nfirmware = \"~1.4\"\n", twin.serial);
    site.manifest(manifest);
    site.nothing_to_do();
}

#[test]
fn docker_that_is_down() {
    let twin = Twin::up();
    let site = Site::new(&twin);
    let app = App::new("1.0.0");
    app.write(&site);
    twin.root("systemctl stop docker.socket docker.service");
    let ran = site.run(&["apply", "--yes"]).exits(9);
    ran.says("vpu.docker is blocked")
        .says("code: docker-unavailable")
        .says("Cannot connect to the Docker daemon");
    is_untouched(&twin);
    twin.root("systemctl start docker.socket docker.service");
    site.apply();
    app.runs_on(&twin);
}

#[test]
fn conflicts() {
    let twin = Twin::up();
    let site = Site::new(&twin);
    let app = App::new("1.0.0");
    app.write(&site);
    let blocked = |make: &str, unmake: &str| {
        twin.oem(make);
        let before = twin.oem("docker ps -aq --no-trunc; ls -AR share .o3r-deploy /usr/share/oem/docker 2>/dev/null || true");
        let ran = site.run(&["apply", "--yes"]).exits(9);
        assert_eq!(twin.oem("docker ps -aq --no-trunc; ls -AR share .o3r-deploy /usr/share/oem/docker 2>/dev/null || true"), before);
        twin.oem(unmake);
        ran
    };
    twin.oem("tar -C /bin -c busybox | docker import - foreign:1");
    let run = "docker run -d --init";
    let ran = blocked(
        &format!("{run} --name hello_web_1 foreign:1 /busybox sleep 1000"),
        "docker rm -f hello_web_1",
    );
    ran.says("compose.hello is blocked: the container name hello_web_1 is taken: that container was not created by docker-compose");
    let ran = blocked(
        r#"mkdir hello; cd hello; printf 'version: "2.4"\nservices:\n  x:\n    image: foreign:1\n    init: true\n    command: ["/busybox", "sleep", "1000"]\n' >docker-compose.yml; docker-compose up -d"#,
        "cd hello && docker-compose down",
    );
    ran.says("belongs to project hello in /home/oem/hello")
        .says("-p hello down");
    let ran = blocked("echo >share", "rm share");
    ran.says("directory.~/share is blocked: /home/oem/share exists and is not a directory")
        .says("code: wrong-kind");
    let ran = blocked(
        "mkdir -p /usr/share/oem/docker/compose/hello/app.env",
        "rmdir -p /usr/share/oem/docker/compose/hello/app.env 2>/dev/null; true",
    );
    ran.says("file.hello/app.env is blocked")
        .says("is a directory");
    twin.root("mkdir -p /home/oem/share/logs && chmod 700 /home/oem/share/logs");
    let ran = site.run(&["apply", "--yes"]).exits(9);
    ran.says("directory.~/share/logs is blocked: /home/oem/share/logs has mode 0700 and belongs to user 0");
    twin.root("rm -r /home/oem/share");
    site.apply();
    app.runs_on(&twin);
}
