//! What `o3r-deploy` knows without looking: names, digests, compose files, command lines. It reads no file, runs no
//! process, opens no connection, and asks no clock and no environment: `clippy.toml` beside it holds that, and there
//! is nothing in its `Cargo.toml` that could.

pub mod blocks;
pub mod cksum;
pub mod closest;
pub mod compose;
pub mod cost;
pub mod digest;
pub mod names;
pub mod offers;
pub mod redact;
pub mod shell;
pub mod speeds;
pub mod units;
