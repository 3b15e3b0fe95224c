//! A machine's place in the simulated network.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::rc::Rc;

use netserv::node::Machine;
use netserv::signaling::io::{Paths, Route};

/// Where a machine sends what is for whom.
#[derive(Clone, Debug, Default)]
pub(crate) struct Place {
    pub(crate) addresses: BTreeSet<IpAddr>,
    /// By destination: the neighbour. Everything else goes to `default`.
    pub(crate) routes: BTreeMap<IpAddr, usize>,
    pub(crate) default: Option<usize>,
}

/// The same, as the node on the machine asks for it.
pub(crate) struct Here {
    pub(crate) place: Rc<RefCell<Place>>,
}

impl Paths for Here {
    fn source_for(&self, destination: IpAddr) -> Option<IpAddr> {
        self.place.borrow().addresses.iter().find(|a| a.is_ipv4() == destination.is_ipv4()).copied()
    }

    fn is_local(&self, address: IpAddr) -> bool {
        self.place.borrow().addresses.contains(&address)
    }

    fn route_to(&self, destination: IpAddr) -> Option<Route> {
        let place = self.place.borrow();
        let neighbour = place.routes.get(&destination).copied().or(place.default)?;
        Some(Route { interface: format!("to{neighbour}"), via: None })
    }
}

impl Machine for Here {
    fn memory_free_bytes(&self) -> u64 {
        1 << 30
    }

    fn load_percent(&self) -> u32 {
        25
    }

    fn addresses(&self) -> Vec<IpAddr> {
        self.place.borrow().addresses.iter().copied().collect()
    }
}
