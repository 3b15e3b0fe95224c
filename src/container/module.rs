//! A module that may be started: its manifest is checked and its sources compile.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use crate::base::limits::{LIBRARIES_MAX, MODULE_BYTES_MAX, MODULE_FILES_MAX, MODULE_PATH_BYTES_MAX, SOURCE_BYTES_MAX};
use crate::container::manifest::{Manifest, ManifestError};
use crate::container::properties::shortened;
use crate::container::source::{MANIFEST_PATH, ModuleSource};

/// A checked module. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Module {
    /// Its manifest.
    pub manifest: Rc<Manifest>,
    /// Its files.
    pub source: Rc<ModuleSource>,
    /// All libraries that it needs, those of its libraries included, by name. Set by [`Module::with_libraries`].
    pub libraries: Rc<BTreeMap<String, Module>>,
    /// Its files as bytecode, as far as an instance has loaded them.
    pub(crate) code: Rc<CodeCache>,
}

/// Bytecode of a module's files, made when they are first loaded and shared by all instances. It is the compiler's own,
/// never what somebody brought.
#[derive(Debug, Default)]
pub(crate) struct CodeCache(RefCell<BTreeMap<String, Rc<[u8]>>>);

impl CodeCache {
    /// The bytecode of the file at `path`, if it was made.
    pub(crate) fn find(&self, path: &str) -> Option<Rc<[u8]>> {
        self.0.borrow().get(path).cloned()
    }

    /// Keeps what the compiler made of the file at `path`.
    pub(crate) fn keep(&self, path: String, code: Vec<u8>) -> Rc<[u8]> {
        let code: Rc<[u8]> = code.into();
        self.0.borrow_mut().insert(path, Rc::clone(&code));
        code
    }
}

/// Why a module cannot be loaded.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ModuleError {
    /// More files than a module may have.
    #[error("the module has {got} files; at most {MODULE_FILES_MAX} are allowed")]
    TooManyFiles {
        /// How many.
        got: usize,
    },
    /// More bytes than a module may have.
    #[error("the module has {got_bytes} bytes; at most {MODULE_BYTES_MAX} are allowed")]
    TooManyBytes {
        /// How many.
        got_bytes: usize,
    },
    /// The path of a file is not allowed.
    #[error("file name {path:?}: {remedy}")]
    Path {
        /// The path.
        path: String,
        /// What it must be.
        remedy: &'static str,
    },
    /// No manifest.
    #[error("there is no {MANIFEST_PATH}; `netserv module new NAME` makes a module to begin with")]
    NoManifest,
    /// The manifest is wrong.
    #[error("{MANIFEST_PATH}: {0}")]
    Manifest(ManifestError),
    /// The entry file is missing.
    #[error("{MANIFEST_PATH}: entry = {entry:?} is not there; the module's source files: {found}")]
    NoEntry {
        /// What the manifest says.
        entry: String,
        /// The `.luau` files that there are.
        found: String,
    },
    /// The libraries that it was given are not those that it needs.
    #[error("{0}")]
    Library(String),
    /// A text file is not text.
    #[error("{path}: byte {at} is not UTF-8; only text can be read, not compiled Luau")]
    NotText {
        /// The file.
        path: String,
        /// Where it stops being text.
        at: usize,
    },
    /// A source file is too long.
    #[error("{path}: {got_bytes} bytes; at most {SOURCE_BYTES_MAX} are compiled, so part it in several files")]
    SourceTooLong {
        /// The file.
        path: String,
        /// Its length.
        got_bytes: usize,
    },
    /// A source file does not compile.
    #[error("{path}:{line}: {message}")]
    Syntax {
        /// The file.
        path: String,
        /// Line, from 1.
        line: usize,
        /// What the compiler says.
        message: String,
    },
}

impl Module {
    /// A module of parts that need no check: those of a test.
    #[must_use]
    pub fn of_parts(manifest: Manifest, source: ModuleSource) -> Module {
        Module { manifest: Rc::new(manifest), source: Rc::new(source), libraries: Rc::default(), code: Rc::default() }
    }

    /// Checks manifest, sizes, file names and syntax. Runs no code of the module.
    ///
    /// # Errors
    ///
    /// What is wrong, with the file, the value and the remedy.
    pub fn check(source: ModuleSource) -> Result<Module, ModuleError> {
        if source.files.len() > MODULE_FILES_MAX {
            return Err(ModuleError::TooManyFiles { got: source.files.len() });
        }
        let got_bytes = source.files.values().map(Vec::len).sum();
        if got_bytes > MODULE_BYTES_MAX {
            return Err(ModuleError::TooManyBytes { got_bytes });
        }
        for path in source.files.keys() {
            check_path(path)?;
        }
        let manifest = source.files.get(MANIFEST_PATH).ok_or(ModuleError::NoManifest)?;
        let manifest = Manifest::parse(text_of(MANIFEST_PATH, manifest)?).map_err(ModuleError::Manifest)?;
        let sources = || source.files.iter().filter(|(path, _)| path.ends_with(".luau"));
        if !source.files.contains_key(&manifest.entry) {
            let found: Vec<&str> = sources().map(|(path, _)| path.as_str()).collect();
            let found = if found.is_empty() { "none".to_owned() } else { shortened(&found.join(", ")) };
            return Err(ModuleError::NoEntry { entry: manifest.entry, found });
        }
        for (path, bytes) in sources() {
            check_syntax(path, text_of(path, bytes)?)?;
        }
        Ok(Module::of_parts(manifest, source))
    }

    /// The module with its libraries: the versions that [`crate::container::resolver`] chose. What it does not need is
    /// left out.
    ///
    /// # Errors
    ///
    /// When one is missing, is no library, has another version, or has the name of a file of the module.
    pub fn with_libraries(mut self, mut libraries: BTreeMap<String, Module>) -> Result<Module, ModuleError> {
        let mut needed = BTreeMap::new();
        let mut names: Vec<String> = self.manifest.requires.keys().cloned().collect();
        while let Some(name) = names.pop() {
            if let Some(library) = libraries.remove(&name) {
                names.extend(library.manifest.requires.keys().cloned());
                needed.insert(name, Module { libraries: Rc::default(), ..library });
            }
        }
        self.libraries = Rc::new(needed);
        // What was compiled with other libraries has files of the same names.
        self.code = Rc::default();
        self.check_libraries()?;
        Ok(self)
    }

    /// Whether it has all libraries that it needs.
    ///
    /// # Errors
    ///
    /// As [`Module::with_libraries`].
    pub fn check_libraries(&self) -> Result<(), ModuleError> {
        if self.libraries.len() > LIBRARIES_MAX {
            let got = self.libraries.len();
            return Err(ModuleError::Library(format!("it needs {got} libraries; at most {LIBRARIES_MAX} may be")));
        }
        std::iter::once(self).chain(self.libraries.values()).try_for_each(|module| self.check_requires(module))
    }

    fn check_requires(&self, module: &Module) -> Result<(), ModuleError> {
        let who = format!("{} {}", module.manifest.name, module.manifest.version);
        for (name, wanted) in &module.manifest.requires {
            let refused = |why: String| Err(ModuleError::Library(format!("{who} needs {name} {wanted}, {why}")));
            let Some(library) = self.libraries.get(name).map(|library| &library.manifest) else {
                return refused("which is not there; `netserv module install` brings what a module needs".to_owned());
            };
            if !library.library || library.name != *name {
                return refused(format!("but {name} is no library: its module.toml does not say library = true"));
            }
            if !wanted.matches(&library.version) {
                return refused(format!("but it was given {name} {}", library.version));
            }
            let begins =
                |path: &String| path.split('/').next().is_some_and(|part| part.trim_end_matches(".luau") == name);
            if let Some(path) = module.source.files.keys().find(|path| begins(path)) {
                return refused(format!("but has a file of its own that is called so, {path}; rename it"));
            }
        }
        Ok(())
    }
}

/// Paths are relative, and plain enough to mean the same on every system.
pub(crate) fn check_path(path: &str) -> Result<(), ModuleError> {
    let wrong = |remedy| Err(ModuleError::Path { path: shortened(path), remedy });
    if path.len() > MODULE_PATH_BYTES_MAX {
        return wrong("it is longer than 200 bytes");
    }
    if path.starts_with('/') {
        return wrong("it must be relative to the module's folder");
    }
    for part in path.split('/') {
        if part.is_empty() || part.starts_with('.') {
            return wrong("no part of it may be empty or begin with \".\"");
        }
        if !part.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte)) {
            return wrong("only letters, digits, \".\", \"_\" and \"-\" are allowed");
        }
    }
    Ok(())
}

fn text_of<'a>(path: &str, bytes: &'a [u8]) -> Result<&'a str, ModuleError> {
    std::str::from_utf8(bytes).map_err(|e| ModuleError::NotText { path: path.to_owned(), at: e.valid_up_to() })
}

/// Compiles a source file as text, and throws the result away. Files of type definitions are for editors only.
fn check_syntax(path: &str, text: &str) -> Result<(), ModuleError> {
    if text.len() > SOURCE_BYTES_MAX {
        return Err(ModuleError::SourceTooLong { path: path.to_owned(), got_bytes: text.len() });
    }
    if path.ends_with(".d.luau") {
        return Ok(());
    }
    let Err(error) = mlua::chunk::Compiler::new().compile(text) else { return Ok(()) };
    let message = if let mlua::Error::SyntaxError { message, .. } = error { message } else { error.to_string() };
    // The compiler writes ":LINE: message".
    let parts = message.trim_start_matches(':').split_once(": ");
    let (line, message) = match parts.and_then(|(line, rest)| Some((line.trim().parse().ok()?, rest))) {
        Some((line, rest)) => (line, rest.to_owned()),
        None => (1, message.clone()),
    };
    Err(ModuleError::Syntax { path: path.to_owned(), line, message })
}

#[cfg(test)]
mod tests;
