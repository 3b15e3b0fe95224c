//! What a node may know of its machine, and of the machine's place in the network.

use std::cell::{Cell, RefCell};
use std::net::IpAddr;
use std::rc::Rc;

use crate::base::filter::Prefix;
use crate::base::limits::SIM_MTU_BYTES;
use crate::base::machine::{Interface, Location, MachineLoad, MachineView, Neighbour, RouteEntry, Way};
use crate::base::time::Instant;
use crate::drivers::sim::topology::Topology;
use crate::node::Machine;
use crate::signaling::io::{Paths, Route};

/// Memory that a simulated machine has, in bytes.
const MEMORY_BYTES: u64 = 8 << 30;
/// Memory of it that is free.
const MEMORY_FREE_BYTES: u64 = 4 << 30;

/// The machine, as its node asks for it.
pub(super) struct Here {
    pub(super) topology: Rc<RefCell<Topology>>,
    pub(super) machine: usize,
    pub(super) location: Option<Location>,
    /// The time, for the uptime.
    pub(super) now: Rc<Cell<Instant>>,
}

/// What an interface is called: by the neighbour that it leads to.
fn interface_name(topology: &Topology, machine: usize, link: usize) -> String {
    let neighbour = topology.neighbour(machine, link);
    format!("to-{}", topology.spots[neighbour].name)
}

impl Here {
    fn way(&self, destination: IpAddr) -> Option<Way> {
        let topology = self.topology.borrow();
        if topology.is_local(self.machine, destination) {
            return Some(Way { interface: "lo".to_owned(), via: None, source: Some(destination) });
        }
        let link = topology.next(self.machine, destination)?;
        let neighbour = &topology.spots[topology.neighbour(self.machine, link)];
        let is_direct = neighbour.addresses.contains(&destination);
        let via = neighbour.addresses.iter().find(|address| address.is_ipv4() == destination.is_ipv4()).copied();
        Some(Way {
            interface: interface_name(&topology, self.machine, link),
            via: via.filter(|_| !is_direct),
            source: topology.source_for(self.machine, destination),
        })
    }
}

impl Paths for Here {
    fn source_for(&self, destination: IpAddr) -> Option<IpAddr> {
        let topology = self.topology.borrow();
        topology.next(self.machine, destination)?;
        topology.source_for(self.machine, destination)
    }

    fn is_local(&self, address: IpAddr) -> bool {
        self.topology.borrow().is_local(self.machine, address)
    }

    fn route_to(&self, destination: IpAddr) -> Option<Route> {
        self.way(destination).map(|way| Route { interface: way.interface, via: way.via })
    }
}

impl Machine for Here {
    fn memory_free_bytes(&self) -> u64 {
        MEMORY_FREE_BYTES
    }

    fn load_percent(&self) -> u32 {
        25
    }

    fn addresses(&self) -> Vec<IpAddr> {
        self.topology.borrow().spots[self.machine].addresses.clone()
    }
}

impl MachineView for Here {
    fn load(&self) -> Option<MachineLoad> {
        Some(MachineLoad {
            uptime_s: self.now.get().as_secs_f64(),
            load: [0.25; 3],
            cpus: 4,
            memory_bytes: MEMORY_BYTES,
            memory_free_bytes: MEMORY_FREE_BYTES,
        })
    }

    fn interfaces(&self) -> Option<Vec<Interface>> {
        let topology = self.topology.borrow();
        let spot = &topology.spots[self.machine];
        let addresses: Vec<(IpAddr, u8)> =
            spot.addresses.iter().map(|address| (*address, Prefix::host(*address).prefix_len())).collect();
        let mut all: Vec<Interface> = spot
            .links
            .iter()
            .map(|link| Interface {
                name: interface_name(&topology, self.machine, *link),
                is_up: true,
                has_carrier: topology.is_usable(*link),
                mtu: SIM_MTU_BYTES as u32,
                addresses: addresses.clone(),
                ..Interface::default()
            })
            .collect();
        all.sort_by(|one, other| one.name.cmp(&other.name));
        Some(all)
    }

    fn neighbours(&self) -> Option<Vec<Neighbour>> {
        let topology = self.topology.borrow();
        let mut all: Vec<Neighbour> = Vec::new();
        for link in &topology.spots[self.machine].links {
            let other = &topology.spots[topology.neighbour(self.machine, *link)];
            all.extend(other.addresses.iter().map(|address| Neighbour {
                address: *address,
                interface: interface_name(&topology, self.machine, *link),
                hardware: None,
                is_reachable: topology.is_usable(*link),
            }));
        }
        all.sort_by_key(|neighbour| neighbour.address);
        Some(all)
    }

    fn routes(&self, count_max: usize) -> Option<Vec<RouteEntry>> {
        let mut addresses: Vec<IpAddr> =
            self.topology.borrow().spots.iter().flat_map(|spot| spot.addresses.clone()).collect();
        addresses.sort_unstable();
        addresses.dedup();
        let routes = addresses.into_iter().filter(|address| !self.is_local(*address)).filter_map(|address| {
            let way = self.way(address)?;
            let to = (address, Prefix::host(address).prefix_len());
            Some(RouteEntry { to, via: way.via, interface: Some(way.interface), metric: 0 })
        });
        Some(routes.take(count_max).collect())
    }

    fn way_to(&self, destination: IpAddr) -> Option<Option<Way>> {
        Some(self.way(destination))
    }

    fn location(&self) -> Option<Location> {
        self.location.clone()
    }
}
