//! Complete plans about booting, as people read them. On the in-memory VPU.

use std::collections::{BTreeMap, BTreeSet};

use camino::Utf8Path;
use o3r_deploy::internal::{
    desired::Desired,
    image::LayerCache,
    manifest,
    observe::{self, Facts, Observed, Probed, observe},
    offers::Offers,
    plan::{self, Plan},
    render,
    resolve::resolve,
};
use o3r_testing::vpu::{Autostart, Container, FakeVpu, Image, World};

/// Returns the desired state of a manifest with `more` besides the release and the image.
pub(crate) fn desired(more: &str, restart: &str) -> Desired {
    let directory = tempfile::tempdir().unwrap();
    let path = Utf8Path::from_path(directory.path()).unwrap();
    let toml = format!(
        "[release]\nname = \"app\"\nversion = \"1\"\n\n[[images]]\nname = \"app:1\"\n{more}"
    );
    std::fs::write(path.join("deploy.toml"), toml).unwrap();
    let compose = format!(
        "version: \"2.4\"\nservices:\n  web:\n    image: app:1\n{restart}  job:\n    image: app:1\n    restart: unless-stopped\n"
    );
    std::fs::write(path.join("docker-compose.yml"), compose).unwrap();
    let loaded = manifest::load(&path.join("deploy.toml")).unwrap();
    let mut desired = resolve(&loaded, &LayerCache::new(path)).unwrap().desired;
    for project in &mut desired.projects {
        for file in &mut project.files {
            file.local = file.local.file_name().unwrap_or_default().into();
        }
    }
    desired
}

pub(crate) fn world() -> World {
    let image = Image {
        tags: BTreeSet::from(["app:1".to_owned()]),
        layers: vec![],
        arch: "arm64".to_owned(),
        volumes: std::collections::BTreeSet::new(),
        tars: vec![],
    };
    World {
        images: BTreeMap::from([("sha256:1".to_owned(), image)]),
        ..World::default()
    }
}

pub(crate) fn newer() -> World {
    World {
        autostart: Autostart::by_policy(),
        ..world()
    }
}

pub(crate) async fn observed(world: World, desired: &Desired) -> Observed {
    observe(&FakeVpu::new(world), &desired.query())
        .await
        .unwrap()
}

/// Returns the plan without its heading and the steps of other resources.
pub(crate) fn boot(plan: &Plan) -> String {
    assert_eq!(plan::lint::lint(plan), Vec::<String>::new());
    let mut plan = plan.clone();
    let own = ["autostart.", "service.", "vpu."];
    plan.steps.retain(|step| {
        own.iter()
            .any(|kind| step.address.to_string().starts_with(kind))
    });
    plan.summary = plan::Summary::default();
    let style = render::Style {
        verbose: true,
        ..render::Style::default()
    };
    let text = render::text(&plan, style);
    let lines = text
        .lines()
        .skip(1)
        .filter(|line| {
            let ends = ["Plan: ", "Nothing to do", "legend: "];
            !ends.iter().any(|end| line.starts_with(end))
        })
        .filter(|line| !line.is_empty());
    lines.collect::<Vec<_>>().join("\n")
}

pub(crate) async fn planned(world: World, more: &str, restart: &str) -> String {
    let desired = desired(more, restart);
    boot(&plan::plan(
        &desired,
        &observed(world, &desired).await,
        &Offers::default(),
        "vpu",
    ))
}

pub(crate) const ON: &str = "[[compose]]\nname = \"app\"\nautostart = true\n";
const OFF: &str = "[[compose]]\nname = \"app\"\nautostart = false\n";
const LEFT: &str = "[[compose]]\nname = \"app\"\n";

#[tokio::test]
async fn the_older_generation_enables_and_disables_units() {
    insta::assert_snapshot!(planned(world(), ON, "").await, @r"
    switch
      + create  autostart.app
                $ systemctl --user enable -- oem-dc@app.service
                $ sync
    ");
    let mut enabled = world();
    enabled.autostart.enabled.insert("app".into());
    assert_eq!(planned(enabled.clone(), ON, "").await, "");
    assert_eq!(planned(enabled.clone(), LEFT, "").await, "");
    insta::assert_snapshot!(planned(enabled.clone(), OFF, "").await, @r"
    switch
      - remove  autostart.app
                after a boot: started -> not started
                $ systemctl --user disable -- oem-dc@app.service
                $ sync
    note: project app has `autostart = false`, but dockerd starts job (`restart: unless-stopped`) at boot by restart policy; remove `restart:` from docker-compose.yml to prevent that [starts-by-policy]
    ");
    let absent = "[[compose]]\nname = \"app\"\nstate = \"absent\"\nautostart = true\n";
    insta::assert_snapshot!(planned(enabled, absent, "").await, @r"
        switch
          - remove  autostart.app
                    no longer declared
                    $ systemctl --user disable -- oem-dc@app.service
                    $ sync
        ");
    let stopped = format!("{ON}state = \"stopped\"\n");
    insta::assert_snapshot!(planned(world(), &stopped, "").await, @r#"
    switch
      + create  autostart.app
                $ systemctl --user enable -- oem-dc@app.service
                $ sync
    note: oem-dc@app.service starts project app at every boot (`autostart = true`), and the next apply stops it again (`state = "stopped"`) [stopped-starts-at-boot]
    "#);
}

#[tokio::test]
async fn the_newer_generation_needs_policies_and_its_service() {
    insta::assert_snapshot!(planned(newer(), ON, "").await, @r"
    ✗ autostart.app is blocked: on this firmware only a restart policy starts containers after a boot, and service web in docker-compose.yml has none that starts it
      help: add to it in docker-compose.yml the line: restart: unless-stopped
      code: no-restart-policy
    ");
    insta::assert_snapshot!(planned(newer(), ON, "    restart: on-failure:3\n").await, @r"
    ✗ autostart.app is blocked: on this firmware only a restart policy starts containers after a boot, and service web (`restart: on-failure:3`) in docker-compose.yml has none that starts it
      help: add to it in docker-compose.yml the line: restart: unless-stopped
      code: no-restart-policy
    ");
    insta::assert_snapshot!(planned(newer(), ON, "    restart: always\n").await, @r"
    switch
      ~ update  service.oem-dc-autostart
                state: disabled -> enabled
                $ systemctl --user enable -- oem-dc-autostart.service
                $ sync
    ");
    let stopped = format!("{ON}state = \"stopped\"\n");
    insta::assert_snapshot!(planned(newer(), &stopped, "    restart: always\n").await, @r#"
    switch
      ~ update  service.oem-dc-autostart
                state: disabled -> enabled
                $ systemctl --user enable -- oem-dc-autostart.service
                $ sync
    note: dockerd starts web (`restart: always`) of project app after a boot (`autostart = true`), and the next apply stops it again (`state = "stopped"`) [stopped-starts-at-boot]
    "#);
    // Nothing is reported about policies if `autostart` is not declared.
    assert_eq!(planned(newer(), LEFT, "").await, "");
    insta::assert_snapshot!(planned(newer(), OFF, "    restart: always\n").await, @r"note: project app has `autostart = false`, but dockerd starts job (`restart: unless-stopped`), web (`restart: always`) at boot by restart policy; remove `restart:` from docker-compose.yml to prevent that [starts-by-policy]");
}

#[tokio::test]
async fn a_vpu_that_cannot_start_it_blocks() {
    let with = |change: &dyn Fn(&mut Autostart)| {
        let mut world = world();
        change(&mut world.autostart);
        world
    };
    insta::assert_snapshot!(planned(with(&|a| a.lingering = false), ON, "").await, @r"
    ✗ autostart.app is blocked: lingering is off for this user: its services, and so this autostart, run only while somebody is logged in
      help: on the VPU, as root: loginctl enable-linger USER (a VPU leaves the factory with lingering on for oem); or leave `autostart` out
      code: lingering-off
    ");
    insta::assert_snapshot!(planned(with(&|a| a.units = false), ON, "").await, @r"
    ✗ autostart.app is blocked: this firmware has neither oem-dc@.service nor oem-dc-autostart.service, so nothing can start it at boot
      help: check on the VPU: systemctl --user list-unit-files 'oem-dc*'; or leave `autostart` out
      code: no-boot-service
    ");
    let elsewhere = with(&|a| a.working_directory = "/opt/%i".into());
    insta::assert_snapshot!(planned(elsewhere.clone(), ON, "").await, @r"
    ✗ autostart.app is blocked: oem-dc@app.service starts the compose file of /opt/app, but /usr/share/oem/docker/compose/app is deployed
      help: on the VPU, set WorkingDirectory=/usr/share/oem/docker/compose/%i: systemctl --user edit oem-dc@.service; or leave `autostart` out
      code: unit-differs
    ");
    // A manifest that does not declare `autostart` is not blocked.
    assert_eq!(planned(elsewhere, LEFT, "").await, "");

    let unknown = |desired: &Desired| {
        let desired = desired.clone();
        async move {
            let mut observed = observed(world(), &desired).await;
            observed.facts.autostart = Probed::Unknown("Failed to connect to bus".into());
            boot(&plan::plan(&desired, &observed, &Offers::default(), "vpu"))
        }
    };
    let more = format!("{OFF}[autostart]\ndisable = [\"old-demo\"]\n");
    insta::assert_snapshot!(unknown(&desired(&more, "")).await, @r"
    ✗ autostart.app is blocked: Failed to connect to bus
      help: check on the VPU: systemctl --user list-unit-files 'oem-dc*'
      code: state-unknown
    ✗ autostart.old-demo is blocked: Failed to connect to bus
      help: check on the VPU: systemctl --user list-unit-files 'oem-dc*'
      code: state-unknown
    ");
    insta::assert_snapshot!(unknown(&desired(LEFT, "")).await, @"note: if the VPU restarts during this apply, it may not roll back automatically, because it is unknown whether its services start without a login; the next apply does [no-rollback-at-boot]");

    let wanted = desired(OFF, "");
    let mut by_root = observed(world(), &wanted).await;
    if let Probed::Known(found) = &mut by_root.facts.autostart {
        found.enabled_for_all.insert("app".into());
    }
    insta::assert_snapshot!(boot(&plan::plan(&wanted, &by_root, &Offers::default(), "vpu")), @r"
    ✗ autostart.app is blocked: oem-dc@app.service is enabled in /etc/systemd/user, for every user; only root can disable it
      help: on the VPU, as root: systemctl --global disable oem-dc@app.service
      code: unit-of-root
    note: project app has `autostart = false`, but dockerd starts job (`restart: unless-stopped`) at boot by restart policy; remove `restart:` from docker-compose.yml to prevent that [starts-by-policy]
    ");
}

#[tokio::test]
async fn an_unknown_or_undeclared_effect_of_a_boot_is_noted() {
    let with = |change: fn(&mut Facts)| async move {
        let wanted = desired(ON, "    restart: always\n");
        let mut observed = observed(world(), &wanted).await;
        change(&mut observed.facts);
        boot(&plan::plan(&wanted, &observed, &Offers::default(), "vpu"))
    };
    insta::assert_snapshot!(with(|facts| unit(facts).wanted_by = ["graphical.target".to_owned()].into()).await, @"
    switch
      + create  autostart.app
                $ systemctl --user enable -- oem-dc@app.service
                $ sync
    note: oem-dc@app.service is started by graphical.target, not by default.target: whether it starts at boot could not be determined [boot-target-unknown]
    ");
    insta::assert_snapshot!(with(|facts| autostart(facts).template = Some("masked".into())).await, @"
    ✗ autostart.app is blocked: oem-dc@.service is masked: it can be neither enabled nor started
      help: on the VPU: systemctl --user unmask oem-dc@.service
      code: unit-masked
    ");
    let static_service = |facts: &mut Facts| {
        let found = autostart(facts);
        found.template = None;
        found.service = Some("static".into());
    };
    insta::assert_snapshot!(with(static_service).await, @r#"note: oem-dc-autostart.service cannot be enabled (it has no [Install] section): whether it starts at boot could not be determined [boot-service-static]"#);
    let stopped = format!("{ON}state = \"stopped\"\n");
    insta::assert_snapshot!(planned(newer(), &stopped, "    restart: unless-stopped\n").await, @r#"
    switch
      ~ update  service.oem-dc-autostart
                state: disabled -> enabled
                $ systemctl --user enable -- oem-dc-autostart.service
                $ sync
    note: project app is stopped (`state = "stopped"`), and `autostart = true` does not start it after a boot: dockerd starts what ran before [stopped-stays-down]
    "#);
}

fn autostart(facts: &mut Facts) -> &mut observe::Autostart {
    match &mut facts.autostart {
        Probed::Known(found) => found,
        Probed::Unknown(reason) => panic!("{reason}"),
    }
}

fn unit(facts: &mut Facts) -> &mut observe::Unit {
    match autostart(facts).units.get_mut("app") {
        Some(Probed::Known(unit)) => unit,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn disabled_services_lose_unit_and_policies_and_nothing_else() {
    let mut world = world();
    for (id, project, policy) in [
        ("a", "old-demo", "always"),
        ("b", "old-demo", "unless-stopped"),
        ("c", "old-demo", "on-failure"),
        ("d", "other", "always"),
        ("e", "", "always"),
    ] {
        let container = Container {
            name: format!("c-{id}"),
            image: "sha256:1".into(),
            status: "running".into(),
            restart_policy: policy.into(),
            project: project.into(),
            service: "web".into(),
            working_dir: "/elsewhere".into(),
            volumes: BTreeSet::new(),
            host_network: false,
            config_hash: o3r_deploy::internal::digest::Digest::of(b""),
            made_from: BTreeMap::new(),
            mounted: BTreeMap::new(),
            details: o3r_testing::vpu::Details::default(),
        };
        world.containers.insert(id.repeat(12), container);
    }
    world.autostart.enabled = BTreeSet::from(["old-demo".into(), "other".into()]);
    let more = "[autostart]\ndisable = [\"old-demo\", \"nobody\", \"old-demo\"]\n";
    let wanted = desired(more, "");
    let plan = plan::plan(
        &wanted,
        &observed(world.clone(), &wanted).await,
        &Offers::default(),
        "vpu",
    );
    insta::assert_snapshot!(boot(&plan), @r"
    switch
      - remove  autostart.old-demo
                oem-dc@old-demo.service: enabled -> disabled
                container c-a: restart policy: always -> no
                container c-b: restart policy: unless-stopped -> no
                $ systemctl --user disable -- oem-dc@old-demo.service
                $ sync
                $ docker container update --restart=no aaaaaaaaaaaa
                $ docker container update --restart=no bbbbbbbbbbbb
    ");
    let undo = plan.steps[0].undo.iter();
    let undo: Vec<String> = undo.map(plan::Command::to_display).collect();
    insta::assert_snapshot!(undo.join("\n"), @r"
        systemctl --user enable -- oem-dc@old-demo.service
        sync
        docker container update --restart=always aaaaaaaaaaaa
        docker container update --restart=unless-stopped bbbbbbbbbbbb
        ");

    // Only what a plan depends on makes it stale.
    let fingerprint = |world: World| {
        let wanted = desired(more, "");
        async move {
            plan::plan(
                &wanted,
                &observed(world, &wanted).await,
                &Offers::default(),
                "vpu",
            )
            .fingerprint
        }
    };
    let mut other = world.clone();
    other.autostart.enabled.remove("other");
    other.autostart.lingering = false;
    other.containers.remove(&"d".repeat(12));
    assert_eq!(fingerprint(other.clone()).await, plan.fingerprint);
    other.autostart.enabled.remove("old-demo");
    assert_ne!(fingerprint(other).await, plan.fingerprint);
    world.containers.remove(&"a".repeat(12));
    assert_ne!(fingerprint(world).await, plan.fingerprint);
}

#[tokio::test]
async fn regression_what_an_interrupted_apply_disabled_is_not_reported_as_restorable() {
    let vpu = FakeVpu::new(world());
    let observe_for = |desired: Desired| {
        let vpu = &vpu;
        async move { (observe(vpu, &desired.query()).await.unwrap(), desired) }
    };
    let (mut seen, off) = observe_for(desired(OFF, "")).await;
    let o3r_deploy::internal::observe::Probed::Known(records) = &mut seen.facts.records else {
        panic!("{:?}", seen.facts.records);
    };
    // The last release starts it, and nothing of that is left.
    let release = serde_json::json!({
        "version": "1", "desired": o3r_deploy::internal::digest::Digest::of("v1"), "projects": ["app"],
        "autostart": ["app"],
    });
    records
        .releases
        .insert("app".into(), serde_json::from_value(release).unwrap());
    let plan = plan::plan(&off, &seen, &Offers::default(), "vpu");
    let lost: Vec<String> = plan
        .not_restorable
        .iter()
        .map(|lost| lost.address.to_string())
        .collect();
    assert!(lost.contains(&"autostart.app".to_owned()), "{lost:?}");

    let mut enabled = seen.clone();
    if let o3r_deploy::internal::observe::Probed::Known(found) = &mut enabled.facts.autostart {
        found.enabled.insert("app".into());
    }
    let plan = plan::plan(&off, &enabled, &Offers::default(), "vpu");
    let lost: Vec<String> = plan
        .not_restorable
        .iter()
        .map(|lost| lost.address.to_string())
        .collect();
    assert!(
        !lost.contains(&"autostart.app".to_owned()),
        "its own step undoes it: {lost:?}"
    );
}
