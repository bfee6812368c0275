//! Every defect has a message that says where it is and what to do.

use insta::assert_snapshot;
use o3r_deploy::internal::digest::Digest;
use o3r_deploy::internal::image::{Image, LayerSelection, Platform, Source};

use o3r_testing::archives::{
    Blobs, Input, Packing, Tar, config, docker_25, docker_old, layer, layers, oci,
};

/// Returns the message for bytes that are used as an archive of app:1 for arm64.
fn message(bytes: &[u8]) -> String {
    let input = Input::new(bytes);
    match input.open_as("app:1", "arm64") {
        Ok(_) => panic!("was opened"),
        Err(error) => input.error(&error),
    }
}

#[test]
fn not_an_archive() {
    let mut long = b"PK\x03\x04".to_vec();
    long.resize(2000, 1);
    let others: [&[u8]; 11] = [
        b"",
        &long,
        b"\xfd7zXZ\0\0\0",
        b"BZh91AY",
        b"\x04\x22\x4d\x18",
        b"\x7fELF\x02",
        b"<!DOCTYPE html>",
        b"{\"a\":1}",
        b"FROM scratch\n",
        b"version https://git-lfs.github.com/spec/v1\n",
        &[7; 4000],
    ];
    assert_snapshot!(others.map(message).join("\n\n"), @r#"
    DIR/image.tar is not an image archive but an empty file
    help: create one with `docker save -o FILE IMAGE`

    DIR/image.tar is not an image archive but a zip file
    help: unzip it; the tar may be inside

    DIR/image.tar is damaged near byte 0: the compressed data is truncated
    help: the file was copied or written incompletely; create or copy it again

    DIR/image.tar is damaged near byte 0: the compressed data is truncated
    help: the file was copied or written incompletely; create or copy it again

    DIR/image.tar is compressed with lz4, which is not supported
    help: unpack it with `lz4 -d FILE`, or compress it with gzip or zstd

    DIR/image.tar is not an image archive but a program
    help: create one with `docker save -o FILE IMAGE`

    DIR/image.tar is not an image archive but a web page or XML
    help: the download may have failed: check the file's content

    DIR/image.tar is not an image archive but a JSON text
    help: create one with `docker save -o FILE IMAGE`

    DIR/image.tar is not an image archive but a Dockerfile
    help: build it: `docker build -t NAME .`, then `engine = "NAME"`

    DIR/image.tar is not an image archive but a git-lfs pointer
    help: fetch the file with `git lfs pull`

    DIR/image.tar is not an image archive but a file of an unknown kind
    help: create one with `docker save -o FILE IMAGE`
    "#);
}

#[test]
fn tars_of_something_else() {
    let tars = [
        Vec::from([0; 10240]),
        Tar::default().file("readme.txt", "x").end(),
        Tar::default().file("./usr/bin/env", "x").end(),
        Tar::default()
            .file("app/oci-layout", "{}")
            .file("app/index.json", "{}")
            .end(),
        Packing::Gzip.pack(&Packing::Gzip.pack(b"x")),
        Packing::Gzip.pack(b"hello"),
    ];
    assert_snapshot!(tars.map(|tar| message(&tar)).join("\n\n"), @r#"
    DIR/image.tar is not an image archive but a tar without manifest.json and oci-layout
    help: create one with `docker save -o FILE IMAGE`

    DIR/image.tar is not an image archive but a tar without manifest.json and oci-layout
    help: create one with `docker save -o FILE IMAGE`

    DIR/image.tar is not an image archive but the tar of a file system
    help: declare it as `rootfs = { file = "…", cmd = ["…"] }` instead of `archive`

    DIR/image.tar is not an image archive but a tar with an image in a directory
    help: pack the directory's content: `tar -C DIRECTORY -cf FILE .`

    DIR/image.tar is not an image archive but a file compressed twice
    help: unpack it once

    DIR/image.tar is not an image archive but a file of an unknown kind
    help: create one with `docker save -o FILE IMAGE`
    "#);
}

#[test]
fn no_file() {
    let input = Input::new(b"");
    let open = |path: &str| {
        let source = Source::Archive(input.path.with_file_name(path));
        let platform = Platform::linux("arm64");
        let error = Image::open(&source, "app:1", &platform, &input.scratch()).unwrap_err();
        input.error(&error)
    };
    assert_snapshot!(open("nowhere.tar"), @"
    cannot read DIR/nowhere.tar
    help: build the file first; its path is relative to the manifest
    ");
    assert_snapshot!(open("."), @"
    DIR/. is not an image archive but a directory
    help: pack an OCI layout with `tar -C DIRECTORY -cf FILE .` and name that file
    ");
    assert_snapshot!(open("image.tar/x"), @"cannot read DIR/image.tar/x");
}

#[test]
fn wrong_processor() {
    assert_snapshot!(message(&docker_old("amd64", "app:1", &layers())), @"
    DIR/image.tar is built for linux/amd64, but the VPU needs linux/arm64
    help: build it with `docker build --platform linux/arm64 …`, or set [vpu].arch
    ");
    assert_snapshot!(message(&docker_25("amd64", "app:1", &layers())), @"
    DIR/image.tar is built for linux/amd64, but the VPU needs linux/arm64
    help: build it with `docker build --platform linux/arm64 …`, or set [vpu].arch
    ");
}

#[test]
fn cut_off() {
    let bytes = docker_old("arm64", "app:1", &layers());
    assert_snapshot!(message(&bytes[..2000]), @"
    DIR/image.tar is truncated: 3ef3b6ec91479d666609e6afcc4781a4c7d900f0d267cd58964386cb9eb11fb1/layer.tar ends at byte 3584, the file at byte 2000
    help: the file was copied or written incompletely; create or copy it again
    ");
    assert_snapshot!(message(&bytes[..2048 + 100]), @"
    DIR/image.tar is truncated: 3ef3b6ec91479d666609e6afcc4781a4c7d900f0d267cd58964386cb9eb11fb1/layer.tar ends at byte 3584, the file at byte 2148
    help: the file was copied or written incompletely; create or copy it again
    ");
    let gzip = Packing::Gzip.pack(&bytes);
    assert_snapshot!(message(&gzip[..gzip.len() - 20]), @"
    DIR/image.tar is damaged near byte 15548: the compressed data is truncated
    help: the file was copied or written incompletely; create or copy it again
    ");
    let zstd = Packing::Zstd.pack(&bytes);
    assert_snapshot!(message(&zstd[..zstd.len() - 20]), @"
    DIR/image.tar is damaged near byte 0: the compressed data is truncated
    help: the file was copied or written incompletely; create or copy it again
    ");
}

#[test]
fn parts_that_are_missing() {
    let layers = layers();
    let mut blobs = Blobs::default();
    let image = blobs.image("arm64", &layers, Packing::Plain);
    let tar = blobs.pack(&[image], Some(Digest::of(&layers[1]))).end();
    assert_snapshot!(message(&tar), @"
    DIR/image.tar lacks blobs/sha256/47afaaf5f60d528ab413c9bbb65cc5bfb1f5715cc58204a02bbff4e59d310492, which blobs/sha256/4a296a9b566cf12775777cc091d0248602a57920b86a209f8b5593a0f69fe3c0 names
    help: the archive is incomplete; create it again with `docker save -o FILE IMAGE`
    ");

    let manifest = r#"[{"Config":"c.json","RepoTags":["app:1"],"Layers":["l.tar"]}]"#;
    assert_snapshot!(message(&Tar::default().file("manifest.json", manifest).end()), @"
    DIR/image.tar lacks c.json, which manifest.json names
    help: the archive is incomplete; create it again with `docker save -o FILE IMAGE`
    ");
    assert_snapshot!(message(&Tar::default().file("oci-layout", "{}").end()), @"
    DIR/image.tar lacks index.json, which oci-layout names
    help: the archive is incomplete; create it again with `docker save -o FILE IMAGE`
    ");
}

#[test]
fn manifests_that_make_no_sense() {
    let manifest = |text: &str| message(&Tar::default().file("manifest.json", text).end());
    assert_snapshot!(manifest("[]"), @"
    DIR/image.tar is not an image archive but a tar whose manifest.json lists no image
    help: save the image by its name: `docker save -o FILE NAME:TAG`; the tar of a file system is declared as `rootfs`
    ");
    assert_snapshot!(manifest("{"), @"DIR/image.tar: manifest.json: EOF while parsing an object at line 1 column 1");
    assert_snapshot!(manifest(&format!("[{{\"x\":{}", "[".repeat(100_000))), @"DIR/image.tar: manifest.json: recursion limit exceeded at line 1 column 132");
    assert_snapshot!(manifest(&" ".repeat(5 << 20)), @"DIR/image.tar: manifest.json has 5242880 bytes, more than the 4194304 that are accepted");
    let layers = [layer("a", "b")];
    let config = config("arm64", &layers);
    let text = r#"[{"Config":"c.json","Layers":[]}]"#;
    let tar = Tar::default()
        .file("c.json", config)
        .file("manifest.json", text);
    assert_snapshot!(message(&tar.end()), @"DIR/image.tar: the image's configuration: names 1 layers, the manifest 0");
}

#[test]
fn too_many_layers() {
    let layers: Vec<_> = (0..200)
        .map(|number| layer("a", number.to_string()))
        .collect();
    assert_snapshot!(message(&docker_old("arm64", "app:1", &layers)), @"DIR/image.tar: the image has 200 layers, more than the 125 that are accepted");
}

/// Replaces `from` by `to`, of the same length, everywhere.
fn replace(bytes: &mut [u8], from: &[u8], to: &[u8]) {
    assert_eq!(from.len(), to.len());
    let mut found = false;
    for at in 0..=bytes.len() - from.len() {
        if bytes[at..].starts_with(from) {
            bytes[at..at + to.len()].copy_from_slice(to);
            found = true;
        }
    }
    assert!(found);
}

#[test]
fn a_changed_configuration() {
    // docker's own layout has no digests to check.
    let mut bytes = oci("arm64", &layers(), Packing::Plain);
    replace(&mut bytes, b"SECRET=1", b"SECRET=2");
    assert!(
        message(&bytes).contains("has the digest sha256:"),
        "{}",
        message(&bytes)
    );
}

#[test]
fn a_changed_layer_cuts_the_stream_off() {
    let archives = [
        docker_old("arm64", "app:1", &layers()),
        docker_25("arm64", "app:1", &layers()),
        oci("arm64", &layers(), Packing::Plain),
    ];
    for mut bytes in archives {
        replace(&mut bytes, b"app app", b"app bpp");
        let input = Input::new(&bytes);
        let image = input.open_as("app:1", "arm64").unwrap();
        let mut out = Vec::new();
        let error = image
            .write_archive("app:1", &LayerSelection::All, &mut out)
            .unwrap_err();
        let layer = Digest::of(&layers()[1]);
        let text = input.error(&error);
        assert!(
            text.starts_with(&format!("DIR/image.tar: layer {layer} has the digest")),
            "{text}"
        );
        // The sent bytes are not a valid archive: the last member is incomplete.
        let read = tar::Archive::new(out.as_slice())
            .entries()
            .unwrap()
            .map(|entry| std::io::copy(&mut entry?, &mut std::io::sink()))
            .collect::<Result<Vec<_>, _>>();
        let len = image.archive_len("app:1", &LayerSelection::All);
        assert!(read.is_err() || (out.len() as u64) < len - 1024);
    }
}

#[test]
fn a_changed_zstd_layer_is_found_at_once() {
    let mut blobs = Blobs::default();
    let right = layers();
    let mut wrong = layers();
    wrong[1] = layer("b", "other");
    blobs.add(
        "application/vnd.oci.image.config.v1+json",
        config("arm64", &right),
    );
    let mut manifest = blobs.image("arm64", &right, Packing::Zstd);
    // The same configuration with other layers.
    let config = blobs.add(
        "application/vnd.oci.image.config.v1+json",
        config("arm64", &right),
    );
    let layers: Vec<_> = wrong
        .iter()
        .map(|l| blobs.add("application/x.tar+zstd", Packing::Zstd.pack(l)))
        .collect();
    let text = serde_json::json!({ "config": config, "layers": layers }).to_string();
    let swapped = blobs.add("application/vnd.oci.image.manifest.v1+json", text);
    manifest["digest"] = swapped["digest"].clone();
    manifest["size"] = swapped["size"].clone();
    assert_snapshot!(message(&blobs.pack(&[manifest], None).end()), @"
    DIR/image.tar: layer 2 has the digest sha256:64aa1f006cc718716a3de926a231a34b6f60b099146e415c091f581dc48decdf, not sha256:47afaaf5f60d528ab413c9bbb65cc5bfb1f5715cc58204a02bbff4e59d310492
    help: the file was copied or written incompletely; create or copy it again
    ");
}

#[test]
fn a_receiver_that_stops() {
    let input = Input::new(&docker_old("arm64", "app:1", &layers()));
    let image = input.open_as("app:1", "arm64").unwrap();
    let mut room = [0; 3000];
    let mut out = room.as_mut_slice();
    let error = image
        .write_archive("app:1", &LayerSelection::All, &mut out)
        .unwrap_err();
    assert_snapshot!(input.error(&error), @"the archive could not be sent");
}

#[test]
fn a_file_that_shrinks_after_it_was_opened() {
    let input = Input::new(&docker_old("arm64", "app:1", &layers()));
    let image = input.open_as("app:1", "arm64").unwrap();
    fs_err::write(&input.path, b"").unwrap();
    let error = image
        .write_archive("a", &LayerSelection::All, &mut Vec::new())
        .unwrap_err();
    assert!(
        input
            .error(&error)
            .contains("2048 bytes were expected; did the file change?")
    );
}
