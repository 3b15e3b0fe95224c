//! What answers say, as numbers and as names.

use crate::wire::nslp::answer::{AnswerCode, class};

/// All codes, each with its class, its number within the protocol, and its name in `--json`.
const CODES: &[(AnswerCode, u8, u8, &str)] = &[
    (AnswerCode::NotTarget, class::INFORMATION, 1, "not_target"),
    (AnswerCode::ConditionFalse, class::INFORMATION, 2, "condition_false"),
    (AnswerCode::Expired, class::INFORMATION, 3, "expired"),
    (AnswerCode::Failed, class::INFORMATION, 4, "failed"),
    (AnswerCode::Moved, class::INFORMATION, 5, "moved"),
    (AnswerCode::NotInstalled, class::INFORMATION, 6, "not_installed"),
    (AnswerCode::Probed, class::SUCCESS, 16, "probed"),
    (AnswerCode::Installed, class::SUCCESS, 17, "installed"),
    (AnswerCode::Refreshed, class::SUCCESS, 18, "refreshed"),
    (AnswerCode::Removed, class::SUCCESS, 19, "removed"),
    (AnswerCode::Malformed, class::PROTOCOL, 32, "malformed"),
    (AnswerCode::Busy, class::TRANSIENT, 48, "busy"),
    (AnswerCode::FetchFailed, class::TRANSIENT, 49, "fetch_failed"),
    (AnswerCode::NotForwarded, class::TRANSIENT, 50, "not_forwarded"),
    (AnswerCode::NotSigned, class::PERMANENT, 64, "not_signed"),
    (AnswerCode::BadSignature, class::PERMANENT, 65, "bad_signature"),
    (AnswerCode::UnknownKey, class::PERMANENT, 66, "unknown_key"),
    (AnswerCode::OutOfTime, class::PERMANENT, 67, "out_of_time"),
    (AnswerCode::Replayed, class::PERMANENT, 68, "replayed"),
    (AnswerCode::OutOfScope, class::PERMANENT, 69, "out_of_scope"),
    (AnswerCode::NotAllowed, class::PERMANENT, 70, "not_allowed"),
    (AnswerCode::WrongDigest, class::PERMANENT, 71, "wrong_digest"),
    (AnswerCode::TooLarge, class::PERMANENT, 72, "too_large"),
    (AnswerCode::BadPackage, class::PERMANENT, 73, "bad_package"),
    (AnswerCode::StartFailed, class::PERMANENT, 74, "start_failed"),
    (AnswerCode::Invalid, class::PERMANENT, 75, "invalid"),
];

impl AnswerCode {
    /// All codes.
    pub fn all() -> impl Iterator<Item = AnswerCode> {
        CODES.iter().map(|(code, ..)| *code)
    }

    fn row(self) -> (u8, u8, &'static str) {
        let row = CODES.iter().find(|(code, ..)| *code == self);
        row.map(|(_, class, number, name)| (*class, *number, *name)).expect("a test finds each code in the table")
    }

    /// Its class, one of [`class`].
    #[must_use]
    pub fn class(self) -> u8 {
        self.row().0
    }

    /// Its number.
    #[must_use]
    pub fn number(self) -> u8 {
        self.row().1
    }

    /// Its name in `--json`, such as `not_allowed`.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.row().2
    }

    /// The code with this class and number.
    #[must_use]
    pub fn from_number(class: u8, number: u8) -> Option<AnswerCode> {
        CODES.iter().find(|(_, c, n, _)| (*c, *n) == (class, number)).map(|(code, ..)| *code)
    }

    /// The code of this name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<AnswerCode> {
        CODES.iter().find(|(.., n)| *n == name).map(|(code, ..)| *code)
    }

    /// Whether what was asked for was done.
    #[must_use]
    pub fn is_success(self) -> bool {
        self.class() == class::SUCCESS
    }

    /// Whether it was refused, or failed.
    #[must_use]
    pub fn is_failure(self) -> bool {
        self.class() > class::SUCCESS
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn each_code_is_in_the_table_once() {
        // The last variant tells how many there are.
        let numbers: BTreeSet<u8> = AnswerCode::all().map(AnswerCode::number).collect();
        let names: BTreeSet<&str> = AnswerCode::all().map(AnswerCode::name).collect();
        let codes: BTreeSet<AnswerCode> = AnswerCode::all().collect();
        assert_eq!((numbers.len(), names.len(), codes.len()), (26, 26, 26));
        assert_eq!(codes.last().map(|code| *code as usize), Some(25));
        for code in AnswerCode::all() {
            assert_eq!(AnswerCode::from_number(code.class(), code.number()), Some(code));
            assert_eq!(AnswerCode::from_name(code.name()), Some(code));
        }
        assert!(AnswerCode::Installed.is_success() && AnswerCode::Busy.is_failure());
        assert!(!AnswerCode::NotTarget.is_success() && !AnswerCode::NotTarget.is_failure());
    }
}
