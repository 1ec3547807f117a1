//! Which tools a request offers, in the shape of every caller, and the same request without some of them.
//!
//! Read when it is asked for and not with every body. A tool is known by every name that a provider might read it by, so that no
//! spelling slips past a rule: names of members are compared without case and underscores, and what has no name is called `?`.

use std::collections::BTreeSet;

use serde_json::value::RawValue;

use super::{ModelRequest, Shape};
use crate::json::quote;
use crate::merge::Raw;
use crate::splice::Splice;

/// What is offered to the model.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Offered {
    /// Names of tools. One that the provider runs itself is named by its type too.
    pub tools: BTreeSet<String>,
    /// Labels of MCP servers that the provider is to call, and the hosts of their addresses. Never a whole address: it may be a secret.
    pub servers: BTreeSet<String>,
}

/// What a tool that tells no name is called.
const NAMELESS: &str = "?";
/// Members that stand for a tool of the provider by being there.
const BY_MEMBER: [(&str, &str); 1] = [("web_search_options", "web_search")];
/// Members that say something of tools, and nothing without any.
const NEED_TOOLS: [&str; 5] = ["tool_choice", "parallel_tool_calls", "function_call", "toolConfig", "tool_config"];

impl ModelRequest {
    /// The tools and MCP servers that are offered.
    pub fn offered(&self) -> Offered {
        let mut offered = Offered::default();
        if !self.may_offer() {
            return offered;
        }
        // Nothing is taken out where every name is kept: only looked at.
        let _ = self.edit_tools(&mut |names, servers| {
            offered.tools.extend(names.iter().cloned());
            offered.servers.extend(servers.iter().cloned());
            false
        });
        offered
    }

    /// The same request without every tool and MCP server that has such a name, and without what chose one of them; and the names
    /// of those that were taken out. Nothing where there is none.
    pub fn without_tools(&self, gone: &dyn Fn(&str) -> bool) -> Option<(ModelRequest, Vec<String>)> {
        let (mut removed, mut closed) = (BTreeSet::new(), BTreeSet::new());
        if !self.may_offer() {
            return None;
        }
        let body = self.edit_tools(&mut |names, servers| {
            let hit = names.iter().chain(servers).any(|name| gone(name));
            if hit {
                removed.extend(names.iter().chain(servers).cloned());
                closed.extend(servers.iter().cloned());
            }
            hit
        })?;
        let edited = self.edited(body);
        // A server is told in one place and named in others, where a rule may not know it by the same name.
        let rest = edited.edit_tools(&mut |_, servers| servers.iter().any(|it| closed.contains(it)));
        let edited = rest.map_or(edited.clone(), |body| edited.edited(body));
        Some((edited, removed.into_iter().collect()))
    }

    fn may_offer(&self) -> bool {
        const MEMBERS: [&str; 5] = ["tools", "functions", "mcp_servers", "session", "response"];
        self.features().tools
            || self
                .view
                .members
                .iter()
                .any(|it| MEMBERS.contains(&&*it.name) || BY_MEMBER.iter().any(|by| by.0 == it.name))
    }

    /// The body without what `gone` says of each tool; nothing where all stays.
    fn edit_tools(&self, gone: Gone<'_>) -> Option<bytes::Bytes> {
        let mut splice = Splice::new(self);
        let (mut edited, mut left) = (false, false);
        let mut lost = BTreeSet::new();
        let mut gone = |names: &BTreeSet<String>, servers: &BTreeSet<String>| {
            let hit = gone(names, servers);
            if hit {
                lost.extend(names.iter().cloned());
            }
            hit
        };
        for member in &self.view.members {
            let (name, value) = (&*member.name, self.raw(&member.value));
            if let Some((_, tool)) = BY_MEMBER.iter().find(|(by, _)| *by == name) {
                if value != "null" && gone(&[(*tool).to_owned()].into(), &BTreeSet::new()) {
                    splice.remove(name);
                    edited = true;
                }
                continue;
            }
            let kept = match (self.shape, name) {
                (_, "tools" | "functions" | "mcp_servers") => list(value, &mut gone),
                (Shape::Responses, "input") => items(value, &mut gone),
                (Shape::Realtime, "session" | "response") => setup(value, &mut gone),
                _ => Kept::Whole,
            };
            match kept {
                Kept::Whole => left |= matches!(name, "tools" | "functions") && !matches!(value, "null" | "[]"),
                Kept::Less(value) => {
                    splice.set(name, &value);
                    (edited, left) = (true, true);
                }
                Kept::Nothing => {
                    splice.remove(name);
                    edited = true;
                }
            }
        }
        if !edited {
            return None;
        }
        for member in &self.view.members {
            let name = &*member.name;
            if NEED_TOOLS.contains(&name) && (!left || names_one_of(self.raw(&member.value), &lost)) {
                splice.remove(name);
            }
        }
        Some(splice.finish())
    }
}

/// Whether a tool of these names, at an MCP server of these, is to go.
type Gone<'a> = &'a mut dyn FnMut(&BTreeSet<String>, &BTreeSet<String>) -> bool;

/// What is left of a value.
enum Kept {
    Whole,
    Less(String),
    Nothing,
}

/// A list of tools, or one that stands for a list.
fn list(value: &str, gone: Gone<'_>) -> Kept {
    let Ok(all) = serde_json::from_str::<Vec<&RawValue>>(value) else { return element(value, gone) };
    let kept = all.iter().map(|it| element(it.get(), gone)).collect();
    rebuilt(&all, kept)
}

/// The list of what is left.
fn rebuilt(all: &[&RawValue], kept: Vec<Kept>) -> Kept {
    if kept.iter().all(|it| matches!(it, Kept::Whole)) {
        return Kept::Whole;
    }
    let left: Vec<String> = all
        .iter()
        .zip(kept)
        .filter_map(|(raw, kept)| match kept {
            Kept::Whole => Some(raw.get().to_owned()),
            Kept::Less(less) => Some(less),
            Kept::Nothing => None,
        })
        .collect();
    if left.is_empty() { Kept::Nothing } else { Kept::Less(format!("[{}]", left.join(","))) }
}

/// One tool, or one object of Gemini's that holds several.
fn element(value: &str, gone: Gone<'_>) -> Kept {
    let Ok(Raw(members)) = serde_json::from_str::<Raw<'_>>(value) else {
        return if value == "null" || !gone(&[NAMELESS.to_owned()].into(), &BTreeSet::new()) {
            Kept::Whole
        } else {
            Kept::Nothing
        };
    };
    let is_client_typed =
        members.iter().any(|(name, _)| matches!(&*plain(name), "type" | "name" | "function" | "custom"));
    if !is_client_typed {
        return several(&members, gone);
    }
    let (mut names, mut servers) = (BTreeSet::new(), BTreeSet::new());
    let mut inner = Vec::new();
    for (member, value) in &members {
        match &*plain(member) {
            "name" => names.extend(text(value)),
            "type" => {
                names.extend(text(value).filter(|kind| !matches!(&**kind, "function" | "custom" | "namespace" | "url")))
            }
            "function" | "custom" => names.extend(named(value)),
            "serverlabel" | "mcpservername" | "connectorid" => servers.extend(text(value)),
            "serverurl" | "url" => servers.extend(text(value).map(|url| host(&url))),
            "allowedtools" => names.extend(allowed(value)),
            "tools" => inner.push((member, *value)),
            _ => {}
        }
    }
    // An MCP server of Anthropic's has its label where a tool has its name.
    if members.iter().any(|(name, _)| plain(name) == "url") {
        servers.append(&mut names);
    }
    if names.is_empty() && servers.is_empty() {
        names.insert(NAMELESS.to_owned());
    }
    if gone(&names, &servers) {
        return Kept::Nothing;
    }
    // A namespace holds tools of its own.
    let mut whole = true;
    let mut rest = Vec::new();
    for (name, value) in &members {
        let kept = if inner.iter().any(|(other, _)| *other == name) { list(value.get(), gone) } else { Kept::Whole };
        match kept {
            Kept::Whole => rest.push(format!("{}:{}", quote(name), value.get())),
            Kept::Less(less) => {
                whole = false;
                rest.push(format!("{}:{less}", quote(name)));
            }
            Kept::Nothing => return Kept::Nothing,
        }
    }
    if whole { Kept::Whole } else { Kept::Less(format!("{{{}}}", rest.join(","))) }
}

/// Members that each are tools: Gemini's declarations, MCP servers, and tools of the provider by their own names.
fn several(members: &[(String, &RawValue)], gone: Gone<'_>) -> Kept {
    if members.is_empty() {
        return if gone(&[NAMELESS.to_owned()].into(), &BTreeSet::new()) { Kept::Nothing } else { Kept::Whole };
    }
    let (mut whole, mut rest) = (true, Vec::new());
    for (name, value) in members {
        let kept = match &*plain(name) {
            _ if value.get() == "null" => Kept::Whole,
            "functiondeclarations" => list(value.get(), gone),
            "mcpservers" => match serde_json::from_str::<Vec<&RawValue>>(value.get()) {
                Ok(all) => {
                    let kept = all.iter().map(|it| server(it.get(), gone)).collect();
                    rebuilt(&all, kept)
                }
                Err(_) => server(value.get(), gone),
            },
            _ if gone(&spellings(name), &BTreeSet::new()) => Kept::Nothing,
            _ => Kept::Whole,
        };
        match kept {
            Kept::Whole => rest.push(format!("{}:{}", quote(name), value.get())),
            Kept::Less(less) => {
                whole = false;
                rest.push(format!("{}:{less}", quote(name)));
            }
            Kept::Nothing => whole = false,
        }
    }
    match (whole, rest.is_empty()) {
        (true, _) => Kept::Whole,
        (false, true) => Kept::Nothing,
        (false, false) => Kept::Less(format!("{{{}}}", rest.join(","))),
    }
}

/// An MCP server of Gemini's: `{"name", "streamableHttpTransport": {"url"}}`.
fn server(value: &str, gone: Gone<'_>) -> Kept {
    let mut servers = BTreeSet::new();
    for (name, value) in serde_json::from_str::<Raw<'_>>(value).map(|raw| raw.0).unwrap_or_default() {
        match &*plain(&name) {
            "name" => servers.extend(text(value)),
            "url" => servers.extend(text(value).map(|url| host(&url))),
            _ => {
                let inner = serde_json::from_str::<Raw<'_>>(value.get()).map(|raw| raw.0).unwrap_or_default();
                let urls = inner.iter().filter(|(name, _)| plain(name) == "url");
                servers.extend(urls.filter_map(|(_, value)| text(value)).map(|url| host(&url)));
            }
        }
    }
    if servers.is_empty() {
        servers.insert(NAMELESS.to_owned());
    }
    if gone(&BTreeSet::new(), &servers) { Kept::Nothing } else { Kept::Whole }
}

/// Items of a conversation of which some bring tools along.
fn items(value: &str, gone: Gone<'_>) -> Kept {
    let Ok(all) = serde_json::from_str::<Vec<&RawValue>>(value) else { return Kept::Whole };
    let kept = all.iter().map(|it| setup(it.get(), gone)).collect();
    rebuilt(&all, kept)
}

/// An object with tools among its members; without any, what chose one of them goes too.
fn setup(value: &str, gone: Gone<'_>) -> Kept {
    let Ok(Raw(members)) = serde_json::from_str::<Raw<'_>>(value) else { return Kept::Whole };
    if !members.iter().any(|(name, _)| name == "tools") {
        return Kept::Whole;
    }
    let mut lost = BTreeSet::new();
    let mut all_gone = false;
    let mut rest: Vec<(&str, String)> = Vec::new();
    for (name, value) in &members {
        let kept = match name.as_str() {
            "tools" => list(value.get(), &mut |names, servers| {
                let hit = gone(names, servers);
                if hit {
                    lost.extend(names.iter().cloned());
                }
                hit
            }),
            _ => Kept::Whole,
        };
        match kept {
            Kept::Whole => rest.push((name, value.get().to_owned())),
            Kept::Less(less) => rest.push((name, less)),
            Kept::Nothing => {
                all_gone = true;
                // A list that is set anew is set to none, and not left as it was.
                rest.push((name, "[]".to_owned()));
            }
        }
    }
    if lost.is_empty() {
        return Kept::Whole;
    }
    rest.retain(|(name, value)| !NEED_TOOLS.contains(name) || !(all_gone || names_one_of(value, &lost)));
    let rest: Vec<String> = rest.into_iter().map(|(name, value)| format!("{}:{value}", quote(name))).collect();
    Kept::Less(format!("{{{}}}", rest.join(",")))
}

/// Whether a choice of tools says one of these names anywhere.
fn names_one_of(value: &str, names: &BTreeSet<String>) -> bool {
    fn any(value: &serde_json::Value, names: &BTreeSet<String>) -> bool {
        match value {
            serde_json::Value::String(text) => names.contains(text),
            serde_json::Value::Array(items) => items.iter().any(|it| any(it, names)),
            serde_json::Value::Object(members) => members.values().any(|it| any(it, names)),
            _ => false,
        }
    }
    serde_json::from_str(value).map_or(true, |value| any(&value, names))
}

/// A member's name as the most lenient of readers reads it.
fn plain(name: &str) -> String {
    name.chars().filter(|letter| *letter != '_').map(|letter| letter.to_ascii_lowercase()).collect()
}

/// A name as it is written, in words with underscores, and in one with capitals.
fn spellings(name: &str) -> BTreeSet<String> {
    let mut snake = String::new();
    for letter in name.chars() {
        if letter.is_ascii_uppercase() {
            snake.push('_');
        }
        snake.push(letter.to_ascii_lowercase());
    }
    let mut camel = String::new();
    let mut high = false;
    for letter in name.chars() {
        match letter {
            '_' => high = true,
            _ if std::mem::take(&mut high) => camel.push(letter.to_ascii_uppercase()),
            _ => camel.push(letter),
        }
    }
    [name.to_owned(), snake, camel].into()
}

fn text(value: &RawValue) -> Option<String> {
    serde_json::from_str(value.get()).ok()
}

/// Every `name` of an object.
fn named(value: &RawValue) -> Vec<String> {
    let members = serde_json::from_str::<Raw<'_>>(value.get()).map(|raw| raw.0).unwrap_or_default();
    members.iter().filter(|(name, _)| plain(name) == "name").filter_map(|(_, value)| text(value)).collect()
}

/// The tools of a server that may be called: a list, or an object that has one.
fn allowed(value: &RawValue) -> Vec<String> {
    fn strings(value: serde_json::Value) -> Vec<String> {
        match value {
            serde_json::Value::String(text) => vec![text],
            serde_json::Value::Array(items) => items.into_iter().flat_map(strings).collect(),
            serde_json::Value::Object(members) => members.into_iter().flat_map(|(_, value)| strings(value)).collect(),
            _ => Vec::new(),
        }
    }
    serde_json::from_str(value.get()).map(strings).unwrap_or_default()
}

/// The host of an address, without what could be a secret in it. What other readers may take for another host (`\` for `/`, a scheme
/// that is none, spaces that are passed over) has no name, so that no list of hosts lets it by.
fn host(url: &str) -> String {
    let (scheme, rest) = url.split_once("://").unwrap_or(("", url));
    let plain = scheme.bytes().all(|it| it.is_ascii_alphanumeric());
    if !plain || url.contains(|it: char| it == '\\' || it.is_whitespace() || it.is_control()) {
        return NAMELESS.to_owned();
    }
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    authority.rsplit('@').next().unwrap_or_default().to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::request::Outside;

    fn request(shape: Shape, members: &str) -> ModelRequest {
        let rest = match shape {
            Shape::Anthropic => r#""model":"m","max_tokens":5,"messages":[{"role":"user","content":"hi"}]"#,
            Shape::OpenAi => r#""model":"m","messages":[{"role":"user","content":"hi"}]"#,
            Shape::Responses if members.contains("\"input\"") => r#""model":"m""#,
            Shape::Responses => r#""model":"m","input":"hi""#,
            Shape::Gemini => r#""contents":[{"role":"user","parts":[{"text":"hi"}]}]"#,
            _ => r#""type":"session.update""#,
        };
        let outside = Outside { model: Some("m".into()), stream: Some(false), ..Outside::default() };
        let outside = if matches!(shape, Shape::Gemini | Shape::Realtime) { outside } else { Outside::default() };
        let body = format!("{{{rest},{members}}}");
        ModelRequest::parse_with(shape, Bytes::from(body), outside).unwrap()
    }

    const OPENAI: &str = r#""tools":[{"type":"function","function":{"name":"get_weather"}},{"type":"custom","custom":{"name":"shell"}},{"type":"mcp","server_label":"crm","server_url":"https://u:p@mcp.example.com/s/secret?k=1","allowed_tools":["find"]}],"parallel_tool_calls":true"#;
    const GEMINI: &str = r#""tools":[{"functionDeclarations":[{"name":"a"},{"name":"b"}],"google_search":{}},{"mcpServers":[{"name":"crm","streamableHttpTransport":{"url":"https://mcp.example.com/x"}}]}],"toolConfig":{"functionCallingConfig":{"allowedFunctionNames":["a"]}}"#;
    const ANTHROPIC: &str = r#""tools":[{"name":"calc","input_schema":{}},{"type":"web_search_20250305","name":"web_search"},{"type":"mcp_toolset","mcp_server_name":"crm"}],"mcp_servers":[{"type":"url","name":"crm","url":"https://mcp.example.com/x"}],"tool_choice":{"type":"tool","name":"calc"}"#;

    #[test]
    fn tools_and_servers_are_named_in_every_shape() {
        for (shape, members, tools, servers) in [
            (Shape::OpenAi, OPENAI, "find get_weather mcp shell", "crm mcp.example.com"),
            (Shape::OpenAi, r#""functions":[{"name":"old"}],"web_search_options":{}"#, "old web_search", ""),
            (
                Shape::OpenAi,
                r#""tools":[{"google_search":{}},{"type":"function","Function":{"Name":"x"}}]"#,
                "googleSearch google_search x",
                "",
            ),
            (Shape::OpenAi, r#""tools":[{"type":"function"},{}]"#, "?", ""),
            (Shape::OpenAi, r#""tools":[{"type":"function","function":{"name":"ok","name":"shell"}}]"#, "ok shell", ""),
            (
                Shape::Responses,
                r#""tools":[{"type":"function","name":"f"},{"type":"web_search_preview"},{"type":"namespace","name":"n","tools":[{"type":"function","name":"g"}]}]"#,
                "f g n web_search_preview",
                "",
            ),
            (
                Shape::Responses,
                r#""input":[{"role":"user","content":"hi"},{"type":"additional_tools","role":"developer","tools":[{"type":"function","name":"late"}]}]"#,
                "late",
                "",
            ),
            (Shape::Anthropic, ANTHROPIC, "calc mcp_toolset web_search web_search_20250305", "crm mcp.example.com"),
            (Shape::Gemini, GEMINI, "a b googleSearch google_search", "crm mcp.example.com"),
            (Shape::Gemini, r#""tools":{"function_declarations":[{"name":"a"}]}"#, "a", ""),
            (Shape::Realtime, r#""session":{"tools":[{"type":"function","name":"f"}]}"#, "f", ""),
            (Shape::OpenAi, r#""tools":null,"tool_choice":"none""#, "", ""),
            // One reader's host is another's path or user: what they may read differently has no name.
            (
                Shape::Responses,
                r#""tools":[{"type":"mcp","server_url":"https://evil.example\\@mcp.example.com/"}]"#,
                "mcp",
                "?",
            ),
            (
                Shape::Responses,
                r#""tools":[{"type":"mcp","server_url":"https:evil.example?x=://mcp.example.com/"}]"#,
                "mcp",
                "?",
            ),
            (
                Shape::Responses,
                r#""tools":[{"type":"mcp","server_url":"https://evil.example\t/@mcp.example.com"}]"#,
                "mcp",
                "?",
            ),
        ] {
            let offered = request(shape, members).offered();
            let joined = |names: &BTreeSet<String>| names.iter().map(String::as_str).collect::<Vec<_>>().join(" ");
            assert_eq!(
                (joined(&offered.tools), joined(&offered.servers)),
                (tools.to_owned(), servers.to_owned()),
                "{members}"
            );
        }
    }

    #[test]
    fn what_is_taken_out_leaves_nothing_of_it_and_all_else_as_it_was() {
        for (shape, members, gone, left) in [
            (Shape::OpenAi, OPENAI, "nothing", None),
            (
                Shape::OpenAi,
                OPENAI,
                "shell",
                Some(
                    r#""tools":[{"type":"function","function":{"name":"get_weather"}},{"type":"mcp","server_label":"crm","server_url":"https://u:p@mcp.example.com/s/secret?k=1","allowed_tools":["find"]}],"parallel_tool_calls":true"#,
                ),
            ),
            (
                Shape::OpenAi,
                r#""tools":[{"type":"function","function":{"name":"a"}},{"type":"function","function":{"name":"b"}}],"tool_choice":{"type":"function","function":{"name":"b"}},"seed":1"#,
                "b",
                Some(r#""tools":[{"type":"function","function":{"name":"a"}}],"seed":1"#),
            ),
            (
                Shape::OpenAi,
                r#""tools":[{"type":"function","function":{"name":"b"}}],"tool_choice":"auto","parallel_tool_calls":false,"seed":1"#,
                "b",
                Some(r#""seed":1"#),
            ),
            (Shape::OpenAi, r#""functions":[{"name":"b"}],"function_call":"auto","seed":1"#, "b", Some(r#""seed":1"#)),
            (Shape::OpenAi, r#""web_search_options":{},"seed":1"#, "web_search", Some(r#""seed":1"#)),
            (
                Shape::Responses,
                r#""tools":[{"type":"namespace","name":"n","tools":[{"type":"function","name":"a"},{"type":"function","name":"b"}]}]"#,
                "b",
                Some(r#""tools":[{"type":"namespace","name":"n","tools":[{"type":"function","name":"a"}]}]"#),
            ),
            (
                Shape::Responses,
                r#""input":[{"role":"user","content":"hi"},{"type":"additional_tools","role":"developer","tools":[{"type":"function","name":"b"}]}]"#,
                "b",
                Some(
                    r#""input":[{"role":"user","content":"hi"},{"type":"additional_tools","role":"developer","tools":[]}]"#,
                ),
            ),
            (
                Shape::Anthropic,
                ANTHROPIC,
                "crm",
                Some(
                    r#""tools":[{"name":"calc","input_schema":{}},{"type":"web_search_20250305","name":"web_search"}],"tool_choice":{"type":"tool","name":"calc"}"#,
                ),
            ),
            (
                Shape::Anthropic,
                ANTHROPIC,
                "mcp.example.com",
                Some(
                    r#""tools":[{"name":"calc","input_schema":{}},{"type":"web_search_20250305","name":"web_search"}],"tool_choice":{"type":"tool","name":"calc"}"#,
                ),
            ),
            (
                Shape::Gemini,
                GEMINI,
                "googleSearch",
                Some(
                    r#""tools":[{"functionDeclarations":[{"name":"a"},{"name":"b"}]},{"mcpServers":[{"name":"crm","streamableHttpTransport":{"url":"https://mcp.example.com/x"}}]}],"toolConfig":{"functionCallingConfig":{"allowedFunctionNames":["a"]}}"#,
                ),
            ),
            (
                Shape::Gemini,
                r#""tools":[{"functionDeclarations":[{"name":"a"},{"name":"b"}]}],"toolConfig":{"functionCallingConfig":{"allowedFunctionNames":["a"]}}"#,
                "a",
                Some(r#""tools":[{"functionDeclarations":[{"name":"b"}]}]"#),
            ),
            (
                Shape::Realtime,
                r#""session":{"voice":"x","tools":[{"type":"function","name":"b"}],"tool_choice":"auto"}"#,
                "b",
                Some(r#""session":{"voice":"x","tools":[]}"#),
            ),
        ] {
            let asked = request(shape, members);
            let edited = asked.without_tools(&|name| name == gone);
            let (Some((edited, names)), Some(left)) = (&edited, left) else {
                assert!(edited.is_none() && left.is_none(), "{members}");
                continue;
            };
            assert!(names.iter().any(|it| it == gone), "{names:?}");
            let expected = String::from_utf8(asked.body().to_vec()).unwrap().replace(members, left);
            assert_eq!(std::str::from_utf8(edited.body()).unwrap(), expected);
            let again = edited.offered();
            assert!(!again.tools.contains(gone) && !again.servers.contains(gone), "{again:?}");
        }
    }
}
