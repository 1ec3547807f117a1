//! Patterns of names: `*` stands for any run of characters, everything else for itself.

use std::cmp::Reverse;

const LONGEST: usize = 256;

/// Whether `name` is one that `pattern` means. In one pass: no pattern makes it slow.
pub(crate) fn matches(pattern: &str, name: &str) -> bool {
    let Some((head, rest)) = pattern.split_once('*') else { return pattern == name };
    let Some(mut left) = name.strip_prefix(head) else { return false };
    let mut pieces: Vec<&str> = rest.split('*').collect();
    let tail = pieces.pop().unwrap_or_default();
    for piece in pieces {
        // The first place is as good as any later one: it leaves most for what follows.
        match left.find(piece) {
            Some(at) => left = &left[at + piece.len()..],
            None => return false,
        }
    }
    left.ends_with(tail)
}

/// Orders patterns from the most specific on: a name before any pattern, then by how much of the name they spell out.
pub(super) fn rank(pattern: &str) -> (bool, Reverse<usize>) {
    (is_pattern(pattern), Reverse(pattern.chars().filter(|c| *c != '*').count()))
}

pub(super) fn is_pattern(text: &str) -> bool {
    text.contains('*')
}

/// What is wrong with a name or pattern of models.
pub(super) fn fault(text: &str) -> Option<&'static str> {
    let in_form = (1..=LONGEST).contains(&text.len()) && !text.chars().any(|c| c.is_control() || c.is_whitespace());
    (!in_form).then_some("must be a name of 1 to 256 characters without spaces, or a pattern with * in it")
}

/// What is wrong with a name or pattern of targets.
pub(super) fn target_fault(text: &str) -> Option<&'static str> {
    let whole = text.split_once('/').is_some_and(|(provider, model)| !provider.is_empty() && !model.is_empty());
    match fault(text) {
        None if !whole && !is_pattern(text) => Some("must be provider/model, or a pattern with * in it"),
        fault => fault,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_any_run_of_characters_and_the_rest_for_itself() {
        for (pattern, name, expected) in [
            ("openai/gpt-4o", "openai/gpt-4o", true),
            ("openai/gpt-4o", "openai/gpt-4o-mini", false),
            ("openai/*", "openai/gpt-4o", true),
            ("openai/*", "azure/gpt-4o", false),
            ("*", "", true),
            ("*/gpt-4o", "azure/gpt-4o", true),
            ("*/gpt-4o", "azure/gpt-4o-mini", false),
            ("a*b*c", "a-b-b-c", true),
            ("a*b*c", "a-c-b", false),
            ("a*a", "a", false),
            ("**", "x", true),
            ("claude-*-2025*", "claude-opus-4-20250514", true),
            ("é*", "é/x", true),
            ("gpt-4o*", "gpt-4o", true),
            ("*-mini", "gpt-4o-mini-2", false),
            ("openai/*", "azure/openai/gpt-4o", false),
            ("*claude*", "anthropic/claude-opus", true),
            ("", "", true),
            ("", "a", false),
            ("GPT*", "gpt-4o", false),
        ] {
            assert_eq!(matches(pattern, name), expected, "{pattern} {name}");
        }
    }

    #[test]
    fn a_name_is_more_specific_than_a_pattern_and_a_longer_pattern_than_a_shorter_one() {
        let mut patterns = ["*", "openai/*", "openai/gpt-4o", "openai/gpt-*"];
        patterns.sort_by_key(|it| rank(it));
        assert_eq!(patterns, ["openai/gpt-4o", "openai/gpt-*", "openai/*", "*"]);
    }

    #[test]
    fn what_is_neither_a_target_nor_a_pattern_of_targets_is_refused() {
        for (text, good) in [
            ("openai/gpt-4o", true),
            ("groq/openai/gpt-oss-20b", true),
            ("*", true),
            ("gpt-*", true),
            ("gpt-4o", false),
            ("/gpt-4o", false),
            ("openai/", false),
            ("", false),
            ("openai/gpt 4o", false),
            ("openai/\n", false),
        ] {
            assert_eq!(target_fault(text).is_none(), good, "{text:?}");
        }
        assert!(target_fault(&format!("a/{}", "x".repeat(255))).is_some());
    }
}
