//! Puts placeholders where something was found, or says that the text must not pass at all.

use std::collections::BTreeMap;

use crate::{Action, Actions, Finding, Kind};

/// What became of a text.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Applied {
    /// The text with its placeholders; `None` where nothing had to change.
    pub text: Option<String>,
    /// How many findings of each kind were replaced.
    pub redacted: BTreeMap<Kind, u64>,
    /// The first kind found that must not pass. The text is then not to be sent.
    pub blocked: Option<Kind>,
}

/// What stands in the place of a finding.
pub const fn placeholder(kind: Kind) -> &'static str {
    match kind {
        Kind::Email => "[EMAIL]",
        Kind::PaymentCard => "[PAYMENT_CARD]",
        Kind::Iban => "[IBAN]",
        Kind::UsSsn => "[US_SSN]",
        Kind::Phone => "[PHONE]",
        Kind::ApiKey => "[API_KEY]",
    }
}

/// Applies the actions to the findings of this text, as `Scanner::find` gave them.
pub fn apply(text: &str, findings: &[Finding], actions: &Actions) -> Applied {
    let mut applied = Applied::default();
    let mut written = String::new();
    let mut from = 0;
    for finding in findings {
        match actions.get(finding.kind) {
            Action::Allow => continue,
            Action::Block => {
                applied.blocked.get_or_insert(finding.kind);
            }
            Action::Redact => {}
        }
        // A finding of another text cannot be placed. Nothing half-redacted leaves: the call is blocked.
        let Some(before) = text.get(from..finding.range.start) else {
            return Applied { blocked: Some(finding.kind), ..Applied::default() };
        };
        if !text.is_char_boundary(finding.range.end) || finding.range.end < finding.range.start {
            return Applied { blocked: Some(finding.kind), ..Applied::default() };
        }
        written.push_str(before);
        written.push_str(placeholder(finding.kind));
        from = finding.range.end;
        if actions.get(finding.kind) == Action::Redact {
            *applied.redacted.entry(finding.kind).or_default() += 1;
        }
    }
    if from > 0 {
        written.push_str(text.get(from..).unwrap_or_default());
        applied.text = Some(written);
    }
    applied
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finding(kind: Kind, range: std::ops::Range<usize>) -> Finding {
        Finding { kind, detector: "test", range }
    }

    fn actions(email: Action, key: Action) -> Actions {
        [(Kind::Email, email), (Kind::ApiKey, key)].into_iter().collect()
    }

    #[test]
    fn each_action_does_what_it_says() {
        let text = "mail a@b.io, key k1, mail c@d.io";
        let findings = [finding(Kind::Email, 5..11), finding(Kind::ApiKey, 17..19), finding(Kind::Email, 26..32)];
        let check = |email, key, expected: Option<&str>, redacted: u64, blocked: Option<Kind>| {
            let applied = apply(text, &findings, &actions(email, key));
            assert_eq!(applied.text.as_deref(), expected);
            assert_eq!(applied.redacted.values().sum::<u64>(), redacted);
            assert_eq!(applied.blocked, blocked);
        };
        check(Action::Allow, Action::Allow, None, 0, None);
        check(Action::Redact, Action::Allow, Some("mail [EMAIL], key k1, mail [EMAIL]"), 2, None);
        check(Action::Redact, Action::Redact, Some("mail [EMAIL], key [API_KEY], mail [EMAIL]"), 3, None);
        check(Action::Redact, Action::Block, Some("mail [EMAIL], key [API_KEY], mail [EMAIL]"), 2, Some(Kind::ApiKey));
    }

    #[test]
    fn a_finding_of_another_text_blocks_instead_of_leaking() {
        for range in [3..99, 1..2, 40..41] {
            let applied = apply("aé@b.io", &[finding(Kind::Email, range)], &actions(Action::Redact, Action::Allow));
            assert_eq!(applied.blocked, Some(Kind::Email));
            assert!(applied.text.is_none());
        }
    }

    #[test]
    fn a_finding_at_the_very_start_and_end_is_replaced() {
        let all = [finding(Kind::Email, 0..6)];
        let applied = apply("a@b.io", &all, &actions(Action::Redact, Action::Allow));
        assert_eq!(applied.text.as_deref(), Some("[EMAIL]"));
    }
}
