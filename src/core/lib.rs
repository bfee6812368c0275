//! The part of `o3r-deploy` that does no input or output: names, digests,
//! compose files, command lines. It reads no file, runs no process, opens no
//! connection, and uses no clock and no environment: `clippy.toml` beside it
//! enforces that, and its `Cargo.toml` has no dependency that could.

#[macro_use]
mod text_form;

pub mod architecture;
pub mod blocks;
pub mod cksum;
pub mod closest;
mod codes;
pub mod compose;
pub mod compression;
pub mod cost;
pub mod desired;
pub mod device_words;
pub mod digest;
pub mod driver;
pub mod exclude;
pub mod facts;
pub mod generation;
pub mod health;
pub mod names;
pub mod offers;
pub mod plan;
pub mod redact;
pub mod remote;
pub mod rendered;
pub mod restart_policy;
pub mod shell;
pub mod speeds;
pub mod status;
#[cfg(test)]
mod testing;
pub mod trouble;
pub mod units;
