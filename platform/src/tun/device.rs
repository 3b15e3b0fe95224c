//! The device by tun-rs.

use std::io::{self, IoSlice};
use std::os::fd::{AsRawFd, RawFd};

use tun_rs::{DeviceBuilder, Layer, SyncDevice};

use super::{TUN_MTU, TunError, TunOptions, is_interface_name};

/// An open TUN device. It vanishes with the process, and its routes with it: traffic then flows as if it had never been.
pub struct Tun {
    device: SyncDevice,
    name: String,
    index: u32,
    has_header: bool,
}

impl Tun {
    /// Makes the device, non-blocking and up, without addresses.
    ///
    /// With the offload header if the kernel has it, else in plain mode; see [`Tun::has_header`].
    ///
    /// # Errors
    ///
    /// What the kernel refused, and what to do.
    pub fn open(options: &TunOptions) -> Result<Tun, TunError> {
        if let Some(name) = options.name.as_ref().filter(|name| !is_interface_name(name)) {
            return Err(TunError::Name { name: name.clone() });
        }
        let with_header = cfg!(target_os = "linux") && !options.plain;
        let (device, has_header) = match with_header.then(|| build(options, true)) {
            Some(Ok(device)) => (device, true),
            // An old kernel refuses the offload flags; whatever else is wrong, the second try says it as well.
            Some(Err(_)) | None => (build(options, false).map_err(|e| error(e, options))?, false),
        };
        Self::with_device(device, has_header).map_err(|e| error(e, options))
    }

    fn with_device(device: SyncDevice, has_header: bool) -> io::Result<Tun> {
        device.set_nonblocking(true)?;
        #[cfg(target_os = "linux")]
        {
            crate::steering::quiet(&device.name()?)?;
            device.enabled(true)?;
        }
        let (name, index) = (device.name()?, device.if_index()?);
        Ok(Tun { device, name, index, has_header })
    }

    /// The interface's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The interface's index.
    #[must_use]
    pub const fn index(&self) -> u32 {
        self.index
    }

    /// Whether each packet has the 10 bytes of the offload header (`virtio_net_hdr`) before it, in both directions.
    #[must_use]
    pub const fn has_header(&self) -> bool {
        self.has_header
    }

    /// Reads one packet. What does not fit into `buffer` is cut off silently.
    ///
    /// # Errors
    ///
    /// `WouldBlock` when there is none; EBADFD when the device was deleted.
    pub fn recv(&self, buffer: &mut [u8]) -> io::Result<usize> {
        // Without the C library: its wrappers are points where a thread may be cancelled, which costs for each packet.
        #[cfg(target_os = "linux")]
        return Ok(rustix::io::read(&self.device, buffer)?);
        #[cfg(not(target_os = "linux"))]
        self.device.recv(buffer)
    }

    /// Writes one packet. The kernel forwards it within this call.
    ///
    /// # Errors
    ///
    /// `InvalidInput` (EINVAL) for a packet that is neither IPv4 nor IPv6, and for super-packets on some kernels.
    pub fn send(&self, packet: &[u8]) -> io::Result<usize> {
        #[cfg(target_os = "linux")]
        return Ok(rustix::io::write(&self.device, packet)?);
        #[cfg(not(target_os = "linux"))]
        self.device.send(packet)
    }

    /// Writes one packet that lies in several pieces.
    ///
    /// # Errors
    ///
    /// As [`Tun::send`].
    pub fn send_vectored(&self, pieces: &[IoSlice<'_>]) -> io::Result<usize> {
        #[cfg(target_os = "linux")]
        return Ok(rustix::io::writev(&self.device, pieces)?);
        #[cfg(not(target_os = "linux"))]
        self.device.send_vectored(pieces)
    }

    /// Lets the kernel hand over super-packets and incomplete checksums, or not. May be called at any time; the header
    /// before each packet stays. Packets that wait already are as they are.
    ///
    /// # Errors
    ///
    /// What the kernel refused.
    pub fn set_offload(&self, on: bool) -> io::Result<()> {
        match (self.has_header, on) {
            (false, false) => Ok(()),
            (false, true) => Err(io::Error::from(io::ErrorKind::Unsupported)),
            (true, on) => set_offload(self.as_raw_fd(), on),
        }
    }
}

impl AsRawFd for Tun {
    fn as_raw_fd(&self) -> RawFd {
        self.device.as_raw_fd()
    }
}

impl std::fmt::Debug for Tun {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tun").field("name", &self.name).field("has_header", &self.has_header).finish_non_exhaustive()
    }
}

fn build(options: &TunOptions, header: bool) -> io::Result<SyncDevice> {
    let mut builder = DeviceBuilder::new().layer(Layer::L3).mtu(TUN_MTU).enable(cfg!(not(target_os = "linux")));
    if let Some(name) = &options.name {
        builder = builder.name(name.clone());
    }
    #[cfg(target_os = "linux")]
    let builder = builder.tx_queue_len(super::TUN_QUEUE_PACKETS).offload(header);
    #[cfg(target_os = "macos")]
    let builder = {
        debug_assert!(!header, "there is no offload header");
        builder.associate_route(false)
    };
    builder.build_sync()
}

fn error(source: io::Error, options: &TunOptions) -> TunError {
    match (source.raw_os_error(), &options.name) {
        (Some(libc::EBUSY), name) => TunError::InUse { name: name.clone().unwrap_or_default() },
        (Some(libc::EACCES | libc::EPERM), _) => TunError::Driver {
            source,
            remedy: "run as root or with the capability CAP_NET_ADMIN, and with /dev/net/tun readable and writable",
        },
        (Some(libc::ENOENT | libc::ENODEV | libc::ENXIO), _) => {
            TunError::Driver { source, remedy: "load the kernel module: modprobe tun" }
        }
        _ => TunError::Driver { source, remedy: "`netserv doctor` looks at each thing that a TUN device needs" },
    }
}

#[cfg(target_os = "linux")]
#[expect(unsafe_code, reason = "the ioctl of the TUN driver has no safe wrapper")]
fn set_offload(fd: RawFd, on: bool) -> io::Result<()> {
    let segmentation = libc::TUN_F_CSUM | libc::TUN_F_TSO4 | libc::TUN_F_TSO6;
    let datagrams = libc::TUN_F_USO4 | libc::TUN_F_USO6;
    // Kernels before 6.2 do not know the flags for datagrams.
    let attempts = if on { &[segmentation | datagrams, segmentation][..] } else { &[0][..] };
    let mut result = Ok(());
    for flags in attempts {
        // SAFETY: the descriptor is open for as long as the device is borrowed; the argument is a plain number.
        match unsafe { libc::ioctl(fd, libc::TUNSETOFFLOAD as _, libc::c_ulong::from(*flags)) } {
            0 => return Ok(()),
            _ => result = Err(io::Error::last_os_error()),
        }
    }
    result
}

#[cfg(not(target_os = "linux"))]
fn set_offload(_fd: RawFd, _on: bool) -> io::Result<()> {
    Err(io::Error::from(io::ErrorKind::Unsupported))
}
