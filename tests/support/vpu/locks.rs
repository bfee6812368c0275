//! The lock of the in-memory VPU, and the check for it that commands are wrapped in.

use tokio::sync::watch;

use o3r_deploy::internal::{remote, shell::Argv};

/// Who has the lock.
#[derive(Debug, Default)]
pub(super) struct Locks {
    holder: Option<Holder>,
}

#[derive(Debug)]
struct Holder {
    token: String,
    client: String,
    who: String,
    ended: watch::Sender<bool>,
}

impl Locks {
    /// Takes the lock as `lock.sh` does with these words; or what that says of the holder.
    pub(super) fn take(&mut self, command: &Argv) -> Result<watch::Receiver<bool>, Vec<String>> {
        let words = command.words();
        let word = |index: usize| words.get(index).cloned().unwrap_or_default();
        let (token, client, who, claim) = (word(4), word(5), word(6), word(7));
        // A holder that was dropped listens no more.
        let holder = self
            .holder
            .take()
            .filter(|holder| !holder.ended.is_closed());
        if let Some(holder) = holder {
            if claim != "break" && claim != format!("take:{}", holder.token) {
                let owner = format!("owner {} {}", holder.token, holder.client);
                let said = vec![format!("busy {}", holder.who), owner];
                self.holder = Some(holder);
                return Err(said);
            }
            let _ = holder.ended.send(true);
        }
        let (ended, receiver) = watch::channel(false);
        self.holder = Some(Holder {
            token,
            client,
            who,
            ended,
        });
        Ok(receiver)
    }

    /// Ends what holds the lock, as a VPU does that runs out of memory.
    pub(super) fn end(&mut self) {
        if let Some(holder) = self.holder.take() {
            let _ = holder.ended.send(true);
        }
    }

    /// The command in what `run.sh` is given; or the token, where that does not have the lock.
    pub(super) fn unwrap(&self, command: &Argv) -> Result<Argv, String> {
        let [_, _, _, _, how, _, words @ ..] = command.words() else {
            return Err(String::new());
        };
        let token = how.split_once(':').map_or("", |(_, token)| token);
        let holder = self.holder.as_ref();
        if holder.is_none_or(|holder| holder.token != token) {
            return Err(token.to_owned());
        }
        let Some((program, args)) = words.split_first() else {
            return Err(token.to_owned());
        };
        Ok(Argv::new(program).args(args.iter().cloned()))
    }
}

/// Whether this is a command in `run.sh`.
pub(super) fn is_wrapped(command: &Argv) -> bool {
    command.script_name() == Some(remote::RUN_NAME)
}
