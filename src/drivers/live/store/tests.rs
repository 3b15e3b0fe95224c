use std::os::unix::fs::PermissionsExt;

use super::*;

fn folder(name: &str) -> PathBuf {
    let folder = std::env::temp_dir().join(format!("netserv-store-{name}-{}", std::process::id()));
    let _ = fs::remove_dir_all(&folder);
    folder
}

fn put(store: &mut Store, key: &str, bytes: &[u8]) -> Result<(), StoreError> {
    store.apply(&StoreOp::Put { key: key.to_owned(), bytes: bytes.to_owned() })
}

fn append(store: &mut Store, key: &str, bytes: &[u8]) -> Result<(), StoreError> {
    store.apply(&StoreOp::Append { key: key.to_owned(), bytes: bytes.to_owned() })
}

fn remove_key(store: &mut Store, key: &str) {
    store.apply(&StoreOp::Remove { key: key.to_owned() }).unwrap();
}

/// All values as text, and the notes.
fn loaded(store: &Store) -> (Vec<(String, String)>, Vec<String>) {
    let loaded = store.load_all().unwrap();
    let text = |(key, bytes): (String, Vec<u8>)| (key, String::from_utf8(bytes).unwrap());
    (loaded.values.into_iter().map(text).collect(), loaded.notes)
}

fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

#[test]
fn what_was_kept_is_found_again() {
    let folder = folder("again");
    let mut store = Store::open(&folder).unwrap();
    assert_eq!(safe_file::mode_of(&fs::metadata(&folder).unwrap()) & 0o777, 0o700);
    put(&mut store, "instances/b.json", b"{}").unwrap();
    put(&mut store, "instances/a.json", b"one").unwrap();
    put(&mut store, "instances/a.json", b"two").unwrap();
    put(&mut store, "gone", b"x").unwrap();
    append(&mut store, "nonces", b"1,").unwrap();
    append(&mut store, "nonces", b"").unwrap();
    append(&mut store, "nonces", b"2,").unwrap();
    remove_key(&mut store, "gone");
    remove_key(&mut store, "never/was");
    let want = pairs(&[("instances/a.json", "two"), ("instances/b.json", "{}"), ("nonces", "1,2,")]);
    assert_eq!(loaded(&store), (want, Vec::new()));
    remove_key(&mut store, "nonces");
    assert_eq!(loaded(&Store::open(&folder).unwrap()).0.len(), 2);
    fs::remove_dir_all(folder).unwrap();
}

#[test]
fn a_log_can_be_replaced_and_a_value_become_a_log() {
    let folder = folder("compact");
    let mut store = Store::open(&folder).unwrap();
    put(&mut store, "n", b"a").unwrap();
    append(&mut store, "n", b"b").unwrap();
    assert_eq!(loaded(&store).0, pairs(&[("n", "ab")]));
    put(&mut store, "n", b"c").unwrap();
    append(&mut store, "n", b"d").unwrap();
    assert_eq!(loaded(&store).0, pairs(&[("n", "cd")]));
    // As if the process had ended between writing the log and removing the plain file.
    fs::write(folder.join("n"), "old").unwrap();
    assert_eq!(loaded(&store).0, pairs(&[("n", "cd")]));
    remove_key(&mut store, "n");
    assert_eq!(fs::read_dir(&folder).unwrap().count(), 0);
    fs::remove_dir_all(folder).unwrap();
}

#[test]
fn a_record_that_was_cut_anywhere_is_left_out_and_the_next_one_is_found() {
    let folder = folder("torn");
    let mut store = Store::open(&folder).unwrap();
    append(&mut store, "n", b"first,").unwrap();
    let log = folder.join("n.log");
    let one = fs::read(&log).unwrap();
    append(&mut store, "n", b"second,").unwrap();
    let two = fs::read(&log).unwrap();
    for len in one.len()..two.len() {
        for load_first in [true, false] {
            fs::write(&log, &two[..len]).unwrap();
            let mut store = Store::open(&folder).unwrap();
            if load_first {
                let (values, notes) = loaded(&store);
                assert_eq!(values, pairs(&[("n", "first,")]), "{len}");
                assert_eq!(notes.len(), usize::from(len > one.len()), "{notes:?}");
            }
            append(&mut store, "n", b"third,").unwrap();
            assert_eq!(loaded(&store), (pairs(&[("n", "first,third,")]), Vec::new()), "{len}");
        }
    }
    // A disk may also have written the length and not yet the content.
    let mut rotten = two.clone();
    *rotten.last_mut().unwrap() = 0;
    fs::write(&log, rotten).unwrap();
    assert_eq!(loaded(&store).0, pairs(&[("n", "first,")]));
    // A file with no whole record, or that is none of ours, does not take the others with it.
    put(&mut store, "other", b"x").unwrap();
    fs::write(&log, b"something else").unwrap();
    let (values, notes) = loaded(&store);
    assert_eq!(values, pairs(&[("other", "x")]));
    assert!(notes[0].contains("no log of this program"), "{notes:?}");
    fs::remove_dir_all(folder).unwrap();
}

#[test]
fn foreign_files_are_left_alone_and_unfinished_ones_go() {
    let folder = folder("foreign");
    let mut store = Store::open(&folder).unwrap();
    put(&mut store, "a", b"x").unwrap();
    fs::write(folder.join("README.txt"), "hello").unwrap();
    fs::write(folder.join(".b-1-1.tmp"), "half").unwrap();
    std::os::unix::fs::symlink("/etc/passwd", folder.join("link")).unwrap();
    let (values, notes) = loaded(&store);
    assert_eq!(values, pairs(&[("a", "x")]));
    assert_eq!(notes.len(), 2, "{notes:?}");
    assert!(folder.join("README.txt").exists() && !folder.join(".b-1-1.tmp").exists());
    fs::remove_dir_all(folder).unwrap();
}

#[test]
fn keys_cannot_lead_out_of_the_folder() {
    let folder = folder("keys");
    let mut store = Store::open(&folder).unwrap();
    let long = "a".repeat(STORE_KEY_BYTES_MAX + 1);
    for key in ["", "/a", "a/", "a//b", "..", "../a", "a/../b", ".a", "A", "a b", "a\0", "n.log", "a/b/c/d/e", &long] {
        for result in [put(&mut store, key, b""), append(&mut store, key, b"")] {
            assert!(matches!(result, Err(StoreError::Key { .. })), "{key}");
        }
        assert!(store.apply(&StoreOp::Remove { key: key.to_owned() }).is_err(), "{key}");
    }
    assert!(matches!(put(&mut store, "a", &vec![0; STORE_FILE_BYTES_MAX + 1]), Err(StoreError::TooLong { .. })));
    fs::remove_dir_all(folder).unwrap();
}

#[test]
fn a_folder_that_others_can_write_is_refused_with_the_remedy() {
    let folder = folder("mode");
    Store::open(&folder).unwrap();
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o770)).unwrap();
    let error = Store::open(&folder).unwrap_err().to_string();
    assert!(error.contains("0770") && error.contains("chmod 700"), "{error}");
    fs::remove_dir_all(folder).unwrap();
}
