//! What module code asked for, until the node takes it.

use std::collections::VecDeque;
use std::time::Duration;

use crate::base::limits::{EFFECTS_PER_CALL_MAX, LOG_LINE_BYTES_MAX, LOG_LINES_PER_SECOND_MAX};
use crate::base::time::Instant;
use crate::container::instance::{Effect, LogLevel};

/// The effects that wait, in order.
#[derive(Default)]
pub(crate) struct Effects {
    waiting: VecDeque<Effect>,
    /// Effects of the call at hand.
    in_call: usize,
    /// The second in which `lines` log lines were written and `lines_lost` more refused.
    second: u64,
    lines: u32,
    lines_lost: u64,
}

impl Effects {
    /// A call begins: it may have its own number of effects.
    pub(crate) fn begin_call(&mut self) {
        self.in_call = 0;
    }

    /// Takes out the next one.
    pub(crate) fn next(&mut self) -> Option<Effect> {
        self.waiting.pop_front()
    }

    /// Adds one.
    ///
    /// # Errors
    ///
    /// The sentence that names the limit, when the call has had all its effects.
    pub(crate) fn add(&mut self, effect: Effect) -> Result<(), String> {
        if self.in_call >= EFFECTS_PER_CALL_MAX {
            return Err(format!(
                "limit effects_per_call ({EFFECTS_PER_CALL_MAX}) exceeded: packets, log lines and timers of one call"
            ));
        }
        self.in_call += 1;
        self.waiting.push_back(effect);
        Ok(())
    }

    /// Adds one that the node itself makes of a call: there is at most one for each task.
    pub(crate) fn add_always(&mut self, effect: Effect) {
        self.waiting.push_back(effect);
    }

    /// Writes a log line, or only counts it when there were too many in this second.
    ///
    /// # Errors
    ///
    /// As [`Effects::add`].
    pub(crate) fn log(&mut self, now: Instant, level: LogLevel, text: &[u8]) -> Result<(), String> {
        let second = now.as_nanos() / Duration::from_secs(1).as_nanos() as u64;
        if second != self.second {
            let lost = std::mem::take(&mut self.lines_lost);
            (self.second, self.lines) = (second, 0);
            if lost > 0 {
                let text = format!("limit log_lines_per_second ({LOG_LINES_PER_SECOND_MAX}): {lost} lines were lost");
                self.add(Effect::Log { level: LogLevel::Warn, text })?;
            }
        }
        if self.lines >= LOG_LINES_PER_SECOND_MAX {
            self.lines_lost += 1;
            return Ok(());
        }
        self.add(Effect::Log { level, text: one_line(text, LOG_LINE_BYTES_MAX) })?;
        self.lines += 1;
        Ok(())
    }
}

/// Text that others can show: at most `bytes_max` bytes, without control characters, and valid UTF-8.
pub(crate) fn one_line(text: &[u8], bytes_max: usize) -> String {
    let mut line = String::new();
    for c in String::from_utf8_lossy(&text[..text.len().min(bytes_max)]).chars() {
        let c = if c.is_control() { ' ' } else { c };
        if line.len() + c.len_utf8() > bytes_max {
            break;
        }
        line.push(c);
    }
    line
}
