use super::*;

fn ask(model: &str, body: Value) -> Script {
    answer(model, &Bytes::from(body.to_string()))
}

fn json_of(script: &Script) -> Value {
    serde_json::from_slice(&script.pieces[0].1).unwrap()
}

fn prompt(text: &str) -> Value {
    json!({ "model": "m", "messages": [{ "role": "user", "content": text }] })
}

fn with(mut body: Value, name: &str, value: Value) -> Value {
    body[name] = value;
    body
}

fn tools() -> Value {
    json!([{ "type": "function", "function": { "name": "get_weather", "parameters": {
        "type": "object", "required": ["city"],
        "properties": { "city": { "type": "string" }, "days": { "type": "integer", "minimum": 2 }, "unit": { "enum": ["c", "f"] } },
    } } }])
}

#[test]
fn the_same_request_has_the_same_answer() {
    assert_eq!(ask("echo", prompt("hello there")), ask("echo", prompt("hello there")));
    let text = json_of(&ask("echo", prompt("hello there")))["choices"][0]["message"]["content"].clone();
    assert!(text.as_str().unwrap().starts_with("You said: \"hello there\" (2 words)"), "{text}");
}

#[test]
fn a_cap_is_honoured_and_told() {
    let answer = json_of(&ask("echo", with(prompt("hello"), "max_tokens", json!(3))));
    assert_eq!(answer["choices"][0]["finish_reason"], "length");
    assert_eq!(answer["usage"]["completion_tokens"], 3);
    let answer = json_of(&ask("echo", prompt("an essay of 50 words")));
    assert_eq!(answer["choices"][0]["message"]["content"].as_str().unwrap().split(' ').count(), 50);
    assert_eq!(answer["choices"][0]["finish_reason"], "stop");
}

#[test]
fn several_choices_are_all_counted() {
    let one = json_of(&ask("echo", prompt("hello")));
    let three = json_of(&ask("echo", with(prompt("hello"), "n", json!(3))));
    assert_eq!(three["choices"].as_array().unwrap().len(), 3);
    assert!(three["usage"]["completion_tokens"].as_u64() > one["usage"]["completion_tokens"].as_u64().map(|it| it * 2));
}

#[test]
fn a_tool_is_called_when_it_is_wanted_and_its_result_ends_the_turn() {
    let check = |body: Value, called: bool| {
        let answer = json_of(&ask("echo", body));
        assert_eq!(answer["choices"][0]["finish_reason"] == "tool_calls", called, "{answer}");
        answer
    };
    let offered = |text: &str| with(prompt(text), "tools", tools());
    check(offered("hello"), false);
    check(offered("please get weather for Paris"), true);
    check(with(offered("get_weather"), "tool_choice", json!("none")), false);
    let answer = check(with(offered("Paris"), "tool_choice", json!("required")), true);
    let function = &answer["choices"][0]["message"]["tool_calls"][0]["function"];
    let arguments: Value = serde_json::from_str(function["arguments"].as_str().unwrap()).unwrap();
    assert_eq!(
        (&function["name"], &arguments),
        (&json!("get_weather"), &json!({ "city": "Paris", "days": 2, "unit": "c" }))
    );
    let mut body = with(offered("Paris"), "tool_choice", json!("required"));
    body["messages"].as_array_mut().unwrap().push(json!({ "role": "tool", "tool_call_id": "x", "content": "sunny" }));
    let answer = check(body, false);
    assert_eq!(answer["choices"][0]["message"]["content"], "The tool answered: sunny");
}

#[test]
fn a_schema_shapes_the_content() {
    let format = json!({ "type": "json_schema", "json_schema": { "name": "x", "schema": { "type": "object", "properties": { "ok": { "type": "boolean" } } } } });
    let answer = json_of(&ask("echo", with(prompt("x"), "response_format", format)));
    assert_eq!(answer["choices"][0]["message"]["content"], "{\"ok\":true}");
}

#[test]
fn the_other_models_misbehave_as_they_are_told_to() {
    assert_eq!(ask("broken", prompt("x")).status, 503);
    assert_eq!((ask("limited", prompt("x")).status, ask("limited", prompt("x")).retry_after), (429, Some("2")));
    assert_eq!(ask("silent", prompt("x")).ending, Ending::Silent);
    assert_eq!(ask("torn", with(prompt("x"), "stream", json!(true))).ending, Ending::Torn);
    let failing = (0..40).filter(|i| ask("flaky", prompt(&i.to_string())).status == 503).count();
    assert!((8..32).contains(&failing), "{failing}");
    assert!(ask("slow", with(prompt("x"), "stream", json!(true))).pieces.iter().any(|it| it.0 > Duration::ZERO));
    assert_eq!(ask("echo", json!({ "model": "m" })).status, 400);
}
