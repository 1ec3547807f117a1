//! What a Response tells again of its request, as OpenAI's do.

use crate::request::ModelRequest;

/// Members that are told as they were asked, with what stands where nothing was asked. `store` is false, for nothing is kept here.
const TOLD: [(&str, &str); 16] = [
    ("instructions", "null"),
    ("max_output_tokens", "null"),
    ("max_tool_calls", "null"),
    ("metadata", "{}"),
    ("parallel_tool_calls", "true"),
    ("prompt_cache_key", "null"),
    ("reasoning", "{\"effort\":null,\"summary\":null}"),
    ("safety_identifier", "null"),
    ("temperature", "null"),
    ("text", "{\"format\":{\"type\":\"text\"}}"),
    ("tool_choice", "\"auto\""),
    ("tools", "[]"),
    ("top_logprobs", "0"),
    ("top_p", "null"),
    ("truncation", "\"disabled\""),
    ("user", "null"),
];

/// The members as the inside of an object.
pub(super) fn told_again(request: &ModelRequest) -> String {
    let mut out = String::from(
        r#""background":false,"previous_response_id":null,"prompt":null,"service_tier":"default","store":false"#,
    );
    for (name, unasked) in TOLD {
        out.push_str(",\"");
        out.push_str(name);
        out.push_str("\":");
        out.push_str(request.member(name).unwrap_or(unasked));
    }
    out
}
