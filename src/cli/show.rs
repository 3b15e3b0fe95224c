//! Plays scenarios: on a page in the browser, or without one.

#![expect(clippy::disallowed_methods, reason = "what people look at is paced by the clock")]

use std::fs;
use std::io::Write;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use crate::cli::CliError;
use crate::dashboard::page;
use crate::dashboard::scene::{Moment, Playback, Scene};
use crate::drivers::page_server::{Access, Control, PageServer};
use crate::drivers::scenario::{Measured, Player, Scenario, ScenarioSource};

/// How scenarios are shown.
pub(super) struct Show {
    /// Without a page, as fast as it goes.
    pub(super) headless: bool,
    /// The result as JSON, and nothing else.
    pub(super) json: bool,
    /// Where the run is written to as a page of its own.
    pub(super) record: Option<PathBuf>,
    /// Where the page is.
    pub(super) listen: SocketAddr,
    /// The browser is left alone.
    pub(super) no_browser: bool,
    /// In place of the scenario's.
    pub(super) seed: Option<u64>,
    /// Virtual seconds per second, in place of the scenario's.
    pub(super) speed: Option<f64>,
    /// Links, each with the file to which its packets are written.
    pub(super) captures: Vec<(String, String, PathBuf)>,
}

/// Of the scene's time between two moments where nobody watches.
const HEADLESS_MOMENT_S: f64 = 0.1;
/// Between two moments on the page.
const PAGE_MOMENT: Duration = Duration::from_millis(50);
/// Between two demos of a tour.
const TOUR_PAUSE: Duration = Duration::from_secs(4);
/// Columns of a terminal that text is broken at.
const COLUMNS: usize = 100;

impl Show {
    /// Plays `sources`, one after the other.
    pub(super) fn run(&self, sources: Vec<ScenarioSource>, out: &mut dyn Write) -> Result<(), CliError> {
        let scenarios = sources.into_iter().map(Scenario::new).collect::<Result<Vec<_>, _>>();
        let scenarios = scenarios.map_err(CliError::failure)?;
        if self.headless || self.json || self.record.is_some() {
            let results = scenarios.iter().map(|scenario| self.play(scenario, out)).collect::<Result<Vec<_>, _>>()?;
            if self.json {
                let result = if let [one] = &results[..] { one.clone() } else { results.into() };
                writeln!(out, "{result:#}")?;
            }
            return Ok(());
        }
        self.on_page(&scenarios, out)
    }

    fn player(&self, scenario: &Scenario) -> Result<Player, CliError> {
        let mut player = Player::new(scenario, self.seed).map_err(CliError::failure)?;
        for (one, other, path) in &self.captures {
            let failed = |error| CliError::Failure(format!("cannot write {}: {error}", path.display()));
            let file = fs::File::create(path).map_err(failed)?;
            player
                .capture(scenario, [one.as_str(), other.as_str()], Box::new(std::io::BufWriter::new(file)))
                .map_err(CliError::failure)?;
        }
        Ok(player)
    }

    /// Plays one from its beginning to its end, as fast as it goes.
    fn play(&self, scenario: &Scenario, out: &mut dyn Write) -> Result<serde_json::Value, CliError> {
        let mut player = self.player(scenario)?;
        let mut teller = Teller::new(player.scene(), !self.json);
        teller.title(out)?;
        let mut moments = Vec::new();
        while !player.is_over() {
            let moment = player.advance(scenario, player.at_s() + HEADLESS_MOMENT_S);
            teller.tell(&moment, &player.new_figures(), out)?;
            if self.record.is_some() {
                moments.push(moment);
            }
        }
        player.end_captures()?;
        if let Some(path) = &self.record {
            let file = page::record(player.scene(), &moments, &player.results());
            let failed = |error| CliError::Failure(format!("cannot write {}: {error}", path.display()));
            fs::write(path, file).map_err(failed)?;
            if !self.json {
                writeln!(out, "\nRecorded to {}: open it in any browser.", path.display())?;
            }
        }
        Ok(player.result(scenario))
    }

    fn on_page(&self, scenarios: &[Scenario], out: &mut dyn Write) -> Result<(), CliError> {
        let access = Access { controls: true, token: None };
        let mut server = PageServer::open(self.listen, access).map_err(CliError::failure)?;
        let url = format!("http://{}/", server.address());
        writeln!(out, "{url}\n")?;
        out.flush()?;
        if !self.no_browser
            && let Err(error) = open::that_detached(&url)
        {
            writeln!(out, "No browser could be started ({error}): open the address above.\n")?;
        }
        for (at, scenario) in scenarios.iter().enumerate() {
            let is_last = at + 1 == scenarios.len();
            let mut until_s = None;
            while let Ended::Restarted { to_s } = self.play_on(&mut server, scenario, is_last, until_s, out)? {
                until_s = to_s;
            }
            if !is_last {
                thread::sleep(TOUR_PAUSE);
            }
        }
        Ok(())
    }

    /// Plays one on the page. The last one stays there at its end, until somebody begins it again or ends the program.
    fn play_on(
        &self,
        server: &mut PageServer,
        scenario: &Scenario,
        is_last: bool,
        until_s: Option<f64>,
        out: &mut dyn Write,
    ) -> Result<Ended, CliError> {
        let mut player = self.player(scenario)?;
        let mut teller = Teller::new(player.scene(), true);
        teller.title(out)?;
        server.set_scene(player.scene().clone());
        let mut pace = Pace { is_running: true, speed: self.speed.unwrap_or(scenario.speed()), until_s };
        let mut before = Instant::now();
        loop {
            while let Some(control) = server.next_control() {
                if let Some(to_s) = beginning_again(&control, player.scene(), player.at_s()) {
                    return Ok(Ended::Restarted { to_s });
                }
                pace.obey(&control, player.scene(), player.at_s());
            }
            let elapsed = before.elapsed().as_secs_f64().min(1.0);
            before = Instant::now();
            if !player.is_over() {
                let moment = player.advance(scenario, pace.next(player.at_s(), elapsed));
                let figures = player.new_figures();
                teller.tell(&moment, &figures, out)?;
                server.publish(&moment);
            } else if !is_last {
                return Ok(Ended::Played);
            }
            server.set_playback(Playback {
                is_running: pace.is_running && !player.is_over(),
                speed: pace.speed,
                has_ended: player.is_over(),
                results: player.results(),
            });
            thread::sleep(PAGE_MOMENT);
        }
    }
}

/// How a scenario on the page came to its end.
enum Ended {
    Played,
    /// It is to begin again, and to hurry to this time.
    Restarted {
        to_s: Option<f64>,
    },
}

/// Whether a scenario has to begin again to do what is asked for, and to which time it is to hurry then: time does not
/// go back.
fn beginning_again(control: &Control, scene: &Scene, at_s: f64) -> Option<Option<f64>> {
    match control {
        Control::Restart => Some(None),
        Control::Step { step } => {
            let to_s = scene.steps.get(*step)?.at_s;
            (to_s < at_s).then_some(Some(to_s))
        }
        Control::Pause | Control::Resume | Control::Speed { .. } | Control::Next | Control::Unload { .. } => None,
    }
}

/// How fast a scenario goes on.
struct Pace {
    is_running: bool,
    speed: f64,
    /// It hurries to this time.
    until_s: Option<f64>,
}

impl Pace {
    fn obey(&mut self, control: &Control, scene: &Scene, at_s: f64) {
        let step_at = |number: usize| scene.steps.get(number).map(|step| step.at_s);
        match control {
            Control::Pause => self.is_running = false,
            Control::Resume => self.is_running = true,
            Control::Speed { speed } => self.speed = *speed,
            Control::Step { step } => self.until_s = step_at(*step).filter(|at| *at > at_s),
            Control::Next => self.until_s = scene.steps.iter().map(|step| step.at_s).find(|at| *at > at_s + 1e-6),
            // A simulated node is nobody's to unload from; beginning again is another's business.
            Control::Restart | Control::Unload { .. } => {}
        }
    }

    /// The time to go to, `elapsed` seconds later.
    fn next(&mut self, at_s: f64, elapsed: f64) -> f64 {
        if let Some(until_s) = self.until_s {
            // A second of the scene per moment: it is seen to hurry.
            let next = (at_s + 1.0).min(until_s);
            if next >= until_s {
                self.until_s = None;
            }
            return next;
        }
        match self.speed {
            _ if !self.is_running => at_s,
            0.0 => at_s + 1.0,
            speed => at_s + elapsed * speed,
        }
    }
}

/// Tells in the terminal what happens.
struct Teller {
    scene: Scene,
    speaks: bool,
    step: Option<usize>,
}

impl Teller {
    fn new(scene: &Scene, speaks: bool) -> Teller {
        Teller { scene: scene.clone(), speaks, step: None }
    }

    fn title(&self, out: &mut dyn Write) -> Result<(), CliError> {
        if self.speaks {
            writeln!(out, "{}\n", self.scene.title)?;
            for line in wrapped(&self.scene.summary, COLUMNS) {
                writeln!(out, "{line}")?;
            }
            writeln!(out)?;
            out.flush()?;
        }
        Ok(())
    }

    fn tell(&mut self, moment: &Moment, figures: &[Measured], out: &mut dyn Write) -> Result<(), CliError> {
        if !self.speaks {
            return Ok(());
        }
        let first = self.step.map_or(0, |step| step + 1);
        let last = moment.step.map_or(0, |step| step + 1);
        for step in self.scene.steps.get(first..last).unwrap_or_default() {
            writeln!(out, "{:7.1} s  {}", step.at_s, step.title)?;
            for line in wrapped(&step.caption, COLUMNS - 11) {
                writeln!(out, "           {line}")?;
            }
        }
        self.step = moment.step.or(self.step);
        for figure in figures {
            writeln!(out, "           > {}", figure)?;
        }
        out.flush()?;
        Ok(())
    }
}

/// The words of a text in lines of at most `columns` characters, if they are not longer.
fn wrapped(text: &str, columns: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let line = lines.last_mut().expect("there is always a line");
        if line.is_empty() {
            line.push_str(word);
        } else if line.chars().count() + 1 + word.chars().count() <= columns {
            line.push(' ');
            line.push_str(word);
        } else {
            lines.push(word.to_owned());
        }
    }
    lines
}
