//! Moves bytes: reads local images of every kind, packs and remembers their layers, and finds what of an image or a
//! file need not be sent because an old version is there. It knows no VPU and no plan.

pub mod held_back;
pub mod image;
pub mod kept;
pub mod patch;
