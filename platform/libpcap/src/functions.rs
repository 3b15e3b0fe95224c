//! The functions of libpcap that the `pcap` crate calls, under their own names.
//!
//! Handles, headers and programs are passed on as they come; only their being pointers matters here.

use std::ffi::{c_char, c_int, c_uchar, c_uint, c_void};
use std::ptr::{null, null_mut};
use std::sync::OnceLock;

use crate::{explain, find};

/// `pcap_t`, `bpf_program`, `pcap_pkthdr` and whatever else is only passed on.
type Pointer = *mut c_void;
/// `pcap_handler`.
type Handler = extern "C" fn(*mut c_uchar, *const c_void, *const c_uchar);

/// `PCAP_ERROR`: what most functions answer when they fail.
const FAILED: c_int = -1;

/// Exports each function, with what it answers where the library or the function is missing.
macro_rules! forward {
    ($($(#[$condition:meta])* fn $name:ident($($argument:ident: $type:ty),*) -> $result:ty = $missing:expr;)+) => {$(
        $(#[$condition])*
        // SAFETY: nothing else in the program defines this name: the real library is only ever loaded at run time.
        #[unsafe(no_mangle)]
        unsafe extern "C" fn $name($($argument: $type),*) -> $result {
            type Function = unsafe extern "C" fn($($type),*) -> $result;
            static FOUND: OnceLock<Option<Function>> = OnceLock::new();
            // SAFETY: the type is the one that pcap.h declares.
            match FOUND.get_or_init(|| unsafe { find(stringify!($name)) }) {
                // SAFETY: the caller keeps to what pcap.h asks for; the arguments are passed on as they came.
                Some(function) => unsafe { function($($argument),*) },
                None => $missing,
            }
        }
    )+};
}

/// Explains itself in `buffer`, and answers null.
fn no_handle(buffer: *mut c_char) -> Pointer {
    // SAFETY: callers pass on the error buffer of a libpcap function, which has the room by pcap.h.
    unsafe { explain(buffer) };
    null_mut()
}

/// Explains itself in `buffer`, and answers [`FAILED`].
fn failed(buffer: *mut c_char) -> c_int {
    no_handle(buffer);
    FAILED
}

forward! {
    fn pcap_create(device: *const c_char, error: *mut c_char) -> Pointer = no_handle(error);
    fn pcap_set_snaplen(handle: Pointer, bytes: c_int) -> c_int = FAILED;
    fn pcap_set_promisc(handle: Pointer, on: c_int) -> c_int = FAILED;
    fn pcap_set_timeout(handle: Pointer, ms: c_int) -> c_int = FAILED;
    fn pcap_set_buffer_size(handle: Pointer, bytes: c_int) -> c_int = FAILED;
    fn pcap_set_tstamp_type(handle: Pointer, kind: c_int) -> c_int = FAILED;
    fn pcap_set_tstamp_precision(handle: Pointer, precision: c_int) -> c_int = FAILED;
    fn pcap_set_immediate_mode(handle: Pointer, on: c_int) -> c_int = FAILED;
    fn pcap_set_rfmon(handle: Pointer, on: c_int) -> c_int = FAILED;
    fn pcap_activate(handle: Pointer) -> c_int = FAILED;
    fn pcap_close(handle: Pointer) -> () = ();
    fn pcap_open_dead(link_type: c_int, bytes: c_int) -> Pointer = null_mut();
    fn pcap_open_dead_with_tstamp_precision(link_type: c_int, bytes: c_int, precision: c_uint) -> Pointer = null_mut();
    fn pcap_open_offline(name: *const c_char, error: *mut c_char) -> Pointer = no_handle(error);
    fn pcap_open_offline_with_tstamp_precision(name: *const c_char, precision: c_uint, error: *mut c_char) -> Pointer
        = no_handle(error);
    fn pcap_fopen_offline(file: Pointer, error: *mut c_char) -> Pointer = no_handle(error);
    fn pcap_fopen_offline_with_tstamp_precision(file: Pointer, precision: c_uint, error: *mut c_char) -> Pointer
        = no_handle(error);
    fn pcap_loop(handle: Pointer, count: c_int, handler: Handler, user: *mut c_uchar) -> c_int = FAILED;
    fn pcap_dispatch(handle: Pointer, count: c_int, handler: Handler, user: *mut c_uchar) -> c_int = FAILED;
    fn pcap_next_ex(handle: Pointer, header: *mut Pointer, bytes: *mut *const c_uchar) -> c_int = FAILED;
    fn pcap_breakloop(handle: Pointer) -> () = ();
    fn pcap_stats(handle: Pointer, stats: Pointer) -> c_int = FAILED;
    fn pcap_setfilter(handle: Pointer, program: Pointer) -> c_int = FAILED;
    fn pcap_setdirection(handle: Pointer, direction: c_uint) -> c_int = FAILED;
    fn pcap_setnonblock(handle: Pointer, on: c_int, error: *mut c_char) -> c_int = failed(error);
    fn pcap_sendpacket(handle: Pointer, bytes: *const c_uchar, len: c_int) -> c_int = FAILED;
    fn pcap_geterr(handle: Pointer) -> *mut c_char = c"no packet capture library on this machine".as_ptr().cast_mut();
    fn pcap_compile(handle: Pointer, program: Pointer, text: *const c_char, optimize: c_int, mask: c_uint) -> c_int
        = FAILED;
    fn pcap_freecode(program: Pointer) -> () = ();
    fn pcap_offline_filter(program: *const c_void, header: *const c_void, bytes: *const c_uchar) -> c_int = 0;
    fn pcap_datalink(handle: Pointer) -> c_int = FAILED;
    fn pcap_list_datalinks(handle: Pointer, list: *mut *mut c_int) -> c_int = FAILED;
    fn pcap_set_datalink(handle: Pointer, link_type: c_int) -> c_int = FAILED;
    fn pcap_free_datalinks(list: *mut c_int) -> () = ();
    fn pcap_datalink_name_to_val(name: *const c_char) -> c_int = FAILED;
    fn pcap_datalink_val_to_name(link_type: c_int) -> *const c_char = null();
    fn pcap_datalink_val_to_description(link_type: c_int) -> *const c_char = null();
    fn pcap_major_version(handle: Pointer) -> c_int = FAILED;
    fn pcap_minor_version(handle: Pointer) -> c_int = FAILED;
    fn pcap_fileno(handle: Pointer) -> c_int = FAILED;
    fn pcap_get_selectable_fd(handle: Pointer) -> c_int = FAILED;
    fn pcap_dump_open(handle: Pointer, name: *const c_char) -> Pointer = null_mut();
    fn pcap_dump_open_append(handle: Pointer, name: *const c_char) -> Pointer = null_mut();
    fn pcap_dump_fopen(handle: Pointer, file: Pointer) -> Pointer = null_mut();
    fn pcap_dump_flush(dumper: Pointer) -> c_int = FAILED;
    fn pcap_dump_close(dumper: Pointer) -> () = ();
    fn pcap_dump(dumper: *mut c_uchar, header: *const c_void, bytes: *const c_uchar) -> () = ();
    fn pcap_findalldevs(list: *mut Pointer, error: *mut c_char) -> c_int = failed(error);
    fn pcap_freealldevs(list: Pointer) -> () = ();
    #[cfg(target_os = "macos")]
    fn pcap_set_want_pktap(handle: Pointer, on: c_int) -> c_int = FAILED;
    #[cfg(windows)]
    fn pcap_setmintocopy(handle: Pointer, bytes: c_int) -> c_int = FAILED;
    #[cfg(windows)]
    fn pcap_getevent(handle: Pointer) -> Pointer = null_mut();
    #[cfg(windows)]
    fn pcap_sendqueue_alloc(bytes: c_uint) -> Pointer = null_mut();
    #[cfg(windows)]
    fn pcap_sendqueue_destroy(queue: Pointer) -> () = ();
    #[cfg(windows)]
    fn pcap_sendqueue_queue(queue: Pointer, header: *const c_void, bytes: *const c_uchar) -> c_int = FAILED;
    #[cfg(windows)]
    fn pcap_sendqueue_transmit(handle: Pointer, queue: Pointer, in_time: c_int) -> c_uint = 0;
}
