//! Prints: data to stdout, everything else to stderr. No other module prints.

mod layers;
mod progress;

use std::{
    io::{BufRead as _, IsTerminal as _, Write as _},
    sync::OnceLock,
};

use anstyle::{AnsiColor, Style as Ansi};
use textwrap::{WordSeparator, WordSplitter, core::Word};

pub use self::progress::{Preparing, Progress};
use crate::surroundings::variable;
use crate::{
    cli::{Color, Global},
    plan::Plan,
    render::{self, Sign, paint},
};
use o3r_core::names::escape_lines;

/// The properties of stdout and stderr.
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
    /// Whether the locale has only ASCII.
    ascii: bool,
    /// Columns of stdout, if it is a terminal.
    width_out: Option<usize>,
    /// Columns of stderr, if it is a terminal.
    width_err: Option<usize>,
}

impl Ui {
    /// Detects the terminal, with the options of the command line.
    pub fn new(global: &Global) -> Self {
        let dumb = variable("TERM").is_some_and(|term| term == "dumb");
        let color = |terminal: bool| has_color(global.color, terminal && !dumb, variable);
        let out = std::io::stdout().is_terminal();
        let terminal = std::io::stderr().is_terminal();
        let columns = columns(variable("COLUMNS").as_deref());
        Self {
            quiet: global.quiet,
            verbose: global.verbose,
            color_out: color(out),
            color_err: color(terminal),
            draws: terminal && !dumb && !global.quiet && global.verbose < 2,
            ascii: !has_unicode(variable),
            width_out: columns.filter(|_| out),
            width_err: columns.filter(|_| terminal),
        }
    }

    /// Whether stderr is coloured.
    pub fn colors_errors(self) -> bool {
        self.color_err
    }

    /// The style of plans on stdout.
    pub fn plan_style(self) -> render::Style {
        render::Style {
            color: self.color_out,
            ascii: self.ascii,
            verbose: self.verbose > 0,
            width: self.width_out,
        }
    }

    /// Prints the requested data.
    pub fn data(self, text: &str) {
        let mut stdout = std::io::stdout().lock();
        let written = stdout
            .write_all(text.as_bytes())
            .and_then(|()| stdout.flush());
        if let Err(error) = written {
            let _ = DATA_LOST.set(error);
        }
    }

    /// Whether only results and errors are shown.
    pub fn is_quiet(self) -> bool {
        self.quiet
    }

    /// Prints the result of a command that converges: `✓ the VPU matches deploy.toml`.
    pub fn result(self, text: &str) {
        let sign = self.plan_style().sign(Sign::Good);
        self.data(&format!("{sign} {text}\n"));
    }

    /// Shows the subject of a question on stderr, where the question is asked, even if quiet.
    pub fn show(self, render: impl FnOnce(render::Style) -> String) {
        err(&render(self.style_err()));
    }

    fn style_err(self) -> render::Style {
        render::Style {
            color: self.color_err,
            ascii: self.ascii,
            verbose: self.verbose > 0,
            width: self.width_err,
        }
    }

    /// Prints a line, unless quiet.
    pub fn say(self, text: &str) {
        self.say_hanging(text, 2);
    }

    fn say_hanging(self, text: &str, hang: usize) {
        if !self.quiet {
            let text = self.in_locale(text);
            // Further lines are commands to copy or output of another program.
            let (first, rest) = text.split_at(text.find('\n').unwrap_or(text.len()));
            let first = match self.width_err {
                Some(width) => render::wrapped(first, width, hang),
                None => first.to_owned(),
            };
            err(&format!("{first}{rest}\n"));
        }
    }

    /// Converts the program's own text to the locale.
    fn in_locale(self, text: &str) -> String {
        if self.ascii {
            render::ascii(text)
        } else {
            text.to_owned()
        }
    }

    /// Prints a note, unless quiet.
    pub fn note(self, text: &str) {
        self.say_hanging(&format!("note: {}", escape_lines(text)), 6);
    }

    /// Prints a warning, unless quiet.
    pub fn warn(self, report: &dyn miette::Diagnostic) {
        if !self.quiet {
            self.report(report);
        }
    }

    /// Prints an error with its report.
    pub fn report(self, report: &dyn miette::Diagnostic) {
        let columns = columns(variable("COLUMNS").as_deref());
        err(&report_text(report, self.style_err(), columns));
    }

    /// Prints the code of an error, below its report.
    pub fn error_code(self, code: &str) {
        err(&format!("  code: {code}\n"));
    }

    /// Prints an error on one line.
    pub fn report_error(self, text: &str) {
        let text = self.in_locale(&escape_lines(text));
        err(&format!("{} {text}\n", self.bad("error:")));
    }

    /// Creates the progress display for reading files and preparing images.
    pub fn preparing(self) -> Preparing {
        Preparing::new(self)
    }

    /// Whether a user can be asked.
    pub fn can_ask(self) -> bool {
        std::io::stdin().is_terminal() && std::io::stderr().is_terminal()
    }

    /// Asks a yes-or-no question; any answer but y or yes means no.
    pub fn confirm(self, question: &str) -> bool {
        err(&format!("{question} [y/N] "));
        let mut answer = String::new();
        let read = std::io::stdin().lock().read_line(&mut answer);
        read.is_ok() && matches!(answer.trim().to_lowercase().as_str(), "y" | "yes")
    }

    /// Asks for a secret on the terminal, which does not show it; `None` if nothing was typed.
    pub fn secret(self, question: &str) -> Option<String> {
        err(&format!("{question}: "));
        let typed = console::Term::stderr().read_secure_line().ok();
        typed.filter(|typed| !typed.is_empty())
    }

    /// Creates the progress display for the apply of a plan.
    pub fn progress(self, plan: &Plan) -> Progress {
        Progress::new(self, render::numbers(plan, self.verbose > 0))
    }

    /// Colours text green, for stderr.
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

/// Renders the report of an error or a warning.
pub(crate) fn report_text(
    report: &dyn miette::Diagnostic,
    style: render::Style,
    columns: Option<usize>,
) -> String {
    let mut theme = match (style.ascii, style.color) {
        (false, true) => miette::GraphicalTheme::unicode(),
        (false, false) => miette::GraphicalTheme::unicode_nocolor(),
        (true, true) => miette::GraphicalTheme::ascii(),
        (true, false) => miette::GraphicalTheme::none(),
    };
    // The report of a manifest has the number of findings and the severity of each.
    if report.related().is_none() {
        "error:".clone_into(&mut theme.characters.error);
        "warning:".clone_into(&mut theme.characters.warning);
    }
    let handler = miette::GraphicalReportHandler::new_themed(theme)
        .with_width(columns.unwrap_or(80).clamp(MIN_WIDTH, MAX_WIDTH))
        .with_word_separator(WordSeparator::Custom(words))
        .with_word_splitter(WordSplitter::NoHyphenation)
        .with_break_words(false)
        .with_links(false);
    let mut text = String::new();
    if handler.render_report(&mut text, report).is_err() {
        text = format!("error: {report}");
    }
    let text = text.trim_end();
    if style.ascii {
        render::ascii(text) + "\n"
    } else {
        format!("{text}\n")
    }
}

/// Why the requested data is missing or incomplete on stdout.
static DATA_LOST: OnceLock<std::io::Error> = OnceLock::new();

/// Why the output of [`Ui::data`] is incomplete, if it is. The reason is
/// [`std::io::ErrorKind::BrokenPipe`] if the reader has closed the pipe (`| head`).
pub fn data_lost() -> Option<&'static std::io::Error> {
    DATA_LOST.get()
}

/// Writes to stderr. Ignores a closed pipe (`2>&1 | head`), on which `eprintln!` would panic.
fn err(text: &str) {
    let mut stderr = std::io::stderr().lock();
    let _ = stderr
        .write_all(text.as_bytes())
        .and_then(|()| stderr.flush());
}

/// Whether a stream is coloured. `NO_COLOR` overrides `CLICOLOR_FORCE`, and the command line
/// overrides both.
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

/// Whether the locale has more than ASCII: the first variable that is set decides, as in POSIX.
/// Without any, the locale is POSIX.
fn has_unicode(variable: impl Fn(&str) -> Option<String>) -> bool {
    let set = ["LC_ALL", "LC_CTYPE", "LANG"];
    let locale = set
        .iter()
        .find_map(|name| variable(name).filter(|value| !value.is_empty()));
    locale.is_some_and(|locale| {
        let locale = locale.to_ascii_lowercase();
        locale.contains("utf-8") || locale.contains("utf8")
    })
}

/// Installs a panic hook that explains that a panic is a bug and how to report it. Call it once.
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
        // Only with RUST_BACKTRACE, as usual.
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
         help: completed steps are not undone, and `o3r-deploy plan` shows the rest; report the lines\n        \
         above with the command line and, if you may, the manifest; RUST_BACKTRACE=1 shows more\n",
        concat!("o3r-deploy ", env!("CARGO_PKG_VERSION"))
    )
}

/// Splits a line where it may be wrapped: an indented line is to be copied and stays whole.
fn words(line: &str) -> Box<dyn Iterator<Item = Word<'_>> + '_> {
    if line.starts_with("  ") {
        Box::new(std::iter::once(Word::from(line)))
    } else {
        WordSeparator::AsciiSpace.find_words(line)
    }
}

/// Columns of a report: fewer are unreadable, and longer lines are hard to read.
const MIN_WIDTH: usize = 40;
const MAX_WIDTH: usize = 100;

/// Columns of the terminal, from `COLUMNS` or the terminal itself.
fn columns(variable: Option<&str>) -> Option<usize> {
    let said = variable.and_then(|columns| columns.trim().parse().ok());
    let columns = said.filter(|columns| *columns > 0).or_else(|| {
        let (width, _) = terminal_size::terminal_size()?;
        Some(usize::from(width.0)).filter(|columns| *columns > 0)
    });
    columns.map(|columns| columns.max(MIN_WIDTH))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_locale_selects_the_signs() {
        type Variables = &'static [(&'static str, &'static str)];
        let cases: &[(Variables, bool)] = &[
            (&[], false),
            (&[("LANG", "en_US.UTF-8")], true),
            (&[("LANG", "de_DE.utf8@euro")], true),
            (&[("LANG", "C")], false),
            (&[("LANG", "de_DE.ISO-8859-1")], false),
            (&[("LC_CTYPE", "UTF-8"), ("LANG", "C")], true),
            (&[("LC_CTYPE", "POSIX"), ("LANG", "C.UTF-8")], false),
            (&[("LC_ALL", "C"), ("LC_CTYPE", "C.UTF-8")], false),
            (&[("LC_ALL", ""), ("LC_CTYPE", "C.UTF-8")], true),
        ];
        for (environment, expected) in cases {
            let variable = |name: &str| {
                let found = environment.iter().find(|(key, _)| *key == name);
                found.map(|(_, value)| (*value).to_owned())
            };
            assert_eq!(has_unicode(variable), *expected, "{environment:?}");
        }
    }

    #[test]
    fn the_variable_sets_the_columns() {
        assert_eq!(columns(Some("120")), Some(120));
        assert_eq!(columns(Some("7")), Some(MIN_WIDTH));
    }

    #[test]
    fn the_environment_selects_colours() {
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
