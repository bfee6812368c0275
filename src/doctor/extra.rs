//! Asks a VPU what an observation does not have: flash wear, load, leftovers.

use crate::{
    host::{Host, HostError, Stdin},
    nonce::nonce,
    shell::Argv,
};

/// The script, for any POSIX shell.
const SCRIPT: &str = include_str!("vpu.sh");

/// The script's `$0`.
const EXTRA_NAME: &str = "o3r-doctor";

/// What an observation does not have. A value that could not be determined is missing.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Extra {
    /// The wear of each flash device.
    pub flash: Vec<Flash>,
    /// The load of the last minute.
    pub load: Option<f32>,
    /// The number of processors.
    pub processors: Option<u32>,
    /// Whether the clock is synchronized with a time server.
    pub is_synchronized: Option<bool>,
    /// The compose file that the earlier tool links for its autostart.
    pub old_link: Option<String>,
    /// Archives in the home directory, with their bytes.
    pub archives: Vec<(String, u64)>,
    /// Bytes of `~/.o3r-deploy`.
    pub own: Option<u64>,
}

/// The wear of a flash device, as its controller reports it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Flash {
    /// E.g. `mmcblk0`.
    pub device: String,
    /// The reserved blocks: 1 normal, 2 80 % are used, 3 90 % are used.
    pub reserved: u32,
    /// The estimated use of its life, in steps of 10 %, rounded up: 1 to 10; 11 if it is exceeded.
    pub used: u32,
}

/// Asks a VPU.
///
/// # Errors
/// The connection is lost.
pub(crate) async fn ask<H: Host>(host: &H) -> Result<Extra, HostError> {
    let nonce = nonce();
    let command = Argv::script(SCRIPT, EXTRA_NAME, [nonce.as_str()]);
    let output = host.run(&command, Stdin::Empty).await?;
    let text = String::from_utf8_lossy(&output.stdout);
    let lines = text.lines().skip_while(|line| *line != nonce).skip(1);
    Ok(parse(lines))
}

fn parse<'a>(lines: impl Iterator<Item = &'a str>) -> Extra {
    let mut extra = Extra::default();
    for line in lines {
        let (kind, rest) = line.split_once(' ').unwrap_or((line, ""));
        match kind {
            "flash" => extra.flash.extend(flash(rest)),
            "load" => extra.load = rest.parse().ok(),
            "processors" => extra.processors = rest.parse().ok().filter(|count| *count > 0),
            "synchronized" => extra.is_synchronized = Some(rest == "yes"),
            "old-link" => extra.old_link = Some(rest.to_owned()),
            "archive" => extra.archives.extend(
                rest.split_once(' ')
                    .and_then(|(bytes, name)| Some((name.to_owned(), bytes.parse().ok()?))),
            ),
            "own" => extra.own = rest.parse::<u64>().ok().map(|kilobytes| kilobytes * 1024),
            _ => {}
        }
    }
    extra
}

/// Parses `mmcblk0 0x01 0x02 0x01`.
fn flash(text: &str) -> Option<Flash> {
    let mut words = text.split_whitespace();
    let device = words.next()?.to_owned();
    let mut number = || u32::from_str_radix(words.next()?.strip_prefix("0x")?, 16).ok();
    let reserved = number()?;
    let used = std::iter::from_fn(number).max()?;
    Some(Flash {
        device,
        reserved,
        used,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_script_prints_is_read() {
        let text = "flash mmcblk0 0x01 0x02 0x04\nflash mmcblk1 broken\nload 0.42\nprocessors 6\nsynchronized no\n\
                    old-link /usr/share/x.yml\narchive 1048576 my image.tar\nown 12\nlater thing";
        let extra = parse(text.lines());
        let expected = Extra {
            flash: vec![Flash {
                device: "mmcblk0".into(),
                reserved: 1,
                used: 4,
            }],
            load: Some(0.42),
            processors: Some(6),
            is_synchronized: Some(false),
            old_link: Some("/usr/share/x.yml".into()),
            archives: vec![("my image.tar".into(), 1 << 20)],
            own: Some(12 << 10),
        };
        assert_eq!(extra, expected);
        assert_eq!(parse("".lines()), Extra::default());
    }

    #[tokio::test]
    async fn the_script_runs_on_this_machine() {
        let extra = ask(&crate::host::LocalHost::default()).await.unwrap();
        assert!(extra.load.is_some() && extra.processors.is_some());
    }
}
