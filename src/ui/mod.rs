//! Prints: data to stdout, everything else to stderr. The only file that does.

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
    digest::Digest,
    image::Prepared,
    render::{self, paint},
};

/// Where progress is not drawn, a step this long says how far it is, so that nobody (and no CI
/// job's timeout) takes it for hung.
const PLAIN_INTERVAL: Duration = Duration::from_secs(10);

/// Fewer bytes are done before a bar could be read.
const BAR_FROM: u64 = 1 << 20;

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
        let variable = |name: &str| std::env::var(name).ok();
        let dumb = variable("TERM").is_some_and(|term| term == "dumb");
        let color = |terminal: bool| has_color(global.color, terminal && !dumb, variable);
        let terminal = std::io::stderr().is_terminal();
        Self {
            quiet: global.quiet,
            verbose: global.verbose,
            color_out: color(std::io::stdout().is_terminal()),
            color_err: color(terminal),
            draws: terminal && !dumb && !global.quiet && global.verbose < 2,
        }
    }

    /// Whether standard error is coloured.
    pub fn colors_errors(self) -> bool {
        self.color_err
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
        err(&render(style));
    }

    /// Says something, unless quiet.
    pub fn say(self, text: &str) {
        if !self.quiet {
            err(&format!("{text}\n"));
        }
    }

    /// Says a note, unless quiet.
    pub fn note(self, text: &str) {
        self.say(&format!("note: {text}"));
    }

    /// Prints a report of what is no error, unless quiet.
    pub fn warn(self, report: &dyn miette::Diagnostic) {
        if !self.quiet {
            self.report(report);
        }
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
            Ok(()) => err(&format!("{}\n", text.trim_end())),
            Err(_) => err(&format!("error: {report}\n")),
        }
    }

    /// Shows how layers are compressed.
    pub fn preparing(self) -> Preparing {
        Preparing {
            ui: self,
            bar: Mutex::new(None),
        }
    }

    /// Whether a person can be asked.
    pub fn can_ask(self) -> bool {
        std::io::stdin().is_terminal() && std::io::stderr().is_terminal()
    }

    /// Asks a yes-or-no question; anything but y or yes is no.
    pub fn confirm(self, question: &str) -> bool {
        err(&format!("{question} [y/N] "));
        let mut answer = String::new();
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

/// Writes to standard error. Nobody may listen any more (`2>&1 | head`); that is no error of ours,
/// where `eprintln!` would panic.
fn err(text: &str) {
    let mut stderr = std::io::stderr().lock();
    let _ = stderr
        .write_all(text.as_bytes())
        .and_then(|()| stderr.flush());
}

/// Whether a stream is coloured. `NO_COLOR` beats `CLICOLOR_FORCE`, and the command line both.
fn has_color(wanted: Color, terminal: bool, variable: impl Fn(&str) -> Option<String>) -> bool {
    let is_set = |name: &str| variable(name).is_some_and(|value| !value.is_empty());
    let forced =
        variable("CLICOLOR_FORCE").is_some_and(|value| !matches!(value.as_str(), "" | "0"));
    let off = variable("CLICOLOR").is_some_and(|value| value == "0");
    match wanted {
        Color::Always => true,
        Color::Never => false,
        Color::Auto => !is_set("NO_COLOR") && (forced || (terminal && !off)),
    }
}

/// Says of every panic what it is: a bug, and how to report it. To be called once.
pub fn explain_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string);
        let payload = panic.payload();
        let what = payload.downcast_ref::<&str>().copied();
        let what = what.or_else(|| payload.downcast_ref::<String>().map(String::as_str));
        let thread = std::thread::current();
        err(&bug_report(
            what.unwrap_or("no words"),
            place.as_deref().unwrap_or("an unknown place"),
            thread.name().unwrap_or("unnamed"),
        ));
        // Only with RUST_BACKTRACE, as everywhere.
        let backtrace = std::backtrace::Backtrace::capture();
        if backtrace.status() == std::backtrace::BacktraceStatus::Captured {
            err(&format!("{backtrace}\n"));
        }
    }));
}

fn bug_report(what: &str, place: &str, thread: &str) -> String {
    format!(
        "error: this is a bug in o3r-deploy: {what}\n  \
         at {place}, in thread {thread}, {}\n  \
         help: what was done before it stays done, and `o3r-deploy plan` shows the rest; please report the lines\n        \
         above with the command line and, if you may, the manifest; RUST_BACKTRACE=1 tells more\n",
        concat!("o3r-deploy ", env!("CARGO_PKG_VERSION"))
    )
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

/// Shows how layers are compressed, which takes a while for large ones.
pub struct Preparing {
    ui: Ui,
    bar: Mutex<Option<(Digest, ProgressBar)>>,
}

impl Preparing {
    /// A layer of `image` is so far.
    pub fn layer(&self, image: &str, prepared: Prepared) {
        if !self.ui.draws || prepared.total < BAR_FROM {
            return;
        }
        let Ok(mut current) = self.bar.lock() else {
            return;
        };
        if current
            .as_ref()
            .is_none_or(|(diff_id, _)| *diff_id != prepared.diff_id)
        {
            if let Some((_, bar)) = current.take() {
                bar.finish_and_clear();
            }
            let title = format!("compressing layer {} of {image}", prepared.diff_id.short());
            *current = Some((prepared.diff_id, bar(&title, prepared.total)));
        }
        if let Some((_, bar)) = current.as_ref() {
            bar.set_position(prepared.done);
        }
    }
}

impl Drop for Preparing {
    fn drop(&mut self) {
        if let Ok(Some((_, bar))) = self.bar.get_mut().map(Option::take) {
            bar.finish_and_clear();
        }
    }
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
    /// Which part is being sent, where there are several.
    part: String,
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
            Event::Part(number, of) => self.part(number, of),
            Event::FellBack(bytes) => self.fell_back(bytes),
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
            part: String::new(),
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
            let took = running.start.elapsed();
            let rate = rate(bytes, took);
            let left = left(took, bytes, running.bytes);
            self.ui.say(&format!(
                "{}: {sent} of {total} sent, {percent} %, {rate}, {left} left{}",
                running.title, running.part
            ));
        }
    }

    fn part(&self, number: usize, of: usize) {
        let Ok(mut current) = self.current.lock() else {
            return;
        };
        let Some(running) = current.as_mut().filter(|_| of > 1) else {
            return;
        };
        running.part = format!(", part {number} of {of}");
        if let Some(bar) = &running.bar {
            bar.set_message(format!("{}{}", running.title, running.part));
        }
    }

    fn fell_back(&self, bytes: u64) {
        let Ok(mut current) = self.current.lock() else {
            return;
        };
        let Some(running) = current.as_mut() else {
            return;
        };
        if let Some(bar) = running.bar.take() {
            bar.finish_and_clear();
        }
        let title = &running.title;
        self.ui.say(&format!(
            "  {title} failed that way (did something change there?); now whole, {}",
            render::bytes(bytes)
        ));
        running.bytes = bytes;
        running.part.clear();
        running.bar = self.ui.draws.then(|| bar(title, bytes));
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

/// How long the rest takes, if it goes on like this.
fn left(took: Duration, bytes: u64, total: u64) -> String {
    let millis = took.as_millis() * u128::from(total.saturating_sub(bytes));
    let millis = millis / u128::from(bytes.max(1));
    render::time(u64::try_from(millis).unwrap_or(u64::MAX))
}

fn rate(bytes: u64, took: Duration) -> String {
    let millis = u64::try_from(took.as_millis()).unwrap_or(u64::MAX).max(1);
    format!("{}/s", render::bytes(bytes.saturating_mul(1000) / millis))
}

fn bar(title: &str, bytes: u64) -> ProgressBar {
    let (bar, template) = if bytes >= BAR_FROM {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_as_the_environment_wants_them() {
        type Variables = &'static [(&'static str, &'static str)];
        let cases: &[(Variables, bool, bool)] = &[
            (&[], true, true),
            (&[], false, false),
            (&[("NO_COLOR", "1")], true, false),
            (&[("NO_COLOR", "")], true, true),
            (&[("CLICOLOR", "0")], true, false),
            (&[("CLICOLOR_FORCE", "1")], false, true),
            (&[("CLICOLOR_FORCE", "0")], false, false),
            (&[("CLICOLOR_FORCE", "1"), ("NO_COLOR", "1")], true, false),
        ];
        for (environment, terminal, expected) in cases {
            let variable = |name: &str| {
                let found = environment.iter().find(|(key, _)| *key == name);
                found.map(|(_, value)| (*value).to_owned())
            };
            let auto = has_color(Color::Auto, *terminal, variable);
            assert_eq!(auto, *expected, "{environment:?}");
            assert!(has_color(Color::Always, *terminal, variable));
            assert!(!has_color(Color::Never, *terminal, variable));
        }
    }
}
