//! Whole paths of nodes, joined by a GIST that only carries messages, in virtual time.

mod hostile;
mod keep;
mod lossy;
mod path;
mod world;
