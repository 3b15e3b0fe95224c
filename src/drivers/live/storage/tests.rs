use std::fs;

use super::*;

/// A folder for one test.
fn folder(test: &str) -> PathBuf {
    let folder = std::env::temp_dir().join(format!("netserv-storage-{test}-{}", std::process::id()));
    let _ = fs::remove_dir_all(&folder);
    folder
}

fn set(key: &str, value: Option<&[u8]>) -> Change {
    Change { key: key.as_bytes().to_vec(), value: value.map(<[u8]>::to_vec) }
}

fn keys(store: &Rc<dyn Storage>, prefix: &str, after: &str, count: usize) -> String {
    let keys = store.list(prefix.as_bytes(), after.as_bytes(), count).unwrap();
    keys.into_iter()
        .map(|(key, len)| format!("{}:{len}", String::from_utf8(key).unwrap()))
        .collect::<Vec<_>>()
        .join(" ")
}

/// Waits until nothing waits to be written.
fn settle(stores: &DiskStores) {
    let shared = opened(&stores.opened, &stores.folder).unwrap();
    for _ in 0..600 {
        if shared.waiting().bytes == 0 && shared.waiting().forgotten.is_empty() {
            return;
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    panic!("it is written at some time");
}

#[test]
fn what_is_kept_is_there_at_once_when_written_and_after_a_restart() {
    let folder = folder("restart");
    let mut stores = DiskStores::new(&folder);
    let store = stores.open("a");
    store.apply(vec![set("b/1", Some(b"one")), set("b/3", Some(b"")), set("c", Some(b"x"))], 1_000).unwrap();
    let check = |stores: &DiskStores| {
        let store = stores.open("a");
        assert_eq!(store.get(b"b/1").unwrap().as_deref(), Some(&b"one"[..]));
        assert_eq!((store.get(b"no"), stores.open("b").get(b"b/1")), (Ok(None), Ok(None)));
        assert_eq!(keys(&store, "", "", 9), "b/1:3 b/3:0 c:1");
        assert_eq!(keys(&store, "b/", "b/1", 9), "b/3:0");
        assert_eq!(keys(&store, "b/", "", 1), "b/1:3");
        assert_eq!(store.used_bytes(), 3 * 64 + 3 + 3 + 1 + 3 + 1);
    };
    check(&stores);
    settle(&stores);
    check(&stores);
    drop((store, stores));
    stores = DiskStores::new(&folder);
    check(&stores);
    // Dropped at once: what waits is written first.
    stores.open("a").apply(vec![set("late", Some(b"1"))], 1_000).unwrap();
    drop(stores);
    stores = DiskStores::new(&folder);
    assert_eq!(stores.open("a").get(b"late").unwrap().as_deref(), Some(&b"1"[..]));
    drop(stores);
    fs::remove_dir_all(folder).unwrap();
}

#[test]
fn what_waits_is_mixed_with_what_is_on_disk() {
    let folder = folder("mixed");
    let stores = DiskStores::new(&folder);
    let store = stores.open("a");
    let first = ["b", "d", "f", "h"].map(|key| set(key, Some(b"old")));
    store.apply(first.to_vec(), 10_000).unwrap();
    settle(&stores);
    let changes = vec![
        set("a", Some(b"n")),
        set("b", None),
        set("d", Some(b"longer")),
        set("e", Some(b"n")),
        set("z", Some(b"")),
    ];
    store.apply(changes, 10_000).unwrap();
    for _ in 0..2 {
        assert_eq!(keys(&store, "", "", 9), "a:1 d:6 e:1 f:3 h:3 z:0");
        assert_eq!(keys(&store, "", "d", 2), "e:1 f:3");
        assert_eq!(store.get(b"b"), Ok(None));
        settle(&stores);
    }
    let full = store.apply(vec![set("big", Some(&[0; 10_000]))], 10_000).unwrap_err();
    assert!(matches!(full, StorageError::Full { .. }));
    assert_eq!(store.get(b"big"), Ok(None));
    drop((store, stores));
    fs::remove_dir_all(folder).unwrap();
}

#[test]
fn an_instance_is_forgotten_alone_and_can_begin_anew() {
    let folder = folder("forget");
    let stores = DiskStores::new(&folder);
    for name in ["a", "a2", "b"] {
        stores.open(name).apply(vec![set("k", Some(b"v")), set("l", Some(b"v"))], 1_000).unwrap();
    }
    settle(&stores);
    stores.remove("a").unwrap();
    let a = stores.open("a");
    assert_eq!((a.get(b"k"), a.used_bytes(), keys(&a, "", "", 9)), (Ok(None), 0, String::new()));
    a.apply(vec![set("l", Some(b"new"))], 1_000).unwrap();
    for _ in 0..2 {
        assert_eq!(keys(&a, "", "", 9), "l:3");
        assert_eq!(keys(&stores.open("a2"), "", "", 9), "k:1 l:1");
        let names: Vec<String> = stores.used().into_iter().map(|(name, _)| name).collect();
        assert_eq!(names, ["a", "a2", "b"]);
        settle(&stores);
    }
    drop((a, stores));
    fs::remove_dir_all(folder).unwrap();
}

#[test]
fn a_file_of_another_node_or_no_file_at_all_is_said() {
    let folder = folder("other");
    let first = DiskStores::new(&folder);
    first.open("a").apply(vec![set("k", Some(b"v"))], 1_000).unwrap();
    let second = DiskStores::new(&folder);
    let error = second.open("a").get(b"k").unwrap_err().to_string();
    assert!(error.contains("storage.redb") && error.contains("is it another node's?"), "{error}");
    assert!(second.used().is_empty());
    drop((first, second));
    fs::write(folder.join(FILE), "this is no database").unwrap();
    assert!(DiskStores::new(&folder).open("a").get(b"k").is_err());
    fs::remove_dir_all(folder).unwrap();
}
