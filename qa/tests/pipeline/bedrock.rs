//! AWS Bedrock behind OpenAI's and Anthropic's doors: frames come in, the caller's own words go out, requests are signed, and the
//! keys that sign are found nowhere.

use bytes::Bytes;
use qa::tools::repository;
use qa::upstream::{PROVIDER_WORDS, Script, Upstream};
use qa::world::{PROVIDER_KEYS, Setup, World, hello, hello_stream};
use serde_json::{Value, json};

const MODEL: &str = "us.amazon.nova-lite-v1:0";

/// A gateway with Bedrock as its provider `rock`, whose keys are those of two other providers.
async fn world(rock: &Upstream) -> World {
    let [(id, _), (secret, _), ..] = PROVIDER_KEYS;
    let keys = json!({"access_key_id": {"env": id}, "secret_access_key": {"env": secret}});
    let provider = json!({"id": "rock", "kind": "bedrock", "base_url": rock.root(), "aws": keys,
        "settings": {"aws_region": "eu-central-1"}});
    Setup::new()
        .with(|config| {
            config["providers"] = json!([provider]);
            config["models"]
                .as_array_mut()
                .expect("models")
                .push(json!({"id": "rock", "targets": [format!("rock/{MODEL}")]}));
            let price = json!({"input": "1.00", "cached_input": "0.10", "cache_write": "1.25", "output": "2.00"});
            config["prices"][format!("rock/{MODEL}")] = price;
            config["log"] = json!({"format": "json", "filter": "debug,aws_sigv4=trace"});
        })
        .start()
        .await
}

/// What the providers' own golden stream holds: `Hello – "wörld"`, 25 tokens in, 100 from the cache, 10 into it, 15 out.
fn frames() -> Bytes {
    std::fs::read(repository().join("providers/src/bedrock/testdata/stream/text.in.bin")).expect("frames").into()
}

const SAID: &str = "Hello – \"wörld\"\n";
/// 25 × 1.00 + 100 × 0.10 + 10 × 1.25 + 15 × 2.00, per million.
const COST: &str = "0.0000775";

fn stream() -> Script {
    Script::bytes(200, "application/vnd.amazon.eventstream", frames()).split(37)
}

fn whole() -> Script {
    Script::json(
        200,
        &json!({"output": {"message": {"role": "assistant", "content": [{"text": SAID}]}}, "stopReason": "end_turn",
            "usage": {"inputTokens": 25, "outputTokens": 15, "totalTokens": 150, "cacheReadInputTokens": 100,
                "cacheWriteInputTokens": 10}, "metrics": {"latencyMs": 7}}),
    )
}

#[tokio::test]
async fn both_doors_get_streams_and_whole_answers_in_their_own_words_at_the_true_cost() {
    let rock = Upstream::start();
    let world = world(&rock).await;
    let tenant = world.rich().await;
    // A provider may answer JSON where a stream was asked for.
    for (script, bodies) in
        [(stream(), vec![hello_stream("rock")]), (whole(), vec![hello("rock"), hello_stream("rock")])]
    {
        rock.always(script);
        for body in bodies {
            let answer = world.chat(&tenant.key, &body).await.expect(200);
            assert_eq!(answer.said(), SAID);
            assert_eq!(answer.must("x-alfred-model"), format!("rock/{MODEL}"));
            let receipt = world.receipt(answer.must("x-request-id")).await;
            assert_eq!((&receipt["cost_usd"], &receipt["output_tokens"]), (&json!(COST), &json!(15)), "{receipt}");
            let mut message = json!({"model": "rock", "max_tokens": 50, "stream": body["stream"] == json!(true)});
            message["messages"] = body["messages"].clone();
            let headers = [("x-api-key", &*tenant.key), ("content-type", "application/json")];
            let url = format!("{}/v1/messages", world.url());
            let answer =
                world.http.send("POST", &url, &headers, message.to_string()).await.expect("an answer").expect(200);
            assert_eq!(answer.said(), SAID);
            assert!(answer.text().contains("\"cache_read_input_tokens\":100"), "{}", answer.text());
            let receipt = world.receipt(answer.must("x-request-id")).await;
            assert_eq!(receipt["cost_usd"], COST, "{receipt}");
        }
    }
    let sent = rock.seen();
    assert!(sent.iter().all(|it| it.path.starts_with("/model/us.amazon.nova-lite-v1%3A0/converse")), "{sent:?}");
    assert!(sent.iter().all(|it| it.json()["inferenceConfig"]["maxTokens"].as_u64().is_some()));
}

#[tokio::test]
async fn requests_are_signed_and_the_keys_that_sign_are_found_nowhere() {
    let rock = Upstream::start();
    let mut world = world(&rock).await;
    let tenant = world.rich().await;
    let [(_, id), (_, secret), ..] = PROVIDER_KEYS;
    rock.next(whole());
    world.chat(&tenant.key, &hello("rock")).await.expect(200);
    let sent = rock.last();
    let told = |name: &str| sent.headers.get(name).and_then(|it| it.to_str().ok()).unwrap_or_default().to_owned();
    let scope = format!("AWS4-HMAC-SHA256 Credential={id}/");
    assert!(told("authorization").starts_with(&scope), "{}", told("authorization"));
    assert!(
        told("authorization")
            .contains("/eu-central-1/bedrock/aws4_request, SignedHeaders=content-type;host;x-amz-date")
    );
    assert_eq!((told("x-amz-date").len(), told("accept").is_empty()), (16, false));
    assert!(!format!("{sent:?}").contains(secret));
    let receipts = json!(world.list(&format!("/requests?org_id={}", tenant.org)).await).to_string();
    let log = world.stop().await;
    assert!(log.contains("call closed"), "the log was looked at: {log}");
    for (place, text) in [("the receipts", receipts), ("the log", log)] {
        assert!(!text.contains(secret) && !text.contains(id), "a key is in {place}");
        assert!(!text.contains("Say hello"), "the prompt is in {place}");
    }
}

#[tokio::test]
async fn what_amazon_refuses_is_told_in_our_words() {
    let rock = Upstream::start();
    let world = world(&rock).await;
    let tenant = world.rich().await;
    let refusal = |status: u16, kind: &str, words: &str| {
        let message = format!("{words} {PROVIDER_WORDS}");
        Script::json(status, &json!({"message": message}))
            .header("x-amzn-errortype", &format!("{kind}:http://internal/"))
    };
    for (script, status, code) in [
        (refusal(400, "ValidationException", "Input is too long for requested model."), 400, "context_length_exceeded"),
        (refusal(400, "ValidationException", "odd"), 400, "provider_rejected"),
        (refusal(403, "AccessDeniedException", "no"), 502, "provider_error"),
        (refusal(503, "ServiceUnavailableException", "no"), 502, "provider_error"),
    ] {
        rock.next(script);
        let answer = world.chat(&tenant.key, &hello("rock")).await.expect(status);
        assert_eq!(answer.json()["error"]["code"], code);
        assert!(!answer.text().contains(PROVIDER_WORDS));
    }
    let mut odd = hello("rock");
    odd["seed"] = json!(7);
    let count = rock.count();
    let answer = world.chat(&tenant.key, &odd).await;
    let error: Value = answer.json()["error"].clone();
    assert!(error.to_string().contains("seed"), "{error}");
    assert_eq!(rock.count(), count, "nothing was sent");

    // A stream that breaks after its first words is not told as if it had ended.
    let torn = frames().slice(..frames().len() - 400);
    rock.next(Script::bytes(200, "application/vnd.amazon.eventstream", torn));
    let (answer, _) = world.stream(&tenant.key, &hello_stream("rock")).await.drain().await;
    assert!(answer.text().contains("\"error\"") && !answer.text().contains("[DONE]"), "{}", answer.text());
}
