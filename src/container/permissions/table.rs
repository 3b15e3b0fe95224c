//! All permissions with their words, for people: what `docs/api/permissions.md` shows.

use super::{SystemPart, Transport, Use};

/// A permission.
pub(crate) struct Permission {
    /// The key under `[permissions]`.
    pub(crate) key: &'static str,
    /// What it allows. Markdown.
    pub(crate) allows: &'static str,
    /// What its value may be. Markdown.
    pub(crate) values: &'static str,
    /// A use that needs it.
    pub(crate) example: Use<'static>,
}

/// All keys of `[permissions]`, in the order of the manifest's own description.
pub(crate) const PERMISSIONS: &[Permission] = &[
    Permission {
        key: "inject",
        allows: "To send IP packets of its own: `ctx:inject`. In the name of other addresses than the machine's it needs \
                 `answer_for` as well.",
        values: "`true`",
        example: Use::Inject,
    },
    Permission {
        key: "store",
        allows: "To keep bytes over restarts, at most `limits.storage_bytes`: `@netserv/kv`, `@netserv/files`.",
        values: "`true`",
        example: Use::Store,
    },
    Permission {
        key: "signal",
        allows: "To send signals: to set up, remove and ask modules on other nodes.",
        values: "`true`",
        example: Use::Signal,
    },
    Permission {
        key: "answer_for",
        allows: "To send packets and datagrams in the name of addresses that are not the machine's own.",
        values: "Addresses and prefixes: `\"192.0.2.1\"`, `\"2001:db8::/32\"`, `\"any\"`.",
        example: Use::AnswerFor(std::net::IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1))),
    },
    Permission {
        key: "listen",
        allows: "To listen at ports of this machine.",
        values: "`\"tcp:8080\"`, `\"udp:5060-5061\"`, `\"tcp:*\"`.",
        example: Use::Listen(Transport::Tcp, 8080),
    },
    Permission {
        key: "connect",
        allows: "To connect to hosts, and to send datagrams to them. A rule for a name does not hold for addresses of the \
                 machine itself; for those that are private to a site (10.0.0.0/8, fc00::/7 and the like) only if the name is \
                 one of a site, too: a single word, or below `.local`, `.home.arpa`, `.internal`.",
        values: "`\"tcp:example.org:443\"`, `\"tcp:*.example.org:443\"`, `\"udp:192.0.2.0/24:3478\"`, \
                 `\"tcp:[2001:db8::1]:80\"`, `\"tcp:*:*\"`.",
        example: Use::Connect(Transport::Tcp, "example.org", 443),
    },
    Permission {
        key: "system",
        allows: "To be told of the system, and when it changes.",
        values: "`\"load\"`, `\"interfaces\"`, `\"addresses\"`, `\"routes\"`, `\"neighbours\"`, `\"location\"`.",
        example: Use::System(SystemPart::Routes),
    },
    Permission {
        key: "native",
        allows: "To use native blocks, which move data without the VM.",
        values: "`\"reply\"`, `\"relay\"`, `\"cache\"`.",
        example: Use::Native("relay"),
    },
];

impl Permission {
    /// The line of the manifest that asks for the example.
    pub(crate) fn line(&self) -> String {
        self.example.refusal().line
    }

    /// What a module is told that uses the example without it.
    pub(crate) fn refusal(&self) -> String {
        self.example.refusal().to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::container::manifest::Manifest;
    use crate::container::permissions::{Allowed, NATIVE_BLOCKS, SYSTEM_PARTS};
    use crate::container::properties::Properties;

    /// What a manifest with this line allows.
    fn allowed(line: &str) -> Allowed {
        let head = "name = \"m\"\nversion = \"1.0.0\"\napi = 1\nsummary = \"x\"\n[permissions]\n";
        Manifest::parse(&format!("{head}{line}\n")).unwrap().allowed(&Properties::default()).unwrap()
    }

    #[test]
    fn each_line_allows_its_example_and_no_other() {
        for permission in PERMISSIONS {
            assert!(permission.line().starts_with(&format!("{} = ", permission.key)), "{}", permission.line());
            for other in PERMISSIONS {
                let answer = allowed(&permission.line()).check(&other.example);
                assert_eq!(answer.is_ok(), permission.key == other.key, "{} {}", permission.key, other.key);
                let refusal = Allowed::default().check(&other.example).unwrap_err().to_string();
                assert_eq!(refusal, other.refusal());
                assert!(refusal.contains(&other.line()), "{refusal}");
            }
        }
    }

    #[test]
    fn the_table_names_all_words() {
        let values = |key: &str| PERMISSIONS.iter().find(|permission| permission.key == key).unwrap().values;
        for (word, _) in SYSTEM_PARTS {
            assert!(values("system").contains(&format!("\"{word}\"")), "{word}");
        }
        for word in NATIVE_BLOCKS {
            assert!(values("native").contains(&format!("\"{word}\"")), "{word}");
        }
        for permission in PERMISSIONS {
            for value in permission.values.split('`').skip(1).step_by(2) {
                let value = if value == "true" { value.to_owned() } else { format!("[{value}]") };
                allowed(&format!("{} = {value}", permission.key));
            }
        }
    }
}
