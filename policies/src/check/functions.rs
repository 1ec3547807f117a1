//! Functions that are refused, each with what to write instead, and functions that there are not.

use std::collections::BTreeMap;

use super::Checked;
use crate::outline::{Argument, CallOutline, builtins, is_builtin};

const LONGEST_RANGE: u64 = 10_000;
/// Repetitions in a pattern beyond this take long to compile and much memory.
const MOST_REPEATED: u64 = 1_000;
const LONGEST_PATTERN: usize = 1_000;

const RANDOM: &str = "is random: a decision must come out the same again";
const BY_ID: &str = "shares of calls are drawn by `weights contains {…}`, the same for a call whenever it is asked";
const NOT_HERE: &str = "is not supported";

/// Functions that are refused: why, and what to write instead.
const REFUSED: [(&str, &str, &str); 19] = [
    ("bits.lsh", "is unbounded", "multiply by the power of two"),
    ("http.send", "reaches out of the process", "put what it would fetch into data.json, and renew the bundle"),
    ("net.cidr_expand", "is unbounded", "ask net.cidr_contains whether one address lies within"),
    ("net.lookup_ip_addr", "reaches out of the process", "put the addresses into data.json"),
    ("numbers.range_step", "is unbounded", "numbers.range with literal ends, and `n % step == 0`"),
    ("opa.runtime", "reads the process's environment", "put what differs between installations into data.json"),
    ("print", "shows input outside", "in tests it is allowed; `alfred policy eval --explain` shows what fired"),
    ("product", "is unbounded", "multiply the values that are meant, at most 16 one upon another"),
    ("rand.intn", RANDOM, BY_ID),
    ("rego.metadata.chain", NOT_HERE, "write what it would say into the rule"),
    ("rego.metadata.rule", NOT_HERE, "write what it would say into the rule"),
    ("rego.parse_module", NOT_HERE, "rules are read when they are compiled, not by other rules"),
    ("test.sleep", "waits", "leave it out: tests hand the time in, `with input.time as …`"),
    ("time.now_ns", "reads the clock: use input.time", "input.time.unix_seconds, input.time.weekday, input.time.hour"),
    ("trace", "shows input outside", "`alfred policy eval --explain` shows what fired"),
    ("units.parse", "is unbounded", "write the number itself"),
    ("units.parse_bytes", "is unbounded", "write the number itself"),
    ("uuid.rfc4122", RANDOM, BY_ID),
    ("yaml.unmarshal", NOT_HERE, "put the table into data.yaml: it is read before any call"),
];

/// Why a call of that which is no rule is refused, and the way to write it instead.
pub(super) fn refused(
    call: &CallOutline,
    module: &Checked<'_>,
    rules: &BTreeMap<Vec<String>, usize>,
) -> Option<(String, String)> {
    let name = &call.name;
    if module.is_test && name == "print" {
        return None;
    }
    if let Some((_, why, help)) = REFUSED.iter().find(|(refused, ..)| refused == name) {
        return Some((format!("{name} is refused: it {why}"), (*help).to_owned()));
    }
    if !is_builtin(name) {
        let package = &module.outline.package;
        let own = rules.keys().filter(|path| path.starts_with(package)).filter_map(|path| path.get(package.len()));
        let mut known: Vec<&str> = builtins().collect();
        known.extend(own.map(String::as_str));
        let near = nearest(name, known.into_iter());
        let help = near.map_or_else(
            || "functions are those of OPA that need no network, clock or chance, and those of your own".to_owned(),
            |near| format!("did you mean {near}?"),
        );
        return Some((format!("there is no function {name}"), help));
    }
    let told = |message: &str, help: &str| Some((message.to_owned(), help.to_owned()));
    match (name.as_str(), call.arguments.as_slice()) {
        ("numbers.range", [Argument::Number(from), Argument::Number(to), ..]) if from.abs_diff(*to) > LONGEST_RANGE => {
            let message = format!("numbers.range is refused beyond {LONGEST_RANGE}");
            told(&message, "compare with `<` and `>` instead of listing the numbers")
        }
        ("numbers.range", [Argument::Number(_), Argument::Number(_), ..]) => None,
        ("numbers.range", _) => told(
            "numbers.range is refused unless both ends are literal numbers",
            "write a literal upper end and filter: `some n in numbers.range(1, 100); n <= limit`",
        ),
        ("sprintf", [Argument::Text(format), ..]) => match bad_verb(format)? {
            Bad::Wide => told("sprintf is refused with a width above 999", "leave the width out"),
            Bad::Flagged => told(
                "sprintf is refused with a `-` before a verb: the value would be lost",
                "leave the `-` out, and pad with concat(\"\", [value, \"   \"])",
            ),
        },
        ("sprintf", _) => told(
            "sprintf is refused unless its format is a literal",
            "write the format where it is used: sprintf(\"… %s …\", [value])",
        ),
        (name, arguments) if name.starts_with("regex.") => bad_pattern(name, arguments),
        _ => None,
    }
}

/// What a format must not ask for.
enum Bad {
    Wide,
    /// The interpreter does not know the flag, and writes out the rest of the verb in the value's place.
    Flagged,
}

/// The first thing in a format that it must not ask for.
fn bad_verb(format: &str) -> Option<Bad> {
    let mut rest = format;
    while let Some((_, verb)) = rest.split_once('%') {
        if let Some(after) = verb.strip_prefix('%') {
            rest = after;
            continue;
        }
        let end = verb.find(|letter: char| letter.is_ascii_alphabetic() || letter == '%').unwrap_or(verb.len());
        let flags = &verb[..end];
        if flags.contains('*') || flags.split(|c: char| !c.is_ascii_digit()).any(|digits| digits.len() > 3) {
            return Some(Bad::Wide);
        }
        if flags.contains('-') {
            return Some(Bad::Flagged);
        }
        rest = &verb[end..];
    }
    None
}

/// A literal pattern that would only fail, or run away, when a call comes.
fn bad_pattern(name: &str, arguments: &[Argument]) -> Option<(String, String)> {
    let at = if name == "regex.replace" { 1 } else { 0 };
    let Some(Argument::Text(pattern)) = arguments.get(at) else {
        return None;
    };
    if !matches!(name, "regex.match" | "regex.find_n" | "regex.split" | "regex.replace") {
        return None;
    }
    if pattern.len() > LONGEST_PATTERN || repeated(pattern) > MOST_REPEATED {
        let message = format!(
            "{name}: the pattern repeats more than {MOST_REPEATED} times, or has more than {LONGEST_PATTERN} bytes"
        );
        return Some((message, "ask for the length with `count(text)`, and keep the pattern small".into()));
    }
    let error = regex::Regex::new(pattern).err()?;
    let why = error.to_string();
    let why = why.lines().last().unwrap_or_default().trim().trim_start_matches("error: ").to_owned();
    let help = format!(
        "{why}; patterns are RE2's: no look-around and no back-references; a raw string (`…`) needs no double backslash"
    );
    Some((format!("{name}: the pattern is not a regular expression"), help))
}

/// The product of a pattern's counted repetitions, as far as they may be nested.
fn repeated(pattern: &str) -> u64 {
    pattern
        .split('{')
        .skip(1)
        .filter_map(|rest| {
            let (inside, _) = rest.split_once('}')?;
            inside.split(',').filter_map(|number| number.trim().parse::<u64>().ok()).max()
        })
        .fold(1, |product, times| product.saturating_mul(times.max(1)))
}

/// What helps with a complaint of the parser's, by what it says.
pub(crate) fn help_for(complaint: &str) -> Option<&'static str> {
    [
        ("`package`", "a module begins with `package alfred.rules.<name>`"),
        ("`if` keyword", "this is Rego before v1: `deny contains x if { … }` (`opa fmt --v0-v1` rewrites a file)"),
        (
            "`contains` keyword",
            "this is Rego before v1: `deny contains x if { … }` (`opa fmt --v0-v1` rewrites a file)",
        ),
        ("recursion limit", "give the inner part a name"),
    ]
    .into_iter()
    .find(|(says, _)| complaint.contains(says))
    .map(|(_, help)| help)
}

/// The name that was probably meant.
pub(crate) fn nearest<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let last = |path: &str| path.rsplit('.').next().unwrap_or_default().to_owned();
    known
        .map(|it| {
            // The same last name in another room (`string.lower` for `lower`) is as near as a slip of the pen.
            let same = usize::from(last(it) != last(name)) + 1;
            (distance(name, it).min(if same == 1 { 1 } else { usize::MAX }), it)
        })
        .min()
        .filter(|(distance, it)| *distance <= 1 + it.len() / 4)
        .map(|(_, it)| it)
}

/// Levenshtein's.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().take(64).collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.chars().take(64).enumerate() {
        let mut corner = std::mem::replace(&mut row[0], i + 1);
        for (j, to) in b.iter().enumerate() {
            let changed = corner + usize::from(from != *to);
            let least = changed.min(row[j] + 1).min(row[j + 1] + 1);
            corner = std::mem::replace(&mut row[j + 1], least);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_of_the_pen_is_understood() {
        for (name, meant) in [
            ("numbers.ragne", Some("numbers.range")),
            ("string.lower", Some("lower")),
            ("strings.replce_n", Some("strings.replace_n")),
            ("cuont", Some("count")),
            ("teapot_of_mine", None),
        ] {
            assert_eq!(nearest(name, builtins()), meant, "{name}");
        }
        assert!(REFUSED.iter().all(|(.., help)| help.len() > 10), "each says what to write instead");
    }

    #[test]
    fn only_what_a_verb_asks_for_is_looked_at() {
        for format in ["%s - %d", "5%% - %s", "%%-4s", "%02d:%02d", "100%%", "%d-%d", "99999 %s"] {
            assert!(bad_verb(format).is_none(), "{format}");
        }
        for format in ["%-4s", "%d%-1s", "% -4d", "%%%-4s"] {
            assert!(matches!(bad_verb(format), Some(Bad::Flagged)), "{format}");
        }
        for format in ["%9999d", "%-9999d", "%*d", "%.1000f"] {
            assert!(matches!(bad_verb(format), Some(Bad::Wide)), "{format}");
        }
    }
}
