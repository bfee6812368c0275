//! Archives as other tools really write them; see tests/fixtures/images/README.md.

use std::io::Read as _;

use o3r_deploy::internal::{digest::Digest, image::LayerSelection};

use o3r_testing::archives::{Input, load, sent};

fn unpacked(name: &str) -> Vec<u8> {
    let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/images");
    let packed = std::fs::read(format!("{directory}/{name}.tar.gz")).unwrap();
    let mut bytes = vec![];
    let mut gunzip = flate2::read::GzDecoder::new(packed.as_slice());
    gunzip.read_to_end(&mut bytes).unwrap();
    bytes
}

/// Returns the names of the files in an image's only layer.
fn files(name: &str, arch: &str) -> Vec<String> {
    let input = Input::new(&unpacked(name));
    let image = input
        .open_as("tiny:1", arch)
        .unwrap_or_else(|error| panic!("{name}: {error:?}"));
    assert_eq!(image.image().platform().architecture, arch);
    let archive = sent(&image, &LayerSelection::All);
    let loaded = load(&archive);
    assert_eq!(
        Digest::of(&loaded.config),
        image.image().config_digest(),
        "{name}"
    );
    let [Some(_)] = loaded.layers[..] else {
        panic!("{name}: {:?}", loaded.layers);
    };
    let mut archive = tar::Archive::new(archive.as_slice());
    let entries = archive.entries().unwrap().map(Result::unwrap);
    let mut layer = vec![];
    for mut entry in entries {
        if entry.path().unwrap().ends_with("layer.tar") {
            entry.read_to_end(&mut layer).unwrap();
        }
    }
    let layer = if layer.starts_with(b"\x1f\x8b") {
        let mut bytes = vec![];
        flate2::read::MultiGzDecoder::new(layer.as_slice())
            .read_to_end(&mut bytes)
            .unwrap();
        bytes
    } else {
        layer
    };
    let mut layer = tar::Archive::new(layer.as_slice());
    let entries = layer.entries().unwrap().map(Result::unwrap);
    entries
        .map(|entry| entry.path().unwrap().display().to_string())
        .collect()
}

#[test]
fn archives_of_other_tools_are_read() {
    assert_eq!(files("docker-20.10", "amd64"), ["hello"]);
    for name in [
        "buildah-oci",
        "buildah-docker",
        "skopeo-oci",
        "skopeo-oci-zstd",
        "skopeo-docker",
    ] {
        assert!(files(name, "arm64").contains(&"hello".to_owned()), "{name}");
    }
}

#[test]
fn the_right_platform_is_picked() {
    assert!(files("buildah-multi", "arm64").contains(&"hello".to_owned()));
    assert!(files("buildah-multi", "amd64").contains(&"second".to_owned()));
    let input = Input::new(&unpacked("buildah-multi"));
    let error = input.open_as("tiny:1", "riscv64").unwrap_err();
    insta::assert_snapshot!(input.error(&error), @"
    DIR/image.tar is built for linux/arm64, linux/amd64, but the VPU needs linux/riscv64
    help: build it with `docker build --platform linux/riscv64 …`, or set [vpu].arch
    ");
}
