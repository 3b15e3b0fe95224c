//! The live page: its parts as they are served, and a recorded scene as one file that plays without a server.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;

use crate::base::crypto::sha256;
use crate::dashboard::scene::{Figure, Moment, Scene};

/// What the page may load, and from where: only its own server. Goes with each part that is served.
pub const CONTENT_SECURITY_POLICY: &str = "default-src 'self'; base-uri 'none'; form-action 'none'; \
     frame-ancestors 'none'; object-src 'none'";

/// A part of the page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Asset {
    /// For the Content-Type field.
    pub content_type: &'static str,
    /// What it is.
    pub text: &'static str,
}

/// The scripts, each behind those that it imports from.
const SCRIPTS: &[(&str, &str)] = &[
    ("/dom.js", include_str!("page/dom.js")),
    ("/coast.js", include_str!("page/coast.js")),
    ("/geometry.js", include_str!("page/geometry.js")),
    ("/layout.js", include_str!("page/layout.js")),
    ("/state.js", include_str!("page/state.js")),
    ("/shapes.js", include_str!("page/shapes.js")),
    ("/map.js", include_str!("page/map.js")),
    ("/traffic.js", include_str!("page/traffic.js")),
    ("/charts.js", include_str!("page/charts.js")),
    ("/details.js", include_str!("page/details.js")),
    ("/story.js", include_str!("page/story.js")),
    ("/source_sse.js", include_str!("page/source_sse.js")),
    ("/source_record.js", include_str!("page/source_record.js")),
    ("/main.js", include_str!("page/main.js")),
];

const INDEX: &str = include_str!("page/index.html");
const STYLE: &str = include_str!("page/style.css");
const ICON: &str = include_str!("page/icon.svg");

/// Where the parts of the page are named in its frame. A recorded file has their content in these places.
const STYLE_LINK: &str = r#"<link rel="stylesheet" href="/style.css">"#;
const ICON_LINK: &str = r#"<link rel="icon" href="/icon.svg" type="image/svg+xml">"#;
const SCRIPT_LINK: &str = r#"<script type="module" src="/main.js"></script>"#;

/// The part that is served at `path`, which begins with "/".
#[must_use]
pub fn asset(path: &str) -> Option<Asset> {
    let text = |content_type, text| Some(Asset { content_type, text });
    match path {
        "/" | "/index.html" => text("text/html; charset=utf-8", INDEX),
        "/style.css" => text("text/css; charset=utf-8", STYLE),
        "/icon.svg" => text("image/svg+xml", ICON),
        path => {
            let (_, script) = SCRIPTS.iter().find(|(name, _)| *name == path)?;
            text("text/javascript; charset=utf-8", script)
        }
    }
}

#[derive(Serialize)]
struct Record<'a> {
    scene: &'a Scene,
    moments: &'a [Moment],
    results: &'a [Figure],
}

/// A whole run as one HTML file, which plays in any browser without a server. `results` are the figures that came out.
#[must_use]
pub fn record(scene: &Scene, moments: &[Moment], results: &[Figure]) -> String {
    // Keys are texts and numbers are finite or null: there is nothing that could not be written.
    let json = serde_json::to_string(&Record { scene, moments, results }).expect("the data is plain");
    let script = one_script();
    // No script runs but this one, whatever else may have got into the file.
    let digest = STANDARD.encode(sha256(script.as_bytes()));
    let policy = format!(
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; script-src 'sha256-{digest}'; \
         style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'\">"
    );
    let style = format!("<style>\n{STYLE}</style>");
    let scripts = format!(
        "<script type=\"application/json\" id=\"record\">{}</script>\n<script>{script}</script>",
        within_a_script(&json)
    );
    // The data comes last, so that nothing in it is taken for one of the places.
    INDEX.replacen(ICON_LINK, &policy, 1).replacen(STYLE_LINK, &style, 1).replacen(SCRIPT_LINK, &scripts, 1)
}

/// JSON as it may stand within a script element: nothing in it ends the element, or begins a comment there.
fn within_a_script(json: &str) -> String {
    json.replace('<', "\\u003c").replace('\u{2028}', "\\u2028").replace('\u{2029}', "\\u2029")
}

/// All scripts in one, for a file: a browser loads no modules from files.
fn one_script() -> String {
    let mut all = String::from("\"use strict\";\n(() => {\n");
    for (_, script) in SCRIPTS {
        for line in script.lines().filter(|line| !line.starts_with("import ")) {
            all.push_str(line.strip_prefix("export ").unwrap_or(line));
            all.push('\n');
        }
    }
    all.push_str("})();\n");
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dashboard::scene::Note;

    #[test]
    fn every_part_that_the_page_names_is_there() {
        for link in [STYLE_LINK, ICON_LINK, SCRIPT_LINK] {
            assert!(INDEX.contains(link), "{link}");
        }
        for (place, (name, script)) in SCRIPTS.iter().enumerate() {
            assert!(script.lines().count() <= 600, "{name} is too long");
            for line in script.lines().filter(|line| line.starts_with("import ")) {
                let from = line.split('"').nth(1).and_then(|path| path.strip_prefix('.')).expect("./NAME.js in quotes");
                let before = SCRIPTS[..place].iter().any(|(other, _)| *other == from);
                assert!(before && line.ends_with("\";"), "{name}: {line}");
            }
        }
        assert_eq!(asset("/").map(|asset| asset.text), Some(INDEX));
        assert_eq!(asset("/state.rs"), None);
    }

    #[test]
    fn no_two_scripts_give_one_name_to_different_things() {
        let mut names: Vec<(&str, &str)> = Vec::new();
        for (file, script) in SCRIPTS {
            for line in script.lines() {
                let line = line.strip_prefix("export ").unwrap_or(line);
                let line = line.strip_prefix("async ").unwrap_or(line);
                let rest = ["function ", "const ", "let ", "class "].iter().find_map(|word| line.strip_prefix(word));
                let Some(rest) = rest else { continue };
                let name = rest.split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap_or_default();
                let twice = names.iter().find(|(other, _)| *other == name);
                assert!(twice.is_none(), "{name} is in {file} and in {twice:?}");
                names.push((name, file));
            }
        }
        assert!(names.len() > 20);
    }

    #[test]
    fn no_script_writes_markup() {
        for (name, script) in SCRIPTS {
            for word in ["innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "new Function"] {
                assert!(!script.contains(word), "{name}: {word}");
            }
        }
    }

    #[test]
    fn a_record_is_one_file_and_its_data_cannot_leave_its_place() {
        let evil = "</script><script>alert(1)</script><!-- \u{2028} <script type=\"module\" src=\"/main.js\"></script>";
        let scene = Scene { title: evil.into(), ..Scene::default() };
        let note = Note { at_s: 0.0, machine: None, level: "info", text: evil.into() };
        let file = record(&scene, &[Moment { notes: vec![note], ..Moment::default() }], &[]);
        assert_eq!(file.matches("<script").count(), 2, "the data and the program");
        assert_eq!(file.matches("</script").count(), 2);
        for elsewhere in ["src=\"/", "href=\"/", "\nimport ", "\nexport "] {
            assert!(!file.contains(elsewhere), "{elsewhere}");
        }
        let data = file.split("id=\"record\">").nth(1).and_then(|rest| rest.split("</script>").next()).unwrap();
        let data: serde_json::Value = serde_json::from_str(data).unwrap();
        assert_eq!(data["scene"]["title"], evil);
    }
}
