//! Declares the command line; types only.

use camino::Utf8PathBuf;
use clap::{Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;

use o3r_core::names::{Duration, HostName, NameError, ReleaseName, ReleaseVersion};

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
    /// Path of the manifest
    #[arg(
        short,
        long,
        global = true,
        default_value = DEFAULT_FILE,
        value_name = "FILE"
    )]
    pub file: Utf8PathBuf,
    /// VPU to use: its `[vpus.NAME]` table overrides keys of `[vpu]`
    #[arg(long, global = true, value_name = "NAME")]
    pub vpu: Option<String>,
    /// The VPU's address [default: `[vpu].host`, then `$IFM3D_IP`, then 192.168.0.69]
    #[arg(long, global = true, value_name = "HOST")]
    pub host: Option<HostName>,
    /// Version to deploy, in place of `[release].version`
    #[arg(long, global = true, value_name = "V")]
    pub release_version: Option<ReleaseVersion>,
    /// Show more: all commands and files of a plan, and the changed lines of small text files; twice:
    /// debug messages with their times
    #[arg(short, long, global = true, action = clap::ArgAction::Count, conflicts_with = "quiet")]
    pub verbose: u8,
    /// Show only results and errors
    #[arg(short, long, global = true)]
    pub quiet: bool,
    /// When to use colours
    #[arg(long, global = true, value_enum, default_value_t = Color::Auto, value_name = "WHEN")]
    pub color: Color,
    /// Directory for the logs of applies
    #[arg(
        long,
        global = true,
        default_value = "~/o3r_logs/Deployments",
        value_name = "DIR"
    )]
    pub log_dir: Utf8PathBuf,
}

/// When to use colours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Color {
    /// On a terminal, unless `NO_COLOR` is set; `CLICOLOR_FORCE` means a terminal.
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Write a deploy.toml for what is in this folder
    Init(Init),
    /// Validate the manifest and all it points to, without a VPU
    Check(Check),
    /// Show what apply would do; changes nothing
    Plan(Plan),
    /// Make the VPU match the manifest
    Apply(Apply),
    /// Keep a release that waits to be confirmed
    Confirm(Answer),
    /// Roll back a release that waits to be confirmed
    Cancel(Answer),
    /// Show what is deployed, what runs and what drifted
    Status(Status),
    /// Save what a plan needs to know of the VPU, to plan without it
    Observe(Observe),
    /// Print the JSON schema of deploy.toml, or of another document
    Schema(Schema),
    /// Print a script that completes commands and options in your shell
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
            Self::Apply(args) => args.format == TextOrJson::Json,
            Self::Status(args) => args.format == TextOrJson::Json,
            Self::Observe(args) => args.output.is_none(),
            Self::Init(_)
            | Self::Confirm(_)
            | Self::Cancel(_)
            | Self::Schema(_)
            | Self::Completions(_)
            | Self::Man(_) => false,
        }
    }
}

/// Parses a duration of the command line; the error says how to write one.
fn duration(text: &str) -> Result<Duration, String> {
    text.parse()
        .map_err(|error: NameError| format!("{error}; {}", error.help))
}

/// Reads a token, which becomes part of a file name on the VPU.
fn token(text: &str) -> Result<String, String> {
    let is_token = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric());
    is_token
        .then(|| text.to_owned())
        .ok_or_else(|| "a token is the word that `apply --confirm-within` printed".to_owned())
}

/// A command that a later version brings.
#[derive(Debug)]
pub struct Later {
    /// Its name.
    pub name: &'static str,
    /// What to do until then.
    pub instead: &'static str,
}

/// Commands that later versions bring. A version that brings one removes its entry.
const LATER: &[Later] = &[
    Later {
        name: "logs",
        instead: "`o3r-deploy status` lists the containers; read the output of one with: \
                  ssh oem@192.168.0.69 docker logs --tail 100 CONTAINER",
    },
    Later {
        name: "fetch",
        instead: "copy files from the VPU with: scp -O -r oem@192.168.0.69:PATH .",
    },
    Later {
        name: "rollback",
        instead: "a failed apply rolls back automatically; else apply the manifest of the release to roll back to",
    },
];

/// Adds the later commands to a command line, hidden from all help.
pub fn with_later(command: clap::Command) -> clap::Command {
    let later = LATER.iter().map(|later| {
        let rest = clap::Arg::new("rest")
            .num_args(0..)
            .trailing_var_arg(true)
            .allow_hyphen_values(true);
        clap::Command::new(later.name)
            .about("Not supported yet")
            .hide(true)
            .disable_help_flag(true)
            .arg(rest.hide(true))
    });
    command.subcommands(later)
}

/// Returns the later command that a command line names.
pub fn later(matches: &clap::ArgMatches) -> Option<&'static Later> {
    let name = matches.subcommand_name()?;
    LATER.iter().find(|later| later.name == name)
}

/// `init`.
#[derive(Debug, Args)]
pub struct Init {
    /// The release's name [default: the folder's name]
    #[arg(long, value_name = "NAME")]
    pub name: Option<ReleaseName>,
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
    /// Also save it: a JSON document for `apply FILE`, or with `--format sh` a directory with the
    /// script and its payloads
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<Utf8PathBuf>,
    /// Exit with 2 if there is anything to do
    #[arg(long)]
    pub exit_code: bool,
    /// Plan from what `observe -o FILE` saved, without connecting
    #[arg(long, value_name = "FILE", conflicts_with = "host")]
    pub observed: Option<Utf8PathBuf>,
}

/// `apply`.
#[derive(Debug, Args)]
pub struct Apply {
    /// Plan saved by `plan -o FILE`: apply exactly that; fails if it is stale
    pub plan: Option<Utf8PathBuf>,
    /// Skip the confirmation prompt
    #[arg(short, long)]
    pub yes: bool,
    /// Output format
    #[arg(long, value_enum, default_value_t = TextOrJson::Text)]
    pub format: TextOrJson,
    /// Do not roll back when a step fails
    #[arg(long)]
    pub no_rollback: bool,
    /// Take the lock from another apply
    #[arg(long)]
    pub break_lock: bool,
    /// Wait this long for another apply to end, as `5m`, in place of failing at once
    #[arg(long, value_name = "TIME", conflicts_with = "break_lock", value_parser = duration)]
    pub lock_wait: Option<Duration>,
    /// Roll back after this time, as `30m`, unless `confirm` comes first
    #[arg(long, value_name = "TIME", conflicts_with = "no_rollback", value_parser = duration)]
    pub confirm_within: Option<Duration>,
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
    /// Exit with 2 if the VPU differs from the manifest, with 9 if something is blocked
    #[arg(long)]
    pub exit_code: bool,
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
    /// A POSIX shell script that does the same by hand.
    Sh,
}

/// The format of what is only for programs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum OnlyJson {
    /// For programs.
    Json,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    #[test]
    fn the_command_line_is_consistent() {
        super::Cli::command().debug_assert();
        super::with_later(super::Cli::command()).debug_assert();
    }
}
