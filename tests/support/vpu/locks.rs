//! The lock of the in-memory VPU, the check for it around
//! commands, and the remains of dead applies.

use tokio::sync::watch;

use super::{commands, files, world::World};
use o3r_deploy::internal::{
    remote::{self, How},
    shell::Argv,
};

/// The holder of the lock, and the commands that dead applies left running.
#[derive(Debug, Default)]
pub(super) struct Locks {
    holder: Option<Holder>,
    at_work: Vec<Work>,
}

#[derive(Debug)]
struct Holder {
    token: String,
    client: String,
    who: String,
    ended: watch::Sender<bool>,
}

/// A command that changes something, with its standard input.
#[derive(Debug, Clone)]
pub(super) struct Work {
    pub(super) command: Argv,
    pub(super) stdin: Vec<u8>,
    how: How,
    /// For people.
    words: String,
    ends: Ends,
}

/// When a command of a dead apply ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ends {
    /// Just before the next apply that takes the lock looks for it.
    Unseen,
    /// While the next apply waits for it.
    WaitedFor,
    /// Never.
    Never,
}

impl Work {
    /// A command without the check for the lock, for when there is no other apply.
    pub(super) fn alone(command: &Argv, stdin: &[u8]) -> Self {
        Self {
            command: command.clone(),
            stdin: stdin.to_vec(),
            how: How::Works,
            words: command.to_display(),
            ends: Ends::Unseen,
        }
    }

    /// One of several commands that were sent together, without standard input.
    pub(super) fn part(&self, command: Argv) -> Self {
        Self {
            command,
            stdin: vec![],
            ..self.clone()
        }
    }

    /// Runs it; its output is lost.
    fn run(self, world: &mut World) {
        let alone = vec![self.command.clone()];
        for command in self.command.in_turn().unwrap_or(alone) {
            if commands::run(world, &command, &self.stdin).is_err() {
                return;
            }
        }
    }
}

impl Locks {
    /// Takes the lock as `lock.sh` does with these words, or
    /// returns its exit code. Its output is passed to `said`.
    pub(super) fn take(
        &mut self,
        world: &mut World,
        command: &Argv,
        said: &dyn Fn(&str),
    ) -> Result<watch::Receiver<bool>, i32> {
        let given = |index: usize| command.words().get(index).cloned().unwrap_or_default();
        let (token, client, who, claim) = (given(4), given(5), given(6), given(7));
        let patience: u32 = given(8).parse().unwrap_or_default();
        let base = base(world);
        let lock = format!("{base}/lock");
        if let Some(path) = [&base, &lock]
            .into_iter()
            .find(|path| world.files.contains_key(*path))
        {
            said(&format!(
                "failed mkdir: cannot create directory {path}: File exists"
            ));
            return Err(1);
        }
        if let Some(holder) = self.holder.take() {
            if claim != "break" && claim != format!("take:{}", holder.token) {
                said(&format!("busy {}", holder.who));
                said(&format!("owner {} {}", holder.token, holder.client));
                self.holder = Some(holder);
                return Err(remote::LOCKED);
            }
            let _ = holder.ended.send(true);
        }
        // A lock without a process is stale.
        drop(world.take(&lock));
        world.make_directories(&lock, 0o700);
        let text = format!("0\n{}\n{who}\n0\n{token}\n{client}\n", world.boot_id);
        world.write(&format!("{lock}/owner"), text.as_bytes(), 0o600);
        let is_broken = claim == "break";
        if let Some(words) = self.settle(world, is_broken, patience) {
            said(&format!("leftover 0 {words}"));
            if !is_broken {
                release(world);
                return Err(remote::LEFTOVER);
            }
        }
        forget_leftovers(world);
        let (ended, receiver) = watch::channel(false);
        self.holder = Some(Holder {
            token,
            client,
            who,
            ended,
        });
        Ok(receiver)
    }

    /// Ends, or waits for, the commands that dead applies left
    /// running; returns the words of one that does not end.
    fn settle(&mut self, world: &mut World, is_broken: bool, patience: u32) -> Option<String> {
        let mut over = None;
        for work in std::mem::take(&mut self.at_work) {
            match work.how {
                // It reads from a dead link, and is killed.
                How::Brings => {}
                _ if work.ends == Ends::Unseen => work.run(world),
                How::Works if is_broken => self.at_work.push(work),
                _ if work.ends == Ends::WaitedFor && patience > 0 => work.run(world),
                How::Reads => {}
                How::Works | How::Loads => {
                    over.get_or_insert_with(|| work.words.clone());
                    self.at_work.push(work);
                }
            }
        }
        over
    }

    /// Leaves a command running, as an apply does that dies.
    pub(super) fn leave(&mut self, work: Work) {
        self.at_work.push(work);
    }

    /// Replaces the command that was left last.
    pub(super) fn leave_instead(&mut self, command: Argv) {
        if let Some(last) = self.at_work.last_mut() {
            last.command = command;
        }
    }

    /// Releases the lock if its client is gone.
    pub(super) fn look(&mut self, world: &mut World) {
        let is_gone = |holder: &mut Holder| holder.ended.is_closed();
        if self.holder.take_if(is_gone).is_some() {
            release(world);
        }
    }

    /// Ends the process that holds the lock, as a VPU does
    /// that runs out of memory; its files stay on the disk.
    pub(super) fn end(&mut self) {
        if let Some(holder) = self.holder.take() {
            let _ = holder.ended.send(true);
        }
    }

    /// Returns the command that `run.sh` is given, with this standard input; or its output if its
    /// token does not have the lock.
    pub(super) fn unwrap(
        &self,
        command: &Argv,
        stdin: &[u8],
        ends: Ends,
    ) -> Result<Work, (i32, String)> {
        let [_, _, _, _, how, display, _, program, args @ ..] = command.words() else {
            return Err((127, "words are missing".to_owned()));
        };
        let (how, token) = how.split_once(':').unwrap_or((how, ""));
        let holder = self.holder.as_ref();
        if holder.is_none_or(|holder| holder.token != token) {
            return Err((remote::LOST, format!("{token} lost")));
        }
        let how = match how {
            "brings" => How::Brings,
            "reads" => How::Reads,
            "works" => How::Works,
            "loads" => How::Loads,
            _ => return Err((127, format!("{how}: not understood"))),
        };
        Ok(Work {
            command: Argv::new(program).args(args.iter().cloned()),
            stdin: stdin.to_vec(),
            how,
            words: display.clone(),
            ends,
        })
    }
}

/// Whether the command is wrapped in `run.sh`.
pub(super) fn is_wrapped(command: &Argv) -> bool {
    command.script_name() == Some(remote::RUN_NAME)
}

/// Returns the directory of o3r-deploy's own files.
fn base(world: &World) -> String {
    format!("{}/.o3r-deploy", world.home)
}

/// Removes the lock, and its directory if that is empty.
fn release(world: &mut World) {
    let base = base(world);
    drop(world.take(&format!("{base}/lock")));
    world.remove_empty(&base);
}

/// Removes what dead applies left.
fn forget_leftovers(world: &mut World) {
    let delta = format!("{}/delta", base(world));
    if world.is_there(&delta) {
        world
            .containers
            .retain(|_, container| container.name != "o3r-deploy-delta");
        drop(world.take(&delta));
    }
    files::forget_unfinished(world);
}
