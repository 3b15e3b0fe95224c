use super::*;
use crate::base::crypto::{sha256, to_hex};
use crate::base::limits::MODULE_PATH_BYTES_MAX;

fn source(files: &[(&str, &[u8])]) -> ModuleSource {
    ModuleSource { files: files.iter().map(|(path, bytes)| ((*path).to_owned(), bytes.to_vec())).collect() }
}

/// A zip archive with these names and contents, as a stranger may have made it.
fn archive(entries: &[(&str, &[u8])]) -> Vec<u8> {
    let options = SimpleFileOptions::default().compression_method(CompressionMethod::Deflated);
    let mut writer = ZipWriter::new(Cursor::new(Vec::new()));
    for (name, content) in entries {
        writer.start_file(*name, options).unwrap();
        writer.write_all(content).unwrap();
    }
    writer.finish().unwrap().into_inner()
}

/// Replaces each `from` in an archive by `to`, of the same length: names that the library would not write.
fn renamed(bytes: Vec<u8>, from: &str, to: &str) -> Vec<u8> {
    assert_eq!(from.len(), to.len());
    let mut bytes = bytes;
    for at in 0..bytes.len() - from.len() {
        if bytes[at..].starts_with(from.as_bytes()) {
            bytes[at..at + to.len()].copy_from_slice(to.as_bytes());
        }
    }
    bytes
}

fn problem(bytes: &[u8]) -> String {
    unpack(bytes).unwrap_err().to_string()
}

#[test]
fn a_package_comes_back_as_it_was_and_is_always_the_same() {
    let files = source(&[("module.toml", b"name"), ("init.luau", b"return {}"), ("tests/a.luau", &[b'x'; 10_000])]);
    let bytes = pack(&files).unwrap();
    assert_eq!(unpack(&bytes).unwrap(), files);
    assert_eq!(pack(&files).unwrap(), bytes);
    assert!(bytes.len() < 1_000);
    // No clock, user or system has a say in it: the bytes of an archive are known beforehand.
    let digest = to_hex(&sha256(&pack(&source(&[("a", b"")])).unwrap()));
    assert_eq!(digest, "bd11ed205ba5c5418fcdd87844b3385211abaac38ebaeba3981d2019c24e0946");
}

#[test]
fn an_archive_of_another_program_is_read_with_its_folders() {
    let mut writer = ZipWriter::new(Cursor::new(Vec::new()));
    writer.add_directory("tests", SimpleFileOptions::default()).unwrap();
    let stored = SimpleFileOptions::default().compression_method(CompressionMethod::Stored);
    writer.start_file("tests/a.luau", stored).unwrap();
    writer.write_all(b"x").unwrap();
    let bytes = writer.finish().unwrap().into_inner();
    assert_eq!(unpack(&bytes).unwrap(), source(&[("tests/a.luau", b"x")]));
}

#[test]
fn what_unpacks_to_too_much_is_refused_whatever_it_says() {
    let zeros = vec![0; MODULE_BYTES_MAX + 1];
    let bomb = archive(&[("a", &zeros)]);
    assert!(bomb.len() < 10_000);
    assert!(problem(&bomb).contains("unpacked"), "{}", problem(&bomb));
    let half = vec![0; MODULE_BYTES_MAX / 2 + 1];
    assert!(problem(&archive(&[("a", &half), ("b", &half)])).contains("unpacked"));
    // The header says that there is little: the length stands at byte 22 and, at byte 24, in the central directory.
    let mut lying = bomb;
    let central = lying.windows(4).position(|w| w == b"PK\x01\x02").unwrap();
    lying[22..26].copy_from_slice(&[1, 0, 0, 0]);
    lying[central + 24..central + 28].copy_from_slice(&[1, 0, 0, 0]);
    assert!(unpack(&lying).is_err());
}

#[test]
fn too_many_files_are_refused_before_they_are_read() {
    let names: Vec<String> = (0..=PACKAGE_ENTRIES_MAX).map(|number| format!("f{number}")).collect();
    let entries: Vec<(&str, &[u8])> = names.iter().map(|name| (name.as_str(), b"".as_slice())).collect();
    assert!(problem(&archive(&entries)).contains("513 entries"), "{}", problem(&archive(&entries)));
    assert!(problem(&archive(&entries[..=MODULE_FILES_MAX])).contains("257"));
    assert_eq!(unpack(&archive(&entries[..MODULE_FILES_MAX])).unwrap().files.len(), MODULE_FILES_MAX);
    assert!(problem(&vec![0; PACKAGE_BYTES_MAX + 1]).contains("at most"));
}

#[test]
fn names_that_lead_out_of_the_folder_are_refused() {
    for (name, part) in [
        ("/etc/passwd", "relative"),
        ("../evil.luau", "begin with"),
        ("a/../../b", "begin with"),
        ("a//b", "empty"),
        ("a\\b", "only letters"),
        ("C:evil", "only letters"),
        ("a\0b.luau", "only letters"),
        (".hidden", "begin with"),
    ] {
        let plain = "x".repeat(name.len());
        let bytes = renamed(archive(&[(&plain, b"1")]), &plain, name);
        assert!(problem(&bytes).contains(part), "{name:?}: {}", problem(&bytes));
    }
    let long = "x".repeat(MODULE_PATH_BYTES_MAX + 1);
    assert!(problem(&archive(&[(&long, b"1")])).contains("longer than"));
}

#[test]
fn two_files_of_one_name_are_refused() {
    let twice = renamed(archive(&[("first", b"1"), ("other", b"2")]), "other", "first");
    assert!(problem(&twice).contains("same name"), "{}", problem(&twice));
    assert!(problem(&archive(&[("Init.luau", b"1"), ("init.luau", b"2")])).contains("only in case"));
}

#[test]
fn links_and_encrypted_files_are_refused() {
    let mut writer = ZipWriter::new(Cursor::new(Vec::new()));
    writer.add_symlink("link", "/etc/passwd", SimpleFileOptions::default()).unwrap();
    let bytes = writer.finish().unwrap().into_inner();
    assert!(problem(&bytes).contains("neither a plain file nor a folder"), "{}", problem(&bytes));
    // The flag "encrypted", at byte 6 and, at byte 8, in the central directory.
    let mut bytes = archive(&[("a", b"1")]);
    let central = bytes.windows(4).position(|w| w == b"PK\x01\x02").unwrap();
    bytes[6] |= 1;
    bytes[central + 8] |= 1;
    assert!(problem(&bytes).contains("encrypted"), "{}", problem(&bytes));
}

#[test]
fn a_broken_archive_is_refused_wherever_it_breaks() {
    let bytes = pack(&source(&[("module.toml", b"name = 1"), ("init.luau", &[b'x'; 500])])).unwrap();
    for len in 0..bytes.len() {
        assert!(unpack(&bytes[..len]).is_err(), "{len}");
    }
    // A byte that is wrong may also be one that does not count; it must not end badly, and not change a file.
    let whole = unpack(&bytes).unwrap();
    for at in 0..bytes.len() {
        let mut wrong = bytes.clone();
        wrong[at] ^= 0x41;
        if let Ok(read) = unpack(&wrong) {
            assert!(read.files.values().all(|content| whole.files.values().any(|right| right == content)), "{at}");
        }
    }
    assert!(problem(b"<html>").contains("netserv module pack"));
}

#[test]
fn what_would_not_be_unpacked_is_not_packed() {
    assert!(pack(&source(&[("../a", b"")])).is_err());
    assert!(pack(&source(&[("a", &vec![0; MODULE_BYTES_MAX + 1])])).is_err());
}
