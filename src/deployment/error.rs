//! Says why a deployment could not be loaded, planned or applied.

use crate::{
    apply::Locked,
    host::HostError,
    manifest::LoadError,
    observe::ObserveError,
    plan::{Blocked, Plan},
    prepare::PrepareError,
};

/// Why a deployment could not be loaded, planned or applied.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The manifest cannot be read or is not valid.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// The VPU cannot be reached.
    #[error(transparent)]
    Host(#[from] HostError),
    /// The VPU could not be inspected, or its output is not understood.
    #[error(transparent)]
    Observe(ObserveError),
    /// dockerd on the VPU gives no sign of life.
    #[error("dockerd on the VPU does not answer: docker info has run for {took}; nothing was done")]
    DockerHangs {
        /// How long, e.g. `1 min 10 s`.
        took: String,
    },
    /// A look at the VPU takes longer than any should.
    #[error("inspecting the VPU timed out after 10 minutes; nothing was done")]
    Silent,
    /// Something cannot be prepared.
    #[error(transparent)]
    Prepare(#[from] PrepareError),
    /// A fault of this library: the plan contradicts itself.
    #[error("internal error: the plan violates an invariant; nothing was done: {}", .broken.join("; "))]
    Unsound {
        /// The rules of [`crate::plan::lint`] that it breaks.
        broken: Vec<String>,
    },
    /// Something in the plan is blocked; nothing was done.
    #[error("{} resources are blocked; nothing was done", .0.len())]
    Blocked(Vec<Blocked>),
    /// The VPU changed since it was planned for; nothing was done.
    #[error("the VPU or a local file changed since it was planned for; nothing was done")]
    Stale,
    /// Another apply has the lock, or it cannot be taken.
    #[error(transparent)]
    Locked(Locked),
    /// All steps were done, and the VPU could not be looked at afterwards.
    #[error("all steps succeeded, but the VPU could not be inspected afterwards")]
    NotVerified(#[source] Box<Error>),
    /// All steps were done, and this is what would still be needed.
    #[error("all steps succeeded, but the VPU has not converged: {} still to do", .0.steps.len() + .0.blocked.len())]
    NotConverged(Box<Plan>),
}

impl From<Locked> for Error {
    fn from(error: Locked) -> Self {
        match error {
            Locked::Host(error) => Self::Host(error),
            other => Self::Locked(other),
        }
    }
}

impl From<ObserveError> for Error {
    fn from(error: ObserveError) -> Self {
        match error {
            ObserveError::Host(error) => Self::Host(error),
            other => Self::Observe(other),
        }
    }
}
