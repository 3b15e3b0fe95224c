//! What goes wrong: programs that end, machines without power, links that are cut, clocks that jump.

use std::time::Duration;

use crate::base::machine::MachineChange;
use crate::drivers::sim::Sim;
use crate::drivers::sim::config::{LinkId, LinkQuality, MachineId};

impl Sim {
    /// Ends the node of a machine as a crash does. What it stored stays; its connections are reset, as the system does.
    /// The machine goes on without it, and passes on what the node would have seen.
    pub fn crash(&mut self, machine: MachineId) {
        let index = machine.index();
        self.drop_node(index);
        self.observer.program(self.now, machine, false);
        self.settle(index);
    }

    fn drop_node(&mut self, index: usize) {
        let now = self.now;
        let computer = &mut self.computers[index];
        (computer.node, computer.deadline, computer.is_crashed) = (None, None, true);
        computer.steer.clear();
        computer.stack.reset(now);
        computer.life += 1;
        self.fetches.forget(index);
        self.observer.forget(index, now);
    }

    /// Starts the node of a machine again, with what it stored and the modules that [`Sim::load`] gave it. One that runs is
    /// ended first.
    pub fn restart(&mut self, machine: MachineId) {
        if !self.computers[machine.index()].is_up {
            return;
        }
        if self.computers[machine.index()].node.is_some() {
            self.crash(machine);
        }
        self.observer.program(self.now, machine, true);
        self.boot(machine.index());
    }

    /// Takes a machine's power away, or gives it back. Without it, nothing crosses the machine, and nobody is told. With it,
    /// a node that ran before starts again.
    pub fn set_machine_up(&mut self, machine: MachineId, is_up: bool) {
        let index = machine.index();
        if self.computers[index].is_up == is_up {
            return;
        }
        if is_up {
            self.computers[index].is_up = true;
        } else {
            let ran = self.computers[index].node.is_some();
            self.drop_node(index);
            let computer = &mut self.computers[index];
            computer.is_crashed = !ran;
            // Nothing leaves it any more: not even a reset.
            while computer.stack.next(self.now).is_some() {}
            computer.is_up = false;
        }
        let links = self.topology.borrow().spots[index].links.clone();
        for link in links {
            self.cut(link);
        }
        self.topology.borrow_mut().set_up(index, is_up);
        self.observer.state(self.now, Some(machine), None, is_up);
        self.all_routes_changed();
        let computer = &self.computers[index];
        if is_up && !computer.is_crashed && computer.life > 0 {
            self.boot(index);
        }
    }

    /// Cuts a link, or joins it again. What is under way is lost; routes go another way if there is one.
    pub fn set_link_up(&mut self, link: LinkId, is_up: bool) {
        let found = &mut self.links[link.index()];
        if std::mem::replace(&mut found.is_up, is_up) == is_up {
            return;
        }
        let (ends, delays) = (found.ends, [found.directions[0].quality.delay, found.directions[1].quality.delay]);
        self.cut(link.index());
        self.topology.borrow_mut().set_edge(link.index(), is_up, delays);
        self.observer.state(self.now, None, Some(link), is_up);
        let change = MachineChange { interfaces: true, ..MachineChange::default() };
        ends.into_iter().for_each(|end| self.machine_changed(end.index(), change));
        self.all_routes_changed();
    }

    fn cut(&mut self, link: usize) {
        let found = &mut self.links[link];
        found.life += 1;
        found.directions.iter_mut().for_each(|direction| direction.cut(self.now));
    }

    /// Whether a link is whole.
    #[must_use]
    pub fn is_link_up(&self, link: LinkId) -> bool {
        self.links[link.index()].is_up
    }

    /// Whether a machine has power.
    #[must_use]
    pub fn is_machine_up(&self, machine: MachineId) -> bool {
        self.computers[machine.index()].is_up
    }

    /// How a link treats packets from now on, from its first end and from the second one. Routes follow its delay.
    pub fn set_quality(&mut self, link: LinkId, quality: [LinkQuality; 2]) {
        let found = &mut self.links[link.index()];
        let old = [found.directions[0].quality.delay, found.directions[1].quality.delay];
        for (direction, quality) in found.directions.iter_mut().zip(quality) {
            direction.quality = quality;
        }
        let delays = quality.map(|quality| quality.delay);
        if delays != old {
            self.topology.borrow_mut().set_edge(link.index(), found.is_up, delays);
            self.all_routes_changed();
        }
    }

    /// How a link treats packets.
    #[must_use]
    pub fn quality(&self, link: LinkId) -> [LinkQuality; 2] {
        let link = &self.links[link.index()];
        [link.directions[0].quality, link.directions[1].quality]
    }

    /// The time that a machine's node takes for each packet from now on.
    pub fn set_cost(&mut self, machine: MachineId, cost: Duration) {
        self.computers[machine.index()].config.cost = cost;
    }

    /// Sets a machine's wall clock forward or back. As a real one, its node sees it at its next start: a running node
    /// counts on from the clock at which it began.
    pub fn jump_clock(&mut self, machine: MachineId, ms: i64) {
        let clock_ms = &mut self.computers[machine.index()].clock_ms;
        *clock_ms = clock_ms.saturating_add(ms);
    }
}
