//! This machine's place in the network, asked anew after a second.
#![expect(clippy::disallowed_methods, reason = "a driver reads the clock")]

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Instant;

use crate::base::limits::{SIGNAL_PATH_FRESH, SIGNAL_PATHS_MAX};
use crate::signaling::io::{Paths, Route};

/// Asks the system, and remembers its answers for [`SIGNAL_PATH_FRESH`].
#[derive(Debug, Default)]
pub struct SystemPaths {
    mark: Option<u32>,
    known: RefCell<Known>,
}

#[derive(Debug, Default)]
struct Known {
    addresses: Option<(Instant, Vec<IpAddr>)>,
    sources: BTreeMap<IpAddr, (Instant, Option<IpAddr>)>,
    routes: BTreeMap<IpAddr, (Instant, Option<Route>)>,
}

impl SystemPaths {
    /// For sockets with this mark, see [`super::OWN_MARK`].
    #[must_use]
    pub fn new(mark: Option<u32>) -> SystemPaths {
        SystemPaths { mark, known: RefCell::default() }
    }

    /// Asks the system anew from now on.
    pub fn forget(&self) {
        self.known.take();
    }
}

impl Paths for SystemPaths {
    fn source_for(&self, destination: IpAddr) -> Option<IpAddr> {
        remembered(&mut self.known.borrow_mut().sources, destination, || {
            platform::paths::source_for(destination, self.mark).ok()
        })
    }

    fn is_local(&self, address: IpAddr) -> bool {
        if address.is_loopback() {
            return true;
        }
        let known = &mut self.known.borrow_mut().addresses;
        let is_fresh = known.as_ref().is_some_and(|(at, _)| at.elapsed() < SIGNAL_PATH_FRESH);
        if !is_fresh {
            // If it cannot be asked now, what was true before is the best guess.
            match platform::paths::local_addresses() {
                Ok(addresses) => *known = Some((Instant::now(), addresses)),
                Err(e) => tracing::debug!("cannot list this machine's addresses: {e}"),
            }
        }
        known.as_ref().is_some_and(|(_, addresses)| addresses.binary_search(&address).is_ok())
    }

    fn route_to(&self, destination: IpAddr) -> Option<Route> {
        remembered(&mut self.known.borrow_mut().routes, destination, || {
            let route = platform::paths::route_to(destination, self.mark).ok()?;
            Some(Route { interface: route.interface, via: route.via })
        })
    }
}

/// What is known about `key`, or else what `ask` says of it.
fn remembered<V: Clone>(known: &mut BTreeMap<IpAddr, (Instant, V)>, key: IpAddr, ask: impl FnOnce() -> V) -> V {
    if let Some((_, value)) = known.get(&key).filter(|(at, _)| at.elapsed() < SIGNAL_PATH_FRESH) {
        return value.clone();
    }
    if known.len() >= SIGNAL_PATHS_MAX {
        known.clear();
    }
    let value = ask();
    known.insert(key, (Instant::now(), value.clone()));
    value
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loopback_is_local_and_reached_from_itself() {
        let paths = SystemPaths::new(None);
        for address in ["127.0.0.1", "127.0.0.2"] {
            assert!(paths.is_local(address.parse().unwrap()), "{address}");
        }
        assert!(!paths.is_local("192.0.2.1".parse().unwrap()));
        assert!(!paths.is_local("0.0.0.0".parse().unwrap()));
        let loopback = "127.0.0.1".parse().unwrap();
        for _ in 0..2 {
            assert_eq!(paths.source_for(loopback), Some(loopback));
        }
        #[cfg(target_os = "linux")]
        assert_eq!(paths.route_to(loopback), Some(Route { interface: "lo".to_owned(), via: None }));
    }
}
