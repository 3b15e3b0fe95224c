//! A node's numbers, and those of its modules, in the text format of Prometheus 0.0.4.

use std::fmt::Write;

use crate::base::time::Instant;
use crate::blocks::metrics::exposition;
use crate::dashboard::status::Status;
use crate::node::Node;

/// One metric of the node while it is written.
struct Family<'a> {
    out: &'a mut String,
    name: &'static str,
}

impl Family<'_> {
    fn line(&mut self, labels: &[(&str, &str)], value: f64) {
        let labels: Vec<String> = labels
            .iter()
            .map(|(name, value)| {
                let value = value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
                format!("{name}=\"{value}\"")
            })
            .collect();
        let labels = if labels.is_empty() { String::new() } else { format!("{{{}}}", labels.join(",")) };
        let _ = writeln!(self.out, "{}{labels} {value}", self.name);
    }
}

fn family<'a>(out: &'a mut String, name: &'static str, kind: &str, help: &str) -> Family<'a> {
    let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} {kind}");
    Family { out, name }
}

/// All numbers of a node.
#[must_use]
pub fn text(node: &Node, now: Instant) -> String {
    let status = Status::of(node, now);
    let mut out = String::new();
    family(&mut out, "netserv_uptime_seconds", "gauge", "Since the node started.").line(&[], status.uptime_s);
    family(&mut out, "netserv_flows", "gauge", "Flows in the cache.").line(&[], status.flows.count as f64);
    let mut drops = family(&mut out, "netserv_drops_total", "counter", "Packets dropped, by reason.");
    for drop in &status.drops {
        drops.line(&[("reason", &drop.name)], drop.count as f64);
    }
    links(&mut out, &status);
    instances(&mut out, &status);
    let mut storage = family(&mut out, "netserv_instance_storage_bytes", "gauge", "What an instance keeps.");
    for (name, bytes) in node.stores().used() {
        storage.line(&[("instance", &name)], bytes as f64);
    }
    out + &exposition(&node.metrics())
}

fn links(out: &mut String, status: &Status) {
    let mut packets = family(out, "netserv_link_packets_total", "counter", "Packets of a link, by direction.");
    for link in &status.links {
        packets.line(&[("link", &link.name), ("direction", "in")], link.packets_in as f64);
        packets.line(&[("link", &link.name), ("direction", "out")], link.packets_out as f64);
    }
    let mut bytes = family(out, "netserv_link_bytes_total", "counter", "Bytes of a link, by direction.");
    for link in &status.links {
        bytes.line(&[("link", &link.name), ("direction", "in")], link.bytes_in as f64);
        bytes.line(&[("link", &link.name), ("direction", "out")], link.bytes_out as f64);
    }
}

fn instances(out: &mut String, status: &Status) {
    let mut memory = family(out, "netserv_instance_memory_bytes", "gauge", "Memory of an instance's VM.");
    for instance in &status.instances {
        let labels = [("instance", instance.name.as_str()), ("module", &instance.module)];
        memory.line(&labels, instance.memory_bytes as f64);
    }
    let help = "Packets that an instance's handler saw, and that native rules answered for.";
    let mut packets = family(out, "netserv_instance_packets_total", "counter", help);
    for instance in &status.instances {
        packets.line(&[("instance", &instance.name), ("by", "handler")], instance.packets_seen as f64);
        packets.line(&[("instance", &instance.name), ("by", "rule")], instance.packets_native as f64);
    }
    let mut faults = family(out, "netserv_instance_faults_total", "counter", "What an instance did wrong, by limit.");
    for instance in &status.instances {
        for fault in &instance.faults {
            faults.line(&[("instance", &instance.name), ("limit", &fault.name)], fault.count as f64);
        }
    }
    let mut counters = family(out, "netserv_instance_counter_total", "counter", "The counters of manifests.");
    for instance in &status.instances {
        for counter in &instance.counters {
            counters.line(&[("instance", &instance.name), ("counter", &counter.name)], counter.count as f64);
        }
    }
}
