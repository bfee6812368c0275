//! Takes the way that plan and apply share: manifest, local files, connection, observation.

use std::{
    collections::{BTreeMap, btree_map::Entry},
    os::unix::fs::{DirBuilderExt as _, MetadataExt as _},
    sync::Arc,
    time::Duration,
};

use camino::{Utf8Path, Utf8PathBuf};
use tokio::sync::{Mutex, OnceCell};

use super::{CommandError, ErrorCode, patience, target};
use crate::surroundings::{temporary, variable};
use crate::{
    blocks::BlockSums,
    cli::Global,
    cost::file::worth_asking,
    desired::Desired,
    device,
    host::{HostError, SshHost, SshOptions},
    image::{ImageIndex, LayerCache, ScratchDir},
    manifest::{
        self, Diagnostic, Diagnostics, LoadError, Loaded, Options, unsupported::unsupported,
    },
    observe::{self, Identity, Observed, Remembered},
    plan::{self, Plan},
    prepare::{self, Outdated, Payloads, Preparation, PrepareError, Sizes},
    resolve::{self, Resolved},
    speeds::{self, Speeds},
    ui::Ui,
};

/// After how long it is said that docker-compose is waited for; an ordinary answer takes a second or two.
const SLOW_COMPOSE: Duration = Duration::from_secs(10);

/// What the command line says beside the manifest.
pub(super) fn options(global: &Global) -> Options {
    Options {
        release_version: global.release_version.clone(),
        vpu: global.vpu.clone(),
        words_only: false,
    }
}

/// Reads the manifest, checks all that can be checked offline but the contents of images, and
/// refuses what is not supported yet.
pub(super) fn supported(global: &Global, ui: Ui) -> Result<Loaded, CommandError> {
    let loaded = manifest::load_with(&global.file, &options(global)).map_err(load_error)?;
    for warning in &loaded.warnings {
        ui.warn(warning);
    }
    let refused = unsupported(&loaded);
    if refused.is_empty() {
        Ok(loaded)
    } else {
        Err(findings_error(refused))
    }
}

pub(super) fn load_error(error: LoadError) -> CommandError {
    match error {
        LoadError::Invalid(findings) => CommandError::findings(findings),
        error @ (LoadError::Read { .. } | LoadError::UnknownVpu(_)) => {
            let help = error.help();
            let (code, message) = match &error {
                LoadError::UnknownVpu(unknown) => (ErrorCode::UnknownVpu, unknown.to_string()),
                _ => (ErrorCode::UnreadableFile, super::error::chain(&error)),
            };
            CommandError::message(code, message, help)
        }
    }
}

/// Reads everything that the manifest points to, on a thread that may block.
pub(super) async fn resolve(loaded: &Loaded) -> Result<Resolved, Vec<Diagnostic>> {
    let loaded = loaded.clone();
    let index = ImageIndex::new(cache());
    let resolved =
        tokio::task::spawn_blocking(move || resolve::resolve(&loaded, &scratch(), &index));
    match resolved.await {
        Ok(resolved) => resolved,
        Err(panic) => std::panic::resume_unwind(panic.into_panic()),
    }
}

/// The same, or the error that ends a command.
pub(super) async fn resolved(loaded: &Loaded) -> Result<Resolved, CommandError> {
    resolve(loaded).await.map_err(findings_error)
}

fn findings_error(findings: Vec<Diagnostic>) -> CommandError {
    CommandError::findings(Diagnostics::new(findings))
}

/// Our directory in the user's cache. Without a home directory, one for temporary files that is ours alone:
/// [`own_cache`] sees to that.
fn cache() -> Utf8PathBuf {
    cache_below_home().unwrap_or_else(|| {
        let base = temporary().to_string_lossy().into_owned();
        let user = rustix::process::geteuid().as_raw();
        Utf8PathBuf::from(base).join(format!("o3r-deploy-{user}"))
    })
}

fn cache_below_home() -> Option<Utf8PathBuf> {
    let chosen = variable("XDG_CACHE_HOME");
    // The specification wants another than an absolute one ignored.
    let chosen = chosen.filter(|path| path.starts_with('/'));
    let chosen = chosen.map(Utf8PathBuf::from);
    let base = chosen.or_else(|| Some(crate::user::home()?.join(".cache")));
    base.map(|base| base.join("o3r-deploy"))
}

/// Makes sure that a cache among everybody's temporary files is a directory of ours that nobody else can enter.
///
/// # Errors
/// It is somebody else's, a link, or open to others: what is in it would be sent to a VPU.
pub(super) fn own_cache() -> Result<(), CommandError> {
    if cache_below_home().is_some() {
        return Ok(());
    }
    own_directory(&cache()).map_err(|reason| no_cache(&cache(), &reason))
}

fn no_cache(path: &Utf8Path, reason: &str) -> CommandError {
    CommandError::message(
        ErrorCode::NoCache,
        format!("there is no home directory, and {path} cannot be the cache: {reason}"),
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
            "others can enter it (mode {:04o})",
            found.mode() & 0o7777
        ))
    } else {
        Ok(())
    }
}

/// Asks docker-compose on the VPU what it makes of the projects, where it was not asked about just them before.
pub(super) async fn resolve_projects(
    host: &SshHost,
    desired: &Desired,
    observed: &mut Observed,
    ui: Ui,
) -> Result<(), HostError> {
    let questions = desired.questions(&observed.facts);
    let remembered = Remembered::new(cache());
    let resolve = observe::resolve_all(host, &questions, &remembered);
    let waiting = async {
        tokio::time::sleep(SLOW_COMPOSE).await;
        ui.note("waiting for docker-compose on the VPU, which reads the compose projects");
        std::future::pending::<()>().await;
    };
    tokio::select! {
        resolved = resolve => observed.facts.resolved = resolved?,
        () = waiting => {}
    }
    Ok(())
}

/// Where images are unpacked that cannot be read in place.
pub(super) fn scratch() -> ScratchDir {
    ScratchDir::new(cache().join("scratch"))
}

/// A plan, and what it sends.
pub(super) struct Planned {
    pub(super) plan: Plan,
    pub(super) payloads: Payloads,
}

/// How this user's commands make things ready.
pub(super) fn preparation(sizes: Sizes) -> Arc<Preparation> {
    Arc::new(Preparation::new(LayerCache::new(cache()), sizes))
}

/// The plan for what was observed; first makes ready what would be sent.
pub(super) async fn plan(
    resolved: &Arc<Resolved>,
    observed: &Observed,
    address: &str,
    preparation: &Arc<Preparation>,
    ui: Ui,
) -> Result<Planned, CommandError> {
    let preparing = ui.preparing();
    let (wanted, seen) = (Arc::clone(resolved), observed.clone());
    let preparation = Arc::clone(preparation);
    let prepared = tokio::task::spawn_blocking(move || {
        let progress = |image: &str, progress| preparing.image(image, progress);
        preparation.prepare(&wanted.desired, &wanted.images, &seen, &progress)
    });
    let prepared = match prepared.await {
        Ok(prepared) => prepared.map_err(|error| not_prepared(&error))?,
        Err(panic) => std::panic::resume_unwind(panic.into_panic()),
    };
    let plan = plan::plan(&resolved.desired, observed, &prepared.offers, address);
    let broken = plan::lint::lint(&plan);
    if broken.is_empty() {
        return Ok(Planned {
            plan,
            payloads: prepared.payloads,
        });
    }
    Err(CommandError::message(
        ErrorCode::UnsoundPlan,
        format!(
            "internal error: the plan is not sound; nothing was done: {}",
            broken.join("; ")
        ),
        Some(
            "report it, with the file that this writes: o3r-deploy observe -o observed.json".into(),
        ),
    ))
}

fn not_prepared(error: &PrepareError) -> CommandError {
    let help = error.source.help();
    CommandError::message(ErrorCode::NotPrepared, super::error::chain(error), help)
}

/// A connected VPU.
pub(super) struct Connection {
    pub(super) host: SshHost,
    options: SshOptions,
    /// As connected to.
    pub(super) address: String,
    /// The table of the manifest that describes it.
    table: String,
}

impl Connection {
    /// Connects to the VPU that command line, manifest and environment mean.
    pub(super) async fn open(
        global: &Global,
        loaded: Option<&Loaded>,
    ) -> Result<Self, CommandError> {
        let options = target::ssh_options(global, loaded)?;
        let table = target::table(loaded);
        let host = SshHost::connect(&options).await;
        let host = host.map_err(|error| CommandError::unreachable(&error, &table))?;
        Ok(Self {
            host,
            address: options.host.clone(),
            options,
            table,
        })
    }
}

/// A connected VPU and what is wanted of it.
pub(super) struct Session {
    resolved: Arc<Resolved>,
    preparation: Arc<Preparation>,
    pub(super) host: SshHost,
    options: SshOptions,
    address: String,
    table: String,
    /// How fast all is, once it was asked for; a saved plan keeps to what it was made with.
    speeds: OnceCell<Speeds>,
    /// What large files are made of, by path and size; none where the VPU could not tell. A file that changes
    /// meanwhile is built wrongly there, which it sees, and sent whole.
    blocks: Mutex<BTreeMap<(String, u64), Option<BlockSums>>>,
    ui: Ui,
}

impl Session {
    /// Loads, refuses what is not supported yet, and connects while local files are read.
    pub(super) async fn open(global: &Global, sizes: Sizes, ui: Ui) -> Result<Self, CommandError> {
        let loaded = supported(global, ui)?;
        let connect = Connection::open(global, Some(&loaded));
        let (resolved, connection) = tokio::join!(resolved(&loaded), connect);
        let resolved = Arc::new(resolved?);
        let Connection {
            host,
            options,
            address,
            table,
        } = connection?;
        Ok(Self {
            resolved,
            preparation: preparation(sizes),
            host,
            options,
            address,
            table,
            speeds: OnceCell::new(),
            blocks: Mutex::default(),
            ui,
        })
    }

    /// What is wanted of the VPU.
    pub(super) fn desired(&self) -> &Desired {
        &self.resolved.desired
    }

    /// That the box cannot be reached, and what to do about it.
    pub(super) fn unreachable(&self, error: &HostError) -> CommandError {
        CommandError::unreachable(error, &self.table)
    }

    /// The VPU's address.
    pub(super) fn address(&self) -> &str {
        &self.address
    }

    /// Connects again in place of a connection that broke.
    pub(super) async fn reconnect(&mut self) -> Result<(), HostError> {
        self.host = SshHost::connect(&self.options).await?;
        Ok(())
    }

    /// What tells the box from another one.
    pub(super) async fn identity(&self) -> Result<Identity, HostError> {
        Identity::of(&self.host).await
    }

    /// Its serial number; empty where the device does not say.
    pub(super) async fn serial(&self) -> String {
        let (device, _) = device::observe(&self.host, &self.desired().query()).await;
        let device = device.known().cloned().unwrap_or_default();
        device.serial
    }

    /// Takes the speeds from a plan in place of measuring them, so that it chooses as that plan did.
    pub(super) fn as_in(&self, plan: &Plan) {
        // Only a speed that was asked for before could be in the way.
        let _ = self.speeds.set(plan.speeds);
    }

    /// Asks the VPU what is there and, where there is much to send, how fast that will be.
    pub(super) async fn observe(&self) -> Result<Observed, CommandError> {
        let mut observed = patience::observe(&self.host, &self.desired().query(), self.ui).await?;
        observe::identify(&mut observed.facts, self.desired().config_digests());
        resolve_projects(&self.host, self.desired(), &mut observed, self.ui).await?;
        let outdated = prepare::outdated(self.desired(), &observed.facts);
        let files: u64 = outdated.iter().map(|file| file.bytes).sum();
        let Resolved { desired, images } = &*self.resolved;
        let images = self
            .preparation
            .bytes_to_send(desired, images, &observed.facts);
        let to_send = images.saturating_add(files);
        if to_send >= speeds::WORTH_MEASURING {
            let measure = || speeds::measure(&self.host, to_send);
            let measured = self.speeds.get_or_try_init(measure);
            observed.readings.speeds = *measured.await?;
        }
        if observed.readings.sha256_tool {
            for file in outdated {
                self.look_into(&file, &mut observed).await?;
            }
        }
        Ok(observed)
    }

    /// Asks what a large file is made of, where that may save more time than it takes; once, for it takes some.
    async fn look_into(
        &self,
        file: &Outdated,
        observed: &mut Observed,
    ) -> Result<(), CommandError> {
        let speeds = observed.readings.speeds;
        if speeds.link.is_none() || !worth_asking(speeds, file.size, file.bytes) {
            return Ok(());
        }
        let mut known = self.blocks.lock().await;
        let sums = match known.entry((file.path.clone(), file.size)) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(unknown) => {
                let path = &file.path;
                self.ui
                    .note(&format!("looking which parts of {path} changed"));
                unknown.insert(observe::blocks(&self.host, path, file.size).await?)
            }
        };
        if let Some(sums) = sums {
            let blocks = &mut observed.readings.blocks;
            blocks.insert(file.path.clone(), sums.clone());
        }
        Ok(())
    }

    /// The plan for what was observed; first makes ready what would be sent.
    pub(super) async fn plan(&self, observed: &Observed) -> Result<Planned, CommandError> {
        let (resolved, address) = (&self.resolved, &self.address);
        plan(resolved, observed, address, &self.preparation, self.ui).await
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;
    use crate::image::ImageError;

    #[test]
    fn what_cannot_be_made_ready_has_codes_of_its_own() {
        let full = std::io::ErrorKind::StorageFull;
        let error = not_prepared(&PrepareError {
            name: "app:1".into(),
            source: Box::new(ImageError::Scratch {
                dir: "/tmp".into(),
                source: full.into(),
            }),
        });
        assert_eq!(error.code(), Some(ErrorCode::NotPrepared));
        let error = no_cache(Utf8Path::new("/tmp/x"), "it has mode 0770");
        assert_eq!(error.code(), Some(ErrorCode::NoCache));
    }

    #[test]
    fn a_cache_among_temporary_files_is_ours_alone_or_not_used() {
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
