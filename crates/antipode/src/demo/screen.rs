//! What the demo shows: numbered steps, live progress, a closing table. On a terminal progress is one line
//! that moves; on a pipe it is a plain line now and then.

use std::io::IsTerminal;
use std::time::Duration;

use comfy_table::{CellAlignment, ContentArrangement, Table, presets};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use vault::seams::Clock;

use crate::world::SystemClock;

/// How often a pipe gets a line of progress.
const PLAIN_LINE_MS: u64 = 2_000;

/// Where the story is told.
pub(super) struct Screen {
    is_terminal: bool,
    step: usize,
    step_count: usize,
    begun_ms: u64,
}

impl Screen {
    /// The screen of a story with so many steps.
    pub(super) fn new(step_count: usize) -> Screen {
        Screen {
            is_terminal: std::io::stdout().is_terminal(),
            step: 0,
            step_count,
            begun_ms: SystemClock.now_ms(),
        }
    }

    /// Begins the next step.
    pub(super) fn step(&mut self, title: &str) {
        self.step += 1;
        println!("\n[{:>2}/{}] {title}", self.step, self.step_count);
    }

    /// A line inside a step.
    pub(super) fn say(&self, line: &str) {
        println!("        {line}");
    }

    /// Seconds since the story began.
    pub(super) fn seconds(&self) -> f64 {
        seconds_since(self.begun_ms)
    }

    /// A line of progress towards `total_bytes`, which may still be unknown (0).
    pub(super) fn progress(&self, label: &str, total_bytes: u64) -> Progress {
        let bar = self.is_terminal.then(|| bar(label, total_bytes));
        let begun_ms = SystemClock.now_ms();
        Progress { label: label.to_owned(), bar, begun_ms, shown_ms: begun_ms, done_bytes: 0, total_bytes }
    }
}

fn bar(label: &str, total_bytes: u64) -> ProgressBar {
    let bar = ProgressBar::with_draw_target(Some(total_bytes), ProgressDrawTarget::stdout());
    let template = "        {prefix:12} {bar:24} {binary_bytes} of {binary_total_bytes}  {binary_bytes_per_sec}  {eta} left";
    let style = ProgressStyle::with_template(template).expect("the template is a constant that was tried");
    bar.set_style(style.progress_chars("█▓░"));
    bar.set_prefix(label.to_owned());
    bar.enable_steady_tick(Duration::from_millis(100));
    bar
}

/// One thing that moves bytes.
pub(super) struct Progress {
    label: String,
    bar: Option<ProgressBar>,
    begun_ms: u64,
    shown_ms: u64,
    done_bytes: u64,
    total_bytes: u64,
}

impl Progress {
    /// Takes what is done by now, which never goes back; the total may have become known, or grown.
    pub(super) fn show(&mut self, done_bytes: u64, total_bytes: u64) {
        self.done_bytes = self.done_bytes.max(done_bytes);
        self.total_bytes = total_bytes.max(self.done_bytes);
        if let Some(bar) = &self.bar {
            bar.set_length(self.total_bytes);
            bar.set_position(self.done_bytes);
            return;
        }
        let now_ms = SystemClock.now_ms();
        if now_ms.saturating_sub(self.shown_ms) >= PLAIN_LINE_MS {
            self.shown_ms = now_ms;
            println!("        {}", self.plain_line(now_ms));
        }
    }

    /// Ends the line; answers the seconds it took.
    pub(super) fn finish(self) -> f64 {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
        seconds_since(self.begun_ms)
    }

    fn plain_line(&self, now_ms: u64) -> String {
        let elapsed_ms = now_ms.saturating_sub(self.begun_ms).max(1);
        let bytes_per_second = u128::from(self.done_bytes) * 1000 / u128::from(elapsed_ms);
        let left_bytes = self.total_bytes - self.done_bytes;
        let left = match bytes_per_second {
            0 => "unknown time".to_owned(),
            rate => format!("{} s", u128::from(left_bytes).div_ceil(rate)),
        };
        format!(
            "{:12} {} of {}  {}/s  {left} left",
            self.label,
            mebibytes(self.done_bytes),
            mebibytes(self.total_bytes),
            mebibytes(u64::try_from(bytes_per_second).unwrap_or(u64::MAX)),
        )
    }
}

/// Seconds since a moment of the system clock.
pub(super) fn seconds_since(begun_ms: u64) -> f64 {
    Duration::from_millis(SystemClock.now_ms().saturating_sub(begun_ms)).as_secs_f64()
}

/// A size in MiB with one decimal, or in bytes below 1 KiB and in KiB below 1 MiB.
pub(super) fn mebibytes(bytes: u64) -> String {
    match bytes {
        0..1024 => format!("{bytes} B"),
        1024..1_048_576 => format!("{:.1} KiB", bytes as f64 / 1024.0),
        _ => format!("{:.1} MiB", bytes as f64 / 1_048_576.0),
    }
}

/// One line of the closing table. A figure that a step does not have is nothing.
#[derive(Clone, Debug, Default)]
pub(super) struct Row {
    /// The step.
    pub(super) step: String,
    /// Bytes of the disks, holes included.
    pub(super) logical_bytes: Option<u64>,
    /// Bytes of distinct blocks of 4 KiB that hold anything but zeros.
    pub(super) unique_bytes: Option<u64>,
    /// Bytes that the step added to a vault.
    pub(super) stored_bytes: Option<u64>,
    /// Object bytes that the destination acknowledged.
    pub(super) sent_bytes: Option<u64>,
    /// Object bytes that had been sent before and were sent again.
    pub(super) resent_bytes: Option<u64>,
    /// How long it took.
    pub(super) seconds: f64,
}

/// The closing table.
pub(super) fn table(rows: &[Row]) -> String {
    let mut table = Table::new();
    table.load_style(presets::UTF8_FULL_CONDENSED).set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(["step", "logical", "unique", "stored", "sent", "re-sent", "seconds"]);
    let bytes = |bytes: Option<u64>| bytes.map_or_else(|| "·".to_owned(), mebibytes);
    for row in rows {
        table.add_row([
            row.step.clone(),
            bytes(row.logical_bytes),
            bytes(row.unique_bytes),
            bytes(row.stored_bytes),
            bytes(row.sent_bytes),
            bytes(row.resent_bytes),
            format!("{:.1}", row.seconds),
        ]);
    }
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plain_line_knows_rate_and_time_left() {
        let line = |done_bytes, total_bytes, elapsed_ms: u64| {
            let label = "copying".to_owned();
            let progress =
                Progress { label, bar: None, begun_ms: 1000, shown_ms: 0, done_bytes, total_bytes };
            progress.plain_line(1000 + elapsed_ms)
        };
        assert_eq!(
            line(50 << 20, 200 << 20, 2000),
            "copying      50.0 MiB of 200.0 MiB  25.0 MiB/s  6 s left"
        );
        assert_eq!(line(0, 200 << 20, 2000), "copying      0 B of 200.0 MiB  0 B/s  unknown time left");
        assert_eq!(line(7, 7, 0), "copying      7 B of 7 B  6.8 KiB/s  0 s left");
    }

    #[test]
    fn the_table_shows_a_dot_where_there_is_no_figure() {
        let row = Row {
            step: "first backup".to_owned(),
            stored_bytes: Some(3 << 20),
            seconds: 1.25,
            ..Row::default()
        };
        let shown = table(&[row]);
        assert!(shown.contains("3.0 MiB") && shown.contains('·') && shown.contains("1.2"), "{shown}");
    }
}
