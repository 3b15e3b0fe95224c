//! Makes the simulated world of a scenario.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use crate::base::crypto::{SigningKey, sha256, to_hex};
use crate::base::limits::MODULE_STORAGE_MAX;
use crate::base::machine::Location;
use crate::blocks::files::Files;
use crate::container::package;
use crate::controller::trust::Trust;
use crate::dashboard::scene::MachineKind;
use crate::drivers::scenario::file::{AppEntry, LinkEntry, MachineEntry, NatBehaviour, NatEntry};
use crate::drivers::scenario::{Scenario, ScenarioError};
use crate::drivers::sim::{
    self, LinkConfig, LinkQuality, MachineConfig, MachineId, NatConfig, NatDependence, SignalOptions, Sim,
};

/// The addresses of a machine by its number.
pub(in crate::drivers) fn addresses(machine: usize) -> [IpAddr; 2] {
    let [_, _, high, low] = u32::try_from(machine).unwrap_or(u32::MAX).to_be_bytes();
    [
        Ipv4Addr::new(10, high, low, 1).into(),
        Ipv6Addr::new(0xfd00, 0, 0, u16::from_be_bytes([high, low]), 0, 0, 0, 1).into(),
    ]
}

/// The seed of a machine's key: the same for all runs with one seed.
pub(in crate::drivers) fn key_seed(seed: u64, name: &str) -> [u8; 32] {
    sha256(format!("{seed}/{name}").as_bytes())
}

impl Scenario {
    /// The world at its beginning, with its apps.
    pub(super) fn build(&self, seed: u64) -> Result<Sim, ScenarioError> {
        let mut sim = Sim::new(seed);
        // What happens while apps are loaded is told too.
        sim.observe(true);
        for (number, entry) in self.file.machine.iter().enumerate() {
            let config = self.machine_config(seed, number, entry)?;
            sim.add_machine(config).map_err(|error| self.wrong(format!("machine {}:", entry.name), error))?;
        }
        for entry in &self.file.link {
            let Some([one, other]) = &entry.ends else { continue };
            let ends = [one, other].map(|name| MachineId(self.machine(name).unwrap_or_default()));
            let quality = self.quality(entry, self.quality(&self.file.defaults.link, LinkQuality::default()));
            sim.add_link(LinkConfig::new(ends[0], ends[1], quality))
                .map_err(|error| self.wrong(format!("link {one} - {other}:"), error))?;
        }
        for app in &self.file.app {
            self.load(&mut sim, app)?;
        }
        Ok(sim)
    }

    fn machine_config(&self, seed: u64, number: usize, entry: &MachineEntry) -> Result<MachineConfig, ScenarioError> {
        let kind = match entry.kind {
            MachineKind::Node => sim::MachineKind::Node,
            MachineKind::Router => sim::MachineKind::Router,
            MachineKind::Host => sim::MachineKind::Host,
            MachineKind::Nat => sim::MachineKind::Nat(nat_config(entry.nat.unwrap_or_default())),
        };
        let place = entry.place.as_ref().and_then(|place| self.file.places.get(place));
        let signal = match entry.kind {
            MachineKind::Node => Some(SignalOptions {
                trust: self.trust(seed, entry)?,
                key: Some(key_seed(seed, &entry.name)),
                ..SignalOptions::default()
            }),
            MachineKind::Host => {
                Some(SignalOptions { key: Some(key_seed(seed, &entry.name)), ..SignalOptions::default() })
            }
            MachineKind::Router | MachineKind::Nat => None,
        };
        Ok(MachineConfig {
            location: place.map(|place| Location {
                latitude: Some(place.latitude),
                longitude: Some(place.longitude),
                place: Some(place.name.clone()),
            }),
            as_number: entry.as_number,
            signal,
            ..MachineConfig::new(&entry.name, kind, &addresses(number))
        })
    }

    /// The trust file of a node.
    fn trust_text(&self, seed: u64, entry: &MachineEntry) -> String {
        let trusted = entry.trusts.as_ref().unwrap_or(&self.file.defaults.node.trusts);
        let requesters = trusted.iter().map(|entry| {
            let mut entry = entry.clone();
            let name = entry.remove("machine").and_then(|name| name.as_str().map(str::to_owned)).unwrap_or_default();
            let key = SigningKey::from_seed(&key_seed(seed, &name)).public();
            entry.insert("key".to_owned(), to_hex(&key).into());
            entry.insert("name".to_owned(), name.into());
            toml::Value::Table(entry)
        });
        let table = toml::Table::from_iter([("requester".to_owned(), toml::Value::Array(requesters.collect()))]);
        table.to_string()
    }

    fn trust(&self, seed: u64, entry: &MachineEntry) -> Result<Trust, ScenarioError> {
        Trust::parse(&self.trust_text(seed, entry))
            .map_err(|error| self.wrong(format!("machine {}: trusts:", entry.name), error))
    }

    /// A link's quality, where its entry says nothing that of `otherwise`.
    pub(super) fn quality(&self, entry: &LinkEntry, otherwise: LinkQuality) -> LinkQuality {
        let ms = |value: Option<f64>| value.map(|ms| Duration::from_secs_f64(ms / 1e3));
        let share = |value: Option<f64>| value.map(|percent| percent / 100.0);
        LinkQuality {
            delay: ms(entry.delay_ms).unwrap_or(otherwise.delay),
            rate_bps: entry.rate_mbps.map(|mbps| (mbps * 1e6) as u64).or(otherwise.rate_bps),
            queue_bytes: entry.queue_kb.map_or(otherwise.queue_bytes, |kb| kb * 1_000),
            jitter: ms(entry.jitter_ms).unwrap_or(otherwise.jitter),
            loss: share(entry.loss_percent).unwrap_or(otherwise.loss),
            duplication: share(entry.duplicate_percent).unwrap_or(otherwise.duplication),
            reordering: share(entry.reorder_percent).unwrap_or(otherwise.reordering),
            corruption: share(entry.corrupt_percent).unwrap_or(otherwise.corruption),
        }
    }

    /// Loads an app on its machines.
    pub(super) fn load(&self, sim: &mut Sim, app: &AppEntry) -> Result<(), ScenarioError> {
        let module = self.source.module(&app.module)?;
        for name in app.machine.iter().chain(&app.machines) {
            let machine = MachineId(self.machine(name).unwrap_or_default());
            let what = || format!("app {} on {name}:", app.module);
            let files = Files::open(sim.stores(machine).open(&module.manifest.name), MODULE_STORAGE_MAX);
            let mut files = files.map_err(|error| self.wrong(what(), error))?;
            for (file, package) in &app.files {
                let bytes = self.package(package)?;
                let written = files.begin(file, true).and_then(|id| files.put(id, &bytes).and_then(|()| files.end(id)));
                written.map_err(|error| self.wrong(what(), error))?;
            }
            match sim.load(machine, module.clone(), None, self.properties(&app.properties)) {
                Some(Ok(_)) => {}
                Some(Err(error)) => return Err(self.wrong(what(), error)),
                None => return Err(self.wrong(what(), "the machine's program does not run")),
            }
        }
        Ok(())
    }

    /// The package of a module.
    pub(in crate::drivers) fn package(&self, name: &str) -> Result<Vec<u8>, ScenarioError> {
        let source = self.source.module_source(name)?;
        package::pack(&source).map_err(|error| self.wrong(format!("package of {name}:"), error))
    }

    /// Properties with the addresses of machines in place of `"@NAME"`.
    pub(in crate::drivers) fn properties(&self, properties: &toml::Table) -> toml::Table {
        properties.iter().map(|(key, value)| (key.clone(), self.with_addresses(value))).collect()
    }

    fn with_addresses(&self, value: &toml::Value) -> toml::Value {
        match value {
            toml::Value::String(text) => {
                let machine = text.strip_prefix('@').and_then(|name| self.machine(name));
                machine.map_or_else(|| value.clone(), |machine| addresses(machine)[0].to_string().into())
            }
            toml::Value::Array(items) => {
                toml::Value::Array(items.iter().map(|item| self.with_addresses(item)).collect())
            }
            toml::Value::Table(table) => self.properties(table).into(),
            toml::Value::Integer(_) | toml::Value::Float(_) | toml::Value::Boolean(_) | toml::Value::Datetime(_) => {
                value.clone()
            }
        }
    }
}

fn nat_config(entry: NatEntry) -> NatConfig {
    let dependence = |behaviour: NatBehaviour| match behaviour {
        NatBehaviour::EndpointIndependent => NatDependence::EndpointIndependent,
        NatBehaviour::AddressDependent => NatDependence::AddressDependent,
        NatBehaviour::AddressAndPortDependent => NatDependence::AddressAndPortDependent,
    };
    let usual = NatConfig::default();
    NatConfig {
        mapping: entry.mapping.map_or(usual.mapping, dependence),
        filtering: entry.filtering.map_or(usual.filtering, dependence),
        udp_timeout: entry.timeout_s.map_or(usual.udp_timeout, Duration::from_secs_f64),
        ..usual
    }
}
