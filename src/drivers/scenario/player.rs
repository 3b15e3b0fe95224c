//! Plays a scenario in the simulator, and tells what happens.

use std::collections::BTreeMap;
use std::io::Write;
use std::net::IpAddr;
use std::time::Duration;

use serde::Serialize;

use crate::base::filter::protocol_name;
use crate::base::time::Instant;
use crate::container::instance::LogLevel;
use crate::dashboard::scene::{
    self, FlowChange, InstanceChange, InstanceState, Load, Moment, Note, Scene, StateChange,
};
use crate::drivers::scenario::details::Details;
use crate::drivers::scenario::file::{Deed, LinkEntry};
use crate::drivers::scenario::measure::{Measured, Meter, Readings};
use crate::drivers::scenario::{Scenario, ScenarioError, build};
use crate::drivers::sim::{Conversation, InstanceSeen, LinkCounters, LinkId, MachineId, Observation, Sim};
use crate::node::{self, Command, Event, InstanceView};

/// Between two measurements, in ms of virtual time.
const SAMPLE_MS: u64 = 500;

/// An instance that came or went, for the order of events.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct OrderedEvent {
    /// When, in seconds.
    pub at_s: f64,
    /// Where.
    pub machine: String,
    /// Its module.
    pub module: String,
    /// How it is from then on.
    pub state: InstanceState,
}

/// A scenario that is being played.
pub struct Player {
    scene: Scene,
    seed: u64,
    sim: Sim,
    meter: Meter,
    /// The step to come.
    next_step: usize,
    next_sample_ms: u64,
    order: Vec<OrderedEvent>,
    figures: Vec<Measured>,
    /// Figures that were told already.
    told: usize,
    details: Details,
    loads: Loads,
    flows: Flows,
}

/// What was told of the flows.
#[derive(Default)]
struct Flows {
    at_s: f64,
    count: u64,
    /// Each with its number and the way that was told.
    told: BTreeMap<Conversation, (u64, Vec<usize>)>,
}

/// Between two looks at the flows, in seconds.
const FLOWS_PERIOD_S: f64 = 0.5;
/// A flow without a packet for this long has ended.
const FLOW_IDLE: Duration = Duration::from_millis(1_500);

/// What was told of the links' loads.
#[derive(Default)]
struct Loads {
    at_s: f64,
    counters: BTreeMap<(usize, usize), LinkCounters>,
    /// Those that were not told to be idle.
    busy: BTreeMap<(usize, usize), ()>,
}

/// Over how many seconds a load is taken.
const LOAD_PERIOD_S: f64 = 0.25;

impl Player {
    /// The scenario at its beginning; with another seed if one is given.
    ///
    /// # Errors
    ///
    /// What cannot be built.
    pub fn new(scenario: &Scenario, seed: Option<u64>) -> Result<Player, ScenarioError> {
        let seed = seed.unwrap_or(scenario.file.seed);
        let sim = scenario.build(seed)?;

        let mut scene = scenario.scene();
        for (number, machine) in scene.machines.iter_mut().enumerate() {
            machine.addresses = build::addresses(number).map(|address| address.to_string()).to_vec();
        }
        let meter = Meter::new(scenario);
        Ok(Player {
            scene,
            seed,
            sim,
            meter,
            next_step: 0,
            next_sample_ms: 0,
            order: Vec::new(),
            figures: Vec::new(),
            told: 0,
            details: Details::default(),
            loads: Loads::default(),
            flows: Flows::default(),
        })
    }

    /// What stays while it is played.
    #[must_use]
    pub fn scene(&self) -> &Scene {
        &self.scene
    }

    /// Seconds since its beginning.
    #[must_use]
    pub fn at_s(&self) -> f64 {
        self.sim.now().since(Instant::START).as_secs_f64()
    }

    /// Whether its end has come.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.scene.duration_s.is_some_and(|end| self.at_s() >= end)
    }

    /// Goes on to `to_s`, and at most to the end. Tells what happened.
    pub fn advance(&mut self, scenario: &Scenario, to_s: f64) -> Moment {
        let to = instant(to_s.clamp(self.at_s(), scenario.file.duration_s));
        let before_s = self.at_s();
        let mut moment = Moment::default();
        loop {
            let step = scenario.file.step.get(self.next_step);
            let step_at = step.map(|step| instant(step.at_s));
            let sample_at = Instant::START + Duration::from_millis(self.next_sample_ms);
            let next = step_at.map_or(sample_at, |at| at.min(sample_at));
            if next > to {
                break;
            }
            self.sim.run_until(next);
            if let Some(step) = step.filter(|_| step_at == Some(next)) {
                for deed in &step.deeds {
                    self.do_deed(scenario, deed, &mut moment);
                }
                self.next_step += 1;
            }
            if sample_at == next {
                let readings = World(&self.sim);
                moment.samples.extend(self.meter.sample(scenario, self.at_s(), &readings));
                self.next_sample_ms += SAMPLE_MS;
            }
        }
        self.sim.run_until(to);
        moment.at_s = self.at_s();
        moment.step = self.next_step.checked_sub(1);
        self.tell(&mut moment);
        let after_s = if self.figures.is_empty() && before_s == 0.0 { -1.0 } else { before_s };
        let figures = self.meter.figures(scenario, &World(&self.sim), after_s, moment.at_s);
        self.figures.extend(figures);
        moment
    }

    /// The figures that have become known since the last call.
    pub fn new_figures(&mut self) -> Vec<Measured> {
        let new = self.figures[self.told..].to_vec();
        self.told = self.figures.len();
        new
    }

    /// All figures that are known.
    #[must_use]
    pub fn results(&self) -> Vec<scene::Figure> {
        let figures = self.figures.iter();
        figures.map(|figure| scene::Figure { name: figure.name.clone(), value: figure.value() }).collect()
    }

    /// What came out, for machines.
    #[must_use]
    pub fn result(&self, scenario: &Scenario) -> serde_json::Value {
        serde_json::json!({
            "demo": scenario.source.name,
            "title": scenario.file.title,
            "seed": self.seed,
            "duration_s": scenario.file.duration_s,
            "figures": self.figures,
            "order": self.order,
        })
    }
}

fn instant(seconds: f64) -> Instant {
    Instant::START + Duration::from_secs_f64(seconds)
}

/// A simulated world, as it is measured.
struct World<'a>(&'a Sim);

impl Readings for World<'_> {
    fn instances(&self, machine: usize, module: &str) -> u64 {
        let node = self.0.node(MachineId(machine));
        let running = |view: &InstanceView| view.module == module && view.state == node::InstanceState::Running;
        node.map_or(0, |node| node.instances().iter().filter(|view| running(view)).count() as u64)
    }

    fn counter(&self, machine: usize, name: &str) -> u64 {
        let Some(node) = self.0.node(MachineId(machine)) else { return 0 };
        let instances = node.instances();
        let counters = instances.iter().flat_map(|view| &view.counters);
        counters.filter(|(counter, _)| counter == name).map(|(_, count)| count).sum()
    }

    fn link_bytes(&self, link: usize, from: usize) -> u64 {
        let ends = self.0.ends(LinkId(link));
        self.0.link_counters(LinkId(link))[usize::from(ends[0] != MachineId(from))].bytes
    }
}

impl Player {
    /// Does what a step says. What cannot be done is told, and the scenario goes on.
    fn do_deed(&mut self, scenario: &Scenario, deed: &Deed, moment: &mut Moment) {
        let machine = |name: &str| MachineId(scenario.machine(name).unwrap_or_default());
        let link = |ends: &[String; 2]| LinkId(scenario.link(ends).unwrap_or_default());
        let done = match deed {
            Deed::Crash(name) => {
                self.sim.crash(machine(name));
                Ok(())
            }
            Deed::Restart(name) => {
                self.sim.restart(machine(name));
                Ok(())
            }
            Deed::LinkDown(ends) => {
                self.sim.set_link_up(link(ends), false);
                Ok(())
            }
            Deed::LinkUp(ends) => {
                self.sim.set_link_up(link(ends), true);
                Ok(())
            }
            Deed::Link(entry) => {
                self.change_link(scenario, entry);
                Ok(())
            }
            Deed::Load(app) => scenario.load(&mut self.sim, app).map_err(|error| error.to_string()),
            Deed::Unload { machine: name, instance } => {
                let command = Command::Unload { name: instance.clone() };
                match self.sim.command(machine(name), command) {
                    Some(Ok(_)) => Ok(()),
                    Some(Err(error)) => Err(format!("{name}: {error}")),
                    None => Err(format!("{name} does not run")),
                }
            }
            Deed::ClockJump { machine: name, seconds } => {
                self.sim.jump_clock(machine(name), (seconds * 1e3) as i64);
                Ok(())
            }
        };
        if let Err(text) = done {
            moment.notes.push(Note { at_s: self.at_s(), machine: None, level: "error", text });
        }
    }

    fn change_link(&mut self, scenario: &Scenario, entry: &LinkEntry) {
        let Some(number) = entry.ends.as_ref().and_then(|ends| scenario.link(ends)) else { return };
        let quality = self.sim.quality(LinkId(number)).map(|now| scenario.quality(entry, now));
        self.sim.set_quality(LinkId(number), quality);
    }

    /// Puts into a moment what was seen since the last one.
    fn tell(&mut self, moment: &mut Moment) {
        let (observations, lost) = self.sim.take_observations();
        if lost > 0 {
            let text = format!("{lost} things happened that are not shown");
            moment.notes.push(Note { at_s: self.at_s(), machine: None, level: "warning", text });
        }
        for observation in observations {
            match observation {
                Observation::Message(message) => moment.messages.push(scene::Message {
                    layer: message.layer,
                    label: message.label,
                    link: message.link.0,
                    from: message.from.0,
                    left_s: seconds(message.left),
                    arrives_s: message.arrives.map(seconds),
                }),
                Observation::Instance(seen) => self.tell_instance(seen, moment),
                Observation::Event { at, machine, event } => {
                    if let Some((level, text)) = note_of(&event) {
                        self.details.log(machine.0, seconds(at), &text);
                        moment.notes.push(Note { at_s: seconds(at), machine: Some(machine.0), level, text });
                    }
                }
                Observation::Machine { machine, is_up, .. } => {
                    moment.states.push(StateChange::Machine { machine: machine.0, is_up });
                }
                Observation::Program { at, machine, runs } => {
                    let text = if runs { "its program was started" } else { "its program ended" }.to_owned();
                    moment.notes.push(Note { at_s: seconds(at), machine: Some(machine.0), level: "warning", text });
                    moment.states.push(StateChange::Machine { machine: machine.0, is_up: runs });
                }
                Observation::Link { link, is_up, .. } => {
                    moment.states.push(StateChange::Link { link: link.0, is_up });
                }
            }
        }
        self.loads(moment);
        self.flows(moment);
        self.details.tell(&self.sim, moment);
    }

    fn tell_instance(&mut self, seen: InstanceSeen, moment: &mut Moment) {
        let (at_s, machine) = (seconds(seen.at), seen.machine.0);
        if self.scene.machines[machine].kind == scene::MachineKind::Node {
            let (name, module) = (self.scene.machines[machine].name.clone(), seen.module.clone());
            self.order.push(OrderedEvent { at_s, machine: name, module, state: seen.state });
            // Of what came by signalling, the node's controller tells.
            let what = match seen.state {
                InstanceState::Running => "runs",
                InstanceState::Failed => "failed",
                InstanceState::Gone => "is gone",
            };
            let level = if seen.state == InstanceState::Failed { "error" } else { "info" };
            let text = format!("{} {what}", seen.instance);
            if !seen.signalled || seen.state == InstanceState::Failed {
                moment.notes.push(Note { at_s, machine: Some(machine), level, text });
            }
        }
        moment.instances.push(InstanceChange {
            machine,
            instance: seen.instance,
            module: seen.module,
            state: seen.state,
            signalled: seen.signalled,
        });
    }
}

impl Player {
    /// Flows that are new, go another way, or ended.
    fn flows(&mut self, moment: &mut Moment) {
        if moment.at_s < self.flows.at_s + FLOWS_PERIOD_S {
            return;
        }
        self.flows.at_s = moment.at_s;
        let now = self.sim.now();
        let since = Instant::START + now.since(Instant::START).saturating_sub(FLOW_IDLE);
        let seen = self.sim.conversations(since);
        let ended: Vec<Conversation> = self.flows.told.keys().filter(|known| !seen.contains(known)).copied().collect();
        for conversation in ended {
            let (flow, _) = self.flows.told.remove(&conversation).unwrap_or_default();
            moment.flows.push(FlowChange { flow, label: flow_label(&conversation), path: Vec::new() });
        }
        for conversation in seen {
            // What a NAT box made of an address belongs to no host.
            let of_machine = |address: IpAddr| {
                self.scene.machines.iter().position(|machine| machine.addresses.contains(&address.to_string()))
            };
            let [Some(from), Some(_)] = conversation.ends.map(of_machine) else { continue };
            let path = self.sim.path(MachineId(from), conversation.ends[1]);
            let path: Vec<usize> = path.into_iter().map(|machine| machine.0).collect();
            let known = self.flows.told.get(&conversation);
            if known.is_some_and(|(_, told)| *told == path) || (known.is_none() && path.is_empty()) {
                continue;
            }
            self.flows.count += 1;
            let flow = known.map_or(self.flows.count, |(flow, _)| *flow);
            self.flows.told.insert(conversation, (flow, path.clone()));
            moment.flows.push(FlowChange { flow, label: flow_label(&conversation), path });
        }
    }

    /// How busy the links were, where that changed.
    fn loads(&mut self, moment: &mut Moment) {
        let elapsed = moment.at_s - self.loads.at_s;
        if elapsed < LOAD_PERIOD_S {
            return;
        }
        self.loads.at_s = moment.at_s;
        for link in 0..self.scene.links.len() {
            for (from, now) in self.scene.links[link].ends.into_iter().zip(self.sim.link_counters(LinkId(link))) {
                let before = self.loads.counters.insert((link, from), now).unwrap_or_default();
                let load = Load {
                    link,
                    from,
                    bps: ((now.bytes - before.bytes) as f64 * 8.0 / elapsed) as u64,
                    pps: ((now.packets - before.packets) as f64 / elapsed) as u64,
                    lost: (now.lost + now.queue_full) - (before.lost + before.queue_full),
                };
                let is_busy = now != before;
                let was_busy = if is_busy {
                    self.loads.busy.insert((link, from), ()).is_some()
                } else {
                    self.loads.busy.remove(&(link, from)).is_some()
                };
                if is_busy || was_busy {
                    moment.loads.push(load);
                }
            }
        }
    }

    /// From now on the packets on the link between two machines are written to `sink`.
    ///
    /// # Errors
    ///
    /// When there is no such link, or the sink cannot be written.
    pub fn capture(&mut self, scenario: &Scenario, ends: [&str; 2], sink: Box<dyn Write>) -> Result<(), ScenarioError> {
        let [one, other] = ends.map(str::to_owned);
        let what = format!("capture of {one}/{other}:");
        let link = scenario.link(&[one, other]).ok_or_else(|| scenario.wrong(&what, "no link joins these two"))?;
        self.sim.capture(LinkId(link), sink).map_err(|error| scenario.wrong(&what, error))
    }

    /// Flushes the captures.
    ///
    /// # Errors
    ///
    /// When one of them cannot be written.
    pub fn end_captures(&mut self) -> std::io::Result<()> {
        (0..self.scene.links.len()).try_for_each(|link| self.sim.end_capture(LinkId(link)))
    }
}

fn flow_label(conversation: &Conversation) -> String {
    format!("{} {}", protocol_name(conversation.protocol), conversation.port)
}

fn seconds(at: Instant) -> f64 {
    at.since(Instant::START).as_secs_f64()
}

/// What of an event is for the list of what happened, and how much it matters.
fn note_of(event: &Event) -> Option<(&'static str, String)> {
    match event {
        Event::Log { instance, level, text } => {
            let level = match level {
                LogLevel::Warn => "warning",
                LogLevel::Info | LogLevel::Debug => "info",
            };
            Some((level, format!("{instance}: {text}")))
        }
        Event::Erred { instance, fault } | Event::Failed { instance, fault, .. } => {
            Some(("error", format!("{instance}: {fault}")))
        }
        Event::OverBudget { instance, limit, .. } => Some(("warning", format!("{instance} reached its limit {limit}"))),
        Event::Note(text) => Some(("info", text.clone())),
        // Told by the instances that were seen.
        Event::Started { .. } | Event::Unloaded { .. } | Event::Signal(_) => None,
    }
}
