//! A provider that says "later" to everybody is left alone: what comes in is not multiplied on its way out, and nobody waits for it
//! while another is well.

use qa::faults::{Faults, Faulty, answers};
use qa::world::{Setup, Tenant, World, hello, hello_stream};
use serde_json::{Value, json};

/// Calls of one storm, and how many of them at once.
const CALLS: usize = 60;
const AT_ONCE: usize = 6;

/// A provider that always answers so, alone as `model`, and before a healthy one as `model-2`.
async fn storm(answer: Vec<u8>) -> (World, Tenant, Faulty) {
    let faults: Faults = [("storm".to_owned(), answers::both(answer))].into();
    let server = Faulty::start(faults);
    let providers: Vec<Value> = ["storm-1", "storm-2"]
        .map(|id| json!({"id": id, "kind": "openai", "base_url": server.base("http", id), "api_key": {"env": "FIRST_KEY"}}))
        .into();
    let setup = Setup::new().on_sqlite().with(|config| {
        config["providers"] = json!(providers);
        let models = config["models"].as_array_mut().expect("models");
        models.push(json!({"id": "alone", "targets": ["storm-1/m"]}));
        models.push(json!({"id": "helped", "targets": ["storm-2/m", "second/test-chat"]}));
        for target in ["storm-1/m", "storm-2/m"] {
            config["prices"][target] = json!({"input": "1.00", "output": "2.00"});
        }
    });
    let world = setup.start().await;
    let tenant = world.rich().await;
    (world, tenant, server)
}

/// Statuses of many calls, a few at once, JSON and streams in turn.
async fn calls(world: &World, key: &str, model: &str) -> Vec<qa::http::Answer> {
    let mut all = Vec::new();
    for _ in 0..CALLS / AT_ONCE {
        let some = (0..AT_ONCE).map(|n| async move {
            let body = if n % 2 == 0 { hello(model) } else { hello_stream(model) };
            world.chat(key, &body).await
        });
        all.extend(futures_util::future::join_all(some).await);
    }
    all
}

#[tokio::test]
async fn a_storm_of_429s_reaches_its_provider_a_few_times_and_the_other_serves_everybody() {
    // `retry-after` closes the door at the first answer; without it, the breaker does after a few. Those that are on their way when
    // it closes arrive too.
    let rows = [("with Retry-After", &[("retry-after", "60")][..], AT_ONCE), ("without", &[], 5 + 2 * AT_ONCE)];
    for (name, headers, most) in rows {
        let (world, tenant, server) = storm(answers::error("429 Too Many Requests", headers)).await;
        let alone = calls(&world, &tenant.key, "alone").await;
        for answer in &alone {
            assert_eq!(
                (answer.status, &answer.json()["error"]["code"]),
                (503, &json!("provider_unavailable")),
                "{name}"
            );
        }
        assert!(
            alone.iter().all(|it| it.header("retry-after").is_some()) || headers.is_empty(),
            "{name}: nobody says when"
        );
        assert!((1..=most).contains(&server.asked("storm-1")), "{name}: asked {} times", server.asked("storm-1"));
        let helped = calls(&world, &tenant.key, "helped").await;
        assert!(helped.iter().all(|it| it.status == 200), "{name}: another was well");
        assert!((1..=most).contains(&server.asked("storm-2")), "{name}: asked {} times", server.asked("storm-2"));
        world.at_rest(&tenant.wallet, std::time::Duration::from_secs(10)).await;
        world.assert_balanced(&tenant).await;
    }
}

#[tokio::test]
async fn a_storm_of_500s_is_not_amplified_and_the_other_serves_everybody() {
    let (world, tenant, server) = storm(answers::error("500 Internal Server Error", &[])).await;
    let helped = calls(&world, &tenant.key, "helped").await;
    assert!(helped.iter().all(|it| it.status == 200), "another was well");
    assert!((1..=5 + 2 * AT_ONCE).contains(&server.asked("storm-2")), "asked {} times", server.asked("storm-2"));
    let alone = calls(&world, &tenant.key, "alone").await;
    assert!(alone.iter().all(|it| [502, 503].contains(&it.status)), "nobody was well");
    assert!((1..=5 + 2 * AT_ONCE).contains(&server.asked("storm-1")), "asked {} times", server.asked("storm-1"));
    world.at_rest(&tenant.wallet, std::time::Duration::from_secs(10)).await;
    world.assert_balanced(&tenant).await;
}
