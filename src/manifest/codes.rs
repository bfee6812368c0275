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
        /// The key is part of the manifest, and this version does not do yet what it says: it is refused, not ignored.
        Unsupported = "unsupported",
        /// Two declarations have one name or place.
        Duplicate = "duplicate",
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
        ComposeSyntax = "compose-syntax",
        /// docker-compose on a VPU refuses the compose file.
        ComposeRefused = "compose-refused",
        /// The compose file has a key that docker-compose on a VPU does not take, ignores, or takes in another way.
        ComposeKey = "compose-key",
        /// The compose file uses a variable that nothing sets on the VPU.
        ComposeVariable = "compose-variable",
        /// An `env_file` or `.env` cannot be used as it is written.
        ComposeEnvironment = "compose-environment",
        /// The compose file names a file that is not placed beside it on the VPU.
        ComposeFile = "compose-file",
        /// A service's image is none of the manifest's, or is to be built on the VPU.
        ComposeImage = "compose-image",
        /// The name of a project, service or container cannot be used.
        ComposeName = "compose-name",
        /// A network of the compose file is not as docker-compose on a VPU takes it.
        ComposeNetwork = "compose-network",
        /// A service publishes a port that the VPU's own software listens on.
        ComposePort = "compose-port",
        /// A service's restart policy is not what `autostart` needs.
        ComposeRestart = "compose-restart",
        /// A volume of the compose file is declared nowhere, or differs from its declaration.
        ComposeVolume = "compose-volume",
    }
}
