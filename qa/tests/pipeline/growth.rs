//! Holds that grow while the answer comes, and answers that end when there is no more money.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use qa::check::{dollars, usd};
use qa::http::Answer;
use qa::upstream::{Gate, Script, Step, anthropic, openai};
use qa::world::{Plan, Setup, Tenant, World, hello, hello_stream};
use serde_json::{Value, json};

/// A token of `counted`; its input is free.
const TOKEN: i64 = 10_000;
/// What is held for an answer of which nothing is known yet.
const UNKNOWN: i64 = 1_024;

/// One token each.
fn words(number: usize) -> Vec<&'static str> {
    vec![" word"; number]
}

fn more(words: &[&str]) -> Script {
    Script::stream(words.iter().map(|word| openai::event(&openai::delta(json!({"content": word}), None))))
}

fn agent(model: &str, stream: bool) -> Value {
    let mut body = if stream { hello_stream(model) } else { hello(model) };
    body["max_tokens"] = json!(64_000);
    body
}

async fn tokens(world: &World, tokens: i64) -> Tenant {
    world.tenant(Plan::new().hard(dollars(tokens * TOKEN))).await
}

async fn overrun(world: &World) -> String {
    let page = world.http.send("GET", &format!("{}/metrics", world.url()), &[], "").await.expect("metrics").text();
    let line = page.lines().find(|line| line.starts_with("alfred_overrun_usd_total")).unwrap_or_default();
    line.trim_start_matches("alfred_overrun_usd_total ").to_owned()
}

/// Waits until so much is held.
async fn until_held(world: &World, wallet: &str, least: i64) {
    let from = Instant::now();
    loop {
        let held = usd(&world.wallet(wallet).await, "held_usd");
        if held >= least {
            return;
        }
        assert!(from.elapsed() < Duration::from_secs(10), "only {held} is held");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

async fn message(world: &World, key: &str, body: &Value) -> Answer {
    let url = format!("{}/v1/messages", world.url());
    let headers = [("x-api-key", key), ("anthropic-version", "2023-06-01"), ("content-type", "application/json")];
    world.http.send("POST", &url, &headers, body.to_string()).await.expect("an answer")
}

fn said(answer: &Answer) -> usize {
    answer.said().matches("word").count()
}

/// The BLOCK entries of an organisation that a growth has left.
async fn blocked(world: &World, tenant: &Tenant) -> usize {
    let entries = world.audit(&tenant.org).await;
    entries.iter().filter(|entry| entry["kind"] == "BLOCK" && entry["step"] == "grow").count()
}

#[tokio::test]
async fn a_stream_grows_its_hold_ahead_of_its_tokens() {
    let world = World::start().await;
    let tenant = tokens(&world, 5_000).await;
    let gate = Gate::new();
    let script = openai::begin(&words(1_000)).then(Step::Wait(gate.clone())).and(more(&words(1_000)));
    world.first.next(script.and(openai::end(Some((10, 2_000)))));
    let flow = world.stream(&tenant.key, &agent("counted", true)).await;
    let look = async {
        until_held(&world, &tenant.wallet, (UNKNOWN + 128) * TOKEN).await;
        gate.open();
    };
    let (answer, ()) = tokio::join!(flow.whole(), look);
    let answer = answer.expect("a whole stream");
    assert_eq!((said(&answer), answer.text().contains("\"finish_reason\":\"stop\"")), (2_000, true));
    let wallet = world.wallet(&tenant.wallet).await;
    assert_eq!((usd(&wallet, "spent_usd"), usd(&wallet, "held_usd")), (2_000 * TOKEN, 0));
    let entries = world.entries(&tenant.wallet).await;
    let held: Vec<i64> = entries.iter().map(|entry| usd(entry, "held_delta_usd") / TOKEN).collect();
    // 1,024, an eighth more, and twice as much each time.
    assert_eq!(held, [UNKNOWN, 128, 256, 512, 1_024, -(UNKNOWN + 128 + 256 + 512 + 1_024)]);
    assert!(entries[1..5].iter().all(|entry| entry["kind"] == "grow"), "{entries:?}");
    assert_eq!(overrun(&world).await, "0");
    world.assert_balanced(&tenant).await;
}

#[tokio::test]
async fn an_answer_ends_cleanly_when_there_is_no_more_money() {
    let world = World::start().await;
    // 1,024 are held, the rest is taken when it is needed; then a hundredth more may pass.
    let (limit, most) = (1_100, 1_111);
    let openai_stream = || openai::begin(&words(1_500)).then(Step::Wait(Gate::new()));
    for (name, stream, anthropic) in
        [("a stream", true, false), ("JSON", false, false), ("a message", false, true), ("its stream", true, true)]
    {
        let tenant = tokens(&world, limit).await;
        world.first.next(openai_stream());
        let abandoned = world.first.abandoned();
        let mut body = agent("counted", stream);
        let answer = match anthropic {
            false => world.chat(&tenant.key, &body).await,
            true => {
                body.as_object_mut().expect("an object").remove("stream_options");
                message(&world, &tenant.key, &body).await
            }
        };
        let answer = answer.expect(200);
        let text = answer.text();
        assert_eq!(said(&answer), most, "{name}");
        let parts = if stream { answer.chunks() } else { vec![answer.json()] };
        let noted = parts.iter().find(|part| part["alfred"].is_object()).unwrap_or_else(|| panic!("{name}: {text}"));
        assert_eq!(noted["alfred"]["note"], "budget_exceeded", "{name}");
        assert!(noted["alfred"]["message"].as_str().is_some_and(|it| it.contains(&tenant.wallet)), "{name}: {noted}");
        let (reason, wanted) = match (anthropic, stream) {
            (false, _) => (&noted["choices"][0]["finish_reason"], "length"),
            (true, true) => (&noted["delta"]["stop_reason"], "max_tokens"),
            (true, false) => (&noted["stop_reason"], "max_tokens"),
        };
        assert_eq!(reason, wanted, "{name}");
        if stream {
            let last = answer.events().pop().unwrap_or_default();
            assert!(last == "[DONE]" || last.contains("message_stop"), "{name}: {last}");
        }
        let output = if anthropic { "output_tokens" } else { "completion_tokens" };
        let usage = parts.iter().rev().find(|part| part["usage"].is_object()).expect("usage")["usage"].clone();
        assert_eq!(usage[output], json!(limit), "{name}: {usage}");

        world.first.until("the provider is let go", |first| first.abandoned() > abandoned).await;
        let receipt = world.receipt(answer.must("x-request-id")).await;
        assert_eq!(
            (&receipt["ending"], &receipt["tokens_estimated"]),
            (&json!("out_of_money"), &json!(true)),
            "{name}"
        );
        assert_eq!((usd(&receipt, "price_usd"), usd(&receipt, "overrun_usd")), (limit * TOKEN, 0), "{name}: {receipt}");
        let wallet = world.wallet(&tenant.wallet).await;
        assert_eq!((usd(&wallet, "spent_usd"), usd(&wallet, "held_usd")), (limit * TOKEN, 0), "{name}");
        assert_eq!(blocked(&world, &tenant).await, 1, "{name}: one refusal, however often it was asked");
        world.assert_balanced(&tenant).await;
    }
    assert_eq!(overrun(&world).await, "0");
}

#[tokio::test]
async fn anthropic_s_own_streams_end_cleanly_too() {
    let world = World::start().await;
    let mut limit = 4_000_000;
    let tenant = world.tenant(Plan::new().hard(dollars(limit))).await;
    for stream in [true, false] {
        // The whole of it would be far above; what is missing is never asked for.
        world.claude.next(anthropic::stream(&words(4_000), 10, 4_000));
        let mut body = agent("claude", stream);
        body.as_object_mut().expect("an object").remove("stream_options");
        let answer = message(&world, &tenant.key, &body).await.expect(200);
        let receipt = world.receipt(answer.must("x-request-id")).await;
        assert_eq!(receipt["ending"], "out_of_money", "{receipt}");
        assert!(
            answer.text().contains("\"max_tokens\"") && answer.text().contains("budget_exceeded"),
            "{}",
            answer.text()
        );
        if stream {
            let kinds: Vec<String> =
                answer.chunks().iter().map(|it| it["type"].as_str().unwrap_or_default().to_owned()).collect();
            let end = ["content_block_delta", "content_block_stop", "message_delta", "message_stop"];
            assert_eq!(kinds[kinds.len() - 4..], end);
        }
        let wallet = world.wallet(&tenant.wallet).await;
        assert!(usd(&wallet, "spent_usd") <= limit && usd(&receipt, "overrun_usd") == 0, "{wallet} {receipt}");
        assert!(said(&answer) > 1_024, "{}", said(&answer));
        world.assert_balanced(&tenant).await;
        let path = format!("/wallets/{}", tenant.wallet);
        limit = usd(&wallet, "spent_usd") + 4_000_000;
        world.admin("PATCH", &path, json!({"hard_limit_usd": dollars(limit)})).await;
    }
}

#[tokio::test]
async fn a_refused_growth_that_later_succeeds_cuts_nothing() {
    let world = World::start().await;
    let tenant = tokens(&world, UNKNOWN + 1).await;
    let gate = Gate::new();
    let script = openai::begin(&words(1_000)).then(Step::Wait(gate.clone())).and(more(&words(500)));
    world.first.next(script.and(openai::end(Some((10, 1_500)))));
    let mut flow = world.stream(&tenant.key, &agent("counted", true)).await;
    let mut seen = 0;
    while seen < 1_000 {
        let piece = flow.next().await.expect("more").expect("bytes");
        seen += String::from_utf8_lossy(&piece).matches("word").count();
    }
    world
        .admin("PATCH", &format!("/wallets/{}", tenant.wallet), json!({"hard_limit_usd": dollars(3_000 * TOKEN)}))
        .await;
    gate.open();
    let answer = flow.whole().await.expect("a whole stream");
    assert_eq!((said(&answer), blocked(&world, &tenant).await), (1_500, 0));
    assert_eq!(usd(&world.wallet(&tenant.wallet).await, "spent_usd"), 1_500 * TOKEN);
    world.assert_balanced(&tenant).await;
}

#[tokio::test]
async fn a_wallet_that_is_suspended_meanwhile_pays_for_what_was_held_and_no_more() {
    let world = World::start().await;
    let tenant = tokens(&world, 5_000).await;
    let gate = Gate::new();
    world.first.next(openai::begin(&words(1_000)).then(Step::Wait(gate.clone())).and(more(&words(500))));
    let mut body = agent("counted", false);
    body["user"] = json!("again");
    let (path, key) = ("/v1/chat/completions", [("idempotency-key", "one")]);
    let look = async {
        until_held(&world, &tenant.wallet, (UNKNOWN + 128) * TOKEN).await;
        let suspend = json!({"status": "suspended"});
        world.admin("PATCH", &format!("/wallets/{}", tenant.wallet), suspend).await;
        gate.open();
    };
    let (answer, ()) = tokio::join!(world.call(&tenant.key, path, &key, &body), look);
    let answer = answer.expect(200);
    // 1,152 are held, and a hundredth more may pass.
    assert_eq!((said(&answer), &answer.json()["alfred"]["note"]), (1_163, &json!("wallet_suspended")));
    assert_eq!(
        (usd(&world.wallet(&tenant.wallet).await, "spent_usd"), blocked(&world, &tenant).await),
        (1_152 * TOKEN, 1)
    );
    // It was charged, so whoever repeats it gets it again.
    let again = world.call(&tenant.key, path, &key, &body).await.expect(200);
    assert_eq!((again.json(), world.first.count()), (answer.json(), 1));
    world.assert_balanced(&tenant).await;
}

#[tokio::test]
async fn a_hold_that_covers_the_cap_is_never_cut_and_never_grows() {
    let world = World::start().await;
    let tenant = tokens(&world, 50).await;
    // The provider does not keep to the cap: the client gets what there is, the wallet pays what it can.
    world.first.next(openai::stream(&words(80), Some((10, 80))));
    let answer = world.chat(&tenant.key, &hello_stream("counted")).await.expect(200);
    assert_eq!((said(&answer), answer.text().contains("\"finish_reason\":\"stop\"")), (80, true));
    let kinds: Vec<Value> = world.entries(&tenant.wallet).await.iter().map(|entry| entry["kind"].clone()).collect();
    assert_eq!(kinds, ["reserve", "settle"]);
    assert_eq!(usd(&world.wallet(&tenant.wallet).await, "spent_usd"), 50 * TOKEN);
}

#[tokio::test]
async fn a_client_that_leaves_a_growing_call_pays_for_what_came_and_gets_the_rest_back() {
    let world = World::start().await;
    let tenant = tokens(&world, 5_000).await;
    world.first.next(openai::begin(&words(1_200)).then(Step::Wait(Gate::new())));
    let mut flow = world.stream(&tenant.key, &agent("counted", true)).await;
    let call = flow.headers["x-request-id"].to_str().expect("printable").to_owned();
    let mut seen = 0;
    while seen < 1_200 {
        let piece = flow.next().await.expect("more").expect("bytes");
        seen += String::from_utf8_lossy(&piece).matches("word").count();
    }
    drop(flow);
    let receipt = world.receipt_when(&call, |receipt| receipt["status"] == "settled").await;
    assert_eq!((&receipt["ending"], usd(&receipt, "price_usd")), (&json!("client_left"), 1_200 * TOKEN), "{receipt}");
    assert_eq!(usd(&world.wallet(&tenant.wallet).await, "held_usd"), 0);
    world.assert_balanced(&tenant).await;
}

#[tokio::test]
async fn a_caller_of_json_gets_the_same_body_whether_or_not_the_provider_was_asked_to_stream() {
    let world = World::start().await;
    let (rich, poor) = (world.rich().await, tokens(&world, 3_000).await);
    let body = agent("counted", false);
    let mut cheap = body.clone();
    cheap["max_tokens"] = json!(50);
    let whole = world.chat(&rich.key, &cheap).await.expect(200);
    assert_eq!(world.first.last().json().get("stream"), None, "a hold that covers the cap");
    let gathered = world.chat(&poor.key, &body).await.expect(200);
    let asked = world.first.last().json();
    assert_eq!((&asked["stream"], &asked["stream_options"]["include_usage"]), (&json!(true), &json!(true)));
    assert_eq!(gathered.json(), whole.json());
    assert_eq!(gathered.must("content-type"), whole.must("content-type"));
    assert_eq!(gathered.must("x-alfred-cost-usd"), whole.must("x-alfred-cost-usd"));

    // One that answers JSON all the same is read as JSON, and never cut: it is made and billed already.
    world.first.next(openai::chat(&words(1_300).concat(), 10, 1_300));
    let answer = world.chat(&poor.key, &body).await.expect(200);
    assert_eq!((said(&answer), &answer.json()["choices"][0]["finish_reason"]), (1_300, &json!("stop")));
    let wallet = world.wallet(&poor.wallet).await;
    assert_eq!(usd(&wallet, "spent_usd"), 1_305 * TOKEN);
    world.assert_balanced(&poor).await;
}

#[tokio::test]
async fn an_answer_without_usage_that_was_not_cut_is_priced_by_all_that_was_counted() {
    let world = World::start().await;
    let tenant = tokens(&world, 5_000).await;
    // Far above what is held, but the wallet has room, and a body that came whole is never cut.
    world.first.next(Script::json(200, &openai::body(&words(1_300).concat(), None)));
    let answer = world.chat(&tenant.key, &agent("counted", false)).await.expect(200);
    let receipt = world.receipt(answer.must("x-request-id")).await;
    let booked = |receipt: &Value| [usd(receipt, "price_usd") / TOKEN, usd(receipt, "overrun_usd") / TOKEN];
    assert_eq!(booked(&receipt), [1_300, 0], "{receipt}");

    // No room: what was counted above the hold is the platform's, and can be seen.
    let tenant = tokens(&world, UNKNOWN).await;
    for (name, script, counted) in [
        ("JSON", Script::json(200, &openai::body(&words(1_300).concat(), None)), 1_300),
        ("a stream that ends by itself", openai::stream(&words(1_030), None), 1_030),
    ] {
        world.first.next(script);
        let answer = world.chat(&tenant.key, &agent("counted", name != "JSON")).await.expect(200);
        let receipt = world.receipt_when(answer.must("x-request-id"), |it| it["status"] == "settled").await;
        assert_eq!(booked(&receipt), [UNKNOWN, counted - UNKNOWN], "{name}: {receipt}");
        world.assert_balanced(&tenant).await;
        let more = usd(&world.wallet(&tenant.wallet).await, "spent_usd") + UNKNOWN * TOKEN;
        let path = format!("/wallets/{}", tenant.wallet);
        world.admin("PATCH", &path, json!({"hard_limit_usd": dollars(more)})).await;
    }
}

#[tokio::test]
async fn a_cut_answer_that_cannot_be_put_together_is_still_an_answer() {
    let world = World::start().await;
    for anthropic in [false, true] {
        let tenant = tokens(&world, 1_100).await;
        // One piece speaks of a message, the others of deltas: read one by one they are fine, as a whole they are not.
        let mut odd = openai::delta(json!({}), None);
        odd["choices"] = json!([{"index": 0, "message": {"role": "assistant", "content": ""}, "finish_reason": null}]);
        let script = Script::stream([openai::event(&odd)]).and(more(&words(1_500))).then(Step::Wait(Gate::new()));
        world.first.next(script);
        let body = agent("counted", false);
        let answer = match anthropic {
            false => world.chat(&tenant.key, &body).await,
            true => message(&world, &tenant.key, &body).await,
        };
        let answer = answer.expect(200).json();
        assert_eq!(answer["alfred"]["note"], "budget_exceeded", "{answer}");
        let reason = if anthropic { &answer["stop_reason"] } else { &answer["choices"][0]["finish_reason"] };
        assert_eq!(reason, if anthropic { "max_tokens" } else { "length" }, "{answer}");
        let output = if anthropic { "output_tokens" } else { "completion_tokens" };
        assert_eq!(answer["usage"][output], json!(1_100), "{answer}");
        assert_eq!(usd(&world.wallet(&tenant.wallet).await, "spent_usd"), 1_100 * TOKEN);
        world.assert_balanced(&tenant).await;
    }
}

/// The promise of elastic holds, on one wallet: fifty agents that ask for 64,000 tokens each and need 600, and money for 37 answers.
#[tokio::test]
async fn of_fifty_agents_as_many_finish_as_there_is_money_for() {
    const LENGTH: i64 = 600;
    const MONEY_FOR: i64 = 37;
    let world = Setup::new().start().await;
    let teacher = world.rich().await;
    let text = words(LENGTH as usize);
    world.first.always(openai::stream(&text, Some((10, LENGTH as u64))));
    for _ in 0..30 {
        world.chat(&teacher.key, &agent("counted", true)).await.expect(200);
    }
    let limit = MONEY_FOR * LENGTH * TOKEN;
    let tenant = world.tenant(Plan::new().levels(4).hard(dollars(limit))).await;

    let mut script = openai::begin(&[]);
    for piece in text.chunks(30) {
        script = script.and(more(piece)).then(Step::Pause(Duration::from_millis(15)));
    }
    world.first.always(script.and(openai::end(Some((10, LENGTH as u64)))));
    let body = agent("counted", true);
    let answers = join_all((0..50).map(|_| world.chat(&tenant.key, &body))).await;
    let complete = answers.iter().filter(|answer| {
        answer.status == 200 && said(answer) == LENGTH as usize && answer.text().contains("\"finish_reason\":\"stop\"")
    });
    let (complete, admitted) = (complete.count(), answers.iter().filter(|answer| answer.status == 200).count());
    let wallet = world.at_rest(&tenant.wallet, Duration::from_secs(10)).await;
    let spent = usd(&wallet, "spent_usd");
    println!("{complete} complete of {admitted} admitted; {spent} of {limit} spent");
    assert!(complete >= 34, "{complete} complete of {admitted} admitted");
    assert!(spent <= limit, "{spent} of {limit}");
    assert!(spent * 10 >= limit * 9, "{spent} of {limit} used");
    assert_eq!(overrun(&world).await, "0");
    world.assert_balanced(&tenant).await;
}
