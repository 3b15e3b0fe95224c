//! Packages on their way: which are fetched now, which wait, and who waits for them.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::base::limits::{FETCH_GRACE, FETCH_RETRY_FIRST};
use crate::base::time::Instant;
use crate::controller::api::{ControllerConfig, ControllerOutput, FetchId, FetchProblem};

/// What is fetched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Source {
    pub(super) url: String,
    pub(super) digest: [u8; 32],
    pub(super) bytes_max: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// Until fewer are fetched.
    Queued,
    /// The driver has it; after this time it is taken to be lost.
    Running { until: Instant },
    /// It failed and is tried again then.
    Waiting { retry_at: Instant },
}

#[derive(Debug)]
struct Fetch {
    source: Source,
    stage: Stage,
    attempts: u32,
    /// The last problem.
    problem: String,
    /// Names of instances.
    waiters: BTreeSet<String>,
}

/// A fetch that came to its end.
#[derive(Debug)]
pub(super) struct Done {
    pub(super) source: Source,
    pub(super) waiters: BTreeSet<String>,
    /// The bytes as they came, or why there are none.
    pub(super) result: Result<Vec<u8>, FetchProblem>,
}

/// All fetches. There are at most as many as instances that wait for one.
#[derive(Debug, Default)]
pub(super) struct Fetches {
    by_id: BTreeMap<FetchId, Fetch>,
    next_id: u64,
}

impl Fetches {
    /// Has an instance wait for a package; it is fetched once for all that wait for the same.
    pub(super) fn join(&mut self, source: Source, waiter: &str) {
        if let Some(fetch) = self.by_id.values_mut().find(|fetch| fetch.source == source) {
            fetch.waiters.insert(waiter.to_owned());
            return;
        }
        let id = FetchId(self.next_id);
        self.next_id += 1;
        let waiters = BTreeSet::from([waiter.to_owned()]);
        self.by_id.insert(id, Fetch { source, stage: Stage::Queued, attempts: 0, problem: String::new(), waiters });
    }

    /// Has an instance wait no longer; the fetch is to be cancelled if it was the last one.
    pub(super) fn leave(&mut self, waiter: &str) -> Option<FetchId> {
        let (id, fetch) = self.by_id.iter_mut().find(|(_, fetch)| fetch.waiters.contains(waiter))?;
        fetch.waiters.remove(waiter);
        let id = *id;
        if !fetch.waiters.is_empty() {
            return None;
        }
        let fetch = self.by_id.remove(&id)?;
        matches!(fetch.stage, Stage::Running { .. }).then_some(id)
    }

    /// Starts those that are due, as far as there is room.
    pub(super) fn start(&mut self, now: Instant, config: &ControllerConfig) -> Vec<ControllerOutput> {
        let running = self.by_id.values().filter(|fetch| matches!(fetch.stage, Stage::Running { .. })).count();
        let room = config.fetches_max.max(1).saturating_sub(running);
        // One that is due but has no room must not ask for a wakeup again and again.
        let is_due = |stage| matches!(stage, Stage::Waiting { retry_at } if retry_at <= now);
        self.by_id.values_mut().filter(|fetch| is_due(fetch.stage)).for_each(|fetch| fetch.stage = Stage::Queued);
        let queued = self.by_id.iter_mut().filter(|(_, fetch)| fetch.stage == Stage::Queued);
        let start = |(id, fetch): (&FetchId, &mut Fetch)| {
            fetch.stage = Stage::Running { until: now + config.fetch_timeout + FETCH_GRACE };
            fetch.attempts += 1;
            let Source { url, bytes_max, .. } = fetch.source.clone();
            ControllerOutput::Fetch { id: *id, url, bytes_max, timeout: config.fetch_timeout }
        };
        queued.take(room).map(start).collect()
    }

    /// Takes what the driver says of a fetch. `None` when it is tried again, or nobody waits for it.
    pub(super) fn finished(
        &mut self,
        now: Instant,
        id: FetchId,
        result: Result<Vec<u8>, FetchProblem>,
        config: &ControllerConfig,
    ) -> Option<Done> {
        let fetch = self.by_id.get_mut(&id)?;
        // A result that comes late, when the fetch was given up and waits for its next attempt, is as good.
        if let Err(FetchProblem::Failed(problem)) = &result {
            if !matches!(fetch.stage, Stage::Running { .. }) {
                return None;
            }
            fetch.problem.clone_from(problem);
            if fetch.attempts < config.fetch_attempts {
                let wait = FETCH_RETRY_FIRST * 2_u32.saturating_pow(fetch.attempts.saturating_sub(1).min(16));
                fetch.stage = Stage::Waiting { retry_at: now + wait };
                return None;
            }
        }
        let fetch = self.by_id.remove(&id)?;
        let result = match result {
            Err(FetchProblem::Failed(_)) if fetch.attempts > 1 => {
                let attempts = fetch.attempts;
                Err(FetchProblem::Failed(format!("{} (tried {attempts} times)", fetch.problem)))
            }
            other => other,
        };
        Some(Done { source: fetch.source, waiters: fetch.waiters, result })
    }

    /// A fetch that the driver should have told of long ago.
    pub(super) fn overdue(&self, now: Instant) -> Option<FetchId> {
        let is_overdue = |fetch: &Fetch| matches!(fetch.stage, Stage::Running { until } if until <= now);
        self.by_id.iter().find(|(_, fetch)| is_overdue(fetch)).map(|(id, _)| *id)
    }

    /// When something is to be done next.
    pub(super) fn deadline(&self) -> Option<Instant> {
        let times = self.by_id.values().filter_map(|fetch| match fetch.stage {
            // As soon as another ends; nothing to wake up for.
            Stage::Queued => None,
            Stage::Running { until } => Some(until),
            Stage::Waiting { retry_at } => Some(retry_at),
        });
        times.min()
    }

    /// The state of the fetch that an instance waits for.
    pub(super) fn state_of(&self, waiter: &str) -> &'static str {
        let fetch = self.by_id.values().find(|fetch| fetch.waiters.contains(waiter));
        match fetch.map(|fetch| fetch.stage) {
            Some(Stage::Queued) => "queued",
            Some(Stage::Running { .. } | Stage::Waiting { .. }) => "fetching",
            None => "starting",
        }
    }

    /// The sentence for a fetch of which nothing was heard.
    pub(super) fn lost(timeout: Duration) -> FetchProblem {
        FetchProblem::Failed(format!("nothing came within {} s", timeout.as_secs()))
    }
}
