//! NSIS signalling: GIST, and the NetServ application on top of it.

pub mod gist;
pub mod io;
pub mod nslp;

use std::rc::Rc;

use crate::base::limits::SIGNAL_REQUEST_ROUNDS_MAX;
use crate::base::time::Instant;
use crate::signaling::gist::{Env, Gist, GistConfig, Interception};
use crate::signaling::io::{DatagramIn, Paths, SignalInput, SocketOutput};
use crate::signaling::nslp::api::{Decision, Happening, NslpEvent, Order, OrderId, Token};
use crate::signaling::nslp::{NetservNslp, NslpConfig};
use crate::wire::nslp::NSLP_ID;

/// What signalling is made with.
pub struct SignalingConfig {
    /// GIST.
    pub gist: GistConfig,
    /// The NetServ application.
    pub nslp: NslpConfig,
    /// For everything in the application that must be hard to guess.
    pub secret: [u8; 32],
    /// This machine's place in the network.
    pub paths: Rc<dyn Paths>,
}

/// What signalling asks of those above and below it.
#[derive(Debug)]
pub enum SignalOutput {
    /// For the sockets.
    Socket(SocketOutput),
    /// For the controller, or for the initiator.
    Event(Box<NslpEvent>),
}

/// GIST with the NetServ application. Give it one input, then call [`Signaling::poll`] until there is nothing.
pub struct Signaling {
    gist: Gist,
    nslp: NetservNslp,
    paths: Rc<dyn Paths>,
}

impl Signaling {
    /// Signalling without sessions.
    #[must_use]
    pub fn new(config: SignalingConfig) -> Self {
        Signaling {
            gist: Gist::new(config.gist),
            nslp: NetservNslp::new(config.nslp, config.secret),
            paths: config.paths,
        }
    }

    /// Takes one input from the sockets.
    pub fn handle(&mut self, now: Instant, input: SignalInput<'_>) {
        let mut env = Env { paths: &*self.paths, nslps: &mut [&mut self.nslp] };
        match input {
            SignalInput::Datagram(datagram) => self.gist.datagram(now, &mut env, &datagram),
            SignalInput::Stream(id, event) => self.gist.stream(now, &mut env, id, event),
            SignalInput::Unreachable(unreachable) => self.gist.unreachable(now, &mut env, &unreachable),
            SignalInput::RoutesChanged => self.gist.route_changed(now, &mut env),
        }
        self.settle(now);
    }

    /// Takes a datagram out of the data plane, and says what becomes of it.
    pub fn intercept(&mut self, now: Instant, datagram: &DatagramIn<'_>) -> Interception {
        let mut env = Env { paths: &*self.paths, nslps: &mut [&mut self.nslp] };
        let interception = self.gist.intercept(now, &mut env, datagram);
        self.settle(now);
        interception
    }

    /// Starts signalling along a path.
    ///
    /// # Errors
    ///
    /// Why that cannot be, as a sentence.
    pub fn order(&mut self, now: Instant, order: Order) -> Result<OrderId, String> {
        let id = self.nslp.order(now, order)?;
        self.settle(now);
        Ok(id)
    }

    /// Sends another request in the session of an order.
    ///
    /// # Errors
    ///
    /// Why that cannot be, as a sentence.
    pub fn order_again(&mut self, now: Instant, id: OrderId, order: Order) -> Result<(), String> {
        self.nslp.renew(now, id, order.request, order.authorisation)?;
        self.settle(now);
        Ok(())
    }

    /// Forgets an order of this node.
    pub fn cancel(&mut self, now: Instant, order: OrderId) {
        self.nslp.cancel(order);
        self.settle(now);
    }

    /// Answers [`NslpEvent::Asked`].
    pub fn answer(&mut self, now: Instant, token: Token, decision: Decision) {
        self.nslp.answer(now, token, decision);
        self.settle(now);
    }

    /// Tells initiators what happened to their instance.
    pub fn happened(&mut self, now: Instant, happening: Happening) {
        self.nslp.happened(now, happening);
        self.settle(now);
    }

    /// Does what is due.
    pub fn expire(&mut self, now: Instant) {
        let mut env = Env { paths: &*self.paths, nslps: &mut [&mut self.nslp] };
        self.gist.expire(now, &mut env);
        self.nslp.expire(now);
        self.settle(now);
    }

    /// When [`Signaling::expire`] is to be called at the latest.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        [self.gist.deadline(), self.nslp.deadline()].into_iter().flatten().min()
    }

    /// The next output.
    pub fn poll(&mut self) -> Option<SignalOutput> {
        self.gist
            .poll()
            .map(SignalOutput::Socket)
            .or_else(|| self.nslp.poll_event().map(|event| SignalOutput::Event(Box::new(event))))
    }

    /// What both count, by name, in a fixed order.
    #[must_use]
    pub fn counters(&self) -> Vec<(&'static str, u64)> {
        let gist = self.gist.stats();
        let mut counters = vec![
            ("sessions", gist.sessions as u64),
            ("unconfirmed", gist.unconfirmed as u64),
            ("associations", gist.associations as u64),
            ("signal_timers", gist.timers as u64),
            ("waiting_bytes", gist.waiting_bytes as u64),
        ];
        counters.extend(gist.counters);
        counters.extend(self.nslp.stats().named());
        counters
    }

    /// Carries requests of the application to GIST, whose answers may lead to more.
    fn settle(&mut self, now: Instant) {
        for _ in 0..SIGNAL_REQUEST_ROUNDS_MAX {
            let requests = self.nslp.take_requests();
            if requests.is_empty() {
                return;
            }
            for request in requests {
                let mut env = Env { paths: &*self.paths, nslps: &mut [&mut self.nslp] };
                self.gist.request(now, &mut env, NSLP_ID, request);
            }
        }
    }
}
