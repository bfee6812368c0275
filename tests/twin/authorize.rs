//! From a VPU that lets nobody log in to a key login with a pinned VPU.

use crate::support::{Profile, Site, Twin, api, inject};

/// A site that knows nothing of its twin, and whose key the twin does not know.
fn stranger(twin: &Twin) -> Site {
    let mut site = Site::new(twin);
    let host = format!(
        "# our robot\n[vpu]   # in hall 3\nhost = \"{}\"\n# arch of the twin\narch = ",
        twin.address
    );
    let arch = site.vpu.split("arch = ").nth(1).unwrap().to_owned();
    site.vpu = format!("{host}{arch}");
    site.manifest("[release]\nname = \"app\"   # ours\n");
    site
}

/// Returns the keys that may log in.
fn keys(twin: &Twin) -> String {
    api(
        twin,
        r#"json.loads(d.get(["/device/network/authorized_keys"]))["device"]["network"]["authorized_keys"]"#,
    )
}

fn manifest(site: &Site) -> String {
    std::fs::read_to_string(site.path("deploy.toml")).unwrap()
}

#[test]
fn a_key_is_added_by_the_api_and_the_vpu_is_pinned() {
    let twin = Twin::up();
    let site = stranger(&twin);
    let before = keys(&twin);
    assert!(!before.is_empty());
    site.run(&["plan"]).exits(3).says("code: host-key-unknown");
    site.run(&["authorize"])
        .exits(1)
        .says(&format!("(serial {}, firmware 1.4.30", twin.serial))
        .says("code: no-terminal");
    let done = site.run(&["authorize", "--yes"]).exits(0);
    done.says("made the key")
        .says("added the key through the device's API");
    let after = keys(&twin);
    assert!(after.starts_with(before.trim_end()), "{after}");
    assert_eq!(
        after.trim().lines().count(),
        before.trim().lines().count() + 1
    );
    let text = manifest(&site);
    assert!(
        text.starts_with("# our robot\n[vpu]   # in hall 3\nhost = "),
        "{text}"
    );
    assert!(text.contains("# arch of the twin\narch = "), "{text}");
    assert!(
        text.contains("identity = \"~/.ssh/id_ed25519\"\n"),
        "{text}"
    );
    assert!(
        text.contains(&format!("host_key = \"{}\"\n", twin.host_key)),
        "{text}"
    );
    assert!(
        text.contains(&format!("serial = \"{}\"\n", twin.serial)),
        "{text}"
    );
    assert!(text.contains("name = \"app\"   # ours\n"), "{text}");
    site.apply();
    // Once more: nothing to add, nothing to write.
    site.run(&["authorize"])
        .exits(0)
        .says("nothing to add: [vpu] in deploy.toml");
    assert_eq!(keys(&twin), after);
    assert_eq!(manifest(&site), text);
    // A new manifest.
    let new = Site::new(&twin);
    let done = new
        .run(&["--host", &twin.address, "init", "--yes"])
        .exits(0);
    done.says("wrote host, identity, host_key, serial to [vpu] in deploy.toml");
    new.run(&["check"]).exits(0);
    new.run(&["plan"]).says(&twin.serial);
    new.run(&["-f", "other.toml", "init", "--yes"])
        .exits(1)
        .says("name it with --host");
    let after = keys(&twin);
    // One of several, in a file of its own; the key exists already.
    let several = Site::new(&twin);
    several.write("deploy.toml", "[release]\nname = \"app\"\n");
    let vpus = format!(
        "[vpus.a]\nhost = \"{}\"\narch = \"{}\"\n\n[vpus.b]   # the other\nhost = \"127.0.0.1\"\n",
        twin.address,
        crate::support::architecture()
    );
    several.write("vpus.toml", &vpus);
    let key = site.path("home/.ssh/id_ed25519");
    let words = [
        "--vpu",
        "a",
        "authorize",
        "--yes",
        "--key",
        key.to_str().unwrap(),
    ];
    let done = several.run(&words).exits(0);
    done.says("wrote identity, host_key, serial to [vpus.a] in vpus.toml");
    assert_eq!(keys(&twin), after);
    let vpus = std::fs::read_to_string(several.path("vpus.toml")).unwrap();
    assert!(
        vpus.ends_with("\n[vpus.b]   # the other\nhost = \"127.0.0.1\"\n"),
        "{vpus}"
    );
    several.run(&["--vpu", "a", "plan"]).exits(0);
}

#[test]
fn another_vpu_and_one_that_refuses_get_no_key() {
    let twin = Twin::up();
    let mut site = stranger(&twin);
    let before = keys(&twin);
    site.vpu.push_str("serial = \"000018988497\"\n");
    site.manifest("[release]\nname = \"app\"\n");
    site.run(&["authorize", "--yes"])
        .exits(3)
        .says(&format!("this is the VPU with serial {}", twin.serial))
        .says("code: other-vpu");
    assert_eq!(keys(&twin), before);
    let site = stranger(&twin);
    for fault in ["set: fault 104014 sealed", "get: http 503", "set: close"] {
        inject(&twin, fault);
        let ran = site.run(&["authorize", "--yes"]).exits(3);
        ran.says("the key was not added: ")
            .says("code: not-authorized");
    }
    inject(&twin, "off");
    assert_eq!(keys(&twin), before);
    site.run(&["authorize", "--yes", "--key", "absent"])
        .exits(3)
        .says("cannot be used: ")
        .says("code: not-authorized");
}

#[test]
fn a_firmware_that_takes_passwords_is_logged_in_to_once() {
    let twin = Twin::of(Profile::Fw1_1_30);
    let site = stranger(&twin);
    inject(&twin, "set: fault 104012 JSON Path not valid");
    let others = twin.oem("cat .ssh/authorized_keys");
    let done = site.run_in_terminal(&["authorize", "--yes"], "password:", "oem\n");
    done.exits(0).says("log in once with the password");
    let keys = twin.oem("cat .ssh/authorized_keys; stat -c %a .ssh/authorized_keys");
    assert!(
        keys.starts_with(&others) && keys.ends_with("\n600"),
        "{keys}"
    );
    inject(&twin, "off");
    site.apply();
}
