//! What is held for a call: enough to finish it, and no more than that, so that many agents can share a wallet.

use futures_util::future::join_all;
use qa::check::{dollars, refused, usd};
use qa::upstream::{Gate, Script, openai};
use qa::world::{Plan, Setup, Tenant, World, hello, hello_stream};
use serde_json::{Value, json};

/// A token of `counted`.
const TOKEN: i64 = 10_000;
/// What is held for an answer of which nothing is known yet.
const UNKNOWN: i64 = 1_024;

/// An agent's call: the largest cap that its framework knows.
fn agent(model: &str) -> Value {
    let mut body = hello_stream(model);
    body["max_tokens"] = json!(64_000);
    body
}

/// Targets of their own: `thinker` bills what nobody sees, `goer` goes on when it is told to stop, `dear` costs thrice as much
/// as `counted`.
async fn world(patience_ms: u64) -> World {
    setup(patience_ms).start().await
}

fn setup(patience_ms: u64) -> Setup {
    Setup::new().with(|config| {
        for (name, price) in [
            ("first/thinker", json!({"input": "0", "output": "10.00", "hidden_output": true})),
            ("first/goer", json!({"input": "0", "output": "10.00", "bills_after_cancel": true})),
            ("second/dear", json!({"input": "0", "output": "30.00", "bills_after_cancel": false})),
            ("second/alike", json!({"input": "0", "output": "10.00", "bills_after_cancel": false})),
            ("second/thinker", json!({"input": "0", "output": "30.00", "hidden_output": true})),
        ] {
            config["prices"][name] = price;
        }
        let models = config["models"].as_array_mut().expect("a list");
        for (id, targets) in [
            ("thinker", json!(["first/thinker"])),
            ("goer", json!(["first/goer"])),
            ("dearer", json!(["first/counted", "second/dear"])),
            ("dearer-thinker", json!(["first/counted", "second/thinker"])),
            ("around", json!(["first/counted", "second/dear", "second/alike"])),
        ] {
            models.push(json!({"id": id, "targets": targets}));
        }
        config["holds"] = json!({"patience_ms": patience_ms});
    })
}

async fn tokens(world: &World, tokens: i64) -> Tenant {
    world.tenant(Plan::new().hard(dollars(tokens * TOKEN))).await
}

/// What the wallet holds while `body` is asked, in nano-dollars; then the answer is let go.
async fn held_for(world: &World, tenant: &Tenant, body: &Value) -> i64 {
    let (gate, before) = (Gate::new(), world.first.count());
    world.first.next(openai::stream(&["Hello"], Some((10, 5))).behind(gate.clone()));
    let look = async {
        world.first.until("it was asked", |first| first.count() > before).await;
        let held = usd(&world.wallet(&tenant.wallet).await, "held_usd");
        gate.open();
        held
    };
    let (answer, held) = tokio::join!(world.chat(&tenant.key, body), look);
    assert_eq!(answer.status, 200, "{}", answer.text());
    held
}

fn kinds(entries: &[Value]) -> Vec<&str> {
    entries.iter().filter_map(|entry| entry["kind"].as_str()).collect()
}

/// Waits until so many calls wait for money.
async fn until_waiting(world: &World, number: usize) {
    let line = format!("alfred_calls_waiting_for_money {number}\n");
    let look = async {
        loop {
            let page = world.http.send("GET", &format!("{}/metrics", world.url()), &[], "").await.expect("a page");
            if page.text().contains(&line) {
                return;
            }
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
    };
    let found = tokio::time::timeout(std::time::Duration::from_secs(10), look).await;
    assert!(found.is_ok(), "never {number} calls waiting");
}

#[tokio::test]
async fn many_agents_with_large_caps_do_not_freeze_a_wallet() {
    let world = world(0).await;
    // A single worst case is more than there is.
    let tenant = tokens(&world, 20 * UNKNOWN).await;
    let gate = Gate::new();
    world.first.always(openai::stream(&["Hello", " there"], Some((10, 5))).behind(gate.clone()));
    let body = agent("counted");
    let calls = join_all((0..20).map(|_| world.chat(&tenant.key, &body)));
    let look = async {
        world.first.until("all are asked", |first| first.count() == 20).await;
        let wallet = world.wallet(&tenant.wallet).await;
        assert_eq!(usd(&wallet, "held_usd"), 20 * UNKNOWN * TOKEN);
        // The wallet is full now: one more does not fit, and it is not squeezed in.
        let more = world.chat(&tenant.key, &agent("counted")).await;
        refused(&more, 429, "insufficient_quota", "budget_exceeded");
        gate.open();
    };
    let (answers, ()) = tokio::join!(calls, look);
    for answer in answers {
        assert_eq!(answer.status, 200, "{}", answer.text());
    }
    let wallet = world.at_rest(&tenant.wallet, std::time::Duration::from_secs(10)).await;
    assert_eq!(usd(&wallet, "spent_usd"), 20 * 5 * TOKEN);
    world.assert_balanced(&tenant).await;
}

#[tokio::test]
async fn fifty_agents_on_money_for_thirty_seven_finish_nearly_as_many_and_never_pass_the_limit() {
    const WORDS: u64 = 400;
    let world = world(0).await;
    // A word of this kind is one token, for the provider and for everybody who counts.
    let words = vec![" word"; WORDS as usize];
    world.first.always(openai::stream(&words, Some((12, WORDS))));
    let before = world.rich().await;
    for _ in 0..30 {
        world.chat(&before.key, &agent("chat")).await.expect(200);
    }
    let money = 37 * (12 * 1_000 + WORDS as i64 * 2_000);
    let tenant = world.tenant(Plan::new().hard(dollars(money))).await;

    let body = agent("chat");
    let answers = join_all((0..50).map(|_| world.chat(&tenant.key, &body))).await;
    let complete = answers.iter().filter(|answer| answer.status == 200 && answer.said().len() == 5 * words.len());
    let complete = complete.count();
    assert!(complete >= 34, "{complete} complete answers");
    let wallet = world.at_rest(&tenant.wallet, std::time::Duration::from_secs(10)).await;
    let spent = usd(&wallet, "spent_usd");
    assert!(spent <= money && spent * 10 >= money * 9, "{spent} of {money}");
    for answer in answers.iter().filter(|answer| answer.status != 200) {
        refused(answer, 429, "insufficient_quota", "budget_exceeded");
    }
    let metrics = world.http.send("GET", &format!("{}/metrics", world.url()), &[], "").await.expect("a page");
    assert!(metrics.text().contains("alfred_overrun_usd_total 0\n"), "{}", metrics.text());
    world.assert_balanced(&tenant).await;
}

#[tokio::test]
async fn an_estimate_that_does_not_fit_is_refused_and_never_shrunk() {
    let world = world(0).await;
    let tenant = world.tenant(Plan::new().hard(dollars(UNKNOWN * TOKEN - 1))).await;
    let answer = world.chat(&tenant.key, &agent("counted")).await;
    refused(&answer, 429, "insufficient_quota", "budget_exceeded");
    assert_eq!(world.first.count(), 0);
    let path = format!("/wallets/{}", tenant.wallet);
    world.admin("PATCH", &path, json!({"hard_limit_usd": dollars(UNKNOWN * TOKEN)})).await;
    assert_eq!(held_for(&world, &tenant, &agent("counted")).await, UNKNOWN * TOKEN);
}

#[tokio::test]
async fn a_worst_case_of_a_hundredth_is_held_whole_and_a_larger_one_by_estimate() {
    let world = world(0).await;
    let mut body = agent("counted");
    body["max_tokens"] = json!(2_000);
    for (limit, held) in [(200_000, 2_000), (199_999, UNKNOWN)] {
        let tenant = tokens(&world, limit).await;
        assert_eq!(held_for(&world, &tenant, &body).await, held * TOKEN, "of {limit} tokens");
    }
    body["max_tokens"] = json!(200);
    let tenant = tokens(&world, 300).await;
    assert_eq!(held_for(&world, &tenant, &body).await, 200 * TOKEN, "never more than the worst case");
}

#[tokio::test]
async fn what_is_held_is_learned_from_the_answers_of_this_key_and_model() {
    let world = world(0).await;
    let tenant = tokens(&world, 2_000).await;
    for _ in 0..20 {
        world.chat(&tenant.key, &hello("counted")).await.expect(200);
    }
    assert_eq!(held_for(&world, &tenant, &agent("counted")).await, 5 * TOKEN, "all answers had 5 tokens");
    let (_, other) = world.key(&tenant.wallet, json!({})).await;
    let other = Tenant { key: other, ..tenant.clone() };
    assert_eq!(held_for(&world, &other, &agent("counted")).await, 5 * TOKEN, "another key, the same model");
    let answer = world.chat(&other.key, &agent("thinker")).await.expect(200);
    assert_eq!(world.first.last().json()["max_tokens"], json!(UNKNOWN), "nothing is known of another model");
    assert_eq!(answer.said(), "Hello there");
}

#[tokio::test]
async fn where_a_hold_cannot_grow_hold_and_cap_are_the_same_number() {
    let world = world(0).await;
    let cap = || world.first.last().json()["max_tokens"].as_i64().expect("a cap is always sent");
    for model in ["thinker", "goer"] {
        for (limit, asked, choices, expected, why) in [
            (50_000, 64_000, 1, 5_000, "a tenth of what is free"),
            (50_000, 64_000, 3, 1_666, "for all choices together"),
            (5_000, 64_000, 1, UNKNOWN, "what it may well need is more than a tenth"),
            (50_000, 2_000, 1, 2_000, "as asked"),
            (1_000_000, 9_999, 1, 9_999, "a hundredth"),
        ] {
            let tenant = tokens(&world, limit).await;
            let mut body = agent(model);
            body["max_tokens"] = json!(asked);
            body["n"] = json!(choices);
            let held = held_for(&world, &tenant, &body).await;
            assert_eq!(cap(), expected, "{model}: {why}");
            assert!((held / TOKEN - expected * choices) < choices, "{model}: {why}: {held}");
        }
        let tenant = tokens(&world, UNKNOWN - 1).await;
        let answer = world.chat(&tenant.key, &agent(model)).await;
        refused(&answer, 429, "insufficient_quota", "budget_exceeded");
    }
}

#[tokio::test]
async fn a_dearer_target_is_asked_when_the_hold_has_grown() {
    let world = world(0).await;
    for (model, target) in [("dearer", "second/dear"), ("dearer-thinker", "second/thinker")] {
        let tenant = tokens(&world, 3 * UNKNOWN).await;
        world.first.next(Script::error(500, "server_error"));
        let answer = world.chat(&tenant.key, &agent(model)).await.expect(200);
        assert_eq!(answer.must("x-alfred-model"), target);
        let entries = world.entries(&tenant.wallet).await;
        assert_eq!(kinds(&entries), ["reserve", "grow", "settle"], "{model}");
        assert_eq!(usd(&entries[1], "held_delta_usd"), 2 * UNKNOWN * TOKEN, "{model}");
        if model == "dearer-thinker" {
            assert_eq!(world.second.last().json()["max_tokens"], json!(UNKNOWN), "the cap is what is held");
        }
        world.assert_balanced(&tenant).await;
    }
    // Where hold and cap are the same number, a tenth of what is free is held rather than the mere estimate.
    for (free, cap, why) in [(50_000, 5_000 / 3, "a tenth"), (250_000, 64_000, "all of it")] {
        let tenant = tokens(&world, free).await;
        world.first.next(Script::error(500, "server_error"));
        world.chat(&tenant.key, &agent("dearer-thinker")).await.expect(200);
        assert_eq!(world.second.last().json()["max_tokens"], json!(cap), "{why}");
        world.assert_balanced(&tenant).await;
    }
    // Where the first worst case was held whole there is plenty, and nobody's answer is cut.
    let tenant = tokens(&world, 100 * 64_000).await;
    world.first.next(Script::error(500, "server_error"));
    world.chat(&tenant.key, &agent("dearer-thinker")).await.expect(200);
    assert_eq!(world.second.last().json()["max_tokens"], json!(64_000));
}

#[tokio::test]
async fn a_dearer_target_that_does_not_fit_is_skipped() {
    let world = world(0).await;
    let tenant = tokens(&world, 3 * UNKNOWN - 1).await;
    let outcomes = |receipt: &Value| {
        let attempts = receipt["attempts"].as_array().expect("attempts").clone();
        attempts.iter().map(|attempt| attempt["outcome"].as_str().unwrap_or_default().to_owned()).collect::<Vec<_>>()
    };
    // Another one is left.
    world.first.next(Script::error(500, "server_error"));
    let answer = world.chat(&tenant.key, &agent("around")).await.expect(200);
    assert_eq!(answer.must("x-alfred-model"), "second/alike");
    let receipt = world.receipt(answer.must("x-request-id")).await;
    assert_eq!(outcomes(&receipt)[1..], ["over_budget", "answered"], "{receipt}");
    let blocks = |entries: Vec<Value>| entries.iter().filter(|entry| entry["kind"] == "BLOCK").count();
    assert_eq!(blocks(world.audit(&tenant.org).await), 0, "nothing was refused to anybody");

    // None is left: what failed was the provider, and with more money it would have failed as well.
    world.first.next(Script::error(500, "server_error"));
    let asked = world.second.count();
    let answer = world.chat(&tenant.key, &agent("dearer")).await;
    let error = refused(&answer, 502, "api_error", "provider_error");
    assert!(error["message"].as_str().is_some_and(|it| it.contains("second/dear (over_budget)")), "{error}");
    assert_eq!(world.second.count(), asked);
    let receipt = world.receipt(answer.must("x-request-id")).await;
    assert_eq!((&receipt["status"], &outcomes(&receipt)[1..]), (&json!("released"), &["over_budget".to_owned()][..]));
    assert_eq!(blocks(world.audit(&tenant.org).await), 0, "nobody was refused for want of money");
    assert_eq!(usd(&world.wallet(&tenant.wallet).await, "held_usd"), 0);
    world.assert_balanced(&tenant).await;
}

#[tokio::test]
async fn with_patience_calls_wait_in_order_for_what_others_hold() {
    let world = world(60_000).await;
    let tenant = tokens(&world, UNKNOWN + 100).await;
    let gate = Gate::new();
    world.first.next(openai::stream(&["Hello"], Some((10, 5))).behind(gate.clone()));
    let call = |word: &'static str| {
        let mut body = agent("counted");
        body["messages"][0]["content"] = json!(word);
        let (world, tenant) = (&world, &tenant);
        async move { world.chat(&tenant.key, &body).await }
    };
    let turn = |number: usize, word: &'static str| {
        let world = &world;
        async move {
            until_waiting(world, number).await;
            call(word).await
        }
    };
    let release = async {
        until_waiting(&world, 3).await;
        assert_eq!(world.first.count(), 1, "the others wait");
        gate.open();
    };
    let second = async {
        world.first.until("the first is asked", |first| first.count() == 1).await;
        call("two").await
    };
    let (one, two, three, four, ()) = tokio::join!(call("one"), second, turn(1, "three"), turn(2, "four"), release);
    for answer in [one, two, three, four] {
        assert_eq!(answer.status, 200, "{}", answer.text());
    }
    let order: Vec<_> = world.first.seen().iter().map(|seen| seen.json()["messages"][0]["content"].clone()).collect();
    assert_eq!(order, ["one", "two", "three", "four"]);
    until_waiting(&world, 0).await;
    let blocks = world.audit(&tenant.org).await.iter().filter(|entry| entry["kind"] == "BLOCK").count();
    assert_eq!(blocks, 0, "nobody was refused");
    world.assert_balanced(&tenant).await;
}

#[tokio::test]
async fn who_waits_sees_money_that_comes_by_other_ways() {
    let world = world(60_000).await;
    let tenant = tokens(&world, UNKNOWN).await;
    let gate = Gate::new();
    world.first.next(openai::stream(&["Hello"], Some((10, 5))).behind(gate.clone()));
    let body = agent("counted");
    let waiter = async {
        world.first.until("the first is asked", |first| first.count() == 1).await;
        let raise = async {
            until_waiting(&world, 1).await;
            let limit = json!({"hard_limit_usd": dollars(2 * UNKNOWN * TOKEN)});
            world.admin("PATCH", &format!("/wallets/{}", tenant.wallet), limit).await;
        };
        let (answer, ()) = tokio::join!(world.chat(&tenant.key, &body), raise);
        gate.open();
        answer
    };
    let (first, second) = tokio::join!(world.chat(&tenant.key, &body), waiter);
    assert_eq!((first.status, second.status), (200, 200), "{}", second.text());
}

#[tokio::test]
async fn patience_ends_in_a_refusal_that_is_written_down_once() {
    let world = world(300).await;
    let tenant = tokens(&world, UNKNOWN).await;
    let gate = Gate::new();
    world.first.next(openai::stream(&["Hello"], Some((10, 5))).behind(gate.clone()));
    let late = async {
        world.first.until("the first is asked", |first| first.count() == 1).await;
        let answer = world.chat(&tenant.key, &agent("counted")).await;
        refused(&answer, 429, "insufficient_quota", "budget_exceeded");
        assert_eq!(world.receipt(answer.must("x-request-id")).await["status"], "refused");
        let audit = world.audit(&tenant.org).await;
        assert_eq!(
            audit.iter().filter(|entry| entry["kind"] == "BLOCK").count(),
            1,
            "one refusal, however often tried"
        );
        gate.open();
    };
    let body = agent("counted");
    let (answer, ()) = tokio::join!(world.chat(&tenant.key, &body), late);
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(world.first.count(), 1);
}

#[tokio::test]
async fn what_is_spent_is_not_waited_for() {
    let world = world(60_000).await;
    let tenant = tokens(&world, UNKNOWN).await;
    world.chat(&tenant.key, &agent("counted")).await.expect(200);
    let body = agent("counted");
    let at_once = world.chat(&tenant.key, &body);
    let answer = tokio::time::timeout(std::time::Duration::from_secs(30), at_once).await.expect("no wait");
    refused(&answer, 429, "insufficient_quota", "budget_exceeded");
}

#[tokio::test]
async fn who_leaves_the_line_makes_room_and_is_written_down() {
    let world = world(60_000).await;
    let tenant = tokens(&world, UNKNOWN + 100).await;
    let gate = Gate::new();
    world.first.next(openai::stream(&["Hello"], Some((10, 5))).behind(gate.clone()));
    let leaver = async {
        world.first.until("the first is asked", |first| first.count() == 1).await;
        // Let go of when it is known to wait.
        let body = agent("counted");
        tokio::select! {
            answer = world.chat(&tenant.key, &body) => panic!("answered {}", answer.text()),
            () = until_waiting(&world, 1) => {}
        }
        until_waiting(&world, 0).await;
        gate.open();
    };
    let body = agent("counted");
    let (answer, ()) = tokio::join!(world.chat(&tenant.key, &body), leaver);
    assert_eq!(answer.status, 200);
    let audit = world.audit(&tenant.org).await;
    assert_eq!(audit.iter().filter(|entry| entry["kind"] == "BLOCK").count(), 1);
    assert_eq!(world.first.count(), 1, "nothing was asked for whoever left");
}

/// A call that is small enough to fit beside one that waits.
fn small() -> Value {
    let mut body = agent("counted");
    body["max_tokens"] = json!(50);
    body
}

/// Holds nearly all of this wallet until `gate` opens, while `meanwhile` goes on beside a call that waits for it.
async fn beside_a_line<T>(world: &World, tenant: &Tenant, gate: &Gate, meanwhile: impl Future<Output = T>) -> T {
    world.first.next(openai::stream(&["Hello"], Some((10, 5))).behind(gate.clone()));
    let before = world.first.count();
    let large = agent("counted");
    let waiter = async {
        world.first.until("the wallet is full", |first| first.count() > before).await;
        world.chat(&tenant.key, &large).await
    };
    let meanwhile = async {
        until_waiting(world, 1).await;
        let result = meanwhile.await;
        gate.open();
        result
    };
    let (holder, waiter, result) = tokio::join!(world.chat(&tenant.key, &large), waiter, meanwhile);
    assert_eq!((holder.status, waiter.status), (200, 200), "{}", waiter.text());
    result
}

#[tokio::test]
async fn who_leaves_the_line_takes_nothing_though_there_is_something() {
    let world = world(60_000).await;
    let tenant = tokens(&world, UNKNOWN + 100).await;
    let body = small();
    beside_a_line(&world, &tenant, &Gate::new(), async {
        tokio::select! {
            answer = world.chat(&tenant.key, &body) => panic!("answered {}", answer.text()),
            () = until_waiting(&world, 2) => {}
        }
        until_waiting(&world, 1).await;
        assert_eq!(world.first.count(), 1, "nothing was asked for whoever left");
        let held = usd(&world.wallet(&tenant.wallet).await, "held_usd");
        assert_eq!(held, UNKNOWN * TOKEN, "nothing is held for it");
    })
    .await;
    let audit = world.audit(&tenant.org).await;
    let codes: Vec<_> = audit.iter().filter(|it| it["kind"] == "BLOCK").map(|it| it["code"].clone()).collect();
    assert_eq!(codes, ["client_left"]);
    world.assert_balanced(&tenant).await;
}

#[tokio::test]
async fn where_a_line_is_full_the_next_is_refused_and_does_not_pass_it() {
    // Half of the calls in flight may wait, and a quarter of those in one organisation: one.
    let setup = setup(60_000).with(|config| config["limits"]["max_in_flight"] = json!(8));
    let world = setup.start().await;
    let (tenant, other) = (tokens(&world, UNKNOWN + 100).await, tokens(&world, UNKNOWN + 100).await);
    beside_a_line(&world, &tenant, &Gate::new(), async {
        // It would fit, but others were first.
        let answer = world.chat(&tenant.key, &small()).await;
        let error = refused(&answer, 429, "insufficient_quota", "budget_exceeded");
        assert!(error["message"].as_str().is_some_and(|it| it.contains(&tenant.wallet)), "{error}");
        assert_eq!(world.receipt(answer.must("x-request-id")).await["status"], "refused");
        let audit = world.audit(&tenant.org).await;
        assert_eq!(audit.iter().filter(|entry| entry["kind"] == "BLOCK").count(), 1);
        assert_eq!(world.first.count(), 1, "only who was first is asked for");
        // Another organisation has places of its own.
        world.chat(&other.key, &small()).await.expect(200);
    })
    .await;
    world.assert_balanced(&tenant).await;
}

#[tokio::test]
async fn a_call_with_an_idempotency_key_is_known_before_it_waits() {
    let world = world(60_000).await;
    let tenant = tokens(&world, UNKNOWN + 100).await;
    let (path, key, body) = ("/v1/chat/completions", [("idempotency-key", "one")], small());
    let first = world.call(&tenant.key, path, &key, &body).await.expect(200);
    beside_a_line(&world, &tenant, &Gate::new(), async {
        let again = world.call(&tenant.key, path, &key, &body);
        let again = tokio::time::timeout(std::time::Duration::from_secs(10), again).await.expect("no wait").expect(200);
        assert_eq!(again.said(), first.said());
        let other = agent("counted");
        let answer = world.call(&tenant.key, path, &key, &other);
        let answer = tokio::time::timeout(std::time::Duration::from_secs(10), answer).await.expect("no wait");
        refused(&answer, 409, "invalid_request_error", "idempotency_mismatch");
    })
    .await;
}
