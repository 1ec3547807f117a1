//! One-shot tasks: each is forwarded as it came, charged by its own classes, guarded like a conversation, and never a side door.

use qa::check::{refused, usd};
use qa::http::Answer;
use qa::upstream::{Script, Step};
use qa::world::{Plan, Setup, Tenant, World};
use serde_json::{Value, json};

/// Prices in whole dollars, so that what is charged can be read.
async fn world() -> World {
    let prices = json!({
        "first/text": {"input": "1", "output": "2", "bills_after_cancel": false},
        "first/vectors": {"input": "1", "output": "0"},
        "first/judge": {"input": "0", "output": "0"},
        "first/draw": {"input": "5", "output": "40", "image_input": "10", "image_output": "40"},
        "first/dot": {"input": "0", "output": "0", "image": "0.04"},
        "first/tts": {"input": "0", "output": "0", "characters": "15"},
        "first/voice": {"input": "1", "output": "12", "audio_output": "12"},
        "first/whisper": {"input": "0", "output": "0", "second": "0.0001"},
        "first/scribe": {"input": "2", "audio_input": "6", "output": "10"},
        "first/order": {"input": "0", "output": "0", "search": "0.002"},
    });
    Setup::new()
        .with(|config| {
            for (target, price) in prices.as_object().cloned().unwrap_or_default() {
                config["prices"][&target] = price;
            }
            config["models"]
                .as_array_mut()
                .expect("models")
                .push(json!({"id": "omni-moderation-latest", "targets": ["first/judge"]}));
        })
        .start()
        .await
}

const BOUNDARY: &str = "a-boundary";

fn form(fields: &[(&str, &str)], files: &[(&str, &str, &[u8])]) -> Vec<u8> {
    let mut body = Vec::new();
    for (name, value) in fields {
        let part = format!("--{BOUNDARY}\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n");
        body.extend_from_slice(part.as_bytes());
    }
    for (name, file, bytes) in files {
        let head = format!(
            "--{BOUNDARY}\r\nContent-Disposition: form-data; name=\"{name}\"; filename=\"{file}\"\r\n\
             Content-Type: application/octet-stream\r\n\r\n"
        );
        body.extend_from_slice(head.as_bytes());
        body.extend_from_slice(bytes);
        body.extend_from_slice(b"\r\n");
    }
    body.extend_from_slice(format!("--{BOUNDARY}--\r\n").as_bytes());
    body
}

/// So many seconds of silence, 8,000 bytes each.
fn wav(seconds: usize) -> Vec<u8> {
    let mut file = b"RIFF....WAVEfmt \x10\0\0\0\x01\0\x01\0\x40\x1f\0\0\x40\x1f\0\0\x01\0\x08\0data....".to_vec();
    file.resize(seconds * 8_000, 0x80);
    file
}

async fn post_form(world: &World, tenant: &Tenant, path: &str, body: Vec<u8>, more: &[(&str, &str)]) -> Answer {
    let (bearer, kind) = (format!("Bearer {}", tenant.key), format!("multipart/form-data; boundary={BOUNDARY}"));
    let mut headers = vec![("authorization", bearer.as_str()), ("content-type", kind.as_str())];
    headers.extend_from_slice(more);
    world.http.send("POST", &format!("{}{path}", world.url()), &headers, body).await.expect("an answer")
}

async fn receipt(world: &World, answer: &Answer) -> Value {
    world.receipt_when(answer.must("x-request-id"), |it| it["status"] == "settled").await
}

#[tokio::test]
async fn a_json_task_is_forwarded_to_its_path_answered_as_it_came_and_charged_by_its_classes() {
    let world = world().await;
    let tenant = world.rich().await;
    for (path, kind, body, answer, nanos) in [
        (
            "/v1/embeddings",
            "embeddings",
            json!({"model": "first/vectors", "input": ["a", "b"], "encoding_format": "float", "odd": 1.50}),
            json!({"data": [{"embedding": [0.50, 1e-3]}], "usage": {"prompt_tokens": 7, "total_tokens": 7}}),
            7_000,
        ),
        (
            "/v1/moderations",
            "moderations",
            json!({"input": "hello"}),
            json!({"id": "m", "results": [{"flagged": false}]}),
            0,
        ),
        (
            "/v1/completions",
            "completions",
            json!({"model": "first/text", "prompt": "Once", "max_tokens": 5}),
            json!({"object": "text_completion", "choices": [{"text": " upon", "index": 0, "finish_reason": "stop"}],
                "usage": {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3}}),
            5_000,
        ),
        (
            "/v1/images/generations",
            "images.generations",
            json!({"model": "first/draw", "prompt": "a cat", "quality": "low"}),
            json!({"data": [{"b64_json": "AA=="}], "usage": {"input_tokens": 10, "output_tokens": 272, "total_tokens": 282,
                "input_tokens_details": {"text_tokens": 10, "image_tokens": 0}}}),
            10 * 5_000 + 272 * 40_000,
        ),
        (
            "/v1/images/generations",
            "images.generations",
            json!({"model": "first/dot", "prompt": "a cat", "n": 3}),
            json!({"data": [{}, {}, {}]}),
            3 * 40_000_000,
        ),
        (
            "/v1/images/edits",
            "images.edits",
            json!({"model": "first/draw", "prompt": "a hat", "images": [{"image_url": "https://x.test/a.png"}]}),
            json!({"data": [{}], "usage": {"input_tokens": 210, "output_tokens": 100,
                "input_tokens_details": {"text_tokens": 10, "image_tokens": 200}}}),
            10 * 5_000 + 200 * 10_000 + 100 * 40_000,
        ),
        (
            "/v1/rerank",
            "rerank",
            json!({"model": "first/order", "query": "q", "documents": ["a", "b"], "top_n": 1}),
            json!({"results": [{"index": 1, "relevance_score": 0.9}], "meta": {"billed_units": {"search_units": 1}}}),
            2_000_000,
        ),
    ] {
        world.first.next(Script::json(200, &answer));
        let got = world.call(&tenant.key, path, &[], &body).await.expect(200);
        assert_eq!(got.json(), answer, "{path}");
        let seen = world.first.last();
        assert_eq!(seen.path, path);
        let mut expected = body.clone();
        expected["model"] = json!(body["model"].as_str().map_or("judge", |it| it.trim_start_matches("first/")));
        assert_eq!(seen.json(), expected, "{path}");
        let receipt = receipt(&world, &got).await;
        assert_eq!((&receipt["kind"], usd(&receipt, "price_usd")), (&json!(kind), nanos), "{path}: {receipt}");
        assert_eq!(usd(&receipt, "cost_usd"), nanos);
    }
    world.at_rest(&tenant.wallet, std::time::Duration::from_secs(5)).await;
    world.assert_balanced(&tenant).await;
}

#[tokio::test]
async fn a_form_is_read_forwarded_with_the_targets_model_and_charged_by_what_was_heard() {
    let world = world().await;
    let tenant = world.rich().await;
    let sound = wav(4);
    for (path, model, format, answer, nanos) in [
        (
            "/v1/audio/transcriptions",
            "first/whisper",
            "json",
            Script::json(200, &json!({"text": "hi", "usage": {"type": "duration", "seconds": 3.2}})),
            400_000,
        ),
        (
            "/v1/audio/transcriptions",
            "first/scribe",
            "json",
            Script::json(
                200,
                &json!({"text": "hi", "usage": {"type": "tokens", "input_tokens": 12, "output_tokens": 3,
                "input_token_details": {"text_tokens": 2, "audio_tokens": 10}}}),
            ),
            2 * 2_000 + 10 * 6_000 + 3 * 10_000,
        ),
        (
            "/v1/audio/translations",
            "first/whisper",
            "verbose_json",
            Script::json(200, &json!({"text": "hi", "duration": 7.9, "segments": []})),
            800_000,
        ),
        ("/v1/audio/transcriptions", "first/whisper", "text", Script::bytes(200, "text/plain", "hi\n"), 400_000),
    ] {
        world.first.next(answer);
        let fields = [("model", model), ("response_format", format), ("temperature", "0.5")];
        let got = post_form(&world, &tenant, path, form(&fields, &[("file", "me.wav", &sound)]), &[]).await.expect(200);
        assert!(got.text().contains("hi"), "{}", got.text());
        let expected = if format == "text" { "text/plain" } else { "application/json" };
        assert!(got.must("content-type").starts_with(expected));
        let seen = world.first.last();
        assert_eq!(seen.path, path);
        let sent = seen.text();
        assert!(seen.headers["content-type"].to_str().is_ok_and(|it| it.starts_with("multipart/form-data; boundary=")));
        let name = model.trim_start_matches("first/");
        for part in [
            &*format!("name=\"model\"\r\n\r\n{name}\r\n"),
            "name=\"temperature\"\r\n\r\n0.5\r\n",
            "filename=\"file.wav\"",
        ] {
            assert!(sent.contains(part), "{part} is not in what was sent");
        }
        assert!(seen.body.windows(sound.len()).any(|it| it == sound), "the file, byte for byte");
        let receipt = receipt(&world, &got).await;
        assert_eq!(usd(&receipt, "price_usd"), nanos, "{receipt}");
        assert_eq!(receipt["tokens_estimated"], json!(format == "text"));
    }
    world.assert_balanced(&tenant).await;
}

#[tokio::test]
async fn speech_flows_is_charged_by_its_characters_and_what_breaks_off_is_no_whole_answer() {
    let world = world().await;
    let tenant = world.rich().await;
    let sound: Vec<u8> = (0..=255).cycle().take(10_000).collect();
    let body = json!({"model": "first/tts", "input": "Grüße!", "voice": "alloy", "response_format": "mp3"});
    world.first.next(Script::bytes(200, "audio/mpeg", sound.clone()).split(700));
    let got = world.call(&tenant.key, "/v1/audio/speech", &[], &body).await.expect(200);
    assert_eq!((got.must("content-type"), got.body[..] == sound[..]), ("audio/mpeg", true));
    let told = receipt(&world, &got).await;
    assert_eq!(
        (usd(&told, "price_usd"), &told["characters"], &told["kind"]),
        (6 * 15_000, &json!(6), &json!("audio.speech"))
    );

    let broken = Script::bytes(200, "audio/mpeg", sound.clone()).then(Step::Cut);
    world.first.next(broken);
    let flow = world.open(&tenant.key, "/v1/audio/speech", &[], &body).await.expect("a beginning");
    let (half, clean) = flow.drain().await;
    assert!(!clean && half.status == 200 && !half.text().contains("error"), "the connection breaks, too");
    let told = receipt(&world, &half).await;
    assert_eq!((usd(&told, "price_usd"), &told["ending"]), (6 * 15_000, &json!("upstream_broke")));

    let mut body = body;
    body["model"] = json!("first/voice");
    body["stream_format"] = json!("sse");
    let events = [
        "data: {\"type\":\"speech.audio.delta\",\"audio\":\"AA==\"}\n\n",
        "data: {\"type\":\"speech.audio.done\",\"usage\":{\"input_tokens\":4,\"output_tokens\":30,\"total_tokens\":34}}\n\n",
    ];
    world.first.next(Script::stream(events));
    let got = world.call(&tenant.key, "/v1/audio/speech", &[], &body).await.expect(200);
    assert_eq!(got.text(), events.concat());
    assert_eq!(usd(&receipt(&world, &got).await, "price_usd"), 4 * 1_000 + 30 * 12_000);
    world.assert_balanced(&tenant).await;
}

#[tokio::test]
async fn a_completion_streams_its_usage_is_asked_for_and_it_is_cut_where_the_money_ends() {
    let world = world().await;
    let tenant = world.rich().await;
    let chunk = |text: &str, reason: Value| {
        let choice = json!({"index": 0, "text": text, "logprobs": null, "finish_reason": reason});
        format!("data: {}\n\n", json!({"id": "c", "object": "text_completion", "choices": [choice], "usage": null}))
    };
    let usage = json!({"id": "c", "object": "text_completion", "choices": [], "usage": {"prompt_tokens": 2, "completion_tokens": 3}});
    let script = [
        chunk("one ", Value::Null),
        chunk("two", json!("stop")),
        format!("data: {usage}\n\n"),
        "data: [DONE]\n\n".into(),
    ];
    world.first.next(Script::stream(script).split(11));
    let body = json!({"model": "first/text", "prompt": "count", "stream": true, "max_tokens": 50});
    let got = world.call(&tenant.key, "/v1/completions", &[], &body).await.expect(200);
    assert!(!got.text().contains("prompt_tokens"), "nobody asked for it: {}", got.text());
    let texts: String =
        got.chunks().iter().filter_map(|it| it["choices"][0]["text"].as_str().map(str::to_owned)).collect();
    assert_eq!(texts, "one two");
    let sent = world.first.last().json();
    assert_eq!((&sent["stream_options"]["include_usage"], &sent["max_tokens"]), (&json!(true), &json!(50)));
    assert_eq!(usd(&receipt(&world, &got).await, "price_usd"), 2 * 1_000 + 3 * 2_000);

    let poor = world.tenant(Plan::new().hard("0.0005")).await;
    let endless: Vec<String> = (0..3_000).map(|i| chunk(&format!("word{i} "), Value::Null)).collect();
    world.first.next(Script::stream(endless));
    let body = json!({"model": "first/text", "prompt": "count", "stream": true, "max_tokens": 200});
    let got = world.call(&poor.key, "/v1/completions", &[], &body).await;
    let told = match got.status {
        200 => receipt(&world, &got).await,
        _ => {
            return refused(&got, 429, "insufficient_quota", "budget_exceeded")
                .as_object()
                .map(drop)
                .expect("an error");
        }
    };
    assert!(usd(&told, "price_usd") <= 500_000, "{told}");
    world.assert_balanced(&poor).await;
}

#[tokio::test]
async fn what_cannot_be_read_priced_or_paid_is_refused_and_nothing_is_forwarded_or_charged() {
    let world = world().await;
    let tenant = world.rich().await;
    let sound = wav(2);
    let good = form(&[("model", "first/whisper")], &[("file", "a.wav", &sound)]);
    let dear = wav(600);
    let poor = world.tenant(Plan::new().hard("0.001")).await;
    for (body, code, param) in [
        (good[..good.len() - 10].to_vec(), "invalid_multipart", json!("file")),
        (good[..40].to_vec(), "invalid_multipart", Value::Null),
        (b"{\"model\":\"first/whisper\"}".to_vec(), "invalid_multipart", Value::Null),
        (Vec::new(), "invalid_multipart", Value::Null),
        (form(&[("model", "first/whisper")], &[]), "missing_required_parameter", json!("file")),
        (form(&[], &[("file", "a.wav", &sound)]), "missing_required_parameter", json!("model")),
        (
            form(&[("model", "first/whisper"), ("stream", "perhaps")], &[("file", "a", &sound)]),
            "invalid_type",
            json!("stream"),
        ),
    ] {
        let answer = post_form(&world, &tenant, "/v1/audio/transcriptions", body, &[]).await;
        let error = refused(&answer, 400, "invalid_request_error", code);
        assert_eq!(error["param"], param, "{error}");
    }
    for (path, body, status, code) in [
        ("/v1/embeddings", json!({"model": "first/vectors"}), 400, "missing_required_parameter"),
        ("/v1/embeddings", json!({"model": "first/vectors", "input": {"a": 1}}), 400, "invalid_type"),
        ("/v1/embeddings", json!({"model": "nobody/x", "input": "a"}), 404, "model_not_found"),
        ("/v1/embeddings", json!({"model": "claude/test-claude", "input": "a"}), 400, "unsupported_by_target"),
        // A price for tokens of text says nothing about what these are billed in.
        ("/v1/images/generations", json!({"model": "first/vectors", "prompt": "a"}), 422, "unpriced_model"),
        ("/v1/audio/speech", json!({"model": "first/dot", "input": "a", "voice": "v"}), 422, "unpriced_model"),
        ("/v1/rerank", json!({"model": "first/dot", "query": "a", "documents": ["b"]}), 422, "unpriced_model"),
        ("/v1/rerank", json!({"model": "first/unpriced", "query": "a", "documents": ["b"]}), 422, "unpriced_model"),
        ("/v1/images/variations", json!({"model": "first/dot"}), 404, "unknown_url"),
    ] {
        let answer = world.call(&tenant.key, path, &[], &body).await;
        assert_eq!(answer.status, status, "{path} {body}: {}", answer.text());
        assert_eq!(answer.json()["error"]["code"], code, "{path}: {}", answer.text());
    }
    // Ten minutes cost six cents, which are not there: the whole of it is held, or nothing.
    let body = form(&[("model", "first/whisper")], &[("file", "a.wav", &dear)]);
    let answer = post_form(&world, &poor, "/v1/audio/transcriptions", body, &[]).await;
    refused(&answer, 429, "insufficient_quota", "budget_exceeded");
    let body = json!({"model": "first/dot", "prompt": "a", "n": 9});
    refused(
        &world.call(&poor.key, "/v1/images/generations", &[], &body).await,
        429,
        "insufficient_quota",
        "budget_exceeded",
    );
    assert_eq!(world.first.count(), 0, "nothing was forwarded");
    for tenant in [&tenant, &poor] {
        assert_eq!(usd(&world.wallet(&tenant.wallet).await, "spent_usd"), 0);
        world.assert_balanced(tenant).await;
    }
}

#[tokio::test]
async fn safety_sees_every_text_of_a_task_and_what_it_redacts_is_what_leaves() {
    let world = world().await;
    let tenant = world.rich().await;
    let secret = "anna@example.com";
    let answer = json!({"data": [], "results": [], "usage": {"prompt_tokens": 1, "total_tokens": 1}});
    for (path, body) in [
        ("/v1/embeddings", json!({"model": "first/vectors", "input": ["x", format!("mail {secret}")]})),
        ("/v1/rerank", json!({"model": "first/order", "query": "q", "documents": [{"text": secret}]})),
        ("/v1/images/generations", json!({"model": "first/dot", "prompt": secret})),
    ] {
        world.first.next(Script::json(200, &answer));
        world.call(&tenant.key, path, &[], &body).await.expect(200);
        let sent = world.first.last().text();
        assert!(!sent.contains(secret) && sent.contains("[EMAIL"), "{path}: {sent}");
    }
    world.first.next(Script::json(200, &json!({"text": "hi"})));
    let body = form(&[("model", "first/whisper"), ("prompt", secret)], &[("file", "anna@example.com.wav", &wav(1))]);
    post_form(&world, &tenant, "/v1/audio/transcriptions", body, &[]).await.expect(200);
    assert!(!world.first.last().text().contains(secret), "neither as a field nor as the name of a file");
}

#[tokio::test]
async fn a_form_that_is_repeated_with_its_key_is_answered_again_and_not_charged_again() {
    let world = world().await;
    let tenant = world.rich().await;
    let body = form(&[("model", "first/whisper")], &[("file", "a.wav", &wav(2))]);
    let key = [("idempotency-key", "once")];
    world.first.next(Script::json(200, &json!({"text": "first", "usage": {"type": "duration", "seconds": 2}})));
    let first = post_form(&world, &tenant, "/v1/audio/transcriptions", body.clone(), &key).await.expect(200);
    receipt(&world, &first).await;
    // A client that tries again writes the same form with another boundary.
    let other = String::from_utf8_lossy(&body).replace(BOUNDARY, "b-boundary");
    assert!(other.contains("b-boundary"));
    let again = post_form(&world, &tenant, "/v1/audio/transcriptions", body, &key).await.expect(200);
    assert_eq!((again.text(), world.first.count()), (first.text(), 1));
    let changed = form(&[("model", "first/whisper")], &[("file", "a.wav", &wav(3))]);
    let answer = post_form(&world, &tenant, "/v1/audio/transcriptions", changed, &key).await;
    refused(&answer, 409, "invalid_request_error", "idempotency_mismatch");
    let spent = usd(&world.wallet(&tenant.wallet).await, "spent_usd");
    assert_eq!(spent, 200_000);
}

#[tokio::test]
async fn the_simulator_serves_every_task() {
    let world = world().await;
    let tenant = world.rich().await;
    for (path, body, member) in [
        ("/v1/embeddings", json!({"model": "sim/embed", "input": "a red fox"}), "data"),
        ("/v1/moderations", json!({"model": "sim/judge", "input": "peace"}), "results"),
        ("/v1/rerank", json!({"model": "sim/sort", "query": "fox", "documents": ["a fox", "a tax"]}), "results"),
        ("/v1/completions", json!({"model": "sim/continue", "prompt": "hello"}), "choices"),
        ("/v1/images/generations", json!({"model": "sim/draw", "prompt": "a dot"}), "data"),
    ] {
        let answer = world.call(&tenant.key, path, &[], &body).await.expect(200);
        assert!(answer.json()[member].is_array(), "{path}: {}", answer.text());
    }
    let speech = json!({"model": "sim/speak", "input": "hello there", "voice": "v"});
    let spoken = world.call(&tenant.key, "/v1/audio/speech", &[], &speech).await.expect(200);
    assert_eq!((spoken.must("content-type"), &spoken.body[..4]), ("audio/wav", &b"RIFF"[..]));
    let heard = form(&[("model", "sim/hear")], &[("file", "a.wav", &spoken.body)]);
    let heard = post_form(&world, &tenant, "/v1/audio/transcriptions", heard, &[]).await.expect(200);
    assert!(heard.json()["text"].as_str().is_some_and(|it| it.contains("seconds")), "{}", heard.text());
    let chat = world.call(&tenant.key, "/v1/chat/completions", &[], &qa::world::hello("sim/embed")).await;
    refused(&chat, 400, "invalid_request_error", "unsupported_by_target");
}
