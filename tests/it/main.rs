//! All tests of the library and the program that need no twin, in one binary: linking takes longer
//! than most of the tests.
#![expect(
    clippy::disallowed_methods,
    reason = "tests make files and run programs of their own, and panic where that fails"
)]
#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod cli;
mod codes;
mod committed;
mod compose_verdicts;
mod conformance;
mod convergence;
mod deployment;
mod desired;
mod examples;
mod fault_cases;
mod image;
mod import_map;
mod layers;
mod manifest_bytes;
mod manifest_documents;
mod manifest_schema;
mod plan_blocks;
mod plan_boot;
mod plan_codes;
mod plan_device;
mod plan_documents;
mod plan_reference;
mod probe_fixtures;
mod public_api;
mod reference;
mod session;
mod shells;
mod terminal;
mod transfer_scripts;
mod transfers;
