//! Notes: what is worth knowing of a plan and changes nothing, with a stable code.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

crate::codes! {
    /// What a note is about.
    pub enum NoteCode {
        /// The login's environment on the VPU (`DOCKER_HOST`, say) sends docker or docker-compose elsewhere: what starts when
        /// the VPU boots may use another docker.
        OtherDocker = "other-docker",
        /// The VPU's clock is wrong: dates in its logs are, too.
        WrongClock = "wrong-clock",
        /// The device does not say its name, serial number and firmware; the manifest names none of them.
        DeviceUnknown = "device-unknown",
        /// Docker on the VPU takes no image without the layers that it has already: images are sent whole.
        WholeImages = "whole-images",
        /// How fast the link is, and how layers are compressed for it.
        LinkSpeed = "link-speed",
        /// A layer is built on the VPU from an image that is there, as that is quicker than sending it.
        DeltaUsed = "delta-used",
        /// Whole layers are sent, as a delta would be slower.
        DeltaSlower = "delta-slower",
        /// Whole layers are sent, as docker's disk has no room to build one from an image that is there.
        DeltaNoSpace = "delta-no-space",
        /// A file is built on the VPU from its old version, as that is quicker than sending it.
        FilePatched = "file-patched",
        /// docker-compose on the VPU warns of something in the project's files.
        ComposeWarning = "compose-warning",
        /// docker-compose on the VPU could not be asked about the project: what it refuses shows when it starts.
        ComposeNotAsked = "compose-not-asked",
        /// A container is attached to a network that its compose file does not name.
        ExtraNetwork = "extra-network",
        /// A network is no longer declared and stays: containers of others use it.
        NetworkLeft = "network-left",
        /// A container mounts a changed file alone, and sees the old one until it is recreated.
        FileMountStale = "file-mount-stale",
        /// Something is mounted where a container has an anonymous volume: that volume stays, unused and with its data.
        AnonymousVolumeCovered = "anonymous-volume-covered",
        /// A container is removed as its service has fewer by now: its anonymous volumes stay.
        AnonymousVolumesLeft = "anonymous-volumes-left",
        /// The record of the release to roll back to does not say whether it had an anonymous volume that is covered now.
        AnonymousVolumeUnrecorded = "anonymous-volume-unrecorded",
        /// The unit that starts the project belongs to another target than `default.target`: a boot may not reach it.
        BootTargetUnknown = "boot-target-unknown",
        /// The unit does not plainly run `docker-compose up`, or runs it in a way of its own.
        BootCommandUnknown = "boot-command-unknown",
        /// The service that starts containers at boot cannot be enabled: whether it starts at boot could not be determined.
        BootServiceStatic = "boot-service-static",
        /// A project is declared as stopped and starts at every boot.
        StoppedStartsAtBoot = "stopped-starts-at-boot",
        /// A project is declared as stopped and with `autostart = true`: docker does not start it after a boot.
        StoppedStaysDown = "stopped-stays-down",
        /// A project belongs to a release that was applied after this one's last apply: this apply takes it over.
        ProjectTakenOver = "project-taken-over",
        /// An apply of this release is at work, or was cut off and the VPU rolls back on its own if no client comes in time.
        WatchdogArmed = "watchdog-armed",
        /// The last apply of this release was cut off, and the VPU rolled back on its own.
        RolledBackByVpu = "rolled-back-by-vpu",
        /// This user's services do not start when the VPU boots: if it restarts during this apply, it does not roll back on its
        /// own. The next apply does.
        NoRollbackAtBoot = "no-rollback-at-boot",
        /// `[autostart] disable` names something that is not on the VPU: a mistyped name looks the same.
        NothingToDisable = "nothing-to-disable",
        /// A project has `autostart = false`, and its restart policies start it all the same.
        StartsByPolicy = "starts-by-policy",
    }
}

/// What is worth knowing and changes nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Note {
    /// What it is about.
    pub code: NoteCode,
    /// In words.
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
