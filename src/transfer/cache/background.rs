//! Works on the cache while layers are being sent: copies them, and lists what is in them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError, mpsc};
use std::thread::{self, JoinHandle};

use crate::cache::LayerCache;
use crate::layer::LayerBytes;
use o3r_core::digest::Digest;

/// What is done in the background, one thing after the other, until [`Background::finish`].
#[derive(Debug, Default)]
pub(crate) struct Background(Mutex<Running>);

#[derive(Debug, Default)]
struct Running {
    worker: Option<Worker>,
    /// What was begun once.
    begun: BTreeSet<(Once, Digest)>,
    /// Layers that sending keeps, with where they come from: copied in the end where that did not happen.
    unless_sent: BTreeMap<Digest, (LayerBytes, String)>,
}

/// What is done once a layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Once {
    /// It is kept in the form that its source has it in.
    Keep,
    /// What is in it is listed.
    List,
}

type Work = Box<dyn FnOnce() + Send>;

#[derive(Debug)]
struct Worker {
    queue: mpsc::Sender<Work>,
    thread: JoinHandle<()>,
}

impl Background {
    /// Copies a layer uncompressed. A cache that cannot be written is only a warning: the layer is got again.
    pub(crate) fn copy(&self, cache: &LayerCache, layer: &LayerBytes, origin: &str) {
        let (cache, layer, origin) = (cache.clone(), layer.clone(), origin.to_owned());
        self.start(move || copy(&cache, &layer, &origin));
    }

    /// Likewise in the end, where sending has not kept it.
    pub(crate) fn copy_unless_sent(&self, layer: &LayerBytes, origin: &str) {
        let waiting = (layer.clone(), origin.to_owned());
        self.running().unless_sent.insert(layer.diff_id, waiting);
    }

    /// Does something with a layer, the first time that it is asked for.
    pub(crate) fn once(&self, what: Once, diff_id: Digest, work: impl FnOnce() + Send + 'static) {
        if self.running().begun.insert((what, diff_id)) {
            self.start(work);
        }
    }

    /// Ends all of it.
    pub(crate) fn finish(&self, cache: &LayerCache) {
        let (worker, unless_sent) = {
            let mut running = self.running();
            let unless_sent = std::mem::take(&mut running.unless_sent);
            (running.worker.take(), unless_sent)
        };
        if let Some(Worker { queue, thread }) = worker {
            drop(queue);
            // It ends early only if it panicked, and has said so itself.
            let _ = thread.join();
        }
        for (diff_id, (layer, origin)) in unless_sent {
            if cache.layer(diff_id, None).is_none() {
                copy(cache, &layer, &origin);
            }
        }
    }

    fn start(&self, work: impl FnOnce() + Send + 'static) {
        let mut running = self.running();
        if running.worker.is_none() {
            let (queue, works) = mpsc::channel::<Work>();
            let work = move || works.into_iter().for_each(|work| work());
            match thread::Builder::new().name("copying".into()).spawn(work) {
                Ok(thread) => running.worker = Some(Worker { queue, thread }),
                Err(error) => tracing::warn!(%error, "nothing is kept for the next time"),
            }
        }
        if let Some(worker) = &running.worker {
            // It takes no more only if it panicked, and has said so itself.
            let _ = worker.queue.send(Box::new(work));
        }
    }

    fn running(&self) -> MutexGuard<'_, Running> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn copy(cache: &LayerCache, layer: &LayerBytes, origin: &str) {
    if let Err(error) = cache.add_plain(layer, origin) {
        tracing::warn!(%error, "the layer is not cached");
    }
}
