//! `netserv serve`.

use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use argh::FromArgs;

use crate::cli::{CliError, logs};
use crate::drivers::live::serve;

/// Where it listens, if nothing else is said.
const PORT: u16 = 8080;

#[derive(FromArgs)]
/// offer the packages in a folder over HTTP, for those who have no web server
#[argh(
    subcommand,
    name = "serve",
    note = "The folder holds .nsm files (`netserv module pack`), or folders of modules, which are packed on the fly, or it is\none. Offered are /NAME-VERSION.nsm, /NAME.nsm (the newest), and the list /index.json. What changes in the folder is\nserved within some seconds. Anybody who reaches the port can read the packages; nothing else is readable.",
    example = "{command_name} modules",
    example = "Only for this machine, on any free port:\n  {command_name} modules/monitor --listen 127.0.0.1:0"
)]
pub(super) struct Serve {
    /// the folder
    #[argh(positional, arg_name = "dir")]
    folder: PathBuf,

    /// address and port, or only a port (default: 0.0.0.0:8080; [::]:8080 serves IPv4 and IPv6)
    #[argh(
        option,
        arg_name = "address",
        from_str_fn(address),
        default = "SocketAddr::from((Ipv4Addr::UNSPECIFIED, PORT))"
    )]
    listen: SocketAddr,

    /// what to log: error, warn, info (each request), debug, trace
    #[argh(option, arg_name = "level")]
    log: Option<String>,
}

fn address(text: &str) -> Result<SocketAddr, String> {
    let port = || text.parse().ok().map(|port: u16| SocketAddr::from((Ipv4Addr::UNSPECIFIED, port)));
    text.parse().ok().or_else(port).ok_or_else(|| {
        format!("\"{text}\" is no address with a port; write 192.0.2.1:8080, [2001:db8::1]:8080, or only 8080")
    })
}

impl Serve {
    pub(super) fn run(self, out: &mut dyn Write) -> Result<(), CliError> {
        logs::show(self.log.as_deref(), None)?;
        serve::serve(&self.folder, self.listen, out).map_err(CliError::failure)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_or_a_port_says_where_to_listen() {
        assert_eq!(address("81").unwrap().to_string(), "0.0.0.0:81");
        assert_eq!(address("[::1]:81").unwrap().to_string(), "[::1]:81");
        for text in ["", "host:80", "1.2.3.4", "70000"] {
            assert!(address(text).unwrap_err().contains("192.0.2.1:8080"), "{text}");
        }
    }
}
