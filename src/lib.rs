//! Makes an ifm O3R VPU match a `deploy.toml`.
//!
//! ```text
//! deploy.toml ──load──▶ Manifest ──resolve (reads local files)──▶ Desired, LocalImages
//! VPU ──observe (asks Desired::query)──▶ Observed
//! Desired, LocalImages, Observed ──prepare (packs layers, makes deltas)──▶ Offers, Payloads
//! Desired, Observed, Offers ──plan──▶ Plan ──render──▶ text | json | sh
//! Plan, Payloads ──apply (the only writer)──▶ Report ──observe, prepare and plan again: nothing is left
//! ```
//!
//! Planning is pure: [`plan`] sees no host, no clock and no randomness. Only [`apply`] writes.

#![cfg_attr(
    test,
    allow(
        clippy::disallowed_methods,
        reason = "unit tests make files of their own"
    )
)]

pub use o3r_core::{
    blocks, compose, compression, cost, desired, digest, offers, plan, remote, shell, status,
};
use o3r_core::{closest, redact};
use o3r_transfer::{held_back, kept};
pub use o3r_transfer::{image, patch};

pub mod apply;
pub mod cli;
pub mod commands;
pub mod device;
pub mod host;
pub mod manifest;
mod nonce;
pub mod observe;
pub mod prepare;
pub mod render;
pub mod resolve;
pub mod scaffold;
pub mod speeds;
mod surroundings;
pub mod ui;
mod user;
