//! A price as the catalogue writes it: US dollars in decimal strings.

use serde::Deserialize;

/// US dollars per million tokens. A class without a price of its own costs what its text costs: input, or output.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CatalogPrice {
    /// Input.
    pub input: String,
    /// Input read from the provider's cache.
    #[serde(default)]
    pub cached_input: Option<String>,
    /// Input written to the provider's cache.
    #[serde(default)]
    pub cache_write: Option<String>,
    /// Input written to the provider's cache for an hour.
    #[serde(default)]
    pub cache_write_1h: Option<String>,
    /// Input that is heard.
    #[serde(default)]
    pub audio_input: Option<String>,
    /// Input that is seen.
    #[serde(default)]
    pub image_input: Option<String>,
    /// Output.
    pub output: String,
    /// Hidden reasoning.
    #[serde(default)]
    pub reasoning: Option<String>,
    /// Output that is spoken.
    #[serde(default)]
    pub audio_output: Option<String>,
    /// Output that is drawn.
    #[serde(default)]
    pub image_output: Option<String>,
    /// Each call, beside its tokens.
    #[serde(default)]
    pub request: Option<String>,
    /// Each search.
    #[serde(default)]
    pub search: Option<String>,
    /// Each image that is made.
    #[serde(default)]
    pub image: Option<String>,
    /// Each second that is heard or spoken.
    #[serde(default)]
    pub second: Option<String>,
    /// A million characters that are spoken.
    #[serde(default)]
    pub characters: Option<String>,
    /// What of the price of tokens remains in a batch, as a factor.
    #[serde(default)]
    pub batch: Option<String>,
    /// Other rates for the whole of a call whose prompt is long.
    #[serde(default)]
    pub long_context: Vec<CatalogTier>,
}

/// Rates for calls with more than so many tokens of input. What is not named costs what it costs below.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CatalogTier {
    /// Tokens of all input.
    pub above: u64,
    /// As in [`CatalogPrice`], and so all that follow.
    #[serde(default)]
    pub input: Option<String>,
    #[serde(default)]
    pub cached_input: Option<String>,
    #[serde(default)]
    pub cache_write: Option<String>,
    #[serde(default)]
    pub cache_write_1h: Option<String>,
    #[serde(default)]
    pub audio_input: Option<String>,
    #[serde(default)]
    pub image_input: Option<String>,
    #[serde(default)]
    pub output: Option<String>,
    #[serde(default)]
    pub reasoning: Option<String>,
    #[serde(default)]
    pub audio_output: Option<String>,
    #[serde(default)]
    pub image_output: Option<String>,
    #[serde(default)]
    pub request: Option<String>,
    #[serde(default)]
    pub search: Option<String>,
    #[serde(default)]
    pub image: Option<String>,
    #[serde(default)]
    pub second: Option<String>,
    #[serde(default)]
    pub characters: Option<String>,
}

impl CatalogPrice {
    /// Every member that is not a price such as "2.50".
    pub(super) fn faults(&self) -> Vec<String> {
        let base = [
            Some(&self.input),
            self.cached_input.as_ref(),
            self.cache_write.as_ref(),
            self.cache_write_1h.as_ref(),
            self.audio_input.as_ref(),
            self.image_input.as_ref(),
            Some(&self.output),
            self.reasoning.as_ref(),
            self.audio_output.as_ref(),
            self.image_output.as_ref(),
            self.request.as_ref(),
            self.search.as_ref(),
            self.image.as_ref(),
            self.second.as_ref(),
            self.characters.as_ref(),
            self.batch.as_ref(),
        ];
        let tiers = self.long_context.iter().flat_map(CatalogTier::prices);
        base.into_iter()
            .chain(tiers)
            .flatten()
            .filter(|text| !is_price(text))
            .map(|text| format!("{text:?} is not a price such as \"2.50\""))
            .collect()
    }
}

impl CatalogTier {
    fn prices(&self) -> [Option<&String>; 15] {
        [
            self.input.as_ref(),
            self.cached_input.as_ref(),
            self.cache_write.as_ref(),
            self.cache_write_1h.as_ref(),
            self.audio_input.as_ref(),
            self.image_input.as_ref(),
            self.output.as_ref(),
            self.reasoning.as_ref(),
            self.audio_output.as_ref(),
            self.image_output.as_ref(),
            self.request.as_ref(),
            self.search.as_ref(),
            self.image.as_ref(),
            self.second.as_ref(),
            self.characters.as_ref(),
        ]
    }
}

/// At most nine decimals, never negative.
fn is_price(text: &str) -> bool {
    let (whole, part) = text.split_once('.').unwrap_or((text, "0"));
    let digits = |it: &str| !it.is_empty() && it.bytes().all(|b| b.is_ascii_digit());
    digits(whole) && digits(part) && whole.len() <= 9 && part.len() <= 9
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_price_is_a_decimal_string() {
        for (text, good) in [
            ("2.50", true),
            ("0", true),
            ("0.0375", true),
            ("-1", false),
            ("", false),
            ("1e3", false),
            (".5", false),
            ("1.", false),
            ("0.0000000001", false),
        ] {
            assert_eq!(is_price(text), good, "{text:?}");
        }
    }

    #[test]
    fn every_class_of_every_tier_is_looked_at() {
        let yaml = "{ input: '1', output: x, search: '-1', long_context: [{ above: 5, reasoning: '1e3' }] }";
        let price: CatalogPrice = serde_yaml_ng::from_str(yaml).expect("a price");
        assert_eq!(price.faults().len(), 3, "{:?}", price.faults());
    }
}
