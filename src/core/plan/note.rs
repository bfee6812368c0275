//! Notes: remarks on a plan that change nothing, with a stable code.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

crate::codes! {
    /// What a note is about.
    pub enum NoteCode {
        /// The login's environment on the VPU, such as `DOCKER_HOST`, points docker or docker-compose to another docker: what
        /// starts when the VPU boots may not use it.
        OtherDocker = "other-docker",
        /// The VPU's clock is wrong, and so are the dates in its logs.
        WrongClock = "wrong-clock",
        /// The device does not report its name, serial number and firmware; the manifest requires none of them.
        DeviceUnknown = "device-unknown",
        /// Images are sent whole: docker on the VPU accepts no image that omits the layers it has already.
        WholeImages = "whole-images",
        /// The link's throughput, and how layers are compressed for it.
        LinkSpeed = "link-speed",
        /// A layer is built on the VPU from an image that it has, because that is faster than sending the layer.
        DeltaUsed = "delta-used",
        /// Whole layers are sent, because a delta would be slower.
        DeltaSlower = "delta-slower",
        /// Whole layers are sent, because docker's disk has no space to build one from an image that the VPU has.
        DeltaNoSpace = "delta-no-space",
        /// The files of an image could not be compared with its source.
        ImageNotVerified = "image-not-verified",
        /// A file is built on the VPU from its old version, because that is faster than sending the file.
        FilePatched = "file-patched",
        /// docker-compose on the VPU warns about the project's files.
        ComposeWarning = "compose-warning",
        /// docker-compose on the VPU could not check the project's files: if it rejects them, the start fails.
        ComposeNotAsked = "compose-not-asked",
        /// A container is attached to a network that its compose file does not name.
        ExtraNetwork = "extra-network",
        /// A network that is no longer declared stays, because containers of others use it.
        NetworkLeft = "network-left",
        /// A container mounts a single file that changes, and sees the old content until it is recreated.
        FileMountStale = "file-mount-stale",
        /// A mount replaces an anonymous volume of a container: the volume stays, unused, with its data.
        AnonymousVolumeCovered = "anonymous-volume-covered",
        /// A container is removed because its service is scaled down: its anonymous volumes stay.
        AnonymousVolumesLeft = "anonymous-volumes-left",
        /// The record of the release to roll back to does not say whether the container had an anonymous volume where
        /// something else is mounted now.
        AnonymousVolumeUnrecorded = "anonymous-volume-unrecorded",
        /// The unit that starts the project does not belong to `default.target`: a boot may not start it.
        BootTargetUnknown = "boot-target-unknown",
        /// The unit does not run a plain `docker-compose up`, or changes how it runs.
        BootCommandUnknown = "boot-command-unknown",
        /// The service that starts containers at boot is static: whether it starts at boot could not be determined.
        BootServiceStatic = "boot-service-static",
        /// A project has `state = "stopped"`, and starts at every boot.
        StoppedStartsAtBoot = "stopped-starts-at-boot",
        /// A project has `state = "stopped"` and `autostart = true`: docker does not start it after a boot.
        StoppedStaysDown = "stopped-stays-down",
        /// A file that is no longer declared was changed on the VPU, and is not removed.
        ChangedFileStays = "changed-file-stays",
        /// A volume or directory that is no longer declared holds data, and is not removed.
        DataStays = "data-stays",
        /// A volume or directory that is no longer declared is removed with its data (`--prune`).
        DataGoes = "data-goes",
        /// What is no longer declared is unknown, and stays: the VPU does not keep a release, or a path is a link.
        FormerFilesUnknown = "former-files-unknown",
        /// This apply takes a project over from another release (`--take-over`).
        ProjectTakenOver = "project-taken-over",
        /// An apply of this release runs, or was interrupted and the VPU rolls back automatically unless an apply takes over
        /// in time.
        WatchdogArmed = "watchdog-armed",
        /// The last apply of this release was interrupted, and the VPU rolled back automatically.
        RolledBackByVpu = "rolled-back-by-vpu",
        /// This user's services do not start when the VPU boots: if it restarts during this apply, it does not roll back
        /// automatically. The next apply does.
        NoRollbackAtBoot = "no-rollback-at-boot",
        /// `[autostart] disable` names something that does not exist on the VPU: check the name for a typing error.
        NothingToDisable = "nothing-to-disable",
        /// A project has `autostart = false`, but its restart policies start it when the VPU boots.
        StartsByPolicy = "starts-by-policy",
        /// The manifest declares none of the projects of the deployed release of this name: it may be another application.
        OtherProjects = "other-projects",
        /// A service mounts files that a transfer, which is no longer declared, removes.
        MountLosesFiles = "mount-loses-files",
        /// Docker restarted a container since it was started: its application fails.
        ContainerRestarts = "container-restarts",
    }
}

impl NoteCode {
    /// Whether it is about how bytes reach the VPU: only the details of a plan show it.
    pub fn is_transport(self) -> bool {
        matches!(
            self,
            Self::WholeImages
                | Self::LinkSpeed
                | Self::DeltaUsed
                | Self::DeltaSlower
                | Self::DeltaNoSpace
                | Self::FilePatched
        )
    }
}

/// A remark on a plan that changes nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Note {
    /// What it is about.
    pub code: NoteCode,
    /// The remark.
    pub text: String,
}

impl Note {
    /// Creates a note.
    pub fn new(code: NoteCode, text: impl Into<String>) -> Self {
        let text = text.into();
        Self { code, text }
    }
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}
