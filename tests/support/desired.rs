//! The desired state of tests that need none.

use o3r_deploy::internal::desired::{Desired, Guards, Release};

/// Returns a release called `app` without resources, for a VPU of this architecture.
pub fn nothing(arch: &str) -> Desired {
    let release = Release {
        name: "app".parse().unwrap(),
        version: String::new(),
        source: None,
    };
    let guards = Guards {
        arch: arch.into(),
        serial: None,
        firmware: None,
        api_port: 80,
    };
    Desired::nothing(release, guards)
}
