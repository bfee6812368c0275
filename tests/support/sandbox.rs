//! A home directory and a `PATH` of chosen programs: where the real scripts run on this machine.

use std::{
    fs,
    os::unix::fs::{PermissionsExt as _, symlink},
    path::{Path, PathBuf},
};

use o3r_deploy::internal::{
    host::{Host as _, LocalHost, Output, Stdin},
    shell::Argv,
};

/// Where a sandbox has its programs from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tools {
    /// All of them are busybox, so that nothing of this machine is relied on.
    Busybox,
    /// Those of this machine; what is missing is not there.
    Machine,
}

/// A home directory, a directory of programs, and a host that has nothing else.
#[derive(Debug)]
pub struct Sandbox {
    directory: tempfile::TempDir,
    login: Vec<String>,
    /// Runs commands there.
    pub host: LocalHost,
}

impl Sandbox {
    /// One with these programs, whose login shell, and `sh`, is `shell`: `["dash"]` or `["busybox", "sh"]`.
    pub fn new<'a>(
        shell: &[&str],
        tools: Tools,
        programs: impl IntoIterator<Item = &'a str>,
    ) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let login: Vec<String> = shell.iter().map(ToString::to_string).collect();
        let mut sandbox = Self {
            host: LocalHost::default(),
            directory,
            login,
        };
        fs::create_dir_all(sandbox.bin()).unwrap();
        fs::create_dir_all(sandbox.home()).unwrap();
        for program in programs.into_iter().filter(|program| *program != "sh") {
            match tools {
                Tools::Busybox => sandbox.link(program, &needed("busybox")),
                // Some of them are in the shell itself.
                Tools::Machine => drop(find(program).map(|path| sandbox.link(program, &path))),
            }
        }
        // Scripts are run by `sh`, whatever the login shell.
        sandbox.link("sh", &needed(shell[0]));
        // The login shell is found before the environment is cleared.
        sandbox.login[0] = needed(shell[0]).to_string_lossy().into_owned();
        sandbox.with_environment([])
    }

    /// Has more variables than `PATH` and `HOME`.
    #[must_use]
    pub fn with_environment<'a>(
        mut self,
        more: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> Self {
        let (bin, home) = (self.bin(), self.home());
        let own = [("PATH", bin.as_os_str()), ("HOME", home.as_os_str())];
        let more = more.into_iter().map(|(name, value)| (name, value.as_ref()));
        self.host = LocalHost::with_shell(self.login.clone()).with_env(own.into_iter().chain(more));
        self
    }

    /// Has the login shell run this before every command.
    #[must_use]
    pub fn with_profile(mut self, script: &str) -> Self {
        let run = format!("{script}; exec \"$0\" \"$@\"");
        self.login = [self.login.clone(), vec!["-c".to_owned(), run], self.login].concat();
        self.with_environment([])
    }

    /// Everything that it has.
    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    /// The home directory.
    pub fn home(&self) -> PathBuf {
        self.path().join("home")
    }

    /// Where its programs are.
    pub fn bin(&self) -> PathBuf {
        self.path().join("bin")
    }

    /// Adds a program of this machine, in place of the one of that name.
    pub fn link(&self, name: &str, program: &Path) {
        let path = self.bin().join(name);
        let _ = fs::remove_file(&path);
        symlink(program, path).unwrap();
    }

    /// Adds a script as a program, in place of the one of that name.
    pub fn program(&self, name: &str, text: &str) {
        let path = self.bin().join(name);
        // Never through a link to a tool of this machine.
        let _ = fs::remove_file(&path);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    }

    /// Runs a command to its end.
    pub async fn run(&self, argv: &Argv, stdin: &[u8]) -> Output {
        let stdin = Stdin::Bytes(stdin.to_vec());
        self.host.run(argv, stdin).await.unwrap()
    }
}

/// A program of this machine.
pub fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path)
        .map(|directory| directory.join(program))
        .find(|path| path.exists())
}

/// A program of this machine without which there is no test.
///
/// # Panics
/// It is not there.
pub fn needed(program: &str) -> PathBuf {
    find(program)
        .unwrap_or_else(|| panic!("{program} is needed: apt-get install dash busybox-static"))
}
