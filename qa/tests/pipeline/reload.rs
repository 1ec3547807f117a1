//! A configuration that changes while calls are made: the file read again, and providers and models that the admin API keeps.

use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use qa::check::{refused, usd};
use qa::upstream::{Gate, Script, Step, openai};
use qa::world::{ADMIN_KEY, Process, Setup, World, hello, hello_stream};
use serde_json::{Value, json};
use tokio::task::JoinSet;

/// Writes the house's file anew.
fn rewrite(world: &World, change: impl FnOnce(&mut Value)) {
    let file = world.folder().join("alfred.yaml");
    let mut config: Value = serde_json::from_slice(&std::fs::read(&file).expect("a file")).expect("JSON");
    change(&mut config);
    std::fs::write(&file, config.to_string()).expect("a file");
}

fn point(model: usize, target: &'static str) -> impl FnOnce(&mut Value) {
    move |config| config["models"][model]["targets"] = json!([target])
}

async fn reload(world: &World) -> Value {
    world.admin("POST", "/config/reload", Value::Null).await
}

/// Waits until the status is so; the status.
async fn status_when(world: &World, so: impl Fn(&Value) -> bool) -> Value {
    let from = Instant::now();
    loop {
        let status = world.admin("GET", "/config/status", Value::Null).await;
        if so(&status) {
            return status;
        }
        assert!(from.elapsed() < Duration::from_secs(30), "never so: {status}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

async fn platform_kinds(world: &World) -> Vec<(String, String)> {
    let text = |it: &Value, name: &str| it[name].as_str().unwrap_or_default().to_owned();
    world.list("/audit").await.iter().map(|it| (text(it, "kind"), text(it, "actor"))).collect()
}

#[tokio::test]
async fn a_reload_under_load_drops_no_call_and_a_stream_ends_where_it_began() {
    let world = Arc::new(World::start().await);
    let tenant = world.rich().await;
    let gate = Gate::new();
    world.first.next(openai::begin(&["Some"]).then(Step::Wait(gate.clone())).and(openai::end(Some((10, 5)))));
    let mut flow = world.stream(&tenant.key, &hello_stream("chat")).await;
    flow.until("Some").await;

    let done = Arc::new(AtomicBool::new(false));
    let mut load = JoinSet::new();
    for _ in 0..4 {
        let (world, done, key) = (Arc::clone(&world), Arc::clone(&done), tenant.key.clone());
        load.spawn(async move {
            let mut served = std::collections::BTreeMap::<String, u32>::new();
            while !done.load(Ordering::SeqCst) {
                let answer = world.chat(&key, &hello("chat")).await.expect(200);
                *served.entry(answer.must("x-alfred-model").to_owned()).or_default() += 1;
            }
            served
        });
    }
    for turn in 0..6 {
        let target = ["second/test-chat", "first/test-chat"][turn % 2];
        rewrite(&world, point(0, target));
        assert_eq!(reload(&world).await["changed"], json!(["models[chat]"]));
        let answer = world.chat(&tenant.key, &hello("chat")).await.expect(200);
        assert_eq!(answer.must("x-alfred-model"), target, "in force when it is answered");
    }
    rewrite(&world, point(0, "second/test-chat"));
    reload(&world).await;
    done.store(true, Ordering::SeqCst);
    let mut seen = std::collections::BTreeMap::new();
    for served in load.join_all().await {
        for (target, calls) in served {
            *seen.entry(target).or_insert(0) += calls;
        }
    }
    assert!(seen.len() == 2 && seen.values().all(|calls| *calls > 0), "both routes were under load: {seen:?}");
    gate.open();
    let whole = flow.whole().await.expect("a whole stream");
    assert_eq!((whole.said().as_str(), whole.must("x-alfred-model")), ("Some", "first/test-chat"));
    let wallet = world.at_rest(&tenant.wallet, Duration::from_secs(10)).await;
    assert!(usd(&wallet, "spent_usd") > 0);
    world.assert_balanced(&tenant).await;
}

#[tokio::test]
async fn a_bad_file_keeps_the_old_one_and_says_why() {
    let world = World::start().await;
    let tenant = world.rich().await;
    let good = world.admin("GET", "/config/status", Value::Null).await;
    let file = world.folder().join("alfred.yaml");
    let yaml = "listen: nowhere\nproviders:\n  - id: x\n    kind: telepathy\n  - id: y\n    kind: openai\n    api_key: sk-literal-canary\n";
    for (text, faults) in [
        (yaml, &[("listen", 1), ("providers[0].kind", 4), ("providers[1].api_key", 7)][..]),
        ("providers: [", &[("", 0)]),
        (" \n", &[("", 0)]),
    ] {
        std::fs::write(&file, text).expect("a file");
        let answer = world.ask_admin("POST", "/config/reload", &[], &Value::Null).await.expect(422);
        let problem = answer.json();
        assert_eq!(problem["code"], "invalid_configuration");
        for (path, line) in faults {
            let named =
                |it: &&Value| it["member"] == *path && it["file"].as_str().is_some_and(|it| it.ends_with(".yaml"));
            let found = problem["errors"].as_array().expect("errors").iter().find(named);
            let found = found.unwrap_or_else(|| panic!("no {path} in {problem}"));
            assert!(*line == 0 || found["line"] == *line, "{found}");
        }
        let status = world.admin("GET", "/config/status", Value::Null).await;
        assert_eq!((&status["sha256"], &status["last"]["outcome"]), (&good["sha256"], &json!("refused")));
        assert_eq!(status["last"]["faults"].as_array().map(Vec::len), problem["errors"].as_array().map(Vec::len));
        world.chat(&tenant.key, &hello("chat")).await.expect(200);
    }
    let url = format!("{}/metrics", world.url());
    let metrics = world.http.send("GET", &url, &[], "").await.expect("an answer").text();
    assert!(metrics.contains("alfred_config_reloads_total{outcome=\"refused\"} 3"), "{metrics}");
    assert!(metrics.contains("alfred_config_reloads_total{outcome=\"applied\"} 0"), "{metrics}");
    let log = world.log();
    assert!(log.contains("telepathy") && !log.contains("literal-canary"), "{log}");
    let kinds = platform_kinds(&world).await;
    let refusals = kinds.iter().filter(|(kind, actor)| kind == "CONFIG_REFUSED" && actor.starts_with("adm_"));
    assert_eq!(refusals.count(), 3, "{kinds:?}");
}

#[tokio::test]
async fn sighup_and_a_changed_file_are_reloads_too() {
    let mut world = World::start().await;
    let tenant = world.rich().await;
    rewrite(&world, |config| config["reload"] = json!({"watch": false}));
    let hang_up = |world: &mut World| {
        let pid = world.alfred().pid().to_string();
        assert!(Command::new("kill").args(["-HUP", &pid]).status().expect("kill").success());
    };
    hang_up(&mut world);
    let status = status_when(&world, |it| it["last"]["trigger"] == "signal").await;
    assert_eq!((&status["last"]["outcome"], &status["watched"]), (&json!("applied"), &json!(false)));
    rewrite(&world, |config| config["reload"] = json!({"watch": true}));
    hang_up(&mut world);
    status_when(&world, |it| it["watched"] == true).await;

    rewrite(&world, point(0, "second/test-chat"));
    let status = status_when(&world, |it| it["last"]["trigger"] == "watch").await;
    assert_eq!(status["last"]["changed"], json!(["models[chat]"]));
    let answer = world.chat(&tenant.key, &hello("chat")).await.expect(200);
    assert_eq!(answer.must("x-alfred-model"), "second/test-chat");
    rewrite(&world, |config| config["providers"][0]["kind"] = json!("telepathy"));
    status_when(&world, |it| it["last"]["outcome"] == "refused").await;
    world.chat(&tenant.key, &hello("chat")).await.expect(200);
    let kinds = platform_kinds(&world).await;
    let by_itself = |wanted: &str| kinds.iter().filter(|(kind, by)| kind == wanted && by == "system").count();
    assert_eq!((by_itself("CONFIG_RELOADED"), by_itself("CONFIG_REFUSED")), (3, 1), "{kinds:?}");
}

#[tokio::test]
async fn what_only_a_start_can_change_is_named_and_the_environment_stays_above_the_file() {
    let mut world = World::start().await;
    world.stop().await;
    world.restart_with(&[("ALFRED_MARKUP", "3")]).await;
    let tenant = world.rich().await;
    let cost = async |world: &World| {
        usd(&world.receipt(world.chat(&tenant.key, &hello("chat")).await.must("x-request-id")).await, "price_usd")
    };
    let before = cost(&world).await;
    rewrite(&world, |config| {
        config["listen"] = json!("127.0.0.1:1");
        config["markup"] = json!("7");
        config["limits"] = json!({"max_in_flight": 2000});
        config["log"] = json!({"filter": "debug"});
        config["prices"]["first/test-chat"] = json!({"input": "2.00", "output": "4.00", "bills_after_cancel": false});
    });
    let told = reload(&world).await;
    assert_eq!(told["needs_restart"], json!(["listen", "limits.max_in_flight"]), "{told}");
    assert!(told["changed"].as_array().expect("a list").contains(&json!("log.filter")), "{told}");
    assert_eq!(cost(&world).await, before * 2, "the new price under the old markup");
    assert!(world.log().contains("DEBUG"), "the filter is in force");
    let status = world.admin("GET", "/config/status", Value::Null).await;
    assert_eq!(status["needs_restart"], json!(["listen", "limits.max_in_flight"]));
    let again = reload(&world).await;
    assert_eq!((&again["changed"], &again["needs_restart"]), (&json!([]), &told["needs_restart"]), "{again}");
}

#[tokio::test]
async fn a_deadline_that_is_moved_holds_for_the_calls_that_begin_then() {
    let world = World::start().await;
    let tenant = world.rich().await;
    let gate = Gate::new();
    world.first.next(openai::chat("late", 10, 5).behind(gate.clone()));
    let body = hello("chat");
    let waiting = world.chat(&tenant.key, &body);
    let moved = async {
        world.first.until("the first call has arrived", |first| first.count() == 1).await;
        rewrite(&world, |config| {
            config["deadlines"] = json!({"first_byte_ms": 100, "whole_ms": 100, "idle_ms": 20_000})
        });
        let told = reload(&world).await;
        assert_eq!(told["changed"].as_array().map(Vec::len), Some(3), "{told}");
        world.first.always(Script::hangs());
        refused(&world.chat(&tenant.key, &hello("chat")).await, 504, "api_error", "provider_timeout");
        gate.open();
    };
    let (late, ()) = tokio::join!(waiting, moved);
    assert_eq!(late.expect(200).json()["choices"][0]["message"]["content"], "late", "it waits as it began to");
}

#[tokio::test]
async fn a_house_without_a_file_has_nothing_to_read_again_and_goes_on() {
    let folder = tempfile::tempdir().expect("a folder");
    let listen = format!("127.0.0.1:{}", qa::tools::free_port());
    let providers = r#"[{"id": "sim", "kind": "sim"}]"#;
    let environment = [
        ("ALFRED_LISTEN", listen.as_str()),
        ("ALFRED_PROVIDERS", providers),
        ("ALFRED_BOOTSTRAP_ADMIN_KEY", ADMIN_KEY),
    ];
    let mut house = Process::spawn(&["serve"], &environment, folder.path(), &format!("http://{listen}"));
    house.ready().await;
    assert!(Command::new("kill").args(["-HUP", &house.pid().to_string()]).status().expect("kill").success());
    let bearer = format!("Bearer {ADMIN_KEY}");
    let (http, headers) = (qa::http::Http::new(), [("authorization", bearer.as_str())]);
    let admin = async |method: &str, path: &str| {
        http.send(method, &format!("{}/admin/v1{path}", house.url), &headers, "").await.expect("an answer")
    };
    let answer = admin("POST", "/config/reload").await.expect(409);
    assert_eq!(answer.json()["code"], "no_file");
    let status = admin("GET", "/config/status").await.expect(200).json();
    assert_eq!((&status["file"], &status["watched"]), (&Value::Null, &json!(false)), "{status}");
    let from = Instant::now();
    while !house.log().contains("SIGHUP: there is no configuration file") {
        assert!(from.elapsed() < Duration::from_secs(20), "{}", house.log());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn added(world: &World) -> Value {
    json!({"id": "added", "kind": "openai", "base_url": world.second.v1(), "api_key": {"env": "SECOND_KEY"}})
}

async fn priced(world: &World) {
    let rates = json!({"input": "1.00", "output": "2.00", "bills_after_cancel": false});
    world.admin("POST", "/prices", json!({"target": "added/*", "rates": rates, "source": "a test"})).await;
}

#[tokio::test]
async fn a_provider_that_is_added_serves_at_once_and_one_that_is_removed_is_unknown() {
    let world = World::start().await;
    let tenant = world.rich().await;
    refused(&world.chat(&tenant.key, &hello("fresh")).await, 404, "invalid_request_error", "model_not_found");
    world.admin("POST", "/providers", added(&world)).await;
    priced(&world).await;
    world.admin("POST", "/models", json!({"id": "fresh", "targets": ["added/new-model"]})).await;
    let answer = world.chat(&tenant.key, &hello("fresh")).await.expect(200);
    assert_eq!(answer.must("x-alfred-model"), "added/new-model");
    world.chat(&tenant.key, &hello("added/other-model")).await.expect(200);
    assert_eq!(world.second.last().headers["authorization"], "Bearer second-provider-canary-key");

    let read = world.admin("GET", "/models/fresh", Value::Null).await;
    assert_eq!((&read["state"], &read["targets"][0]["breaker"]), (&json!("serving"), &json!("closed")), "{read}");
    let providers = world.admin("GET", "/providers", Value::Null).await;
    let of =
        |id: &str| providers["data"].as_array().expect("a list").iter().find(|it| it["id"] == id).expect("it").clone();
    assert_eq!((&of("first")["source"], &of("added")["source"]), (&json!("file"), &json!("api")));
    assert!(!providers.to_string().contains("canary"), "{providers}");

    let bad = json!({"id": "bad", "targets": ["nowhere/x"]});
    world.ask_admin("POST", "/models", &[], &bad).await.expect(422);
    world.ask_admin("POST", "/models", &[], &json!({"id": "chat", "targets": ["first/x"]})).await.expect(409);
    world.ask_admin("DELETE", "/providers/first", &[], &Value::Null).await.expect(409);
    world.ask_admin("DELETE", "/providers/added", &[], &Value::Null).await.expect(409);
    world.admin("PATCH", "/models/fresh", json!({"targets": ["first/test-chat"]})).await;
    let answer = world.chat(&tenant.key, &hello("fresh")).await.expect(200);
    assert_eq!(answer.must("x-alfred-model"), "first/test-chat");
    // A reload of the file leaves what is stored as it is.
    rewrite(&world, point(0, "second/test-chat"));
    reload(&world).await;
    world.chat(&tenant.key, &hello("added/other-model")).await.expect(200);

    world.admin("DELETE", "/providers/added", Value::Null).await;
    refused(
        &world.chat(&tenant.key, &hello("added/other-model")).await,
        404,
        "invalid_request_error",
        "model_not_found",
    );
    world.admin("DELETE", "/models/fresh", Value::Null).await;
    refused(&world.chat(&tenant.key, &hello("fresh")).await, 404, "invalid_request_error", "model_not_found");
    world.admin("POST", "/providers/added/rollback", json!({"version": 1})).await;
    world.chat(&tenant.key, &hello("added/other-model")).await.expect(200);
}

#[tokio::test]
async fn another_process_serves_it_within_five_seconds() {
    let world = Setup::new().on_postgres().start().await;
    let second = world.begin("-second").await;
    let tenant = world.rich().await;
    let ask = async |process: &Process| {
        let bearer = format!("Bearer {}", tenant.key);
        let headers = [("authorization", bearer.as_str()), ("content-type", "application/json")];
        let url = format!("{}/v1/chat/completions", process.url);
        world.http.send("POST", &url, &headers, hello("fresh").to_string()).await.expect("an answer").status
    };
    let within = async |status: u16| {
        let from = Instant::now();
        while ask(&second).await != status {
            assert!(from.elapsed() < Duration::from_secs(5), "not {status} within five seconds:\n{}", second.log());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    world.admin("POST", "/providers", added(&world)).await;
    priced(&world).await;
    world.admin("POST", "/models", json!({"id": "fresh", "targets": ["added/new-model"]})).await;
    within(200).await;
    world.admin("DELETE", "/models/fresh", Value::Null).await;
    within(404).await;
}

#[tokio::test]
async fn what_cannot_be_built_here_takes_nobody_else_down() {
    let mut world = World::start().await;
    world.stop().await;
    world.restart_with(&[("ADDED_KEY", "added-canary")]).await;
    let tenant = world.rich().await;
    let mut definition = added(&world);
    definition["api_key"] = json!({"env": "ADDED_KEY"});
    world.admin("POST", "/providers", definition).await;
    world.admin("POST", "/providers", json!({"id": "first-not", "kind": "sim"})).await;
    world.admin("POST", "/models", json!({"id": "both", "targets": ["added/x", "first/test-chat"]})).await;
    world.admin("POST", "/models", json!({"id": "lone", "targets": ["added/x"]})).await;
    world.stop().await;
    world.restart().await;
    let read = world.admin("GET", "/providers/added", Value::Null).await;
    assert_eq!((&read["state"], &read["faults"][0]["path"]), (&json!("faulty"), &json!("api_key.env")), "{read}");
    assert!(world.log().contains("ADDED_KEY"), "{}", world.log());
    world.chat(&tenant.key, &hello("chat")).await.expect(200);
    let answer = world.chat(&tenant.key, &hello("both")).await.expect(200);
    assert_eq!(answer.must("x-alfred-model"), "first/test-chat", "with the target that is left");
    refused(&world.chat(&tenant.key, &hello("lone")).await, 404, "invalid_request_error", "model_not_found");
    // The file comes first where both name the same.
    rewrite(&world, |config| {
        let sim = json!({"id": "added", "kind": "sim"});
        config["providers"].as_array_mut().expect("a list").push(sim);
    });
    reload(&world).await;
    let list = world.list("/providers").await;
    let of: Vec<_> = list.iter().filter(|it| it["id"] == "added").map(|it| (&it["source"], &it["state"])).collect();
    assert_eq!(of, [(&json!("file"), &json!("serving")), (&json!("api"), &json!("overridden"))]);
}

#[tokio::test]
async fn a_key_that_is_told_is_refused_and_is_nowhere_afterwards() {
    let loud = |config: &mut Value| config["log"] = json!({"format": "json", "filter": "debug"});
    let mut world = Setup::new().on_sqlite().with(loud).start().await;
    let canary = "literalcanary4711";
    let with = |members: Value| {
        let mut body = json!({"id": "up", "kind": "openai"});
        body.as_object_mut().expect("an object").extend(members.as_object().expect("members").clone());
        body
    };
    for members in [
        json!({"api_key": format!("sk-{canary}")}),
        json!({"api_key": {"env": format!("sk-{canary}")}}),
        json!({"api_key": [canary]}),
        json!({"api_key": {canary: "x"}}),
        json!({"headers": {"authorization": format!("Bearer {canary}")}, "api_key": {"env": "FIRST_KEY"}}),
        json!({"base_url": format!("https://user:{canary}@example.org/v1"), "api_key": {"env": "FIRST_KEY"}}),
        json!({"api_key": {"env": "ALFRED_BOOTSTRAP_ADMIN_KEY"}}),
    ] {
        let answer = world.ask_admin("POST", "/providers", &[], &with(members.clone())).await.expect(422);
        let text = answer.text();
        assert!(!text.contains(canary) && !text.contains(ADMIN_KEY), "{members}: {text}");
    }
    world.admin("POST", "/providers", with(json!({"api_key": {"env": "FIRST_KEY"}}))).await;
    let secret = json!({"api_key": format!("sk-{canary}")});
    world.ask_admin("PATCH", "/providers/up", &[], &secret).await.expect(422);
    assert_eq!(world.list("/providers/up/versions").await.len(), 1);
    let database = world.database_file();
    let log = world.stop().await;
    assert!(!log.contains(canary), "{log}");
    for end in ["", "-wal"] {
        let bytes = std::fs::read(format!("{}{end}", database.display())).unwrap_or_default();
        let holds = |text: &str| bytes.windows(text.len()).any(|it| it == text.as_bytes());
        assert!(!holds(canary) && !holds("first-provider-canary-key"), "the database{end}");
    }
}
