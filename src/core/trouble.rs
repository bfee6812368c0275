//! Classifies error messages of docker and the VPU's system
//! by their words, so that no other code searches them.

/// The cause of an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trouble {
    /// The user may not access dockerd's socket.
    NotPermitted,
    /// dockerd does not run.
    NotRunning,
    /// dockerd reports a full disk.
    DockerDiskFull,
    /// A program other than docker reports a full disk.
    DiskFull,
    /// Anything else.
    Other,
}

impl Trouble {
    /// Classifies a message. Messages of Go, in which docker is written, begin in lower case; those
    /// of the C library begin in upper case.
    pub fn of(words: &str) -> Self {
        let has = |text| words.contains(text);
        if has("permission denied") && has("docker") {
            Self::NotPermitted
        } else if has("Cannot connect to the Docker daemon") {
            Self::NotRunning
        } else if has("no space left on device") {
            Self::DockerDiskFull
        } else if has("No space left on device") {
            Self::DiskFull
        } else {
            Self::Other
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Trouble;

    /// Messages of docker 20.10.24, dash 0.5.12 and coreutils 9.1.
    #[test]
    fn recorded_messages_are_classified() {
        for (words, trouble) in [
            (
                "Got permission denied while trying to connect to the Docker daemon socket at \
                 unix:///var/run/docker.sock: Get \"http://%2Fvar%2Frun%2Fdocker.sock/v1.24/info\": dial unix \
                 /var/run/docker.sock: connect: permission denied",
                Trouble::NotPermitted,
            ),
            (
                "Cannot connect to the Docker daemon at unix:///var/run/docker.sock. Is the docker daemon running?",
                Trouble::NotRunning,
            ),
            (
                "Error response from daemon: write /var/lib/docker/tmp/docker-import-1/layer.tar: no space left on \
                 device",
                Trouble::DockerDiskFull,
            ),
            (
                "cat: write error: No space left on device",
                Trouble::DiskFull,
            ),
            ("sh: 1: cannot create x: Permission denied", Trouble::Other),
            ("permission denied", Trouble::Other),
            ("", Trouble::Other),
        ] {
            assert_eq!(Trouble::of(words), trouble, "{words}");
        }
    }
}
