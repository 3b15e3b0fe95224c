//! A running module: one VM, its limits, and the effects that wait for the node.

use std::net::IpAddr;
use std::time::Duration;

use crate::base::id::{FlowId, InstanceId, LinkId};
use crate::base::net::{NetEvent, NetOutput, SocketId};
use crate::base::packet::PacketMut;
use crate::base::time::Instant;
use crate::blocks::metrics::Metrics;
use crate::container::api::effects::one_line;
use crate::container::api::http;
use crate::container::fault::Fault;
use crate::container::manifest::{Changes, Manifest, Sees};
use crate::container::module::Module;
use crate::container::properties::Properties;
use crate::container::services::Copied;
use crate::container::surroundings::{FlowRecord, Surroundings};
use crate::container::vm::Vm;
use crate::container::vm::call::{Entry, Has};
use crate::container::vm::host::Host;
use crate::wire::edit;
use crate::wire::header::{Fragment, Header};
use crate::wire::nslp::answer::Answer;
use crate::wire::nslp::request::{ModuleRequest, Operation, Target};

mod told;

/// What becomes of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// It goes on as it came.
    Pass,
    /// It goes on; the handler changed it.
    Changed,
    /// It is dropped.
    Drop,
    /// The handler turned it into its answer: it goes back to where it came from.
    Reply,
}

/// What a packet handler returned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// What becomes of the packet.
    pub action: Action,
    /// The same for all further packets of the flow, without asking the handler: a native rule. Pass and drop only.
    pub whole_flow: bool,
}

/// Where a packet that a module made leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SendTo {
    /// By the link that the packet at hand would go on by; outside of a packet handler, the node's first link.
    Onward,
    /// By the link that the packet at hand came from; outside of a packet handler, the node's first link.
    Back,
}

/// How much a log line matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum LogLevel {
    /// For the module's author.
    Debug,
    /// A state that a user sees.
    Info,
    /// Somebody should look.
    Warn,
}

/// What module code asked for while it ran.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Send a packet; it is checked to be valid IP, its checksums are complete.
    Send {
        /// From the IP header on.
        bytes: Vec<u8>,
        /// Where to.
        to: SendTo,
    },
    /// A line for the log.
    Log {
        /// How much it matters.
        level: LogLevel,
        /// At most [`crate::base::limits::LOG_LINE_BYTES_MAX`] bytes.
        text: String,
    },
    /// Call [`Instance::go_on`]: tasks wait for it.
    GoOn,
    /// A task ended with an error.
    TaskFailed {
        /// What it says; at most 1 KiB.
        message: String,
    },
    /// Something for a socket of this instance.
    Net(NetOutput),
    /// Look at its watches once per [`crate::base::limits::WATCH_PERIOD`]: [`Instance::on_watches`].
    Watch,
    /// Signal along a path; answered by [`Instance::on_signal_answered`].
    Signal(SignalOrder),
    /// From now on it provides a service.
    Provide {
        /// Its name, which the manifest declares.
        name: String,
        /// What can be called, in the order of the names.
        functions: Vec<String>,
    },
    /// It no longer provides a service.
    Withdraw {
        /// Its name.
        name: String,
    },
    /// Call a service of another instance; answered by [`Instance::on_answer`].
    Call(ServiceCall),
    /// The answer to [`Instance::on_call`].
    Return {
        /// Which call.
        call: u64,
        /// What the function returned, packed in a table; or its error.
        result: Result<Copied, String>,
    },
    /// Call [`Instance::on_timer`] with `number` after `delay`.
    SetTimer {
        /// The instance's own number for it.
        number: u32,
        /// From now.
        delay: Duration,
    },
}

/// A signal that a module sends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignalOrder {
    /// The instance's own number for it.
    pub number: u32,
    /// Where the path leads.
    pub to: IpAddr,
    /// What is to be done.
    pub operation: Operation,
    /// Which nodes are meant.
    pub target: Target,
    /// What must hold at a node.
    pub conditions: Vec<String>,
    /// What the instance is called there.
    pub instance: String,
    /// For a setup.
    pub module: Option<ModuleRequest>,
    /// For a probe: bits of [`crate::wire::nslp::request::ask`].
    pub asks: u8,
    /// Over TCP, or TLS, instead of datagrams.
    pub reliable: bool,
    /// Over TLS.
    pub secure: bool,
}

/// What came of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SignalAnswers {
    /// The nodes that answered, in the order of the path.
    pub answers: Vec<Answer>,
    /// Why not all did, as a sentence.
    pub problem: Option<String>,
}

/// A call of a service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceCall {
    /// The caller's own number for it.
    pub number: u32,
    /// Who provides the service.
    pub to: InstanceId,
    /// The service's name.
    pub service: String,
    /// What is called.
    pub function: String,
    /// The arguments, packed in a table.
    pub arguments: Copied,
    /// How many calls the caller serves itself, one within the other.
    pub depth: u32,
}

/// Bytes of a packet that a handler with [`Sees::Headers`] gets at least; its headers always come whole.
const HEADERS_SEEN: usize = 128;
/// Safepoints that reading what came for a server stands for where time is virtual: some 10 µs.
const HTTP_SAFEPOINTS: u64 = 1_000;
/// How much longer small tables are in a VM than they are as they are copied, at most about.
const COPIED_TABLE_FACTOR: u64 = 8;
/// Bytes of the reason that `stop` gets.
const STOP_REASON_BYTES_MAX: usize = 256;

// Flags of a packet; `require("@netserv")` names them.
const FLAG_IPV6: u32 = 1;
const FLAG_FIRST_FRAGMENT: u32 = 2;
const FLAG_LATER_FRAGMENT: u32 = 4;
const FLAG_SUPER_PACKET: u32 = 8;
const FLAG_TRUNCATED: u32 = 16;
const FLAGS_TCP_SHIFT: u32 = 8;
const FLAGS_SEGMENTS_SHIFT: u32 = 16;

// Verdicts as the Luau side numbers them.
const VERDICT_PASS: u32 = 0;
const VERDICT_DROP: u32 = 1;
const VERDICT_CHANGED: u32 = 2;
const VERDICT_REPLY: u32 = 3;
const VERDICT_FLOW: u32 = 16;

/// A running module.
///
/// After each call take the effects with [`Instance::next_effect`] until there is none. After a fault that does not
/// leave the VM usable ([`Fault::leaves_vm_usable`]) nothing of the module runs any more: further calls return the same
/// fault, and the instance is to be dropped.
pub struct Instance {
    vm: Vm,
    /// Which functions the module has: bits of [`Has`].
    has: u32,
}

impl Instance {
    /// Makes the VM, runs the module's entry file and its `start`.
    ///
    /// # Errors
    ///
    /// The fault of the module.
    pub fn start(
        id: InstanceId,
        module: &Module,
        properties: &Properties,
        surroundings: &Surroundings,
        now: Instant,
    ) -> Result<Instance, Fault> {
        let host = Host::new(id, module, properties, surroundings);
        let mut instance = Instance { vm: Vm::start(host, &surroundings.cpu)?, has: 0 };
        instance.begin(now);
        instance.vm.call(Entry::Load, &[])?;
        instance.has = instance.vm.call(Entry::Start, &[])?[0] as u32;
        Ok(instance)
    }

    /// Shows a packet to the module, and puts its changes into the packet, with right lengths and checksums.
    ///
    /// # Errors
    ///
    /// The fault of the module; the packet is then as it came.
    pub fn on_packet(
        &mut self,
        now: Instant,
        _link: LinkId,
        flow: FlowId,
        header: &Header,
        packet: &mut PacketMut<'_>,
    ) -> Result<Verdict, Fault> {
        if !self.has(Has::PACKET) {
            return Ok(Verdict { action: Action::Pass, whole_flow: false });
        }
        self.begin(now);
        let bytes = packet.bytes().get(..header.end as usize).unwrap_or(packet.bytes());
        let shown = match self.manifest().sees {
            Sees::Headers => bytes.len().min(HEADERS_SEEN.max(usize::from(header.payload_at))),
            Sees::Payload => bytes.len(),
        };
        if shown > self.vm.host().registered.buffer_bytes() {
            self.vm.call(Entry::Grow, &[])?;
        }
        self.vm.show(&bytes[..shown]);
        let arguments = packet_arguments(bytes.len(), flow, header, packet);
        let [verdict, len] = self.vm.call_packet(&arguments)?;
        if verdict == 0.0 {
            return Ok(Verdict { action: Action::Pass, whole_flow: false });
        }
        self.judge(verdict, len, shown, header, packet)
    }

    /// A timer is due. Does nothing when it was cancelled.
    ///
    /// # Errors
    ///
    /// The fault of the module.
    pub fn on_timer(&mut self, now: Instant, number: u32) -> Result<(), Fault> {
        self.begin(now);
        let host = self.vm.host();
        host.timers.borrow_mut().woken(number);
        let due = if self.vm.is_dead() { None } else { host.timers.borrow_mut().expire(now) };
        // Asked for before the call, so that the other timers go on whatever becomes of it.
        let wakeup = host.timers.borrow_mut().wakeup(now);
        if let Some(wakeup) = wakeup {
            let set = Effect::SetTimer { number: wakeup.number, delay: wakeup.delay };
            host.effects.borrow_mut().add(set).expect("it is the first effect of this call");
        }
        match due {
            Some(number) if http::is_tick(host, number) => {
                let keys = host.guard().work(HTTP_SAFEPOINTS, || http::tick(host));
                keys.into_iter().try_for_each(|key| self.wake(key))
            }
            Some(number) => self.vm.call(Entry::Timer, &[f64::from(number)]).map(|_| ()),
            None => Ok(()),
        }
    }

    /// Goes on with the tasks that can. Does nothing once the module was ended.
    ///
    /// # Errors
    ///
    /// The fault of the module.
    pub fn go_on(&mut self, now: Instant) -> Result<(), Fault> {
        // Whoever ended it was told then.
        if self.vm.is_dead() {
            return Ok(());
        }
        self.begin(now);
        self.vm.call(Entry::Ready, &[]).map(|_| ())
    }

    /// Something happened to one of its sockets; the task that waits for it goes on.
    ///
    /// # Errors
    ///
    /// The fault of the module.
    pub fn on_net(&mut self, now: Instant, socket: SocketId, event: NetEvent<'_>) -> Result<(), Fault> {
        let wakes = self.happened(now, socket, event);
        wakes.into_iter().try_for_each(|key| self.wake(key))
    }

    /// As [`Instance::on_net`], but nothing of the module runs yet: answers what is to be given to [`Instance::wake_up`].
    pub fn happened(&mut self, now: Instant, socket: SocketId, event: NetEvent<'_>) -> Vec<f64> {
        self.begin(now);
        let host = self.vm.host();
        let keys = host.sockets.borrow_mut().happened(socket, event);
        if !host.http.borrow().has_servers() {
            return keys.into_vec();
        }
        host.guard().work(HTTP_SAFEPOINTS, || http::happened(host, socket.number, keys).into_vec())
    }

    /// The task that waits for a key goes on, if there is one.
    ///
    /// # Errors
    ///
    /// The fault of the module.
    pub fn wake_up(&mut self, now: Instant, key: f64) -> Result<(), Fault> {
        self.begin(now);
        self.wake(key)
    }

    fn wake(&mut self, key: f64) -> Result<(), Fault> {
        self.vm.call(Entry::Wake, &[key]).map(|_| ())
    }

    /// Whether the module wants to know when flows end: it has an `on_flow_end`.
    #[must_use]
    pub fn wants_flow_ends(&self) -> bool {
        self.has(Has::FLOW_END)
    }

    /// A flow that it looked at is forgotten.
    ///
    /// # Errors
    ///
    /// The fault of the module.
    pub fn on_flow_end(&mut self, now: Instant, flow: &FlowRecord) -> Result<(), Fault> {
        if !self.has(Has::FLOW_END) {
            return Ok(());
        }
        self.begin(now);
        self.vm.host().flow_end.set(Some(*flow));
        self.vm.call(Entry::FlowEnd, &[]).map(|_| ())
    }

    /// What the module's `report` returns; `None` if it has none.
    ///
    /// # Errors
    ///
    /// The fault of the module.
    pub fn report(&mut self, now: Instant) -> Result<Option<serde_json::Value>, Fault> {
        if !self.has(Has::REPORT) {
            return Ok(None);
        }
        self.begin(now);
        self.vm.call(Entry::Report, &[])?;
        Ok(self.vm.host().report.borrow_mut().take())
    }

    /// Runs the module's `stop`, if it has one.
    ///
    /// # Errors
    ///
    /// The fault of the module.
    pub fn stop(&mut self, now: Instant, reason: &str) -> Result<(), Fault> {
        if !self.has(Has::STOP) {
            return Ok(());
        }
        self.begin(now);
        *self.vm.host().stop_reason.borrow_mut() = one_line(reason.as_bytes(), STOP_REASON_BYTES_MAX);
        self.vm.call(Entry::Stop, &[]).map(|_| ())
    }

    /// What the last call asked for, in order.
    pub fn next_effect(&mut self) -> Option<Effect> {
        let host = self.vm.host();
        let effect = host.effects.borrow_mut().next();
        effect.or_else(|| host.sockets.borrow_mut().next_output().map(Effect::Net))
    }

    /// The module's counters, in the order of their names.
    #[must_use]
    pub fn counters(&self) -> Vec<(&str, u64)> {
        let names = self.manifest().counters.keys();
        names.enumerate().map(|(index, name)| (name.as_str(), self.vm.counter(index))).collect()
    }

    /// What it shows to monitoring.
    #[must_use]
    pub fn metrics(&self) -> Metrics {
        self.vm.host().metrics.borrow().clone()
    }

    /// Memory that the VM uses, and that requests take which wait for it, in bytes.
    #[must_use]
    pub fn memory_bytes(&self) -> u64 {
        self.vm.memory_bytes() + self.vm.host().http.borrow().held_bytes() as u64
    }

    /// Whether its VM has room for values that are so long as they are copied.
    #[must_use]
    pub fn has_room_for(&self, bytes: usize) -> bool {
        let wanted = bytes as u64 * COPIED_TABLE_FACTOR;
        self.vm.memory_bytes() + wanted <= self.manifest().limits.memory_bytes
    }

    /// Bytes that it keeps over restarts.
    #[must_use]
    pub fn stored_bytes(&self) -> u64 {
        let host = self.vm.host();
        if host.allowed.store { host.storage.used_bytes() } else { 0 }
    }

    /// CPU time of its code so far, in ns. Of short packet handlers this is an estimate from a sample.
    #[must_use]
    pub fn cpu_ns(&self) -> u64 {
        self.vm.host().guard().cpu_ns()
    }

    /// Calls into its VM so far.
    #[must_use]
    pub fn calls(&self) -> u64 {
        self.vm.host().guard().calls()
    }

    /// Limits that it ran against since this was last asked, name and count: its code was told of them by an error, or
    /// datagrams and streams found no room.
    pub fn take_limit_hits(&self) -> Vec<(&'static str, u64)> {
        let host = self.vm.host();
        let mut hits = if host.limit_hits.borrow().is_empty() { Vec::new() } else { host.limit_hits.take() };
        let dropped = host.sockets.borrow_mut().take_dropped();
        for (limit, count) in [("datagrams", dropped.datagrams), ("sockets", dropped.sockets)] {
            if count > 0 {
                hits.push((limit, count));
            }
        }
        hits
    }

    fn manifest(&self) -> &Manifest {
        &self.vm.host().manifest
    }

    const fn has(&self, bit: u32) -> bool {
        self.has & bit != 0
    }

    /// A call begins.
    fn begin(&self, now: Instant) {
        let host = self.vm.host();
        host.now.set(now);
        host.effects.borrow_mut().begin_call();
    }

    /// Turns the handler's numbers into a verdict, and puts what it changed into the packet. The manifest is checked here
    /// too, because the raw form can return anything.
    fn judge(
        &mut self,
        verdict: f64,
        len: f64,
        shown: usize,
        header: &Header,
        packet: &mut PacketMut<'_>,
    ) -> Result<Verdict, Fault> {
        let number = if (0.0..256.0).contains(&verdict) && verdict.fract() == 0.0 { verdict as u32 } else { u32::MAX };
        let whole_flow = number & VERDICT_FLOW != 0;
        let needs =
            |what: &str| raised(format!("on_packet: this module may not {what}: module.toml does not ask for it"));
        let manifest = self.manifest();
        match number & !VERDICT_FLOW {
            VERDICT_PASS => Ok(Verdict { action: Action::Pass, whole_flow }),
            VERDICT_DROP if !manifest.drops => Err(needs("drop packets")),
            VERDICT_DROP => Ok(Verdict { action: Action::Drop, whole_flow }),
            VERDICT_CHANGED | VERDICT_REPLY if whole_flow => {
                Err(raised("on_packet: only PASS and DROP can be the verdict for a whole flow".to_owned()))
            }
            VERDICT_CHANGED if manifest.changes == Changes::Nothing => Err(needs("change packets")),
            VERDICT_CHANGED => {
                self.put_changes(len, shown, header, packet)?;
                Ok(Verdict { action: Action::Changed, whole_flow: false })
            }
            VERDICT_REPLY if !manifest.drops => Err(needs("answer in place of packets")),
            VERDICT_REPLY => {
                self.put_reply(len, shown, header, packet)?;
                Ok(Verdict { action: Action::Reply, whole_flow: false })
            }
            _ => Err(raised(format!("on_packet: {verdict} is no verdict; netserv.PASS and the like are"))),
        }
    }

    /// Takes a changed packet out of the buffer, as far as the manifest lets the module change it.
    fn put_changes(&self, len: f64, shown: usize, header: &Header, packet: &mut PacketMut<'_>) -> Result<(), Fault> {
        let end = header.end as usize;
        let new_len = self.new_len(len, end)?;
        let payload_at = usize::from(header.payload_at).min(shown);
        let edited = self.vm.shown(new_len.max(shown));
        let committed = match self.manifest().changes {
            Changes::Nothing | Changes::Headers if edited[payload_at..shown] != packet.bytes()[payload_at..shown] => {
                return Err(raised(
                    "on_packet: the payload was changed, but module.toml allows only headers".to_owned(),
                ));
            }
            Changes::Nothing | Changes::Headers | Changes::Payload if new_len != end => {
                return Err(raised(format!(
                    "on_packet: the length went from {end} to {new_len} bytes; that needs changes = \"length\""
                )));
            }
            Changes::Nothing | Changes::Headers => edit::commit_head(packet, header, &edited[..payload_at]),
            Changes::Payload | Changes::Length if new_len == end && shown < end => {
                edit::commit_head(packet, header, &edited[..shown])
            }
            Changes::Payload | Changes::Length => edit::commit(packet, header, &edited[..new_len]),
        };
        committed.map_err(|e| raised(format!("on_packet: {e}")))
    }

    /// Takes an answer out of the buffer. It is the module's own packet, so it may be of another length.
    fn put_reply(&self, len: f64, shown: usize, header: &Header, packet: &mut PacketMut<'_>) -> Result<(), Fault> {
        let end = header.end as usize;
        let new_len = self.new_len(len, end)?;
        let edited = self.vm.shown(new_len.max(shown));
        let committed = if new_len == end && shown < end {
            edit::commit_head(packet, header, &edited[..shown])
        } else {
            edit::commit(packet, header, &edited[..new_len])
        };
        committed.map_err(|e| raised(format!("on_packet: {e}")))
    }

    /// The length that the handler returned; without one, the packet's own.
    fn new_len(&self, len: f64, end: usize) -> Result<usize, Fault> {
        if len == 0.0 || len == end as f64 {
            return Ok(end);
        }
        let buffer_bytes = self.vm.host().registered.buffer_bytes();
        if len.fract() == 0.0 && (1.0..=buffer_bytes as f64).contains(&len) {
            return Ok(len as usize);
        }
        Err(raised(format!("on_packet: {len} is no length; the packet buffer has {buffer_bytes} bytes")))
    }
}

fn raised(message: String) -> Fault {
    Fault::Raised { message }
}

/// What the handler gets beside the buffer.
#[inline]
fn packet_arguments(len: usize, flow: FlowId, header: &Header, packet: &PacketMut<'_>) -> [f64; 11] {
    let v4 = header.ip_version == 4;
    let (source, destination) = if v4 { (header.source as u32, header.destination as u32) } else { (0, 0) };
    let (source_port, destination_port) = header.ports.unwrap_or_default();
    let flag = |yes: bool, bit: u32| if yes { bit } else { 0 };
    let flags = flag(!v4, FLAG_IPV6)
        | flag(matches!(header.fragment, Fragment::First(_)), FLAG_FIRST_FRAGMENT)
        | flag(matches!(header.fragment, Fragment::Later(_)), FLAG_LATER_FRAGMENT)
        | flag(packet.offload.is_super_packet(), FLAG_SUPER_PACKET)
        | flag(packet.truncated, FLAG_TRUNCATED)
        | u32::from(header.tcp_flags) << FLAGS_TCP_SHIFT
        | packet.offload.segment_count(header.payload_bytes()).min(0xffff) << FLAGS_SEGMENTS_SHIFT;
    [
        len as f64,
        f64::from(header.protocol),
        f64::from(source),
        f64::from(source_port),
        f64::from(destination),
        f64::from(destination_port),
        f64::from(header.payload_at),
        flow.as_number(),
        f64::from(flags),
        f64::from(header.payload_end),
        f64::from(header.transport_at),
    ]
}

#[cfg(test)]
mod tests;
