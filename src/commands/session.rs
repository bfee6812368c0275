//! The steps that `plan` and `apply` share: load the manifest, resolve local files, connect, observe.

use std::{
    os::unix::fs::{DirBuilderExt as _, MetadataExt as _},
    sync::Arc,
};

use camino::{Utf8Path, Utf8PathBuf};

use super::{
    CommandError, ErrorCode,
    kept::{self, Which},
    target::{self, Table},
};
use crate::surroundings::{temporary, variable};
use crate::{
    cli::Global,
    deployment::{Note, Planned, Vpu},
    desired::Permits,
    device,
    host::{HostError, SshHost, SshOptions},
    image::{LayerCache, WorkProgress},
    manifest::{
        self, Diagnostic, Diagnostics, LoadError, Loaded, Options, unsupported::unsupported,
    },
    observe::{Identity, Observed},
    prepare::Sizes,
    resolve::{self, Resolved},
    ui::Ui,
};

/// Returns the options of the command line that affect the manifest.
pub(super) fn options(global: &Global) -> Options {
    Options {
        release_version: global.release_version.clone(),
        vpu: global.vpu.clone(),
        words_only: false,
    }
}

/// Reads the manifest, checks all that can be checked offline except the contents of images, and
/// refuses a manifest that uses unsupported features or does not say which VPU is meant.
pub(super) fn supported(global: &Global, ui: Ui) -> Result<Loaded, CommandError> {
    let loaded = manifest::load_with(&global.file, &options(global)).map_err(load_error)?;
    target::selected(global, Some(&loaded))?;
    warn(&loaded, ui);
    let refused = unsupported(&loaded);
    if refused.is_empty() {
        Ok(loaded)
    } else {
        Err(findings_error(refused))
    }
}

/// Prints the warnings of a manifest, in the same form as `check`.
pub(super) fn warn(loaded: &Loaded, ui: Ui) {
    if !loaded.warnings.is_empty() {
        ui.warn(&Diagnostics::new(loaded.warnings.clone()));
    }
}

pub(super) fn load_error(error: LoadError) -> CommandError {
    match error {
        LoadError::Invalid(findings) => CommandError::findings(findings),
        error => {
            let code = match &error {
                LoadError::UnknownVpu(_) => ErrorCode::UnknownVpu,
                LoadError::NoVpuSelected(_) => ErrorCode::NoVpuSelected,
                _ => ErrorCode::UnreadableFile,
            };
            CommandError::message(code, super::error::chain(&error), error.help())
        }
    }
}

/// Reads everything that the manifest points to, on a thread that may block.
pub(super) async fn resolve(
    loaded: &Loaded,
    cache: &LayerCache,
    ui: Ui,
) -> Result<Resolved, Vec<Diagnostic>> {
    let (loaded, cache) = (loaded.clone(), cache.clone());
    let resolved = tokio::task::spawn_blocking(move || {
        let preparing = ui.preparing();
        let reading = |source: &str, done, total| preparing.files(source, done, total);
        resolve::resolve_while(&loaded, &cache, &reading)
    });
    match resolved.await {
        Ok(resolved) => resolved,
        Err(panic) => std::panic::resume_unwind(panic.into_panic()),
    }
}

/// The same as [`resolve`], with findings as the error that ends a command.
pub(super) async fn resolved(
    loaded: &Loaded,
    cache: &LayerCache,
    ui: Ui,
) -> Result<Resolved, CommandError> {
    resolve(loaded, cache, ui).await.map_err(findings_error)
}

fn findings_error(findings: Vec<Diagnostic>) -> CommandError {
    CommandError::findings(Diagnostics::new(findings))
}

/// Returns o3r-deploy's directory in the user's cache. Without a home directory, returns a private
/// one among temporary files, which [`own_cache`] protects.
pub(super) fn cache() -> Utf8PathBuf {
    cache_below_home().unwrap_or_else(|| {
        let base = temporary().to_string_lossy().into_owned();
        let user = rustix::process::geteuid().as_raw();
        Utf8PathBuf::from(base).join(format!("o3r-deploy-{user}"))
    })
}

fn cache_below_home() -> Option<Utf8PathBuf> {
    let chosen = variable("XDG_CACHE_HOME");
    // The XDG specification says to ignore a path that is not absolute.
    let chosen = chosen.filter(|path| path.starts_with('/'));
    let chosen = chosen.map(Utf8PathBuf::from);
    let base = chosen.or_else(|| Some(crate::user::home()?.join(".cache")));
    base.map(|base| base.join("o3r-deploy"))
}

/// Makes sure that a cache among everybody's temporary files is a directory of this user's that
/// nobody else can enter.
///
/// # Errors
/// It belongs to another user, is a link, or is open to others: what it contains would be sent to a
/// VPU.
pub(super) fn own_cache() -> Result<(), CommandError> {
    if cache_below_home().is_some() {
        return Ok(());
    }
    own_directory(&cache()).map_err(|reason| no_cache(&cache(), &reason))
}

fn no_cache(path: &Utf8Path, reason: &str) -> CommandError {
    CommandError::message(
        ErrorCode::NoCache,
        format!("there is no home directory, and {path} cannot be used as the cache: {reason}"),
        Some("set HOME or XDG_CACHE_HOME, or remove that directory".into()),
    )
}

fn own_directory(path: &Utf8Path) -> Result<(), String> {
    let created = std::fs::DirBuilder::new().mode(0o700).create(path);
    match created {
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
        other => return other.map_err(|error| error.to_string()),
    }
    let found = fs_err::symlink_metadata(path).map_err(|error| error.to_string())?;
    if !found.is_dir() {
        Err("it is not a directory".to_owned())
    } else if found.uid() != rustix::process::geteuid().as_raw() {
        Err(format!("it belongs to user {}", found.uid()))
    } else if found.mode() & 0o077 != 0 {
        Err(format!(
            "other users can enter it (mode {:04o})",
            found.mode() & 0o7777
        ))
    } else {
        Ok(())
    }
}

/// Shows the progress of preparing a plan's images.
pub(super) fn progress(ui: Ui) -> impl Fn(&str, WorkProgress) + Send + Sync + 'static {
    let preparing = ui.preparing();
    move |image, progress| preparing.image(image, progress)
}

/// A connected VPU.
pub(super) struct Connection {
    pub(super) host: SshHost,
    options: SshOptions,
    /// The address that the connection was made to.
    pub(super) address: String,
    /// The manifest's table that describes it.
    table: Table,
}

impl Connection {
    /// Connects to the VPU that the command line, the manifest and the environment select.
    pub(super) async fn open(
        global: &Global,
        loaded: Option<&Loaded>,
        ui: Ui,
    ) -> Result<Self, CommandError> {
        let options = target::ssh_options(global, loaded)?;
        target::say_guessed(global, loaded, ui)?;
        let table = Table::of(loaded);
        let host = SshHost::connect(&options).await;
        let host = host.map_err(|error| {
            let owner = error.presented().zip(loaded);
            let owner = owner.and_then(|(key, loaded)| target::owner_of_key(loaded, &key.key));
            match owner {
                Some(owner) => CommandError::other_vpu_answers(&error, &table, &owner),
                None => CommandError::unreachable(&error, &table),
            }
        })?;
        Ok(Self {
            host,
            address: options.host.clone(),
            options,
            table,
        })
    }
}

/// A connected VPU with its desired state.
pub(super) struct Session {
    pub(super) vpu: Vpu<SshHost>,
    options: SshOptions,
    table: Table,
    ui: Ui,
    /// The files of a kept release, which go with it.
    _files: Option<tempfile::TempDir>,
}

impl Session {
    /// Connects, and reads a release that the VPU keeps instead of a manifest.
    pub(super) async fn open_kept(
        global: &Global,
        which: Which<'_>,
        permits: Permits,
        cache: &LayerCache,
        ui: Ui,
    ) -> Result<Self, CommandError> {
        let (connection, loaded) = kept::connect(global, ui).await?;
        let kept = kept::fetch(&connection, loaded.as_ref(), which, ui).await?;
        let (mut resolved, files) = kept.into_parts();
        resolved.desired.permits = permits;
        if let Some(loaded) = &loaded {
            resolved.desired.guards = resolve::guards(&loaded.manifest.vpu);
            resolved.desired.orphans = loaded.manifest.release.orphans;
        }
        let sizes = Sizes::Exact;
        let session = Self::on(connection, Arc::new(resolved), cache, sizes, ui);
        Ok(Self {
            _files: Some(files),
            ..session
        })
    }

    pub(super) fn on(
        connection: Connection,
        resolved: Arc<Resolved>,
        cache: &LayerCache,
        sizes: Sizes,
        ui: Ui,
    ) -> Self {
        let Connection {
            host,
            options,
            address,
            table,
        } = connection;
        let note: Note = Arc::new(move |what| ui.note(what));
        Self {
            vpu: Vpu::new(host, address, resolved, cache, sizes, note),
            options,
            table,
            ui,
            _files: None,
        }
    }

    /// Loads the manifest, refuses unsupported features, and connects while local files are read.
    pub(super) async fn open(
        global: &Global,
        permits: Permits,
        cache: &LayerCache,
        sizes: Sizes,
        ui: Ui,
    ) -> Result<Self, CommandError> {
        let loaded = supported(global, ui)?;
        let connect = Connection::open(global, Some(&loaded), ui);
        let (resolved, connection) = tokio::join!(resolved(&loaded, cache, ui), connect);
        let mut resolved = resolved?;
        resolved.desired.permits = permits;
        let resolved = Arc::new(resolved);
        Ok(Self::on(connection?, resolved, cache, sizes, ui))
    }

    /// Creates the error for a VPU that cannot be reached, with its help.
    pub(super) fn unreachable(&self, error: &HostError) -> CommandError {
        CommandError::unreachable(error, &self.table)
    }

    /// Replaces a connection that was lost.
    pub(super) async fn reconnect(&mut self) -> Result<(), HostError> {
        self.vpu.reconnected(SshHost::connect(&self.options).await?);
        Ok(())
    }

    /// Returns the user that the manifest names.
    pub(super) fn user(&self) -> Option<&str> {
        self.options.user.as_deref()
    }

    /// Returns what distinguishes the VPU from another one.
    pub(super) async fn identity(&self) -> Result<Identity, HostError> {
        Identity::of(self.vpu.host()).await
    }

    /// Returns the serial number; empty if the device does not report it.
    pub(super) async fn serial(&self) -> String {
        let query = self.vpu.desired().query();
        let (device, _) = device::observe(self.vpu.host(), &query).await;
        let device = device.known().cloned().unwrap_or_default();
        device.serial
    }

    /// Observes the VPU and, if there is much to send, measures the link and the VPU.
    pub(super) async fn observe(&self) -> Result<Observed, CommandError> {
        Ok(self.vpu.observe().await?)
    }

    /// Prepares what would be sent, and returns the plan for an observation.
    pub(super) async fn plan(&self, observed: &Observed) -> Result<Planned, CommandError> {
        Ok(self.vpu.plan_for(observed, progress(self.ui)).await?)
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;
    use crate::{deployment, image::ImageError, prepare::PrepareError};

    #[test]
    fn what_cannot_be_prepared_has_its_own_codes() {
        let full = std::io::ErrorKind::StorageFull;
        let error = CommandError::from(deployment::Error::Prepare(PrepareError {
            name: "app:1".into(),
            source: Box::new(ImageError::Scratch {
                dir: "/tmp".into(),
                source: full.into(),
            }),
        }));
        assert_eq!(error.code(), Some(ErrorCode::NotPrepared));
        let error = no_cache(Utf8Path::new("/tmp/x"), "it has mode 0770");
        assert_eq!(error.code(), Some(ErrorCode::NoCache));
    }

    #[test]
    fn a_cache_among_temporary_files_is_private_or_not_used() {
        let directory = tempfile::tempdir().unwrap();
        let base = Utf8Path::from_path(directory.path()).unwrap();
        let ours = base.join("ours");
        for _ in ["created", "found"] {
            own_directory(&ours).unwrap();
            assert_eq!(ours.metadata().unwrap().mode() & 0o777, 0o700);
        }
        let link = base.join("link");
        std::os::unix::fs::symlink(&ours, &link).unwrap();
        assert!(
            own_directory(&link)
                .unwrap_err()
                .contains("not a directory")
        );
        std::fs::set_permissions(&ours, std::fs::Permissions::from_mode(0o770)).unwrap();
        assert!(own_directory(&ours).unwrap_err().contains("mode 0770"));
        if rustix::process::geteuid().is_root() {
            std::os::unix::fs::chown(&ours, Some(12345), None).unwrap();
            assert!(own_directory(&ours).unwrap_err().contains("user 12345"));
        }
    }
}
