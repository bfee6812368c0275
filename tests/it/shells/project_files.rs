//! The scripts that put a project's files in place and undo that.

use super::*;

/// A project's file in a sandbox, with the paths that belong to it.
struct File {
    fixture: Sandbox,
    path: PathBuf,
    kept: PathBuf,
    record: PathBuf,
}

impl File {
    fn new(shell: &[&str], tools: &[&str]) -> Self {
        let fixture = sandbox(shell, tools);
        let at = |name: &str| fixture.home().join(name);
        Self {
            path: at("project/new dir/it's a file"),
            kept: at(".o3r-deploy/previous/app/new dir%2F.it's%25"),
            record: at("record"),
            fixture,
        }
    }

    async fn put(&self, planned: &[u8], previous: PreviousFile, sent: &[u8]) -> Output {
        let contents = (Digest::of(planned), planned.len() as u64);
        let kept = (text(&self.kept), previous);
        let argv = remote::put_file(text(&self.path), contents, 0o640, kept, text(&self.record));
        self.fixture.run(&argv, sent).await
    }

    async fn remove(&self, previous: PreviousFile) -> Output {
        let project = self.fixture.home().join("project");
        let kept = (text(&self.kept), previous);
        let argv = remote::remove_file(text(&self.path), kept, text(&self.record), text(&project));
        self.fixture.run(&argv, b"").await
    }

    async fn restore(&self, previous: PreviousFile) -> Output {
        let kept = (text(&self.kept), previous);
        let (project, stored) = (self.fixture.home().join("project"), self.stored());
        let (project, stored) = (text(&project), (text(&stored), 0o640));
        let argv =
            remote::restore_file(text(&self.path), kept, text(&self.record), project, stored);
        self.fixture.run(&argv, b"").await
    }

    /// Where the store would have the previous release's file.
    fn stored(&self) -> PathBuf {
        self.fixture.home().join("stored")
    }

    fn write(&self, bytes: &[u8]) {
        std::fs::create_dir_all(self.path.parent().unwrap()).unwrap();
        std::fs::write(&self.path, bytes).unwrap();
    }

    /// Returns its contents, if it exists.
    fn read(&self) -> Option<Vec<u8>> {
        std::fs::read(&self.path).ok()
    }
}

fn is(bytes: &[u8]) -> PreviousFile {
    PreviousFile::Is(Digest::of(bytes))
}

#[tokio::test]
async fn put_file_replaces_whole_files_or_nothing() {
    for shell in shells() {
        for tools in [&["sha256sum"][..], &["busybox"], &[]] {
            let file = File::new(shell, tools);
            std::fs::write(&file.record, "old").unwrap();
            let output = file.put(b"one", PreviousFile::None, b"one").await;
            assert!(output.success(), "{output:?}");
            assert_eq!(file.read().unwrap(), b"one");
            let mode = std::fs::metadata(&file.path).unwrap().permissions().mode();
            assert_eq!(mode & 0o7777, 0o640);
            assert!(!file.kept.exists() && !file.record.exists());
            let records = observe_in(&file.fixture, &Query::default()).await;
            let added = &records.facts.records.known().unwrap().added["app"];
            assert!(added.contains("new dir/.it's%"), "{added:?}");

            // A truncated payload and a wrong one change nothing.
            std::fs::write(&file.record, "new").unwrap();
            let hashes = !tools.is_empty();
            for wrong in [&b"tw"[..], b"owt", b""] {
                if wrong.len() == 3 && !hashes {
                    continue; // without a tool only its size can be checked
                }
                let output = file.put(b"two", is(b"one"), wrong).await;
                assert_eq!(output.code, 1, "{tools:?}");
                let said = output.tail(1);
                assert!(said.contains("differs from the plan"), "{output:?}");
                assert_eq!(file.read().unwrap(), b"one");
                assert!(file.record.exists());
                if hashes {
                    assert!(file.restore(is(b"one")).await.success());
                    assert_eq!(file.read().unwrap(), b"one");
                }
            }
            let left: Vec<_> = std::fs::read_dir(file.path.parent().unwrap())
                .unwrap()
                .collect();
            assert_eq!(left.len(), 1, "a temporary file is left");
        }
    }
}

#[tokio::test]
async fn the_previous_releases_file_is_restored_whatever_happened_to_it() {
    for shell in shells() {
        for tools in [&["sha256sum"][..], &["busybox"]] {
            let file = File::new(shell, tools);
            file.write(b"one");
            let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap();
            let record = format!("input file x\tsha256:1\nboot {boot}container 1\n");
            std::fs::write(&file.record, &record).unwrap();
            // An interrupted apply put another file, and
            // the next one a third: the first stays kept.
            assert!(file.put(b"two", is(b"one"), b"two").await.success());
            assert!(file.put(b"three", is(b"one"), b"three").await.success());
            assert!(file.put(b"three", is(b"one"), b"three").await.success());
            for _ in 0..2 {
                let output = file.restore(is(b"one")).await;
                assert!(output.success(), "{output:?}");
                assert_eq!(file.read().unwrap(), b"one");
                assert_eq!(std::fs::read_to_string(&file.record).unwrap(), record);
            }
            // Restarted before the apply: the record is as true after a rollback as before.
            let earlier = record.replace(boot.trim(), "another");
            std::fs::write(&file.record, &earlier).unwrap();
            assert!(file.put(b"two", is(b"one"), b"two").await.success());
            assert!(file.restore(is(b"one")).await.success());
            assert_eq!(std::fs::read_to_string(&file.record).unwrap(), earlier);
            // Restarted in between: the boot may have created containers from the new file.
            assert!(file.put(b"two", is(b"one"), b"two").await.success());
            std::fs::write(file.kept.with_file_name("%boot"), "another\n").unwrap();
            assert!(file.restore(is(b"one")).await.success());
            assert!(!file.record.exists());
            // A copy of an older release is not mistaken for that of the last one.
            assert!(file.put(b"two", PreviousFile::None, b"two").await.success());
            let output = file.put(b"three", is(b"two"), b"cut").await;
            assert_eq!(output.code, 1);
            assert!(file.restore(is(b"two")).await.success());
            assert_eq!(file.read().unwrap(), b"two");
            std::fs::write(&file.kept, "older").unwrap();
            file.write(b"someone's");
            let output = file.restore(is(b"two")).await;
            assert!(output.tail(1).contains("there is no copy of it"));
            assert_eq!(file.read().unwrap(), b"someone's");
            // The store has it, unless what it has is damaged.
            for stored in [&b"damaged"[..], b"two", b"two"] {
                file.write(b"someone's");
                std::fs::write(file.stored(), stored).unwrap();
                let output = file.restore(is(b"two")).await;
                assert_eq!(output.success(), stored == b"two", "{output:?}");
            }
            assert_eq!(file.read().unwrap(), b"two");
            let mode = std::fs::metadata(&file.path).unwrap().permissions().mode();
            assert_eq!(mode & 0o7777, 0o640);
            assert_eq!(std::fs::read(file.stored()).unwrap(), b"two");
            std::fs::remove_file(file.stored()).unwrap();

            // Removed, and restored with its directory; doing it twice does not lose it.
            file.write(b"two");
            std::fs::write(&file.record, "new").unwrap();
            for _ in 0..2 {
                let output = file.remove(is(b"two")).await;
                assert!(output.success(), "{output:?}");
                assert!(!file.path.parent().unwrap().exists() && !file.record.exists());
                assert!(file.fixture.home().join("project").exists());
            }
            assert!(file.restore(is(b"two")).await.success());
            assert_eq!(file.read().unwrap(), b"two");

            // If the release had no file, restoring removes it; someone else's file is restored.
            let project = file.fixture.home().join("project");
            let other = project.join("other");
            std::fs::write(&other, "").unwrap();
            assert!(file.restore(PreviousFile::None).await.success());
            assert_eq!(file.read(), None);
            assert!(!file.path.parent().unwrap().exists() && other.exists());
            std::fs::remove_file(&other).unwrap();
            assert!(file.restore(PreviousFile::None).await.success());
            assert!(file.fixture.home().exists() && !project.exists());
            file.write(b"someone's");
            std::fs::remove_file(&file.kept).unwrap(); // recording a release does so
            let whatever = PreviousFile::Whatever;
            assert_eq!(file.put(b"four", whatever, b"cut").await.code, 1);
            assert!(file.restore(whatever).await.success());
            assert_eq!(file.read().unwrap(), b"someone's");
            assert!(file.put(b"four", whatever, b"four").await.success());
            assert!(file.restore(whatever).await.success());
            assert_eq!(file.read().unwrap(), b"someone's");
        }
    }
}

/// On a full disk, a file that is right already is not written.
#[tokio::test]
async fn a_restore_writes_nothing_if_nothing_has_changed() {
    for shell in shells() {
        let file = File::new(shell, &["sha256sum"]);
        file.write(b"one");
        assert!(file.put(b"two", is(b"one"), b"two").await.success());
        file.write(b"one");
        let inode =
            |path: &Path| std::os::unix::fs::MetadataExt::ino(&std::fs::metadata(path).unwrap());
        let mode = std::fs::metadata(&file.kept).unwrap().permissions();
        std::fs::set_permissions(&file.path, mode).unwrap();
        let before = inode(&file.path);
        assert!(file.restore(is(b"one")).await.success());
        assert_eq!(inode(&file.path), before, "{shell:?}");
        // The same bytes with other permissions count as another file.
        std::fs::set_permissions(&file.path, std::fs::Permissions::from_mode(0o600)).unwrap();
        assert!(file.restore(is(b"one")).await.success());
        assert_ne!(inode(&file.path), before);
    }
    // busybox has cp built in: only dash uses another one.
    let file = File::new(SHELLS[0], &["sha256sum"]);
    file.write(b"one");
    assert!(file.put(b"two", is(b"one"), b"two").await.success());
    let full = "#!/bin/sh\necho 'cp: error writing: No space left on device' >&2\nexit 1\n";
    file.fixture.program("cp", full);
    assert!(file.restore(is(b"one")).await.success());
    assert_eq!(file.read().unwrap(), b"one");
    assert!(file.restore(is(b"one")).await.success(), "a second time");
}
