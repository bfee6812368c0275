//! Lists the members that `stage-kept.sh` takes from the VPU's store.

use std::fmt::Write as _;

use crate::desired::{Entry, Transfer, entry};

/// The mode of a created directory without a declared mode.
const DIRECTORY_MODE: u32 = 0o755;

/// The permissions that the owner needs to fill a directory; the declared mode is set when it is full.
const OPEN: u32 = 0o700;

/// Returns the list of these members of an archive.
pub(super) fn members(transfers: &[Transfer], names: &[String]) -> String {
    let mut list = String::new();
    for member in names {
        let _ = match entry(transfers, member) {
            Some(Entry::File(file)) => {
                let (sha256, mode) = (file.sha256.hex(), file.mode);
                writeln!(list, "f {sha256} {mode:04o} {member}")
            }
            Some(Entry::Directory { mode }) => {
                let mode = mode.unwrap_or(DIRECTORY_MODE) | OPEN;
                writeln!(list, "d {mode:04o} {member}")
            }
            Some(Entry::Symlink { target }) => writeln!(list, "l {member}\t{target}"),
            None => Ok(()),
        };
    }
    list
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{desired::FileEntry, digest::Digest, exclude::Exclude};

    #[test]
    fn members_are_listed_with_what_they_are() {
        let sha256 = Digest::of(b"a");
        let file = Entry::File(FileEntry {
            local: camino::Utf8PathBuf::new(),
            sha256,
            bytes: 1,
            mode: 0o640,
            secret: false,
        });
        let link = Entry::Symlink {
            target: "a b".into(),
        };
        let entries = [
            ("", Entry::Directory { mode: None }),
            ("a b", file),
            ("closed", Entry::Directory { mode: Some(0o500) }),
            ("l", link),
        ];
        let transfer = Transfer {
            target: "~/share".parse().unwrap(),
            entries: entries.map(|(name, entry)| (name.to_owned(), entry)).into(),
            delete: false,
            exclude: Exclude::default(),
            gone: [].into(),
            restart: vec![],
            source: None,
        };
        let names = ["0", "0/a b", "0/closed", "0/l", "0/unknown"].map(str::to_owned);
        let list = members(&[transfer], &names);
        let hex = sha256.hex();
        let wanted = format!("d 0755 0\nf {hex} 0640 0/a b\nd 0700 0/closed\nl 0/l\ta b\n");
        assert_eq!(list, wanted);
    }
}
