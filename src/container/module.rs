//! A module that may be started: its manifest is checked and its sources compile.

use std::rc::Rc;

use crate::container::manifest::Manifest;
use crate::container::source::ModuleSource;

/// A checked module. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Module {
    /// Its manifest.
    pub manifest: Rc<Manifest>,
    /// Its files.
    pub source: Rc<ModuleSource>,
}

/// Why a module cannot be loaded.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ModuleError {}

impl Module {
    /// Checks manifest, sizes, file names and syntax. Runs no code of the module.
    ///
    /// # Errors
    ///
    /// What is wrong, with the file, the value and the remedy.
    pub fn check(_source: ModuleSource) -> Result<Module, ModuleError> {
        todo!()
    }
}
