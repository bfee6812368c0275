//! Files and directories: copied, changed, removed, blocked; and the containers that use them.

use std::{fs, os::unix::fs::PermissionsExt as _, process::Command};

use crate::support::{App, Layout, Link, Packing, Site, TinyImage, Twin, noise, run};

/// A name with every character that a shell could misinterpret.
const ODD: &str = "it's $(touch canary) \"*\" \\ é;&|<>";

/// Returns the manifest of a release with one transfer.
fn manifest(transfer: &str) -> String {
    format!("[release]\nname = \"files\"\nversion = \"1\"\n\n[[transfers]]\n{transfer}\n")
}

/// Returns everything below a directory of the twin: type, mode, path, and contents or target.
fn tree(twin: &Twin, directory: &str) -> String {
    twin.oem(&format!(
        "cd {directory} && find . -printf '%y %m %P' \\( -type f -printf ' ' -exec cat {{}} \\; -o -type l -printf ' %l' -o -true \\) -printf '\\n' | sort"
    ))
}

#[test]
fn a_tree_is_copied_changed_and_mirrored() {
    let twin = Twin::up();
    let site = Site::new(&twin);
    site.manifest(&manifest(
        "src = \"config/\"\ndst = \"~/share/config/\"\ndelete = true\nexclude = [\"*.tmp\", \"logs\"]",
    ));
    site.write("config/main.json", "one\n");
    site.write("config/run.sh", "#!/bin/sh\n");
    fs::set_permissions(
        site.path("config/run.sh"),
        fs::Permissions::from_mode(0o700),
    )
    .unwrap();
    site.write(&format!("config/sub/{ODD}"), "odd");
    site.write("config/sub/.env", "SECRET=1");
    site.write("config/skipped.tmp", "no");
    std::os::unix::fs::symlink("../main.json", site.path("config/sub/link")).unwrap();
    // The umask of the login has no effect.
    twin.oem("echo 'umask 077' >>~/.profile");

    site.run(&["check"]).exits(0);
    let plan = site.run(&["plan", "--exit-code"]).exits(2);
    insta::assert_snapshot!("transfer_first_plan", site.redact(&plan.stdout));
    site.apply();
    let seen = tree(&twin, "~/share/config");
    let wanted = format!(
        "d 755 \nd 755 sub\nf 600 sub/.env SECRET=1\nf 644 main.json one\n\nf 644 sub/{ODD} odd\n\
         f 755 run.sh #!/bin/sh\n\nl 777 sub/link ../main.json"
    );
    assert_eq!(lines(&seen), lines(&wanted));
    site.nothing_to_do();

    // Both sides change; what is excluded stays on both.
    twin.oem(
        "cd ~/share/config && mkdir -p logs more/deep && echo log >logs/x && echo kept >here.tmp && \
         echo new >more/deep/file && echo edited >main.json && chmod 600 run.sh && rm sub/link",
    );
    site.write("config/main.json", "one\ntwo\n");
    let plan = site.run(&["plan", "-v"]).exits(0);
    insta::assert_snapshot!("transfer_next_plan", site.redact(&plan.stdout));
    plan.says_not("SECRET");
    site.apply();
    site.nothing_to_do();
    let wanted = wanted.replace("main.json one\n", "main.json one\ntwo\n");
    let seen = tree(&twin, "~/share/config");
    let more = "d 755 logs\nf 644 here.tmp kept\n\nf 644 logs/x log\n";
    assert_eq!(lines(&seen), lines(&format!("{wanted}\n{more}")));
    assert_eq!(
        twin.oem("ls -A ~/share ~/.o3r-deploy; ls ~/canary 2>/dev/null; true"),
        "/home/oem/.o3r-deploy:\nattempts\ncompose-version\ngenerations\nreleases\nstore\n\n/home/oem/share:\nconfig"
    );
}

/// Only the changed part of a large file is sent; if
/// somebody changes the old version meanwhile, all of it.
#[test]
fn a_large_file_is_built_from_its_old_version() {
    let twin = Twin::up();
    let link = Link::to(&twin);
    let site = Site::through(&link, &twin);
    let transfer = "src = \"map.bin\"\ndst = \"~/share/\"";
    site.manifest(&manifest(transfer));
    let mut bytes = noise(40 << 20);
    fs::write(site.path("map.bin"), &bytes).unwrap();
    site.apply();
    link.slow(2_000_000);
    let change = |bytes: &mut Vec<u8>, at: usize| {
        bytes[at] ^= 1;
        bytes.splice(at / 2..at / 2, *b"inserted");
        fs::write(site.path("map.bin"), &*bytes).unwrap();
    };
    change(&mut bytes, 30_000_000);
    let plan = site.run(&["plan", "-v"]).exits(0);
    plan.says("built from its old version")
        .says("[file-patched]");
    let before = link.sent();
    site.apply().says_not("has the VPU changed since the plan?");
    let sent = link.sent() - before;
    // The link is measured with a quarter of a megabyte, and with one more if that arrived quickly.
    assert!(sent < 2_000_000, "{sent}");
    let same = |twin: &Twin| twin.oem("sha256sum <share/map.bin | cut -c1-64");
    let wanted = |bytes: &[u8]| o3r_deploy::internal::digest::Digest::of(bytes).hex();
    assert_eq!(same(&twin), wanted(&bytes));
    assert_eq!(
        twin.oem("ls -A ~/share ~/.o3r-deploy"),
        "/home/oem/.o3r-deploy:\nattempts\ncompose-version\ngenerations\nreleases\nstore\n\n/home/oem/share:\nmap.bin"
    );
    site.nothing_to_do();

    // Somebody writes to it at the moment when it is to be built.
    change(&mut bytes, 20_000_000);
    link.slow(3_000_000);
    twin.root(
        r#"mv /bin/gzip /bin/gzip.real; printf '%s\n' '#!/bin/sh' 'printf x | dd of=/home/oem/share/map.bin bs=1 seek=9000000 conv=notrunc 2>/dev/null' 'exec gzip.real "$@"' >/bin/gzip; chmod 755 /bin/gzip"#,
    );
    site.apply().says("has the VPU changed since the plan?");
    twin.root("mv /bin/gzip.real /bin/gzip");
    assert_eq!(same(&twin), wanted(&bytes));
    site.nothing_to_do();
}

fn lines(text: &str) -> Vec<&str> {
    let mut lines: Vec<&str> = text.lines().filter(|line| !line.is_empty()).collect();
    lines.sort_unstable();
    lines
}

#[test]
fn obstacles_block_with_a_remedy() {
    let twin = Twin::up();
    let site = Site::new(&twin);
    let transfer = "src = \"config/\"\ndst = \"~/config\"";
    site.manifest(&manifest(transfer));
    site.write("config/a/file", "a");
    site.write("config/b", "b");
    site.apply();
    // A container wrote there as root.
    twin.root("echo root >/home/oem/config/b");
    twin.root("chown root:root /home/oem/config/b");
    site.run(&["apply", "--yes"])
        .exits(9)
        .says("transfer.~/config is blocked: /home/oem/config/b belongs to user 0")
        .says("docker run --rm -v /home/oem/config:/d IMAGE chown -R \"$(id -u):$(id -g)\" /d");
    TinyImage::new("tool:1", "1").write(&site.path("tool.tar"), Layout::Docker, Packing::Plain);
    twin.copy(&site.path("."), "~/site");
    twin.oem("docker load -qi ~/site/tool.tar && docker run --rm -v /home/oem/config:/d tool:1 chown -R \"$(id -u):$(id -g)\" /d");
    site.apply();
    assert_eq!(twin.oem("cat ~/config/b"), "b");

    twin.root("chown root:root /home/oem/config/a");
    twin.oem("rm -f ~/config/b && mkdir -p ~/config/b/c");
    site.run(&["plan"])
        .exits(9)
        .says("/home/oem/config/b is a directory")
        .says("or allow it with `delete = true`");
    site.manifest(&manifest(&format!("{transfer}\ndelete = true")));
    site.write("config/a/file", "changed");
    site.run(&["plan"])
        .exits(9)
        .says("no write permission for /home/oem/config/a");
    twin.root("chown oem: /home/oem/config/a");
    twin.oem("touch \"$(printf '/home/oem/config/a/new\\nline')\"");
    site.run(&["plan"])
        .exits(9)
        .says("it holds `a/new\\nline`, a name that cannot be handled");
    twin.oem("rm ~/config/a/new*");
    site.apply();
    assert_eq!(twin.oem("cat ~/config/b ~/config/a/file"), "bchanged");
    site.nothing_to_do();

    // More than fits.
    twin.root("mkdir /media/stick && mount -t tmpfs -o size=1m,uid=989 none /media/stick");
    site.manifest(&manifest(
        "src = \"config/\"\ndst = \"/media/stick/config\"",
    ));
    site.write("config/big", &"x".repeat(2 << 20));
    site.run(&["apply", "--yes"])
        .exits(9)
        .says("the disk of /media/stick has 1.00 MiB free, but needs");
    site.write("config/big", "small");
    site.apply();
    assert_eq!(
        twin.oem("ls -A /media/stick; cat /media/stick/config/big"),
        "config\nsmall"
    );
    site.nothing_to_do();
}

#[test]
fn containers_that_use_changed_files_are_recreated_and_others_keep_running() {
    let twin = Twin::up();
    let site = Site::new(&twin);
    let mut app = App::new("1.0.0");
    app.services = "      - ~/settings/main.json:/main.json:ro\n  side:\n    image: hello:1.0.0\n    \
                    command: [\"sleep\", \"9999\"]\n    stop_signal: SIGKILL\n    volumes:\n      - ~/settings:/settings\n"
        .to_owned();
    app.more = "[[transfers]]\nsrc = \"settings/\"\ndst = \"~/settings\"\n\n[[transfers]]\nsrc = \"calibration\"\ndst = \
                \"~/share/\"\nrestart = [\"hello\"]\n"
        .to_owned();
    app.write(&site);
    site.write("settings/main.json", "one");
    site.write("settings/other.json", "one");
    site.write("calibration", "one");
    site.apply();
    site.nothing_to_do();
    let id = |service: &str| {
        twin.oem(&format!(
            "docker inspect -f '{{{{.Id}}}}' hello_{service}_1"
        ))
    };
    let (web, beside) = (id("web"), id("side"));

    // A file in a mounted directory is seen at once.
    site.write("settings/other.json", "two");
    site.apply();
    assert_eq!((id("web"), id("side")), (web.clone(), beside.clone()));
    assert_eq!(
        twin.oem("docker exec hello_side_1 cat /settings/other.json"),
        "two"
    );

    // A file that is mounted alone is not.
    site.write("settings/main.json", "two");
    site.run(&["plan"])
        .exits(0)
        .says("compose.hello mounts the single file ~/settings/main.json")
        .says("[file-mount-stale]")
        .says("because of transfer.~/settings");
    site.apply();
    assert_eq!(twin.oem("docker exec hello_web_1 cat /main.json"), "two");
    assert_ne!(id("web"), web);
    assert_eq!(id("side"), beside);
    site.nothing_to_do();

    // `restart`: the service that uses it.
    let web = id("web");
    site.write("calibration", "two");
    site.apply();
    assert_ne!(id("web"), web);
    assert_eq!(id("side"), beside);
    assert_eq!(
        twin.oem("docker exec hello_web_1 cat /share/calibration"),
        "two"
    );
    site.nothing_to_do();

    // A release that does not come up restores its files.
    site.write("settings/main.json", "three");
    site.write("settings/new.json", "three");
    site.write("calibration", "three");
    app.command = "exit 3".to_owned();
    app.write_files(&site);
    site.run(&["apply", "--yes"])
        .exits(6)
        .says("the previous release was restored");
    assert_eq!(
        twin.oem("cat ~/settings/main.json ~/share/calibration; ls ~/settings"),
        "twotwomain.json\nother.json"
    );
    assert_eq!(twin.oem("docker exec hello_web_1 cat /main.json"), "two");
}

#[test]
fn a_large_file_that_is_cut_off_arrives_nevertheless() {
    let twin = Twin::up();
    let link = Link::to(&twin);
    let site = Site::through(&link, &twin);
    site.manifest(&manifest("src = \"big/\"\ndst = \"~/big\"\ndelete = true"));
    site.write("big/small", "small");
    let path = site.path("big/large");
    let make = Command::new("dd")
        .args(["if=/dev/urandom", "bs=1M", "count=200", "status=none"])
        .arg(format!("of={}", path.display()))
        .status();
    assert!(make.unwrap().success());
    link.slow(20 << 20);
    let mut apply = site.start(&["apply", "--yes", "-vv"]);
    assert!(apply.wait_for("o3r-stage-files"), "{:?}", apply.finish());
    // 200 MB in the 64 MB of /tmp would not have fit.
    while twin
        .oem("du -sk ~/.o3r-deploy/staging 2>/dev/null | cut -f1 || echo 0")
        .parse::<u64>()
        .unwrap_or(0)
        < 20_000
    {}
    link.cut();
    assert_eq!(twin.oem("ls -A ~/big 2>/dev/null; true"), "");
    link.slow(0);
    let ran = apply.finish().exits(0);
    ran.says("connection to the VPU lost").says("reconnected");
    site.nothing_to_do();
    let here = run(Command::new("sha256sum").arg(&path)).exits(0).stdout;
    let there = twin.oem("sha256sum ~/big/large");
    assert_eq!(here.split(' ').next(), there.split(' ').next());
    assert_eq!(
        twin.oem("ls ~/.o3r-deploy; find /tmp -type f -size +100k 2>/dev/null; true"),
        "attempts\ncompose-version\ngenerations\nreleases\nstore"
    );
}

/// The VPU's /tmp has 64 MB, and its RAM is little more than the file.
#[test]
fn a_file_of_two_gigabytes() {
    let twin = Twin::up();
    let site = Site::new(&twin);
    site.manifest(&manifest("src = \"big/\"\ndst = \"~/big\""));
    site.write("big/small", "small");
    let file = fs::File::create(site.path("big/large")).unwrap();
    // A sparse file: it takes no disk, and yet every byte is sent.
    file.set_len(2 << 30).unwrap();
    let mut apply = site.start(&["apply", "--yes"]);
    let peak = apply.peak_memory();
    apply.finish().exits(0);
    assert!(peak > 0 && peak < 64 << 10, "{peak} kB");
    assert_eq!(
        twin.oem("stat -c %s ~/big/large"),
        (2_u64 << 30).to_string()
    );
    site.nothing_to_do();
    assert_eq!(
        twin.oem("find /tmp -type f -size +100k 2>/dev/null; ls ~/.o3r-deploy"),
        "attempts\ncompose-version\ngenerations\nreleases\nstore"
    );
}

#[test]
fn a_script_sends_files_and_keeps_secrets() {
    let twin = Twin::up();
    let site = Site::new(&twin);
    site.manifest(&manifest("src = \"config/\"\ndst = \"~/config\""));
    site.write("config/main.json", "one");
    site.write("config/.env", "PASSWORD=hunter2\n");
    let ran = site
        .run(&["plan", "--format", "sh", "-o", "by-hand"])
        .exits(0);
    ran.says("config/.env holds secrets and was not copied");
    let secret = ran
        .stderr
        .split_whitespace()
        .find(|word| word.starts_with("payload/"))
        .unwrap()
        .to_owned();
    let found = run(Command::new("grep")
        .args(["-r", "hunter2"])
        .arg(site.path("by-hand")));
    found.exits(1);
    twin.copy(&site.path("by-hand"), "~/by-hand");
    twin.oem(&format!(
        "printf 'PASSWORD=hunter2\\n' >~/by-hand/{secret} && sh ~/by-hand/deploy.sh"
    ));
    site.nothing_to_do();
}
