//! A bar on standard error while a run lasts.
//!
//! Owns one thread that wakes five times a second; workers only add to a counter.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::window::Window;

const TICK: Duration = Duration::from_millis(200);

/// Records done so far, shared with every worker.
pub type Counter = Arc<AtomicU64>;

/// A bar that ends when dropped.
pub struct Progress {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Progress {
    /// Draws `counter` until dropped: towards `limit` records when there is one, else towards the
    /// end of the window. `quiet`, or a standard error that is no terminal, draws nothing.
    pub fn start(quiet: bool, window: Window, limit: Option<u64>, counter: Counter) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = (!quiet).then(|| std::thread::spawn(move || draw(window, limit, &counter, &stopped)));
        Self { stop, thread }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.join().ok();
        }
    }
}

fn draw(window: Window, limit: Option<u64>, counter: &Counter, stop: &AtomicBool) {
    let start = Instant::now();
    let whole_ms = (window.until - start).as_millis() as u64;
    let style = ProgressStyle::with_template("{elapsed:>4} [{wide_bar}] {msg}")
        .expect("the template is constant")
        .progress_chars("=> ");
    let bar =
        ProgressBar::with_draw_target(Some(limit.unwrap_or(whole_ms)), ProgressDrawTarget::stderr_with_hz(5));
    bar.set_style(style);
    let mut before = 0;
    while !stop.load(Ordering::Relaxed) {
        let done = counter.load(Ordering::Relaxed);
        let per_s = (done - before) as f64 / TICK.as_secs_f64();
        before = done;
        bar.set_position(limit.map_or(start.elapsed().as_millis() as u64, |_| done));
        let phase = if Instant::now() < window.measured_from { "warming up, " } else { "" };
        bar.set_message(format!("{phase}{done} messages, {per_s:.0}/s"));
        std::thread::sleep(TICK);
    }
    bar.finish_and_clear();
}
