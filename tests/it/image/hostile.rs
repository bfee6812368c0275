//! No input makes the readers panic, loop or take more memory than they should.

use o3r_deploy::internal::digest::Digest;
use o3r_deploy::internal::image::{Image, ImageSender, LayerSelection, Platform, Rootfs, Source};
use proptest::prelude::*;
use tar::EntryType;

use o3r_testing::archives::{
    Input, Packing, Tar, config, docker_25, docker_old, layer, layers, load, oci, open, sent,
};

fn archives() -> Vec<Vec<u8>> {
    vec![
        docker_old("arm64", "app:1", &layers()),
        docker_25("arm64", "app:1", &layers()),
        oci("arm64", &layers(), Packing::Gzip),
        oci("arm64", &layers(), Packing::Zstd),
        Packing::Gzip.pack(&docker_old("arm64", "app:1", &layers())),
        Packing::Zstd.pack(&docker_25("arm64", "app:1", &layers())),
    ]
}

/// Opens and sends in every way; whatever is sent must be the image that it claims to be.
fn try_everything(bytes: &[u8]) {
    let input = Input::new(bytes);
    if let Ok(image) = input.open_as("app:1", "arm64") {
        let mut out = Vec::new();
        if image
            .write_archive("app:1", &LayerSelection::All, &mut out)
            .is_ok()
        {
            let loaded = load(&out);
            assert_eq!(Digest::of(&loaded.config), image.image().config_digest());
            let diff_ids: Vec<_> = image
                .layers()
                .iter()
                .map(|layer| Some(layer.diff_id))
                .collect();
            assert_eq!(loaded.layers, diff_ids);
        }
    }
    let rootfs = Rootfs {
        file: input.path.clone(),
        ..Rootfs::default()
    };
    let platform = Platform::linux("arm64");
    if let Ok(image) = Image::open(&Source::Rootfs(rootfs), "a", &platform, &input.scratch()) {
        sent(&ImageSender::new(image), &LayerSelection::All);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(o3r_testing::cases(128)))]

    #[test]
    fn cut_anywhere(which in 0..6_usize, part in 0.0..1.0_f64) {
        let bytes = &archives()[which];
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss, reason = "a rough place will do")]
        let len = (bytes.len() as f64 * part) as usize;
        try_everything(&bytes[..len]);
    }

    #[test]
    fn bytes_changed(which in 0..6_usize, changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8)) {
        let mut bytes = archives()[which].clone();
        for (at, value) in changes {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        try_everything(&bytes);
    }

    #[test]
    fn headers_changed(which in 0..3_usize, block in any::<prop::sample::Index>(), changes in prop::collection::vec((0..512_usize, any::<u8>()), 1..6)) {
        let mut bytes = archives()[which].clone();
        let at = block.index(bytes.len() / 512) * 512;
        for (offset, value) in changes {
            bytes[at + offset] = value;
        }
        // With a matching checksum, so that the change is accepted.
        let mut header = tar::Header::new_old();
        header.as_mut_bytes().copy_from_slice(&bytes[at..at + 512]);
        header.set_cksum();
        bytes[at..at + 512].copy_from_slice(header.as_bytes());
        try_everything(&bytes);
    }

    #[test]
    fn anything_at_all(bytes in prop::collection::vec(any::<u8>(), 0..3000)) {
        try_everything(&bytes);
    }
}

#[test]
fn names_that_lead_outside() {
    let layer = layer("a", "x");
    let config = config("arm64", std::slice::from_ref(&layer));
    for path in ["../../etc/passwd", "/etc/passwd", "x/../../y", ""] {
        let manifest = serde_json::json!([{ "Config": "c", "Layers": [path] }]).to_string();
        let tar = Tar::default()
            .file("c", &config)
            .file("../../etc/passwd", "root")
            .file("manifest.json", manifest);
        let error = open(&tar.end()).unwrap_err().to_string();
        let said = error.contains("lacks") || error.contains("docker omitted it");
        assert!(said, "{path:?}: {error}");
    }
    // An absolute name is resolved inside the archive, as docker does.
    let manifest = r#"[{"Config":"c","Layers":["/l"]}]"#;
    let tar = Tar::default()
        .file("/c", &config)
        .file("/l", &layer)
        .file("manifest.json", manifest);
    assert_eq!(open(&tar.end()).unwrap().layers().len(), 1);
}

#[test]
fn links_in_circles() {
    let layer = layer("a", "x");
    let config = config("arm64", std::slice::from_ref(&layer));
    let manifest = r#"[{"Config":"c","Layers":["l"]}]"#;
    let archive = |target: &str, kind| {
        let tar = Tar::default().file("c", &config).file("real", &layer);
        tar.link(kind, "l", target)
            .link(kind, "m", "l")
            .file("manifest.json", manifest)
            .end()
    };
    for target in ["l", "m", "../../x", "/", ""] {
        for kind in [EntryType::Symlink, EntryType::Link] {
            let error = open(&archive(target, kind)).unwrap_err().to_string();
            assert!(
                error.contains("broken links") || error.contains("is not in the archive"),
                "{target}: {error}"
            );
        }
    }
    for kind in [EntryType::Symlink, EntryType::Link] {
        let image = open(&archive("real", kind)).unwrap();
        assert_eq!(
            load(&sent(&image, &LayerSelection::All)).layers,
            [Some(Digest::of(&layer))]
        );
    }
}

#[test]
fn long_names() {
    let long = format!("{}/manifest.json", "d".repeat(300));
    let end = docker_old("arm64", "app:1", &layers());
    let gnu = Tar::default().member(EntryType::GNULongName, "././@LongLink", "", long.as_bytes());
    open(&gnu.file("short", "x").raw(&end).end()).unwrap();
    let record = format!("{} path={long}\n", long.len() + 10);
    let pax = Tar::default().member(EntryType::XHeader, "pax", "", record.as_bytes());
    open(&pax.file("short", "x").raw(&end).end()).unwrap();
}

#[test]
fn endless_extended_headers() {
    // A header that claims a gigabyte, in a file that has it, in effect compressed.
    for kind in [
        EntryType::GNULongName,
        EntryType::XHeader,
        EntryType::XGlobalHeader,
    ] {
        let mut header = tar::Header::new_ustar();
        header.set_entry_type(kind);
        header.set_size(1 << 30);
        header.set_cksum();
        let tar = Tar::default()
            .raw(header.as_bytes())
            .raw(&vec![b'a'; 4 << 20]);
        let error = open(&tar.end()).unwrap_err().to_string();
        assert!(
            error.contains("more than the 1048576 that are accepted"),
            "{error}"
        );
    }
}

#[test]
fn sizes_that_lie() {
    for size in [u64::MAX, u64::MAX / 2, 1 << 40] {
        let mut header = tar::Header::new_gnu();
        header.set_path("manifest.json").unwrap();
        header.set_size(size);
        header.set_cksum();
        let error = open(&Tar::default().raw(header.as_bytes()).end())
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("is truncated: manifest.json ends at byte"),
            "{error}"
        );
    }
}

#[test]
fn a_tar_of_very_many_members() {
    let tar = (0..20_000).fold(Tar::default(), |tar, number| {
        tar.file(&format!("f{number}"), "")
    });
    assert!(open(&tar.end()).is_err());
}
