//! Reads small files of a VPU to show diffs.

use super::parse::unhex;
use crate::{
    host::{Host, HostError, Stdin},
    nonce::nonce,
    shell::Argv,
};

/// The script's `$0`, by which an in-memory VPU recognises it.
pub const CONTENTS_NAME: &str = "o3r-contents";

/// Returns the contents of files by their absolute paths, which must not contain newlines; `None`
/// for a file that has more than `limit` bytes, cannot be read or does not exist.
///
/// # Errors
/// The connection failed.
pub async fn contents<H: Host>(
    host: &H,
    paths: &[String],
    limit: u64,
) -> Result<Vec<Option<Vec<u8>>>, HostError> {
    let script = include_str!("contents.sh");
    let begin = nonce();
    let command = Argv::script(script, CONTENTS_NAME, [limit.to_string(), begin.clone()]);
    let mut list = paths.join("\n");
    list.push('\n');
    let output = host.run(&command, Stdin::Bytes(list.into_bytes())).await?;
    let text = String::from_utf8_lossy(&output.stdout);
    let mut lines = text.lines().skip_while(|line| *line != begin).skip(1);
    let read = |_| lines.next()?.strip_prefix('=').and_then(unhex);
    Ok(paths.iter().map(read).collect())
}
