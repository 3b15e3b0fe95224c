//! The page in a real browser: what a person does with it works, nothing overflows, and the console stays silent.

use std::path::{Path, PathBuf};
use std::time::Duration;

use netserv::dashboard::page;
use netserv::drivers::page_server::Control;

use crate::player::Player;
use crate::sample::{self, MOMENTS};
use crate::webdriver::Browser;

/// A browser; `None`, and it is said, if there is none.
fn browser() -> Option<Browser> {
    let browser = Browser::start();
    if browser.is_none() {
        let is_required = std::env::var_os("NETSERV_REQUIRE_ALL").is_some_and(|value| value == "1");
        assert!(!is_required, "NETSERV_REQUIRE_ALL=1, but chromedriver or chromium is not installed");
        println!("skipped: no chromium");
    }
    browser
}

const SIZES: [(u32, u32); 2] = [(1280, 900), (390, 844)];
const OVERFLOWS: &str = "return document.documentElement.scrollWidth > window.innerWidth";

#[test]
fn a_person_can_watch_and_control_a_scene() {
    let Some(browser) = browser() else { return };
    let player = Player::start(true);
    for (width, height) in SIZES {
        for is_dark in [false, true] {
            browser.show(width, height, is_dark);
            browser.open(&player.url());
            browser.wait_for("the machines", "return document.querySelectorAll('.machine').length === 19");
            let scheme = browser.run("return getComputedStyle(document.body).backgroundColor");
            assert_eq!(scheme == "rgb(13, 18, 24)", is_dark, "{scheme}");
            assert_eq!(browser.run(OVERFLOWS), false, "at {width} pixels");
        }
    }
    browser.show(1280, 900, false);
    player.go(28, true);
    browser.wait_for("an arrow", "return document.querySelector('.message:not([display]) .arrow.setup') !== null");
    browser.wait_for("a module", "return document.querySelectorAll('.badge.shown').length >= 3");
    browser.click("#play");
    browser.wait_for("the pause", "return document.getElementById('connection').textContent === 'Paused'");
    browser.click("#next");
    browser.wait_for("step 3", "return document.getElementById('caption-kicker').textContent === 'Step 3 of 4'");
    browser.click(".machine[data-machine='0']");
    let details = "return document.getElementById('details-body').innerText";
    browser.wait_for("the machine", "return document.getElementById('details-body').innerText.includes('cache 1.2.0')");
    for part in ["AS 64500", "3.24 MiB of 16 MiB", "812", "ip_header", "for alice"] {
        let text = browser.run(details);
        assert!(text.as_str().unwrap_or_default().contains(part), "{part} is missing in {text}");
    }
    browser.press("\u{E00C}");
    browser.wait_for("Escape closes it", "return document.getElementById('details').hidden");
    // The focus is back at the machine; an arrow key goes to the next one in that direction.
    browser.press("\u{E012}");
    browser.wait_for("the next machine", "return document.activeElement.dataset.machine === '1'");
    browser.run("document.activeElement.blur()");
    browser.press(" ");
    browser.wait_for("it goes on", "return document.getElementById('connection').textContent === 'Live'");
    browser.press("n");
    browser.wait_for("step 4", "return document.getElementById('caption-kicker').textContent === 'Step 4 of 4'");
    player.go(MOMENTS - 2, true);
    browser.wait_for("the end", "return document.getElementById('results').innerText.includes('33 ms')");
    assert_eq!(browser.run("return document.getElementById('connection').textContent"), "Ended");
    let lines = browser.run("return document.querySelectorAll('#notes li').length");
    assert!(lines.as_u64().is_some_and(|count| count > 8), "{lines}");
    assert_eq!(browser.complaints(), Vec::<String>::new());
    let seen = player.stop();
    assert_eq!(seen, [Control::Pause, Control::Next, Control::Resume, Control::Next]);
    // What it knows stays to be seen.
    browser.wait_for("the loss", "return document.getElementById('connection').textContent.includes('lost')");
    assert_eq!(browser.run("return document.querySelectorAll('.machine').length"), 19);
}

#[test]
fn a_record_plays_without_a_server() {
    let Some(browser) = browser() else { return };
    let moments: Vec<_> = (0..MOMENTS).map(sample::moment).collect();
    let folder = Folder::new("netserv-record");
    let file = folder.0.join("record.html");
    std::fs::write(&file, page::record(&sample::scene(), &moments, &sample::results())).expect("a file can be written");
    browser.show(390, 844, false);
    browser.open(&format!("file://{}", file.display()));
    browser.wait_for("the machines", "return document.querySelectorAll('.machine').length === 19");
    browser.wait_for("the clock", "return parseFloat(document.getElementById('clock').textContent) > 0.3");
    assert_eq!(browser.run(OVERFLOWS), false);
    browser.click("#play");
    browser.wait_for("the pause", "return document.getElementById('connection').textContent === 'Paused'");
    browser.run(
        "const seek = document.getElementById('seek'); seek.value = 9; \
         seek.dispatchEvent(new Event('input', { bubbles: true }))",
    );
    browser.wait_for("step 2", "return document.getElementById('caption-kicker').textContent === 'Step 2 of 4'");
    browser.wait_for("the modules", "return document.querySelectorAll('.badge.shown').length === 3");
    browser.run(
        "const seek = document.getElementById('seek'); seek.value = 19.8; \
         seek.dispatchEvent(new Event('input', { bubbles: true }))",
    );
    browser.click("#play");
    browser.wait_for("the figures", "return document.getElementById('results').innerText.includes('3,812')");
    assert_eq!(browser.complaints(), Vec::<String>::new());
}

/// For whoever changes the page: pictures of it, in the folder that `NETSERV_PAGE_SHOTS` names.
#[test]
fn pictures_are_taken_on_demand() {
    let Some(folder) = std::env::var_os("NETSERV_PAGE_SHOTS").map(PathBuf::from) else { return };
    let Some(browser) = browser() else { return };
    std::fs::create_dir_all(&folder).expect("the folder can be made");
    let player = Player::start(false);
    for (width, height) in SIZES {
        for is_dark in [false, true] {
            let name = format!("{width}-{}", if is_dark { "dark" } else { "light" });
            browser.show(width, if width < 500 { 2300 } else { height + 300 }, is_dark);
            take(&browser, &player, &folder, &name);
        }
    }
}

fn take(browser: &Browser, player: &Player, folder: &Path, name: &str) {
    player.go(0, false);
    browser.open(&player.url());
    browser.wait_for("the machines", "return document.querySelectorAll('.machine').length === 19");
    for (shot, from, wait_ms) in [("start", 5, 1500), ("arrows", 38, 1500), ("installed", 70, 2600), ("end", 185, 2500)]
    {
        player.go(from, true);
        std::thread::sleep(Duration::from_millis(wait_ms));
        browser.screenshot(&folder.join(format!("{name}-{shot}.png")));
    }
    player.go(80, false);
    std::thread::sleep(Duration::from_millis(800));
    browser.click(".machine[data-machine='0']");
    std::thread::sleep(Duration::from_millis(700));
    browser.screenshot(&folder.join(format!("{name}-open.png")));
}

/// A folder that goes when it is not needed any more.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Folder {
        let path = std::env::temp_dir().join(format!("{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).expect("a folder can be made");
        Folder(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
