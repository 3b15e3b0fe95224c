//! What an owner chooses to grant of what a manifest asks for.

use crate::base::filter::Filter;
use crate::container::grant::{Grant, WORDS};
use crate::container::manifest::Manifest;
use crate::container::permissions::Allowed;
use crate::container::properties::Properties;

/// The owner's choice. The default is what a module needs, and nothing that it can do without.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Choice {
    /// What it can do without, too.
    pub optional: bool,
    /// Of these permissions only this much, be they needed or not: `(word, rules)`.
    grant: Vec<(&'static str, Allowed)>,
    /// Nothing of these permissions.
    deny: Vec<&'static str>,
    /// Only these packets.
    only: Vec<Filter>,
}

impl Choice {
    /// Reads what stands on a command line: `grant` as `connect=tcp:192.0.2.0/24:443` or `signal`, `deny` as `signal`,
    /// `only` as `udp to 192.0.2.1 to port 5060`.
    ///
    /// # Errors
    ///
    /// A sentence about what cannot be read.
    pub fn parse(optional: bool, grant: &[String], deny: &[String], only: &[String]) -> Result<Choice, String> {
        let word = |text: &str| {
            let name = text.split('=').next().unwrap_or_default();
            let known = WORDS.iter().find(|word| **word == name).copied();
            known.ok_or_else(|| format!("{text:?} is no permission; write one of {}", WORDS.join(", ")))
        };
        let mut choice = Choice { optional, ..Choice::default() };
        for text in grant {
            choice.grant.push((word(text)?, Allowed::of_word(text)?));
        }
        for text in deny {
            if text.contains('=') {
                return Err(format!("--deny {text}: it takes whole permissions; --grant names what is to be left"));
            }
            choice.deny.push(word(text)?);
        }
        for text in only {
            choice.only.push(text.parse().map_err(|error| format!("--only {text:?}: {error}"))?);
        }
        Ok(choice)
    }

    /// What a module gets.
    ///
    /// # Errors
    ///
    /// A sentence about a choice that has nothing to do with what is asked for.
    pub fn apply(&self, manifest: &Manifest, properties: &Properties) -> Result<Grant, String> {
        let mut grant = Grant::of(manifest, properties, self.optional)?;
        let wish = Grant::of(manifest, properties, true)?.allowed;
        for word in WORDS {
            let mut named = self.grant.iter().filter(|(name, _)| name == word).peekable();
            if named.peek().is_none() {
                continue;
            }
            let given = named.fold(Allowed::default(), |all, (_, rules)| all.with(rules.clone()));
            let others = WORDS.iter().filter(|other| *other != word);
            let narrowed = others.fold(wish.clone(), |left, other| left.without(other)).narrowed(&given);
            if narrowed == Allowed::default() {
                let asked = wish.sentences().join("; ");
                let asked = if asked.is_empty() { "nothing" } else { &asked };
                return Err(format!("--grant {word}: {} does not ask for that; it asks to: {asked}", manifest.name));
            }
            grant.allowed = grant.allowed.without(word).with(narrowed);
        }
        grant.allowed = self.deny.iter().fold(grant.allowed, |left, word| left.without(word));
        if !self.only.is_empty() {
            let asked = std::mem::replace(&mut grant.filters, self.only.clone());
            grant.filters = grant.narrow_filters(asked.clone());
            if grant.filters.is_empty() {
                let asked: Vec<String> = asked.iter().map(ToString::to_string).collect();
                let asked = if asked.is_empty() { "none".to_owned() } else { asked.join("; ") };
                return Err(format!("--only: {} asks for none of these packets; it asks for: {asked}", manifest.name));
            }
        }
        Ok(grant)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(
        optional: bool,
        grant: &[&str],
        deny: &[&str],
        only: &[&str],
    ) -> Result<(Vec<String>, Vec<String>), String> {
        let manifest = Manifest::parse(
            "name = \"m\"\nversion = \"1.0.0\"\napi = 1\nsummary = \"s\"\n[[filters]]\nprotocol = \"udp\"\n\
             [permissions]\nsignal = true\nconnect = [\"tcp:*:443\"]\n[permissions.optional]\n\
             listen = [\"tcp:80\"]\n",
        );
        let texts = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
        let choice = Choice::parse(optional, &texts(grant), &texts(deny), &texts(only))?;
        let grant = choice.apply(&manifest.unwrap(), &Properties::default())?;
        Ok((grant.allowed.sentences(), grant.filters.iter().map(ToString::to_string).collect()))
    }

    const SIGNAL: &str = "send signals in this node's name: set up, probe and remove modules on other nodes";

    #[test]
    fn what_is_needed_is_granted_and_the_rest_only_when_it_is_named() {
        let (allowed, filters) = chosen(false, &[], &[], &[]).unwrap();
        assert_eq!(allowed, [SIGNAL, "connect and send to any host, TCP port 443"]);
        assert_eq!(filters, ["udp"]);
        assert_eq!(chosen(true, &[], &[], &[]).unwrap().0.len(), 3);
        assert_eq!(chosen(false, &["listen"], &[], &[]).unwrap().0.len(), 3);
    }

    #[test]
    fn a_grant_is_narrowed_by_host_port_and_flow() {
        let (allowed, filters) = chosen(
            false,
            &["connect=tcp:192.0.2.0/24:1-1000", "connect=tcp:example.org:443"],
            &["signal"],
            &["udp to 192.0.2.1 to port 5060", "udp port 53"],
        )
        .unwrap();
        let hosts = ["connect and send to 192.0.2.0/24, TCP port 443", "connect and send to example.org, TCP port 443"];
        assert_eq!(allowed, hosts);
        assert_eq!(filters, ["udp to port 53", "udp from port 53", "udp to 192.0.2.1/32 to port 5060"]);
    }

    #[test]
    fn a_choice_that_has_nothing_to_do_with_the_wish_is_refused() {
        for (grant, deny, only, part) in [
            ("connect=udp:*:53", "signal", "udp", "does not ask for that; it asks to: send signals"),
            ("fly", "signal", "udp", "write one of inject"),
            ("connect=x", "signal", "udp", "is no rule"),
            ("signal", "connect=tcp:*:443", "udp", "whole permissions"),
            ("signal", "listen", "tcp", "asks for none of these packets; it asks for: udp"),
            ("signal", "listen", "tcpp", "tcpp"),
        ] {
            let told = chosen(false, &[grant], &[deny], &[only]).unwrap_err();
            assert!(told.contains(part), "{told}");
        }
    }
}
