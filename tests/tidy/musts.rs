//! The rules of RFC 5971, sections 3 to 7, each with the code and the test that hold it, or why it is not done.
//!
//! They are listed in `rfc5971.toml`, by hand. What is checked here: no rule is missing, and what a rule names exists.

use std::fmt::Write as _;

use serde::Deserialize;

use crate::source::{code_only, words};
use crate::{File, file, files};

const LIST: &str = include_str!("rfc5971.toml");

/// How often sections 3 to 7 say MUST, MUST NOT, SHALL or REQUIRED: counted in the text of the RFC, page breaks left out.
const WORDS: usize = 225;

/// A file of rules.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct List {
    section: Vec<Section>,
}

/// A section that has rules.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Section {
    number: String,
    title: String,
    /// How often the section says MUST, MUST NOT, SHALL or REQUIRED.
    words: usize,
    must: Vec<Must>,
}

/// One rule.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Must {
    /// The rule in our words.
    rule: String,
    /// How many of its section's words the rule covers.
    #[serde(default = "one")]
    words: usize,
    /// Functions that hold it: `src/file.rs: name`.
    #[serde(default)]
    code: Vec<String>,
    /// Tests that fail without it, in the same form.
    #[serde(default)]
    tests: Vec<String>,
    /// Why it does not hold, or holds only in part.
    not_done: Option<String>,
    /// Why it is no rule for this program.
    not_ours: Option<String>,
}

fn one() -> usize {
    1
}

fn parsed(text: &str) -> List {
    toml::from_str(text).unwrap_or_else(|e| panic!("tests/tidy/rfc5971.toml: {e}"))
}

/// What is wrong with the list itself: sections out of order, words uncounted, rules without anything that holds them.
fn list_faults(list: &List) -> Vec<String> {
    let mut wrong = Vec::new();
    let order = |number: &str| number.split('.').map(|part| part.parse().unwrap_or(0)).collect::<Vec<u32>>();
    for pair in list.section.windows(2) {
        if order(&pair[0].number) >= order(&pair[1].number) {
            wrong.push(format!("section {} stands before {}", pair[0].number, pair[1].number));
        }
    }
    for section in &list.section {
        let covered: usize = section.must.iter().map(|must| must.words).sum();
        if covered != section.words {
            wrong.push(format!("section {}: {covered} of {} words covered", section.number, section.words));
        }
        for must in &section.must {
            if let Some(fault) = must_fault(must) {
                wrong.push(format!("section {}: {}: {fault}", section.number, must.rule));
            }
        }
    }
    wrong
}

fn must_fault(must: &Must) -> Option<&'static str> {
    let has_names = !must.code.is_empty() || !must.tests.is_empty();
    match (must.not_done.as_deref(), must.not_ours.as_deref()) {
        (Some(""), _) | (_, Some("")) => Some("the reason is empty"),
        (Some(_), Some(_)) => Some("is either not done or not ours"),
        (None, Some(_)) if has_names => Some("is not ours, but names code or tests"),
        (Some(_), None) | (None, Some(_)) => None,
        (None, None) if must.code.is_empty() => Some("names no code, and no reason"),
        (None, None) if must.tests.is_empty() => Some("names no test, and no reason"),
        (None, None) => None,
    }
}

/// What the list names that does not exist in `files`.
fn dead_names(list: &List, files: &[File]) -> Vec<String> {
    let mut wrong = Vec::new();
    for (section, must) in list.section.iter().flat_map(|s| s.must.iter().map(move |m| (s, m))) {
        let named = must.code.iter().map(|name| (name, false)).chain(must.tests.iter().map(|name| (name, true)));
        for (name, is_test) in named {
            if let Some(fault) = name_fault(name, is_test, files) {
                wrong.push(format!("section {}: `{name}`: {fault}", section.number));
            }
        }
    }
    wrong
}

fn name_fault(name: &str, is_test: bool, files: &[File]) -> Option<&'static str> {
    let Some((path, function)) = name.split_once(": ") else { return Some("write `src/file.rs: function`") };
    let Some(file) = files.iter().find(|f| f.path == path) else { return Some("there is no such file") };
    let code = code_only(&file.text);
    let Some(at) = words(&code, function).find(|at| code[..*at].ends_with("fn ")) else {
        return Some("the file has no such function");
    };
    let before = code[..at].rsplit(['{', '}', ';']).next().unwrap_or_default();
    (is_test != before.contains("#[test]")).then_some(if is_test { "is no test" } else { "is a test" })
}

/// The tables, a section each.
fn tables(list: &List) -> String {
    let count = |is: fn(&Must) -> bool| list.section.iter().flat_map(|s| &s.must).filter(|must| is(must)).count();
    let (undone, foreign) = (count(|must| must.not_done.is_some()), count(|must| must.not_ours.is_some()));
    let all = count(|_| true);
    let mut page = format!(
        "## RFC 5971, sections 3 to 7: rule by rule\n\n\
         These sections say MUST, MUST NOT, SHALL or REQUIRED {WORDS} times (section 3 never). Here are the {all} rules\n\
         behind that, in our words: {} are held by code and tests; {undone} are not, not fully, or not tested, as is said\n\
         there; {foreign} are not for this program.\n",
        all - undone - foreign,
    );
    for section in &list.section {
        let _ = write!(page, "\n### {} {}\n\n| rule | code | tests |\n|---|---|---|\n", section.number, section.title);
        for must in &section.must {
            let mut code = cell(&must.code);
            for (what, why) in [("not done", &must.not_done), ("not ours", &must.not_ours)] {
                if let Some(why) = why {
                    let gap = if code.is_empty() { "" } else { "<br>" };
                    let _ = write!(code, "{gap}**{what}:** {why}");
                }
            }
            let _ = writeln!(page, "| {} | {code} | {} |", must.rule, cell(&must.tests));
        }
    }
    page
}

fn cell(names: &[String]) -> String {
    let names: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
    names.join("<br>")
}

/// The part of the coverage page about the rules of RFC 5971.
pub(crate) fn rules() -> String {
    tables(&parsed(LIST))
}

#[test]
fn every_rule_of_gist_is_held_or_said_to_be_missing() {
    let list = parsed(LIST);
    let wrong = list_faults(&list);
    assert!(wrong.is_empty(), "{} faults:\n{}", wrong.len(), wrong.join("\n"));
    assert_eq!(list.section.iter().map(|section| section.words).sum::<usize>(), WORDS, "a section is missing");
}

#[test]
fn code_and_tests_of_every_rule_exist() {
    let wrong = dead_names(&parsed(LIST), &files());
    assert!(wrong.is_empty(), "{} names:\n{}", wrong.len(), wrong.join("\n"));
}

/// A list with one section of one rule, whose other lines are `rest`.
fn sample(rest: &str) -> List {
    parsed(&format!("[[section]]\nnumber = \"4.1\"\ntitle = \"T\"\nwords = 1\n[[section.must]]\nrule = \"R.\"\n{rest}"))
}

#[test]
fn a_rule_without_code_test_or_reason_is_found() {
    let held = "code = [\"src/a.rs: f\"]\ntests = [\"src/a.rs: t\"]\n";
    let in_part = "code = [\"src/a.rs: f\"]\nnot_done = \"no test: why\"";
    for good in [held, "not_done = \"why\"", "not_ours = \"why\"", in_part] {
        assert_eq!(list_faults(&sample(good)), Vec::<String>::new(), "{good}");
    }
    let foreign = format!("{held}not_ours = \"why\"");
    let both = "not_done = \"why\"\nnot_ours = \"why\"";
    for bad in ["", "code = [\"src/a.rs: f\"]", "tests = [\"src/a.rs: t\"]", "not_done = \"\"", &foreign, both] {
        assert_eq!(list_faults(&sample(bad)).len(), 1, "{bad}");
    }
}

#[test]
fn an_uncovered_word_and_a_misplaced_section_are_found() {
    assert_eq!(list_faults(&sample("words = 2\nnot_done = \"why\"")), ["section 4.1: 2 of 1 words covered"]);
    let mut list = sample("not_done = \"why\"");
    list.section.extend(sample("not_done = \"why\"").section);
    list.section[0].number = "4.10".to_owned();
    list.section[1].number = "4.9".to_owned();
    assert_eq!(list_faults(&list), ["section 4.10 stands before 4.9"]);
}

#[test]
fn a_name_of_nothing_is_found() {
    let text = "fn f() {}\n// fn gone() {}\n#[test]\nfn t() {}\nfn helper() {}\n";
    let files = [file("src/a.rs", text)];
    let faults = |rest: &str| dead_names(&sample(rest), &files);
    assert!(faults("code = [\"src/a.rs: f\"]\ntests = [\"src/a.rs: t\"]").is_empty());
    for (bad, why) in [
        ("code = [\"src/b.rs: f\"]", "there is no such file"),
        ("code = [\"src/a.rs: gone\"]", "the file has no such function"),
        ("code = [\"src/a.rs\"]", "write `src/file.rs: function`"),
        ("code = [\"src/a.rs: t\"]", "is a test"),
        ("tests = [\"src/a.rs: helper\"]", "is no test"),
    ] {
        let found = faults(bad);
        assert!(found.len() == 1 && found[0].ends_with(why), "{bad}: {found:?}");
    }
}

#[test]
fn the_tables_name_rule_code_test_and_reason() {
    let page = tables(&sample("code = [\"src/a.rs: f\"]\nnot_done = \"no test.\""));
    assert!(page.contains("### 4.1 T\n"), "{page}");
    assert!(page.contains("| R. | `src/a.rs: f`<br>**not done:** no test. |  |"), "{page}");
    assert!(page.contains("0 are held by code and tests; 1 are not"), "{page}");
}
