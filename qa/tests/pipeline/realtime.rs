//! Realtime conversations: let in like any call, relayed event by event, held for and charged response by response.

use std::time::Duration;

use qa::check::{dollars, usd};
use qa::realtime::{Conversation, NoUpgrade, Provider};
use qa::world::{Plan, Setup, Tenant, World};
use serde_json::{Value, json};

/// A response costs 10 tokens at 1 µ$ and 5 at 2 µ$.
const COST: i64 = 20_000;

async fn world() -> (World, Provider) {
    world_with(|_| {}).await
}

async fn world_with(change: impl FnOnce(&mut Value)) -> (World, Provider) {
    let provider = Provider::start().await;
    let base_url = provider.v1();
    let setup = Setup::new().with(|config| {
        config["providers"] =
            json!([{"id": "talk", "kind": "openai", "base_url": base_url, "api_key": {"env": "FIRST_KEY"}}]);
        let models = config["models"].as_array_mut().expect("models");
        models.push(json!({"id": "voice", "targets": ["talk/test-voice"]}));
        config["prices"]["talk/test-voice"] = json!({"input": "1.00", "output": "2.00", "audio_input": "1.00",
            "audio_output": "2.00", "bills_after_cancel": false});
        config["prices"]["claude/voice"] = config["prices"]["talk/test-voice"].clone();
        config["prices"]["talk/text-only"] = json!({"input": "1.00", "output": "2.00"});
        change(config);
    });
    (setup.start().await, provider)
}

async fn open(world: &World, key: &str) -> Conversation {
    let bearer = format!("Bearer {key}");
    let opened = Conversation::open(&world.url(), "?model=voice", &[("authorization", &bearer)]).await;
    opened.unwrap_or_else(|refused| panic!("{refused:?}\n{}", world.log()))
}

async fn refused(world: &World, query: &str, headers: &[(&str, &str)]) -> NoUpgrade {
    match Conversation::open(&world.url(), query, headers).await {
        Ok(_) => panic!("{query} was upgraded"),
        Err(refused) => refused,
    }
}

/// The receipts of conversations, oldest first.
async fn receipts(world: &World, tenant: &Tenant) -> Vec<Value> {
    let mut found = world.list(&format!("/requests?org_id={}", tenant.org)).await;
    found.retain(|it| it["kind"] == "realtime");
    found.sort_by_key(|it| it["id"].as_str().map(str::to_owned));
    found
}

async fn receipts_when(world: &World, tenant: &Tenant, so: impl Fn(&[Value]) -> bool) -> Vec<Value> {
    for _ in 0..200 {
        let found = receipts(world, tenant).await;
        if so(&found) {
            return found;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("never so: {:?}\n{}", receipts(world, tenant).await, world.log());
}

fn settled(found: &[Value]) -> usize {
    found.iter().filter(|it| it["ending"] == "finished").count()
}

#[tokio::test]
async fn a_conversation_is_relayed_and_each_response_is_charged_exactly() {
    let (world, provider) = world().await;
    let tenant = world.rich().await;
    let mut talk = open(&world, &tenant.key).await;
    assert!(talk.head.contains_key("x-request-id"));
    assert_eq!(talk.head["x-alfred-model"], "talk/test-voice");
    assert_eq!(talk.next().await.expect("an event")["type"], "session.created");
    talk.say(json!({"type": "session.update", "session": {"type": "realtime", "model": "voice", "instructions": "Be kind", "odd": 1.0}}))
        .await;
    let updated = talk.until("session.updated").await;
    assert_eq!(updated["session"]["model"], "test-voice", "the target's own name");
    assert_eq!(updated["session"]["odd"], json!(1.0));
    for nth in 1..=2 {
        talk.ask("Say hello").await;
        let mut said = String::new();
        loop {
            let event = talk.next().await.expect("an event");
            match event["type"].as_str() {
                Some("response.output_text.delta") => said.push_str(event["delta"].as_str().unwrap_or_default()),
                Some("response.done") => break,
                _ => {}
            }
        }
        assert_eq!(said, "Hello there");
        // The settlement is durable before the end of a response is told.
        let wallet = world.wallet(&tenant.wallet).await;
        assert_eq!(usd(&wallet, "spent_usd"), nth * COST);
        assert_eq!(usd(&wallet, "held_usd"), 0, "nothing is held between responses");
    }
    talk.leave().await;
    assert_eq!(
        provider.heads(),
        [("/v1/realtime?model=test-voice".to_owned(), "Bearer first-provider-canary-key".to_owned())]
    );
    let found = receipts(&world, &tenant).await;
    assert_eq!(found.len(), 2, "{found:?}");
    for receipt in &found {
        let receipt = world.receipt(receipt["id"].as_str().expect("an id")).await;
        assert_eq!((&receipt["ending"], &receipt["target"]), (&json!("finished"), &json!("talk/test-voice")));
        assert_eq!((&receipt["input_tokens"], &receipt["output_tokens"]), (&json!(10), &json!(5)));
        assert_eq!(usd(&receipt, "price_usd"), COST);
        assert_eq!(receipt["attempts"].as_array().map(Vec::len), Some(1));
    }
    world.assert_balanced(&tenant).await;
}

#[tokio::test]
async fn what_cannot_be_is_refused_before_the_upgrade_in_plain_answers() {
    let (world, provider) = world().await;
    let tenant = world.rich().await;
    let bearer = format!("Bearer {}", tenant.key);
    let auth = ("authorization", bearer.as_str());
    let beta = ("openai-beta", "realtime=v1");
    for (query, headers, status, code) in [
        ("?model=voice", vec![], 401, "invalid_api_key"),
        ("?model=voice", vec![("authorization", "Bearer sk-alf-nobody")], 401, "invalid_api_key"),
        ("?model=nobody-knows", vec![auth], 404, "model_not_found"),
        ("", vec![auth], 400, "missing_required_parameter"),
        ("?model=voice&intent=transcription", vec![auth], 400, "unsupported_by_target"),
        ("?model=voice", vec![auth, beta], 400, "unsupported_by_target"),
        // Anthropic's dialect has no conversations, and this model of the built-in provider has none.
        ("?model=claude%2Fvoice", vec![auth], 400, "unsupported_by_target"),
        ("?model=sim%2Fecho", vec![auth], 400, "unsupported_by_target"),
        ("?model=talk%2Ftext-only", vec![auth], 422, "unpriced_model"),
    ] {
        let refused = refused(&world, query, &headers).await;
        assert_eq!(
            (refused.status, refused.body["error"]["code"].as_str()),
            (status, Some(code)),
            "{query} {refused:?}"
        );
        assert!(refused.headers.contains_key("x-request-id"));
    }
    let poor = world.tenant(Plan::new().hard("0.000001")).await;
    let bearer = format!("Bearer {}", poor.key);
    let refused = refused(&world, "?model=voice", &[("authorization", &bearer)]).await;
    assert_eq!((refused.status, refused.body["error"]["code"].as_str()), (429, Some("budget_exceeded")));
    assert_eq!(provider.heads().len(), 0);
    // Not a WebSocket at all.
    let answer = world.http.send("GET", &format!("{}/v1/realtime?model=voice", world.url()), &[auth], "").await;
    assert_eq!(answer.expect("an answer").status, 400);
    world.assert_balanced(&tenant).await;
}

#[tokio::test]
async fn a_browser_shows_its_key_as_a_protocol_and_never_sees_it_again() {
    let (world, _provider) = world().await;
    let tenant = world.rich().await;
    let protocols = format!("realtime, openai-insecure-api-key.{}", tenant.key);
    let opened = Conversation::open(&world.url(), "?model=voice", &[("sec-websocket-protocol", &protocols)]).await;
    let mut talk = opened.expect("an upgrade");
    assert_eq!(talk.head["sec-websocket-protocol"], "realtime");
    talk.ask("Say hello").await;
    talk.until("response.done").await;
    assert!(!world.log().contains(&tenant.key));
}

#[tokio::test]
async fn money_that_ends_in_the_middle_ends_the_conversation() {
    let (world, provider) = world_with(|_| {}).await;
    // The first response, and not much more than what is held for the input of the second.
    let tenant = world.tenant(Plan::new().hard(dollars(5_000_000))).await;
    let mut talk = open(&world, &tenant.key).await;
    talk.say(json!({"type": "session.update", "session": {"type": "realtime"}})).await;
    talk.ask("Please go on").await;
    let error = talk.until("error").await;
    assert_eq!(
        (&error["error"]["type"], &error["error"]["code"]),
        (&json!("insufficient_quota"), &json!("budget_exceeded"))
    );
    assert_eq!(talk.closed().await, Some(1008));
    assert_eq!(provider.of("response.cancel").len(), 1, "the provider is told to stop");
    let found = receipts_when(&world, &tenant, |it| it.iter().any(|it| it["ending"] == "out_of_money")).await;
    assert_eq!(found.len(), 1);
    let wallet = world.at_rest(&tenant.wallet, Duration::from_secs(5)).await;
    let spent = usd(&wallet, "spent_usd");
    assert!(spent > 0 && spent <= 5_000_000, "{spent}");
    world.assert_balanced(&tenant).await;
}

#[tokio::test]
async fn a_response_that_cannot_be_held_for_does_not_begin() {
    let (world, provider) = world().await;
    let tenant = world.rich().await;
    let mut talk = open(&world, &tenant.key).await;
    talk.ask("Say hello").await;
    talk.until("response.done").await;
    world.admin("PATCH", &format!("/wallets/{}", tenant.wallet), json!({"hard_limit_usd": dollars(COST + 1)})).await;
    talk.ask("Say hello").await;
    assert_eq!(talk.until("error").await["error"]["code"], "budget_exceeded");
    assert_eq!(talk.closed().await, Some(1008));
    assert_eq!(provider.of("response.create").len(), 1, "the second was never sent");
}

#[tokio::test]
async fn a_response_that_nobody_asked_for_is_held_for_and_charged_too() {
    let (world, _provider) = world().await;
    let tenant = world.rich().await;
    let mut talk = open(&world, &tenant.key).await;
    talk.ask("Say hello").await;
    talk.until("response.done").await;
    talk.item("an unasked response").await;
    talk.until("response.done").await;
    assert_eq!(usd(&world.wallet(&tenant.wallet).await, "spent_usd"), 2 * COST);
    assert_eq!(settled(&receipts(&world, &tenant).await), 2);
}

#[tokio::test]
async fn whoever_leaves_or_breaks_the_response_is_settled_and_nothing_stays_held() {
    let (mut world, provider) = world().await;
    let tenant = world.rich().await;
    // The client leaves in the middle: the provider is told to stop, and what it says it billed is charged.
    let mut talk = open(&world, &tenant.key).await;
    talk.ask("Please go on").await;
    talk.until("response.output_text.delta").await;
    talk.leave().await;
    let found = receipts_when(&world, &tenant, |it| it.iter().any(|it| it["ending"] == "client_left")).await;
    assert_eq!(found.len(), 1);
    assert_eq!(provider.of("response.cancel").len(), 1);
    let left = world.at_rest(&tenant.wallet, Duration::from_secs(5)).await;
    assert!(usd(&left, "spent_usd") >= 10_000, "{left}");

    // The provider breaks off: our own count, marked as such.
    let mut talk = open(&world, &tenant.key).await;
    talk.ask("now break").await;
    assert_eq!(talk.until("error").await["error"]["code"], "provider_error");
    assert_eq!(talk.closed().await, Some(1011));
    let found = receipts_when(&world, &tenant, |it| it.iter().any(|it| it["ending"] == "upstream_broke")).await;
    assert_eq!(found.len(), 2);
    world.at_rest(&tenant.wallet, Duration::from_secs(5)).await;

    // Nobody said anything: nothing is charged.
    let spent = usd(&world.wallet(&tenant.wallet).await, "spent_usd");
    open(&world, &tenant.key).await.leave().await;
    receipts_when(&world, &tenant, |it| it.iter().any(|it| it["ending"] == "unused")).await;
    assert_eq!(usd(&world.at_rest(&tenant.wallet, Duration::from_secs(5)).await, "spent_usd"), spent);

    // The house closes.
    let mut talk = open(&world, &tenant.key).await;
    talk.until("session.created").await;
    let (code, _) = tokio::join!(talk.closed(), world.stop());
    assert_eq!(code, Some(1001));
    world.restart().await;
    world.at_rest(&tenant.wallet, Duration::from_secs(5)).await;
    world.assert_balanced(&tenant).await;
}

#[tokio::test]
async fn texts_are_redacted_and_what_cannot_be_metered_is_refused_by_name() {
    let (world, provider) = world().await;
    let tenant = world.rich().await;
    let mut talk = open(&world, &tenant.key).await;
    talk.item("my card is 4111 1111 1111 1111").await;
    let added = talk.until("conversation.item.added").await.to_string();
    assert!(!added.contains("4111") && added.contains("[PAYMENT_CARD]"), "{added}");
    talk.say(json!({"type": "session.update", "session": {"instructions": "write to jane.doe@example.com"}})).await;
    let updated = talk.until("session.updated").await.to_string();
    assert!(!updated.contains("jane.doe"), "{updated}");
    for (event, code, param) in [
        (
            json!({"type": "session.update", "session": {"tools": [{"type": "mcp", "server_label": "x", "server_url": "https://x.test"}]}}),
            "unsupported_by_target",
            "session.tools",
        ),
        (
            json!({"type": "session.update", "session": {"audio": {"input": {"transcription": {"model": "whisper-1"}}}}}),
            "unsupported_by_target",
            "session.audio.input.transcription",
        ),
        (
            json!({"type": "response.create", "response": {"prompt": {"id": "pmpt_1"}}}),
            "unsupported_by_target",
            "response.prompt",
        ),
        (json!({"type": "session.update", "session": {"model": "gpt-realtime"}}), "invalid_value", "session.model"),
    ] {
        talk.say(event).await;
        let error = talk.until("error").await;
        assert_eq!((error["error"]["code"].as_str(), error["error"]["param"].as_str()), (Some(code), Some(param)));
    }
    assert_eq!(provider.events().len(), 2, "none of those was sent");
    talk.ask("Say hello").await;
    talk.until("response.done").await;
    let found = receipts(&world, &tenant).await;
    let receipt = world.receipt(found[0]["id"].as_str().expect("an id")).await;
    assert!(receipt["safety"].to_string().contains("payment_card"), "{receipt}");
    assert!(!world.log().contains("4111"));
}

#[tokio::test]
async fn sound_is_held_for_before_it_is_sent_and_a_revoked_key_gets_no_more_responses() {
    let (world, provider) = world().await;
    let tenant = world.rich().await;
    let mut talk = open(&world, &tenant.key).await;
    talk.ask("Say hello").await;
    talk.until("response.done").await;
    assert_eq!(usd(&world.wallet(&tenant.wallet).await, "held_usd"), 0);
    talk.say(json!({"type": "input_audio_buffer.append", "audio": "AAAA".repeat(1_000)})).await;
    // Passed in order, so the sound has passed as well.
    talk.item("more").await;
    talk.until("conversation.item.added").await;
    assert_eq!(provider.of("input_audio_buffer.append").len(), 1);
    assert!(usd(&world.wallet(&tenant.wallet).await, "held_usd") > 0);
    // What is held is for the response that follows; the one after it needs a hold of its own.
    talk.say(json!({"type": "response.create"})).await;
    talk.until("response.done").await;
    assert_eq!(usd(&world.wallet(&tenant.wallet).await, "held_usd"), 0);
    world.admin("DELETE", &format!("/keys/{}", tenant.key_id), Value::Null).await;
    talk.say(json!({"type": "response.create", "event_id": "mine"})).await;
    assert_eq!(talk.until("error").await["error"]["code"], "invalid_api_key");
    assert_eq!(talk.closed().await, Some(1008));
    assert_eq!(provider.of("response.create").len(), 2);
    world.assert_balanced(&tenant).await;
}

#[tokio::test]
async fn a_server_that_nobody_here_wrote_is_spoken_to_and_what_it_does_not_count_is_counted_here() {
    let aimock = qa::aimock::Aimock::start().await;
    let base_url = aimock.at("/v1");
    let (world, _provider) = world_with(|config| {
        config["providers"][0]["base_url"] = json!(base_url);
    })
    .await;
    let tenant = world.rich().await;
    let mut talk = open(&world, &tenant.key).await;
    talk.until("session.created").await;
    talk.ask("Say hello").await;
    assert_eq!(talk.until("response.output_text.done").await["text"], "Hello there, traveller!");
    talk.until("response.done").await;
    let found = receipts(&world, &tenant).await;
    assert_eq!(
        (found.len(), &found[0]["ending"], &found[0]["tokens_estimated"]),
        (1, &json!("finished"), &json!(true))
    );
    assert!(usd(&found[0], "price_usd") > 0, "{found:?}");
    world.at_rest(&tenant.wallet, Duration::from_secs(5)).await;
}
