//! `netserv remove`.

use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

use argh::FromArgs;

use crate::cli::CliError;
use crate::cli::path::{Course, Span, Towards, Transport, exit};
use crate::wire::nslp::request::{Operation, Target};

#[derive(FromArgs)]
/// remove a module that `netserv setup` installed from the nodes on the path to a host
#[argh(
    subcommand,
    name = "remove",
    note = "Removes only what was installed with the same key.",
    example = "{command_name} monitor --to example.net",
    error_code(3, "Only some of the nodes did it.")
)]
pub(super) struct Remove {
    /// the instance: the module's name, or what --name of `netserv setup` said
    #[argh(positional)]
    instance: String,

    /// the host, by name or address
    #[argh(option, arg_name = "host")]
    to: String,

    /// which nodes: all (default), first, last, node:ID[,ID], one-per:PROPERTY
    #[argh(option, default = "Target::All")]
    target: Target,

    /// how messages travel from node to node: udp, tcp or tls (default)
    #[argh(option, default = "Transport::default()")]
    transport: Transport,

    /// your key (default: that of `netserv key new`)
    #[argh(option, arg_name = "file")]
    key: Option<PathBuf>,

    /// longest wait for a next node that does not answer (default: 8s)
    #[argh(option, arg_name = "time")]
    search: Option<Span>,

    /// use IPv4
    #[argh(switch, short = '4')]
    ipv4: bool,

    /// use IPv6
    #[argh(switch, short = '6')]
    ipv6: bool,

    /// print JSON
    #[argh(switch)]
    json: bool,
}

impl Remove {
    pub(super) fn run(self, out: &mut dyn Write) -> Result<(), CliError> {
        let towards = Towards {
            to: self.to,
            ipv4: self.ipv4,
            ipv6: self.ipv6,
            transport: self.transport,
            key: self.key,
            anonymous: false,
            search: self.search,
        };
        let mut course = Course::open(&towards)?;
        let mut request = course.request(Operation::Remove, &self.instance, Duration::ZERO);
        request.target = self.target;
        let order = course.order(&request, false);
        let (_, view) = course.follow(order)?;
        if self.json {
            let value = serde_json::json!({ "to": course.to, "instance": self.instance, "path": view });
            serde_json::to_writer_pretty(&mut *out, &value).map_err(|e| CliError::Output(e.into()))?;
            writeln!(out)?;
        } else if !view.nodes.is_empty() {
            write!(out, "{}", view.result_table())?;
        }
        exit(&view, "removed")
    }
}
