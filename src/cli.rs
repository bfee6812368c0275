//! Declares the command line; types only.

mod unknown;

use std::time;

use camino::Utf8PathBuf;
use clap::{Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;

use o3r_core::names::{Duration, HostName, NameError, ReleaseName, ReleaseVersion};

pub use unknown::{Later, later, with_hint, with_later};

/// The manifest's default file name.
pub const DEFAULT_FILE: &str = "deploy.toml";

/// Declarative deployment of containerised applications to ifm O3R VPUs
#[derive(Debug, Parser)]
#[command(
    name = "o3r-deploy",
    version,
    propagate_version = true,
    max_term_width = 100
)]
pub struct Cli {
    /// Options of every command.
    #[command(flatten, next_help_heading = "Options of every command")]
    pub global: Global,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// Options of every command.
#[derive(Debug, Args)]
pub struct Global {
    /// Path of the manifest; by default, also looked for in the folders above
    #[arg(
        short,
        long,
        global = true,
        default_value = DEFAULT_FILE,
        value_name = "FILE"
    )]
    pub file: Utf8PathBuf,
    /// Whether the command line does not name the manifest.
    #[arg(skip)]
    pub is_default_file: bool,
    /// VPU to use: its `[vpus.NAME]` table overrides keys of `[vpu]`
    #[arg(long, global = true, value_name = "NAME")]
    pub vpu: Option<String>,
    /// The VPU's address [default: `[vpu].host`, then `$IFM3D_IP`, then 192.168.0.69]
    #[arg(long, global = true, value_name = "HOST")]
    pub host: Option<HostName>,
    /// Version to deploy, instead of `[release].version`
    #[arg(long, global = true, value_name = "V", hide_short_help = true)]
    pub release_version: Option<ReleaseVersion>,
    /// Show more: all commands, internal steps, files and digests of a plan; twice (-vv): debug
    /// messages with their times
    #[arg(short, long, global = true, action = clap::ArgAction::Count, conflicts_with = "quiet")]
    pub verbose: u8,
    /// Show only results and errors
    #[arg(short, long, global = true)]
    pub quiet: bool,
    /// When to use colours
    #[arg(
        long,
        global = true,
        value_enum,
        default_value_t = Color::Auto,
        value_name = "WHEN",
        hide_short_help = true
    )]
    pub color: Color,
    /// Directory for the logs of applies
    #[arg(
        long,
        global = true,
        default_value = "~/o3r_logs/Deployments",
        value_name = "DIR",
        hide_short_help = true
    )]
    pub log_dir: Utf8PathBuf,
}

/// When to use colours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Color {
    /// On a terminal, unless `NO_COLOR` is set; always if `CLICOLOR_FORCE` is set.
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Write a deploy.toml for the compose file and images in this folder; with --host, also authorize
    Init(Init),
    /// Write a deploy.toml from a command line of `o3r_docker_manager` or `ovp_docker_utils`
    #[command(
        after_help = "Example: o3r-deploy migrate -- o3r_docker_manager --IP 192.168.0.69 --transfers_to_vpu './src,~/share/src'"
    )]
    Migrate(Migrate),
    /// Let a key of this machine log in to a VPU, and pin the VPU in the manifest
    Authorize(Authorize),
    /// Validate the manifest and all files that it names, without a VPU
    Check(Check),
    /// Show what apply would do; changes nothing
    #[command(
        after_help = "Exit codes: 0: planned; with --exit-code, 2: there are changes; 9: a resource is blocked, for \
                            example because a release waits to be confirmed; others: docs/exit-codes.md"
    )]
    Plan(Plan),
    /// Make the VPU match the manifest
    Apply(Apply),
    /// Keep a release that waits to be confirmed
    Confirm(Answer),
    /// Roll back a release that waits to be confirmed
    Cancel(Answer),
    /// Return to a release that the VPU keeps
    Rollback(Rollback),
    /// Show the releases that the VPU keeps, and the applies
    History(History),
    /// Remove all that a release deployed, and its record; data only with --volumes
    Destroy(Destroy),
    /// Drop the record of a release; what it deployed stays
    Forget(Forget),
    /// Show what is deployed, what runs and what drifted
    Status(Status),
    /// Examine this machine, the link and the VPU, and say what to do
    #[command(
        after_help = "Exit codes: 0: no problem; 3: the VPU cannot be reached; 9: a problem; others: docs/exit-codes.md"
    )]
    Doctor(Doctor),
    /// Save the state of the VPU to plan offline
    Observe(Observe),
    /// Print the JSON schema of deploy.toml, or of another document
    Schema(Schema),
    /// Print a completion script for your shell
    Completions(Completions),
    /// Print the manual page
    Man(Man),
}

impl Command {
    /// Whether standard output has one JSON document, however the command ends.
    pub fn prints_json(&self) -> bool {
        match self {
            Self::Check(args) => args.format == TextOrJson::Json,
            Self::Plan(args) => args.format == PlanFormat::Json,
            Self::Apply(args) => args.how.format == TextOrJson::Json,
            Self::Rollback(args) => args.how.format == TextOrJson::Json,
            Self::Destroy(args) => args.format == TextOrJson::Json,
            Self::History(args) => args.format == TextOrJson::Json,
            Self::Status(args) => args.format == TextOrJson::Json,
            Self::Doctor(args) => args.format == TextOrJson::Json,
            Self::Observe(args) => args.output.is_none(),
            Self::Init(_)
            | Self::Migrate(_)
            | Self::Authorize(_)
            | Self::Confirm(_)
            | Self::Forget(_)
            | Self::Cancel(_)
            | Self::Schema(_)
            | Self::Completions(_)
            | Self::Man(_) => false,
        }
    }
}

/// Parses a release name of the command line; the error says how to write one.
fn release_name(text: &str) -> Result<ReleaseName, String> {
    text.parse().map_err(|error: NameError| {
        let lower = text.to_lowercase();
        if lower.parse::<ReleaseName>().is_ok() {
            format!("{error}; use lower case: `--name {lower}`")
        } else {
            format!("{error}; {}", error.help)
        }
    })
}

/// Parses a duration of the command line; the error says how to write one.
fn duration(text: &str) -> Result<Duration, String> {
    text.parse()
        .map_err(|error: NameError| format!("{error}; {}", error.help))
}

/// The shortest time for a person to confirm a release, the same as that of `[apply].watchdog`: docker and a busy link
/// take seconds of it.
const SHORTEST_CONFIRM: time::Duration = time::Duration::from_secs(30);

/// The longest time: until then, the VPU takes no other release.
const LONGEST_CONFIRM: time::Duration = time::Duration::from_secs(24 * 3600);

/// Parses the time of `--confirm-within`.
fn confirm_within(text: &str) -> Result<Duration, String> {
    let time = duration(text)?;
    let range = SHORTEST_CONFIRM..=LONGEST_CONFIRM;
    let is_allowed = range.contains(&time.get());
    is_allowed.then_some(time).ok_or_else(|| {
        "a release waits 30s to 24h to be confirmed; write a time in this range, e.g. `30m`"
            .to_owned()
    })
}

/// Reads a token, which becomes part of a file name on the VPU.
fn token(text: &str) -> Result<String, String> {
    let is_token = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric());
    is_token
        .then(|| text.to_owned())
        .ok_or_else(|| "a token is the word that `apply --confirm-within` printed".to_owned())
}

/// `init`.
#[derive(Debug, Args)]
pub struct Init {
    /// The release's name [default: the folder's name]
    #[arg(long, value_name = "NAME", value_parser = release_name)]
    pub name: Option<ReleaseName>,
    /// Describe what runs on the VPU, and fetch its compose and other files
    #[arg(long)]
    pub from_vpu: bool,
    /// With `--host`: trust the host key that the VPU presents, without a question
    #[arg(short, long)]
    pub yes: bool,
}

/// `migrate`.
#[derive(Debug, Args)]
pub struct Migrate {
    /// The release's name [default: the folder's name]
    #[arg(long, value_name = "NAME", value_parser = release_name)]
    pub name: Option<ReleaseName>,
    /// The command line of the earlier tool, behind `--`; its paths are relative to the manifest's folder
    #[arg(last = true, required = true, value_name = "COMMAND LINE")]
    pub command_line: Vec<String>,
}

/// `check`.
#[derive(Debug, Args)]
pub struct Check {
    /// Output format
    #[arg(long, value_enum, default_value_t = TextOrJson::Text)]
    pub format: TextOrJson,
}

/// `plan`.
#[derive(Debug, Args)]
pub struct Plan {
    /// Output format
    #[arg(long, value_enum, default_value_t = PlanFormat::Text)]
    pub format: PlanFormat,
    /// Also save the plan: as a JSON document for `apply FILE`, or with `--format sh` as a directory
    /// with the script and its payloads
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<Utf8PathBuf>,
    /// With `--format sh -o`: also write the payloads that hold secrets
    #[arg(long, requires = "output")]
    pub with_secrets: bool,
    /// Exit with 2 if there are changes
    #[arg(long)]
    pub exit_code: bool,
    /// Also compare the files of images on the VPU's disk with their sources: finds what a power cut damaged, and reads all
    /// of them
    #[arg(long, conflicts_with = "observed")]
    pub verify: bool,
    /// What may be done beyond the manifest.
    #[command(flatten)]
    pub permits: Permits,
    /// Plan offline, from a file that `observe -o FILE` saved
    #[arg(long, value_name = "FILE", conflicts_with = "host")]
    pub observed: Option<Utf8PathBuf>,
}

/// `apply`.
#[derive(Debug, Args)]
pub struct Apply {
    /// Apply exactly the plan that `plan -o FILE` saved; fails if it is stale
    pub plan: Option<Utf8PathBuf>,
    /// Also compare the files of images on the VPU's disk with their sources, and repair damaged ones
    #[arg(long, conflicts_with = "plan")]
    pub verify: bool,
    /// How to apply.
    #[command(flatten)]
    pub how: Applying,
}

/// `rollback`.
#[derive(Debug, Args)]
pub struct Rollback {
    /// The release's version, or its number in `history`, as `#3` [default: the one before the current one]
    pub release: Option<String>,
    /// The release's name, if the VPU has several and no manifest names one
    #[arg(long, value_name = "NAME", value_parser = release_name)]
    pub name: Option<ReleaseName>,
    /// Show what would be done; changes nothing
    #[arg(long, conflicts_with_all = ["yes", "no_rollback", "break_lock", "lock_wait", "confirm_within"])]
    pub dry_run: bool,
    /// How to apply.
    #[command(flatten)]
    pub how: Applying,
}

/// The options that permit more than the manifest declares.
#[derive(Debug, Clone, Copy, Default, Args)]
pub struct Permits {
    /// Take over compose projects that belong to other releases
    #[arg(long)]
    pub take_over: bool,
    /// Also remove data that is no longer declared: files that were changed on the VPU, volumes and directories with what is in them
    #[arg(long)]
    pub prune: bool,
}

impl From<Permits> for crate::desired::Permits {
    fn from(permits: Permits) -> Self {
        let Permits { take_over, prune } = permits;
        Self { take_over, prune }
    }
}

/// What to do about another apply that has the VPU's lock.
#[derive(Debug, Clone, Args)]
pub struct Lock {
    /// Take the lock from another apply
    #[arg(long)]
    pub break_lock: bool,
    /// Wait this long for another apply to end, e.g. `5m`, instead of failing at once
    #[arg(long, value_name = "TIME", conflicts_with = "break_lock", value_parser = duration)]
    pub lock_wait: Option<Duration>,
}

/// The options of `apply` and `rollback`.
#[derive(Debug, Args)]
pub struct Applying {
    /// What may be done beyond the manifest.
    #[command(flatten)]
    pub permits: Permits,
    /// Skip the confirmation prompt
    #[arg(short, long)]
    pub yes: bool,
    /// Output format
    #[arg(long, value_enum, default_value_t = TextOrJson::Text)]
    pub format: TextOrJson,
    /// Do not restore the current release when a step fails
    #[arg(long)]
    pub no_rollback: bool,
    /// What to do about another apply.
    #[command(flatten)]
    pub lock: Lock,
    /// Restore the current release after this time, 30s to 24h, e.g. `30m`, unless `confirm` comes first
    #[arg(long, value_name = "TIME", conflicts_with = "no_rollback", value_parser = confirm_within)]
    pub confirm_within: Option<Duration>,
}

/// `destroy`.
#[derive(Debug, Args)]
pub struct Destroy {
    /// The release's name, as `status` lists it [default: the manifest's]
    #[arg(value_parser = release_name)]
    pub release: Option<ReleaseName>,
    /// Also remove data: volumes and directories with what is in them, and files that were changed on the VPU
    #[arg(long)]
    pub volumes: bool,
    /// Show what would be done; changes nothing
    #[arg(long, conflicts_with_all = ["yes", "break_lock", "lock_wait"])]
    pub dry_run: bool,
    /// Skip the confirmation prompt
    #[arg(short, long)]
    pub yes: bool,
    /// Output format
    #[arg(long, value_enum, default_value_t = TextOrJson::Text)]
    pub format: TextOrJson,
    /// What to do about another apply.
    #[command(flatten)]
    pub lock: Lock,
}

impl Destroy {
    /// Returns what may be done.
    pub fn permits(&self) -> Permits {
        Permits {
            take_over: false,
            prune: self.volumes,
        }
    }

    /// Returns the options of an apply.
    pub fn applying(&self) -> Applying {
        Applying {
            permits: self.permits(),
            yes: self.yes,
            format: self.format,
            no_rollback: false,
            lock: self.lock.clone(),
            confirm_within: None,
        }
    }
}

/// `history`.
#[derive(Debug, Args)]
pub struct History {
    /// The release's name [default: the manifest's; without a manifest, all]
    #[arg(long, value_name = "NAME", value_parser = release_name)]
    pub name: Option<ReleaseName>,
    /// Output format
    #[arg(long, value_enum, default_value_t = TextOrJson::Text)]
    pub format: TextOrJson,
}

/// `authorize`.
#[derive(Debug, Args)]
pub struct Authorize {
    /// The key to log in with, its private or its public file [default: `identity` in `[vpu]`, else an own one in `~/.ssh`;
    /// if there is none, an ed25519 key is made]
    #[arg(long, value_name = "FILE")]
    pub key: Option<Utf8PathBuf>,
    /// Trust the host key that the VPU presents, without a question
    #[arg(short, long)]
    pub yes: bool,
}

/// `forget`.
#[derive(Debug, Args)]
pub struct Forget {
    /// The release's name, as `status` lists it
    #[arg(value_parser = release_name)]
    pub release: ReleaseName,
    /// Skip the confirmation prompt
    #[arg(short, long)]
    pub yes: bool,
}

/// `confirm` and `cancel`.
#[derive(Debug, Args)]
pub struct Answer {
    /// The token that `apply --confirm-within` printed
    #[arg(value_parser = token)]
    pub token: String,
}

/// `status`.
#[derive(Debug, Args)]
pub struct Status {
    /// Output format
    #[arg(long, value_enum, default_value_t = TextOrJson::Text)]
    pub format: TextOrJson,
    /// Exit with 2 if the VPU differs from the manifest or a container of a release fails, with 9 if a resource is blocked
    #[arg(long)]
    pub exit_code: bool,
    /// Also compare the files of images on the VPU's disk with their sources: finds what a power cut damaged, and reads all
    /// of them
    #[arg(long)]
    pub verify: bool,
}

/// `doctor`.
#[derive(Debug, Args)]
pub struct Doctor {
    /// Output format
    #[arg(long, value_enum, default_value_t = TextOrJson::Text)]
    pub format: TextOrJson,
    /// Also write the report with the state of the VPU to a file, for somebody else to look into; it has no secrets
    #[arg(long, value_name = "FILE")]
    pub bundle: Option<Utf8PathBuf>,
}

/// `observe`.
#[derive(Debug, Args)]
pub struct Observe {
    /// File to write [default: standard output]
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<Utf8PathBuf>,
    /// Output format
    #[arg(long, value_enum, default_value_t = OnlyJson::Json)]
    pub format: OnlyJson,
}

/// `completions`.
#[derive(Debug, Args)]
pub struct Completions {
    /// Shell to complete for
    #[arg(value_enum)]
    pub shell: Shell,
}

/// `man`.
#[derive(Debug, Args)]
pub struct Man {
    /// Write a page for every command into this directory instead
    #[arg(short, long, value_name = "DIRECTORY")]
    pub output: Option<Utf8PathBuf>,
}

/// `schema`.
#[derive(Debug, Args)]
pub struct Schema {
    /// Document to describe
    #[arg(value_enum, default_value_t = Document::Manifest)]
    pub document: Document,
}

/// A document with a schema.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Document {
    /// `deploy.toml`.
    Manifest,
    /// `vpus.toml`.
    #[value(alias = "vpu")]
    Vpus,
    /// What `plan --format json` prints.
    Plan,
    /// What `status --format json` prints.
    Status,
    /// What `doctor --format json` prints.
    Doctor,
}

/// An output format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum TextOrJson {
    /// For people.
    Text,
    /// For programs.
    Json,
}

/// An output format of plans.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum PlanFormat {
    /// For people.
    Text,
    /// For programs, and for `apply FILE`.
    Json,
    /// A POSIX shell script that applies the plan without o3r-deploy.
    Sh,
}

/// The format of output for programs only.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum OnlyJson {
    /// For programs.
    Json,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    /// Returns the error of a command line as shown to people.
    fn refused(words: &[&str]) -> String {
        let words = ["o3r-deploy"].into_iter().chain(words.iter().copied());
        let command = super::with_later(super::Cli::command());
        let error = command.try_get_matches_from(words).unwrap_err();
        super::with_hint(error).to_string()
    }

    #[test]
    fn a_release_name_in_upper_case_is_answered_with_the_lower_case_one() {
        assert!(refused(&["init", "--name", "Hello"]).contains("`--name hello`"));
        assert!(refused(&["init", "--name", "a/b"]).contains("use lower-case letters and digits"));
    }

    #[test]
    fn a_release_waits_30_seconds_to_24_hours_to_be_confirmed() {
        for time in ["0s", "5s", "29s", "25h"] {
            let said = refused(&["apply", "--confirm-within", time]);
            assert!(said.contains("30s to 24h"), "{said}");
        }
        for time in ["30s", "24h"] {
            assert!(super::confirm_within(time).is_ok(), "{time}");
        }
    }

    #[test]
    fn the_command_line_is_consistent() {
        super::Cli::command().debug_assert();
        super::with_later(super::Cli::command()).debug_assert();
    }
}
