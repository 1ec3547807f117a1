//! What Cohere bills. Its counts are written as floats, and it tells two: `tokens`, which the model saw, and `billed_units`, which
//! cost. The second counts; where only the first is told, it is the nearest thing.

use serde::Deserialize;

use crate::request::Usage;

/// `usage` of a conversation, `meta` of everything else.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
pub(super) struct Wire {
    #[serde(default)]
    billed_units: Option<Units>,
    #[serde(default)]
    tokens: Option<Units>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Deserialize)]
#[serde(default)]
struct Units {
    input_tokens: Option<f64>,
    output_tokens: Option<f64>,
    image_tokens: Option<f64>,
    search_units: Option<f64>,
}

/// The classes; none if nothing was told. A prompt that was found in a cache is billed like any other.
pub(super) fn read(wire: &Wire) -> Option<Usage> {
    let told = |units: &Units| *units != Units::default();
    let units = wire.billed_units.filter(told).or(wire.tokens.filter(told))?;
    // A cast from a float takes the nearest number there is; a part of a unit is billed as one.
    let whole = |count: Option<f64>| count.unwrap_or(0.0).ceil() as u64;
    Some(Usage {
        input: whole(units.input_tokens),
        image_input: whole(units.image_tokens),
        output: whole(units.output_tokens),
        searches: whole(units.search_units),
        ..Usage::default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_billed_counts_and_not_what_the_model_saw() {
        let check = |raw: &str, expected: Option<(u64, u64, u64)>| {
            let usage = read(&serde_json::from_str(raw).unwrap());
            assert_eq!(usage.map(|it| (it.input, it.output, it.searches)), expected, "{raw}");
        };
        let both = r#"{"billed_units":{"input_tokens":5.0,"output_tokens":7},"tokens":{"input_tokens":71,"output_tokens":9},"cached_tokens":64}"#;
        check(both, Some((5, 7, 0)));
        check(r#"{"tokens":{"input_tokens":71.0,"output_tokens":9.0}}"#, Some((71, 9, 0)));
        check(r#"{"billed_units":{"search_units":1.0},"api_version":{"version":"2"}}"#, Some((0, 0, 1)));
        check(r#"{"billed_units":{"search_units":1.2,"classifications":3}}"#, Some((0, 0, 2)));
        check(r#"{"billed_units":{"input_tokens":-4,"output_tokens":1e300}}"#, Some((0, u64::MAX, 0)));
        check(r#"{"billed_units":{},"tokens":null}"#, None);
        check(r#"{}"#, None);
    }
}
