//! `on_packet_raw(...)`.

use super::*;

fn raw(manifest: Manifest, body: &str) -> Instance {
    let code = format!(
        "local netserv = require('@netserv')
         local M = {{}}
         function M.on_packet_raw(buf, len, protocol, source, source_port, destination, destination_port, payload, flow,
           flags)
         {body}
         end
         return M"
    );
    start_with(manifest, &code).unwrap()
}

#[test]
fn the_handler_gets_integers() {
    let mut instance = raw(
        manifest(),
        "assert(buffer.len(buf) == 2048 and len == 32 and protocol == netserv.UDP)
         assert(source == 0x0a000001 and destination == 0x0a000002 and source_port == 4096 and destination_port == 53)
         assert(payload == 28 and flow == 7 * 2^20 + 5 and flags == bit32.lshift(1, 16))
         assert(buffer.readstring(buf, payload, 4) == 'abcd')",
    );
    assert_eq!(action(&mut instance, &hex(UDP4)), Action::Pass);
    let v6 = hex("60000000 000c 11 40 fd000000000000000000000000000001 fd000000000000000000000000000002
         1000 0035 000c 0000 61626364");
    let mut instance =
        raw(manifest(), "assert(source == 0 and destination == 0 and flags == 65536 + netserv.IPV6 and payload == 48)");
    assert_eq!(action(&mut instance, &v6), Action::Pass);
}

#[test]
fn numbers_are_verdicts() {
    for (body, want) in [
        ("return netserv.PASS", Ok((Action::Pass, false))),
        ("buffer.writeu8(buf, 28, 33) return netserv.PASS", Ok((Action::Pass, false))),
        ("return netserv.DROP", Ok((Action::Drop, false))),
        ("return netserv.DROP + netserv.FLOW", Ok((Action::Drop, true))),
        ("return netserv.PASS + netserv.FLOW", Ok((Action::Pass, true))),
        ("buffer.writeu8(buf, 28, 33) return netserv.CHANGED", Ok((Action::Changed, false))),
        ("return netserv.CHANGED, 30", Ok((Action::Changed, false))),
        ("return netserv.REPLY, 30", Ok((Action::Reply, false))),
        ("return netserv.CHANGED + netserv.FLOW", Err("only PASS and DROP")),
        ("return netserv.CHANGED, 5000", Err("5000 is no length")),
        ("return netserv.CHANGED, -1", Err("-1 is no length")),
        ("return netserv.CHANGED, 20", Err("on_packet:")),
        ("buffer.writeu8(buf, 0, 0x46) return netserv.CHANGED", Err("the IP version and header length")),
        ("return 7", Err("7 is no verdict")),
        ("return 0/0", Err("is no verdict")),
        ("return -1", Err("is no verdict")),
        ("return 'pass'", Err("is no verdict")),
        ("return {}", Err("is no verdict")),
        ("return table.unpack(table.create(1000, 0))", Ok((Action::Pass, false))),
    ] {
        let mut instance = raw(manifest(), body);
        let before = hex(UDP4);
        let (verdict, after) = show(&mut instance, &before);
        match want {
            Ok((action, whole_flow)) => assert_eq!(verdict, Ok(Verdict { action, whole_flow }), "{body}"),
            Err(text) => {
                let got = message(verdict);
                assert!(got.contains(text), "{body}: {got}");
                assert_eq!(before, after, "{body}");
            }
        }
    }
}

#[test]
fn what_the_manifest_does_not_allow_is_refused() {
    let (nothing, headers, payload) = (Changes::Nothing, Changes::Headers, Changes::Payload);
    for (changes, drops, body, want) in [
        (nothing, true, "return netserv.CHANGED", "may not change packets"),
        (headers, true, "buffer.writeu8(buf, 28, 33) return netserv.CHANGED", "allows only headers"),
        (payload, true, "return netserv.CHANGED, 31", "the length went from 32 to 31"),
        (headers, true, "return netserv.CHANGED, 31", "the length went from 32 to 31"),
        (payload, false, "return netserv.DROP", "may not drop packets"),
        (payload, false, "return netserv.REPLY", "may not answer"),
    ] {
        let mut instance = raw(Manifest { changes, drops, ..manifest() }, body);
        let got = message(show(&mut instance, &hex(UDP4)).0);
        assert!(got.contains(want), "{body}: {got}");
    }
}

#[test]
fn a_module_without_a_handler_passes_everything() {
    let mut instance = start("return {}");
    assert_eq!(action(&mut instance, &hex(UDP4)), Action::Pass);
    assert!(!instance.wants_flow_ends());
    assert_eq!(instance.report(Instant::START), Ok(None));
    assert_eq!(instance.stop(Instant::START, "because"), Ok(()));
}
