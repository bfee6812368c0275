//! Complete plans about the device, as people read them: its
//! name, serial number and firmware. On the in-memory VPU.

use o3r_deploy::internal::{
    observe::{Probed, observe},
    offers::Offers,
    plan::{self, Plan},
    render,
};
use o3r_testing::vpu::{FakeVpu, World};
use serde_json::json;

use crate::plan_boot::{boot, desired, observed, planned, world};

const NAMED: &str = "[vpu]\nname = \"agv-17\"\n";

/// Returns a device with a current name, and its saved settings.
fn device(name: &str, saved: serde_json::Value) -> World {
    let mut world = world();
    world.settings["device"]["info"]["name"] = json!(name);
    world.saved_settings = saved;
    world
}

#[tokio::test]
async fn the_name_is_set_and_saved_with_the_saved_settings() {
    let named = |name: &str| json!({"device": {"info": {"name": name}}});
    assert_eq!(
        planned(device("agv-17", named("agv-17")), NAMED, "").await,
        ""
    );
    insta::assert_snapshot!(planned(device("", json!({})), NAMED, "").await, @r#"
    switch
      ~ update  vpu.name
                name: (none) -> agv-17
                $ device-api:80 set '{"device":{"info":{"name":"agv-17"}}}'
                $ device-api:80 saveInit /device/info/name
    "#);
    let port = json!({"ports": {"port0": {"state": "RUN"}}});
    insta::assert_snapshot!(planned(device("agv-17", port.clone()), NAMED, "").await, @r"
    switch
      ~ update  vpu.name
                name after the next boot: (none) -> agv-17
                $ device-api:80 saveInit /device/info/name /ports/port0/state
    ");
    // Saved already: other temporary settings stay temporary.
    let temporary =
        json!({"device": {"info": {"name": "agv-17"}}, "ports": {"port0": {"state": "IDLE"}}});
    insta::assert_snapshot!(planned(device("theirs", temporary), NAMED, "").await, @r#"
        switch
          ~ update  vpu.name
                    name: theirs -> agv-17
                    $ device-api:80 set '{"device":{"info":{"name":"agv-17"}}}'
        "#);

    let undo_of = async |manifest: &str, world: World| {
        let wanted = desired(manifest, "");
        let plan = plan::plan(
            &wanted,
            &observed(world, &wanted).await,
            &Offers::default(),
            "vpu",
        );
        let undo = plan.steps[0].undo.iter().map(plan::Command::to_display);
        undo.collect::<Vec<_>>().join("\n")
    };
    let undo = async |world: World| undo_of(NAMED, world).await;
    // Nothing was saved: what was only set must not become permanent.
    let mut world = device("", json!({}));
    world.settings["ports"] = json!({"port0": {"state": "IDLE"}});
    let config = "[device]\nconfig = { ports = { port0 = { state = \"RUN\" } } }\n";
    insta::assert_snapshot!(undo_of(config, world).await, @r#"
        device-api:80 set '{"ports":{"port0":{"state":"IDLE"}}}'
        device-api:80 saveInit /device/info/name
        "#);
    insta::assert_snapshot!(undo(device("old", json!({}))).await, @r#"
        device-api:80 set '{"device":{"info":{"name":"old"}}}'
        device-api:80 saveInit /device/info/name
        "#);
    insta::assert_snapshot!(undo(device("old", port)).await, @r#"
        device-api:80 set '{"device":{"info":{"name":"old"}}}'
        device-api:80 saveInit /ports/port0/state
        "#);
    insta::assert_snapshot!(undo(device("for now", named("agv-17"))).await, @r#"
        device-api:80 set '{"device":{"info":{"name":"for now"}}}'
        "#);
    insta::assert_snapshot!(undo(device("for now", named("old"))).await, @r#"
        device-api:80 set '{"device":{"info":{"name":"old"}}}'
        device-api:80 saveInit /device/info/name
        device-api:80 set '{"device":{"info":{"name":"for now"}}}'
        "#);
}

#[tokio::test]
async fn a_name_is_not_saved_at_the_cost_of_other_settings() {
    let temporary = device(
        "",
        json!({"ports": {"port0": {"state": "IDLE"}, "port2": {"state": "RUN"}}}),
    );
    insta::assert_snapshot!(planned(temporary, NAMED, "").await, @r"
    ✗ vpu.name is blocked: saving the name would also save settings that somebody changed and did not save: /ports/port0/state
      help: undo these settings (a reboot does) or save them, and plan again
      code: settings-at-risk
    ");
    let unplugged = device("", json!({"ports": {"port6": {"state": "RUN"}}}));
    insta::assert_snapshot!(planned(unplugged, NAMED, "").await, @r"
    ✗ vpu.name is blocked: saving the name would lose saved settings of parts that are not connected: /ports/port6/state
      help: connect the missing parts (such as a camera) and plan again
      code: settings-at-risk
    ");
}

#[tokio::test]
async fn settings_are_set_and_saved_by_attribute() {
    let config = "[device.config]\nports = { port0 = { state = \"IDLE\", rate = 5 } }\n";
    let mut world = device("", json!({}));
    world.settings["ports"] = json!({"port0": {"state": "RUN", "rate": 5.0}});
    insta::assert_snapshot!(planned(world.clone(), config, "").await, @r#"
    switch
      ~ update  vpu.config
                /ports/port0/rate after the next boot: (none) -> 5
                /ports/port0/state: "RUN" -> "IDLE"
                $ device-api:80 set '{"ports":{"port0":{"state":"IDLE"}}}'
                $ device-api:80 saveInit /ports/port0/rate /ports/port0/state
    "#);
    let saved = json!({"ports": {"port0": {"rate": 5, "state": "IDLE"}}, "x": 1});
    world.settings["x"] = json!(1);
    world.saved_settings = saved;
    insta::assert_snapshot!(planned(world.clone(), config, "").await, @r#"
    switch
      ~ update  vpu.config
                /ports/port0/state: "RUN" -> "IDLE"
                $ device-api:80 set '{"ports":{"port0":{"state":"IDLE"}}}'
    "#);
    let refused = "[device.config.device.info]\nserialNumber = \"1\"\n";
    insta::assert_snapshot!(planned(world.clone(), refused, "").await, @"
    ✗ vpu.config is blocked: the device rejects /device/info/serialNumber: it is read-only
      help: correct `config` in [device]; `ifm3d dump` shows the attributes that the device has
      code: setting-rejected
    ");
    let network = "[device.config.device.network]\naddress = \"10.0.0.1\"\n";
    insta::assert_snapshot!(planned(world, network, "").await, @"
    ✗ vpu.config is blocked: the network of the device would change: /device/network/address
      help: leave it out of `config`; if the VPU may get another address, set `network = true` in [device]
      code: network-settings
    ");
}

/// Returns what is reported about a device's firmware if `range` is required.
async fn firmware(found: &str, range: &str) -> String {
    let mut world = world();
    world.firmware = found.to_owned();
    planned(world, &format!("[vpu]\nfirmware = \"{range}\"\n"), "").await
}

#[tokio::test]
async fn firmware_is_matched_in_every_form_that_devices_write_it() {
    for (found, range, matches) in [
        ("1.4.30-5230", ">=1.4.30, <2", true),
        ("1.4.30.5230", ">=1.4.30, <2", true),
        ("1.4.30", "=1.4.30", true),
        ("1.4.30-rc.2+build_7", "1.4.30", true),
        ("1.10.13-6035", ">=1.4.30, <2", true),
        ("1.21.16-7000", ">=1.4.30 <1.21", false),
        ("1.4.29-9999", ">=1.4.30", false),
        ("0.13.13-1045", "<1", true),
        ("0.13.13-1045", ">=0.14", false),
        ("0.14.23-1234", ">=0.14, <0.15", true),
        (" 1.4.30-5230 ", ">=1.4.30", true),
    ] {
        let said = firmware(found, range).await;
        assert_eq!(said.is_empty(), matches, "{found} {range}: {said}");
        if !matches {
            assert!(
                said.contains("the manifest requires") && said.ends_with("code: wrong-firmware"),
                "{said}"
            );
        }
    }
    for odd in [
        "",
        "1.4",
        "v1.4.30",
        "dev-build",
        "1.4.30-",
        "1.x.3",
        "1.4.30 (5230)",
    ] {
        let said = firmware(odd, "*").await;
        assert!(
            said.contains("vpu.firmware is blocked: firmware cannot be checked"),
            "{odd}: {said}"
        );
    }
    insta::assert_snapshot!(firmware("", "*").await, @r"
    ✗ vpu.firmware is blocked: firmware cannot be checked: the device does not report it
      help: leave `firmware` out of the manifest if you are sure that it is the right device
      code: device-unknown
    ");
    insta::assert_snapshot!(firmware("dev-build", "*").await, @r"
    ✗ vpu.firmware is blocked: firmware cannot be checked: `dev-build` is not a firmware version: it does not start with three numbers
      help: the device reports it in an unknown form; leave `firmware` out of the manifest
      code: device-unknown
    ");
}

#[tokio::test]
async fn an_api_that_fails_blocks_what_needs_it_and_nothing_else() {
    let wanted = desired(&format!("{NAMED}serial = \"000012345678\"\n"), "");
    let mut observed = observed(world(), &wanted).await;
    observed.facts.device = Probed::Unknown("nothing listens on port 80".into());
    observed.facts.device_help = Some("wait until it has booted".into());
    insta::assert_snapshot!(boot(&plan::plan(&wanted, &observed, &Offers::default(), "vpu")), @r"
    ✗ vpu.serial is blocked: serial cannot be checked: nothing listens on port 80
      help: wait until it has booted; or leave `serial` out of the manifest
      code: device-unknown
    ✗ vpu.name is blocked: the device's name could not be determined: nothing listens on port 80
      help: wait until it has booted; or leave `name` out of [vpu]
      code: device-unknown
    note: name, serial and firmware are unknown: nothing listens on port 80 [device-unknown]
    ");
    let without = desired("[[directories]]\npath = \"~/share\"\n", "");
    let device = observed.facts.device.clone();
    observed = observe(&FakeVpu::new(world()), &without.query())
        .await
        .unwrap();
    observed.facts.device = device;
    let plan = plan::plan(&without, &observed, &Offers::default(), "vpu");
    assert_eq!(plan.blocked, vec![]);
    assert!(!plan.steps.is_empty());
}

#[tokio::test]
async fn api_calls_are_part_of_the_plan_document_and_of_the_script() {
    let wanted = desired(NAMED, "");
    let plan = plan::plan(
        &wanted,
        &observed(world(), &wanted).await,
        &Offers::default(),
        "vpu",
    );
    let json = render::json(&plan);
    assert_eq!(serde_json::from_str::<Plan>(&json).unwrap(), plan);
    let document: serde_json::Value = serde_json::from_str(&json).unwrap();
    let step = &document["steps"][0];
    let call = json!({
        "transport": {"kind": "device_api", "port": 80},
        "argv": ["saveInit", "/device/info/name"],
        "stdin": null,
    });
    assert_eq!(step["actions"][1], call);
    let schema = serde_json::from_str(&render::plan_schema()).unwrap();
    assert!(
        jsonschema::validator_for(&schema)
            .unwrap()
            .is_valid(&document)
    );
    let script = render::sh(&plan).text;
    assert!(script.contains(
        "o3r-device-api 80 set '{\"device\":{\"info\":{\"name\":\"agv-17\"}}}' </dev/null"
    ));
}
