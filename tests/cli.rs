//! The program as a user calls it: exit codes, and what is said where. Needs no root and no network.

use std::process::{Command, Output};

fn netserv(words: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_netserv"));
    command.args(words).env_remove("NETSERV_LOG").current_dir(env!("CARGO_MANIFEST_DIR"));
    command.output().expect("the program can be started")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Exit code, what is on standard output, what is on standard error.
fn run(words: &[&str]) -> (i32, String, String) {
    let output = netserv(words);
    (output.status.code().expect("no signal"), text(&output.stdout), text(&output.stderr))
}

#[test]
fn every_command_explains_itself() {
    let (code, help, errors) = run(&["--help"]);
    assert_eq!((code, errors.as_str()), (0, ""));
    let listed = help.lines().skip_while(|line| *line != "Commands:").skip(1).take_while(|line| !line.is_empty());
    let commands: Vec<&str> = listed.filter_map(|line| line.strip_prefix("  ")?.split_whitespace().next()).collect();
    for command in ["replay", "demo", "module"] {
        assert!(commands.contains(&command), "{command} is missing in\n{help}");
    }
    // A description may go on in a second line; only words that are commands have a help of their own.
    for command in commands.iter().filter(|word| run(&[word, "--help"]).0 == 0) {
        let (_, help, _) = run(&[command, "--help"]);
        assert!(help.starts_with(&format!("Usage: netserv {command}")), "{help}");
    }
    for inner in ["new", "check", "test"] {
        assert_eq!(run(&["module", inner, "--help"]).0, 0, "{inner}");
    }
}

#[test]
fn wrong_calls_end_with_2_and_say_why_on_standard_error() {
    let calls: &[&[&str]] =
        &[&[], &["fly"], &["replay"], &["replay", "--no-such-option"], &["module"], &["module", "new"]];
    for words in calls {
        let (code, out, errors) = run(words);
        assert_eq!((code, out.as_str()), (2, ""), "{words:?}");
        assert!(errors.starts_with("netserv: ") && errors.len() > 12, "{words:?}: {errors}");
    }
}

#[test]
fn failures_end_with_1_and_name_what_failed() {
    let calls: &[(&[&str], &str)] = &[
        (&["replay", "no-such-file.pcap"], "no-such-file.pcap"),
        (&["module", "check", "no-such-folder"], "no-such-folder"),
        (&["module", "test", "src/wire"], "module.toml"),
    ];
    for (words, part) in calls {
        let (code, _, errors) = run(words);
        assert_eq!(code, 1, "{words:?}: {errors}");
        assert!(errors.contains(part), "{words:?}: {errors}");
    }
}

#[test]
fn a_capture_is_not_overwritten_by_what_comes_out_of_it() {
    let folder = std::env::temp_dir().join(format!("netserv-cli-out-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let [capture, link] = ["in.pcap", "link.pcap"].map(|name| folder.join(name));
    std::fs::copy("tests/data/dns.pcap", &capture).unwrap();
    std::fs::hard_link(&capture, &link).unwrap();
    for out in [&capture, &link] {
        let (code, _, errors) = run(&["replay", capture.to_str().unwrap(), "--out", out.to_str().unwrap()]);
        // Only Unix tells that two names are of one file.
        if cfg!(unix) || out == &capture {
            assert_eq!(code, 2, "{errors}");
            assert!(errors.contains("is one of the captures"), "{errors}");
            assert_eq!(std::fs::read(&capture).unwrap(), std::fs::read("tests/data/dns.pcap").unwrap());
        }
    }
    std::fs::remove_dir_all(&folder).unwrap();
}

#[cfg(all(unix, feature = "live"))]
#[test]
fn without_a_node_the_commands_say_where_they_looked() {
    for words in [&["status"][..], &["top"], &["report", "x"], &["module", "unload", "x"]] {
        let words: Vec<&str> = words.iter().copied().chain(["--control", "no-such-folder/s"]).collect();
        let (code, _, errors) = run(&words);
        assert_eq!(code, 1, "{words:?}");
        assert!(errors.contains("no node answers on no-such-folder/s"), "{errors}");
    }
}

#[cfg(all(unix, feature = "live"))]
#[test]
fn a_wrong_configuration_names_file_line_and_key() {
    let folder = std::env::temp_dir().join(format!("netserv-cli-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let file = folder.join("wrong.toml");
    let path = file.to_str().unwrap();
    std::fs::write(&file, "log = \"info\"\nlink = [\"tun\"]\n").unwrap();
    let (code, _, errors) = run(&["run", "--config", path]);
    assert_eq!(code, 1);
    assert!(errors.contains(path) && errors.contains("line 2") && errors.contains("link"), "{errors}");
    std::fs::write(&file, "links = [\"wire\"]\n").unwrap();
    let (code, _, errors) = run(&["run", "--config", path]);
    assert_eq!(code, 1);
    assert!(errors.contains("pcap:IF1,IF2"), "{errors}");
    std::fs::remove_dir_all(&folder).unwrap();
}

#[test]
fn the_version_is_that_of_the_package() {
    let (code, out, _) = run(&["--version"]);
    assert_eq!((code, out.trim()), (0, concat!("netserv ", env!("CARGO_PKG_VERSION"))));
}
