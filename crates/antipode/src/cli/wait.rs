//! Waiting for work that goes on in the region, and telling how far it is: one line with bytes, rate
//! and time left on a terminal, JSON lines on standard error elsewhere.

use std::io::IsTerminal;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;
use tokio::time::{Interval, MissedTickBehavior};

use super::error::{CliError, Outcome};

/// How often to ask.
const ASK_EVERY: Duration = Duration::from_secs(1);
/// How often in a row the region may fail to answer before we give up.
const SILENCES_MAX: u32 = 60;

/// Whether and how long to wait.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Patience {
    /// Whether to wait at all.
    pub(crate) is_wanted: bool,
    /// How long at most.
    timeout: Option<Duration>,
    /// How often to ask.
    ask_every: Duration,
}

/// How far something is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Progress {
    /// What is going on, in a few words.
    pub(crate) message: String,
    /// Done so far.
    pub(crate) done_bytes: u64,
    /// In all, once known; 0 until then.
    pub(crate) total_bytes: u64,
    /// Whether nothing more will happen.
    pub(crate) is_over: bool,
}

impl Patience {
    /// Waits, if that is wanted, for at most `timeout`.
    pub(crate) fn new(is_wanted: bool, timeout: Option<Duration>) -> Patience {
        Patience { is_wanted, timeout, ask_every: ASK_EVERY }
    }

    /// Asks until it is over, and shows every answer.
    pub(crate) async fn follow<F>(&self, what: &str, mut ask: F) -> Outcome<()>
    where
        F: AsyncFnMut() -> Outcome<Progress>,
    {
        let mut display = Display::new(what);
        let following = async {
            let mut ticks = every(self.ask_every);
            let mut silences = 0;
            loop {
                ticks.tick().await;
                match ask().await {
                    Ok(progress) => {
                        silences = 0;
                        display.show(&progress);
                        if progress.is_over {
                            return Ok(());
                        }
                    }
                    Err(error) if error.may_pass && silences < SILENCES_MAX => silences += 1,
                    Err(error) => return Err(error),
                }
            }
        };
        let ended = match self.timeout {
            Some(timeout) => tokio::time::timeout(timeout, following).await.unwrap_or_else(|_| {
                Err(CliError::failed(format!(
                    "{what} did not end within {} seconds; it goes on",
                    timeout.as_secs()
                )))
            }),
            None => following.await,
        };
        display.end();
        ended
    }
}

fn every(period: Duration) -> Interval {
    let mut ticks = tokio::time::interval(period);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}

/// Where progress is shown.
pub(crate) struct Display {
    what: String,
    bar: Option<ProgressBar>,
    shown: Progress,
}

impl Display {
    pub(crate) fn new(what: &str) -> Display {
        let bar = std::io::stderr().is_terminal().then(|| new_bar(what));
        Display { what: what.to_owned(), bar, shown: Progress::default() }
    }

    pub(crate) fn show(&mut self, progress: &Progress) {
        match &self.bar {
            Some(bar) => {
                bar.set_length(progress.total_bytes.max(progress.done_bytes));
                bar.set_position(progress.done_bytes);
                bar.set_message(progress.message.clone());
            }
            None if *progress != self.shown => {
                let line = json!({
                    "progress": self.what,
                    "state": progress.message,
                    "done_bytes": progress.done_bytes,
                    "total_bytes": progress.total_bytes,
                });
                eprintln!("{line}");
                self.shown = progress.clone();
            }
            None => {}
        }
    }

    pub(crate) fn end(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

fn new_bar(what: &str) -> ProgressBar {
    let template = "{prefix} {wide_bar} {bytes}/{total_bytes} {bytes_per_sec} {eta} left · {msg}";
    let style = ProgressStyle::with_template(template).expect("the template is a constant that parses");
    ProgressBar::new(0).with_style(style).with_prefix(what.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn patience(timeout: Option<Duration>) -> Patience {
        Patience { is_wanted: true, timeout, ask_every: Duration::from_micros(10) }
    }

    #[tokio::test]
    async fn following_ends_with_the_work_and_survives_silence() {
        let mut answers = 0;
        let patience = patience(None);
        let followed = patience.follow("test", async || {
            answers += 1;
            if answers < 5 {
                return Err(CliError { may_pass: true, ..CliError::failed("down") });
            }
            Ok(Progress { is_over: answers == 8, ..Progress::default() })
        });
        followed.await.unwrap();
        assert_eq!(answers, 8);
    }

    #[tokio::test]
    async fn following_gives_up_at_its_timeout_and_on_refusals() {
        let going = async || Ok(Progress::default());
        let error = patience(Some(Duration::from_millis(20))).follow("test", going).await.unwrap_err();
        assert!(error.message.contains("it goes on"));
        let refused = async || Err(CliError::failed("no"));
        assert_eq!(patience(None).follow("test", refused).await.unwrap_err().message, "no");
    }
}
