//! Archives of other writers that docker accepts, or the message about them.

use std::fmt::Write as _;

use insta::assert_snapshot;
use o3r_deploy::internal::{
    digest::Digest,
    image::{Image, ImageSender, LayerSelection, Platform, Rootfs, Source},
};
use serde_json::json;
use tar::EntryType;

use o3r_testing::archives::{Input, Packing, Tar, config, docker_old, layer, layers, load, sent};

/// Returns the archive of an image with this configuration; `add` adds its layer.
fn archive(config: &[u8], add: impl FnOnce(Tar) -> Tar) -> Vec<u8> {
    let manifest = json!([{ "Config": "c.json", "RepoTags": ["app:1"], "Layers": ["l.tar"] }]);
    let tar = Tar::default()
        .file("c.json", config)
        .file("manifest.json", manifest.to_string());
    add(tar).end()
}

/// Returns the image of an archive for arm64 as docker
/// would load it: its ID and its layers' diff IDs.
fn loaded(bytes: &[u8]) -> Result<(Digest, Vec<Option<Digest>>), String> {
    let input = Input::new(bytes);
    let image = input.open_as("app:1", "arm64");
    let image = image.map_err(|error| input.error(&error))?;
    let loaded = load(&sent(&image, &LayerSelection::All));
    assert_eq!(Digest::of(&loaded.config), image.image().config_digest());
    Ok((image.image().config_digest(), loaded.layers))
}

/// Adds a sparse member, in one of the forms with extended headers.
fn sparse(tar: Tar, form: u8, name: &str, bytes: &[u8], hole: (usize, usize)) -> Tar {
    let pieces = [(0, hole.0), (hole.1, bytes.len() - hole.1)];
    let records: Vec<(&str, String)> =
        match form {
            0 => [("size", bytes.len().to_string()), ("numblocks", "2".into())]
                .into_iter()
                .chain(pieces.iter().flat_map(|(at, len)| {
                    [("offset", at.to_string()), ("numbytes", len.to_string())]
                }))
                .chain([("name", name.to_owned())])
                .collect(),
            1 => vec![
                ("size", bytes.len().to_string()),
                ("name", name.to_owned()),
                (
                    "map",
                    pieces.map(|(at, len)| format!("{at},{len}")).join(","),
                ),
            ],
            _ => vec![
                ("major", "1".into()),
                ("minor", "0".into()),
                ("name", name.to_owned()),
                ("realsize", bytes.len().to_string()),
            ],
        };
    let mut header = String::new();
    for (key, value) in records {
        let rest = format!(" GNU.sparse.{key}={value}\n");
        let digits = (rest.len() + 3).to_string().len();
        let mut len = rest.len() + digits;
        if len.to_string().len() != digits {
            len = rest.len() + len.to_string().len();
        }
        // Writing to a String cannot fail.
        let _ = write!(header, "{len}{rest}");
    }
    let mut stored = vec![];
    if form == 2 {
        let map = format!(
            "2\n{}\n",
            pieces.map(|(at, len)| format!("{at}\n{len}")).join("\n")
        );
        stored.extend_from_slice(map.as_bytes());
        stored.resize(stored.len().next_multiple_of(512), 0);
    }
    for (at, len) in pieces {
        stored.extend_from_slice(&bytes[at..at + len]);
    }
    tar.member(EntryType::XHeader, "PaxHeaders/x", "", header.as_bytes())
        .member(EntryType::Regular, "GNUSparseFile.0/x", "", &stored)
}

#[test]
fn sparse_members_are_filled() {
    let content = ["a".repeat(3000), "\0".repeat(20_000), "b".repeat(100)].concat();
    let layer = layer("file", &content);
    let config = config("arm64", std::slice::from_ref(&layer));
    for form in 0..3 {
        let bytes = archive(&config, |tar| {
            sparse(tar, form, "l.tar", &layer, (4096, 16_384))
        });
        let wanted = (Digest::of(&config), vec![Some(Digest::of(&layer))]);
        assert_eq!(loaded(&bytes), Ok(wanted), "form {form}");
    }
    // A list of pieces that exceeds the file's size.
    let mut wrong = archive(&config, |tar| {
        sparse(tar, 2, "l.tar", &layer, (4096, 16_384))
    });
    let size = format!("realsize={}", layer.len());
    let at = wrong
        .windows(size.len())
        .position(|found| found == size.as_bytes());
    let end = at.unwrap() + size.len();
    wrong[end - 5..end].copy_from_slice(b"00001");
    let error = loaded(&wrong).unwrap_err();
    assert!(error.contains("its list of holes is not valid"), "{error}");
    let old = archive(&config, |tar| {
        tar.member(EntryType::GNUSparse, "l.tar", "", &layer)
    });
    assert_snapshot!(loaded(&old).unwrap_err(), @"
    DIR/image.tar: l.tar is sparse in an old format, which docker does not load
    help: pack it again without `-S` (`--sparse`)
    ");
}

/// Returns the first bytes of a program.
fn program(machine: u8) -> Vec<u8> {
    let mut bytes = b"\x7fELF\x02\x01\x01".to_vec();
    bytes.resize(64, 0);
    bytes[18] = machine;
    bytes
}

#[test]
fn an_image_without_a_platform_is_for_that_of_its_programs() {
    for machine in [183, 62] {
        let layer = Tar::default().file("bin/app", program(machine)).end();
        let whole = config("arm64", std::slice::from_ref(&layer));
        let whole: serde_json::Value = serde_json::from_slice(&whole).unwrap();
        for (architecture, os) in [
            (Some(""), Some("")),
            (None, Some("linux")),
            (Some("arm64"), None),
            (None, None),
        ] {
            let mut config = whole.clone();
            config["architecture"] = json!(architecture);
            config["os"] = json!(os);
            let fields = config.as_object_mut().unwrap();
            fields.retain(|_, value| !value.is_null());
            let config = config.to_string().into_bytes();
            let bytes = archive(&config, |tar| tar.file("l.tar", &layer));
            let found = loaded(&bytes);
            if machine == 183 || architecture == Some("arm64") {
                assert_eq!(found.unwrap().0, Digest::of(&config));
            } else {
                let error = found.unwrap_err();
                let wanted = "is built for linux/amd64, but the VPU needs linux/arm64";
                assert!(error.contains(wanted), "{error}");
            }
        }
    }
}

#[test]
fn a_configuration_may_have_any_name() {
    let layer = layer("a", "b");
    let config = config("arm64", std::slice::from_ref(&layer));
    for name in [
        "5".repeat(64) + ".json",
        format!("blobs/sha256/{}", "5".repeat(64)),
    ] {
        let manifest = json!([{ "Config": name, "RepoTags": ["app:1"], "Layers": ["l.tar"] }]);
        let tar = Tar::default()
            .file(&name, &config)
            .file("l.tar", &layer)
            .file("manifest.json", manifest.to_string());
        assert_eq!(loaded(&tar.end()).unwrap().0, Digest::of(&config));
    }
    // A layer may have any name as well.
    let name = format!("blobs/sha256/{}", "6".repeat(64));
    let manifest = json!([{ "Config": "c.json", "RepoTags": ["app:1"], "Layers": [name] }]);
    let tar = Tar::default()
        .file("c.json", &config)
        .file(&name, Packing::Gzip.pack(&layer))
        .file("manifest.json", manifest.to_string());
    assert_eq!(loaded(&tar.end()).unwrap().1, [Some(Digest::of(&layer))]);
}

/// Needed to check the space on docker's disk: a gzip file
/// states the size at its end, but of its last member alone.
#[test]
fn regression_the_unpacked_size_of_compressed_layers_is_known() {
    let layer = layer("zeros", "\0".repeat(300_000));
    let pack = |bytes: &[u8]| Packing::Gzip.pack(bytes);
    let members = |at: usize| [pack(&layer[..at]), pack(&layer[at..])].concat();
    let forms = [
        pack(&layer),
        members(layer.len() / 2),
        members(layer.len() - 1),
        // The end of an eStargz layer.
        [pack(&layer), pack(b"")].concat(),
        Packing::Zstd.pack(&layer),
    ];
    let config = config("arm64", std::slice::from_ref(&layer));
    for (number, form) in forms.iter().enumerate() {
        let bytes = archive(&config, |tar| tar.file("l.tar", form));
        let image = Input::new(&bytes).open_as("app:1", "arm64").unwrap();
        let unpacked = image.layers()[0].unpacked.unwrap();
        // With two members of the same size, the stated
        // size is half of the total, which is not noticed.
        let least = if number == 1 {
            layer.len() / 2
        } else {
            layer.len()
        };
        assert!(unpacked >= least as u64, "{number}: {unpacked}");
        assert!(unpacked <= layer.len() as u64, "{number}: {unpacked}");
    }
    // A layer that does not compress.
    let noise: Vec<u8> = (0..200_000_u32)
        .flat_map(|n| Digest::of(n.to_le_bytes()).as_bytes()[..1].to_vec())
        .collect();
    let layer = Tar::default().file("noise", &noise).end();
    let config = self::config("arm64", std::slice::from_ref(&layer));
    let bytes = archive(&config, |tar| tar.file("l.tar", pack(&layer)));
    let image = Input::new(&bytes).open_as("app:1", "arm64").unwrap();
    assert_eq!(image.layers()[0].unpacked, Some(layer.len() as u64));
}

#[test]
fn archives_of_other_writers_have_clear_messages() {
    let said = |bytes: &[u8]| loaded(bytes).unwrap_err();
    let layer = layer("a", "b");
    let one = config("arm64", std::slice::from_ref(&layer));
    let link = |target: &str| archive(&one, |tar| tar.link(EntryType::Symlink, "l.tar", target));
    let two = |tags: [serde_json::Value; 2]| {
        let item = |(number, tags): (usize, &serde_json::Value)| json!({ "Config": format!("{number}.json"), "RepoTags": tags, "Layers": ["l.tar"] });
        let items: Vec<_> = tags.iter().enumerate().map(item).collect();
        Tar::default()
            .file("0.json", &one)
            .file("1.json", [&one[..], b" "].concat())
            .file("l.tar", &layer)
            .file("manifest.json", json!(items).to_string())
            .end()
    };
    let left_out = json!([{ "Config": "c.json", "RepoTags": ["app:1"], "Layers": [""] }]);
    let pack = Tar::default()
        .file("c.json", &one)
        .file("manifest.json", left_out.to_string())
        .end();
    let web = Tar::default().file("manifest.json", r#"{"name":"my site"}"#);
    let texts = [
        said(&link("../../../cache/x")),
        said(&link("/cache/x")),
        said(&two([json!(null), json!([])])),
        said(&two([json!(null), json!(["tools:1"])])),
        said(&pack),
        said(&web.end()),
    ];
    assert_snapshot!(texts.join("\n\n"), @r#"
    DIR/image.tar: l.tar is a link to ../../../cache/x, which is not in the archive
    help: pack the targets of links with `tar -h` (`--dereference`)

    DIR/image.tar: l.tar is a link to /cache/x, which is not in the archive
    help: pack the targets of links with `tar -h` (`--dereference`)

    DIR/image.tar holds 2 images, none of them the one "app:1": 0.json, 1.json
    help: save one image alone, by its name: `docker save -o FILE NAME:TAG`

    DIR/image.tar holds 2 images, none of them the one "app:1": 0.json, tools:1
    help: set `name` to one of them, for example "tools:1"

    DIR/image.tar: layer 1 is missing: docker omitted it when it wrote the archive
    help: save the image itself: `docker save -o FILE IMAGE`

    DIR/image.tar is not an image archive but a tar whose manifest.json lists no image
    help: save the image by its name: `docker save -o FILE NAME:TAG`; the tar of a file system is declared as `rootfs`
    "#);
}

/// Opens a tar that is declared as a bare file system.
fn rootfs(bytes: &[u8]) -> Result<Vec<Option<Digest>>, String> {
    let input = Input::new(bytes);
    let source = Source::Rootfs(Rootfs {
        file: input.path.clone(),
        cmd: vec!["/server".into()],
        ..Rootfs::default()
    });
    let image = Image::open(
        &source,
        "app:1",
        &Platform::linux("arm64"),
        &input.scratch(),
    );
    let image = image.map_err(|error| input.error(&error))?;
    Ok(load(&sent(&ImageSender::new(image), &LayerSelection::All)).layers)
}

#[test]
fn a_file_system_may_have_a_manifest_at_its_root_and_no_end() {
    let web = Tar::default()
        .file("server", program(183))
        .file("manifest.json", r#"{"name":"my site"}"#)
        .end();
    assert_eq!(rootfs(&web), Ok(vec![Some(Digest::of(&web))]));
    let endless = &web[..web.len() - 1024];
    assert_eq!(rootfs(endless), Ok(vec![Some(Digest::of(endless))]));
    assert!(rootfs(&web[..web.len() - 1025]).is_ok(), "padding");
    assert!(rootfs(&web[..550]).unwrap_err().contains("is truncated"));
    let image = docker_old("arm64", "app:1", &layers());
    assert!(rootfs(&image).unwrap_err().contains("is an image archive"));
}

#[test]
fn other_files_as_a_file_system_have_clear_messages() {
    let said = [&b""[..], b"PK\x03\x04", b"hsqs", b"{\"a\":1}", &[7; 600]];
    let said = said.map(|bytes| rootfs(bytes).unwrap_err());
    assert_snapshot!(said.join("\n\n"), @r"
    DIR/image.tar is not the tar of a file system but an empty file
    help: create one with `docker build -o type=tar,dest=FILE .`

    DIR/image.tar is not the tar of a file system but a zip file
    help: unzip it; the tar may be inside

    DIR/image.tar is not the tar of a file system but a squashfs file system
    help: create one with `docker build -o type=tar,dest=FILE .`

    DIR/image.tar is not the tar of a file system but a JSON text
    help: create one with `docker build -o type=tar,dest=FILE .`

    DIR/image.tar is not the tar of a file system but a file of an unknown kind
    help: create one with `docker build -o type=tar,dest=FILE .`
    ");
}
