//! Shows progress: bars on a terminal, plain lines otherwise.

use std::{
    sync::{Mutex, MutexGuard},
    time::{Duration, Instant},
};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use super::{Ui, layers};
use crate::{
    apply::{Event, Observer},
    image::{LayerSpan, Work, WorkProgress},
    plan::{Action, Step, Verb},
    render::{self, Sign},
};

/// Without bars, the interval at which a step reports its progress, so that neither users nor a CI
/// job's timeout consider it hung.
const PLAIN_INTERVAL: Duration = Duration::from_secs(10);

/// Fewer bytes are done before a user could read a bar.
const BAR_FROM: u64 = 1 << 20;

/// A narrower terminal has no room for a bar.
const BAR_COLUMNS: usize = 80;

/// Replaces a bar on a narrow terminal.
const NARROW: &str = "{spinner} {wide_msg} {percent} %";

/// The bytes of a step.
const TOTAL: &str = "{spinner} {msg} {wide_bar:.green/dim} {binary_bytes}/{binary_total_bytes} \
     {binary_bytes_per_sec} eta {eta}";

/// The bytes of a layer, below the step's.
const LAYER: &str = "  {msg} {wide_bar:.cyan/dim} {binary_bytes}/{binary_total_bytes}";

/// A container, below the step.
const CONTAINER: &str = "  {wide_msg:.dim}";

/// A step without a bar.
const SHORT: &str = "{spinner} {msg} {elapsed}";

/// Shows the progress of reading files and preparing images.
pub struct Preparing {
    ui: Ui,
    current: Mutex<Option<Shown>>,
}

/// The current work.
struct Shown {
    title: String,
    said: Instant,
    bar: Option<ProgressBar>,
}

impl Preparing {
    pub(super) fn new(ui: Ui) -> Self {
        Self {
            ui,
            current: Mutex::new(None),
        }
    }

    /// Shows the progress of preparing an image.
    pub fn image(&self, image: &str, prepared: WorkProgress) {
        let (title, template) = match prepared.work {
            // Most of the time, docker collects the image and sends nothing.
            Work::Fetching => (
                format!("exporting {image} from this machine's docker"),
                SHORT,
            ),
            Work::Compressing(layer) => {
                let layer = layer.short();
                (format!("compressing layer {layer} of {image}"), TOTAL)
            }
        };
        self.show(&title, template, prepared.done, prepared.total);
    }

    /// Shows the progress of reading (and hashing) the files of a transfer, in bytes.
    pub fn files(&self, source: &str, done: u64, total: u64) {
        self.show(&format!("reading {source}"), TOTAL, done, total);
    }

    fn show(&self, title: &str, template: &str, done: u64, total: u64) {
        let Ok(mut current) = self.current.lock() else {
            return;
        };
        if total < BAR_FROM {
            return;
        }
        if current.as_ref().is_none_or(|shown| shown.title != title) {
            // Dropping the previous bar removes it first.
            *current = None;
            let bar = self.ui.draws.then(|| {
                let bar = ProgressBar::new(total);
                begin(self.ui, &bar, template, title.to_owned());
                bar
            });
            *current = Some(Shown {
                title: title.to_owned(),
                said: Instant::now(),
                bar,
            });
        }
        let Some(shown) = current.as_mut() else {
            return;
        };
        let done = done.min(total);
        if let Some(bar) = &shown.bar {
            bar.set_position(done);
        } else if shown.said.elapsed() >= PLAIN_INTERVAL {
            shown.said = Instant::now();
            let (done, total) = (render::bytes(done), render::bytes(total));
            self.ui.say(&format!("{title}: {done} of {total}"));
        }
    }
}

impl Drop for Shown {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

/// Shows the progress of an apply.
pub struct Progress {
    ui: Ui,
    /// The number of each step among those that are shown.
    numbers: Vec<Option<usize>>,
    current: Mutex<Option<Running>>,
}

/// The time from which an internal step that is done gets a line.
const WORTH_A_LINE: Duration = Duration::from_secs(1);

/// How a step ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Done,
    Failed,
    Interrupted,
}

/// The current step.
struct Running {
    title: String,
    /// The title once the step is done.
    done: String,
    bytes: u64,
    /// Whether its end is worth a line only if it took long or failed.
    is_internal: bool,
    /// Whether `bytes` is an estimate.
    about: bool,
    sent: u64,
    /// The positions of the image's layers in the bytes.
    layers: Vec<LayerSpan>,
    /// The state of the containers that the step waits for.
    containers: Vec<String>,
    start: Instant,
    said: Instant,
    bars: Option<Bars>,
}

impl Observer for Progress {
    fn event(&self, event: Event<'_>) {
        match event {
            Event::Started(step) => {
                let number = self.number(step);
                let prefix = number.as_deref().unwrap_or_default();
                let (verb, address) = (Verb::of_step(step), &step.address);
                let title = format!("{prefix}{} {address}", verb.name());
                let done = format!("{prefix}{} {address}", verb.past());
                self.start(title, done, step.bytes_to_send, number.is_none());
            }
            Event::Image {
                bytes,
                about,
                layers,
            } => self.with(|running| running.sends(bytes, about, layers)),
            Event::SentAll(bytes) => self.with(|running| {
                running.about = false;
                running.bytes = bytes;
                running.sent(bytes, self.ui);
            }),
            Event::Containers(lines) => self.with(|running| running.waits_for(lines)),
            Event::StillRuns => self.with(|running| running.still_runs(self.ui)),
            Event::NoAnswer(seconds) => self.ui.note(&format!(
                "dockerd on the VPU has not answered for {seconds} s"
            )),
            Event::Warned(text) => self.ui.note(&format!("on the VPU: {text}")),
            Event::Sent(bytes) => self.with(|running| running.sent(bytes, self.ui)),
            Event::FellBack(bytes) => self.with(|running| running.fell_back(bytes, self.ui)),
            Event::Done(_) => self.end(End::Done),
            Event::Failed(_) => self.end(End::Failed),
            Event::Interrupted(_) => self.end(End::Interrupted),
            Event::Ending(step) => self.ui.say(&format!(
                "interrupted: waiting for {} to finish, because it changes running containers (Ctrl-C again \
                 stops it midway)",
                step.address
            )),
            Event::Restoring => self.ui.say(&self.ui.bold("rolling back")),
            Event::Undoing(step) => {
                let verb = match step.action {
                    Action::Create => "removing",
                    _ => "restoring",
                };
                self.ui.say(&format!("  {verb} {}", step.address));
            }
        }
    }
}

impl Progress {
    pub(super) fn new(ui: Ui, numbers: Vec<Option<usize>>) -> Self {
        Self {
            ui,
            numbers,
            current: Mutex::new(None),
        }
    }

    /// Formats `[2/8] `; `None` for an internal step.
    fn number(&self, step: &Step) -> Option<String> {
        let number = (*self.numbers.get(step.id.checked_sub(1)?)?)?;
        let total = self.numbers.iter().flatten().count();
        Some(format!("[{number}/{total}] "))
    }

    fn start(&self, title: String, done: String, bytes: u64, is_internal: bool) {
        let bars = self.ui.draws.then(|| Bars::new(self.ui, &title, bytes));
        let now = Instant::now();
        if let Some(mut current) = self.current() {
            *current = Some(Running {
                title,
                done,
                bytes,
                is_internal,
                about: false,
                sent: 0,
                layers: vec![],
                containers: vec![],
                start: now,
                said: now,
                bars,
            });
        }
    }

    fn with(&self, change: impl FnOnce(&mut Running)) {
        if let Some(running) = self.current().as_mut().and_then(|current| current.as_mut()) {
            change(running);
        }
    }

    fn end(&self, end: End) {
        let running = self.current().and_then(|mut current| current.take());
        let Some(running) = running else { return };
        let is_done = end == End::Done;
        let sign = if is_done { Sign::Good } else { Sign::Bad };
        let sign = self.ui.style_err().sign(sign);
        let what = match end {
            End::Done => running.done.clone(),
            End::Failed => format!("{} failed", running.title),
            End::Interrupted => format!("{} interrupted", running.title),
        };
        let took = running.start.elapsed();
        if is_done && running.is_internal && took < WORTH_A_LINE {
            return;
        }
        let mut line = format!("{sign} {what} ({}", render::duration(took));
        // The throughput of a few bytes means nothing.
        if running.bytes >= BAR_FROM {
            line = format!("{line}, {}", rate(running.sent, took));
            if is_done {
                line.push_str(&layers::summary(&running.layers));
            }
        }
        drop(running);
        self.ui.say(&format!("{line})"));
    }

    fn current(&self) -> Option<MutexGuard<'_, Option<Running>>> {
        self.current.lock().ok()
    }
}

impl Running {
    fn sends(&mut self, bytes: u64, about: bool, layers: &[LayerSpan]) {
        self.bytes = bytes;
        self.about = about;
        self.layers = layers.to_vec();
        if let Some(bars) = &mut self.bars {
            bars.set_length(bytes);
            bars.show_layer(layers, self.sent);
        }
    }

    fn waits_for(&mut self, containers: &[String]) {
        self.containers = containers.to_vec();
        if let Some(bars) = &mut self.bars {
            bars.show_containers(containers);
        }
    }

    fn sent(&mut self, bytes: u64, ui: Ui) {
        self.sent = bytes;
        if self.about && bytes > self.bytes {
            self.bytes = bytes;
        }
        if let Some(bars) = &mut self.bars {
            bars.set_length(self.bytes);
            bars.total.set_position(bytes);
            if self.about || bytes < self.bytes {
                bars.show_layer(&self.layers, bytes);
            } else if bars.layer.is_some() {
                bars.forget_layer();
                let title = &self.title;
                bars.total
                    .set_message(format!("{title}, unpacking on the VPU"));
            }
        } else {
            self.still_runs(ui);
        }
    }

    /// Prints the progress if there is no bar and nothing was printed for a while.
    fn still_runs(&mut self, ui: Ui) {
        if self.bars.is_none() && self.said.elapsed() >= PLAIN_INTERVAL {
            self.said = Instant::now();
            ui.say(&format!(
                "{}: {}",
                self.title,
                self.state(self.start.elapsed())
            ));
            for container in &self.containers {
                ui.say(&format!("  {container}"));
            }
        }
    }

    /// The progress in bytes, if there are enough to wait for; otherwise, how long the step has
    /// been running.
    fn state(&self, took: Duration) -> String {
        if self.bytes < BAR_FROM {
            format!("running for {}", render::duration(took))
        } else if self.sent < self.bytes {
            how_far(&self.layers, self.sent, self.bytes, took)
        } else {
            format!("upload complete, running for {}", render::duration(took))
        }
    }

    fn fell_back(&mut self, bytes: u64, ui: Ui) {
        self.bars = None;
        let title = &self.title;
        ui.say(&format!(
            "  {title} failed (has the VPU changed since the plan?); sending the full data, {}",
            render::bytes(bytes)
        ));
        self.bytes = bytes;
        self.about = false;
        self.sent = 0;
        self.layers.clear();
        self.bars = ui.draws.then(|| Bars::new(ui, title, bytes));
    }
}

/// Formats the progress of sending:
/// `12.0 MiB of 163 MiB sent (31.0 MiB unpacked), 7 %, 1.2 MiB/s, 2 min 05 s left, layer 1 of 4 (12.0 MiB of 60.0 MiB)`.
fn how_far(layers: &[LayerSpan], sent: u64, total: u64, took: Duration) -> String {
    let percent = u128::from(sent.min(total)) * 100 / u128::from(total.max(1));
    let unpacked = layers::unpacked(layers, sent).map_or(String::new(), |unpacked| {
        format!(" ({} unpacked)", render::bytes(unpacked))
    });
    // Before the first byte, the time left is unknown.
    let pace = if sent == 0 {
        String::new()
    } else {
        format!(
            ", {}, {} left",
            rate(sent, took),
            time_left(took, sent, total)
        )
    };
    format!(
        "{} of {} sent{unpacked}, {percent} %{pace}{}",
        render::bytes(sent),
        render::bytes(total),
        layers::place(layers, sent)
    )
}

/// The bars of a step: for all its bytes, for the layer of an image that is being sent, and for the
/// containers that it waits for. Removed when dropped.
struct Bars {
    ui: Ui,
    all: MultiProgress,
    total: ProgressBar,
    /// With the number of the layer.
    layer: Option<(usize, ProgressBar)>,
    containers: Vec<ProgressBar>,
}

impl Bars {
    fn new(ui: Ui, title: &str, bytes: u64) -> Self {
        let all = MultiProgress::new();
        let (total, template) = if bytes >= BAR_FROM {
            (ProgressBar::new(bytes), TOTAL)
        } else {
            (ProgressBar::new_spinner(), SHORT)
        };
        let total = all.add(total);
        begin(ui, &total, template, title.to_owned());
        Self {
            ui,
            all,
            total,
            layer: None,
            containers: vec![],
        }
    }

    /// Shows a line for each container, replacing earlier ones.
    fn show_containers(&mut self, lines: &[String]) {
        self.forget_containers();
        for line in lines {
            let bar = self.all.add(ProgressBar::new_spinner());
            begin(self.ui, &bar, CONTAINER, line.clone());
            self.containers.push(bar);
        }
    }

    fn forget_containers(&mut self) {
        for bar in self.containers.drain(..) {
            bar.finish_and_clear();
            self.all.remove(&bar);
        }
    }

    /// Sets the number of bytes in all; a step without a bar does not show it.
    fn set_length(&self, bytes: u64) {
        if self.total.length().is_some() {
            self.total.set_length(bytes);
        }
    }

    fn show_layer(&mut self, layers: &[LayerSpan], sent: u64) {
        let is_short = self.total.length().is_none();
        let Some(span) = layers::current(layers, sent).filter(|_| !is_short) else {
            return;
        };
        if self
            .layer
            .as_ref()
            .is_none_or(|(number, _)| *number != span.number)
        {
            self.forget_layer();
            let bar = self
                .all
                .add(ProgressBar::new(span.bytes.end - span.bytes.start));
            let unpacked = span.unpacked.map_or(String::new(), |unpacked| {
                format!(", {} unpacked", render::bytes(unpacked))
            });
            let message = format!("{}{unpacked}", layers::name(span));
            begin(self.ui, &bar, LAYER, message);
            self.layer = Some((span.number, bar));
        }
        if let Some((_, bar)) = &self.layer {
            bar.set_position(layers::bytes_of(span, sent));
        }
    }

    fn forget_layer(&mut self) {
        if let Some((_, bar)) = self.layer.take() {
            bar.finish_and_clear();
            self.all.remove(&bar);
        }
    }
}

impl Drop for Bars {
    fn drop(&mut self) {
        self.forget_layer();
        self.forget_containers();
        self.total.finish_and_clear();
    }
}

fn begin(ui: Ui, bar: &ProgressBar, template: &str, message: String) {
    let is_narrow = ui.width_err.is_some_and(|columns| columns < BAR_COLUMNS);
    let template = if is_narrow && ![SHORT, CONTAINER].contains(&template) {
        NARROW
    } else {
        template
    };
    // The styles of a template ignore `--color`.
    let plain = [":.green/dim", ":.cyan/dim", ":.dim"]
        .iter()
        .fold(template.to_owned(), |text, style| text.replace(style, ""));
    let template = if ui.colors_errors() { template } else { &plain };
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(if ui.ascii {
            style.progress_chars("=> ").tick_chars("-\\|/ ")
        } else {
            style
        });
    }
    bar.set_message(message);
    bar.enable_steady_tick(Duration::from_millis(100));
}

/// The time left at the average throughput so far.
fn time_left(took: Duration, bytes: u64, total: u64) -> String {
    let millis = took.as_millis() * u128::from(total.saturating_sub(bytes));
    let millis = millis / u128::from(bytes.max(1));
    render::time(u64::try_from(millis).unwrap_or(u64::MAX))
}

fn rate(bytes: u64, took: Duration) -> String {
    let millis = u64::try_from(took.as_millis()).unwrap_or(u64::MAX).max(1);
    format!("{}/s", render::bytes(bytes.saturating_mul(1000) / millis))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plain_line_has_the_position() {
        let layers = [LayerSpan {
            number: 3,
            of: 4,
            bytes: 0..100 << 20,
            unpacked: Some(300 << 20),
        }];
        let took = Duration::from_secs(10);
        assert_eq!(
            how_far(&layers, 25 << 20, 100 << 20, took),
            "25.0 MiB of 100 MiB sent (75.0 MiB unpacked), 25 %, 2.50 MiB/s, 30.0 s left, layer 3 of 4 (25.0 MiB of 100 MiB)"
        );
        assert_eq!(
            how_far(&[], 25 << 20, 100 << 20, took),
            "25.0 MiB of 100 MiB sent, 25 %, 2.50 MiB/s, 30.0 s left"
        );
        assert_eq!(how_far(&[], 0, 100 << 20, took), "0 B of 100 MiB sent, 0 %");
    }

    #[test]
    fn a_step_shows_what_it_waits_for() {
        let state = |sent, bytes| {
            let running = Running {
                title: String::new(),
                done: String::new(),
                bytes,
                is_internal: false,
                about: false,
                sent,
                layers: vec![],
                containers: vec![],
                start: Instant::now(),
                said: Instant::now(),
                bars: None,
            };
            running.state(Duration::from_secs(10))
        };
        assert_eq!(state(0, 194), "running for 10.0 s");
        assert_eq!(state(0, 2 << 20), "0 B of 2.00 MiB sent, 0 %");
        assert_eq!(
            state(2 << 20, 2 << 20),
            "upload complete, running for 10.0 s"
        );
    }
}
