//! Words that a shell would run, and words that must not be shown.

use std::{
    collections::BTreeSet,
    fmt::Write as _,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use crate::support::{App, Site, Twin};

/// File names that have an effect in a shell that sees them unquoted.
const HOSTILE: &[&str] = &[
    "two words",
    "$(touch canary)",
    "`touch canary`",
    "a; touch canary",
    "a & touch canary",
    "a | touch canary",
    "it's",
    "it's \"quoted\" $(touch canary)",
    "-rf",
    "--help",
    "*",
    "?",
    "[a-z]",
    "~",
    "~root",
    "$HOME",
    "back\\slash",
    "!!",
    "#comment",
    "100%",
    "%2F",
    " leading and trailing ",
    "grüße-日本",
    "{a,b}",
    "<in>out",
];

#[test]
fn hostile_names_are_names() {
    let twin = Twin::up();
    let site = Site::new(&twin);
    let mut app = App::new("1.0.0");
    for (number, name) in HOSTILE.iter().enumerate() {
        site.write(&format!("conf/{name}"), &format!("content {number}"));
        write!(
            app.more,
            "[[directories]]\npath = '''~/share/{name}'''\nmode = \"0750\"\n"
        )
        .unwrap();
    }
    app.write(&site);
    site.run(&["plan", "--format", "sh"]).exits(0);
    site.apply();
    site.nothing_to_do();
    app.runs_on(&twin);
    // Every name exists, with its contents and its mode; listed NUL-separated.
    let found: BTreeSet<String> = twin
        .oem("cd share && find . -mindepth 1 -maxdepth 1 ! -name logs -perm 750 -printf '%f\\0'")
        .split_terminator('\0')
        .map(str::to_owned)
        .collect();
    let wanted: BTreeSet<String> = HOSTILE.iter().map(|&name| name.to_owned()).collect();
    assert_eq!(found, wanted);
    let found: BTreeSet<String> = twin
        .oem("cd /usr/share/oem/docker/compose/hello/conf && find . -type f ! -name greeting.txt -printf '%f\\0' -exec cat {} \\; -printf '\\0'")
        .split_terminator('\0')
        .collect::<Vec<_>>()
        .chunks(2)
        .map(|pair| pair.join("="))
        .collect();
    let wanted = HOSTILE
        .iter()
        .enumerate()
        .map(|(number, name)| format!("{name}=content {number}"));
    assert_eq!(found, wanted.collect());

    // Changed files are found; removed directories are created again.
    twin.oem("rmdir share/*canary*; for file in /usr/share/oem/docker/compose/hello/conf/*canary*; do echo x >\"$file\"; done");
    site.apply();
    site.nothing_to_do();

    // And a failing release is rolled back with these names.
    for (number, name) in HOSTILE.iter().enumerate() {
        site.write(&format!("conf/{name}"), &format!("new content {number}"));
    }
    let mut bad = app.clone();
    bad.command = "exit 3".to_owned();
    bad.write(&site);
    site.run(&["apply", "--yes"]).exits(6);
    for (number, name) in HOSTILE.iter().enumerate() {
        site.write(&format!("conf/{name}"), &format!("content {number}"));
    }
    app.write(&site);
    site.nothing_to_do();
    no_canary(&twin, &site);
}

#[track_caller]
fn no_canary(twin: &Twin, site: &Site) {
    assert_eq!(twin.root("find / -xdev -name canary 2>/dev/null"), "");
    let here = walk(&site.path(""));
    assert!(here.iter().all(|name| name != "canary"), "{here:?}");
}

fn walk(directory: &std::path::Path) -> Vec<String> {
    let mut names = vec![];
    for entry in std::fs::read_dir(directory).unwrap() {
        let entry = entry.unwrap();
        names.push(entry.file_name().to_string_lossy().into_owned());
        if entry.file_type().unwrap().is_dir() {
            names.extend(walk(&entry.path()));
        }
    }
    names
}

#[test]
fn hostile_values_are_refused_or_taken_literally() {
    let twin = Twin::up();
    let site = Site::new(&twin);
    let app = App::new("1.0.0");
    app.write(&site);
    let manifest = std::fs::read_to_string(site.path("deploy.toml")).unwrap();
    for hostile in [
        "$(touch canary)",
        "`touch canary`",
        "; touch canary",
        "-oProxyCommand=touch canary",
        "' touch canary '",
        "%h$(touch canary)",
    ] {
        for (from, to) in [
            (
                format!("host = \"{}\"", twin.address),
                format!("host = \"{hostile}\""),
            ),
            (
                format!("identity = \"{}\"", twin.key),
                format!("identity = \"{hostile}\""),
            ),
            (
                "[release]\n".to_owned(),
                format!("user = \"{hostile}\"\n[release]\n"),
            ),
            (
                "name = \"share\"".to_owned(),
                format!("name = \"{hostile}\""),
            ),
            (
                "name = \"hello\"\nversion".to_owned(),
                format!("name = \"{hostile}\"\nversion"),
            ),
            (
                "version = \"1.0.0\"".to_owned(),
                format!("version = \"{hostile}\""),
            ),
            (
                "name = \"hello:${release.version}\"".to_owned(),
                format!("name = \"hello:{hostile}\""),
            ),
            (
                "name = \"hello\"\nextra".to_owned(),
                format!("name = \"{hostile}\"\nextra"),
            ),
            ("\"app.env\"".to_owned(), format!("\"{hostile}\"")),
            (
                "path = \"~/share\"".to_owned(),
                format!("path = \"/{hostile}\""),
            ),
        ] {
            let changed = manifest.replacen(&from, &to, 1);
            assert_ne!(changed, manifest, "{from}");
            site.write("deploy.toml", &changed);
            // Refused, or a name that does not exist: but never run.
            let ran = site.run(&["apply", "--yes"]);
            assert!(matches!(ran.code, Some(1 | 3 | 4 | 9)), "{to}: {ran:?}");
        }
        site.write("deploy.toml", &manifest);
        let ran = site.run(&["--host", hostile, "plan"]);
        assert!(matches!(ran.code, Some(1 | 3)), "--host {hostile}: {ran:?}");
    }
    no_canary(&twin, &site);
}

/// Returns the manifest with a hostile value for each of these keys.
fn manifests(manifest: &str, hostile: &str, address: &str) -> Vec<(&'static str, String)> {
    let transfer = |more: &str| format!("{manifest}\n[[transfers]]\n{more}\n");
    let to = "dst = \"~/share/here/\"";
    let robot = format!("[vpus.one]\nhost = \"{address}\"\n");
    vec![
        (
            "vpu.name",
            manifest.replacen("[release]", &format!("name = \"{hostile}\"\n[release]"), 1),
        ),
        (
            "vpus.NAME",
            format!("{manifest}\n[vpus.\"{hostile}\"]\nhost = \"x\"\n"),
        ),
        (
            "vpus.one.name",
            format!("{manifest}\n{robot}name = \"{hostile}\"\n"),
        ),
        (
            "vpus.one.identity",
            format!("{manifest}\n{robot}identity = \"{hostile}\"\n"),
        ),
        (
            "transfers.src",
            transfer(&format!("src = \"here/{hostile}\"\n{to}")),
        ),
        (
            "transfers.dst",
            transfer(&format!("src = \"here/\"\ndst = \"~/share/{hostile}/\"")),
        ),
        (
            "transfers.exclude",
            transfer(&format!(
                "src = \"here/\"\n{to}\ndelete = true\nexclude = [\"{hostile}\"]"
            )),
        ),
        (
            "transfers.mode",
            transfer(&format!("src = \"here/\"\n{to}\nmode = \"{hostile}\"")),
        ),
        (
            "transfers.restart",
            transfer(&format!("src = \"here/\"\n{to}\nrestart = [\"{hostile}\"]")),
        ),
        (
            "autostart.disable",
            format!("{manifest}\n[autostart]\ndisable = [\"{hostile}\"]\n"),
        ),
        (
            "directories.mode",
            format!("{manifest}\n[[directories]]\npath = \"~/a\"\nmode = \"{hostile}\"\n"),
        ),
        (
            "volumes.path",
            format!("{manifest}\n[[volumes]]\nname = \"more\"\npath = \"~/share/{hostile}\"\n"),
        ),
        (
            "images.archive",
            format!("{manifest}\n[[images]]\nname = \"more:1\"\narchive = \"{hostile}\"\n"),
        ),
        (
            "images.engine",
            format!("{manifest}\n[[images]]\nname = \"more:1\"\nengine = \"{hostile}\"\n"),
        ),
        (
            "images.rootfs",
            format!(
                "{manifest}\n[[images]]\nname = \"more:1\"\nrootfs = {{ file = \"{hostile}\", cmd = [\"{hostile}\"] }}\n"
            ),
        ),
        (
            "compose.file",
            format!("{manifest}\n[[compose]]\nname = \"more\"\nfile = \"{hostile}\"\n"),
        ),
        (
            "compose.state",
            format!(
                "{manifest}\n[[compose]]\nname = \"more\"\nfile = \"docker-compose.yml\"\nstate = \"{hostile}\"\n"
            ),
        ),
    ]
}

/// All other values of a manifest: refused, or taken literally, but never run.
#[test]
fn hostile_values_everywhere_else() {
    let twin = Twin::up();
    let site = Site::new(&twin);
    App::new("1.0.0").write(&site);
    site.apply();
    let manifest = std::fs::read_to_string(site.path("deploy.toml")).unwrap();
    let mut taken = BTreeSet::new();
    for hostile in [
        "$(touch canary)",
        "`touch canary`",
        "; touch canary",
        "' touch canary '",
        "*.$(touch canary)",
    ] {
        site.write(&format!("here/{hostile}"), "content");
        for (key, changed) in manifests(&manifest, hostile, &twin.address) {
            assert_ne!(changed, manifest, "{key}");
            site.write("deploy.toml", &changed);
            let mut words = vec!["apply", "--yes"];
            if key.starts_with("vpus.one") {
                words.splice(..0, ["--vpu", "one"]);
            }
            let ran = site.run(&words);
            assert!(
                matches!(ran.code, Some(0 | 1 | 3 | 4 | 9)),
                "{key} = {hostile}: {ran:?}"
            );
            if ran.code == Some(0) {
                taken.insert(key);
            }
        }
        site.write(
            "vpus.toml",
            &format!("[vpus.\"{hostile}\"]\nhost = \"{hostile}\"\n"),
        );
        site.write("deploy.toml", &manifest);
        for words in [
            ["--vpu", hostile],
            ["--release-version", hostile],
            ["-f", hostile],
        ] {
            let ran = site.run(&[words[0], words[1], "plan"]);
            assert!(
                matches!(ran.code, Some(0 | 1 | 3 | 9)),
                "{words:?}: {ran:?}"
            );
        }
        std::fs::remove_file(site.path("vpus.toml")).unwrap();
    }
    no_canary(&twin, &site);
    // Values of keys that allow anything were accepted.
    for key in [
        "vpu.name",
        "transfers.src",
        "transfers.dst",
        "transfers.exclude",
        "volumes.path",
    ] {
        assert!(taken.contains(key), "{key} is not among {taken:?}");
    }
}

#[test]
fn names_with_control_characters_are_refused() {
    let twin = Twin::up();
    let site = Site::new(&twin);
    App::new("1.0.0").write(&site);
    site.write("conf/two\nlines", "x");
    site.run(&["apply", "--yes"]).exits(1).says(r"two\nlines");
    assert_eq!(twin.oem("ls -A /usr/share/oem/docker/compose"), "");
}

/// Inspects every process of this machine, including the twins', until it is dropped.
struct Watch {
    stop: Arc<AtomicBool>,
    thread: Option<std::thread::JoinHandle<Vec<String>>>,
}

impl Watch {
    /// Watches command lines for a word.
    fn for_word(word: &'static str) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            let mut found = vec![];
            while !stopped.load(Ordering::Relaxed) {
                for entry in std::fs::read_dir("/proc").unwrap().map_while(Result::ok) {
                    let line = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
                    let line = String::from_utf8_lossy(&line).replace('\0', " ");
                    if line.contains(word) {
                        found.push(line);
                    }
                }
                std::thread::sleep(std::time::Duration::from_millis(5));
            }
            found
        });
        Self {
            stop,
            thread: Some(thread),
        }
    }

    fn found(mut self) -> Vec<String> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.take().unwrap().join().unwrap()
    }
}

#[test]
fn secrets_are_not_shown() {
    const SECRET: &str = "hunter2-must-not-be-seen";
    let twin = Twin::up();
    let site = Site::new(&twin);
    let mut app = App::new("1.0.0");
    app.setting = format!("{SECRET}-in-env-file");
    app.services = "    environment:\n      TOKEN: ${TOKEN}\n".to_owned();
    app.write(&site);
    let manifest = std::fs::read_to_string(site.path("deploy.toml")).unwrap();
    site.write(
        "deploy.toml",
        &manifest.replace("\"app.env\",", "\"app.env\", \".env\","),
    );
    site.write(".env", &format!("TOKEN={SECRET}-1\n"));
    let watch = Watch::for_word(SECRET);
    let said = |args: &[&str]| {
        let ran = site.run(args);
        ran.says_not(SECRET);
        ran
    };
    let shown = |site: &Site| {
        for args in [
            &["-v", "plan"][..],
            &["-vv", "plan", "--format", "json", "-o", "plan.json"],
            &["plan", "--format", "sh"],
            &["plan", "--format", "sh", "-o", "script"],
        ] {
            said(args).exits(0);
        }
        let script = site.path("script");
        for name in walk(&script) {
            for path in [script.join(&name), script.join("payload").join(&name)] {
                let text = std::fs::read(path).unwrap_or_default();
                assert!(!String::from_utf8_lossy(&text).contains(SECRET), "{name}");
            }
        }
        assert!(
            !std::fs::read_to_string(site.path("plan.json"))
                .unwrap()
                .contains(SECRET)
        );
    };
    shown(&site);
    said(&["-v", "apply", "--yes"]).exits(0);
    assert_eq!(
        twin.oem("docker exec hello_web_1 sh -c 'echo $TOKEN'"),
        format!("{SECRET}-1")
    );

    site.write(".env", &format!("TOKEN={SECRET}-2\n"));
    shown(&site);
    said(&["-vv", "apply", "--yes", "--format", "json"]).exits(0);
    assert_eq!(
        twin.oem("docker exec hello_web_1 sh -c 'echo $TOKEN'"),
        format!("{SECRET}-2")
    );

    // A release that fails: the message and the log quote the ends of outputs.
    let compose = std::fs::read_to_string(site.path("docker-compose.yml")).unwrap();
    site.write(
        "docker-compose.yml",
        &compose.replace("exec httpd -f -p 9000 -h /", "exit 3"),
    );
    site.write(".env", &format!("TOKEN={SECRET}-3\n"));
    said(&["-v", "apply", "--yes"]).exits(6);
    assert!(!site.logs().contains(SECRET));
    assert_eq!(watch.found(), Vec::<String>::new());

    let readable = twin.root(&format!(
        "grep -rl {SECRET} /home/oem /usr/share/oem /tmp | xargs stat -c '%a %n'"
    ));
    assert!(
        readable.lines().all(|line| line.starts_with("600 ")),
        "{readable}"
    );
    assert!(
        readable.contains("600 /usr/share/oem/docker/compose/hello/.env"),
        "{readable}"
    );
}
