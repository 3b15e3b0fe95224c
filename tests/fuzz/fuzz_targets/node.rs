//! A list of packets through a node. Each is a byte (time to the one before, in seconds; the highest bit: truncated),
//! two bytes of length, and the packet from its IP header on.
#![no_main]

use std::cell::RefCell;

use libfuzzer_sys::fuzz_target;
use netserv::base::id::LinkId;
use netserv::base::packet::{Offload, PacketMut};
use netserv::base::time::{Instant, WallTime};
use netserv::container::module::Module;
use netserv::container::source::ModuleSource;
use netserv::container::surroundings::CpuGuard;
use netserv::node::{Command, Decision, Input, LinkConfig, LinkKind, Node, NodeConfig, Output};

const FLOWS_MAX: u32 = 16;

fn node() -> Node {
    let mut node = Node::new(NodeConfig {
        flows_max: FLOWS_MAX,
        capture: Vec::new(),
        seed: 1,
        wall: WallTime::default(),
        cpu: CpuGuard::Safepoints,
    });
    node.add_link(LinkConfig { name: "fuzz".to_owned(), kind: LinkKind::Inline { to: LinkId(0) } });
    node
}

fn node_with_module() -> Node {
    let files = [
        ("module.toml", include_str!("../../../modules/uppercase/module.toml")),
        ("init.luau", include_str!("../../../modules/uppercase/init.luau")),
    ];
    let files = files.iter().map(|(path, text)| ((*path).to_owned(), text.as_bytes().to_vec())).collect();
    let module = Module::check(ModuleSource { files }).expect("the module is right");
    let mut node = node();
    let load = Command::Load { module, name: None, properties: toml::Table::new(), grant: None };
    node.handle(Instant::START, Input::Command(0, load));
    node
}

/// The node with the module is kept, since it takes long to make, and its time goes on.
struct Kept {
    node: Node,
    now: Instant,
}

thread_local! {
    static KEPT: RefCell<Kept> = RefCell::new(Kept { node: node_with_module(), now: Instant::START });
}

fn feed(node: &mut Node, now: &mut Instant, mut bytes: &[u8]) {
    while let [head, high, low, rest @ ..] = bytes {
        let len = usize::from(u16::from_be_bytes([*high, *low])).min(rest.len());
        let (packet, after) = rest.split_at(len);
        bytes = after;
        *now += std::time::Duration::from_secs(u64::from(head & 0x7f));
        node.handle(*now, Input::Wakeup);
        let mut room = packet.to_vec();
        room.resize(len + 256, 0);
        let mut packet = PacketMut::new(&mut room, len, Offload::default());
        packet.truncated = head & 0x80 != 0;
        if let Decision::Forward(link) = node.packet(*now, LinkId(0), &mut packet) {
            assert_eq!(link, LinkId(0));
        }
        while !matches!(node.poll(), Output::Idle { .. }) {}
        assert!(node.flow_counts().0 <= FLOWS_MAX as usize);
    }
}

fuzz_target!(|bytes: &[u8]| {
    let (mut fresh, mut now) = (node(), Instant::START);
    feed(&mut fresh, &mut now, bytes);
    fresh.shut_down(now, "the end");
    KEPT.with_borrow_mut(|kept| {
        let Kept { node, now } = kept;
        feed(node, now, bytes);
        let views = node.instances();
        assert!(views.iter().all(|view| view.last_fault.is_none()), "{views:?}");
    });
});
