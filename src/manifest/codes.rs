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
        /// The file is too large for a manifest, or is nested too deeply.
        TooLarge = "too-large",
        /// The manifest has no key of that name.
        UnknownKey = "unknown-key",
        /// A required key is missing.
        MissingKey = "missing-key",
        /// The value has the wrong type.
        WrongType = "wrong-type",
        /// The key does not accept the value.
        WrongValue = "wrong-value",
        /// `${…}` names a variable that does not exist.
        UnknownVariable = "unknown-variable",
        /// A template cannot be rendered: it names a variable without a value, or has a syntax error.
        Template = "template",
        /// This version does not implement the key yet: `check` warns, `plan` and `apply` fail.
        Unsupported = "unsupported",
        /// Two declarations have the same name or path.
        Duplicate = "duplicate",
        /// Two VPUs of the manifest have the same address, host key or serial number.
        SameVpu = "same-vpu",
        /// An image has more than one source.
        TwoSources = "two-sources",
        /// A file that the manifest names does not exist or cannot be read.
        MissingFile = "missing-file",
        /// The path is a directory instead of a file, or a file instead of a directory.
        WrongFile = "wrong-file",
        /// A local file cannot be deployed: for example, it is not an image, or it holds another image.
        LocalFile = "local-file",
        /// The manifest names a project that no `[[compose]]` declares.
        UndeclaredProject = "undeclared-project",
        /// `disable` in `[autostart]` names a project of this manifest.
        AutostartDeclared = "autostart-declared",
        /// The path on the VPU is reserved for o3r-deploy.
        ReservedPath = "reserved-path",
        /// The login's user cannot write to the path on the VPU.
        UnwritablePath = "unwritable-path",
        /// Two declarations use the same path on the VPU, or one would delete what the other places.
        ConflictingPaths = "conflicting-paths",
        /// The compose file cannot be read: permission is denied, or it is not UTF-8.
        ComposeUnreadable = "compose-unreadable",
        /// docker-compose on a VPU rejects the compose file: it is not YAML, or its content is not valid.
        ComposeRefused = "compose-refused",
        /// The compose file has a key that cannot be deployed, such as `build`, or that docker-compose on a VPU ignores or reads
        /// differently.
        ComposeKey = "compose-key",
        /// The compose file uses a variable that nothing sets on the VPU.
        ComposeVariable = "compose-variable",
        /// An `env_file` or `.env` is not valid.
        ComposeEnvironment = "compose-environment",
        /// The compose file names a file that is not placed beside it on the VPU.
        ComposeFile = "compose-file",
        /// A service uses an image that the manifest does not declare.
        ComposeImage = "compose-image",
        /// Two services have the same container name.
        ComposeName = "compose-name",
        /// The compose file expects a network that no project of the manifest creates.
        ComposeNetwork = "compose-network",
        /// Two services publish the same port, or one publishes a port that the VPU's own software listens on.
        ComposePort = "compose-port",
        /// A service's restart policy is not what `autostart` needs.
        ComposeRestart = "compose-restart",
        /// `health` does not fit the compose file: for example, it names a service that does not exist, or its timeout is shorter
        /// than a health check takes.
        Health = "health",
        /// The manifest does not declare a volume of the compose file, or declares it differently; or the compose file has a
        /// volume of its own with the name of one in `[[volumes]]`.
        ComposeVolume = "compose-volume",
    }
}
