//! A `docker` in a sandbox with the state of an in-memory
//! VPU: real scripts run on it, one call after the other.

use std::{
    fs,
    io::{BufRead as _, BufReader, Write as _},
    path::{Path, PathBuf},
    process::Command,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread::JoinHandle,
};

use crate::{
    sandbox::{Sandbox, needed},
    vpu::{World, docker},
};

/// Docker's program in a sandbox, and its state.
#[derive(Debug)]
pub struct Docker {
    world: Arc<Mutex<World>>,
    asked: PathBuf,
    thread: Option<JoinHandle<()>>,
}

impl Docker {
    /// Adds a docker with this state to a sandbox.
    pub fn new(sandbox: &Sandbox, world: World) -> Self {
        let calls = sandbox.path().join("calls");
        fs::create_dir(&calls).unwrap();
        let asked = calls.join("asked");
        let mkfifo = needed("mkfifo");
        let made = Command::new(&mkfifo).arg(&asked).status().unwrap();
        assert!(made.success());
        let (mkfifo, cat) = (mkfifo.display(), needed("cat"));
        let cat = cat.display();
        let calls = calls.display();
        // Its process ID is unique while it runs, and names the files of its words and its answer.
        sandbox.program(
            "docker",
            &format!(
                "#!/bin/sh\n\
                 call='{calls}'/$$\n\
                 {mkfifo} \"$call\" || exit 125\n\
                 printf '%s\\0' \"$@\" >\"$call.words\"\n\
                 echo \"$call\" >'{calls}/asked'\n\
                 {{ read -r code && {cat}; }} <\"$call\"\n\
                 [ ! -s \"$call.stderr\" ] || {cat} \"$call.stderr\" >&2\n\
                 exit \"$code\"\n"
            ),
        );
        let world = Arc::new(Mutex::new(world));
        let thread = {
            let (world, asked) = (Arc::clone(&world), asked.clone());
            std::thread::spawn(move || serve(&asked, &world))
        };
        Self {
            world,
            asked,
            thread: Some(thread),
        }
    }

    /// Reads or changes its state.
    pub fn world<T>(&self, look: impl FnOnce(&mut World) -> T) -> T {
        look(&mut locked(&self.world))
    }
}

impl Drop for Docker {
    fn drop(&mut self) {
        let asked = fs::File::options().append(true).open(&self.asked);
        let told = asked.and_then(|mut asked| asked.write_all(b"end\n"));
        if let (Ok(()), Some(thread)) = (told, self.thread.take()) {
            let _ = thread.join();
        }
    }
}

fn locked(world: &Mutex<World>) -> MutexGuard<'_, World> {
    world.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Answers calls until it reads `end`.
fn serve(asked: &Path, world: &Mutex<World>) {
    // Opened for writing as well, so that reading it never reaches the end.
    let both = fs::File::options().read(true).write(true).open(asked);
    for line in BufReader::new(both.unwrap()).lines() {
        let call = line.unwrap();
        if call == "end" {
            return;
        }
        let words = fs::read_to_string(format!("{call}.words")).unwrap();
        let words: Vec<&str> = words.split_terminator('\0').collect();
        let output = docker(&mut locked(world), &words);
        fs::write(format!("{call}.stderr"), &output.stderr).unwrap();
        let code = format!("{}\n", output.code).into_bytes();
        // Blocks until it is read.
        fs::write(&call, [code, output.stdout].concat()).unwrap();
        fs::remove_file(&call).unwrap();
    }
}
