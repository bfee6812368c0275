//! Sends an image in parts: one is sent while docker loads the previous one.

use std::{future::Future, io, io::Write as _, pin::Pin, sync::mpsc};

use tokio::sync::oneshot;

use super::runner::Runner;
use crate::{
    host::{self, Host, HostError, Output, Stdin},
    image::TailGate,
    plan::Part,
    remote::How,
};

/// The last bytes of an archive, held back until the previous part is loaded: docker reads an archive to its end before
/// it unpacks anything.
const HELD_BACK: usize = 1024;

/// A part being loaded.
type Loading<'a> = Pin<Box<dyn Future<Output = Result<Output, HostError>> + Send + 'a>>;

/// How a part ended that was not loaded.
enum Stop {
    Host(HostError),
    /// A command failed with this output; retrying does not help.
    Ended(Output),
}

impl From<HostError> for Stop {
    fn from(error: HostError) -> Self {
        Self::Host(error)
    }
}

/// Sends all parts; `open` gives the bytes of each. Returns the output of the first command that failed, or of the last.
pub(super) async fn send<H: Host>(
    runner: &Runner<'_, H>,
    parts: &[Part],
    open: impl Fn(&Part) -> io::Result<host::Payload>,
) -> Result<Output, HostError> {
    let mut loading: Option<Loading<'_>> = None;
    let mut last = Output::said(String::new());
    for part in parts {
        let payload = open(part).map_err(HostError::Payload)?;
        let next = match &part.receive {
            Some(receive) => {
                let received = runner.run(How::Brings, None, receive, Stdin::Stream(payload));
                match tokio::try_join!(finished(received), loaded(loading.take())) {
                    Ok(_) => {
                        let load = runner.run(How::Loads, None, &part.load, Stdin::Empty);
                        Some(Box::pin(load) as Loading<'_>)
                    }
                    Err(stop) => return stop.output(),
                }
            }
            None => match stream(runner, part, payload, loading.take()).await {
                Ok(next) => next,
                Err(stop) => return stop.output(),
            },
        };
        loading = next;
    }
    if let Some(loading) = loading {
        last = loading.await?;
    }
    Ok(last)
}

/// Sends a part to the command that loads it; holds back its end while `before` is loaded. Returns the load to wait for.
async fn stream<'a, H: Host>(
    runner: &'a Runner<'_, H>,
    part: &'a Part,
    payload: host::Payload,
    before: Option<Loading<'a>>,
) -> Result<Option<Loading<'a>>, Stop> {
    let (open, gate) = mpsc::channel();
    let (tell, told) = oneshot::channel();
    let payload: host::Payload = Box::new(move |out| {
        let mut held = TailGate::new(out, HELD_BACK);
        payload(&mut held)?;
        held.flush()?;
        // Nobody listens only if the part before was not loaded.
        let _ = tell.send(());
        let gone = |_| io::Error::other("the previous part was not loaded");
        gate.recv().map_err(gone)?;
        held.release()
    });
    let mut this: Loading<'a> =
        Box::pin(runner.run(How::Brings, None, &part.load, Stdin::Stream(payload)));
    tokio::select! {
        // The one before is asked first: a host may do everything at once when it is asked.
        biased;
        before = loaded(before) => { before?; }
        // It was not allowed to end yet.
        output = &mut this => return Err(Stop::Ended(output?)),
    }
    // It only continues alone if the other side is gone, which shows in its result.
    let _ = open.send(());
    tokio::select! {
        biased;
        output = &mut this => { finished(async { output }).await?; Ok(None) }
        _ = told => Ok(Some(this)),
    }
}

/// Waits for a part to be loaded, if one is being loaded.
async fn loaded(loading: Option<Loading<'_>>) -> Result<(), Stop> {
    match loading {
        Some(loading) => finished(loading).await,
        None => Ok(()),
    }
}

async fn finished(command: impl Future<Output = Result<Output, HostError>>) -> Result<(), Stop> {
    let output = command.await?;
    if output.success() {
        Ok(())
    } else {
        Err(Stop::Ended(output))
    }
}

impl Stop {
    fn output(self) -> Result<Output, HostError> {
        match self {
            Self::Host(error) => Err(error),
            Self::Ended(output) => Ok(output),
        }
    }
}
