//! Connection tracking: finds out whether the machine translates addresses, and keeps it doing so.
//!
//! A packet that is steered passes the kernel twice. Were it tracked both times, the first pass would settle that the
//! connection is not translated. So each packet is tracked once, on that pass where it leaves for or comes from the
//! outside: what enters from the inside on its way to the TUN device is not tracked, nor what comes out of it towards
//! the inside.

use std::io;
use std::net::IpAddr;

use netlink_sys::{Socket, protocols};

use super::Family;
use super::netlink::{connected, messages, receive, send_all};
use super::routes::Net;
use crate::steering::Match;

/// The table's name; nobody else's table of this name is touched, because it is removed only after it was made.
pub(super) const TABLE: &str = "netserv";

const NFNL_SUBSYS_NFTABLES: u16 = 10;
const NFT_MSG_NEWTABLE: u16 = 0;
const NFT_MSG_DELTABLE: u16 = 2;
const NFT_MSG_NEWCHAIN: u16 = 3;
const NFT_MSG_GETCHAIN: u16 = 4;
const NFT_MSG_NEWRULE: u16 = 6;
const NFNL_MSG_BATCH_BEGIN: u16 = 16;
const NFNL_MSG_BATCH_END: u16 = 17;

const NLM_F_REQUEST: u16 = 1;
const NLM_F_ACK: u16 = 4;
const NLM_F_DUMP: u16 = 0x300;
const NLM_F_CREATE: u16 = 0x400;
const NLM_F_APPEND: u16 = 0x800;
const NLA_F_NESTED: u16 = 0x8000;

/// The hooks of netfilter (linux/netfilter.h).
const PREROUTING: u32 = 0;
const FORWARD: u32 = 2;
const OUTPUT: u32 = 3;
const POSTROUTING: u32 = 4;
/// Before connection tracking (linux/netfilter_ipv4.h, `NF_IP_PRI_RAW`).
const PRIORITY_RAW: i32 = -300;

const REG_VERDICT: u32 = 0;
const REG_1: u32 = 1;
const META_L4PROTO: u32 = 16;
const META_IIFNAME: u32 = 6;
const META_OIFNAME: u32 = 7;
const PAYLOAD_NETWORK: u32 = 1;
const PAYLOAD_TRANSPORT: u32 = 2;
const CMP_EQ: u32 = 0;
const CMP_LTE: u32 = 3;
const CMP_GTE: u32 = 5;
const NF_ACCEPT: u32 = 1;

/// What the machine's own filters do that matters here.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Found {
    /// The families whose addresses are translated.
    pub(super) translates: Vec<Family>,
    /// Chains that drop forwarded traffic unless a rule allows it, as `family table chain`.
    pub(super) drops_forwarded: Vec<String>,
    /// The families for which our table is there.
    pub(super) ours: Vec<Family>,
}

/// What is to be left untracked in one family.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Untracked {
    pub(super) family: Family,
    pub(super) tun: String,
    /// Prefixes behind the machine.
    pub(super) inside: Vec<Net>,
    /// Interfaces to the outside.
    pub(super) outside: Vec<String>,
    /// This machine's addresses.
    pub(super) local: Vec<Net>,
    /// What is steered.
    pub(super) matches: Vec<Match>,
    /// Whether this machine's own traffic is steered.
    pub(super) own: bool,
}

/// Looks for chains that translate addresses or forbid forwarding.
pub(super) fn find() -> Found {
    let mut found = Found::default();
    // A kernel without nf_tables has no such chains.
    for chain in chains().unwrap_or_default() {
        let families = chain.families();
        if chain.table == TABLE && chain.hook == PREROUTING && chain.family != NFPROTO_INET {
            found.ours.extend(families);
        } else if chain.kind == "nat" && chain.hook == POSTROUTING {
            found.translates.extend(families);
        } else if chain.hook == FORWARD && chain.drops && !families.is_empty() {
            found.drops_forwarded.push(format!("{} {} {}", chain.family_name(), chain.table, chain.name));
        }
    }
    for (family, path) in [(Family::V4, "/proc/net/ip_tables_names"), (Family::V6, "/proc/net/ip6_tables_names")] {
        if std::fs::read_to_string(path).is_ok_and(|names| names.lines().any(|name| name == "nat")) {
            found.translates.push(family);
        }
    }
    found.translates.sort_unstable();
    found.translates.dedup();
    found
}

/// A chain with a hook.
#[derive(Debug, Default)]
struct Chain {
    family: u8,
    table: String,
    name: String,
    kind: String,
    hook: u32,
    drops: bool,
}

const NFPROTO_INET: u8 = 1;
const NFPROTO_IPV4: u8 = 2;
const NFPROTO_IPV6: u8 = 10;

impl Chain {
    fn families(&self) -> Vec<Family> {
        match self.family {
            NFPROTO_INET => vec![Family::V4, Family::V6],
            NFPROTO_IPV4 => vec![Family::V4],
            NFPROTO_IPV6 => vec![Family::V6],
            _ => Vec::new(),
        }
    }

    fn family_name(&self) -> &'static str {
        match self.family {
            NFPROTO_IPV4 => "ip",
            NFPROTO_IPV6 => "ip6",
            _ => "inet",
        }
    }

    fn parse(message: &[u8]) -> Option<Chain> {
        let mut chain = Chain { family: *message.get(16)?, hook: u32::MAX, ..Chain::default() };
        for (kind, value) in attributes(message.get(20..)?) {
            match kind {
                1 => chain.table = text(value),
                3 => chain.name = text(value),
                4 => {
                    let hook = attributes(value).find(|(kind, _)| *kind == 1)?.1;
                    chain.hook = u32::from_be_bytes(hook.try_into().ok()?);
                }
                5 => chain.drops = value == 0u32.to_be_bytes(),
                7 => chain.kind = text(value),
                _ => {}
            }
        }
        (chain.hook != u32::MAX).then_some(chain)
    }
}

fn chains() -> io::Result<Vec<Chain>> {
    let socket = connected(protocols::NETLINK_NETFILTER)?;
    let mut batch = Batch::new();
    batch.message(NFT_MSG_GETCHAIN, NLM_F_REQUEST | NLM_F_DUMP, 0, |_| {});
    send_all(&socket, &batch.bytes)?;
    let mut chains = Vec::new();
    loop {
        let datagram = receive(&socket)?;
        for message in messages(&datagram) {
            match (message_type(message), error_code(message)) {
                (NLMSG_ERROR, Some(code)) => return Err(io::Error::from_raw_os_error(-code)),
                (NLMSG_DONE, _) => return Ok(chains),
                (kind, _) if kind == NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_NEWCHAIN => {
                    chains.extend(Chain::parse(message));
                }
                _ => {}
            }
        }
    }
}

/// Puts the table of one family in place of the one that was there, at once.
pub(super) fn put(untracked: &Untracked) -> io::Result<()> {
    let family = protocol_family(untracked.family);
    let mut batch = Batch::new();
    batch.table(NFT_MSG_NEWTABLE, NLM_F_CREATE, family);
    batch.table(NFT_MSG_DELTABLE, 0, family);
    batch.table(NFT_MSG_NEWTABLE, NLM_F_CREATE, family);
    batch.chain(family, "prerouting", PREROUTING);
    for rule in prerouting(untracked) {
        batch.rule(family, "prerouting", &rule);
    }
    if untracked.own {
        batch.chain(family, "output", OUTPUT);
        let rule = [interface(META_OIFNAME, &untracked.tun), vec![Expression::NoTrack]].concat();
        batch.rule(family, "output", &rule);
    }
    batch.commit()
}

/// Removes the table of one family, if it is there.
pub(super) fn remove(family: Family) -> io::Result<()> {
    let family = protocol_family(family);
    let mut batch = Batch::new();
    batch.table(NFT_MSG_DELTABLE, 0, family);
    match batch.commit() {
        // No such table, or no nf_tables at all.
        Err(e) if matches!(e.raw_os_error(), Some(libc::ENOENT | libc::EOPNOTSUPP | libc::EINVAL)) => Ok(()),
        other => other,
    }
}

fn prerouting(u: &Untracked) -> Vec<Vec<Expression>> {
    let mut rules = Vec::new();
    let from_tun = interface(META_IIFNAME, &u.tun);
    for net in &u.inside {
        rules.push([from_tun.clone(), prefix(Side::Destination, *net), vec![Expression::NoTrack]].concat());
    }
    rules.push([from_tun, vec![Expression::Accept]].concat());
    for name in u.outside.iter().map(String::as_str).chain(["lo"]) {
        rules.push([interface(META_IIFNAME, name), vec![Expression::Accept]].concat());
    }
    for net in &u.local {
        rules.push([prefix(Side::Destination, *net), vec![Expression::Accept]].concat());
    }
    for m in &u.matches {
        let mut rule = Vec::new();
        if let Some(protocol) = m.protocol {
            rule.push(Expression::Meta(META_L4PROTO));
            rule.push(Expression::Compare(CMP_EQ, vec![protocol]));
        }
        for (side, net) in [(Side::Source, m.from), (Side::Destination, m.to)] {
            rule.extend(net.into_iter().flat_map(|net| prefix(side, net)));
        }
        for (side, ports) in [(Side::Source, m.from_port), (Side::Destination, m.to_port)] {
            rule.extend(ports.into_iter().flat_map(|ports| port_range(side, ports)));
        }
        rule.push(Expression::NoTrack);
        rules.push(rule);
    }
    rules
}

/// One expression of a rule of nf_tables.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Expression {
    Meta(u32),
    /// Base, offset and length in bytes.
    Payload(u32, u32, u32),
    Mask(Vec<u8>),
    Compare(u32, Vec<u8>),
    NoTrack,
    Accept,
}

#[derive(Clone, Copy)]
enum Side {
    Source,
    Destination,
}

fn interface(meta: u32, name: &str) -> Vec<Expression> {
    let mut padded = name.as_bytes().to_vec();
    padded.resize(16, 0);
    vec![Expression::Meta(meta), Expression::Compare(CMP_EQ, padded)]
}

fn prefix(side: Side, (address, len): Net) -> Vec<Expression> {
    let (bytes, source_at) = match address {
        IpAddr::V4(a) => (a.octets().to_vec(), 12),
        IpAddr::V6(a) => (a.octets().to_vec(), 8),
    };
    let width = bytes.len() as u32;
    let at = if matches!(side, Side::Source) { source_at } else { source_at + width };
    let mask: Vec<u8> = (0..width)
        .map(|i| match u32::from(len).saturating_sub(i * 8) {
            0 => 0,
            bits => (0xff00_u16 >> bits.min(8)) as u8,
        })
        .collect();
    let wanted = bytes.iter().zip(&mask).map(|(b, m)| b & m).collect();
    vec![Expression::Payload(PAYLOAD_NETWORK, at, width), Expression::Mask(mask), Expression::Compare(CMP_EQ, wanted)]
}

fn port_range(side: Side, (first, last): (u16, u16)) -> [Expression; 3] {
    let at = if matches!(side, Side::Source) { 0 } else { 2 };
    [
        Expression::Payload(PAYLOAD_TRANSPORT, at, 2),
        Expression::Compare(CMP_GTE, first.to_be_bytes().to_vec()),
        Expression::Compare(CMP_LTE, last.to_be_bytes().to_vec()),
    ]
}

const fn protocol_family(family: Family) -> u8 {
    match family {
        Family::V4 => NFPROTO_IPV4,
        Family::V6 => NFPROTO_IPV6,
    }
}

const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;

/// Messages that the kernel carries out together or not at all.
struct Batch {
    bytes: Vec<u8>,
    sequence: u32,
}

impl Batch {
    fn new() -> Batch {
        Batch { bytes: Vec::new(), sequence: 0 }
    }

    /// Appends a message of nf_tables.
    fn message(&mut self, kind: u16, flags: u16, family: u8, body: impl FnOnce(&mut Attributes<'_>)) {
        self.raw(NFNL_SUBSYS_NFTABLES << 8 | kind, flags, family, 0, body);
    }

    fn raw(&mut self, kind: u16, flags: u16, family: u8, resource: u16, body: impl FnOnce(&mut Attributes<'_>)) {
        let start = self.bytes.len();
        self.sequence += 1;
        self.bytes.extend([0; 4]);
        self.bytes.extend(kind.to_ne_bytes());
        self.bytes.extend(flags.to_ne_bytes());
        self.bytes.extend(self.sequence.to_ne_bytes());
        self.bytes.extend([0; 4]);
        self.bytes.extend([family, 0]);
        self.bytes.extend(resource.to_be_bytes());
        body(&mut Attributes { bytes: &mut self.bytes });
        let len = (self.bytes.len() - start) as u32;
        self.bytes[start..start + 4].copy_from_slice(&len.to_ne_bytes());
    }

    fn table(&mut self, kind: u16, flags: u16, family: u8) {
        self.message(kind, NLM_F_REQUEST | NLM_F_ACK | flags, family, |a| {
            a.text(1, TABLE);
        });
    }

    fn chain(&mut self, family: u8, name: &str, hook: u32) {
        self.message(NFT_MSG_NEWCHAIN, NLM_F_REQUEST | NLM_F_ACK | NLM_F_CREATE, family, |a| {
            a.text(1, TABLE);
            a.text(3, name);
            a.nested(4, |a| {
                a.number(1, hook);
                a.value(2, &PRIORITY_RAW.to_be_bytes());
            });
            a.text(7, "filter");
        });
    }

    fn rule(&mut self, family: u8, chain: &str, expressions: &[Expression]) {
        let flags = NLM_F_REQUEST | NLM_F_ACK | NLM_F_CREATE | NLM_F_APPEND;
        self.message(NFT_MSG_NEWRULE, flags, family, |a| {
            a.text(1, TABLE);
            a.text(2, chain);
            a.nested(4, |a| {
                for expression in expressions {
                    a.nested(1, |a| a.expression(expression));
                }
            });
        });
    }

    /// Sends everything between a beginning and an end, and reads what the kernel says to each.
    fn commit(self) -> io::Result<()> {
        let mut whole = Batch::new();
        whole.raw(NFNL_MSG_BATCH_BEGIN, NLM_F_REQUEST, 0, NFNL_SUBSYS_NFTABLES, |_| {});
        whole.bytes.extend(&self.bytes);
        whole.sequence = self.sequence;
        whole.raw(NFNL_MSG_BATCH_END, NLM_F_REQUEST, 0, NFNL_SUBSYS_NFTABLES, |_| {});
        let socket: Socket = connected(protocols::NETLINK_NETFILTER)?;
        // All acknowledgements come at once.
        socket.set_rx_buf_sz::<libc::c_int>(4 << 20)?;
        send_all(&socket, &whole.bytes)?;
        let mut missing = self.sequence;
        while missing > 0 {
            for message in messages(&receive(&socket)?) {
                if message_type(message) == NLMSG_ERROR {
                    match error_code(message) {
                        Some(0) => missing -= 1,
                        Some(code) => return Err(io::Error::from_raw_os_error(-code)),
                        None => return Err(io::Error::from(io::ErrorKind::InvalidData)),
                    }
                }
            }
        }
        Ok(())
    }
}

/// Attributes at the end of a message.
struct Attributes<'a> {
    bytes: &'a mut Vec<u8>,
}

impl Attributes<'_> {
    fn value(&mut self, kind: u16, value: &[u8]) {
        self.bytes.extend((4 + value.len() as u16).to_ne_bytes());
        self.bytes.extend(kind.to_ne_bytes());
        self.bytes.extend(value);
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }

    fn number(&mut self, kind: u16, value: u32) {
        self.value(kind, &value.to_be_bytes());
    }

    fn text(&mut self, kind: u16, value: &str) {
        self.value(kind, &[value.as_bytes(), &[0]].concat());
    }

    fn nested(&mut self, kind: u16, body: impl FnOnce(&mut Attributes<'_>)) {
        let start = self.bytes.len();
        self.value(kind | NLA_F_NESTED, &[]);
        body(&mut Attributes { bytes: &mut *self.bytes });
        let len = (self.bytes.len() - start) as u16;
        self.bytes[start..start + 2].copy_from_slice(&len.to_ne_bytes());
    }

    fn expression(&mut self, expression: &Expression) {
        match expression {
            Expression::Meta(key) => self.named("meta", |a| {
                a.number(1, REG_1);
                a.number(2, *key);
            }),
            Expression::Payload(base, offset, len) => self.named("payload", |a| {
                a.number(1, REG_1);
                a.number(2, *base);
                a.number(3, *offset);
                a.number(4, *len);
            }),
            Expression::Mask(mask) => self.named("bitwise", |a| {
                a.number(1, REG_1);
                a.number(2, REG_1);
                a.number(3, mask.len() as u32);
                a.nested(4, |a| a.value(1, mask));
                a.nested(5, |a| a.value(1, &vec![0; mask.len()]));
            }),
            Expression::Compare(op, value) => self.named("cmp", |a| {
                a.number(1, REG_1);
                a.number(2, *op);
                a.nested(3, |a| a.value(1, value));
            }),
            Expression::NoTrack => self.named("notrack", |_| {}),
            Expression::Accept => self.named("immediate", |a| {
                a.number(1, REG_VERDICT);
                a.nested(2, |a| a.nested(2, |a| a.number(1, NF_ACCEPT)));
            }),
        }
    }

    fn named(&mut self, name: &str, body: impl FnOnce(&mut Attributes<'_>)) {
        self.text(1, name);
        self.nested(2, body);
    }
}

/// The attributes in `bytes`, without the flags of their kinds.
fn attributes(bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    let mut rest = bytes;
    std::iter::from_fn(move || {
        let len = usize::from(u16::from_ne_bytes(rest.get(..2)?.try_into().ok()?));
        let kind = u16::from_ne_bytes(rest.get(2..4)?.try_into().ok()?) & 0x3fff;
        let value = rest.get(4..len)?;
        rest = rest.get(len.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, value))
    })
}

fn text(value: &[u8]) -> String {
    String::from_utf8_lossy(value.strip_suffix(&[0]).unwrap_or(value)).into_owned()
}

fn message_type(message: &[u8]) -> u16 {
    u16::from_ne_bytes([message[4], message[5]])
}

fn error_code(message: &[u8]) -> Option<i32> {
    Some(i32::from_ne_bytes(message.get(16..20)?.try_into().ok()?))
}
