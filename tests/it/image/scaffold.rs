//! What `init` finds in a folder with archives of every kind.

use std::fs;

use camino::Utf8Path;
use o3r_deploy::internal::{
    image::ScratchDir,
    manifest,
    scaffold::{find, text},
};

use o3r_testing::archives::{Packing, Tar, docker_25, docker_old, layers, oci};

#[test]
fn archives_are_found_by_their_contents() {
    let directory = tempfile::tempdir().unwrap();
    let folder = Utf8Path::from_path(directory.path())
        .unwrap()
        .join("My App");
    let scratch = ScratchDir::new(folder.join(".scratch"));
    let write = |name: &str, bytes: &[u8]| {
        let path = folder.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    };
    write("dist/web.tar", &docker_old("arm64", "web:1.2", &layers()));
    write(
        "dist/deep/db.tar.gz",
        &Packing::Gzip.pack(&docker_25("amd64", "db:7", &layers())),
    );
    write(
        "other.tar.zst",
        &Packing::Zstd.pack(&oci("arm64", &layers(), Packing::Gzip)),
    );
    write(
        "notes.tar",
        &Tar::default().file("notes.txt", "hello").end(),
    );
    write(
        "target/built.tar",
        &docker_old("arm64", "built:1", &layers()),
    );
    write("cut.tar", &docker_old("arm64", "cut:1", &layers())[..3000]);
    write(
        "compose.yml",
        b"version: '2.4'\nservices:\n  web:\n    image: web:1.2\n    env_file: web.env\n  db:\n    image: db:7\n  again:\n    image: web:1.2\n",
    );
    write("web.env", b"A=1\n");

    let found = find(&folder, &scratch);
    let seen: Vec<(&str, String, &str)> = found
        .archives
        .iter()
        .map(|archive| {
            let names = archive.names.join(" ");
            (archive.file.as_str(), names, archive.arch.as_str())
        })
        .collect();
    assert_eq!(
        seen,
        [
            ("dist/deep/db.tar.gz", "db:7".to_owned(), "amd64"),
            ("dist/web.tar", "web:1.2".to_owned(), "arm64"),
            ("other.tar.zst", "app:1".to_owned(), "arm64"),
        ]
    );
    assert_eq!(found.notes.len(), 1, "{:?}", found.notes);
    assert!(
        found.notes[0].contains("cut.tar is truncated"),
        "{:?}",
        found.notes
    );
    assert_eq!(found.name, "my-app");

    let text = text(&found, "./deploy.schema.json");
    write("deploy.toml", text.as_bytes());
    let loaded = manifest::load(&folder.join("deploy.toml"));
    let manifest = loaded
        .unwrap_or_else(|error| panic!("{error:#?}\n{text}"))
        .manifest;
    let archives: Vec<&str> = manifest
        .images
        .iter()
        .map(|image| image.archive.as_ref().unwrap().as_str())
        .collect();
    assert_eq!(archives, ["dist/web.tar", "dist/deep/db.tar.gz"]);
    assert_eq!(manifest.compose[0].extra_files[0].as_str(), "web.env");
    assert_eq!(manifest.release.version.unwrap().as_str(), "1.2");
    assert!(
        text.contains("# found, but not used by compose.yml: other.tar.zst (app:1, arm64)"),
        "{text}"
    );
}
