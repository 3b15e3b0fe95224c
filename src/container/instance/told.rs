//! What an instance is told of others: services, signals, the machine, and a new version of itself.

use crate::base::machine::MachineChange;
use crate::base::time::Instant;
use crate::container::api::node::bits_of;
use crate::container::fault::Fault;
use crate::container::instance::{Instance, ServiceCall, SignalAnswers};
use crate::container::services::Copied;
use crate::container::surroundings::FlowRecord;
use crate::container::vm::call::{Entry, Has};

impl Instance {
    /// Looks whether limits are crossed that it watches; answers false if it watches none any more.
    ///
    /// # Errors
    ///
    /// The fault of the module.
    pub fn on_watches(&mut self, now: Instant) -> Result<bool, Fault> {
        let host = self.vm.host();
        if host.watches.borrow().is_empty() {
            return Ok(false);
        }
        let load = host.machine.load();
        let crossed = host.watches.borrow_mut().crossed(now, host.id, load, &*host.flows);
        if !crossed.is_empty() {
            self.begin(now);
        }
        for (number, value) in crossed {
            self.vm.call(Entry::Watch, &[f64::from(number), value])?;
        }
        Ok(true)
    }

    /// Something of the machine has changed; it is told if it wants to know.
    ///
    /// # Errors
    ///
    /// The fault of the module.
    pub fn on_machine_changed(&mut self, now: Instant, change: MachineChange) -> Result<(), Fault> {
        let wanted = self.vm.host().observed.get() & bits_of(change);
        if wanted == 0 {
            return Ok(());
        }
        self.begin(now);
        self.vm.call(Entry::MachineChanged, &[f64::from(wanted)]).map(|_| ())
    }

    /// A flow that it looked at is over: what it carried still counts for its watches.
    pub fn flow_gone(&mut self, flow: &FlowRecord) {
        let mut watches = self.vm.host().watches.borrow_mut();
        if !watches.is_empty() {
            watches.flow_ended(flow);
        }
    }

    /// What came of a signal that it sent; or why it could not be sent, as a sentence.
    ///
    /// # Errors
    ///
    /// The fault of the module.
    pub fn on_signal_answered(
        &mut self,
        now: Instant,
        number: u32,
        answers: Result<SignalAnswers, String>,
    ) -> Result<(), Fault> {
        self.begin(now);
        *self.vm.host().signal_answers.borrow_mut() = Some(answers);
        self.vm.call(Entry::SignalAnswered, &[f64::from(number)]).map(|_| ())
    }

    /// Somebody calls a service that it provides; answered by [`Effect::Return`](super::Effect::Return) with the
    /// same number, now or later.
    ///
    /// # Errors
    ///
    /// The fault of the module.
    pub fn on_call(&mut self, now: Instant, number: u64, call: ServiceCall) -> Result<(), Fault> {
        self.begin(now);
        self.vm.host().exchange.borrow_mut().asked = Some((number, call));
        self.vm.call(Entry::Serve, &[]).map(|_| ())
    }

    /// The answer to a call of its own.
    ///
    /// # Errors
    ///
    /// The fault of the module.
    pub fn on_answer(&mut self, now: Instant, number: u32, result: Result<Copied, String>) -> Result<(), Fault> {
        self.begin(now);
        self.vm.host().exchange.borrow_mut().answer = Some(result);
        self.vm.call(Entry::Returned, &[f64::from(number)]).map(|_| ())
    }

    /// Services have come or gone: those that it uses are looked at.
    ///
    /// # Errors
    ///
    /// The fault of the module.
    pub fn on_services_changed(&mut self, now: Instant) -> Result<(), Fault> {
        let changed = self.vm.host().changed_uses();
        if changed.is_empty() {
            return Ok(());
        }
        self.begin(now);
        let mut result = Ok(());
        for at in changed {
            result = result.and(self.vm.call(Entry::ServiceChanged, &[at as f64]).map(|_| ()));
        }
        result
    }

    /// What the module hands to a new version of itself; `None` if it has no `export_state`. It goes on as before.
    ///
    /// # Errors
    ///
    /// The fault of the module.
    pub fn export_state(&mut self, now: Instant) -> Result<Option<Copied>, Fault> {
        if !self.has(Has::EXPORT_STATE) {
            return Ok(None);
        }
        self.begin(now);
        self.vm.call(Entry::ExportState, &[])?;
        Ok(self.vm.host().handed_over.borrow_mut().take())
    }

    /// Gives the module what an older version of itself has left. It may have no `import_state`.
    ///
    /// # Errors
    ///
    /// The fault of the module.
    pub fn import_state(&mut self, now: Instant, state: Copied) -> Result<(), Fault> {
        if !self.has(Has::IMPORT_STATE) {
            return Ok(());
        }
        self.begin(now);
        *self.vm.host().handed_over.borrow_mut() = Some(state);
        self.vm.call(Entry::ImportState, &[]).map(|_| ())
    }
}
