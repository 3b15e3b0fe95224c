//! Messages of the NetServ signalling application: objects in GIST's own style, type, flags and length in words
//! (RFC 5971, appendix A.2). A codec without state.

pub mod answer;
pub mod request;

use crate::wire::gist::header::NslpId;

/// The application's number: from the range for experiments (RFC 5971, section 9).
pub const NSLP_ID: NslpId = NslpId(32_743);
/// Router alert value of its Queries: from the range for experiments (RFC 5350, section 3).
pub const ROUTER_ALERT: u16 = 65_503;
