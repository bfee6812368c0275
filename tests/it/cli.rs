//! Transcripts of the binary without a VPU, and of the documents.
//!
//! `tests/run.sh bless-local` writes the program's output into `tests/cmd`.

use trycmd::TestCases;

/// Test cases that show nothing of the machine that runs
/// the tests: no colours, no home, no address.
fn hermetic() -> TestCases {
    const HOME: &str = concat!(env!("CARGO_TARGET_TMPDIR"), "/home");
    std::fs::create_dir_all(HOME).expect("the target directory can be written");
    let cases = TestCases::new();
    cases
        .env("HOME", HOME)
        .env(
            "XDG_CACHE_HOME",
            concat!(env!("CARGO_TARGET_TMPDIR"), "/home/.cache"),
        )
        .env("COLUMNS", "80")
        .env("LC_ALL", "C.UTF-8")
        .env("NO_COLOR", "1")
        .env("RUST_LOG", "")
        .env("IFM3D_IP", "127.0.0.2");
    cases
}

#[test]
fn transcripts() {
    hermetic().case("tests/cmd/*.trycmd");
}

#[test]
fn documents() {
    hermetic().case("README.md").case("docs/*.md");
}

fn program(args: &[&str]) -> std::process::Command {
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_o3r-deploy"));
    command.args(args).current_dir("tests/cmd/check.in");
    command
}

/// They would change whatever VPU answers at the factory address.
#[test]
fn confirm_and_cancel_need_a_manifest_or_a_host() {
    let folder = tempfile::tempdir().expect("there is a temporary directory");
    for verb in ["confirm", "cancel"] {
        let run = |more: &[&str]| {
            let mut command = program(&[verb, "016bf1fe2a66"]);
            command.args(more).current_dir(folder.path());
            let ended = command.env_remove("IFM3D_IP").output().expect("it starts");
            let said = String::from_utf8_lossy(&ended.stderr).into_owned();
            (ended.status.code(), said)
        };
        let (code, said) = run(&[]);
        assert_eq!(code, Some(1), "{said}");
        for words in [
            "there is no deploy.toml in this folder",
            "--host",
            "--file",
            "code: no-manifest",
        ] {
            assert!(said.contains(words), "{words}: {said}");
        }
        let (code, said) = run(&["--host", "127.0.0.2"]);
        assert_eq!(code, Some(3), "{said}");
    }
}

#[test]
fn the_manifest_is_found_in_a_folder_above() {
    let folder = tempfile::tempdir().expect("there is a temporary directory");
    let below = folder.path().join("src/deep");
    std::fs::create_dir_all(&below).expect("it is new");
    let write = |text: &str| std::fs::write(folder.path().join("deploy.toml"), text);
    write("[release]\nname = \"app\"\n").expect("it is writable");
    let run = |words: &[&str]| {
        let mut command = program(words);
        let ended = command.current_dir(&below).env_remove("IFM3D_IP").output();
        let ended = ended.expect("it starts");
        let said = String::from_utf8_lossy(&ended.stderr).into_owned();
        (ended.status.code(), said)
    };
    let (code, said) = run(&["check"]);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("note: using ../../deploy.toml\n"), "{said}");
    assert!(said.contains("../../deploy.toml: valid"), "{said}");
    // One that is named is not looked for, and `init` writes one here.
    let (code, said) = run(&["check", "-f", "deploy.toml"]);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("cannot read deploy.toml"), "{said}");
    let (code, said) = run(&["init"]);
    assert!(below.join("deploy.toml").exists(), "{code:?} {said}");
}

#[test]
fn an_interrupted_check_is_reported() {
    let folder = tempfile::tempdir().expect("there is a temporary directory");
    let config = folder.path().join("config");
    std::fs::create_dir(&config).expect("it is new");
    // It takes minutes to read, and no space on the disk.
    let large = std::fs::File::create(config.join("large.bin")).expect("it is new");
    large.set_len(200 << 30).expect("files may be sparse");
    let manifest =
        "[release]\nname = \"app\"\n[[transfers]]\nsrc = \"config/\"\ndst = \"~/config/\"\n";
    std::fs::write(folder.path().join("deploy.toml"), manifest).expect("it is new");
    let mut command = program(&["check", "--format", "json"]);
    let started = command
        .current_dir(folder.path())
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn();
    let running = started.expect("it starts");
    std::thread::sleep(std::time::Duration::from_secs(1));
    let pid = rustix::process::Pid::from_child(&running);
    rustix::process::kill_process(pid, rustix::process::Signal::INT).expect("it runs");
    let ended = running.wait_with_output().expect("it ends");
    assert_eq!(ended.status.code(), Some(130));
    let document: serde_json::Value = serde_json::from_slice(&ended.stdout).expect("JSON");
    assert_eq!(document["error"]["code"], "interrupted");
    let said = String::from_utf8_lossy(&ended.stderr);
    assert!(said.contains("interrupted; nothing was changed"), "{said}");
}

/// A pipe whose reader is closed, as with `| head -1`.
fn broken_pipe() -> std::process::Stdio {
    let (reader, writer) = std::io::pipe().expect("there are pipes");
    drop(reader);
    writer.into()
}

#[test]
fn a_reader_that_closes_the_pipe_is_not_an_error() {
    for (args, code) in [
        (&["schema"][..], 0),
        (&["check"], 0),
        (&["man"], 0),
        (&["--help"], 0),
        (&["-f", "typos.toml", "check"], 1),
        (&["-f", "absent.toml", "plan", "-vv"], 1),
        (&["plan", "--format", "yaml"], 1),
    ] {
        let status = program(args)
            .env("RUST_LOG", "trace")
            .stdout(broken_pipe())
            .stderr(broken_pipe())
            .status();
        let code_found = status.expect("it starts").code();
        assert_eq!(code_found, Some(code), "{args:?}");
    }
}

#[test]
fn lost_output_is_not_a_success() {
    let full = || std::fs::OpenOptions::new().write(true).open("/dev/full");
    for args in [
        &["schema"][..],
        &["check", "--format", "json"],
        &["man"],
        &["--help"],
    ] {
        let output = program(args).stdout(full().expect("it is there")).output();
        let output = output.expect("it starts");
        assert_eq!(output.status.code(), Some(1), "{args:?}");
        if args != ["--help"] {
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(
                said.contains("cannot write to standard output: No space left"),
                "{said}"
            );
        }
    }
    // Half a document is not a document, but nobody is there to read an error.
    let output = program(&["check", "--format", "json"])
        .stdout(broken_pipe())
        .output();
    let output = output.expect("it starts");
    assert_eq!(output.status.code(), Some(1));
    assert!(output.stderr.is_empty());
}

#[test]
fn a_host_is_a_bare_address() {
    let directory = tempfile::tempdir().expect("a directory");
    let manifest = directory.path().join("deploy.toml");
    std::fs::write(&manifest, "[release]\nname = \"a\"\n").expect("it is written");
    let manifest = manifest.to_str().expect("UTF-8");
    for (host, word) in [
        ("", "empty"),
        ("oem@10.0.0.1", "@"),
        ("ssh://10.0.0.1", "/"),
        ("10.0.0.1:22", "port"),
        ("[::1]", "brackets"),
        ("-oProxyCommand=x", "-"),
    ] {
        let flag = format!("--host={host}");
        let said_of = |args: &[&str], variable: &str| {
            let output = program(args).env("IFM3D_IP", variable).output();
            let output = output.expect("it starts");
            assert_eq!(output.status.code(), Some(1), "{host} {args:?}");
            String::from_utf8_lossy(&output.stderr).into_owned()
        };
        let said = said_of(&[&flag, "plan"], "");
        assert!(said.contains(word), "{host}: {said}");
        // An empty variable counts as unset.
        if !host.is_empty() {
            let said = said_of(&["-f", manifest, "plan"], host);
            assert!(said.contains("$IFM3D_IP") && said.contains(word), "{said}");
            assert!(said.ends_with("code: bad-address\n"), "{said}");
        }
    }
}

#[test]
fn every_command_has_a_manual_page() {
    let directory = tempfile::tempdir().expect("a directory");
    let pages = directory.path().join("man1");
    let written = program(&["man", "-o", pages.to_str().expect("UTF-8")]).status();
    assert!(written.expect("it starts").success());
    let help = program(&["--help"]).output().expect("it starts").stdout;
    let help = String::from_utf8_lossy(&help);
    let commands = help.lines().skip_while(|line| *line != "Commands:").skip(1);
    let mut count = 0;
    for line in commands.take_while(|line| !line.is_empty()) {
        let name = line.split_whitespace().next().expect("a name");
        if name != "help" {
            let page = pages.join(format!("o3r-deploy-{name}.1"));
            let text = std::fs::read_to_string(&page).expect("a page");
            assert!(text.contains(".SH NAME"), "{page:?}");
            count += 1;
        }
    }
    assert!(count > 6, "{help}");
}

#[test]
fn every_shell_gets_completions_that_know_the_commands() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let output = program(&["completions", shell])
            .output()
            .expect("it starts");
        let script = String::from_utf8_lossy(&output.stdout);
        for word in ["observe", "release-version", "vpu"] {
            assert!(script.contains(word), "{shell} lacks {word}");
        }
    }
}

/// Runs itself again to see the output of a panic.
#[test]
fn a_panic_is_called_a_bug() {
    if std::env::var_os("O3R_TEST_PANICS").is_some() {
        o3r_deploy::internal::ui::explain_panics();
        panic!("the moon is full");
    }
    let itself = std::env::current_exe().expect("it has a name");
    let output = std::process::Command::new(itself)
        .args(["--exact", "cli::a_panic_is_called_a_bug", "--nocapture"])
        .env("O3R_TEST_PANICS", "1")
        .env_remove("RUST_BACKTRACE")
        .output()
        .expect("it starts");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        said.contains("error: this is a bug in o3r-deploy: the moon is full"),
        "{said}"
    );
    assert!(
        said.contains("at tests/it/cli.rs:") && said.contains("help: "),
        "{said}"
    );
    assert!(!said.contains("panicked"), "{said}");
}
