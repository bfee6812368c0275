//! Declarative deployment for ifm O3R VPUs: a manifest, `deploy.toml`, says which directories, volumes, images, files and
//! compose projects a VPU has, and [`Vpu::plan`] lists the steps that make the VPU match it.
//!
//! [`Deployment::load`] reads a manifest and all that it points to. [`Deployment::connect`] logs in to its VPU over ssh;
//! [`Deployment::on`] takes any other [`Host`], such as [`LocalHost`] on the VPU itself. The [`Vpu`] then plans, applies and
//! reports its status. Planning changes nothing; only [`Vpu::apply`] writes.
//!
//! ```
//! # use o3r_testing::vpu::FakeVpu;
//! use o3r_deploy::{ApplyOptions, Deployment, Log, Outcome, Silent};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let folder = tempfile::tempdir()?;
//! # let folder = camino::Utf8Path::from_path(folder.path()).ok_or("UTF-8")?;
//! # let manifest = folder.join("deploy.toml");
//! # std::fs::write(&manifest, "[release]\nname = \"hello\"\n[[directories]]\npath = \"~/share\"\n")?;
//! # let host = FakeVpu::default();
//! let deployment = Deployment::load(&manifest, folder.join("cache"))?;
//! // Over ssh: deployment.connect(&deployment.ssh_options()).await?
//! let vpu = deployment.on(host, "192.168.0.69");
//!
//! let planned = vpu.plan().await?;
//! println!("{}", o3r_deploy::plan_text(&planned.plan));
//! let options = ApplyOptions::new("you@pc");
//! let report = vpu.apply(&planned, options).await?;
//! assert!(matches!(report.outcome, Outcome::Done));
//! assert!(vpu.plan().await?.plan.is_empty());
//! deployment.finish();
//! # Ok(())
//! # }
//! ```
//!
//! A host is also useful on its own:
//!
//! ```
//! use o3r_deploy::{Argv, Host, LocalHost, Stdin};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), o3r_deploy::HostError> {
//! let command = Argv::new("echo").arg("it's one word");
//! let output = LocalHost::default().run(&command, Stdin::Empty).await?;
//! assert_eq!(output.stdout, b"it's one word\n");
//! # Ok(())
//! # }
//! ```

#![cfg_attr(
    test,
    allow(
        clippy::disallowed_methods,
        reason = "unit tests make files of their own"
    )
)]

mod apply;
mod cli;
mod commands;
mod deployment;
mod device;
mod doctor;
mod host;
mod manifest;
mod migrate;
mod nonce;
mod observe;
mod prepare;
mod render;
mod resolve;
mod scaffold;
mod speeds;
mod surroundings;
mod survey;
mod ui;
mod user;

use o3r_core::{
    blocks, closest, compose, compression, cost, desired, digest, generation, health, offers, plan,
    redact, remote, shell, status,
};
use o3r_transfer::{self as image, documents, patch};

// The public interface; a test compares it with the list in `tests/it/snapshots`.
pub use crate::{
    apply::{
        Event, Failure, FailureReason, Interrupts, Locked, Log, Observer, Outcome, Report,
        Restored, Silent,
    },
    deployment::{ApplyOptions, Deployment, Error, Planned, Vpu},
    device::DeviceError,
    host::{
        ByteStream, Held, Host, HostError, LocalHost, Output, Payload as StdinWriter, PresentedKey,
        SshHost, SshOptions, Stdin,
    },
    manifest::{
        Diagnostic, Diagnostics, FindingCode, Label, LoadError, Manifest, NoVpuSelected,
        Options as LoadOptions, Severity, Source, UnknownVpu,
    },
    observe::{ObserveError, ParseError},
    prepare::{Payloads, PrepareError},
    render::{json as plan_json, plan_text, status_json},
};
pub use o3r_core::{
    desired::ManifestRef,
    digest::Digest,
    plan::{
        Action, Address, BlockCode, Blocked, Cause, Command, NotRestorable, Note, NoteCode, Part,
        Payload, PayloadSource, Phase, Plan, PlanError, ResourceKind, Step, Summary, Transport,
        Vpu as PlannedVpu, Watchdog,
    },
    shell::Argv,
    speeds::Speeds,
    status::Status,
};
pub use o3r_transfer::{ImageError, LayerSpan, Platform};

/// The tables of a [`Manifest`].
pub mod tables {
    pub use crate::manifest::types::{
        Absent, Apply, Arch, Autostart, Build, Compose, ComposeState, Directory, Download, Health,
        Image, Keep, Logs, Registries, Release, Rootfs, Transfer, Usb, Vars, Volume, Vpu, Vpus,
        Watchdog,
    };
}

/// The words of a [`Manifest`]: names, paths and quantities.
pub mod words {
    pub use o3r_core::{
        architecture::Architecture,
        names::{
            ByteSize, DeviceName, Duration, EngineRef, FileMode, FirmwareRange, FirmwareVersion,
            HostKey, HostKeys, HostName, ImageRef, LocalPath, NameError, NameGlob, PinnedImageRef,
            ProjectName, RegistryHost, RelativePath, ReleaseName, ReleaseVersion, RemotePath,
            SerialNumber, ServiceName, UserName, VolumeName,
        },
    };
}

/// The parts of a [`Status`].
pub mod state {
    pub use o3r_core::{
        facts::{Applied, ContainerState, NotRestored, Verdict, Watchdog},
        status::{
            AfterBoot, Autostart, Change, Condition, ContainerStatus, Disk, Drift, FailedApply,
            Memory, Project, Release, StartedBy, Unknown,
        },
    };
}

/// All modules, for this project's own binary and tests; without any promise of stability.
#[doc(hidden)]
pub mod internal {
    pub use o3r_core::{
        architecture, blocks, compose, compression, cost, desired, digest, driver, generation,
        health, offers, plan, remote, restart_policy, shell, status,
    };
    pub use o3r_transfer::{self as image, patch};

    macro_rules! open {
        ($($module:ident)+) => {
            $(pub mod $module {
                pub use crate::$module::*;
            })+
        };
    }
    open! {
        apply cli commands device host manifest observe prepare render resolve scaffold speeds ui
    }
}
