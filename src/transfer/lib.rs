//! Moves bytes: reads local images of every kind, packs and remembers their layers, and finds what of an image or a
//! file need not be sent because an old version is there. It knows no VPU and no plan.
//!
//! From the bottom up: `files` and `tarball` read, `compress` and `layer` pack and check, [`LayerCache`] keeps,
//! [`Image`] is opened from its [`Source`], `load_archive` is what `docker load` reads, `delta` leaves out what is there,
//! and an [`ImageSender`] puts them together.

mod cache;
mod compress;
mod delta;
pub mod documents;
mod error;
mod files;
mod image;
mod layer;
mod load_archive;
mod platform;
mod send;
mod tail_gate;
mod tarball;
mod work;

pub use self::{
    cache::LayerCache,
    delta::file as patch,
    error::ImageError,
    files::ScratchDir,
    image::{Image, Rootfs, Source},
    load_archive::LayerSelection,
    platform::Platform,
    send::{ImageSender, Layer, LayerSpan, Making, Manner},
    tail_gate::TailGate,
    work::{Work, WorkProgress},
};
