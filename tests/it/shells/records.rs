//! The scripts that record a release and its containers.

use super::*;

fn of<'a>(compose_version: &'a str, projects: &[&'a str]) -> remote::Recording<'a> {
    remote::Recording {
        compose_version,
        projects: projects.to_vec(),
        ..remote::Recording::default()
    }
}

#[tokio::test]
async fn a_release_is_recorded_with_who_and_when_and_old_lines_are_removed() {
    for shell in shells() {
        let fixture = sandbox(shell, &[]);
        let history = fixture.home().join(".o3r-deploy/releases/app.jsonl");
        let kept = fixture.home().join(".o3r-deploy/previous/app");
        std::fs::create_dir_all(&kept).unwrap();
        std::fs::write(kept.join(".env"), "SECRET=1").unwrap();
        let record =
            remote::record_release(text(&history), of("1.29.2", &[]), [text(&kept).to_owned()]);
        for number in 0..60 {
            let line = format!("{{\"version\":\"{number}\"}}\n");
            assert!(fixture.run(&record, line.as_bytes()).await.success());
        }
        let written = std::fs::read_to_string(&history).unwrap();
        assert_eq!(written.lines().count(), 51);
        assert!(
            !kept.exists(),
            "what was kept of the release before is left"
        );
        assert_eq!(
            written.lines().last(),
            Some(r#"{"anonymous_volumes":[],"version":"59"}"#)
        );

        // The probe reads the version from there as long as the program is the same.
        let slow = "#!/bin/sh\necho 1.25.4\n";
        fixture.program("docker-compose", slow);
        assert!(fixture.run(&record, b"{}\n").await.success());
        let observed = observe::observe(&fixture.host, &Query::default())
            .await
            .unwrap();
        assert_eq!(observed.facts.compose, Probed::Known("1.29.2".into()));
        fixture.program("docker-compose", &format!("{slow}# another one\n"));
        let observed = observe::observe(&fixture.host, &Query::default())
            .await
            .unwrap();
        assert_eq!(observed.facts.compose, Probed::Known("1.25.4".into()));

        let _lock = fixture
            .host
            .hold(
                &remote::lock(&lock::holder(r#""by":"me""#), &Claim::Wait),
                lock::TOKEN,
                &|_| (),
            )
            .await
            .unwrap();
        assert!(
            fixture
                .run(&record, b"{\"version\":\"60\"}\n")
                .await
                .success()
        );
        let written = std::fs::read_to_string(&history).unwrap();
        assert_eq!(
            written.lines().last(),
            Some(r#"{"by":"me","anonymous_volumes":[],"version":"60"}"#)
        );
    }
}

/// Docker's answer can neither make the record fail nor corrupt it.
#[tokio::test]
async fn a_release_is_recorded_with_the_anonymous_volumes_of_its_containers() {
    for shell in shells() {
        let fixture = sandbox(shell, &[]);
        let history = fixture.home().join(".o3r-deploy/releases/app.jsonl");
        let record = remote::record_release(text(&history), of("", &["app", "other"]), []);
        let last = || {
            let written = std::fs::read_to_string(&history).unwrap();
            written.lines().last().unwrap().to_owned()
        };
        let volume = "0123456789abcdef".repeat(4);
        let object = |volume: &str| format!("{{\"destination\":\"/a b\",\"volume\":\"{volume}\"}}");
        fixture.program(
            "docker",
            &format!(
                "#!/bin/sh\ncase \"$*\" in\n\
                 'container ls'*project=app*) printf 'c1\\nc2\\n' ;;\n\
                 'container ls'*) ;;\n\
                 *inspect*c1*c2) printf '%s\\n\\n' '{}' '{}' ; echo '{}' ;;\nesac\n",
                object(&volume),
                object("share"),
                object(&volume),
            ),
        );
        assert!(
            fixture
                .run(&record, b"{\"version\":\"1\"}\n")
                .await
                .success()
        );
        let (one, two) = (object(&volume), object(&volume));
        let wanted = format!("{{\"anonymous_volumes\":[{one},{two}],\"version\":\"1\"}}");
        assert_eq!(last(), wanted, "{shell:?}");
        fixture.program("docker", "#!/bin/sh\necho half a line\nexit 1\n");
        assert!(
            fixture
                .run(&record, b"{\"version\":\"2\"}\n")
                .await
                .success()
        );
        assert_eq!(last(), "{\"version\":\"2\"}", "{shell:?}");
    }
}

/// The record is written last: renaming the history records the release.
#[tokio::test]
async fn a_record_that_was_cut_off_is_known_to_be_complete_or_not() {
    for shell in shells() {
        let fixture = sandbox(shell, &[]);
        let history = fixture.home().join(".o3r-deploy/releases/app.jsonl");
        let kept = fixture.home().join(".o3r-deploy/previous/app");
        let record = remote::record_release(text(&history), of("", &[]), [text(&kept).to_owned()]);
        let recorded = remote::recorded(text(&history), [text(&kept).to_owned()]);
        let line = b"{\"version\":\"2\"}\n";
        assert!(!fixture.run(&recorded, line).await.success());
        assert!(
            fixture
                .run(&record, b"{\"version\":\"1\"}\n")
                .await
                .success()
        );
        std::fs::create_dir_all(&kept).unwrap();
        assert!(!fixture.run(&recorded, line).await.success());
        assert!(kept.exists(), "what the restore needs");
        // With or without its author; one that ends similarly is another.
        for (last, is) in [
            ("{\"by\":\"me\",\"version\":\"2\"}\n", true),
            ("{\"version\":\"2\"}\n", true),
            ("{\"by\":\"me\",\"version\":\"12\"}\n", false),
            ("x\"version\":\"2\"}\n", false),
        ] {
            std::fs::write(&history, last).unwrap();
            std::fs::create_dir_all(&kept).unwrap();
            let output = fixture.run(&recorded, line).await;
            assert_eq!(output.success(), is, "{shell:?} {last} {output:?}");
            assert_eq!(kept.exists(), !is);
        }
        // Nothing fails after it is recorded: neither the
        // removal of kept files, nor the note for the probe.
        let base = fixture.home().join(".o3r-deploy");
        fixture.program("docker-compose", "#!/bin/sh\n");
        std::fs::create_dir_all(base.join("compose-version")).unwrap();
        let record =
            remote::record_release(text(&history), of("1.29.2", &[]), [text(&kept).to_owned()]);
        assert!(fixture.run(&record, line).await.success(), "{shell:?}");
    }
}

#[tokio::test]
async fn a_record_of_containers_is_written_only_if_it_changed() {
    for shell in shells() {
        let fixture = sandbox(shell, &[]);
        let record = fixture.home().join(".o3r-deploy/started/app");
        let docker = |ids: &str| fixture.program("docker", &format!("#!/bin/sh\nprintf '{ids}'\n"));
        let command = remote::record_started("app", text(&record));
        // The second one was renamed.
        docker("c1 app_web_1 h1\\nc2 c2_app_db_1 h2\\n");
        let inputs = b"input file x\tsha256:1\n";
        assert!(fixture.run(&command, inputs).await.success());
        let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap();
        let wanted = format!("input file x\tsha256:1\nboot {boot}container c1 h1\n");
        assert_eq!(std::fs::read_to_string(&record).unwrap(), wanted);
        let inode = || std::os::unix::fs::MetadataExt::ino(&std::fs::metadata(&record).unwrap());
        let before = inode();
        assert!(fixture.run(&command, inputs).await.success());
        assert_eq!(inode(), before, "{shell:?}");
        docker("");
        assert!(fixture.run(&command, b"").await.success());
        let wanted = format!("boot {boot}");
        assert_eq!(std::fs::read_to_string(&record).unwrap(), wanted);
    }
}

#[tokio::test]
async fn a_record_of_containers_has_how_long_services_were_down() {
    for shell in shells() {
        let fixture = sandbox(shell, &[]);
        let record = fixture.home().join(".o3r-deploy/started/app");
        let command = remote::record_started("app", text(&record));
        let docker = |events: &str| {
            let script = format!(
                "#!/bin/sh\ncase $1 in container) printf 'w2 app_web_1 h1\\nd1 app_db_1 h2\\n' ;; events) cat <<'E'\n{events}E\n;; esac\n"
            );
            fixture.program("docker", &script);
        };
        let down = || {
            let record = std::fs::read_to_string(&record).unwrap();
            let lines = record.lines().filter(|line| line.starts_with("down "));
            lines.collect::<Vec<_>>().join(", ")
        };
        // An earlier restart, another service, and a crash after the start do not count.
        docker(
            "1796051500000000000 kill w1 web\n1796051501000000000 die w1 web\n1796051502000000000 start w1 web\n\
             1796051510000000000 kill w1 web\n1796051510500000000 kill d1 db\n1796051511000000000 die w1 web\n\
             1796051512345678901 start w2 web\n1796051513000000000 die w2 web\n1796051514000000000 start w2 web\n",
        );
        assert!(fixture.run(&command, b"").await.success());
        assert_eq!(down(), "down web 2345", "{shell:?}");
        // The database was replaced, and the line of the other service stays; a record that was set aside counts.
        let aside = fixture.home().join(".o3r-deploy/previous/app/%started");
        std::fs::create_dir_all(aside.parent().unwrap()).unwrap();
        std::fs::rename(&record, &aside).unwrap();
        docker("1796051600000000000 kill d0 db\n1796051600020000000 start d1 db\n");
        assert!(fixture.run(&command, b"").await.success());
        assert_eq!(down(), "down db 20, down web 2345", "{shell:?}");
        // The project was removed, and deployed again later. docker-compose 2 removes a container before its successor starts.
        docker(
            "1796051600000000000 kill w1 web\n1796051601000000000 destroy w1 web\n1796051620000000000 create w2 web\n\
             1796051621000000000 start w2 web\n1796051630000000000 create d1 db\n1796051631000000000 kill d0 db\n\
             1796051631500000000 destroy d0 db\n1796051631700000000 start d1 db\n",
        );
        assert!(fixture.run(&command, b"").await.success());
        assert_eq!(down(), "down db 700, down web 2345", "{shell:?}");
        // Somebody had stopped it long before; docker no longer knows the events of the other.
        docker("1796051600000000000 kill w1 web\n1796052600000000000 start w2 web\n");
        assert!(fixture.run(&command, b"").await.success());
        assert_eq!(down(), "down db 700, down web 2345", "{shell:?}");
    }
}
