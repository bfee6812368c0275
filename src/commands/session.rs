//! Takes the way that plan and apply share: manifest, local files, connection, observation.

use camino::Utf8PathBuf;

use super::{CommandError, Exit};
use crate::{
    cli::Global,
    desired::{self, Desired},
    host::{SshHost, SshOptions},
    image::ScratchDir,
    manifest::{
        self, Diagnostic, Diagnostics, LoadError, Loaded, names::HostKeys, types::Vpu,
        unsupported::unsupported,
    },
    observe::{self, Observed},
    plan::{self, Plan},
    ui::Ui,
};

/// The address that every VPU ships with.
const FACTORY_ADDRESS: &str = "192.168.0.69";

/// Reads the manifest and checks all that can be checked offline but the contents of images.
pub(super) fn load(global: &Global) -> Result<Loaded, CommandError> {
    manifest::load(&global.file).map_err(load_error)
}

pub(super) fn load_error(error: LoadError) -> CommandError {
    match error {
        LoadError::Invalid(findings) => CommandError::new(Exit::Usage, findings),
        error @ (LoadError::Read { .. } | LoadError::UnknownVpu(_)) => {
            let help = error.help();
            CommandError::message(Exit::Usage, super::error::chain(&error), help)
        }
    }
}

/// Reads everything that the manifest points to, on a thread that may block.
pub(super) async fn resolve(loaded: &Loaded) -> Result<Desired, Vec<Diagnostic>> {
    let loaded = loaded.clone();
    let resolved = tokio::task::spawn_blocking(move || desired::resolve(&loaded, &scratch()));
    match resolved.await {
        Ok(resolved) => resolved,
        Err(panic) => std::panic::resume_unwind(panic.into_panic()),
    }
}

fn findings_error(findings: Vec<Diagnostic>) -> CommandError {
    CommandError::new(Exit::Usage, Diagnostics::new(findings))
}

/// Where images are unpacked that cannot be read in place.
fn scratch() -> ScratchDir {
    let home = || std::env::var("HOME").map(|home| format!("{home}/.cache"));
    let cache = std::env::var("XDG_CACHE_HOME").or_else(|_| home());
    let base = cache.unwrap_or_else(|_| std::env::temp_dir().to_string_lossy().into_owned());
    ScratchDir::new(Utf8PathBuf::from(base).join("o3r-deploy/scratch"))
}

/// A connected VPU and what is wanted of it.
pub(super) struct Session {
    pub(super) desired: Desired,
    pub(super) host: SshHost,
    address: String,
}

impl Session {
    /// Loads, refuses what is not supported yet, and connects while local files are read.
    pub(super) async fn open(global: &Global, ui: Ui) -> Result<Self, CommandError> {
        let loaded = load(global)?;
        for warning in &loaded.warnings {
            ui.report(warning);
        }
        let refused = unsupported(&loaded);
        if !refused.is_empty() {
            return Err(findings_error(refused));
        }
        let options = ssh_options(global, &loaded);
        let address = options.host.clone();
        let (desired, host) = tokio::join!(resolve(&loaded), SshHost::connect(&options));
        Ok(Self {
            desired: desired.map_err(findings_error)?,
            host: host?,
            address,
        })
    }

    /// Asks the VPU what is there.
    pub(super) async fn observe(&self) -> Result<Observed, CommandError> {
        Ok(observe::observe(&self.host, &self.desired.query()).await?)
    }

    /// The plan for what was observed.
    pub(super) fn plan(&self, observed: &Observed) -> Plan {
        let plan = plan::plan(&self.desired, observed, &self.address);
        debug_assert_eq!(plan::lint::lint(&plan), Vec::<String>::new());
        plan
    }
}

/// How to reach the VPU: the command line, then the manifest, then the environment.
fn ssh_options(global: &Global, loaded: &Loaded) -> SshOptions {
    let Vpu {
        host,
        user,
        identity,
        host_key,
        ..
    } = &loaded.manifest.vpu;
    let port = loaded.manifest.vpu.port;
    let environment = || {
        std::env::var("IFM3D_IP")
            .ok()
            .filter(|address| !address.is_empty())
    };
    let host = global
        .host
        .clone()
        .or_else(|| host.as_ref().map(ToString::to_string));
    let home = std::env::var("HOME").ok().map(Utf8PathBuf::from);
    let keys = host_key.iter().flat_map(HostKeys::as_slice);
    SshOptions {
        host: host
            .or_else(environment)
            .unwrap_or_else(|| FACTORY_ADDRESS.to_owned()),
        port,
        user: user.as_ref().map(ToString::to_string),
        identity: identity
            .as_ref()
            .map(|path| path.resolve(loaded.base(), home.as_deref())),
        host_keys: keys.map(ToString::to_string).collect(),
    }
}
