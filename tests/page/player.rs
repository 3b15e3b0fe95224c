//! Plays the sample scene on a server of its own, as the simulator would.

use std::net::SocketAddr;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use netserv::dashboard::scene::Playback;
use netserv::drivers::page_server::{Access, Control, PageServer};

use crate::sample::{MOMENTS, moment, results, scene};

/// The player; it ends when it goes.
pub(crate) struct Player {
    pub(crate) address: SocketAddr,
    go: Option<Sender<Go>>,
    thread: Option<JoinHandle<Vec<Control>>>,
}

/// Go to a moment, and on from there or not.
struct Go {
    next: usize,
    is_running: bool,
}

impl Player {
    /// Begins at the start, paused or not.
    pub(crate) fn start(is_running: bool) -> Player {
        let access = Access { controls: true, token: None };
        let mut server = PageServer::open(([127, 0, 0, 1], 0).into(), access).expect("a port is free");
        server.set_scene(scene());
        let (go, orders) = channel();
        let play = Play { next: 0, is_running, speed: 1.0, seen: Vec::new() };
        let address = server.address();
        let thread = std::thread::spawn(move || play.run(server, &orders));
        Player { address, go: Some(go), thread: Some(thread) }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}/", self.address)
    }

    pub(crate) fn go(&self, next: usize, is_running: bool) {
        self.go.as_ref().expect("it plays").send(Go { next, is_running }).expect("it plays");
    }

    /// Ends, and tells which controls it got.
    pub(crate) fn stop(mut self) -> Vec<Control> {
        self.go = None;
        self.thread.take().expect("it plays").join().expect("it played without a panic")
    }
}

struct Play {
    next: usize,
    is_running: bool,
    speed: f64,
    seen: Vec<Control>,
}

impl Play {
    fn run(mut self, mut server: PageServer, orders: &Receiver<Go>) -> Vec<Control> {
        loop {
            match orders.recv_timeout(Duration::from_secs_f64(0.1 / self.speed.clamp(0.1, 20.0))) {
                Ok(go) => {
                    self.seek(&mut server, go.next);
                    self.is_running = go.is_running;
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return self.seen,
            }
            while let Some(control) = server.next_control() {
                self.obey(&mut server, &control);
                self.seen.push(control);
            }
            if self.is_running && self.next < MOMENTS {
                server.publish(&moment(self.next));
                self.next += 1;
            }
            let has_ended = self.next == MOMENTS;
            let is_running = self.is_running && !has_ended;
            let results = if has_ended { results() } else { Vec::new() };
            server.set_playback(Playback { is_running, speed: self.speed, has_ended, results });
        }
    }

    fn obey(&mut self, server: &mut PageServer, control: &Control) {
        let start = |step: usize| scene().steps.get(step).map_or(MOMENTS, |step| (step.at_s * 10.0) as usize);
        match control {
            Control::Pause => self.is_running = false,
            Control::Resume => self.is_running = true,
            Control::Speed { speed } => self.speed = *speed,
            Control::Step { step } => self.seek(server, start(*step)),
            Control::Next => {
                let next = (0..4).map(start).find(|at| *at > self.next).unwrap_or(MOMENTS);
                self.seek(server, next);
            }
            Control::Restart => self.seek(server, 0),
            Control::Unload { .. } => {}
        }
    }

    fn seek(&mut self, server: &mut PageServer, next: usize) {
        server.set_scene(scene());
        (0..next.min(MOMENTS)).for_each(|n| server.publish(&moment(n)));
        // The step that begins is shown at once.
        if next < MOMENTS {
            server.publish(&moment(next));
        }
        self.next = (next + 1).min(MOMENTS);
    }
}
