//! The sockets of one instance, as its code sees them.

use crate::base::id::InstanceId;
use crate::base::net::{NetEvent, SocketId};

/// The sockets of one instance.
pub(crate) struct Sockets {
    _instance: InstanceId,
    _count_max: u32,
}

impl Sockets {
    pub(crate) fn new(instance: InstanceId, count_max: u32) -> Self {
        Sockets { _instance: instance, _count_max: count_max }
    }

    /// Takes in what happened; answers the keys of what may wait for it.
    pub(crate) fn happened(&mut self, _socket: SocketId, _event: NetEvent<'_>) -> Vec<f64> {
        Vec::new()
    }
}
