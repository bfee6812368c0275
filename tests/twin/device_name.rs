//! The device's name, through its API over ssh, and the ways in which that API may fail to answer.

use crate::support::{Site, Twin, api, inject};

const NAMED: &str = "[release]\nname = \"fleet\"\n";

fn site(twin: &Twin, name: &str) -> Site {
    let mut site = Site::new(twin);
    let quoted = serde_json::json!(name);
    site.vpu = format!("{}name = {quoted}\n", site.vpu);
    site.manifest(NAMED);
    site
}

fn name(twin: &Twin) -> String {
    api(
        twin,
        r#"json.loads(d.get(["/device/info/name"]))["device"]["info"]["name"]"#,
    )
}

#[test]
fn it_is_set_and_survives_a_reboot() {
    let twin = Twin::up();
    let hostile = "agv 17 <&> 'front' \"§\" $(touch canary) ü";
    let site = site(&twin, hostile);
    // What another tool saved stays saved.
    api(
        &twin,
        r#"d.set(json.dumps({"ports": {"port2": {"state": "IDLE"}}})) + d.saveInit(["/ports/port2/state"])"#,
    );
    let ran = site.apply();
    ran.says("update  vpu.name").says("name: (none) -> agv 17");
    site.nothing_to_do();
    twin.reboot();
    assert_eq!(name(&twin), hostile);
    assert!(api(&twin, r#"d.get(["/ports/port2/state"])"#).contains("IDLE"));
    site.nothing_to_do();
    assert_eq!(twin.oem("ls"), "");
    let logs = site.logs();
    assert!(
        logs.contains("device-api:80 saveInit /device/info/name /ports/port2/state"),
        "{logs}"
    );

    // Someone renames it, temporarily or permanently.
    let rename = r#"d.set(json.dumps({"device": {"info": {"name": "theirs"}}}))"#;
    api(&twin, rename);
    assert_eq!(site.steps(), ["update vpu.name"]);
    api(
        &twin,
        &format!(r#"{rename} + d.saveInit(["/device/info/name"])"#),
    );
    site.apply();
    twin.power_cut();
    assert_eq!(name(&twin), hostile);

    // The right name, but unsaved.
    api(&twin, r#"d.saveInit(["/ports/port2/state"])"#);
    let plan = site.run(&["-v", "plan"]).exits(0);
    plan.says("name after the next boot: (none) -> agv 17");
    plan.says("device-api:80 saveInit /device/info/name /ports/port2/state");
    plan.says_not("device-api:80 set");
    site.apply();
    twin.reboot();
    site.nothing_to_do();
}

#[test]
fn no_temporary_settings_become_permanent() {
    let twin = Twin::up();
    let site = site(&twin, "agv-17");
    let port = |state: &str| {
        format!(r#"d.set(json.dumps({{"ports": {{"port2": {{"state": "{state}"}}}}}}))"#)
    };
    // The clock and the serial number were saved as well: they are not settings.
    api(&twin, &format!("{} + d.saveInit([])", port("RUN")));
    api(&twin, &port("IDLE"));
    let blocked = site.run(&["apply", "--yes"]).exits(9);
    blocked.says("vpu.name is blocked: saving the name would also save settings");
    blocked.says("did not save: /ports/port2/state");
    blocked.says("undo these settings (a reboot does)");
    assert_eq!(name(&twin), "");
    twin.reboot();
    site.apply();
    twin.reboot();
    site.nothing_to_do();
    assert!(api(&twin, r#"d.get(["/ports/port2/state"])"#).contains("RUN"));
}

#[test]
fn a_release_that_fails_restores_the_former_name() {
    let twin = Twin::up();
    let mut site = site(&twin, "agv-17");
    site.apply();
    site.vpu = site.vpu.replace("agv-17", "agv-18");
    site.manifest(NAMED);
    inject(&twin, "saveInit: fault 104014 Invalid device configuration");
    let failed = site.run(&["apply", "--yes"]).exits(4);
    failed.says("vpu.name failed; the previous release could not be restored");
    failed.says("the device's API refused with fault 104014: Invalid device configuration");
    failed.says("the device rejects its whole configuration as invalid");
    inject(&twin, "off");
    site.apply();
    assert_eq!(name(&twin), "agv-18");

    site.vpu = site.vpu.replace("agv-18", "agv-19");
    site.manifest(NAMED);
    // Only the first call fails: the name is set, and restored.
    twin.root("cp /usr/lib/o3r-twin/api.py /tmp/kept");
    twin.root("sed -i 's/^    def saveInit(self, pointers=()):/&\\n        if \"agv-19\" in self.get([\"\\/device\\/info\\/name\"]):\\n            raise Fault(104011, \"no\")/' /usr/lib/o3r-twin/api.py && systemctl restart o3r-api && sleep 1");
    let failed = site.run(&["apply", "--yes"]).exits(6);
    failed.says("vpu.name failed; the previous release was restored");
    failed.says("the device's schema does not allow this value");
    assert_eq!(name(&twin), "agv-18");
    twin.reboot();
    assert_eq!(name(&twin), "agv-18");
}

#[test]
fn every_failure_to_answer_has_its_own_message() {
    let twin = Twin::up();
    let site = site(&twin, "agv-17");
    for (fault, reason, help) in [
        (
            "getInit: fault 104010 JSON",
            "refused with fault 104010: JSON",
            "report this as a bug",
        ),
        (
            "getInit: fault 104011 schema",
            "refused with fault 104011: schema",
            "choose a shorter",
        ),
        (
            "get: fault 104012 JSON Path not valid: /device/info",
            "refused with fault 104012: JSON Path not valid: /device/info",
            "this firmware does not support that setting",
        ),
        (
            "getInit: fault 104014 x",
            "refused with fault 104014: x",
            "its whole configuration as invalid",
        ),
        (
            "getInit: fault 7 x",
            "refused with fault 7: x",
            "look up the fault",
        ),
        (
            "getInit: garbage",
            "answered with something other than XML-RPC",
            "`api_port` in [vpu]",
        ),
        (
            "getInit: http 503",
            "answered with HTTP status 503",
            "try again; if it persists, restart it",
        ),
        (
            "get: http 404",
            "answered with HTTP status 404",
            "something else than the device's API",
        ),
        (
            "getInit: truncate",
            "is truncated",
            "if it persists, restart the device",
        ),
        (
            "get: close",
            "closed the connection without an answer",
            "if it persists, restart the device",
        ),
        (
            "getInit: slow 11",
            "did not answer `getInit` within 10 s",
            "may still be booting",
        ),
    ] {
        inject(&twin, fault);
        let ran = site.run(&["apply", "--yes"]).exits(9);
        ran.says("vpu.name is blocked: the device's name could not be determined: the ")
            .says(reason)
            .says(help);
    }
    twin.root("systemctl stop o3r-api");
    let ran = site.run(&["apply", "--yes"]).exits(9);
    ran.says("nothing listens on port 80, where the device's API should be");
    ran.says("wait until the device has booted");

    // Whatever does not need the API works without it.
    let without = Site::new(&twin);
    without.manifest("[release]\nname = \"fleet\"\n[[directories]]\npath = \"~/share\"\n");
    without
        .apply()
        .says("name, serial and firmware are unknown: nothing listens on port 80");
}

#[test]
fn a_script_sets_it_with_any_program_that_speaks_http() {
    let twin = Twin::up();
    let site = site(&twin, "agv 'x' <&>");
    site.run(&["plan", "--format", "sh", "-o", "script"])
        .exits(0);
    twin.copy(&site.path("script"), "script");
    twin.oem("sh script/deploy.sh");
    site.nothing_to_do();
    twin.reboot();
    assert_eq!(name(&twin), "agv 'x' <&>");

    // A refusal stops the script and is shown.
    inject(&twin, "set: fault 104011 too long");
    let refused = twin.try_oem("sh script/deploy.sh").exits(1);
    refused
        .says("the device's API refused set:")
        .says("104011")
        .says("too long");
    inject(&twin, "off");
    twin.root("systemctl stop o3r-api");
    let nobody = twin.try_oem("sh script/deploy.sh").exits(1);
    nobody.says("the device's API was not called; do it from another machine");
}
