//! The way in for programs: a deployment is a manifest with all that it points to, and makes VPUs match it.

mod attempt;
mod error;
mod look;
mod restored;
mod verify;
mod vpu;

use std::sync::Arc;

use camino::{Utf8Path, Utf8PathBuf};

pub(crate) use attempt::Noted;
pub use error::Error;
pub(crate) use look::{look, observe};
pub(crate) use restored::Compared;
pub(crate) use verify::{AllVerified, doubt_unusable, forget_unusable, verify};
pub use vpu::{ApplyOptions, Planned, Vpu};
pub(crate) use vpu::{Note, holder, plan_for};

use crate::{
    host::{Host, SshHost, SshOptions},
    image::LayerCache,
    manifest::{
        self, Diagnostic, Diagnostics, LoadError, Loaded, Manifest, Options, names::HostKeys,
        unsupported::unsupported,
    },
    prepare::Sizes,
    resolve::{self, Resolved},
};

/// The address that every VPU ships with.
pub(crate) const FACTORY_ADDRESS: &str = "192.168.0.69";

/// A manifest with all that it points to on this machine.
pub struct Deployment {
    loaded: Loaded,
    resolved: Arc<Resolved>,
    cache: LayerCache,
}

impl Deployment {
    /// Reads a manifest, checks it, and opens the images and files that it names. Blocks. What is prepared is kept in
    /// `cache`, which is created where it is needed, and shared with other deployments and runs.
    ///
    /// # Errors
    /// The manifest or something that it names cannot be read, or is not valid: each finding at its place.
    pub fn load(
        manifest: impl AsRef<Utf8Path>,
        cache: impl Into<Utf8PathBuf>,
    ) -> Result<Self, Error> {
        Self::load_with(manifest, &Options::default(), cache)
    }

    /// The same, for one of several VPUs or another version.
    ///
    /// # Errors
    /// As [`Deployment::load`]; or the manifest has no such VPU, or several of which none is selected.
    pub fn load_with(
        manifest: impl AsRef<Utf8Path>,
        options: &Options,
        cache: impl Into<Utf8PathBuf>,
    ) -> Result<Self, Error> {
        let cache = LayerCache::new(cache);
        let options = Options {
            // Whatever is deployed is checked.
            words_only: false,
            ..options.clone()
        };
        let loaded = manifest::load_with(manifest.as_ref(), &options)?;
        loaded.selection().map_err(LoadError::NoVpuSelected)?;
        let invalid = |findings| LoadError::Invalid(Diagnostics::new(findings));
        let refused = unsupported(&loaded);
        if !refused.is_empty() {
            return Err(invalid(refused).into());
        }
        let resolved = resolve::resolve(&loaded, &cache).map_err(invalid)?;
        Ok(Self {
            loaded,
            resolved: Arc::new(resolved),
            cache,
        })
    }

    /// What the manifest does not forbid and its author may not mean.
    pub fn warnings(&self) -> &[Diagnostic] {
        &self.loaded.warnings
    }

    /// What the manifest says.
    pub fn manifest(&self) -> &Manifest {
        &self.loaded.manifest
    }

    /// How to reach the VPU according to the manifest; the factory address if it names none.
    pub fn ssh_options(&self) -> SshOptions {
        let described = described(&self.loaded);
        SshOptions {
            host: described.host.unwrap_or_else(|| FACTORY_ADDRESS.to_owned()),
            ..described.options
        }
    }

    /// Logs in to the VPU over ssh; an unknown host key, or another one than the pinned one, is an error.
    ///
    /// # Errors
    /// No connection or no login.
    pub async fn connect(&self, options: &SshOptions) -> Result<Vpu<SshHost>, Error> {
        let host = SshHost::connect(options).await?;
        Ok(self.on(host, &options.host))
    }

    /// The VPU behind a host of one's own: [`LocalHost`](crate::LocalHost) on the VPU itself, or one for tests. `address`
    /// is what plans call it.
    pub fn on<H: Host>(&self, host: H, address: &str) -> Vpu<H> {
        let resolved = Arc::clone(&self.resolved);
        let quiet: Note = Arc::new(|_| {});
        Vpu::new(host, address, resolved, &self.cache, Sizes::Exact, quiet)
    }

    /// Waits for the layers that are copied into the cache in the background, so that the next run finds them.
    /// To be called before the program ends; without it, they are got and compressed again. Blocks.
    pub fn finish(&self) {
        self.cache.finish();
    }
}

/// How a manifest says to reach its VPU.
pub(crate) struct Described {
    pub(crate) host: Option<String>,
    /// The rest.
    pub(crate) options: SshOptions,
}

pub(crate) fn described(loaded: &Loaded) -> Described {
    let vpu = &loaded.manifest.vpu;
    let home = crate::user::home();
    let keys = vpu.host_key.iter().flat_map(HostKeys::as_slice);
    let identity = vpu.identity.as_ref();
    Described {
        host: vpu.host.as_ref().map(ToString::to_string),
        options: SshOptions {
            host: String::new(),
            port: vpu.port,
            user: vpu.user.as_ref().map(ToString::to_string),
            identity: identity.map(|path| path.resolve(loaded.base(), home.as_deref())),
            host_keys: keys.map(ToString::to_string).collect(),
        },
    }
}
