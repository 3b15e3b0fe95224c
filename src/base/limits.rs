//! Every maximum of the program, with its unit and its reason.

use std::time::Duration;

mod modules;
mod sim;

pub use modules::*;
pub use sim::*;

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
/// Share of one core that an instance may take over time, in percent, when its manifest says nothing.
pub const MODULE_CPU_SHARE_DEFAULT: u32 = 25;
/// Most that a manifest may ask for: one core, which is all that a node has.
pub const MODULE_CPU_SHARE_MAX: u32 = 100;
/// Bytes that an instance may keep over restarts, at most. Without a wish in its manifest it may keep none.
pub const MODULE_STORAGE_MAX: u64 = 1 << 40;
/// Sockets of one instance, when its manifest says nothing.
pub const MODULE_SOCKETS_DEFAULT: u32 = 64;
/// Most sockets that a manifest may ask for.
pub const MODULE_SOCKETS_MAX: u32 = 16_384;
/// Tasks of one instance, when its manifest says nothing.
pub const MODULE_TASKS_DEFAULT: u32 = 256;
/// Most tasks that a manifest may ask for: at 1.5 KB each they take 100 MB.
pub const MODULE_TASKS_MAX: u32 = 65_536;
/// Flows that one instance may look at: as many as a node remembers.
pub const MODULE_FLOWS_MAX: u32 = FLOWS_MAX;
/// Most bits per second that a manifest may ask for, in each direction; 0 stands for no limit.
pub const MODULE_BANDWIDTH_MAX: u64 = 1 << 40;
/// Entries of one list under `[permissions]`, and rules that properties make of them.
pub const PERMISSION_RULES_MAX: usize = 1_024;
/// Modules that one module may require, and services that it may provide or use.
pub const MODULE_REQUIRES_MAX: usize = 64;
/// Bytes that wait in a socket of a module for the module, or for the network, before the other side has to wait.
pub const SOCKET_HIGH_WATER_BYTES: usize = 256 * 1024;
/// Bytes at which it may go on.
pub const SOCKET_LOW_WATER_BYTES: usize = 64 * 1024;
/// Datagrams that wait in a socket of a module; when there are more, new ones are dropped.
pub const SOCKET_DATAGRAMS_MAX: usize = 256;
/// Streams that wait to be accepted by a module.
pub const SOCKET_BACKLOG_MAX: usize = 256;
/// Bytes that may wait in a stream of a module in any case, however many it has.
pub const SOCKET_WAITING_BYTES_MIN: usize = 8 * 1024;
/// Bytes that one read of a stream gives a module at most.
pub const SOCKET_READ_BYTES_MAX: usize = 64 * 1024;
/// Datagrams, and sockets to open or close, that one call of a module may ask for. More datagrams are dropped.
pub const SOCKET_OUTPUTS_MAX: usize = 1_024;
/// Peers that a UDP socket of a module remembers, so that it may answer them: 100 bytes each.
pub const SOCKET_PEERS_MAX: usize = 4_096;
/// Bytes of certificates, or of a key, in PEM, that a module gives: long chains, or some authorities.
pub const SOCKET_PEM_BYTES_MAX: usize = 64 * 1024;
/// Application protocols that one side of a TLS stream offers.
pub const SOCKET_PROTOCOLS_MAX: usize = 16;
/// Longest name that is looked up, in bytes (RFC 1035, section 2.3.4).
pub const SOCKET_NAME_BYTES_MAX: usize = 253;
/// Names whose addresses an instance remembers, so that a permission for a name holds for them.
pub const NAMES_KNOWN_MAX: usize = 256;
/// Addresses of one name.
pub const NAME_ADDRESSES_MAX: usize = 32;
// --- real sockets of modules ---

/// Sockets of all modules of a node together: what a process may have descriptors for, roughly.
pub const NET_SOCKETS_MAX: usize = 65_536;
/// Bytes read from a stream at once.
pub const NET_READ_BYTES: usize = 64 * 1024;
/// Bytes of the buffer of one read of datagrams: many of them, if they come joined.
pub const NET_DATAGRAM_BYTES: usize = 64 * 1024;
/// Sockets looked at in search of one event.
pub const NET_STEPS_MAX: usize = 1_024;
/// Events of sockets given to the node before links and others get their turn.
pub const NET_EVENTS_PER_TURN_MAX: usize = 256;
/// How often it is looked for what has waited for too long.
pub const NET_SWEEP_PERIOD: Duration = Duration::from_millis(250);
/// How long a peer may take to answer to an attempt to connect.
pub const NET_CONNECT_WAIT_MAX: Duration = Duration::from_secs(60);
/// How long a TLS handshake may take.
pub const NET_HANDSHAKE_WAIT_MAX: Duration = Duration::from_secs(10);
/// How long a stream that was closed here is kept for its last bytes to arrive.
pub const NET_CLOSE_WAIT_MAX: Duration = Duration::from_secs(10);
/// Bytes that are read away of a stream that was closed here.
pub const NET_DISCARDED_BYTES_MAX: usize = 1 << 20;
/// Handshakes of the streams of one listener at once; the oldest gives way.
pub const NET_HANDSHAKES_MAX: usize = 256;
/// How long nothing is accepted when the system has no room.
pub const NET_ACCEPT_PAUSE: Duration = Duration::from_millis(250);
/// Threads that look names up: the system's resolver makes them wait.
pub const NET_LOOKUP_THREADS_MAX: usize = 8;
/// Of these, how many may work for one instance.
pub const NET_LOOKUPS_PER_INSTANCE_MAX: usize = 2;
/// Names that wait to be looked up.
pub const NET_LOOKUPS_WAITING_MAX: usize = 1_024;
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
/// Sockets outside of a test's node, and datagrams that wait in one of them.
pub const SCRIPT_SOCKETS_MAX: usize = 4_096;
/// Bytes that wait in one stream of a test until the script reads them; more are lost.
pub const SCRIPT_STREAM_BYTES_MAX: usize = 16 << 20;
/// Sockets that a replay refuses between two packets; a module that tries again at once would never end.
pub const REPLAY_REFUSALS_MAX: usize = 1_024;
/// Timers that may fire while a test lets time pass once.
pub const SCRIPT_WAKEUPS_MAX: usize = 1_000_000;

/// Rounds in which the signalling application's requests are carried to GIST after one input: each answers the last.
pub const SIGNAL_REQUEST_ROUNDS_MAX: usize = 64;
/// Outputs of signalling and controller that one input may lead to; what is left comes with the next.
pub const SIGNAL_PUMP_ROUNDS_MAX: usize = 4_096;
/// Requests at once whose answer the controller still owes.
pub const SIGNAL_PROBES_MAX: usize = 1_024;
/// Instances that the answer to a probe names.
pub const SIGNAL_REPORT_MODULES_MAX: usize = 64;
// --- packages and the controller ---

/// Bytes of a package: what the files of a module may have, with room for the archive's own headers.
pub const PACKAGE_BYTES_MAX: usize = MODULE_BYTES_MAX + 256 * 1024;
/// Entries of a package, its folders included.
pub const PACKAGE_ENTRIES_MAX: usize = 2 * MODULE_FILES_MAX;
/// Bytes of a URL of a package, or of one who is told: longer ones are no addresses but content.
pub const URL_BYTES_MAX: usize = 1_024;
/// Bytes of the trust file: some thousand requesters.
pub const TRUST_BYTES_MAX: usize = 1 << 20;
/// Bytes that modules of a requester may keep over restarts, each, when the trust file does not say: enough for settings
/// and small caches, and little beside what a disk has.
pub const TRUST_STORAGE_DEFAULT: u64 = 16 << 20;
/// Requesters in the trust file.
pub const REQUESTERS_MAX: usize = 4_096;
/// Items of one list of a requester: packages, URLs.
pub const REQUESTER_ITEMS_MAX: usize = 256;
/// Longest lifetime that a requester may be granted: a year. What is to stay for longer the owner loads.
pub const LIFETIME_MAX: Duration = Duration::from_secs(366 * 86_400);
/// Instances of all requesters together; the node's own come on top of them.
pub const SIGNALLED_MAX: usize = 1_024;
/// Longest time for one attempt to fetch a package, unless configured.
pub const FETCH_TIMEOUT_DEFAULT: Duration = Duration::from_secs(20);
/// Attempts to fetch a package, unless configured.
pub const FETCH_ATTEMPTS_DEFAULT: u32 = 3;
/// Packages that are fetched at once, unless configured: what the driver has threads for.
pub const FETCHES_DEFAULT: usize = 4;
/// Wait before a package is fetched again; doubles with each attempt.
pub const FETCH_RETRY_FIRST: Duration = Duration::from_secs(1);
/// A fetch of which nothing was heard this long after its time was over is taken to be lost.
pub const FETCH_GRACE: Duration = Duration::from_secs(5);
/// Instances whose packages are on their way at once; further requests are told to come later.
pub const PENDING_MAX: usize = 64;
/// Requests that wait for one instance to start.
pub const PENDING_TOKENS_MAX: usize = 16;
/// Signed requests that are remembered against replays, of all keys: 100 bytes each.
pub const NONCES_MAX: usize = 65_536;
/// Signed requests of one key that are remembered: one every 10 s, if each is valid for a day.
pub const NONCES_PER_KEY_MAX: usize = 8_192;
/// Expired requests that are forgotten in one step.
pub const NONCES_FORGOTTEN_PER_STEP: usize = 256;
/// How far a requester's clock may be ahead of the node's.
pub const CLOCK_SKEW_MAX: Duration = Duration::from_secs(60);
/// Longest time for which a request may be signed: it must be remembered so long.
pub const REQUEST_VALID_MAX: Duration = Duration::from_secs(86_400);
/// Conditions of one request.
pub const CONDITIONS_MAX: usize = 16;
/// Bytes of the controller's sentence in a log or a posted body; longer ones are cut. In an answer:
/// [`NSLP_REPORT_TEXT_BYTES_MAX`].
pub const SENTENCE_BYTES_MAX: usize = 1_024;
/// Instances that expire, are restored or removed in one step, so that packets do not wait long.
pub const CONTROLLER_STEPS_MAX: usize = 16;
/// Bytes of the file of an instance: a request has no more properties than a datagram holds.
pub const INSTANCE_FILE_BYTES_MAX: usize = 256 * 1024;
// The NetServ application of GIST.

/// Bytes of one of its messages that travels as a datagram, over IPv4: with GIST's objects around it (84 bytes, and a
/// peer identity of 16) it keeps to the 512 bytes that fit without knowledge of the path (RFC 5971, section 4.3.3).
pub const NSLP_DATAGRAM4_BYTES_MAX: usize = 420;
/// As [`NSLP_DATAGRAM4_BYTES_MAX`], over IPv6, whose addresses take 36 bytes more.
pub const NSLP_DATAGRAM6_BYTES_MAX: usize = 384;
/// Bytes of one of its messages over a messaging association: what one object of GIST holds.
pub const NSLP_MESSAGE_BYTES_MAX: usize = 4_095 * 4;
/// Bytes of a request in canonical form: room beside it for what is not signed.
pub const NSLP_REQUEST_BYTES_MAX: usize = 12 * 1024;
/// Items of each list in a request: a person wrote them.
pub const NSLP_LIST_MAX: usize = 64;
/// Bytes of one text in a request: a URL, the value of a property.
pub const NSLP_TEXT_BYTES_MAX: usize = 1_024;
/// Bytes of a text in a report, and of an answer's sentence; longer ones are cut, so that each fits in a datagram.
pub const NSLP_REPORT_TEXT_BYTES_MAX: usize = 200;
/// Values of a property that a request remembers as served: a path crosses few networks.
pub const NSLP_COVERED_MAX: usize = 32;
/// Nodes of the application on one path, as GIST's own hop count does.
pub const NSLP_HOPS_MAX: u8 = 64;
/// Parts of one answer: some 20 KiB as datagrams.
pub const NSLP_PARTS_MAX: u8 = 64;
/// Items of one node's report.
pub const NSLP_REPORT_ITEMS_MAX: usize = 1_024;
/// Bytes of one answer, over all its parts.
pub const NSLP_ANSWER_BYTES_MAX: usize = 128 * 1024;
/// Objects of one message; more is no message of ours.
pub const NSLP_OBJECTS_MAX: usize = 1_024;
/// Unknown objects that travel on with a message.
pub const NSLP_FORWARD_OBJECTS_MAX: usize = 16;
// GIST.
/// Routing entries: one per flow, session and direction. At about 1 kB each this is 64 MB.
pub const GIST_SESSIONS_MAX: usize = 65_536;
/// Entries that wait for a Confirm: their senders are not verified. Beyond this Queries are answered without state.
pub const GIST_UNCONFIRMED_MAX: usize = 1_024;
/// Entries with one peer address: half the table, so that none can take it all.
pub const GIST_SESSIONS_PER_PEER_MAX: u32 = 32_768;
/// Messages that wait for the peer of one entry.
pub const GIST_WAITING_PER_ENTRY_MAX: usize = 16;
/// Bytes of all messages that wait for a peer.
pub const GIST_WAITING_BYTES_MAX: usize = 16 << 20;
/// Cookies of one querier that are still good: all of one search at the default times, and one more.
pub const GIST_COOKIES_MAX: usize = 8;
/// Bytes of a cookie of a peer that this node echoes.
pub const GIST_COOKIE_BYTES_MAX: usize = 256;
/// Times that a Response is repeated while its Confirm is missing: each answers one Query that may be forged.
pub const GIST_RESPONSE_RETRIES_MAX: u32 = 4;
/// Datagrams and stream writes that wait for the driver.
pub const GIST_OUTPUTS_MAX: usize = 65_536;
/// Requests of applications that are carried out per input; they may ask again when called.
pub const GIST_REQUESTS_PER_INPUT_MAX: usize = 4_096;
/// Requests of applications that wait.
pub const GIST_REQUESTS_WAITING_MAX: usize = 65_536;
/// Bytes of a message in D-mode while the path's MTU is not known: 576 less room for headers (RFC 5971, section 4.3.3).
pub const GIST_DATAGRAM_BYTES_MAX: usize = 512;
/// Bytes of one message of an application: what the NSLP-Data object can hold.
pub const GIST_DATA_BYTES_MAX: usize = 4_095 * 4;
/// Messaging associations at once.
pub const GIST_ASSOCIATIONS_MAX: usize = 1_024;
/// Messaging associations with one address: one would do, a few are there when both sides open one at the same time.
pub const GIST_ASSOCIATIONS_PER_ADDRESS_MAX: usize = 16;
/// Bytes of one message over an association: the longest data, and twice that for everything else.
pub const GIST_STREAM_MESSAGE_BYTES_MAX: usize = 48 * 1024;
/// Accepted associations that have not said yet who they are.
pub const GIST_UNIDENTIFIED_MAX: usize = 256;
/// Shortest hold time of a peer that this node follows: it would have to send an MA-Hello at half of it.
pub const GIST_HOLD_TIME_MIN: Duration = Duration::from_millis(1_000);
/// Shortest validity time of a peer that this node follows.
pub const GIST_VALIDITY_MIN: Duration = Duration::from_millis(1_000);
// The GIST codec.

/// Bytes of an object that an Error shows with its header: two of them, session, MRI and NLI fit in 512 bytes.
pub const GIST_ERROR_OBJECT_BYTES_MAX: usize = 160;
/// Bytes of the comment in an Error that are read or written: a sentence for people.
pub const GIST_COMMENT_BYTES_MAX: usize = 1_024;
/// Unknown objects to be forwarded that one message may hold. None is defined as yet.
pub const GIST_FORWARD_OBJECTS_MAX: usize = 16;
// Signalling sockets.

/// Streams (TCP and TLS connections) of signalling at once, opened and accepted: half of the 1,024 descriptors that a
/// process may have without asking for more.
pub const SIGNAL_STREAMS_MAX: usize = 512;
/// Of these at most so many accepted, so that those who connect cannot keep this node from connecting.
pub const SIGNAL_STREAMS_ACCEPTED_MAX: usize = 384;
/// Accepted streams of one source (an IPv4 address, an IPv6 /64): many users may be behind one address, but no flood.
pub const SIGNAL_STREAMS_PER_SOURCE_MAX: usize = 64;
/// Accepted streams whose TLS handshake goes on: each takes some 50 KiB; the oldest makes room for a new one.
pub const SIGNAL_HANDSHAKES_MAX: usize = 64;
/// How long a peer may take to answer a connection: three repetitions of TCP's SYN.
pub const SIGNAL_CONNECT_WAIT_MAX: Duration = Duration::from_secs(10);
/// How long a TLS handshake may take.
pub const SIGNAL_HANDSHAKE_WAIT_MAX: Duration = Duration::from_secs(10);
/// How long what is to be written may wait without the peer taking any of it.
pub const SIGNAL_WRITE_WAIT_MAX: Duration = Duration::from_secs(30);
/// How long the last bytes of a closed stream, and its peer's farewell, are waited for.
pub const SIGNAL_CLOSE_WAIT_MAX: Duration = Duration::from_secs(10);
/// How long after an error no connection is accepted: mostly there are no descriptors left.
pub const SIGNAL_ACCEPT_PAUSE: Duration = Duration::from_secs(1);
/// Bytes that may wait to be written on one stream: eight of the longest GIST messages.
pub const SIGNAL_STREAM_QUEUE_BYTES_MAX: usize = 2 << 20;
/// Bytes that are read from a stream after it was closed here, for its peer to see an end in order.
pub const SIGNAL_DISCARDED_BYTES_MAX: usize = 1 << 20;
/// Bytes of one read: the longest UDP datagram.
pub const SIGNAL_READ_BYTES: usize = 65_535;
/// Inputs of signalling that are taken before packets get their turn.
pub const SIGNAL_INPUTS_PER_TURN_MAX: usize = 256;
/// Steps without an input for the node (handshakes, accepted connections) that are made at once.
pub const SIGNAL_STEPS_MAX: usize = 64;
/// Datagrams that could not be sent and wait to be reported; more are only counted.
pub const SIGNAL_UNSENT_MAX: usize = 64;
/// Destinations whose path is remembered; then all are forgotten.
pub const SIGNAL_PATHS_MAX: usize = 256;
/// How long a path is remembered: a route that moved is to be seen with the next refresh.
pub const SIGNAL_PATH_FRESH: Duration = Duration::from_secs(1);

// --- packages from afar, and what is kept on disk ---

/// Threads that fetch packages or tell somebody of something, at once. A node waits for few packages at a time.
pub const FETCH_THREADS_MAX: usize = 4;
/// Fetches that wait for a thread.
pub const FETCHES_WAITING_MAX: usize = 64;
/// Notifications that wait for a thread; more are dropped, since nobody relies on them.
pub const POSTS_WAITING_MAX: usize = 256;
/// Bytes of the body of one notification.
pub const POST_BYTES_MAX: usize = 64 * 1024;
/// How long one notification may take.
pub const POST_TIMEOUT: Duration = Duration::from_secs(10);
/// Redirects that a fetch follows.
pub const FETCH_REDIRECTS_MAX: usize = 3;
/// Bytes of the file of additional certificate authorities: as large as whole collections of them.
pub const CA_FILE_BYTES_MAX: usize = 4 << 20;
/// Files that a node keeps: an instance and a package for each of those that requesters have running, and some more.
pub const STORE_FILES_MAX: usize = 2 * SIGNALLED_MAX + 64;
/// Bytes of one file that a node keeps.
pub const STORE_FILE_BYTES_MAX: usize = 16 << 20;
/// Bytes of all files that a node reads back when it starts.
pub const STORE_BYTES_MAX: usize = 1 << 30;
/// Bytes of a key of the store.
pub const STORE_KEY_BYTES_MAX: usize = 128;
/// Parts of a key of the store: folders and the file.
pub const STORE_KEY_PARTS_MAX: usize = 4;
/// Connections to the web server at once.
pub const WEB_CONNECTIONS_MAX: usize = 64;
/// Bytes of the head of one HTTP request.
pub const WEB_HEAD_BYTES_MAX: usize = 8 * 1024;
/// Header fields of one HTTP request.
pub const WEB_HEADERS_MAX: usize = 64;
/// How long the head of a request may take to arrive whole.
pub const WEB_HEAD_WAIT_MAX: Duration = Duration::from_secs(10);
/// How long a connection may be silent between two requests.
pub const WEB_IDLE_MAX: Duration = Duration::from_secs(15);
/// How long an answer may wait for a reader who does not read.
pub const WEB_STALL_MAX: Duration = Duration::from_secs(10);
/// How long one answer may take altogether: a package at 128 kbit/s.
pub const WEB_ANSWER_MAX: Duration = Duration::from_secs(300);
/// How long what a refused client still sends is read away, so that it gets to see the answer.
pub const WEB_LINGER_MAX: Duration = Duration::from_secs(2);
/// Bytes written to one connection before the others get their turn.
pub const WEB_WRITE_PER_TURN_MAX: usize = 1 << 20;
/// Lines about served requests that are kept until somebody takes them.
pub const WEB_LOG_LINES_MAX: usize = 256;
/// Packages that `netserv serve` offers from one folder.
pub const SHELF_PACKAGES_MAX: usize = 1_024;
/// Bytes of all packages that `netserv serve` offers from one folder: they are in memory.
pub const SHELF_BYTES_MAX: usize = 512 << 20;
/// Sessions that a node remembers: some 2 KiB each. Those for which nothing runs give way to new ones.
pub const NSLP_SESSIONS_MAX: usize = 16_384;
/// Orders of an initiator at once.
pub const NSLP_ORDERS_MAX: usize = 16_384;
/// Bytes of all requests that a node remembers, with their answers: those of all sessions at once, if each is as long as
/// one with a package. Longer ones make other sessions give way.
pub const NSLP_SERVED_BYTES_MAX: usize = 64 << 20;
/// Sessions that are looked at for one that can give way: few, since floods ask for it with each packet.
pub const NSLP_ROOM_LOOKS_MAX: usize = 64;
/// Requests of one session that a node remembers: the last one, and those that came before it and may be on their way.
pub const NSLP_SERVED_MAX: usize = 3;
/// Events that wait for the driver. It drains them after each input.
pub const NSLP_EVENTS_MAX: usize = 65_536;
/// Deadlines handled by one call; the rest follow in the next one.
pub const NSLP_EXPIRE_MAX: usize = 256;
/// How long the last node waits for a next one, if neither its configuration nor the request says so: GIST sends five
/// Queries in this time (RFC 5971, section 5.3.3).
pub const NSLP_SEARCH_DEFAULT: Duration = Duration::from_secs(8);
/// Longest wait for a next node that a request may ask for.
pub const NSLP_SEARCH_MAX: Duration = Duration::from_secs(30);
/// An initiator repeats its request after this; then after twice as long each time.
pub const NSLP_REPEAT_FIRST: Duration = Duration::from_secs(1);
/// Longest wait between two repetitions.
pub const NSLP_REPEAT_MAX: Duration = Duration::from_secs(8);
/// A repetition that comes sooner after the last one is a duplicate made by the network, and not passed on.
pub const NSLP_REPEAT_MIN: Duration = Duration::from_millis(200);
/// An initiator that hears nothing new for this long gives up.
pub const NSLP_PATIENCE_DEFAULT: Duration = Duration::from_secs(30);
/// Longest time that an order takes, and that a node waits for its controller: long enough to fetch a package slowly.
pub const NSLP_ORDER_TIME_MAX: Duration = Duration::from_secs(600);
/// A node that has no answer after this says at least that it is there.
pub const NSLP_PLACE_AFTER: Duration = Duration::from_millis(300);
/// A session that is not to be kept ends when nothing came by for this long: an initiator that hears nothing has given up
/// by then, so no request of it is taken for a new one.
pub const NSLP_SESSION_IDLE: Duration = Duration::from_secs(45);
/// Shortest time for which a session is kept that is to be kept.
pub const NSLP_KEEP_MIN: Duration = Duration::from_secs(60);
/// Longest time for which a session is kept without another request.
pub const NSLP_KEEP_MAX: Duration = Duration::from_secs(24 * 3600);
/// An initiator tells how far it is once per this time.
pub const NSLP_PROGRESS_PERIOD: Duration = Duration::from_secs(1);
/// How often the node at one place of a path may change, or change its mind, during one request.
pub const NSLP_HOP_CHANGES_MAX: u8 = 8;
/// A datagram that the neighbour did not acknowledge is sent again after this; then after twice as long each time.
pub const NSLP_RESEND_FIRST: Duration = Duration::from_millis(500);
/// Longest wait before a datagram is sent again.
pub const NSLP_RESEND_MAX: Duration = Duration::from_secs(4);
/// How often a datagram is sent again: at 30 % loss one in 5,000 is lost all the same, and then the initiator repeats.
pub const NSLP_RESENDS_MAX: u32 = 6;
/// Datagrams of one session that wait to be acknowledged; more are sent once only.
pub const NSLP_UNACKED_MAX: usize = 128;
/// Bytes of all datagrams that wait to be acknowledged; more are sent once only.
pub const NSLP_UNACKED_BYTES_MAX: usize = 16 << 20;
/// Numbers of acknowledged datagrams that a session remembers, so that what comes twice is not passed on twice.
pub const NSLP_SEEN_MAX: usize = 128;
/// Notifications that an initiator remembers so that it tells each only once.
pub const NSLP_NOTICES_SEEN_MAX: usize = 16;
/// The same notification after this time is a new one.
pub const NSLP_NOTICE_NEW_AFTER: Duration = Duration::from_secs(10);

// Scenarios.

/// Machines of a scenario file; more are for benches.
pub const SCENARIO_MACHINES_MAX: usize = 1_000;
/// Virtual seconds that a scenario may last: a day.
pub const SCENARIO_SECONDS_MAX: f64 = 86_400.0;
/// Lines of its modules that are kept of each machine for people to read.
pub const SCENARIO_LOG_LINES_MAX: usize = 100;
// --- the live page ---

/// Browsers that look at the page at once.
pub const PAGE_VIEWERS_MAX: usize = 16;
/// Connections to the server of the page at once: each has a thread. A browser keeps some besides the one that it looks with.
pub const PAGE_CONNECTIONS_MAX: usize = 64;
/// Moments that wait for one browser. One that is further behind is skipped ahead.
pub const PAGE_QUEUE_MAX: usize = 64;
/// Controls that wait for whoever plays the scene.
pub const PAGE_CONTROLS_MAX: usize = 32;
/// Bytes of the body of one control.
pub const PAGE_CONTROL_BYTES_MAX: u64 = 4096;
/// Bytes of the head of a request for the page.
pub const PAGE_HEAD_BYTES_MAX: usize = 16 * 1024;
/// How long the head of a request for the page may take.
pub const PAGE_HEAD_WAIT_MAX: Duration = Duration::from_secs(5);
/// How long a connection may be silent between two requests: short, since it holds a thread.
pub const PAGE_IDLE_MAX: Duration = Duration::from_secs(5);
/// How long a browser may take for what is written to it at once.
pub const PAGE_STALL_MAX: Duration = Duration::from_secs(20);
/// Shortest time between two pictures of the whole scene for those who come late or are behind.
pub const PAGE_CATCH_UP_PERIOD: Duration = Duration::from_millis(200);
/// Bytes of a token.
pub const PAGE_TOKEN_BYTES_MAX: usize = 1024;
/// Shortest token, in bytes: nobody guesses it.
pub const PAGE_TOKEN_BYTES_MIN: usize = 16;
/// Lines of what happened that are kept for those who come late.
pub const PAGE_NOTES_MAX: usize = 500;
/// Values that are kept of each line of a chart; beyond that every second one is left out.
pub const PAGE_SAMPLES_MAX: usize = 600;
/// Lines of all charts together.
pub const PAGE_SERIES_MAX: usize = 256;
/// Messages on their way that are kept for those who come late.
pub const PAGE_MESSAGES_MAX: usize = 256;
/// Instances that are kept for those who come late.
pub const PAGE_INSTANCES_MAX: usize = 16_384;
/// Flows that are kept for those who come late.
pub const PAGE_FLOWS_MAX: usize = 4096;
/// Lines of its modules' logs that the page of a node shows.
pub const PAGE_LOG_LINES_MAX: usize = 200;
/// How often a node tells what happened, while somebody looks.
pub const PAGE_NODE_PERIOD: Duration = Duration::from_secs(1);
/// Conversations of a simulated network that are watched at once; more are not shown.
pub const SIM_CONVERSATIONS_MAX: usize = 4_096;
