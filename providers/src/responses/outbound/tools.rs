//! Tools and the choice among them, which the Responses API writes flat: what chat completions put inside `function` or `custom`
//! stands beside the type.

use std::borrow::Cow;

use serde::Serialize;
use serde_json::value::RawValue;

use crate::dialect::Unsupported;
use crate::members::{Members, as_text, elements, unsupported};

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(super) enum Tool<'a> {
    Function {
        name: Cow<'a, str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        description: Option<&'a RawValue>,
        parameters: Cow<'a, RawValue>,
        /// Always said: it is on by default here, and off in chat completions.
        strict: bool,
    },
    Custom {
        name: Cow<'a, str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        description: Option<&'a RawValue>,
        #[serde(skip_serializing_if = "Option::is_none")]
        format: Option<Format<'a>>,
    },
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(super) enum Format<'a> {
    Text,
    Grammar { syntax: &'a RawValue, definition: &'a RawValue },
}

#[derive(Serialize)]
#[serde(untagged)]
pub(super) enum Choice<'a> {
    Word(&'a RawValue),
    Named(Named<'a>),
    Allowed {
        #[serde(rename = "type")]
        kind: &'static str,
        mode: &'a RawValue,
        tools: Vec<Named<'a>>,
    },
}

#[derive(Serialize)]
pub(super) struct Named<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    name: Cow<'a, str>,
}

pub(super) fn tools<'a>(members: &mut Members<'a>) -> Result<Vec<Tool<'a>>, Unsupported> {
    let Some(raw) = members.raw("tools") else { return Ok(Vec::new()) };
    elements(raw, "tools")?.into_iter().map(|(place, raw)| tool(raw, place)).collect()
}

fn tool<'a>(raw: &'a RawValue, place: String) -> Result<Tool<'a>, Unsupported> {
    let mut tool = Members::read(raw, place)?;
    // Where to cache is a hint to another provider.
    tool.ignore(&["cache_control"]);
    let kind = tool.text("type")?;
    let (kind, mut inside) = inside(&mut tool, kind)?;
    let name = inside.required_text("name")?;
    let description = inside.raw("description");
    let told = match kind {
        "function" => Tool::Function {
            name,
            description,
            parameters: match inside.raw("parameters") {
                Some(schema) => Cow::Borrowed(schema),
                None => Cow::Owned(nothing()),
            },
            strict: inside.take("strict")?.unwrap_or(false),
        },
        _ => Tool::Custom {
            name,
            description,
            format: inside.raw("format").map(|raw| format(raw, &inside)).transpose()?,
        },
    };
    inside.done()?;
    tool.done()?;
    Ok(told)
}

/// What a tool, or a choice, says inside the member that is named as its type.
fn inside<'a>(tool: &mut Members<'a>, kind: Option<Cow<'a, str>>) -> Result<(&'static str, Members<'a>), Unsupported> {
    let kind = match kind.as_deref() {
        None | Some("function") => "function",
        Some("custom") => "custom",
        Some(_) => return Err(unsupported(tool.at("type"), "can only be function or custom here")),
    };
    let raw = tool.raw(kind).ok_or_else(|| unsupported(tool.at(kind), "is required"))?;
    Ok((kind, Members::read(raw, tool.at(kind))?))
}

fn format<'a>(raw: &'a RawValue, tool: &Members<'a>) -> Result<Format<'a>, Unsupported> {
    let mut format = Members::read(raw, tool.at("format"))?;
    let told = match format.required_text("type")?.as_ref() {
        "text" => Format::Text,
        "grammar" => {
            let raw = format.raw("grammar").ok_or_else(|| unsupported(format.at("grammar"), "is required"))?;
            let mut grammar = Members::read(raw, format.at("grammar"))?;
            let (syntax, definition) = (grammar.raw("syntax"), grammar.raw("definition"));
            let (Some(syntax), Some(definition)) = (syntax, definition) else {
                return Err(unsupported(format.at("grammar"), "needs syntax and definition"));
            };
            grammar.done()?;
            Format::Grammar { syntax, definition }
        }
        _ => return Err(unsupported(format.at("type"), "can only be text or grammar here")),
    };
    format.done()?;
    Ok(told)
}

pub(super) fn choice<'a>(members: &mut Members<'a>) -> Result<Option<Choice<'a>>, Unsupported> {
    let Some(raw) = members.raw("tool_choice") else { return Ok(None) };
    if let Some(word) = as_text(raw) {
        return match word.as_ref() {
            "auto" | "none" | "required" => Ok(Some(Choice::Word(raw))),
            _ => Err(unsupported("tool_choice", "is unknown here")),
        };
    }
    let mut choice = Members::read(raw, "tool_choice")?;
    let kind = choice.text("type")?;
    if kind.as_deref() != Some("allowed_tools") {
        return named(choice, kind).map(|named| Some(Choice::Named(named)));
    }
    let raw = choice.raw("allowed_tools").ok_or_else(|| unsupported("tool_choice.allowed_tools", "is required"))?;
    choice.done()?;
    let mut allowed = Members::read(raw, "tool_choice.allowed_tools")?;
    let (mode, tools) = (allowed.raw("mode"), allowed.raw("tools"));
    let (Some(mode), Some(tools)) = (mode, tools) else {
        return Err(unsupported("tool_choice.allowed_tools", "needs mode and tools"));
    };
    allowed.done()?;
    let tools = elements(tools, "tool_choice.allowed_tools.tools")?;
    let one = |(place, raw)| {
        let mut tool = Members::read(raw, place)?;
        let kind = tool.text("type")?;
        named(tool, kind)
    };
    let tools = tools.into_iter().map(one).collect::<Result<_, _>>()?;
    Ok(Some(Choice::Allowed { kind: "allowed_tools", mode, tools }))
}

fn named<'a>(mut choice: Members<'a>, kind: Option<Cow<'a, str>>) -> Result<Named<'a>, Unsupported> {
    let (kind, mut inside) = inside(&mut choice, kind)?;
    let name = inside.required_text("name")?;
    inside.done()?;
    choice.done()?;
    Ok(Named { kind, name })
}

/// The schema of a function that takes nothing.
fn nothing() -> Box<RawValue> {
    let schema = r#"{"type":"object","properties":{}}"#;
    RawValue::from_string(schema.to_owned()).expect("written by ourselves as JSON")
}
