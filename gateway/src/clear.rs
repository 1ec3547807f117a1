//! What may leave: policy's word on findings and tools, carried out on the request. Blocked, redacted, or without some of its tools.

use std::collections::BTreeMap;

use ledger::FindingRecord;
use providers::ModelRequest;
use safety::{Action, Actions, Kind};

use crate::case::Case;
use crate::permit::{Cleared, Permit};
use crate::refusal::Refusal;
use crate::scan::Found;

/// So many kinds and places go into a receipt.
const MOST_NOTED: usize = 64;

impl Permit {
    /// Carries out what policy asked for about the findings: blocks, or lets only the redacted request on.
    pub fn apply(self, asked: &ModelRequest, found: &Found, case: &mut Case) -> Result<Cleared, Refusal> {
        let actions = actions(self.actions())?;
        let mut edits = Vec::new();
        let texts = if found.parts.is_empty() { Vec::new() } else { asked.texts() };
        let mut blocked = None;
        for part in &found.parts {
            let Some(text) = texts.get(part.part) else { return Err(Refusal::Internal) };
            for finding in &part.findings {
                // What cannot be edited, tokens say, does not leave where it had to be redacted.
                let action = match actions.get(finding.kind) {
                    Action::Redact if text.fixed => Action::Block,
                    action => action,
                };
                note(case, finding.kind, &text.place, action);
                if action == Action::Block && blocked.is_none() {
                    blocked = Some((finding, text.place.clone()));
                }
            }
            if text.fixed {
                continue;
            }
            let applied = safety::apply(&text.text, &part.findings, &actions);
            if applied.blocked.is_some() && blocked.is_none() {
                // Findings that do not fit the text: a fault of ours, and nothing that was not cleared may leave.
                return Err(Refusal::Internal);
            }
            edits.extend(applied.text.map(|clean| (part.part, still_json(&text.text, clean))));
        }
        if let Some((finding, place)) = blocked {
            let detector = match finding.detector == finding.kind.as_str() {
                true => finding.detector.to_owned(),
                false => format!("{} ({})", finding.kind.as_str(), finding.detector),
            };
            return Err(Refusal::Content { detector, place });
        }
        let request = if edits.is_empty() { asked.clone() } else { asked.with_texts(&edits) };
        let request = without_tools(request, self.removed_tools(), case);
        Ok(self.with(request))
    }
}

/// The request without the tools that have one of these names, `*` standing for any letters. The receipt tells the rule's words for
/// them, and not the client's.
fn without_tools(request: ModelRequest, names: &[String], case: &mut Case) -> ModelRequest {
    let edited = match names {
        [] => None,
        names => request.without_tools(&|tool| names.iter().any(|name| matches(name, tool))),
    };
    let Some((edited, removed)) = edited else { return request };
    let hit: Vec<&str> =
        names.iter().map(String::as_str).filter(|name| removed.iter().any(|it| matches(name, it))).collect();
    case.routing.push_str(&format!("; tools taken out: {}", hit.join(", ")));
    edited
}

/// Whether a name is one of those that a pattern means. As strict as the most lenient reader of names: case makes no difference.
fn matches(pattern: &str, name: &str) -> bool {
    let (pattern, name) = (pattern.to_lowercase(), name.to_lowercase());
    let mut parts = pattern.split('*');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = name.strip_prefix(first) else { return false };
    let Some(last) = parts.next_back() else { return rest.is_empty() };
    for part in parts {
        let Some(at) = rest.find(part) else { return false };
        rest = &rest[at + part.len()..];
    }
    rest.ends_with(last)
}

/// Tool arguments are JSON within a text: a number that was masked there must become a string, or nobody can read them.
fn still_json(before: &str, clean: String) -> String {
    let is_json = |text: &str| {
        matches!(text.trim_start().as_bytes().first(), Some(b'{' | b'['))
            && serde_json::from_str::<serde::de::IgnoredAny>(text).is_ok()
    };
    if !is_json(before) || is_json(&clean) {
        return clean;
    }
    let mut quoted = String::with_capacity(clean.len() + 16);
    let (mut in_string, mut rest) = (false, clean.as_str());
    while let Some(c) = rest.chars().next() {
        let mask = if in_string {
            None
        } else {
            Kind::ALL.into_iter().map(safety::placeholder).find(|p| rest.starts_with(*p))
        };
        let taken = match (mask, c) {
            (Some(mask), _) => mask.len(),
            (None, '\\') if in_string => 1 + rest[1..].chars().next().map_or(0, char::len_utf8),
            (None, c) => {
                in_string ^= c == '"';
                c.len_utf8()
            }
        };
        let quote = if mask.is_some() { "\"" } else { "" };
        quoted.extend([quote, &rest[..taken], quote]);
        rest = &rest[taken..];
    }
    if is_json(&quoted) { quoted } else { clean }
}

/// A kind that policy does not mention is redacted: a guard that was not told otherwise is closed.
fn actions(obliged: &BTreeMap<String, String>) -> Result<Actions, Refusal> {
    let mut by_kind = BTreeMap::new();
    for kind in Kind::ALL {
        let action = match obliged.get(kind.as_str()) {
            None => Action::Redact,
            Some(name) => name.parse().map_err(|_| Refusal::Internal)?,
        };
        by_kind.insert(kind, action);
    }
    Ok(Actions::from(by_kind))
}

fn note(case: &mut Case, kind: Kind, place: &str, action: Action) {
    let same = |f: &&mut FindingRecord| f.kind == kind.as_str() && f.place == place && f.action == action.as_str();
    // A receipt names the first places only; a prompt full of numbers must not grow it without bound.
    let full = case.findings.len() >= MOST_NOTED;
    match case.findings.iter_mut().find(same) {
        Some(finding) => finding.count += 1,
        None if full => {}
        None => case.findings.push(FindingRecord {
            kind: kind.as_str().to_owned(),
            place: place.to_owned(),
            count: 1,
            action: action.as_str().to_owned(),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_any_letters_and_all_else_for_itself() {
        for (pattern, name, is_meant) in [
            ("shell", "shell", true),
            ("shell", "Shell", true),
            ("shell", "shell_2", false),
            ("mcp_*", "mcp_crm", true),
            ("mcp_*", "my_mcp_crm", false),
            ("*_delete", "file_delete", true),
            ("*", "", true),
            ("a*b*c", "a1b2c", true),
            ("a*b*c", "acb", false),
            ("a*a", "a", false),
            ("a.c", "abc", false),
            ("", "x", false),
        ] {
            assert_eq!(matches(pattern, name), is_meant, "{pattern} {name}");
        }
    }

    #[test]
    fn masked_arguments_stay_json_and_other_texts_stay_as_they_are() {
        for (before, clean, expected) in [
            (r#"{"n": 4111111111111111}"#, r#"{"n": [PAYMENT_CARD]}"#, r#"{"n": "[PAYMENT_CARD]"}"#),
            (r#"{"n": "4111111111111111"}"#, r#"{"n": "[PAYMENT_CARD]"}"#, r#"{"n": "[PAYMENT_CARD]"}"#),
            (
                r#"{"a\"": [1, 4111111111111111]}"#,
                r#"{"a\"": [1, [PAYMENT_CARD]]}"#,
                r#"{"a\"": [1, "[PAYMENT_CARD]"]}"#,
            ),
            ("card 4111111111111111", "card [PAYMENT_CARD]", "card [PAYMENT_CARD]"),
        ] {
            assert_eq!(still_json(before, clean.to_owned()), expected);
        }
    }
}
