//! Compares what is desired with what was observed and lists the steps between them.
//!
//! Pure: [`plan`] is sync, total and deterministic; it sees no host, no clock and no randomness.
//! Same input, same bytes.

mod builder;
mod compose;
mod directory;
mod fingerprint;
mod guard;
mod image;
pub mod lint;
mod release;
mod step;
mod volume;

pub use step::{
    Action, Address, Blocked, Cause, Command, ManifestRef, NotRestorable, Payload, PayloadSource,
    Phase, Plan, Step, Summary, Vpu,
};

use crate::{desired::Desired, observe::Observed};

/// The steps that make the observed VPU the desired one, in the order in which they run.
pub fn plan(desired: &Desired, observed: &Observed, host: &str) -> Plan {
    let mut builder = builder::Builder::new(desired, observed);
    guard::plan(&mut builder);
    directory::plan(&mut builder);
    volume::plan(&mut builder);
    image::plan(&mut builder);
    compose::plan(&mut builder);
    release::plan(&mut builder);
    builder.finish(host)
}
