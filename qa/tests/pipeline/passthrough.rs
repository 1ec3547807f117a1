//! What Alfred does not govern passes as it came, byte for byte, both ways.

use qa::upstream::{Script, openai};
use qa::world::{World, hello_stream};

/// Members that no type of ours knows, in spellings that a re-encoder would tidy up.
const ODD: [&str; 5] = [
    r#""zeta":[1, 2.50 ,3]"#,
    r#""alpha" : {"b":1.0,"a":1e3,  "c":null}"#,
    r#""big":123456789012345678901234567890"#,
    r#""text":"\u00e9\/ \ud83d\ude00""#,
    r#""":"an empty name""#,
];

#[tokio::test]
async fn unknown_request_members_pass_byte_for_byte() {
    let world = World::start().await;
    let tenant = world.rich().await;
    let url = format!("{}/v1/chat/completions", world.url());
    let bearer = format!("Bearer {}", tenant.key);
    let body = format!(
        r#"{{ "model":"chat",{},  "messages":[ {{"role":"user","content":"hi","note":  {{"x":1.0}}}} ],"max_tokens":50,{} , "temperature":0.70}}"#,
        ODD[..2].join(","),
        ODD[2..].join(" ,\n")
    );
    let answer = world.http.send("POST", &url, &[("authorization", &bearer)], body).await.expect("an answer");
    assert_eq!(answer.status, 200, "{}", answer.text());
    let sent = world.first.last().text();
    for odd in ODD.into_iter().chain([r#""note":  {"x":1.0}"#, r#""temperature":0.70"#]) {
        assert!(sent.contains(odd), "{odd} is not in {sent}");
    }
    assert_eq!(world.first.last().json()["model"], "test-chat");
}

#[tokio::test]
async fn a_json_answer_passes_byte_for_byte() {
    let world = World::start().await;
    let tenant = world.rich().await;
    let plain = openai::body("Hello", Some((10, 5))).to_string();
    let odd = format!("{{{},\n {}", ODD.join(" , "), &plain[1..]);
    world.first.next(Script::bytes(200, "application/json", odd.clone()));
    let answer = world.chat(&tenant.key, &qa::world::hello("chat")).await.expect(200);
    assert_eq!(answer.text(), odd);
}

#[tokio::test]
async fn stream_events_pass_byte_for_byte_however_the_bytes_were_cut() {
    let world = World::start().await;
    let tenant = world.rich().await;
    let chunk = |text: &str| {
        format!(
            r#"data: {{"id":"c","object":"chat.completion.chunk","choices":[{{"index":0,"delta":{{"content":"{text}","odd":[1, 2.50 ]}},"finish_reason":null}}],"x_more" : 1e3}}"#
        )
    };
    for (end, size) in [("\n\n", 1), ("\n\n", 7), ("\r\n\r\n", 1), ("\r\n\r\n", 64), ("\n\n", 1 << 20)] {
        let words = ["Gr\u{fc}", "\u{df}e ", "\u{1f600}!"].map(chunk);
        let whole: String = words.iter().map(|w| format!("{w}{end}")).collect();
        let script = Script::stream([format!(": a comment{end}{whole}")]).and(openai::end(Some((10, 5)))).split(size);
        world.first.next(script);
        let mut flow = world.stream(&tenant.key, &hello_stream("chat")).await;
        assert_eq!(flow.status, 200);
        flow.until("[DONE]").await;
        let answer = flow.whole().await.expect("a whole stream");
        let text = answer.text();
        for word in &words {
            assert!(text.contains(word.as_str()), "cut at {size}: {word} is not in {text}");
        }
        assert_eq!(answer.said(), "Gr\u{fc}\u{df}e \u{1f600}!");
        let receipt = world.receipt(answer.must("x-request-id")).await;
        assert_eq!(receipt["output_tokens"], 5, "{receipt}");
    }
}

#[tokio::test]
async fn the_provider_gets_its_own_key_and_none_of_the_callers() {
    let world = World::start().await;
    let tenant = world.rich().await;
    world.chat(&tenant.key, &qa::world::hello("chat")).await.expect(200);
    let seen = world.first.last();
    assert_eq!(seen.path, "/v1/chat/completions");
    assert_eq!(seen.headers["authorization"], "Bearer first-provider-canary-key");
    let all = format!("{:?} {}", seen.headers, seen.text());
    assert!(!all.contains(&tenant.key) && !all.contains("sk-alf-"), "{all}");

    world.chat(&tenant.key, &qa::world::hello("claude")).await.expect(200);
    let seen = world.claude.last();
    assert_eq!(seen.headers["x-api-key"], "claude-provider-canary-key");
    assert!(seen.headers.contains_key("anthropic-version"));
}
