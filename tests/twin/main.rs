//! Runs the real binary against twins: machines with a real systemd, sshd, dockerd and
//! docker-compose that behave like a VPU (README.md beside this file).
//!
//! `cargo nextest run --profile twin` runs them, three twins at a time; nextest's default profile
//! leaves them out. Plain `cargo test --test twin` runs them as well. A twin that cannot be started
//! is a failure, never a skipped test.
#![expect(
    clippy::disallowed_methods,
    reason = "tests make files and run programs of their own, and panic where that fails"
)]
#![expect(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "a test fails by panicking, and its standard error is its report"
)]

mod adopted;
mod apply;
mod authorize;
mod autostart;
mod boot;
mod crash;
mod delta;
mod destroy;
mod device_config;
mod device_name;
mod doctor;
mod drift;
mod examples;
mod failed;
mod faults;
mod full;
mod health;
mod injection_and_secrets;
mod layers;
mod lifecycle;
mod login;
mod migrate;
mod mounts;
mod networks_and_volumes;
mod owner;
mod parts;
mod plan;
mod races;
mod refused;
mod resolved;
mod restore;
mod rollback;
mod signals;
mod status;
mod support;
mod survey;
mod transfer_faults;
mod transfers;
mod undeclared;
mod variables;
mod verify;
mod watchdog;
mod wrecks;
