//! Names in a body: which members are known, which differ from known ones in looks only, which tools are the provider's own.

use super::BadRequest;
use super::read::{Read, invalid};
use crate::json::{Key, below, is_word};

/// Longer than any model's name.
const LONGEST_MODEL: usize = 256;

/// Outermost members that are read here.
pub(super) const GOVERNED: [&str; 34] = [
    "model",
    "messages",
    "system",
    "stream",
    "stream_options",
    "max_tokens",
    "max_completion_tokens",
    "n",
    "best_of",
    "stop",
    "stop_sequences",
    "user",
    "metadata",
    "fallbacks",
    "tools",
    "tool_choice",
    "functions",
    "function_call",
    "response_format",
    "prediction",
    "modalities",
    "audio",
    "service_tier",
    "web_search_options",
    "moderation",
    "search_parameters",
    "enable_search",
    "data_sources",
    "plugins",
    "models",
    "route",
    "provider",
    "mcp_servers",
    "thinking",
];

/// Known members that hold settings and schemas, which the app's author wrote.
pub(super) const SETTINGS: [&str; 21] = [
    "tool_choice",
    "function_call",
    "logit_bias",
    "thinking",
    "reasoning",
    "reasoning_effort",
    "output_config",
    "cache_control",
    "verbosity",
    "chat_template",
    "guided_json",
    "guided_regex",
    "guided_grammar",
    "guided_choice",
    "structured_outputs",
    "grammar",
    "json_schema",
    "stop",
    "stop_sequences",
    "stop_token_ids",
    "prompt_cache_retention",
];

/// Whether a member's name is more than a short word, and so a text.
pub(super) fn can_hold_something(name: &str) -> bool {
    !is_word(name, 15)
}

/// A member that differs from a governed one only in case would be read by servers that fold case (Go's do), unseen by the guards.
pub(super) fn refuse_lookalike(key: &Key<'_>, governed: &[&str], place: &str) -> Read<()> {
    let name = &*key.name;
    if name.is_ascii() && !name.bytes().any(|b| b.is_ascii_uppercase()) {
        return Ok(());
    }
    let folded: String = name
        .chars()
        .map(|c| match c {
            'ſ' => 's',
            '\u{212a}' => 'k',
            c => c.to_ascii_lowercase(),
        })
        .collect();
    match governed.iter().find(|it| **it == folded && **it != name) {
        Some(meant) => {
            let param = below(place, name);
            let message = format!("'{param}' differs from '{meant}' only in case.");
            Err(BadRequest::at("invalid_value", param, message))
        }
        None => Ok(()),
    }
}

/// The name of a model is kept in receipts and in the audit log, whether or not there is such a model.
pub(super) fn names_a_model(place: &str, name: &str) -> Read<()> {
    match name {
        "" => Err(invalid(place, "must not be empty")),
        _ if name.len() > LONGEST_MODEL => Err(invalid(place, "is too long for the name of a model")),
        _ if name.chars().any(char::is_control) => Err(invalid(place, "must not have control characters")),
        _ => Ok(()),
    }
}

/// The client's own tools have no type, or `custom`; a few that Anthropic dated are run by the client too. All others are the
/// provider's, and billed by use.
pub(super) fn names_a_server_tool(tool: &str) -> bool {
    #[derive(serde::Deserialize)]
    struct Tool {
        #[serde(default, rename = "type")]
        kind: Option<String>,
    }
    const THE_CLIENTS: [&str; 4] = ["computer_", "text_editor_", "bash_", "memory_"];
    match serde_json::from_str::<Tool>(tool) {
        Ok(Tool { kind }) => {
            kind.is_some_and(|kind| kind != "custom" && !THE_CLIENTS.iter().any(|it| kind.starts_with(it)))
        }
        Err(_) => true,
    }
}

/// Whether a tool of OpenAI's shape is one that the client runs. All others are the provider's, and billed by use.
pub(super) fn is_the_clients_tool(tool: &str) -> bool {
    #[derive(serde::Deserialize)]
    struct Tool<'a> {
        #[serde(default, rename = "type")]
        kind: Option<String>,
        #[serde(borrow, default)]
        function: Option<&'a serde_json::value::RawValue>,
    }
    match serde_json::from_str::<Tool<'_>>(tool) {
        Ok(Tool { kind: Some(kind), .. }) => kind == "function" || kind == "custom",
        Ok(Tool { kind: None, function }) => function.is_some(),
        Err(_) => false,
    }
}
