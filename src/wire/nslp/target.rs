//! Nodes and targets as people write them.

use std::fmt;
use std::str::FromStr;

use crate::base::crypto::sha256;

use crate::base::limits::{NAME_BYTES_MAX, NSLP_LIST_MAX};
use crate::base::text::is_plain;
use crate::wire::nslp::request::{NodeId, Target};

/// Fewest digits of a node's id that name it.
pub const NODE_PREFIX_DIGITS_MIN: usize = 8;
/// All digits of a node's id.
pub const NODE_PREFIX_DIGITS_MAX: usize = 32;

/// Why a text names no node or target.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TargetError {
    /// No node id.
    #[error("`{0}` is no node id: 8 to 32 hexadecimal digits, in lower case")]
    NodeId(String),
    /// No property.
    #[error("`{0}` is no name of a property")]
    Property(String),
    /// Too many ids.
    #[error("at most {NSLP_LIST_MAX} nodes can be named")]
    TooManyNodes,
    /// None of the forms.
    #[error("`{0}` is no target: write all, first, last, node:ID[,ID...] or one-per:PROPERTY")]
    Unknown(String),
}

/// Whether a text can name a node by the first digits of its id.
#[must_use]
pub fn is_node_prefix(text: &str) -> bool {
    (NODE_PREFIX_DIGITS_MIN..=NODE_PREFIX_DIGITS_MAX).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
}

/// Whether a text can be the name of a property of nodes.
pub(super) fn is_property_name(name: &str) -> bool {
    !name.is_empty() && name.len() <= NAME_BYTES_MAX && is_plain(name)
}

impl NodeId {
    /// The id of the node with this Ed25519 public key.
    #[must_use]
    pub fn of_key(key: &[u8; 32]) -> NodeId {
        let digest = sha256(key);
        NodeId(std::array::from_fn(|i| digest[i]))
    }

    /// Whether `prefix` names this node: 8 or more of the first digits of its id, in lower case.
    #[must_use]
    pub fn matches(&self, prefix: &str) -> bool {
        is_node_prefix(prefix) && self.to_string().starts_with(prefix)
    }
}

impl FromStr for NodeId {
    type Err = TargetError;

    /// Reads all 32 digits, in either case.
    fn from_str(text: &str) -> Result<NodeId, TargetError> {
        let wrong = || TargetError::NodeId(text.to_owned());
        let digits = text.as_bytes();
        if digits.len() != NODE_PREFIX_DIGITS_MAX || !digits.iter().all(u8::is_ascii_hexdigit) {
            return Err(wrong());
        }
        let mut id = [0; 16];
        for (byte, pair) in id.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
            let pair = std::str::from_utf8(pair).map_err(|_| wrong())?;
            *byte = u8::from_str_radix(pair, 16).map_err(|_| wrong())?;
        }
        Ok(NodeId(id))
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Target::All => f.write_str("all"),
            Target::First => f.write_str("first"),
            Target::Last => f.write_str("last"),
            Target::Nodes(ids) => write!(f, "node:{}", ids.join(",")),
            Target::OnePer(property) => write!(f, "one-per:{property}"),
        }
    }
}

impl FromStr for Target {
    type Err = TargetError;

    fn from_str(text: &str) -> Result<Target, TargetError> {
        match text {
            "all" => return Ok(Target::All),
            "first" => return Ok(Target::First),
            "last" => return Ok(Target::Last),
            _ => {}
        }
        if let Some(property) = text.strip_prefix("one-per:") {
            if !is_property_name(property) {
                return Err(TargetError::Property(property.to_owned()));
            }
            return Ok(Target::OnePer(property.to_owned()));
        }
        let Some(ids) = text.strip_prefix("node:") else { return Err(TargetError::Unknown(text.to_owned())) };
        let ids: Vec<String> = ids.split(',').map(str::to_ascii_lowercase).collect();
        if ids.len() > NSLP_LIST_MAX {
            return Err(TargetError::TooManyNodes);
        }
        match ids.iter().find(|id| !is_node_prefix(id)) {
            Some(wrong) => Err(TargetError::NodeId(wrong.clone())),
            None => Ok(Target::Nodes(ids)),
        }
    }
}
