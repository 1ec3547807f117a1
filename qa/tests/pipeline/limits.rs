//! How much a key, a team and a model may do at a time; several processes with one account; and who is shed under overload.

use std::time::{Duration, Instant};

use qa::check::refused;
use qa::http::Answer;
use qa::redis::Redis;
use qa::upstream::{Gate, openai};
use qa::world::{Plan, Process, Setup, Tenant, World, hello};
use serde_json::{Value, json};

/// The 429 of a limit that names what is limited, of whom.
fn limited(answer: &Answer, what: &str) -> Value {
    let error = refused(answer, 429, "rate_limit_error", "rate_limit_exceeded");
    assert!(error["message"].as_str().is_some_and(|it| it.contains(what)), "{what} in {error}");
    let (seconds, millis) = (answer.must("retry-after"), answer.must("retry-after-ms"));
    let (seconds, millis) = (seconds.parse::<u64>().expect("seconds"), millis.parse::<u64>().expect("milliseconds"));
    assert!(millis >= 1 && seconds == millis.div_ceil(1_000), "{seconds} s, {millis} ms");
    error
}

fn number(answer: &Answer, header: &str) -> u64 {
    answer.must(header).parse().unwrap_or_else(|_| panic!("{header}: {}", answer.must(header)))
}

async fn change(world: &World, path: &str, change: Value) {
    world.admin("PATCH", path, change).await;
}

async fn team_key(world: &World, tenant: &Tenant, mut members: Value) -> String {
    members["team_id"] = json!(tenant.team);
    world.key(&tenant.wallet, members).await.1
}

#[tokio::test]
async fn whoever_is_limited_is_named_and_the_tightest_limit_is_told() {
    let setup = Setup::new().with(|config| config["models"][0]["limits"] = json!({"rpm": 4, "tpm": 100_000}));
    let world = setup.start().await;
    let tenant = world.rich().await;
    let key = team_key(&world, &tenant, json!({"rpm": 50})).await;
    change(&world, &format!("/teams/{}", tenant.team), json!({"rpm": 3})).await;
    let first = world.chat(&key, &hello("chat")).await.expect(200);
    for (header, expected) in [
        ("x-ratelimit-limit-requests", "3"),
        ("x-ratelimit-remaining-requests", "2"),
        ("x-ratelimit-limit-tokens", "100000"),
    ] {
        assert_eq!(first.must(header), expected, "{header}");
    }
    assert!(first.must("x-ratelimit-reset-requests").ends_with('s'));
    assert!((90_000..100_000).contains(&number(&first, "x-ratelimit-remaining-tokens")));
    for _ in 0..2 {
        world.chat(&key, &hello("chat")).await.expect(200);
    }
    let answer = world.chat(&key, &hello("chat")).await;
    limited(&answer, "requests per minute of this team (limit 3)");
    assert_eq!(answer.must("x-ratelimit-remaining-requests"), "0");

    // The refusal drew nothing from the model's limit, which one call is left of; another organisation has its own.
    change(&world, &format!("/teams/{}", tenant.team), json!({"rpm": null})).await;
    world.chat(&key, &hello("chat")).await.expect(200);
    limited(&world.chat(&key, &hello("chat")).await, "requests per minute of this model (limit 4)");
    world.chat(&key, &hello("free")).await.expect(200);
    let other = world.rich().await;
    world.chat(&other.key, &hello("chat")).await.expect(200);
    assert_eq!(world.first.count(), 6, "what was refused was never forwarded");
}

#[tokio::test]
async fn calls_in_flight_are_counted_until_they_are_closed() {
    let world = World::start().await;
    let tenant = world.rich().await;
    let (id, key) = world.key(&tenant.wallet, json!({"max_parallel_requests": 1})).await;
    let gate = Gate::new();
    world.first.next(openai::chat("Hello", 10, 5).behind(gate.clone()));
    let (body, other) = (hello("chat"), hello("free"));
    let held = world.chat(&key, &body);
    let beside = async {
        world.first.until("the provider is asked", |first| first.count() == 1).await;
        let answer = world.chat(&key, &other).await;
        limited(&answer, "calls in flight of this key (limit 1)");
        world.chat(&tenant.key, &other).await.expect(200);
        change(&world, &format!("/keys/{id}"), json!({"max_parallel_requests": 2})).await;
        world.chat(&key, &other).await.expect(200);
        change(&world, &format!("/keys/{id}"), json!({"max_parallel_requests": 1})).await;
        limited(&world.chat(&key, &other).await, "calls in flight of this key");
        gate.open();
    };
    let (answer, ()) = tokio::join!(held, beside);
    answer.expect(200);
    // The place is free when the call is closed, which may be a moment after its answer.
    let from = Instant::now();
    while world.chat(&key, &other).await.status == 429 {
        assert!(from.elapsed() < Duration::from_secs(30), "the place is never given back");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn tokens_are_set_aside_before_a_call_and_corrected_after_it() {
    let world = World::start().await;
    let tenant = world.tenant(Plan::new().hard("100").key(json!({"tpm": 300}))).await;
    let mut body = hello("chat");
    body["max_tokens"] = json!(200);
    let gate = Gate::new();
    world.first.next(openai::chat("Hello", 10, 5).behind(gate.clone()));
    let held = world.chat(&tenant.key, &body);
    let beside = async {
        world.first.until("the provider is asked", |first| first.count() == 1).await;
        let answer = world.chat(&tenant.key, &body).await;
        limited(&answer, "tokens per minute of this key (limit 300)");
        assert!(number(&answer, "x-ratelimit-remaining-tokens") < 100, "the first has 200 and its prompt");
        gate.open();
    };
    let (answer, ()) = tokio::join!(held, beside);
    answer.expect(200);
    // Fifteen were used: there is room for the next.
    let next = world.chat(&tenant.key, &body).await.expect(200);
    assert!(number(&next, "x-ratelimit-remaining-tokens") >= 300 - 15 - 220, "{next:?}");
    // A call that came to nothing used nothing.
    world.first.next(qa::upstream::Script::error(400, "no"));
    world.chat(&tenant.key, &body).await.expect(400);
    world.chat(&tenant.key, &body).await.expect(200);
}

#[tokio::test]
async fn a_refusal_for_what_a_call_says_counts_as_a_request() {
    let world = World::start().await;
    let tenant = world.tenant(Plan::new().hard("100").key(json!({"rpm": 2}))).await;
    for body in [json!({"model": "chat"}), hello("nobody-knows-this")] {
        let answer = world.chat(&tenant.key, &body).await;
        assert!([400, 404].contains(&answer.status), "{}", answer.text());
    }
    limited(&world.chat(&tenant.key, &hello("chat")).await, "requests per minute of this key");
    assert_eq!(world.first.count(), 0);
}

#[tokio::test]
async fn under_overload_low_priority_and_greedy_tenants_are_shed_first() {
    let setup = Setup::new().with(|config| config["limits"] = json!({"max_in_flight": 8, "shed_from": 2}));
    let world = setup.start().await;
    let (greedy, fair) = (world.rich().await, world.rich().await);
    let [low, high] = ["low", "high"].map(|priority| json!({"priority": priority}));
    let (low, high) = (world.key(&fair.wallet, low).await.1, world.key(&fair.wallet, high).await.1);
    let gate = Gate::new();
    world.first.always(openai::chat("Hello", 10, 5).behind(gate.clone()));
    let body = hello("chat");
    let held: Vec<_> = (0..5).map(|_| world.chat(&greedy.key, &body)).collect();
    let beside = async {
        world.first.until("five calls are in flight", |first| first.count() == 5).await;
        let free = hello("sim/echo");
        // A tenant that is alone may have all but an eighth; with another beside it, its share is four.
        let one = world.chat(&high, &body);
        let others = async {
            world.first.until("the other tenant's call is in flight", |first| first.count() == 6).await;
            for (key, why) in [(&greedy.key, "it has more than its share"), (&low, "it is of low priority")] {
                let answer = world.chat(key, &free).await;
                refused(&answer, 503, "api_error", "overloaded");
                assert_eq!(answer.must("retry-after"), "1", "{why}");
            }
            let answer = world.chat(&fair.key, &free).await;
            assert_ne!(answer.status, 503, "a fair tenant's call of normal priority: {}", answer.text());
            gate.open();
        };
        let (one, ()) = tokio::join!(one, others);
        one.expect(200);
    };
    let (answers, ()) = tokio::join!(futures_util::future::join_all(held), beside);
    for answer in answers {
        answer.expect(200);
    }
    let page = world.http.send("GET", &format!("{}/metrics", world.url()), &[], "").await.expect("a page").text();
    assert!(page.contains("alfred_shed_total{reason=\"share\",priority=\"normal\"} 1"), "{page}");
    assert!(page.contains("alfred_shed_total{reason=\"priority\",priority=\"low\"} 1"), "{page}");
}

/// Two processes on one database and one store.
async fn two(redis: &Redis, timeout_ms: u64) -> (World, Process) {
    let shared = json!({"url": redis.url(), "timeout_ms": timeout_ms});
    let world = Setup::new().on_postgres().with(|config| config["limits"] = json!({"shared": shared})).start().await;
    let second = world.begin("-second").await;
    for url in [world.url(), second.url.clone()] {
        until(&world, &url, "alfred_limits_processes 2").await;
    }
    (world, second)
}

async fn until(world: &World, url: &str, line: &str) {
    let from = Instant::now();
    loop {
        let page = world.http.send("GET", &format!("{url}/metrics"), &[], "").await.expect("a page").text();
        if page.lines().any(|it| it == line) {
            return;
        }
        assert!(from.elapsed() < Duration::from_secs(60), "{line} at {url}:\n{page}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

async fn ask(world: &World, url: &str, key: &str) -> Answer {
    let bearer = format!("Bearer {key}");
    let headers = [("authorization", bearer.as_str()), ("content-type", "application/json")];
    let body = hello("free").to_string();
    world.http.send("POST", &format!("{url}/v1/chat/completions"), &headers, body).await.expect("an answer")
}

/// How many of so many calls are let in, at each of the processes in turn.
async fn let_in(world: &World, urls: &[&str], key: &str, calls: usize) -> usize {
    let mut admitted = 0;
    for n in 0..calls {
        let answer = ask(world, urls[n % urls.len()], key).await;
        assert!([200, 429].contains(&answer.status), "{}", answer.text());
        admitted += usize::from(answer.status == 200);
    }
    admitted
}

/// As many as were there, and those that came back meanwhile.
fn about(admitted: usize, expected: usize, since: Instant, per_minute: f64) {
    let back = (since.elapsed().as_secs_f64() * per_minute / 60.0).ceil() as usize + 1;
    assert!((expected..=expected + back).contains(&admitted), "{admitted} of {expected}, {back} may have come back");
}

#[tokio::test]
async fn two_processes_share_one_limit_and_keep_half_each_while_the_store_is_gone() {
    let mut redis = Redis::start();
    let (world, second) = two(&redis, 5_000).await;
    let (one, other) = (world.url(), second.url.clone());
    let tenant = world.rich().await;
    let since = Instant::now();
    let (_, key) = world.key(&tenant.wallet, json!({"rpm": 12})).await;
    until_known(&world, &other, &key).await;
    let admitted = 1 + let_in(&world, &[&one, &other], &key, 29).await;
    about(admitted, 12, since, 12.0);

    // Four here, two there; then the store dies, and each goes on with what its half has left.
    let (_, key) = world.key(&tenant.wallet, json!({"rpm": 40})).await;
    until_known(&world, &other, &key).await;
    let since = Instant::now();
    assert_eq!(let_in(&world, &[&one], &key, 4).await, 4);
    assert_eq!(let_in(&world, &[&other], &key, 1).await, 1);
    redis.kill();
    about(let_in(&world, &[&one], &key, 30).await, 20 - 4, since, 20.0);
    about(let_in(&world, &[&other], &key, 30).await, 20 - 2, since, 20.0);
    for url in [&one, &other] {
        until(&world, url, "alfred_limits_shared_up 0").await;
    }
    assert!(world.log().contains("the store of shared limits is gone"), "{}", world.log());

    redis.begin();
    for url in [&one, &other] {
        until(&world, url, "alfred_limits_shared_up 1").await;
        until(&world, url, "alfred_limits_processes 2").await;
    }
    // The store has forgotten what was drawn: both begin anew, with one account again.
    let (_, key) = world.key(&tenant.wallet, json!({"rpm": 12})).await;
    let since = Instant::now();
    until_known(&world, &other, &key).await;
    about(1 + let_in(&world, &[&other, &one], &key, 29).await, 12, since, 12.0);
}

/// A key that was just made is known in the other process, too. One call of it is let in there.
async fn until_known(world: &World, url: &str, key: &str) {
    let from = Instant::now();
    while ask(world, url, key).await.status == 401 {
        assert!(from.elapsed() < Duration::from_secs(30), "the key is never known there");
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}

#[tokio::test]
async fn a_store_that_stands_still_costs_a_few_deadlines_and_no_call_is_lost() {
    let redis = Redis::start();
    let (world, second) = two(&redis, 50).await;
    let tenant = world.tenant(Plan::new().hard("100").key(json!({"rpm": 100_000, "tpm": 10_000_000}))).await;
    ask(&world, &world.url(), &tenant.key).await.expect(200);
    redis.stand_still(true);
    assert_eq!(let_in(&world, &[&world.url()], &tenant.key, 20).await, 20, "each process keeps its part");
    until(&world, &world.url(), "alfred_limits_shared_up 0").await;
    redis.stand_still(false);
    for url in [world.url(), second.url.clone()] {
        until(&world, &url, "alfred_limits_shared_up 1").await;
    }
    assert_eq!(let_in(&world, &[&world.url()], &tenant.key, 3).await, 3);
}

#[tokio::test]
async fn a_process_that_dies_gives_its_places_back() {
    let redis = Redis::start();
    let (world, mut second) = two(&redis, 5_000).await;
    let tenant = world.tenant(Plan::new().hard("100").key(json!({"max_parallel_requests": 2}))).await;
    until_known(&world, &second.url, &tenant.key).await;
    let gate = Gate::new();
    world.first.always(openai::chat("Hello", 10, 5).behind(gate.clone()));
    let (first, key) = (world.first.count(), tenant.key.clone());
    let url = format!("{}/v1/chat/completions", second.url);
    let bearer = format!("Bearer {key}");
    let headers = [("authorization", bearer.as_str()), ("content-type", "application/json")];
    let body = hello("free").to_string();
    let held = (0..2).map(|_| world.http.send("POST", &url, &headers, body.clone()));
    let beside = async {
        world.first.until("both places are taken", |it| it.count() == first + 2).await;
        limited(&ask(&world, &world.url(), &key).await, "calls in flight of this key (limit 2)");
        second.kill();
        gate.open();
    };
    let (broken, ()) = tokio::join!(futures_util::future::join_all(held), beside);
    assert!(broken.iter().all(Result::is_err), "nobody answers any more");
    let from = Instant::now();
    while ask(&world, &world.url(), &key).await.status == 429 {
        assert!(from.elapsed() < Duration::from_secs(60), "the places are never given back");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

#[tokio::test]
async fn a_house_opens_without_its_store_and_tells_nobody_its_address() {
    let mut redis = Redis::start();
    redis.kill();
    let url = redis.url().replace("//", "//:store-canary-password@");
    let shared = json!({"url": url, "timeout_ms": 200, "processes": 4});
    let world = Setup::new().with(|config| config["limits"] = json!({"shared": shared})).start().await;
    let tenant = world.tenant(Plan::new().hard("100").key(json!({"rpm": 8}))).await;
    let since = Instant::now();
    about(let_in(&world, &[&world.url()], &tenant.key, 12).await, 2, since, 2.0);
    assert!(world.log().contains("the store of shared limits cannot be reached"), "{}", world.log());
    assert!(!world.log().contains("store-canary-password"));
}
