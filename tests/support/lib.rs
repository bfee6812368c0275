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
pub mod docker;
pub mod sandbox;
pub mod vpu;

pub use o3r_deploy::Silent;

/// How many cases a property test tries: all of them, or one of six in the quick inner loop, which nextest's profile `default`
/// is. `tests/run.sh` tries all.
pub fn cases(all: u32) -> u32 {
    let is_quick = std::env::var("NEXTEST_PROFILE").is_ok_and(|profile| profile == "default");
    if is_quick { all.div_ceil(6) } else { all }
}
