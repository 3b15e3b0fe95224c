use super::*;
use crate::base::storage::{MemoryStores, Stores};

fn files(max_bytes: u64) -> (Rc<dyn Storage>, Files) {
    let store = MemoryStores::default().open("a");
    let files = Files::open(Rc::clone(&store), max_bytes).unwrap();
    (store, files)
}

fn put(files: &mut Files, name: &str, bytes: &[u8]) -> Result<u64, FileError> {
    let id = files.begin(name, false)?;
    files.put(id, bytes)?;
    files.end(id)
}

fn names(files: &Files) -> String {
    files.list("", "").map(|(name, _)| name).collect::<Vec<_>>().join(" ")
}

/// Bytes that differ everywhere.
fn content(len: usize) -> Vec<u8> {
    (0..len).map(|i| (i % 251) as u8).collect()
}

#[test]
fn a_file_is_read_by_ranges_across_its_parts() {
    let (store, mut files) = files(1 << 20);
    let whole = content(2 * FILE_PART_BYTES + 10);
    let id = files.begin("a", false).unwrap();
    for piece in whole.chunks(40_000) {
        files.put(id, piece).unwrap();
        assert_eq!(files.bytes("a"), None, "it is not there before its end");
    }
    assert_eq!(files.end(id), Ok(whole.len() as u64));
    let part = FILE_PART_BYTES as u64;
    for (from, count) in [(0, u64::MAX), (part - 5, 10), (2 * part, 100), (part, part), (u64::MAX, 1), (7, 0)] {
        let start = usize::try_from(from).unwrap().min(whole.len());
        let end = start.saturating_add(usize::try_from(count).unwrap_or(usize::MAX)).min(whole.len());
        assert_eq!(files.read("a", from, count).unwrap().unwrap(), &whole[start..end], "{from} {count}");
    }
    assert_eq!(files.read("b", 0, 1), Ok(None));
    // The same after a restart.
    drop(files);
    let mut again = Files::open(store, 1 << 20).unwrap();
    assert_eq!(again.read("a", 0, u64::MAX).unwrap().unwrap(), whole);
    assert_eq!(again.parts(), 3);
}

#[test]
fn a_new_file_takes_the_place_of_the_old_one_at_its_end() {
    let (store, mut files) = files(1 << 20);
    put(&mut files, "a", &content(100_000)).unwrap();
    let id = files.begin("a", false).unwrap();
    files.put(id, b"new").unwrap();
    assert_eq!(files.bytes("a"), Some(100_000));
    files.end(id).unwrap();
    assert_eq!(files.read("a", 0, 99).unwrap().unwrap(), b"new");
    assert_eq!(files.put(id, b"more"), Err(FileError::Ended));
    assert!(files.remove("a").unwrap() && !files.remove("a").unwrap());
    assert_eq!(store.used_bytes(), 0, "nothing is left behind");
}

#[test]
fn what_was_not_used_for_longest_makes_room_and_what_is_kept_stays() {
    let (_, mut files) = files(100_000);
    let kept = files.begin("kept", true).unwrap();
    files.put(kept, &content(20_000)).unwrap();
    files.end(kept).unwrap();
    put(&mut files, "b", &content(30_000)).unwrap();
    put(&mut files, "c", &content(30_000)).unwrap();
    files.read("b", 0, 1).unwrap();
    put(&mut files, "d", &content(30_000)).unwrap();
    assert_eq!(names(&files), "b d kept");
    let full = put(&mut files, "e", &content(90_000)).unwrap_err();
    assert!(matches!(full, FileError::Storage(StorageError::Full { max_bytes: 100_000, .. })), "{full}");
    assert!(names(&files).contains("kept"));
}

#[test]
fn what_was_begun_and_not_ended_is_gone_after_a_restart() {
    let (store, mut files) = files(1 << 20);
    put(&mut files, "a", b"x").unwrap();
    let used = store.used_bytes();
    let id = files.begin("b", false).unwrap();
    files.put(id, &content(200_000)).unwrap();
    assert!(store.used_bytes() > used + 100_000);
    drop(files);
    let mut again = Files::open(Rc::clone(&store), 1 << 20).unwrap();
    assert_eq!((names(&again).as_str(), store.used_bytes()), ("a", used));
    assert_ne!(again.begin("c", false).unwrap(), id);
}

#[test]
fn names_and_numbers_are_bounded() {
    let (_, mut files) = files(1 << 20);
    assert_eq!(files.begin("", false), Err(FileError::Name { got: 0 }));
    assert!(files.begin(&"x".repeat(STORAGE_KEY_BYTES_MAX + 1), false).is_err());
    let ids: Vec<u64> = (0..FILES_WRITING_MAX).map(|i| files.begin(&format!("f{i}"), false).unwrap()).collect();
    assert_eq!(files.begin("more", false), Err(FileError::Writing));
    files.cancel(ids[0]).unwrap();
    files.begin("more", false).unwrap();
    let (_, mut files) = self::files(1 << 20);
    for name in ["a/1", "a/2", "b"] {
        put(&mut files, name, b"").unwrap();
    }
    assert_eq!(files.list("a/", "").count(), 2);
    assert_eq!(files.list("a/", "a/1").map(|(name, _)| name).collect::<Vec<_>>(), ["a/2"]);
    assert_eq!(files.read("b", 0, 5), Ok(Some(vec![])));
}

#[test]
fn a_large_write_does_not_look_for_room_among_small_files_for_ever() {
    let (_, mut files) = files(1 << 20);
    for i in 0..2_000 {
        put(&mut files, &format!("small{i}"), b"x").unwrap();
    }
    let id = files.begin("large", false).unwrap();
    assert!(matches!(files.put(id, &content(900_000)), Err(FileError::Storage(StorageError::Full { .. }))));
    assert_eq!(files.list("small", "").count(), 2_000 - FILES_EVICTED_MAX, "so many made room");
    let kept = files.begin("kept", true).unwrap();
    files.end(kept).unwrap();
    for _ in 0..20 {
        if put(&mut files, "large", &content(900_000)).is_ok() {
            break;
        }
    }
    assert_eq!(files.bytes("large"), Some(900_000), "in the end there is room");
    assert_eq!(files.bytes("kept"), Some(0), "but not that of what is kept");
}
