//! The kernel's switches (sysctl) that steering needs.

use std::collections::BTreeMap;
use std::io;

use super::Family;
use super::Use;
use super::journal::{Journal, read_sysctl, write_sysctl};
use super::routes::Link;

/// What [`set`] did.
#[derive(Debug, Default)]
pub(super) struct Switched {
    /// The switches that are needed.
    pub(super) keys: Vec<String>,
    /// The interfaces that forward only for our sake.
    pub(super) no_router: Vec<String>,
    pub(super) notes: Vec<String>,
}

/// Prepares the TUN device: it forwards, and takes packets with this machine's own source addresses.
pub(super) fn prepare_tun(tun: &str) -> io::Result<()> {
    let v4 = |key: &str, value| write_sysctl(&format!("net/ipv4/conf/{tun}/{key}"), value);
    v4("forwarding", "1")?;
    v4("accept_local", "1")?;
    // Loose: what comes out of the device may have any source to which there is a way.
    v4("rp_filter", "2")?;
    quiet_tun(tun)
}

/// Keeps the kernel from sending packets of its own through the device.
pub(super) fn quiet_tun(tun: &str) -> io::Result<()> {
    if read_sysctl(&format!("net/ipv6/conf/{tun}/forwarding")).is_err() {
        return Ok(());
    }
    let v6 = |key: &str, value| write_sysctl(&format!("net/ipv6/conf/{tun}/{key}"), value);
    // As a router it is in groups for routers, and would tell of joining and leaving them in packets that no filter
    // names. In the first version of that protocol, who never told of joining says nothing on leaving.
    v6("force_mld_version", "1")?;
    v6("forwarding", "0")?;
    v6("addr_gen_mode", "1")?;
    v6("accept_ra", "0")
}

/// The interfaces that drop what comes in by another way than the answer would go out.
pub(super) fn strict_interfaces(links: &BTreeMap<u32, Link>, tun: &str) -> Vec<String> {
    let value = |name: &str| {
        read_sysctl(&format!("net/ipv4/conf/{name}/rp_filter")).ok().and_then(|v| v.parse::<u8>().ok()).unwrap_or(0)
    };
    // The greater of both values counts: 0 no check, 1 strict, 2 loose.
    let all = value("all");
    let strict = |link: &&Link| link.up && link.name != tun && link.name != "lo" && value(&link.name).max(all) == 1;
    links.values().filter(strict).map(|link| link.name.clone()).collect()
}

/// Sets what one family needs for `use_`, each after it was written down.
pub(super) fn set(
    journal: &mut Journal,
    family: Family,
    tun: &str,
    links: &BTreeMap<u32, Link>,
    use_: &Use,
) -> io::Result<Switched> {
    let mut switched = Switched::default();
    if !use_.inbound.is_empty() {
        // A socket that early demultiplexing has attached to a packet keeps it from being forwarded.
        for (protocol, key) in [(6, "net/ipv4/tcp_early_demux"), (17, "net/ipv4/udp_early_demux")] {
            if use_.inbound.iter().any(|m| m.protocol.is_none_or(|p| p == protocol)) {
                switched.set(journal, key, "0")?;
            }
        }
    }
    let real = |link: &&Link| link.name != "lo" && link.name != tun && link.up;
    let names: Vec<&str> = links.values().filter(real).map(|link| link.name.as_str()).collect();
    match family {
        Family::V4 => {
            if !use_.inbound.is_empty() {
                switched.forward_each(journal, "net/ipv4/conf", "forwarding", &names)?;
            }
        }
        Family::V6 => switched.forward_v6(journal, tun, &names, use_)?,
    }
    Ok(switched)
}

impl Switched {
    fn set(&mut self, journal: &mut Journal, key: &str, value: &str) -> io::Result<()> {
        journal.set(key, value)?;
        self.keys.push(key.to_owned());
        Ok(())
    }

    /// Lets each interface hand packets over to the TUN device. Those that did not forward before stay closed by a rule.
    fn forward_each(&mut self, journal: &mut Journal, root: &str, key: &str, names: &[&str]) -> io::Result<()> {
        for name in names {
            let key = format!("{root}/{name}/{key}");
            let ours = journal.settings.iter().any(|s| s.key == key);
            if ours || read_sysctl(&key)? == "0" {
                self.set(journal, &key, "1")?;
                self.no_router.push((*name).to_owned());
            }
        }
        Ok(())
    }

    fn forward_v6(&mut self, journal: &mut Journal, tun: &str, names: &[&str], use_: &Use) -> io::Result<()> {
        let all = "net/ipv6/conf/all/forwarding";
        let ours = journal.settings.iter().any(|s| s.key == all);
        if use_.own.is_empty() && use_.inbound.is_empty() || (!ours && read_sysctl(all)? != "0") {
            return Ok(());
        }
        let force = format!("net/ipv6/conf/{tun}/force_forwarding");
        if read_sysctl(&force).is_ok() {
            // Since Linux 6.17 an interface can forward without making the machine a router.
            write_sysctl(&force, "1")?;
            if !use_.inbound.is_empty() {
                self.forward_each(journal, "net/ipv6/conf", "force_forwarding", names)?;
            }
            return Ok(());
        }
        self.make_v6_router(journal, names)
    }

    /// Before Linux 6.17 the whole machine must forward. That it goes on to learn its default route from routers must
    /// then be said for each interface, before it would be forgotten.
    fn make_v6_router(&mut self, journal: &mut Journal, names: &[&str]) -> io::Result<()> {
        for name in names {
            let key = format!("net/ipv6/conf/{name}/accept_ra");
            if read_sysctl(&key)? == "1" || journal.settings.iter().any(|s| s.key == key) {
                self.set(journal, &key, "2")?;
            }
        }
        self.set(journal, "net/ipv6/conf/all/forwarding", "1")?;
        self.no_router.extend(names.iter().map(|name| (*name).to_owned()));
        self.notes.push(
            "IPv6 forwarding is on while this machine's own IPv6 traffic is steered (before Linux 6.17 there is no \
             other way); a policy rule keeps it from being a router"
                .to_owned(),
        );
        Ok(())
    }
}
