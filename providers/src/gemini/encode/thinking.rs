//! How much to think, in Gemini's words: a budget of tokens in the second generation, a level since the third.
//!
//! Budgets and levels of an effort are those of Google's own OpenAI-compatible surface (ai.google.dev/gemini-api/docs/openai).

use serde::Serialize;

use super::{generation, shorten};
use crate::dialect::Unsupported;
use crate::members::{Members, unsupported};

#[derive(Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ThinkingConfig {
    #[serde(skip_serializing_if = "Option::is_none")]
    include_thoughts: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    thinking_budget: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    thinking_level: Option<String>,
}

/// `reasoning_effort`, or Anthropic's `thinking`, or Google's own `extra_body.google.thinking_config`.
pub(super) fn thinking(members: &mut Members<'_>, model: &str) -> Result<Option<ThinkingConfig>, Unsupported> {
    let effort = members.text("reasoning_effort")?;
    let thinking = members.raw("thinking");
    let own = extra_body(members)?;
    if own.is_some() && (effort.is_some() || thinking.is_some()) {
        return Err(unsupported("extra_body", "says how much to think beside another member that does"));
    }
    let Some(thinking) = thinking else {
        return effort.map_or(Ok(own), |effort| by_effort(&effort, model).map(Some));
    };
    let mut thinking = Members::read(thinking, "thinking")?;
    let (kind, budget) = (thinking.required_text("type")?, thinking.take("budget_tokens")?);
    thinking.done()?;
    // A budget is the plainer word; without one the effort says how much.
    let config = match (kind.as_ref(), budget, &effort) {
        ("disabled", ..) => off(model, "thinking")?,
        ("enabled", Some(_), _) => ThinkingConfig { thinking_budget: budget, ..shown() },
        ("enabled" | "adaptive", _, Some(effort)) => by_effort(effort, model)?,
        ("enabled" | "adaptive", _, None) => shown(),
        _ => return Err(unsupported("thinking.type", "must be enabled, adaptive or disabled")),
    };
    Ok(Some(config))
}

fn by_effort(effort: &str, model: &str) -> Result<ThinkingConfig, Unsupported> {
    if effort == "none" {
        return off(model, "reasoning_effort");
    }
    let unknown = || unsupported("reasoning_effort", format!("{:?} is unknown here", shorten(effort)));
    if generation(model) < 3 {
        let budget = match effort {
            "minimal" | "low" => 1_024,
            "medium" => 8_192,
            "high" | "xhigh" | "max" => 24_576,
            _ => return Err(unknown()),
        };
        return Ok(ThinkingConfig { thinking_budget: Some(budget), ..shown() });
    }
    let level = match effort {
        // The third generation's Pro cannot think less than a little; its first release knew no middle.
        "minimal" if model.contains("pro") => "LOW",
        "medium" if model.starts_with("gemini-3-pro") => "HIGH",
        "minimal" => "MINIMAL",
        "low" => "LOW",
        "medium" => "MEDIUM",
        "high" => "HIGH",
        "xhigh" | "max" => "XHIGH",
        _ => return Err(unknown()),
    };
    Ok(ThinkingConfig { thinking_level: Some(level.to_owned()), ..shown() })
}

/// Some models always think, and bill it.
fn off(model: &str, place: &str) -> Result<ThinkingConfig, Unsupported> {
    match generation(model) >= 3 || model.starts_with("gemini-2.5-pro") {
        true => Err(unsupported(place, "cannot be turned off at this model")),
        false => Ok(ThinkingConfig { thinking_budget: Some(0), ..ThinkingConfig::default() }),
    }
}

fn shown() -> ThinkingConfig {
    ThinkingConfig { include_thoughts: Some(true), ..ThinkingConfig::default() }
}

fn extra_body(members: &mut Members<'_>) -> Result<Option<ThinkingConfig>, Unsupported> {
    let Some(extra) = members.raw("extra_body") else { return Ok(None) };
    let mut extra = Members::read(extra, "extra_body")?;
    let google = extra.raw("google");
    extra.done()?;
    let Some(google) = google else { return Ok(None) };
    let mut google = Members::read(google, "extra_body.google")?;
    let config = google.raw("thinking_config");
    google.done()?;
    let Some(config) = config else { return Ok(None) };
    let mut config = Members::read(config, "extra_body.google.thinking_config")?;
    let level = config.text("thinking_level")?.map(|level| level.to_ascii_uppercase());
    if level.as_deref().is_some_and(|level| !["MINIMAL", "LOW", "MEDIUM", "HIGH", "XHIGH"].contains(&level)) {
        return Err(unsupported(config.at("thinking_level"), "is unknown here"));
    }
    let told = ThinkingConfig {
        include_thoughts: config.take("include_thoughts")?,
        thinking_budget: config.take("thinking_budget")?,
        thinking_level: level,
    };
    config.done()?;
    Ok(Some(told))
}
