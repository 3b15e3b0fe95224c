//! Who has used how much of the node: someone may have to pay for it.
//!
//! One row for each day (UTC), requester, instance and module. Rows are kept over restarts, and bounded: when there are
//! too many, the oldest day's instances of one requester become one row, then the two oldest days one.

use std::collections::BTreeMap;
use std::ops::AddAssign;

use serde::{Deserialize, Serialize};

use crate::base::limits::{LEDGER_FILE_BYTES_MAX, LEDGER_ROWS_MAX, NAME_BYTES_MAX};
use crate::base::time::WallTime;

/// The requester of what the node's owner loaded.
pub const OWNER: &str = "owner";
/// Stands for several instances, or modules, of a requester.
pub const SEVERAL: &str = "*";
/// Where the ledger is kept: the key of the store, and the file's name.
pub const KEY: &str = "usage";

const DAY_S: u64 = 86_400;

/// What was used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Usage {
    /// CPU time of module code, in us.
    pub cpu_us: u64,
    /// Memory of the VM over time, in kB-seconds (1,000 bytes for one second).
    pub memory_kb_s: u64,
    /// Bytes kept on disk over time, in kB-seconds.
    pub stored_kb_s: u64,
    /// Bytes that came in by sockets.
    pub bytes_in: u64,
    /// Bytes that went out by sockets and in injected packets.
    pub bytes_out: u64,
    /// Packets that a handler saw.
    pub packets_seen: u64,
    /// Packets that a handler changed, answered or dropped.
    pub packets_changed: u64,
    /// Packets that were injected.
    pub packets_injected: u64,
    /// Calls into the VM.
    pub calls: u64,
    /// Time for which it ran, in ms.
    pub running_ms: u64,
}

impl AddAssign<&Usage> for Usage {
    fn add_assign(&mut self, more: &Usage) {
        let fields = [
            (&mut self.cpu_us, more.cpu_us),
            (&mut self.memory_kb_s, more.memory_kb_s),
            (&mut self.stored_kb_s, more.stored_kb_s),
            (&mut self.bytes_in, more.bytes_in),
            (&mut self.bytes_out, more.bytes_out),
            (&mut self.packets_seen, more.packets_seen),
            (&mut self.packets_changed, more.packets_changed),
            (&mut self.packets_injected, more.packets_injected),
            (&mut self.calls, more.calls),
            (&mut self.running_ms, more.running_ms),
        ];
        for (sum, more) in fields {
            *sum = sum.saturating_add(more);
        }
    }
}

/// Whose usage it is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Account {
    /// Days since 1970-01-01 (UTC).
    pub day: u64,
    /// [`OWNER`], or a requester's name in the trust file.
    pub requester: String,
    /// What the instance is called, or [`SEVERAL`].
    pub instance: String,
    /// The module's name, or [`SEVERAL`].
    pub module: String,
}

/// One row, as it is kept and shown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Row {
    /// Whose.
    #[serde(flatten)]
    pub account: Account,
    /// What.
    #[serde(flatten)]
    pub usage: Usage,
}

/// The ledger.
#[derive(Clone, Debug, Default)]
pub struct Ledger {
    rows: BTreeMap<Account, Usage>,
    /// Something was added since it was last kept.
    is_changed: bool,
}

impl Ledger {
    /// Adds what an instance has used.
    pub fn add(&mut self, account: Account, usage: &Usage) {
        if *usage == Usage::default() {
            return;
        }
        self.is_changed = true;
        *self.rows.entry(account).or_default() += usage;
        while self.rows.len() > LEDGER_ROWS_MAX && self.merge_oldest() {}
    }

    /// The rows of `since_day` and later, in the order of their accounts.
    pub fn rows(&self, since_day: u64) -> impl Iterator<Item = Row> + '_ {
        let rows = self.rows.iter().filter(move |(account, _)| account.day >= since_day);
        rows.map(|(account, usage)| Row { account: account.clone(), usage: *usage })
    }

    /// What is to be kept, if something has changed since this was last asked.
    pub fn changed_bytes(&mut self) -> Option<Vec<u8>> {
        if !std::mem::take(&mut self.is_changed) {
            return None;
        }
        let rows: Vec<Row> = self.rows(0).collect();
        serde_json::to_vec(&rows).ok()
    }

    /// Adds what was kept.
    ///
    /// # Errors
    ///
    /// Why it is not used, as a sentence.
    pub fn restore(&mut self, bytes: &[u8]) -> Result<(), String> {
        if bytes.len() > LEDGER_FILE_BYTES_MAX {
            return Err(format!("the kept ledger has {} bytes; at most {LEDGER_FILE_BYTES_MAX}", bytes.len()));
        }
        let rows: Vec<Row> = serde_json::from_slice(bytes).map_err(|e| format!("the kept ledger is not read: {e}"))?;
        for row in rows {
            let names = [&row.account.requester, &row.account.instance, &row.account.module];
            if names.iter().any(|name| name.len() > 4 * NAME_BYTES_MAX) {
                return Err("the kept ledger is not read: a name in it is too long".to_owned());
            }
            self.add(row.account, &row.usage);
        }
        self.is_changed = false;
        Ok(())
    }

    /// Makes room; false if nothing can be merged any more.
    fn merge_oldest(&mut self) -> bool {
        let Some(oldest) = self.rows.keys().next().map(|account| account.day) else { return false };
        let next = self.rows.keys().map(|account| account.day).find(|day| *day > oldest);
        let of_day = |rows: &BTreeMap<Account, Usage>, day| {
            rows.keys().filter(|account| account.day == day).cloned().collect::<Vec<_>>()
        };
        let before = self.rows.len();
        for account in of_day(&self.rows, oldest) {
            let all = Account { instance: SEVERAL.to_owned(), module: SEVERAL.to_owned(), ..account.clone() };
            self.move_to(&account, all);
        }
        if self.rows.len() == before
            && let Some(next) = next
        {
            for account in of_day(&self.rows, oldest) {
                let later = Account { day: next, ..account.clone() };
                self.move_to(&account, later);
            }
        }
        self.rows.len() < before || next.is_some()
    }

    fn move_to(&mut self, from: &Account, to: Account) {
        if let Some(usage) = self.rows.remove(from) {
            *self.rows.entry(to).or_default() += &usage;
        }
    }
}

/// The day of a moment, in days since 1970-01-01.
#[must_use]
pub const fn day_of(time: WallTime) -> u64 {
    time.as_nanos() / 1_000_000_000 / DAY_S
}

#[cfg(test)]
mod tests {
    use super::*;

    fn account(day: u64, requester: &str, instance: &str) -> Account {
        let text = str::to_owned;
        Account { day, requester: text(requester), instance: text(instance), module: text("m") }
    }

    fn usage(calls: u64) -> Usage {
        Usage { calls, bytes_in: 2 * calls, ..Usage::default() }
    }

    fn sum(ledger: &Ledger) -> u64 {
        ledger.rows(0).map(|row| row.usage.calls).sum()
    }

    #[test]
    fn adds_up_and_outlives_a_restart() {
        let mut ledger = Ledger::default();
        ledger.add(account(3, OWNER, "a"), &usage(1));
        ledger.add(account(3, OWNER, "a"), &usage(2));
        ledger.add(account(4, "alice", "b"), &usage(5));
        let kept = ledger.changed_bytes().expect("it has changed");
        assert_eq!(ledger.changed_bytes(), None);
        let mut again = Ledger::default();
        again.restore(&kept).unwrap();
        assert_eq!(again.rows(0).collect::<Vec<_>>(), ledger.rows(0).collect::<Vec<_>>());
        assert_eq!(again.rows(4).map(|row| row.usage.bytes_in).collect::<Vec<_>>(), [10]);
        assert_eq!(sum(&again), 8);
    }

    #[test]
    fn is_bounded_and_loses_nothing() {
        let mut ledger = Ledger::default();
        let mut driven = 0;
        for i in 0..3 * LEDGER_ROWS_MAX as u64 {
            ledger.add(account(i / 100, if i % 2 == 0 { OWNER } else { "alice" }, &format!("i{i}")), &usage(i));
            driven += i;
        }
        assert!(ledger.rows.len() <= LEDGER_ROWS_MAX);
        assert_eq!(sum(&ledger), driven);
        let last = 3 * LEDGER_ROWS_MAX as u64 - 1;
        assert!(ledger.rows(last / 100).any(|row| row.account.instance == format!("i{last}")), "the newest stay apart");
        assert!(ledger.changed_bytes().unwrap().len() < LEDGER_FILE_BYTES_MAX);
    }

    #[test]
    fn requesters_without_end_are_bounded_only_by_days() {
        let mut ledger = Ledger::default();
        for i in 0..LEDGER_ROWS_MAX as u64 + 10 {
            ledger.add(account(1, &format!("r{i}"), "i"), &usage(1));
        }
        assert_eq!(sum(&ledger), LEDGER_ROWS_MAX as u64 + 10);
        ledger.add(account(2, "r1", "i"), &usage(1));
        assert_eq!(sum(&ledger), LEDGER_ROWS_MAX as u64 + 11);
    }

    #[test]
    fn what_was_not_kept_by_us_is_refused() {
        assert!(Ledger::default().restore(b"no").unwrap_err().contains("not read"));
        let long = format!("[{{\"day\":1,\"requester\":\"{}\",\"instance\":\"i\",\"module\":\"m\"}}]", "r".repeat(999));
        assert!(Ledger::default().restore(long.as_bytes()).unwrap_err().contains("too long"));
        assert!(Ledger::default().restore(&vec![b' '; LEDGER_FILE_BYTES_MAX + 1]).is_err());
    }
}
