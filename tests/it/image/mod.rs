//! Opens images of every kind and checks what would be handed to `docker load`.

mod cache;
mod delta;
mod errors;
mod foreign_archives;
mod hostile;
mod layouts;
mod reopening;
mod rootfs;
mod scaffold;
mod selection;
mod streaming;
mod unusual_archives;
