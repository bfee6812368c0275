//! Determines the processor architecture of a file system from its programs.

use std::collections::BTreeSet;

use crate::compress;
use crate::error::ImageError;
use crate::files::Skip;
use crate::layer::LayerBytes;
use crate::platform::Platform;
use crate::tarball::{Kind, Walker};

/// Bytes of an ELF header up to its machine field.
const ELF_START: u64 = 20;

/// Returns the platform of an image that states `said`. Reads the image's programs only if `said`
/// has no architecture. An image without programs runs everywhere.
///
/// # Errors
/// All its programs are for other architectures than `wanted`.
pub(crate) fn platform(
    said: Platform,
    layers: &[LayerBytes],
    origin: &str,
    wanted: &Platform,
) -> Result<Platform, ImageError> {
    if said.architecture.is_empty() {
        let mut machines = BTreeSet::new();
        for layer in layers {
            let Ok(read) = compress::unpacked(&layer.stored, layer.encoding) else {
                continue;
            };
            let mut walker = Walker::new(Unpacked(read), origin);
            // Sending reports a layer that is not a valid tar.
            while let Ok(Some(entry)) = walker.next() {
                if entry.kind == Kind::File
                    && let Ok(Some(machine)) = machine(&mut walker)
                {
                    machines.insert(machine);
                }
                if machines.contains(wanted.architecture.as_str()) {
                    return Ok(said.or(wanted));
                }
            }
        }
        check(machines, origin, wanted)?;
    }
    Ok(said.or(wanted))
}

/// Returns the architecture of the program at the walker's position.
///
/// # Errors
/// The tar cannot be read.
pub(crate) fn machine<R: Skip>(
    walker: &mut Walker<'_, R>,
) -> Result<Option<&'static str>, ImageError> {
    Ok(elf_machine(&walker.peek(ELF_START)?))
}

/// Checks that there are programs for the wanted architecture, or no programs.
pub(crate) fn check(
    machines: BTreeSet<&'static str>,
    origin: &str,
    wanted: &Platform,
) -> Result<(), ImageError> {
    if machines.is_empty() || machines.contains(wanted.architecture.as_str()) {
        return Ok(());
    }
    Err(ImageError::WrongPlatform {
        origin: origin.to_owned(),
        found: machines.into_iter().map(Platform::linux).collect(),
        wanted: wanted.clone(),
    })
}

/// Returns the architecture of an ELF program; `None` for other files.
fn elf_machine(start: &[u8]) -> Option<&'static str> {
    let little = start.starts_with(b"\x7fELF") && start.get(5) == Some(&1);
    let machine = u16::from_le_bytes([*start.get(18)?, *start.get(19)?]);
    match machine {
        _ if !little => None,
        3 => Some("386"),
        21 => Some("ppc64le"),
        40 => Some("arm"),
        62 => Some("amd64"),
        183 => Some("arm64"),
        243 => Some("riscv64"),
        _ => None,
    }
}

/// A layer while it is read.
struct Unpacked(Box<dyn std::io::Read>);

impl std::io::Read for Unpacked {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        self.0.read(buffer)
    }
}

impl Skip for Unpacked {}
