//! Writes empty libraries under the names that the `pcap` crate links, so that no development package is needed.

use std::path::Path;
use std::{env, fs, io};

/// An archive without members: what every linker takes as a library that defines nothing.
const EMPTY_ARCHIVE: &[u8] = b"!<arch>\n";

fn main() -> io::Result<()> {
    let out = env::var("OUT_DIR").map_err(io::Error::other)?;
    for name in ["libpcap.a", "libwpcap.a", "wpcap.lib"] {
        fs::write(Path::new(&out).join(name), EMPTY_ARCHIVE)?;
    }
    if env::var("CARGO_CFG_TARGET_OS").is_ok_and(|os| os == "linux") {
        // Some linkers look for a shared library alone when they are asked for one; this is a linker script.
        fs::write(Path::new(&out).join("libpcap.so"), format!("INPUT({out}/libpcap.a)\n"))?;
    }
    println!("cargo::rustc-link-search=native={out}");
    println!("cargo::rerun-if-changed=build.rs");
    Ok(())
}
