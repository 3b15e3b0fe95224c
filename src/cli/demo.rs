//! `netserv demo`.

use std::io::Write;
use std::net::SocketAddr;
use std::path::PathBuf;

use argh::FromArgs;

use crate::cli::CliError;
use crate::cli::show::Show;
use crate::drivers::scenario::{Scenario, ScenarioSource, names};

#[derive(FromArgs)]
/// show netserv at work in a simulated network, on a page in the browser; needs no root, no network, and no files
#[argh(
    subcommand,
    name = "demo",
    note = "Without a name all demos are shown, one after the other. Ctrl-C ends it.",
    example = "What there is to see:\n  {command_name} --list",
    example = "One demo, in the terminal only, as fast as it goes:\n  {command_name} migration --headless",
    example = "One demo as a file that plays in any browser:\n  {command_name} migration --record migration.html"
)]
pub(super) struct Demo {
    /// which demo; all of them if not given
    #[argh(positional)]
    name: Option<String>,

    /// list the demos
    #[argh(switch)]
    list: bool,

    /// show no page: print the steps and figures, as fast as it goes
    #[argh(switch)]
    headless: bool,

    /// print the result as JSON; shows no page
    #[argh(switch)]
    json: bool,

    /// write the whole run to this file, as a page that plays in any browser; shows no page meanwhile
    #[argh(option)]
    record: Option<PathBuf>,

    /// where the page is (default 127.0.0.1:0, any free port)
    #[argh(option, default = "SocketAddr::from(([127, 0, 0, 1], 0))")]
    listen: SocketAddr,

    /// start no browser
    #[argh(switch)]
    no_browser: bool,

    /// of everything random; the same seed gives the same run (default: the demo's)
    #[argh(option)]
    seed: Option<u64>,

    /// virtual seconds per second on the page (default: the demo's)
    #[argh(option)]
    speed: Option<f64>,
}

impl Demo {
    pub(super) fn run(self, out: &mut dyn Write) -> Result<(), CliError> {
        if self.list {
            return list(self.json, out);
        }
        if self.record.is_some() && self.name.is_none() {
            return Err(CliError::Usage("--record writes one demo to one file: say which".to_owned()));
        }
        let names = self.name.map_or_else(names, |name| vec![name]);
        let sources = names.iter().map(|name| ScenarioSource::embedded(name)).collect::<Result<Vec<_>, _>>();
        let show = Show {
            headless: self.headless,
            json: self.json,
            record: self.record,
            listen: self.listen,
            no_browser: self.no_browser,
            seed: self.seed,
            speed: self.speed,
            captures: Vec::new(),
        };
        show.run(sources.map_err(CliError::failure)?, out)
    }
}

fn list(json: bool, out: &mut dyn Write) -> Result<(), CliError> {
    let mut demos = Vec::new();
    for name in names() {
        let scenario = ScenarioSource::embedded(&name).map_err(CliError::failure)?;
        let scene = Scenario::new(scenario).map_err(CliError::failure)?.scene();
        if json {
            demos.push(serde_json::json!({ "name": name, "title": scene.title, "summary": scene.summary }));
        } else {
            writeln!(out, "{name:<16} {}", scene.title)?;
        }
    }
    if json {
        writeln!(out, "{:#}", serde_json::Value::from(demos))?;
    }
    Ok(())
}
