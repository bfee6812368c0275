//! What the doctor finds on a VPU, and what it hands on.

use crate::support::{App, Site, Twin};

/// Where the earlier tool links the compose file of its autostart.
const OLD_LINK: &str = "/usr/share/oem/docker/compose/deploy/docker-compose.yml";

#[test]
fn findings_have_a_fix_and_a_plan_works_from_the_bundle() {
    let twin = Twin::up();
    let site = Site::new(&twin);
    let mut app = App::new("1.0.0");
    app.setting = "held-s3cret".into();
    app.write(&site);
    site.apply();
    let fine = site.run(&["doctor", "--format", "json"]).exits(0);
    let report: serde_json::Value = serde_json::from_str(&fine.stdout).unwrap();
    let checks = report["checks"].as_array().unwrap();
    let of = |name: &str| {
        let mut named = checks.iter().filter(|check| check["name"] == name);
        named
            .next()
            .unwrap_or_else(|| panic!("{name} in {checks:?}"))
    };
    for name in [
        "login",
        "latency",
        "throughput",
        "device",
        "docker",
        "compose",
        "clock",
        "autostart",
        "releases",
    ] {
        assert_eq!(of(name)["verdict"], "ok", "{name}");
    }
    assert!(
        of("device")["found"]
            .as_str()
            .unwrap()
            .contains(&twin.serial)
    );

    // What the earlier tool leaves behind.
    twin.oem(&format!(
        "link={OLD_LINK}; mkdir -p ${{link%/*}} && ln -s ~/x.yml $link && \
         head -c 2000000 /dev/zero >~/docker_python_deps.tar"
    ));
    let found = site.run(&["doctor", "--bundle", "bundle.json"]).exits(0);
    found
        .says("1.91 MiB in the home directory: docker_python_deps.tar")
        .says(&format!("rm {OLD_LINK}"))
        .says("plan from it with: o3r-deploy plan --observed bundle.json");
    let bundle = std::fs::read_to_string(site.path("bundle.json")).unwrap();
    assert!(!bundle.contains("held-s3cret"));
    assert!(bundle.contains("\"doctor\"") && bundle.contains("docker_python_deps.tar"));
    site.run(&["plan", "--observed", "bundle.json"])
        .exits(0)
        .says("Nothing to do");

    // Docker is gone: a problem, with what to do.
    twin.root("systemctl stop docker.socket docker");
    site.run(&["doctor"])
        .exits(9)
        .says("✗ docker")
        .says("nothing can be deployed")
        .says("systemctl status docker");
    // The key is gone: the API still says which VPU answers.
    twin.root("mv /home/oem/.ssh /home/oem/ssh");
    site.run(&["doctor"])
        .exits(3)
        .says("✗ login")
        .says("add one with: o3r-deploy authorize")
        .says(&format!("serial {}", twin.serial));
    let report = site
        .run(&["doctor", "--format", "json", "--bundle", "bundle.json"])
        .exits(3);
    assert!(serde_json::from_str::<serde_json::Value>(&report.stdout).is_ok());
    report.says("the VPU could not be observed");
    site.run(&["plan", "--observed", "bundle.json"])
        .exits(1)
        .says("is not an observation");
}
