//! OpenAI's tools and tool choice as Gemini's function declarations and calling mode.

use std::borrow::Cow;

use serde::Serialize;
use serde_json::value::RawValue;

use super::shorten;
use crate::dialect::Unsupported;
use crate::members::{Members, as_text, elements, unsupported};

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Tool<'a> {
    function_declarations: Vec<Declaration<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Declaration<'a> {
    name: Cow<'a, str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<Cow<'a, str>>,
    /// JSON schema as it was written; `parameters` takes a part of OpenAPI's only.
    #[serde(skip_serializing_if = "Option::is_none")]
    parameters_json_schema: Option<&'a RawValue>,
    #[serde(skip)]
    strict: bool,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ToolConfig<'a> {
    function_calling_config: Calling<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Calling<'a> {
    mode: Mode,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    allowed_function_names: Vec<Cow<'a, str>>,
}

/// `Validated` is `Auto` whose calls keep to the schemas and to the allowed names; `Any` always does.
#[derive(Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "UPPERCASE")]
enum Mode {
    Auto,
    Any,
    None,
    Validated,
}

type Tools<'a> = (Vec<Tool<'a>>, Option<ToolConfig<'a>>);

pub(super) fn tools<'a>(members: &mut Members<'a>) -> Result<Tools<'a>, Unsupported> {
    let mut declarations = Vec::new();
    if let Some(raw) = members.raw("tools") {
        for (place, raw) in elements(raw, "tools")? {
            declarations.push(declaration(raw, place)?);
        }
    }
    let choice = members.raw("tool_choice").map(choice).transpose()?;
    // It cannot be told; the outlet sees to it.
    members.ignore(&["parallel_tool_calls"]);
    if declarations.is_empty() {
        return match choice {
            Some(Calling { mode: Mode::Any | Mode::Validated, .. }) => Err(unsupported("tool_choice", "needs tools")),
            _ => Ok((Vec::new(), None)),
        };
    }
    let strict = declarations.iter().any(|declaration| declaration.strict);
    let choice = match choice {
        Some(choice) if choice.mode != Mode::Auto => Some(choice),
        _ if strict => Some(Calling { mode: Mode::Validated, allowed_function_names: Vec::new() }),
        choice => choice,
    };
    let config = choice.map(|function_calling_config| ToolConfig { function_calling_config });
    Ok((vec![Tool { function_declarations: declarations }], config))
}

fn declaration<'a>(raw: &'a RawValue, place: String) -> Result<Declaration<'a>, Unsupported> {
    let mut tool = Members::read(raw, place)?;
    tool.only("type", &["\"function\""], "can only be a function here")?;
    tool.ignore(&["cache_control"]);
    let function = tool.raw("function").ok_or_else(|| unsupported(tool.at("function"), "is required"))?;
    let mut function = Members::read(function, tool.at("function"))?;
    let parameters_json_schema = function.raw("parameters");
    if parameters_json_schema.is_some_and(|schema| !schema.get().starts_with('{')) {
        return Err(unsupported(function.at("parameters"), "must be an object"));
    }
    let declaration = Declaration {
        name: function.required_text("name")?,
        description: function.text("description")?,
        parameters_json_schema,
        strict: function.take("strict")?.unwrap_or(false),
    };
    function.done()?;
    tool.done()?;
    Ok(declaration)
}

fn choice<'a>(raw: &'a RawValue) -> Result<Calling<'a>, Unsupported> {
    let plain = |mode| Calling { mode, allowed_function_names: Vec::new() };
    if let Some(word) = as_text(raw) {
        return match word.as_ref() {
            "auto" => Ok(plain(Mode::Auto)),
            "none" => Ok(plain(Mode::None)),
            "required" => Ok(plain(Mode::Any)),
            other => Err(unsupported("tool_choice", format!("{:?} is unknown here", shorten(other)))),
        };
    }
    let mut choice = Members::read(raw, "tool_choice")?;
    let kind = choice.required_text("type")?;
    let told = match kind.as_ref() {
        "function" => Calling { mode: Mode::Any, allowed_function_names: vec![named(&mut choice)?] },
        "allowed_tools" => {
            let raw = choice.raw("allowed_tools");
            let raw = raw.ok_or_else(|| unsupported(choice.at("allowed_tools"), "is required"))?;
            let mut allowed = Members::read(raw, choice.at("allowed_tools"))?;
            let mode = match allowed.required_text("mode")?.as_ref() {
                "auto" => Mode::Validated,
                "required" => Mode::Any,
                _ => return Err(unsupported(allowed.at("mode"), "must be auto or required")),
            };
            let tools = allowed.raw("tools").ok_or_else(|| unsupported(allowed.at("tools"), "is required"))?;
            let mut names = Vec::new();
            for (place, raw) in elements(tools, &allowed.at("tools"))? {
                let mut tool = Members::read(raw, place)?;
                tool.only("type", &["\"function\""], "can only be a function here")?;
                names.push(named(&mut tool)?);
                tool.done()?;
            }
            if names.is_empty() {
                return Err(unsupported(allowed.at("tools"), "must not be empty"));
            }
            allowed.done()?;
            Calling { mode, allowed_function_names: names }
        }
        _ => return Err(unsupported("tool_choice.type", "can only name functions here")),
    };
    choice.done()?;
    Ok(told)
}

/// The name in `{"function": {"name": …}}`.
fn named<'a>(members: &mut Members<'a>) -> Result<Cow<'a, str>, Unsupported> {
    let function = members.raw("function").ok_or_else(|| unsupported(members.at("function"), "is required"))?;
    let mut function = Members::read(function, members.at("function"))?;
    let name = function.required_text("name")?;
    function.done()?;
    Ok(name)
}
