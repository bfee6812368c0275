//! What a transfer declares: manifests over real trees.

use std::{
    fs,
    os::unix::{
        ffi::OsStrExt as _,
        fs::{PermissionsExt as _, symlink},
    },
    path::Path,
};

use o3r_deploy::internal::desired::Entry;

use super::{Site, transfer};

/// A change of a local tree that makes it impossible to transfer.
type Spoil = fn(&Path);

#[test]
fn a_tree_has_modes_links_and_exclusions() {
    let site = Site::new(&transfer("exclude = [\"skip\", \"*.tmp\"]"));
    for name in ["a", "run", "prod.env", "skip/x", "sub/x.tmp", "sub/b"] {
        site.write(&format!("config/{name}"), name);
    }
    fs::set_permissions(
        site.path().join("config/run"),
        fs::Permissions::from_mode(0o711),
    )
    .unwrap();
    fs::create_dir(site.path().join("config/empty")).unwrap();
    symlink("../a", site.path().join("config/sub/link")).unwrap();
    let desired = site.desired();
    let entries = &desired.transfers[0].entries;
    let shown: Vec<String> = entries
        .iter()
        .map(|(name, entry)| match entry {
            Entry::File(file) => format!(
                "{name} {:o}{}",
                file.mode,
                if file.secret { " secret" } else { "" }
            ),
            Entry::Directory { mode } => format!("{name}/ {:o}", mode.unwrap_or(0)),
            Entry::Symlink { target } => format!("{name} -> {target}"),
        })
        .collect();
    let wanted = [
        "/ 0",
        "a 644",
        "empty/ 755",
        "prod.env 600 secret",
        "run 755",
        "sub/ 755",
        "sub/b 644",
        "sub/link -> ../a",
    ];
    assert_eq!(shown, wanted);
}

#[test]
fn a_file_goes_inside_or_becomes_the_target() {
    for (dst, target) in [("~/x/", "~/x/b c"), ("~/x", "~/x")] {
        let site = Site::new(&format!(
            "[[transfers]]\nsrc = \"a/b c\"\ndst = \"{dst}\"\nmode = \"0640\"\n"
        ));
        site.write("a/b c", "b");
        let desired = site.desired();
        assert_eq!(desired.transfers[0].name(), target);
        let Entry::File(file) = &desired.transfers[0].entries[""] else {
            panic!()
        };
        assert_eq!(file.mode, 0o640);
    }
}

#[test]
fn what_cannot_be_transferred_is_named_and_nothing_else_is_read() {
    let cases: &[(Spoil, &str)] = &[
        (
            |d| symlink("/etc/passwd", d.join("l")).unwrap(),
            "the symbolic link config/l points outside the tree, to /etc/passwd",
        ),
        (
            |d| symlink("sub/../../x", d.join("l")).unwrap(),
            "the symbolic link config/l points outside the tree, to sub/../../x",
        ),
        (
            |d| fs::write(d.join("new\nline"), "").unwrap(),
            "config/new\\nline has a control character in its name",
        ),
        (
            |d| fs::write(d.join(std::ffi::OsStr::from_bytes(b"\xff")), "").unwrap(),
            "config/\\xff is not UTF-8",
        ),
        (
            |d| drop(std::os::unix::net::UnixListener::bind(d.join("s")).unwrap()),
            "config/s is neither a file, a directory nor a symbolic link",
        ),
    ];
    for (make, wanted) in cases {
        let site = Site::new(&transfer(""));
        site.write("config/a", "a");
        make(&site.path().join("config"));
        let found = site.resolve().err().unwrap();
        assert!(found[0].contains(wanted), "{found:?}, not {wanted}");
        // Excluded, it has no effect.
        let site = Site::new(&transfer("exclude = [\"[!a]*\"]"));
        site.write("config/a", "a");
        make(&site.path().join("config"));
        assert!(
            site.resolve().is_ok() || wanted.contains("UTF-8"),
            "{wanted}"
        );
    }
}

#[test]
fn two_transfers_agree_or_are_refused() {
    let two = "[[transfers]]\nsrc = \"one/\"\ndst = \"~/x\"\n\n[[transfers]]\nsrc = \"two/\"\ndst = \"~/x/sub\"\n";
    let site = Site::new(two);
    site.write("one/sub/a", "a");
    site.write("two/b", "b");
    assert!(site.resolve().is_ok());
    site.write("two/a", "another");
    let found = site.resolve().err().unwrap();
    assert!(
        found[0].contains("transfer 1 also places `~/x/sub/a`"),
        "{found:?}"
    );
}
