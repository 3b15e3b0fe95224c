//! Filters as people write them: what [`Filter`]'s `Display` writes, and shorter forms.
//!
//! ```text
//! filter   = "all" | { word } [ "and" "back" ]
//! word     = "ipv4" | "ipv6" | protocol | "from" end | "to" end | "host" prefix | "port" ports
//! end      = prefix [ "port" ports ] | "port" ports
//! ```
//!
//! `host` and `port` alone mean either side: the packets to it, and those that come back.

use std::str::FromStr;

use super::{Filter, FilterError, PortRange, Prefix, protocol_number};

/// IP protocols that have ports: TCP, UDP, SCTP.
const WITH_PORTS: &[u8] = &[6, 17, 132];

impl FromStr for Filter {
    type Err = FilterError;

    fn from_str(text: &str) -> Result<Self, FilterError> {
        let mut parser = Parser { words: text.split_whitespace().collect(), next: 0, filter: Filter::default() };
        parser.filter()?;
        check(&parser.filter, text)?;
        Ok(parser.filter)
    }
}

struct Parser<'a> {
    words: Vec<&'a str>,
    next: usize,
    filter: Filter,
}

/// A side of a packet.
#[derive(Clone, Copy)]
enum End {
    From,
    To,
}

impl<'a> Parser<'a> {
    fn filter(&mut self) -> Result<(), FilterError> {
        if self.words.is_empty() {
            return Err(FilterError::Word { got: String::new() });
        }
        if self.words[0] == "all" {
            self.next = 1;
        }
        while let Some(word) = self.peek() {
            self.next += 1;
            match word {
                "ipv4" => once(&mut self.filter.ip_version, 4, "IP version")?,
                "ipv6" => once(&mut self.filter.ip_version, 6, "IP version")?,
                "from" => self.end(End::From)?,
                "to" => self.end(End::To)?,
                "host" => {
                    let prefix = self.argument()?.parse()?;
                    once(&mut self.filter.to, prefix, "destination")?;
                    self.filter.both_directions = true;
                }
                "port" => {
                    let ports = self.argument()?.parse()?;
                    once(&mut self.filter.to_port, ports, "destination port")?;
                    self.filter.both_directions = true;
                }
                "and" => return self.back(),
                _ => {
                    let number = protocol_number(word).map_err(|_| FilterError::Word { got: word.to_owned() })?;
                    once(&mut self.filter.protocol, number, "protocol")?;
                }
            }
        }
        Ok(())
    }

    fn end(&mut self, end: End) -> Result<(), FilterError> {
        if self.peek() != Some("port") {
            let prefix: Prefix = self.argument()?.parse()?;
            match end {
                End::From => once(&mut self.filter.from, prefix, "source")?,
                End::To => once(&mut self.filter.to, prefix, "destination")?,
            }
        }
        if self.peek() == Some("port") {
            self.next += 1;
            let ports: PortRange = self.argument()?.parse()?;
            match end {
                End::From => once(&mut self.filter.from_port, ports, "source port")?,
                End::To => once(&mut self.filter.to_port, ports, "destination port")?,
            }
        }
        Ok(())
    }

    /// "and back", at the end.
    fn back(&mut self) -> Result<(), FilterError> {
        match self.argument()? {
            "back" if self.next == self.words.len() => {
                self.filter.both_directions = true;
                Ok(())
            }
            "back" => Err(FilterError::Word { got: self.words[self.next].to_owned() }),
            other => Err(FilterError::Word { got: other.to_owned() }),
        }
    }

    fn peek(&self) -> Option<&'a str> {
        self.words.get(self.next).copied()
    }

    fn argument(&mut self) -> Result<&'a str, FilterError> {
        let after = || FilterError::Unfinished { after: self.words.last().copied().unwrap_or_default().to_owned() };
        let word = self.peek().ok_or_else(after)?;
        self.next += 1;
        Ok(word)
    }
}

fn once<T>(place: &mut Option<T>, value: T, what: &'static str) -> Result<(), FilterError> {
    if place.is_some() {
        return Err(FilterError::Twice { what });
    }
    *place = Some(value);
    Ok(())
}

/// Refuses what can only be a mistake.
fn check(filter: &Filter, text: &str) -> Result<(), FilterError> {
    let impossible = |reason| Err(FilterError::Impossible { got: text.to_owned(), reason });
    let family = |prefix: Option<Prefix>| prefix.map(|p| if p.address().is_ipv4() { 4 } else { 6 });
    let families = [filter.ip_version, family(filter.from), family(filter.to)];
    if families.contains(&Some(4)) && families.contains(&Some(6)) {
        return impossible("it asks for IPv4 and IPv6 at once");
    }
    let has_ports = filter.from_port.or(filter.to_port).is_some();
    if has_ports && filter.protocol.is_some_and(|protocol| !WITH_PORTS.contains(&protocol)) {
        return impossible("its protocol has no ports");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_reads_as_the_same_filter() {
        for (text, same) in [
            ("all", "all"),
            ("all and back", "all and back"),
            ("icmp and back", "icmp and back"),
            ("udp to 192.0.2.1 port 5060", "udp to 192.0.2.1/32 to port 5060"),
            ("tcp port 80", "tcp to port 80 and back"),
            ("tcp host 10.0.0.1 port 8000-8099", "tcp to 10.0.0.1/32 to port 8000-8099 and back"),
            ("ipv6", "ipv6"),
            ("47 from 10.0.0.0/8", "47 from 10.0.0.0/8"),
            ("  udp   from port 53 to 2001:db8::/32 ", "udp from port 53 to 2001:db8::/32"),
            ("from 10.1.2.3/8 port 1 to port 2-3 and back", "from 10.0.0.0/8 from port 1 to port 2-3 and back"),
        ] {
            let filter: Filter = text.parse().unwrap_or_else(|e| panic!("{text}: {e}"));
            assert_eq!(filter.to_string(), same);
            assert_eq!(same.parse::<Filter>(), Ok(filter), "{same}");
        }
    }

    #[test]
    fn mistakes_are_named() {
        for (text, part) in [
            ("", "does not belong"),
            ("tcpp", "\"tcpp\" does not belong"),
            ("tcp to", "cannot end with \"to\""),
            ("tcp to port", "cannot end with \"port\""),
            ("and", "cannot end with \"and\""),
            ("tcp and forth", "\"forth\""),
            ("all and back tcp", "\"tcp\" does not belong"),
            ("tcp udp", "protocol"),
            ("to 10.0.0.1 to 10.0.0.2", "destination"),
            ("to 10.0.0.1 from ::1", "IPv4 and IPv6"),
            ("ipv4 to ::1", "IPv4 and IPv6"),
            ("icmp port 80", "no ports"),
            ("udp port 99999", "\"99999\" is not a port"),
            ("256", "\"256\" does not belong"),
        ] {
            let error = text.parse::<Filter>().expect_err(text).to_string();
            assert!(error.contains(part), "{text}: {error}");
        }
    }
}
