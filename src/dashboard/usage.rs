//! The ledger's rows for people and programs.

use std::collections::BTreeMap;
use std::fmt::Write;

use serde_json::{Value, json};

use crate::base::date;
use crate::dashboard::table::{bytes, printable, table as put_table};
use crate::node::{Usage, UsageRow};

/// The columns, as CSV and JSON name them: the day and whose it is, then what was used.
const NAMES: [&str; 14] = [
    "day",
    "requester",
    "instance",
    "module",
    "cpu_us",
    "memory_kb_s",
    "stored_kb_s",
    "bytes_in",
    "bytes_out",
    "packets_seen",
    "packets_changed",
    "packets_injected",
    "calls",
    "running_ms",
];

fn numbers(usage: &Usage) -> [u64; 10] {
    [
        usage.cpu_us,
        usage.memory_kb_s,
        usage.stored_kb_s,
        usage.bytes_in,
        usage.bytes_out,
        usage.packets_seen,
        usage.packets_changed,
        usage.packets_injected,
        usage.calls,
        usage.running_ms,
    ]
}

/// Comma-separated values (RFC 4180), with a line of names.
#[must_use]
pub fn csv(rows: &[UsageRow]) -> String {
    let mut text = NAMES.join(",") + "\r\n";
    for row in rows {
        let account = &row.account;
        let words = [&date::text(account.day), &account.requester, &account.instance, &account.module];
        let words = words.map(|word| quoted(word));
        let numbers = numbers(&row.usage).map(|number| number.to_string());
        let _ = write!(text, "{},{}\r\n", words.join(","), numbers.join(","));
    }
    text
}

/// A value that holds what separates values stands in quotes. One that a spreadsheet would take for a formula does not
/// begin like one.
fn quoted(word: &str) -> String {
    let word = if word.starts_with(['=', '+', '-', '@']) { format!("'{word}") } else { word.to_owned() };
    if word.contains([',', '"', '\r', '\n']) { format!("\"{}\"", word.replace('"', "\"\"")) } else { word }
}

/// A list of objects.
#[must_use]
pub fn json(rows: &[UsageRow]) -> Value {
    let object = |row: &UsageRow| {
        let account = &row.account;
        let words =
            [date::text(account.day), account.requester.clone(), account.instance.clone(), account.module.clone()];
        let values = words.into_iter().map(|word| json!(word)).chain(numbers(&row.usage).into_iter().map(|n| json!(n)));
        Value::Object(NAMES.iter().map(|name| (*name).to_owned()).zip(values).collect())
    };
    rows.iter().map(object).collect()
}

/// A table of sums over all days, with a sum for each requester.
#[must_use]
pub fn table(rows: &[UsageRow]) -> String {
    /// Instance and module; `None` for all of a requester.
    type Whose<'a> = Option<(&'a str, &'a str)>;
    let mut sums: BTreeMap<(&str, Whose<'_>), Usage> = BTreeMap::new();
    for row in rows {
        let account = &row.account;
        let whose = (account.instance.as_str(), account.module.as_str());
        // `None` comes before all of its instances.
        for key in [None, Some(whose)] {
            *sums.entry((&account.requester, key)).or_default() += &row.usage;
        }
    }
    if sums.is_empty() {
        return "nothing was used\n".to_owned();
    }
    let head = [
        "REQUESTER",
        "INSTANCE",
        "MODULE",
        "RUNNING",
        "CPU",
        "MEMORY",
        "STORED",
        "IN",
        "OUT",
        "SEEN",
        "CHANGED",
        "INJECTED",
        "CALLS",
    ];
    let mut lines = vec![head.map(str::to_owned)];
    for ((requester, whose), usage) in &sums {
        let (instance, module) = whose.unwrap_or(("all", ""));
        lines.push([
            printable(requester),
            printable(instance),
            printable(module),
            hours(usage.running_ms),
            format!("{:.3} s", usage.cpu_us as f64 / 1e6),
            byte_hours(usage.memory_kb_s),
            byte_hours(usage.stored_kb_s),
            bytes(usage.bytes_in as f64),
            bytes(usage.bytes_out as f64),
            usage.packets_seen.to_string(),
            usage.packets_changed.to_string(),
            usage.packets_injected.to_string(),
            usage.calls.to_string(),
        ]);
    }
    let mut text = String::new();
    put_table(&mut text, &lines, &[false, false, false, true, true, true, true, true, true, true, true, true, true]);
    text
}

fn hours(ms: u64) -> String {
    format!("{:.2} h", ms as f64 / 3_600_000.0)
}

/// Megabyte-hours.
fn byte_hours(kb_s: u64) -> String {
    format!("{:.2} MBh", kb_s as f64 / 3_600_000.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::UsageAccount;

    fn row(day: u64, requester: &str, instance: &str, cpu_us: u64) -> UsageRow {
        let text = str::to_owned;
        UsageRow {
            account: UsageAccount { day, requester: text(requester), instance: text(instance), module: text("m") },
            usage: Usage { cpu_us, calls: 2, ..Usage::default() },
        }
    }

    #[test]
    fn csv_has_a_line_for_each_row_and_quotes_what_it_must() {
        let rows = [row(0, "owner", "a", 5), row(20_782, "=cmd(\"x\"), b", "b", 6)];
        let want = "1970-01-01,owner,a,m,5,0,0,0,0,0,0,0,2,0\r\n\
                    2026-11-25,\"'=cmd(\"\"x\"\"), b\",b,m,6,0,0,0,0,0,0,0,2,0\r\n";
        assert_eq!(csv(&rows), NAMES.join(",") + "\r\n" + want);
    }

    #[test]
    fn json_and_table_name_everything() {
        let rows = [row(3, "owner", "a", 1_500_000), row(4, "owner", "a", 500_000), row(4, "alice", "b", 1)];
        let json = json(&rows);
        assert_eq!(json[0]["day"], "1970-01-04");
        assert_eq!(json.as_array().unwrap().iter().map(|row| row["calls"].as_u64().unwrap()).sum::<u64>(), 6);
        let table = table(&rows);
        let owner = table.lines().find(|line| line.contains("owner") && line.contains(" all ")).unwrap();
        assert!(owner.contains("2.000 s") && owner.ends_with(" 4"), "{table}");
        assert_eq!(super::table(&[]), "nothing was used\n");
    }
}
