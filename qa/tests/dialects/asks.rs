//! What a caller of each dialect sends to ask for one thing, in the words of that dialect's own documentation.

use serde_json::{Value, json};

/// The dialects of callers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Caller {
    Chat,
    Responses,
    Messages,
    Gemini,
}

pub const CALLERS: [Caller; 4] = [Caller::Chat, Caller::Responses, Caller::Messages, Caller::Gemini];

/// One thing that is asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Feature {
    Text,
    System,
    Sampling,
    Tool,
    ParallelTools,
    ForcedTool,
    ToolResult,
    Schema,
    Image,
    Pdf,
    Audio,
    Reasoning,
    Length,
}

pub const FEATURES: [Feature; 13] = [
    Feature::Text,
    Feature::System,
    Feature::Sampling,
    Feature::Tool,
    Feature::ParallelTools,
    Feature::ForcedTool,
    Feature::ToolResult,
    Feature::Schema,
    Feature::Image,
    Feature::Pdf,
    Feature::Audio,
    Feature::Reasoning,
    Feature::Length,
];

/// A red square of one pixel.
const PIXEL: &str = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==";
const PDF: &str = "JVBERi0xLjEKJeLjz9MKMSAwIG9iago8PC9UeXBlL0NhdGFsb2c+PgplbmRvYmoKdHJhaWxlcjw8L1Jvb3QgMSAwIFI+Pgo=";
const WAV: &str = "UklGRiQAAABXQVZFZm10IBAAAAABAAEAQB8AAIA+AAACABAAZGF0YQAAAAA=";

impl Caller {
    pub fn name(self) -> &'static str {
        match self {
            Caller::Chat => "chat completions",
            Caller::Responses => "responses",
            Caller::Messages => "messages",
            Caller::Gemini => "generateContent",
        }
    }

    /// Where such a call goes.
    pub fn path(self, model: &str, stream: bool) -> String {
        match (self, stream) {
            (Caller::Chat, _) => "/v1/chat/completions".to_owned(),
            (Caller::Responses, _) => "/v1/responses".to_owned(),
            (Caller::Messages, _) => "/v1/messages".to_owned(),
            (Caller::Gemini, false) => format!("/v1beta/models/{model}:generateContent"),
            (Caller::Gemini, true) => format!("/v1beta/models/{model}:streamGenerateContent?alt=sse"),
        }
    }

    /// The body; nothing where the dialect has no words for it.
    pub fn ask(self, feature: Feature, model: &str, stream: bool) -> Option<Value> {
        let mut body = match self {
            Caller::Chat => chat(feature)?,
            Caller::Responses => responses(feature)?,
            Caller::Messages => messages(feature)?,
            Caller::Gemini => return gemini(feature),
        };
        body["model"] = json!(model);
        if stream {
            body["stream"] = json!(true);
        }
        if stream && self == Caller::Chat {
            body["stream_options"] = json!({"include_usage": true});
        }
        Some(body)
    }
}

impl Feature {
    pub fn name(self) -> &'static str {
        match self {
            Feature::Text => "text",
            Feature::System => "system message",
            Feature::Sampling => "temperature, top_p, stop, cap",
            Feature::Tool => "tool call",
            Feature::ParallelTools => "parallel tool calls",
            Feature::ForcedTool => "forced tool choice",
            Feature::ToolResult => "tool result",
            Feature::Schema => "JSON schema",
            Feature::Image => "image input",
            Feature::Pdf => "PDF input",
            Feature::Audio => "audio input",
            Feature::Reasoning => "reasoning",
            Feature::Length => "cut for length",
        }
    }

    /// The last words of the user; the provider's script goes by them.
    fn words(self) -> &'static str {
        match self {
            Feature::Text | Feature::System | Feature::Sampling => "Say hello",
            Feature::Tool | Feature::ForcedTool | Feature::ToolResult => "What is the weather?",
            Feature::ParallelTools => "What is the weather in two cities?",
            Feature::Schema => "The weather as an object",
            Feature::Image | Feature::Pdf | Feature::Audio => "What is in the picture?",
            Feature::Reasoning => "Think first",
            Feature::Length => "Go on for long",
        }
    }
}

fn schema() -> Value {
    json!({"type": "object", "properties": {"city": {"type": "string"}, "celsius": {"type": "integer"}},
           "required": ["city", "celsius"], "additionalProperties": false})
}

fn parameters() -> Value {
    json!({"type": "object", "properties": {"city": {"type": "string", "description": "Where"}}, "required": ["city"]})
}

fn wants_tools(feature: Feature) -> bool {
    matches!(feature, Feature::Tool | Feature::ParallelTools | Feature::ForcedTool | Feature::ToolResult)
}

fn chat(feature: Feature) -> Option<Value> {
    let words = feature.words();
    let text = json!({"type": "text", "text": words});
    let content = match feature {
        Feature::Image => {
            json!([text, {"type": "image_url", "image_url": {"url": format!("data:image/png;base64,{PIXEL}")}}])
        }
        Feature::Pdf => {
            json!([text, {"type": "file", "file": {"filename": "a.pdf", "file_data": format!("data:application/pdf;base64,{PDF}")}}])
        }
        Feature::Audio => json!([text, {"type": "input_audio", "input_audio": {"data": WAV, "format": "wav"}}]),
        _ => json!(words),
    };
    let mut body = json!({"max_tokens": 500, "messages": [{"role": "user", "content": content}]});
    if wants_tools(feature) {
        body["tools"] = json!([{"type": "function",
            "function": {"name": "weather", "description": "The weather of a city", "parameters": parameters()}}]);
    }
    match feature {
        Feature::System => {
            body["messages"] = json!([{"role": "system", "content": "Be brief."}, {"role": "user", "content": words}]);
        }
        Feature::Sampling => {
            body["temperature"] = json!(0.5);
            body["top_p"] = json!(0.9);
            body["stop"] = json!(["END"]);
        }
        Feature::ForcedTool => body["tool_choice"] = json!({"type": "function", "function": {"name": "weather"}}),
        Feature::ToolResult => {
            body["messages"] = json!([
                {"role": "user", "content": words},
                {"role": "assistant", "content": null, "tool_calls": [{"id": "call_paris", "type": "function",
                    "function": {"name": "weather", "arguments": "{\"city\": \"Paris\"}"}}]},
                {"role": "tool", "tool_call_id": "call_paris", "content": "sunny"},
            ]);
        }
        Feature::Schema => {
            body["response_format"] = json!({"type": "json_schema",
                "json_schema": {"name": "weather", "strict": true, "schema": schema()}});
        }
        Feature::Reasoning => body["reasoning_effort"] = json!("low"),
        _ => {}
    }
    if feature == Feature::Reasoning {
        body["max_tokens"] = json!(3_000);
    }
    Some(body)
}

fn responses(feature: Feature) -> Option<Value> {
    let words = feature.words();
    let text = json!({"type": "input_text", "text": words});
    let parts = match feature {
        Feature::Image => json!([text, {"type": "input_image", "image_url": format!("data:image/png;base64,{PIXEL}")}]),
        Feature::Pdf => {
            json!([text, {"type": "input_file", "filename": "a.pdf", "file_data": format!("data:application/pdf;base64,{PDF}")}])
        }
        Feature::Audio => json!([text, {"type": "input_audio", "input_audio": {"data": WAV, "format": "wav"}}]),
        _ => Value::Null,
    };
    let input = match parts {
        Value::Null => json!(words),
        parts => json!([{"type": "message", "role": "user", "content": parts}]),
    };
    let mut body = json!({"max_output_tokens": 500, "input": input, "store": false});
    if wants_tools(feature) {
        body["tools"] = json!([{"type": "function", "name": "weather", "description": "The weather of a city",
            "parameters": parameters(), "strict": false}]);
    }
    match feature {
        Feature::System => body["instructions"] = json!("Be brief."),
        Feature::Sampling => {
            body["temperature"] = json!(0.5);
            body["top_p"] = json!(0.9);
        }
        Feature::ForcedTool => body["tool_choice"] = json!({"type": "function", "name": "weather"}),
        Feature::ToolResult => {
            body["input"] = json!([
                {"role": "user", "content": words},
                {"type": "function_call", "call_id": "call_paris", "name": "weather", "arguments": "{\"city\": \"Paris\"}"},
                {"type": "function_call_output", "call_id": "call_paris", "output": "sunny"},
            ]);
        }
        Feature::Schema => {
            body["text"] =
                json!({"format": {"type": "json_schema", "name": "weather", "strict": true, "schema": schema()}});
        }
        Feature::Reasoning => {
            body["reasoning"] = json!({"effort": "low", "summary": "auto"});
            body["max_output_tokens"] = json!(3_000);
        }
        _ => {}
    }
    Some(body)
}

fn messages(feature: Feature) -> Option<Value> {
    let words = feature.words();
    let text = json!({"type": "text", "text": words});
    let content = match feature {
        Feature::Audio => return None,
        Feature::Image => {
            json!([{"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PIXEL}}, text])
        }
        Feature::Pdf => {
            json!([{"type": "document", "source": {"type": "base64", "media_type": "application/pdf", "data": PDF}}, text])
        }
        _ => json!(words),
    };
    let mut body = json!({"max_tokens": 500, "messages": [{"role": "user", "content": content}]});
    if wants_tools(feature) {
        body["tools"] =
            json!([{"name": "weather", "description": "The weather of a city", "input_schema": parameters()}]);
    }
    match feature {
        Feature::System => body["system"] = json!("Be brief."),
        Feature::Sampling => {
            body["temperature"] = json!(0.5);
            body["top_p"] = json!(0.9);
            body["stop_sequences"] = json!(["END"]);
        }
        Feature::ForcedTool => body["tool_choice"] = json!({"type": "tool", "name": "weather"}),
        Feature::ToolResult => {
            body["messages"] = json!([
                {"role": "user", "content": words},
                {"role": "assistant", "content": [{"type": "tool_use", "id": "call_paris", "name": "weather", "input": {"city": "Paris"}}]},
                {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "call_paris", "content": "sunny"}]},
            ]);
        }
        Feature::Schema => {
            body["output_config"] = json!({"format": {"type": "json_schema", "schema": schema()}});
        }
        Feature::Reasoning => {
            body["thinking"] = json!({"type": "enabled", "budget_tokens": 1_024});
            body["max_tokens"] = json!(3_000);
        }
        _ => {}
    }
    Some(body)
}

fn gemini(feature: Feature) -> Option<Value> {
    let words = feature.words();
    let inline = |mime: &str, data: &str| json!([{"text": words}, {"inlineData": {"mimeType": mime, "data": data}}]);
    let parts = match feature {
        Feature::Image => inline("image/png", PIXEL),
        Feature::Pdf => inline("application/pdf", PDF),
        Feature::Audio => inline("audio/wav", WAV),
        _ => json!([{"text": words}]),
    };
    let mut body =
        json!({"contents": [{"role": "user", "parts": parts}], "generationConfig": {"maxOutputTokens": 500}});
    if wants_tools(feature) {
        body["tools"] = json!([{"functionDeclarations": [{"name": "weather", "description": "The weather of a city",
            "parametersJsonSchema": parameters()}]}]);
    }
    match feature {
        Feature::System => body["systemInstruction"] = json!({"parts": [{"text": "Be brief."}]}),
        Feature::Sampling => {
            body["generationConfig"] =
                json!({"temperature": 0.5, "topP": 0.9, "stopSequences": ["END"], "maxOutputTokens": 500});
        }
        Feature::ForcedTool => {
            body["toolConfig"] = json!({"functionCallingConfig": {"mode": "ANY", "allowedFunctionNames": ["weather"]}});
        }
        Feature::ToolResult => {
            body["contents"] = json!([
                {"role": "user", "parts": [{"text": words}]},
                {"role": "model", "parts": [{"functionCall": {"id": "call_paris", "name": "weather", "args": {"city": "Paris"}}}]},
                {"role": "user", "parts": [{"functionResponse": {"id": "call_paris", "name": "weather", "response": {"result": "sunny"}}}]},
            ]);
        }
        Feature::Schema => {
            body["generationConfig"]["responseMimeType"] = json!("application/json");
            body["generationConfig"]["responseJsonSchema"] = schema();
        }
        Feature::Reasoning => {
            body["generationConfig"] =
                json!({"maxOutputTokens": 3_000, "thinkingConfig": {"thinkingBudget": 1_024, "includeThoughts": true}});
        }
        _ => {}
    }
    Some(body)
}
