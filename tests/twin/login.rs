//! ssh as users configure it: the effects of `ssh_config`, sshd
//! and an account on a login, and the messages about them.

use crate::support::{App, Site, Twin};

/// Adds these lines to sshd's configuration, until the next call.
fn sshd(twin: &Twin, lines: &str) {
    twin.root(&format!(
        "printf '{lines}\\n' >/etc/ssh/sshd_config.d/0-test.conf && systemctl reload ssh && sleep 0.5"
    ));
}

/// Creates a site whose `ssh_config` also has these lines.
fn configured(twin: &Twin, lines: &str) -> Site {
    let site = Site::new(twin);
    let known = site.path("known_hosts");
    site.write(
        "ssh_config",
        &format!("UserKnownHostsFile {}\n{lines}\n", known.display()),
    );
    App::new("1.0.0").write(&site);
    site
}

/// Checks that nothing of a connection is left.
#[track_caller]
fn nothing_is_left(temporary: &std::path::Path) {
    let left: Vec<_> = std::fs::read_dir(temporary)
        .unwrap()
        .flatten()
        .filter(|entry| entry.file_name().to_string_lossy().starts_with("o3r-ssh-"))
        .collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn a_pin_holds_and_commands_run_whatever_ssh_config_says() {
    let twin = Twin::up();
    let site = configured(
        &twin,
        "RemoteCommand tmux new -A -s vpu\nRequestTTY force\nSessionType none\nStdinNull yes\n\
         ForkAfterAuthentication yes\nPermitLocalCommand yes\nLocalCommand touch /nowhere/at-all\nTunnel yes\n\
         LocalForward 1 localhost:22\nExitOnForwardFailure yes\nControlMaster auto\nControlPath none\nLogLevel QUIET",
    );
    site.run(&["plan"]).exits(0).says("compose.hello");

    // A directory for temporary files whose path is too long for a socket.
    let long = site.path(&"long and spaced ".repeat(8));
    std::fs::create_dir(&long).unwrap();
    let mut command = site.command(&["plan"]);
    command.env("TMPDIR", &long);
    crate::support::run(&mut command).exits(0);

    let (kind, key) = twin.host_key.split_once(' ').unwrap();
    let mut other = configured(
        &twin,
        &format!("KnownHostsCommand /bin/echo * {kind} {key}\nStrictHostKeyChecking no"),
    );
    let pin = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIKx4qOKaTLRhJhoDM7Vkj3w0x1WnZ1aBtk8UeVWKpYJf";
    other.vpu = other.vpu.replace(&twin.host_key, pin);
    App::new("1.0.0").write_files(&other);
    let ran = other.run(&["plan"]).exits(3);
    ran.says("is not the one that is pinned in the manifest");

    // If it is revoked, the right pin does not help.
    let revoked = configured(&twin, "");
    revoked.write("known_hosts", &format!("@revoked * {kind} {key}\n"));
    let ran = revoked.run(&["plan"]).exits(3);
    ran.says("is revoked")
        .says("code: host-key-revoked")
        .says_not("host_key = \"");
}

#[test]
fn a_proxy_that_hangs_ends_and_leaves_nothing() {
    let twin = Twin::up();
    let site = configured(&twin, "ProxyCommand sleep 7717");
    let temporary = site.path("tmp");
    std::fs::create_dir(&temporary).unwrap();
    let mut command = site.command(&["plan"]);
    command.env("TMPDIR", &temporary);
    let ran = crate::support::run(&mut command).exits(3);
    ran.says("at its jump host or proxy")
        .says("code: jump-host-failed")
        .says("timed out during banner exchange");
    nothing_is_left(&temporary);
    let mut pgrep = std::process::Command::new("pgrep");
    crate::support::run(pgrep.args(["-f", "^sleep 7717"])).exits(1);
}

#[test]
fn unusable_keys_are_reported_and_a_slow_proxy_is_waited_for() {
    use std::{fs, os::unix::fs::PermissionsExt as _};
    let twin = Twin::up();
    let mut site = configured(&twin, "");
    let right = site.vpu.clone();
    let key = fs::read_to_string(&twin.key).unwrap();
    let here = site.path("");
    let keygen = |name: &str, passphrase: &str| {
        let path = here.join(name);
        let mut keygen = std::process::Command::new("ssh-keygen");
        keygen.args(["-q", "-t", "ed25519", "-N", passphrase, "-f"]);
        crate::support::run(keygen.arg(&path)).exits(0);
    };
    keygen("locked", "secret");
    keygen("other", "");
    for (name, text, mode) in [
        ("windows", key.replace('\n', "\r\n"), 0o600),
        ("open", key.clone(), 0o644),
        ("empty", String::new(), 0o600),
        ("cut", key[..100].to_owned(), 0o600),
    ] {
        site.write(name, &text);
        fs::set_permissions(site.path(name), fs::Permissions::from_mode(mode)).unwrap();
    }
    for (name, told, helps) in [
        (
            "missing",
            "not accessible: No such file",
            "set a key file that exists",
        ),
        ("windows", "line ends of Windows", "tr -d"),
        ("open", "0644", "chmod 600"),
        ("empty", "is an empty file", "ssh-keygen"),
        ("cut", "Load key", "ssh-keygen -y -f FILE"),
        ("locked", "has a passphrase", "ssh-add"),
        ("other.pub", "is a public key", "without .pub"),
        ("home", "is a directory", "ssh-keygen"),
        ("other", "Permission denied (publickey)", "try: ssh oem@"),
    ] {
        let path = site.path(name).display().to_string();
        site.vpu = right.replace(&twin.key, &path);
        App::new("1.0.0").write_files(&site);
        // The message may be wrapped.
        let ran = site.run(&["plan"]).exits(3);
        let said = ran.stderr.replace(['\n', '│'], " ");
        let said = said.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(
            said.contains(told) && said.contains(helps),
            "{name}: {said}"
        );
    }

    // An agent with more keys than sshd accepts.
    let socket = site.path("agent");
    let mut agent = std::process::Command::new("ssh-agent");
    let mut agent = agent
        .arg("-D")
        .arg("-a")
        .arg(&socket)
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap();
    for number in 0..8 {
        keygen(&format!("agents{number}"), "");
        let mut add = std::process::Command::new("ssh-add");
        add.env("SSH_AUTH_SOCK", &socket).arg("-q");
        crate::support::run(add.arg(site.path(&format!("agents{number}")))).exits(0);
    }
    let mut plan = site.command(&["plan"]);
    plan.env("SSH_AUTH_SOCK", &socket);
    site.vpu = right.replace(&format!("identity = \"{}\"\n", twin.key), "");
    App::new("1.0.0").write_files(&site);
    let ran = crate::support::run(&mut plan).exits(3);
    ran.says("Too many authentication failures")
        .says("IdentitiesOnly");
    site.vpu = right;
    App::new("1.0.0").write_files(&site);
    crate::support::run(&mut plan).exits(0);
    agent.kill().unwrap();
    agent.wait().unwrap();

    // Longer than the tool's own limit, and shorter than the user's.
    let slow = configured(
        &twin,
        "ConnectTimeout 30\nProxyCommand sh -c 'sleep 11; exec busybox nc %h %p'",
    );
    slow.run(&["plan"]).exits(0);
}

#[test]
fn refusals_of_sshd_and_the_account_are_reported() {
    let twin = Twin::up();
    let mut site = configured(&twin, "");
    let app = App::new("1.0.0");

    // One session at a time, and the lock needs one.
    sshd(&twin, "MaxSessions 1");
    site.run(&["plan"]).exits(0);
    site.apply();
    app.runs_on(&twin);
    site.nothing_to_do();
    sshd(&twin, "MaxSessions 0");
    site.run(&["plan"])
        .exits(3)
        .says("MaxSessions")
        .says("code: no-session");

    // Output before every command, without a line end and in no valid encoding.
    sshd(
        &twin,
        r#"ForceCommand printf "\\\\344\\\\n hello$ "; eval "$SSH_ORIGINAL_COMMAND""#,
    );
    site.run(&["plan"]).exits(0);
    sshd(&twin, "ForceCommand echo backups only");
    let ran = site.run(&["plan"]).exits(3);
    ran.says("runs no commands: backups only")
        .says("ForceCommand");

    sshd(&twin, "KexAlgorithms diffie-hellman-group14-sha1");
    site.run(&["plan"])
        .exits(3)
        .says("KexAlgorithms +diffie-hellman-group14-sha1");
    sshd(&twin, "AllowTcpForwarding no");
    let right = site.vpu.clone();
    site.vpu = format!("{right}serial = \"{}\"\n", twin.serial);
    app.write(&site);
    let ran = site.run(&["plan"]).exits(9);
    ran.says("forbids the tunnel to port 80")
        .says("AllowTcpForwarding");
    site.vpu = right;
    app.write(&site);
    sshd(&twin, "");

    twin.root("echo System is booting up. >/run/nologin");
    let ran = site.run(&["plan"]).exits(3);
    ran.says("System is booting up")
        .says("wait until the VPU has started");
    twin.root("rm /run/nologin; chage -d 0 oem");
    site.run(&["plan"]).exits(3).says("passwd USER");
    twin.root("chage -d 2026-01-01 oem; gpasswd -d oem docker");
    let ran = site.run(&["plan"]).exits(9);
    ran.says("vpu.docker is blocked: docker info: permission denied")
        .says("not in the group docker");
    twin.root("gpasswd -a oem docker; mount --bind /home/oem /home/oem; mount -o remount,ro,bind /home/oem");
    app.write(&site);
    site.write("app.env", "SETTING=another\n");
    let ran = site.run(&["plan"]).exits(9);
    ran.says("is on a file system that is read-only");
    twin.root("umount -l /home/oem");
    site.run(&["plan"]).exits(0);
}
