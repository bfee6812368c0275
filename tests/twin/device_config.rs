//! The device's own configuration: compared, set and saved by attribute, and left alone otherwise.

use crate::support::{App, Profile, Site, Twin, api, ifm3dpy, inject};

const CONFIG: &str = r#"{
  "device": {"info": {"description": "front, {{ vars.side }}"}, "clock": {"sntp": {"active": false}}},
  "ports": {"port2": {"state": "IDLE", "data": {"pcicTCPPort": 50042}}}
}"#;

fn write(site: &Site, version: &str, config: &str, more: &str) {
    let mut app = App::new(version);
    app.more = format!(
        "[vars]\nside = \"left\"\n[device]\nconfig = \"o3r.json\"\ntemplate = true\n{more}"
    );
    app.write(site);
    site.write("o3r.json", config);
}

fn set(twin: &Twin, fragment: &str) {
    api(twin, &format!("d.set(json.dumps({fragment}))"));
}

/// Returns the saved configuration.
fn saved(twin: &Twin) -> serde_json::Value {
    serde_json::from_str(&api(twin, "d.getInit()")).unwrap()
}

fn is_set_and_saved(profile: Profile) {
    let twin = Twin::of(profile);
    let site = Site::new(&twin);
    // What another tool saved stays saved; what it only set stays temporary.
    set(&twin, r#"{"ports": {"port0": {"state": "IDLE"}}}"#);
    api(&twin, r#"d.saveInit(["/ports/port0/state"])"#);
    set(
        &twin,
        r#"{"device": {"network": {"interfaces": {"eth1": {"ipv4": {"mask": 16}}}}}}"#,
    );
    write(&site, "1.0.0", CONFIG, "");
    let plan = site.run(&["plan"]).exits(0);
    plan.says("/device/clock/sntp/active: true -> false")
        .says(r#"/device/info/description: "" -> "front, left""#)
        .says("/ports/port2/data/pcicTCPPort: 50012 -> 50042")
        .says(r#"/ports/port2/state: "RUN" -> "IDLE""#);
    site.apply();
    site.nothing_to_do();
    assert_eq!(ifm3dpy(&twin, "/ports/port2/data/pcicTCPPort"), "50042");
    assert_eq!(
        ifm3dpy(&twin, "/device/info/description"),
        "\"front, left\""
    );
    let wanted = serde_json::json!({
        "device": {"info": {"description": "front, left"}, "clock": {"sntp": {"active": false}}},
        "ports": {"port0": {"state": "IDLE"}, "port2": {"state": "IDLE", "data": {"pcicTCPPort": 50042}}},
    });
    assert_eq!(saved(&twin), wanted);
    twin.reboot();
    site.nothing_to_do();

    // What a dump has besides settings is compared, and never saved.
    let serial = format!(
        "\"device\": {{\"info\": {{\"serialNumber\": \"{}\", ",
        twin.serial
    );
    write(
        &site,
        "1.0.0",
        &CONFIG.replace("\"device\": {\"info\": {", &serial),
        "",
    );
    site.apply();
    site.nothing_to_do();
    assert_eq!(saved(&twin), wanted);

    // The next release changes one value; a rollback returns to the former one.
    write(&site, "1.1.0", &CONFIG.replace("50042", "50043"), "");
    assert!(site.steps().contains(&"update vpu.config".to_owned()));
    site.apply();
    assert_eq!(ifm3dpy(&twin, "/ports/port2/data/pcicTCPPort"), "50043");
    site.run(&["rollback", "--yes"]).exits(0);
    assert_eq!(saved(&twin), wanted);
    assert_eq!(ifm3dpy(&twin, "/ports/port2/data/pcicTCPPort"), "50042");
}

#[test]
fn it_is_set_saved_and_rolled_back() {
    is_set_and_saved(Profile::Fw1_4_30);
}

#[test]
fn it_is_set_saved_and_rolled_back_on_the_newer_generation() {
    is_set_and_saved(Profile::Fw1_21_16);
}

#[test]
fn a_release_that_fails_restores_the_configuration() {
    let twin = Twin::up();
    let site = Site::new(&twin);
    write(&site, "1.0.0", CONFIG, "");
    site.apply();
    let before = saved(&twin);
    // A temporary value of somebody else is restored, too, and stays temporary.
    set(
        &twin,
        r#"{"ports": {"port2": {"data": {"pcicTCPPort": 50050}}}}"#,
    );
    let mut app = App::new("1.1.0");
    app.more = "[device.config.ports.port2]\nstate = \"CONF\"\ndata = { pcicTCPPort = 50044 }\n"
        .to_owned();
    "false".clone_into(&mut app.command);
    app.write(&site);
    site.run(&["apply", "--yes"]).exits(6);
    assert_eq!(saved(&twin), before);
    assert_eq!(ifm3dpy(&twin, "/ports/port2/data/pcicTCPPort"), "50050");
    assert_eq!(ifm3dpy(&twin, "/ports/port2/state"), "\"IDLE\"");
    // The device refuses the values: nothing else was touched.
    write(&site, "1.2.0", &CONFIG.replace("50042", "50045"), "");
    inject(&twin, "set: fault 104014 Invalid device configuration");
    let failed = site.run(&["apply", "--yes"]).exits(4);
    failed.says("vpu.config failed").says("104014");
    inject(&twin, "off");
    site.apply();
    site.nothing_to_do();
}

#[test]
fn what_the_device_or_others_would_suffer_from_is_blocked() {
    let twin = Twin::up();
    let site = Site::new(&twin);
    let blocked = |config: &str, more: &str, code: &str| {
        write(&site, "1.0.0", config, more);
        let ran = site.run(&["apply", "--yes"]).exits(9);
        ran.says("vpu.config is blocked")
            .says(&format!("code: {code}"));
        ran
    };
    blocked(
        r#"{"ports": {"port2": {"stat": "IDLE"}}}"#,
        "",
        "setting-rejected",
    )
    .says("/ports/port2/stat: the device has no such attribute");
    blocked(
        r#"{"ports": {"port2": {"state": "idle"}}}"#,
        "",
        "setting-rejected",
    )
    .says(r#"/ports/port2/state: "idle" is not one of"#);
    blocked(
        r#"{"device": {"info": {"serialNumber": "1"}}}"#,
        "",
        "setting-rejected",
    )
    .says("/device/info/serialNumber: it is read-only");
    let network =
        r#"{"device": {"network": {"interfaces": {"eth1": {"ipv4": {"address": "10.0.0.1"}}}}}}"#;
    blocked(network, "", "network-settings")
        .says("/device/network/interfaces/eth1/ipv4/address")
        .says("network = true");
    write(&site, "1.0.0", network, "network = true\n");
    site.run(&["plan"])
        .exits(0)
        .says("\"192.168.1.69\" -> \"10.0.0.1\"");
    // A temporary setting of somebody else, of which another value is saved.
    set(&twin, r#"{"ports": {"port0": {"state": "IDLE"}}}"#);
    api(&twin, r#"d.saveInit(["/ports/port0/state"])"#);
    set(&twin, r#"{"ports": {"port0": {"state": "CONF"}}}"#);
    blocked(CONFIG, "", "settings-at-risk").says("/ports/port0/state");
    // Without saving, nothing becomes permanent.
    write(&site, "1.0.0", CONFIG, "save = false\n");
    site.apply();
    site.nothing_to_do();
    assert_eq!(
        saved(&twin),
        serde_json::json!({"ports": {"port0": {"state": "IDLE"}}})
    );
    twin.reboot();
    assert_eq!(site.steps()[0], "update vpu.config");
    // What another declaration is for, what plans may not show, and what is no configuration.
    write(
        &site,
        "1.0.0",
        r#"{"device": {"info": {"description": "{{ env.USER }}"}}}"#,
        "[vars]\nenv = [\"USER\"]\n",
    );
    let text = std::fs::read_to_string(site.path("deploy.toml")).unwrap();
    std::fs::write(
        site.path("deploy.toml"),
        text.replacen("[vars]\nside = \"left\"\n", "", 1),
    )
    .unwrap();
    site.run(&["check"])
        .exits(1)
        .says("has a value of this machine's environment")
        .says_not("tester");
    write(&site, "1.0.0", r#"{"device": {"info": {"name": "x"}}}"#, "");
    site.run(&["check"])
        .exits(1)
        .says("write it as `name` in [vpu]");
    write(&site, "1.0.0", "[1]", "");
    site.run(&["check"])
        .exits(1)
        .says("`config` is not a JSON object");
    write(&site, "1.0.0", "{\"a\": }", "");
    site.run(&["check"])
        .exits(1)
        .says("o3r.json:1 is not valid JSON");
}
