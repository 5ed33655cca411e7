//! Owns bars: on the terminal's standard error, and nowhere beside JSON or where nobody looks.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// One bar.
pub struct Bar(ProgressBar);

impl Bar {
    /// Over offsets, or records.
    pub fn of_records(total: u64, json: bool) -> Self {
        Self::new(total, json, "{msg} {wide_bar} {pos}/{len} records {per_sec} {eta}")
    }

    /// Over bytes.
    pub fn of_bytes(total: u64, json: bool) -> Self {
        Self::new(total, json, "{msg} {wide_bar} {bytes}/{total_bytes} {bytes_per_sec} {eta}")
    }

    fn new(total: u64, json: bool, template: &str) -> Self {
        // A target on standard error hides itself where that is no terminal.
        let target = if json { ProgressDrawTarget::hidden() } else { ProgressDrawTarget::stderr() };
        let style = ProgressStyle::with_template(template);
        let bar = ProgressBar::with_draw_target(Some(total), target);
        bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
        Self(bar)
    }

    /// Begins anew, with another total.
    pub fn restart(&self, total: u64) {
        self.0.reset();
        self.0.set_length(total);
    }

    /// What is under way.
    pub fn name(&self, name: String) {
        self.0.set_message(name);
    }

    /// So much is done.
    pub fn set(&self, done: u64) {
        self.0.set_position(done);
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}
