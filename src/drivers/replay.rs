//! Runs a node on capture files, at virtual time: the same files give the same output and report, byte for byte.
//!
//! Time is that since the first frame of the first file; wakeups are given at their deadlines between the frames. A
//! file is a link whose packets go on into the output file. A file that begins before the end of the one before it is
//! moved behind it as a whole; a frame with an earlier time than the one before it is given at that one's time.

pub mod reader;
pub mod report;
pub mod writer;

mod relink;

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::Path;

use crate::base::id::LinkId;
use crate::base::limits::{
    FLOWS_DEFAULT, PACKET_BYTES_MAX, REPLAY_EVENTS_MAX, REPLAY_REFUSALS_MAX, REPLAY_WAKEUPS_PER_GAP_MAX,
};
use crate::base::packet::{Offload, Packet, PacketMut};
use crate::base::time::{Instant, WallTime};
use crate::container::module::Module;
use crate::container::surroundings::CpuGuard;
use crate::drivers::loopback_net;
use crate::drivers::replay::reader::{CaptureError, CaptureReader, Frame};
use crate::drivers::replay::relink::{Onward, Relink};
use crate::drivers::replay::report::{EventReport, FileReport, Flows, ModuleReport, Report};
use crate::drivers::replay::writer::CaptureWriter;
use crate::node::{
    Command, CommandError, Decision, Input, InstanceView, LinkConfig, LinkKind, Node, NodeConfig, Output,
};
use crate::wire::frame::{self, FrameContent};

/// What a module is told that opens a socket.
const NO_NETWORK: &str = "there is no network in a replay";

/// A capture file that is opened when its turn comes.
pub struct Capture<'a> {
    name: String,
    open: Box<dyn FnOnce() -> io::Result<Box<dyn Read + 'a>> + 'a>,
}

impl<'a> Capture<'a> {
    /// A file.
    #[must_use]
    pub fn file(path: &Path) -> Capture<'a> {
        let owned = path.to_owned();
        let open = move || Ok(Box::new(File::open(owned)?) as Box<dyn Read>);
        Capture { name: path.display().to_string(), open: Box::new(open) }
    }

    /// Anything that can be read; `name` is what reports call it.
    #[must_use]
    pub fn reader(name: &str, reader: impl Read + 'a) -> Capture<'a> {
        Capture { name: name.to_owned(), open: Box::new(move || Ok(Box::new(reader) as Box<dyn Read>)) }
    }
}

/// A module to load before the first packet.
#[derive(Clone, Debug)]
pub struct ModuleOrder {
    /// The checked module.
    pub module: Module,
    /// What the instance is called; the module's name if not given.
    pub name: Option<String>,
    /// Its properties.
    pub properties: toml::Table,
}

/// How to replay.
pub struct Options<'a> {
    /// Gets what comes out, as a pcap file with the link type of the first frame.
    pub out: Option<&'a mut dyn Write>,
    /// For everything random.
    pub seed: u64,
    /// Flows remembered at once.
    pub flows_max: u32,
}

impl Default for Options<'_> {
    fn default() -> Self {
        Options { out: None, seed: 0, flows_max: FLOWS_DEFAULT }
    }
}

/// Why a replay could not be done. What is wrong with a capture file stands in its [`FileReport::error`].
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// A module was refused.
    #[error("module \"{module}\" cannot be loaded")]
    Load {
        /// The instance's name, or the module's.
        module: String,
        /// Why.
        #[source]
        source: CommandError,
    },
    /// The node did not answer the order to load a module: a mistake in netserv.
    #[error("module \"{module}\" was not loaded, and the node does not say why")]
    NoAnswer {
        /// The instance's name, or the module's.
        module: String,
    },
    /// The output cannot be written.
    #[error("the output capture cannot be written")]
    Write(#[source] io::Error),
}

/// Replays `captures` in their order through a node with `modules`.
///
/// A capture that is broken is replayed up to there, its report says where; the next one follows.
///
/// # Errors
///
/// When a module is refused, or the output cannot be written.
pub fn run<'a>(
    captures: impl IntoIterator<Item = Capture<'a>>,
    modules: Vec<ModuleOrder>,
    options: Options<'_>,
) -> Result<Report, ReplayError> {
    let mut waiting = Some((modules, options));
    let mut replay = None;
    let mut unread = Vec::new();
    for capture in captures {
        let mut file = FileReport { name: capture.name, ..FileReport::default() };
        let read = match (capture.open)() {
            Ok(source) => read_capture(source, &mut file, &mut replay, &mut waiting)?,
            Err(source) => Err(CaptureError::Read { offset: 0, source }),
        };
        file.error = read.err().map(|e| describe(&e));
        match &mut replay {
            Some(replay) => replay.end_file(file),
            None => unread.push(file),
        }
    }
    let mut replay = match (replay, waiting) {
        (Some(replay), _) => replay,
        (None, Some((modules, options))) => Replay::start(modules, options, WallTime::default(), frame::RAW)?,
        (None, None) => unreachable!("what waits is only taken to make a replay"),
    };
    replay.report.files.splice(0..0, unread);
    replay.finish()
}

/// Replays one capture; the first frame of all makes the replay. The inner error is the capture's.
fn read_capture<'o>(
    source: Box<dyn Read + '_>,
    file: &mut FileReport,
    replay: &mut Option<Replay<'o>>,
    waiting: &mut Option<(Vec<ModuleOrder>, Options<'o>)>,
) -> Result<Result<(), CaptureError>, ReplayError> {
    let mut reader = match CaptureReader::new(source) {
        Ok(reader) => reader,
        Err(e) => return Ok(Err(e)),
    };
    file.format = reader.format().name();
    loop {
        let frame = match reader.next_frame() {
            Ok(Some(frame)) => frame,
            Ok(None) => return Ok(Ok(())),
            Err(e) => return Ok(Err(e)),
        };
        if let Some((modules, options)) = waiting.take() {
            let wall = WallTime::from_nanos(frame.time_ns);
            *replay = Some(Replay::start(modules, options, wall, frame.link_type)?);
        }
        if let Some(replay) = replay {
            replay.frame(file, &frame)?;
        }
    }
}

/// An error with its causes, in one line.
fn describe(error: &CaptureError) -> String {
    match error {
        CaptureError::Read { offset, source } => format!("cannot be read at byte {offset}: {source}"),
        CaptureError::NotACapture { .. } | CaptureError::Cut { .. } | CaptureError::Broken { .. } => error.to_string(),
    }
}

/// A replay between its first and its last frame.
struct Replay<'o> {
    node: Node,
    link: LinkId,
    wall: WallTime,
    now: Instant,
    /// Where the file at hand stands in virtual time.
    file_clock: Option<FileClock>,
    /// The frame at hand, with room behind it for the packet to grow.
    work: Vec<u8>,
    relink: Relink,
    out: Option<CaptureWriter<&'o mut dyn Write>>,
    report: Report,
}

/// Times within one file.
struct FileClock {
    /// What is added to the file's times, in ns: 0 unless it was moved.
    moved_ns: u64,
    first_ns: u64,
    last_ns: u64,
    previous_ns: u64,
}

impl<'o> Replay<'o> {
    fn start(
        modules: Vec<ModuleOrder>,
        options: Options<'o>,
        wall: WallTime,
        link_type: u32,
    ) -> Result<Replay<'o>, ReplayError> {
        let mut node = Node::new(NodeConfig {
            flows_max: options.flows_max,
            capture: Vec::new(),
            seed: options.seed,
            wall,
            cpu: CpuGuard::Safepoints,
        });
        let link = node.add_link(LinkConfig { name: "capture".to_owned(), kind: LinkKind::Inline { to: LinkId(0) } });
        let out =
            options.out.map(|sink| CaptureWriter::new(sink, link_type)).transpose().map_err(ReplayError::Write)?;
        let mut replay = Replay {
            node,
            link,
            wall,
            now: Instant::START,
            file_clock: None,
            work: Vec::new(),
            relink: Relink::new(link_type),
            out,
            report: Report::default(),
        };
        for (number, order) in modules.into_iter().enumerate() {
            replay.load(number as u64, order)?;
        }
        Ok(replay)
    }

    fn load(&mut self, number: u64, order: ModuleOrder) -> Result<(), ReplayError> {
        let module = order.name.clone().unwrap_or_else(|| order.module.manifest.name.clone());
        let ModuleOrder { module: checked, name, properties } = order;
        self.node
            .handle(self.now, Input::Command(number, Command::Load { module: checked, name, properties, grant: None }));
        let mut answer = None;
        self.drain_with(|of, result| answer = (of == number).then_some(result))?;
        match answer {
            Some(Ok(_)) => Ok(()),
            Some(Err(source)) => Err(ReplayError::Load { module, source }),
            None => Err(ReplayError::NoAnswer { module }),
        }
    }

    /// Gives one frame to the node, at its time.
    fn frame(&mut self, file: &mut FileReport, frame: &Frame<'_>) -> Result<(), ReplayError> {
        let at = self.time_of(file, frame.time_ns);
        self.advance(file, at)?;
        file.frames += 1;
        file.bytes += u64::from(frame.wire_bytes);
        file.count_link_type(frame.link_type);
        let truncated = (frame.bytes.len() as u64) < u64::from(frame.wire_bytes);
        file.truncated += u64::from(truncated);
        match frame::find_ip(frame.link_type, frame.bytes) {
            FrameContent::Ip { at } => return self.packet(frame, at, truncated),
            FrameContent::NotIp => file.not_ip += 1,
            FrameContent::Short => file.short += 1,
        }
        self.node.frame_without_ip(self.link, frame.wire_bytes);
        self.write(frame, Onward::Frame)
    }

    /// When a frame is given. Never before the one before it.
    fn time_of(&mut self, file: &mut FileReport, time_ns: u64) -> Instant {
        let now_ns = self.wall.at(self.now).as_nanos();
        let clock = self.file_clock.get_or_insert_with(|| FileClock {
            moved_ns: now_ns.saturating_sub(time_ns),
            first_ns: time_ns,
            last_ns: time_ns,
            previous_ns: time_ns,
        });
        file.backwards += u64::from(time_ns < clock.previous_ns);
        clock.previous_ns = time_ns;
        clock.first_ns = clock.first_ns.min(time_ns);
        clock.last_ns = clock.last_ns.max(time_ns);
        (file.first_ns, file.duration_ns) = (clock.first_ns, clock.last_ns - clock.first_ns);
        file.moved_ns = clock.moved_ns;
        let moved = time_ns.saturating_add(clock.moved_ns);
        Instant::from_nanos(moved.saturating_sub(self.wall.as_nanos())).max(self.now)
    }

    /// Moves the clock to `to`, with the wakeups that the node wants before it.
    fn advance(&mut self, file: &mut FileReport, to: Instant) -> Result<(), ReplayError> {
        for _ in 0..REPLAY_WAKEUPS_PER_GAP_MAX {
            match self.drain()? {
                Some(deadline) if deadline <= to => {
                    self.now = self.now.max(deadline);
                    self.node.handle(self.now, Input::Wakeup);
                }
                _ => {
                    self.now = to;
                    return Ok(());
                }
            }
        }
        file.gaps_slept_through += 1;
        self.now = to;
        self.node.handle(to, Input::Wakeup);
        self.drain().map(|_| ())
    }

    fn packet(&mut self, frame: &Frame<'_>, at: usize, truncated: bool) -> Result<(), ReplayError> {
        let len = frame.bytes.len();
        let room = len.max(at + PACKET_BYTES_MAX);
        if self.work.len() < room {
            self.work.resize(room, 0);
        }
        self.work[..len].copy_from_slice(frame.bytes);
        self.relink.saw(frame.link_type, frame.bytes, at);
        let mut packet = PacketMut::new(&mut self.work[at..], len - at, Offload::default());
        packet.wire_bytes = frame.wire_bytes;
        packet.truncated = truncated;
        let decision = self.node.packet(self.now, self.link, &mut packet);
        let after = at + packet.len();
        let totals = &mut self.report.totals;
        totals.ip += 1;
        match decision {
            Decision::Forward(_) => {
                totals.passed += 1;
                totals.changed += u64::from(self.work[..after] != *frame.bytes);
                self.forward(frame, at, after)?;
            }
            Decision::Drop(_) => totals.dropped += 1,
            Decision::Taken => totals.taken += 1,
        }
        self.drain().map(|_| ())
    }

    /// Writes the frame whose packet passed; the packet may have been changed in `work`.
    fn forward(&mut self, frame: &Frame<'_>, at: usize, after: usize) -> Result<(), ReplayError> {
        if self.out.is_none() {
            return Ok(());
        }
        let mut work = std::mem::take(&mut self.work);
        if self.relink.goes_back(&work[at..after]) {
            frame::turn_around(frame.link_type, &mut work[..at]);
        }
        let delta = after as i64 - frame.bytes.len() as i64;
        if delta != 0 {
            frame::set_length(frame.link_type, &mut work[..after], after - at);
        }
        let wire_bytes = (i64::from(frame.wire_bytes) + delta).clamp(0, i64::from(u32::MAX)) as u32;
        let passed = Frame { bytes: &work[..after], wire_bytes, ..*frame };
        let written = self.write(&passed, Onward::Packet { at });
        self.work = work;
        written
    }

    fn write(&mut self, frame: &Frame<'_>, content: Onward) -> Result<(), ReplayError> {
        let Some(out) = &mut self.out else { return Ok(()) };
        let time_ns = self.wall.at(self.now).as_nanos();
        let written = if frame.link_type == out.link_type() {
            out.write(&Frame { time_ns, ..*frame }).map(|()| true)
        } else {
            match self.relink.other_link(frame, content) {
                Some((bytes, wire_bytes)) => {
                    out.write(&Frame { link_type: out.link_type(), time_ns, bytes, wire_bytes }).map(|()| true)
                }
                None => Ok(false),
            }
        };
        self.report.totals.not_written += u64::from(!written.map_err(ReplayError::Write)?);
        Ok(())
    }

    /// Writes a packet that the node sends.
    fn send(&mut self, packet: &Packet) -> Result<(), ReplayError> {
        self.report.totals.sent += 1;
        let Some(out) = &mut self.out else { return Ok(()) };
        let time_ns = self.wall.at(self.now).as_nanos();
        match self.relink.frame_for(&packet.bytes) {
            Some(bytes) => {
                let frame = Frame { link_type: out.link_type(), time_ns, bytes, wire_bytes: bytes.len() as u32 };
                out.write(&frame).map_err(ReplayError::Write)
            }
            None => {
                self.report.totals.not_written += 1;
                Ok(())
            }
        }
    }

    fn drain(&mut self) -> Result<Option<Instant>, ReplayError> {
        self.drain_with(|_, _| {})
    }

    /// Carries out what the node asks for; the result is when it wants to be woken.
    fn drain_with(
        &mut self,
        mut answered: impl FnMut(u64, crate::node::Answer),
    ) -> Result<Option<Instant>, ReplayError> {
        let mut refusals_left = REPLAY_REFUSALS_MAX;
        loop {
            match self.node.poll() {
                Output::Transmit { packet, .. } => {
                    self.send(&packet)?;
                    self.node.recycle(packet);
                }
                // All packets of the files are given to the node, whatever it asks for.
                // Nobody signals in a replay.
                Output::Steer(_) | Output::Errand(_) => {}
                Output::Net(output) => {
                    if let Some((socket, event)) = loopback_net::refusal(&output, NO_NETWORK)
                        && refusals_left > 0
                    {
                        refusals_left -= 1;
                        self.node.handle(self.now, Input::Net(socket, event));
                    }
                }
                Output::Answer(number, answer) => answered(number, answer),
                Output::Event(event) => {
                    if self.report.events.len() < REPLAY_EVENTS_MAX {
                        self.report.events.push(EventReport::new(self.now.as_nanos(), event));
                    } else {
                        self.report.events_left_out += 1;
                    }
                }
                Output::Idle { deadline } => return Ok(deadline.map(|(at, _)| at)),
            }
        }
    }

    fn end_file(&mut self, file: FileReport) {
        self.file_clock = None;
        let totals = &mut self.report.totals;
        totals.frames += file.frames;
        totals.bytes += file.bytes;
        totals.not_ip += file.not_ip;
        totals.short += file.short;
        self.report.files.push(file);
    }

    /// Asks the modules for their reports while they run and their flows live, and only then ends everything.
    fn finish(mut self) -> Result<Report, ReplayError> {
        self.drain()?;
        let (remembered, pushed_out) = self.node.flow_counts();
        self.report.flows = Flows { remembered: remembered as u64, pushed_out };
        let reports: Vec<_> =
            self.node.instances().into_iter().map(|view| self.node.report(self.now, &view.name)).collect();
        self.drain()?;
        let views: Vec<InstanceView> = self.node.instances();
        self.report.modules = views.into_iter().zip(reports).map(|(v, r)| ModuleReport::new(v, r)).collect();
        self.node.shut_down(self.now, "the replay has ended");
        self.drain()?;
        self.report.drops = self.node.drops().iter().map(|(reason, n)| (reason.name().to_owned(), n)).collect();
        self.report.totals.duration_ns = self.now.as_nanos();
        if let Some(out) = self.out.take() {
            self.report.totals.written = out.written().0;
            out.finish().map_err(ReplayError::Write)?;
        }
        Ok(self.report)
    }
}

#[cfg(test)]
mod tests;
