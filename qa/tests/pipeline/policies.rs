//! Where rules come from: uploaded, polled, or in a folder; activated and rolled back while calls go on.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use hmac::{Hmac, KeyInit, Mac};
use qa::check::refused;
use qa::http::Answer;
use qa::upstream::{Script, Upstream};
use qa::world::{ADMIN_KEY, Process, Setup, Tenant, World, hello};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tokio::task::JoinSet;

const FREEZE: &str = "package alfred.rules.standstill\n\nimport rego.v1\n\n\
    deny contains {\"code\": \"policy_denied\", \"message\": \"the freeze is on\"} if input.request.model == \"chat\"\n";

fn layer(scope: &str, rego: &str) -> Value {
    json!({"scope": scope, "modules": {"freeze.rego": rego}, "note": "a test"})
}

async fn upload(world: &World, scope: &str, rego: &str) -> String {
    qa::world::id(&world.admin("POST", "/policies/revisions", layer(scope, rego)).await)
}

async fn activate(world: &World, policy: &str) -> Value {
    world.admin("POST", &format!("/policies/revisions/{policy}/activate"), Value::Null).await
}

async fn send_bundle(world: &World, scope: &str, bundle: Vec<u8>) -> Answer {
    let bearer = format!("Bearer {ADMIN_KEY}");
    let headers = [("authorization", bearer.as_str()), ("content-type", "application/gzip")];
    let url = format!("{}/admin/v1/policies/revisions?scope={scope}", world.url());
    world.http.send("POST", &url, &headers, bundle).await.expect("the admin API answers")
}

/// An archive of these files, whatever their names.
fn bundle(files: &[(&str, &[u8])]) -> Vec<u8> {
    let gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    let mut archive = tar::Builder::new(gzip);
    for (path, bytes) in files {
        let mut header = tar::Header::new_ustar();
        // Written by hand: the library would not write a name that leads elsewhere.
        header.as_mut_bytes()[..path.len()].copy_from_slice(path.as_bytes());
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        header.set_cksum();
        archive.append(&header, *bytes).expect("an archive");
    }
    archive.into_inner().expect("an archive").finish().expect("gzip")
}

fn base64url(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let letter = |group: u32, at: usize| LETTERS[(group >> (18 - 6 * at)) as usize & 63] as char;
    let group = |piece: &[u8]| {
        let byte = |at: usize| u32::from(piece.get(at).copied().unwrap_or(0));
        let group = byte(0) << 16 | byte(1) << 8 | byte(2);
        (0..=piece.len()).map(|at| letter(group, at)).collect::<String>()
    };
    bytes.chunks(3).map(group).collect()
}

/// The same module as a bundle, signed as OPA does with a shared secret.
fn signed(rego: &str, secret: &str, signed_text: &str) -> Vec<u8> {
    let hash = hex::encode(Sha256::digest(signed_text));
    let files = json!([{"name": "freeze.rego", "hash": hash, "algorithm": "SHA-256"}]);
    let part = |value: Value| base64url(value.to_string().as_bytes());
    let message =
        format!("{}.{}", part(json!({"alg": "HS256", "kid": "ours", "typ": "JWT"})), part(json!({"files": files})));
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).expect("any length is a key");
    mac.update(message.as_bytes());
    let token = format!("{message}.{}", base64url(&mac.finalize().into_bytes()));
    let signatures = json!({"signatures": [token]}).to_string();
    bundle(&[("freeze.rego", rego.as_bytes()), (".signatures.json", signatures.as_bytes())])
}

/// The layer of a scope that is in force, as the process tells it.
async fn layer_of(world: &World, scope: &str) -> Option<Value> {
    world.list("/policies/layers").await.into_iter().find(|it| it["scope"] == scope)
}

async fn until(what: &str, mut so: impl AsyncFnMut() -> bool) {
    let from = Instant::now();
    while !so().await {
        assert!(from.elapsed() < Duration::from_secs(30), "never so: {what}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn an_orgs_layer_refuses_its_own_next_call_and_a_rollback_lets_it_pass_again() {
    let world = World::start().await;
    let (ours, theirs) = (world.rich().await, world.rich().await);
    let revision =
        async |tenant: &Tenant| world.chat(&tenant.key, &hello("chat")).await.must("x-alfred-policy").to_owned();
    let (before, others) = (revision(&ours).await, revision(&theirs).await);
    let policy = upload(&world, &ours.org, FREEZE).await;
    assert_eq!(revision(&ours).await, before, "an upload is not in force");

    let word = activate(&world, &policy).await;
    assert_eq!((&word["version"], &word["policy_id"]), (&json!(1), &json!(policy)));
    let answer = world.chat(&ours.key, &hello("chat")).await;
    let error = refused(&answer, 403, "permission_error", "policy_denied");
    assert!(error["message"].as_str().is_some_and(|it| it.contains("the freeze is on")), "{error}");
    let served = world.chat(&ours.key, &hello("steady")).await.expect(200);
    assert_ne!(served.must("x-alfred-policy"), before, "the rules are others");
    assert_eq!(revision(&theirs).await, others, "and nobody else's are");
    let serving = layer_of(&world, &ours.org).await.expect("a layer");
    assert_eq!((&serving["state"], &serving["policy"]["id"]), (&json!("serving"), &json!(policy)));

    let back = world.admin("POST", &format!("/policies/layers/{}/rollback", ours.org), Value::Null).await;
    assert_eq!((&back["version"], &back["policy_id"], &back["restores"]), (&json!(2), &Value::Null, &json!(0)));
    assert_eq!(revision(&ours).await, before);
    let again = json!({"to": policy});
    world.admin("POST", &format!("/policies/layers/{}/rollback", ours.org), again).await;
    refused(&world.chat(&ours.key, &hello("chat")).await, 403, "permission_error", "policy_denied");
    world.admin("DELETE", &format!("/policies/layers/{}", ours.org), Value::Null).await;
    assert_eq!(revision(&ours).await, before);

    let audit = world.audit(&ours.org).await;
    let kinds: Vec<&str> =
        audit.iter().filter_map(|it| it["kind"].as_str()).filter(|it| it.starts_with("POLICY")).collect();
    let said = ["POLICY_CREATED", "POLICY_ACTIVATED", "POLICY_ROLLED_BACK", "POLICY_ROLLED_BACK", "POLICY_REMOVED"];
    assert_eq!(kinds, said);
    let told = audit.iter().find(|it| it["kind"] == "POLICY_ACTIVATED").expect("an entry");
    assert!(!told.to_string().contains("freeze is on"), "{told}");
}

#[tokio::test]
async fn a_teams_layer_may_be_nothing_but_data() {
    let world = World::start().await;
    let (ours, theirs) = (world.rich().await, world.rich().await);
    let team = &ours.team;
    let (key, _) = (world.key(&ours.wallet, json!({"team_id": team})).await.1, ());
    let body = json!({"scope": team, "data": {"alfred": {"residency": {"regions": ["eu"]}}}});
    activate(&world, &qa::world::id(&world.admin("POST", "/policies/revisions", body).await)).await;
    let answer = world.chat(&key, &hello("steady")).await.expect(200);
    assert_eq!(answer.must("x-alfred-model"), "second/test-chat", "the one in the EU");
    refused(&world.chat(&key, &hello("chat")).await, 403, "permission_error", "residency_violation");
    let answer = world.chat(&theirs.key, &hello("steady")).await.expect(200);
    assert_eq!(answer.must("x-alfred-model"), "first/test-chat");
}

#[tokio::test]
async fn another_process_follows_within_five_seconds() {
    let world = Setup::new().on_postgres().start().await;
    let second = world.begin("-second").await;
    let tenant = world.rich().await;
    let ask = async |process: &Process| {
        let bearer = format!("Bearer {}", tenant.key);
        let headers = [("authorization", bearer.as_str()), ("content-type", "application/json")];
        let url = format!("{}/v1/chat/completions", process.url);
        world.http.send("POST", &url, &headers, hello("chat").to_string()).await.expect("an answer").status
    };
    let within = async |status: u16| {
        let from = Instant::now();
        while ask(&second).await != status {
            assert!(from.elapsed() < Duration::from_secs(5), "not {status} within five seconds:\n{}", second.log());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    within(200).await;
    activate(&world, &upload(&world, &tenant.org, FREEZE).await).await;
    within(403).await;
    world.admin("POST", &format!("/policies/layers/{}/rollback", tenant.org), Value::Null).await;
    within(200).await;
    assert_eq!(world.list("/policies/layers/house/activations").await.len(), 1, "both have the same house");
}

#[tokio::test]
async fn what_cannot_be_trusted_changes_nothing_while_calls_go_on() {
    let world = World::start().await;
    let tenant = world.rich().await;
    let scope = &tenant.org;
    activate(&world, &upload(&world, scope, FREEZE).await).await;
    let before = layer_of(&world, scope).await;
    let bomb = vec![b' '; 64 << 20];
    let rego = FREEZE.as_bytes();
    for (what, bytes, status) in [
        ("no archive", b"not gzip at all".to_vec(), 422),
        ("a cut one", bundle(&[("freeze.rego", rego)])[..40].to_vec(), 422),
        ("a path that leads elsewhere", bundle(&[("../../etc/cron.d/x.rego", rego)]), 422),
        ("a bomb", bundle(&[("data.json", &bomb)]), 422),
        (
            "a syntax error",
            bundle(&[("broken.rego", b"package alfred.rules.broken\nimport rego.v1\ndeny contains {\n")]),
            422,
        ),
        ("ten megabytes", vec![0; 10_000_000], 413),
    ] {
        // Whoever sends too much may find the door closed before all of it is sent.
        let url = format!("{}/admin/v1/policies/revisions?scope={scope}", world.url());
        let bearer = format!("Bearer {ADMIN_KEY}");
        let headers = [("authorization", bearer.as_str()), ("content-type", "application/gzip")];
        match world.http.send("POST", &url, &headers, bytes).await {
            Ok(answer) => {
                assert_eq!(answer.status, status, "{what}: {}", answer.text());
                let code = if status == 413 { "request_too_large" } else { "invalid_policy" };
                assert_eq!(answer.json()["code"], code, "{what}");
            }
            Err(_) => assert_eq!(status, 413, "{what}"),
        }
        world.chat(&tenant.key, &hello("steady")).await.expect(200);
    }
    let broken = json!({"scope": scope, "modules": {"broken.rego": "package alfred.rules.broken\nimport rego.v1\n\ndeny contains 1 if 1 = = 1\n"}});
    let answer = world.ask_admin("POST", "/policies/revisions", &[], &broken).await.expect(422);
    let error = &answer.json()["errors"][0];
    assert_eq!(error["file"], "broken.rego", "{error}");
    assert!(error["line"].is_number() && error["column"].is_number() && error["excerpt"].is_string(), "{error}");
    let large = json!({"scope": scope, "modules": {"large.rego": "#".repeat(300 << 10)}});
    world.ask_admin("POST", "/policies/revisions", &[], &large).await.expect(422);
    assert_eq!(layer_of(&world, scope).await, before, "what is in force is what was");
    refused(&world.chat(&tenant.key, &hello("chat")).await, 403, "permission_error", "policy_denied");
    assert_eq!(world.list(&format!("/policies/revisions?scope={scope}")).await.len(), 1, "and nothing was kept");
}

#[tokio::test]
async fn where_signatures_are_wanted_only_a_signed_bundle_will_do() {
    let secret = "a-secret-of-the-tests-that-is-long-enough";
    let file = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(file.path(), signed(FREEZE, secret, FREEZE)).expect("a file");
    let mut world = World::start().await;
    let tenant = world.rich().await;
    world.stop().await;
    let keys = json!([{"id": "ours", "algorithm": "HS256", "secret_env": "RULES_SECRET"}]);
    world.change(|config| config["policies"] = json!({"bundle": {"file": file.path()}, "keys": keys}));
    world.restart_with(&[("RULES_SECRET", secret)]).await;
    refused(&world.chat(&tenant.key, &hello("chat")).await, 403, "permission_error", "policy_denied");
    let house = layer_of(&world, "house").await.expect("the house's layer");
    assert_eq!((&house["policy"]["source"], &house["author"]), (&json!("file"), &json!("system")));

    let other = FREEZE.replace("\"chat\"", "\"steady\"");
    world.ask_admin("POST", "/policies/revisions", &[], &layer(&tenant.org, &other)).await.expect(422);
    for (what, bytes) in [
        ("not signed", bundle(&[("freeze.rego", other.as_bytes())])),
        ("signed by another", signed(&other, "another-secret-that-is-long-enough-too", &other)),
        ("signed for other content", signed(&other, secret, FREEZE)),
    ] {
        let answer = send_bundle(&world, &tenant.org, bytes).await;
        assert_eq!(answer.status, 422, "{what}: {}", answer.text());
        assert!(!answer.text().contains(secret), "{what}");
    }
    world.chat(&tenant.key, &hello("steady")).await.expect(200);
    let kept = send_bundle(&world, &tenant.org, signed(&other, secret, &other).clone()).await.expect(201);
    activate(&world, kept.json()["id"].as_str().expect("an id")).await;
    refused(&world.chat(&tenant.key, &hello("steady")).await, 403, "permission_error", "policy_denied");
    // The file is replaced by one that nobody has signed: the reload is refused, and what was in force stays so.
    std::fs::write(file.path(), bundle(&[("freeze.rego", rego_of("free").as_bytes())])).expect("a file");
    world.ask_admin("POST", "/config/reload", &[], &Value::Null).await.expect(422);
    refused(&world.chat(&tenant.key, &hello("chat")).await, 403, "permission_error", "policy_denied");
}

fn rego_of(model: &str) -> String {
    FREEZE.replace("\"chat\"", &format!("\"{model}\""))
}

fn served(rego: &str, tag: &str) -> Script {
    Script::bytes(200, "application/gzip", bundle(&[("freeze.rego", rego.as_bytes())])).header("etag", tag)
}

#[tokio::test]
async fn a_bundle_behind_an_address_is_polled_and_outlives_it() {
    let what = "GET /rules/bundle.tar.gz";
    let mut bundles = Upstream::start();
    bundles.at(what, served(&rego_of("chat"), "\"one\""));
    let url = format!("{}/rules/bundle.tar.gz", bundles.root());
    let rules = json!({"bundle": {"url": url, "poll_seconds": 1}});
    let mut world = Setup::new().on_sqlite().with(|config| config["policies"] = rules).start().await;
    let tenant = world.rich().await;
    let denied = async |world: &World, model: &str| world.chat(&tenant.key, &hello(model)).await.status == 403;
    assert!(denied(&world, "chat").await && !denied(&world, "free").await);

    bundles.at(what, Script::bytes(304, "text/plain", ""));
    bundles
        .until("asked for what is new", |it| {
            it.seen().iter().any(|seen| seen.headers.get("if-none-match").is_some_and(|tag| tag == "\"one\""))
        })
        .await;
    bundles.at(what, served(&rego_of("free"), "\"two\""));
    until("the new rules hold", async || denied(&world, "free").await).await;
    assert!(!denied(&world, "chat").await);
    let house = layer_of(&world, "house").await.expect("a layer");
    assert_eq!(
        (&house["version"], &house["policy"]["source"], &house["state"]),
        (&json!(2), &json!("url"), &json!("serving"))
    );

    bundles.at(what, served("package alfred.rules.broken\nimport rego.v1\ndeny contains {\n", "\"bad\""));
    until("the fault is told", async || layer_of(&world, "house").await.is_some_and(|it| it["last_fault"].is_object()))
        .await;
    let told = layer_of(&world, "house").await.expect("a layer")["last_fault"].to_string();
    assert!(told.contains("freeze.rego") && told.contains("\"line\""), "{told}");
    assert!(denied(&world, "free").await && !denied(&world, "chat").await, "the rules before stay in force");
    let asked = bundles.count();
    bundles.until("asked again", |it| it.count() >= asked + 2).await;
    let lines = world.log().lines().filter(|line| line.contains("cannot be taken over")).count();
    assert_eq!(lines, 1, "told once: {}", world.log());

    // Nobody answers any more, and the house starts all the same.
    bundles.stop();
    world.stop().await;
    world.restart().await;
    assert!(denied(&world, "free").await && !denied(&world, "chat").await, "with the rules on record");
    let house = layer_of(&world, "house").await.expect("a layer");
    assert!(house["last_fault"].to_string().contains("cannot connect"), "{house}");
    assert_eq!(house["version"], 2, "it is the same layer");
}

#[tokio::test]
async fn a_house_without_rules_of_its_address_does_not_start() {
    let nowhere = std::net::TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("an address");
    let folder = tempfile::tempdir().expect("a folder");
    let config = json!({
        "listen": "127.0.0.1:0", "data_dir": folder.path(),
        "database": {"url": format!("sqlite://{}/alfred.db", folder.path().display())},
        "policies": {"bundle": {"url": format!("http://{nowhere}/rules.tar.gz")}},
    });
    let file = folder.path().join("alfred.yaml");
    std::fs::write(&file, config.to_string()).expect("a file");
    let (code, out, err) = qa::tools::run_alfred(&["serve", "--config", file.to_str().expect("UTF-8")]);
    let said = out + &err;
    assert!(code != 0 && said.contains("rules.tar.gz") && said.contains("cannot connect"), "{code} {said}");
    for (bundle, told) in [
        (json!({"url": "http://rules.example/x.tar.gz"}), "https://"),
        (json!({"url": "https://user:secret@rules.example/x"}), "token_env"),
        (json!({"url": "https://rules.example/x", "token_env": "NOT_SET_ANYWHERE"}), "NOT_SET_ANYWHERE"),
        (json!({"url": "https://rules.example/x", "file": "x"}), "leave one of them out"),
        (json!({}), "needs a file or a url"),
    ] {
        let config = json!({"policies": {"bundle": bundle}});
        std::fs::write(&file, config.to_string()).expect("a file");
        let (code, out, err) = qa::tools::run_alfred(&["config", "check", "--config", file.to_str().expect("UTF-8")]);
        let said = out + &err;
        assert!(code == 1 && said.contains(told) && !said.contains("user:secret"), "{bundle}: {said}");
    }
}

#[tokio::test]
async fn a_thousand_rules_are_swapped_under_load_and_no_call_fails() {
    let world = Arc::new(World::start().await);
    let tenant = world.rich().await;
    let rules = |turn: usize| {
        let module = |m: usize| {
            let rule = |r: usize| {
                format!(
                    "deny contains {{\"code\": \"policy_denied\", \"message\": \"{turn}\"}} if input.request.model == \"none-{m}-{r}\"\n"
                )
            };
            let text: String = (0..20).map(rule).collect();
            (format!("m{m}.rego"), Value::from(format!("package alfred.rules.m{m}\n\nimport rego.v1\n\n{text}")))
        };
        Value::Object((0..50).map(module).collect())
    };
    let mut made = Vec::new();
    for turn in 0..2 {
        let body = json!({"scope": "platform", "modules": rules(turn)});
        made.push(qa::world::id(&world.admin("POST", "/policies/revisions", body).await));
    }
    let done = Arc::new(AtomicBool::new(false));
    let mut load = JoinSet::new();
    for _ in 0..2 {
        let (world, done, key) = (Arc::clone(&world), Arc::clone(&done), tenant.key.clone());
        load.spawn(async move {
            let mut seen = std::collections::BTreeMap::<String, u32>::new();
            while !done.load(Ordering::SeqCst) {
                let answer = world.chat(&key, &hello("chat")).await.expect(200);
                *seen.entry(answer.must("x-alfred-policy").to_owned()).or_default() += 1;
            }
            seen
        });
    }
    for turn in 0..4 {
        activate(&world, &made[turn % 2]).await;
        world.chat(&tenant.key, &hello("chat")).await.expect(200);
    }
    done.store(true, Ordering::SeqCst);
    let mut seen = std::collections::BTreeSet::new();
    for served in load.join_all().await {
        seen.extend(served.into_keys());
    }
    assert!(seen.len() >= 2, "calls were served under more than one revision: {seen:?}");
    world.assert_balanced(&tenant).await;
}

#[tokio::test]
async fn a_folder_may_hold_data_and_each_content_of_the_house_is_on_record() {
    let folder = tempfile::tempdir().expect("a folder");
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).expect("a file");
    write("freeze.rego", &FREEZE.replace("\"chat\"", "data.frozen.model"));
    write("data.json", "{\"frozen\": {\"model\": \"chat\"}}");
    let world = Setup::new().with(|config| config["policies"] = json!({"dir": folder.path()})).start().await;
    let tenant = world.rich().await;
    refused(&world.chat(&tenant.key, &hello("chat")).await, 403, "permission_error", "policy_denied");
    write("data.json", "{\"frozen\": {\"model\": \"free\"}}");
    let told = world.admin("POST", "/config/reload", Value::Null).await;
    assert_eq!(told["changed"], json!(["policies"]));
    world.chat(&tenant.key, &hello("chat")).await.expect(200);
    world.admin("POST", "/config/reload", Value::Null).await;
    let words = world.list("/policies/layers/house/activations").await;
    assert_eq!(
        words.iter().map(|it| it["version"].clone()).collect::<Vec<_>>(),
        [json!(1), json!(2)],
        "no word for nothing"
    );
    let policy = words[1]["policy_id"].as_str().expect("an id");
    let diff = world
        .admin(
            "GET",
            &format!("/policies/revisions/{policy}/diff?against={}", words[0]["policy_id"].as_str().expect("an id")),
            Value::Null,
        )
        .await;
    assert_eq!(diff["data"], json!([{"path": "frozen.model", "change": "changed"}]), "{diff}");
    let content = world.admin("GET", &format!("/policies/revisions/{policy}"), Value::Null).await;
    assert!(content["modules"]["alfred/models.rego"].is_string(), "what is shipped is on record too");
    assert!(!content.to_string().contains(&folder.path().display().to_string()), "and no path of this machine");
    let audit = world.list("/audit").await;
    let entry = audit.iter().rfind(|it| it["kind"] == "POLICY_ACTIVATED").expect("an entry");
    assert_eq!(
        (&entry["scope"], &entry["actor"], &entry["diff"]["data_changed"]),
        (&json!("house"), &json!("system"), &json!(1))
    );
    for path in ["/policies/layers/house/rollback", &format!("/policies/revisions/{policy}/activate")] {
        let answer = world.ask_admin("POST", path, &[], &Value::Null).await.expect(409);
        assert_eq!(answer.json()["code"], "defined_in_file");
    }
}

#[tokio::test]
async fn a_layer_that_this_version_cannot_read_is_closed_for_its_scope_alone() {
    let mut world = Setup::new().on_sqlite().start().await;
    let (ours, theirs) = (world.rich().await, world.rich().await);
    world.stop().await;
    let ledger = ledger::Ledger::open(ledger::Options::new(world.database.clone())).await.expect("the ledger");
    let scope = ours.org.parse().expect("a scope");
    let rego = "package alfred.rules.old\n\nimport rego.v1\n\ndeny contains of_yesterday.builtin(1) if true\n";
    let new = ledger::NewPolicy {
        id: ledger.new_id(),
        scope,
        digest: [1; 32],
        revision: "000000000000".into(),
        bundle: bundle(&[("old.rego", rego.as_bytes())]),
        source: ledger::PolicySource::Upload,
        note: None,
    };
    let made = ledger.policies().create(new, &ledger::Actor::System).await.expect("a revision");
    let word = ledger::NewActivation {
        id: ledger.new_id(),
        scope,
        policy: Some(made.id),
        after: 0,
        restores: None,
        diff: ledger::PolicyDiff::default(),
    };
    ledger.policies().activate(word, &ledger::Actor::System).await.expect("an activation");
    ledger.close().await;
    world.restart().await;
    refused(&world.chat(&ours.key, &hello("chat")).await, 403, "permission_error", "policy_denied");
    world.chat(&theirs.key, &hello("chat")).await.expect(200);
    let told = layer_of(&world, &ours.org).await.expect("a layer");
    assert_eq!((&told["state"], &told["faults"][0]["file"]), (&json!("faulty"), &json!("old.rego")), "{told}");
    assert!(world.log().contains("cannot be compiled by this version"), "{}", world.log());
    let metrics = world.http.send("GET", &format!("{}/metrics", world.url()), &[], "").await.expect("an answer").text();
    assert!(metrics.contains("alfred_policy_layers{state=\"faulty\"} 1"), "{metrics}");
    world.admin("DELETE", &format!("/policies/layers/{}", ours.org), Value::Null).await;
    world.chat(&ours.key, &hello("chat")).await.expect(200);
}
