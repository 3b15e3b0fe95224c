//! What a node asks of the machine that it runs on.

use std::net::IpAddr;

use crate::drivers::live::signal::paths::SystemPaths;
use crate::node::Machine;
use crate::signaling::io::{Paths, Route};

/// This machine.
pub(super) struct ThisMachine {
    paths: SystemPaths,
}

impl ThisMachine {
    /// As sockets with this mark see the network.
    pub(super) fn new(mark: Option<u32>) -> Self {
        ThisMachine { paths: SystemPaths::new(mark) }
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
        let text = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
        let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"));
        let kib = line.and_then(|rest| rest.trim().trim_end_matches("kB").trim().parse::<u64>().ok());
        kib.unwrap_or(0) * 1024
    }

    /// 0 where it cannot be read.
    fn load_percent(&self) -> u32 {
        let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
        let load = text.split(' ').next().and_then(|first| first.parse::<f64>().ok());
        (load.unwrap_or(0.0) * 100.0) as u32
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

/// The machine's name, if it has one.
pub(super) fn host_name() -> Option<String> {
    let files = ["/proc/sys/kernel/hostname", "/etc/hostname"];
    let name = files.iter().find_map(|file| std::fs::read_to_string(file).ok())?;
    Some(name.trim().to_owned()).filter(|name| !name.is_empty())
}
