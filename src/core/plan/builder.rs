//! Collects the steps that the differs plan, and orders them at the end.

use std::collections::{BTreeMap, BTreeSet};

use camino::Utf8Path;

use crate::{
    desired::{Contents, Desired, is_secret},
    digest::Digest,
    facts::{self, Facts, Observed, Readings},
    offers::Offers,
    plan::{
        Action, Address, Blocked, Cause, Change, Command, NotRestorable, Note, NoteCode, Payload,
        PayloadSource, Phase, Plan, Restart, Step, Summary, Vpu, Watchdog, fingerprint,
        obstacle::{BlockCode, Obstacle},
        space::Staged,
    },
    remote,
    rendered::Content,
    shell::Argv,
};

/// The version of the plan document's format.
pub const FORMAT: u32 = 2;

/// What the differs read, and the plan that they add to.
pub(super) struct Builder<'a> {
    pub(super) desired: &'a Desired,
    pub(super) facts: &'a Facts,
    /// Measurements that change over time; used for notes and for blocks about space.
    pub(super) readings: &'a Readings,
    /// The payloads that could be sent.
    pub(super) offers: &'a Offers,
    steps: Vec<Step>,
    blocked: Vec<Blocked>,
    notes: Vec<Note>,
    not_restorable: Vec<NotRestorable>,
    pub(super) unmanaged: BTreeSet<Address>,
    /// What transfers write, by mount point.
    pub(super) staged: BTreeMap<String, Staged>,
    unchanged: usize,
}

/// A step without what the builder fills in.
pub(super) struct Draft {
    pub(super) address: Address,
    pub(super) action: Action,
    pub(super) phase: Phase,
    pub(super) cause: Cause,
    pub(super) further_causes: Vec<Cause>,
    pub(super) detail: Option<String>,
    pub(super) depends_on: Vec<Address>,
    pub(super) source: Option<String>,
    pub(super) changes: Vec<Change>,
    pub(super) restarts: Vec<Restart>,
    pub(super) actions: Vec<Command>,
    pub(super) undo: Vec<Command>,
    pub(super) rollback_always: bool,
}

impl Draft {
    pub(super) fn new(address: Address, action: Action, phase: Phase, cause: Cause) -> Self {
        Self {
            address,
            action,
            phase,
            cause,
            further_causes: vec![],
            detail: None,
            depends_on: vec![],
            source: None,
            changes: vec![],
            restarts: vec![],
            actions: vec![],
            undo: vec![],
            rollback_always: false,
        }
    }

    pub(super) fn source(mut self, source: Option<&String>) -> Self {
        self.source = source.cloned();
        self
    }

    pub(super) fn detail(mut self, detail: String) -> Self {
        self.detail = Some(detail);
        self
    }

    pub(super) fn after(mut self, addresses: impl IntoIterator<Item = Address>) -> Self {
        self.depends_on.extend(addresses);
        self
    }

    pub(super) fn run(mut self, commands: impl IntoIterator<Item = Command>) -> Self {
        self.actions.extend(commands);
        self
    }

    pub(super) fn undo(mut self, commands: impl IntoIterator<Item = Command>) -> Self {
        self.undo.extend(commands);
        self
    }

    pub(super) fn rollback_always(mut self, rollback_always: bool) -> Self {
        self.rollback_always = rollback_always;
        self
    }
}

impl<'a> Builder<'a> {
    pub(super) fn new(desired: &'a Desired, observed: &'a Observed, offers: &'a Offers) -> Self {
        Self {
            desired,
            facts: &observed.facts,
            readings: &observed.readings,
            offers,
            steps: vec![],
            blocked: vec![],
            notes: vec![],
            not_restorable: vec![],
            unmanaged: BTreeSet::new(),
            staged: BTreeMap::new(),
            unchanged: 0,
        }
    }

    /// Returns the last recorded release of this name; `None` if there is none.
    pub(super) fn recorded(&self) -> Option<&'a facts::Release> {
        let records = self.facts.records.known()?;
        records.releases.get(self.desired.release.name.as_str())
    }

    /// Returns what a failed apply rolls back to: the last recorded release. Without a record, it
    /// has nothing: what is on the VPU then belongs to nobody, and is restored as found.
    pub(super) fn previous(&self) -> &'a facts::Release {
        static NOTHING: facts::Release = facts::Release::nothing();
        self.recorded().unwrap_or(&NOTHING)
    }

    /// Returns what a failed apply rolls a project back to: what the last recorded release has of it, or the release that it
    /// is taken over from.
    pub(super) fn previous_of(&self, project: &str) -> Option<&'a facts::Made> {
        let own = self.previous().made.get(project);
        own.or_else(|| {
            let owner = facts::owner(self.facts, &self.readings.applied, project)?;
            let releases = &self.facts.records.known()?.releases;
            releases.get(owner)?.made.get(project)
        })
    }

    /// Returns the anonymous volumes that containers of the previous release had; `None` if a
    /// version that did not record them applied it.
    pub(super) fn previous_anonymous_volumes(&self) -> Option<&'a Vec<facts::AnonymousVolume>> {
        let records = self.facts.records.known()?;
        records
            .anonymous_volumes
            .get(self.desired.release.name.as_str())
    }

    /// Returns the value that the previous release recorded for an input of any of its projects.
    pub(super) fn previous_input(&self, input: &facts::Input) -> Option<&'a str> {
        let mut made = self.previous().made.values();
        made.find_map(|made| made.inputs.get(input))
            .map(String::as_str)
    }

    /// Returns a command with the contents of a file as its standard input: from this machine, or from the VPU's store.
    /// Blocks the resource if the store does not have them.
    pub(super) fn with_contents(
        &mut self,
        address: Address,
        command: Argv,
        (sha256, bytes, local): (Digest, u64, &Utf8Path),
    ) -> Option<Command> {
        match self.desired.contents {
            Contents::Here => {
                let path = local.to_string();
                let rendered = self.desired.rendered.get(&sha256);
                let secret = is_secret(&path) || rendered.is_some_and(Content::is_secret);
                let mut payload = Payload::new(PayloadSource::File { path }, sha256, bytes);
                payload.secret = secret;
                Some(Command::with(command, payload))
            }
            Contents::OnVpu(_) => {
                let stored = self.state().stored(&sha256);
                let command = Command::new(remote::from_store(&stored, &command));
                self.require_kept(address, &sha256).then_some(command)
            }
        }
    }

    /// Blocks the resource unless the VPU keeps these contents; returns whether it does.
    pub(super) fn require_kept(&mut self, address: Address, sha256: &Digest) -> bool {
        let is_kept = self.facts.kept.contains(sha256);
        if !is_kept {
            let what = "contents of this release are damaged, or no longer";
            self.block(
                address,
                Obstacle::not_kept(BlockCode::ContentsMissing, what),
            );
        }
        is_kept
    }

    /// Records that a rollback of this plan would not restore the resource, and why.
    pub(super) fn not_restorable(&mut self, address: Address, reason: impl Into<String>) {
        let reason = reason.into();
        self.not_restorable.push(NotRestorable { address, reason });
    }

    /// Returns the option of the command line that also removes data.
    pub(super) fn prune_option(&self) -> &'static str {
        if self.desired.destroys {
            "--volumes"
        } else {
            "--prune"
        }
    }

    /// Returns the paths of o3r-deploy's own state on this VPU.
    pub(super) fn state(&self) -> remote::State<'a> {
        remote::State {
            home: &self.facts.system.home,
        }
    }

    pub(super) fn step(&mut self, draft: Draft) {
        let commands = draft.actions.iter().map(Command::to_display).collect();
        let bytes_to_send = draft
            .actions
            .iter()
            .filter_map(|c| c.stdin.as_ref())
            .map(|p| p.bytes)
            .sum();
        self.steps.push(Step {
            id: 0,
            address: draft.address,
            action: draft.action,
            phase: draft.phase,
            cause: draft.cause,
            further_causes: draft.further_causes,
            detail: draft.detail,
            depends_on: draft.depends_on,
            source: draft.source,
            changes: draft.changes,
            restarts: draft.restarts,
            actions: draft.actions,
            commands,
            bytes_to_send,
            undo: draft.undo,
            rollback_always: draft.rollback_always,
        });
    }

    pub(super) fn block(&mut self, address: Address, obstacle: Obstacle) {
        // One failed probe can block a resource several times, and a docker that does not answer blocks all of its
        // resources: the first reason is reported.
        let Obstacle {
            code, ref reason, ..
        } = obstacle;
        let is_told = |blocked: &Blocked| {
            blocked.code == code && blocked.address == address
                || code == BlockCode::StateUnknown
                    && blocked.code == BlockCode::DockerUnavailable
                    && blocked.reason == *reason
        };
        if !self.blocked.iter().any(is_told) {
            let Obstacle {
                code,
                reason,
                remedy,
            } = obstacle;
            self.blocked.push(Blocked {
                address,
                code,
                reason,
                remedy,
            });
        }
    }

    /// Adds a note.
    pub(super) fn note(&mut self, code: NoteCode, text: impl Into<String>) {
        self.notes.push(Note::new(code, text));
    }

    /// The notes so far.
    #[cfg(test)]
    pub(super) fn noted(&self) -> &[Note] {
        &self.notes
    }

    pub(super) fn notes(&mut self, notes: impl IntoIterator<Item = Note>) {
        self.notes.extend(notes);
    }

    pub(super) fn unchanged(&mut self) {
        self.unchanged += 1;
    }

    pub(super) fn is_blocked(&self) -> bool {
        !self.blocked.is_empty()
    }

    /// Whether the resource with this address is blocked.
    pub(super) fn is_blocked_at(&self, address: &Address) -> bool {
        self.blocked
            .iter()
            .any(|blocked| blocked.address == *address)
    }

    /// The steps planned so far.
    pub(super) fn steps(&self) -> impl Iterator<Item = &Step> {
        self.steps.iter()
    }

    /// Whether any step is planned so far.
    pub(super) fn has_steps(&self) -> bool {
        !self.steps.is_empty()
    }

    /// Whether any step is planned so far in this phase.
    pub(super) fn has_steps_in(&self, phase: Phase) -> bool {
        self.steps.iter().any(|step| step.phase == phase)
    }

    /// Whether a step with this address is planned.
    pub(super) fn changes(&self, address: &Address) -> bool {
        self.action(address).is_some()
    }

    /// Returns the action of the step with this address, if one is planned.
    pub(super) fn action(&self, address: &Address) -> Option<Action> {
        let mut steps = self.steps.iter();
        Some(steps.find(|step| step.address == *address)?.action)
    }

    /// Returns the changes to files of the step with this address; none if no step is planned.
    pub(super) fn changes_of(&self, address: &Address) -> &[Change] {
        let step = self.steps.iter().find(|step| step.address == *address);
        step.map_or(&[], |step| &step.changes)
    }

    /// Plans the watchdog, where a failure rolls back; notes what it did before, and what it cannot do on this VPU.
    fn watchdog(&mut self) -> Option<Watchdog> {
        let release = self.desired.release.name.as_str();
        if let Some(watchdog) = self.readings.watchdogs.get(release) {
            let code = match watchdog {
                facts::Watchdog::Ended(_) => NoteCode::RolledBackByVpu,
                _ => NoteCode::WatchdogArmed,
            };
            let is_known = match watchdog {
                // What blocks the plan says the same.
                facts::Watchdog::Unconfirmed { .. } => self.is_blocked(),
                // Its client said so.
                facts::Watchdog::Ended(verdict) => verdict.is_of_client(),
                _ => false,
            };
            if !is_known {
                self.note(code, watchdog.describe());
            }
        }
        let after = self.desired.watchdog?;
        if !self.has_steps_in(Phase::Switch) {
            return None;
        }
        let autostart = self.facts.autostart.known();
        let after_restart = autostart.is_some_and(|autostart| autostart.lingering == Some(true));
        if !after_restart && !self.is_blocked() {
            let is_known = autostart.is_some_and(|autostart| autostart.lingering.is_some());
            let text = if is_known {
                "if the VPU restarts during this apply, it does not roll back automatically, because its services \
                 start only with a login (lingering is off); the next apply does"
            } else {
                "if the VPU restarts during this apply, it may not roll back automatically, because it is unknown \
                 whether its services start without a login; the next apply does"
            };
            self.note(NoteCode::NoRollbackAtBoot, text);
        }
        Some(Watchdog {
            release: release.to_owned(),
            version: self.desired.release.version.clone(),
            after_restart,
            seconds: after.as_secs(),
        })
    }

    /// Sorts the steps by phase, keeping the order in which
    /// the differs added them, and numbers them from 1.
    pub(super) fn finish(mut self, host: &str) -> Plan {
        let watchdog = self.watchdog();
        self.steps.sort_by_key(|step| step.phase);
        let mut summary = Summary {
            unchanged: self.unchanged,
            blocked: self.blocked.len(),
            ..Summary::default()
        };
        for (index, step) in self.steps.iter_mut().enumerate() {
            step.id = index + 1;
            match step.action {
                Action::Create => summary.create += 1,
                Action::Update => summary.update += 1,
                Action::Replace => summary.replace += 1,
                Action::Remove => summary.remove += 1,
                Action::Run => summary.run += 1,
            }
        }
        Plan {
            format: FORMAT,
            tool: concat!("o3r-deploy ", env!("CARGO_PKG_VERSION")).to_owned(),
            vpu: vpu(self.facts, host),
            manifest: self.desired.manifest.clone(),
            fingerprint: fingerprint::fingerprint(self.desired, self.facts),
            steps: self.steps,
            blocked: self.blocked,
            notes: self.notes,
            speeds: self.readings.speeds,
            unmanaged: self.unmanaged.into_iter().collect(),
            not_restorable: self.not_restorable,
            permits: self.desired.permits,
            watchdog,
            summary,
        }
    }
}

/// Returns the VPU's identity and versions; what is unknown is empty.
pub fn vpu(facts: &Facts, host: &str) -> Vpu {
    let device = facts.device.known().cloned().unwrap_or_default();
    Vpu {
        host: host.to_owned(),
        name: device.name,
        serial: device.serial,
        firmware: device.firmware,
        arch: facts.system.arch.clone(),
        docker: facts
            .docker
            .known()
            .map(|docker| docker.version.clone())
            .unwrap_or_default(),
        compose: facts.compose.known().cloned().unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        plan::{ChangeKind, ResourceKind},
        testing,
    };

    #[test]
    fn steps_are_ordered_numbered_and_counted() {
        let (desired, observed) = (testing::desired(vec![]), testing::observed());
        let offers = Offers::default();
        let mut builder = Builder::new(&desired, &observed, &offers);
        let all = [
            (Action::Create, 1),
            (Action::Update, 2),
            (Action::Replace, 3),
            (Action::Remove, 4),
            (Action::Run, 5),
        ];
        for (action, count) in all {
            for number in 0..count {
                let phase = [Phase::Settle, Phase::Stage][number % 2];
                let name = format!("{}-{number}", action.verb());
                let address = Address::new(ResourceKind::Volume, name);
                builder.step(Draft::new(address, action, phase, Cause::Missing));
            }
        }
        builder.unchanged();
        builder.unchanged();
        let blocked = Address::new(ResourceKind::Volume, "blocked");
        builder.block(blocked.clone(), Obstacle::not_probed());
        builder.block(blocked.clone(), Obstacle::not_probed());
        assert!(builder.is_blocked_at(&blocked));
        let plan = builder.finish("host");
        assert_eq!(
            plan.summary,
            Summary {
                create: 1,
                update: 2,
                replace: 3,
                remove: 4,
                run: 5,
                unchanged: 2,
                blocked: 1,
            }
        );
        assert!(plan.steps.is_sorted_by_key(|step| step.phase));
        let ids: Vec<usize> = plan.steps.iter().map(|step| step.id).collect();
        assert!(ids.into_iter().eq(1..=15));
        assert_eq!(plan.steps[0].address, "volume.update-1");
    }

    #[test]
    fn what_a_step_does_to_files_is_asked_by_its_address() {
        let (desired, observed) = (testing::desired(vec![]), testing::observed());
        let offers = Offers::default();
        let mut builder = Builder::new(&desired, &observed, &offers);
        let address = |name: &str| Address::new(ResourceKind::Transfer, name);
        for name in ["a", "b"] {
            let (action, phase) = (Action::Update, Phase::Switch);
            let mut draft = Draft::new(address(name), action, phase, Cause::Missing);
            draft.changes = vec![Change {
                path: name.into(),
                change: ChangeKind::Changed,
                found: None,
                wanted: None,
            }];
            builder.step(draft);
        }
        assert_eq!(builder.changes_of(&address("b"))[0].path, "b");
        assert!(builder.changes_of(&address("c")).is_empty());
    }
}
