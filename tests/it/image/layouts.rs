//! Every layout gives the same image, byte for byte if nothing was compressed.

use std::collections::BTreeSet;

use insta::assert_snapshot;
use o3r_deploy::internal::digest::Digest;
use o3r_deploy::internal::image::{Layer, LayerSelection};

use o3r_testing::archives::{
    Blobs, Input, Loaded, Packing, Tar, config, docker_25, docker_old, layer, layers, load, named,
    oci, open, sent,
};

/// The digest of the archive that every uncompressed source
/// of the test image becomes, whatever its layout.
const GOLDEN: &str = "sha256:917d35f8bfd7b7fafc20cfce0dc628e4c14c17cfdc9ae1084da1e8c0ba6ac85b";

fn expected() -> Loaded {
    let layers = layers();
    let config = config("arm64", &layers);
    let digest = Digest::of(&config);
    let mut members = vec!["manifest.json".to_owned(), format!("{}.json", digest.hex())];
    members.extend(
        layers[..2]
            .iter()
            .map(|l| format!("{}/layer.tar", Digest::of(l).hex())),
    );
    let layers = layers.iter().map(|layer| Some(Digest::of(layer))).collect();
    Loaded {
        tags: vec!["app:staged".to_owned()],
        config,
        layers,
        members,
    }
}

#[test]
fn every_layout_becomes_the_same_image() {
    let gzip = |bytes: Vec<u8>| Packing::Gzip.pack(&bytes);
    let halves = |bytes: Vec<u8>| {
        let (one, two) = bytes.split_at(bytes.len() / 2);
        [Packing::Gzip.pack(one), Packing::Gzip.pack(two)].concat()
    };
    for (name, bytes, is_plain) in [
        ("docker save", docker_old("arm64", "app:1", &layers()), true),
        (
            "docker save of 25",
            docker_25("arm64", "app:1", &layers()),
            true,
        ),
        ("OCI", oci("arm64", &layers(), Packing::Plain), true),
        (
            "OCI with gzip layers",
            oci("arm64", &layers(), Packing::Gzip),
            false,
        ),
        (
            "OCI with zstd layers",
            oci("arm64", &layers(), Packing::Zstd),
            true,
        ),
        (
            "docker save, gzip",
            gzip(docker_old("arm64", "app:1", &layers())),
            true,
        ),
        (
            "docker save, gzip of two members",
            halves(docker_old("arm64", "app:1", &layers())),
            true,
        ),
        (
            "docker save, zstd",
            Packing::Zstd.pack(&docker_old("arm64", "app:1", &layers())),
            true,
        ),
        (
            "OCI, gzip",
            gzip(oci("arm64", &layers(), Packing::Zstd)),
            true,
        ),
    ] {
        let image = open(&bytes).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(
            image.image().config_digest(),
            Digest::of(expected().config),
            "{name}"
        );
        assert_eq!(image.image().config().unwrap(), expected().config, "{name}");
        assert_eq!(
            image.image().platform().to_string(),
            "linux/arm64",
            "{name}"
        );
        assert!(image.image().is_prepared(), "{name}");
        let archive = sent(&image, &LayerSelection::All);
        assert_eq!(load(&archive), expected(), "{name}");
        assert_eq!(
            Digest::of(&archive).to_string() == GOLDEN,
            is_plain,
            "{name} {}",
            Digest::of(&archive)
        );
        assert_eq!(
            archive,
            sent(&image, &LayerSelection::All),
            "{name}: the same bytes again"
        );
    }
}

#[test]
fn names_and_sizes_are_reported() {
    let image = open(&docker_old("arm64", "app:1", &layers())).unwrap();
    assert_eq!(image.image().repo_tags(), ["app:1"]);
    let sizes = |layer: &Vec<u8>| Layer {
        diff_id: Digest::of(layer),
        size: Some(layer.len() as u64),
        unpacked: Some(layer.len() as u64),
        spooled: Some(layer.len() as u64),
    };
    assert_eq!(
        image.layers(),
        layers().iter().map(sizes).collect::<Vec<_>>()
    );
}

#[test]
fn selected_layers_only() {
    let image = open(&docker_old("arm64", "app:1", &layers())).unwrap();
    let app = Digest::of(&layers()[1]);
    let only = LayerSelection::Only(BTreeSet::from([app]));
    let loaded = load(&sent(&image, &only));
    assert_eq!(loaded.layers, [None, Some(app), None]);
    assert_eq!(loaded.config, expected().config);
    let none = LayerSelection::Only(BTreeSet::new());
    assert_eq!(load(&sent(&image, &none)).layers, [None, None, None]);
}

#[test]
fn a_gzip_layer_in_a_docker_archive_passes_through() {
    // As jib and the containerd store write them: no name contains the digest.
    let layer = layer("a", "x");
    let config = config("arm64", std::slice::from_ref(&layer));
    let manifest = r#"[{"Config":"config.json","RepoTags":null,"Layers":["l.tar.gz"]}]"#;
    let packed = Packing::Gzip.pack(&layer);
    let tar = Tar::default()
        .file("config.json", &config)
        .file("l.tar.gz", &packed)
        .file("manifest.json", manifest);
    let image = open(&tar.end()).unwrap();
    assert_eq!(image.layers()[0].size, Some(packed.len() as u64));
    assert_eq!(
        load(&sent(&image, &LayerSelection::All)).layers,
        [Some(Digest::of(&layer))]
    );
}

#[test]
fn the_platform_is_picked() {
    let mut blobs = Blobs::default();
    let arm64 = blobs.image("arm64", &layers(), Packing::Gzip);
    let other = [layer("b", "amd64")];
    let amd64 = blobs.image("amd64", &other, Packing::Gzip);
    let attestation = blobs.attestation();
    let nested = blobs.index(&[amd64, attestation, arm64]);
    let input = Input::new(&blobs.pack(&[named(nested, "latest")], None).end());
    for (arch, layers) in [("arm64", layers().as_slice()), ("amd64", &other)] {
        let image = input.open_as("app:1", arch).unwrap();
        assert_eq!(
            image.image().config_digest(),
            Digest::of(config(arch, layers)),
            "{arch}"
        );
    }
    let error = input.open_as("app:1", "riscv64").unwrap_err();
    assert!(
        error
            .to_string()
            .ends_with("is built for linux/amd64, linux/arm64, but the VPU needs linux/riscv64")
    );
}

#[test]
fn another_platform_may_be_missing() {
    // `docker save` of a containerd store keeps the whole index but only the blobs that it has.
    let mut blobs = Blobs::default();
    let arm64 = blobs.image("arm64", &layers(), Packing::Gzip);
    let amd64 = blobs.image("amd64", &layers(), Packing::Gzip);
    let missing: Digest = amd64["digest"].as_str().unwrap().parse().unwrap();
    let nested = blobs.index(&[amd64, arm64]);
    let input = Input::new(&blobs.pack(&[nested], Some(missing)).end());
    assert_eq!(
        load(&sent(
            &input.open_as("a", "arm64").unwrap(),
            &LayerSelection::All
        )),
        expected()
    );
    let error = input.open_as("a", "amd64").unwrap_err();
    assert!(
        error
            .to_string()
            .contains("is built for linux/arm64, but the VPU needs linux/amd64"),
        "{error}"
    );
}

#[test]
fn the_name_selects_one_of_several() {
    let mut blobs = Blobs::default();
    let one = named(
        blobs.image("arm64", &layers(), Packing::Plain),
        "docker.io/library/app:1",
    );
    let two = named(
        blobs.image("arm64", &[layer("z", "2")], Packing::Plain),
        "app:2",
    );
    let input = Input::new(&blobs.pack(&[two, one], None).end());
    let image = input.open_as("app:1", "arm64").unwrap();
    assert_eq!(image.image().config_digest(), Digest::of(expected().config));
    let error = input.open_as("app:3", "arm64").unwrap_err();
    assert_snapshot!(input.error(&error), @r#"
    DIR/image.tar holds 2 images, none of them the one "app:3": app:2, docker.io/library/app:1
    help: set `name` to one of them, for example "app:2"
    "#);
}

#[test]
fn docker_save_of_several_images() {
    let items: Vec<_> = ["one", "two"]
        .map(|name| {
            let layers = vec![layer(name, name)];
            (name, config("arm64", &layers), layers)
        })
        .into();
    let mut tar = Tar::default();
    let mut manifest = Vec::new();
    for (name, config, layers) in &items {
        tar = tar
            .file(&format!("{name}.json"), config)
            .file(&format!("{name}/layer.tar"), &layers[0]);
        manifest.push(serde_json::json!({
            "Config": format!("{name}.json"),
            "RepoTags": [format!("{name}:latest")],
            "Layers": [format!("{name}/layer.tar")],
        }));
    }
    let tar = tar.file(
        "manifest.json",
        serde_json::Value::from(manifest).to_string(),
    );
    let input = Input::new(&tar.end());
    let image = input.open_as("docker.io/library/two", "arm64").unwrap();
    assert_eq!(image.image().config_digest(), Digest::of(&items[1].1));
    let error = input.open_as("three:latest", "arm64").unwrap_err();
    assert_snapshot!(input.error(&error), @r#"
    DIR/image.tar holds 2 images, none of them the one "three:latest": one:latest, two:latest
    help: set `name` to one of them, for example "one:latest"
    "#);
}
