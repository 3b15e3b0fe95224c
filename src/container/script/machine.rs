//! The machine that a node under test runs on, as a test script describes it.

use std::net::IpAddr;

use mlua::{FromLua, Lua, Table, Value};

use super::values::wrong;
use crate::base::filter::Prefix;
use crate::base::machine::{Interface, Location, MachineFacts, MachineLoad, Neighbour, RouteEntry};

/// What a script gives `node:set_machine`. What it does not name is not known of this machine.
pub(super) struct Facts(pub(super) MachineFacts);

impl FromLua for Facts {
    fn from_lua(value: Value, lua: &Lua) -> mlua::Result<Self> {
        let table = Table::from_lua(value, lua)?;
        known(&table, "set_machine", &["load", "interfaces", "neighbours", "routes", "location"])?;
        let load: Option<Table> = table.get("load")?;
        let location: Option<Table> = table.get("location")?;
        Ok(Facts(MachineFacts {
            load: load.map(|load| self::load(&load)).transpose()?,
            interfaces: listed(&table, "interfaces", interface)?,
            neighbours: listed(&table, "neighbours", neighbour)?,
            routes: listed(&table, "routes", route)?,
            location: location.map(|at| self::location(&at)).transpose()?,
        }))
    }
}

/// Refuses fields that nobody reads.
fn known(table: &Table, what: &str, fields: &[&str]) -> mlua::Result<()> {
    for pair in table.pairs::<Value, Value>() {
        let key = pair?.0;
        if !key.as_string().is_some_and(|key| fields.iter().any(|field| key == field)) {
            let (key, fields) = (key.to_string()?, fields.join(", "));
            return Err(wrong(format!("{what} has no field {key}; its fields: {fields}")));
        }
    }
    Ok(())
}

fn listed<T>(table: &Table, name: &str, read: fn(&Table) -> mlua::Result<T>) -> mlua::Result<Option<Vec<T>>> {
    let Some(items) = table.get::<Option<Table>>(name)? else { return Ok(None) };
    items.sequence_values::<Table>().map(|item| read(&item?)).collect::<mlua::Result<Vec<T>>>().map(Some)
}

fn number(table: &Table, name: &str, default: f64) -> mlua::Result<f64> {
    Ok(table.get::<Option<f64>>(name)?.unwrap_or(default))
}

fn load(table: &Table) -> mlua::Result<MachineLoad> {
    known(table, "load", &["uptime", "load1", "load5", "load15", "cpus", "memory_bytes", "memory_free_bytes"])?;
    Ok(MachineLoad {
        uptime_s: number(table, "uptime", 0.0)?,
        load: [number(table, "load1", 0.0)?, number(table, "load5", 0.0)?, number(table, "load15", 0.0)?],
        cpus: number(table, "cpus", 1.0)? as u32,
        memory_bytes: number(table, "memory_bytes", 0.0)? as u64,
        memory_free_bytes: number(table, "memory_free_bytes", 0.0)? as u64,
    })
}

fn interface(table: &Table) -> mlua::Result<Interface> {
    known(table, "an interface", &["name", "up", "carrier", "mtu", "speed", "hardware", "addresses"])?;
    let addresses = table.get::<Option<Vec<String>>>("addresses")?.unwrap_or_default();
    Ok(Interface {
        name: table.get("name")?,
        is_up: table.get::<Option<bool>>("up")?.unwrap_or(true),
        has_carrier: table.get::<Option<bool>>("carrier")?.unwrap_or(true),
        mtu: number(table, "mtu", 1500.0)? as u32,
        speed: table.get::<Option<f64>>("speed")?.map(|speed| speed as u64),
        hardware: table.get("hardware")?,
        addresses: addresses.iter().map(|text| prefix("addresses", text)).collect::<mlua::Result<_>>()?,
        counters: [0; 4],
    })
}

fn neighbour(table: &Table) -> mlua::Result<Neighbour> {
    known(table, "a neighbour", &["address", "interface", "hardware", "reachable"])?;
    Ok(Neighbour {
        address: address("address", &table.get::<String>("address")?)?,
        interface: table.get("interface")?,
        hardware: table.get("hardware")?,
        is_reachable: table.get::<Option<bool>>("reachable")?.unwrap_or(true),
    })
}

fn route(table: &Table) -> mlua::Result<RouteEntry> {
    known(table, "a route", &["to", "via", "interface", "metric"])?;
    let via: Option<String> = table.get("via")?;
    Ok(RouteEntry {
        to: prefix("to", &table.get::<String>("to")?)?,
        via: via.map(|via| address("via", &via)).transpose()?,
        interface: table.get("interface")?,
        metric: number(table, "metric", 0.0)? as u32,
    })
}

fn location(table: &Table) -> mlua::Result<Location> {
    known(table, "location", &["latitude", "longitude", "place"])?;
    Ok(Location { latitude: table.get("latitude")?, longitude: table.get("longitude")?, place: table.get("place")? })
}

fn address(name: &str, text: &str) -> mlua::Result<IpAddr> {
    text.parse().map_err(|_| wrong(format!("{name} = \"{text}\" is no address")))
}

/// An address with the length of its prefix; the bits behind that stay as they are.
fn prefix(name: &str, text: &str) -> mlua::Result<(IpAddr, u8)> {
    let example = || wrong(format!("{name} = \"{text}\": write \"10.0.0.0/24\" or \"2001:db8::/32\""));
    let (head, len) = text.split_once('/').ok_or_else(example)?;
    let (head, len) = (head.parse().map_err(|_| example())?, len.parse().map_err(|_| example())?);
    Prefix::new(head, len).map(|_| (head, len)).ok_or_else(example)
}
