//! Code that the tests of `o3r-deploy` share. Not part of
//! the program: the root package has it as a dev-dependency.
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

/// Whether this is the quick inner loop, nextest's profile
/// `default`. `tests/run.sh` uses the complete one.
fn is_quick() -> bool {
    std::env::var("NEXTEST_PROFILE").is_ok_and(|profile| profile == "default")
}

/// Returns the number of cases of a property test: all of
/// them, or one of nine in the quick inner loop.
pub fn cases(all: u32) -> u32 {
    if is_quick() { all.div_ceil(9) } else { all }
}

/// Returns the variants that a test uses: all of them, or the first `few` in the quick inner loop.
pub fn variants<T>(all: impl IntoIterator<Item = T>, few: usize) -> impl Iterator<Item = T> {
    let few = if is_quick() { few } else { usize::MAX };
    all.into_iter().take(few)
}
