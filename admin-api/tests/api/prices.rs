//! Prices, markups and defaults, set and read back; and what cannot be one.

use serde_json::{Value, json};

use crate::world::{World, later, unknown};

fn price(more: Value) -> Value {
    let mut body =
        json!({"target": "openai/gpt-4o", "rates": {"input": "2.50", "output": "10"}, "source": "price page"});
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    body
}

#[tokio::test]
async fn a_price_is_added_listed_and_never_changed_and_its_id_is_its_version() {
    let world = World::new().await;
    let org = world.org().await;
    let rates = json!({
        "input": "3", "output": "15", "cached_input": "0.3", "cache_write": "3.75", "cache_write_1h": "6",
        "audio_input": "40", "image_input": "1", "reasoning": "16", "audio_output": "80", "request": "0.008",
        "image_output": "60", "image": "0.04", "second": "0.0001", "characters": "15", "search": "0.01", "batch": "0.5", "hidden_output": true, "bills_after_cancel": false,
        "long_context": [{"above": 200000, "input": "6", "output": "22.5", "cached_input": "0.6"}],
    });
    let body = price(json!({"org_id": org, "rates": rates, "effective_from": "2026-01-01T00:00:00Z"}));
    let made = world.post("/prices", body).await;
    assert_eq!(made.status, 201, "{}", made.text);
    let made = made.json();
    assert!(made["id"].as_str().unwrap().starts_with("prc_"));
    assert_eq!((&made["rates"], &made["created_at"]), (&rates, &json!(later(0))));
    assert_eq!(world.get(&format!("/prices/{}", made["id"].as_str().unwrap())).await.json(), made);
    world.ledger.clock().advance(std::time::Duration::from_secs(5));
    let plain = world.post("/prices", price(json!({"target": "openai/*"}))).await.json();
    assert_eq!((&plain["effective_from"], &plain["org_id"]), (&json!(later(5)), &Value::Null), "from now on, for all");
    for (query, expected) in [
        (String::new(), vec![&made, &plain]),
        (format!("?org_id={org}"), vec![&made]),
        ("?target=openai/*".to_owned(), vec![&plain]),
        ("?target=openai/o3".to_owned(), vec![]),
    ] {
        let listed = world.get(&format!("/prices{query}")).await.json();
        assert_eq!(listed["data"].as_array().unwrap().iter().collect::<Vec<_>>(), expected, "{query}");
    }
    let twice = |body: Value| world.ask("POST", "/prices").header("idempotency-key", "once").json(&body).send();
    let first = twice(price(json!({}))).await.json();
    world.ledger.clock().advance(std::time::Duration::from_secs(5));
    assert_eq!(twice(price(json!({}))).await.json(), first, "a repeat later on is answered as the first");
    twice(price(json!({"source": "elsewhere"}))).await.is_problem(409, "idempotency_mismatch", None);
    assert_eq!(world.ask("DELETE", "/prices").send().await.status, 405);
}

#[tokio::test]
async fn what_is_no_price_is_told_with_its_member_and_changes_nothing() {
    let world = World::new().await;
    let rates = |more: Value| {
        let mut rates = json!({"input": "1", "output": "1"});
        rates.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        price(json!({ "rates": rates }))
    };
    for (body, member) in [
        (rates(json!({"input": "-1"})), "rates.input"),
        (rates(json!({"output": "NaN"})), "rates.output"),
        (rates(json!({"output": "1e3"})), "rates.output"),
        (rates(json!({"output": ""})), "rates.output"),
        (rates(json!({"output": 10})), "rates.output"),
        (rates(json!({"reasoning": "0.0000000001"})), "rates.reasoning"),
        (rates(json!({"input": "9999999999999"})), "rates.input"),
        (rates(json!({"batch": "1.1"})), "rates.batch"),
        (rates(json!({"search": "-0.01"})), "rates.search"),
        (rates(json!({"cahced_input": "1"})), "rates.cahced_input"),
        (rates(json!({"long_context": [{"above": 0}]})), "rates.long_context[0].above"),
        (rates(json!({"long_context": [{"above": 2}, {"above": 1}]})), "rates.long_context[1].above"),
        (rates(json!({"long_context": [{"above": 2, "input": "-1"}]})), "rates.long_context[0].input"),
        (price(json!({"rates": {"input": "1"}})), "rates.output"),
        (price(json!({"target": "gpt-4o"})), "target"),
        (price(json!({"target": "openai/gpt 4o"})), "target"),
        (price(json!({"target": ""})), "target"),
        (price(json!({"target": "nowhere/gpt-4o"})), "target"),
        (price(json!({"source": " "})), "source"),
        (price(json!({"source": "two\nlines"})), "source"),
        (price(json!({"effective_from": "yesterday"})), "effective_from"),
        (price(json!({"org_id": unknown::<ledger::Org>()})), "org_id"),
    ] {
        world.post("/prices", body).await.is_problem(400, "invalid_value", Some(member));
    }
    let unsure = world.post("/prices", price(json!({"target": "unsure/gpt-4o"}))).await;
    assert_eq!(unsure.status, 503, "{}", unsure.text);
    assert_eq!(world.get("/prices").await.json()["data"], json!([]));
    world.get(&format!("/prices/{}", unknown::<ledger::Price>())).await.is_problem(404, "not_found", None);
}

#[tokio::test]
async fn a_markup_is_set_for_an_org_a_team_or_a_model_and_withdrawn_and_is_never_below_one() {
    let world = World::new().await;
    let org = world.org().await;
    let team = world.post("/teams", json!({"org_id": org, "name": "Search"})).await.id();
    let set = json!({"org_id": org, "team_id": team, "model": "openai/*", "markup": "1.25"});
    let made = world.post("/markups", set.clone()).await;
    assert_eq!(made.status, 201, "{}", made.text);
    assert_eq!((&made.json()["markup"], &made.json()["model"]), (&json!("1.25"), &json!("openai/*")));
    let mut withdrawn = set.clone();
    withdrawn["markup"] = Value::Null;
    assert_eq!(world.post("/markups", withdrawn).await.json()["markup"], Value::Null);
    let others = world.post("/teams", json!({"org_id": world.org().await, "name": "Other"})).await.id();
    for (member, value) in [
        ("markup", json!("0.99")),
        ("markup", json!("1001")),
        ("markup", json!("-1")),
        ("markup", json!("NaN")),
        ("markup", json!("1.0000001")),
        ("markup", json!(1.2)),
        ("model", json!("")),
        ("model", json!("a b")),
        ("team_id", json!(others)),
        ("org_id", json!(unknown::<ledger::Org>())),
    ] {
        let mut body = set.clone();
        body[member] = value;
        world.post("/markups", body).await.is_problem(400, "invalid_value", Some(member));
    }
    world.post("/markups", json!({"org_id": org})).await.is_problem(400, "invalid_value", Some("markup"));
    let listed = world.get(&format!("/markups?org_id={org}")).await.json();
    assert_eq!(listed["data"].as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn an_org_refuses_what_has_no_price_until_it_names_default_rates() {
    let world = World::new().await;
    let org = world.org().await;
    let path = format!("/orgs/{org}/pricing");
    let put = |body: Value| world.ask("PUT", &path).json(&body).send();
    assert_eq!(world.get(&path).await.json(), json!({"unpriced": "refuse", "default_rates": null}));
    let body = json!({"unpriced": "default", "default_rates": {"input": "5", "output": "20"}});
    for _ in 0..2 {
        assert_eq!(put(body.clone()).await.json(), body);
    }
    assert_eq!(world.get(&path).await.json(), body);
    for (wrong, member) in [
        (json!({"unpriced": "free"}), "unpriced"),
        (json!({"unpriced": "default"}), "default_rates"),
        (json!({"unpriced": "refuse", "default_rates": {"input": "1", "output": "1"}}), "default_rates"),
        (json!({"unpriced": "default", "default_rates": {"input": "-1", "output": "1"}}), "default_rates.input"),
    ] {
        put(wrong).await.is_problem(400, "invalid_value", Some(member));
    }
    assert_eq!(put(json!({"unpriced": "refuse"})).await.status, 200);
    assert_eq!(world.get(&path).await.json()["unpriced"], "refuse");
    let kinds = world.audit_kinds(&org).await;
    assert_eq!(kinds.iter().filter(|kind| *kind == "ORG_PRICING_SET").count(), 2, "saying the same changes nothing");
    let missing = format!("/orgs/{}/pricing", unknown::<ledger::Org>());
    world.get(&missing).await.is_problem(404, "not_found", None);
    world.ask("PUT", &missing).json(&body).send().await.is_problem(404, "not_found", None);
}

const FILE: &str = r#"{
    "sample_spec": {"litellm_provider": "one of"},
    "gpt-4o": {"litellm_provider": "openai", "mode": "chat", "input_cost_per_token": 2.5e-06,
        "output_cost_per_token": 1e-05, "cache_read_input_token_cost": 1.25e-06},
    "gemini/gemini-2.5-pro": {"litellm_provider": "gemini", "mode": "chat", "input_cost_per_token": 1.25e-06,
        "output_cost_per_token": 1e-05, "input_cost_per_token_above_200k_tokens": 2.5e-06},
    "perplexity/sonar": {"litellm_provider": "perplexity", "mode": "chat", "input_cost_per_token": 1e-06,
        "output_cost_per_token": 1e-06},
    "sora": {"litellm_provider": "openai", "mode": "video_generation", "output_cost_per_image": 0.04},
    "groq/free": {"litellm_provider": "groq", "mode": "chat", "input_cost_per_token": 0, "output_cost_per_token": 0.0}
}"#;

#[tokio::test]
async fn a_community_list_is_taken_over_once_and_says_what_it_left_out() {
    let world = World::new().await;
    let import = |query: &str, file: &str| {
        let path = format!("/prices/import{query}");
        let file = file.to_owned();
        let world = &world;
        async move { world.ask("POST", &path).header("content-type", "application/json").text(file).send().await }
    };
    let counts = |answer: &Value| {
        let len = |member: &str| answer[member].as_array().unwrap().len();
        (len("imported"), answer["unchanged"].as_u64().unwrap(), len("skipped"))
    };
    assert_eq!(counts(&import("?dry_run=true", FILE).await.json()), (2, 0, 3));
    assert_eq!(world.get("/prices").await.json()["data"], json!([]), "a dry run does nothing");
    let first = import("", FILE).await.json();
    assert_eq!(counts(&first), (2, 0, 3), "{first}");
    let targets: Vec<_> =
        first["imported"].as_array().unwrap().iter().map(|it| it["target"].as_str().unwrap()).collect();
    assert_eq!(targets, ["gemini/gemini-2.5-pro", "openai/gpt-4o"]);
    for (name, reason) in [("sora", "mode"), ("groq/free", "costs 0"), ("perplexity/sonar", "no provider here")] {
        let skipped = first["skipped"].as_array().unwrap().iter().find(|it| it["name"] == name).expect(name);
        assert!(skipped["reason"].as_str().unwrap().contains(reason), "{skipped}");
    }
    assert_eq!(counts(&import("", FILE).await.json()), (0, 2, 3), "again, and nothing changes");
    let mapped = import("?free=true&providers=perplexity=pplx", FILE).await.json();
    assert_eq!(counts(&mapped), (2, 2, 1), "{mapped}");
    world.ledger.clock().advance(std::time::Duration::from_secs(1));
    let dearer = FILE.replace("2.5e-06,", "2.6e-06,");
    assert_eq!(counts(&import("", &dearer).await.json()), (1, 1, 3), "a correction is a new row");
    let listed = world.get("/prices?target=openai/gpt-4o").await.json();
    let inputs: Vec<_> = listed["data"].as_array().unwrap().iter().map(|it| &it["rates"]["input"]).collect();
    assert_eq!(inputs, ["2.5", "2.6"]);
    assert_eq!(listed["data"][0]["rates"]["cached_input"], "1.25");
    let org = world.org().await;
    assert_eq!(
        counts(&import(&format!("?org_id={org}"), FILE).await.json()).0,
        2,
        "an organisation's own list is apart"
    );
    assert_eq!(world.audit_kinds(&org).await.iter().filter(|kind| *kind == "PRICES_IMPORTED").count(), 1);

    for (query, file, code, member) in [
        ("", "[]", "invalid_value", Some("file")),
        ("", "{", "invalid_value", Some("file")),
        ("?providers=perplexity", FILE, "invalid_parameter", Some("providers")),
        ("?effective_from=now", FILE, "invalid_parameter", Some("effective_from")),
        ("?freee=true", FILE, "invalid_parameter", Some("freee")),
    ] {
        import(query, file).await.is_problem(400, code, member);
    }
    let no_org = format!("?org_id={}", unknown::<ledger::Org>());
    import(&no_org, FILE).await.is_problem(400, "invalid_value", Some("org_id"));
    world.ask("POST", "/prices/import").text(FILE).send().await.is_problem(415, "unsupported_media_type", None);
}
