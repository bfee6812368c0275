//! Tests of the compose reader.

use super::*;

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
        (version.text.as_str(), version.is_string, version.line),
        ("2.4", true, 1)
    );
    let [web, worker] = file.services.as_slice() else {
        panic!("{:?}", file.services)
    };
    assert_eq!(web.image.as_ref().unwrap().value, "local/web:1.4.0");
    assert_eq!(web.image.as_ref().unwrap().line, 8);
    assert_eq!(
        web.restart.as_deref(),
        Some("unless-stopped"),
        "by a merge key"
    );
    assert_eq!(web.runtime.as_ref().unwrap().value, "nvidia");
    assert_eq!(web.container_name.as_deref(), Some("web-1"));
    let ports: Vec<String> = web
        .published_ports
        .iter()
        .map(ToString::to_string)
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
    assert_eq!(
        worker.scale, None,
        "docker-compose 1.x does not look at deploy.replicas"
    );
    let scaled = ComposeFile::parse("services:\n  web:\n    image: a\n    scale: 3\n").unwrap();
    assert_eq!(scaled.services[0].scale, Some(3));
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
fn variables_are_replaced_as_compose_does() {
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
fn a_version_that_is_a_number_is_told_apart() {
    let version = |text: &str| ComposeFile::parse(text).unwrap().version.unwrap();
    assert!(!version("version: 2.4\nservices: {}").is_string);
    assert!(version("version: '3'\nservices: {}").is_string);
}

#[test]
fn what_is_no_compose_file_is_refused() {
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
fn bombs_are_refused() {
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
