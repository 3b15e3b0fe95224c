//! The reference of what modules may call, made from the tables that the program itself works by: the building blocks,
//! the permissions, the limits; and from the descriptions of `ctx`, `packet` and the like.
//!
//! `modules/netserv.d.luau` and `docs/api/` are written from it (`tests/reference.rs`), and `netserv module new` puts
//! its types beside a new module.

use crate::container::api::block::{BLOCKS, Block, Item};
use crate::container::manifest::asks::LIMIT_KEYS;
use crate::container::permissions::table::PERMISSIONS;

mod objects;
mod test_objects;

/// Columns of `netserv.d.luau`.
const TYPES_COLUMNS: usize = 100;
/// How to make the files anew.
const MADE_BY: &str = "Made from the code by `NETSERV_UPDATE=1 cargo test --test reference`; do not edit.";

/// A page of the reference that is not of a building block.
struct Page {
    /// Its file, without `.md`.
    file: &'static str,
    title: &'static str,
    about: &'static str,
    /// The type of what `require` gives for it.
    types_name: Option<&'static str>,
    objects: &'static [Object],
}

/// A type of what modules see.
struct Object {
    name: &'static str,
    about: &'static str,
    /// What it stands for, if it has no items.
    luau: &'static str,
    items: &'static [Item],
}

fn pages_of_objects() -> impl Iterator<Item = &'static Page> {
    objects::PAGES.iter().chain([&test_objects::PAGE])
}

/// The example of a building block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Example {
    /// The block's name, behind `@netserv/`.
    pub block: &'static str,
    /// The entry file of a module that shows it. It logs "done" when all that it asserts holds.
    pub code: &'static str,
}

/// The examples of all building blocks, in the order of their names.
pub fn examples() -> impl Iterator<Item = Example> {
    BLOCKS.iter().map(|block| Example { block: block.name, code: block.example })
}

/// The names that the reference lists for one of its objects.
#[cfg(test)]
pub(crate) fn listed(object: &str) -> Vec<&'static str> {
    let objects = pages_of_objects().flat_map(|page| page.objects);
    let found = objects.into_iter().find(|known| known.name == object).expect("the reference has this object");
    found.items.iter().map(|item| item.name).collect()
}

/// The definitions file for editors: all types, in one file without code.
#[must_use]
pub fn types() -> String {
    let mut out = format!(
        "-- Types of what a module and its tests may call, for editors (luau-lsp: --definitions=netserv.d.luau).\n\
         -- docs/api/ is the reference. {}\n",
        MADE_BY.replace('`', "")
    );
    for page in pages_of_objects() {
        for object in page.objects {
            out.push('\n');
            comment(&mut out, "", object.about);
            if object.items.is_empty() {
                out += &format!("export type {} = {}\n", object.name, object.luau);
            } else {
                table_type(&mut out, object.name, object.items.iter());
            }
        }
    }
    // Some blocks share types: `tcp` and `tls` have the same streams.
    let mut declared: Vec<String> = Vec::new();
    for block in BLOCKS {
        out.push('\n');
        for declaration in declarations(block.types) {
            if !declared.contains(&declaration) {
                out += &format!("{declaration}\n");
                declared.push(declaration);
            }
        }
        comment(&mut out, "", &format!("require(\"@netserv/{}\"): {}", block.name, block.summary));
        table_type(&mut out, &type_name(block), functions(block));
    }
    out
}

/// The declarations in a text, each with all of its lines.
fn declarations(types: &str) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    for line in types.trim_end().lines() {
        match found.last_mut() {
            Some(last) if !line.starts_with("export type ") => *last += &format!("\n{line}"),
            _ => found.push(line.to_owned()),
        }
    }
    found
}

/// The type of what `require` gives for a block.
fn type_name(block: &Block) -> String {
    let capital = |part: &str| part[..1].to_uppercase() + &part[1..];
    format!("Netserv{}", block.name.split('_').map(capital).collect::<String>())
}

/// What stands in the block's table: all but the methods of its objects.
fn functions(block: &Block) -> impl Iterator<Item = &'static Item> {
    block.items.iter().filter(|item| !item.name.contains('.'))
}

fn table_type(out: &mut String, name: &str, items: impl Iterator<Item = &'static Item>) {
    *out += &format!("export type {name} = {{\n");
    for item in items {
        comment(out, "  ", item.about);
        *out += &format!("  {}: {},\n", item.name, item.luau.replace('\n', "\n  "));
    }
    *out += "}\n";
}

/// A comment of as many lines as it takes.
fn comment(out: &mut String, indent: &str, text: &str) {
    let mut line = format!("{indent}--");
    for word in text.replace('`', "").split_whitespace() {
        if line.len() + 1 + word.len() > TYPES_COLUMNS {
            *out += &format!("{line}\n");
            line = format!("{indent}--");
        }
        line += &format!(" {word}");
    }
    *out += &format!("{line}\n");
}

/// Files that let an editor find the types of `require("@netserv/...")`: a folder that the alias `netserv` in `.luaurc`
/// names, with a file for each. The node never loads them. Path in that folder, and text.
#[must_use]
pub fn stubs() -> Vec<(String, String)> {
    let stub =
        |name: &str| format!("--!strict\n-- For editors only: the node has its own.\nreturn (nil :: any) :: {name}\n");
    let pages = pages_of_objects().filter_map(|page| {
        let path = page.title.strip_prefix("@netserv")?.trim_start_matches('/');
        let path = if path.is_empty() { "init.luau".to_owned() } else { format!("{path}.luau") };
        Some((path, stub(page.types_name?)))
    });
    let blocks = BLOCKS.iter().map(|block| (format!("{}.luau", block.name), stub(&type_name(block))));
    pages.chain(blocks).collect()
}

/// The pages of the reference: name of the file in `docs/api/`, and text.
#[must_use]
pub fn pages() -> Vec<(String, String)> {
    let mut pages = vec![("README.md".to_owned(), index())];
    pages.extend(pages_of_objects().map(|page| (format!("{}.md", page.file), object_page(page))));
    pages.extend(BLOCKS.iter().map(|block| (format!("{}.md", block.name), block_page(block))));
    pages.push(("permissions.md".to_owned(), permissions()));
    pages.push(("limits.md".to_owned(), limits()));
    pages
}

fn index() -> String {
    let mut out = format!(
        "# Reference of what modules may call\n\n{MADE_BY}\n\n\
         The guide is [How to write a module](../modules.md). For editors: [netserv.d.luau](../../modules/netserv.d.luau).\n\n\
         | page | what it is |\n|---|---|\n"
    );
    for page in pages_of_objects() {
        let first = page.objects[0].about;
        out += &format!("| [{}]({}.md) | {first} |\n", page.title, page.file);
    }
    out += "| [permissions](permissions.md) | What a module may be allowed, and the refusals without. |\n\
            | [limits](limits.md) | What an instance may use. |\n\n\
            ## Building blocks\n\nEach is loaded when a module requires it.\n\n| block | what it is |\n|---|---|\n";
    for block in BLOCKS {
        out += &format!("| [@netserv/{0}]({0}.md) | {1} |\n", block.name, block.summary);
    }
    out
}

fn object_page(page: &Page) -> String {
    let mut out = format!("# {}\n\n{MADE_BY}\n\n{}\n", page.title, page.about);
    for object in page.objects {
        out += &format!("\n## {}\n\n{}\n", object.name, object.about);
        if object.items.is_empty() {
            out += &format!("\n```lua\ntype {} = {}\n```\n", object.name, object.luau);
        } else {
            out += &items(object.items);
        }
    }
    out
}

fn block_page(block: &Block) -> String {
    let mut out = format!("# @netserv/{}\n\n{MADE_BY}\n\n{}\n", block.name, block.summary);
    if !block.about.is_empty() {
        out += &format!("\n{}\n", block.about);
    }
    out += &format!("\n```lua\n{}```\n", block.example);
    let (methods, functions): (Vec<&Item>, Vec<&Item>) = block.items.iter().partition(|item| item.name.contains('.'));
    out += &format!("\n## What `require(\"@netserv/{}\")` returns\n{}", block.name, items(functions));
    if !methods.is_empty() {
        out += &format!("\n## Methods\n{}", items(methods));
    }
    if !block.types.is_empty() {
        out += &format!("\n## Types\n\n```lua\n{}\n```\n", block.types.trim_end());
    }
    out
}

/// A list of items, each with its type. A type of several lines stands in a block of its own.
fn items(items: impl IntoIterator<Item = impl std::borrow::Borrow<Item>>) -> String {
    let mut out = String::new();
    for item in items {
        let item: &Item = item.borrow();
        out += &format!("\n### {}\n\n```lua\n{}: {}\n```\n\n{}\n", item.name, item.name, item.luau, item.about);
    }
    out
}

/// The table of all permissions, each with what a module is told without it.
fn permissions() -> String {
    let mut out = format!(
        "# Permissions\n\n{MADE_BY}\n\n\
         All is denied that the manifest does not ask for under `[permissions]`, or that the owner did not grant. What stands \
         under `[permissions.optional]` may be refused, and the module is started all the same. `$name` in a text stands for \
         the property of that name. Each use is checked; a refusal is an error in the name of the module's line, and names \
         the line of the manifest that would ask for it.\n\n| key | what it allows | values |\n|---|---|---|\n"
    );
    for permission in PERMISSIONS {
        out += &format!("| `{}` | {} | {} |\n", permission.key, permission.allows, permission.values);
    }
    out += "\n## Refusals\n\n| line that asks for it | what a module is told that does it without |\n|---|---|\n";
    for permission in PERMISSIONS {
        out += &format!("| `{}` | {} |\n", permission.line(), permission.refusal());
    }
    out
}

/// The table of all limits.
fn limits() -> String {
    let mut out = format!(
        "# Limits\n\n{MADE_BY}\n\nWhat a manifest may say under `[limits]`. Ask for as little as you need.\n\n\
         | key | what it bounds | from | to | default |\n|---|---|---|---|---|\n"
    );
    for limit in LIMIT_KEYS {
        let (min, max, default) = (grouped(limit.min), grouped(limit.max), grouped(limit.default));
        out += &format!("| `{}` | {} | {min} | {max} | {default} |\n", limit.key, limit.bounds);
    }
    out
}

/// A number with its digits in groups of three.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

#[cfg(test)]
mod tests;
