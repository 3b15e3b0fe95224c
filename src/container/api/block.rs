//! Building blocks: what `require("@netserv/NAME")` gives a module.
//!
//! A block is a Luau file beside its natives, and a description of what it offers. Nothing of it is loaded into a VM
//! before the module requires it. The description is the one source of `modules/netserv.d.luau` and of `docs/api/`
//! ([`crate::container::reference`]).

use crate::container::api::{
    Native, address, bytes, crypto, dns, files, http, image, json, kv, lru, measure, metrics, node, service, signal,
    task, tcp, tls, udp,
};

/// One function, method or constant of a block, for people and editors.
pub(crate) struct Item {
    /// As it is written where it is used: `spawn`, `Task.cancel`.
    pub(crate) name: &'static str,
    /// Its type in Luau.
    pub(crate) luau: &'static str,
    /// What it does, with units, ranges and errors. Markdown.
    pub(crate) about: &'static str,
}

/// An [`Item`] in one line.
pub(crate) const fn item(name: &'static str, luau: &'static str, about: &'static str) -> Item {
    Item { name, luau, about }
}

/// A building block.
pub(crate) struct Block {
    /// Behind `@netserv/`.
    pub(crate) name: &'static str,
    /// One sentence.
    pub(crate) summary: &'static str,
    /// Which permissions and limits it needs, and what else is good to know. Markdown; may be empty.
    pub(crate) about: &'static str,
    /// `export type` lines of Luau that [`Item::luau`] refers to.
    pub(crate) types: &'static str,
    /// What it offers.
    pub(crate) items: &'static [Item],
    /// The body of a module's entry file that shows it, with assertions. Runs as a test.
    pub(crate) example: &'static str,
    /// What its Luau side calls.
    pub(crate) natives: &'static [(&'static str, Native)],
    /// Its Luau side: gets the natives and the shared table, returns what the module gets. Not frozen by itself.
    pub(crate) code: &'static str,
}

/// All blocks, by name.
pub(crate) const BLOCKS: &[&Block] = &[
    &address::BLOCK,
    &bytes::BLOCK,
    &crypto::BLOCK,
    &dns::BLOCK,
    &files::BLOCK,
    &http::BLOCK,
    &image::BLOCK,
    &json::BLOCK,
    &kv::BLOCK,
    &lru::BLOCK,
    &measure::BLOCK,
    &metrics::BLOCK,
    &node::BLOCK,
    &service::BLOCK,
    &signal::BLOCK,
    &task::BLOCK,
    &tcp::BLOCK,
    &tls::BLOCK,
    &udp::BLOCK,
];

/// The block's place in [`BLOCKS`].
pub(crate) fn find(name: &str) -> Option<usize> {
    BLOCKS.iter().position(|block| block.name == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_stand_in_the_order_of_their_names_once_each() {
        assert!(BLOCKS.windows(2).all(|pair| pair[0].name < pair[1].name));
    }
}
