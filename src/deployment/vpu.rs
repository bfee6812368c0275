//! A connected VPU with its desired state: observes, plans and applies.

use std::{
    collections::{BTreeMap, BTreeSet, btree_map::Entry},
    sync::{Arc, Mutex as StdMutex, PoisonError, atomic::Ordering},
    time::SystemTime,
};

use serde_json::json;
use tokio::sync::{Mutex, OnceCell, watch};

use super::{
    AllVerified, Compared, Error, Noted, doubt_unusable, forget_unusable, look, restored, verify,
};
use crate::{
    apply::{self, Interrupts, Locked, Log, Observer, Outcome, Report, Silent},
    blocks::BlockSums,
    cost::file::worth_asking,
    desired::Desired,
    host::Host,
    image::{LayerCache, WorkProgress},
    observe::{self, Observed, Remembered},
    plan::{self, Plan},
    prepare::{self, Outdated, Payloads, Preparation, Sizes, unprepared},
    remote::Claim,
    resolve::Resolved,
    speeds::{self, Speeds},
    status::{self, Status},
};

/// A plan, and what it sends.
pub struct Planned {
    /// The plan.
    pub plan: Plan,
    /// The bytes of its payloads.
    pub payloads: Payloads,
}

/// Called with what is waited for on the VPU, in words.
pub(crate) type Note = Arc<dyn Fn(&str) + Send + Sync>;

/// A connected VPU with its desired state.
pub struct Vpu<H> {
    host: H,
    address: String,
    resolved: Arc<Resolved>,
    preparation: Arc<Preparation>,
    remembered: Remembered,
    /// The measured speeds; a saved plan uses those that it was made with.
    speeds: OnceCell<Speeds>,
    /// What large files are made of, by path and size; none where the VPU could not tell. A file that changes
    /// meanwhile is built wrongly there, which it sees, and sent whole.
    blocks: Mutex<BTreeMap<(String, u64), Option<BlockSums>>>,
    /// What the comparison of images with their sources found; not asked again until something was applied.
    verified: Mutex<Option<AllVerified>>,
    note: Note,
}

/// How to apply.
#[non_exhaustive]
pub struct ApplyOptions {
    /// Who applies, for the record and the lock on the VPU: `you@pc`.
    pub by: String,
    /// Whether a failure after something that runs was touched brings the last recorded release back.
    pub rollback: bool,
    /// The log of all commands and their output; [`Log::none`] writes nothing. Shared, so that its path is available later.
    pub log: Arc<Log>,
    /// Is told what happens.
    pub observer: Arc<dyn Observer>,
    /// Stops the apply, with a rollback if something that runs was touched: 1 after the running step, 2 at once.
    /// Dropping the future of [`Vpu::apply`] instead leaves the VPU between two releases; the next apply resumes.
    pub interrupts: Option<Interrupts>,
}

impl ApplyOptions {
    /// With rollback, without a log, and telling nobody.
    pub fn new(by: impl Into<String>) -> Self {
        Self {
            by: by.into(),
            rollback: true,
            log: Arc::new(Log::none()),
            observer: Arc::new(Silent),
            interrupts: None,
        }
    }
}

impl<H: Host> Vpu<H> {
    pub(crate) fn new(
        host: H,
        address: impl Into<String>,
        resolved: Arc<Resolved>,
        cache: &LayerCache,
        sizes: Sizes,
        note: Note,
    ) -> Self {
        Self {
            host,
            address: address.into(),
            resolved,
            preparation: Arc::new(Preparation::new(cache.clone(), sizes)),
            remembered: Remembered::new(cache.dir()),
            speeds: OnceCell::new(),
            blocks: Mutex::default(),
            verified: Mutex::default(),
            note,
        }
    }

    /// Gives what is waited for on the VPU to `note`, one line at a time: docker that does not answer, a dead apply whose
    /// commands are still at work.
    #[must_use]
    pub fn noting(mut self, note: impl Fn(&str) + Send + Sync + 'static) -> Self {
        self.note = Arc::new(note);
        self
    }

    /// The host, for commands of one's own.
    pub fn host(&self) -> &H {
        &self.host
    }

    /// Takes a new connection in place of one that broke.
    pub(crate) fn reconnected(&mut self, host: H) {
        self.host = host;
    }

    /// The VPU's address, for people.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// The desired state.
    pub(crate) fn desired(&self) -> &Desired {
        &self.resolved.desired
    }

    /// Compares the files of images on the VPU's disk with their sources, and plans the repair of damaged ones.
    pub(crate) fn verify(&self) {
        self.preparation.verifies.store(true, Ordering::Relaxed);
    }

    /// Uses the speeds of a plan instead of measuring them, and verifies images if it repairs one, so that it decides as
    /// that plan did.
    pub(crate) fn as_in(&self, plan: &Plan) {
        if plan.verifies_images() {
            self.verify();
        }
        // Only a speed that was asked for before could be there already.
        let _ = self.speeds.set(plan.speeds);
    }

    /// The steps that make the VPU match the manifest; none if it does. Read-only.
    ///
    /// # Errors
    /// The VPU cannot be reached or inspected, or an image cannot be prepared.
    pub async fn plan(&self) -> Result<Planned, Error> {
        self.plan_for(&self.observe().await?, |_, _| {}).await
    }

    /// What is deployed and runs, and what differs from the manifest. Read-only; prepares no image.
    ///
    /// # Errors
    /// The VPU cannot be reached or inspected.
    pub async fn status(&self) -> Result<Status, Error> {
        let observed = self.look().await?;
        let Resolved { desired, images } = &*self.resolved;
        let offers = unprepared(desired, images).offers;
        let plan = plan::plan(desired, &observed, &offers, &self.address);
        let mut status = status::status(&self.address, &observed, Ok(&plan));
        status.failed = observe::history(&self.host).await?.failed();
        Ok(status)
    }

    /// Executes a plan, if it is still what would be planned, and looks whether nothing is left to do. Takes the VPU's
    /// lock, and waits for nobody who has it.
    ///
    /// A step that fails is no error here: [`Report::outcome`] says so, and what was restored.
    ///
    /// # Errors
    /// Something is blocked, another apply has the lock, the VPU cannot be reached or is not what was planned for any more:
    /// then nothing was done. Or all was done, and a second plan is not empty or could not be made
    /// ([`Error::NotConverged`], [`Error::NotVerified`]).
    pub async fn apply(&self, planned: &Planned, options: ApplyOptions) -> Result<Report, Error> {
        if !planned.plan.blocked.is_empty() {
            return Err(Error::Blocked(planned.plan.blocked.clone()));
        }
        let _only = Applying::start(&self.address)?;
        let who = holder(&options.by, &self.desired().manifest.path);
        let lock = apply::lock(&self.host, &who, Claim::Try, &|what| (self.note)(what)).await?;
        let now = self.plan().await?;
        if !now.plan.does_the_same(&planned.plan) {
            return Err(Error::Stale);
        }
        let execution = apply::Options {
            rollback: options.rollback,
            lock: Some(&lock),
            who: &who,
            confirm_within: None,
        };
        let (_never, silence) = watch::channel(0);
        let interrupts = options.interrupts.unwrap_or(silence);
        let noted = Noted::begin(&self.host, self.desired(), &now.plan, &who).await;
        let report = apply::execute(
            &self.host,
            &now.plan,
            &now.payloads,
            execution,
            &options.log,
            options.observer,
            interrupts,
        )
        .await;
        noted.end(&self.host, &report).await;
        self.applied().await;
        if matches!(report.outcome, Outcome::Done) {
            let planned = self.plan().await;
            let remaining = planned.map_err(|error| Error::NotVerified(Box::new(error)))?;
            let remaining = remaining.plan;
            if !remaining.is_empty() {
                return Err(Error::NotConverged(Box::new(remaining)));
            }
        }
        Ok(report)
    }

    /// Compares the VPU with the last recorded release, after a rollback to it.
    pub(crate) async fn compare_with_recorded(&self) -> Compared {
        let release = self.desired().release.name.as_str();
        restored::compare(&self.host, &self.address, release, &self.remembered).await
    }

    /// Plans again, after a rollback of this plan, and compares what the switch changes.
    pub(crate) async fn compare_with_plan(&self, before: &Plan) -> Compared {
        let again = async {
            let observed = self.observe().await?;
            self.plan_for(&observed, |_, _| ()).await
        };
        match again.await {
            Ok(again) => restored::compare_plans(before, &again.plan),
            Err(error) => Compared::Not(error.to_string()),
        }
    }

    /// Observes the VPU, and has its docker-compose read the projects.
    async fn look(&self) -> Result<Observed, Error> {
        let look = look::look(&self.host, self.desired(), &self.remembered, &*self.note);
        // On the heap: it holds several conversations with the VPU at once.
        let mut observed = Box::pin(look).await?;
        doubt_unusable(self.desired(), &mut observed.facts);
        if observed.facts.system.load_interrupted {
            (self.note)("images on the VPU are in doubt after a power cut");
            self.verify();
        }
        if self.preparation.verifies.load(Ordering::Relaxed) {
            let mut known = self.verified.lock().await;
            if known.is_none() {
                let cache = &self.preparation.layers;
                let (facts, note) = (&observed.facts, &*self.note);
                let compare = verify(&self.host, &self.resolved, facts, cache, note);
                *known = Some(Box::pin(compare).await?);
            }
            observed.facts.verified = known.clone().unwrap_or_default();
            forget_unusable(self.desired(), &mut observed.facts);
        }
        Ok(observed)
    }

    /// Forgets what was found before something was applied.
    pub(crate) async fn applied(&self) {
        *self.verified.lock().await = None;
    }

    /// Observes the VPU and, if there is much to send, measures the link and the VPU.
    pub(crate) async fn observe(&self) -> Result<Observed, Error> {
        let mut observed = self.look().await?;
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

    /// Asks for the block sums of a large file if that may save more time than it takes; once per file.
    async fn look_into(&self, file: &Outdated, observed: &mut Observed) -> Result<(), Error> {
        let speeds = observed.readings.speeds;
        if speeds.link.is_none() || !worth_asking(speeds, file.size, file.bytes) {
            return Ok(());
        }
        let mut known = self.blocks.lock().await;
        let sums = match known.entry((file.path.clone(), file.size)) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(unknown) => {
                let path = &file.path;
                (self.note)(&format!("computing block checksums of {path} on the VPU"));
                unknown.insert(observe::blocks(&self.host, path, file.size).await?)
            }
        };
        if let Some(sums) = sums {
            let blocks = &mut observed.readings.blocks;
            blocks.insert(file.path.clone(), sums.clone());
        }
        Ok(())
    }

    /// The plan for what was observed; first makes ready what would be sent, and tells how far each image is.
    pub(crate) async fn plan_for(
        &self,
        observed: &Observed,
        progress: impl Fn(&str, WorkProgress) + Send + Sync + 'static,
    ) -> Result<Planned, Error> {
        let preparation = Arc::clone(&self.preparation);
        let address = &self.address;
        plan_for(&self.resolved, preparation, observed, address, progress).await
    }
}

/// The addresses that this process applies to. The VPU's lock does not tell two applies of one process apart: it takes the
/// second for the first one after its link broke.
static APPLIES_TO: StdMutex<BTreeSet<String>> = StdMutex::new(BTreeSet::new());

/// The only apply of this process to an address, until it is dropped.
struct Applying(String);

impl Applying {
    fn start(address: &str) -> Result<Self, Error> {
        let mut addresses = APPLIES_TO.lock().unwrap_or_else(PoisonError::into_inner);
        if addresses.insert(address.to_owned()) {
            return Ok(Self(address.to_owned()));
        }
        let holder = String::new();
        Err(Error::Locked(Locked::Busy { holder }))
    }
}

impl Drop for Applying {
    fn drop(&mut self) {
        let mut addresses = APPLIES_TO.lock().unwrap_or_else(PoisonError::into_inner);
        addresses.remove(&self.0);
    }
}

/// The plan for what was observed, on the VPU or in a document.
pub(crate) async fn plan_for(
    resolved: &Arc<Resolved>,
    preparation: Arc<Preparation>,
    observed: &Observed,
    address: &str,
    progress: impl Fn(&str, WorkProgress) + Send + Sync + 'static,
) -> Result<Planned, Error> {
    let (wanted, seen) = (Arc::clone(resolved), observed.clone());
    let prepared = tokio::task::spawn_blocking(move || {
        preparation.prepare(&wanted.desired, &wanted.images, &seen, &progress)
    });
    let prepared = match prepared.await {
        Ok(prepared) => prepared?,
        Err(panic) => std::panic::resume_unwind(panic.into_panic()),
    };
    let plan = plan::plan(&resolved.desired, observed, &prepared.offers, address);
    let broken = plan::lint::lint(&plan);
    if !broken.is_empty() {
        return Err(Error::Unsound { broken });
    }
    Ok(Planned {
        plan,
        payloads: prepared.payloads,
    })
}

/// Who applies what and when, by this machine's clock (the VPU's is unreliable), as members of a JSON object.
pub(crate) fn holder(by: &str, manifest: &str) -> String {
    let at = humantime::format_rfc3339_seconds(SystemTime::now()).to_string();
    let pid = std::process::id();
    format!(
        "\"at\":{},\"by\":{},\"manifest\":{},\"pid\":{pid}",
        json!(at),
        json!(by),
        json!(manifest)
    )
}
