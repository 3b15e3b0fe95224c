//! Every maximum of the program, with its unit and its reason.

use std::time::Duration;

/// Longest packet, in bytes: what the length field of IPv4 can say.
pub const PACKET_BYTES_MAX: usize = 65_535;

/// Flows remembered at once, by default. At some 200 bytes each this is 13 MB; the oldest go first.
pub const FLOWS_DEFAULT: u32 = 65_536;
/// Most flows that may be asked for: what a flow id has bits for.
pub const FLOWS_MAX: u32 = 1 << 20;
/// A silent TCP flow is forgotten after this (RFC 5382 asks NATs for more, but here nothing breaks: it is matched again).
pub const FLOW_IDLE_TCP: Duration = Duration::from_secs(300);
/// A TCP flow that was reset or closed on this side is forgotten after this.
pub const FLOW_IDLE_TCP_CLOSED: Duration = Duration::from_secs(10);
/// Any other silent flow is forgotten after this.
pub const FLOW_IDLE_OTHER: Duration = Duration::from_secs(60);
/// How often a part of the flow cache is looked at for silent flows.
pub const FLOW_SWEEP_PERIOD: Duration = Duration::from_millis(250);
/// In how many sweeps the whole flow cache has been looked at.
pub const FLOW_SWEEP_PARTS: u32 = 8;

/// Fragmented packets whose first fragment is remembered at once.
pub const FRAGMENTS_MAX: usize = 4_096;
/// How long a first fragment is remembered (RFC 8200, section 4.5: at most 60 s; RFC 791 suggests 15 s).
pub const FRAGMENT_LIFETIME: Duration = Duration::from_secs(30);

/// Module instances at once.
pub const INSTANCES_MAX: usize = 4_096;
/// Filters of all instances together.
pub const FILTERS_MAX: usize = 65_536;
/// Filters of one instance, when its manifest says nothing else.
pub const FILTERS_PER_INSTANCE_MAX: usize = 10_240;
/// Instances that look at one flow: those that were loaded first. Others that ask for it do not see it.
pub const CHAIN_MAX: usize = 16;

/// Outputs that wait for the driver. It drains them after each input, so only a burst of injected packets gets here.
pub const OUTPUTS_MAX: usize = 16_384;
/// Effects (packets, log lines, timers) of one call into a module.
pub const EFFECTS_PER_CALL_MAX: usize = 256;
/// Bytes of one log line of a module; longer ones are cut.
pub const LOG_LINE_BYTES_MAX: usize = 1_024;
/// Log lines per second and instance; more are counted, not kept.
pub const LOG_LINES_PER_SECOND_MAX: u32 = 100;

/// Bytes of one Luau source file: the compiler is outside all other limits (256 KiB take it 80 ms).
pub const SOURCE_BYTES_MAX: usize = 64 * 1024;
/// Bytes of all files of a module together.
pub const MODULE_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Files of a module.
pub const MODULE_FILES_MAX: usize = 256;
/// Bytes of a manifest.
pub const MANIFEST_BYTES_MAX: usize = 64 * 1024;

/// Memory of an instance, in bytes, when its manifest says nothing.
pub const MODULE_MEMORY_DEFAULT: u64 = 16 << 20;
/// Least memory that an instance can start with, in bytes: Luau's own libraries take half of it.
pub const MODULE_MEMORY_MIN: u64 = 2 << 20;
/// Most memory that a manifest may ask for, in bytes.
pub const MODULE_MEMORY_MAX: u64 = 1 << 30;
/// CPU time of one call, when the manifest says nothing.
pub const MODULE_CALL_DEFAULT: Duration = Duration::from_millis(20);
/// Most CPU time per call that a manifest may ask for: the whole node waits meanwhile.
pub const MODULE_CALL_MAX: Duration = Duration::from_millis(1_000);
/// Safepoints (calls, returns, loop turns) that stand for one millisecond where time is virtual.
pub const SAFEPOINTS_PER_MS: u64 = 100_000;
/// Timers of one instance, when its manifest says nothing.
pub const MODULE_TIMERS_DEFAULT: u32 = 64;
/// Most timers that a manifest may ask for.
pub const MODULE_TIMERS_MAX: u32 = 16_384;
/// Shortest period of a module's timer.
pub const MODULE_TIMER_MIN: Duration = Duration::from_millis(1);
/// Counters of one instance.
pub const MODULE_COUNTERS_MAX: usize = 256;
/// Bytes of the report of one instance, as JSON.
pub const MODULE_REPORT_BYTES_MAX: usize = 4 << 20;

/// Errors that an instance may raise within [`MODULE_ERROR_WINDOW`] before it is started afresh.
pub const MODULE_ERRORS_MAX: u32 = 16;
/// See [`MODULE_ERRORS_MAX`].
pub const MODULE_ERROR_WINDOW: Duration = Duration::from_secs(10);
/// Restarts of an instance that keeps failing; then it is unloaded.
pub const MODULE_RESTARTS_MAX: u32 = 5;
/// Wait before the first restart; doubles with each.
pub const MODULE_RESTART_FIRST: Duration = Duration::from_secs(1);
/// An instance that ran this long without a fault has its restarts forgotten.
pub const MODULE_HEALTHY_AFTER: Duration = Duration::from_secs(600);

/// Keys of `[config]` in a manifest; a form with more is not one that a person fills in.
pub const PROPERTIES_MAX: usize = 256;
/// Bytes of one text property, and of one item of a list.
pub const PROPERTY_BYTES_MAX: usize = 4_096;
/// Items of a list property: as many as an instance may have filters.
pub const PROPERTY_ITEMS_MAX: usize = FILTERS_PER_INSTANCE_MAX;
/// Longest duration that a property may have, in seconds: some 30 years.
pub const PROPERTY_SECONDS_MAX: f64 = 1e9;
/// `[[filters]]` in a manifest; lists in properties may make more of them.
pub const MANIFEST_FILTERS_MAX: usize = 256;
/// Bytes of a name: of a module, an instance, a property, a counter.
pub const NAME_BYTES_MAX: usize = 64;
/// Bytes of the path of a file in a module.
pub const MODULE_PATH_BYTES_MAX: usize = 200;
/// Buffers of sent packets that are kept for the next ones.
pub const POOL_BUFFERS_MAX: usize = 256;
/// Bytes that a segment of a super-packet may grow by when a module changes its length.
pub const GROWTH_BYTES_MAX: usize = 2_048;
/// Longest record or block of a capture file, in bytes: what libpcap takes too.
pub const CAPTURE_BLOCK_BYTES_MAX: usize = 16 << 20;
/// Interfaces that one section of a capture file may describe: what its older packet blocks can number.
pub const CAPTURE_INTERFACES_MAX: usize = 65_536;
/// Wakeups that a replay gives between two packets. A longer gap is slept through, like by a suspended machine.
pub const REPLAY_WAKEUPS_PER_GAP_MAX: u32 = 10_000;
/// Events (log lines, faults) that a replay's report keeps; more are counted.
pub const REPLAY_EVENTS_MAX: usize = 10_000;

/// Packets read from one link before the others get their turn: 8 would be as fast, more costs latency.
pub const READS_PER_TURN_MAX: usize = 128;
/// Connections to the control socket at once: one per command that runs.
pub const CONTROL_CONNECTIONS_MAX: usize = 16;
/// Bytes of one request on the control socket.
pub const CONTROL_LINE_BYTES_MAX: usize = 64 * 1024;
/// Bytes of one answer on the control socket: the longest report with room around it.
pub const CONTROL_ANSWER_BYTES_MAX: usize = MODULE_REPORT_BYTES_MAX + (1 << 20);
/// How long an answer may wait for a reader who does not read; then the connection is closed.
pub const CONTROL_WAIT_MAX: Duration = Duration::from_secs(10);
/// Memory of the VM of a test script, in bytes.
pub const SCRIPT_MEMORY_BYTES_MAX: usize = 256 << 20;
/// Safepoints (calls, returns, loop turns) of one case of a test script: some seconds.
pub const SCRIPT_SAFEPOINTS_MAX: u64 = 100_000_000;
/// Cases of one test script.
pub const SCRIPT_CASES_MAX: usize = 1_024;
/// Timers that may fire while a test lets time pass once.
pub const SCRIPT_WAKEUPS_MAX: usize = 1_000_000;
