//! Copies layers into the cache, and lists what is in them, while they are being sent: what a later delta needs to
//! know of them.

use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard, PoisonError, mpsc};
use std::thread::{self, JoinHandle};

use super::contents::LayerBytes;
use super::{LayerCache, delta};
use o3r_core::digest::Digest;

/// What is being done, one thing after the other; waits for it when it is dropped, so that nothing is cut off
/// by the end of the program.
#[derive(Debug, Default)]
pub(super) struct Copying(Mutex<Running>);

#[derive(Debug, Default)]
struct Running {
    worker: Option<Worker>,
    listed: BTreeSet<Digest>,
    kept: BTreeSet<Digest>,
}

type Work = Box<dyn FnOnce() + Send>;

#[derive(Debug)]
struct Worker {
    queue: mpsc::Sender<Work>,
    thread: JoinHandle<()>,
}

impl Copying {
    /// Copies a layer as it is. A cache that cannot be written is only told of: the layer is got again.
    pub(super) fn copy(&self, cache: LayerCache, layer: LayerBytes, origin: &str) {
        let origin = origin.to_owned();
        self.start(move || {
            if let Err(error) = cache.add_plain(&layer, &origin) {
                tracing::warn!(%error, "the layer is not kept for the next time");
            }
        });
    }

    /// Copies a layer in the form that its source has it in, once, where the cache has it in none.
    pub(super) fn keep(&self, cache: LayerCache, layer: LayerBytes, origin: &str) {
        if !self.running().kept.insert(layer.diff_id) {
            return;
        }
        let origin = origin.to_owned();
        self.start(move || {
            if let Err(error) = cache.add_stored(&layer, &origin) {
                tracing::warn!(%error, "the layer is not kept for the next time");
            }
        });
    }

    /// Lists what is in a layer, once. A layer that cannot be read is told of by who sends it.
    pub(super) fn list(&self, cache: LayerCache, layer: LayerBytes) {
        if self.running().listed.insert(layer.diff_id) {
            self.start(move || {
                if let Err(error) = delta::list(&cache, layer) {
                    tracing::debug!(%error, "the layer is not listed");
                }
            });
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

impl Drop for Copying {
    fn drop(&mut self) {
        let worker = self.running().worker.take();
        if let Some(Worker { queue, thread }) = worker {
            drop(queue);
            let _ = thread.join();
        }
    }
}
