//! Takes the way that plan and apply share: manifest, local files, connection, observation.

use std::collections::{BTreeMap, btree_map::Entry};

use camino::Utf8PathBuf;
use tokio::sync::{Mutex, OnceCell};

use super::{CommandError, Exit, target};
use crate::{
    cli::Global,
    desired::{self, Desired, Division, Outdated, Sizes},
    host::{HostError, SshHost, SshOptions},
    image::{ImageIndex, LayerCache, ScratchDir},
    manifest::{
        self, Diagnostic, Diagnostics, LoadError, Loaded, Options, unsupported::unsupported,
    },
    observe::{self, Observed},
    patch::{self, BlockSums},
    plan::{self, Plan},
    speeds::{self, Speeds},
    ui::Ui,
};

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
            let message = match &error {
                LoadError::UnknownVpu(unknown) => unknown.to_string(),
                _ => super::error::chain(&error),
            };
            CommandError::message(Exit::Usage, message, help)
        }
    }
}

/// Reads everything that the manifest points to, on a thread that may block.
pub(super) async fn resolve(loaded: &Loaded) -> Result<Desired, Vec<Diagnostic>> {
    let loaded = loaded.clone();
    let index = ImageIndex::new(cache());
    let resolved =
        tokio::task::spawn_blocking(move || desired::resolve(&loaded, &scratch(), &index));
    match resolved.await {
        Ok(resolved) => resolved,
        Err(panic) => std::panic::resume_unwind(panic.into_panic()),
    }
}

/// The same, or the error that ends a command.
pub(super) async fn desired(loaded: &Loaded) -> Result<Desired, CommandError> {
    resolve(loaded).await.map_err(findings_error)
}

fn findings_error(findings: Vec<Diagnostic>) -> CommandError {
    CommandError::findings(Diagnostics::new(findings))
}

/// Our directory in the user's cache.
fn cache() -> Utf8PathBuf {
    let home = || std::env::var("HOME").map(|home| format!("{home}/.cache"));
    let cache = std::env::var("XDG_CACHE_HOME").or_else(|_| home());
    let base = cache.unwrap_or_else(|_| std::env::temp_dir().to_string_lossy().into_owned());
    Utf8PathBuf::from(base).join("o3r-deploy")
}

/// Where images are unpacked that cannot be read in place.
pub(super) fn scratch() -> ScratchDir {
    ScratchDir::new(cache().join("scratch"))
}

/// The plan for what was observed; first makes ready what would be sent.
pub(super) async fn plan(
    desired: &Desired,
    observed: &Observed,
    address: &str,
    sizes: Sizes,
    ui: Ui,
) -> Result<Plan, CommandError> {
    let mut desired = desired.clone();
    let seen = observed.clone();
    let preparing = ui.preparing();
    let prepared = tokio::task::spawn_blocking(move || {
        let progress = |image: &str, prepared| preparing.image(image, prepared);
        let cache = LayerCache::new(cache());
        let division = Division::default();
        desired::prepare(&mut desired, &seen, &cache, division, sizes, &progress).map(|()| desired)
    });
    let desired = match prepared.await {
        Ok(prepared) => prepared.map_err(|error| {
            let help = error.source.help();
            CommandError::message(Exit::Usage, super::error::chain(&error), help)
        })?,
        Err(panic) => std::panic::resume_unwind(panic.into_panic()),
    };
    let plan = plan::plan(&desired, observed, address);
    debug_assert_eq!(plan::lint::lint(&plan), Vec::<String>::new());
    Ok(plan)
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
    pub(super) desired: Desired,
    pub(super) host: SshHost,
    options: SshOptions,
    address: String,
    table: String,
    /// How fast all is, once it was asked for; a saved plan keeps to what it was made with.
    speeds: OnceCell<Speeds>,
    /// What large files are made of, by path and size; none where the VPU could not tell. A file that changes
    /// meanwhile is built wrongly there, which it sees, and sent whole.
    blocks: Mutex<BTreeMap<(String, u64), Option<BlockSums>>>,
    /// How well plans have to know what will be sent.
    sizes: Sizes,
    ui: Ui,
}

impl Session {
    /// Loads, refuses what is not supported yet, and connects while local files are read.
    pub(super) async fn open(global: &Global, sizes: Sizes, ui: Ui) -> Result<Self, CommandError> {
        let loaded = supported(global, ui)?;
        let connect = Connection::open(global, Some(&loaded));
        let (desired, connection) = tokio::join!(desired(&loaded), connect);
        let desired = desired?;
        let Connection {
            host,
            options,
            address,
            table,
        } = connection?;
        Ok(Self {
            desired,
            host,
            options,
            address,
            table,
            speeds: OnceCell::new(),
            blocks: Mutex::default(),
            sizes,
            ui,
        })
    }

    /// That the box cannot be reached, and what to do about it.
    pub(super) fn unreachable(&self, error: &HostError) -> CommandError {
        CommandError::unreachable(error, &self.table)
    }

    /// Connects again in place of a connection that broke.
    pub(super) async fn reconnect(&mut self) -> Result<(), HostError> {
        self.host = SshHost::connect(&self.options).await?;
        Ok(())
    }

    /// Takes the speeds from a plan in place of measuring them, so that it chooses as that plan did.
    pub(super) fn as_in(&self, plan: &Plan) {
        // Only a speed that was asked for before could be in the way.
        let _ = self.speeds.set(plan.speeds);
    }

    /// Asks the VPU what is there and, where there is much to send, how fast that will be.
    pub(super) async fn observe(&self) -> Result<Observed, CommandError> {
        // On the heap: it holds several conversations with the VPU at once.
        let mut observed = Box::pin(observe::observe(&self.host, &self.desired.query())).await?;
        observe::identify(&mut observed.facts, self.desired.config_digests());
        let outdated = desired::outdated(&self.desired, &observed.facts);
        let files: u64 = outdated.iter().map(|file| file.bytes).sum();
        let cache = LayerCache::new(cache());
        let images = desired::bytes_to_send(&self.desired, &observed.facts, &cache);
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
        if speeds.link.is_none() || !patch::cost::worth_asking(speeds, file.size, file.bytes) {
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
    pub(super) async fn plan(&self, observed: &Observed) -> Result<Plan, CommandError> {
        let (desired, address) = (&self.desired, &self.address);
        plan(desired, observed, address, self.sizes, self.ui).await
    }
}
