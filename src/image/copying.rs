//! Copies layers into the cache while they are being sent.

use std::sync::{Mutex, PoisonError};
use std::thread::{self, JoinHandle};

use super::LayerCache;
use super::contents::LayerBytes;

/// Copies that are being made; waits for them when it is dropped, so that none is cut off by the end of the
/// program.
#[derive(Debug, Default)]
pub(super) struct Copying(Mutex<Vec<JoinHandle<()>>>);

impl Copying {
    /// Copies a layer as it is. A cache that cannot be written is only told of: the layer is got again.
    pub(super) fn start(&self, cache: LayerCache, layer: LayerBytes, origin: &str) {
        let origin = origin.to_owned();
        let copy = move || {
            if let Err(error) = cache.add_plain(&layer, &origin) {
                tracing::warn!(%error, "the layer is not kept for the next time");
            }
        };
        match thread::Builder::new().name("copying".into()).spawn(copy) {
            Ok(thread) => self.running().push(thread),
            Err(error) => tracing::warn!(%error, "the layer is not kept for the next time"),
        }
    }

    fn running(&self) -> std::sync::MutexGuard<'_, Vec<JoinHandle<()>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Copying {
    fn drop(&mut self) {
        for thread in self.running().drain(..) {
            // One that panicked has said so itself.
            let _ = thread.join();
        }
    }
}
