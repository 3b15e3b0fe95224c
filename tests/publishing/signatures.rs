//! Whose a package is.

use super::*;

fn minisign(w: &World, words: &[&str]) -> bool {
    let mut command = Command::new("minisign");
    command.args(words).current_dir(&w.folder).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().unwrap().success()
}

/// Whether the real program is there.
fn has_minisign() -> bool {
    let is_there = Command::new("minisign").arg("-v").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok();
    if !is_there {
        assert!(
            std::env::var_os("NETSERV_REQUIRE_ALL").is_none(),
            "NETSERV_REQUIRE_ALL is set, but minisign is missing"
        );
        println!("skipped: minisign is missing");
    }
    is_there
}

#[test]
fn minisign_and_this_program_sign_and_check_alike() {
    if !has_minisign() {
        return;
    }
    let w = World::new("minisign");
    w.good(&["key", "new", "--publisher", "--out", "ours.key"]);
    assert!(minisign(&w, &["-G", "-W", "-f", "-p", "theirs.pub", "-s", "theirs.key"]));
    fs::set_permissions(w.folder.join("theirs.key"), std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    w.good(&["module", "new", "m"]);
    w.good(&["module", "pack", "m", "--out", "m.nsm"]);
    let verify = |key: &str, signature: &str| {
        w.run(&["module", "verify", "m.nsm", "--publisher", key, "--signature", signature]).0
    };
    for key in ["ours", "theirs"] {
        let (secret, public) = (format!("{key}.key"), format!("{key}.pub"));
        w.good(&["module", "sign", "m.nsm", "--key", &secret]);
        assert!(minisign(&w, &["-V", "-p", &public, "-m", "m.nsm"]), "minisign takes ours by {key}");
        assert_eq!(verify(&public, "m.nsm.minisig"), 0);
        assert!(minisign(&w, &["-S", "-W", "-s", &secret, "-m", "m.nsm", "-x", "by-minisign", "-t", "what they say"]));
        assert_eq!(verify(&public, "by-minisign"), 0, "ours takes minisign's by {key}");
    }
    assert_eq!(verify("ours.pub", "by-minisign"), 1, "another key");

    // The last one was signed with their key: any byte of package and signature counts, for both programs.
    let good = fs::read(w.folder.join("m.nsm.minisig")).unwrap();
    let line_begins = |n: usize| good.iter().enumerate().filter(|(_, b)| **b == b'\n').nth(n).unwrap().0 + 1;
    for at in [line_begins(0) + 4, line_begins(0) + 50, line_begins(1) + 30, line_begins(2) + 20] {
        let mut changed = good.clone();
        changed[at] = if changed[at] == b'x' { b'y' } else { b'x' };
        fs::write(w.folder.join("changed"), &changed).unwrap();
        assert_eq!(verify("theirs.pub", "changed"), 1, "byte {at}");
        assert!(!minisign(&w, &["-V", "-p", "theirs.pub", "-m", "m.nsm", "-x", "changed"]), "byte {at}");
    }
    let mut package = fs::read(w.folder.join("m.nsm")).unwrap();
    // A comment at the end of the archive: still a package, but not the one that was signed.
    let len = package.len();
    package[len - 2] = 1;
    package.push(b' ');
    fs::write(w.folder.join("m.nsm"), &package).unwrap();
    let told = w.refused(&["module", "verify", "m.nsm", "--publisher", "theirs.pub"]);
    assert!(told.contains("changed after"), "{told}");
    assert!(!minisign(&w, &["-V", "-p", "theirs.pub", "-m", "m.nsm"]));
}

#[test]
fn a_publishers_key_is_pinned_and_another_one_is_refused() {
    let w = World::new("pinned");
    let install = |words: &[&str]| [&["module", "install"], words, &["--yes", "--data", "data"]].concat().join(" ");
    let run = |text: String| w.run(&text.split(' ').collect::<Vec<_>>());
    w.good(&["key", "new", "--publisher"]);
    w.good(&["module", "new", "phone"]);
    w.publish("phone", "0.1.0");
    assert_eq!(run(install(&["packages/phone-0.1.0.nsm"])).0, 0);

    w.change("phone", "version = \"0.1.0\"", "version = \"0.2.0\"");
    w.good(&["key", "new", "--publisher", "--force"]);
    w.publish("phone", "0.2.0");
    let (code, _, told) = run(install(&["phone", "--from", "packages"]));
    assert!(code == 1 && told.contains("phone belongs to RW") && told.contains("--publisher KEY"), "{told}");
    // Neither a package without a signature, nor one that is removed and comes again, gets around it.
    fs::rename(w.folder.join("packages/phone-0.2.0.nsm.minisig"), w.folder.join("kept")).unwrap();
    let (code, _, told) = run(install(&["packages/phone-0.2.0.nsm", "--unsigned"]));
    assert!(code == 1 && told.contains("was always signed"), "{told}");
    fs::rename(w.folder.join("kept"), w.folder.join("packages/phone-0.2.0.nsm.minisig")).unwrap();
    w.good(&["module", "uninstall", "phone", "--data", "data"]);
    assert_eq!(run(install(&["phone", "--from", "packages"])).0, 1);

    // The owner knows the new key, and says so; from then on it counts.
    let key = w.good(&["key", "show", "--publisher"]);
    assert_eq!(run(install(&["phone", "--from", "packages", "--publisher", key.trim()])).0, 0);
    assert_eq!(run(install(&["phone", "--from", "packages"])).0, 0);
    assert_eq!(run(install(&["packages/phone-0.1.0.nsm"])).0, 1, "the old key counts no more");
}

#[test]
fn a_package_that_is_not_as_its_index_says_is_refused() {
    let w = World::new("index");
    w.good(&["key", "new", "--publisher"]);
    w.good(&["module", "new", "phone"]);
    w.publish("phone", "0.1.0");
    assert!(w.good(&["module", "index", "packages"]).contains("1 packages, 1 of them signed"));
    let index = fs::read_to_string(w.folder.join("packages/index.json")).unwrap();
    let package = fs::read(w.folder.join("packages/phone-0.1.0.nsm")).unwrap();
    let install = ["module", "install", "phone", "--from", "packages", "--yes", "--data", "data"];

    let mut changed = package.clone();
    changed[len_of_half(&package)] ^= 1;
    fs::write(w.folder.join("packages/phone-0.1.0.nsm"), changed).unwrap();
    assert!(w.refused(&install).contains("is not what the index says"));
    fs::write(w.folder.join("packages/phone-0.1.0.nsm"), &package).unwrap();

    for (from, to, part) in [
        ("phone-0.1.0.nsm\"", "../phone-0.1.0.nsm\"", "plain name"),
        ("\"version\": \"0.1.0\"", "\"version\": \"0.2.0\"", "not phone 0.2.0 as the index says"),
        ("trusted comment: netserv", "trusted comment: netzerv", "changed after"),
        ("\"packages\"", "\"things\"", "no index"),
    ] {
        assert!(index.contains(from), "{from}");
        fs::write(w.folder.join("packages/index.json"), index.replace(from, to)).unwrap();
        let told = w.refused(&install);
        assert!(told.contains(part), "{from}: {told}");
    }
    fs::write(w.folder.join("packages/index.json"), index).unwrap();
    w.good(&install);
}

fn len_of_half(bytes: &[u8]) -> usize {
    bytes.len() / 2
}
