use std::collections::BTreeMap;
use std::rc::Rc;

use super::*;
use crate::base::packet::Offload;
use crate::base::time::WallTime;
use crate::container::manifest::Limits;
use crate::container::permissions::{Permissions, Text};
use crate::container::source::ModuleSource;
use crate::container::surroundings::{CpuGuard, FlowView};

mod blocks;
mod context;
mod friendly;
mod library;
mod raw;
mod reference;
mod task;

const LINK: LinkId = LinkId(0);
const FLOW: FlowId = FlowId::new(5, 7);

/// UDP 10.0.0.1:4096 -> 10.0.0.2:53, payload "abcd"; TTL 61.
const UDP4: &str = "45000020 12340000 3d11 5797 0a000001 0a000002  1000 0035 000c 0000  61626364";

/// The flows of a test: one.
struct OneFlow;

impl FlowView for OneFlow {
    fn flows(&self, instance: InstanceId, count_max: usize) -> Vec<FlowRecord> {
        self.flow(instance, FLOW).into_iter().take(count_max).collect()
    }

    fn flow(&self, _: InstanceId, id: FlowId) -> Option<FlowRecord> {
        (id == FLOW).then(flow_record)
    }
}

fn flow_record() -> FlowRecord {
    FlowRecord {
        id: FLOW,
        ip_version: 4,
        protocol: 17,
        source: 0xffff_0a00_0001,
        destination: 0xffff_0a00_0002,
        ports: Some((4096, 53)),
        fragments: false,
        packets: 3,
        bytes: 96,
        first_seen: Instant::from_nanos(1_500_000_000),
        last_seen: Instant::from_nanos(2_000_000_000),
    }
}

fn surroundings() -> Surroundings {
    let wall = WallTime::from_nanos(1_000_000_000_000_000_000);
    Surroundings::new(wall, CpuGuard::Safepoints, Rc::new(OneFlow), 7)
}

/// A module that may do everything, with the counters `seen` and `other`.
fn manifest() -> Manifest {
    Manifest {
        name: "test".to_owned(),
        version: semver::Version::new(1, 0, 0),
        summary: String::new(),
        authors: Vec::new(),
        licence: String::new(),
        filter_rules: Vec::new(),
        entry: "init.luau".to_owned(),
        library: false,
        sees: Sees::Payload,
        changes: Changes::Length,
        drops: true,
        passes_on_fault: true,
        permissions: Permissions {
            inject: true,
            answer_for: vec![Text::Written("any".to_owned())],
            ..Permissions::default()
        },
        optional_permissions: Permissions::default(),
        requires: BTreeMap::new(),
        provides: BTreeMap::new(),
        uses: BTreeMap::new(),
        limits: Limits { memory_bytes: 16 << 20, cpu_ms_per_call: 20, timers: 4, ..Limits::default() },
        properties: BTreeMap::new(),
        counters: ["seen", "other"].map(|name| (name.to_owned(), String::new())).into(),
    }
}

fn module(manifest: Manifest, files: &[(&str, &str)]) -> Module {
    let files = files.iter().map(|(path, text)| ((*path).to_owned(), text.as_bytes().to_vec())).collect();
    Module::of_parts(manifest, ModuleSource { files })
}

fn start_with(manifest: Manifest, code: &str) -> Result<Instance, Fault> {
    let module = module(manifest, &[("init.luau", code)]);
    Instance::start(InstanceId(1), &module, &Properties::default(), &surroundings(), Instant::START)
}

fn start(code: &str) -> Instance {
    start_with(manifest(), code).unwrap()
}

/// A module whose packet handler has this body.
fn handler(manifest: Manifest, body: &str) -> Instance {
    start_with(manifest, &format!("local M = {{}}\nfunction M.on_packet(packet)\n{body}\nend\nreturn M")).unwrap()
}

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
    digits.chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
}

/// Shows a packet; returns the verdict and the packet as it then is.
fn show(instance: &mut Instance, bytes: &[u8]) -> (Result<Verdict, Fault>, Vec<u8>) {
    let header = Header::parse(bytes, false).unwrap();
    let mut room = bytes.to_vec();
    room.resize(70_000, 0);
    let mut packet = PacketMut::new(&mut room, bytes.len(), Offload::default());
    let verdict = instance.on_packet(Instant::from_nanos(2_000_000_000), LINK, FLOW, &header, &mut packet);
    (verdict, packet.bytes().to_vec())
}

fn action(instance: &mut Instance, bytes: &[u8]) -> Action {
    show(instance, bytes).0.unwrap().action
}

fn effects(instance: &mut Instance) -> Vec<Effect> {
    std::iter::from_fn(|| instance.next_effect()).collect()
}

fn message(result: Result<impl std::fmt::Debug, Fault>) -> String {
    match result.unwrap_err() {
        Fault::Raised { message } => message,
        other @ (Fault::OutOfCpu { .. } | Fault::OutOfMemory { .. }) => panic!("{other}"),
    }
}
