//! Provider keys live in a vault: what changes there is shown to the provider without a restart, what cannot be read any more is
//! shown for a bounded time, and nothing is ever sent without a key.

use std::time::{Duration, Instant};

use qa::tools::run_alfred;
use qa::upstream::{Script, Upstream};
use qa::vault::{Mood, Rusty, Vault};
use qa::world::{Setup, Tenant, World, hello};
use serde_json::{Value, json};

const KEY: &str = "kept-canary-one";
const NEWER: &str = "kept-canary-two";

/// A provider `kept` whose key is in a vault, and an alias `either` that goes on to `second`.
fn keep(config: &mut Value, upstream: &Upstream, key: &str, vault: Value) {
    config["providers"] = json!([
        {"id": "kept", "kind": "openai", "base_url": upstream.v1(), "api_key": {"vault": key}},
    ]);
    let price = json!({"input": "1.00", "output": "2.00", "bills_after_cancel": false});
    config["prices"]["kept/test-chat"] = price;
    let models = config["models"].as_array_mut().expect("models");
    models.push(json!({"id": "kept", "targets": ["kept/test-chat"]}));
    models.push(json!({"id": "either", "targets": ["kept/test-chat", "second/test-chat"]}));
    config["vault"] = vault;
}

fn section(url: &str, auth: Value) -> Value {
    json!({"address": url, "auth": auth, "refresh_ms": 50, "max_stale_ms": 600_000, "timeout_ms": 2_000})
}

fn by_token() -> Value {
    json!({"token": {"env": "VAULT_TOKEN_HERE"}})
}

/// Starts a house whose `kept` provider has its key at `key`. The environment has no vault's token by itself: it comes in a file.
async fn house(upstream: &Upstream, key: &str, section: Value) -> World {
    Setup::new().with(|config| keep(config, upstream, key, section)).start().await
}

fn token_file(folder: &std::path::Path, token: &str) -> Value {
    let path = folder.join("vault-token");
    std::fs::write(&path, token).expect("a file");
    json!({"token": {"file": path}})
}

fn shown(upstream: &Upstream) -> String {
    let seen = upstream.last();
    seen.headers.get("authorization").and_then(|it| it.to_str().ok()).unwrap_or("nothing").to_owned()
}

/// Calls until the answer is as wanted: what a vault says takes a moment to arrive, and how long does not matter here.
async fn until(what: &str, world: &World, tenant: &Tenant, model: &str, so: impl Fn(u16) -> bool) {
    let from = Instant::now();
    loop {
        let answer = world.chat(&tenant.key, &hello(model)).await;
        if so(answer.status) {
            return;
        }
        assert!(from.elapsed() < Duration::from_secs(60), "{what}: still {} {}", answer.status, answer.text());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

async fn until_shown(key: &str, world: &World, tenant: &Tenant, upstream: &Upstream) {
    let wanted = format!("Bearer {key}");
    until(key, world, tenant, "kept", |status| status == 200 && shown(upstream) == wanted).await;
}

#[tokio::test]
async fn a_key_that_changes_in_the_vault_is_shown_without_a_restart() {
    let folder = tempfile::tempdir().expect("a folder");
    for (entry, mounts) in [("kv/providers/kept", json!({})), ("plain/kept", json!({})), ("kv/named", json!({"kv": 2}))]
    {
        let (vault, upstream) = (Vault::start(), Upstream::start());
        vault.put(entry, json!({"api_key": KEY, "other": 7}));
        let mut section = section(&vault.url, token_file(folder.path(), "root-canary"));
        section["mounts"] = mounts;
        let world = house(&upstream, &format!("{entry}#api_key"), section).await;
        let tenant = world.rich().await;
        // Fetched before the port opens: the very first call has it.
        world.chat(&tenant.key, &hello("kept")).await.expect(200);
        assert_eq!(shown(&upstream), format!("Bearer {KEY}"), "{entry}");
        vault.put(entry, json!({"api_key": NEWER}));
        until_shown(NEWER, &world, &tenant, &upstream).await;
    }
}

#[tokio::test]
async fn a_sealed_or_absent_vault_leaves_the_last_key_for_a_while_and_then_none() {
    let folder = tempfile::tempdir().expect("a folder");
    for mood in [Mood::Sealed, Mood::Failing, Mood::Away] {
        let (vault, upstream) = (Vault::start(), Upstream::start());
        vault.put("kv/kept", json!({"api_key": KEY}));
        // Ample: the key lives on while the vault is ill.
        let ample = section(&vault.url, token_file(folder.path(), "root-canary"));
        let mut world = house(&upstream, "kv/kept#api_key", ample.clone()).await;
        let tenant = world.rich().await;
        vault.state().mood = mood;
        world.chat(&tenant.key, &hello("kept")).await.expect(200);
        assert_eq!(shown(&upstream), format!("Bearer {KEY}"), "{mood:?}");
        world.stop().await;
        // Short: it ends. Nothing is sent then, and whoever has another target is answered by that.
        vault.state().mood = Mood::Well;
        let mut short = ample;
        short["max_stale_ms"] = json!(300);
        let world = house(&upstream, "kv/kept#api_key", short).await;
        let tenant = world.rich().await;
        world.chat(&tenant.key, &hello("kept")).await.expect(200);
        vault.state().mood = mood;
        until("closed", &world, &tenant, "kept", |status| status == 502 || status == 503).await;
        let before = upstream.count();
        for _ in 0..3 {
            let answer = world.chat(&tenant.key, &hello("kept")).await;
            assert!([502, 503].contains(&answer.status), "{mood:?}: {}", answer.status);
            let answer = world.chat(&tenant.key, &hello("either")).await.expect(200);
            assert_eq!(answer.must("x-alfred-model"), "second/test-chat", "{mood:?}");
        }
        assert_eq!(upstream.count(), before, "{mood:?}: nothing is sent without a key");
        world.assert_balanced(&tenant).await;
        assert!(world.log().contains("a key is withdrawn"), "{mood:?}: {}", world.log());
        // And it is shown again as soon as the vault speaks.
        vault.state().mood = Mood::Well;
        until_shown(KEY, &world, &tenant, &upstream).await;
    }
}

#[tokio::test]
async fn a_house_starts_without_its_vault_and_takes_the_key_when_it_comes() {
    let folder = tempfile::tempdir().expect("a folder");
    let (vault, upstream) = (Vault::start(), Upstream::start());
    vault.put("kv/kept", json!({"api_key": KEY}));
    vault.state().mood = Mood::Sealed;
    let section = section(&vault.url, token_file(folder.path(), "root-canary"));
    let world = house(&upstream, "kv/kept#api_key", section).await;
    let tenant = world.rich().await;
    let answer = world.chat(&tenant.key, &hello("either")).await.expect(200);
    assert_eq!(answer.must("x-alfred-model"), "second/test-chat");
    assert_eq!(upstream.count(), 0, "nothing is sent without a key");
    assert!(world.log().contains("a key cannot be read"), "{}", world.log());
    vault.state().mood = Mood::Well;
    until_shown(KEY, &world, &tenant, &upstream).await;
}

#[tokio::test]
async fn logins_are_renewed_and_made_anew_when_the_token_is_no_longer_taken() {
    let folder = tempfile::tempdir().expect("a folder");
    let proof = folder.path().join("proof");
    std::fs::write(&proof, "proof-canary\n").expect("a file");
    let logins = [
        ("approle", json!({"approle": {"role_id": "alfred", "secret_id": {"file": proof}}})),
        ("kubernetes", json!({"kubernetes": {"role": "alfred", "jwt_file": proof}})),
    ];
    for (mount, auth) in logins {
        let (vault, upstream) = (Vault::start(), Upstream::start());
        vault.put("kv/kept", json!({"api_key": KEY}));
        vault.state().namespace = Some("team/models".to_owned());
        // Seconds are the smallest a vault knows: the first renewal is due after two thirds of one.
        vault.state().lease = 1;
        let mut section = section(&vault.url, auth);
        section["namespace"] = json!("team/models");
        let world = house(&upstream, "kv/kept#api_key", section).await;
        let tenant = world.rich().await;
        world.chat(&tenant.key, &hello("kept")).await.expect(200);
        let login = format!("POST auth/{mount}/login");
        let renewed = async |times: usize| {
            let from = Instant::now();
            while vault.times("POST auth/token/renew-self") < times {
                assert!(from.elapsed() < Duration::from_secs(60), "{mount}: no renewal");
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        renewed(2).await;
        assert_eq!(vault.times(&login), 1, "{mount}: what is renewed needs no second login");
        // Revoked: one more login, and the key of by now.
        vault.state().tokens.clear();
        vault.put("kv/kept", json!({"api_key": NEWER}));
        until_shown(NEWER, &world, &tenant, &upstream).await;
        assert_eq!(vault.times(&login), 2, "{mount}");
        // Not renewable any more: logged in again in time.
        vault.state().renewable = false;
        let from = Instant::now();
        while vault.times(&login) < 4 {
            assert!(from.elapsed() < Duration::from_secs(60), "{mount}: no further login");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        world.chat(&tenant.key, &hello("kept")).await.expect(200);
    }
}

#[tokio::test]
async fn a_key_in_a_file_is_read_again_too_and_a_bad_one_is_not_taken() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("key");
    std::fs::write(&file, KEY).expect("a file");
    let (vault, upstream) = (Vault::start(), Upstream::start());
    let section = section(&vault.url, token_file(folder.path(), "root-canary"));
    let world = Setup::new()
        .with(|config| {
            keep(config, &upstream, "kv/unused#x", section);
            config["providers"][0]["api_key"] = json!({"file": file});
        })
        .start()
        .await;
    let tenant = world.rich().await;
    world.chat(&tenant.key, &hello("kept")).await.expect(200);
    assert_eq!(shown(&upstream), format!("Bearer {KEY}"));
    std::fs::write(&file, NEWER).expect("a file");
    until_shown(NEWER, &world, &tenant, &upstream).await;
    std::fs::write(&file, "torn\ncanary").expect("a file");
    let from = Instant::now();
    while !world.log().contains("a new key is not taken") {
        assert!(from.elapsed() < Duration::from_secs(60), "{}", world.log());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    world.chat(&tenant.key, &hello("kept")).await.expect(200);
    assert_eq!(shown(&upstream), format!("Bearer {NEWER}"));
}

#[tokio::test]
async fn a_real_vault_lends_keys_by_approle_is_sealed_and_speaks_again() {
    let Some(vault) = Rusty::start().await else { return };
    vault.put("kv/providers/kept", json!({"api_key": KEY})).await;
    let (role_id, secret_id) = vault.role(2).await;
    let folder = tempfile::tempdir().expect("a folder");
    let secret = folder.path().join("secret-id");
    std::fs::write(&secret, secret_id).expect("a file");
    let upstream = Upstream::start();
    let auth = json!({"approle": {"role_id": role_id, "secret_id": {"file": secret}}});
    let mut section = section(&vault.url, auth);
    section["max_stale_ms"] = json!(5_000);
    let world = house(&upstream, "kv/providers/kept#api_key", section).await;
    let tenant = world.rich().await;
    world.chat(&tenant.key, &hello("kept")).await.expect(200);
    assert_eq!(shown(&upstream), format!("Bearer {KEY}"));
    vault.put("kv/providers/kept", json!({"api_key": NEWER})).await;
    until_shown(NEWER, &world, &tenant, &upstream).await;
    // This vault cannot renew: tokens of two seconds end, and are bought anew.
    let from = Instant::now();
    while world.log().matches("logged in to the vault").count() < 3 {
        assert!(from.elapsed() < Duration::from_secs(60), "{}", world.log());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    vault.seal().await;
    until("sealed", &world, &tenant, "kept", |status| status != 200).await;
    vault.unseal().await;
    until_shown(NEWER, &world, &tenant, &upstream).await;
}

#[tokio::test]
async fn a_real_vaults_token_is_taken_as_it_is() {
    let Some(vault) = Rusty::start().await else { return };
    vault.put("kv/kept", json!({"api_key": KEY})).await;
    let folder = tempfile::tempdir().expect("a folder");
    let upstream = Upstream::start();
    let section = section(&vault.url, token_file(folder.path(), &vault.root));
    let world = house(&upstream, "kv/kept#api_key", section).await;
    let tenant = world.rich().await;
    world.chat(&tenant.key, &hello("kept")).await.expect(200);
    assert_eq!(shown(&upstream), format!("Bearer {KEY}"));
}

/// What `alfred config check` says: whether it is content, and its words.
fn checked(upstream: &Upstream, key: &str, section: Value) -> (bool, String) {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("alfred.yaml");
    let mut config = json!({"models": []});
    keep(&mut config, upstream, key, section);
    config["models"].as_array_mut().expect("models").truncate(1);
    if config["vault"].is_null() {
        config.as_object_mut().expect("members").remove("vault");
    }
    std::fs::write(&file, config.to_string()).expect("a file");
    let (code, out, err) = run_alfred(&["config", "check", "--config", file.to_str().expect("a path")]);
    (code == 0, out + &err)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_check_of_the_configuration_names_what_is_wrong_and_says_what_it_could_not_see() {
    let folder = tempfile::tempdir().expect("a folder");
    let (vault, upstream) = (Vault::start(), Upstream::start());
    vault.put("kv/kept", json!({"api_key": KEY, "number": 7}));
    vault.put("kv/gone", Value::Null);
    let good = section(&vault.url, token_file(folder.path(), "root-canary"));
    let check = |key: &str, section: Value, fine: bool, part: &str| {
        let (content, said) = checked(&upstream, key, section);
        assert!(content == fine && said.contains(part), "{key} {part}: {said}");
        assert!(!said.contains("canary"), "{said}");
    };
    check("kv/kept#api_key", good.clone(), true, "ok: 1 providers");
    check(
        "kv/nowhere#api_key",
        good.clone(),
        false,
        "providers[0].api_key: provider kept: the vault has nothing at kv/nowhere",
    );
    check("kv/gone#api_key", good.clone(), false, "the vault has nothing at kv/gone");
    check("kv/kept#key", good.clone(), false, "kv/kept has no field key that is a text");
    check("kv/kept#number", good.clone(), false, "kv/kept has no field number that is a text");
    check("secret/kept#api_key", good.clone(), false, "the vault denies us secret/kept");
    check("kv/kept", good.clone(), false, "mount/path#field is needed");
    check("kv/kept#api_key", Value::Null, false, "a section 'vault' with its address is needed");
    let with = |member: &str, value: Value| {
        let mut section = good.clone();
        section[member] = value;
        section
    };
    check(
        "kv/kept#api_key",
        with("address", json!("http://vault.example")),
        false,
        "vault.address: must be an https address",
    );
    check("kv/kept#api_key", with("max_stale_ms", json!(1)), false, "vault.max_stale_ms");
    check("kv/kept#api_key", with("kv_version", json!(3)), false, "must be 1, 2 or auto");
    check("kv/kept#api_key", with("colour", json!("red")), false, "vault.colour");
    check(
        "kv/kept#api_key",
        with("ca_file", json!("/nowhere.pem")),
        false,
        "vault.ca_file: /nowhere.pem cannot be read",
    );
    check(
        "kv/kept#api_key",
        with("auth", json!({"token": "hvs.canary"})),
        false,
        "a key must not stand in the configuration",
    );
    check("kv/kept#api_key", with("auth", by_token()), false, "vault.auth.token.env");
    check("kv/kept#api_key", with("auth", token_file(&folder.path().join("."), "wrong")), false, "denies us");
    let refused = json!({"approle": {"role_id": "other", "secret_id": {"file": folder.path().join("vault-token")}}});
    check("kv/kept#api_key", with("auth", refused), false, "the vault refuses our login (status 400)");
    let unread = json!({"kubernetes": {"role": "alfred", "jwt_file": "/nowhere/jwt"}});
    check("kv/kept#api_key", with("auth", unread), false, "/nowhere/jwt cannot be read");
    let again = with("auth", token_file(folder.path(), "root-canary"));
    for (mood, part) in [(Mood::Sealed, "status 503"), (Mood::Away, "cannot be reached")] {
        vault.state().mood = mood;
        check("kv/kept#api_key", again.clone(), true, "the key could not be checked");
        check("kv/kept#api_key", again.clone(), true, part);
    }
}

#[tokio::test]
async fn what_the_vault_holds_and_what_opens_it_is_found_nowhere() {
    let folder = tempfile::tempdir().expect("a folder");
    let (vault, upstream) = (Vault::start(), Upstream::start());
    vault.put("kv/kept", json!({"api_key": KEY, "beside": "beside-canary"}));
    let proof = folder.path().join("proof");
    std::fs::write(&proof, "proof-canary").expect("a file");
    let section = section(&vault.url, json!({"approle": {"role_id": "alfred", "secret_id": {"file": proof}}}));
    let mut world = Setup::new()
        .on_sqlite()
        .with(|config| {
            keep(config, &upstream, "kv/kept#api_key", section);
            config["log"] = json!({"format": "json", "filter": "trace"});
        })
        .start()
        .await;
    let tenant = world.rich().await;
    world.chat(&tenant.key, &hello("kept")).await.expect(200);
    upstream.next(Script::error(401, "invalid_api_key"));
    world.chat(&tenant.key, &hello("kept")).await;
    vault.state().tokens.clear();
    vault.put("kv/kept", json!({"api_key": NEWER}));
    until_shown(NEWER, &world, &tenant, &upstream).await;
    let metrics = world.http.send("GET", &format!("{}/metrics", world.url()), &[], "").await.expect("metrics").text();
    let providers = world.ask_admin("GET", "/providers", &[], &Value::Null).await.text();
    let log = world.stop().await;
    let mut places =
        vec![("log".to_owned(), log), ("metrics".to_owned(), metrics), ("providers".to_owned(), providers)];
    let data = world.folder().join("data");
    for file in std::fs::read_dir(&data).expect("a folder").flatten() {
        let bytes = std::fs::read(file.path()).expect("a file");
        places.push((file.path().display().to_string(), String::from_utf8_lossy(&bytes).into_owned()));
    }
    for (place, text) in places {
        for needle in [KEY, NEWER, "beside-canary", "proof-canary", "hvs.canary"] {
            assert!(!text.contains(needle), "{needle} is in {place}");
        }
    }
}
