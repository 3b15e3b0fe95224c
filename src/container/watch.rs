//! The kill that cannot be caught: notices a call that runs for too long, and arms Luau's interrupt.

/// Shared between the loop, which says when module code runs, and the thread that watches it.
#[derive(Clone, Debug, Default)]
pub struct Watch;

impl Watch {
    /// To be called once per millisecond by a thread beside the loop.
    pub fn tick(&self) {
        todo!()
    }
}
