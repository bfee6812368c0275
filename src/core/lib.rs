//! What `o3r-deploy` knows without looking: names, digests, compose files, command lines. It reads no file, runs no
//! process, opens no connection, and asks no clock and no environment: `clippy.toml` beside it holds that, and there
//! is nothing in its `Cargo.toml` that could.

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
pub mod health;
pub mod names;
pub mod offers;
pub mod plan;
pub mod redact;
pub mod remote;
pub mod restart_policy;
pub mod shell;
pub mod speeds;
pub mod status;
#[cfg(test)]
mod testing;
pub mod trouble;
pub mod units;
