//! Which way messages take to a peer: what is proposed, and what is chosen (RFC 5971, section 4.4.3 and RFC 5971,
//! section 5.7).

use std::net::SocketAddr;

use crate::base::time::Instant;
use crate::signaling::gist::Gist;
use crate::signaling::gist::receive::Origin;
use crate::signaling::gist::routing::{Level, Peer};
use crate::signaling::io::{StreamId, StreamSecurity};
use crate::wire::gist::message::Message;
use crate::wire::gist::stack::{FORWARDS_TCP, StackConfiguration, StackOption, StackProposal, TLS};

/// How messages get to a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// As datagrams.
    Datagram,
    /// Over an association that is open.
    Over(StreamId),
    /// Over one that is being opened.
    Opening(StreamId),
    /// There is none that would do.
    None,
}

impl Gist {
    fn profiles(secure: bool, plain: bool) -> Vec<Vec<u8>> {
        let mut profiles = Vec::new();
        if secure {
            profiles.push(vec![TLS, FORWARDS_TCP]);
        }
        if plain {
            profiles.push(vec![FORWARDS_TCP]);
        }
        profiles
    }

    /// What a Query proposes: only what the messages that wait may use, best first (RFC 5971, section 5.7.1). A
    /// proposal stands in refreshes too.
    pub(super) fn query_offer(&self, level: Level) -> (Option<StackProposal>, Option<StackConfiguration>) {
        let plain = self.config.propose_tcp && level == Level::Reliable;
        let profiles = match level {
            Level::Datagram => Vec::new(),
            Level::Reliable | Level::Secure => Self::profiles(self.config.propose_tls, plain),
        };
        if profiles.is_empty() {
            return (None, None);
        }
        let options = (1..=profiles.len() as u8)
            .map(|profile| StackOption { protocol: FORWARDS_TCP, profile, forbidden: false, data: Vec::new() })
            .collect();
        (Some(StackProposal { profiles }), Some(StackConfiguration { hold_time_ms: self.hold_time_ms(), options }))
    }

    /// Whether peers can open associations to this node.
    pub(super) fn offers(&self) -> bool {
        self.config.tcp_port.is_some() || self.config.tls_port.is_some()
    }

    /// What every Response offers: it must not depend on the Query (RFC 5971, section 5.7.1).
    pub(super) fn response_offer(&self) -> (Option<StackProposal>, Option<StackConfiguration>) {
        if !self.offers() {
            return (None, None);
        }
        let (tls, tcp) = (self.config.tls_port, self.config.tcp_port);
        let ports = tls.into_iter().chain(tcp);
        let options = (1u8..)
            .zip(ports)
            .map(|(profile, port)| StackOption {
                protocol: FORWARDS_TCP,
                profile,
                forbidden: false,
                data: port.to_be_bytes().to_vec(),
            })
            .collect();
        let proposal = StackProposal { profiles: Self::profiles(tls.is_some(), tcp.is_some()) };
        (Some(proposal), Some(StackConfiguration { hold_time_ms: self.hold_time_ms(), options }))
    }

    pub(super) fn hold_time_ms(&self) -> u32 {
        u32::try_from(self.config.hold_time.as_millis()).unwrap_or(u32::MAX).max(1)
    }

    /// Whether a Confirm brings back the proposal of this node unchanged. If somebody on the way had taken out the
    /// better profiles, it would show here (RFC 5971, section 8.6). Over a new association it must be there.
    pub(super) fn is_own_proposal(&self, message: &Message, origin: Origin) -> bool {
        let is_new = origin.stream().is_some_and(|s| self.is_unidentified(s));
        match &message.stack_proposal {
            Some(_) => message.stack_proposal == self.response_offer().0,
            None => !is_new,
        }
    }

    /// An association over which a Response can go instead of a datagram: its peer must fit in identity and address, it
    /// must be no weaker than what this node would offer, and be one of the Query's profiles (RFC 5971, section 4.4.3).
    pub(super) fn reusable(&self, query: &Message, peer: &Peer) -> Option<StreamId> {
        let proposal = query.stack_proposal.as_ref()?;
        let plain_is_enough = self.config.tls_port.is_none() && proposal.profiles.iter().any(|p| *p == [FORWARDS_TCP]);
        let least = if plain_is_enough { Level::Reliable } else { Level::Secure };
        self.association_with(&peer.identity, peer.address, least)
    }

    /// Chooses the way after a Response, and begins to open an association if one is needed.
    pub(super) fn way_to(
        &mut self,
        now: Instant,
        level: Level,
        response: &Message,
        peer: &Peer,
        origin: Origin,
    ) -> Way {
        if let Origin::Stream(stream) = origin {
            return if self.level_of(stream) >= level { Way::Over(stream) } else { Way::None };
        }
        if level == Level::Datagram {
            return Way::Datagram;
        }
        if let Some(stream) = self.association_with(&peer.identity, peer.address, level) {
            return Way::Over(stream);
        }
        if let Some(stream) = self.association_to_be(peer, level) {
            return Way::Opening(stream);
        }
        let Some((security, port)) = self.choose(level, response) else { return Way::None };
        let hold_time_ms = response.stack_configuration.as_ref().map_or(0, |c| c.hold_time_ms);
        self.open_association(now, peer, SocketAddr::new(peer.address, port), security, hold_time_ms)
            .map_or(Way::None, Way::Opening)
    }

    /// The best profile of a Response that this node can use and that the messages may use: the responder's order
    /// counts (RFC 5971, section 5.7.1).
    fn choose(&self, level: Level, response: &Message) -> Option<(StreamSecurity, u16)> {
        let (proposal, configuration) = response.stack_proposal.as_ref().zip(response.stack_configuration.as_ref())?;
        proposal.profiles.iter().zip(1u8..).find_map(|(profile, number)| {
            let security = match profile.as_slice() {
                [TLS, FORWARDS_TCP] if self.config.propose_tls => StreamSecurity::Tls,
                [FORWARDS_TCP] if self.config.propose_tcp && level < Level::Secure => StreamSecurity::Plain,
                _ => return None,
            };
            let mut options = configuration.options.iter().filter(|o| o.profile == 0 || o.profile == number);
            // A NAT that cannot translate it says that it must not be used.
            if options.clone().any(|o| o.forbidden && profile.contains(&o.protocol)) {
                return None;
            }
            let option = options.find(|o| o.protocol == FORWARDS_TCP)?;
            let port = u16::from_be_bytes(*option.data.first_chunk::<2>()?);
            (port != 0).then_some((security, port))
        })
    }
}
