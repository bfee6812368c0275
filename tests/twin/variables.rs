//! Values that differ by VPU: in strings, in templates and in the environment of compose projects.

use crate::support::{App, Site, Twin};

/// Writes a release whose service has its tag and a variable from `env`, and whose files are templates.
fn write(site: &Site, version: &str, builder: &str) {
    let mut app = App::new(version);
    "{{ vars.robot_id }} of {{ release.name }}".clone_into(&mut app.setting);
    "hello from {{ vpu.name }}, {{ vars.motd }}\n".clone_into(&mut app.greeting);
    "template = true\nenv = { VERSION = \"${release.version}\", ROBOT = \"robot ${vars.robot_id}\" }".clone_into(&mut app.compose);
    app.more = format!(
        "[[transfers]]\nsrc = \"conf.d/\"\ndst = \"~/conf-${{vars.robot_id}}\"\ntemplate = true\n\
                [vars]\nrobot_id = \"0\"\nmotd = \"built by ${{env.{builder}}}\"\nenv = [\"{builder}\"]\n"
    );
    "    environment:\n      ROBOT: ${ROBOT}\n".clone_into(&mut app.services);
    app.write(site);
    let path = site.path("docker-compose.yml");
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::write(
        path,
        text.replace(&format!("hello:{version}"), "hello:${VERSION}"),
    )
    .unwrap();
    site.write(
        "conf.d/robot.toml",
        "id = {{ vars.robot_id }}\nserial = \"{{ vpu.serial }}\"\n",
    );
    site.write("conf.d/plain.txt", "100 % plain ${X}\n");
}

#[test]
fn what_is_planned_is_rendered_and_interpolates_at_boot() {
    let twin = Twin::up();
    let mut site = Site::new(&twin);
    let serial = &twin.serial;
    let own = format!("serial = \"{serial}\"\nname = \"agv-17\"\nvars = {{ robot_id = \"17\" }}\n");
    site.vpu.push_str(&own);
    write(&site, "1.0.0", "BUILDER");
    site.run(&["check"])
        .exits(1)
        .says("`${env.BUILDER}` is not set in this environment");
    write(&site, "1.0.0", "USER");
    site.run(&["check"]).exits(0);
    site.apply();
    let seen = "docker exec hello_web_1 sh -c 'echo $ROBOT, $SETTING; cat /greeting.txt'; cat ~/conf-17/*; \
                cat /usr/share/oem/docker/compose/hello/.env; docker inspect -f '{{.Config.Image}}' hello_web_1";
    assert_eq!(
        twin.oem(seen),
        format!(
            "robot 17, 17 of hello\nhello from agv-17, built by tester\n100 % plain ${{X}}\nid = 17\nserial = \"{serial}\"\n\
             ROBOT=robot 17\nVERSION=1.0.0\nhello:1.0.0"
        )
    );
    site.nothing_to_do();

    // The diff is that of what is rendered, but none shows a value of this machine's environment.
    let path = site.path("deploy.toml");
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, text.replace("built by", "made by")).unwrap();
    let robot =
        "id = {{ vars.robot_id }}\nserial = \"{{ vpu.serial }}\"\nspeed = {{ vars.robot_id }}\n";
    site.write("conf.d/robot.toml", robot);
    site.run(&["plan", "-v"])
        .exits(0)
        .says_not("+speed = 17")
        .says("file.hello/conf/greeting.txt")
        .says_not("by tester")
        .says_not("ROBOT=");
    site.run(&["plan", "--format", "sh", "-o", "script"])
        .exits(0)
        .says("conf/greeting.txt holds secrets and was not copied");
    let payloads = || {
        let files = std::fs::read_dir(site.path("script/payload")).unwrap();
        let contents = files.map(|file| std::fs::read(file.unwrap().path()).unwrap());
        contents.collect::<Vec<_>>().concat()
    };
    let contains = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).contains("made by tester");
    assert!(!contains(payloads()));
    site.run(&["plan", "--format", "sh", "-o", "script", "--with-secrets"])
        .exits(0);
    assert!(contains(payloads()));
    site.run(&["plan", "--with-secrets", "-o", "plan.json"])
        .exits(1)
        .says("add --format sh");
    site.apply();
    assert!(twin.oem(seen).contains("made by tester"));
    site.run(&["rollback", "--yes"]).exits(0);
    assert!(twin.oem(seen).contains("built by tester"));

    // What a template names and nothing declares.
    site.write("conf.d/robot.toml", "id = 1\nline = {{ vars.line }}\n");
    site.run(&["plan"])
        .exits(1)
        .says("conf.d/robot.toml:2 `vars.line` has no value")
        .says("Error: template");
}
