//! Obstacles: why a resource is blocked, as a stable code, a reason and a remedy.

crate::codes! {
    /// Why a resource is blocked.
    pub enum BlockCode {
        /// The VPU's processor has another architecture than the manifest is for.
        WrongArchitecture = "wrong-architecture",
        /// The device has another serial number than the manifest names: it is another VPU.
        WrongSerial = "wrong-serial",
        /// The device's firmware is outside the range that the manifest names.
        WrongFirmware = "wrong-firmware",
        /// The device does not say its name, serial number or firmware, and the manifest names one.
        DeviceUnknown = "device-unknown",
        /// Saving the device's name would save or lose settings of somebody else.
        SettingsAtRisk = "settings-at-risk",
        /// Docker does not answer on the VPU.
        DockerUnavailable = "docker-unavailable",
        /// docker-compose is not on the VPU, or asks something else than `docker` there does.
        ComposeUnavailable = "compose-unavailable",
        /// What earlier applies recorded in `~/.o3r-deploy` cannot be read.
        RecordsUnreadable = "records-unreadable",
        /// Nothing can be written into `~/.o3r-deploy`: no apply could be locked or recorded.
        HomeNotWritable = "home-not-writable",
        /// The last apply of this release waits to be confirmed or cancelled.
        Unconfirmed = "unconfirmed",
        /// What is to arrive does not fit on a disk of the VPU.
        NoSpace = "no-space",
        /// What is there cannot be told: the VPU did not answer the question, or was not asked.
        StateUnknown = "state-unknown",
        /// The manifest declares a resource twice, and differently.
        DeclaredTwice = "declared-twice",
        /// Something of another kind is at the path: a file in place of a directory, say.
        WrongKind = "wrong-kind",
        /// The login may not write in the directory.
        NotWritable = "not-writable",
        /// What has to change belongs to another user of the VPU.
        NotOwner = "not-owner",
        /// A file of the target has a name that cannot be handled.
        OddName = "odd-name",
        /// What would be deleted or replaced holds what stays.
        HoldsOthers = "holds-others",
        /// The image is not on the VPU, and the manifest names no source for it.
        ImageMissing = "image-missing",
        /// The image on the VPU is for another architecture.
        ImageArchitecture = "image-architecture",
        /// A service runs from an image that the manifest does not declare.
        ImageUndeclared = "image-undeclared",
        /// A volume of that name is there and differs.
        VolumeDiffers = "volume-differs",
        /// A container of somebody else has the volume that is to be replaced.
        VolumeInUse = "volume-in-use",
        /// A volume that the compose file expects (`external: true`) is not there.
        VolumeMissing = "volume-missing",
        /// A network differs and cannot be recreated: it belongs to others, or their containers are on it.
        NetworkDiffers = "network-differs",
        /// A network that the compose file expects (`external: true`) is not there.
        NetworkMissing = "network-missing",
        /// docker-compose on the VPU refuses the project's files.
        ComposeRefused = "compose-refused",
        /// The compose file is written for a newer docker-compose than the VPU has.
        ComposeTooOld = "compose-too-old",
        /// A service wants a container runtime that docker on the VPU does not have.
        RuntimeMissing = "runtime-missing",
        /// A port that a service publishes is taken.
        PortTaken = "port-taken",
        /// A container of somebody else has a name that a service needs.
        NameTaken = "name-taken",
        /// Lingering is off for the login's user: its services run only while somebody is logged in.
        LingeringOff = "lingering-off",
        /// The firmware has nothing that starts compose projects when the VPU boots.
        NoBootService = "no-boot-service",
        /// The unit that starts projects is masked.
        UnitMasked = "unit-masked",
        /// The unit does not start what is deployed.
        UnitDiffers = "unit-differs",
        /// Root enabled the unit for every user: only root can disable it.
        UnitOfRoot = "unit-of-root",
        /// A service has no restart policy that brings it back after a boot.
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

    /// The obstacle for a question that was not asked though the plan depends on it.
    pub(super) fn not_probed() -> Self {
        Self::unknown("it was not probed", "report this as a bug")
    }
}
