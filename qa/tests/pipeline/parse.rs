//! A body that cannot be read is refused with the place of the fault, and nobody else hears of it.

use qa::check::refused;
use qa::world::{World, hello};

#[tokio::test]
async fn what_cannot_be_read_is_refused_with_its_place() {
    let world = World::start().await;
    let tenant = world.rich().await;
    let url = format!("{}/v1/chat/completions", world.url());
    let bearer = format!("Bearer {}", tenant.key);
    let headers = [("authorization", bearer.as_str()), ("content-type", "application/json")];
    let user = r#"{"role":"user","content":"hi"}"#;
    let rows: Vec<(&str, Vec<u8>, Option<&str>, &str)> = vec![
        ("nothing", b"".to_vec(), None, "line"),
        ("cut short", br#"{"model":"chat","messages":["#.to_vec(), None, "line 1"),
        ("a bare word", b"{\n  \"model\": chat}".to_vec(), None, "line 2"),
        ("two values", format!(r#"{{"model":"chat","messages":[{user}]}} {{}}"#).into(), None, "line 1"),
        ("not an object", b"[]".to_vec(), None, ""),
        (
            "not UTF-8",
            [br#"{"model":"chat","messages":[{"role":"user","content":""#, &[0xc3, 0x28][..], b"\"}]}"].concat(),
            None,
            "",
        ),
        ("no model", format!(r#"{{"messages":[{user}]}}"#).into(), Some("model"), "model"),
        ("no messages", br#"{"model":"chat"}"#.to_vec(), Some("messages"), "messages"),
        ("model is a number", format!(r#"{{"model":1,"messages":[{user}]}}"#).into(), Some("model"), "model"),
        ("messages is a text", br#"{"model":"chat","messages":"hi"}"#.to_vec(), Some("messages"), "messages"),
        (
            "content is a number",
            format!(r#"{{"model":"chat","messages":[{user},{{"role":"user","content":7}}]}}"#).into(),
            Some("messages[1].content"),
            "messages[1].content",
        ),
        (
            "stream is a text",
            format!(r#"{{"model":"chat","messages":[{user}],"stream":"yes"}}"#).into(),
            Some("stream"),
            "stream",
        ),
        (
            "a negative cap",
            format!(r#"{{"model":"chat","messages":[{user}],"max_tokens":-1}}"#).into(),
            Some("max_tokens"),
            "max_tokens",
        ),
        (
            "a broken number of choices",
            format!(r#"{{"model":"chat","messages":[{user}],"n":"two"}}"#).into(),
            Some("n"),
            "n",
        ),
        (
            "two models",
            format!(r#"{{"model":"chat","messages":[{user}],"model":"free"}}"#).into(),
            Some("model"),
            "model",
        ),
    ];
    for (name, body, param, place) in rows {
        let answer = world.http.send("POST", &url, &headers, body).await.expect("an answer");
        assert_eq!(answer.status, 400, "{name}: {}", answer.text());
        let code = answer.json()["error"]["code"].as_str().unwrap_or_default().to_owned();
        let error = refused(&answer, 400, "invalid_request_error", &code);
        assert!(
            code.starts_with("invalid_") || code.starts_with("missing_") || code.starts_with("duplicate_"),
            "{name}: {error}"
        );
        assert_eq!(error["param"].as_str(), param, "{name}: {error}");
        assert!(error["message"].as_str().is_some_and(|m| m.contains(place)), "{name}: {error}");
    }
    assert_eq!(world.first.count(), 0);
    assert_eq!(world.chat(&tenant.key, &hello("chat")).await.status, 200, "and the next call is served");
}

#[tokio::test]
async fn a_body_over_the_limit_is_refused_and_one_under_it_is_not() {
    let world = World::start().await;
    let tenant = world.rich().await;
    let mut body = hello("free");
    body["messages"][0]["content"] = serde_json::json!("word ".repeat(400_000));
    // A big body passes.
    assert_eq!(world.chat(&tenant.key, &body).await.status, 200);
    body["messages"][0]["content"] = serde_json::json!("x".repeat(33 << 20));
    let before = world.first.count();
    // The gateway may hang up on what it refuses to read; what it must not do is forward it.
    if let Ok(answer) = world.try_call(&tenant.key, "/v1/chat/completions", &[], &body).await {
        refused(&answer, 413, "invalid_request_error", "request_too_large");
    }
    assert_eq!(world.first.count(), before);
}

#[tokio::test]
async fn deeply_nested_bodies_and_wrong_content_types_do_no_harm() {
    let mut world = World::start().await;
    let tenant = world.rich().await;
    let url = format!("{}/v1/chat/completions", world.url());
    let bearer = format!("Bearer {}", tenant.key);
    let deep = format!(
        r#"{{"model":"chat","messages":[{{"role":"user","content":"hi"}}],"x":{}1{}}}"#,
        "[".repeat(200_000),
        "]".repeat(200_000)
    );
    let answer = world.http.send("POST", &url, &[("authorization", &bearer)], deep).await.expect("an answer");
    assert!(answer.status == 400 || answer.status == 200, "{} {}", answer.status, answer.text());
    let answer = world.http.send("GET", &url, &[("authorization", &bearer)], "").await.expect("an answer");
    assert_eq!(answer.status, 405, "{}", answer.text());
    assert!(world.alfred().pid() > 0);
    assert_eq!(world.chat(&tenant.key, &hello("chat")).await.status, 200);
}
