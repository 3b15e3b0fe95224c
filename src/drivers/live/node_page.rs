//! The live page of a running node. While nobody looks it costs nothing but the last lines of what happened.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use mio::Waker;

use crate::base::limits::{PAGE_NODE_PERIOD, PAGE_TOKEN_BYTES_MAX};
use crate::base::machine::Location;
use crate::base::time::Instant;
use crate::container::instance::LogLevel;
use crate::dashboard::node_view::NodeView;
use crate::dashboard::scene::Playback;
use crate::dashboard::status::Status;
use crate::drivers::live::Live;
use crate::drivers::live::config::LiveConfig;
use crate::drivers::live::machine::host_name;
use crate::drivers::page_server::{Access, Control, PageError, PageServer};
use crate::drivers::safe_file;
use crate::node::{Command, Event};

/// Why a node has no page.
#[derive(Debug, thiserror::Error)]
pub enum NodePageError {
    /// The server does not start.
    #[error(transparent)]
    Page(#[from] PageError),
    /// The token cannot be used.
    #[error("the token of the page: {0}")]
    Token(String),
}

/// The page and what was told on it.
pub(super) struct NodePage {
    server: PageServer,
    view: NodeView,
    /// What is to be called the node, and where it is.
    name: String,
    location: Option<Location>,
    /// When it was told last; `None` while nobody looks.
    told: Option<Instant>,
}

impl NodePage {
    /// Opens the page, if there is to be one; `waker` is woken when somebody comes.
    pub(super) fn open(config: &LiveConfig, waker: Arc<Waker>) -> Result<Option<NodePage>, NodePageError> {
        let Some(choice) = &config.dashboard else { return Ok(None) };
        let token = choice.token.as_deref().map(read_token).transpose().map_err(NodePageError::Token)?;
        let access = Access { controls: token.is_some(), token };
        let server = PageServer::open(choice.listen, access)?;
        server.on_wake(move || drop(waker.wake()));
        tracing::info!("the live page is at http://{}/", server.address());
        let name = config.signal.as_ref().and_then(|signal| signal.name.clone());
        let name = name.or_else(host_name).unwrap_or_else(|| "this node".to_owned());
        let (view, location) = (NodeView::default(), config.location.clone());
        Ok(Some(NodePage { server, view, name, location, told: None }))
    }

    /// Keeps what may be read there.
    pub(super) fn note(&mut self, event: &Event, now: Instant) {
        let (level, text) = match event {
            Event::Log { instance, level, text } => {
                let word = match level {
                    LogLevel::Debug => "debug",
                    LogLevel::Info => "info",
                    LogLevel::Warn => "warn",
                };
                self.view.log(format!("{:.1} s {instance} {word}: {text}", now.as_secs_f64()));
                return;
            }
            Event::Started { instance } => ("info", format!("{instance} runs")),
            Event::Erred { instance, fault } => ("warning", format!("{instance}: {fault}")),
            Event::Failed { instance, fault, restart_in: Some(wait) } => {
                ("warning", format!("{instance} failed: {fault}; it is started again in {} s", wait.as_secs_f64()))
            }
            Event::Failed { instance, fault, restart_in: None } => {
                ("error", format!("{instance} failed for good: {fault}"))
            }
            Event::OverBudget { instance, limit, .. } => {
                ("warning", format!("{instance} has reached its limit {limit}"))
            }
            Event::Unloaded { instance } => ("info", format!("{instance} is unloaded")),
            Event::Note(text) => ("info", text.clone()),
            Event::Signal(_) => return,
        };
        self.view.note(now.as_secs_f64(), level, text);
    }

    /// Whether a moment is to be told now.
    pub(super) fn is_due(&mut self, now: Instant) -> bool {
        if self.server.viewers() == 0 {
            self.told = None;
            return false;
        }
        self.told.is_none_or(|at| now.since(at) >= PAGE_NODE_PERIOD)
    }

    /// Tells what has happened.
    pub(super) fn tell(&mut self, status: Status, now: Instant) {
        if self.told.is_none() {
            self.server.set_scene(NodeView::scene(&status, &self.name, self.location.as_ref()));
            self.server.set_playback(Playback { is_running: true, speed: 1.0, ..Playback::default() });
            self.view.begin();
        }
        self.told = Some(now);
        let moment = self.view.moment(status);
        self.server.publish(&moment);
    }

    /// The next instance that a viewer wants to have unloaded.
    pub(super) fn next_unload(&mut self) -> Option<String> {
        loop {
            match self.server.next_control()? {
                Control::Unload { instance } => return Some(instance),
                // The time of a real node goes on by itself.
                Control::Pause
                | Control::Resume
                | Control::Speed { .. }
                | Control::Step { .. }
                | Control::Next
                | Control::Restart => {}
            }
        }
    }

    /// How long the loop may wait.
    pub(super) fn longest_wait(&self, now: Instant) -> Option<Duration> {
        self.told.map(|at| (at + PAGE_NODE_PERIOD).since(now))
    }
}

impl Live {
    /// Tells those who look at the page what has happened, and does what they ask for.
    pub(super) fn turn_page(&mut self) {
        while let Some(name) = self.page.as_mut().and_then(NodePage::next_unload) {
            if let Err(e) = self.command(Command::Unload { name }) {
                tracing::warn!("asked for on the live page: {e}");
            }
            self.take_orders();
        }
        let now = self.now;
        if self.page.as_mut().is_some_and(|page| page.is_due(now)) {
            let status = self.status();
            if let Some(page) = &mut self.page {
                page.tell(status, now);
            }
        }
    }
}

/// The token in a file that only its owner can read.
fn read_token(path: &Path) -> Result<String, String> {
    // With the end of its line.
    let read = safe_file::read(path, PAGE_TOKEN_BYTES_MAX + 2);
    let (bytes, metadata) = read.map_err(|e| format!("cannot read {}: {e}", path.display()))?;
    if safe_file::mode_of(&metadata) & 0o077 != 0 {
        return Err(format!("{0} can be read by others; `chmod 600 {0}`, and make a new token", path.display()));
    }
    let text = String::from_utf8(bytes).map_err(|_| format!("{} is no text", path.display()))?;
    Ok(text.trim().to_owned())
}
