//! The pages that people read: their links lead somewhere, and their commands work as written.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// README.md, and all Markdown below docs/ and modules/: path from the root, and text.
fn pages() -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut folders = vec!["docs".to_owned(), "modules".to_owned()];
    while let Some(folder) = folders.pop() {
        let Ok(entries) = fs::read_dir(root().join(&folder)) else { continue };
        for entry in entries.map(|e| e.expect("the folder can be read")) {
            let path = format!("{folder}/{}", entry.file_name().to_string_lossy());
            if entry.path().is_dir() {
                folders.push(path);
            } else if path.ends_with(".md") {
                found.push(path);
            }
        }
    }
    found.push("README.md".to_owned());
    found.sort();
    found
        .into_iter()
        .map(|path| (path.clone(), fs::read_to_string(root().join(&path)).expect("pages are text")))
        .collect()
}

/// The text without its fenced blocks; and the lines of the blocks that are marked `sh` or not at all.
fn taken_apart(text: &str) -> (String, Vec<String>) {
    let (mut prose, mut commands) = (String::new(), Vec::new());
    let mut block: Option<String> = None;
    for line in text.lines() {
        match (&block, line.strip_prefix("```")) {
            (None, Some(language)) => block = Some(language.trim().to_owned()),
            (Some(_), Some(_)) => block = None,
            (None, None) => prose.push_str(&format!("{line}\n")),
            (Some(language), None) if language.is_empty() || language == "sh" => commands.push(line.to_owned()),
            (Some(_), None) => {}
        }
    }
    (prose, commands)
}

/// The targets of all links and pictures.
fn links(prose: &str) -> Vec<String> {
    let targets = prose.split("](").skip(1).filter_map(|rest| rest.split(')').next());
    targets.map(str::to_owned).collect()
}

/// The anchors of a page's headings, as forges make them.
fn anchors(text: &str) -> Vec<String> {
    let headings = text.lines().filter(|line| line.starts_with('#')).map(|line| line.trim_start_matches('#').trim());
    headings
        .map(|heading| {
            let kept = heading.to_lowercase();
            kept.chars().filter(|c| c.is_alphanumeric() || " -_".contains(*c)).collect::<String>().replace(' ', "-")
        })
        .collect()
}

/// What is wrong with one link of the page at `page`.
fn broken(page: &str, target: &str) -> Option<String> {
    if target.contains("://") {
        return None;
    }
    let (file, anchor) = target.split_once('#').unwrap_or((target, ""));
    let folder = Path::new(page).parent().unwrap_or(Path::new(""));
    let path = if file.is_empty() { root().join(page) } else { root().join(folder).join(file) };
    if !path.exists() {
        return Some(format!("{page}: {target}: there is no such file"));
    }
    let known =
        anchor.is_empty() || anchors(&fs::read_to_string(&path).unwrap_or_default()).contains(&anchor.to_owned());
    (!known).then(|| format!("{page}: {target}: there is no such heading"))
}

#[test]
fn every_link_leads_somewhere() {
    let pages = pages();
    let wrong: Vec<String> = pages
        .iter()
        .flat_map(|(page, text)| links(&taken_apart(text).0).into_iter().filter_map(|target| broken(page, &target)))
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_link_that_leads_nowhere_is_found() {
    assert_eq!(links("see [a](b.md#c) and ![d](e.svg)"), ["b.md#c", "e.svg"]);
    assert!(broken("README.md", "docs/no-such-page.md").is_some());
    assert!(broken("README.md", "#no-such-heading").is_some());
    assert!(broken("docs/architecture.md", "../README.md#quick-start").is_none());
}

/// The arguments that a line gives to netserv, and whether it asks for root. `None` for other programs.
fn netserv_arguments(line: &str) -> Option<(Vec<String>, bool)> {
    let line = line.split(" #").next().unwrap_or(line).trim();
    let as_root = line.starts_with("sudo ");
    let line = line.trim_start_matches("sudo ");
    let starts = ["cargo run --release -- ", "target/release/netserv ", "netserv "];
    let rest = starts.iter().find_map(|start| line.strip_prefix(start))?;
    Some((rest.split_whitespace().map(str::to_owned).collect(), as_root))
}

/// What stands between backticks.
fn inline_code(prose: &str) -> Vec<String> {
    prose.split('`').skip(1).step_by(2).map(|code| code.replace('\n', " ")).collect()
}

/// The lines of blocks, and what stands between backticks, that call netserv; with their page.
fn commands() -> Vec<(String, Vec<String>, bool)> {
    let pages = pages();
    let lines = pages.iter().flat_map(|(page, text)| {
        let (prose, mut lines) = taken_apart(text);
        lines.extend(inline_code(&prose));
        lines.into_iter().map(move |line| (page, line))
    });
    lines.filter_map(|(page, line)| netserv_arguments(&line).map(|(words, root)| (page.clone(), words, root))).collect()
}

/// Runs netserv in `folder`; standard output and error together, if it ended well.
fn netserv(folder: &Path, arguments: &[String]) -> Result<String, String> {
    let program = env!("CARGO_BIN_EXE_netserv");
    let done = Command::new(program).args(arguments).current_dir(folder).output().expect("the program can be started");
    let text = format!("{}{}", String::from_utf8_lossy(&done.stdout), String::from_utf8_lossy(&done.stderr));
    if done.status.success() { Ok(text) } else { Err(format!("netserv {}: {text}", arguments.join(" "))) }
}

/// With `--help` at the end a command does nothing; but all that stands before it is parsed.
fn understood(words: &[String]) -> Result<String, String> {
    let mut words = words.to_vec();
    words.push("--help".to_owned());
    netserv(&root(), &words)
}

// Elsewhere some of the commands are missing, and say so.
#[cfg(target_os = "linux")]
#[test]
fn every_command_in_the_pages_is_understood() {
    let wrong: Vec<String> = commands()
        .iter()
        .filter_map(|(page, words, _)| understood(words).err().map(|error| format!("{page}: {error}")))
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    for bad in ["demo --no-such-flag", "no-such-command", "replay a.pcap --no-such-flag x"] {
        let words: Vec<String> = bad.split_whitespace().map(str::to_owned).collect();
        assert!(understood(&words).is_err(), "{bad}");
    }
}

/// Arguments that name files of the repository as absolute paths, `*` replaced by the files that fit.
fn expanded(words: &[String]) -> Vec<String> {
    let mut out = Vec::new();
    for word in words {
        let Some((folder, pattern)) = word.rsplit_once('/').filter(|(folder, _)| root().join(folder).is_dir()) else {
            out.push(word.clone());
            continue;
        };
        let path = |name: &str| root().join(folder).join(name).to_string_lossy().into_owned();
        let Some((before, after)) = pattern.split_once('*') else {
            out.push(path(pattern));
            continue;
        };
        let entries = fs::read_dir(root().join(folder)).expect("the folder can be read");
        let names = entries.map(|e| e.expect("the folder can be read").file_name().to_string_lossy().into_owned());
        let mut fitting: Vec<String> = names.filter(|n| n.starts_with(before) && n.ends_with(after)).collect();
        fitting.sort();
        assert!(!fitting.is_empty(), "{word} fits no file");
        out.extend(fitting.iter().map(|name| path(name)));
    }
    out
}

#[test]
fn the_commands_of_the_readme_that_need_no_root_do_what_they_say() {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("readme");
    if folder.exists() {
        fs::remove_dir_all(&folder).expect("what the last run left can be removed");
    }
    fs::create_dir_all(&folder).expect("a folder can be made");
    let runnable = ["demo", "replay", "doctor", "module"];
    let mut ran = 0;
    for (_, words, _) in commands()
        .iter()
        .filter(|(page, words, as_root)| page == "README.md" && !as_root && runnable.contains(&words[0].as_str()))
    {
        let mut words = expanded(words);
        if words[0] == "demo" {
            // On the page it would wait for people.
            words.push("--headless".to_owned());
        }
        let text = netserv(&folder, &words).unwrap_or_else(|error| panic!("{error}"));
        assert!(!text.trim().is_empty(), "netserv {} says nothing", words.join(" "));
        ran += 1;
    }
    assert!(ran >= 5, "only {ran} commands were found");
}

#[test]
fn commands_are_found_in_pages() {
    let (arguments, as_root) =
        netserv_arguments("sudo target/release/netserv run --link tun   # x").expect("it is one");
    assert_eq!((arguments.join(" ").as_str(), as_root), ("run --link tun", true));
    assert!(netserv_arguments("cargo test").is_none());
    assert!(commands().iter().any(|(page, words, _)| page == "README.md" && words[0] == "demo"));
}
