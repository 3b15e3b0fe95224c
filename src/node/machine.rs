//! What modules want to be told: changes of the machine, and limits that are crossed.

use std::rc::Rc;

use crate::base::id::InstanceId;
use crate::base::limits::WATCH_PERIOD;
use crate::base::machine::{MachineChange, MachineView};
use crate::base::time::Instant;
use crate::base::timer::Timer;
use crate::container::fault::Fault;
use crate::container::instance::Instance;
use crate::node::Node;
use crate::signaling::io::SignalInput;

impl Node {
    /// The machine that modules may ask about; before any of them is loaded. Without this, nothing is known of it.
    pub fn set_machine(&mut self, machine: Rc<dyn MachineView>) {
        self.instances.set_machine(machine);
    }

    /// Something of the machine has changed: signalling and modules learn of it.
    pub(crate) fn machine_changed(&mut self, now: Instant, change: MachineChange) {
        if change.is_nothing() {
            return;
        }
        self.signal_input(now, SignalInput::RoutesChanged);
        self.each_instance(now, |instance| instance.on_machine_changed(now, change));
    }

    /// An instance watches something from now on.
    pub(crate) fn set_watches(&mut self, now: Instant) {
        if !self.watches_are_set {
            self.watches_are_set = true;
            self.timers.set(now + WATCH_PERIOD, Timer::Watches);
        }
    }

    pub(crate) fn look_at_watches(&mut self, now: Instant) {
        self.watches_are_set = false;
        let mut any = false;
        self.each_instance(now, |instance| {
            // Whatever becomes of it, it may watch something after its restart only by saying so.
            any |= instance.on_watches(now)?;
            Ok(())
        });
        if any {
            self.set_watches(now);
        }
    }

    /// Calls all instances that run, in order.
    fn each_instance(&mut self, now: Instant, mut call: impl FnMut(&mut Instance) -> Result<(), Fault>) {
        let ids: Vec<InstanceId> = self.instances.iter().map(|slot| slot.id).collect();
        for id in ids {
            let Some(instance) = self.instances.get(id).and_then(|slot| slot.instance.as_mut()) else { continue };
            let result = call(instance);
            self.called(now, id, result);
        }
    }
}
