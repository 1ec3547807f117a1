//! What was said and what opens doors is found nowhere afterwards.

use std::path::Path;

use qa::upstream::{PROVIDER_WORDS, Script, Step, openai};
use qa::world::{ADMIN_KEY, PROVIDER_KEYS, Setup, hello, hello_stream};
use serde_json::json;

fn files_below(folder: &Path, found: &mut Vec<(String, Vec<u8>)>) {
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            files_below(&path, found);
        } else if let Ok(bytes) = std::fs::read(&path) {
            found.push((path.display().to_string(), bytes));
        }
    }
}

#[tokio::test]
async fn no_prompt_no_answer_and_no_key_is_in_a_log_the_database_or_the_metrics() {
    let loud = |config: &mut serde_json::Value| config["log"] = json!({"format": "json", "filter": "debug"});
    let mut world = Setup::new()
        .on_sqlite()
        .with(loud)
        .policy_data(json!({"cache": {"enabled": true, "ttl_seconds": 600}}))
        .start()
        .await;
    let tenant = world.tenant(qa::world::Plan::new().hard("0.01")).await;
    let prompt = "canaryprompt";
    let words = ["canaryanswer", " canaryanswer"];
    for model in ["chat", "claude", "steady", "unpriced", "nobody-knows"] {
        for base in [hello(model), hello_stream(model)] {
            let mut body = base;
            body["messages"] =
                json!([{"role": "user", "content": format!("{prompt} 4111 1111 1111 1111 canary@example.org")}]);
            body["tools"] = json!([{"type": "function", "function": {"name": "f", "description": prompt, "parameters": {"type": "object"}}}]);
            let stream = body["stream"] == json!(true);
            world.first.next(match stream {
                true => openai::stream(&words, Some((10, 5))),
                false => openai::chat("canaryanswer", 10, 5),
            });
            let headers = [("idempotency-key", "canaryname"), ("x-alfred-tags", "team=search")];
            world.call(&tenant.key, "/v1/chat/completions", &headers, &body).await;
        }
    }
    world.first.behave();
    // Every unhappy way, too: wrong key, bad JSON with text in it, a provider's own words, a broken stream.
    world.chat(&format!("{}x", tenant.key), &hello("chat")).await;
    let url = format!("{}/v1/chat/completions", world.url());
    let bearer = format!("Bearer {}", tenant.key);
    let bad = format!(r#"{{"model":"chat","messages":[{{"role":"user","content":"{prompt}"}}"#);
    world.http.send("POST", &url, &[("authorization", &bearer)], bad).await.expect("an answer");
    let wrong = format!(r#"{{"model":"chat","stream":"{prompt}","messages":[]}}"#);
    world.http.send("POST", &url, &[("authorization", &bearer)], wrong).await.expect("an answer");
    for status in [400, 401, 500] {
        world.first.next(Script::error(status, "odd"));
        world.chat(&tenant.key, &hello("chat")).await;
    }
    let mut other = hello_stream("chat");
    other["seed"] = json!(7);
    world.first.next(openai::begin(&["canaryanswer"]).then(Step::Cut));
    world.stream(&tenant.key, &other).await.drain().await;

    let metrics = world.http.send("GET", &format!("{}/metrics", world.url()), &[], "").await.expect("metrics").text();
    let (_, export) = world.export(&tenant.org).await;
    let receipts = json!(world.list(&format!("/requests?org_id={}", tenant.org)).await).to_string();
    let config = world.folder().join("alfred.yaml");
    let log = world.stop().await;
    let mut places = vec![
        ("the log".to_owned(), log.into_bytes()),
        ("the metrics".to_owned(), metrics.into_bytes()),
        ("the export".to_owned(), export.into_bytes()),
        ("the receipts".to_owned(), receipts.into_bytes()),
    ];
    files_below(world.folder(), &mut places);
    assert!(
        places.iter().any(|(name, bytes)| name.ends_with(".db") && bytes.len() > 4096),
        "the database was looked at"
    );
    let secret = tenant.key.rsplit('-').nth(1).expect("a key has parts").to_owned();
    let mut needles =
        vec![prompt, "canaryanswer", "canaryname", "canary@example.org", "4111 1111", ADMIN_KEY, &tenant.key, &secret];
    needles.push(&PROVIDER_WORDS[..18]);
    needles.extend(PROVIDER_KEYS.iter().map(|(_, key)| *key));
    for (place, bytes) in &places {
        for needle in &needles {
            let there = bytes.windows(needle.len()).any(|window| window == needle.as_bytes());
            assert!(!there || Path::new(place) == config, "{needle:?} is in {place}");
        }
    }
}
