use super::*;

const MANIFEST: &str = "name = \"m\"\nversion = \"1.0.0\"\napi = 1\nsummary = \"For a test.\"\n";

fn source(files: &[(&str, &str)]) -> ModuleSource {
    let with_manifest = [(MANIFEST_PATH, MANIFEST)];
    let files = with_manifest.iter().chain(files);
    ModuleSource { files: files.map(|(path, text)| ((*path).to_owned(), text.as_bytes().to_vec())).collect() }
}

fn error(files: &[(&str, &str)]) -> String {
    Module::check(source(files)).unwrap_err().to_string()
}

#[test]
fn accepts_a_manifest_and_an_entry() {
    let module = Module::check(source(&[("init.luau", "--!strict\nreturn {}"), ("README.md", "# m")])).unwrap();
    assert_eq!(module.manifest.entry, "init.luau");
}

#[test]
fn names_file_and_line_of_a_syntax_error() {
    let got = error(&[("init.luau", "return {}"), ("part/b.luau", "local x =\n\nreturn 1 +")]);
    assert!(got.starts_with("part/b.luau:3: "), "{got}");
    assert!(got.contains("Expected"), "{got}");
}

#[test]
fn refuses_compiled_luau_and_sources_that_are_too_long() {
    let mut with_bytecode = source(&[]);
    with_bytecode.files.insert("init.luau".to_owned(), vec![6, 3, 0, 0xff]);
    let got = Module::check(with_bytecode).unwrap_err().to_string();
    assert!(got.contains("not UTF-8"), "{got}");
    // Bytecode that happens to be UTF-8 is read as text, and is none.
    assert!(matches!(Module::check(source(&[("init.luau", "\u{6}\u{3}\0\0")])), Err(ModuleError::Syntax { .. })));
    let long = " ".repeat(SOURCE_BYTES_MAX + 1);
    assert!(error(&[("init.luau", &long)]).contains("65537 bytes; at most 65536"));
}

#[test]
fn type_definitions_for_editors_are_not_compiled() {
    let module = source(&[("init.luau", "return {}"), ("netserv.d.luau", "declare class Packet end")]);
    assert!(Module::check(module).is_ok());
}

#[test]
fn refuses_paths_that_leave_the_folder_or_mean_different_things() {
    for path in ["../x.luau", "/x.luau", "a//b", "a/./b", ".hidden", "a\\b", "a b", "C:x", "ä", "", "a/", "nul\0"] {
        let got = Module::check(source(&[("init.luau", "return {}"), (path, "")]));
        assert!(matches!(got, Err(ModuleError::Path { .. })), "{path}: {got:?}");
    }
    assert!(error(&[(&"a".repeat(201), "")]).contains("longer than 200 bytes"));
}

#[test]
fn says_what_is_missing() {
    assert_eq!(
        Module::check(ModuleSource::default()).unwrap_err().to_string(),
        "there is no module.toml; `netserv module new NAME` makes a module to begin with"
    );
    assert_eq!(
        error(&[("main.luau", "return {}")]),
        "module.toml: entry = \"init.luau\" is not there; the module's source files: main.luau"
    );
}

#[test]
fn bounds_files_and_bytes() {
    let mut many = source(&[("init.luau", "return {}")]);
    many.files.extend((0..MODULE_FILES_MAX).map(|i| (format!("f{i}"), Vec::new())));
    assert_eq!(Module::check(many).unwrap_err(), ModuleError::TooManyFiles { got: MODULE_FILES_MAX + 2 });
    let mut big = source(&[("init.luau", "return {}")]);
    big.files.insert("data".to_owned(), vec![0; MODULE_BYTES_MAX]);
    assert!(matches!(Module::check(big), Err(ModuleError::TooManyBytes { .. })));
}
