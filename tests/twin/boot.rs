//! A reboot starts what was applied.

use crate::support::{App, Profile, Site, Twin};

#[test]
fn started_by_the_boot_unit() {
    let twin = Twin::of(Profile::Fw1_4_30);
    let site = Site::new(&twin);
    let mut app = App::new("1.0.0");
    // Only the unit brings it back.
    app.restart = "no".to_owned();
    app.write(&site);
    site.apply();
    twin.oem("systemctl --user enable oem-dc@hello");
    // At the second boot, the unit removes the containers that it started and creates new ones.
    for _ in 0..2 {
        twin.reboot();
        site.nothing_to_do();
        app.runs_on(&twin);
    }
    app.greeting = "another".to_owned();
    app.write(&site);
    assert_eq!(
        site.steps(),
        [
            "update file.hello/conf/greeting.txt",
            "update compose.hello",
            "update release.hello"
        ]
    );
    site.apply();
    app.runs_on(&twin);
    twin.power_cut();
    site.nothing_to_do();
    app.runs_on(&twin);
}

#[test]
fn started_by_restart_policy() {
    let twin = Twin::of(Profile::Fw1_21_16);
    let site = Site::new(&twin);
    let app = App::new("1.0.0");
    app.write(&site);
    site.apply();
    site.nothing_to_do();
    twin.reboot();
    site.nothing_to_do();
    app.runs_on(&twin);
    twin.power_cut();
    site.nothing_to_do();
    app.runs_on(&twin);
}

#[test]
fn oldest_firmware() {
    let twin = Twin::of(Profile::Fw1_1_30);
    let site = Site::new(&twin);
    let app = App::new("1.0.0");
    app.write(&site);
    site.apply();
    site.nothing_to_do();
    app.runs_on(&twin);
}

#[test]
fn a_container_that_does_not_come_back_is_started() {
    let twin = Twin::up();
    let site = Site::new(&twin);
    let mut app = App::new("1.0.0");
    app.restart = "no".to_owned();
    app.write(&site);
    site.apply();
    twin.reboot();
    assert_eq!(site.steps(), ["update compose.hello"]);
    site.apply();
    app.runs_on(&twin);
}
