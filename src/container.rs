//! Runs module code. No Luau type leaves this folder.
//!
//! A module is read ([`source`]), checked without running any of it ([`module`], [`manifest`], [`properties`]), and
//! started as an [`instance::Instance`]: one sandboxed VM, with its limits, whose effects wait until they are taken.

mod api;
pub mod fault;
pub mod grant;
pub mod instance;
pub mod manifest;
pub mod module;
pub mod package;
pub mod permissions;
pub mod plain;
pub mod properties;
pub mod reference;
pub mod repository;
pub mod resolver;
pub mod script;
pub mod services;
pub mod signature;
pub mod source;
pub mod surroundings;
mod vm;
pub mod watch;
