//! GIST, the General Internet Signalling Transport (RFC 5971): finds the next node along the path of a flow, and
//! carries messages of signalling applications to it. Knows nothing of what they mean.

pub mod api;
