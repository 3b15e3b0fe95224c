//! Messaging associations: streams to peers, shared by all sessions with the same peer (RFC 5971, section 4.4.3 and
//! RFC 5971, section 4.4.5; RFC 5972, section 7).

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use crate::base::limits::{
    GIST_ASSOCIATIONS_MAX, GIST_ASSOCIATIONS_PER_ADDRESS_MAX, GIST_HOLD_TIME_MIN, GIST_OUTPUTS_MAX,
};
use crate::base::time::Instant;
use crate::signaling::gist::api::{NetworkNotification, SendError, SiiHandle, TransferAttributes};
use crate::signaling::gist::routing::{EntryId, Level, Peer, Role, Status};
use crate::signaling::gist::stats::Count;
use crate::signaling::gist::timers::Timer;
use crate::signaling::gist::{Env, Gist};
use crate::signaling::io::{PeerKey, SocketOutput, StreamId, StreamSecurity};
use crate::wire::gist::header::{MessageType, NslpId};
use crate::wire::gist::message::Message;
use crate::wire::gist::object::PeerIdentity;

/// How far an association is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// The stream is being opened.
    Opening,
    /// A peer opened it; its first Confirm, which says who it is, is awaited.
    Unidentified,
    /// Both sides know each other.
    Open,
}

/// One stream.
#[derive(Debug)]
pub(super) struct Association {
    pub(super) stage: Stage,
    pub(super) security: StreamSecurity,
    pub(super) peer_key: Option<PeerKey>,
    /// The address at the other end of the stream.
    pub(super) remote: IpAddr,
    /// As the peer's NLI named it.
    pub(super) peer: Option<(PeerIdentity, IpAddr)>,
    /// Entries that use it.
    pub(super) users: BTreeSet<EntryId>,
    /// What came and is no whole message yet.
    pub(super) buffer: Vec<u8>,
    /// Hold time of the peer: this node must not be silent for longer.
    pub(super) peer_hold: Duration,
    pub(super) received_at: Instant,
    /// When the next MA-Hello is due; none while nobody needs the association.
    pub(super) hello_at: Option<Instant>,
    /// When the peer was asked whether it is still there; none if it has said something since.
    pub(super) asked_at: Option<Instant>,
    pub(super) armed: Option<Instant>,
}

impl Association {
    pub(super) fn is_secure(&self) -> bool {
        self.security == StreamSecurity::Tls
    }

    pub(super) fn peer_key(&self) -> Option<PeerKey> {
        self.peer_key
    }

    pub(super) fn sii(&self) -> Option<SiiHandle> {
        self.peer.as_ref().map(|(identity, address)| SiiHandle { identity: identity.clone(), address: *address })
    }

    fn level(&self) -> Level {
        if self.is_secure() { Level::Secure } else { Level::Reliable }
    }

    /// When silence of the peer has a consequence: without users the association ends, with users the peer is asked
    /// first.
    fn silent_at(&self, hold: Duration) -> Instant {
        // From the question on, not from when it was due: this machine may have slept.
        self.asked_at.unwrap_or(self.received_at) + hold
    }
}

/// All associations.
#[derive(Debug, Default)]
pub(super) struct Associations {
    streams: BTreeMap<StreamId, Association>,
    by_peer: BTreeMap<(PeerIdentity, IpAddr), Vec<StreamId>>,
    /// How many there are of one address.
    by_address: BTreeMap<IpAddr, usize>,
    unidentified: usize,
    opened_count: u64,
}

impl Associations {
    pub(super) fn len(&self) -> usize {
        self.streams.len()
    }

    pub(super) fn unidentified(&self) -> usize {
        self.unidentified
    }

    pub(super) fn get(&self, stream: StreamId) -> Option<&Association> {
        self.streams.get(&stream)
    }

    pub(super) fn get_mut(&mut self, stream: StreamId) -> Option<&mut Association> {
        self.streams.get_mut(&stream)
    }

    /// Whether there is room for one more with this address.
    pub(super) fn has_room(&self, remote: IpAddr) -> bool {
        self.streams.len() < GIST_ASSOCIATIONS_MAX
            && self.by_address.get(&remote).is_none_or(|count| *count < GIST_ASSOCIATIONS_PER_ADDRESS_MAX)
    }

    /// A number for a stream that this node opens: even, and never used before.
    fn next_stream(&mut self) -> StreamId {
        self.opened_count += 1;
        StreamId(self.opened_count * 2)
    }

    pub(super) fn add(&mut self, stream: StreamId, association: Association) {
        *self.by_address.entry(association.remote).or_default() += 1;
        self.unidentified += usize::from(association.stage == Stage::Unidentified);
        if let Some(peer) = &association.peer {
            self.by_peer.entry(peer.clone()).or_default().push(stream);
        }
        self.streams.insert(stream, association);
    }

    /// The peer's first Confirm says who it is.
    pub(super) fn identify(&mut self, stream: StreamId, peer: (PeerIdentity, IpAddr)) {
        let Some(association) = self.streams.get_mut(&stream) else { return };
        self.unidentified -= usize::from(association.stage == Stage::Unidentified);
        association.stage = Stage::Open;
        if association.peer.is_none() {
            association.peer = Some(peer.clone());
            self.by_peer.entry(peer).or_default().push(stream);
        }
    }

    pub(super) fn remove(&mut self, stream: StreamId) -> Option<Association> {
        let association = self.streams.remove(&stream)?;
        self.unidentified -= usize::from(association.stage == Stage::Unidentified);
        if let Some(count) = self.by_address.get_mut(&association.remote) {
            *count -= 1;
            if *count == 0 {
                self.by_address.remove(&association.remote);
            }
        }
        if let Some(peer) = &association.peer
            && let Some(streams) = self.by_peer.get_mut(peer)
        {
            streams.retain(|s| *s != stream);
            if streams.is_empty() {
                self.by_peer.remove(peer);
            }
        }
        Some(association)
    }

    /// Those over TLS whose peer has shown its key.
    pub(super) fn secure(&self) -> Vec<(StreamId, Option<PeerKey>)> {
        let known = self.streams.iter().filter(|(_, a)| a.is_secure() && a.stage != Stage::Opening);
        known.map(|(stream, a)| (*stream, a.peer_key)).collect()
    }

    fn with(&self, identity: &PeerIdentity, address: IpAddr, stage: Stage, level: Level) -> Option<StreamId> {
        let streams = self.by_peer.get(&(identity.clone(), address))?;
        let fits = |s: &&StreamId| self.get(**s).is_some_and(|a| a.stage == stage && a.level() >= level);
        streams.iter().find(fits).copied()
    }
}

impl Gist {
    /// An open association with this peer that is good enough.
    pub(super) fn association_with(&self, identity: &PeerIdentity, address: IpAddr, level: Level) -> Option<StreamId> {
        self.associations.with(identity, address, Stage::Open, level)
    }

    /// One that is being opened.
    pub(super) fn association_to_be(&self, peer: &Peer, level: Level) -> Option<StreamId> {
        self.associations.with(&peer.identity, peer.address, Stage::Opening, level)
    }

    pub(super) fn is_usable(&self, stream: StreamId) -> bool {
        self.associations.get(stream).is_some_and(|a| a.stage == Stage::Open)
    }

    pub(super) fn is_unidentified(&self, stream: StreamId) -> bool {
        self.associations.get(stream).is_some_and(|a| a.stage == Stage::Unidentified)
    }

    pub(super) fn level_of(&self, stream: StreamId) -> Level {
        self.associations.get(stream).map_or(Level::Datagram, Association::level)
    }

    pub(super) fn attributes_of(&self, stream: StreamId) -> TransferAttributes {
        let level = self.level_of(stream);
        TransferAttributes { reliable: level > Level::Datagram, secure: level == Level::Secure }
    }

    /// Begins to open an association to a peer; `None` if there are too many.
    pub(super) fn open_association(
        &mut self,
        now: Instant,
        peer: &Peer,
        to: SocketAddr,
        security: StreamSecurity,
        hold_time_ms: u32,
    ) -> Option<StreamId> {
        if !self.associations.has_room(peer.address) {
            return None;
        }
        let stream = self.associations.next_stream();
        let association = Association {
            stage: Stage::Opening,
            security,
            peer_key: None,
            remote: peer.address,
            peer: Some((peer.identity.clone(), peer.address)),
            users: BTreeSet::new(),
            buffer: Vec::new(),
            peer_hold: Duration::from_millis(u64::from(hold_time_ms)).max(GIST_HOLD_TIME_MIN),
            received_at: now,
            hello_at: None,
            asked_at: None,
            armed: None,
        };
        self.associations.add(stream, association);
        self.outputs.push_back(SocketOutput::Connect { stream, from: None, to, security });
        self.rearm_association(stream);
        Some(stream)
    }

    /// Sends over an association; false if it is not there. Every message shows the peer that this node is alive.
    pub(super) fn send_over(&mut self, now: Instant, stream: StreamId, message: &Message) -> bool {
        if !self.associations.get(stream).is_some_and(|a| a.stage != Stage::Opening) {
            return false;
        }
        if self.outputs.len() >= GIST_OUTPUTS_MAX {
            self.counters.add(Count::DroppedRateLimit);
            return false;
        }
        self.counters.sent(message.kind);
        self.outputs.push_back(SocketOutput::Write { stream, bytes: message.encode() });
        self.schedule_hello(now, stream);
        true
    }

    /// The next MA-Hello: at a random time in the second quarter of the peer's hold time (RFC 5971, section 4.4.5).
    pub(super) fn schedule_hello(&mut self, now: Instant, stream: StreamId) {
        let Some(association) = self.associations.get(stream) else { return };
        let peer_hold = association.peer_hold;
        let at = (!association.users.is_empty()).then(|| now + self.within(peer_hold));
        if let Some(association) = self.associations.get_mut(stream) {
            association.hello_at = at;
        }
        self.rearm_association(stream);
    }

    pub(super) fn rearm_association(&mut self, stream: StreamId) {
        let hold = self.config.hold_time;
        let Some(association) = self.associations.get_mut(stream) else { return };
        let silent_at = association.silent_at(hold);
        let at = association.hello_at.map_or(silent_at, |hello| hello.min(silent_at));
        self.timers.set(&mut association.armed, Some(at), Timer::Association(stream));
    }

    pub(super) fn join_association(&mut self, now: Instant, stream: StreamId, id: EntryId) {
        let Some(association) = self.associations.get_mut(stream) else { return };
        association.users.insert(id);
        if association.stage == Stage::Open && association.hello_at.is_none() {
            self.schedule_hello(now, stream);
        }
    }

    /// An entry needs the association no longer. Without users it ends once the peer is silent too (RFC 5972, section
    /// 7: Idle).
    pub(super) fn leave_association(&mut self, now: Instant, stream: StreamId, id: EntryId) {
        let Some(association) = self.associations.get_mut(stream) else { return };
        association.users.remove(&id);
        if association.users.is_empty() {
            association.hello_at = None;
            // The peer may have just said something: it holds until this node's whole hold time has passed.
            association.received_at = association.received_at.max(now);
            self.rearm_association(stream);
        }
    }

    /// A deadline of an association.
    pub(super) fn association_due(&mut self, now: Instant, env: &mut Env<'_>, stream: StreamId) {
        let hold = self.config.hold_time;
        let Some(association) = self.associations.get_mut(stream) else { return };
        association.armed = None;
        let is_silent = association.silent_at(hold) <= now;
        let is_idle = association.stage == Stage::Open && association.users.is_empty();
        if is_silent && is_idle {
            // Nobody needs it, and the peer kept silent for the hold time that this node promised.
            return self.close_association(now, env, stream);
        }
        let is_stuck = association.stage != Stage::Open || association.asked_at.is_some();
        if is_silent && is_stuck {
            self.outputs.push_back(SocketOutput::Close { stream });
            return self.association_failed(now, env, stream);
        }
        if is_silent {
            association.asked_at = Some(now);
            self.send_hello(now, stream, true);
        } else if association.hello_at.is_some_and(|at| at <= now) {
            self.send_hello(now, stream, false);
        }
        self.rearm_association(stream);
    }

    /// MA-Hello; with a number if an answer is wanted (RFC 5971, appendix A.3.11).
    fn send_hello(&mut self, now: Instant, stream: StreamId, asks: bool) {
        use rand_core::Rng as _;
        let mut hello = Message::new(MessageType::Hello, NslpId::GIST);
        hello.reply_requested = asks;
        hello.hello_id = Some(if asks { self.rng.next_u32() | 1 } else { 0 });
        self.send_over(now, stream, &hello);
    }

    pub(super) fn close_association(&mut self, now: Instant, env: &mut Env<'_>, stream: StreamId) {
        self.outputs.push_back(SocketOutput::Close { stream });
        self.drop_association(now, env, stream, None);
    }

    /// An association broke: all that used it must know (RFC 5971, section 5.7.2).
    pub(super) fn association_failed(&mut self, now: Instant, env: &mut Env<'_>, stream: StreamId) {
        self.counters.add(Count::AssociationsFailed);
        self.drop_association(now, env, stream, Some(NetworkNotification::CommunicationFailure));
    }

    pub(super) fn drop_association(
        &mut self,
        now: Instant,
        env: &mut Env<'_>,
        stream: StreamId,
        what: Option<NetworkNotification>,
    ) {
        let Some(mut association) = self.associations.remove(stream) else { return };
        self.timers.set(&mut association.armed, None, Timer::Association(stream));
        for id in std::mem::take(&mut association.users) {
            let Some(entry) = self.table.entry_mut(id) else { continue };
            if entry.association != Some(stream) {
                continue;
            }
            entry.association = None;
            let names = entry.names();
            let was_waiting = matches!(&entry.role, Role::Querier(q) if q.confirm.is_some());
            if let Role::Querier(querier) = &mut entry.role {
                querier.confirm = None;
            }
            if was_waiting {
                // The handshake did not end: the peer has no state.
                entry.status = Status::Bad;
                self.fail_waiting(now, env, id, SendError::AssociationFailed);
            }
            if let Some(what) = &what {
                self.notify(now, env, &names, what);
            }
            // State with a peer that is not authorised must go too (RFC 5971, section 4.4.2).
            if was_waiting || what == Some(NetworkNotification::AuthorisationChanged) {
                self.fail_waiting(now, env, id, SendError::AssociationFailed);
                self.remove_entry(now, id);
            }
        }
    }
}
