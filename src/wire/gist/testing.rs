//! What the tests of this folder share: bytes from text, and messages made at random.

use std::net::IpAddr;

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

use crate::base::limits::{GIST_COMMENT_BYTES_MAX, GIST_FORWARD_OBJECTS_MAX};
use crate::wire::gist::error::{ErrorInfo, ErrorObject};
use crate::wire::gist::header::{MessageType, NslpId};
use crate::wire::gist::message::Message;
use crate::wire::gist::mri::{Direction, LooseEnd, Mri, PathCoupled};
use crate::wire::gist::object::{Cookie, NatTraversal, Nli, PeerIdentity, RawObject, Sid};
use crate::wire::gist::stack::{StackConfiguration, StackOption, StackProposal};
use crate::wire::tlv::Flags;

/// Bytes from hexadecimal digits with spaces between the fields.
pub(crate) fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> =
        text.chars().filter(|c| !c.is_whitespace()).map(|c| c.to_digit(16).expect("a digit") as u8).collect();
    assert!(digits.len().is_multiple_of(2), "half a byte");
    digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect()
}

/// Any message that fits the grammar of its type.
pub(crate) fn messages() -> impl Strategy<Value = Message> {
    let envelope =
        (any::<u8>(), any::<u16>(), any::<[bool; 4]>(), vec(forwarded(), 0..=GIST_FORWARD_OBJECTS_MAX.min(3)));
    let common = (option::of(nats()), mris(), any::<[u8; 16]>(), nlis(), option::of(words(0..40)));
    let handshake = (words(1..9), words(1..9), stacks(), 0..4_u8);
    let last = (errors(), any::<u32>(), option::of(nlis()), words(0..40));
    (0..6_u8, envelope, common, handshake, last).prop_map(|(number, envelope, common, handshake, last)| {
        let kind = MessageType::from_number(number).expect("there are six");
        let (hops, nslp, flags, forward) = envelope;
        let (nat, mri, sid, nli, data) = common;
        let (query_cookie, responder_cookie, (proposal, configuration), depth) = handshake;
        let (error, hello_id, some_nli, some_data) = last;
        let plain = Message { hops, source_addressing: flags[0], forward, ..Message::new(kind, NslpId(nslp)) };
        let of_flow = Message { mri: Some(mri), sid: Some(Sid(sid)), ..plain.clone() };
        let has = |least: u8| depth >= least;
        match kind {
            MessageType::Query => Message {
                nat_traversal: nat,
                nli: Some(nli),
                query_cookie: Some(Cookie(query_cookie)),
                stack_proposal: has(1).then_some(proposal),
                stack_configuration: has(1).then_some(configuration),
                nslp_data: data,
                ..of_flow
            },
            MessageType::Response => Message {
                reply_requested: flags[1] || has(1),
                nat_traversal: nat,
                nli: Some(nli),
                query_cookie: Some(Cookie(query_cookie)),
                responder_cookie: has(1).then_some(Cookie(responder_cookie)),
                stack_proposal: has(2).then_some(proposal),
                stack_configuration: has(2).then_some(configuration),
                nslp_data: data,
                ..of_flow
            },
            MessageType::Confirm => Message {
                nli: Some(nli),
                responder_cookie: has(1).then_some(Cookie(responder_cookie)),
                stack_proposal: has(2).then_some(proposal),
                stack_configuration: has(3).then_some(configuration),
                nslp_data: data,
                ..of_flow
            },
            MessageType::Data => Message {
                context_free: flags[2],
                explicit_routing: flags[3],
                nat_traversal: nat,
                nli: some_nli,
                nslp_data: Some(some_data),
                ..of_flow
            },
            MessageType::Error => Message { nat_traversal: nat, nli: some_nli, error: Some(error), ..plain },
            MessageType::Hello => {
                Message { reply_requested: flags[1] && hello_id != 0, hello_id: Some(hello_id), ..plain }
            }
        }
    })
}

fn words(count: std::ops::Range<usize>) -> impl Strategy<Value = Vec<u8>> {
    vec(any::<[u8; 4]>(), count).prop_map(|words| words.concat())
}

/// Two addresses of one IP version.
fn addresses() -> impl Strategy<Value = (IpAddr, IpAddr)> {
    prop_oneof![
        any::<([u8; 4], [u8; 4])>().prop_map(|(a, b)| (a.into(), b.into())),
        any::<([u8; 16], [u8; 16])>().prop_map(|(a, b)| (a.into(), b.into())),
    ]
}

/// Any routing information.
pub(crate) fn mris() -> impl Strategy<Value = Mri> {
    let optional = (
        any::<Option<u8>>(),
        option::of(0..64_u8),
        option::of(0..1_u32 << 20),
        any::<Option<u32>>(),
        any::<Option<u16>>(),
        any::<Option<u16>>(),
    );
    (any::<[bool; 3]>(), addresses(), any::<[u8; 2]>(), optional).prop_map(|(bits, addresses, prefixes, optional)| {
        let [nat_ignorable, is_upstream, is_loose_end] = bits;
        let (source, destination) = addresses;
        let direction = if is_upstream { Direction::Upstream } else { Direction::Downstream };
        if is_loose_end {
            return Mri::LooseEnd(LooseEnd { nat_ignorable, source, destination, direction });
        }
        let bits_max = if source.is_ipv4() { 32 } else { 128 };
        let (protocol, dscp, flow_label, spi, source_port, destination_port) = optional;
        Mri::PathCoupled(PathCoupled {
            nat_ignorable,
            source,
            source_prefix: prefixes[0] % (bits_max + 1),
            destination,
            destination_prefix: prefixes[1] % (bits_max + 1),
            direction,
            protocol,
            dscp,
            flow_label: flow_label.filter(|_| source.is_ipv6()),
            spi: spi.filter(|_| protocol.is_some()),
            source_port: source_port.filter(|_| protocol.is_some()),
            destination_port: destination_port.filter(|_| protocol.is_some()),
        })
    })
}

fn nlis() -> impl Strategy<Value = Nli> {
    (vec(any::<u8>(), 0..=255), any::<u8>(), 1_u32.., addresses()).prop_map(
        |(identity, ip_ttl, validity_ms, (address, _))| Nli {
            peer_identity: PeerIdentity(identity),
            ip_ttl,
            validity_ms,
            address,
        },
    )
}

fn nats() -> impl Strategy<Value = NatTraversal> {
    (words(0..20), vec(any::<u16>(), 0..9), vec(vec(any::<u8>(), 0..20), 0..5))
        .prop_map(|(original_mri, translated, opaque)| NatTraversal { original_mri, translated, opaque })
}

/// A proposal, and a configuration that names no profile or protocol which is not there.
fn stacks() -> impl Strategy<Value = (StackProposal, StackConfiguration)> {
    let options = vec((any::<u8>(), any::<u8>(), any::<bool>(), vec(any::<u8>(), 0..20)), 0..9);
    (vec(vec(any::<u8>(), 1..9), 1..9), 1_u32.., options).prop_map(|(profiles, hold_time_ms, options)| {
        let count = profiles.len() as u8;
        let options = options
            .into_iter()
            .map(|(protocol, profile, forbidden, data)| {
                let profile = profile % (count + 1);
                let protocols = &profiles[usize::from(profile.saturating_sub(1))];
                let protocol = protocols[usize::from(protocol) % protocols.len()];
                StackOption { protocol, profile, forbidden, data }
            })
            .collect();
        (StackProposal { profiles }, StackConfiguration { hold_time_ms, options })
    })
}

fn errors() -> impl Strategy<Value = ErrorObject> {
    let info = prop_oneof![
        any::<u16>().prop_map(ErrorInfo::MessageLength),
        any::<u16>().prop_map(ErrorInfo::Mtu),
        any::<u16>().prop_map(ErrorInfo::ObjectType),
        (0..4_096_u16, any::<u16>(), words(0..9)).prop_map(|(real_length_words, offset, object)| {
            ErrorInfo::ObjectValue { real_length_words, offset, object }
        }),
        (5_u16.., words(0..9)).prop_map(|(kind, value)| ErrorInfo::Unknown { kind, value }),
    ];
    let comment = "[^\0]{0,40}".prop_filter("not too long", |text| text.len() <= GIST_COMMENT_BYTES_MAX);
    let code = any::<(u8, u16, u8)>();
    let original = (any::<[u8; 8]>(), any::<Option<[u8; 16]>>(), option::of(words(0..20)));
    (code, any::<[bool; 2]>(), original, vec(info, 0..5), option::of(comment)).prop_map(
        |((class, code, subcode), [d_mode, q_mode], (header, sid, mri), info, comment)| ErrorObject {
            class,
            code,
            subcode,
            d_mode,
            q_mode,
            header,
            sid: sid.map(Sid),
            mri,
            info,
            comment,
        },
    )
}

fn forwarded() -> impl Strategy<Value = RawObject> {
    (11..4_096_u16, words(0..5)).prop_map(|(kind, value)| RawObject { head: Flags::Forward.head(kind), value })
}
