//! What TLS takes of the CPU, by instance: keys, certificates and bytes are worked on here, but for the modules.

use std::collections::BTreeMap;

use crate::base::id::InstanceId;
use crate::base::net::{NetOutput, Security};

/// CPU time in ns that nobody has paid for yet.
#[derive(Default)]
pub(super) struct Costs(BTreeMap<InstanceId, u64>);

/// Work that goes on.
pub(super) struct Began {
    owner: InstanceId,
    ns: u64,
}

impl Costs {
    /// Work for an instance begins; nothing is measured for nobody.
    pub(super) fn begin(owner: Option<InstanceId>) -> Option<Began> {
        owner.map(|owner| Began { owner, ns: platform::thread::cpu_ns() })
    }

    /// It has ended.
    pub(super) fn end(&mut self, began: Option<Began>) {
        if let Some(Began { owner, ns }) = began {
            *self.0.entry(owner).or_default() += platform::thread::cpu_ns().saturating_sub(ns);
        }
    }

    /// What was used since this was last asked.
    pub(super) fn take(&mut self) -> BTreeMap<InstanceId, u64> {
        std::mem::take(&mut self.0)
    }
}

/// Whose work an output is that reads keys and certificates.
pub(super) fn owner_of(output: &NetOutput) -> Option<InstanceId> {
    if let NetOutput::Listen { socket, security, .. } | NetOutput::Connect { socket, security, .. } = output
        && *security != Security::Plain
    {
        return Some(socket.instance);
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::net::SocketId;

    #[test]
    fn only_tls_is_measured_and_told_once() {
        let socket = SocketId { instance: InstanceId(3), number: 1 };
        let to = "192.0.2.1:443".parse().unwrap();
        let client = Security::TlsClient { server_name: "a".to_owned(), authorities: None, protocols: Vec::new() };
        assert_eq!(owner_of(&NetOutput::Connect { socket, to, security: client }), Some(InstanceId(3)));
        assert_eq!(owner_of(&NetOutput::Connect { socket, to, security: Security::Plain }), None);
        assert_eq!(owner_of(&NetOutput::Finish(socket)), None);
        let mut costs = Costs::default();
        costs.end(Costs::begin(Some(InstanceId(3))));
        costs.end(Costs::begin(None));
        assert_eq!(costs.take().into_keys().collect::<Vec<_>>(), [InstanceId(3)]);
        assert!(costs.take().is_empty());
    }
}
