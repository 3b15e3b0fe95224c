use super::*;

const MANIFEST: &str = "name = \"m\"\nversion = \"1.0.0\"\napi = 1\nsummary = \"For a test.\"\n";

/// A folder with a module, gone at the end of the test.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Folder {
        let dir = std::env::temp_dir().join(format!("netserv-module-dir-{}-{name}", std::process::id()));
        let _ = fs::remove_dir_all(&dir);
        fs::create_dir_all(dir.join("m/tests")).unwrap();
        fs::write(dir.join("m/module.toml"), MANIFEST).unwrap();
        fs::write(dir.join("m/init.luau"), "return {}").unwrap();
        fs::write(dir.join("m/tests/a.luau"), "").unwrap();
        fs::write(dir.join("m/.hidden"), "").unwrap();
        fs::write(dir.join("m/init.luau~"), "").unwrap();
        Folder(dir.join("m"))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(self.0.parent().unwrap());
    }
}

#[test]
fn reads_files_of_folders_and_passes_hidden_ones_over() {
    let folder = Folder::new("reads");
    let module = load(&folder.0).unwrap();
    let paths: Vec<&str> = module.source.files.keys().map(String::as_str).collect();
    assert_eq!(paths, ["init.luau", "module.toml", "tests/a.luau"]);
    assert_eq!(module.source.test_paths().collect::<Vec<_>>(), ["tests/a.luau"]);
}

#[test]
fn says_which_folder_or_file_is_wrong() {
    let folder = Folder::new("wrong");
    let gone = folder.0.join("gone");
    assert!(load(&gone).unwrap_err().to_string().starts_with(&format!("cannot read {}: ", gone.display())));
    let file = folder.0.join("init.luau");
    assert_eq!(load(&file).unwrap_err(), ModuleDirError::NoFolder { path: file.clone() });
    fs::write(&file, "return +").unwrap();
    let got = load(&folder.0).unwrap_err().to_string();
    assert!(got.starts_with(&format!("{}: init.luau:1: ", folder.0.display())), "{got}");
}

#[test]
fn bounds_what_it_reads() {
    let folder = Folder::new("bounds");
    let big = File::create(folder.0.join("big")).unwrap();
    big.set_len(MODULE_BYTES_MAX as u64 * 1_000).unwrap();
    assert!(matches!(read(&folder.0), Err(ModuleDirError::TooManyBytes { .. })));
    fs::remove_file(folder.0.join("big")).unwrap();
    for i in 0..MODULE_FILES_MAX {
        fs::write(folder.0.join(format!("f{i}")), "").unwrap();
    }
    assert!(matches!(read(&folder.0), Err(ModuleDirError::TooManyFiles { .. })));
}

#[cfg(unix)]
#[test]
fn follows_links_only_within_the_folder() {
    use std::os::unix::fs::symlink;
    let folder = Folder::new("links");
    symlink("init.luau", folder.0.join("same.luau")).unwrap();
    assert_eq!(read(&folder.0).unwrap().files["same.luau"], b"return {}");
    fs::write(folder.0.parent().unwrap().join("secret"), "x").unwrap();
    symlink("../secret", folder.0.join("out")).unwrap();
    assert!(matches!(read(&folder.0), Err(ModuleDirError::LeadsOut { .. })));
    fs::remove_file(folder.0.join("out")).unwrap();
    symlink(".", folder.0.join("loop")).unwrap();
    assert!(matches!(read(&folder.0), Err(ModuleDirError::NoFile { .. })));
}
