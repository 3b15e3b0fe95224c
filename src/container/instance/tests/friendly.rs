//! `on_packet(packet)`.

use super::*;
use crate::wire::checksum;

#[test]
fn the_packet_shows_headers_and_payload() {
    let mut instance = handler(
        manifest(),
        "assert(packet.protocol == 17 and packet.source_port == 4096 and packet.destination_port == 53)
         assert(packet.length == 32 and packet.ip_version == 4 and packet.segments == 1)
         assert(packet:source() == '10.0.0.1' and packet:destination() == '10.0.0.2')
         assert(packet:payload() == 'abcd' and packet:payload_length() == 4 and packet.payload_offset == 28)
         assert(packet:u8(0) == 0x45 and packet:u16(2) == 32 and packet:u32(12) == 0x0a000001)
         assert(packet:payload_contains('bc') and not packet:payload_contains('bd') and not packet:payload_contains('cde'))
         assert(packet:ttl() == 61 and packet:tcp_flags() == 0)
         assert(packet.flow == 7 * 2^20 + 5)",
    );
    assert_eq!(action(&mut instance, &hex(UDP4)), Action::Pass);
}

#[test]
fn edits_become_changed_with_right_lengths_and_checksums() {
    let mut instance = handler(
        manifest(),
        "packet:set_payload(string.rep('xyz', 1000)) packet:set_destination('192.0.2.1', 5353) packet:set_ttl(9)
         assert(packet.length == 3028 and packet.destination_port == 5353 and packet:payload_length() == 3000)
         return 'pass', 'seen'",
    );
    let (verdict, bytes) = show(&mut instance, &hex(UDP4));
    assert_eq!(verdict.unwrap(), Verdict { action: Action::Changed, whole_flow: false });
    let header = Header::parse(&bytes, false).unwrap();
    assert_eq!((bytes.len(), header.payload_bytes(), header.ports), (3028, 3000, Some((4096, 5353))));
    assert_eq!((bytes[8], &bytes[16..20]), (9, &[192, 0, 2, 1][..]));
    assert_eq!(checksum::fold(checksum::add(0, &bytes[..20])), 0xffff);
    assert_eq!(instance.counters(), [("other", 0), ("seen", 1)]);
}

#[test]
fn headers_are_seen_whole_however_long_they_are() {
    // UDP behind destination options of 3072 bytes.
    let mut packet = hex("60000000 0c0c 3c 40 fd000000000000000000000000000001 fd000000000000000000000000000002");
    for next in [60, 17] {
        packet.extend([next, 191]);
        packet.resize(packet.len() + 1534, 0);
    }
    packet.extend(hex("1000 0035 000c 0000 61626364"));
    let headers = Manifest { sees: Sees::Headers, changes: Changes::Headers, ..manifest() };
    let mut instance = handler(
        headers.clone(),
        "assert(packet:payload() == '' and packet:payload_length() == 4)
         packet:set_ttl(9)
         packet:set_destination(nil, 5353)",
    );
    let (verdict, bytes) = show(&mut instance, &packet);
    assert_eq!(verdict.unwrap().action, Action::Changed);
    assert_eq!((bytes[7], Header::parse(&bytes, false).unwrap().ports), (9, Some((4096, 5353))));
    let mut instance = handler(headers, "return packet:reply()");
    let (verdict, bytes) = show(&mut instance, &packet);
    assert_eq!(verdict.unwrap().action, Action::Reply);
    assert_eq!(Header::parse(&bytes, false).unwrap().ports, Some((53, 4096)));
}

#[test]
fn a_module_can_tell_a_fragment_before_it_does_what_fragments_refuse() {
    let mut instance = handler(manifest(), "return if packet:fragmented() then 'pass' else packet:reply('x')");
    let mut fragment = hex(UDP4);
    fragment[6] = 0x20;
    assert_eq!(action(&mut instance, &fragment), Action::Pass);
    assert_eq!(action(&mut instance, &hex(UDP4)), Action::Reply);
}

#[test]
fn a_reply_goes_back_with_exchanged_addresses() {
    let mut instance = handler(manifest(), "return packet:reply('answer')");
    let (verdict, bytes) = show(&mut instance, &hex(UDP4));
    assert_eq!(verdict.unwrap().action, Action::Reply);
    let header = Header::parse(&bytes, false).unwrap();
    assert_eq!((header.ports, header.payload(&bytes)), (Some((53, 4096)), &b"answer"[..]));
    assert_eq!((&bytes[12..20], bytes[8]), (&[10, 0, 0, 2, 10, 0, 0, 1][..], 64));
}

#[test]
fn an_echo_request_over_ipv6_is_answered() {
    let echo = hex("60000000 000c 3a 40 fd000000000000000000000000000001 fd000000000000000000000000000002
         80 00 0000 1234 0001  70696e67");
    let mut instance =
        handler(manifest(), "assert(packet:source() == 'fd00::1' and packet.ip_version == 6) return packet:reply()");
    let (verdict, bytes) = show(&mut instance, &echo);
    assert_eq!(verdict.unwrap().action, Action::Reply);
    assert_eq!((bytes[40], &bytes[8..24], &bytes[48..]), (129, &echo[24..40], &b"ping"[..]));
}

#[test]
fn verdicts_and_their_reasons() {
    for (body, want) in [
        ("", Ok((Action::Pass, false))),
        ("return 'drop', 'seen'", Ok((Action::Drop, false))),
        ("return packet:pass_flow()", Ok((Action::Pass, true))),
        ("return packet:drop_flow()", Ok((Action::Drop, true))),
        ("return 'maybe'", Err("on_packet: \"maybe\" is no verdict")),
        ("return 3", Err("a number is no verdict")),
        ("return 'drop', 'nothing'", Err("the reason \"nothing\" is no counter")),
        ("packet:set_ttl(1) return packet:pass_flow()", Err("a flow whose packets are changed")),
        ("packet:u8(32)", Err("init.luau:3: offset 32: 1 bytes there are not within the 32 bytes")),
        ("packet:u32(29)", Err("offset 29: 4 bytes")),
        ("packet:u8(-1)", Err("offset -1")),
        ("packet:u8('x')", Err("init.luau:3:")),
        ("packet:u8(0/0)", Err("offset nan")),
        ("packet:set_u16(31, 1)", Err("offset 31: 2 bytes")),
        ("packet:set_source('fd00::1')", Err("is no IPv4 address")),
        ("packet:set_source(nil, 70000)", Err("a port is a number from 0 to 65535")),
        ("packet:set_payload(string.rep('x', 65508))", Err("would be 65536 bytes long")),
        ("packet:set_payload(7)", Err("must be a string, not a number")),
        ("packet:payload_contains(string.rep('x', 65))", Err("may have 64")),
    ] {
        let mut instance = handler(manifest(), body);
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
        // An error leaves the VM usable.
        let _ = show(&mut instance, &before);
        assert!(!instance.vm.is_dead(), "{body}");
    }
}

#[test]
fn what_the_manifest_does_not_allow_is_refused() {
    let (nothing, headers, payload) = (Changes::Nothing, Changes::Headers, Changes::Payload);
    for (changes, drops, body, want) in [
        (nothing, true, "packet:set_u8(8, 1)", "may not change packets"),
        (nothing, true, "packet:set_ttl(1)", "may not change packets"),
        (headers, true, "packet:set_u8(28, 1)", "may not change payload"),
        (headers, true, "packet:set_payload('ABCD')", "may not change payload"),
        (payload, true, "packet:set_payload('ABC')", "changes = \"length\""),
        (payload, false, "return 'drop'", "drops = true"),
        (payload, false, "return packet:drop_flow()", "drops = true"),
        (payload, false, "return packet:reply()", "drops = true"),
        (payload, false, "return 'reply'", "drops = true"),
    ] {
        let mut instance = handler(Manifest { changes, drops, ..manifest() }, body);
        let got = message(show(&mut instance, &hex(UDP4)).0);
        assert!(got.contains(want), "{body}: {got}");
    }
}

#[test]
fn a_module_that_sees_headers_gets_128_bytes_and_can_change_them_in_a_long_packet() {
    let mut long = hex(UDP4);
    long.resize(1400, b'x');
    long[2..4].copy_from_slice(&1400u16.to_be_bytes());
    long[24..26].copy_from_slice(&1380u16.to_be_bytes());
    let limited = Manifest { sees: Sees::Headers, changes: Changes::Headers, ..manifest() };
    let mut instance = handler(
        limited,
        "assert(packet.length == 1400 and packet:payload_length() == 1372 and #packet:payload() == 100)
         assert(not pcall(packet.u8, packet, 128))
         packet:set_ttl(3)",
    );
    let (verdict, bytes) = show(&mut instance, &long);
    assert_eq!(verdict.unwrap().action, Action::Changed);
    assert_eq!((bytes[8], &bytes[20..]), (3, &long[20..]));
}

#[test]
fn a_packet_longer_than_the_buffer_is_shown_whole() {
    let mut long = hex(UDP4);
    long.resize(60_000, b'x');
    long[2..4].copy_from_slice(&60_000u16.to_be_bytes());
    long[24..26].copy_from_slice(&59_980u16.to_be_bytes());
    let mut instance = handler(
        manifest(),
        "assert(packet:u8(packet.length - 1) == (if packet.length > 1000 then 120 else 100))
         packet:set_u8(packet.length - 1, 33)",
    );
    for bytes in [&hex(UDP4), &long, &hex(UDP4)] {
        let (verdict, after) = show(&mut instance, bytes);
        assert_eq!(verdict.unwrap().action, Action::Changed);
        assert_eq!((after.len(), after.last()), (bytes.len(), Some(&33)));
    }
}

#[test]
fn a_packet_kept_beyond_its_call_shows_nothing() {
    let mut instance = start(
        "local M, kept = {}, nil
         function M.on_packet(packet) kept = packet end
         function M.report() return { pcall(kept.u8, kept, 0) } end
         return M",
    );
    assert_eq!(action(&mut instance, &hex(UDP4)), Action::Pass);
    let report = instance.report(Instant::START).unwrap().unwrap();
    assert_eq!(report[0], false);
    assert!(report[1].as_str().unwrap().contains("there is no packet at hand"), "{report}");
}
