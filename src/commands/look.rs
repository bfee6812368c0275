//! The steps that `status` and `observe` share: they inspect a VPU with or without a manifest.

use super::{
    CommandError, ErrorCode,
    session::{self, Connection},
    target::{self, NO_MANIFEST},
};
use crate::{
    cli::{DEFAULT_FILE, Global},
    deployment,
    host::SshHost,
    image::LayerCache,
    manifest::{LoadError, Loaded, Options, load_with, unsupported::unsupported},
    observe::{Observed, Query, Remembered},
    resolve::Resolved,
    ui::Ui,
};

/// The port of the device's API if no manifest names one.
const API_PORT: u16 = 80;

/// A connected VPU.
pub(super) struct Look {
    /// The VPU's desired state.
    pub(super) wanted: Wanted,
    connection: Connection,
    cache: LayerCache,
    api_port: u16,
    ui: Ui,
}

/// The desired state of a VPU, if known.
pub(super) enum Wanted {
    /// The desired state of the manifest.
    Known(Box<Resolved>),
    /// There is none, and why.
    Unknown(String),
}

impl Look {
    /// Connects. A manifest that is missing, or of which at least the VPU can be read, does not prevent the inspection.
    pub(super) async fn open(
        global: &Global,
        cache: &LayerCache,
        ui: Ui,
    ) -> Result<Self, CommandError> {
        Self::open_by(read(global)?, global, cache, ui).await
    }

    /// Connects as [`Look::open`]; with `--host`, no manifest prevents the inspection.
    pub(super) async fn open_anyway(
        global: &Global,
        cache: &LayerCache,
        ui: Ui,
    ) -> Result<Self, CommandError> {
        Self::open_by(anyway(read(global), global)?, global, cache, ui).await
    }

    /// Connects with what was read of the manifest.
    pub(super) async fn open_by(
        (loaded, reason): Read,
        global: &Global,
        cache: &LayerCache,
        ui: Ui,
    ) -> Result<Self, CommandError> {
        target::selected(global, loaded.as_ref())?;
        if let Some(loaded) = &loaded {
            session::warn(loaded, ui);
        }
        let api_port = loaded
            .as_ref()
            .map_or(API_PORT, |l| l.manifest.vpu.api_port());
        let connect = Connection::open(global, loaded.as_ref(), ui);
        let (wanted, connection) = match (&loaded, reason) {
            (Some(loaded), None) => {
                let resolve = session::resolve(loaded, cache, ui);
                let (resolved, connection) = tokio::join!(resolve, connect);
                let wanted = match resolved {
                    Ok(resolved) => Wanted::Known(Box::new(resolved)),
                    Err(findings) => Wanted::Unknown(faulty(
                        &crate::manifest::Diagnostics::new(findings).to_string(),
                    )),
                };
                (wanted, connection?)
            }
            (_, reason) => (Wanted::Unknown(reason.unwrap_or_default()), connect.await?),
        };
        Ok(Self {
            wanted,
            connection,
            cache: cache.clone(),
            api_port,
            ui,
        })
    }

    /// Connects as [`Look::open`], for a command that changes the VPU: something must name it.
    pub(super) async fn open_named(
        global: &Global,
        cache: &LayerCache,
        ui: Ui,
    ) -> Result<Self, CommandError> {
        is_named(global)?;
        Self::open(global, cache, ui).await
    }

    /// Returns what the VPU was asked for this observation.
    pub(super) fn query(&self, observed: &Observed) -> Query {
        match &self.wanted {
            Wanted::Known(wanted) => wanted.desired.with_undeclared(observed).query(),
            Wanted::Unknown(_) => self.query_without_manifest(),
        }
    }

    fn query_without_manifest(&self) -> Query {
        Query {
            api_port: self.api_port,
            ..Query::default()
        }
    }

    /// Observes the VPU.
    pub(super) async fn observe(&self) -> Result<Observed, CommandError> {
        let note = |what: &str| self.ui.note(what);
        let host = &self.connection.host;
        Ok(match &self.wanted {
            Wanted::Known(wanted) => {
                let remembered = Remembered::new(self.cache.dir());
                deployment::look(host, &wanted.desired, &remembered, &note).await?
            }
            Wanted::Unknown(_) => {
                deployment::observe(host, &self.query_without_manifest(), &note).await?
            }
        })
    }

    /// Returns the VPU itself.
    pub(super) fn host(&self) -> &SshHost {
        &self.connection.host
    }

    /// Returns the VPU's address.
    pub(super) fn address(&self) -> &str {
        &self.connection.address
    }
}

/// What was read of a manifest, and why it cannot be compared with.
pub(super) type Read = (Option<Loaded>, Option<String>);

/// With `--host`, leaves out a manifest that cannot be read.
///
/// # Errors
/// Those of the manifest; what else the command line refers to must be there.
pub(super) fn anyway(
    read: Result<Read, CommandError>,
    global: &Global,
) -> Result<Read, CommandError> {
    match read {
        Err(_) if global.host.is_some() && global.file.exists() && asks_nothing(global) => {
            let reason = format!("{} has errors", global.file);
            Ok((None, Some(faulty(&reason))))
        }
        read => read,
    }
}

/// Checks that something names the VPU.
pub(super) fn is_named(global: &Global) -> Result<(), CommandError> {
    let has_manifest = global.file != DEFAULT_FILE || global.file.exists();
    if !target::is_guessed(global, has_manifest)? {
        return Ok(());
    }
    Err(CommandError::message(
        ErrorCode::NoManifest,
        format!("{NO_MANIFEST}, and nothing else names the VPU; nothing was done"),
        Some("name the VPU with --host, or its manifest with --file".into()),
    ))
}

/// Whether the command line refers to nothing in the manifest.
fn asks_nothing(global: &Global) -> bool {
    session::options(global) == Options::default()
}

fn faulty(what: &str) -> String {
    format!("{what}; see: o3r-deploy check")
}

/// Reads as much of the manifest as possible, and returns why it cannot be compared with.
pub(super) fn read(global: &Global) -> Result<Read, CommandError> {
    let options = session::options(global);
    // A missing manifest is an error if the command line refers to its contents.
    let needs_none = global.file == DEFAULT_FILE && asks_nothing(global);
    match load_with(&global.file, &options) {
        Ok(loaded) => {
            let refused = unsupported(&loaded);
            let reason = refused.first().map(|first| faulty(&first.message));
            Ok((Some(loaded), reason))
        }
        Err(error) if error.is_not_found() && needs_none => {
            Ok((None, Some(NO_MANIFEST.to_owned())))
        }
        Err(LoadError::Invalid(findings)) => {
            let words_only = Options {
                words_only: true,
                ..options
            };
            match load_with(&global.file, &words_only) {
                Ok(loaded) => Ok((Some(loaded), Some(faulty(&findings.to_string())))),
                Err(error @ LoadError::UnknownVpu(_)) => Err(session::load_error(error)),
                Err(_) => Err(CommandError::findings(findings)),
            }
        }
        Err(error) => Err(session::load_error(error)),
    }
}
