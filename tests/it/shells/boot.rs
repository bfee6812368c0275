//! The scripts and the section of the probe about booting: autostart, and the device's name.

use std::{
    collections::BTreeSet,
    io::{Read as _, Write as _},
    net::TcpListener,
    sync::mpsc,
};

use o3r_deploy::internal::{
    observe::{Autostart, Generation},
    restart_policy::RestartPolicy,
};

use super::*;

/// A systemctl that answers as systemd 252 does, with `$HOME/units` as the list of unit files.
const SYSTEMCTL: &str = "#!/bin/sh\n\
    [ \"$1\" = --user ] || exit 9\n\
    case $2 in\n\
    list-unit-files) [ -s \"$HOME/units\" ] || exit 1; cat \"$HOME/units\" ;;\n\
    cat) [ \"$3\" = oem-dc@hello.service ] || { echo 'No files found.' >&2; exit 1; }\n\
    printf '%s\\n' '# file' '[Service]' 'WorkingDirectory=/w/%i' 'ExecStart=a b' '[Install]' 'WantedBy=default.target' ;;\n\
    esac\n";

async fn autostart(fixture: &Sandbox) -> Probed<Autostart> {
    let query = Query {
        units: BTreeSet::from(["hello".into(), "no-such".into()]),
        ..Query::default()
    };
    observe_in(fixture, &query).await.facts.autostart
}

#[tokio::test]
async fn the_probe_reports_generations_instances_and_lingering() {
    for shell in shells() {
        let fixture = sandbox(shell, &[]);
        let reason = autostart(&fixture).await;
        let reason = reason.as_result().unwrap_err();
        assert!(reason.contains("not found"), "without systemctl: {reason}");

        fixture.program("systemctl", SYSTEMCTL);
        fixture.program("loginctl", "#!/bin/sh\necho Linger=no\n");
        let found = autostart(&fixture).await.known().unwrap().clone();
        assert_eq!((found.generation(), found.lingering), (None, Some(false)));

        let units = fixture.home().join("units");
        std::fs::write(&units, "oem-dc-autostart.service enabled enabled\n").unwrap();
        fixture.program("loginctl", "#!/bin/sh\necho Linger=yes\n");
        let found = autostart(&fixture).await.known().unwrap().clone();
        let generation = Some(Generation::RestartPolicies("enabled"));
        assert_eq!(
            (found.generation(), found.lingering),
            (generation, Some(true))
        );
        assert_eq!(found.units, BTreeMap::new());

        // Enabled instances are links, possibly dangling; odd names stay one word.
        std::fs::write(&units, "oem-dc@.service indirect enabled\n").unwrap();
        let wants = fixture
            .home()
            .join(".config/systemd/user/default.target.wants");
        std::fs::create_dir_all(&wants).unwrap();
        for name in [
            "oem-dc@hello.service",
            "oem-dc@a.b\\x2dc.service",
            "other.service",
        ] {
            std::os::unix::fs::symlink("/nowhere", wants.join(name)).unwrap();
        }
        let found = autostart(&fixture).await.known().unwrap().clone();
        assert_eq!(found.generation(), Some(Generation::Units("indirect")));
        assert_eq!(Vec::from_iter(&found.enabled), ["a.b\\x2dc", "hello"]);
        let unit = found.units["hello"].known().unwrap();
        assert_eq!(unit.working_directory, "/w/%i");
        let missing = found.units["no-such"].as_result().unwrap_err();
        assert!(missing.contains("No files found"), "{missing}");

        fixture.program(
            "systemctl",
            "#!/bin/sh\necho 'Failed to connect to bus: No medium found' >&2\nexit 1\n",
        );
        let reason = autostart(&fixture).await;
        let reason = reason.as_result().unwrap_err();
        assert!(reason.contains("Failed to connect to bus"), "{reason}");
    }
}

#[tokio::test]
async fn restart_policies_are_set_on_every_container_or_the_step_fails() {
    for shell in shells() {
        let fixture = sandbox(shell, &[]);
        let docker = "#!/bin/sh\ncase \"$1 $2\" in\n\
            'container ls') printf 'one\\ntwo\\n' ;;\n\
            'container update') [ \"$4\" = \"$(cat \"$HOME/gone\" 2>/dev/null)\" ] && exit 1; echo \"$@\" >>\"$HOME/ran\" ;;\n\
            esac\n";
        fixture.program("docker", docker);
        let set = remote::service_restart_policy("app", "web", &RestartPolicy::UnlessStopped);
        assert!(fixture.run(&set, b"").await.success());
        let ran = std::fs::read_to_string(fixture.home().join("ran")).unwrap();
        assert_eq!(
            ran,
            "container update --restart=unless-stopped one\ncontainer update --restart=unless-stopped two\n"
        );
        std::fs::write(fixture.home().join("gone"), "two").unwrap();
        assert_eq!(fixture.run(&set, b"").await.code, 1);
    }
}

/// Answers one HTTP call after another with `answer`, and passes on the calls.
fn api(answer: &'static str) -> (u16, mpsc::Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let (sender, calls) = mpsc::channel();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            let mut request = vec![];
            let mut chunk = [0; 4096];
            while !String::from_utf8_lossy(&request).contains("</methodCall>") {
                match stream.read(&mut chunk) {
                    Ok(count @ 1..) => request.extend_from_slice(&chunk[..count]),
                    _ => break,
                }
            }
            let head = "HTTP/1.1 200 OK\r\nContent-Type: text/xml\r\nConnection: close\r\n";
            let length = answer.len();
            let _ = write!(stream, "{head}Content-Length: {length}\r\n\r\n{answer}");
            if sender
                .send(String::from_utf8_lossy(&request).into_owned())
                .is_err()
            {
                return;
            }
        }
    });
    (port, calls)
}

const DONE: &str = "<?xml version='1.0'?><methodResponse><params><param><value><string></string></value></param></params></methodResponse>";
const REFUSED: &str = "<?xml version='1.0'?><methodResponse><fault><value><struct><member><name>faultCode</name><value><int>104011</int></value></member><member><name>faultString</name><value><string>too long</string></value></member></struct></value></fault></methodResponse>";

/// Returns a sandbox with one program that speaks HTTP.
fn speaking(shell: &[&str], program: &str) -> Sandbox {
    if ["wget", "nc"].contains(&program) {
        return sandbox(shell, &["wc", program]);
    }
    let fixture = sandbox(shell, &["wc"]);
    let target = if program == "python3" {
        // The interpreter itself, not a wrapper that would look for it.
        let print = ["-c", "import sys; print(sys.executable)"];
        let output = std::process::Command::new(program)
            .args(print)
            .output()
            .unwrap();
        PathBuf::from(String::from_utf8(output.stdout).unwrap().trim())
    } else {
        needed(program)
    };
    let link = fixture.bin().join(program);
    std::os::unix::fs::symlink(target, link).unwrap();
    fixture
}

#[tokio::test]
async fn the_device_is_called_by_any_program_that_speaks_http() {
    let name = "{\"name\":\"a <&> 'b' $(touch canary) ü\"}";
    let call = |port, words: &[&str]| {
        let words: Vec<String> = words.iter().map(ToString::to_string).collect();
        remote::device_api(port, &words)
    };
    for shell in shells() {
        for program in ["curl", "python3", "wget", "nc", "busybox"] {
            let fixture = speaking(shell, program);
            let (port, calls) = api(DONE);
            let output = fixture.run(&call(port, &["set", name]), b"").await;
            assert!(output.success(), "{shell:?} {program}: {output:?}");
            let called = calls.recv().unwrap();
            assert!(
                called.starts_with("POST /api/rpc/v1/com.ifm.efector/ HTTP/1."),
                "{called}"
            );
            assert!(
                called.to_lowercase().contains("content-type: text/xml\r\n"),
                "{called}"
            );
            let xml = "<methodName>set</methodName><params><param><value><string>{\"name\":\"a &lt;&amp;&gt; \
                       'b' $(touch canary) ü\"}</string></value></param></params></methodCall>";
            assert!(called.ends_with(xml), "{program}: {called}");
            let save = call(port, &["saveInit", "/a", "/b"]);
            assert!(fixture.run(&save, b"").await.success());
            let list = "<array><data><value><string>/a</string></value><value><string>/b</string></value></data></array>";
            assert!(calls.recv().unwrap().contains(list));

            let (port, _calls) = api(REFUSED);
            let output = fixture.run(&call(port, &["set", name]), b"").await;
            assert_eq!(output.code, 1, "{program}: {output:?}");
            let said = output.tail(5);
            assert!(
                said.contains("refused set") && said.contains("104011"),
                "{program}: {said}"
            );
            assert!(said.contains("too long"), "{program}: {said}");

            // The server is gone.
            let output = fixture.run(&call(1, &["saveInit", "/a"]), b"").await;
            assert_eq!(output.code, 1, "{program}: {output:?}");
            assert!(
                output
                    .tail(1)
                    .contains("was not called; do it from another machine")
            );
        }
    }
    // Busybox's shell has some of these built in.
    let fixture = sandbox(SHELLS[0], &["wc"]);
    let output = fixture.run(&call(1, &["set", name]), b"").await;
    assert_eq!(output.code, 1);
    let said = output.tail(2);
    assert!(
        said.contains("none of curl, python3, wget and nc"),
        "{said}"
    );
    assert!(!Path::new("canary").exists());
}
