//! Declares the command line; types only.

use camino::Utf8PathBuf;
use clap::{Args, Parser, Subcommand, ValueEnum};

/// Makes an ifm O3R VPU match a deploy.toml
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
    /// The manifest
    #[arg(
        short,
        long,
        global = true,
        default_value = "deploy.toml",
        value_name = "FILE"
    )]
    pub file: Utf8PathBuf,
    /// The VPU's address [default: `[vpu].host`, then `$IFM3D_IP`, then 192.168.0.69]
    #[arg(long, global = true, value_name = "HOST")]
    pub host: Option<String>,
    /// Say more: the commands of a plan; twice: what happens inside
    #[arg(short, long, global = true, action = clap::ArgAction::Count, conflicts_with = "quiet")]
    pub verbose: u8,
    /// Say less: only results and errors
    #[arg(short, long, global = true)]
    pub quiet: bool,
    /// When to use colours
    #[arg(long, global = true, value_enum, default_value_t = Color::Auto, value_name = "WHEN")]
    pub color: Color,
    /// Where logs of applies are kept
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
    /// On a terminal, unless `NO_COLOR` is set.
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Validate the manifest and all it points to, without a VPU
    Check(Check),
    /// Show what apply would do; changes nothing
    Plan(Plan),
    /// Make the VPU match the manifest
    Apply(Apply),
    /// Print the JSON schema of deploy.toml, or of plan documents
    Schema(Schema),
}

/// `check`.
#[derive(Debug, Args)]
pub struct Check {
    /// How to print the findings
    #[arg(long, value_enum, default_value_t = TextOrJson::Text)]
    pub format: TextOrJson,
}

/// `plan`.
#[derive(Debug, Args)]
pub struct Plan {
    /// How to print the plan
    #[arg(long, value_enum, default_value_t = PlanFormat::Text)]
    pub format: PlanFormat,
    /// Also write it: a JSON document that `apply FILE` takes, or with `--format sh` a directory
    /// with the script and its payloads
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<Utf8PathBuf>,
    /// Exit with 2 if there is anything to do
    #[arg(long)]
    pub exit_code: bool,
}

/// `apply`.
#[derive(Debug, Args)]
pub struct Apply {
    /// A plan written by `plan -o FILE`: exactly that is done, or nothing
    pub plan: Option<Utf8PathBuf>,
    /// Do not ask
    #[arg(short, long)]
    pub yes: bool,
    /// How to print the result
    #[arg(long, value_enum, default_value_t = TextOrJson::Text)]
    pub format: TextOrJson,
    /// If a step fails, leave things as they are
    #[arg(long)]
    pub no_rollback: bool,
    /// Take the lock from another apply
    #[arg(long)]
    pub break_lock: bool,
}

/// `schema`.
#[derive(Debug, Args)]
pub struct Schema {
    /// Which document
    #[arg(value_enum, default_value_t = Document::Manifest)]
    pub document: Document,
}

/// A document with a schema.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Document {
    /// `deploy.toml`.
    Manifest,
    /// What `plan --format json` prints.
    Plan,
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
