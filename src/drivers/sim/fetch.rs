//! What nodes fetch: by HTTP over the simulated network, or from a table in memory.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use crate::base::limits::{
    HTTP_FIELDS_MAX, HTTP_HEAD_BYTES_DEFAULT, HTTP_READ_BYTES_MAX, HTTP_TARGET_BYTES_MAX, SIM_FETCHES_MAX,
    SIM_PAGE_TIME,
};
use crate::blocks::http::body::BodyPart;
use crate::blocks::http::client::{ClientConnection, Request};
use crate::blocks::http::head::HeadLimits;
use crate::blocks::http::response::Outgoing;
use crate::blocks::http::url::Url;
use crate::controller::api::{FetchId, FetchProblem};
use crate::drivers::sim::stream::Step;
use crate::drivers::sim::{Happening, Sim};
use crate::node::Input;

/// Notifications have numbers from here on; those of fetches are far below.
const POSTS_FROM: u64 = 1 << 63;

const HEAD_LIMITS: HeadLimits = HeadLimits {
    bytes_max: HTTP_HEAD_BYTES_DEFAULT,
    fields_max: HTTP_FIELDS_MAX,
    target_bytes_max: HTTP_TARGET_BYTES_MAX,
};

/// One fetch over the network.
struct Fetch {
    url: Url,
    /// What is sent; nothing for a GET.
    body: Option<String>,
    client: ClientConnection,
    bytes: Vec<u8>,
    bytes_max: u64,
    has_head: bool,
}

/// All that is under way, by machine and number.
#[derive(Default)]
pub(super) struct Fetches {
    /// `None`: the page comes from the table.
    active: BTreeMap<(usize, FetchId), Option<Box<Fetch>>>,
    posts: u64,
}

impl Fetches {
    /// The node that asked is gone.
    pub(super) fn forget(&mut self, machine: usize) {
        self.active.retain(|(of, _), _| *of != machine);
    }
}

impl Sim {
    pub(super) fn fetch(&mut self, machine: usize, id: FetchId, url: String, bytes_max: u64, timeout: Duration) {
        let life = self.computers[machine].life;
        let fetched = |result| Happening::Fetched { machine, life, id, result };
        let of_machine = self.fetches.active.range((machine, FetchId(0))..=(machine, FetchId(u64::MAX))).count();
        if of_machine >= SIM_FETCHES_MAX {
            let busy = format!("{url} is not fetched: {SIM_FETCHES_MAX} others wait already");
            return self.queue.push(self.now, fetched(Err(FetchProblem::Failed(busy))));
        }
        let result = match self.pages.get(&url) {
            Some(page) if page.len() as u64 > bytes_max => Some(Err(FetchProblem::TooLarge)),
            Some(page) => Some(Ok(page.clone())),
            None => {
                self.begin_fetch(machine, id, &url, None, bytes_max).err().map(|why| Err(FetchProblem::Failed(why)))
            }
        };
        match result {
            Some(result) => {
                self.fetches.active.insert((machine, id), None);
                self.queue.push(self.now + SIM_PAGE_TIME, fetched(result));
            }
            None => {
                let late = format!("{url} did not come within {} s", timeout.as_secs());
                self.queue.push(self.now + timeout, fetched(Err(FetchProblem::Failed(late))));
            }
        }
    }

    /// Sends a notification; whether it arrives is not told.
    pub(super) fn post(&mut self, machine: usize, url: String, body: String) {
        self.fetches.posts += 1;
        let id = FetchId(POSTS_FROM + self.fetches.posts);
        let _ = self.begin_fetch(machine, id, &url, Some(body), u64::from(u16::MAX));
    }

    fn begin_fetch(
        &mut self,
        machine: usize,
        id: FetchId,
        text: &str,
        body: Option<String>,
        bytes_max: u64,
    ) -> Result<(), String> {
        let url = Url::parse(text).map_err(|why| format!("{text} cannot be fetched: {why}"))?;
        let source = |family: fn(&IpAddr) -> bool| {
            let stack = &self.computers[machine].config.addresses;
            stack.iter().any(family)
        };
        let (has_v4, has_v6) = (source(IpAddr::is_ipv4), source(IpAddr::is_ipv6));
        let literal: Vec<IpAddr> = url.host.parse().into_iter().collect();
        let known = self.names.get(&url.host).unwrap_or(&literal);
        let usable = known.iter().find(|address| if address.is_ipv4() { has_v4 } else { has_v6 });
        let address =
            *usable.ok_or_else(|| format!("{text} cannot be fetched: there is no address for {}", url.host))?;
        let to = SocketAddr::new(address, url.port);
        let stack = &mut self.computers[machine].stack;
        stack.fetch(id, to, url.is_secure, self.now).map_err(|why| format!("{text} cannot be fetched: {why}"))?;
        let client = ClientConnection::new(HEAD_LIMITS, bytes_max);
        let fetch = Fetch { url, body, client, bytes: Vec::new(), bytes_max, has_head: false };
        self.fetches.active.insert((machine, id), Some(Box::new(fetch)));
        Ok(())
    }

    /// Something happened to the connection of a fetch.
    pub(super) fn fetch_step(&mut self, machine: usize, id: FetchId, step: Step) {
        let Some(Some(fetch)) = self.fetches.active.get_mut(&(machine, id)) else { return };
        let result = match step {
            Step::Opened { .. } => {
                let bytes = fetch.request();
                self.computers[machine].stack.write_fetch(id, &bytes);
                return;
            }
            Step::Received(bytes) => {
                fetch.client.receive(&bytes);
                fetch.advance()
            }
            Step::Finished => {
                fetch.client.end_input();
                fetch.advance()
            }
            Step::Drained => return,
            Step::Over(why) => Some(Err(FetchProblem::Failed(format!("{} cannot be fetched: {why}", fetch.text())))),
        };
        if let Some(result) = result {
            self.computers[machine].stack.end_fetch(id, self.now);
            self.finish_fetch(machine, id, result);
        }
    }

    pub(super) fn fetched(&mut self, machine: usize, life: u32, id: FetchId, result: Result<Vec<u8>, FetchProblem>) {
        if self.computers[machine].life == life {
            self.computers[machine].stack.end_fetch(id, self.now);
            self.finish_fetch(machine, id, result);
            self.settle(machine);
        }
    }

    fn finish_fetch(&mut self, machine: usize, id: FetchId, result: Result<Vec<u8>, FetchProblem>) {
        if self.fetches.active.remove(&(machine, id)).is_some() && id.0 < POSTS_FROM {
            self.input(machine, Input::Fetched(id, result));
        }
    }

    pub(super) fn cancel_fetch(&mut self, machine: usize, id: FetchId) {
        self.fetches.active.remove(&(machine, id));
        self.computers[machine].stack.end_fetch(id, self.now);
    }
}

impl Fetch {
    fn text(&self) -> String {
        let scheme = if self.url.is_secure { "https" } else { "http" };
        format!("{scheme}://{}{}", self.url.authority(), self.url.path_and_query)
    }

    fn request(&mut self) -> Vec<u8> {
        let mut fields = Outgoing::default();
        fields.set("connection", "close".to_owned());
        if self.body.is_some() {
            fields.set("content-type", "application/json".to_owned());
        }
        let authority = self.url.authority();
        let request = Request {
            method: if self.body.is_some() { "POST" } else { "GET" },
            authority: &authority,
            path_and_query: &self.url.path_and_query,
            fields: &fields,
            body: self.body.as_deref().map(str::as_bytes),
        };
        self.client.request(&request, self.bytes_max)
    }

    /// Reads on; the result once there is one.
    fn advance(&mut self) -> Option<Result<Vec<u8>, FetchProblem>> {
        let failed = |why: String| Some(Err(FetchProblem::Failed(why)));
        if !self.has_head {
            match self.client.response() {
                Ok(None) => return None,
                Ok(Some(head)) if head.status == 200 => self.has_head = true,
                Ok(Some(head)) => return failed(format!("{} answered {}", self.text(), head.status)),
                Err(error) => return failed(format!("{} cannot be fetched: {error}", self.text())),
            }
        }
        loop {
            match self.client.read_body(HTTP_READ_BYTES_MAX) {
                Ok(BodyPart::Bytes(bytes)) => self.bytes.extend(bytes),
                Ok(BodyPart::Waits) => return None,
                Ok(BodyPart::End) => return Some(Ok(std::mem::take(&mut self.bytes))),
                Err(error) if self.bytes.len() as u64 > self.bytes_max => {
                    tracing::debug!("{}: {error}", self.text());
                    return Some(Err(FetchProblem::TooLarge));
                }
                Err(error) => return failed(format!("{} cannot be fetched: {error}", self.text())),
            }
        }
    }
}
