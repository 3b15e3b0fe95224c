//! An interface by the packet capture library: whole frames are read from it and sent on it.

use std::path::Path;

use pcap::{Active, Capture, Direction};

use crate::tun::is_interface_name;

#[cfg(target_os = "linux")]
pub mod offloads;

/// Longest frame, in bytes: the longest IP packet with an Ethernet header and two VLAN tags.
pub const FRAME_BYTES_MAX: usize = 65_535 + 14 + 8;
/// Room for frames that wait for the node, in bytes.
const BUFFER_BYTES: i32 = 8 << 20;

/// Link type of Ethernet (`DLT_EN10MB`).
pub const LINK_TYPE_ETHERNET: i32 = 1;
/// Link types of frames that are bare IP packets, as systems number them (`DLT_RAW`), and `LINKTYPE_RAW`.
pub const LINK_TYPES_RAW: &[i32] = &[12, 14, 101];

/// What an interface is opened for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PortMode {
    /// One of two interfaces that the node joins: only what comes in from outside is read.
    Inline,
    /// To look at what goes in and out, and to inject.
    Tap,
}

/// Why an interface cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CaptureError {
    /// There is no library.
    #[error("{remedy}")]
    NoLibrary {
        /// What to install.
        remedy: String,
    },
    /// There is no such interface.
    #[error("there is no interface \"{interface}\"; there are: {existing}")]
    NoInterface {
        /// What was asked for.
        interface: String,
        /// Those that exist.
        existing: String,
    },
    /// The interface carries something else than Ethernet or IP.
    #[error("interface \"{interface}\" has link type {link_type}, which is neither Ethernet (1) nor bare IP")]
    LinkType {
        /// The interface.
        interface: String,
        /// Its number.
        link_type: i32,
    },
    /// The interface is a port of a kernel bridge.
    #[error(
        "interface \"{interface}\" is a port of a bridge, which would pass each frame a second time; take it out: \
             ip link set {interface} nomaster"
    )]
    BridgePort {
        /// The interface.
        interface: String,
    },
    /// The library or the kernel refused.
    #[error("cannot {action} interface \"{interface}\": {source}; it takes root or CAP_NET_RAW, and the interface up")]
    Refused {
        /// The interface.
        interface: String,
        /// What was tried.
        action: &'static str,
        /// What the library said.
        source: pcap::Error,
    },
}

/// A frame was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameRead {
    /// Bytes put into the buffer.
    pub len: usize,
    /// Bytes that the frame had on the wire; more than `len` if it was cut.
    pub wire_bytes: u32,
}

/// An open interface.
pub struct Port {
    capture: Capture<Active>,
    interface: String,
    link_type: i32,
}

impl Port {
    /// Opens `interface`: non-blocking, promiscuous, each frame at once.
    ///
    /// # Errors
    ///
    /// What is missing, and what to do.
    pub fn open(interface: &str, mode: PortMode) -> Result<Port, CaptureError> {
        libpcap::available().map_err(|remedy| CaptureError::NoLibrary { remedy })?;
        check_interface(interface, mode)?;
        let refused = |action| {
            let interface = interface.to_owned();
            move |source| CaptureError::Refused { interface, action, source }
        };
        let capture = Capture::from_device(interface).map_err(refused("open"))?;
        // Without immediate mode frames wait up to a millisecond for company.
        let capture = capture.immediate_mode(true).promisc(true).snaplen(FRAME_BYTES_MAX as i32).timeout(1);
        let capture = capture.buffer_size(BUFFER_BYTES).open().map_err(refused("open"))?;
        let capture = capture.setnonblock().map_err(refused("use without blocking"))?;
        let direction = match mode {
            PortMode::Inline => Direction::In,
            PortMode::Tap => Direction::InOut,
        };
        capture.direction(direction).map_err(refused("set the direction of"))?;
        let link_type = capture.get_datalink().0;
        if link_type != LINK_TYPE_ETHERNET && !LINK_TYPES_RAW.contains(&link_type) {
            return Err(CaptureError::LinkType { interface: interface.to_owned(), link_type });
        }
        Ok(Port { capture, interface: interface.to_owned(), link_type })
    }

    /// The interface's name.
    #[must_use]
    pub fn interface(&self) -> &str {
        &self.interface
    }

    /// The link type, as the capture library numbers them: Ethernet or bare IP.
    #[must_use]
    pub const fn link_type(&self) -> i32 {
        self.link_type
    }

    /// Reads one frame into `buffer`; `None` when there is none.
    ///
    /// # Errors
    ///
    /// What the library says, for example when the interface is gone.
    pub fn recv(&mut self, buffer: &mut [u8]) -> Result<Option<FrameRead>, CaptureError> {
        match self.capture.next_packet() {
            Ok(frame) => {
                let len = frame.data.len().min(buffer.len());
                buffer[..len].copy_from_slice(&frame.data[..len]);
                Ok(Some(FrameRead { len, wire_bytes: frame.header.len }))
            }
            Err(pcap::Error::TimeoutExpired | pcap::Error::NoMorePackets) => Ok(None),
            Err(source) => {
                Err(CaptureError::Refused { interface: self.interface.clone(), action: "read from", source })
            }
        }
    }

    /// Sends one frame.
    ///
    /// # Errors
    ///
    /// What the library says, for example for a frame that is longer than the interface can send.
    pub fn send(&mut self, frame: &[u8]) -> Result<(), CaptureError> {
        self.capture.sendpacket(frame).map_err(|source| CaptureError::Refused {
            interface: self.interface.clone(),
            action: "send on",
            source,
        })
    }

    /// Frames that the kernel dropped because they were not read in time.
    pub fn missed_count(&mut self) -> u64 {
        self.capture.stats().map_or(0, |stats| u64::from(stats.dropped))
    }
}

#[cfg(unix)]
impl std::os::fd::AsRawFd for Port {
    fn as_raw_fd(&self) -> std::os::fd::RawFd {
        std::os::fd::AsRawFd::as_raw_fd(&self.capture)
    }
}

impl std::fmt::Debug for Port {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Port").field("interface", &self.interface).field("link_type", &self.link_type).finish()
    }
}

fn check_interface(interface: &str, mode: PortMode) -> Result<(), CaptureError> {
    if cfg!(target_os = "linux") {
        let folder = Path::new("/sys/class/net");
        if !is_interface_name(interface) || !folder.join(interface).exists() {
            return Err(CaptureError::NoInterface {
                interface: interface.to_owned(),
                existing: interfaces().join(", "),
            });
        }
        if mode == PortMode::Inline && folder.join(interface).join("brport").exists() {
            return Err(CaptureError::BridgePort { interface: interface.to_owned() });
        }
    }
    Ok(())
}

/// The interfaces of this machine, in the order of their names; empty where that cannot be told.
#[must_use]
pub fn interfaces() -> Vec<String> {
    let mut names: Vec<String> = if cfg!(target_os = "linux") {
        let entries = std::fs::read_dir("/sys/class/net").into_iter().flatten().flatten();
        entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
    } else {
        pcap::Device::list().into_iter().flatten().map(|device| device.name).collect()
    };
    names.sort();
    names
}

/// The MTU of an interface in bytes, where the system tells.
#[must_use]
pub fn mtu(interface: &str) -> Option<usize> {
    let text = std::fs::read_to_string(Path::new("/sys/class/net").join(interface).join("mtu")).ok()?;
    text.trim().parse().ok()
}

/// What on this machine would disturb an interface that the node uses inline, in a person's words.
#[must_use]
pub fn inline_warnings(interface: &str) -> Vec<String> {
    let read = |path: String| std::fs::read_to_string(path).unwrap_or_default();
    let mut warnings = Vec::new();
    for (family, remedy) in [("ipv4", "sysctl net.ipv4.conf"), ("ipv6", "sysctl net.ipv6.conf")] {
        if read(format!("/proc/sys/net/{family}/conf/{interface}/forwarding")).trim() == "1" {
            warnings.push(format!(
                "the kernel forwards {family} packets of {interface} as well, so that some may arrive twice; \
                 if it has routes for them: {remedy}.{interface}.forwarding=0"
            ));
        }
    }
    warnings
}
