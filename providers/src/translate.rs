//! The hub: every conversation, in whatever shape it came, as a body of OpenAI's chat completions. A dialect that the caller does
//! not speak writes its own form from that; so each shape is translated to the hub once, and from it once.

use std::borrow::Cow;

use bytes::Bytes;
use serde_json::value::RawValue;

use crate::dialect::{Aim, Unsupported};
use crate::members::{Members, as_text, elements, rewritten, unsupported};
use crate::request::{BadRequest, ModelRequest, Outside, Shape};

/// The body of the conversation as a chat completion. What has no counterpart there is refused by name.
pub(crate) fn chat_body(request: &ModelRequest) -> Result<Bytes, Unsupported> {
    match request.shape() {
        Shape::OpenAi => Ok(request.body().clone()),
        Shape::Anthropic => crate::anthropic::to_openai(request),
        Shape::Responses => crate::responses::to_openai(request),
        Shape::Gemini => crate::gemini::to_openai(request),
        other => Err(unserved(other)),
    }
}

/// The same, read: for who must look into it. A translated body is one of ours, so most need not.
pub(crate) fn as_chat(request: &ModelRequest) -> Result<Cow<'_, ModelRequest>, Unsupported> {
    if request.shape() == Shape::OpenAi {
        return Ok(Cow::Borrowed(request));
    }
    let body = chat_body(request)?;
    let outside = Outside { arrived: request.arrived(), ..Outside::default() };
    let read = ModelRequest::parse_with(Shape::OpenAi, body, outside);
    read.map(Cow::Owned).map_err(|BadRequest { param, message, .. }| Unsupported { param, message })
}

/// What clients send back of an earlier answer though it only describes that answer. A target loses nothing without it.
pub(crate) const ECHOES: [&str; 7] = [
    "provider_specific_fields",
    "annotations",
    "reasoning_details",
    "images",
    "extra_content",
    "finish_reason",
    "index",
];

/// The hub's conversation as a server of OpenAI's own shape takes it: earlier thinking, which is signed for others, and marks of
/// what to cache are left out; a budget for thinking becomes the nearest effort; what a tool gave back may only be text.
pub(crate) fn plain(chat: &ModelRequest) -> Result<ModelRequest, Unsupported> {
    let unreadable = |place: &str| unsupported(place, "cannot be read");
    let raw: &RawValue = serde_json::from_slice(chat.body()).map_err(|_| unreadable(""))?;
    let mut members = Members::read(raw, "")?;
    members.only("top_k", &[], "cannot be set at this target")?;
    let mut changed = Vec::new();
    let mut messages = Vec::new();
    if let Some(raw) = members.raw("messages") {
        for (place, raw) in elements(raw, "messages")? {
            messages.push(plain_message(raw, &place)?);
        }
    }
    changed.push(("messages", format!("[{}]", messages.join(","))));
    if let Some(raw) = members.raw("tools") {
        let tools = elements(raw, "tools")?.into_iter();
        let tools: Option<Vec<_>> = tools.map(|(_, tool)| rewritten(tool, &["cache_control"], &[])).collect();
        changed.push(("tools", format!("[{}]", tools.ok_or_else(|| unreadable("tools"))?.join(","))));
    }
    let effort = match (members.raw("thinking"), members.raw("reasoning_effort")) {
        (Some(thinking), None) => effort(thinking)?,
        _ => None,
    };
    let mut body = rewritten(raw, &["thinking"], &changed).ok_or_else(|| unreadable(""))?;
    if let Some(effort) = effort {
        body.truncate(body.len() - 1);
        body.push_str(&format!(",\"reasoning_effort\":\"{effort}\"}}"));
    }
    let read = ModelRequest::parse(Shape::OpenAi, body.into());
    read.map_err(|BadRequest { param, message, .. }| Unsupported { param, message })
}

fn plain_message(raw: &RawValue, place: &str) -> Result<String, Unsupported> {
    const SIGNED: [&str; 5] = ["thinking_blocks", "reasoning_content", "reasoning", "extra_content", "cache_control"];
    let mut message = Members::read(raw, place)?;
    let mut changed = Vec::new();
    let is_result = message.text("role")?.as_deref() == Some("tool");
    if let Some(content) = message.raw("content").filter(|content| as_text(content).is_none()) {
        let mut parts = Vec::new();
        for (place, raw) in elements(content, &message.at("content"))? {
            if is_result && Members::read(raw, place.as_str())?.text("type")?.as_deref() != Some("text") {
                return Err(unsupported(place, "is no text, and a tool's result can be nothing else at this target"));
            }
            parts.extend(rewritten(raw, &["cache_control"], &[]));
        }
        // A lone text stays a text: the plainest form, which every server takes.
        let lone = match elements(content, place)?.as_slice() {
            [(place, part)] => Members::read(part, place.as_str())?.raw("text"),
            _ => None,
        };
        changed.push(("content", lone.map_or_else(|| format!("[{}]", parts.join(",")), |text| text.get().to_owned())));
    }
    if let Some(calls) = message.raw("tool_calls") {
        let calls = elements(calls, &message.at("tool_calls"))?.into_iter();
        let calls: Vec<_> = calls.filter_map(|(_, call)| rewritten(call, &["extra_content"], &[])).collect();
        changed.push(("tool_calls", format!("[{}]", calls.join(","))));
    }
    rewritten(raw, &SIGNED, &changed).ok_or_else(|| unsupported(place, "cannot be read"))
}

/// A budget in tokens as an effort: below 4,096 little, from 16,384 much. What leaves the choice to the model says nothing.
pub(crate) fn effort(thinking: &RawValue) -> Result<Option<&'static str>, Unsupported> {
    let mut thinking = Members::read(thinking, "thinking")?;
    let budget = thinking.take::<u64>("budget_tokens")?;
    Ok(match (thinking.required_text("type")?.as_ref(), budget) {
        ("enabled", Some(..4_096)) => Some("low"),
        ("enabled", Some(4_096..16_384)) => Some("medium"),
        ("enabled", Some(16_384..)) => Some("high"),
        _ => None,
    })
}

/// The target does not do this at all.
pub(crate) fn unserved(shape: Shape) -> Unsupported {
    Unsupported::new(format!("it does not serve {}", shape.task().as_str()))
}

/// What is kept at the provider, unless the operator says that its account has one tenant.
pub(crate) fn refuse_what_is_stored(request: &ModelRequest, aim: &Aim<'_>) -> Result<(), Unsupported> {
    let allows = |name: &str| aim.settings.get(name).is_some_and(|it| it == "allow");
    let view = request.view();
    match (&view.stored, &view.stored_file) {
        (Some(place), _) if !allows("stored_responses") => Err(stored(place)),
        (_, Some(place)) if !allows("stored_files") => Err(stored(place)),
        _ => Ok(()),
    }
}

/// The provider's account is one for all tenants.
pub(crate) fn stored(place: &str) -> Unsupported {
    let message = format!(
        "{place} names something stored at the provider, and the gateway cannot know whose it is: send the content itself"
    );
    Unsupported::at(place, message)
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use url::Url;

    use super::*;
    use crate::anthropic::AnthropicDialect;
    use crate::bedrock::BedrockDialect;
    use crate::catalog::Quirks;
    use crate::cohere::CohereDialect;
    use crate::dialect::Dialect;
    use crate::gemini::GeminiDialect;
    use crate::openai::OpenAiDialect;
    use crate::request::AnswerEvent;
    use crate::responses::outbound::ResponsesDialect;

    #[test]
    fn a_conversation_that_one_provider_began_goes_on_at_every_other() {
        let signed = json!({"google": {"thought_signature": "c2ln"}});
        let tool = json!({"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}});
        let body = json!({"model": "m", "tools": [tool], "messages": [
            {"role": "user", "content": "weather"},
            {"role": "assistant", "content": "I look", "refusal": null, "audio": null, "function_call": null,
             "annotations": [{"type": "url_citation"}], "reasoning_content": "t", "extra_content": signed,
             "thinking_blocks": [{"type": "thinking", "thinking": "t", "signature": "c2ln", "index": 0}],
             "tool_calls": [{"id": "call_1", "type": "function", "index": 0, "extra_content": signed,
                             "function": {"name": "weather", "arguments": "{}"}}]},
            {"role": "tool", "tool_call_id": "call_1", "name": "weather", "content": "sunny"}]});
        let request = ModelRequest::parse(Shape::OpenAi, body.to_string().into()).unwrap();
        let dialects: [(&str, &dyn Dialect); 4] = [
            ("anthropic", &AnthropicDialect),
            ("bedrock", &BedrockDialect),
            ("cohere", &CohereDialect),
            ("gemini", &GeminiDialect),
        ];
        let (base, quirks) = (Url::parse("https://x/").unwrap(), Quirks::NONE);
        for (name, dialect) in dialects {
            let encoded = dialect.encode(&request, &Aim::at(&base, "m", 10, &quirks));
            assert_eq!(encoded.err(), None, "{name}");
        }
        assert!(!plain(&request).unwrap().text().contains("c2ln"), "and in OpenAI's own words nothing of it is left");
    }

    #[test]
    fn every_reader_knows_the_model_as_its_provider_calls_it() {
        const CHAT: &str = r#"{"model":"asked","max_tokens":9,"messages":[{"role":"user","content":"hi"}]}"#;
        const INPUT: &str = r#"{"model":"asked","input":"hi"}"#;
        const CONTENTS: &str = r#"{"contents":[{"role":"user","parts":[{"text":"hi"}]}]}"#;
        const COMPLETION: &str = r#"{"id":"c","object":"chat.completion","model":"v-1","choices":[{"index":0,"message":{"role":"assistant","content":"a"},"finish_reason":"stop"}]}"#;
        const CHUNK: &str = "data: {\"id\":\"c\",\"model\":\"v-1\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"a\"},\"finish_reason\":\"stop\"}]}\n\n";
        const MESSAGE: &str = r#"{"type":"message","id":"m","role":"assistant","content":[{"type":"text","text":"a"}],"model":"v-1","stop_reason":"end_turn","usage":{"input_tokens":1,"output_tokens":1}}"#;
        const START: &str = "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"id\":\"m\",\"type\":\"message\",\"role\":\"assistant\",\"model\":\"v-1\",\"content\":[]}}\n\n";
        const GENERATED: &str = r#"{"candidates":[{"index":0,"content":{"role":"model","parts":[{"text":"a"}]},"finishReason":"STOP"}],"modelVersion":"v-1"}"#;
        const GENERATES: &str = "data: {\"candidates\":[{\"index\":0,\"content\":{\"role\":\"model\",\"parts\":[{\"text\":\"a\"}]}}],\"modelVersion\":\"v-1\"}\n\n";
        const RESPONSE: &str = r#"{"id":"r","object":"response","status":"completed","model":"v-1","output":[]}"#;
        const CREATED: &str = "data: {\"type\":\"response.created\",\"response\":{\"id\":\"r\",\"object\":\"response\",\"model\":\"v-1\",\"output\":[]}}\n\n";
        const LIST: &str = r#"{"object":"list","data":[],"model":"v-1","usage":{"prompt_tokens":1}}"#;
        let dialects: [(&dyn Dialect, &str, &str); 4] = [
            (&OpenAiDialect, COMPLETION, CHUNK),
            (&AnthropicDialect, MESSAGE, START),
            (&GeminiDialect, GENERATED, GENERATES),
            (&ResponsesDialect, RESPONSE, CREATED),
        ];
        let shapes =
            [(Shape::OpenAi, CHAT), (Shape::Anthropic, CHAT), (Shape::Responses, INPUT), (Shape::Gemini, CONTENTS)];
        let check = |dialect: &dyn Dialect, shape, body: &str, stream, answer: &str| {
            let outside = Outside { model: Some("asked".to_owned()), stream: Some(stream), ..Outside::default() };
            let mut body: serde_json::Value = serde_json::from_str(body).unwrap();
            if shape != Shape::Gemini {
                body["stream"] = json!(stream);
            }
            let outside = if shape == Shape::Gemini { outside } else { Outside::default() };
            let request = ModelRequest::parse_with(shape, body.to_string().into(), outside).unwrap();
            let (mut decoder, mut events) = (dialect.decoder(&request, ""), Vec::new());
            decoder.feed(answer.as_bytes(), &mut events).unwrap();
            if !stream {
                decoder.finish(&mut events).unwrap();
            }
            assert_eq!(decoder.model(), Some("v-1"), "{shape:?} {stream} {answer}");
        };
        for (dialect, whole, streamed) in dialects {
            for (shape, body) in shapes {
                check(dialect, shape, body, false, whole);
                check(dialect, shape, body, true, streamed);
            }
        }
        check(&OpenAiDialect, Shape::Responses, INPUT, false, RESPONSE);
        check(&OpenAiDialect, Shape::Responses, INPUT, true, CREATED);
        check(&OpenAiDialect, Shape::Embeddings, INPUT, false, LIST);
    }

    #[test]
    fn an_answer_has_a_time_a_name_and_a_model_even_where_its_provider_tells_none() {
        let outside = Outside { arrived: 1_700_000_000, ..Outside::default() };
        let chat = r#"{"model":"asked","messages":[{"role":"user","content":"hi"}]}"#;
        let dialects: [(&str, &dyn Dialect, &str); 4] = [
            (
                "anthropic",
                &AnthropicDialect,
                r#"{"type":"message","id":"msg_1","role":"assistant","model":"c","content":[{"type":"text","text":"a"}],"stop_reason":"end_turn","usage":{"input_tokens":1,"output_tokens":1}}"#,
            ),
            (
                "bedrock",
                &BedrockDialect,
                r#"{"output":{"message":{"role":"assistant","content":[{"text":"a"}]}},"stopReason":"end_turn","usage":{"inputTokens":1,"outputTokens":1,"totalTokens":2}}"#,
            ),
            (
                "cohere",
                &CohereDialect,
                r#"{"id":"c1","finish_reason":"COMPLETE","message":{"role":"assistant","content":[{"type":"text","text":"a"}]},"usage":{"tokens":{"input_tokens":1,"output_tokens":1}}}"#,
            ),
            (
                "gemini",
                &GeminiDialect,
                r#"{"candidates":[{"index":0,"content":{"role":"model","parts":[{"text":"a"}]},"finishReason":"STOP"}],"usageMetadata":{"promptTokenCount":1,"candidatesTokenCount":1}}"#,
            ),
        ];
        for (name, dialect, answer) in dialects {
            for stream in [false, true] {
                let mut body: serde_json::Value = serde_json::from_str(chat).unwrap();
                body["stream"] = json!(stream);
                let request =
                    ModelRequest::parse_with(Shape::OpenAi, body.to_string().into(), outside.clone()).unwrap();
                let (mut decoder, mut events) = (dialect.decoder(&request, "application/json"), Vec::new());
                decoder.feed(answer.as_bytes(), &mut events).unwrap();
                decoder.finish(&mut events).unwrap();
                let told = events.iter().map(|event| match event {
                    AnswerEvent::Delta(delta) => delta.frame.clone(),
                    AnswerEvent::End(end) => end.closing(None, None),
                    AnswerEvent::Usage(_) => bytes::Bytes::new(),
                });
                let told = String::from_utf8(told.collect::<Vec<_>>().concat()).unwrap();
                assert!(told.contains("\"created\":1700000000"), "{name}: {told}");
                assert!(!told.contains("\"id\":\"\"") && !told.contains("\"model\":\"\""), "{name}: {told}");
            }
        }
    }
}
