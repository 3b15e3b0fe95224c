//! Behind `@netserv/tls`: the streams of [`super::tcp`], protected by TLS.

use crate::container::api::block::{Block, Item};
use crate::container::api::context;

pub(crate) const BLOCK: Block = Block {
    name: "tls",
    summary: "Streams over TLS 1.2 and 1.3, as server and as client.",
    about: "Its streams and listeners are those of `@netserv/tcp`, with the same permissions and rules. A stream is there \
            when the handshake is done; one that fails it is never seen by a listener. `Stream.protocol` tells what both \
            sides chose of `protocols` (ALPN, RFC 7301).\n\n\
            A stream whose peer ends it without a farewell was perhaps cut off by somebody else: reading then gives nil \
            and a reason, not nil alone.",
    types: "",
    items: &[
        Item {
            name: "listen",
            luau: "(options: { port: number, address: string?, certificate: string, key: string, protocols: { string }? }) \
                   -> (Listener?, string?)",
            about: "Listens as `tcp.listen` does. `certificate` is a chain in PEM, the server's own first; `key` its private \
                    key in PEM.",
        },
        Item {
            name: "connect",
            luau: "(host: string, port: number, options: { seconds: number?, name: string?, authorities: string?, \
                   protocols: { string }? }?) -> (Stream?, string?)",
            about: "Opens a stream. The server's certificate must be one for `name` (the host if not given), and signed by \
                    one of `authorities`, in PEM (the well-known ones of the web if not given).",
        },
    ],
    example: include_str!("examples/tls.luau"),
    natives: &[("fail", context::fail)],
    code: include_str!("tls.luau"),
};
