use super::*;

fn key(kind: &str) -> PropertyKey {
    PropertyKey {
        meaning: "For a test.".to_owned(),
        kind: kind.parse().unwrap(),
        unit: None,
        default: None,
        min: None,
        max: None,
        choices: Vec::new(),
    }
}

fn text(value: &str) -> Value {
    Value::String(value.to_owned())
}

#[test]
fn a_value_from_the_command_line_becomes_the_type_of_its_key() {
    let cases = [
        ("integer", "-5", Value::Integer(-5)),
        ("number", "2.5", Value::Float(2.5)),
        ("boolean", "true", Value::Boolean(true)),
        ("address", "2001:DB8:0::1", text("2001:db8::1")),
        ("prefix", "192.0.2.9/24", text("192.0.2.0/24")),
        ("port", "5060", Value::Integer(5060)),
        ("ports", "8000-8099", text("8000-8099")),
        ("protocol", "17", text("udp")),
        ("protocol", "47", text("47")),
        ("duration", "500ms", Value::Float(0.5)),
        ("duration", "2h", Value::Float(7_200.0)),
        ("duration", "30", Value::Float(30.0)),
        ("list of port", "1,2, 3", Value::Array(vec![Value::Integer(1), Value::Integer(2), Value::Integer(3)])),
        ("list of string", "", Value::Array(Vec::new())),
    ];
    for (kind, given, want) in cases {
        assert_eq!(key(kind).check(&text(given)), Ok(want), "{kind} {given}");
    }
}

#[test]
fn refuses_values_that_do_not_fit_their_type() {
    let cases = [
        ("integer", "9007199254740993"),
        ("integer", "1.5"),
        ("number", "inf"),
        ("number", "NaN"),
        ("boolean", "yes"),
        ("address", "192.0.2.0/24"),
        ("prefix", "192.0.2.0/33"),
        ("port", "65536"),
        ("ports", "9-8"),
        ("protocol", "256"),
        ("duration", "-1s"),
        ("duration", "5 parsecs"),
        ("address", "any"),
        ("list of port", "1,,2"),
    ];
    for (kind, given) in cases {
        assert!(key(kind).check(&text(given)).is_err(), "{kind} {given}");
    }
    assert!(key("string").check(&text(&"x".repeat(PROPERTY_BYTES_MAX + 1))).is_err());
    assert!(key("string").check(&Value::Integer(5)).is_err());
    let too_many = Value::Array(vec![Value::Integer(1); PROPERTY_ITEMS_MAX + 1]);
    assert!(key("list of port").check(&too_many).is_err());
}

#[test]
fn a_range_counts_bytes_of_a_text_and_each_item_of_a_list() {
    let word = PropertyKey { min: Some(1.0), max: Some(4.0), ..key("string") };
    assert!(word.check(&text("abcd")).is_ok() && word.check(&text("abcde")).is_err() && word.check(&text("")).is_err());
    let ports = PropertyKey { min: Some(1024.0), ..key("list of port") };
    assert_eq!(ports.check(&text("80,8080")), Err("list of port, at least 1024".to_owned()));
}

#[test]
fn any_is_allowed_only_where_it_is_the_default() {
    let open = PropertyKey { default: Some(text(ANY)), ..key("list of ports") };
    assert_eq!(open.check(&text("any")), Ok(text("any")));
    assert!(open.check(&Value::Array(vec![text("any")])).is_err());
    assert!(key("list of ports").check(&text("any")).is_err());
}

#[test]
fn fills_in_defaults_and_says_what_is_missing_unknown_or_wrong() {
    let keys = BTreeMap::from([
        ("server".to_owned(), key("address")),
        (
            "scope".to_owned(),
            PropertyKey { default: Some(text("word")), choices: vec![text("word"), text("payload")], ..key("string") },
        ),
    ]);
    let check = |words: &[&str]| {
        let table = table_of_words(words.iter().copied()).unwrap();
        Properties::check(&keys, &table).map(|p| p.0).map_err(|e| e.to_string())
    };
    let want = BTreeMap::from([("server".to_owned(), text("192.0.2.1")), ("scope".to_owned(), text("word"))]);
    assert_eq!(check(&["server=192.0.2.1"]), Ok(want));
    assert_eq!(
        check(&[]).unwrap_err(),
        "property \"server\" must be given: For a test. Allowed: address such as 192.0.2.1 or 2001:db8::1"
    );
    assert_eq!(
        check(&["server=::1", "sope=x"]).unwrap_err(),
        "the module has no property \"sope\"; its properties: scope, server"
    );
    assert_eq!(
        check(&["server=::1", "scope=line"]).unwrap_err(),
        "property \"scope\" cannot be \"line\"; allowed: string, one of word, payload"
    );
}

#[test]
fn words_of_a_command_line_are_key_and_value() {
    assert_eq!(table_of_words(["a=b=c"]).unwrap()["a"].as_str(), Some("b=c"));
    assert_eq!(table_of_words(["ab"]), Err(PropertyError::Word { got: "ab".to_owned() }));
    assert_eq!(table_of_words(["=b"]), Err(PropertyError::Word { got: "=b".to_owned() }));
    assert_eq!(table_of_words(["a=1", "a=2"]), Err(PropertyError::Twice { key: "a".to_owned() }));
}

#[test]
fn every_type_name_reads_back() {
    for (name, item) in ITEM_TYPES {
        let list = format!("list of {name}");
        assert_eq!(list.parse(), Ok(PropertyType { item: *item, list: true }));
        assert_eq!(PropertyType { item: *item, list: false }.to_string(), *name);
    }
    assert!("lists of port".parse::<PropertyType>().is_err());
}
