//! `netserv replay`.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use argh::FromArgs;

use crate::base::limits::{FLOWS_DEFAULT, FLOWS_MAX};
use crate::cli::CliError;
use crate::cli::module_choice::ModuleArgument;
use crate::drivers::module_dir;
use crate::drivers::replay::{self, Capture, ModuleOrder, Options};

#[derive(FromArgs)]
/// run modules on capture files, at virtual time; needs no root
#[argh(
    subcommand,
    name = "replay",
    note = "Reads pcap and pcapng. The same files give the same output and report, byte for byte.",
    example = "{command_name} in.pcap --module modules/monitor",
    example = "{command_name} in.pcap --module modules/uppercase --out out.pcap"
)]
pub(super) struct Replay {
    /// capture files, in their order
    #[argh(positional)]
    captures: Vec<PathBuf>,

    /// module folder, with properties as DIR,key=value,...; may be given several times
    #[argh(option, arg_name = "dir")]
    module: Vec<ModuleArgument>,

    /// write what comes out into this pcap file
    #[argh(option, arg_name = "file")]
    out: Option<PathBuf>,

    /// print the report as JSON
    #[argh(switch)]
    json: bool,

    /// seed of everything random (default: 0)
    #[argh(option, default = "0")]
    seed: u64,

    /// flows remembered at once (default: 65536)
    #[argh(option, arg_name = "count", default = "FLOWS_DEFAULT")]
    flows_max: u32,
}

impl Replay {
    pub(super) fn run(self, out: &mut dyn Write) -> Result<(), CliError> {
        if self.captures.is_empty() {
            return Err(CliError::Usage("no capture file is given; see `netserv replay --help`".to_owned()));
        }
        if self.flows_max == 0 || self.flows_max > FLOWS_MAX {
            let text = format!("--flows-max {} is not between 1 and {FLOWS_MAX}", self.flows_max);
            return Err(CliError::Usage(text));
        }
        let order = |argument: &ModuleArgument| {
            let module = module_dir::load_to_run(&argument.folder, &[]).map_err(CliError::failure)?;
            Ok(ModuleOrder { module, name: None, properties: argument.properties.clone() })
        };
        let modules = self.module.iter().map(order).collect::<Result<Vec<_>, CliError>>()?;
        let mut file = match &self.out {
            Some(path) => {
                // It would be emptied before it is read.
                if self.captures.iter().any(|capture| is_same_file(capture, path)) {
                    let text = format!("--out {} is one of the captures; give it another name", path.display());
                    return Err(CliError::Usage(text));
                }
                Some(LateFile { path, file: None })
            }
            None => None,
        };
        let options = Options {
            out: file.as_mut().map(|file| file as &mut dyn Write),
            seed: self.seed,
            flows_max: self.flows_max,
        };
        let report = replay::run(self.captures.iter().map(|path| Capture::file(path)), modules, options);
        let report = report.map_err(CliError::failure)?;
        if let Some(mut file) = file {
            file.flush().map_err(|e| CliError::Failure(e.to_string()))?;
        }
        if self.json {
            serde_json::to_writer_pretty(&mut *out, &report).map_err(|e| CliError::Output(e.into()))?;
            writeln!(out)?;
        } else {
            write!(out, "{report}")?;
        }
        let errors = report.files.iter().filter_map(|f| Some(format!("{} {}", f.name, f.error.as_ref()?)));
        let errors: Vec<String> = errors.collect();
        if errors.is_empty() { Ok(()) } else { Err(CliError::Failure(errors.join("; "))) }
    }
}

/// A file that is made, and its old content lost, only when there is something to write.
struct LateFile<'a> {
    path: &'a Path,
    file: Option<BufWriter<File>>,
}

impl LateFile<'_> {
    fn named(&self, error: &io::Error) -> io::Error {
        io::Error::new(error.kind(), format!("cannot write {}: {error}", self.path.display()))
    }
}

impl Write for LateFile<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.file.is_none() {
            self.file = Some(BufWriter::new(File::create(self.path).map_err(|e| self.named(&e))?));
        }
        let written = self.file.as_mut().map_or(Ok(0), |file| file.write(bytes));
        written.map_err(|e| self.named(&e))
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.as_mut().map_or(Ok(()), BufWriter::flush).map_err(|e| self.named(&e))
    }
}

/// Whether both paths are of one file, be it by links.
#[cfg(unix)]
fn is_same_file(one: &Path, other: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    let of = |path: &Path| path.metadata().ok().filter(std::fs::Metadata::is_file).map(|m| (m.dev(), m.ino()));
    of(one).is_some() && of(one) == of(other)
}

/// Whether both paths are of one file, be it by symbolic links.
#[cfg(not(unix))]
fn is_same_file(one: &Path, other: &Path) -> bool {
    let of = |path: &Path| path.canonicalize().ok();
    of(one).is_some() && of(one) == of(other)
}
