//! Stages large files that changed little: the VPU builds them from their old versions.

use super::{
    Planned, address,
    upload::{member, single},
};
use crate::{
    cost::file::patched,
    desired::Entry,
    plan::{Command, NoteCode, Payload, PayloadSource, builder::Builder},
    remote,
    units::{bytes, time},
};

/// Returns the command that builds the file, falling back to sending it whole. Notes the choice.
pub(super) fn command(builder: &mut Builder<'_>, one: &Planned<'_>, name: &str) -> Option<Command> {
    let transfer = one.transfer;
    let patch = builder.offers.patches.get(&(one.number, name.to_owned()))?;
    let Some(Entry::File(file)) = transfer.entries.get(name) else {
        return None;
    };
    let speeds = builder.readings.speeds;
    let which = if name.is_empty() {
        String::new()
    } else {
        format!("{name}: ")
    };
    builder.note(NoteCode::FilePatched, format!(
        "{}: {which}built from its old version: {} instead of {} (about {} instead of {} at {})",
        address(transfer),
        bytes(patch.bytes),
        bytes(file.bytes),
        time(patched(speeds, file.bytes, patch)),
        time(speeds.sending(file.bytes)),
        speeds.link_text(),
    ));
    let target = transfer.target.resolve(&builder.facts.system.home);
    let old = if name.is_empty() {
        target
    } else {
        format!("{target}/{name}")
    };
    let member = member(one.number, name);
    let new = format!("{}/new/{member}", one.staging);
    let source = PayloadSource::FilePatch {
        staging: one.staging.clone(),
        member,
    };
    let payload = Payload::new(source, patch.sha256, patch.bytes);
    let build = remote::patch_file(
        &one.staging,
        (&new, &old),
        file.sha256,
        file.mode,
        patch.block,
    );
    let whole = single(builder, one, name, file)?;
    Some(Command::with(build, payload).or_else(whole))
}
