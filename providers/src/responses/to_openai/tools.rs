//! The client's tools, and which of them the model shall call.

use std::borrow::Cow;

use serde::Serialize;
use serde_json::value::RawValue;

use crate::dialect::Unsupported;
use crate::members::{Members, elements, unsupported};

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "lowercase")]
pub(super) enum Tool<'a> {
    Function { function: Function<'a> },
    Custom { custom: Custom<'a> },
}

#[derive(Serialize)]
pub(super) struct Function<'a> {
    name: Cow<'a, str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    parameters: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    strict: Option<bool>,
}

#[derive(Serialize)]
pub(super) struct Custom<'a> {
    name: Cow<'a, str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    format: Option<Input<'a>>,
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "lowercase")]
enum Input<'a> {
    Text,
    Grammar { grammar: Grammar<'a> },
}

#[derive(Serialize)]
struct Grammar<'a> {
    syntax: Cow<'a, str>,
    definition: Cow<'a, str>,
}

#[derive(Serialize)]
#[serde(untagged)]
pub(super) enum Choice<'a> {
    Word(Cow<'a, str>),
    Named(Named<'a>),
    Allowed {
        #[serde(rename = "type")]
        kind: &'static str,
        allowed_tools: Allowed<'a>,
    },
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "lowercase")]
pub(super) enum Named<'a> {
    Function { function: Name<'a> },
    Custom { custom: Name<'a> },
}

#[derive(Serialize)]
pub(super) struct Name<'a> {
    name: Cow<'a, str>,
}

#[derive(Serialize)]
pub(super) struct Allowed<'a> {
    mode: Cow<'a, str>,
    tools: Vec<Named<'a>>,
}

pub(super) fn tools<'a>(members: &mut Members<'a>) -> Result<Vec<Tool<'a>>, Unsupported> {
    let Some(raw) = members.raw("tools") else { return Ok(Vec::new()) };
    elements(raw, "tools")?.into_iter().map(|(place, raw)| tool(raw, place)).collect()
}

fn tool<'a>(raw: &'a RawValue, place: String) -> Result<Tool<'a>, Unsupported> {
    let mut tool = Members::read(raw, place)?;
    let kind = tool.required_text("type")?;
    tool.only("async", &["false"], "cannot be done by this target")?;
    tool.only("defer_loading", &["false"], "cannot be done by this target")?;
    tool.only("allowed_callers", &["[\"direct\"]", "[]"], "cannot be told this target")?;
    let told = match kind.as_ref() {
        "function" => {
            // It tells the model nothing that the description does not.
            tool.ignore(&["output_schema"]);
            Tool::Function {
                function: Function {
                    name: tool.required_text("name")?,
                    description: tool.text("description")?,
                    parameters: tool.raw("parameters"),
                    strict: tool.take("strict")?,
                },
            }
        }
        "custom" => Tool::Custom {
            custom: Custom {
                name: tool.required_text("name")?,
                description: tool.text("description")?,
                format: tool.raw("format").map(|raw| input(raw, tool.at("format"))).transpose()?,
            },
        },
        _ => return Err(unsupported(tool.at("type"), "is no kind of tool that this target has")),
    };
    tool.done()?;
    Ok(told)
}

fn input<'a>(raw: &'a RawValue, place: String) -> Result<Input<'a>, Unsupported> {
    let mut format = Members::read(raw, place)?;
    let told = match format.required_text("type")?.as_ref() {
        "text" => Input::Text,
        "grammar" => Input::Grammar {
            grammar: Grammar {
                syntax: format.required_text("syntax")?,
                definition: format.required_text("definition")?,
            },
        },
        _ => return Err(unsupported(format.at("type"), "is unknown here")),
    };
    format.done()?;
    Ok(told)
}

pub(super) fn choice<'a>(members: &mut Members<'a>) -> Result<Option<Choice<'a>>, Unsupported> {
    let Some(raw) = members.raw("tool_choice") else { return Ok(None) };
    if let Some(word) = crate::members::as_text(raw) {
        return match word.as_ref() {
            "auto" | "none" | "required" => Ok(Some(Choice::Word(word))),
            _ => Err(unsupported("tool_choice", "is unknown here")),
        };
    }
    let mut choice = Members::read(raw, "tool_choice")?;
    let told = match choice.required_text("type")?.as_ref() {
        "allowed_tools" => {
            let mode = choice.required_text("mode")?;
            let place = choice.at("tools");
            let tools = choice.raw("tools").ok_or_else(|| unsupported(&*place, "is required"))?;
            let mut named_tools = Vec::new();
            for (place, raw) in elements(tools, &place)? {
                let mut tool = Members::read(raw, place)?;
                let kind = tool.required_text("type")?;
                named_tools.push(named(&kind, &mut tool)?);
                tool.done()?;
            }
            Choice::Allowed { kind: "allowed_tools", allowed_tools: Allowed { mode, tools: named_tools } }
        }
        kind => Choice::Named(named(kind, &mut choice)?),
    };
    choice.done()?;
    Ok(Some(told))
}

fn named<'a>(kind: &str, members: &mut Members<'a>) -> Result<Named<'a>, Unsupported> {
    match kind {
        "function" => Ok(Named::Function { function: Name { name: members.required_text("name")? } }),
        "custom" => Ok(Named::Custom { custom: Name { name: members.required_text("name")? } }),
        _ => Err(unsupported(members.at("type"), "is no kind of tool that this target has")),
    }
}
