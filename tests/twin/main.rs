//! Runs the real binary against twins: machines with a real systemd, sshd, dockerd and
//! docker-compose that behave like a VPU (README.md beside this file).
//!
//! `cargo nextest run --profile twin` runs them, three twins at a time; nextest's default profile
//! leaves them out. Plain `cargo test --test twin` runs them too. A twin that cannot be started
//! is a failure, never a skipped test.
#![expect(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "a test fails by panicking, and its standard error is its report"
)]

mod apply;
mod autostart;
mod between;
mod boot;
mod crash;
mod day;
mod delta;
mod device_name;
mod drift;
mod examples;
mod failed;
mod layers;
mod login;
mod mounts;
mod parts;
mod plan;
mod refused;
mod resolved;
mod restore;
mod signals;
mod status;
mod support;
mod transfers;
mod unlucky;
mod words;
