//! Makes an ifm O3R VPU match a `deploy.toml`.
//!
//! ```text
//! deploy.toml ──load──▶ Manifest ──resolve (reads local files)──▶ Desired ──query──▶ Query ─┐
//!                                                                    │                      ▼
//!                                                                    │       VPU ──observe──▶ Observed
//!                                                                    └─────plan(&Desired, &Observed)◀┘
//! Plan ──render──▶ text | json | sh      Plan ──apply (the only writer)──▶ Report ──observe and plan again
//! ```
//!
//! Planning is pure: [`plan`] sees no host, no clock and no randomness. Only [`apply`] writes.

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
mod home;
pub mod host;
pub mod manifest;
mod nonce;
pub mod observe;
pub mod prepare;
pub mod render;
pub mod resolve;
pub mod scaffold;
pub mod speeds;
pub mod ui;
