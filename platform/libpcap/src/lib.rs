//! Finds the packet capture library when the program runs, so that building needs none.
//!
//! The `pcap` crate names the C functions of libpcap as something to be linked. This package exports functions of these
//! names; each looks up the real one in the library of the machine the first time it is called. Where there is no
//! library they fail as libpcap itself fails, with a text that says what to install; [`available`] tells beforehand.
#![expect(unsafe_code, reason = "calls into a C library that is found at run time")]

use std::ffi::c_char;
use std::sync::OnceLock;

use libloading::Library;

mod functions;

/// Where the library may be, in the order in which they are tried.
#[cfg(target_os = "macos")]
const NAMES: &[&str] = &["libpcap.A.dylib", "/usr/lib/libpcap.A.dylib", "libpcap.dylib"];
/// Where the library may be, in the order in which they are tried.
#[cfg(all(unix, not(target_os = "macos")))]
const NAMES: &[&str] = &["libpcap.so.1", "libpcap.so.0.8", "libpcap.so"];

/// What to do where there is none.
#[cfg(target_os = "linux")]
const REMEDY: &str = "install libpcap (Debian and Ubuntu: apt install libpcap0.8; Fedora: dnf install libpcap; \
                      Arch: pacman -S libpcap; Alpine: apk add libpcap)";
/// What to do where there is none.
#[cfg(windows)]
const REMEDY: &str = "install Npcap from https://npcap.com";
/// What to do where there is none.
#[cfg(not(any(target_os = "linux", windows)))]
const REMEDY: &str = "libpcap belongs to the base system; check that /usr/lib is readable";

/// Longest text that libpcap's error buffers hold, with the zero at its end (PCAP_ERRBUF_SIZE).
const ERROR_BYTES: usize = 256;

/// Whether this machine has a packet capture library.
///
/// # Errors
///
/// What to install.
pub fn available() -> Result<(), String> {
    library().map(|_| ())
}

/// The library of this machine; looked for once.
fn library() -> Result<&'static Library, String> {
    static LIBRARY: OnceLock<Result<Library, String>> = OnceLock::new();
    LIBRARY.get_or_init(load).as_ref().map_err(Clone::clone)
}

fn load() -> Result<Library, String> {
    let mut tried = Vec::new();
    for name in names() {
        // SAFETY: libpcap and Npcap run no code of consequence when they are loaded, and stay loaded until the end.
        match unsafe { open(&name) } {
            Ok(library) => return Ok(library),
            Err(_) => tried.push(name),
        }
    }
    Err(format!("no packet capture library on this machine (looked for {}): {REMEDY}", tried.join(", ")))
}

#[cfg(unix)]
fn names() -> Vec<String> {
    NAMES.iter().map(|name| (*name).to_owned()).collect()
}

/// By full path: nothing that lies in the current folder is to be loaded.
#[cfg(windows)]
fn names() -> Vec<String> {
    let root = std::env::var("SystemRoot").unwrap_or_else(|_| r"C:\Windows".to_owned());
    vec![format!(r"{root}\System32\Npcap\wpcap.dll"), format!(r"{root}\System32\wpcap.dll")]
}

#[cfg(unix)]
unsafe fn open(name: &str) -> Result<Library, libloading::Error> {
    // SAFETY: the caller's promise.
    unsafe { Library::new(name) }
}

#[cfg(windows)]
unsafe fn open(name: &str) -> Result<Library, libloading::Error> {
    use libloading::os::windows::{LOAD_WITH_ALTERED_SEARCH_PATH, Library as WindowsLibrary};
    // wpcap.dll needs Packet.dll, which lies beside it.
    // SAFETY: the caller's promise.
    unsafe { WindowsLibrary::load_with_flags(name, LOAD_WITH_ALTERED_SEARCH_PATH).map(Library::from) }
}

/// The function called `name` in the library of this machine.
///
/// # Safety
///
/// `F` is the type of the C function of that name.
unsafe fn find<F: Copy>(name: &str) -> Option<F> {
    // SAFETY: the caller's promise; the library is never unloaded, so that the function stays where it is.
    unsafe { library().ok()?.get::<F>(name.as_bytes()).ok().map(|symbol| *symbol) }
}

/// Writes why there is no library into an error buffer of libpcap.
///
/// # Safety
///
/// `buffer` is null or has room for [`ERROR_BYTES`].
unsafe fn explain(buffer: *mut c_char) {
    if buffer.is_null() {
        return;
    }
    let text = available().err().unwrap_or_else(|| "this function is missing in the packet capture library".to_owned());
    let len = text.len().min(ERROR_BYTES - 1);
    // SAFETY: `len` + 1 bytes fit by the caller's promise, and the text does not overlap a buffer of C.
    unsafe {
        std::ptr::copy_nonoverlapping(text.as_ptr(), buffer.cast::<u8>(), len);
        buffer.add(len).write(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_what_to_install_or_finds_the_library() {
        match available() {
            Ok(()) => {
                type Version = unsafe extern "C" fn() -> *const c_char;
                // SAFETY: the type of pcap_lib_version.
                let version = unsafe { find::<Version>("pcap_lib_version") }.expect("every libpcap has it");
                // SAFETY: it takes nothing, and answers a static text.
                let text = unsafe { std::ffi::CStr::from_ptr(version()) };
                assert!(text.to_string_lossy().contains("libpcap"), "{text:?}");
            }
            Err(text) => assert!(text.contains("install"), "{text}"),
        }
    }

    #[test]
    fn a_long_explanation_is_cut_to_the_buffer() {
        let mut buffer = [1 as c_char; ERROR_BYTES];
        // SAFETY: the buffer has the room.
        unsafe { explain(buffer.as_mut_ptr()) };
        assert!(buffer.contains(&0));
    }
}
