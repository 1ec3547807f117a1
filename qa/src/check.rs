//! Table helpers and the checks that several suites share. Money is read here with our own few lines, so that the
//! product's parser is not its own judge.

use serde_json::Value;

use crate::http::Answer;

/// Decimal dollars as whole nano-dollars.
#[track_caller]
pub fn nanos(usd: &str) -> i64 {
    let (sign, digits) = usd.strip_prefix('-').map_or((1, usd), |rest| (-1, rest));
    let (whole, part) = digits.split_once('.').unwrap_or((digits, ""));
    assert!(part.len() <= 9 && !whole.is_empty(), "not money: {usd:?}");
    let whole: i64 = whole.parse().unwrap_or_else(|_| panic!("not money: {usd:?}"));
    let part: i64 = format!("{part:0<9}").parse().unwrap_or_else(|_| panic!("not money: {usd:?}"));
    sign * (whole * 1_000_000_000 + part)
}

/// A member that holds decimal dollars.
#[track_caller]
pub fn usd(value: &Value, member: &str) -> i64 {
    match value[member].as_str() {
        Some(text) => nanos(text),
        None => panic!("{member} is no decimal string in {value}"),
    }
}

/// Whole nano-dollars as decimal dollars.
pub fn dollars(nanos: i64) -> String {
    let text = format!("{}.{:09}", nanos / 1_000_000_000, nanos % 1_000_000_000);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// An OpenAI error object with this status, type and code, and a request id.
#[track_caller]
pub fn refused(answer: &Answer, status: u16, kind: &str, code: &str) -> Value {
    let body = answer.json();
    assert_eq!(answer.status, status, "{body}");
    let error = &body["error"];
    assert_eq!(error["type"], kind, "{body}");
    assert_eq!(error["code"], code, "{body}");
    assert!(error["message"].as_str().is_some_and(|m| !m.is_empty()), "no message: {body}");
    assert!(error.get("param").is_some(), "no param: {body}");
    assert!(answer.must("x-request-id").starts_with("req_"), "request ids carry their kind");
    error.clone()
}

/// Checks that a wallet is the sum of its journal, and never was above its limit on the way.
#[track_caller]
pub fn balanced(wallet: &Value, entries: &[Value]) {
    let (mut spent, mut held) = (0, 0);
    let limit = wallet["hard_limit_usd"].as_str().map(nanos);
    for entry in entries.iter().filter(|e| e["window_start"] == wallet["window_start"]) {
        let raised = usd(entry, "spent_delta_usd") + usd(entry, "held_delta_usd") > 0;
        spent += usd(entry, "spent_delta_usd");
        held += usd(entry, "held_delta_usd");
        assert!(held >= 0, "holds below zero at {entry}");
        if let Some(limit) = limit {
            assert!(!raised || spent + held <= limit, "above the limit of {limit} at {entry}: {spent} + {held}");
        }
    }
    assert_eq!(usd(wallet, "spent_usd"), spent, "spent is not the sum of the journal: {wallet}");
    assert_eq!(usd(wallet, "held_usd"), held, "held is not the sum of the journal: {wallet}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dollars_and_nanos_are_each_other_s_way_back() {
        for (text, value) in [("0", 0), ("12.5", 12_500_000_000), ("0.000000001", 1), ("3", 3_000_000_000)] {
            assert_eq!(nanos(text), value);
            assert_eq!(dollars(value), text);
        }
        assert_eq!(nanos("-0.25"), -250_000_000);
    }
}
