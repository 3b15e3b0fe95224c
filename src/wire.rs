//! Codecs without state, one file per format.

pub mod checksum;
pub mod datagram;
pub mod edit;
pub mod frame;
pub mod gist;
pub mod header;
pub mod nslp;
pub mod router_alert;
pub mod segment;
pub mod tlv;
