//! Opens images of every kind and checks what would be handed to `docker load`.

mod build;
mod cache;
mod choice;
mod delta;
mod errors;
mod hostile;
mod layouts;
mod odd;
mod on_the_way;
mod others;
mod remembered;
mod rootfs;
mod scaffold;
