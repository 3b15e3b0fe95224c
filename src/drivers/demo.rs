//! `netserv demo`: a conversation made in memory goes through two modules, and what came out is shown. Needs no rights
//! and no network, and prints the same each time.

mod traffic;

use std::collections::BTreeMap;
use std::io::{self, Write};

use serde::Serialize;
use serde_json::Value;

use crate::base::filter::{address_of, protocol_name};
use crate::container::module::{Module, ModuleError};
use crate::container::source::ModuleSource;
use crate::drivers::replay::reader::{CaptureError, CaptureReader};
use crate::drivers::replay::report::Report;
use crate::drivers::replay::{Capture, ModuleOrder, Options, ReplayError, run as replay};
use crate::wire::frame::{self, FrameContent};
use crate::wire::header::Header;

/// Why a demonstration failed.
#[derive(Debug, thiserror::Error)]
pub enum DemoError {
    /// Its output cannot be written.
    #[error("the output cannot be written")]
    Write(#[from] io::Error),
    /// A module that is part of the program is wrong: a mistake in netserv.
    #[error("the built-in module \"{name}\" is wrong")]
    Module {
        /// Its name.
        name: &'static str,
        /// Why.
        #[source]
        source: ModuleError,
    },
    /// The replay failed: a mistake in netserv.
    #[error("the replay failed")]
    Replay(#[from] ReplayError),
    /// What was written cannot be read: a mistake in netserv.
    #[error("the capture cannot be read back")]
    Capture(#[from] CaptureError),
}

/// A packet before and after.
#[derive(Debug, Serialize)]
struct Passed {
    /// Since the first packet, in ns.
    at_ns: u64,
    protocol: String,
    from: String,
    to: String,
    /// Payload that came in, as text; what cannot be printed is a dot.
    payload_in: String,
    /// Payload that went out.
    payload_out: String,
    changed: bool,
}

#[derive(Serialize)]
struct Shown<'a> {
    packets: &'a [Passed],
    report: &'a Report,
}

macro_rules! embedded {
    ($name:literal, $($file:literal),+) => {
        ($name, &[$(($file, include_str!(concat!("../../modules/", $name, "/", $file)))),+])
    };
}

/// A module's name, and its files: path and text.
type Embedded = (&'static str, &'static [(&'static str, &'static str)]);

/// The modules, as they lie in the repository; without their tests.
const MODULES: &[Embedded] = &[
    embedded!(
        "monitor",
        "alerts.luau",
        "bounded.luau",
        "dns.luau",
        "html.luau",
        "init.luau",
        "machine.luau",
        "module.toml",
        "names.luau",
        "page.luau",
        "tls.luau",
        "traffic.luau"
    ),
    embedded!("uppercase", "module.toml", "init.luau"),
];

/// Runs the demonstration and writes what it shows.
///
/// # Errors
///
/// When `out` cannot be written; all else would be a mistake in netserv.
pub fn run(out: &mut dyn Write, json: bool) -> Result<(), DemoError> {
    let before = traffic::capture()?;
    let mut after = Vec::new();
    let orders = MODULES.iter().map(|(name, files)| order(name, files)).collect::<Result<Vec<_>, _>>()?;
    let options = Options { out: Some(&mut after), ..Options::default() };
    let report = replay([Capture::reader("made in memory", &before[..])], orders, options)?;
    let packets = pairs(&before, &after)?;
    if json {
        let shown = Shown { packets: &packets, report: &report };
        serde_json::to_writer_pretty(&mut *out, &shown).map_err(io::Error::from)?;
        writeln!(out)?;
    } else {
        write_packets(out, &packets)?;
        write_summary(out, &packets, &report)?;
    }
    Ok(())
}

fn order(name: &'static str, files: &[(&str, &str)]) -> Result<ModuleOrder, DemoError> {
    let files: BTreeMap<_, _> =
        files.iter().map(|(path, text)| ((*path).to_owned(), text.as_bytes().to_vec())).collect();
    let module = Module::check(ModuleSource { files }).map_err(|source| DemoError::Module { name, source })?;
    Ok(ModuleOrder { module, name: None, properties: toml::Table::new() })
}

/// Both captures side by side. Neither module drops or adds packets.
fn pairs(before: &[u8], after: &[u8]) -> Result<Vec<Passed>, DemoError> {
    let (mut before, mut after) = (CaptureReader::new(before)?, CaptureReader::new(after)?);
    let mut packets = Vec::new();
    let mut first_ns = None;
    while let (Some(came), Some(went)) = (before.next_frame()?, after.next_frame()?) {
        let FrameContent::Ip { at } = frame::find_ip(came.link_type, came.bytes) else { continue };
        let Ok(header) = Header::parse(&came.bytes[at..], false) else { continue };
        let end = |bits, port: Option<u16>| match port {
            Some(port) => std::net::SocketAddr::new(address_of(bits, header.ip_version), port).to_string(),
            None => address_of(bits, header.ip_version).to_string(),
        };
        packets.push(Passed {
            at_ns: came.time_ns - *first_ns.get_or_insert(came.time_ns),
            protocol: protocol_name(header.protocol),
            from: end(header.source, header.ports.map(|p| p.0)),
            to: end(header.destination, header.ports.map(|p| p.1)),
            payload_in: printable(header.payload(&came.bytes[at..])),
            payload_out: printable(went.bytes.get(at..).map_or(&[][..], |packet| header.payload(packet))),
            changed: came.bytes != went.bytes,
        });
    }
    Ok(packets)
}

fn printable(bytes: &[u8]) -> String {
    bytes.iter().map(|b| if b.is_ascii_graphic() || *b == b' ' { char::from(*b) } else { '.' }).collect()
}

fn write_packets(out: &mut dyn Write, packets: &[Passed]) -> io::Result<()> {
    writeln!(out, "A conversation made in memory goes through the modules monitor and uppercase.\n")?;
    writeln!(out, "      ms  packet")?;
    for packet in packets {
        let Passed { protocol, from, to, .. } = packet;
        let ms = packet.at_ns as f64 / 1e6;
        writeln!(out, "{ms:8.1}  {protocol} {from} > {to}, {} bytes", packet.payload_in.len())?;
        if packet.changed {
            let (from, to) = window(&packet.payload_in, &packet.payload_out);
            let (came, went) = (&packet.payload_in[from..to], &packet.payload_out[from..to]);
            let marks: String = came.bytes().zip(went.bytes()).map(|(a, b)| if a == b { ' ' } else { '^' }).collect();
            writeln!(out, "            in   {came}")?;
            writeln!(out, "            out  {went}")?;
            writeln!(out, "                 {}", marks.trim_end())?;
        } else if !packet.payload_in.is_empty() {
            let cut = packet.payload_in.len().min(LINE_CHARS);
            writeln!(out, "            same {}", &packet.payload_in[..cut])?;
        }
    }
    Ok(())
}

/// The part of a payload to show: a line that begins some way before the first change.
fn window(came: &str, went: &str) -> (usize, usize) {
    let len = came.len().min(went.len());
    let first = came.bytes().zip(went.bytes()).position(|(a, b)| a != b).unwrap_or(0);
    let from = if first + LINE_CHARS / 2 < LINE_CHARS { 0 } else { first - LINE_CHARS / 4 };
    (from, len.min(from + LINE_CHARS))
}

fn write_summary(out: &mut dyn Write, packets: &[Passed], report: &Report) -> io::Result<()> {
    for module in &report.modules {
        writeln!(out, "\n{} {} ({})", module.module, module.version, module.state)?;
        match &module.report {
            Some(value) => write_monitored(out, value)?,
            None => {
                for (name, count) in &module.counters {
                    writeln!(out, "  {name}: {count}")?;
                }
            }
        }
    }
    let changed = packets.iter().filter(|p| p.changed).count();
    let t = &report.totals;
    writeln!(
        out,
        "\n{} packets came in, {} went out, {changed} of them changed, {} dropped.",
        t.ip, t.passed, t.dropped
    )
}

/// The parts of the report of `monitor` that fit on a page.
fn write_monitored(out: &mut dyn Write, report: &Value) -> io::Result<()> {
    let list = |key: &str| report[key].as_array().map_or(&[][..], Vec::as_slice);
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let totals = &report["totals"];
    writeln!(out, "  {} packets, {} bytes, {} flows", totals["packets"], totals["bytes"], totals["flows"])?;
    for (name, counts) in report["protocols"].as_object().into_iter().flatten() {
        writeln!(out, "    {name:<6} {:>4} packets {:>6} bytes", text(&counts["packets"]), text(&counts["bytes"]))?;
    }
    writeln!(out, "  conversations")?;
    for c in list("conversations") {
        let (a, b) = (text(&c["a"]), text(&c["b"]));
        writeln!(out, "    {a} and {b}: {} packets, {} bytes", c["packets"], c["bytes"])?;
    }
    for (key, what) in [("dns", "names asked for by DNS"), ("tls", "names in TLS handshakes")] {
        let names: Vec<String> = list(key).iter().map(|entry| text(&entry["name"])).collect();
        writeln!(out, "  {what}: {}", names.join(", "))?;
    }
    Ok(())
}

/// Characters of a payload that are shown.
const LINE_CHARS: usize = 80;

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn shown(json: bool) -> String {
        let mut out = Vec::new();
        run(&mut out, json).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn shows_what_uppercase_changed_and_what_monitor_saw() {
        let text = shown(false);
        for want in
            ["GET /NETSERV.html HTTP/1.1", "NETSERV over IPv6", "www.example.org", "shop.example.net", "^^^^^^^"]
        {
            assert!(text.contains(want), "{want} is not in:\n{text}");
        }
        assert!(!text.contains("fault"), "{text}");
        assert_eq!(text, shown(false));
    }

    #[test]
    fn says_the_same_as_json() {
        let value: Value = serde_json::from_str(&shown(true)).unwrap();
        let packets = value["packets"].as_array().unwrap();
        let changed: Vec<_> = packets.iter().filter(|p| p["changed"] == true).collect();
        assert_eq!((packets.len(), changed.len()), (28, 6));
        for packet in changed {
            let (came, went) = (packet["payload_in"].as_str().unwrap(), packet["payload_out"].as_str().unwrap());
            assert_eq!(came.replace("netserv", "NETSERV"), went);
        }
        assert_eq!(value["report"]["totals"]["passed"], 28);
    }

    #[test]
    fn shows_what_monitor_reports() {
        let text = shown(false);
        let summary = &text[text.find("monitor 1").unwrap()..];
        for want in
            ["28 packets", "ipv6", "192.0.2.10 and 198.51.100.20: 22 packets", "in tls handshakes: shop.example.net"]
        {
            let found = summary.to_lowercase().contains(want);
            assert!(found && !summary.contains("null"), "{want} is not in:\n{summary}");
        }
    }

    #[test]
    fn all_files_of_the_modules_are_built_in() {
        for (name, files) in MODULES {
            let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("modules").join(name);
            let built_in: Vec<_> = files.iter().map(|(path, _)| *path).collect();
            for entry in std::fs::read_dir(folder).unwrap() {
                let file = entry.unwrap().file_name().into_string().unwrap();
                let needed = file.ends_with(".luau") || file.ends_with(".toml");
                assert!(!needed || built_in.contains(&file.as_str()), "{name}/{file} is not built in");
            }
        }
    }

    #[test]
    fn the_conversation_is_one_that_others_understand() {
        let capture = traffic::capture().unwrap();
        let mut reader = CaptureReader::new(&capture[..]).unwrap();
        while let Some(found) = reader.next_frame().unwrap() {
            assert!(Header::parse(&found.bytes[14..], false).is_ok());
        }
    }
}
