//! Linux: TUN driver, policy rules, and the settings that decide whether steered packets survive (docs/steering.md).

use std::fs;

use netlink_packet_core::{NLM_F_DUMP, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage, NetlinkPayload};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::rule::RuleMessage;
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};

use super::{Finding, State};
use crate::tun::{Tun, TunError, TunOptions};

/// Bit of CAP_NET_ADMIN (linux/capability.h).
const NET_ADMIN: u32 = 12;
/// Bit of CAP_NET_RAW (linux/capability.h).
const NET_RAW: u32 = 13;

pub(super) fn examine() -> Vec<Finding> {
    let tun = Tun::open(&TunOptions::default());
    let device = tun_device(&tun);
    let mut findings = vec![kernel(), rights(), device, offload(tun.as_ref().ok()), policy_routing()];
    drop(tun);
    findings.extend([forwarding("ipv4-forwarding", "/proc/sys/net/ipv4/ip_forward", "net.ipv4.ip_forward")]);
    findings.extend([forwarding(
        "ipv6-forwarding",
        "/proc/sys/net/ipv6/conf/all/forwarding",
        "net.ipv6.conf.all.forwarding",
    )]);
    findings.extend([reverse_path(), early_demux(), user_namespaces()]);
    findings
}

fn read(path: &str) -> Option<String> {
    fs::read_to_string(path).ok().map(|text| text.trim().to_owned())
}

fn kernel() -> Finding {
    let release = read("/proc/sys/kernel/osrelease").unwrap_or_else(|| "unknown".to_owned());
    let meaning = "from 6.2 on also large UDP packets pass whole; from 4.17 on rules can name ports";
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map_while(|part| part.parse::<u32>().ok());
    match (numbers.next(), numbers.next()) {
        (Some(major), Some(minor)) if (major, minor) >= (6, 2) => Finding::ok("kernel", release, meaning),
        (Some(major), Some(minor)) if (major, minor) >= (4, 17) => Finding::not_ok(
            "kernel",
            State::Warn,
            release,
            meaning,
            "a newer kernel makes bulk UDP several times faster",
        ),
        _ => Finding::not_ok("kernel", State::Missing, release, meaning, "steering needs Linux 4.17 or newer"),
    }
}

fn rights() -> Finding {
    let meaning = "TUN devices and policy rules (CAP_NET_ADMIN), capture interfaces (CAP_NET_RAW)";
    let remedy = "run as root, or: setcap cap_net_admin,cap_net_raw+ep $(command -v netserv)";
    let status = read("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    let bits = line.and_then(|line| u64::from_str_radix(line.trim(), 16).ok()).unwrap_or(0);
    let has = |bit: u32| bits >> bit & 1 == 1;
    match (has(NET_ADMIN), has(NET_RAW)) {
        (true, true) => Finding::ok("rights", "CAP_NET_ADMIN and CAP_NET_RAW", meaning),
        (true, false) => Finding::not_ok("rights", State::Warn, "no CAP_NET_RAW", meaning, remedy),
        (false, _) => Finding::not_ok("rights", State::Missing, "no CAP_NET_ADMIN", meaning, remedy),
    }
}

fn tun_device(tun: &Result<Tun, TunError>) -> Finding {
    let meaning = "links tun and tun:NAME";
    match tun {
        Ok(_) => Finding::ok("tun-device", "one can be made", meaning),
        Err(e) => {
            let remedy = "modprobe tun; chmod 666 /dev/net/tun lets users with rights in their own namespace use it";
            Finding::not_ok("tun-device", State::Missing, e.to_string(), meaning, remedy)
        }
    }
}

fn offload(tun: Option<&Tun>) -> Finding {
    let meaning = "packets of up to 64 KiB pass whole: TCP is several times faster";
    match tun {
        Some(tun) if tun.has_header() && tun.set_offload(true).is_ok() => {
            Finding::ok("tun-offload", "the kernel hands over super-packets", meaning)
        }
        Some(_) => {
            let remedy = "a newer kernel; the node works without it";
            Finding::not_ok("tun-offload", State::Warn, "the kernel refuses the offload header", meaning, remedy)
        }
        None => {
            let remedy = "see tun-device";
            Finding::not_ok("tun-offload", State::Missing, "cannot be tried without a TUN device", meaning, remedy)
        }
    }
}

/// Whether the kernel knows policy rules, by asking for the list of them.
fn policy_routing() -> Finding {
    let meaning = "handing the chosen traffic to a TUN link";
    match count_rules() {
        Ok(count) => Finding::ok("policy-routing", format!("{count} rules"), meaning),
        Err(e) => {
            let remedy = "a kernel with CONFIG_IP_MULTIPLE_TABLES";
            Finding::not_ok("policy-routing", State::Missing, format!("no policy rules: {e}"), meaning, remedy)
        }
    }
}

fn count_rules() -> std::io::Result<usize> {
    let socket = Socket::new(NETLINK_ROUTE)?;
    socket.connect(&SocketAddr::new(0, 0))?;
    let mut header = NetlinkHeader::default();
    header.flags = NLM_F_REQUEST | NLM_F_DUMP;
    let mut rule = RuleMessage::default();
    rule.header.family = netlink_packet_route::AddressFamily::Inet;
    let mut message = NetlinkMessage::new(header, NetlinkPayload::from(RouteNetlinkMessage::GetRule(rule)));
    message.finalize();
    let mut request = vec![0; message.buffer_len()];
    message.serialize(&mut request);
    socket.send(&request, 0)?;
    let mut count = 0;
    loop {
        let mut answer = Vec::with_capacity(1 << 16);
        socket.recv(&mut answer, 0)?;
        let mut rest = &answer[..];
        while !rest.is_empty() {
            let message = NetlinkMessage::<RouteNetlinkMessage>::deserialize(rest).map_err(std::io::Error::other)?;
            if let NetlinkPayload::Done(_) = &message.payload {
                return Ok(count);
            }
            if let NetlinkPayload::Error(e) = &message.payload {
                return Err(e.to_io());
            }
            count += usize::from(matches!(&message.payload, NetlinkPayload::InnerMessage(_)));
            let length = (message.header.length as usize).next_multiple_of(4);
            rest = rest.get(length.max(16)..).unwrap_or(&[]);
        }
    }
}

fn forwarding(name: &'static str, path: &str, setting: &'static str) -> Finding {
    let meaning = "passing on traffic of other machines; not needed for this machine's own traffic";
    match read(path).as_deref() {
        Some("0") => Finding::not_ok(
            name,
            State::Warn,
            format!("{setting} = 0"),
            meaning,
            format!("sysctl -w {setting}=1, if this is a router"),
        ),
        Some(value) => Finding::ok(name, format!("{setting} = {value}"), meaning),
        None => {
            Finding::not_ok(name, State::Warn, format!("there is no {setting}"), meaning, "a kernel with this protocol")
        }
    }
}

fn reverse_path() -> Finding {
    let meaning = "where reverse paths are checked strictly, the node steers the answers of what it captures as well";
    let value = read("/proc/sys/net/ipv4/conf/all/rp_filter").unwrap_or_else(|| "unknown".to_owned());
    Finding::ok("reverse-path-filter", format!("net.ipv4.conf.all.rp_filter = {value}"), meaning)
}

fn early_demux() -> Finding {
    let meaning = "must be off to capture traffic to this machine itself (steering.to_self); the node switches it then";
    let value = read("/proc/sys/net/ipv4/ip_early_demux").unwrap_or_else(|| "unknown".to_owned());
    Finding::ok("early-demux", format!("net.ipv4.ip_early_demux = {value}"), meaning)
}

fn user_namespaces() -> Finding {
    let meaning = "trying a node as an ordinary user in a network of one's own";
    let max = read("/proc/sys/user/max_user_namespaces").and_then(|text| text.parse::<u64>().ok()).unwrap_or(0);
    let is_barred = read("/proc/sys/kernel/unprivileged_userns_clone").as_deref() == Some("0")
        || read("/proc/sys/kernel/apparmor_restrict_unprivileged_userns").as_deref() == Some("1");
    match (max, is_barred) {
        (0, _) => {
            let remedy = "sysctl -w user.max_user_namespaces=15000";
            Finding::not_ok("user-namespaces", State::Warn, "none are allowed", meaning, remedy)
        }
        (_, true) => {
            let remedy =
                "sysctl -w kernel.unprivileged_userns_clone=1, or kernel.apparmor_restrict_unprivileged_userns=0";
            Finding::not_ok("user-namespaces", State::Warn, "only root may make them", meaning, remedy)
        }
        (max, false) => Finding::ok("user-namespaces", format!("up to {max}"), meaning),
    }
}
