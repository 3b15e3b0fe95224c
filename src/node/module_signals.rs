//! Signals that modules send: signed with the node's own key, and answered to the module that asked.

use std::collections::{BTreeMap, VecDeque};

use crate::base::crypto::SigningKey;
use crate::base::id::InstanceId;
use crate::base::limits::{
    MODULE_SIGNAL_ANSWERS_MAX, MODULE_SIGNALS_ALL_MAX, MODULE_SIGNALS_MAX, NSLP_SEARCH_DEFAULT, SERVICE_STEPS_MAX,
};
use crate::base::rng::Rng;
use crate::base::time::Instant;
use crate::container::instance::{SignalAnswers, SignalOrder};
use crate::node::Node;
use crate::signaling::gist::api::TransferAttributes;
use crate::signaling::nslp::api::{NslpEvent, Order, OrderId};
use crate::wire::gist::mri::Mri;
use crate::wire::nslp::answer::Answer;
use crate::wire::nslp::request::{Authorisation, Nonce, Request};
use crate::wire::nslp::signing_bytes;

/// How long a request may be acted on: clocks differ, and slow paths take their time.
const VALID_MS: u64 = 120_000;

/// A signal under way.
pub(crate) struct Sent {
    instance: InstanceId,
    number: u32,
    answers: Vec<Answer>,
}

/// All signals of modules.
pub(crate) struct ModuleSignals {
    key: Option<SigningKey>,
    rng: Rng,
    waiting: VecDeque<(InstanceId, SignalOrder)>,
    sent: BTreeMap<OrderId, Sent>,
    done: VecDeque<(InstanceId, u32, Result<SignalAnswers, String>)>,
    /// Orders of instances that are gone.
    cancelled: Vec<OrderId>,
}

impl ModuleSignals {
    pub(crate) fn seeded(seed: u64) -> ModuleSignals {
        ModuleSignals {
            key: None,
            rng: Rng::seeded(seed ^ 0x7369_676e_616c),
            waiting: VecDeque::new(),
            sent: BTreeMap::new(),
            done: VecDeque::new(),
            cancelled: Vec::new(),
        }
    }

    /// A module sends a signal.
    pub(crate) fn begin(&mut self, instance: InstanceId, order: SignalOrder) {
        let own = self.sent.values().filter(|sent| sent.instance == instance).count()
            + self.waiting.iter().filter(|(other, _)| *other == instance).count();
        if own >= MODULE_SIGNALS_MAX || self.sent.len() + self.waiting.len() >= MODULE_SIGNALS_ALL_MAX {
            let problem = format!("limit signals ({MODULE_SIGNALS_MAX}) exceeded: so many wait for their answers");
            self.done.push_back((instance, order.number, Err(problem)));
            return;
        }
        self.waiting.push_back((instance, order));
    }

    /// A signal is on its way.
    pub(crate) fn sent(&mut self, order: OrderId, sent: Sent) {
        self.sent.insert(order, sent);
    }

    /// Keeps what is for a module; gives back what is not.
    pub(crate) fn hear(&mut self, event: NslpEvent) -> Option<NslpEvent> {
        let order = match &event {
            NslpEvent::Answered { order, .. }
            | NslpEvent::Notified { order, .. }
            | NslpEvent::Progress { order, .. }
            | NslpEvent::Finished { order, .. } => *order,
            NslpEvent::Asked { .. } => return Some(event),
        };
        let Some(sent) = self.sent.get_mut(&order) else { return Some(event) };
        match event {
            NslpEvent::Answered { answer, .. } => {
                sent.answers.retain(|other| (other.hop, other.node) != (answer.hop, answer.node));
                if sent.answers.len() < MODULE_SIGNAL_ANSWERS_MAX {
                    sent.answers.push(answer);
                }
            }
            NslpEvent::Finished { result, .. } => {
                if let Some(mut sent) = self.sent.remove(&order) {
                    sent.answers.sort_by_key(|answer| (answer.hop, answer.node));
                    let answers = SignalAnswers { answers: sent.answers, problem: result.err() };
                    self.done.push_back((sent.instance, sent.number, Ok(answers)));
                }
            }
            NslpEvent::Notified { .. } | NslpEvent::Progress { .. } | NslpEvent::Asked { .. } => {}
        }
        None
    }

    /// An instance is gone, or begins anew.
    pub(crate) fn forget(&mut self, instance: InstanceId) {
        self.waiting.retain(|(other, _)| *other != instance);
        self.done.retain(|(other, _, _)| *other != instance);
        let gone = self.sent.iter().filter(|(_, sent)| sent.instance == instance).map(|(order, _)| *order);
        let gone: Vec<OrderId> = gone.collect();
        for order in &gone {
            self.sent.remove(order);
        }
        self.cancelled.extend(gone);
    }

    fn is_idle(&self) -> bool {
        self.waiting.is_empty() && self.done.is_empty() && self.cancelled.is_empty()
    }
}

impl Node {
    /// Modules that may signal do so with this key: the node's own.
    pub fn set_signing_key(&mut self, key: SigningKey) {
        self.module_signals.key = Some(key);
    }

    /// Sends what modules want to send, and gives them what came.
    pub(crate) fn carry_signals(&mut self, now: Instant) {
        for _ in 0..SERVICE_STEPS_MAX {
            if self.module_signals.is_idle() {
                return;
            }
            for order in std::mem::take(&mut self.module_signals.cancelled) {
                self.cancel_order(now, order);
            }
            if let Some((id, order)) = self.module_signals.waiting.pop_front() {
                let number = order.number;
                if let Err(problem) = self.order_of_module(now, id, order) {
                    self.module_signals.done.push_back((id, number, Err(problem)));
                }
            }
            let Some((id, number, answers)) = self.module_signals.done.pop_front() else { continue };
            let Some(instance) = self.instances.get(id).and_then(|slot| slot.instance.as_mut()) else { continue };
            let result = instance.on_signal_answered(now, number, answers);
            self.called(now, id, result);
        }
    }

    fn order_of_module(&mut self, now: Instant, id: InstanceId, order: SignalOrder) -> Result<(), String> {
        let off = "signalling is switched off on this node; its owner switches it on with a table [signaling] in the \
                   configuration, or `netserv run --signal`";
        if self.signal_identity().is_none() {
            return Err(off.to_owned());
        }
        let key = self.module_signals.key.as_ref().ok_or("this node has no key to sign with")?;
        let from = self.signal_source(order.to).ok_or_else(|| format!("this node has no route to {}", order.to))?;
        let mut nonce = [0; 16];
        nonce[..8].copy_from_slice(&self.module_signals.rng.next_u64().to_be_bytes());
        nonce[8..].copy_from_slice(&self.module_signals.rng.next_u64().to_be_bytes());
        let now_ms = self.config.wall.at(now).as_nanos() / 1_000_000;
        let lifetime_ms = order.module.as_ref().map_or(0, |module| module.lifetime_ms);
        let request = Request {
            operation: order.operation,
            nonce: Nonce(nonce),
            issued_ms: now_ms,
            expires_ms: now_ms + lifetime_ms.clamp(VALID_MS, 86_400_000),
            scope: Vec::new(),
            target: order.target,
            conditions: order.conditions,
            search_ms: NSLP_SEARCH_DEFAULT.as_millis() as u32,
            instance: order.instance,
            module: order.module,
            asks: order.asks,
        };
        let canonical = request.encode();
        let authorisation = Authorisation { key: key.public(), signature: key.sign(&signing_bytes(&canonical)) };
        let attributes = TransferAttributes { reliable: order.reliable, secure: order.secure };
        let mri = Mri::flow(from, order.to);
        let sent = Sent { instance: id, number: order.number, answers: Vec::new() };
        let order = Order { mri, request: canonical, authorisation: Some(authorisation), attributes, keep: false };
        self.order_for_module(now, order, sent)
    }
}
