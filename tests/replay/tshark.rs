//! Asks tshark about a capture, and reads its answer.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::Path;
use std::process::Command;

/// What is compared.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Said {
    /// By name, see [`PROTOCOLS`].
    pub(crate) protocols: BTreeMap<String, Counts>,
    /// All pairs of addresses.
    pub(crate) conversations: BTreeMap<Pair, Counts>,
}

impl Said {
    /// Adds what was said of another capture.
    pub(crate) fn add(&mut self, other: Said) {
        for (name, counts) in other.protocols {
            self.protocols.entry(name).or_default().add(counts);
        }
        for (pair, counts) in other.conversations {
            self.conversations.entry(pair).or_default().add(counts);
        }
    }
}

/// Frames, and their bytes on the wire with the link header.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) frames: u64,
    pub(crate) bytes: u64,
}

impl Counts {
    fn add(&mut self, other: Counts) {
        self.frames += other.frames;
        self.bytes += other.bytes;
    }
}

/// Two addresses, the smaller one first.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Pair(pub(crate) IpAddr, pub(crate) IpAddr);

impl Pair {
    pub(crate) fn new(a: &str, b: &str) -> Pair {
        let (a, b): (IpAddr, IpAddr) = (a.parse().unwrap(), b.parse().unwrap());
        Pair(a.min(b), a.max(b))
    }
}

/// The protocols that both sides name alike.
pub(crate) const PROTOCOLS: &[&str] = &["ip", "ipv6", "tcp", "udp", "icmp", "icmpv6", "sctp"];

/// Fragments are counted where they are, not where their datagram is complete.
const OPTIONS: &[&str] = &["-n", "-o", "ip.defragment:FALSE", "-o", "ipv6.defragment:FALSE"];

pub(crate) fn is_installed() -> bool {
    Command::new("tshark").arg("--version").output().is_ok_and(|o| o.status.success())
}

fn tshark(path: &Path, arguments: &[&str]) -> String {
    let output = Command::new("tshark").arg("-r").arg(path).args(OPTIONS).args(arguments).output().unwrap();
    assert!(output.status.success(), "tshark: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// What tshark says of a capture.
pub(crate) fn ask(path: &Path) -> Said {
    let text = tshark(path, &["-q", "-z", "conv,ip", "-z", "conv,ipv6", "-z", "io,phs"]);
    let protocols = hierarchy(&text);
    let rounded = conversations(&text);
    // The table rounds large numbers; the bytes themselves are summed up from the frames.
    let Sums { all, in_table } = sums(path);
    assert_eq!(rounded.keys().collect::<Vec<_>>(), in_table.keys().collect::<Vec<_>>());
    for (pair, said) in &rounded {
        let counts = in_table[pair];
        assert_eq!(said.frames, counts.frames, "{pair:?}");
        assert_eq!(said.bytes, counts.bytes / said.unit * said.unit, "{pair:?}");
    }
    Said { protocols, conversations: all }
}

/// A line of a table of conversations.
struct Rounded {
    frames: u64,
    bytes: u64,
    /// 1, or 1,000 for kB, or 1,000,000 for MB.
    unit: u64,
}

/// Reads lines like `192.0.2.1 <-> 192.0.2.2 59 4220 bytes 108 138 kB 167 142 kB 0.000000000 0.0023`.
fn conversations(text: &str) -> BTreeMap<Pair, Rounded> {
    let mut found = BTreeMap::new();
    for line in text.lines().filter(|line| line.contains("<->")) {
        let words: Vec<&str> = line.split_whitespace().collect();
        let [a, _, b, .., frames, bytes, unit, _, _] = words[..] else { panic!("no conversation: {line}") };
        let unit = match unit {
            "bytes" => 1,
            "kB" => 1_000,
            "MB" => 1_000_000,
            other => panic!("unit {other} in: {line}"),
        };
        let number = |text: &str| text.replace(',', "").parse::<u64>().unwrap();
        let counts = Rounded { frames: number(frames), bytes: number(bytes) * unit, unit };
        assert!(found.insert(Pair::new(a, b), counts).is_none(), "twice: {line}");
    }
    found
}

/// Reads the tree of protocols: lines like `    udp          frames:8 bytes:826`, indented by two per level.
fn hierarchy(text: &str) -> BTreeMap<String, Counts> {
    let mut found: BTreeMap<String, Counts> = BTreeMap::new();
    let mut path: Vec<&str> = Vec::new();
    for line in text.lines().filter(|line| line.contains("frames:") && line.contains("bytes:")) {
        let name = line.split_whitespace().next().unwrap();
        path.truncate((line.len() - line.trim_start().len()) / 2);
        let is_ip = |name: &&str| matches!(*name, "ip" | "ipv6");
        let within = path.iter().filter(|name| is_ip(name)).count();
        // Packets within packets (in ICMP errors, in tunnels) are not counted again.
        let counts = match within {
            0 => is_ip(&name),
            1 => path.last().is_some_and(is_ip) && PROTOCOLS.contains(&name) && !is_ip(&name),
            _ => false,
        };
        path.push(name);
        if !counts {
            continue;
        }
        let number = |key: &str| {
            let word = line.split_whitespace().find_map(|word| word.strip_prefix(key));
            word.unwrap_or_else(|| panic!("no {key} in: {line}")).parse::<u64>().unwrap()
        };
        let sum = found.entry(name.to_owned()).or_default();
        sum.frames += number("frames:");
        sum.bytes += number("bytes:");
    }
    found
}

/// Frames of each pair of (outer) addresses.
#[derive(Default)]
struct Sums {
    all: BTreeMap<Pair, Counts>,
    /// Those that the table of conversations shows: it leaves out later fragments of IPv6, and only of IPv6.
    in_table: BTreeMap<Pair, Counts>,
}

fn sums(path: &Path) -> Sums {
    let fields = ["ip.src", "ip.dst", "ipv6.src", "ipv6.dst", "ipv6.fraghdr.offset", "frame.len"];
    let mut arguments = vec!["-T", "fields", "-E", "occurrence=f", "-E", "separator=;"];
    arguments.extend(fields.iter().flat_map(|f| ["-e", f]));
    let text = tshark(path, &arguments);
    let mut found = Sums::default();
    for line in text.lines() {
        let words: Vec<&str> = line.split(';').collect();
        let [a4, b4, a6, b6, offset, len] = words[..] else { panic!("six fields, not: {line}") };
        let pair = match (a4.is_empty(), a6.is_empty()) {
            (false, _) => Pair::new(a4, b4),
            (true, false) => Pair::new(a6, b6),
            (true, true) => continue,
        };
        let shown = matches!(offset, "" | "0");
        for (sums, counts) in [(&mut found.all, true), (&mut found.in_table, shown)] {
            if counts {
                let sum = sums.entry(pair.clone()).or_default();
                sum.frames += 1;
                sum.bytes += len.parse::<u64>().unwrap();
            }
        }
    }
    found
}

/// How many packets of a capture have a wrong checksum.
pub(crate) fn bad_checksums(capture: &[u8]) -> usize {
    let path = std::env::temp_dir().join(format!("netserv-replay-{}.pcap", std::process::id()));
    std::fs::write(&path, capture).unwrap();
    let wrong = "ip.checksum.status==0 || udp.checksum.status==0 || tcp.checksum.status==0 || icmp.checksum.status==0";
    let checks = ["ip.check_checksum:TRUE", "udp.check_checksum:TRUE", "tcp.check_checksum:TRUE"];
    let mut arguments = vec!["-Y", wrong];
    arguments.extend(checks.iter().flat_map(|c| ["-o", c]));
    let text = tshark(&path, &arguments);
    std::fs::remove_file(&path).unwrap();
    text.lines().count()
}

#[test]
fn reads_the_tables_of_tshark() {
    let text = "
eth                                      frames:9 bytes:90
  ip                                     frames:4 bytes:40
    icmp                                 frames:3 bytes:30
      ip                                 frames:3 bytes:30
        udp                              frames:3 bytes:30
    udp                                  frames:1 bytes:10
  vlan                                   frames:5 bytes:50
    ip                                   frames:5 bytes:50
      udp                                frames:5 bytes:50
192.0.2.1            <-> 192.0.2.2                 59 4220 bytes     108 138 kB        167 142 kB        0.000000000         0.0023
";
    let said = hierarchy(text);
    let counts = |frames, bytes| Counts { frames, bytes };
    assert_eq!((said["ip"], said["icmp"], said["udp"]), (counts(9, 90), counts(3, 30), counts(6, 60)));
    let table = conversations(text);
    let line = &table[&Pair::new("192.0.2.2", "192.0.2.1")];
    assert_eq!((line.frames, line.bytes, line.unit), (167, 142_000, 1_000));
}
