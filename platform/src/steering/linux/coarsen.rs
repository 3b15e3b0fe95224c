//! Fewer, wider matches.

use super::Match;
use crate::steering::Net;

/// Returns at most `max` matches that together match all that `matches` do, and no more than needed for that.
///
/// Step by step: ports of the same pair of prefixes become one range, then prefixes become shorter, until the protocols
/// alone are left. `matches` are of one family.
pub(super) fn coarsen(matches: &[Match], max: usize) -> Vec<Match> {
    let mut wide = matches.to_vec();
    for keep_eighths in [8, 8, 7, 6, 5, 4, 3, 2, 1, 0] {
        wide.sort_unstable();
        wide.dedup();
        if wide.len() <= max {
            return wide;
        }
        for m in &mut wide {
            m.from = m.from.map(|net| shorter(net, keep_eighths));
            m.to = m.to.map(|net| shorter(net, keep_eighths));
        }
        wide = join_ports(wide);
    }
    if wide.len() > max {
        // More protocols than rules: everything.
        return vec![Match { ip_version: matches[0].ip_version, ..Match::default() }];
    }
    wide
}

/// Keeps at most so many eighths of the family's bits.
fn shorter((address, len): Net, eighths: u8) -> Net {
    let (width, bits) = match address {
        std::net::IpAddr::V4(a) => (32, u128::from(u32::from(a))),
        std::net::IpAddr::V6(a) => (128, u128::from(a)),
    };
    let len = len.min(width / 8 * eighths);
    let host = u32::from(width - len);
    let bits = if host >= 128 { 0 } else { bits >> host << host };
    match address {
        std::net::IpAddr::V4(_) => (std::net::IpAddr::V4((bits as u32).into()), len),
        std::net::IpAddr::V6(_) => (std::net::IpAddr::V6(bits.into()), len),
    }
}

/// Makes one match of those that differ only in their ports.
fn join_ports(mut matches: Vec<Match>) -> Vec<Match> {
    let rest = |m: &Match| (m.ip_version, m.protocol, m.from, m.to);
    matches.sort_unstable_by_key(rest);
    matches.dedup_by(|next, kept| {
        let same = rest(next) == rest(kept);
        if same {
            kept.from_port = hull(kept.from_port, next.from_port);
            kept.to_port = hull(kept.to_port, next.to_port);
        }
        same
    });
    matches
}

/// The range that holds both; no range is every port.
fn hull(one: Option<(u16, u16)>, other: Option<(u16, u16)>) -> Option<(u16, u16)> {
    let ((a, b), (c, d)) = (one?, other?);
    Some((a.min(c), b.max(d)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn udp(to: [u8; 4], port: u16) -> Match {
        Match {
            ip_version: Some(4),
            protocol: Some(17),
            to: Some((to.into(), 32)),
            to_port: Some((port, port)),
            ..Match::default()
        }
    }

    #[test]
    fn few_matches_stay_as_they_are() {
        let matches: Vec<Match> = (0..10).map(|i| udp([10, 0, 0, i], 53)).collect();
        assert_eq!(coarsen(&matches, 10), matches);
    }

    #[test]
    fn ports_of_one_address_become_a_range_first() {
        let matches: Vec<Match> = (100..200).map(|port| udp([10, 0, 0, 1], port)).collect();
        let wide = coarsen(&matches, 10);
        assert_eq!(wide.len(), 1);
        assert_eq!((wide[0].to, wide[0].to_port), (matches[0].to, Some((100, 199))));
    }

    #[test]
    fn many_addresses_become_prefixes_that_hold_them_all() {
        let matches: Vec<Match> = (0..4096_u32).map(|i| udp([10, (i >> 8) as u8, i as u8, 1], 53)).collect();
        let wide = coarsen(&matches, 512);
        assert!(wide.len() <= 512 && !wide.is_empty());
        for m in &matches {
            assert!(wide.iter().any(|w| super::super::routes::overlaps(w.to.unwrap(), m.to.unwrap())
                && w.protocol == m.protocol
                && w.to.unwrap().1 <= 32));
        }
        assert!(wide.iter().all(|w| w.to.unwrap().1 >= 16), "{wide:?}");
    }

    #[test]
    fn every_protocol_at_once_is_everything() {
        let matches: Vec<Match> =
            (0..=255).map(|p| Match { ip_version: Some(6), protocol: Some(p), ..Match::default() }).collect();
        assert_eq!(coarsen(&matches, 8), vec![Match { ip_version: Some(6), ..Match::default() }]);
    }
}
