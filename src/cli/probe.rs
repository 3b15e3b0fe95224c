//! `netserv probe`.

use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

use argh::FromArgs;

use crate::cli::CliError;
use crate::cli::path::{Course, Span, Towards, Transport, exit};
use crate::wire::nslp::request::{Operation, Target, ask};

#[derive(FromArgs)]
/// list the nodes on the path to a host: who they are, how they are, what runs there
#[argh(
    subcommand,
    name = "probe",
    note = "Needs no root. What a node tells depends on its trust file: to keys that it does not know it only says that it\nis there. The end of the path is known at once if the host says that nothing listens there; else the last\nnode waits (--search).",
    example = "{command_name} --to example.net",
    example = "{command_name} --to 192.0.2.7 --transport udp --json",
    error_code(3, "Only a part of the path answered.")
)]
pub(super) struct Probe {
    /// the host, by name or address
    #[argh(option, arg_name = "host")]
    to: String,

    /// how messages travel from node to node: udp, tcp or tls (default)
    #[argh(option, default = "Transport::default()")]
    transport: Transport,

    /// which nodes are to answer: all (default), first, last, node:ID[,ID], one-per:PROPERTY
    #[argh(option, default = "Target::All")]
    target: Target,

    /// only nodes where this holds, such as as=64500, memory>=64M, absent:monitor; may be given several times
    #[argh(option, long = "if", arg_name = "condition")]
    condition: Vec<String>,

    /// your key (default: that of `netserv key new`)
    #[argh(option, arg_name = "file")]
    key: Option<PathBuf>,

    /// ask without a key: nodes then only say that they are there; implies --transport tcp unless udp
    #[argh(switch)]
    anonymous: bool,

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

impl Probe {
    pub(super) fn run(self, out: &mut dyn Write) -> Result<(), CliError> {
        let transport = match self.transport {
            Transport::Tls if self.anonymous => Transport::Tcp,
            Transport::Udp | Transport::Tcp | Transport::Tls => self.transport,
        };
        let towards = Towards {
            to: self.to,
            ipv4: self.ipv4,
            ipv6: self.ipv6,
            transport,
            key: self.key,
            anonymous: self.anonymous,
            search: self.search,
        };
        let mut course = Course::open(&towards)?;
        let mut request = course.request(Operation::Probe, "", Duration::ZERO);
        request.target = self.target;
        request.conditions = self.condition;
        request.asks = ask::MODULES | ask::SYSTEM | ask::ROUTE;
        let order = course.order(&request, false);
        let (_, view) = course.follow(order)?;
        if self.json {
            let value = serde_json::json!({ "to": course.to, "from": course.source(), "path": view });
            serde_json::to_writer_pretty(&mut *out, &value).map_err(|e| CliError::Output(e.into()))?;
            writeln!(out)?;
        } else if !view.nodes.is_empty() {
            write!(out, "{}", view.probe_table())?;
        }
        exit(&view, "probed")
    }
}
