//! The steps that `status` and `observe` share: they inspect a VPU with a manifest or without.

use super::{
    CommandError,
    session::{self, Connection},
    target,
};
use crate::{
    cli::{DEFAULT_FILE, Global},
    deployment,
    image::LayerCache,
    manifest::{LoadError, Loaded, Options, load_with, unsupported::unsupported},
    observe::{Observed, Query, Remembered},
    resolve::Resolved,
    ui::Ui,
};

/// The port of the device's API where no manifest names one.
const API_PORT: u16 = 80;

/// A connected VPU.
pub(super) struct Look {
    /// What is wanted of it.
    pub(super) wanted: Wanted,
    connection: Connection,
    cache: LayerCache,
    api_port: u16,
    ui: Ui,
}

/// What is wanted of a VPU.
pub(super) enum Wanted {
    /// What the manifest says.
    Known(Box<Resolved>),
    /// That is not known, and why.
    Unknown(String),
}

impl Look {
    /// Connects. A manifest that is not there, or whose files are not, is no reason not to look.
    pub(super) async fn open(
        global: &Global,
        cache: &LayerCache,
        ui: Ui,
    ) -> Result<Self, CommandError> {
        let (loaded, reason) = read(global)?;
        target::selected(global, loaded.as_ref())?;
        if let Some(loaded) = &loaded {
            session::warn(loaded, ui);
        }
        let api_port = loaded
            .as_ref()
            .map_or(API_PORT, |l| l.manifest.vpu.api_port());
        let connect = Connection::open(global, loaded.as_ref());
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

    /// What to ask the VPU.
    pub(super) fn query(&self) -> Query {
        match &self.wanted {
            Wanted::Known(wanted) => wanted.desired.query(),
            Wanted::Unknown(_) => Query {
                api_port: self.api_port,
                ..Query::default()
            },
        }
    }

    /// Asks the VPU what is there.
    pub(super) async fn observe(&self) -> Result<Observed, CommandError> {
        let note = |what: &str| self.ui.note(what);
        let host = &self.connection.host;
        Ok(match &self.wanted {
            Wanted::Known(wanted) => {
                let remembered = Remembered::new(self.cache.dir());
                deployment::look(host, &wanted.desired, &remembered, &note).await?
            }
            Wanted::Unknown(_) => deployment::observe(host, &self.query(), &note).await?,
        })
    }

    /// The VPU's address.
    pub(super) fn address(&self) -> &str {
        &self.connection.address
    }
}

fn faulty(what: &str) -> String {
    format!("{what}; see: o3r-deploy check")
}

/// The manifest as far as it can be read, and why it cannot be compared with.
fn read(global: &Global) -> Result<(Option<Loaded>, Option<String>), CommandError> {
    let options = session::options(global);
    // Only who asks for nothing that is in a manifest can do without.
    let needs_none = global.file == DEFAULT_FILE && options == Options::default();
    match load_with(&global.file, &options) {
        Ok(loaded) => {
            let refused = unsupported(&loaded);
            let reason = refused.first().map(|first| faulty(&first.message));
            Ok((Some(loaded), reason))
        }
        Err(error) if error.is_not_found() && needs_none => {
            Ok((None, Some(format!("there is no {DEFAULT_FILE} here"))))
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
