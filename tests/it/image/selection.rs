//! Selects the image of an archive: the one of that name, the only one, or none.

#![expect(
    clippy::unwrap_used,
    reason = "a helper of tests: a panic is its report"
)]

use insta::assert_snapshot;
use o3r_deploy::internal::digest::Digest;
use serde_json::{Value, json};

use o3r_testing::archives::{Blobs, Input, Packing, Tar, config, layer};

/// Returns the layers of an image with one file that contains `text`.
fn layers(text: &str) -> Vec<Vec<u8>> {
    vec![layer("says", text)]
}

/// Names an image as docker 25 and containerd do: in full, and by its bare tag.
fn twice_named(mut descriptor: Value, name: &str) -> Value {
    let (_, tag) = name.rsplit_once(':').unwrap();
    descriptor["annotations"] = json!({
        "io.containerd.image.name": format!("docker.io/library/{name}"),
        "org.opencontainers.image.ref.name": tag,
    });
    descriptor
}

fn bare(mut descriptor: Value, tag: &str) -> Value {
    descriptor["annotations"] = json!({ "org.opencontainers.image.ref.name": tag });
    descriptor
}

/// Returns an OCI archive of images for these processors,
/// each with the descriptor that `name` returns.
fn archive(images: &[(&str, &str)], name: impl Fn(Value, &str) -> Value) -> Tar {
    let mut blobs = Blobs::default();
    let descriptors: Vec<Value> = images
        .iter()
        .map(|(text, arch)| name(blobs.image(arch, &layers(text), Packing::Gzip), text))
        .collect();
    blobs.pack(&descriptors, None)
}

/// Adds docker's manifest, which names these images of [`archive`].
fn with_manifest(tar: Tar, images: &[(&str, &str, &str)]) -> Vec<u8> {
    let items = images.iter().map(|(text, arch, tag)| {
        let blob = |bytes: &[u8]| format!("blobs/sha256/{}", Digest::of(bytes).hex());
        let layers = layers(text);
        json!({
            "Config": blob(&config(arch, &layers)),
            "RepoTags": [tag],
            "Layers": [blob(&Packing::Gzip.pack(&layers[0]))],
        })
    });
    let items: Value = items.collect();
    tar.file("manifest.json", items.to_string()).end()
}

/// Returns the text of the image that is selected, or why none is.
fn taken(bytes: &[u8], name: &str, texts: &[(&str, &str)]) -> String {
    let input = Input::new(bytes);
    match input.open_as(name, "arm64") {
        Ok(image) => {
            let is = |(text, arch): &&(&str, &str)| {
                image.image().config_digest() == Digest::of(config(arch, &layers(text)))
            };
            texts.iter().find(is).unwrap().0.to_owned()
        }
        Err(error) => input.error(&error),
    }
}

#[test]
fn regression_a_bare_tag_is_not_a_name_beside_full_ones() {
    let images = [("app:1.0", "arm64"), ("tools:1.0", "amd64")];
    let both = archive(&images, twice_named);
    let listed = [
        ("app:1.0", "arm64", "app:1.0"),
        ("tools:1.0", "amd64", "tools:1.0"),
    ];
    for bytes in [both.clone().end(), with_manifest(both, &listed)] {
        assert_eq!(taken(&bytes, "app:1.0", &images), "app:1.0");
        let refused = taken(&bytes, "tools:1.0", &images);
        let wanted = "DIR/image.tar is built for linux/amd64, but the VPU needs linux/arm64\n";
        assert!(refused.starts_with(wanted), "{refused}");
        // None of them, although both have the tag.
        let none = taken(&bytes, "other:1.0", &images);
        assert!(none.contains("holds 2 images, none of them"), "{none}");
    }
    let images = [("a:1.0", "arm64"), ("b:1.0", "arm64")];
    for name in ["a:1.0", "b:1.0", "docker.io/library/b:1.0"] {
        let bytes = archive(&images, twice_named).end();
        assert!(name.ends_with(&taken(&bytes, name, &images)), "{name}");
    }
}

#[test]
fn a_bare_tag_counts_if_only_one_image_has_it() {
    let images = [("1.0", "arm64"), ("2.0", "arm64")];
    let bytes = archive(&images, bare).end();
    assert_eq!(taken(&bytes, "app:2.0", &images), "2.0");
    // Whatever their platform: the matching one may be another image.
    let images = [("one", "arm64"), ("two", "amd64")];
    let bytes = archive(&images, |descriptor, _| bare(descriptor, "1.0")).end();
    assert_snapshot!(taken(&bytes, "app:1.0", &images), @"
    DIR/image.tar holds 2 images that may be \"app:1.0\": 1.0 (efa403ae3478), 1.0 (319a790470d2)
    help: save one image alone, by its name: `docker save -o FILE NAME:TAG`
    ");
}

#[test]
fn two_images_of_one_name_are_one_for_two_platforms_or_refused() {
    let named = |descriptor: Value, _: &str| twice_named(descriptor, "app:1.0");
    let images = [("one", "arm64"), ("two", "amd64")];
    let bytes = archive(&images, named).end();
    assert_eq!(taken(&bytes, "app:1.0", &images), "one");
    let images = [("one", "arm64"), ("two", "arm64")];
    let tar = archive(&images, named);
    let listed = [("one", "arm64", "app:1.0"), ("two", "arm64", "app:1.0")];
    for bytes in [tar.clone().end(), with_manifest(tar, &listed)] {
        let refused = taken(&bytes, "app:1.0", &images);
        assert!(refused.contains("2 images that may be"), "{refused}");
    }
}

#[test]
fn unnamed_images_are_one_only_if_they_differ_in_the_platform_alone() {
    let unnamed = |descriptor: Value, _: &str| descriptor;
    let images = [("one", "arm64"), ("two", "amd64")];
    // An index of platforms, according to its descriptors.
    assert_eq!(
        taken(&archive(&images, unnamed).end(), "app:1", &images),
        "one"
    );
    let silent = |mut descriptor: Value, _: &str| {
        descriptor.as_object_mut().unwrap().remove("platform");
        descriptor
    };
    let refused = taken(&archive(&images, silent).end(), "app:1", &images);
    assert!(refused.contains("none of them the one"), "{refused}");
    let help = "help: save one image alone, by its name";
    assert!(refused.contains(help), "{refused}");
}

#[test]
fn an_image_that_docker_does_not_list_is_found_in_the_layout() {
    let images = [("a:1.0", "arm64"), ("b:1.0", "arm64")];
    let tar = || archive(&images, twice_named);
    let bytes = with_manifest(tar(), &[("a:1.0", "arm64", "a:1.0")]);
    assert_eq!(taken(&bytes, "b:1.0", &images), "b:1.0");
    let refused = taken(&bytes, "c:1.0", &images);
    assert!(refused.contains("none of them the one"), "{refused}");
    for empty in ["[]", "null\n", "{\"name\":\"a web application\"}"] {
        let one = [("a:1.0", "arm64")];
        let bytes = archive(&one, twice_named).file("manifest.json", empty);
        assert_eq!(taken(&bytes.end(), "a:1.0", &one), "a:1.0", "{empty}");
    }
}
