//! All that differs between systems: TUN devices, capture interfaces, steering, and what a machine can do.
//!
//! Nearly all unsafe code of the program is here; each block says why it is sound.

pub mod steering;
