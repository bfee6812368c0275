//! What the tests of `o3r-deploy` share. It is no part of the program: the root package has it as a dev-dependency.
#![expect(
    clippy::disallowed_methods,
    reason = "tests make files and run programs of their own, and panic where that fails"
)]
#![expect(
    clippy::unwrap_used,
    clippy::missing_panics_doc,
    reason = "only tests call this: a panic is its report"
)]

pub mod archives;
pub mod desired;
pub mod sandbox;
pub mod vpu;

pub use o3r_deploy::Silent;
