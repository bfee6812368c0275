//! Observes the targets of transfers: thousands of names in two parallel sessions, one that lists
//! and one that hashes.

mod parse;

use std::fmt::Write as _;

use self::parse::parse;
use super::{LARGE, Probed, Readings, TreeQuery, Trees};
use crate::{
    host::{Host, HostError, Stdin},
    shell::Argv,
};

/// The script, for any POSIX shell.
const TREES: &str = concat!(include_str!("../disk.sh"), include_str!("../trees.sh"));

/// The script's `$0`, by which an in-memory VPU recognises it.
pub const TREES_NAME: &str = "o3r-trees";

/// The unit of `find`'s sizes in bytes.
const BLOCK: u64 = 512;

/// Observes all targets. If the script fails, they are unknown.
pub(super) async fn observe<H: Host>(
    host: &H,
    queries: &[TreeQuery],
    nonce: &str,
) -> Result<Option<(Trees, Readings)>, HostError> {
    if queries.is_empty() {
        return Ok(None);
    }
    let blocks = (LARGE / BLOCK + 1).to_string();
    let script = |part| Argv::script(TREES, TREES_NAME, [nonce, part, &blocks]);
    let (look, hash) = (script("look"), script("hash"));
    let lines = lines(queries);
    let (look, hash) = tokio::try_join!(
        host.run(&look, Stdin::Bytes(lines.look.into_bytes())),
        host.run(&hash, Stdin::Bytes(lines.hash.into_bytes())),
    )?;
    let mut readings = Readings::default();
    let trees = parse(&look, &hash, nonce, queries, &mut readings).unwrap_or_else(|reason| {
        let unknown = |query: &TreeQuery| (query.target.clone(), Probed::Unknown(reason.clone()));
        Trees {
            targets: queries.iter().map(unknown).collect(),
            ..Trees::default()
        }
    });
    Ok(Some((trees, readings)))
}

struct Lines {
    look: String,
    hash: String,
}

/// The stdins of the two sessions.
fn lines(queries: &[TreeQuery]) -> Lines {
    let (mut look, mut hash) = (String::new(), String::new());
    for query in queries {
        let target = to_probe_path(&query.target);
        let _ = writeln!(look, "{} {target}", if query.all { 'R' } else { 'r' });
        if query.is_directory() {
            // The slash makes the listing follow a link to a directory.
            let _ = writeln!(look, "n {target}/.");
        }
        for (name, size) in &query.names {
            let path = join(&target, name);
            if !name.is_empty() {
                let _ = writeln!(look, "n {path}");
            }
            let _ = match size {
                None => Ok(()),
                Some(size) if *size < LARGE => writeln!(hash, "s {path}"),
                Some(size) => writeln!(hash, "l {size} {path}"),
            };
        }
    }
    Lines { look, hash }
}

/// Converts a path to the script's form: relative to the home directory, or absolute.
fn to_probe_path(path: &str) -> String {
    match path.strip_prefix('~') {
        Some(rest) => format!(".{rest}"),
        None => path.to_owned(),
    }
}

/// Reverses [`to_probe_path`].
fn from_probe_path(path: &str) -> String {
    match path.strip_prefix('.') {
        Some(rest) => format!("~{rest}"),
        None => path.to_owned(),
    }
}

fn join(target: &str, name: &str) -> String {
    if name.is_empty() {
        target.to_owned()
    } else {
        format!("{target}/{name}")
    }
}
