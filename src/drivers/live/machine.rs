//! What a node asks of the machine that it runs on, and what the machine tells by itself.

use std::net::IpAddr;
use std::os::fd::{AsFd, AsRawFd};
use std::rc::Rc;
use std::time::Duration;

use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};

use crate::base::limits::{MACHINE_CHANGE_PERIOD, MACHINE_NEIGHBOURS_MAX};
use crate::base::machine::{Interface, Location, MachineChange, MachineLoad, MachineView, Neighbour, RouteEntry, Way};
use crate::base::time::Instant;
use crate::drivers::live::Live;
use crate::drivers::live::signal::OWN_MARK;
use crate::drivers::live::signal::paths::SystemPaths;
use crate::node::{Input, Machine, Node};
use crate::signaling::io::{Paths, Route};

/// This machine.
pub(super) struct ThisMachine {
    paths: SystemPaths,
    mark: Option<u32>,
    location: Option<Location>,
}

impl ThisMachine {
    /// As sockets with this mark see the network.
    pub(super) fn new(mark: Option<u32>) -> Self {
        ThisMachine { paths: SystemPaths::new(mark), mark, location: None }
    }

    /// The same at a place.
    pub(super) fn at(mark: Option<u32>, location: Option<Location>) -> Self {
        ThisMachine { location, ..ThisMachine::new(mark) }
    }

    /// What was known of routes and addresses may be wrong now.
    pub(super) fn has_changed(&self) {
        self.paths.forget();
    }
}

impl Paths for ThisMachine {
    fn source_for(&self, destination: IpAddr) -> Option<IpAddr> {
        self.paths.source_for(destination)
    }

    fn is_local(&self, address: IpAddr) -> bool {
        self.paths.is_local(address)
    }

    fn route_to(&self, destination: IpAddr) -> Option<Route> {
        self.paths.route_to(destination)
    }
}

impl Machine for ThisMachine {
    /// As the kernel estimates it; 0 where that cannot be read.
    fn memory_free_bytes(&self) -> u64 {
        memory("MemAvailable:").unwrap_or(0)
    }

    /// 0 where it cannot be read.
    fn load_percent(&self) -> u32 {
        (load_averages().map_or(0.0, |load| load[0]) * 100.0) as u32
    }

    fn addresses(&self) -> Vec<IpAddr> {
        let is_link_local = |address: &IpAddr| match address {
            IpAddr::V4(address) => address.is_link_local(),
            IpAddr::V6(address) => address.is_unicast_link_local(),
        };
        let addresses = platform::paths::local_addresses().unwrap_or_default();
        addresses.into_iter().filter(|address| !address.is_loopback() && !is_link_local(address)).collect()
    }
}

impl MachineView for ThisMachine {
    fn load(&self) -> Option<MachineLoad> {
        let uptime = std::fs::read_to_string("/proc/uptime").ok()?;
        Some(MachineLoad {
            uptime_s: uptime.split(' ').next()?.parse().ok()?,
            load: load_averages()?,
            cpus: std::thread::available_parallelism()
                .map_or(1, |count| u32::try_from(count.get()).unwrap_or(u32::MAX)),
            memory_bytes: memory("MemTotal:")?,
            memory_free_bytes: memory("MemAvailable:")?,
        })
    }

    fn interfaces(&self) -> Option<Vec<Interface>> {
        let shown = |interface: platform::inventory::Interface| Interface {
            name: interface.name,
            is_up: interface.is_up,
            has_carrier: interface.has_carrier,
            mtu: interface.mtu,
            speed: interface.speed,
            hardware: interface.hardware.map(|bytes| hardware_text(&bytes)),
            addresses: interface.addresses,
            counters: interface.counters,
        };
        Some(platform::inventory::interfaces().ok()?.into_iter().map(shown).collect())
    }

    fn neighbours(&self) -> Option<Vec<Neighbour>> {
        let shown = |neighbour: platform::inventory::Neighbour| Neighbour {
            address: neighbour.address,
            interface: neighbour.interface,
            hardware: neighbour.hardware.map(|bytes| hardware_text(&bytes)),
            is_reachable: neighbour.is_reachable,
        };
        Some(platform::inventory::neighbours(MACHINE_NEIGHBOURS_MAX).ok()?.into_iter().map(shown).collect())
    }

    fn routes(&self, count_max: usize) -> Option<Vec<RouteEntry>> {
        let shown = |route: platform::inventory::RouteEntry| RouteEntry {
            to: route.to,
            via: route.via,
            interface: route.interface,
            metric: route.metric,
        };
        Some(platform::inventory::routes(count_max).ok()?.into_iter().map(shown).collect())
    }

    fn way_to(&self, destination: IpAddr) -> Option<Option<Way>> {
        match platform::paths::route_to(destination, self.mark) {
            Ok(route) => Some(Some(Way { interface: route.interface, via: route.via, source: route.source })),
            Err(e) if e.kind() == std::io::ErrorKind::Unsupported => None,
            Err(_) => Some(None),
        }
    }

    fn location(&self) -> Option<Location> {
        self.location.clone()
    }
}

/// A line of the kernel's account of memory, in bytes.
fn memory(name: &str) -> Option<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.trim().trim_end_matches("kB").trim().parse::<u64>().ok().map(|kib| kib * 1024)
}

fn load_averages() -> Option<[f64; 3]> {
    let text = std::fs::read_to_string("/proc/loadavg").ok()?;
    let mut words = text.split(' ').map(|word| word.parse::<f64>().ok());
    Some([words.next()??, words.next()??, words.next()??])
}

fn hardware_text(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(":")
}

/// Hears of changes of the machine. Many at once are told as one.
struct MachineWatch {
    changes: platform::inventory::Changes,
    waiting: MachineChange,
    /// When the next change may be told.
    told_again_at: Instant,
}

impl MachineWatch {
    /// Listens from now on; `None` where this system does not tell.
    fn open(registry: &Registry, token: Token) -> Option<MachineWatch> {
        let opened = platform::inventory::Changes::open().and_then(|changes| {
            registry.register(&mut SourceFd(&changes.as_fd().as_raw_fd()), token, Interest::READABLE)?;
            Ok(changes)
        });
        match opened {
            Ok(changes) => {
                Some(MachineWatch { changes, waiting: MachineChange::default(), told_again_at: Instant::START })
            }
            Err(e) => {
                tracing::info!("changes of routes and interfaces are not noticed on this machine: {e}");
                None
            }
        }
    }

    /// There is something to read.
    fn ready(&mut self) {
        let told = self.changes.take();
        let told = MachineChange { routes: told.routes, interfaces: told.interfaces, addresses: told.addresses };
        self.waiting = self.waiting.with(told);
    }

    /// What has changed, if it may be told now.
    fn take(&mut self, now: Instant) -> Option<MachineChange> {
        if self.waiting.is_nothing() || now < self.told_again_at {
            return None;
        }
        self.told_again_at = now + MACHINE_CHANGE_PERIOD;
        Some(std::mem::take(&mut self.waiting))
    }

    /// The longest time until [`MachineWatch::take`] is to be called again.
    fn longest_wait(&self, now: Instant) -> Option<Duration> {
        (!self.waiting.is_nothing()).then(|| self.told_again_at.since(now))
    }
}

/// This machine, and what it tells.
pub(super) struct WatchedMachine {
    pub(super) machine: Rc<ThisMachine>,
    watch: Option<MachineWatch>,
}

impl WatchedMachine {
    /// Listens from now on.
    pub(super) fn open(
        registry: &Registry,
        token: Token,
        location: Option<Location>,
        node: &mut Node,
    ) -> WatchedMachine {
        let machine = Rc::new(ThisMachine::at(Some(OWN_MARK), location));
        node.set_machine(machine.clone());
        WatchedMachine { machine, watch: MachineWatch::open(registry, token) }
    }

    /// There is something to read.
    pub(super) fn ready(&mut self) {
        if let Some(watch) = &mut self.watch {
            watch.ready();
        }
    }

    /// The longest time until [`Live::tell_of_machine`] is to be called.
    pub(super) fn longest_wait(&self, now: Instant) -> Option<Duration> {
        self.watch.as_ref().and_then(|watch| watch.longest_wait(now))
    }
}

impl Live {
    /// Tells the node what of the machine has changed.
    pub(super) fn tell_of_machine(&mut self) {
        if let Some(change) = self.machine.watch.as_mut().and_then(|watch| watch.take(self.now)) {
            self.machine.machine.has_changed();
            self.node.handle(self.now, Input::MachineChanged(change));
        }
    }
}

/// The machine's name, if it has one.
pub(super) fn host_name() -> Option<String> {
    let files = ["/proc/sys/kernel/hostname", "/etc/hostname"];
    let name = files.iter().find_map(|file| std::fs::read_to_string(file).ok())?;
    Some(name.trim().to_owned()).filter(|name| !name.is_empty())
}
