//! Gemini's tools and tool configuration as OpenAI's.

use std::borrow::Cow;

use serde::Serialize;
use serde_json::value::RawValue;

use super::{open, schema, some_of, word};
use crate::dialect::Unsupported;
use crate::members::{as_text, elements, unsupported};

#[derive(Serialize)]
pub(super) struct Tool<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    function: Function<'a>,
}

#[derive(Serialize)]
struct Function<'a> {
    name: Cow<'a, str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    parameters: Option<Cow<'a, RawValue>>,
}

#[derive(Serialize)]
#[serde(untagged)]
pub(super) enum Choice<'a> {
    Word(&'static str),
    Named {
        #[serde(rename = "type")]
        kind: &'static str,
        function: Name<'a>,
    },
}

#[derive(Serialize)]
pub(super) struct Name<'a> {
    name: Cow<'a, str>,
}

type Tools<'a> = (Vec<Tool<'a>>, Option<Choice<'a>>);

pub(super) fn tools<'a>(tools: Option<&'a RawValue>, config: Option<&'a RawValue>) -> Result<Tools<'a>, Unsupported> {
    let mut declared = Vec::new();
    for (place, raw) in some_of(tools, "tools")? {
        let mut tool = open(raw, place)?;
        let here = tool.at("functionDeclarations");
        for (place, raw) in some_of(tool.raw("functionDeclarations"), &here)? {
            declared.push(function(raw, place)?);
        }
        tool.done()?;
    }
    let (choice, allowed) = choice(config)?;
    if let Some(allowed) = allowed {
        // Only these may be called: the others need not be told.
        let known = |name: &Cow<'_, str>| declared.iter().any(|tool: &Tool<'_>| tool.function.name == *name);
        if !allowed.iter().all(known) {
            return Err(unsupported(ALLOWED, "names a function that is not declared"));
        }
        declared.retain(|tool| allowed.contains(&tool.function.name));
    }
    if declared.is_empty() {
        return match choice {
            Some(Choice::Word("required") | Choice::Named { .. }) => Err(unsupported("toolConfig", "needs functions")),
            _ => Ok((declared, None)),
        };
    }
    Ok((declared, choice))
}

fn function<'a>(raw: &'a RawValue, place: String) -> Result<Tool<'a>, Unsupported> {
    let mut function = open(raw, place)?;
    // What the function gives back is told for the model's information only.
    function.ignore(&["response", "responseJsonSchema"]);
    function.only(
        "behavior",
        &["\"BLOCKING\"", "\"UNSPECIFIED\"", "\"BEHAVIOR_UNSPECIFIED\""],
        "must be blocking here",
    )?;
    let (own, json) = (function.raw("parameters"), function.raw("parametersJsonSchema"));
    let parameters = match (own, json) {
        (Some(_), Some(_)) => return Err(unsupported(function.at("parameters"), "is given twice, in two languages")),
        (Some(own), None) => Some(Cow::Owned(schema::json_schema(own, &function.at("parameters"))?)),
        (None, json) => json.map(Cow::Borrowed),
    };
    let told =
        Function { name: function.required_text("name")?, description: function.text("description")?, parameters };
    function.done()?;
    Ok(Tool { kind: "function", function: told })
}

const ALLOWED: &str = "toolConfig.functionCallingConfig.allowedFunctionNames";

type Chosen<'a> = (Option<Choice<'a>>, Option<Vec<Cow<'a, str>>>);

/// The choice, and the functions it is limited to.
fn choice(raw: Option<&RawValue>) -> Result<Chosen<'_>, Unsupported> {
    let Some(raw) = raw else { return Ok((None, None)) };
    let mut config = open(raw, "toolConfig")?;
    config.only("includeServerSideToolInvocations", &["false"], "is for tools of another provider's own")?;
    let calling = config.raw("functionCallingConfig");
    config.done()?;
    let Some(raw) = calling else { return Ok((None, None)) };
    let mut calling = open(raw, "toolConfig.functionCallingConfig")?;
    calling.only("streamFunctionCallArguments", &["false"], "cannot be done by this target")?;
    let mode = word(&mut calling, "mode")?;
    let allowed = match calling.raw("allowedFunctionNames").filter(|raw| raw.get() != "[]") {
        None => None,
        Some(raw) => {
            let names = elements(raw, ALLOWED)?.into_iter();
            let names = names.map(|(place, raw)| as_text(raw).ok_or_else(|| unsupported(place, "must be a text")));
            Some(names.collect::<Result<Vec<_>, _>>()?)
        }
    };
    let place = calling.at("mode");
    calling.done()?;
    match (&*mode, allowed) {
        ("" | "MODE_UNSPECIFIED", None) => Ok((None, None)),
        ("AUTO", None) => Ok((Some(Choice::Word("auto")), None)),
        ("NONE", _) => Ok((Some(Choice::Word("none")), None)),
        ("ANY", None) => Ok((Some(Choice::Word("required")), None)),
        ("ANY", Some(mut names)) if names.len() == 1 => {
            let name = names.remove(0);
            Ok((Some(Choice::Named { kind: "function", function: Name { name } }), None))
        }
        ("ANY", Some(names)) => Ok((Some(Choice::Word("required")), Some(names))),
        (_, Some(_)) => Err(unsupported(ALLOWED, "needs the mode ANY at this target")),
        _ => Err(unsupported(place, "must be AUTO, ANY or NONE at this target")),
    }
}
