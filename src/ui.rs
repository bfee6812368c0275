//! Prints: data to stdout, everything else to stderr. The only file that does.
#![expect(clippy::print_stderr, reason = "the one door to the terminal")]

use std::{
    io::{BufRead as _, IsTerminal as _, Write as _},
    sync::Mutex,
    time::{Duration, Instant},
};

use anstyle::{AnsiColor, Style as Ansi};
use indicatif::{ProgressBar, ProgressStyle};
use textwrap::{WordSeparator, WordSplitter, core::Word};

use crate::{
    apply::{Event, Observer},
    cli::{Color, Global},
    render::{self, paint},
};

/// Where progress is not drawn, a step this long says how far it is, so that nobody (and no CI
/// job's timeout) takes it for hung.
const PLAIN_INTERVAL: Duration = Duration::from_secs(10);

/// The terminal, or what stands for it.
#[derive(Debug, Clone, Copy)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a property of the terminal"
)]
pub struct Ui {
    quiet: bool,
    verbose: u8,
    color_out: bool,
    color_err: bool,
    draws: bool,
}

impl Ui {
    /// The terminal as the command line wants it.
    pub fn new(global: &Global) -> Self {
        let no_color = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        let color = |terminal: bool| match global.color {
            Color::Always => true,
            Color::Never => false,
            Color::Auto => terminal && !no_color && !dumb,
        };
        let terminal = std::io::stderr().is_terminal();
        Self {
            quiet: global.quiet,
            verbose: global.verbose,
            color_out: color(std::io::stdout().is_terminal()),
            color_err: color(terminal),
            draws: terminal && !dumb && !global.quiet && global.verbose < 2,
        }
    }

    /// How plans are rendered on stdout.
    pub fn plan_style(self) -> render::Style {
        render::Style {
            color: self.color_out,
            commands: self.verbose > 0,
        }
    }

    /// Prints what was asked for.
    pub fn data(self, text: &str) {
        // A reader that has seen enough (`| head`) is no error of ours.
        let mut stdout = std::io::stdout().lock();
        let _ = stdout
            .write_all(text.as_bytes())
            .and_then(|()| stdout.flush());
    }

    /// Shows what a question is about, on the side where it is asked, quiet or not.
    pub fn show(self, render: impl FnOnce(render::Style) -> String) {
        let style = render::Style {
            color: self.color_err,
            commands: self.verbose > 0,
        };
        eprint!("{}", render(style));
    }

    /// Says something, unless quiet.
    pub fn say(self, text: &str) {
        if !self.quiet {
            eprintln!("{text}");
        }
    }

    /// Says a note, unless quiet.
    pub fn note(self, text: &str) {
        self.say(&format!("note: {text}"));
    }

    /// Prints a report of what is wrong.
    pub fn report(self, report: &dyn miette::Diagnostic) {
        let theme = if self.color_err {
            miette::GraphicalTheme::unicode()
        } else {
            miette::GraphicalTheme::unicode_nocolor()
        };
        let handler = miette::GraphicalReportHandler::new_themed(theme)
            .with_width(width())
            .with_word_separator(WordSeparator::Custom(words))
            .with_word_splitter(WordSplitter::NoHyphenation)
            .with_break_words(false)
            .with_links(false);
        let mut text = String::new();
        match handler.render_report(&mut text, report) {
            Ok(()) => eprintln!("{}", text.trim_end()),
            Err(_) => eprintln!("error: {report}"),
        }
    }

    /// Whether a person can be asked.
    pub fn can_ask(self) -> bool {
        std::io::stdin().is_terminal() && std::io::stderr().is_terminal()
    }

    /// Asks a yes-or-no question; anything but y or yes is no.
    pub fn confirm(self, question: &str) -> bool {
        eprint!("{question} [y/N] ");
        let mut answer = String::new();
        let _ = std::io::stderr().flush();
        let read = std::io::stdin().lock().read_line(&mut answer);
        read.is_ok() && matches!(answer.trim().to_lowercase().as_str(), "y" | "yes")
    }

    /// The progress of an apply of `total` steps.
    pub fn progress(self, total: usize) -> Progress {
        Progress {
            ui: self,
            total,
            current: Mutex::new(None),
        }
    }

    /// Good, for stderr.
    pub fn good(self, text: &str) -> String {
        paint(self.color_err, AnsiColor::Green.on_default(), text)
    }

    fn bad(self, text: &str) -> String {
        paint(self.color_err, AnsiColor::Red.on_default(), text)
    }

    fn bold(self, text: &str) -> String {
        paint(self.color_err, Ansi::new().bold(), text)
    }
}

/// Where a line may be broken: an indented one is something to copy, and stays whole.
fn words(line: &str) -> Box<dyn Iterator<Item = Word<'_>> + '_> {
    if line.starts_with("  ") {
        Box::new(std::iter::once(Word::from(line)))
    } else {
        WordSeparator::AsciiSpace.find_words(line)
    }
}

/// Columns of the terminal, at most 100: longer lines are hard to read.
fn width() -> usize {
    let columns = terminal_size::terminal_size().map_or(80, |(width, _)| usize::from(width.0));
    columns.clamp(40, 100)
}

/// Shows an apply: bars on a terminal, plain lines elsewhere.
pub struct Progress {
    ui: Ui,
    total: usize,
    current: Mutex<Option<Running>>,
}

/// The step that runs.
struct Running {
    title: String,
    bytes: u64,
    start: Instant,
    said: Instant,
    bar: Option<ProgressBar>,
}

impl Observer for Progress {
    fn event(&self, event: Event<'_>) {
        match event {
            Event::Started(step) => {
                let title = format!(
                    "[{}/{}] {} {}",
                    step.id,
                    self.total,
                    step.action.verb(),
                    step.address
                );
                self.start(title, step.bytes_to_send);
            }
            Event::Sent(bytes) => self.sent(bytes),
            Event::Done(_) => self.end(&self.ui.good("✓")),
            Event::Failed(_) | Event::Interrupted(_) => self.end(&self.ui.bad("✗")),
            Event::Restoring => self.ui.say(&self.ui.bold("restoring the previous release")),
            Event::Undoing(step) => self.ui.say(&format!("  restoring {}", step.address)),
        }
    }
}

impl Progress {
    fn start(&self, title: String, bytes: u64) {
        let bar = self.ui.draws.then(|| bar(&title, bytes));
        let now = Instant::now();
        let running = Running {
            title,
            bytes,
            start: now,
            said: now,
            bar,
        };
        if let Ok(mut current) = self.current.lock() {
            *current = Some(running);
        }
    }

    fn sent(&self, bytes: u64) {
        let Ok(mut current) = self.current.lock() else {
            return;
        };
        let Some(running) = current.as_mut() else {
            return;
        };
        if let Some(bar) = &running.bar {
            bar.set_position(bytes);
        } else if running.said.elapsed() >= PLAIN_INTERVAL && running.bytes > 0 {
            running.said = Instant::now();
            let percent = bytes.min(running.bytes) * 100 / running.bytes;
            let (sent, total) = (render::bytes(bytes), render::bytes(running.bytes));
            let rate = rate(bytes, running.start.elapsed());
            self.ui.say(&format!(
                "{}: {sent} of {total} sent, {percent} %, {rate}",
                running.title
            ));
        }
    }

    fn end(&self, sign: &str) {
        let running = self
            .current
            .lock()
            .ok()
            .and_then(|mut current| current.take());
        let Some(running) = running else { return };
        if let Some(bar) = &running.bar {
            bar.finish_and_clear();
        }
        let took = running.start.elapsed();
        let mut line = format!("{sign} {} ({}", running.title, render::duration(took));
        // The rate of a few bytes says nothing.
        if running.bytes >= 1 << 20 {
            line = format!("{line}, {}", rate(running.bytes, took));
        }
        self.ui.say(&format!("{line})"));
    }
}

fn rate(bytes: u64, took: Duration) -> String {
    let millis = u64::try_from(took.as_millis()).unwrap_or(u64::MAX).max(1);
    format!("{}/s", render::bytes(bytes.saturating_mul(1000) / millis))
}

fn bar(title: &str, bytes: u64) -> ProgressBar {
    // Small payloads are done before a bar could be read.
    let (bar, template) = if bytes >= 1 << 20 {
        let template = "{spinner} {msg} {wide_bar:.green/dim} {binary_bytes}/{binary_total_bytes} {binary_bytes_per_sec} eta {eta}";
        (ProgressBar::new(bytes), template)
    } else {
        (ProgressBar::new_spinner(), "{spinner} {msg} {elapsed}")
    };
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style);
    }
    bar.set_message(title.to_owned());
    bar.enable_steady_tick(Duration::from_millis(100));
    bar
}
