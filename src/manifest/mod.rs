//! Reads a `deploy.toml`: its types, its words, its schema, and the checks, each with findings at
//! their place in the file.
//!
//! Does not connect to a VPU: all findings are made offline.

mod codes;
pub mod device;
pub mod diagnostics;
mod document;
pub mod edit;
mod interpolate;
mod load;
mod loaded;
pub mod meaning;
pub use o3r_core::names;
pub mod schema;
pub mod spans;
pub(crate) mod template;
pub mod types;
pub mod unsupported;
mod validate;
mod variables;
mod vpu;
mod watchdog;

pub use codes::FindingCode;
pub use diagnostics::{Diagnostic, Diagnostics, Label, Severity, Source};
pub use load::{LoadError, Options, check, load, load_with, parse};
pub use loaded::{Loaded, Sidecar};
pub(crate) use meaning::compose::{login, releases};
pub use o3r_core::exclude::Exclude;
pub use schema::{Document, schema, schema_of};
pub use spans::SpanMap;
pub use types::Manifest;
use validate::list_of_words;
pub use vpu::{DEFAULT_API_PORT, NoVpuSelected, UnknownVpu, VPUS_FILE};
