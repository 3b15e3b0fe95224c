//! What names resolved to, so that a permission for a name holds for its addresses.

use std::collections::{BTreeMap, VecDeque};
use std::net::IpAddr;

use crate::base::limits::{NAME_ADDRESSES_MAX, NAMES_KNOWN_MAX};

/// Names with their addresses, in lower case and without a dot at the end. The oldest give way.
#[derive(Default)]
pub(crate) struct Names {
    addresses: BTreeMap<String, Vec<IpAddr>>,
    order: VecDeque<String>,
}

impl Names {
    /// Remembers what a name resolved to.
    pub(crate) fn learn(&mut self, name: &str, mut addresses: Vec<IpAddr>) {
        addresses.truncate(NAME_ADDRESSES_MAX);
        let name = canonical(name);
        if self.addresses.insert(name.clone(), addresses).is_none() {
            self.order.push_back(name);
        }
        if self.order.len() > NAMES_KNOWN_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.addresses.remove(&oldest);
        }
    }

    /// The addresses of a name, as they were last told.
    pub(crate) fn addresses(&self, name: &str) -> &[IpAddr] {
        self.addresses.get(&canonical(name)).map_or(&[], Vec::as_slice)
    }

    /// The names that have this address.
    pub(crate) fn of(&self, address: IpAddr) -> impl Iterator<Item = &str> {
        let has = move |addresses: &Vec<IpAddr>| addresses.contains(&address);
        self.addresses.iter().filter(move |(_, addresses)| has(addresses)).map(|(name, _)| name.as_str())
    }
}

fn canonical(name: &str) -> String {
    name.trim_end_matches('.').to_ascii_lowercase()
}

/// Whether an address leads back into the machine or its closest surroundings. A permission for a name does not hold for
/// such an address: who owns the name would choose what on this machine is reached.
pub(crate) fn is_inward(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(v4) => {
            v4.is_loopback() || v4.is_unspecified() || v4.is_link_local() || v4.is_multicast() || v4.is_broadcast()
        }
        IpAddr::V6(v6) => v6.is_loopback() || v6.is_unspecified() || v6.is_multicast() || v6.is_unicast_link_local(),
    }
}
