//! Who is let in. A browser carries requests of pages from anywhere: what does not come from this server's own page is
//! refused, and so is a name that was made to lead here (DNS rebinding).

use std::net::{IpAddr, SocketAddr};

use crate::base::crypto::sha256;
use crate::blocks::http::head::RequestHead;
use crate::blocks::http::url::Authority;
use crate::drivers::page_server::Access;

/// The field that only this server's own page adds to a control: other pages would have to ask first, and are refused.
const OWN_FIELD: &str = "x-netserv";

/// A refusal: the status, and a sentence with the remedy.
pub(super) type Refusal = (u16, &'static str);

/// Decides on requests.
pub(super) struct Gate {
    address: SocketAddr,
    controls: bool,
    /// The digest of the token: digests have one length, and comparing them tells nothing of the token.
    token: Option<[u8; 32]>,
}

impl Gate {
    pub(super) fn new(address: SocketAddr, access: Access) -> Gate {
        let token = access.token.map(|token| sha256(token.as_bytes()));
        Gate { address, controls: access.controls, token }
    }

    /// Whether the request is for this server, by whatever name it may have.
    pub(super) fn check_host(&self, head: &RequestHead) -> Result<(), Refusal> {
        let host = head.fields.first("host").and_then(Authority::parse);
        let is_own = host.is_some_and(|host| self.is_own_port(host.port) && self.is_own_host(&host.host));
        if is_own { Ok(()) } else { Err((421, "open this page by the address that the program has printed")) }
    }

    fn is_own_port(&self, port: Option<u16>) -> bool {
        port.unwrap_or(80) == self.address.port()
    }

    fn is_own_host(&self, host: &str) -> bool {
        if matches!(host, "localhost" | "127.0.0.1" | "[::1]") {
            return true;
        }
        let Ok(ip) = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>() else { return false };
        // An address cannot be made to lead elsewhere; which ones this machine has is not known here.
        ip == self.address.ip() || self.address.ip().is_unspecified()
    }

    /// Whether who asks may see what happens.
    pub(super) fn check_reading(&self, head: &RequestHead) -> Result<(), Refusal> {
        if !comes_from_here(head) {
            return Err((403, "another site's page may not look"));
        }
        if self.address.ip().is_loopback() || self.has_token(head) {
            return Ok(());
        }
        Err((401, "from another machine this page needs the token: open it as /#token=THE-TOKEN"))
    }

    /// Whether who asks may control what he sees.
    pub(super) fn may_control(&self, head: &RequestHead) -> bool {
        self.controls && (self.token.is_none() || self.has_token(head))
    }

    /// Whether a control may be obeyed.
    pub(super) fn check_control(&self, head: &RequestHead) -> Result<(), Refusal> {
        if !comes_from_here(head) || head.fields.first(OWN_FIELD).is_none() {
            return Err((403, "only this server's own page may control; others send the field x-netserv: 1"));
        }
        let kind = head.fields.first("content-type").unwrap_or_default();
        if !kind.split(|byte| *byte == b';').next().unwrap_or_default().eq_ignore_ascii_case(b"application/json") {
            return Err((415, "a control is application/json"));
        }
        if !self.controls {
            return Err((403, "this page is only to look at"));
        }
        if !self.may_control(head) {
            return Err((401, "to control, open this page with the token: /#token=THE-TOKEN"));
        }
        Ok(())
    }

    /// Takes the same time whatever is wrong with the token.
    fn has_token(&self, head: &RequestHead) -> bool {
        let given = head.fields.first("authorization").and_then(|value| value.strip_prefix(b"Bearer "));
        let (Some(given), Some(token)) = (given, &self.token) else { return false };
        let differs = sha256(given).iter().zip(token).fold(0, |sum, (a, b)| sum | (a ^ b));
        std::hint::black_box(differs) == 0
    }
}

/// Whether a request comes from this server's own page, or from no page at all.
fn comes_from_here(head: &RequestHead) -> bool {
    let host = head.fields.first("host").unwrap_or_default();
    let is_own = |origin: &[u8]| origin.strip_prefix(b"http://").is_some_and(|rest| rest.eq_ignore_ascii_case(host));
    let is_same_site = |site: &[u8]| site == b"same-origin" || site == b"none";
    head.fields.all("origin").all(is_own) && head.fields.all("sec-fetch-site").all(is_same_site)
}
