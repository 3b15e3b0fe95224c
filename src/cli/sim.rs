//! `netserv sim`.

use std::io::Write;
use std::net::SocketAddr;
use std::path::PathBuf;

use argh::FromArgs;

use crate::cli::CliError;
use crate::cli::show::Show;
use crate::drivers::scenario::ScenarioSource;

#[derive(FromArgs)]
/// run a scenario of your own in the simulator: machines, links, what happens, what is measured
#[argh(
    subcommand,
    name = "sim",
    note = "docs/demos.md tells what a scenario file holds.",
    example = "In the terminal, as fast as it goes, with the packets of a link:\n  {command_name} demos/migration/demo.toml --headless --capture web/chicago:web.pcap"
)]
pub(super) struct Sim {
    /// the scenario's demo.toml, or its folder
    #[argh(positional)]
    scenario: PathBuf,

    /// show no page: print the steps and figures, as fast as it goes
    #[argh(switch)]
    headless: bool,

    /// print the result as JSON; shows no page
    #[argh(switch)]
    json: bool,

    /// write the whole run to this file, as a page that plays in any browser; shows no page meanwhile
    #[argh(option)]
    record: Option<PathBuf>,

    /// write the packets of a link to a capture file: MACHINE/MACHINE:FILE; may be given several times
    #[argh(option, from_str_fn(capture))]
    capture: Vec<(String, String, PathBuf)>,

    /// where the page is (default 127.0.0.1:0, any free port)
    #[argh(option, default = "SocketAddr::from(([127, 0, 0, 1], 0))")]
    listen: SocketAddr,

    /// start no browser
    #[argh(switch)]
    no_browser: bool,

    /// of everything random; the same seed gives the same run (default: the scenario's)
    #[argh(option)]
    seed: Option<u64>,

    /// virtual seconds per second on the page (default: the scenario's)
    #[argh(option)]
    speed: Option<f64>,
}

fn capture(text: &str) -> Result<(String, String, PathBuf), String> {
    let parts = text.split_once(':').and_then(|(link, file)| Some((link.split_once('/')?, file)));
    match parts {
        Some(((one, other), file)) if !file.is_empty() => Ok((one.to_owned(), other.to_owned(), file.into())),
        Some(_) | None => Err(format!("\"{text}\" should be MACHINE/MACHINE:FILE, for example web/chicago:web.pcap")),
    }
}

impl Sim {
    pub(super) fn run(self, out: &mut dyn Write) -> Result<(), CliError> {
        let source = ScenarioSource::read(&self.scenario).map_err(CliError::failure)?;
        let show = Show {
            headless: self.headless,
            json: self.json,
            record: self.record,
            listen: self.listen,
            no_browser: self.no_browser,
            seed: self.seed,
            speed: self.speed,
            captures: self.capture,
        };
        show.run(vec![source], out)
    }
}
