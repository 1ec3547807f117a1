//! What models of one maker want beside Converse's common words. A model is known by its id, whatever profile of regions or ARN it
//! stands in; a name that tells nothing gets nothing special.

use std::borrow::Cow;

use serde::Serialize;
use serde_json::value::RawValue;

use super::content;
use crate::dialect::Unsupported;
use crate::members::{Members, unsupported};
use crate::translate::effort;

/// Whose model it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Family {
    Claude,
    Nova,
    /// Amazon's first that think.
    Nova2,
    GptOss,
    Other,
}

impl Family {
    /// `us.anthropic.claude-…`, `arn:aws:bedrock:…:inference-profile/eu.amazon.nova-…`.
    pub(super) fn of(model: &str) -> Family {
        let id = model.rsplit('/').next().unwrap_or(model);
        let is = |name: &str| id.strip_prefix(name).is_some() || id.contains(&format!(".{name}"));
        match () {
            () if is("anthropic.") => Family::Claude,
            () if is("amazon.nova-2-") => Family::Nova2,
            () if is("amazon.nova-") => Family::Nova,
            () if is("openai.gpt-oss-") => Family::GptOss,
            () => Family::Other,
        }
    }

    /// It takes cache marks; elsewhere they are hints that nobody can follow.
    pub(super) fn caches(self) -> bool {
        matches!(self, Family::Claude | Family::Nova | Family::Nova2)
    }

    /// It takes them among the tools too.
    pub(super) fn caches_tools(self) -> bool {
        self == Family::Claude
    }
}

/// `outputConfig.effort`.
#[derive(Serialize, Clone, Copy)]
#[serde(rename_all = "lowercase")]
pub(super) enum Effort {
    Low,
    Medium,
    High,
    Xhigh,
    Max,
}

/// `additionalModelRequestFields`: the model's own words.
#[derive(Serialize, Default)]
pub(super) struct Extra<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    thinking: Option<Cow<'a, RawValue>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    top_k: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reasoning_effort: Option<Effort>,
    #[serde(rename = "reasoningConfig", skip_serializing_if = "Option::is_none")]
    reasoning_config: Option<NovaReasoning>,
    #[serde(rename = "inferenceConfig", skip_serializing_if = "Option::is_none")]
    inference_config: Option<NovaInference<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct NovaReasoning {
    #[serde(rename = "type")]
    kind: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_reasoning_effort: Option<Effort>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct NovaInference<'a> {
    top_k: &'a RawValue,
}

impl Extra<'_> {
    pub(super) fn if_any(self) -> Option<Self> {
        let any = self.thinking.is_some()
            || self.top_k.is_some()
            || self.reasoning_effort.is_some()
            || self.reasoning_config.is_some()
            || self.inference_config.is_some();
        any.then_some(self)
    }
}

/// `reasoning_effort`, and `thinking` in Anthropic's words. Claude is told its effort by Converse (`minimal` is its `low`, `none`
/// turns thinking off) and its budget as it stands. The others are told an effort in words of their own, the nearest one for a
/// budget; a request that leaves the choice to the model says nothing. Who is not known to think is refused.
pub(super) fn reasoning<'a>(
    members: &mut Members<'a>,
    family: Family,
    extra: &mut Extra<'a>,
) -> Result<Option<Effort>, Unsupported> {
    let thinking = members.raw("thinking");
    let mut place = "reasoning_effort";
    let mut word = members.text("reasoning_effort")?;
    match thinking {
        Some(thinking) if family == Family::Claude => extra.thinking = Some(Cow::Borrowed(thinking)),
        Some(thinking) if word.is_none() => {
            place = "thinking";
            word = effort(thinking)?.map(Cow::Borrowed);
        }
        _ => {}
    }
    let Some(word) = word else { return Ok(None) };
    let effort = match word.as_ref() {
        "none" => None,
        "minimal" | "low" => Some(Effort::Low),
        "medium" => Some(Effort::Medium),
        "high" => Some(Effort::High),
        "xhigh" => Some(Effort::Xhigh),
        "max" => Some(Effort::Max),
        _ => return Err(unsupported(place, "is unknown here")),
    };
    match (family, effort) {
        (Family::Claude, Some(effort)) => return Ok(Some(effort)),
        (Family::Claude, None) => {
            extra.thinking.get_or_insert_with(|| Cow::Owned(content::raw(r#"{"type":"disabled"}"#)));
        }
        (Family::GptOss, Some(Effort::Low | Effort::Medium | Effort::High)) => extra.reasoning_effort = effort,
        (Family::Nova2, None) => {
            extra.reasoning_config = Some(NovaReasoning { kind: "disabled", max_reasoning_effort: None });
        }
        // At its highest effort Nova takes no cap, and nothing is sent without one.
        (Family::Nova2, Some(Effort::Low | Effort::Medium)) => {
            extra.reasoning_config = Some(NovaReasoning { kind: "enabled", max_reasoning_effort: effort });
        }
        _ => return Err(unsupported(place, "cannot be set so for this model")),
    }
    Ok(None)
}

pub(super) fn top_k<'a>(members: &mut Members<'a>, family: Family, extra: &mut Extra<'a>) -> Result<(), Unsupported> {
    let Some(top_k) = members.raw("top_k") else { return Ok(()) };
    match family {
        Family::Claude => extra.top_k = Some(top_k),
        Family::Nova | Family::Nova2 => extra.inference_config = Some(NovaInference { top_k }),
        Family::GptOss | Family::Other => return Err(unsupported("top_k", "cannot be set for this model")),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_family_is_known_by_the_id_wherever_it_stands() {
        for (model, family) in [
            ("anthropic.claude-sonnet-4-5-20250929-v1:0", Family::Claude),
            ("us.anthropic.claude-haiku-4-5-20251001-v1:0", Family::Claude),
            ("arn:aws:bedrock:eu-west-1:123456789012:inference-profile/eu.amazon.nova-lite-v1:0", Family::Nova),
            ("arn:aws:bedrock:us-east-1::foundation-model/amazon.nova-2-lite-v1:0", Family::Nova2),
            ("openai.gpt-oss-120b-1:0", Family::GptOss),
            ("meta.llama3-3-70b-instruct-v1:0", Family::Other),
            ("arn:aws:bedrock:us-east-1:123456789012:application-inference-profile/a1b2c3", Family::Other),
            ("notanthropic.model", Family::Other),
        ] {
            assert_eq!(Family::of(model), family, "{model}");
        }
    }
}
