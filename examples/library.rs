//! Deploys a manifest from a program of one's own, by the library that `o3r-deploy` is made of.
//!
//! ```console
//! cargo run --example library -- plan deploy.toml            over ssh, as the manifest says
//! cargo run --example library -- apply deploy.toml --local   on the VPU itself
//! ```

#![expect(
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "this is a command line"
)]

use std::{env, error::Error, path::PathBuf, process::ExitCode};

use camino::Utf8PathBuf;
use o3r_deploy::{
    ApplyOptions, Deployment, Event, Host, LocalHost, Observer, Outcome, Vpu, plan_text,
    status_json,
};

/// Prints a line a step.
struct Lines;

impl Observer for Lines {
    fn event(&self, event: Event<'_>) {
        match event {
            Event::Started(step) => println!("{} {}", step.action.verb(), step.address),
            Event::Undoing(step) => println!("rolling back {}", step.address),
            Event::Warned(text) => println!("warning: {text}"),
            _ => {}
        }
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<ExitCode, Box<dyn Error>> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let (what, manifest, is_local) = match words.as_slice() {
        [what, manifest] => (*what, *manifest, false),
        [what, manifest, "--local"] => (*what, *manifest, true),
        _ => return Err("usage: library plan|apply|status MANIFEST [--local]".into()),
    };
    let cache = env::home_dir().unwrap_or_else(|| PathBuf::from("."));
    let cache = Utf8PathBuf::try_from(cache)?.join(".cache/o3r-deploy");
    let deployment = Deployment::load(manifest, cache)?;
    let ended = if is_local {
        run(&deployment.on(LocalHost::default(), "this VPU"), what).await
    } else {
        run(&deployment.connect(&deployment.ssh_options()).await?, what).await
    };
    // Layers that are still being copied into the cache need not be compressed again next time.
    deployment.finish();
    ended
}

async fn run<H: Host>(vpu: &Vpu<H>, what: &str) -> Result<ExitCode, Box<dyn Error>> {
    match what {
        "status" => {
            print!("{}", status_json(&vpu.status().await?));
            return Ok(ExitCode::SUCCESS);
        }
        "plan" | "apply" => {}
        other => return Err(format!("no command {other}").into()),
    }
    let planned = vpu.plan().await?;
    print!("{}", plan_text(&planned.plan));
    if what == "plan" {
        return Ok(ExitCode::SUCCESS);
    }
    let mut options = ApplyOptions::new("a program");
    options.observer = std::sync::Arc::new(Lines);
    match vpu.apply(&planned, options).await?.outcome {
        Outcome::Done => Ok(ExitCode::SUCCESS),
        Outcome::Unconfirmed { token } => Err(format!("waits for a confirmation: {token}").into()),
        Outcome::Interrupted { at, .. } => Err(format!("interrupted at {at}").into()),
        Outcome::Failed(failure) => {
            println!(
                "{} failed in {}: {}",
                failure.address, failure.command, failure.reason
            );
            Ok(ExitCode::FAILURE)
        }
    }
}
