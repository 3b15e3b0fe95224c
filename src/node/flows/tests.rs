use super::*;
use crate::base::filter::address_bits;
use crate::base::id::LinkId;
use crate::wire::header::{Fragment, Header, UDP};

fn key(n: u32, protocol: u8) -> FlowKey {
    let header = Header {
        ip_version: 4,
        protocol,
        source: address_bits(std::net::Ipv4Addr::from(n).into()),
        destination: 7,
        ports: Some((1, 2)),
        fragment: Fragment::Whole,
        transport_at: 20,
        payload_at: 28,
        payload_end: 28,
        end: 28,
        tcp_flags: 0,
    };
    FlowKey::new(LinkId(0), &header)
}

fn seen(seconds: u64) -> Seen {
    Seen { now: Instant::START + Duration::from_secs(seconds), packets: 1, bytes: 100, tcp_flags: 0 }
}

fn slot_of(touched: Touched) -> u32 {
    match touched {
        Touched::Known(slot) | Touched::Undecided(slot) => slot,
    }
}

fn hook(instance: u32) -> Hook {
    Hook { instance: InstanceId(instance), action: HookAction::Call }
}

#[test]
fn a_flow_is_matched_once_per_epoch_and_keeps_its_native_rules() {
    let mut table = FlowTable::new(10, 1);
    let (touched, _) = table.touch(key(1, UDP), 5, seen(0));
    assert!(matches!(touched, Touched::Undecided(_)));
    let slot = slot_of(touched);
    table.decide(slot, 5, Chain::from_slice(&[hook(1), hook(2)]));
    assert!(matches!(table.touch(key(1, UDP), 5, seen(0)).0, Touched::Known(_)));
    table.set_rule(slot, InstanceId(2), HookAction::Pass);
    assert!(matches!(table.touch(key(1, UDP), 6, seen(0)).0, Touched::Undecided(_)));
    table.decide(slot, 6, Chain::from_slice(&[hook(2), hook(3)]));
    assert_eq!(table.chain(slot)[0].action, HookAction::Pass);
    assert_eq!(table.chain(slot)[1].action, HookAction::Call);
    table.reset_rules(InstanceId(2));
    assert_eq!(table.chain(slot)[0].action, HookAction::Call);
}

#[test]
fn a_full_table_gives_up_a_flow_that_was_not_used_lately() {
    let mut table = FlowTable::new(100, 1);
    for n in 0..100 {
        assert!(table.touch(key(n, UDP), 0, seen(0)).1.is_none());
    }
    // The first one pushed out clears all marks; after that, flows in use are spared.
    assert!(table.touch(key(1_000, UDP), 0, seen(1)).1.is_some());
    let mut lost = 0;
    for n in 2_000..2_050 {
        table.touch(key(50, UDP), 0, seen(2));
        let ended = table.touch(key(n, UDP), 0, seen(2)).1.unwrap();
        lost += u32::from(ended.record.source == address_bits(std::net::Ipv4Addr::from(50).into()));
    }
    assert_eq!((table.len(), table.pushed_out, lost), (100, 51, 0));
}

#[test]
fn ids_of_forgotten_flows_find_nothing() {
    let mut table = FlowTable::new(10, 1);
    let slot = slot_of(table.touch(key(1, UDP), 0, seen(0)).0);
    table.decide(slot, 0, Chain::from_slice(&[hook(1)]));
    let id = table.id(slot);
    assert_eq!(table.record_of(InstanceId(1), id).unwrap().bytes, 100);
    assert!(table.record_of(InstanceId(2), id).is_none());
    let ended = table.take_next(&mut 0).unwrap();
    assert_eq!((ended.record.packets, ended.chain.len()), (1, 1));
    table.touch(key(2, UDP), 0, seen(0));
    assert!(table.record_of(InstanceId(1), id).is_none());
}

#[test]
fn silent_flows_are_swept_out_after_their_time() {
    let mut table = FlowTable::new(10, 1);
    table.touch(key(1, UDP), 0, seen(0));
    table.touch(key(2, TCP), 0, seen(0));
    table.touch(key(3, TCP), 0, Seen { tcp_flags: TCP_RST, ..seen(0) });
    let mut sweep_all = |seconds: u64| {
        let mut count = 0;
        for _ in 0..limits::FLOW_SWEEP_PARTS * 3 {
            let mut budget = table.sweep_budget();
            while table.sweep(Instant::START + Duration::from_secs(seconds), &mut budget).is_some() {
                count += 1;
            }
        }
        count
    };
    assert_eq!((sweep_all(9), sweep_all(10), sweep_all(59), sweep_all(60)), (0, 1, 0, 1));
    assert_eq!((sweep_all(299), sweep_all(300)), (0, 1));
    assert_eq!(table.len(), 0);
}
