//! What this machine can do for a node, what is missing, and how to get it.

use std::fmt;

#[cfg(target_os = "linux")]
mod linux;

/// How one thing is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum State {
    /// It is as it should be.
    Ok,
    /// A node runs, but something will be slower or missing.
    Warn,
    /// A node cannot do this here.
    Missing,
}

impl State {
    /// The word in reports.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            State::Ok => "ok",
            State::Warn => "warn",
            State::Missing => "missing",
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Its name: one or two words with `-`.
    pub name: &'static str,
    /// How it is.
    pub state: State,
    /// What was found.
    pub found: String,
    /// What it is good for.
    pub meaning: &'static str,
    /// How to get it; empty when there is nothing to be done.
    pub remedy: String,
}

impl Finding {
    fn ok(name: &'static str, found: impl Into<String>, meaning: &'static str) -> Finding {
        Finding { name, state: State::Ok, found: found.into(), meaning, remedy: String::new() }
    }

    fn not_ok(
        name: &'static str,
        state: State,
        found: impl Into<String>,
        meaning: &'static str,
        remedy: impl Into<String>,
    ) -> Finding {
        Finding { name, state, found: found.into(), meaning, remedy: remedy.into() }
    }
}

/// Looks at everything that a node may need. Changes nothing for good: a TUN device is made and vanishes again.
#[must_use]
pub fn examine() -> Vec<Finding> {
    #[cfg(target_os = "linux")]
    let mut findings = linux::examine();
    #[cfg(not(target_os = "linux"))]
    let mut findings = elsewhere();
    findings.push(capture_library());
    findings
}

fn capture_library() -> Finding {
    let meaning = "links pcap:IF1,IF2 and tap:IF";
    match libpcap::available() {
        Ok(()) => Finding::ok("capture-library", "found", meaning),
        Err(remedy) => Finding::not_ok("capture-library", State::Missing, "not found", meaning, remedy),
    }
}

#[cfg(not(target_os = "linux"))]
fn elsewhere() -> Vec<Finding> {
    use crate::tun::{Tun, TunOptions};
    let meaning = "links tun and tun:NAME";
    let tun = match Tun::open(&TunOptions::default()) {
        Ok(_) => Finding::ok("tun-device", "one can be made", meaning),
        Err(e) => Finding::not_ok("tun-device", State::Missing, e.to_string(), meaning, "run as administrator"),
    };
    let meaning = "handing the chosen traffic of this machine to a TUN link";
    let remedy = "use pcap:IF1,IF2 or tap:IF, `netserv replay` or `netserv demo`";
    vec![tun, Finding::not_ok("steering", State::Missing, "not on this system yet", meaning, remedy)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_finding_says_what_it_means_and_what_to_do() {
        let findings = examine();
        assert!(findings.len() > 1);
        for finding in &findings {
            assert!(!finding.found.is_empty() && !finding.meaning.is_empty(), "{finding:?}");
            assert_eq!(finding.state == State::Ok, finding.remedy.is_empty(), "{finding:?}");
        }
        let mut names: Vec<_> = findings.iter().map(|finding| finding.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), findings.len());
    }
}
