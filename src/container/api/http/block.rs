//! What `@netserv/http` offers.

use super::{clients, servers};
use crate::container::api::block::{Block, Item};
use crate::container::api::{context, tcp};

pub(crate) const BLOCK: Block = Block {
    name: "http",
    summary: "Servers and clients of HTTP/1.1, in straight-line code.",
    about: "A server needs `permissions.listen` (`\"tcp:8080\"`), a client `permissions.connect` \
            (`\"tcp:example.org:443\"`), for each place that a redirect leads to as well. A connection takes one of \
            `limits.sockets`.\n\n\
            Kept without the module: keep-alive, pipelining, HEAD, `Date`, `Content-Length` and chunks, 100 (Continue), which \
            is sent when the body is read, and slow, oversized or ambiguous requests, which are refused before the module \
            sees them. What waits, waits in a task, and returns nil and a reason when it cannot be done; a mistake of the \
            module raises an error.\n\n\
            Reading requests, and TLS, count as the module's CPU time. Requests that are kept outside of \
            its code take at most a quarter of `limits.memory_bytes`, then others wait; a response that would have more than \
            all of it wait for clients that do not read resets its connection.\n\n\
            A body that nobody reads keeps its sender waiting. `Upgrade` is passed over, CONNECT is refused, trailers and \
            chunk extensions are dropped.",
    types: "export type Headers = { [string]: string | number | { string } }\n\
            export type Response = {\n  \
              write: (self: Response, bytes: string) -> (boolean?, string?),\n  \
              finish: (self: Response) -> (boolean?, string?),\n\
            }\n\
            export type Request = {\n  \
              method: string,\n  \
              path: string,\n  \
              query: string?,\n  \
              target: string,\n  \
              headers: { [string]: string },\n  \
              peer: string,\n  \
              peer_port: number,\n  \
              read: (self: Request, count: number?) -> (string?, string?),\n  \
              parts: (self: Request) -> () -> string?,\n  \
              body: (self: Request, bytes_max: number?) -> (string?, string?),\n  \
              respond: (self: Request, status: number, headers: Headers?, body: string?, options: { ranges: boolean? }?) \
            -> (boolean?, string?),\n  \
              start: (self: Request, status: number, headers: Headers?) -> (Response?, string?),\n\
            }\n\
            export type ServerOptions = {\n  \
              port: number,\n  \
              address: string?,\n  \
              tls: { certificate: string, key: string }?,\n  \
              head_bytes: number?,\n  \
              body_bytes: number?,\n  \
              head_seconds: number?,\n  \
              idle_seconds: number?,\n  \
              body_rate: number?,\n  \
              requests_per_connection: number?,\n\
            }\n\
            export type Server = {\n  \
              requests: (self: Server) -> () -> Request?,\n  \
              next: (self: Server) -> (Request?, string?),\n  \
              serve: (self: Server, run: (Request) -> (), at_once: number?) -> (nil, string?),\n  \
              here: (self: Server) -> (string?, number?),\n  \
              close: (self: Server) -> (),\n\
            }\n\
            export type ClientOptions = {\n  \
              method: string?,\n  \
              headers: Headers?,\n  \
              body: string?,\n  \
              seconds: number?,\n  \
              redirects: number?,\n  \
              authorities: string?,\n\
            }\n\
            export type ClientResponse = {\n  \
              status: number,\n  \
              headers: { [string]: string },\n  \
              url: string,\n  \
              read: (self: ClientResponse, count: number?) -> (string?, string?),\n  \
              parts: (self: ClientResponse) -> () -> string?,\n  \
              body: (self: ClientResponse, bytes_max: number?) -> (string?, string?),\n  \
              close: (self: ClientResponse) -> (),\n\
            }",
    items: ITEMS,
    example: include_str!("../examples/http.luau"),
    natives: &[
        ("adopt", servers::adopt),
        ("close", tcp::close),
        ("drain", servers::drain),
        ("fail", context::fail),
        ("fields", servers::fields),
        ("finish", servers::finish),
        ("give_up", servers::give_up),
        ("is_idle", clients::is_idle),
        ("next", servers::next),
        ("now", context::now),
        ("read", servers::read),
        ("read_response", clients::read_response),
        ("respond", servers::respond),
        ("response", clients::response),
        ("send", clients::send),
        ("start", servers::start),
        ("target", servers::target),
        ("url", clients::url),
        ("write", servers::write),
    ],
    code: include_str!("../http.luau"),
};

const ITEMS: &[Item] = &[
    Item {
        name: "listen",
        luau: "(options: ServerOptions) -> (Server?, string?)",
        about: "Begins to serve at a port, of all addresses of the machine unless one is given; over TLS with a certificate \
                (a chain, its own first) and its key, in PEM. Bounds: `head_bytes` of a request's head (16 KiB), `body_bytes` \
                of a request's body (1 MiB), `head_seconds` for a head to arrive (10), `idle_seconds` between two requests \
                (60), `body_rate` in bytes per second that a body must come with (1,000, with 10 s to spare), \
                `requests_per_connection` (10,000).",
    },
    Item {
        name: "get",
        luau: "(url: string, options: ClientOptions?) -> (ClientResponse?, string?)",
        about: "As `request`, with the method GET.",
    },
    Item {
        name: "request",
        luau: "(options: ClientOptions & { url: string }) -> (ClientResponse?, string?)",
        about: "Sends a request and waits for the head of the response. `seconds` (30) bounds all of it, the body too. At most \
                `redirects` (5; 0 follows none) are followed, never from https to http; `authorization` and `cookie` go to \
                the first host only. `authorities` are certificates in PEM in place of the web's well-known ones. Four \
                connections are kept for 15 s, to be used again.",
    },
    Item {
        name: "form",
        luau: "(text: string?) -> { [string]: string }",
        about: "The fields of a query, `request.query`, or of the body of a form, decoded: `a=1&b=x+y` gives `a` and `b`. Of a \
                name that comes several times the last value; at most 256 names.",
    },
    Item {
        name: "decode",
        luau: "(text: string) -> string",
        about: "A text, such as a path, without its percent-encoding.",
    },
    Item {
        name: "escape",
        luau: "(text: any) -> string",
        about: "A text as it may stand in HTML, and there in an attribute in quotes. What strangers send must go through this.",
    },
    Item {
        name: "Server.requests",
        luau: "(self: Server) -> () -> Request?",
        about: "For loops: `for request in server:requests() do ... end`, one request after the other, of all connections. \
                Ends when the server is closed.",
    },
    Item {
        name: "Server.next",
        luau: "(self: Server) -> (Request?, string?)",
        about: "Waits for the next request; nil, and why, when the server has ended.",
    },
    Item {
        name: "Server.serve",
        luau: "(self: Server, run: (Request) -> (), at_once: number?) -> (nil, string?)",
        about: "Runs the function in a task of its own for each request, at most `at_once` at the same time (nearly all of \
                `limits.tasks` if not given). A request that it leaves unanswered, with an error or without, is answered \
                with 500; a response that it leaves unfinished is cut off. Returns why when the server ends.",
    },
    Item {
        name: "Server.here",
        luau: "(self: Server) -> (string?, number?)",
        about: "Address and port at which it listens.",
    },
    Item {
        name: "Server.close",
        luau: "(self: Server) -> ()",
        about: "Takes no further requests; those that are being answered are answered to their end.",
    },
    Item {
        name: "Request.headers",
        luau: "{ [string]: string }",
        about: "The header fields, found by their names in any case; what comes several times is one list with commas. \
                `path` and `query` are as they came, not decoded; `target` is both. `peer` and `peer_port` are the client's. \
                All but method, path and query are there until the request is answered.",
    },
    Item {
        name: "Request.read",
        luau: "(self: Request, count: number?) -> (string?, string?)",
        about: "Waits for a part of the body and returns what there is, at most `count` bytes and 64 KiB. Nil alone at its \
                end; nil and a reason when it does not end well: then the client was told, if the response had not begun.",
    },
    Item {
        name: "Request.parts",
        luau: "(self: Request) -> () -> string?",
        about: "For loops: `for part in request:parts() do ... end`. Ends where `read` returns nil.",
    },
    Item {
        name: "Request.body",
        luau: "(self: Request, bytes_max: number?) -> (string?, string?)",
        about: "Waits for all of the body, at most 1 MiB if not given.",
    },
    Item {
        name: "Request.respond",
        luau: "(self: Request, status: number, headers: Headers?, body: string?, options: { ranges: boolean? }?) -> (boolean?, \
               string?)",
        about: "Answers. With `ranges` the status 200 gives only what the client asks for by `Range` and `If-Range` (206, 416), \
                and heeds `If-None-Match`, `If-Modified-Since` and their kin, by the headers `etag` and `last-modified` \
                given (304, 412). A header's value may be a list of values. Does not wait.",
    },
    Item {
        name: "Request.start",
        luau: "(self: Request, status: number, headers: Headers?) -> (Response?, string?)",
        about: "Begins a response whose body follows. It goes out in chunks, unless the headers give a `content-length`.",
    },
    Item {
        name: "Response.write",
        luau: "(self: Response, bytes: string) -> (boolean?, string?)",
        about: "Writes a part of the body; waits while the client does not read (256 KiB wait). One that takes nothing for 30 s \
                is cut off.",
    },
    Item {
        name: "Response.finish",
        luau: "(self: Response) -> (boolean?, string?)",
        about: "Ends the response. More or less than a given `content-length` raises an error and cuts the connection off.",
    },
    Item {
        name: "ClientResponse.read",
        luau: "(self: ClientResponse, count: number?) -> (string?, string?)",
        about: "As `Request.read`. A response whose body is not read to its end keeps its connection until it is closed.",
    },
    Item {
        name: "ClientResponse.parts",
        luau: "(self: ClientResponse) -> () -> string?",
        about: "As `Request.parts`.",
    },
    Item {
        name: "ClientResponse.body",
        luau: "(self: ClientResponse, bytes_max: number?) -> (string?, string?)",
        about: "Waits for all of the body, at most 1 MiB if not given; closes the connection if it does not end well.",
    },
    Item {
        name: "ClientResponse.close",
        luau: "(self: ClientResponse) -> ()",
        about: "Gives the rest of the body up.",
    },
];
