//! The live page and its server: hostile clients with bytes on sockets, and a real browser. All on the loop-back
//! interface. The browser's tests are skipped where there is no Chromium, unless `NETSERV_REQUIRE_ALL=1` is set.
#![expect(clippy::disallowed_types, reason = "clients have sockets")]
#![expect(clippy::print_stdout, reason = "says what is skipped")]

#[path = "page/browser.rs"]
mod browser;
#[path = "page/guards.rs"]
mod guards;
#[cfg(all(unix, feature = "live"))]
#[path = "page/node.rs"]
mod node;
#[path = "page/player.rs"]
mod player;
#[path = "page/sample.rs"]
mod sample;
#[path = "page/webdriver.rs"]
mod webdriver;
