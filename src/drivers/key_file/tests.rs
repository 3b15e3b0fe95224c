use std::fs;

use super::*;

fn folder(name: &str) -> PathBuf {
    let folder = std::env::temp_dir().join(format!("netserv-key-file-{name}-{}", std::process::id()));
    let _ = fs::remove_dir_all(&folder);
    folder
}

#[test]
fn a_new_key_is_read_again_and_never_made_over() {
    let folder = folder("new");
    let path = folder.join("a/key.pem");
    let first = create(&path, false).unwrap();
    let again = load(&path).unwrap();
    assert_eq!(first.public_hex(), again.public_hex());
    assert_eq!(first.public_hex().len(), 64);
    assert!(matches!(create(&path, false), Err(KeyFileError::Exists { .. })));
    assert_ne!(create(&path, true).unwrap().public_hex(), first.public_hex());
    fs::remove_dir_all(folder).unwrap();
}

#[test]
fn a_node_makes_its_key_once() {
    let folder = folder("node");
    let path = folder.join("node.key");
    let made = load_or_create(&path).unwrap().public_hex();
    assert_eq!(load_or_create(&path).unwrap().public_hex(), made);
    fs::remove_dir_all(folder).unwrap();
}

#[cfg(unix)]
#[test]
fn a_key_that_others_can_read_is_refused_with_the_remedy() {
    use std::os::unix::fs::PermissionsExt;
    let folder = folder("mode");
    let path = folder.join("key.pem");
    create(&path, false).unwrap();
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(fs::metadata(&folder).unwrap().permissions().mode() & 0o777, 0o700);
    for mode in [0o640, 0o604, 0o620, 0o610] {
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        let error = load(&path).unwrap_err().to_string();
        assert!(error.contains(&format!("{mode:04o}")) && error.contains("chmod 600"), "{error}");
        assert!(load_or_create(&path).is_err(), "it is not replaced");
    }
    fs::remove_dir_all(folder).unwrap();
}

#[test]
fn what_is_shown_of_a_key_is_its_public_part() {
    let folder = folder("shown");
    let key = create(&folder.join("key.pem"), false).unwrap();
    let secret = crate::base::crypto::to_hex(&key.pkcs8[16..48]);
    let shown = format!("{key:?}");
    assert!(shown.contains(&key.public_hex()) && !shown.contains(&secret), "{shown}");
    fs::remove_dir_all(folder).unwrap();
}

#[test]
fn reads_a_key_of_openssl() {
    // `openssl genpkey -algorithm ed25519`, PKCS#8 version 1: the key of RFC 8410, section 10.3.
    let pem = "some words\n-----BEGIN PRIVATE KEY-----\r\n\
        MC4CAQAwBQYDK2VwBCIEINTuctv5E1hK1bbY8fdp+K06/nwoy/HU++CXqI9EdVhC\r\n-----END PRIVATE KEY-----\n";
    let key = KeyFile::of(Path::new("key.pem"), from_pem(pem.as_bytes()).unwrap()).unwrap();
    assert_eq!(key.public_hex(), "19bf44096984cdfe8541bac167dc3b96c85086aa30b6b6cb0c5c38ad703166e1");
}

#[test]
fn refuses_what_is_no_key() {
    for (text, part) in [
        ("", "BEGIN"),
        ("-----BEGIN PRIVATE KEY-----\nAAAA", "END"),
        ("-----BEGIN PRIVATE KEY-----\nA?==\n-----END PRIVATE KEY-----", "Base64"),
        ("-----BEGIN PRIVATE KEY-----\nA\n-----END PRIVATE KEY-----", "Base64"),
        ("-----BEGIN ENCRYPTED PRIVATE KEY-----\n", "pass phrase"),
    ] {
        assert!(from_pem(text.as_bytes()).unwrap_err().contains(part), "{text}");
    }
    assert!(from_pem(&[0xff]).is_err());
    assert!(KeyFile::of(Path::new("x"), vec![0x30, 0]).unwrap_err().to_string().contains("x holds no key"));
}

#[test]
fn base64_of_any_length_reads_as_it_is_written() {
    for len in 0..70u8 {
        let bytes: Vec<u8> = (0..len).map(|n| n.wrapping_mul(37)).collect();
        assert_eq!(from_base64(&to_base64(&bytes)).unwrap(), bytes);
    }
}

#[test]
fn a_users_key_is_in_the_folder_for_configuration() {
    let path = |config: Option<&str>, home: Option<&str>| path_of_user(config.map(Into::into), home.map(Into::into));
    if cfg!(unix) {
        assert_eq!(path(Some("/c"), Some("/h")).unwrap(), Path::new("/c/netserv/key.pem"));
        assert_eq!(path(Some("c"), Some("/h")).unwrap(), Path::new("/h/.config/netserv/key.pem"));
    }
    assert!(matches!(path(None, Some("")), Err(KeyFileError::NoHome)));
}
