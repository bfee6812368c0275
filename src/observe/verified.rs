//! Compares the files of images on a VPU's disk with their digests.

use std::collections::BTreeMap;

use super::{Damage, DamagedFile, Verified};
use crate::{
    digest::Digest,
    host::{Host, HostError, Stdin},
    image::Listing,
    nonce::nonce,
    remote::{self, State},
};

/// The last lines of what a failed comparison said.
const TAIL_LINES: usize = 3;

/// Compares the files of `image`, a name or an ID on the VPU. A comparison that fails is the second kind of error.
///
/// # Errors
/// The connection failed.
pub(crate) async fn verify_image<H: Host>(
    host: &H,
    home: &str,
    image: &str,
    listing: &Listing,
) -> Result<Result<Verified, String>, HostError> {
    let begin = nonce();
    let directory = State { home }.verify();
    let command = remote::verify_image(image, listing.reach, &directory, Some(&begin));
    let output = host.run(&command, Stdin::Bytes(listing.sums())).await?;
    let text = String::from_utf8_lossy(&output.stdout);
    let read = read(&text, &begin, listing);
    Ok(read.ok_or_else(|| {
        let tail = output.tail(TAIL_LINES);
        format!(
            "the comparison ended with exit code {}: {tail}",
            output.code
        )
    }))
}

/// Reads an answer; `None` unless all files were compared.
fn read(text: &str, begin: &str, listing: &Listing) -> Option<Verified> {
    let layers: BTreeMap<&str, Digest> = listing
        .files
        .iter()
        .map(|file| (file.path.as_str(), file.layer))
        .collect();
    let mut damaged = vec![];
    let mut compared: Option<usize> = None;
    let lines = text.lines().filter_map(|line| line.strip_prefix(begin));
    for line in lines {
        let (what, rest) = line.trim_start().split_once(' ')?;
        let found = match what {
            "missing" => Damage::Missing,
            "empty" => Damage::Empty,
            "differs" => Damage::Differs,
            _ => {
                compared = rest.parse().ok();
                continue;
            }
        };
        damaged.push(DamagedFile {
            path: rest.to_owned(),
            layer: *layers.get(rest)?,
            found,
        });
    }
    damaged.sort_by(|one, other| one.path.cmp(&other.path));
    (compared? == listing.files.len()).then_some(Verified {
        files: listing.files.len(),
        omitted: listing.omitted,
        damaged,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{image::ListedFile, offers::Reach};

    fn listing() -> Listing {
        let file = |path: &str| ListedFile {
            path: path.to_owned(),
            layer: Digest::of(b"layer"),
            sha256: Digest::of(path),
        };
        Listing {
            files: ["bin/sh", "etc/it's: FAILED", "lib/a b"].map(file).into(),
            omitted: 1,
            reach: Reach::Inside,
        }
    }

    #[test]
    fn an_answer_counts_only_if_all_files_were_compared() {
        let text = "Welcome!\nw empty lib/a b\nw missing etc/it's: FAILED\nw end 3\n";
        let verified = read(text, "w", &listing()).unwrap();
        let damaged = |path: &str, found| DamagedFile {
            path: path.to_owned(),
            layer: Digest::of(b"layer"),
            found,
        };
        let wanted = Verified {
            files: 3,
            omitted: 1,
            damaged: vec![
                damaged("etc/it's: FAILED", Damage::Missing),
                damaged("lib/a b", Damage::Empty),
            ],
        };
        assert_eq!(verified, wanted);
        for cut in [
            "w end 2",
            "",
            "w end",
            "w empty bin/sh",
            "w empty nowhere\nw end 3",
        ] {
            assert_eq!(read(cut, "w", &listing()), None, "{cut}");
        }
    }
}
