//! Makes the system hand the chosen traffic to the links: policy rules for TUN links, offloads for capture links.

use std::path::{Path, PathBuf};
use std::time::Duration;

use platform::guard::{BEAT_PERIOD, Beat, Guard};
use platform::steering::{self, Applied, Masquerade, Match, Options, Plan, Steering, SteeringError};

use crate::base::filter::{Filter, Prefix};
use crate::base::time::Instant;
use crate::dashboard::status::SteeringStatus;
use crate::drivers::live::config::{LinkChoice, LiveConfig, SteeringChoice};
use crate::drivers::live::links::{Link, Links};
use crate::drivers::live::signal::OWN_MARK;

/// How often it is looked whether interfaces, addresses and routes have changed; and how often something that failed is
/// tried again.
const REFRESH_PERIOD: Duration = Duration::from_secs(1);

/// How often a guard that got lost is replaced.
const GUARDS_MAX: u32 = 4;

/// What was changed on this machine for the node, and how it is taken back.
pub(super) struct Steerer {
    steering: Option<Box<dyn Steering>>,
    choice: SteeringChoice,
    /// What is to be steered, whether or not it is.
    plan: Plan,
    applied: Applied,
    error: Option<SteeringError>,
    refresh_at: Instant,
    guard: Option<Guard>,
    journal: PathBuf,
    beat_at: Instant,
    guards_left: u32,
    #[cfg(target_os = "linux")]
    offloads: Vec<platform::capture::offloads::OffloadsOff>,
}

/// Switches on again what a killed node left off; says what, in a person's words.
pub(super) fn restore_left_behind(state: &Path) -> Vec<String> {
    #[cfg(target_os = "linux")]
    return platform::capture::offloads::restore_left_behind(state);
    #[cfg(not(target_os = "linux"))]
    {
        let _ = state;
        Vec::new()
    }
}

/// Takes out the rules that a killed node left behind; says what, in a person's words.
pub(super) fn clean_up(state: &Path) -> Result<Vec<String>, SteeringError> {
    let report = steering::cleanup(state)?;
    Ok(if report.is_empty() { Vec::new() } else { vec![report.to_string()] })
}

impl Steerer {
    pub(super) fn new(config: &LiveConfig, links: &Links) -> Result<Steerer, SteeringError> {
        let tun = links.iter().find_map(|link| match link {
            Link::Tun(tun) => Some(tun.tun().name().to_owned()),
            Link::Port(_) => None,
        });
        let open = |tun| steering::open(Options { tun, own_mark: OWN_MARK, journal_dir: config.state.clone() });
        let mut steerer = Steerer {
            steering: tun.map(open).transpose()?,
            choice: config.steering,
            plan: Plan::default(),
            applied: Applied::default(),
            error: None,
            refresh_at: Instant::START + REFRESH_PERIOD,
            guard: None,
            journal: steering::journal_path(&config.state).unwrap_or_default(),
            beat_at: Instant::START,
            guards_left: GUARDS_MAX,
            #[cfg(target_os = "linux")]
            offloads: Vec::new(),
        };
        for choice in &config.links {
            match choice {
                LinkChoice::Inline { first, second } => {
                    for interface in [first, second] {
                        steerer.prepare_inline(interface, config);
                    }
                }
                LinkChoice::Tap { .. } | LinkChoice::Tun { .. } | LinkChoice::None => {}
            }
        }
        Ok(steerer)
    }

    /// Switches off what would disturb a capture interface, and warns of what cannot be switched.
    fn prepare_inline(&mut self, interface: &str, config: &LiveConfig) {
        for warning in platform::capture::inline_warnings(interface) {
            tracing::warn!("{warning}");
        }
        #[cfg(target_os = "linux")]
        match platform::capture::offloads::OffloadsOff::apply(interface, &config.state) {
            Ok(off) => {
                if !off.names().is_empty() {
                    tracing::info!("offloads of {interface} are off until the node stops: {}", off.names().join(", "));
                }
                if !off.still_on().is_empty() {
                    let names = off.still_on().join(", ");
                    tracing::warn!("offloads of {interface} cannot be switched off: {names}; TCP may be slow");
                }
                self.offloads.push(off);
            }
            Err(e) => tracing::warn!(
                "offloads of {interface} are left on, because {} cannot be written: {e}; TCP may be slow",
                config.state.display()
            ),
        }
        #[cfg(not(target_os = "linux"))]
        let _ = (interface, config);
    }

    /// Steers exactly what the filters name.
    pub(super) fn steer(&mut self, filters: &[Filter]) {
        self.plan = plan(filters, self.choice);
        self.start_guard();
        if let Some(steering) = &mut self.steering {
            let result = steering.apply(&self.plan);
            self.take(result);
        }
    }

    /// Keeps what now holds, and says what is new.
    fn take(&mut self, result: Result<Applied, SteeringError>) {
        match result {
            Ok(applied) => {
                for note in applied.notes.iter().filter(|note| !self.applied.notes.contains(note)) {
                    tracing::info!("{note}");
                }
                if self.error.take().is_some() {
                    tracing::info!("steering works again");
                }
                self.applied = applied;
            }
            Err(e) => {
                if self.error.as_ref().is_none_or(|before| before.to_string() != e.to_string()) {
                    tracing::warn!("nothing is steered: {e}");
                }
                (self.applied, self.error) = (Applied::default(), Some(e));
            }
        }
    }

    /// Starts the process that takes the rules out if this one hangs or dies; before there are any.
    fn start_guard(&mut self) {
        if self.steering.is_none() || self.guard.is_some() || self.guards_left == 0 {
            return;
        }
        self.guards_left -= 1;
        match Guard::start(&self.journal) {
            Ok(guard) => self.guard = Some(guard),
            Err(e) => tracing::warn!(
                "there is no guard: {e}; if the node hangs, steered traffic stands still until the node is ended"
            ),
        }
    }

    /// Gives the guard a sign of life, and steers anew if it had to take the rules out.
    pub(super) fn beat(&mut self, now: Instant) {
        if now < self.beat_at {
            return;
        }
        self.beat_at = now + BEAT_PERIOD;
        match self.guard.as_mut().map(Guard::beat) {
            None | Some(Beat::Fine) => {}
            Some(Beat::WasWithdrawn) => {
                tracing::warn!("this process stood still, and traffic flowed past it; it is steered again from now on");
                if let Some(steering) = &mut self.steering {
                    let result = steering.apply(&self.plan);
                    self.take(result);
                }
            }
            Some(Beat::Lost(e)) => {
                tracing::warn!("the guard is gone: {e}; another one is started");
                self.guard = None;
                self.start_guard();
            }
        }
    }

    /// Follows changes of the machine.
    pub(super) fn refresh(&mut self, now: Instant) {
        let Some(steering) = &mut self.steering else { return };
        if now < self.refresh_at {
            return;
        }
        self.refresh_at = now + REFRESH_PERIOD;
        let result = match self.error {
            Some(_) => steering.apply(&self.plan),
            None => match steering.refresh() {
                Ok(None) => return,
                Ok(Some(applied)) => Ok(applied),
                Err(e) => Err(e),
            },
        };
        self.take(result);
    }

    /// Whether what was asked for is steered.
    pub(super) fn check(&mut self) -> Result<(), SteeringError> {
        self.error.take().map_or(Ok(()), Err)
    }

    /// The longest time until the next [`Steerer::beat`].
    pub(super) fn longest_wait(&self) -> Option<Duration> {
        self.steering.is_some().then_some(BEAT_PERIOD)
    }

    /// Takes everything back.
    pub(super) fn withdraw(&mut self) {
        if let Some(mut steering) = self.steering.take()
            && let Err(e) = steering.withdraw()
        {
            tracing::error!("{e}; `netserv cleanup` tries again");
        }
        self.guard = None;
        #[cfg(target_os = "linux")]
        self.offloads.clear();
    }

    pub(super) fn status(&self) -> SteeringStatus {
        SteeringStatus {
            rules: self.applied.rule_count,
            notes: self.applied.notes.clone(),
            error: self.error.as_ref().map(ToString::to_string),
        }
    }
}

fn plan(filters: &[Filter], choice: SteeringChoice) -> Plan {
    let mut matches: Vec<Match> = Vec::new();
    for filter in filters {
        matches.push(match_of(filter));
        if filter.both_directions {
            matches.push(match_of(&filter.reversed()));
        }
    }
    matches.sort_unstable();
    matches.dedup();
    Plan {
        matches,
        forwarded: choice.forwarded,
        own: choice.own,
        to_self: choice.to_self,
        masquerade: match choice.masquerade {
            None => Masquerade::Auto,
            Some(true) => Masquerade::Yes,
            Some(false) => Masquerade::No,
        },
    }
}

fn match_of(filter: &Filter) -> Match {
    let prefix = |prefix: Option<Prefix>| prefix.map(|p| (p.address(), p.prefix_len()));
    Match {
        ip_version: filter.ip_version,
        protocol: filter.protocol,
        from: prefix(filter.from),
        to: prefix(filter.to),
        from_port: filter.from_port.map(|ports| (ports.first, ports.last)),
        to_port: filter.to_port.map(|ports| (ports.first, ports.last)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_for_both_directions_becomes_two_matches_and_none_comes_twice() {
        let filter = Filter {
            protocol: Some(6),
            to: Some("192.0.2.0/24".parse().unwrap()),
            to_port: Some("80-81".parse().unwrap()),
            both_directions: true,
            ..Filter::default()
        };
        let plan = plan(&[filter, filter.reversed(), filter], SteeringChoice::default());
        assert_eq!(plan.matches.len(), 2);
        assert!(plan.matches.iter().any(|m| m.to_port == Some((80, 81)) && m.from.is_none()));
        assert!(plan.matches.iter().any(|m| m.from_port == Some((80, 81)) && m.to.is_none()));
        assert!(plan.forwarded && plan.own && !plan.to_self);
    }
}
