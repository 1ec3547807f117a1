//! Reads the price list that the community keeps, in the layout of `model_prices_and_context_window.json`: an object with
//! one member a model, whose prices are JSON numbers of dollars for a token. Pure; no number ever becomes a float.

use std::collections::BTreeMap;

use serde_json::value::RawValue;

use crate::money::Money;
use crate::price::{Classes, LongContext, Rates};

/// A model of the file with a price that can be kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Offered {
    /// Its member in the file.
    pub name: String,
    /// Who serves it, as the file calls them.
    pub provider: String,
    /// The provider's own name of the model.
    pub model: String,
    pub rates: Rates,
    /// Its answers have no price of their own, as those of embeddings.
    pub input_only: bool,
    /// It is not priced by tokens, so that these may cost 0.
    pub by_piece: bool,
    /// What was rounded up or could not be taken over.
    pub notes: Vec<String>,
}

/// A model of the file that was left out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Skipped {
    /// Its member in the file.
    pub name: String,
    pub reason: String,
}

type Members<'a> = BTreeMap<String, &'a RawValue>;

/// Modes whose calls are priced by tokens, and those that may be priced by the piece.
const MODES: [&str; 4] = ["chat", "completion", "responses", "embedding"];
const TASKS: [&str; 5] = ["moderation", "image_generation", "audio_speech", "audio_transcription", "rerank"];
/// The file's own example of itself.
const EXAMPLE: &str = "sample_spec";

/// Every model of the file, good or not. Unless they are to be `free`, classes and tiers with a price of 0 have none: the
/// file says 0 where it does not know.
///
/// # Errors
/// When the text is no object of objects at all.
pub(super) fn read(text: &str, free: bool) -> Result<Vec<Result<Offered, Skipped>>, serde_json::Error> {
    let models: BTreeMap<String, &RawValue> = serde_json::from_str(text)?;
    let models = models.into_iter().filter(|(name, _)| name != EXAMPLE);
    Ok(models.map(|(name, raw)| model(&name, raw, free).map_err(|reason| Skipped { name, reason })).collect())
}

fn model(name: &str, raw: &RawValue, free: bool) -> Result<Offered, String> {
    let members: Members = serde_json::from_str(raw.get()).map_err(|_| "is not an object".to_owned())?;
    let provider = text(&members, "litellm_provider").ok_or("names no litellm_provider")?;
    let mode = text(&members, "mode").unwrap_or_else(|| "chat".to_owned());
    let is_task = TASKS.contains(&mode.as_str());
    if !is_task && !MODES.contains(&mode.as_str()) {
        return Err(format!("its mode is {mode}, which has no price here"));
    }
    if name.contains("-x-") {
        return Err("is the price of one size or quality of a model".to_owned());
    }
    let mut reader = Reader { members: &members, free, notes: Vec::new() };
    let pieces = if is_task { reader.pieces(&mode)? } else { Classes::default() };
    let by_piece = pieces != Classes::default();
    let input = match reader.per_million("input_cost_per_token", "")? {
        Some(input) => input,
        None if by_piece => Money::ZERO,
        None => return Err("has no input_cost_per_token".to_owned()),
    };
    let input_only = matches!(mode.as_str(), "embedding" | "moderation" | "rerank");
    let mut more = reader.classes("")?.over(pieces);
    let output = match reader.per_million("output_cost_per_token", "")? {
        Some(output) => output,
        None if input_only || by_piece => Money::ZERO,
        // What is drawn or spoken has a price, and nothing else comes out.
        None if more.image_output.or(more.audio_output).is_some() => {
            more.image_output.max(more.audio_output).unwrap_or(Money::ZERO)
        }
        None => return Err("has no output_cost_per_token".to_owned()),
    };
    let search = reader.search()?;
    // A model that searches for every answer bills it with every call.
    let always = provider == "perplexity" || name.contains("search-preview") || name.contains("search-api");
    more.request = reader.apiece("input_cost_per_request")?.filter(|price| reader.is_known(*price));
    match always {
        true => more.request = more.request.max(search),
        false => more.search = more.search.or(search),
    }
    let mut rates = Rates { more, ..Rates::new(input, output) };
    for (suffix, above) in tiers(&members) {
        let mut tier = LongContext {
            above,
            input: reader.known("input_cost_per_token", &suffix)?,
            output: reader.known("output_cost_per_token", &suffix)?,
            more: reader.classes(&suffix)?,
        };
        // Thresholds rise: what a lower tier says holds on above it.
        if let Some(below) = rates.long_context.last() {
            tier.input = tier.input.or(below.input);
            tier.output = tier.output.or(below.output);
            tier.more = tier.more.over(below.more);
        }
        let says_nothing = tier.input.is_none() && tier.output.is_none() && tier.more == Classes::default();
        if !says_nothing {
            rates.long_context.push(tier);
        }
    }
    rates.batch = reader.batch(&rates)?;
    let mut notes = reader.notes;
    notes.extend(untold(&members, is_task));
    rates.check().map_err(|fault| fault.to_string())?;
    let model = name.strip_prefix(&format!("{provider}/")).unwrap_or(name).to_owned();
    Ok(Offered { name: name.to_owned(), provider, model, rates, input_only, by_piece, notes })
}

struct Reader<'a> {
    members: &'a Members<'a>,
    free: bool,
    notes: Vec<String>,
}

impl Reader<'_> {
    /// Dollars for a token, as dollars for a million.
    fn per_million(&mut self, member: &str, suffix: &str) -> Result<Option<Money>, String> {
        // Dollars to nano-dollars, one token to a million.
        self.number(&format!("{member}{suffix}"), 9 + 6)
    }

    /// The same, if it can be told from a price that nobody knows.
    fn known(&mut self, member: &str, suffix: &str) -> Result<Option<Money>, String> {
        Ok(self.per_million(member, suffix)?.filter(|price| self.is_known(*price)))
    }

    fn is_known(&self, price: Money) -> bool {
        self.free || price > Money::ZERO
    }

    fn apiece(&mut self, member: &str) -> Result<Option<Money>, String> {
        self.number(member, 9)
    }

    fn number(&mut self, member: &str, shift: i32) -> Result<Option<Money>, String> {
        let Some(raw) = self.members.get(member).map(|raw| raw.get()).filter(|raw| *raw != "null") else {
            return Ok(None);
        };
        let (money, is_exact) = scaled(raw, shift).ok_or_else(|| format!("{member} is not a price: {raw:.40}"))?;
        if !is_exact {
            self.notes.push(format!("{member} is finer than can be kept and was rounded up"));
        }
        Ok(Some(money))
    }

    fn classes(&mut self, suffix: &str) -> Result<Classes, String> {
        Ok(Classes {
            cached_input: self.known("cache_read_input_token_cost", suffix)?,
            cache_write: self.known("cache_creation_input_token_cost", suffix)?,
            cache_write_1h: self.known("cache_creation_input_token_cost_above_1hr", suffix)?,
            audio_input: self.known("input_cost_per_audio_token", suffix)?,
            image_input: self.known("input_cost_per_image_token", suffix)?,
            reasoning: self.known("output_cost_per_reasoning_token", suffix)?,
            audio_output: self.known("output_cost_per_audio_token", suffix)?,
            image_output: self.known("output_cost_per_image_token", suffix)?,
            ..Classes::default()
        })
    }

    /// What a task is priced by beside tokens. The file often says one price in several ways: tokens come first, for one
    /// call must not be billed twice.
    fn pieces(&mut self, mode: &str) -> Result<Classes, String> {
        let by_tokens = ["output_cost_per_image_token", "output_cost_per_audio_token", "input_cost_per_audio_token"];
        for member in by_tokens {
            if self.known(member, "")?.is_some() {
                return Ok(Classes::default());
            }
        }
        let mut first = |members: [&str; 2], shift: i32| -> Result<Option<Money>, String> {
            for member in members {
                let price = self.number(member, shift)?;
                if price.is_some_and(|price| self.is_known(price)) {
                    return Ok(price);
                }
            }
            Ok(None)
        };
        let mut pieces = Classes::default();
        match mode {
            "image_generation" => pieces.image = first(["output_cost_per_image", "input_cost_per_image"], 9)?,
            "audio_transcription" => pieces.second = first(["input_cost_per_second", "output_cost_per_second"], 9)?,
            "audio_speech" => {
                pieces.characters = first(["input_cost_per_character", "output_cost_per_character"], 9 + 6)?;
                if pieces.characters.is_none() {
                    pieces.second = first(["output_cost_per_second", "input_cost_per_second"], 9)?;
                }
            }
            "rerank" => pieces.search = first(["input_cost_per_query", "output_cost_per_query"], 9)?,
            _ => {}
        }
        Ok(pieces)
    }

    /// The dearest of the prices for a search, whose kind a receipt does not tell.
    fn search(&mut self) -> Result<Option<Money>, String> {
        let Some(raw) = self.members.get("search_context_cost_per_query") else { return Ok(None) };
        let Ok(sizes) = serde_json::from_str::<Members>(raw.get()) else { return Ok(None) };
        let mut reader = Reader { members: &sizes, free: self.free, notes: Vec::new() };
        let mut dearest = None;
        for size in sizes.keys() {
            dearest = dearest.max(reader.apiece(size)?);
        }
        self.notes.append(&mut reader.notes);
        Ok(dearest.filter(|price| *price > Money::ZERO))
    }

    /// What of the price remains in a batch, if it is one and the same factor for input and output.
    fn batch(&mut self, rates: &Rates) -> Result<Option<crate::price::Discount>, String> {
        let input = self.known("input_cost_per_token_batches", "")?;
        let output = self.known("output_cost_per_token_batches", "")?;
        let (Some(input), Some(output)) = (input, output) else { return Ok(None) };
        let millionths = |part: Money, whole: Money| {
            let (part, whole) = (i128::from(part.nanos()) * 1_000_000, i128::from(whole.nanos()));
            (whole > 0 && part % whole == 0).then(|| part / whole)
        };
        let factor = match (millionths(input, rates.input), millionths(output, rates.output)) {
            (Some(a), Some(b)) if a == b => i64::try_from(a).ok(),
            (Some(a), None) if rates.output == Money::ZERO => i64::try_from(a).ok(),
            _ => None,
        };
        let factor = factor.and_then(|it| Money::from_nanos(it.checked_mul(1_000)?).to_string().parse().ok());
        if factor.is_none() {
            self.notes.push("its prices in a batch are not one factor, so a batch costs as much as a call".to_owned());
        }
        Ok(factor)
    }
}

fn text(members: &Members, name: &str) -> Option<String> {
    serde_json::from_str(members.get(name)?.get()).ok()
}

/// The endings of members that have another price above so many tokens, by rising threshold.
fn tiers(members: &Members) -> Vec<(String, u64)> {
    let mut tiers: Vec<(String, u64)> = Vec::new();
    for member in members.keys() {
        let Some((_, rest)) = member.rsplit_once("_above_") else { continue };
        let Some(size) = rest.strip_suffix("_tokens") else { continue };
        let digits = size.trim_end_matches(|c: char| c.is_ascii_alphabetic());
        let unit = match &size[digits.len()..] {
            "k" => 1_000,
            "m" => 1_000_000,
            _ => continue,
        };
        let Some(above) = digits.parse::<u64>().ok().and_then(|it| it.checked_mul(unit)) else { continue };
        if !tiers.iter().any(|(_, known)| *known == above) {
            tiers.push((format!("_above_{rest}"), above));
        }
    }
    tiers.sort_by_key(|(_, above)| *above);
    tiers
}

/// Prices that no class here stands for, one note for all of them. Other service tiers are refused at the door.
fn untold(members: &Members, is_task: bool) -> Option<String> {
    const KNOWN: [&str; 13] = [
        "input_cost_per_token",
        "output_cost_per_token",
        "cache_read_input_token_cost",
        "cache_creation_input_token_cost",
        "cache_creation_input_token_cost_above_1hr",
        "input_cost_per_audio_token",
        "input_cost_per_image_token",
        "output_cost_per_reasoning_token",
        "output_cost_per_audio_token",
        "input_cost_per_request",
        "search_context_cost_per_query",
        "tool_use_system_prompt_tokens",
        "output_cost_per_image_token",
    ];
    const OF_TASKS: [&str; 8] = [
        "output_cost_per_image",
        "input_cost_per_image",
        "input_cost_per_second",
        "output_cost_per_second",
        "input_cost_per_character",
        "output_cost_per_character",
        "input_cost_per_query",
        "output_cost_per_query",
    ];
    const ELSEWHERE: [&str; 4] = ["_priority", "_flex", "_batches", "_multiplier"];
    let is_told = |member: &str| {
        let tiered = tiers_of(member).unwrap_or(member);
        KNOWN.contains(&member)
            || KNOWN.contains(&tiered)
            || (is_task && OF_TASKS.contains(&member))
            || ELSEWHERE.iter().any(|it| member.ends_with(it))
    };
    let is_zero = |raw: &RawValue| scaled(raw.get(), 15).is_some_and(|(money, _)| money == Money::ZERO);
    let names: Vec<&str> = members
        .iter()
        .filter(|(name, raw)| name.contains("cost") && !is_told(name) && !is_zero(raw))
        .map(|(name, _)| name.as_str())
        .collect();
    (!names.is_empty()).then(|| format!("not taken over: {}", names.join(", ")))
}

fn tiers_of(member: &str) -> Option<&str> {
    let (base, rest) = member.rsplit_once("_above_")?;
    rest.ends_with("_tokens").then_some(base)
}

/// A JSON number times a power of ten, as whole nano-dollars; rounded up, and whether it was exact. None for what is no
/// number, is negative or too large.
fn scaled(raw: &str, shift: i32) -> Option<(Money, bool)> {
    let (mantissa, exponent) = raw.split_once(['e', 'E']).unwrap_or((raw, "0"));
    let (whole, part) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let all_digits = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
    if whole.is_empty() || !all_digits(whole) || !all_digits(part) {
        return None;
    }
    let digits = format!("{whole}{part}");
    let digits = digits.trim_start_matches('0');
    if digits.is_empty() {
        return Some((Money::ZERO, true));
    }
    let exponent: i32 = exponent.parse().ok().filter(|it: &i32| it.abs() < 1_000)?;
    let places = i32::try_from(part.len()).ok()?;
    // More digits than this are below anything that can be kept, or above it.
    let kept = digits.len().min(30);
    let dropped = digits[kept..].bytes().any(|b| b != b'0');
    let number: u128 = digits[..kept].parse().ok()?;
    let power = exponent - places + shift + i32::try_from(digits.len() - kept).ok()?;
    let (nanos, is_exact) = match u32::try_from(power) {
        Ok(power) => (number.checked_mul(10u128.checked_pow(power)?)?, true),
        Err(_) => match 10u128.checked_pow(power.unsigned_abs()) {
            Some(divisor) => (number.div_ceil(divisor), number.is_multiple_of(divisor)),
            None => (1, false),
        },
    };
    let nanos = if dropped && is_exact { nanos.checked_add(1)? } else { nanos };
    Some((Money::from_nanos(i64::try_from(nanos).ok()?), is_exact && !dropped))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_json_number_becomes_money_digit_by_digit() {
        for (raw, expected) in [
            ("2.5e-06", Some(("2.5", true))),
            ("0.0000025", Some(("2.5", true))),
            ("1e-6", Some(("1", true))),
            ("1E-06", Some(("1", true))),
            ("3.75e-08", Some(("0.0375", true))),
            ("0.1e-05", Some(("1", true))),
            ("1.5e+1", Some(("15000000", true))),
            ("0", Some(("0", true))),
            ("0.0", Some(("0", true))),
            ("1e-15", Some(("0.000000001", true))),
            ("1.1e-15", Some(("0.000000002", false))),
            ("1e-400", Some(("0.000000001", false))),
            ("1.9999999999999999e-06", Some(("2", false))),
            ("0.0000010000000000000000000000000000000000000001", Some(("1.000000001", false))),
            ("-1e-6", None),
            ("1e6", None), // a trillion dollars
            ("1e999", None),
            ("1e9999", None),
            ("\"1e-6\"", None),
            ("NaN", None),
            ("true", None),
            ("{}", None),
            ("", None),
            (".5", None),
        ] {
            let told = scaled(raw, 15).map(|(money, exact)| (money.to_string(), exact));
            assert_eq!(told, expected.map(|(text, exact): (&str, bool)| (text.to_owned(), exact)), "{raw}");
        }
    }

    fn one(json: &str) -> Result<Offered, Skipped> {
        let read = read(&format!("{{\"model\": {json}}}"), false).unwrap();
        read.into_iter().next().unwrap()
    }

    fn usd(text: &str) -> Option<Money> {
        Some(text.parse().unwrap())
    }

    #[test]
    fn every_class_and_tier_that_the_layout_has_is_read() {
        let offered = one(r#"{"litellm_provider": "anthropic", "mode": "chat", "max_input_tokens": 200000,
                "input_cost_per_token": 3e-06, "output_cost_per_token": 1.5e-05, "cache_read_input_token_cost": 3e-07,
                "cache_creation_input_token_cost": 3.75e-06, "cache_creation_input_token_cost_above_1hr": 6e-06,
                "input_cost_per_token_above_200k_tokens": 6e-06, "output_cost_per_token_above_200k_tokens": 2.25e-05,
                "cache_read_input_token_cost_above_200k_tokens": 6e-07,
                "cache_creation_input_token_cost_above_200k_tokens": 7.5e-06,
                "cache_creation_input_token_cost_above_1hr_above_200k_tokens": 1.2e-05,
                "input_cost_per_token_batches": 1.5e-06, "output_cost_per_token_batches": 7.5e-06,
                "output_cost_per_reasoning_token": 1.6e-05, "input_cost_per_audio_token": 4e-05,
                "output_cost_per_audio_token": 8e-05, "input_cost_per_image_token": 1e-06,
                "search_context_cost_per_query": {"search_context_size_high": 0.01, "search_context_size_low": 0.008},
                "input_cost_per_token_priority": 9, "supports_vision": true}"#)
        .unwrap();
        let rates = &offered.rates;
        assert_eq!((Some(rates.input), Some(rates.output)), (usd("3"), usd("15")));
        let expected = Classes {
            cached_input: usd("0.3"),
            cache_write: usd("3.75"),
            cache_write_1h: usd("6"),
            audio_input: usd("40"),
            image_input: usd("1"),
            reasoning: usd("16"),
            audio_output: usd("80"),
            search: usd("0.01"),
            ..Classes::default()
        };
        assert_eq!(rates.more, expected);
        assert_eq!(rates.batch.map(|it| it.to_string()).as_deref(), Some("0.5"));
        let [tier] = &rates.long_context[..] else { panic!("{rates:?}") };
        assert_eq!((tier.above, tier.input, tier.output), (200_000, usd("6"), usd("22.5")));
        assert_eq!((tier.more.cached_input, tier.more.cache_write_1h), (usd("0.6"), usd("12")));
        assert_eq!(offered.notes, Vec::<String>::new());
    }

    #[test]
    fn what_cannot_be_priced_is_skipped_and_what_is_not_taken_over_is_said() {
        for (json, reason) in [
            ("[]", "not an object"),
            ("{}", "names no litellm_provider"),
            (r#"{"litellm_provider":"openai","mode":"video_generation"}"#, "mode is video_generation"),
            (r#"{"litellm_provider":"openai","mode":"image_generation"}"#, "no input_cost_per_token"),
            (r#"{"litellm_provider":"openai","mode":"chat"}"#, "no input_cost_per_token"),
            (r#"{"litellm_provider":"openai","input_cost_per_token":null}"#, "no input_cost_per_token"),
            (r#"{"litellm_provider":"openai","input_cost_per_token":1e-6}"#, "no output_cost_per_token"),
            (r#"{"litellm_provider":"openai","input_cost_per_token":-1e-6}"#, "not a price: -1e-6"),
            (r#"{"litellm_provider":"openai","input_cost_per_token":"1e-6"}"#, "not a price"),
        ] {
            let skipped = one(json).unwrap_err();
            assert!(skipped.reason.contains(reason), "{json}: {}", skipped.reason);
        }
        let noted = one(
            r#"{"litellm_provider":"gemini","input_cost_per_token":1.0000000000000001e-6,"output_cost_per_token":1e-6,
                "input_cost_per_video_per_second":0.5,"input_cost_per_character":0,"input_cost_per_token_batches":5e-7,
                "output_cost_per_token_batches":9e-7}"#,
        )
        .unwrap();
        assert_eq!(noted.rates.input, usd("1.000000001").unwrap());
        assert!(noted.notes[0].contains("rounded up") && noted.notes[1].contains("batch"), "{:?}", noted.notes);
        assert_eq!(noted.notes[2], "not taken over: input_cost_per_video_per_second");
    }

    #[test]
    fn a_task_is_priced_by_the_piece_unless_it_is_by_tokens() {
        let classes = Classes::default();
        for (json, input, more) in [
            (
                r#""mode":"audio_transcription","input_cost_per_second":0.0001,"output_cost_per_second":0.0001"#,
                "0",
                Classes { second: usd("0.0001"), ..classes },
            ),
            (
                r#""mode":"audio_speech","input_cost_per_character":1.5e-05"#,
                "0",
                Classes { characters: usd("15"), ..classes },
            ),
            (
                r#""mode":"audio_speech","input_cost_per_token":2.5e-06,"output_cost_per_token":1e-05,
                    "output_cost_per_audio_token":1.2e-05,"output_cost_per_second":0.00025"#,
                "2.5",
                Classes { audio_output: usd("12"), ..classes },
            ),
            (
                r#""mode":"image_generation","output_cost_per_image":0.04"#,
                "0",
                Classes { image: usd("0.04"), ..classes },
            ),
            (
                r#""mode":"rerank","input_cost_per_query":0.002,"input_cost_per_token":0.0,"output_cost_per_token":0.0"#,
                "0",
                Classes { search: usd("0.002"), ..classes },
            ),
            (
                r#""mode":"image_generation","input_cost_per_token":5e-06,"output_cost_per_image_token":4e-05"#,
                "5",
                Classes { image_output: usd("40"), ..classes },
            ),
            (r#""mode":"moderation","input_cost_per_token":0.0"#, "0", classes),
        ] {
            let offered = one(&format!("{{\"litellm_provider\":\"openai\",{json}}}")).unwrap();
            assert_eq!((Some(offered.rates.input), offered.rates.more), (usd(input), more), "{json}");
        }
    }

    #[test]
    fn names_lose_their_provider_and_a_model_that_always_searches_bills_it_with_the_call() {
        let read = read(
            r#"{"sample_spec": {"litellm_provider": "one of"},
                "perplexity/sonar": {"litellm_provider": "perplexity", "input_cost_per_token": 1e-6,
                    "output_cost_per_token": 1e-6, "search_context_cost_per_query": {"low": 0.005, "high": 0.012}},
                "text-embedding-3-small": {"litellm_provider": "openai", "mode": "embedding", "input_cost_per_token": 2e-8}}"#,
            false,
        )
        .unwrap();
        let offered: Vec<_> = read.into_iter().map(Result::unwrap).collect();
        assert_eq!(offered.len(), 2, "the example is no model");
        assert_eq!((&*offered[0].model, offered[0].rates.more.request), ("sonar", usd("0.012")));
        assert_eq!((&*offered[1].model, offered[1].rates.output), ("text-embedding-3-small", Money::ZERO));
        for broken in ["", "[]", "{", "3", "{\"a\":1}{"] {
            assert!(super::read(broken, false).is_err(), "{broken}");
        }
    }

    #[test]
    fn a_class_or_tier_that_costs_0_has_no_price_unless_it_is_to_be_free() {
        let json = r#"{"m": {"litellm_provider":"openai","input_cost_per_token":1e-6,"output_cost_per_token":2e-6,
            "cache_read_input_token_cost":0,"output_cost_per_reasoning_token":0.0,"input_cost_per_request":0,
            "input_cost_per_token_above_128k_tokens":3e-6,"output_cost_per_token_above_128k_tokens":0,
            "input_cost_per_token_above_200k_tokens":0,"output_cost_per_token_above_200k_tokens":5e-6,
            "input_cost_per_token_batches":0,"output_cost_per_token_batches":0}}"#;
        let rates = |free| super::read(json, free).unwrap().remove(0).unwrap().rates;
        let told = rates(false);
        assert_eq!((told.more, told.batch), (Classes::default(), None));
        let tiers: Vec<_> = told.long_context.iter().map(|it| (it.above, it.input, it.output)).collect();
        assert_eq!(tiers, [(128_000, usd("3"), None), (200_000, usd("3"), usd("5"))]);
        let free = rates(true);
        assert_eq!((free.more.cached_input, free.more.reasoning, free.more.request), (usd("0"), usd("0"), usd("0")));
        assert_eq!(free.long_context[1].input, usd("0"));
    }

    #[test]
    fn a_higher_tier_goes_on_from_the_one_below() {
        let offered = one(r#"{"litellm_provider":"gemini","input_cost_per_token":1e-6,"output_cost_per_token":1e-6,
                "input_cost_per_token_above_200k_tokens":3e-6,"input_cost_per_token_above_128k_tokens":2e-6,
                "output_cost_per_token_above_128k_tokens":4e-6,"input_cost_per_token_above_1m_tokens":5e-6}"#)
        .unwrap();
        let tiers: Vec<_> = offered.rates.long_context.iter().map(|it| (it.above, it.input, it.output)).collect();
        assert_eq!(
            tiers,
            [(128_000, usd("2"), usd("4")), (200_000, usd("3"), usd("4")), (1_000_000, usd("5"), usd("4")),]
        );
    }
}
