//! The nodes of a path as they answered: as data, and as text for a terminal.

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde::Serialize;

use crate::dashboard::table::{bytes, duration, printable, table};
use crate::wire::nslp::answer::{Answer, AnswerCode, ReportItem, class};

/// What the nodes of a path answered, in path order.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct PathView {
    /// The nodes that answered, by their place.
    pub nodes: Vec<NodeView>,
    /// Whether all up to the last one did.
    pub complete: bool,
    /// Why not, as a sentence.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}

/// One node's answer.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct NodeView {
    /// Its place: 1 is next to the initiator.
    pub hop: u8,
    /// Its id.
    pub node: String,
    /// What became of the request: `installed`, `not_allowed` and so on.
    pub result: &'static str,
    /// `information`, `success`, `protocol`, `transient` or `permanent`.
    pub class: &'static str,
    /// A sentence.
    pub says: String,
    /// Whether no node comes behind it.
    pub last: bool,
    /// Round-trip time between it and the node before it, in ms.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hop_rtt_ms: Option<f64>,
    /// Its name for people.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Program and version.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub software: Option<String>,
    /// Its addresses.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub addresses: Vec<IpAddr>,
    /// Its properties.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub properties: BTreeMap<String, String>,
    /// How it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub system: Option<SystemView>,
    /// How it reaches the destination.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub route: Option<RouteView>,
    /// What runs there.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub modules: Vec<ModuleView>,
}

/// How a node is.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SystemView {
    /// Seconds since it was started.
    pub uptime_s: u32,
    /// Load average of one minute.
    pub load: f64,
    /// Memory that is free, in bytes.
    pub memory_free_bytes: u64,
    /// Flows in its cache.
    pub flows: u32,
}

/// How a node reaches the destination.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RouteView {
    /// Interface.
    pub interface: String,
    /// Next hop, if not the destination itself.
    pub via: Option<IpAddr>,
}

/// An instance.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ModuleView {
    /// What it is called.
    pub instance: String,
    /// The module.
    pub module: String,
    /// Its version.
    pub version: String,
    /// How it is.
    pub state: String,
    /// Seconds left to live; absent if it stays.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lifetime_s: Option<u32>,
    /// Its counters.
    pub counters: BTreeMap<String, u64>,
}

/// How a request went, over all nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// Every node that was meant did it.
    Success,
    /// Some did it; others refused, failed, or did not answer.
    Partial,
    /// Nobody did it.
    Failure,
}

impl PathView {
    /// Adds a node's answer, or puts it in the place of an earlier one.
    pub fn add(&mut self, answer: &Answer) {
        let view = NodeView::of(answer);
        match self.nodes.binary_search_by(|node| (node.hop, &node.node).cmp(&(view.hop, &view.node))) {
            Ok(at) => self.nodes[at] = view,
            Err(at) => self.nodes.insert(at, view),
        }
    }

    /// How the request went.
    #[must_use]
    pub fn outcome(&self) -> Outcome {
        let done = self.nodes.iter().any(|node| node.class == "success");
        let failed = self.nodes.iter().any(|node| !matches!(node.class, "success" | "information"));
        match (done, failed || !self.complete) {
            (true, false) => Outcome::Success,
            (true, true) => Outcome::Partial,
            (false, _) => Outcome::Failure,
        }
    }

    /// As a table of what was found.
    #[must_use]
    pub fn probe_table(&self) -> String {
        let title = ["HOP", "NODE", "NAME", "ADDRESS", "RTT", "SOFTWARE", "LOAD", "FREE", "ROUTE"];
        let mut rows = vec![title.map(str::to_owned)];
        for node in &self.nodes {
            let system = node.system.as_ref();
            rows.push([
                node.hop.to_string(),
                short(&node.node),
                text_or_dash(node.name.as_deref()),
                text_or_dash(node.addresses.first().map(IpAddr::to_string).as_deref()),
                node.rtt(),
                text_or_dash(node.software.as_deref()),
                text_or_dash(system.map(|s| format!("{:.2}", s.load)).as_deref()),
                text_or_dash(system.map(|s| bytes(s.memory_free_bytes as f64)).as_deref()),
                text_or_dash(node.route.as_ref().map(RouteView::text).as_deref()),
            ]);
        }
        let mut text = String::new();
        table(&mut text, &rows, &[true, false, false, false, true, false, true, true, false]);
        for node in &self.nodes {
            if node.class != "success" || !node.says.is_empty() {
                text.push_str(&format!("{} {}: {}\n", node.hop, short(&node.node), printable(&node.says)));
            }
            for module in &node.modules {
                text.push_str(&format!("{} {} runs {}\n", node.hop, short(&node.node), module.text()));
            }
        }
        self.add_problem(&mut text);
        text
    }

    /// As a table of what was done.
    #[must_use]
    pub fn result_table(&self) -> String {
        let mut rows = vec![["HOP", "NODE", "RTT", "RESULT", "SAYS"].map(str::to_owned)];
        for node in &self.nodes {
            let result = node.result.replace('_', " ");
            rows.push([node.hop.to_string(), short(&node.node), node.rtt(), result, printable(&node.says)]);
        }
        let mut text = String::new();
        table(&mut text, &rows, &[true, false, true, false, false]);
        self.add_problem(&mut text);
        text
    }

    fn add_problem(&self, text: &mut String) {
        if let Some(problem) = &self.problem {
            text.push_str(&format!("not complete: {}\n", printable(problem)));
        }
    }
}

impl NodeView {
    /// One answer.
    #[must_use]
    pub fn of(answer: &Answer) -> NodeView {
        let mut view = NodeView {
            hop: answer.hop,
            node: answer.node.to_string(),
            result: answer.code.name(),
            class: class_name(answer.code),
            says: answer.sentence.clone(),
            last: answer.is_last,
            hop_rtt_ms: answer.hop_rtt_us.map(|us| f64::from(us) / 1e3),
            ..NodeView::default()
        };
        answer.report.iter().for_each(|item| view.take(item));
        view
    }

    fn take(&mut self, item: &ReportItem) {
        match item {
            ReportItem::Name(name) => self.name = Some(name.clone()),
            ReportItem::Software(software) => self.software = Some(software.clone()),
            ReportItem::Address(address) => self.addresses.push(*address),
            ReportItem::Property { name, value } => {
                self.properties.insert(name.clone(), value.clone());
            }
            ReportItem::System { uptime_s, load_percent, memory_free_kib, flows } => {
                self.system = Some(SystemView {
                    uptime_s: *uptime_s,
                    load: f64::from(*load_percent) / 100.0,
                    memory_free_bytes: u64::from(*memory_free_kib) * 1024,
                    flows: *flows,
                });
            }
            ReportItem::Route { interface, via } => {
                self.route = Some(RouteView { interface: interface.clone(), via: *via });
            }
            ReportItem::Module { instance, module, version, state, lifetime_s, counters } => {
                self.modules.push(ModuleView {
                    instance: instance.clone(),
                    module: module.clone(),
                    version: version.clone(),
                    state: state.clone(),
                    lifetime_s: *lifetime_s,
                    counters: counters.iter().cloned().collect(),
                });
            }
        }
    }

    fn rtt(&self) -> String {
        self.hop_rtt_ms.map_or_else(|| "-".to_owned(), |ms| format!("{ms:.1} ms"))
    }
}

impl RouteView {
    fn text(&self) -> String {
        match self.via {
            Some(via) => printable(&format!("{} via {via}", self.interface)),
            None => printable(&self.interface),
        }
    }
}

impl ModuleView {
    fn text(&self) -> String {
        let left = self.lifetime_s.map(|s| format!(", {} left", duration(f64::from(s)))).unwrap_or_default();
        let counters: Vec<String> = self.counters.iter().map(|(name, count)| format!("{name} {count}")).collect();
        let counters = if counters.is_empty() { String::new() } else { format!(": {}", counters.join(", ")) };
        printable(&format!("{} ({} {}, {}{left}){counters}", self.instance, self.module, self.version, self.state))
    }
}

/// The first digits of a node's id: enough for people and for `--target node:`.
fn short(id: &str) -> String {
    id.chars().take(8).collect()
}

fn text_or_dash(text: Option<&str>) -> String {
    text.filter(|text| !text.is_empty()).map_or_else(|| "-".to_owned(), printable)
}

fn class_name(code: AnswerCode) -> &'static str {
    match code.class() {
        class::INFORMATION => "information",
        class::SUCCESS => "success",
        class::PROTOCOL => "protocol",
        class::TRANSIENT => "transient",
        _ => "permanent",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::nslp::request::{NodeId, Nonce};

    fn answer(hop: u8, code: AnswerCode) -> Answer {
        Answer {
            nonce: Nonce::default(),
            node: NodeId([hop; 16]),
            hop,
            code,
            sentence: "a\u{1b}[31mb".to_owned(),
            is_last: false,
            hop_rtt_us: Some(1_500),
            report: Vec::new(),
        }
    }

    #[test]
    fn a_failure_is_never_hidden_by_the_last_answer() {
        let mut view = PathView { complete: true, ..PathView::default() };
        assert_eq!(view.outcome(), Outcome::Failure);
        view.add(&answer(2, AnswerCode::Installed));
        view.add(&answer(3, AnswerCode::NotTarget));
        assert_eq!(view.outcome(), Outcome::Success);
        view.add(&answer(1, AnswerCode::NotAllowed));
        assert_eq!(view.outcome(), Outcome::Partial);
        assert_eq!(view.nodes.iter().map(|node| node.hop).collect::<Vec<_>>(), [1, 2, 3]);
        view.add(&answer(1, AnswerCode::Installed));
        assert_eq!(view.outcome(), Outcome::Success);
        view.complete = false;
        assert_eq!(view.outcome(), Outcome::Partial);
    }

    #[test]
    fn what_nodes_say_does_nothing_to_the_terminal() {
        let mut view = PathView::default();
        view.add(&answer(1, AnswerCode::NotAllowed));
        for text in [view.result_table(), view.probe_table()] {
            assert!(text.contains("1.5 ms") && text.contains("01010101") && !text.contains('\u{1b}'), "{text}");
        }
    }
}
