//! What modules and their building blocks may have.

use std::time::Duration;

use super::PACKET_BYTES_MAX;

// --- services between modules ---

/// Bytes of all arguments, or all results, of one call of a service: they are copied twice.
pub const SERVICE_VALUE_BYTES_MAX: usize = 256 * 1024;
/// Functions of one service.
pub const SERVICE_FUNCTIONS_MAX: usize = 64;
/// Proxies that one instance has: services that it uses, each with a range of versions.
pub const SERVICE_USES_MAX: usize = 64;
/// Calls of one instance that wait for their answer.
pub const SERVICE_CALLS_MAX: u32 = 1_024;
/// Bytes of arguments and answers that wait to be carried, of all calls of one instance.
pub const SERVICE_WAITING_BYTES_MAX: usize = 8 << 20;
/// Calls within calls: one module serves another one, which asks a third.
pub const SERVICE_DEPTH_MAX: u32 = 8;
/// Longest time that a caller waits for its answer.
pub const SERVICE_WAIT_MAX: Duration = Duration::from_secs(10);
/// Calls and answers that are carried before packets get their turn; the rest follows after
/// [`MODULE_TIMER_MIN`](super::MODULE_TIMER_MIN).
pub const SERVICE_STEPS_MAX: usize = 256;

// --- updates of running modules ---

/// Bytes of the state that an old version hands to the new one.
pub const UPDATE_STATE_BYTES_MAX: usize = 16 << 20;
/// How long an old version goes on with the connections and calls that it has, if nothing else is said.
pub const UPDATE_DRAIN_DEFAULT: Duration = Duration::from_secs(60);
/// Longest time that can be said.
pub const UPDATE_DRAIN_MAX: Duration = Duration::from_secs(24 * 3600);
/// How long the new version may take to listen where the old one did; what it does not take over is closed then.
pub const UPDATE_CLAIM_WAIT: Duration = Duration::from_secs(5);

// --- what modules are told of the machine, and of flows ---

/// Triggers of one instance: routes, interfaces, load, flows that it wants to be told of.
pub const WATCHES_MAX: usize = 256;
/// How often load and flows are looked at for the modules that want to be told.
pub const WATCH_PERIOD: Duration = Duration::from_secs(1);
/// Lines of the routing table that one call returns.
pub const MACHINE_ROUTES_MAX: usize = 4_096;
/// Neighbours that one call returns.
pub const MACHINE_NEIGHBOURS_MAX: usize = 4_096;
/// Changes of the machine are told at most once in this time: a routing protocol may make thousands at once.
pub const MACHINE_CHANGE_PERIOD: Duration = Duration::from_millis(200);

// --- signals that modules send ---

/// Signals of one instance that wait for their answers.
pub const MODULE_SIGNALS_MAX: usize = 16;
/// Signals of all instances that wait for their answers.
pub const MODULE_SIGNALS_ALL_MAX: usize = 1_024;
/// Answers to one signal that are kept: as many as a path has nodes.
pub const MODULE_SIGNAL_ANSWERS_MAX: usize = 255;
// --- packages, repositories, installed modules ---
/// Bytes of the signature of a package: four lines.
pub const SIGNATURE_BYTES_MAX: usize = 2_048;
/// Bytes of the index of a repository.
pub const INDEX_BYTES_MAX: usize = 4 << 20;
/// Packages in the index of a repository.
pub const INDEX_PACKAGES_MAX: usize = 10_000;
/// Modules that are installed at a node, libraries included.
pub const INSTALLED_MAX: usize = 1_024;
/// Bytes of the list of installed modules.
pub const INSTALLED_BYTES_MAX: usize = 16 << 20;
/// Repositories that a command asks.
pub const REPOSITORIES_MAX: usize = 16;
/// Libraries of one module, those of its libraries included.
pub const LIBRARIES_MAX: usize = 64;
/// Steps of the search for versions that fit together; some milliseconds.
pub const RESOLVER_STEPS_MAX: u32 = 20_000;

// --- building blocks of modules ---

/// Bytes that one call of a digest or of base64 works on: some 10 ms.
pub const CRYPTO_BYTES_MAX: usize = 4 << 20;
/// Random bytes of one call.
pub const RANDOM_BYTES_MAX: usize = 65_536;
/// Bytes of a JSON text that a module reads or writes at once.
pub const JSON_BYTES_MAX: usize = 1 << 20;
/// How deep JSON may be nested, and any value that a module hands over.
pub const JSON_DEPTH_MAX: usize = 32;
/// Bytes that each entry of an instance's store counts beside its key and value: about what the disk takes for it.
pub const STORAGE_ENTRY_BYTES: u64 = 64;
/// Bytes of a key that a module keeps.
pub const STORAGE_KEY_BYTES_MAX: usize = 512;
/// Bytes of a value that a module keeps; larger things are files.
pub const STORAGE_VALUE_BYTES_MAX: usize = 1 << 20;
/// Keys of one update, and keys that are listed at once.
pub const STORAGE_KEYS_PER_CALL_MAX: usize = 1_024;
/// Bytes of one update: all its keys and values.
pub const STORAGE_UPDATE_BYTES_MAX: usize = 4 << 20;
/// Bytes that wait to be written to disk, of all instances together; then no more is taken.
pub const STORAGE_WAITING_BYTES_MAX: usize = 64 << 20;
/// How long a change waits for others before all are written to disk together.
pub const STORAGE_FLUSH_PERIOD: Duration = Duration::from_millis(200);
/// Files of one instance: their index is in memory, some 150 bytes each.
pub const FILES_MAX: usize = 65_536;
/// Files that make room in one call for what is written; when that is not enough, the call fails.
pub const FILES_EVICTED_MAX: usize = 256;
/// Bytes of one part of a file: what is read or written at once.
pub const FILE_PART_BYTES: usize = 64 * 1024;
/// Bytes of a file that are read in one call.
pub const FILE_READ_BYTES_MAX: usize = 4 << 20;
/// Files of one instance that are being written at once.
pub const FILES_WRITING_MAX: usize = 64;
/// Metrics of one instance, each set of labels counted.
pub const METRICS_MAX: usize = 1_024;
/// Bytes of the name, of the help and of all labels of a metric.
pub const METRIC_TEXT_BYTES_MAX: usize = 256;
/// Bounds of a histogram.
pub const METRIC_BOUNDS_MAX: usize = 64;
/// Pixels of a picture that a module works on: 16 MiB while it does.
pub const IMAGE_PIXELS_MAX: u64 = 1 << 22;
/// Pixels of a side of such a picture.
pub const IMAGE_SIDE_MAX: u32 = 8_192;
/// Changes of a picture in one call.
pub const IMAGE_STEPS_MAX: usize = 64;
/// Bytes of the description of these changes.
pub const IMAGE_STEPS_BYTES_MAX: usize = 64 * 1024;
/// Other pictures that are laid over one in one call.
pub const IMAGE_PICTURES_MAX: usize = 8;
/// Characters of a text that is drawn.
pub const IMAGE_TEXT_CHARS_MAX: usize = 256;
// --- HTTP of modules ---

/// Bytes of the head of one request to a module's server, or of a response to its client, unless it asks for another number.
pub const HTTP_HEAD_BYTES_DEFAULT: usize = 16 * 1024;
/// Most bytes of a head that a module may ask for.
pub const HTTP_HEAD_BYTES_MAX: usize = 64 * 1024;
/// Header fields of one head.
pub const HTTP_FIELDS_MAX: usize = 100;
/// Bytes of a request's target.
pub const HTTP_TARGET_BYTES_MAX: usize = 8 * 1024;
/// Bytes of the body of a request, unless the module asks for another number.
pub const HTTP_BODY_BYTES_DEFAULT: u64 = 1 << 20;
/// Bytes of all chunk extensions of one body: nobody uses them.
pub const HTTP_CHUNK_EXTENSION_BYTES_MAX: usize = 4 * 1024;
/// Bytes of all trailers of one body.
pub const HTTP_TRAILER_BYTES_MAX: usize = 8 * 1024;
/// How long the head of a request may take to arrive whole, unless the module asks for another time.
pub const HTTP_HEAD_WAIT_DEFAULT: Duration = Duration::from_secs(10);
/// How long a connection may be silent between two requests, unless the module asks for another time.
pub const HTTP_IDLE_DEFAULT: Duration = Duration::from_secs(60);
/// How long a body may take beyond what [`HTTP_BODY_RATE_DEFAULT`] allows for.
pub const HTTP_BODY_GRACE: Duration = Duration::from_secs(10);
/// Bytes per second that a body must arrive with, unless the module asks for another number: a modem's.
pub const HTTP_BODY_RATE_DEFAULT: u64 = 1_000;
/// How long what is written may wait without the peer taking enough of it.
pub const HTTP_WRITE_WAIT_MAX: Duration = Duration::from_secs(30);
/// Requests of one connection, unless the module asks for another number; then it has to be opened anew.
pub const HTTP_REQUESTS_DEFAULT: u32 = 10_000;
/// Bytes of a body that nobody read which are read away, so that the connection can go on.
pub const HTTP_DISCARD_BYTES_MAX: u64 = 256 * 1024;
/// How long what a client still sends is read away after the last response, so that it gets to see it.
pub const HTTP_LINGER: Duration = Duration::from_secs(2);
/// Bytes of a body that one read gives at most.
pub const HTTP_READ_BYTES_MAX: usize = 64 * 1024;
/// Ranges of one request; with more, the whole is sent.
pub const HTTP_RANGES_MAX: usize = 16;
/// Header fields of a response that a module makes.
pub const HTTP_RESPONSE_FIELDS_MAX: usize = 100;
/// Interim responses (1xx) before a final one.
pub const HTTP_INTERIM_MAX: u32 = 8;
/// How often the connections of a module's server are looked at for what takes too long.
pub const HTTP_TICK: Duration = Duration::from_secs(1);
/// Bytes of the body of a response to a module's client that are read at most, unless it asks for another number.
pub const HTTP_RESPONSE_BYTES_DEFAULT: u64 = 1 << 30;
// --- budgets and the ledger ---

/// Over how long a module's share of the CPU is a mean: it may run for a share of this at once after it was idle.
pub const CPU_SHARE_WINDOW: Duration = Duration::from_secs(1);
/// How much of its share, in time, an instance gets at once after it had to wait: long enough that waiting costs little,
/// short enough that nobody notices.
pub const CPU_RESUME: Duration = Duration::from_millis(20);
/// Bits that a module may send or receive at once after it was idle, at least: two of the longest packets.
pub const BANDWIDTH_BURST_BITS_MIN: u64 = 2 * 8 * PACKET_BYTES_MAX as u64;
/// An instance that reaches the same limit again within this time is counted, but not told of again.
pub const OVER_BUDGET_QUIET: Duration = Duration::from_secs(10);
/// Flows that ended while an instance had to wait, of which it is told later; of more it is not told.
pub const FLOW_ENDS_DEFERRED_MAX: usize = 1_024;
/// Outputs of one instance that wait for its bandwidth. A module that writes on meanwhile is started afresh.
pub const NET_HELD_MAX: usize = 16_384;
/// Rows of the ledger: at 300 bytes each it is kept in 1.2 MB.
pub const LEDGER_ROWS_MAX: usize = 4_096;
/// Bytes of the ledger as it is kept.
pub const LEDGER_FILE_BYTES_MAX: usize = 4 << 20;
/// How often the ledger is kept, while something is used.
pub const LEDGER_SAVE_PERIOD: Duration = Duration::from_secs(60);
