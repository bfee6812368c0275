//! Works on the cache while layers are being sent: copies and lists them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError, mpsc};
use std::thread::{self, JoinHandle};

use crate::cache::LayerCache;
use crate::layer::LayerBytes;
use o3r_core::digest::Digest;

/// Background work, done one item after the other until [`Background::finish`].
#[derive(Debug, Default)]
pub(crate) struct Background(Mutex<Running>);

#[derive(Debug, Default)]
struct Running {
    worker: Option<Worker>,
    /// Work of [`Background::once`] that has been started.
    begun: BTreeSet<(Once, Digest)>,
    /// Layers that sending is expected to cache, with their origin. [`Background::finish`] copies
    /// those that were not sent.
    unless_sent: BTreeMap<Digest, (LayerBytes, String)>,
}

/// Work that is done once for each layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Once {
    /// Cache the layer in the form its source has.
    Keep,
    /// List the layer's content.
    List,
}

type Work = Box<dyn FnOnce() + Send>;

#[derive(Debug)]
struct Worker {
    queue: mpsc::Sender<Work>,
    thread: JoinHandle<()>,
}

impl Background {
    /// Copies a layer uncompressed. If the cache cannot be written, only warns: the layer is
    /// fetched again next time.
    pub(crate) fn copy(&self, cache: &LayerCache, layer: &LayerBytes, origin: &str) {
        let (cache, layer, origin) = (cache.clone(), layer.clone(), origin.to_owned());
        self.start(move || copy(&cache, &layer, &origin));
    }

    /// Copies a layer in [`Self::finish`], if sending has not cached it by then.
    pub(crate) fn copy_unless_sent(&self, layer: &LayerBytes, origin: &str) {
        let waiting = (layer.clone(), origin.to_owned());
        self.running().unless_sent.insert(layer.diff_id, waiting);
    }

    /// Starts work on a layer, only the first time for each `what` and layer.
    pub(crate) fn once(&self, what: Once, diff_id: Digest, work: impl FnOnce() + Send + 'static) {
        if self.running().begun.insert((what, diff_id)) {
            self.start(work);
        }
    }

    /// Waits until all work is done.
    pub(crate) fn finish(&self, cache: &LayerCache) {
        let (worker, unless_sent) = {
            let mut running = self.running();
            let unless_sent = std::mem::take(&mut running.unless_sent);
            (running.worker.take(), unless_sent)
        };
        if let Some(Worker { queue, thread }) = worker {
            drop(queue);
            // The thread ends early only after a panic, which it has reported.
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
                Err(error) => tracing::warn!(%error, "layers are not added to the cache"),
            }
        }
        if let Some(worker) = &running.worker {
            // The queue is closed only after a panic, which the thread has reported.
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
