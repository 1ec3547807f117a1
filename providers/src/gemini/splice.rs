//! A body of Gemini's own, on its way to Gemini: everything stays byte for byte but the cap and what is the gateway's own.
//!
//! Google reads every member under two names, `generationConfig` and `generation_config`; a body that has both is refused, for the
//! one that counts could be the one that was not looked at.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde_json::Value;
use serde_json::value::RawValue;

use crate::dialect::{Aim, Unsupported};
use crate::members::{Members, unsupported};
use crate::openai::with_member;
use crate::request::ModelRequest;
use crate::splice::Splice;

const CONFIG: [&str; 2] = ["generationConfig", "generation_config"];
const CAP: [&str; 2] = ["maxOutputTokens", "max_output_tokens"];
/// Members that are the gateway's, or that the address says.
const OURS: [&str; 5] = ["model", "stream", "fallbacks", "metadata", "user"];
const UNPRICED: &str = "is billed at a rate that the gateway has no price for";

pub(super) fn spliced(request: &ModelRequest, aim: &Aim<'_>) -> Result<Bytes, Unsupported> {
    refuse_what_cannot_be_metered(request)?;
    let mut splice = Splice::new(request);
    match one_of(request, CONFIG)? {
        Some((name, config)) => splice.set(name, &capped(name, config, aim.cap)?),
        None => splice.set(CONFIG[0], &format!("{{\"{}\":{}}}", CAP[0], aim.cap)),
    }
    OURS.iter().for_each(|name| splice.remove(name));
    Ok(splice.finish())
}

/// The member under the one of its names that was used.
fn one_of<'a>(
    request: &'a ModelRequest,
    names: [&'static str; 2],
) -> Result<Option<(&'static str, &'a str)>, Unsupported> {
    let given = request.view().members.iter().filter(|it| names.contains(&&*it.name)).count();
    if given > 1 {
        return Err(unsupported(names[1], "is given under two names"));
    }
    Ok(names.into_iter().find_map(|name| request.member(name).map(|value| (name, value))))
}

/// The configuration with the cap that money was held for, unless it asks for less.
fn capped(place: &str, config: &str, cap: u64) -> Result<String, Unsupported> {
    let raw: &RawValue = serde_json::from_str(config).map_err(|_| unsupported(place, "is not JSON"))?;
    let mut members = Members::read(raw, place)?;
    let told: Vec<_> = CAP.into_iter().filter_map(|name| Some((name, members.raw(name)?))).collect();
    let (name, least) = match told.as_slice() {
        [] => (CAP[0], cap),
        [(name, raw)] => {
            let asked: u64 = raw.get().parse().map_err(|_| unsupported(members.at(name), "must be a whole number"))?;
            (*name, asked.min(cap))
        }
        _ => return Err(unsupported(members.at(CAP[1]), "is given under two names")),
    };
    Ok(with_member(config, name, &least.to_string()))
}

/// Google's own tools and stored contents are billed beside the tokens of a call, and a tier has other prices.
fn refuse_what_cannot_be_metered(request: &ModelRequest) -> Result<(), Unsupported> {
    if let Some(name) = request.features().surcharge {
        return Err(unsupported(name, UNPRICED));
    }
    for name in ["cachedContent", "cached_content"] {
        if request.member(name).is_some() {
            return Err(unsupported(name, "holds what the gateway has not seen"));
        }
    }
    for name in ["serviceTier", "service_tier"] {
        let usual =
            |tier: &str| ["unspecified", "standard"].contains(&tier.trim_matches('"').to_ascii_lowercase().as_str());
        if request.member(name).is_some_and(|tier| !usual(tier)) {
            return Err(unsupported(name, UNPRICED));
        }
    }
    let Some(tools) = request.member("tools") else { return Ok(()) };
    let tools: Vec<BTreeMap<String, Value>> =
        serde_json::from_str(tools).map_err(|_| unsupported("tools", "must be an array of objects"))?;
    for (at, tool) in tools.iter().enumerate() {
        let own = |(name, value): &(&String, &Value)| {
            !["functionDeclarations", "function_declarations"].contains(&name.as_str()) && !value.is_null()
        };
        if let Some((name, _)) = tool.iter().find(own) {
            return Err(unsupported(format!("tools[{at}].{name}"), UNPRICED));
        }
    }
    Ok(())
}
