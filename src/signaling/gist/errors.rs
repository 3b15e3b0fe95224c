//! Error messages, sent and received (RFC 5971, section 4.4.6 and RFC 5971, section 5.6).

use std::net::SocketAddr;

use crate::base::time::Instant;
use crate::signaling::gist::api::SendError;
use crate::signaling::gist::receive::Origin;
use crate::signaling::gist::routing::{EntryId, Key, Role, Status};
use crate::signaling::gist::stats::Count;
use crate::signaling::gist::{Env, Gist};
use crate::signaling::io::DatagramOut;
use crate::wire::gist::error::{ErrorObject, GistError};
use crate::wire::gist::header::{CommonHeader, MessageType, NslpId};
use crate::wire::gist::message::{Message, Rejection};
use crate::wire::gist::mri::Mri;
use crate::wire::gist::object::Sid;

impl Gist {
    /// Says what was wrong with a message. No state is made, none is asked, and nothing is repeated (RFC 5971, section
    /// 5.6).
    pub(super) fn reject(&mut self, now: Instant, env: &Env<'_>, rejection: &Rejection, origin: Origin) {
        // Never in reaction to an Error, nor to something that has no header.
        let Some(header) = rejection.header else { return };
        if header.message_type() == Some(MessageType::Error) && header.version == crate::wire::gist::header::VERSION {
            return self.counters.add(Count::DroppedError);
        }
        if !self.errors.take(now, 1) {
            return self.counters.add(Count::DroppedRateLimit);
        }
        let (is_d_mode, is_q_mode) = match origin {
            Origin::Datagram { is_q_mode, .. } => (true, is_q_mode),
            Origin::Stream(_) => (false, false),
        };
        let mut error = Message::new(MessageType::Error, NslpId::GIST);
        error.hops = 1;
        error.nat_traversal = rejection.nat_traversal.clone();
        error.error = Some(ErrorObject::new(rejection, is_d_mode, is_q_mode));
        let (source, destination) = match origin {
            // Over the association by which the message came.
            Origin::Stream(stream) => {
                self.send_over(now, stream, &error);
                return;
            }
            Origin::Datagram { source, destination, .. } => (source, destination),
        };
        let is_untranslated = rejection.error == GistError::UntranslatedObject;
        // To the address in the message's NLI; else to its IP source, if that is the sender's own. What a NAT did not
        // translate cannot be reached, so that goes back the way it came (RFC 5971, section 7.2.1).
        let to = match &rejection.nli {
            Some(nli) if !is_untranslated => nli.address,
            Some(_) | None if header.source_addressing => source.ip(),
            Some(_) | None => return self.counters.add(Count::DroppedRefused),
        };
        let own = if env.paths.is_local(destination.ip()) { Some(destination.ip()) } else { env.paths.source_for(to) };
        let Some(own) = own else { return };
        error.nli = Some(self.own_nli(own, 0));
        let from = if is_untranslated { destination.ip() } else { own };
        let datagram = DatagramOut {
            source: Some(from),
            source_port: 0,
            destination: SocketAddr::new(to, source.port()),
            ttl: None,
            router_alert: None,
            dscp: None,
            flow_label: None,
            payload: Vec::new(),
        };
        self.send_datagram(now, &error, datagram);
    }

    /// An Error came. It counts only if it names state that is here; anything else may be made up.
    pub(super) fn error(&mut self, now: Instant, env: &mut Env<'_>, message: &Message, origin: Origin) {
        let Some(object) = &message.error else { return };
        let Some((header, sid)) = CommonHeader::peek(&object.header).zip(object.sid) else {
            return self.counters.add(Count::DroppedError);
        };
        let echoed = message.nat_traversal.as_ref().map(|n| n.original_mri.as_slice());
        let mri = echoed.or(object.mri.as_deref()).and_then(|value| Mri::decode_value(value).ok());
        let found = mri.and_then(|mri| self.table.find(&Key::new(&mri, header.nslp, sid)));
        let (Some(id), Some(error)) = (found, object.error()) else {
            return self.counters.add(Count::DroppedError);
        };
        if let Some(stream) = origin.stream()
            && self.table.entry(id).is_none_or(|e| e.association != Some(stream))
        {
            return self.counters.add(Count::DroppedError);
        }
        match error {
            // The peer has lost its state, or never had it: a lost Confirm ends here too (RFC 5971, section 4.4.6).
            GistError::NoRoutingState | GistError::IncorrectlyDelivered => self.restart(now, env, id),
            GistError::EndpointFound => self.search_refused(now, env, id, header, SendError::NoNextNode),
            GistError::UnknownVersion
            | GistError::UnknownType
            | GistError::InvalidRFlag
            | GistError::IncorrectMessageLength
            | GistError::InvalidEFlag
            | GistError::InvalidCFlag
            | GistError::HopLimitExceeded
            | GistError::IncorrectEncapsulation
            | GistError::UnknownNslpId
            | GistError::MessageTooLarge
            | GistError::DuplicateObject
            | GistError::UnrecognisedObject
            | GistError::MissingObject
            | GistError::InvalidObjectType
            | GistError::UntranslatedObject
            | GistError::InvalidExtensibilityFlags
            | GistError::IncorrectLength
            | GistError::ValueNotSupported
            | GistError::InvalidFlagFieldCombination
            | GistError::EmptyList
            | GistError::InvalidCookie
            | GistError::StackMismatch
            | GistError::InvalidIpTtl
            | GistError::MriTooWild
            | GistError::IpVersionMismatch
            | GistError::IngressFilterFailure => {
                self.search_refused(now, env, id, header, SendError::Refused(error));
            }
        }
    }

    /// A Query was refused: its search is over. Errors about other messages change nothing.
    fn search_refused(&mut self, now: Instant, env: &mut Env<'_>, id: EntryId, header: CommonHeader, why: SendError) {
        let is_searching = self.is_searching(id);
        if is_searching && header.message_type() == Some(MessageType::Query) {
            self.end_search(now, env, id, why);
        } else {
            self.counters.add(Count::DroppedError);
        }
    }

    pub(super) fn is_searching(&self, id: EntryId) -> bool {
        self.table.entry(id).is_some_and(|e| matches!(&e.role, Role::Querier(q) if q.search.is_some()))
    }

    /// The handshake begins again (RFC 5971, section 4.4.6); a responder can only forget.
    fn restart(&mut self, now: Instant, env: &mut Env<'_>, id: EntryId) {
        let Some(entry) = self.table.entry_mut(id) else { return };
        match &entry.role {
            Role::Querier(q) if q.search.is_some() => {}
            Role::Querier(_) => {
                // Messages wait until the peer has state again.
                entry.status = Status::Bad;
                self.counters.add(Count::Restarts);
                self.start_search(now, env, id);
            }
            Role::Responder(_) => {
                let (names, has_peer) = (entry.names(), entry.peer.is_some());
                self.fail_waiting(now, env, id, SendError::NoRoutingState);
                self.remove_entry(now, id);
                if has_peer {
                    let gone = crate::signaling::gist::api::NetworkNotification::RoutingBad;
                    self.notify(now, env, &names, &gone);
                }
            }
        }
    }

    /// ICMP shows a datagram of this session that could not be delivered.
    pub(super) fn undeliverable(
        &mut self,
        now: Instant,
        env: &mut Env<'_>,
        header: CommonHeader,
        sid: Sid,
        mri: &[u8],
    ) {
        let Ok(mri) = Mri::decode_value(mri) else { return };
        let Some(id) = self.table.find(&Key::new(&mri, header.nslp, sid)) else { return };
        match header.message_type() {
            // It went past all nodes up to the flow's end: there is no next node (RFC 5971, section 4.3.4).
            Some(MessageType::Query) => self.search_refused(now, env, id, header, SendError::NoNextNode),
            // The peer is gone; there may be another one.
            Some(MessageType::Confirm | MessageType::Data) => self.restart(now, env, id),
            Some(MessageType::Response | MessageType::Error | MessageType::Hello) | None => {}
        }
    }
}
