//! Limits of the simulator.

use std::time::Duration;

/// Machines of a simulated network.
pub const SIM_MACHINES_MAX: usize = 65_536;
/// Links of a simulated network.
pub const SIM_LINKS_MAX: usize = 262_144;
/// Bytes that wait before a simulated link, if nothing is said: a tenth of a second at 10 Mbit/s.
pub const SIM_QUEUE_BYTES_DEFAULT: u64 = 125_000;
/// Packets and other events of a simulated network that are under way at once; further packets are lost, and counted.
pub const SIM_EVENTS_MAX: usize = 4_000_000;
/// Events of one simulated node that wait to be taken; then the oldest go.
pub const SIM_NODE_EVENTS_MAX: usize = 16_384;
/// Observations of a simulated network that wait to be taken; then the oldest go.
pub const SIM_OBSERVATIONS_MAX: usize = 1 << 18;
/// Bytes of a simulated network's trace.
pub const SIM_TRACE_BYTES_MAX: usize = 256 << 20;
/// Bytes in each direction that wait in a simulated TCP connection: what its window can offer.
pub const SIM_TCP_BUFFER_BYTES: usize = 128 * 1024;
/// Largest TCP packet over a simulated link, in bytes.
pub const SIM_MTU_BYTES: usize = 1_500;
/// TCP connections of a simulated machine.
pub const SIM_CONNECTIONS_MAX: usize = 32_768;
/// A simulated TCP connection whose peer acknowledges nothing is given up after this.
pub const SIM_TCP_SILENCE_MAX: Duration = Duration::from_secs(300);
/// Time that the look-up of a name takes in a simulated network.
pub const SIM_LOOKUP_TIME: Duration = Duration::from_millis(1);
/// Time that a page takes that a simulated network has in memory, not at a machine.
pub const SIM_PAGE_TIME: Duration = Duration::from_millis(20);
/// Datagrams that wait in a UDP socket of a simulated machine whose module does not read.
pub const SIM_DATAGRAMS_WAITING_MAX: usize = 256;
/// Mappings of a simulated NAT box.
pub const SIM_NAT_MAPPINGS_DEFAULT: usize = 4_096;
/// Lifetime of a UDP mapping without traffic (RFC 4787, section 4.3: two minutes at least, five recommended).
pub const SIM_NAT_UDP_TIMEOUT: Duration = Duration::from_secs(300);
/// The same for TCP (RFC 5382, section 5: two hours and four minutes).
pub const SIM_NAT_TCP_TIMEOUT: Duration = Duration::from_secs(7_440);
/// The same for ICMP echo (RFC 5508, section 3.2: 60 s).
pub const SIM_NAT_ICMP_TIMEOUT: Duration = Duration::from_secs(60);
/// ICMP errors that a simulated machine sends in a second (RFC 1812, section 4.3.2.8).
pub const SIM_ICMP_ERRORS_PER_SECOND_MAX: u32 = 1_000;
/// How far ahead a slow simulated node may fall; packets beyond are lost.
pub const SIM_LAG_MAX: Duration = Duration::from_secs(1);
/// Packages that a simulated node fetches at once, and that wait.
pub const SIM_FETCHES_MAX: usize = 64;
/// A TCP mapping of a simulated NAT box after the connection was ended (RFC 5382, section 5: four minutes).
pub const SIM_NAT_TCP_CLOSED_TIMEOUT: Duration = Duration::from_secs(240);
/// Peers that a mapping of a simulated NAT box remembers; beyond, only the latest.
pub const SIM_NAT_PEERS_MAX: usize = 4_096;
/// Streams of signalling whose messages are put together for whoever observes a simulated network.
pub const SIM_WATCHED_STREAMS_MAX: usize = 16_384;
