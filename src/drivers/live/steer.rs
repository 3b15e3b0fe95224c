//! Makes the system hand the chosen traffic to the links: policy rules for TUN links, offloads for capture links.

use std::path::Path;
use std::time::Duration;

use platform::steering::{Applied, Masquerade, Match, Plan, Steering, SteeringError};

use crate::base::filter::{Filter, Prefix};
use crate::dashboard::status::SteeringStatus;
use crate::drivers::live::config::{LinkChoice, LiveConfig, SteeringChoice};
use crate::drivers::live::links::{Link, Links};

/// What was changed on this machine for the node, and how it is taken back.
pub(super) struct Steerer {
    steering: Option<Box<dyn Steering>>,
    choice: SteeringChoice,
    applied: Applied,
    error: Option<SteeringError>,
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
pub(super) fn clean_up(_state: &Path) -> Result<Vec<String>, SteeringError> {
    Ok(Vec::new())
}

impl Steerer {
    pub(super) fn new(config: &LiveConfig, links: &Links) -> Result<Steerer, SteeringError> {
        let _tun = links.iter().find_map(|link| match link {
            Link::Tun(tun) => Some(tun.tun().name().to_owned()),
            Link::Port(_) => None,
        });
        let steering: Option<Box<dyn Steering>> = None;
        let mut steerer = Steerer {
            steering,
            choice: config.steering,
            applied: Applied::default(),
            error: None,
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
                LinkChoice::Tap { .. } | LinkChoice::Tun { .. } => {}
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
        let Some(steering) = &mut self.steering else { return };
        match steering.apply(&plan(filters, self.choice)) {
            Ok(applied) => {
                for note in applied.notes.iter().filter(|note| !self.applied.notes.contains(note)) {
                    tracing::info!("{note}");
                }
                (self.applied, self.error) = (applied, None);
            }
            Err(e) => {
                tracing::warn!("nothing is steered: {e}");
                (self.applied, self.error) = (Applied::default(), Some(e));
            }
        }
    }

    /// Whether what was asked for is steered.
    pub(super) fn check(&mut self) -> Result<(), SteeringError> {
        self.error.take().map_or(Ok(()), Err)
    }

    /// Tells the guard that the loop turns.
    pub(super) fn heartbeat(&mut self) {}

    /// The longest time between two heartbeats.
    pub(super) fn longest_wait(&self) -> Option<Duration> {
        None
    }

    /// Takes everything back.
    pub(super) fn withdraw(&mut self) {
        if let Some(mut steering) = self.steering.take()
            && let Err(e) = steering.withdraw()
        {
            tracing::error!("{e}; `netserv cleanup` tries again");
        }
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
