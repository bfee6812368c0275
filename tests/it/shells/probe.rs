//! The probe: its answers on a VPU with any shell and tools, and its handling of failures.

use super::*;

#[tokio::test]
async fn the_probe_works_with_every_shell_and_every_hashing_tool() {
    for shell in shells() {
        for tools in [&["sha256sum"][..], &["busybox"], &[]] {
            let fixture = sandbox(shell, tools);
            let home = fixture.home();
            std::fs::create_dir(home.join("dir")).unwrap();
            let odd = "odd 'name' $(touch canary) \\ \"*\"";
            std::fs::write(home.join(odd), b"hello").unwrap();
            std::fs::set_permissions(home.join(odd), std::fs::Permissions::from_mode(0o640))
                .unwrap();
            std::os::unix::fs::symlink("no where", home.join("dangling")).unwrap();
            let odd_path = format!("~/{odd}");
            let query = Query {
                paths: BTreeMap::from([
                    ("~".into(), None),
                    ("~/dir".into(), None),
                    ("~/none".into(), None),
                    ("~/dangling".into(), None),
                    (odd_path.clone(), Some(5)),
                    (format!("{}/{odd}/below a file", text(&home)), Some(6)),
                ]),
                api_port: 1,
                ..Query::default()
            };
            let facts = observe_in(&fixture, &query).await.facts;
            assert_eq!(facts.system.home, text(&home));
            assert_eq!(facts.docker.known().unwrap().version, "20.10.25");
            assert_eq!(facts.docker.known().unwrap().arch, "arm64".into());
            assert_eq!(facts.compose, Probed::Known("1.29.2".into()));
            assert_eq!(facts.containers, Probed::Known(BTreeMap::new()));
            let known = |path: &str| facts.paths[path].known().unwrap().clone();
            assert!(matches!(known("~"), PathFact::Directory { .. }));
            assert!(matches!(
                known("~/dir"),
                PathFact::Directory {
                    mode: 0o755 | 0o775,
                    ..
                }
            ));
            assert_eq!(known("~/none"), PathFact::Missing);
            let target = "no where".to_owned();
            assert_eq!(known("~/dangling"), PathFact::Link { target });
            let environment = &facts.system.environment;
            assert_eq!(environment["HOME"], text(&home));
            assert_eq!(environment["COMPOSE_FILE"], "a b.yml");
            assert_eq!(environment.get("DOCKER_HOST"), None);
            assert!(facts.networks.known().unwrap().is_empty());
            let PathFact::File {
                mode, size, sha256, ..
            } = known(&odd_path)
            else {
                panic!()
            };
            assert_eq!((mode, size), (0o640, 5));
            assert_eq!(sha256, Some(Digest::of(b"hello")), "{shell:?} {tools:?}");
            assert!(!Path::new("canary").exists() && !home.join("canary").exists());
        }
    }
}

#[tokio::test]
async fn podman_under_dockers_name_is_distinguished_from_a_docker_that_fails() {
    let podman = "#!/bin/sh\n\
        case $* in\n\
        --version) echo 'podman version 4.3.1' ;;\n\
        *ServerVersion*) echo '{\"version\":Error: cannot evaluate field ServerVersion' >&2; exit 125 ;;\n\
        info*) echo '{\"version\":\"4.3.1\",\"arch\":\"arm64\",\"podman\":true,\"root\":\"/\",\"runtimes\":[\"crun\"]}' ;;\n\
        esac\n";
    for shell in shells() {
        let fixture = sandbox(shell, &["sha256sum"]);
        fixture.program("docker", podman);
        let query = Query {
            api_port: 1,
            ..Query::default()
        };
        let observed = observe::observe(&fixture.host, &query).await.unwrap();
        let docker = observed.facts.docker.known().unwrap();
        assert_eq!(docker.podman, Some(observe::Podman::Program), "{shell:?}");
        assert_eq!(docker.version, "4.3.1");
        assert!(observed.readings.docker_free().is_some());
    }
}

#[tokio::test]
async fn a_docker_that_fails_is_unknown_and_not_empty() {
    for shell in shells() {
        let fixture = sandbox(shell, &["sha256sum"]);
        let failing = "#!/bin/sh\necho 'Cannot connect to the Docker daemon' >&2\nexit 1\n";
        fixture.program("docker", failing);
        let query = Query {
            paths: BTreeMap::new(),
            api_port: 1,
            ..Query::default()
        };
        let facts = observe::observe(&fixture.host, &query).await.unwrap().facts;
        for reason in [
            facts.docker.as_result().map(drop),
            facts.images.as_result().map(drop),
            facts.volumes.as_result().map(drop),
            facts.containers.as_result().map(drop),
        ] {
            let reason = reason.unwrap_err();
            assert!(
                reason.contains("Cannot connect to the Docker daemon"),
                "{reason}"
            );
        }
        let reason = facts.compose.as_result().unwrap_err();
        assert!(reason.contains("not found"), "{reason}");
    }
}

#[tokio::test]
async fn an_object_that_vanishes_while_it_is_inspected_is_listed_again() {
    for shell in shells() {
        let fixture = sandbox(shell, &["sha256sum"]);
        // The first inspection fails for a volume that is gone; the second lists again.
        let docker = "#!/bin/sh\ncase \"$1 $2\" in\n\
            'volume ls') [ -e \"$HOME/gone\" ] && echo b || printf 'a\\nb\\n' ;;\n\
            'volume inspect') [ -e \"$HOME/gone\" ] || { : >\"$HOME/gone\"; echo 'no such volume: a' >&2; exit 1; }\n\
            echo '{\"name\":\"b\",\"driver\":\"local\",\"options\":null,\"owner\":null}' ;;\n\
            esac\n";
        fixture.program("docker", docker);
        let query = Query {
            paths: BTreeMap::new(),
            api_port: 1,
            ..Query::default()
        };
        let facts = observe::observe(&fixture.host, &query).await.unwrap().facts;
        let names: Vec<&String> = facts.volumes.known().unwrap().keys().collect();
        assert_eq!(names, ["b"]);
    }
}

#[tokio::test]
async fn a_container_is_as_old_as_its_process_whatever_the_clock() {
    for shell in shells() {
        let fixture = sandbox(shell, &["sha256sum"]);
        let mut process = std::process::Command::new("sleep")
            .arg("60")
            .spawn()
            .unwrap();
        let container = |pid: u32, id: &str| {
            format!(
                "echo '{{\"pid\":{pid},\"id\":\"{id}\",\"name\":\"/{id}\",\"image\":\"i\",\"status\":\"running\",\"exit_code\":0,\
                 \"health\":null,\"restart_policy\":\"no\",\"project\":\"\",\"service\":\"\",\"working_dir\":\"\",\"one_off\":\"\",\
                 \"volumes\":[]}}'\n"
            )
        };
        let docker = format!(
            "#!/bin/sh\ncase \"$1 $2\" in\n'container ls') echo a; echo b; echo c ;;\n'container inspect') {}{}{} ;;\nesac\n",
            container(process.id(), "young"),
            container(0, "stopped"),
            // A number above those that Linux gives to processes.
            container(99_999_999, "vanished")
        );
        fixture.program("docker", &docker);
        let observed = observe::observe(&fixture.host, &Query::default()).await;
        let Readings {
            container_uptime,
            memory_total,
            memory_available,
            home_disk,
            ..
        } = observed.unwrap().readings;
        process.kill().unwrap();
        process.wait().unwrap();
        let ids: Vec<&String> = container_uptime.keys().collect();
        assert_eq!(ids, ["young"], "{shell:?}");
        assert!(container_uptime["young"] < 30, "{container_uptime:?}");
        assert!(memory_total > memory_available && memory_available > Some(0));
        let home = home_disk.unwrap();
        assert!(home.total >= home.free && home.free > 0, "{home:?}");
        assert!(home.mount.starts_with('/'), "{home:?}");
    }
}

#[tokio::test]
async fn a_machine_has_a_distinguishing_identity() {
    for shell in shells() {
        let fixture = sandbox(shell, &[]);
        let identity = observe::Identity::of(&fixture.host).await.unwrap();
        let again = observe::Identity::of(&fixture.host).await.unwrap();
        assert!(identity.is_same_boot(&again), "{shell:?} {identity:?}");
        assert_eq!(identity, again);
    }
}
