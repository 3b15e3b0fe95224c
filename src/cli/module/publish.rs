//! What publishers do: pack, sign, verify, and list packages for others.

use std::io::Write;
use std::path::PathBuf;

use argh::FromArgs;

use crate::base::limits::SIGNATURE_BYTES_MAX;
use crate::cli::CliError;
use crate::container::signature::{self, PublisherKey};
use crate::drivers::{packing, publisher, safe_file};

#[derive(FromArgs)]
/// check a module, and make one file of it, which nodes can fetch: NAME-VERSION.nsm
#[argh(
    subcommand,
    name = "pack",
    note = "The same files make the same package, byte for byte. A request names a package by the SHA-256 that is printed.",
    example = "{command_name} modules/monitor --out monitor.nsm"
)]
pub(in crate::cli) struct Pack {
    /// its folder
    #[argh(positional, arg_name = "dir")]
    folder: PathBuf,

    /// the file that is written (default: NAME-VERSION.nsm in the current folder)
    #[argh(option, arg_name = "file")]
    out: Option<PathBuf>,

    /// print JSON
    #[argh(switch)]
    json: bool,
}

#[derive(FromArgs)]
/// sign packages: writes FILE.minisig beside each, as `minisign` does, and the public key as KEYID.pub
#[argh(
    subcommand,
    name = "sign",
    note = "`netserv key new --publisher` makes a key; one of `minisign -G` will do as well.",
    example = "{command_name} monitor-1.0.0.nsm"
)]
pub(in crate::cli) struct Sign {
    /// package files
    #[argh(positional, arg_name = "file")]
    files: Vec<PathBuf>,

    /// the publisher's secret key (default: the one that `netserv key new --publisher` makes)
    #[argh(option, arg_name = "file")]
    key: Option<PathBuf>,

    /// print JSON
    #[argh(switch)]
    json: bool,
}

#[derive(FromArgs)]
/// check that a package is as its publisher signed it
#[argh(
    subcommand,
    name = "verify",
    example = "{command_name} monitor-1.0.0.nsm --publisher RWSOitkl2sTueqp0g1BfE++aBpph073fA0pNAMIVHR+wAjlkXTXXWgW7"
)]
pub(in crate::cli) struct Verify {
    /// the package file
    #[argh(positional)]
    file: PathBuf,

    /// the publisher's public key, or a file of it (default: KEYID.pub beside the package)
    #[argh(option, arg_name = "key")]
    publisher: Option<String>,

    /// the signature (default: FILE.minisig)
    #[argh(option, arg_name = "file")]
    signature: Option<PathBuf>,

    /// print JSON
    #[argh(switch)]
    json: bool,
}

#[cfg(all(unix, feature = "live"))]
#[derive(FromArgs)]
/// make the index of a folder of packages, so that any web server can offer them: DIR/index.json
#[argh(
    subcommand,
    name = "index",
    note = "Signatures (FILE.minisig) and public keys (*.pub) in the folder go into the index. `netserv serve` needs none.\nFor a whole host, put the index at /.well-known/netserv, and the packages at the root.",
    example = "{command_name} packages"
)]
pub(in crate::cli) struct Index {
    /// the folder
    #[argh(positional, arg_name = "dir")]
    folder: PathBuf,
}

impl Pack {
    pub(in crate::cli) fn run(self, out: &mut dyn Write) -> Result<(), CliError> {
        let packed = packing::pack(&self.folder).map_err(CliError::failure)?;
        let path = self.out.unwrap_or_else(|| PathBuf::from(packed.file_name()));
        let failed = |error| CliError::Failure(format!("cannot write {}: {error}", path.display()));
        safe_file::replace(&path, &packed.bytes, 0o644).map_err(failed)?;
        let (bytes, digest) = (packed.bytes.len(), packed.digest_hex());
        if self.json {
            return Ok(writeln!(out, "{:#}", serde_json::json!({ "path": path, "bytes": bytes, "sha256": digest }))?);
        }
        Ok(writeln!(out, "{}: {bytes} bytes, SHA-256 {digest}", path.display())?)
    }
}

impl Sign {
    pub(in crate::cli) fn run(self, out: &mut dyn Write) -> Result<(), CliError> {
        if self.files.is_empty() {
            return Err(CliError::Usage("no package is named; `netserv module pack DIR` makes one".to_owned()));
        }
        let path = self.key.map_or_else(publisher::default_path, Ok).map_err(CliError::failure)?;
        let key = publisher::load(&path, &mut |prompt| rpassword::prompt_password(prompt));
        let key = key.map_err(CliError::failure)?;
        for file in &self.files {
            let packed = packing::read(file).map_err(CliError::failure)?;
            let text = key.sign(&packed).map_err(CliError::failure)?;
            let signature = publisher::signature_path(file);
            let public = safe_file::folder_of(file).join(format!("{}.pub", key.key.id()));
            for (path, content) in [(&signature, &text), (&public, &key.key.to_file())] {
                let failed = |error| CliError::Failure(format!("cannot write {}: {error}", path.display()));
                safe_file::replace(path, content.as_bytes(), 0o644).map_err(failed)?;
            }
            if self.json {
                let told = serde_json::json!({ "path": signature, "publisher": key.key, "key_file": public });
                writeln!(out, "{told:#}")?;
            } else {
                writeln!(out, "{}: signed with {}", signature.display(), key.key)?;
            }
        }
        Ok(())
    }
}

impl Verify {
    pub(in crate::cli) fn run(self, out: &mut dyn Write) -> Result<(), CliError> {
        let packed = packing::read(&self.file).map_err(CliError::failure)?;
        let path = self.signature.unwrap_or_else(|| publisher::signature_path(&self.file));
        let unreadable = |error: std::io::Error| CliError::Failure(format!("cannot read {}: {error}", path.display()));
        let (bytes, _) = safe_file::read(&path, SIGNATURE_BYTES_MAX).map_err(unreadable)?;
        let text = String::from_utf8_lossy(&bytes);
        let wrong = |error: signature::SignatureError| CliError::Failure(format!("{}: {error}", path.display()));
        let id = signature::key_id(&text).map_err(wrong)?;
        let is_given = self.publisher.is_some();
        let key: PublisherKey = match &self.publisher {
            Some(text) => publisher::public(text).map_err(CliError::failure)?,
            None => {
                let beside = safe_file::folder_of(&self.file).join(format!("{id}.pub"));
                publisher::public(&beside.to_string_lossy()).map_err(|_| {
                    let remedy = "give it with --publisher KEY-OR-FILE";
                    CliError::Failure(format!(
                        "it is signed with the key {id}, and {} is not there; {remedy}",
                        beside.display()
                    ))
                })?
            }
        };
        let comment = key.verify(&text, &packed.bytes, &publisher::comment(&packed)).map_err(wrong)?;
        if self.json {
            let told = serde_json::json!({ "publisher": key, "comment": comment, "sha256": packed.digest_hex() });
            return Ok(writeln!(out, "{told:#}")?);
        }
        writeln!(out, "{}: as {key} signed it", self.file.display())?;
        writeln!(out, "the publisher says: {}", comment.escape_debug())?;
        if !is_given {
            writeln!(out, "The key came with the package: compare it with what you know of the publisher.")?;
        }
        Ok(())
    }
}

#[cfg(all(unix, feature = "live"))]
impl Index {
    pub(in crate::cli) fn run(self, out: &mut dyn Write) -> Result<(), CliError> {
        use crate::container::repository::INDEX_FILE;
        use crate::drivers::live::shelf::Shelf;

        let failed = |error| CliError::Failure(format!("cannot read {}: {error}", self.folder.display()));
        let mut shelf = Shelf::read(&self.folder).map_err(failed)?;
        for problem in &shelf.problems {
            tracing::warn!("{problem}");
        }
        // A web server has the files only.
        shelf.items.retain(|_, item| item.origin.is_file());
        if shelf.items.is_empty() {
            let remedy = "`netserv module pack` makes packages";
            return Err(CliError::Failure(format!("{} holds no .nsm file; {remedy}", self.folder.display())));
        }
        for item in shelf.items.values() {
            let name = item.packed.file_name();
            if item.origin.file_name() != Some(name.as_ref()) {
                let text = format!("{} must be called {name}, as others look for it; rename it", item.origin.display());
                return Err(CliError::Failure(text));
            }
        }
        let path = self.folder.join(INDEX_FILE);
        let failed = |error| CliError::Failure(format!("cannot write {}: {error}", path.display()));
        safe_file::replace(&path, shelf.index().to_json().as_bytes(), 0o644).map_err(failed)?;
        let signed = shelf.items.values().filter(|item| item.signed.is_some()).count();
        Ok(writeln!(out, "{}: {} packages, {signed} of them signed", path.display(), shelf.items.len())?)
    }
}
