//! The parts of twin tests.

mod app;
mod device;
mod image;
mod link;
mod process;
mod site;
mod twin;
mod watchdog;

pub(crate) use app::App;
pub(crate) use device::{api, ifm3dpy, inject};
pub(crate) use image::{Layout, Packing, TinyImage, noise, rootfs};
pub(crate) use link::Link;
pub(crate) use process::{Ran, Running, feed, run};
pub(crate) use site::{Site, architecture};
pub(crate) use twin::{Profile, Twin};
