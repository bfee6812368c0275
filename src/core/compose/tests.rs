//! Tests of the compose reader.

use super::*;
use crate::restart_policy::RestartPolicy;

const PALLETIZER: &str = r#"version: "2.4"
x-common: &common
  restart: unless-stopped
  runtime: nvidia
services:
  web:
    <<: *common
    image: "${REGISTRY:-local}/web:${TAG}"
    container_name: web-1
    env_file: web.env
    ports: ["8080:80", "127.0.0.1:9000-9001:1-2/tcp", "53", {target: 1, published: 7000}]
    volumes:
      - share:/share
      - ./conf:/conf:ro
      - /dev:/dev
      - /anonymous
      - {type: bind, source: ./other.json, target: /o}
    secrets: [token]
    unknown_key: {anything: [1, 2]}
  worker:
    build: .
    image: worker
    profiles: [debug]
    network_mode: host
    deploy: {replicas: 3}
    volumes: [{type: volume, source: data, target: /data}]
secrets:
  token: {file: ./secret/token}
volumes:
  share: {external: true}
  data:
    external:
      name: data-1
  own:
networks:
  default: {external: true, name: cell}
"#;

fn palletizer() -> ComposeFile {
    ComposeFile::parse_with(PALLETIZER, &parse_env("TAG=1.4.0 # the release\n")).unwrap()
}

#[test]
fn the_keys_that_matter_are_read() {
    let file = palletizer();
    let version = file.version.as_ref().unwrap();
    assert_eq!(
        (version.text.as_str(), version.is_string, version.place.line),
        ("2.4", true, 1)
    );
    let [web, worker] = file.services.as_slice() else {
        panic!("{:?}", file.services)
    };
    assert_eq!(web.image.as_ref().unwrap().value, "local/web:1.4.0");
    assert_eq!(web.image.as_ref().unwrap().place.line, 8);
    assert_eq!(
        web.restart,
        Some(RestartPolicy::UnlessStopped),
        "by a merge key"
    );
    assert_eq!(web.runtime.as_ref().unwrap().value, "nvidia");
    assert_eq!(web.container_name.as_ref().unwrap().value, "web-1");
    let ports: Vec<String> = web
        .published_ports
        .iter()
        .map(|port| port.value.to_string())
        .collect();
    assert_eq!(
        ports,
        [
            "8080/tcp",
            "127.0.0.1:9000/tcp",
            "127.0.0.1:9001/tcp",
            "7000/tcp"
        ]
    );
    let sources: Vec<&MountSource> = web.mounts.iter().map(|mount| &mount.source).collect();
    assert_eq!(
        sources,
        [
            &MountSource::Volume("share".into()),
            &MountSource::Bind("./conf".into()),
            &MountSource::Bind("/dev".into()),
            &MountSource::Anonymous,
            &MountSource::Bind("./other.json".into()),
        ]
    );
    assert!(worker.build.is_some() && worker.profiles.is_some());
    assert_eq!(worker.network_mode.as_deref(), Some("host"));
    assert_eq!(worker.containers(Release::V1_25), 1);
    assert_eq!(worker.containers(Release::V1_29), 3);
    let scaled = ComposeFile::parse("services:\n  web:\n    image: a\n    scale: 3\n").unwrap();
    assert_eq!(scaled.services[0].containers(Release::V1_25), 3);
    let externals: Vec<_> = file
        .volumes
        .iter()
        .filter(|v| v.external)
        .map(Volume::external_name)
        .collect();
    assert_eq!(externals, ["share", "data-1"]);
    assert_eq!(file.networks[0].name.as_deref(), Some("cell"));
}

#[test]
fn users_of_files_and_volumes_are_found() {
    let file = palletizer();
    for path in [
        "web.env",
        "conf/app.json",
        "./conf/",
        "other.json",
        "secret/token",
        "secret/",
    ] {
        assert_eq!(file.services_using_file(path), ["web"], "{path}");
    }
    for path in [".env", "confx", "conf.json", "dev"] {
        assert!(file.services_using_file(path).is_empty(), "{path}");
    }
    assert_eq!(file.services_using_volume("share"), ["web"]);
    assert_eq!(file.services_using_volume("data-1"), ["worker"]);
    assert!(
        file.services_using_volume("data").is_empty(),
        "docker calls it data-1"
    );
}

#[test]
fn variables_are_replaced_as_docker_compose_does() {
    let environment = parse_env("A=1\nEMPTY=\nexport Q='x # y'\n# C=3\nnonsense\n");
    for (written, value) in [
        ("$A-${A}", "1-1"),
        ("$$A", "$A"),
        ("${X:-d}", "d"),
        ("${EMPTY:-d}${EMPTY-e}", "d"),
        ("${X}", ""),
        ("$Q", "x # y"),
    ] {
        let text = format!("services: {{s: {{image: '{written}'}}}}");
        let file = ComposeFile::parse_with(&text, &environment).unwrap();
        assert_eq!(
            file.services[0].image.as_ref().unwrap().value,
            value,
            "{written}"
        );
    }
    let file = ComposeFile::parse("services:\n  s:\n    image: a:$X\n    command: $Y\n").unwrap();
    assert_eq!(file.services[0].unset_in_image, ["X"]);
    assert_eq!(file.unset.len(), 2);
    for broken in ["$", "${", "${}", "$-", "${A!}"] {
        let text = format!("services: {{s: {{image: '{broken}'}}}}");
        assert!(
            matches!(
                ComposeFile::parse(&text),
                Err(ComposeError::Variable { .. })
            ),
            "{broken}"
        );
    }
}

#[test]
fn a_version_that_is_a_number_is_recognised() {
    let version = |text: &str| ComposeFile::parse(text).unwrap().version.unwrap();
    assert!(!version("version: 2.4\nservices: {}").is_string);
    assert!(version("version: '3'\nservices: {}").is_string);
}

#[test]
fn what_is_not_a_compose_file_is_refused() {
    for text in [
        "",
        "[]",
        "a: [",
        "services: 3",
        "services: [a]",
        "services: {a: 1}",
        "\u{0}",
        "a: 1\na: 2",
    ] {
        let result = ComposeFile::parse(text);
        if text.is_empty() {
            assert_eq!(result.unwrap().services, []);
        } else {
            assert!(result.is_err(), "{text:?}: {result:?}");
        }
    }
}

#[test]
fn alias_bombs_are_refused() {
    let mut aliases = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x]\n");
    for level in 1..12 {
        let list = vec![format!("*a{}", level - 1); 9].join(", ");
        aliases.extend([format!("a{level}: &a{level} [{list}]\n")]);
    }
    assert!(ComposeFile::parse(&aliases).is_err());
    assert!(ComposeFile::parse(&"[".repeat(100_000)).is_err());
    assert!(ComposeFile::parse(&"- ".repeat(100_000)).is_err());
    assert!(ComposeFile::parse(&"a: &a {b: *a}\n".repeat(2)).is_err());
}

#[test]
fn an_environment_file_sets_what_each_release_reads_from_it() {
    for (text, old, new) in [
        ("A=1\n", Some("1"), Some("1")),
        ("\u{feff}A=1\r\n", Some("1"), Some("1")),
        ("A=\"1\"\n", Some("\"1\""), Some("1")),
        ("A='1'\n", Some("'1'"), Some("1")),
        ("A=1 # note\n", Some("1 # note"), Some("1")),
        ("A=1\t# note\n", Some("1\t# note"), Some("1")),
        ("A=1#no\n", Some("1#no"), Some("1#no")),
        ("A=\"a#b\" # note\n", Some("\"a#b\" # note"), Some("a#b")),
        ("export A=1\n", None, Some("1")),
        ("A = 1\n", None, Some("1")),
        ("'A'=1\n", None, Some("1")),
        ("V=1\nA=${V}\n", Some("${V}"), Some("1")),
        ("V=1\nA='${V}'\n", Some("'${V}'"), Some("1")),
        ("A=${NONE:-1}\n", Some("${NONE:-1}"), Some("1")),
        ("A=${NONE}x\n", Some("${NONE}x"), Some("x")),
        ("A=$V\n", Some("$V"), Some("$V")),
        ("A=\"a\\\"b\"\n", Some("\"a\\\"b\""), Some("a\"b")),
        ("A=\"a\\nb\"\n", Some("\"a\\nb\""), Some("a\nb")),
        ("A='a\\nb'\n", Some("'a\\nb'"), Some("a\\nb")),
        ("A=\"1\n2\"\n", Some("\"1"), Some("1\n2")),
        ("#A=1\n", None, None),
        ("A\n", None, None),
        ("A=\n", Some(""), Some("")),
        ("A=a=b\n", Some("a=b"), Some("a=b")),
        ("A=1\nA=2\n", Some("2"), Some("2")),
        ("!?\nA=1\n", Some("1"), Some("1")),
    ] {
        for (release, value) in Release::ALL.into_iter().zip([old, new]) {
            let read = read_env(text, release).values;
            assert_eq!(
                read.get("A").map(String::as_str),
                value,
                "{text:?} by {release}"
            );
        }
    }
}

/// Reads a project with the files next to its compose file.
fn project(main: &str, beside: &[(&str, &str)]) -> Reading {
    let find = |name: &str| {
        let mut files = beside.iter();
        files
            .find(|(known, _)| *known == name)
            .map(|(_, text)| (*text).to_owned())
    };
    read_project(main.to_owned(), &Environment::new(), Release::V1_29, &find)
}

#[test]
fn an_override_file_is_merged_into_the_compose_file() {
    let main = "version: '2.4'\nservices:\n  web:\n    image: a:1\n    ports: ['80:80', '81:81']\n    \
                volumes: ['./a:/x', './b:/y']\n    env_file: a.env\n";
    let over = "version: '2.4'\nservices:\n  web: {image: 'b:1', ports: ['80:80', '82:82'], \
                volumes: ['./c:/x'], env_file: [b.env]}\n  extra: {image: 'c:1', container_name: one}\n";
    let beside = [
        ("docker-compose.override.yml", over),
        ("a.env", "A=1"),
        ("b.env", "B=1"),
    ];
    let reading = project(main, &beside);
    assert_eq!(reading.refusals, []);
    let [web, extra] = reading.file.services.as_slice() else {
        panic!("{:?}", reading.file.services)
    };
    let image = web.image.as_ref().unwrap();
    assert_eq!((image.value.as_str(), image.place.file), ("b:1", 1));
    let ports: Vec<String> = web
        .published_ports
        .iter()
        .map(|port| port.value.to_string())
        .collect();
    assert_eq!(ports, ["80/tcp", "81/tcp", "82/tcp"]);
    let sources: Vec<&MountSource> = web.mounts.iter().map(|mount| &mount.source).collect();
    assert_eq!(
        sources,
        [
            &MountSource::Bind("./c".into()),
            &MountSource::Bind("./b".into())
        ]
    );
    assert_eq!(web.env_files.len(), 2);
    assert_eq!(extra.container_name.as_ref().unwrap().value, "one");
}

#[test]
fn an_extended_service_is_read_from_its_file() {
    let main = "version: '2.4'\nservices:\n  web:\n    extends: {file: sub/common.yml, service: base}\n    \
                environment: [A=1]\n";
    let common = "version: '2.4'\nservices:\n  base:\n    extends: {service: deeper}\n    \
                  volumes: ['./conf:/conf', '/dev:/dev']\n  deeper: {image: 'b:1', env_file: own.env}\n";
    let reading = project(main, &[("sub/common.yml", common), ("sub/own.env", "B=1")]);
    assert_eq!(reading.refusals, []);
    let web = &reading.file.services[0];
    assert_eq!(web.image.as_ref().unwrap().value, "b:1");
    assert_eq!(web.mounts[0].source, MountSource::Bind("./sub/conf".into()));
    assert_eq!(reading.files.len(), 3, "the environment file, too");
    let missing = project(main, &[]);
    assert!(missing.refusals[0].message.contains("sub/common.yml"));
}

#[test]
fn the_output_of_docker_compose_config_is_read_without_findings() {
    let printed = "networks:\n  back: {}\nservices:\n  web:\n    command: sh -c 'echo $$A'\n    \
                   depends_on:\n      db:\n        condition: service_started\n    environment:\n      \
                   A: '1'\n      EMPTY: null\n    healthcheck:\n      interval: 10s\n      test:\n      - CMD\n      \
                   - 'true'\n    image: a:1\n    networks:\n      back: null\n    ports:\n    - published: 8080\n      \
                   target: 80\n    - 127.0.0.1:81:81/tcp\n    volumes:\n    - /usr/share/oem/conf:/conf:ro\n    \
                   - read_only: true\n      source: share\n      target: /share\n      type: volume\n  db:\n    \
                   image: b:1\n    scale: 0\nversion: '2.4'\nvolumes:\n  share:\n    external: true\n    \
                   name: share\n";
    let file = ComposeFile::parse(printed).unwrap();
    let web = &file.services[0];
    let ports: Vec<String> = web
        .published_ports
        .iter()
        .map(|port| port.value.to_string())
        .collect();
    assert_eq!(ports, ["8080/tcp", "127.0.0.1:81/tcp"]);
    assert_eq!(web.mounts[1].source, MountSource::Volume("share".into()));
    assert_eq!(web.mounts[1].target.as_deref(), Some("/share"));
    assert_eq!(file.services[1].containers(Release::V1_29), 0);
    assert_eq!(file.unset, []);
}
