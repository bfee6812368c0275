//! An in-memory VPU for tests, with fault injection: it runs the commands of plans, and answers the
//! probe as a real one does.
//!
//! It refuses an unknown command with exit code 127, so that a new one cannot go unnoticed.

mod between;
mod blocks;
mod boot;
mod commands;
mod delta;
mod device;
mod docker;
mod docker_program;
mod files;
mod generations;
mod images;
mod locks;
mod probe;
mod projects;
mod transfers;
mod world;

use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use locks::Work;

use o3r_deploy::internal::{
    host::{ByteStream, Held, Host, HostError, Output, Stdin},
    observe::{CONTENTS_NAME, DOCKER_NAME, PROBE_NAME, RESOLVED_NAME, RUNNING_NAME, TREES_NAME},
    remote,
    shell::Argv,
};

pub use boot::Autostart;
pub use docker_program::docker;
pub use locks::Ends;
pub use world::{Container, Details, File, Image, Mount, Network, Store, Volume, World};

/// A fault and its time: the index of a command among those that change something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// This command does nothing and exits with 1.
    Fails(usize),
    /// This command completes and then exits with 1.
    FailsAfter(usize),
    /// The connection is lost before this command: it and all later ones do nothing.
    LinkLostBefore(usize),
    /// The connection is lost after this command completed and before its answer arrived.
    LinkLostAfter(usize),
    /// The connection is lost when this command has read half of its standard input.
    LinkLostInside(usize),
    /// The connection is lost while this command runs: it ends when the next apply takes the lock,
    /// which kills it if it reads from the link.
    LinkLostDuring(usize),
    /// dockerd hangs from this command on: neither it nor any later one that calls docker ends.
    DockerHangs(usize),
}

/// The in-memory VPU.
#[derive(Debug, Default)]
pub struct FakeVpu {
    inner: Arc<Mutex<Inner>>,
}

#[derive(Debug, Default)]
struct Inner {
    world: World,
    fault: Option<Fault>,
    commands: Vec<String>,
    locks: locks::Locks,
    /// The lock's output about a process that it waits for.
    waits_for: Option<String>,
}

impl FakeVpu {
    /// Creates a VPU in this state.
    pub fn new(world: World) -> Self {
        let inner = Inner {
            world,
            ..Inner::default()
        };
        Self {
            inner: Arc::new(Mutex::new(inner)),
        }
    }

    /// Reads or changes the state from outside.
    pub fn world<T>(&self, look: impl FnOnce(&mut World) -> T) -> T {
        look(&mut self.lock().world)
    }

    /// Injects a fault, or none, and resets the index of commands.
    pub fn inject(&self, fault: Option<Fault>) {
        let mut inner = self.lock();
        inner.fault = fault;
        inner.commands.clear();
    }

    /// Returns the commands that changed something since the last injection, as text.
    pub fn commands(&self) -> Vec<String> {
        self.lock().commands.clone()
    }

    /// Whether a command never ends.
    fn hangs(&self, command: &Argv) -> bool {
        let inner = self.lock();
        let Some(Fault::DockerHangs(at)) = inner.fault else {
            return false;
        };
        let files = ["o3r-put-file", "o3r-remove-file", "o3r-restore-file"];
        let asks_docker = !command
            .script_name()
            .is_some_and(|name| files.contains(&name));
        inner.commands.len() >= at && asks_docker
    }

    /// Makes the next apply that takes the lock wait for this process of a dead apply.
    pub fn leave_at_work(&self, pid: u32, command: &str) {
        self.lock().waits_for = Some(format!("waits {pid} {command}"));
    }

    /// Leaves this command of a dead apply running, in the form of [`remote::run`].
    ///
    /// # Panics
    /// The command does not have the lock's token.
    pub fn leave(&self, command: &Argv, ends: Ends) {
        let mut inner = self.lock();
        let work = inner.locks.unwrap(command, b"", ends).unwrap();
        inner.locks.leave(work);
    }

    /// Ends the process that holds the lock.
    pub fn end_lock(&self) {
        self.lock().locks.end();
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Inner> {
        let mut guard = locked(&self.inner);
        let inner = &mut *guard;
        inner.locks.look(&mut inner.world);
        guard
    }

    fn lost() -> HostError {
        HostError::Disconnected {
            host: "fake".into(),
        }
    }

    /// Runs commands that were sent together: after the connection is lost, the last ones still
    /// run, but their output is lost.
    fn change_in_turn(&self, work: &Work, commands: &[Argv]) -> Result<Output, HostError> {
        let (first, fault) = {
            let inner = self.lock();
            (inner.commands.len(), inner.fault)
        };
        let is_lost = match fault {
            Some(Fault::LinkLostBefore(at)) if first >= at => return Err(Self::lost()),
            Some(Fault::LinkLostAfter(at) | Fault::LinkLostInside(at)) if first > at => {
                return Err(Self::lost());
            }
            Some(
                Fault::LinkLostBefore(at) | Fault::LinkLostAfter(at) | Fault::LinkLostInside(at),
            ) => at < first + commands.len(),
            _ => false,
        };
        if is_lost {
            self.lock().fault = None;
        }
        let mut all = output(0, "", "");
        for (index, command) in commands.iter().enumerate() {
            let one = self.change(&work.part(command.clone()));
            if one.is_err() && fault == Some(Fault::LinkLostDuring(first + index)) {
                // The commands after it run as well.
                let rest = remote::in_turn(&commands[index..]);
                self.lock().locks.leave_instead(rest);
            }
            let one = one?;
            all.code = one.code;
            all.stdout.extend(one.stdout);
            all.stderr.extend(one.stderr);
            if one.code != 0 {
                break;
            }
        }
        if is_lost {
            self.lock().fault = fault;
            return Err(Self::lost());
        }
        Ok(all)
    }

    fn change(&self, work: &Work) -> Result<Output, HostError> {
        let (command, stdin) = (&work.command, work.stdin.as_slice());
        if let Some(commands) = command.in_turn() {
            return self.change_in_turn(work, &commands);
        }
        let mut inner = self.lock();
        let number = inner.commands.len();
        inner.commands.push(command.to_display());
        match inner.fault {
            Some(Fault::Fails(at)) if at == number => {
                return Ok(output(1, "", "injected failure"));
            }
            Some(Fault::LinkLostBefore(at)) if number >= at => return Err(Self::lost()),
            Some(Fault::LinkLostAfter(at) | Fault::LinkLostInside(at)) if number > at => {
                return Err(Self::lost());
            }
            Some(Fault::LinkLostDuring(at)) if number >= at => {
                if number == at {
                    inner.locks.leave(work.clone());
                }
                return Err(Self::lost());
            }
            Some(Fault::LinkLostInside(at)) if number == at => {
                let half = &stdin[..stdin.len() / 2];
                // Its output is lost.
                drop(commands::run(&mut inner.world, command, half));
                return Err(Self::lost());
            }
            _ => {}
        }
        let result = commands::run(&mut inner.world, command, stdin);
        if inner.fault == Some(Fault::LinkLostAfter(number)) {
            return Err(Self::lost());
        }
        if inner.fault == Some(Fault::FailsAfter(number)) {
            return Ok(output(1, "", "injected failure, after it was done"));
        }
        Ok(answered(result))
    }
}

fn locked(inner: &Mutex<Inner>) -> std::sync::MutexGuard<'_, Inner> {
    inner
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
}

fn answered(ran: commands::Ran) -> Output {
    match ran {
        Ok(stdout) => output(0, &stdout, ""),
        Err((code, stderr)) => output(code, "", &stderr),
    }
}

fn output(code: i32, stdout: &str, stderr: &str) -> Output {
    Output {
        code,
        stdout: stdout.as_bytes().to_vec(),
        stderr: stderr.as_bytes().to_vec(),
    }
}

impl Host for FakeVpu {
    async fn run(&self, command: &Argv, stdin: Stdin) -> Result<Output, HostError> {
        let bytes = match stdin {
            Stdin::Empty => vec![],
            Stdin::Bytes(bytes) => bytes,
            Stdin::Stream(payload) => {
                let mut bytes = vec![];
                payload(&mut bytes).map_err(HostError::Payload)?;
                bytes
            }
        };
        if self.hangs(command) {
            std::future::pending::<()>().await;
        }
        if matches!(command.words(), [docker, version, ..] if docker == "docker" && version == "version")
        {
            return Ok(output(0, "20.10.25\n", ""));
        }
        if command.script_name() == Some(PROBE_NAME) {
            let nonce = command.words().last().cloned().unwrap_or_default();
            let text = probe::answer(&self.lock().world, &nonce, &bytes);
            return Ok(output(0, &text, ""));
        }
        if command.script_name() == Some(DOCKER_NAME) {
            let nonce = command.words().last().cloned().unwrap_or_default();
            let text = probe::docker(&self.lock().world, &nonce);
            return Ok(output(0, &text, ""));
        }
        if command.script_name() == Some(RUNNING_NAME) {
            let nonce = command.words().last().cloned().unwrap_or_default();
            return Ok(output(0, &probe::running(&nonce), ""));
        }
        if command.script_name() == Some(TREES_NAME) {
            let words = command.words();
            let text = transfers::answer(&self.lock().world, &words[4], &words[5], &bytes);
            return Ok(output(0, &text, ""));
        }
        if command.script_name() == Some(CONTENTS_NAME) {
            let words = command.words();
            let limit = words[4].parse().unwrap_or_default();
            let text = transfers::contents(&self.lock().world, limit, &words[5], &bytes);
            return Ok(output(0, &text, ""));
        }
        if let Some(name) = command.script_name() {
            let words: Vec<&str> = command.words()[4..].iter().map(String::as_str).collect();
            let answer = generations::answer(&self.lock().world, name, &words, &bytes);
            if let Some(text) = answer {
                return Ok(output(0, &text, ""));
            }
        }
        if command.script_name() == Some("o3r-block-sums") {
            return Ok(answered(blocks::sums(
                &self.lock().world,
                &command.words()[4..],
            )));
        }
        if command.script_name() == Some(RESOLVED_NAME) {
            return Ok(match projects::config(&bytes) {
                Ok(text) => output(0, &text, ""),
                Err((code, words)) => {
                    output(code, "o3r-resolved /dev/shm/o3r-config-fake\n", &words)
                }
            });
        }
        if locks::is_wrapped(command) {
            let unwrapped = self.lock().locks.unwrap(command, &bytes, Ends::Unseen);
            return match unwrapped {
                Ok(work) => self.change(&work),
                Err(refused) => Ok(answered(Err(refused))),
            };
        }
        self.change(&Work::alone(command, &bytes))
    }

    async fn hold(
        &self,
        command: &Argv,
        token: &str,
        said: &(dyn Fn(&str) + Sync),
    ) -> Result<Result<Held, Output>, HostError> {
        let mut inner = self.lock();
        let inner = &mut *inner;
        let ended = match inner.locks.take(&mut inner.world, command, said) {
            Ok(ended) => ended,
            Err(code) => return Ok(Err(output(code, "", ""))),
        };
        if let Some(waits_for) = inner.waits_for.take() {
            said(&waits_for);
        }
        Ok(Ok(Held::new(token, ended)))
    }

    async fn connect(&self, _: u16) -> Result<Box<dyn ByteStream>, HostError> {
        {
            let inner = self.lock();
            let count = inner.commands.len();
            let lost = matches!(
                inner.fault,
                Some(
                    Fault::LinkLostBefore(at)
                        | Fault::LinkLostAfter(at)
                        | Fault::LinkLostInside(at)
                ) if count > at
            );
            if lost {
                return Err(Self::lost());
            }
        }
        let (ours, mut theirs) = tokio::io::duplex(64 << 10);
        let inner = Arc::clone(&self.inner);
        tokio::spawn(async move {
            let mut request = vec![];
            let mut chunk = [0; 4096];
            while !request.windows(13).any(|window| window == b"</methodCall>") {
                match theirs.read(&mut chunk).await {
                    Ok(0) | Err(_) => return,
                    Ok(count) => request.extend_from_slice(&chunk[..count]),
                }
            }
            let request = String::from_utf8_lossy(&request).into_owned();
            let call = request.find("<?xml").map_or("", |at| &request[at..]);
            let Some(body) = device::answer(&mut locked(&inner), call) else {
                return;
            };
            let head = "HTTP/1.1 200 OK\r\nContent-Type: text/xml\r\nConnection: close\r\n";
            let answer = format!("{head}Content-Length: {}\r\n\r\n{body}", body.len());
            let _ = theirs.write_all(answer.as_bytes()).await;
        });
        Ok(Box::new(ours))
    }
}
