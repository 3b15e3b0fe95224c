//! The routing state table: which peer a flow and session has in each direction (RFC 5971, section 4.2.1).
//!
//! An entry stands under the direction in which this node sends to the peer. A message that comes from the peer carries
//! the other direction, so it is looked up inverted.

use std::collections::{BTreeMap, VecDeque};
use std::net::IpAddr;
use std::time::Duration;

use crate::base::limits::{
    GIST_SESSIONS_MAX, GIST_SESSIONS_PER_PEER_MAX, GIST_UNCONFIRMED_MAX, GIST_WAITING_BYTES_MAX,
    GIST_WAITING_PER_ENTRY_MAX,
};
use crate::base::time::Instant;
use crate::signaling::gist::api::{MessageHandle, SiiHandle, TransferAttributes};
use crate::signaling::gist::search::{Search, SentCookie};
use crate::signaling::io::StreamId;
use crate::wire::gist::header::NslpId;
use crate::wire::gist::message::Message;
use crate::wire::gist::mri::{Mri, MriKey};
use crate::wire::gist::object::{PeerIdentity, Sid};

/// An entry by a number that is never used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct EntryId(u64);

/// What an entry is found by.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Key {
    pub(super) mri: MriKey,
    pub(super) nslp: NslpId,
    pub(super) sid: Sid,
}

impl Key {
    /// The key for messages of this node with this MRI.
    pub(super) fn new(mri: &Mri, nslp: NslpId, sid: Sid) -> Key {
        Key { mri: mri.key(), nslp, sid }
    }

    /// The flow in its normal form, as bytes.
    pub(super) fn mri_bytes(&self) -> Vec<u8> {
        self.mri.mri().encode_value()
    }
}

/// The node at the other end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Peer {
    pub(super) identity: PeerIdentity,
    pub(super) address: IpAddr,
    /// Its UDP port for signalling.
    pub(super) port: u16,
    /// This node's address towards it.
    pub(super) local: IpAddr,
    /// Where its Query came in; only compared.
    pub(super) interface: u32,
    /// IP hops to it; 0 = not known.
    pub(super) distance: u8,
}

impl Peer {
    pub(super) fn sii(&self) -> SiiHandle {
        SiiHandle { identity: self.identity.clone(), address: self.address }
    }

    /// Whether it is the same node at the same address.
    pub(super) fn is(&self, other: &Peer) -> bool {
        self.address == other.address && self.identity == other.identity
    }
}

/// How far a peer may be trusted to be the right one (RFC 5971, section 7.1.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Status {
    /// Installed, and nothing speaks against it.
    Good,
    /// Still used, but is being checked.
    Tentative,
    /// Not used any more: messages wait for a new handshake.
    Bad,
}

/// What messages need of the way to a peer; more is greater.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Level {
    /// Datagrams will do.
    #[default]
    Datagram,
    /// An association.
    Reliable,
    /// An association over TLS.
    Secure,
}

impl Level {
    pub(super) fn of(attributes: TransferAttributes) -> Level {
        match attributes {
            TransferAttributes { secure: true, .. } => Level::Secure,
            TransferAttributes { reliable: true, .. } => Level::Reliable,
            TransferAttributes { .. } => Level::Datagram,
        }
    }
}

/// A message that waits for a peer, or for an association.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Waiting {
    pub(super) data: Vec<u8>,
    pub(super) handle: Option<MessageHandle>,
    pub(super) attributes: TransferAttributes,
    pub(super) ip_ttl: Option<u8>,
    pub(super) hops: Option<u8>,
}

/// What this node is in the handshake.
#[derive(Clone, Debug)]
pub(super) enum Role {
    /// It sends the Queries.
    Querier(Box<Querier>),
    /// It answers them.
    Responder(Box<Responder>),
}

/// A querier (RFC 5971, section 6.2; RFC 5972, section 5). Without a peer it awaits its first Response; with a peer and
/// a search it awaits the Response of a refresh.
#[derive(Clone, Debug, Default)]
pub(super) struct Querier {
    pub(super) search: Option<Search>,
    /// Cookies of the last Queries, oldest first. All stay good (RFC 5971, section 5.3.3).
    pub(super) cookies: VecDeque<SentCookie>,
    pub(super) refresh_at: Option<Instant>,
    /// Until then the state is refreshed without any message.
    pub(super) wanted_until: Instant,
    /// What the messages so far need; decides what Queries propose.
    pub(super) level: Level,
    /// How long a search may take, if an application said so.
    pub(super) timeout: Option<Duration>,
    /// Hop count of Queries.
    pub(super) hops: Option<u8>,
    /// What the application wants to have in the next Query.
    pub(super) query_data: Option<Vec<u8>>,
    /// There was state for the other direction of the session: without it nobody refreshes the session here.
    pub(super) is_relayed: bool,
    /// The way to the flow's end when last looked at.
    pub(super) route: Option<u64>,
    /// The Confirm that waits for an association.
    pub(super) confirm: Option<Box<Message>>,
}

/// A responder (RFC 5971, section 6.3; RFC 5972, section 6). Without a peer it awaits the first Confirm; with a peer
/// and a pending one the Confirm of a refresh, or of a new peer.
#[derive(Clone, Debug, Default)]
pub(super) struct Responder {
    pub(super) pending: Option<Box<Pending>>,
    /// The state is forgotten then, unless a Query comes (RFC 5971, section 4.4.4).
    pub(super) expires_at: Option<Instant>,
}

/// A Query that was answered and whose Confirm is awaited.
#[derive(Clone, Debug)]
pub(super) struct Pending {
    pub(super) peer: Peer,
    /// What was sent, to be sent again.
    pub(super) response: Message,
    /// Over which association, if not as a datagram.
    pub(super) stream: Option<StreamId>,
    pub(super) wait: Duration,
    pub(super) retry_at: Instant,
    pub(super) retries_left: u32,
}

/// One direction of one flow and session.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) key: Key,
    /// As this node sends it.
    pub(super) mri: Mri,
    pub(super) role: Role,
    /// Confirmed.
    pub(super) peer: Option<Peer>,
    pub(super) status: Status,
    pub(super) association: Option<StreamId>,
    pub(super) waiting: VecDeque<Waiting>,
    /// When the timer is set.
    pub(super) armed: Option<Instant>,
}

impl Entry {
    /// The earliest thing that is due.
    pub(super) fn deadline(&self) -> Option<Instant> {
        match &self.role {
            Role::Querier(q) => match &q.search {
                Some(search) => Some(search.next_at()),
                // Refreshed while wanted, then removed.
                None => Some(q.refresh_at.map_or(q.wanted_until, |at| at.min(q.wanted_until))),
            },
            Role::Responder(r) => {
                let retry = r.pending.as_ref().map(|p| p.retry_at);
                match (retry, r.expires_at) {
                    (Some(a), Some(b)) => Some(a.min(b)),
                    (a, b) => a.or(b),
                }
            }
        }
    }

    /// Names the entry for an application.
    pub(super) fn names(&self) -> (NslpId, Sid, Mri) {
        (self.key.nslp, self.key.sid, self.mri.clone())
    }

    pub(super) fn is_unconfirmed(&self) -> bool {
        self.peer.is_none() && matches!(self.role, Role::Responder(_))
    }

    pub(super) fn querier_mut(&mut self) -> Option<&mut Querier> {
        match &mut self.role {
            Role::Querier(q) => Some(q),
            Role::Responder(_) => None,
        }
    }

    pub(super) fn responder_mut(&mut self) -> Option<&mut Responder> {
        match &mut self.role {
            Role::Responder(r) => Some(r),
            Role::Querier(_) => None,
        }
    }
}

/// All entries.
#[derive(Debug, Default)]
pub(super) struct Table {
    by_key: BTreeMap<Key, EntryId>,
    entries: BTreeMap<EntryId, Entry>,
    made_count: u64,
    unconfirmed: usize,
    waiting_bytes: usize,
    /// Entries by the address of their peer.
    by_address: BTreeMap<IpAddr, u32>,
}

impl Table {
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(super) fn unconfirmed(&self) -> usize {
        self.unconfirmed
    }

    pub(super) fn waiting_bytes(&self) -> usize {
        self.waiting_bytes
    }

    pub(super) fn is_full(&self) -> bool {
        self.entries.len() >= GIST_SESSIONS_MAX
    }

    /// Whether no more state may be kept for Queries whose sender is not verified.
    pub(super) fn is_under_load(&self) -> bool {
        self.is_full() || self.unconfirmed >= GIST_UNCONFIRMED_MAX
    }

    pub(super) fn find(&self, key: &Key) -> Option<EntryId> {
        self.by_key.get(key).copied()
    }

    pub(super) fn entry(&self, id: EntryId) -> Option<&Entry> {
        self.entries.get(&id)
    }

    pub(super) fn entry_mut(&mut self, id: EntryId) -> Option<&mut Entry> {
        self.entries.get_mut(&id)
    }

    /// Adds an entry without a peer, which must not be there yet; `None` if the table is full.
    pub(super) fn add(&mut self, key: Key, mri: Mri, role: Role) -> Option<EntryId> {
        if self.is_full() {
            return None;
        }
        let id = EntryId(self.made_count);
        self.made_count += 1;
        let entry = Entry {
            key: key.clone(),
            mri,
            role,
            peer: None,
            status: Status::Good,
            association: None,
            waiting: VecDeque::new(),
            armed: None,
        };
        self.unconfirmed += usize::from(entry.is_unconfirmed());
        self.by_key.insert(key, id);
        self.entries.insert(id, entry);
        Some(id)
    }

    pub(super) fn remove(&mut self, id: EntryId) -> Option<Entry> {
        let entry = self.entries.remove(&id)?;
        self.by_key.remove(&entry.key);
        self.unconfirmed -= usize::from(entry.is_unconfirmed());
        self.count_address(entry.peer.as_ref().map(|p| p.address), None);
        self.waiting_bytes -= entry.waiting.iter().map(|w| w.data.len()).sum::<usize>();
        Some(entry)
    }

    /// Changes what counts as confirmed, in the one place that keeps the count.
    pub(super) fn change(&mut self, id: EntryId, change: impl FnOnce(&mut Entry)) {
        let Some(entry) = self.entries.get_mut(&id) else { return };
        let old = entry.peer.as_ref().map(|p| p.address);
        self.unconfirmed -= usize::from(entry.is_unconfirmed());
        change(entry);
        self.unconfirmed += usize::from(entry.is_unconfirmed());
        let new = entry.peer.as_ref().map(|p| p.address);
        self.count_address(old, new);
    }

    fn count_address(&mut self, old: Option<IpAddr>, new: Option<IpAddr>) {
        if old == new {
            return;
        }
        if let Some(old) = old
            && let Some(count) = self.by_address.get_mut(&old)
        {
            *count -= 1;
            if *count == 0 {
                self.by_address.remove(&old);
            }
        }
        if let Some(new) = new {
            *self.by_address.entry(new).or_default() += 1;
        }
    }

    /// Whether a peer has as many entries as one may have.
    pub(super) fn has_too_many(&self, address: IpAddr) -> bool {
        self.by_address.get(&address).is_some_and(|count| *count >= GIST_SESSIONS_PER_PEER_MAX)
    }

    /// Queues a message; gives it back if there is no room.
    pub(super) fn queue(&mut self, id: EntryId, message: Waiting) -> Result<(), Waiting> {
        let Some(entry) = self.entries.get_mut(&id) else { return Err(message) };
        if entry.waiting.len() >= GIST_WAITING_PER_ENTRY_MAX
            || self.waiting_bytes + message.data.len() > GIST_WAITING_BYTES_MAX
        {
            return Err(message);
        }
        self.waiting_bytes += message.data.len();
        entry.waiting.push_back(message);
        Ok(())
    }

    /// Takes out the first waiting message that `take` wants.
    pub(super) fn unqueue(&mut self, id: EntryId, take: impl Fn(&Waiting) -> bool) -> Option<Waiting> {
        let entry = self.entries.get_mut(&id)?;
        let at = entry.waiting.iter().position(take)?;
        let message = entry.waiting.remove(at)?;
        self.waiting_bytes -= message.data.len();
        Some(message)
    }

    /// Up to `count` entries after `after`, in a fixed order: for the rare walks over all of them.
    pub(super) fn ids_after(&self, after: Option<EntryId>, count: usize) -> Vec<EntryId> {
        let from = after.map_or(EntryId(0), |id| EntryId(id.0.saturating_add(1)));
        self.entries.range(from..).take(count).map(|(id, _)| *id).collect()
    }

    /// The entries of a flow and application, whatever the session.
    pub(super) fn of_flow(&self, mri: &Mri, nslp: NslpId) -> Vec<EntryId> {
        let first = Key::new(mri, nslp, Sid([0; 16]));
        let last = Key { sid: Sid([0xff; 16]), ..first.clone() };
        self.by_key.range(first..=last).map(|(_, id)| *id).collect()
    }
}
