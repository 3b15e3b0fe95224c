//! `netserv run`.

use std::net::SocketAddr;
use std::path::PathBuf;

use argh::FromArgs;

use crate::base::filter::Filter;
use crate::cli::config::FileConfig;
use crate::cli::module_choice::ModuleArgument;
use crate::cli::{CliError, logs};
use crate::drivers::live::config::{LinkChoice, LiveConfig, ModuleChoice, PageChoice};
use crate::drivers::live::{self, control};

#[derive(FromArgs)]
/// run a node on real links until Ctrl-C or SIGTERM
#[argh(
    subcommand,
    name = "run",
    note = "Options add to what the configuration file says; --link, and --own, --forwarded and --to-self together,\nreplace it. Whatever was put into the kernel is taken out when the node stops, and after a crash at the next\nstart or by `netserv cleanup`. Every key of the file: docs/configuration.md.",
    example = "Count who talks to whom through this machine:\n  {command_name} --link tun --module modules/monitor",
    example = "Let others install modules that the trust file allows:\n  {command_name} --link tun --signal",
    example = "A bump in the wire between two interfaces:\n  {command_name} --link pcap:eth0,eth1 --module modules/uppercase",
    example = "Look only:\n  {command_name} --link tap:eth0 --module modules/monitor",
    example = "Servers only, as any user: no packets, no rights\n  {command_name} --link none --module modules/hello-server",
    example = "Measure the way through the node, without a module:\n  {command_name} --link tun --capture \"udp port 5001\" --forwarded"
)]
pub(super) struct Run {
    /// configuration file, TOML
    #[argh(option, arg_name = "file")]
    config: Option<PathBuf>,

    /// tun, tun:NAME, pcap:IF1,IF2, tap:IF, or none for modules that need no packets; may be given several times (default: tun)
    #[argh(option, arg_name = "link")]
    link: Vec<LinkChoice>,

    /// module folder, with properties as DIR,key=value,...; may be given several times
    #[argh(option, arg_name = "dir")]
    module: Vec<ModuleArgument>,

    /// capture this although no module asks for it, such as "tcp port 80"; may be given several times
    #[argh(option, arg_name = "filter")]
    capture: Vec<Filter>,

    /// steer traffic that this machine forwards (default, with --own)
    #[argh(switch)]
    forwarded: bool,

    /// steer traffic that this machine sends, and its answers (default, with --forwarded)
    #[argh(switch)]
    own: bool,

    /// steer traffic to this machine itself
    #[argh(switch)]
    to_self: bool,

    /// take part in signalling: let those whom the trust file names install modules from afar
    #[argh(switch)]
    signal: bool,

    /// the trust file (default: /etc/netserv/trust.toml); includes --signal
    #[argh(option, arg_name = "file")]
    trust: Option<PathBuf>,

    /// never use the offload header of TUN devices
    #[argh(switch)]
    plain: bool,

    /// the folder of what outlives a restart, such as installed modules
    #[argh(option, arg_name = "dir")]
    data: Option<PathBuf>,

    /// where the control socket is to be; `none` for none
    #[argh(option, arg_name = "path")]
    control: Option<PathBuf>,

    /// show the live page at this address, such as 127.0.0.1:8080
    #[argh(option, arg_name = "address")]
    dashboard: Option<SocketAddr>,

    /// file with a token: who has it may control the node on the live page, and look from other machines
    #[argh(option, arg_name = "file")]
    dashboard_token: Option<PathBuf>,

    /// what to log: error, warn, info, debug, trace, or a filter such as info,module=debug
    #[argh(option, arg_name = "level")]
    log: Option<String>,
}

impl Run {
    pub(super) fn run(self) -> Result<(), CliError> {
        let file = match &self.config {
            Some(path) => FileConfig::read(path).map_err(CliError::Failure)?,
            None => FileConfig::default(),
        };
        logs::show(self.log.as_deref(), file.log.as_deref())?;
        let config = self.merge(file.live()?)?;
        live::run(&config).map_err(CliError::failure)
    }

    /// The configuration with what the command line says.
    fn merge(self, mut config: LiveConfig) -> Result<LiveConfig, CliError> {
        if !self.link.is_empty() {
            config.links = self.link;
            config.links_are_default = false;
        }
        let named =
            |module: ModuleArgument| ModuleChoice { folder: module.folder, name: None, properties: module.properties };
        config.modules.extend(self.module.into_iter().map(named));
        config.capture.extend(self.capture);
        if self.forwarded || self.own || self.to_self {
            let steering = &mut config.steering;
            (steering.forwarded, steering.own, steering.to_self) = (self.forwarded, self.own, self.to_self);
        }
        config.plain |= self.plain;
        config.data = self.data.unwrap_or(config.data);
        if self.signal || self.trust.is_some() {
            let signal = config.signal.get_or_insert_default();
            signal.trust = self.trust.unwrap_or(std::mem::take(&mut signal.trust));
        }
        config.control = match self.control.or(config.control) {
            Some(path) if path.as_os_str() == "none" => None,
            path => Some(path.unwrap_or_else(control::default_path)),
        };
        if let Some(listen) = self.dashboard {
            let token = config.dashboard.take().and_then(|page| page.token);
            config.dashboard = Some(PageChoice { listen, token });
        }
        if let Some(token) = self.dashboard_token {
            let Some(page) = &mut config.dashboard else {
                let remedy = "--dashboard-token needs the live page: give --dashboard 127.0.0.1:8080 too";
                return Err(CliError::Failure(remedy.to_owned()));
            };
            page.token = Some(token);
        }
        Ok(config)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn merged(words: &[&str], config: LiveConfig) -> LiveConfig {
        Run::from_args(&["run"], words).map_err(|e| e.output).unwrap().merge(config).unwrap()
    }

    #[test]
    fn the_command_line_adds_to_the_file_and_replaces_links_and_steering() {
        let file = LiveConfig {
            links: vec![LinkChoice::Tap { interface: "eth0".into() }],
            capture: vec!["icmp".parse().unwrap()],
            ..LiveConfig::default()
        };
        let config =
            merged(&["--link", "tun:a", "--capture", "tcp port 80", "--to-self", "--control", "none"], file.clone());
        assert_eq!(config.links, [LinkChoice::Tun { name: Some("a".into()) }]);
        assert_eq!(config.capture.len(), 2);
        assert!(config.steering.to_self && !config.steering.own && !config.steering.forwarded);
        assert_eq!(config.control, None);
        let config = merged(&[], file.clone());
        assert_eq!((config.links, config.steering), (file.links, file.steering));
        assert_eq!(config.control, Some(control::default_path()));
    }

    #[test]
    fn wrong_options_say_what_is_right() {
        for (words, part) in [
            (["--link", "wire"], "pcap:IF1,IF2"),
            (["--capture", "tcp forth"], "does not belong into a filter"),
            (["--module", "a,b"], "key=value"),
        ] {
            let early = Run::from_args(&["run"], &words).map(|_| ()).unwrap_err();
            assert!(early.status.is_err() && early.output.contains(part), "{}", early.output);
        }
    }
}
