//! `netserv setup`.

use std::io::Write;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use argh::FromArgs;

use crate::cli::CliError;
use crate::cli::path::{Course, Span, Towards, Transport, exit};
use crate::dashboard::path::{NodeView, PathView};
use crate::drivers::live::initiator::{Initiator, Step};
use crate::drivers::packing::{self, Packed};
use crate::signaling::nslp::api::{NslpEvent, OrderId};
use crate::wire::nslp::request::{ModuleRequest, Operation, Request, Target};

#[derive(FromArgs)]
/// install a module on the nodes of the path to a host, for some time
#[argh(
    subcommand,
    name = "setup",
    note = "MODULE is a module's folder or a package (.nsm), which this command offers to the nodes over HTTP while it runs, or the\nURL of a package. Each node checks who asks against its trust file; `netserv key show` prints the key that its owner\nmust name there. Without --keep the modules stay for --ttl; with it, as long as this command runs.",
    example = "Watch what goes to a host, on every node of the path, for ten minutes:\n  {command_name} modules/monitor --to example.net --ttl 10m",
    example = "Only at the node nearest to the host, until Ctrl-C:\n  {command_name} modules/monitor --to example.net --target last --keep",
    error_code(3, "Only some of the nodes did it.")
)]
pub(super) struct Setup {
    /// a module's folder, a package (.nsm), or the URL of one
    #[argh(positional)]
    module: String,

    /// the host, by name or address
    #[argh(option, arg_name = "host")]
    to: String,

    /// how long the module is to run without a refresh (default: 1h; with --keep 60s)
    #[argh(option, arg_name = "time")]
    ttl: Option<Span>,

    /// which nodes: all (default), first, last, node:ID[,ID], one-per:PROPERTY
    #[argh(option, default = "Target::All")]
    target: Target,

    /// a property for the module, as key=value; may be given several times
    #[argh(option, arg_name = "key=value")]
    property: Vec<String>,

    /// only nodes where this holds, such as as=64500, memory>=64M, absent:monitor; may be given several times
    #[argh(option, long = "if", arg_name = "condition")]
    condition: Vec<String>,

    /// go on refreshing until Ctrl-C, then remove
    #[argh(switch)]
    keep: bool,

    /// what the instance is called (default: the module's name)
    #[argh(option)]
    name: Option<String>,

    /// where the nodes get the package, instead of from this command
    #[argh(option)]
    url: Option<String>,

    /// a URL (http or https) that each node tells what happens to the instance
    #[argh(option, arg_name = "url")]
    notify: Option<String>,

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

    /// print JSON; with --keep one object per line, for each event
    #[argh(switch)]
    json: bool,
}

/// Lifetime between refreshes when nothing else is said.
const KEEP_LIFETIME: Duration = Duration::from_secs(60);
const LIFETIME: Duration = Duration::from_secs(3_600);

impl Setup {
    pub(super) fn run(self, out: &mut dyn Write) -> Result<(), CliError> {
        let towards = Towards {
            to: self.to.clone(),
            ipv4: self.ipv4,
            ipv6: self.ipv6,
            transport: self.transport,
            key: self.key.clone(),
            anonymous: false,
            search: self.search,
        };
        let mut course = Course::open(&towards)?;
        let (packed, url) = self.package(&mut course)?;
        let lifetime = self.ttl.map_or(if self.keep { KEEP_LIFETIME } else { LIFETIME }, |span| span.0);
        let instance = self.name.clone().unwrap_or_else(|| packed.manifest.name.clone());
        let mut request = course.request(Operation::Setup, &instance, lifetime);
        request.target = self.target.clone();
        request.conditions.clone_from(&self.condition);
        request.module = Some(ModuleRequest {
            name: packed.manifest.name,
            version: format!("={}", packed.manifest.version),
            url,
            digest: packed.digest,
            lifetime_ms: lifetime.as_millis() as u64,
            properties: properties(&self.property)?,
            notify: self.notify.clone().unwrap_or_default(),
        });
        let order = course.order(&request, self.keep);
        let (id, view) = course.follow(order)?;
        self.show(out, &course, &view)?;
        if !self.keep || !view.nodes.iter().any(|node| node.class == "success") {
            return exit(&view, "installed");
        }
        Keeper { course, request, id, lifetime, json: self.json }.run(out)
    }

    /// The package, and where the nodes get it.
    fn package(&self, course: &mut Course) -> Result<(Packed, String), CliError> {
        let is_url = ["http:", "https:", "file:"].iter().any(|scheme| self.module.starts_with(scheme));
        if is_url {
            let bytes = course.initiator.fetch(&self.module).map_err(CliError::Failure)?;
            let packed = packing::check(bytes, Path::new(&self.module)).map_err(CliError::failure)?;
            return Ok((packed, self.url.clone().unwrap_or_else(|| self.module.clone())));
        }
        let path = Path::new(&self.module);
        let packed = if path.is_dir() { packing::pack(path) } else { packing::read(path) };
        let packed = packed.map_err(CliError::failure)?;
        if let Some(url) = &self.url {
            return Ok((packed, url.clone()));
        }
        let file = packed.file_name();
        let port = course.initiator.offer(&file, packed.bytes.clone(), course.source()).map_err(CliError::failure)?;
        let host = match course.source() {
            IpAddr::V4(address) => address.to_string(),
            IpAddr::V6(address) => format!("[{address}]"),
        };
        Ok((packed, format!("http://{host}:{port}/{file}")))
    }

    fn show(&self, out: &mut dyn Write, course: &Course, view: &PathView) -> Result<(), CliError> {
        if self.json {
            let value = serde_json::json!({
                "event": "setup", "to": course.to, "from": course.source(), "result": view.outcome(), "path": view,
            });
            match self.keep {
                true => serde_json::to_writer(&mut *out, &value),
                false => serde_json::to_writer_pretty(&mut *out, &value),
            }
            .map_err(|e| CliError::Output(e.into()))?;
            writeln!(out)?;
        } else if !view.nodes.is_empty() {
            write!(out, "{}", view.result_table())?;
        }
        Ok(out.flush()?)
    }
}

fn properties(words: &[String]) -> Result<Vec<(String, String)>, CliError> {
    let pair = |word: &String| {
        let (key, value) = word.split_once('=').filter(|(key, _)| !key.trim().is_empty())?;
        Some((key.trim().to_owned(), value.to_owned()))
    };
    let wrong = |word: &String| CliError::Usage(format!("--property {word}: write key=value"));
    words.iter().map(|word| pair(word).ok_or_else(|| wrong(word))).collect()
}

/// Keeps instances alive until somebody interrupts.
struct Keeper {
    course: Course,
    request: Request,
    id: OrderId,
    lifetime: Duration,
    json: bool,
}

impl Keeper {
    fn run(mut self, out: &mut dyn Write) -> Result<(), CliError> {
        if !self.json {
            writeln!(out, "kept until Ctrl-C")?;
            out.flush()?;
        }
        let mut refresh_at = self.next_refresh();
        loop {
            match self.course.initiator.step(Some(refresh_at)).map_err(CliError::failure)? {
                Step::Interrupted => return self.remove(out),
                Step::Deadline => {
                    self.ask_again(Operation::Refresh)?;
                    refresh_at = self.next_refresh();
                }
                Step::Event(event) => self.tell(out, *event)?,
            }
        }
    }

    /// Says what the user wants to know while the instances are kept.
    fn tell(&self, out: &mut dyn Write, event: NslpEvent) -> Result<(), CliError> {
        match event {
            NslpEvent::Notified { answer, .. } => self.tell_node(out, "notify", &NodeView::of(&answer)),
            NslpEvent::Answered { answer, .. } => match NodeView::of(&answer) {
                node if matches!(node.result, "refreshed" | "not_target") => Ok(()),
                node => self.tell_node(out, "answer", &node),
            },
            NslpEvent::Finished { result: Err(problem), .. } => {
                let text = format!("refresh not complete: {problem}");
                self.say(out, "incomplete", serde_json::json!({ "problem": problem }), &text)
            }
            NslpEvent::Finished { result: Ok(()), .. } | NslpEvent::Progress { .. } | NslpEvent::Asked { .. } => Ok(()),
        }
    }

    fn tell_node(&self, out: &mut dyn Write, event: &str, node: &NodeView) -> Result<(), CliError> {
        let text = format!("node {} at hop {}: {}: {}", node.node, node.hop, node.result, node.says);
        self.say(out, event, serde_json::json!(node), &text)
    }

    /// At a random time between one half and three quarters of the lifetime, as GIST refreshes its own state
    /// (RFC 5971, section 4.4.4).
    fn next_refresh(&self) -> crate::base::time::Instant {
        let part = 0.5 + 0.25 * f64::from(u16::from_be_bytes(Initiator::random())) / 65_536.0;
        self.course.initiator.now() + self.lifetime.mul_f64(part)
    }

    fn ask_again(&mut self, operation: Operation) -> Result<(), CliError> {
        let fresh = self.course.request(operation, &self.request.instance, self.lifetime);
        self.request = Request {
            operation,
            nonce: fresh.nonce,
            issued_ms: fresh.issued_ms,
            expires_ms: fresh.expires_ms,
            ..self.request.clone()
        };
        if operation == Operation::Remove {
            self.request.module = None;
        }
        let order = self.course.order(&self.request, operation != Operation::Remove);
        self.course.initiator.ask_again(self.id, order).map_err(CliError::Failure)
    }

    fn remove(mut self, out: &mut dyn Write) -> Result<(), CliError> {
        self.course.initiator.resume();
        self.ask_again(Operation::Remove)?;
        let view = self.course.collect(self.id)?;
        let text = view.result_table();
        self.say(out, "removed", serde_json::json!(view), text.trim_end())?;
        exit(&view, "removed")
    }

    fn say(&self, out: &mut dyn Write, event: &str, value: serde_json::Value, text: &str) -> Result<(), CliError> {
        if self.json {
            let line = serde_json::json!({ "event": event, "what": value });
            serde_json::to_writer(&mut *out, &line).map_err(|e| CliError::Output(e.into()))?;
            writeln!(out)?;
        } else {
            let plain: String = text.chars().map(|c| if c.is_control() && c != '\n' { ' ' } else { c }).collect();
            writeln!(out, "{plain}")?;
        }
        Ok(out.flush()?)
    }
}
