//! From what the earlier tool deployed to a release.

use crate::support::{Site, Twin, architecture, rootfs};

/// The compose file of an application of the earlier tool.
const COMPOSE: &str = r#"version: "2.3"
services:
  zones:
    image: deps
    container_name: zones
    command: ["/bin/busybox", "sleep", "100000"]
    volumes: ["oemshare:/home/oem/share"]
volumes:
  oemshare:
    external: true
"#;

#[test]
fn an_application_of_the_earlier_tool_is_taken_over() {
    let twin = Twin::up();
    let site = Site::new(&twin);
    site.write("zones.yml", COMPOSE);
    site.write("src/app.py", "print()");
    std::fs::create_dir(site.path("there")).unwrap();
    rootfs(&site.path("there/deps.tar"), "1");
    std::fs::copy(site.path("there/deps.tar"), site.path("deps.tar")).unwrap();
    std::fs::copy(site.path("zones.yml"), site.path("there/zones.yml")).unwrap();
    // The commands of the earlier tool.
    twin.copy(&site.path("there"), "/home/oem");
    twin.oem(
        "mkdir -p ~/share/src && echo 'print()' >~/share/src/app.py && docker import - deps <deps.tar && \
         docker volume create --driver local -o o=bind -o type=none -o device=/home/oem/share oemshare && \
         systemctl --user enable oem-dc@zones && docker-compose -f zones.yml up --detach",
    );
    let words = [
        "migrate",
        "--",
        "o3r_docker_manager",
        "--IP",
        &twin.address,
        "--transfers_to_vpu",
        "./zones.yml,~/zones.yml",
        "./deps.tar,~/deps.tar",
        "./src,~/share/src",
        "--volume_to_setup",
        "/home/oem/share,oemshare",
        "--image_to_import",
        "~/deps.tar",
        "--items_to_cleanup",
        "~/deps.tar",
        "--enable_autostart",
        "zones.yml:zones",
        "--docker_compose_to_initialize",
        "zones.yml:zones",
    ];
    site.run(&words).exits(0).says("wrote deploy.toml");
    // What `authorize` adds, and what distinguishes a twin.
    let text = std::fs::read_to_string(site.path("deploy.toml")).unwrap();
    let more = format!(
        "[vpu]\nidentity = \"{}\"\nhost_key = \"{}\"\narch = \"{}\"\n",
        twin.key,
        twin.host_key,
        architecture()
    );
    site.write("deploy.toml", &text.replace("[vpu]\n", &more));
    site.run(&["check"]).exits(0);
    let down = "cd /home/oem && docker-compose -f zones.yml -p oem down";
    site.run(&["plan"])
        .exits(9)
        .says("zones is taken")
        .says(down);
    twin.oem(down);
    site.run(&["apply", "--yes"]).exits(0);
    site.run(&["plan", "--exit-code"])
        .exits(0)
        .says("Nothing to do");
    assert_eq!(
        twin.oem("docker exec zones cat /home/oem/share/src/app.py"),
        "print()"
    );
    let enabled = twin.oem("ls ~/.config/systemd/user/default.target.wants");
    assert_eq!(enabled, "oem-dc@zones.service");
}
