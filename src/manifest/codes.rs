//! The codes of findings in a manifest.

o3r_core::codes! {
    /// What kind of finding it is.
    pub enum FindingCode {
        /// The file is not TOML.
        Syntax = "syntax",
        /// The file is not UTF-8.
        Encoding = "encoding",
        /// The file holds a control character.
        ControlCharacter = "control-character",
        /// The file is too large for a manifest, or nested too deeply.
        TooLarge = "too-large",
        /// The key is none of the manifest's.
        UnknownKey = "unknown-key",
        /// A key that has no default is missing.
        MissingKey = "missing-key",
        /// The key takes a value of another type.
        WrongType = "wrong-type",
        /// The key does not take that value.
        WrongValue = "wrong-value",
        /// `${…}` names no variable of the manifest.
        UnknownVariable = "unknown-variable",
        /// The key is part of the manifest, and this version does not do yet what it says: `check` warns, `plan` and `apply` refuse it.
        Unsupported = "unsupported",
        /// Two declarations have one name or place.
        Duplicate = "duplicate",
        /// Two VPUs of the manifest have the same address, host key or serial number.
        SameVpu = "same-vpu",
        /// An image has more than one source.
        TwoSources = "two-sources",
        /// A file that the manifest names is not there, or cannot be read.
        MissingFile = "missing-file",
        /// A directory is where a file is meant, or the other way round.
        WrongFile = "wrong-file",
        /// A file that is to be deployed cannot be used: it is no image, say, or holds another one.
        LocalFile = "local-file",
        /// A project is named that no `[[compose]]` declares.
        UndeclaredProject = "undeclared-project",
        /// `disable` in `[autostart]` names a project of this manifest.
        AutostartDeclared = "autostart-declared",
        /// The path on the VPU is o3r-deploy's own.
        ReservedPath = "reserved-path",
        /// The login's user cannot write at the path on the VPU.
        UnwritablePath = "unwritable-path",
        /// Two declarations claim one path on the VPU, or one would delete what the other places.
        ConflictingPaths = "conflicting-paths",
        /// The compose file cannot be read: its permissions do not let you, or it is not UTF-8.
        ComposeUnreadable = "compose-unreadable",
        /// docker-compose on a VPU refuses the compose file: what is in it, or that it is no YAML.
        ComposeRefused = "compose-refused",
        /// The compose file has a key that cannot be deployed (`build`, say), or that docker-compose on a VPU ignores or takes
        /// in another way.
        ComposeKey = "compose-key",
        /// The compose file uses a variable that nothing sets on the VPU.
        ComposeVariable = "compose-variable",
        /// An `env_file` or `.env` cannot be used as it is written.
        ComposeEnvironment = "compose-environment",
        /// The compose file names a file that is not placed beside it on the VPU.
        ComposeFile = "compose-file",
        /// A service's image is none of the manifest's.
        ComposeImage = "compose-image",
        /// Two services have one container name.
        ComposeName = "compose-name",
        /// The compose file expects a network that no project of the manifest creates.
        ComposeNetwork = "compose-network",
        /// Two services publish one port, or one publishes a port that the VPU's own software listens on.
        ComposePort = "compose-port",
        /// A service's restart policy is not what `autostart` needs.
        ComposeRestart = "compose-restart",
        /// `health` names a service that the compose file does not have, or gives less time than a health check needs, or the like.
        Health = "health",
        /// A volume of the compose file is declared nowhere, or differs from its declaration.
        ComposeVolume = "compose-volume",
    }
}
