use std::collections::BTreeMap;

use url::Url;

use super::*;
use crate::catalog::Quirks;
use crate::dialect::{Aim, Dialect, HttpRequest, Unsupported};
use crate::openai::OpenAiDialect;
use crate::responses::to_openai;

fn encode(body: &str, settings: &[(&str, &str)]) -> Result<HttpRequest, Unsupported> {
    let base_url = Url::parse("https://api.openai.com/v1").unwrap();
    let quirks = Quirks { serves_responses: true, ..Quirks::default() };
    let settings: BTreeMap<String, String> =
        settings.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    let aim = Aim { settings: &settings, ..Aim::at(&base_url, "gpt-test", 64, &quirks) };
    OpenAiDialect.encode(&responses(body), &aim)
}

fn sent(body: &str, settings: &[(&str, &str)]) -> (String, String) {
    let sent = encode(body, settings).unwrap();
    (sent.url.path().to_owned(), String::from_utf8(sent.body.to_vec()).unwrap())
}

#[test]
fn requests_are_told_as_chats() {
    for name in ["conversation", "tools"] {
        let request = responses(&given(&format!("to_openai/{name}.in.json")));
        let chat = to_openai(&request).unwrap();
        ModelRequest::parse(Shape::OpenAi, chat.clone()).expect("a chat that can be read");
        check_file(&format!("to_openai/{name}.out.json"), std::str::from_utf8(&chat).unwrap());
    }
}

#[test]
fn a_server_of_responses_gets_every_other_byte() {
    let body = r#"{ "model":"x" , "input" : [ {"role":"user","content":"\u0048i"} ],"max_output_tokens": 90, "store":false,"odd":1.00,"stream":true ,"fallbacks":["y"],"metadata":{"a":"b"} }"#;
    let (path, sent) = sent(body, &[]);
    assert_eq!(path, "/v1/responses");
    let expected = r#"{ "model":"gpt-test" , "input" : [ {"role":"user","content":"\u0048i"} ],"max_output_tokens": 64, "store":false,"odd":1.00,"stream":true ,"metadata":{"a":"b"} }"#;
    assert_eq!(sent, expected);
}

#[test]
fn the_cap_is_always_sent_and_the_operator_says_where_responses_are_served() {
    let body = r#"{"model":"x","input":"hi"}"#;
    assert_eq!(sent(body, &[]).1, r#"{"model":"gpt-test","input":"hi","max_output_tokens":64}"#);
    let (path, chat) = sent(body, &[("responses", "translated")]);
    assert_eq!(path, "/v1/chat/completions");
    assert_eq!(chat, r#"{"model":"gpt-test","messages":[{"role":"user","content":"hi"}],"max_tokens":64}"#);
}

#[test]
fn thinking_that_was_signed_elsewhere_is_no_member_of_a_chat() {
    let body = r#"{"model":"x","input":[{"type":"reasoning","summary":[{"type":"summary_text","text":"T"}],"encrypted_content":"alfred-thinking-1.Eq"},{"role":"assistant","content":"A"}]}"#;
    let expected = r#"{"model":"gpt-test","messages":[{"role":"assistant","content":"A"}],"max_tokens":64}"#;
    assert_eq!(sent(body, &[("responses", "translated")]).1, expected);
}

#[test]
fn our_own_thinking_stays_here_and_the_providers_own_goes_back() {
    let body = r#"{"model":"x","input":[{"type":"reasoning","id":"a","summary":[],"encrypted_content":"alfred-thinking-1.Eq"},{"type":"reasoning","id":"b","summary":[],"encrypted_content":"gAAA"},{"role":"user","content":"alfred-thinking-1."}]}"#;
    let expected = r#"{"model":"gpt-test","input":[{"type":"reasoning","id":"b","summary":[],"encrypted_content":"gAAA"},{"role":"user","content":"alfred-thinking-1."}],"max_output_tokens":64}"#;
    assert_eq!(sent(body, &[]).1, expected);
}

/// What leans on something stored, and where it stands.
const STORED: [(&str, &str); 9] = [
    (r#""input":"hi","previous_response_id":"resp_1""#, "previous_response_id"),
    (r#""input":"hi","conversation":"conv_1""#, "conversation"),
    (r#""conversation":{"id":"conv_1"}"#, "conversation"),
    (r#""prompt":{"id":"pmpt_1","variables":{"a":"b"}}"#, "prompt"),
    (r#""input":[{"role":"user","content":"a"},{"type":"item_reference","id":"msg_1"}]"#, "input[1]"),
    (r#""input":[{"id":"msg_1"}]"#, "input[0]"),
    (r#""input":[{"role":"user","content":"redder"},{"type":"image_generation_call","id":"ig_1"}]"#, "input[1]"),
    (
        r#""input":[{"type":"computer_call_output","call_id":"c","output":{"type":"computer_screenshot","file_id":"file-1"}}]"#,
        "input[0].output.file_id",
    ),
    (
        r#""input":[{"role":"user","content":[{"type":"input_file","file_id":"file-1"}]}]"#,
        "input[0].content[0].file_id",
    ),
];

#[test]
fn what_is_stored_at_a_provider_is_refused_unless_its_operator_allows_it() {
    for (members, place) in STORED {
        let body = format!("{{\"model\":\"x\",{members}}}");
        let refused = encode(&body, &[]).unwrap_err();
        assert_eq!(refused.param.as_deref(), Some(place), "{members}");
        assert!(!refused.message.contains("_1") && !refused.message.contains("file-1"), "{}", refused.message);
        let allowed = [("stored_responses", "allow"), ("stored_files", "allow")];
        assert!(encode(&body, &allowed).is_ok(), "{members}");
        let translated = [allowed[0], allowed[1], ("responses", "translated")];
        let refused = encode(&body, &translated).unwrap_err();
        assert_eq!(refused.param.as_deref(), Some(place), "a chat cannot refer to anything: {members}");
    }
    for nothing in [r#""previous_response_id":null"#, r#""conversation":null"#, r#""prompt":null"#] {
        assert!(encode(&format!("{{\"model\":\"x\",\"input\":\"hi\",{nothing}}}"), &[]).is_ok());
    }
}

#[test]
fn what_a_chat_cannot_tell_is_refused_by_name() {
    for (members, place) in [
        (r#""background":true"#, "background"),
        (r#""truncation":"auto""#, "truncation"),
        (r#""odd":1"#, "odd"),
        (r#""service_tier":"flex""#, "service_tier"),
        (r#""reasoning":{"context":"all_turns"}"#, "reasoning.context"),
        (r#""text":{"format":{"type":"odd"}}"#, "text.format.type"),
        (r#""text":{"odd":1}"#, "text.odd"),
        (r#""tools":[{"type":"apply_patch"}]"#, "tools[0].type"),
        (r#""tools":[{"type":"function","name":"f","defer_loading":true}]"#, "tools[0].defer_loading"),
        (r#""tool_choice":{"type":"web_search"}"#, "tool_choice.type"),
        (r#""tool_choice":"odd""#, "tool_choice"),
        (r#""instructions":[{"role":"user","content":"a"}]"#, "instructions"),
    ] {
        let body = format!("{{\"model\":\"x\",\"input\":\"hi\",{members}}}");
        let refused = to_openai(&responses(&body)).unwrap_err();
        assert_eq!(refused.param.as_deref(), Some(place), "{members}: {}", refused.message);
    }
    for (item, place) in [
        (r#"{"type":"computer_call","id":"c","call_id":"d"}"#, "input[0].type"),
        (r#"{"type":"mcp_call","id":"c","name":"f"}"#, "input[0].type"),
        (r#"{"role":"critic","content":"a"}"#, "input[0].role"),
        (r#"{"role":"user","content":[{"type":"odd"}]}"#, "input[0].content[0].type"),
        (
            r#"{"role":"user","content":[{"type":"input_file","file_url":"https://a.example"}]}"#,
            "input[0].content[0].file_url",
        ),
        (r#"{"role":"assistant","content":[{"type":"input_image","image_url":"x"}]}"#, "input[0].content[0].type"),
        (r#"{"type":"function_call","name":"f","arguments":"{}"}"#, "input[0].call_id"),
        (r#"{"type":"function_call_output","call_id":"f","output":"","odd":1}"#, "input[0].odd"),
        (r#"{"type":"function_call","call_id":"c","name":"f","arguments":"","namespace":"n"}"#, "input[0].namespace"),
    ] {
        let refused = to_openai(&responses(&format!("{{\"model\":\"x\",\"input\":[{item}]}}"))).unwrap_err();
        assert_eq!(refused.param.as_deref(), Some(place), "{item}: {}", refused.message);
    }
    let refused = encode(r#"{"model":"x","input":"hi","background":true}"#, &[]).unwrap_err();
    assert_eq!(refused.param.as_deref(), Some("background"), "a server of responses cannot be asked it either");
}
