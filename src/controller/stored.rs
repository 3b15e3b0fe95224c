//! Instances as they are kept on disk.

use serde::{Deserialize, Serialize};

use crate::base::crypto::{from_hex, sha256, to_hex};
use crate::base::limits::{INSTANCE_FILE_BYTES_MAX, LIFETIME_MAX};
use crate::controller::admission::instance_name;
use crate::wire::nslp::request::{ModuleRequest, Nonce};

/// Folders of the store.
pub(super) const INSTANCES: &str = "instances/";
pub(super) const PACKAGES: &str = "packages/";

/// An instance that someone wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Wanted {
    /// What it is called at the node.
    pub(super) name: String,
    /// What its requester calls it.
    pub(super) label: String,
    /// The requester's key.
    pub(super) key: [u8; 32],
    /// The request that set it up last.
    pub(super) nonce: Nonce,
    /// SHA-256 of this request.
    pub(super) request_digest: [u8; 32],
    /// What is to run.
    pub(super) module: ModuleRequest,
}

impl Wanted {
    /// Where the instance is kept. Names may differ only in case, and hold what a file name should not.
    pub(super) fn store_key(&self) -> String {
        format!("{INSTANCES}{}.json", to_hex(&sha256(self.name.as_bytes())[..16]))
    }

    /// Whether another request wants the same to run; its lifetime may be another.
    pub(super) fn is_same_as(&self, other: &Wanted) -> bool {
        let (ours, theirs) = (&self.module, &other.module);
        ours.name == theirs.name
            && ours.version == theirs.version
            && ours.digest == theirs.digest
            && ours.properties == theirs.properties
    }
}

/// Where a package is kept.
pub(super) fn package_key(digest: &[u8; 32]) -> String {
    format!("{PACKAGES}{}", to_hex(digest))
}

/// The file of an instance.
#[derive(Serialize, Deserialize)]
struct File {
    instance: String,
    key: String,
    nonce: String,
    request: String,
    expires_ms: u64,
    module: String,
    version: String,
    url: String,
    digest: String,
    lifetime_ms: u64,
    properties: Vec<(String, String)>,
    notify: String,
}

/// The file of an instance that lives until `expires_ms`, in ms since 1970-01-01 UTC.
pub(super) fn encode(wanted: &Wanted, expires_ms: u64) -> Vec<u8> {
    let module = wanted.module.clone();
    let file = File {
        instance: wanted.label.clone(),
        key: to_hex(&wanted.key),
        nonce: to_hex(&wanted.nonce.0),
        request: to_hex(&wanted.request_digest),
        expires_ms,
        module: module.name,
        version: module.version,
        url: module.url,
        digest: to_hex(&module.digest),
        lifetime_ms: module.lifetime_ms,
        properties: module.properties,
        notify: module.notify,
    };
    serde_json::to_vec_pretty(&file).expect("texts and numbers can be written")
}

/// Reads the file back: the instance, and until when it lives.
pub(super) fn decode(bytes: &[u8]) -> Result<(Wanted, u64), String> {
    if bytes.len() > INSTANCE_FILE_BYTES_MAX {
        return Err(format!("it has {} bytes; at most {INSTANCE_FILE_BYTES_MAX} are read", bytes.len()));
    }
    let file: File = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
    let key = from_hex(&file.key).ok_or("its key is none")?;
    let module = ModuleRequest {
        name: file.module,
        version: file.version,
        url: file.url,
        digest: from_hex(&file.digest).ok_or("its digest is none")?,
        lifetime_ms: file.lifetime_ms.min(LIFETIME_MAX.as_millis() as u64),
        properties: file.properties,
        notify: file.notify,
    };
    let wanted = Wanted {
        name: instance_name(&file.instance, &key).map_err(|refusal| refusal.sentence)?,
        label: file.instance,
        key,
        nonce: Nonce(from_hex(&file.nonce).ok_or("its nonce is none")?),
        request_digest: from_hex(&file.request).ok_or("its request is none")?,
        module,
    };
    Ok((wanted, file.expires_ms))
}
