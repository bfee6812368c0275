//! Opens local images of every kind, packs and caches their layers, and computes deltas against old
//! versions of an image or a file. Knows neither VPUs nor plans.
//!
//! From the bottom up: `files` and `tarball` read, `compress` and `layer` pack and verify,
//! [`LayerCache`] stores, [`Image`] is opened from its [`Source`], `load_archive` writes what
//! `docker load` reads, `delta` omits content that the old version has, and an [`ImageSender`]
//! combines them.

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
    send::{ImageSender, Layer, LayerSpan, ListedFile, Listing, Making, Manner},
    tail_gate::TailGate,
    work::{Work, WorkProgress},
};
