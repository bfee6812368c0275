//! Obstacles: why a resource is blocked, as a stable code, a reason and a remedy.

crate::codes! {
    /// Why a resource is blocked.
    pub enum BlockCode {
        /// The VPU's architecture is not the one that the manifest declares.
        WrongArchitecture = "wrong-architecture",
        /// The device's serial number is not the one in the manifest: it is another VPU.
        WrongSerial = "wrong-serial",
        /// The device's firmware is outside the range in the manifest.
        WrongFirmware = "wrong-firmware",
        /// The device does not report its name, serial number or firmware, and the manifest requires one of them.
        DeviceUnknown = "device-unknown",
        /// Saving the device's name or settings would also save, or lose, settings that somebody else changed.
        SettingsAtRisk = "settings-at-risk",
        /// The device rejects a setting of `[device]`: its schema has no such attribute, or another type or range, or it is
        /// read-only.
        SettingRejected = "setting-rejected",
        /// A setting of `[device]` would change the network of the device, and `network = true` is missing.
        NetworkSettings = "network-settings",
        /// Docker does not answer on the VPU.
        DockerUnavailable = "docker-unavailable",
        /// docker-compose is not installed on the VPU, or talks to another engine than `docker` does.
        ComposeUnavailable = "compose-unavailable",
        /// The records of earlier applies in `~/.o3r-deploy` cannot be read.
        RecordsUnreadable = "records-unreadable",
        /// `~/.o3r-deploy` is not writable: an apply could not take the lock or record the release.
        HomeNotWritable = "home-not-writable",
        /// The last apply of this release waits to be confirmed or cancelled.
        Unconfirmed = "unconfirmed",
        /// A disk of the VPU has too little free space for what the plan sends.
        NoSpace = "no-space",
        /// The state on the VPU could not be determined.
        StateUnknown = "state-unknown",
        /// The manifest declares a resource twice, with different values.
        DeclaredTwice = "declared-twice",
        /// The path exists and is of another kind, such as a file instead of a directory.
        WrongKind = "wrong-kind",
        /// The login's user cannot write in the directory.
        NotWritable = "not-writable",
        /// A file or directory that has to change belongs to another user of the VPU.
        NotOwner = "not-owner",
        /// A file in the target directory has a name that o3r-deploy cannot handle.
        OddName = "odd-name",
        /// A directory that would be deleted or replaced holds something that stays.
        HoldsOthers = "holds-others",
        /// The image is not on the VPU, and the manifest names no source for it.
        ImageMissing = "image-missing",
        /// The image of a running container was removed from the VPU: docker-compose cannot replace the container.
        ImageRemoved = "image-removed",
        /// Files of the image are damaged on the VPU, and cannot be repaired from its source.
        ImageDamaged = "image-damaged",
        /// The VPU no longer keeps the contents of a file of the release to return to, or they are damaged.
        ContentsMissing = "contents-missing",
        /// The image on the VPU is for another architecture.
        ImageArchitecture = "image-architecture",
        /// A service runs from an image that the manifest does not declare.
        ImageUndeclared = "image-undeclared",
        /// A volume of that name exists and differs.
        VolumeDiffers = "volume-differs",
        /// A container of somebody else uses the volume that would be replaced.
        VolumeInUse = "volume-in-use",
        /// A volume that the compose file expects (`external: true`) does not exist.
        VolumeMissing = "volume-missing",
        /// A network differs and cannot be recreated: it belongs to others, or their containers are on it.
        NetworkDiffers = "network-differs",
        /// A network that the compose file expects (`external: true`) does not exist.
        NetworkMissing = "network-missing",
        /// docker-compose on the VPU rejects the project's files.
        ComposeRefused = "compose-refused",
        /// The compose file needs a newer docker-compose than the one on the VPU.
        ComposeTooOld = "compose-too-old",
        /// A service needs a container runtime that docker on the VPU does not have.
        RuntimeMissing = "runtime-missing",
        /// A port that a service publishes is taken.
        PortTaken = "port-taken",
        /// The compose project belongs to another release.
        OwnedByRelease = "owned-by-release",
        /// A container of somebody else has a name that a service needs.
        NameTaken = "name-taken",
        /// Lingering is off for the login's user: its services run only while somebody is logged in.
        LingeringOff = "lingering-off",
        /// The firmware has nothing that starts compose projects when the VPU boots.
        NoBootService = "no-boot-service",
        /// The unit that starts projects is masked.
        UnitMasked = "unit-masked",
        /// The unit does not start the deployed project.
        UnitDiffers = "unit-differs",
        /// Root enabled the unit for all users: only root can disable it.
        UnitOfRoot = "unit-of-root",
        /// A service has no restart policy that starts it after a boot.
        NoRestartPolicy = "no-restart-policy",
    }
}

/// The reason why a resource cannot be planned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Obstacle {
    pub(super) code: BlockCode,
    pub(super) reason: String,
    pub(super) remedy: String,
}

impl Obstacle {
    pub(super) fn new(
        code: BlockCode,
        reason: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self {
            code,
            reason: reason.into(),
            remedy: remedy.into(),
        }
    }

    /// The obstacle for a question that the VPU did not answer.
    pub(super) fn unknown(reason: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self::new(BlockCode::StateUnknown, reason, remedy)
    }

    /// The obstacle for contents of a kept release that the VPU does not have.
    pub(super) fn not_kept(code: BlockCode, what: &str) -> Self {
        let remedy = "return to another release (see `o3r-deploy history`), or apply this one from its manifest";
        Self::new(code, format!("{what} on the VPU"), remedy)
    }

    /// The obstacle for a question that was not asked though the plan depends on it.
    pub(super) fn not_probed() -> Self {
        Self::unknown("the VPU was not asked about it", "report this as a bug")
    }
}
