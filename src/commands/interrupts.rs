//! Counts the signals that would end the process, so that
//! connections are closed and unfinished work is reported.

use std::io::IsTerminal as _;

use tokio::{
    signal::unix::{SignalKind, signal},
    sync::watch,
};

use super::{CommandError, ErrorCode};
use crate::apply::Interrupts;
use crate::surroundings::program;

/// Ctrl-C, the signal of CI and service managers, a closed terminal, and Ctrl-\.
const SIGNALS: [SignalKind; 4] = [
    SignalKind::interrupt(),
    SignalKind::terminate(),
    SignalKind::hangup(),
    SignalKind::quit(),
];

/// Counts these signals from now on. A signal that the
/// parent process ignores (nohup) stays ignored.
pub(super) fn listen() -> Interrupts {
    let (sender, receiver) = watch::channel(0);
    let ignored = ignored();
    for kind in SIGNALS {
        if ignored >> (kind.as_raw_value() - 1) & 1 == 1 {
            continue;
        }
        let Ok(mut signals) = signal(kind) else {
            continue;
        };
        let sender = sender.clone();
        tokio::spawn(async move {
            while signals.recv().await.is_some() {
                sender.send_modify(|count| *count += 1);
            }
        });
    }
    receiver
}

/// Returns the ignored signals as bits.
fn ignored() -> u64 {
    let status = fs_err::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok())
        .unwrap_or_default()
}

/// Runs a command that changes nothing, so that it may be
/// interrupted anywhere; cleans up after an interrupt.
pub(super) async fn until<T>(
    mut interrupts: Interrupts,
    command: impl Future<Output = Result<T, CommandError>>,
) -> Result<T, CommandError> {
    tokio::select! {
        ended = command => ended,
        Ok(_) = interrupts.wait_for(|times| *times > 0) => {
            show_typing().await;
            Err(CommandError::message(
                ErrorCode::Interrupted,
                "interrupted; nothing was changed",
                None,
            ))
        }
    }
}

/// Turns terminal echo on again: ssh turns it off for a
/// password prompt, and is killed before it restores it.
async fn show_typing() {
    let Ok(terminal) = fs_err::File::open("/dev/tty") else {
        return;
    };
    if std::io::stderr().is_terminal() {
        let mut stty = program("stty");
        let _ = stty.arg("echo").stdin(terminal.into_file()).output().await;
    }
}
