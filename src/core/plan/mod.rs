//! Compares the desired state with the observed one and lists the steps between them.
//!
//! Pure: [`plan`] is sync, total and deterministic; it sees no host, no clock and no randomness.
//! Same input, same bytes.

mod address;
mod autostart;
mod builder;
mod cautions;
mod command;
mod compose;
mod data;
mod device;
mod directory;
mod document;
mod fingerprint;
mod guard;
mod image;
pub mod lint;
mod note;
mod obstacle;
mod release;
pub mod space;
mod step;
mod transfer;
mod undo_program;
mod verb;
mod volume;

pub use address::{Address, ResourceKind, UnknownAddress};
pub use builder::{FORMAT, vpu};
pub use command::{Command, Part, Payload, PayloadSource, Transport};
pub use compose::{files_to_restore, unrecorded};
pub use data::{undeclared_data, undeclared_directories};
pub use document::PlanError;
pub use image::{delta_bases, is_ours, layers_to_send, release_of, takes_parts};
pub use note::{Note, NoteCode};
pub use obstacle::BlockCode;
pub use step::{
    Action, Blocked, Cause, Change, ChangeKind, NotRestorable, Phase, Plan, Restart, Step, Summary,
    Vpu, Watchdog,
};
pub use undo_program::Armed;
pub use verb::Verb;

use crate::{desired::Desired, facts::Observed, offers::Offers};

/// Returns the steps that make the observed VPU match the desired state, in the order in which they
/// run. `offers` are the payloads that steps send, `host` is the VPU's address as shown to people.
pub fn plan(desired: &Desired, observed: &Observed, offers: &Offers, host: &str) -> Plan {
    let desired = desired.as_resolved(&observed.facts);
    let desired = desired.with_undeclared(observed);
    let mut builder = builder::Builder::new(&desired, observed, offers);
    guard::plan(&mut builder);
    directory::plan(&mut builder);
    volume::plan(&mut builder);
    device::plan(&mut builder);
    image::plan(&mut builder);
    let staging = transfer::plan(&mut builder);
    compose::plan(&mut builder);
    autostart::plan(&mut builder);
    guard::take_over(&mut builder);
    let data = data::decide(&builder);
    let left = data::left(&builder, &data);
    if !release::plan(&mut builder, &staging, left) {
        transfer::clean(&mut builder, staging);
    }
    guard::trust_images(&mut builder);
    compose::remove_stopped(&mut builder);
    data::plan(&mut builder, data);
    release::forget(&mut builder);
    guard::home(&mut builder);
    cautions::plan(&mut builder);
    space::plan(&mut builder);
    builder.finish(host)
}
