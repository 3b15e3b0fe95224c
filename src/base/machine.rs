//! What a node may know of the machine that it runs on. Data, and the question; who answers is the driver.

use std::cell::RefCell;
use std::net::IpAddr;

/// How busy the machine is.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct MachineLoad {
    /// Seconds since it was started.
    pub uptime_s: f64,
    /// Load averages of 1, 5 and 15 minutes.
    pub load: [f64; 3],
    /// Processors.
    pub cpus: u32,
    /// Memory, in bytes.
    pub memory_bytes: u64,
    /// Memory that is free, in bytes.
    pub memory_free_bytes: u64,
}

/// A network interface.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Interface {
    /// Its name.
    pub name: String,
    /// Switched on by the owner.
    pub is_up: bool,
    /// Can carry packets: a cable is in, the other end is there.
    pub has_carrier: bool,
    /// Largest IP packet, in bytes.
    pub mtu: u32,
    /// Bits per second, if known.
    pub speed: Option<u64>,
    /// Hardware address as text, if it has one.
    pub hardware: Option<String>,
    /// Addresses with the lengths of their prefixes.
    pub addresses: Vec<(IpAddr, u8)>,
    /// Bytes and packets in, bytes and packets out.
    pub counters: [u64; 4],
}

/// Another machine on a link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Neighbour {
    /// Its address.
    pub address: IpAddr,
    /// By which interface.
    pub interface: String,
    /// Its hardware address as text, if known.
    pub hardware: Option<String>,
    /// Whether it answered lately.
    pub is_reachable: bool,
}

/// A line of the routing table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouteEntry {
    /// Where to: a prefix.
    pub to: (IpAddr, u8),
    /// The next hop, if it is not on the link.
    pub via: Option<IpAddr>,
    /// By which interface; `None` where the destination is unreachable.
    pub interface: Option<String>,
    /// The lower, the better.
    pub metric: u32,
}

/// How the machine reaches a destination.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Way {
    /// By which interface.
    pub interface: String,
    /// The next hop, if it is not the destination itself.
    pub via: Option<IpAddr>,
    /// From which address.
    pub source: Option<IpAddr>,
}

/// Where the machine is, as its owner says.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Location {
    /// Degrees north.
    pub latitude: Option<f64>,
    /// Degrees east.
    pub longitude: Option<f64>,
    /// For people.
    pub place: Option<String>,
}

/// What of a machine has changed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MachineChange {
    /// Routes.
    pub routes: bool,
    /// Interfaces: come, gone, up, down.
    pub interfaces: bool,
    /// Addresses.
    pub addresses: bool,
}

impl MachineChange {
    /// What either says.
    #[must_use]
    pub const fn with(self, other: MachineChange) -> MachineChange {
        MachineChange {
            routes: self.routes | other.routes,
            interfaces: self.interfaces | other.interfaces,
            addresses: self.addresses | other.addresses,
        }
    }

    /// Whether nothing has.
    #[must_use]
    pub const fn is_nothing(self) -> bool {
        !(self.routes | self.interfaces | self.addresses)
    }
}

/// The machine. `None` stands for: not known here.
pub trait MachineView {
    /// How busy it is.
    fn load(&self) -> Option<MachineLoad>;
    /// Its interfaces, in the order of their names.
    fn interfaces(&self) -> Option<Vec<Interface>>;
    /// Others on its links, by address.
    fn neighbours(&self) -> Option<Vec<Neighbour>>;
    /// The first `count_max` lines of its routing table, by prefix.
    fn routes(&self, count_max: usize) -> Option<Vec<RouteEntry>>;
    /// How it reaches a destination; `Some(None)` if it does not.
    fn way_to(&self, destination: IpAddr) -> Option<Option<Way>>;
    /// Where it is.
    fn location(&self) -> Option<Location>;
}

/// What is known of a machine that does not exist: in replay, in the tests of modules.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct MachineFacts {
    /// See [`MachineView::load`].
    pub load: Option<MachineLoad>,
    /// See [`MachineView::interfaces`].
    pub interfaces: Option<Vec<Interface>>,
    /// See [`MachineView::neighbours`].
    pub neighbours: Option<Vec<Neighbour>>,
    /// See [`MachineView::routes`]; also what [`MachineView::way_to`] follows.
    pub routes: Option<Vec<RouteEntry>>,
    /// See [`MachineView::location`].
    pub location: Option<Location>,
}

/// A machine that is as somebody says.
#[derive(Debug, Default)]
pub struct FixedMachine(RefCell<MachineFacts>);

impl FixedMachine {
    /// From now on it is so; answers what is not as it was.
    pub fn set(&self, facts: MachineFacts) -> MachineChange {
        let old = self.0.replace(facts);
        let new = self.0.borrow();
        let bare = |facts: &MachineFacts| {
            let interfaces = facts.interfaces.clone().unwrap_or_default().into_iter();
            interfaces.map(|i| Interface { addresses: Vec::new(), counters: [0; 4], ..i }).collect::<Vec<_>>()
        };
        let addresses = |facts: &MachineFacts| {
            facts.interfaces.iter().flatten().flat_map(|i| i.addresses.clone()).collect::<Vec<_>>()
        };
        MachineChange {
            routes: old.routes != new.routes,
            interfaces: bare(&old) != bare(&new),
            addresses: addresses(&old) != addresses(&new),
        }
    }
}

impl MachineView for FixedMachine {
    fn load(&self) -> Option<MachineLoad> {
        self.0.borrow().load
    }

    fn interfaces(&self) -> Option<Vec<Interface>> {
        self.0.borrow().interfaces.clone()
    }

    fn neighbours(&self) -> Option<Vec<Neighbour>> {
        self.0.borrow().neighbours.clone()
    }

    fn routes(&self, count_max: usize) -> Option<Vec<RouteEntry>> {
        self.0.borrow().routes.as_ref().map(|routes| routes.iter().take(count_max).cloned().collect())
    }

    fn way_to(&self, destination: IpAddr) -> Option<Option<Way>> {
        let facts = self.0.borrow();
        let covers = |route: &&RouteEntry| {
            crate::base::filter::Prefix::new(route.to.0, route.to.1).is_some_and(|prefix| prefix.contains(destination))
        };
        let best =
            facts.routes.as_ref()?.iter().filter(covers).min_by_key(|route| (u8::MAX - route.to.1, route.metric));
        let way = |route: &RouteEntry| Some(Way { interface: route.interface.clone()?, via: route.via, source: None });
        Some(best.and_then(way))
    }

    fn location(&self) -> Option<Location> {
        self.0.borrow().location.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fixed_machine_follows_its_longest_prefix_and_says_what_changed() {
        let route = |to: &str, len, via: &str, metric| RouteEntry {
            to: (to.parse().unwrap(), len),
            via: Some(via.parse().unwrap()),
            interface: Some("eth0".to_owned()),
            metric,
        };
        let machine = FixedMachine::default();
        assert_eq!(machine.way_to("192.0.2.1".parse().unwrap()), None);
        let routes = vec![
            route("0.0.0.0", 0, "10.0.0.1", 0),
            route("192.0.2.0", 24, "10.0.0.2", 5),
            route("192.0.2.0", 24, "10.0.0.3", 4),
        ];
        let changed = machine.set(MachineFacts { routes: Some(routes), ..MachineFacts::default() });
        assert_eq!(changed, MachineChange { routes: true, ..MachineChange::default() });
        let via = |to: &str| machine.way_to(to.parse().unwrap()).unwrap().unwrap().via.unwrap().to_string();
        assert_eq!([via("192.0.2.9"), via("198.51.100.1")], ["10.0.0.3", "10.0.0.1"]);
        assert_eq!(machine.way_to("2001:db8::1".parse().unwrap()), Some(None));
    }
}
