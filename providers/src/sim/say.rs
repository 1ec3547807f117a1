//! What the simulator says.

use serde_json::Value;

use super::shape;
use crate::request::ModelRequest;
use crate::tokens;

/// One choice.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Said {
    /// The content, or the arguments of the call, in pieces of a token.
    pub pieces: Vec<String>,
    pub call: Option<Call>,
    pub tokens: u64,
    pub reason: &'static str,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) struct Call {
    pub id: String,
    pub name: String,
}

const FILLER: &str = "The ledger holds before the model speaks and settles when it has spoken. Every word is counted, every \
    count is priced, and every price is written down where an auditor can read it. ";

/// The answer to the last message; `i` is the choice.
pub(super) fn say(request: &ModelRequest, call: &Value, i: u64) -> Said {
    let cap = request.max_output().unwrap_or(4_096);
    let last = call["messages"].as_array().and_then(|it| it.last()).cloned().unwrap_or_default();
    let prompt = text_of(&last["content"]);
    let answered = matches!(last["role"].as_str(), Some("tool" | "function"));
    if let Some(tool) = (!answered).then(|| tool_to_call(call, &prompt)).flatten() {
        let name = tool["name"].as_str().unwrap_or("tool").to_owned();
        let arguments = shape::example(&tool["parameters"], &prompt).to_string();
        let id = format!("call_sim{:08x}{i}", super::fnv(name.as_bytes()) as u32);
        let mut said = cut(&arguments, cap, "tool_calls");
        said.call = Some(Call { id, name });
        return said;
    }
    let format = &call["response_format"];
    let text = match format["type"].as_str() {
        Some("json_schema") => shape::example(&format["json_schema"]["schema"], &prompt).to_string(),
        Some("json_object") => serde_json::json!({ "answer": prose(&prompt, answered) }).to_string(),
        _ => {
            let again = if i > 0 { format!(" (Answer {}.)", i + 1) } else { String::new() };
            prose(&prompt, answered) + &again
        }
    };
    cut(&text, cap, "stop")
}

fn prose(prompt: &str, answered: bool) -> String {
    let heard = prompt.split_whitespace().collect::<Vec<_>>();
    let short: String = heard.join(" ").chars().take(240).collect();
    if let Some(words) = words_wanted(&heard) {
        return FILLER.split_whitespace().cycle().take(words).collect::<Vec<_>>().join(" ");
    }
    match (answered, short.is_empty()) {
        (true, _) => format!("The tool answered: {short}"),
        (false, true) => "You said nothing that I could repeat.".to_owned(),
        (false, false) => format!(
            "You said: \"{short}\" ({} words). I am Alfred's simulator: no model was asked, but the call was guarded, held, priced and \
             settled like any other.",
            heard.len()
        ),
    }
}

/// "… in 200 words" is taken at its word.
fn words_wanted(heard: &[&str]) -> Option<usize> {
    let at = heard.iter().position(|it| it.trim_matches(|c: char| !c.is_alphabetic()).eq_ignore_ascii_case("words"))?;
    heard[at.checked_sub(1)?].parse::<usize>().ok().map(|it| it.min(3_000))
}

fn cut(text: &str, cap: u64, reason: &'static str) -> Said {
    let mut said = Said { pieces: Vec::new(), call: None, tokens: 0, reason };
    for (piece, tokens) in tokens::pieces(text) {
        if said.tokens + tokens > cap {
            said.reason = "length";
            break;
        }
        said.tokens += tokens;
        said.pieces.push(piece);
    }
    said
}

/// The function to call: the forced one; the first if one is required; one that the prompt names.
fn tool_to_call<'a>(call: &'a Value, prompt: &str) -> Option<&'a Value> {
    let tools =
        || call["tools"].as_array().into_iter().flatten().map(|it| &it["function"]).filter(|it| it["name"].is_string());
    let choice = &call["tool_choice"];
    if let Some(name) = choice["function"]["name"].as_str() {
        return tools().find(|it| it["name"] == name);
    }
    match choice.as_str() {
        Some("none") => None,
        Some("required") => tools().next(),
        _ => {
            let prompt = prompt.to_lowercase();
            let words = |it: &Value| it["name"].as_str().unwrap_or_default().to_lowercase();
            tools().find(|it| prompt.contains(&words(it)) || prompt.contains(&words(it).replace(['_', '-'], " ")))
        }
    }
}

fn text_of(content: &Value) -> String {
    match content {
        Value::String(text) => text.clone(),
        Value::Array(parts) => parts.iter().filter_map(|it| it["text"].as_str()).collect::<Vec<_>>().join("\n"),
        _ => String::new(),
    }
}
