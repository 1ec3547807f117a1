//! What a policy wants approved waits for somebody's yes: refused with an id, decided, let through as often as granted.

use std::time::Duration;

use futures_util::future::join_all;
use qa::check::{refused, usd};
use qa::http::Answer;
use qa::realtime::{Conversation, Provider};
use qa::upstream::Script;
use qa::world::{Plan, Setup, Tenant, World, hello, hello_stream};
use serde_json::{Value, json};

const HEADER: &str = "x-alfred-approval";

/// `steady` needs an approval, a stream of it two.
const GATE: &str = "package alfred.rules.gate\nimport rego.v1\n\
    approvals contains {\"name\": \"frontier\", \"reason\": \"big models need a yes\"} if input.request.model != \"chat\"\n\
    approvals contains {\"name\": \"streams\", \"reason\": \"streams do too\"} if {\n\
    \tinput.request.stream\n\tinput.request.model == \"steady\"\n}\n";

/// A world with that gate, as long as the folder is kept.
async fn gated(setup: Setup) -> (World, tempfile::TempDir) {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("gate.rego"), GATE).expect("a file");
    let world = setup.with(|config| config["policies"]["dir"] = json!(folder.path())).start().await;
    (world, folder)
}

async fn ask(world: &World, key: &str, shown: &str) -> Answer {
    world.call(key, "/v1/chat/completions", &[(HEADER, shown)], &hello("steady")).await
}

/// The id that a refusal tells.
#[track_caller]
fn told(answer: &Answer) -> String {
    let error = refused(answer, 403, "permission_error", "approval_required");
    let approval = error["approval"]["id"].as_str().unwrap_or_else(|| panic!("no id: {error}")).to_owned();
    assert_eq!(answer.must(HEADER), approval);
    assert!(error["message"].as_str().is_some_and(|it| it.contains(&approval)), "{error}");
    approval
}

#[track_caller]
fn why(answer: &Answer, word: &str) {
    let error = refused(answer, 403, "permission_error", "approval_required");
    assert!(error["message"].as_str().is_some_and(|it| it.contains(word)), "{word} in {error}");
}

async fn decide(world: &World, approval: &str, verdict: Value) -> Value {
    world.admin("POST", &format!("/approvals/{approval}/decide"), verdict).await
}

async fn approval(world: &World, approval: &str) -> Value {
    world.admin("GET", &format!("/approvals/{approval}"), Value::Null).await
}

async fn approvals(world: &World, tenant: &Tenant) -> Vec<Value> {
    world.list(&format!("/approvals?org_id={}", tenant.org)).await
}

/// An approval of this tenant, granted so.
async fn granted(world: &World, tenant: &Tenant, verdict: Value) -> String {
    let approval = told(&world.chat(&tenant.key, &hello("steady")).await);
    decide(world, &approval, verdict).await;
    approval
}

#[tokio::test]
async fn a_call_waits_for_an_approver_and_then_passes_once() {
    let (world, _rules) = gated(Setup::new()).await;
    let tenant = world.rich().await;
    assert_eq!(world.chat(&tenant.key, &hello("chat")).await.status, 200, "what needs none goes as ever");
    let first = world.chat(&tenant.key, &hello("steady")).await;
    let approval = told(&first);
    let error = refused(&first, 403, "permission_error", "approval_required");
    assert_eq!(error["approval"]["requirements"], json!([{"name": "frontier", "reason": "big models need a yes"}]));
    assert_eq!(told(&world.chat(&tenant.key, &hello("steady")).await), approval, "the same question, the same request");
    why(&ask(&world, &tenant.key, &approval).await, "is not decided yet");
    assert_eq!((world.first.count(), approvals(&world, &tenant).await.len()), (1, 1), "nothing left, one request");

    let made =
        world.admin("POST", "/operators", json!({"name": "Ada", "role": "approver", "org_id": tenant.org})).await;
    let bearer = format!("Bearer {}", made["key"].as_str().expect("a key"));
    let as_ada = |method: &'static str, path: String, body: Value| {
        let url = format!("{}/admin/v1{path}", world.url());
        let headers = [("authorization", bearer.clone()), ("content-type", "application/json".to_owned())];
        let http = &world.http;
        async move {
            let headers: Vec<(&str, &str)> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
            let body = if body.is_null() { String::new() } else { body.to_string() };
            http.send(method, &url, &headers, body).await.expect("an answer")
        }
    };
    let pending = as_ada("GET", "/approvals?state=pending".into(), Value::Null).await.expect(200).json();
    assert_eq!((&pending["data"][0]["id"], &pending["data"][0]["model"]), (&json!(approval), &json!("steady")));
    assert_eq!(as_ada("GET", "/keys".into(), Value::Null).await.status, 403, "an approver does nothing else");
    as_ada("POST", format!("/approvals/{approval}/decide"), json!({"decision": "approve"})).await.expect(200);

    let passed = ask(&world, &tenant.key, &approval).await.expect(200);
    assert_eq!(passed.must("x-alfred-model"), "first/test-chat");
    let again = ask(&world, &tenant.key, &approval).await;
    why(&again, "is used up");
    assert_ne!(told(&again), approval, "it is asked for anew");
    assert_eq!(world.first.count(), 2);
    let row = self::approval(&world, &approval).await;
    assert_eq!(row["grant"]["used"], 1);
    assert_eq!(row["grant"]["spent_usd"], passed.must("x-alfred-cost-usd"), "what it cost, not what was held");
    let kinds: Vec<Value> = world.audit(&tenant.org).await.into_iter().map(|it| it["kind"].clone()).collect();
    for kind in ["APPROVAL_REQUESTED", "APPROVAL_GRANTED", "APPROVAL_USED"] {
        assert!(kinds.contains(&json!(kind)), "{kind} in {kinds:?}");
    }
    world.assert_balanced(&tenant).await;
}

#[tokio::test]
async fn a_no_is_told_with_its_reason_and_asks_for_nothing_more() {
    let (world, _rules) = gated(Setup::new()).await;
    let tenant = world.rich().await;
    let approval = told(&world.chat(&tenant.key, &hello("steady")).await);
    decide(&world, &approval, json!({"decision": "deny", "reason": "use the small one"})).await;
    let answer = ask(&world, &tenant.key, &approval).await;
    why(&answer, "use the small one");
    assert_eq!(told(&answer), approval);
    assert_eq!(approvals(&world, &tenant).await.len(), 1);
    assert_ne!(told(&world.chat(&tenant.key, &hello("steady")).await), approval, "without the header it asks anew");
    assert_eq!(world.first.count(), 0);
}

#[tokio::test]
async fn a_grant_that_has_expired_admits_nothing() {
    let (world, _rules) = gated(Setup::new()).await;
    let tenant = world.rich().await;
    let approval = granted(&world, &tenant, json!({"decision": "approve", "uses": 1_000_000, "expires_in_s": 1})).await;
    for _ in 0..300 {
        let answer = ask(&world, &tenant.key, &approval).await;
        if answer.status != 200 {
            return why(&answer, "has expired");
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("it never ends");
}

#[tokio::test]
async fn a_budget_is_spent_by_what_its_calls_cost() {
    let (world, _rules) = gated(Setup::new()).await;
    let tenant = world.rich().await;
    let small = granted(&world, &tenant, json!({"decision": "approve", "budget_usd": "0.000000001"})).await;
    why(&ask(&world, &tenant.key, &small).await, "has 0.000000001 USD left");
    let large = granted(&world, &tenant, json!({"decision": "approve", "budget_usd": "1"})).await;
    let mut cost = 0;
    for _ in 0..3 {
        cost += qa::check::nanos(ask(&world, &tenant.key, &large).await.expect(200).must("x-alfred-cost-usd"));
    }
    let row = approval(&world, &large).await;
    assert!(cost > 0);
    assert_eq!((usd(&row["grant"], "spent_usd"), &row["grant"]["used"]), (cost, &json!(3)), "{row}");
    assert_eq!(row["uses"].as_array().map(Vec::len), Some(6), "three uses and what each came to");
}

#[tokio::test]
async fn a_use_whose_call_did_not_happen_is_given_back() {
    let (world, _rules) = gated(Setup::new()).await;
    let tenant = world.rich().await;
    let once = granted(&world, &tenant, json!({"decision": "approve"})).await;
    for upstream in [&world.first, &world.second] {
        upstream.next(Script::error(500, "down"));
    }
    let failed = ask(&world, &tenant.key, &once).await;
    assert!(failed.status >= 500, "{}", failed.text());
    let row = approval(&world, &once).await;
    assert_eq!((&row["grant"]["used"], &row["grant"]["spent_usd"]), (&json!(0), &json!("0")), "{row}");
    assert_eq!(ask(&world, &tenant.key, &once).await.status, 200, "so it is still there");
    assert_eq!(ask(&world, &tenant.key, &once).await.status, 403);
    let kinds: Vec<Value> = world.audit(&tenant.org).await.into_iter().map(|it| it["kind"].clone()).collect();
    assert_eq!(kinds.iter().filter(|kind| **kind == "APPROVAL_RETURNED").count(), 1, "{kinds:?}");
    // Where nothing is left in the wallet nothing is used either.
    let poor = world.tenant(Plan::new().hard("0.000001")).await;
    refused(&world.chat(&poor.key, &hello("steady")).await, 429, "insufficient_quota", "budget_exceeded");
    assert_eq!(approvals(&world, &poor).await.len(), 0);
}

#[tokio::test]
async fn several_requirements_take_as_many_approvals() {
    let (world, _rules) = gated(Setup::new()).await;
    let tenant = world.rich().await;
    let one = granted(&world, &tenant, json!({"decision": "approve", "uses": 2})).await;
    let stream = async |shown: &str| {
        world.call(&tenant.key, "/v1/chat/completions", &[(HEADER, shown)], &hello_stream("steady")).await
    };
    let half = stream(&one).await;
    let both = told(&half);
    let (shown, other) = both.split_once(',').expect("what is good already, and what is asked for");
    assert_eq!(shown, one);
    decide(&world, other, json!({"decision": "approve"})).await;
    assert_eq!(approval(&world, &one).await["grant"]["used"], 0, "half is not used");
    let passed = stream(&both).await.expect(200);
    assert!(passed.said().len() > 1);
    for id in [one.as_str(), other] {
        assert_eq!(approval(&world, id).await["grant"]["used"], 1);
    }
}

#[tokio::test]
async fn what_is_another_s_or_for_something_else_does_not_do() {
    let (world, _rules) = gated(Setup::new()).await;
    let (ours, theirs) = (world.rich().await, world.rich().await);
    let one = granted(&world, &ours, json!({"decision": "approve", "uses": 100})).await;
    why(&ask(&world, &theirs.key, &one).await, "is no approval that this key can use");
    let (_, second) = world.key(&ours.wallet, json!({})).await;
    why(&ask(&world, &second, &one).await, "was given to another key");
    let free = world.call(&ours.key, "/v1/chat/completions", &[(HEADER, &one)], &hello("free")).await;
    why(&free, "is for another model");
    let org =
        granted(&world, &ours, json!({"decision": "approve", "uses": 100, "scope": "org", "models": ["*"]})).await;
    assert_eq!(ask(&world, &second, &org).await.status, 200);
    assert_eq!(world.call(&second, "/v1/chat/completions", &[(HEADER, &org)], &hello("free")).await.status, 200);
    decide(&world, &org, json!({"decision": "deny", "reason": "enough"})).await;
    why(&ask(&world, &second, &org).await, "enough");
    for nonsense in ["please", "apr_1", &format!("{one};{one}"), "wal_00000000000000000000000000000001"] {
        let answer = ask(&world, &second, nonsense).await;
        why(&answer, "no id of an approval");
        assert!(!answer.text().contains("please"), "what a client says is not repeated");
    }
    let unasked = world.call(&ours.key, "/v1/chat/completions", &[(HEADER, "please")], &hello("chat")).await;
    assert_eq!(unasked.status, 200, "where none is needed none is looked at");
}

#[tokio::test]
async fn as_many_at_once_pass_as_were_granted() {
    let (world, _rules) = gated(Setup::new()).await;
    let tenant = world.rich().await;
    let five = granted(&world, &tenant, json!({"decision": "approve", "uses": 5})).await;
    let answers = join_all((0..30).map(|_| ask(&world, &tenant.key, &five))).await;
    assert_eq!(answers.iter().filter(|it| it.status == 200).count(), 5);
    answers.iter().filter(|it| it.status != 200).for_each(|it| why(it, "is used up"));
    assert_eq!(world.first.count(), 5);
    assert_eq!(approvals(&world, &tenant).await.len(), 2, "all that were late ask for the same");
    world.assert_balanced(&tenant).await;
}

#[tokio::test]
async fn two_processes_on_one_database_count_together() {
    let (world, _rules) = gated(Setup::new().on_postgres()).await;
    let second = world.begin("-second").await;
    let tenant = world.rich().await;
    let five = granted(&world, &tenant, json!({"decision": "approve", "uses": 5})).await;
    let bearer = format!("Bearer {}", tenant.key);
    let headers = [("authorization", bearer.as_str()), ("content-type", "application/json"), (HEADER, five.as_str())];
    let opens = async |url: &str| {
        let url = format!("{url}/v1/chat/completions");
        world.http.send("POST", &url, &headers, hello("steady").to_string()).await.expect("an answer")
    };
    // A key that was made elsewhere is known here within seconds.
    for _ in 0..100 {
        if opens(&second.url).await.status != 401 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let (here, there) = (world.url(), second.url.clone());
    let calls = (0..20).map(|n| opens(if n % 2 == 0 { here.as_str() } else { there.as_str() }));
    let answers = join_all(calls).await;
    assert!(answers.iter().all(|it| [200, 403].contains(&it.status)));
    assert_eq!((world.first.count(), &approval(&world, &five).await["grant"]["used"]), (5, &json!(5)));
}

#[tokio::test]
async fn an_answer_from_the_cache_needs_the_approval_too() {
    let setup = Setup::new().policy_data(json!({"cache": {"enabled": true, "ttl_seconds": 600}}));
    let (world, _rules) = gated(setup).await;
    let tenant = world.rich().await;
    let two = granted(&world, &tenant, json!({"decision": "approve", "uses": 2})).await;
    assert_eq!(ask(&world, &tenant.key, &two).await.expect(200).must("x-alfred-cache"), "miss");
    told(&world.chat(&tenant.key, &hello("steady")).await);
    assert_eq!(ask(&world, &tenant.key, &two).await.expect(200).must("x-alfred-cache"), "hit");
    why(&ask(&world, &tenant.key, &two).await, "is used up");
}

#[tokio::test]
async fn other_clients_are_refused_in_their_own_words() {
    let (world, _rules) = gated(Setup::new()).await;
    let tenant = world.rich().await;
    let body = json!({"model": "claude", "max_tokens": 50, "messages": [{"role": "user", "content": "Say hello"}]});
    let answer = world.call(&tenant.key, "/v1/messages", &[], &body).await;
    assert_eq!((answer.status, answer.json()["error"]["type"].as_str()), (403, Some("permission_error")));
    assert!(answer.must(HEADER).starts_with("apr_"));
}

#[tokio::test]
async fn a_batch_and_a_conversation_cannot_carry_an_approval_and_say_so() {
    let provider = Provider::start().await;
    let base_url = provider.v1();
    let setup = Setup::new().with(|config| {
        config["prices"]["first/test-chat"]["batch"] = json!("0.5");
        config["providers"] =
            json!([{"id": "talk", "kind": "openai", "base_url": base_url, "api_key": {"env": "FIRST_KEY"}}]);
        config["models"].as_array_mut().expect("models").push(json!({"id": "voice", "targets": ["talk/test-voice"]}));
        config["prices"]["talk/test-voice"] =
            json!({"input": "1", "output": "2", "audio_input": "1", "audio_output": "2"});
    });
    let (world, _rules) = gated(setup).await;
    let tenant = world.rich().await;
    let bearer = format!("Bearer {}", tenant.key);
    let line = json!({"custom_id": "a", "method": "POST", "url": "/v1/chat/completions", "body": hello("steady")});
    let form = format!(
        "--xyz\r\ncontent-disposition: form-data; name=\"purpose\"\r\n\r\nbatch\r\n--xyz\r\n\
         content-disposition: form-data; name=\"file\"; filename=\"a.jsonl\"\r\ncontent-type: application/jsonl\r\n\r\n{line}\r\n--xyz--\r\n"
    );
    let headers = [("authorization", bearer.as_str()), ("content-type", "multipart/form-data; boundary=xyz")];
    let answer =
        world.http.send("POST", &format!("{}/v1/files", world.url()), &headers, form).await.expect("an answer");
    why(&answer, "a line of a batch cannot carry one");
    let Err(no) = Conversation::open(&world.url(), "?model=voice", &[("authorization", &bearer)]).await else {
        panic!("it was upgraded")
    };
    let told = format!("{no:?}");
    assert!(told.contains("approval_required") && told.contains("a conversation cannot carry one"), "{told}");
    assert_eq!(approvals(&world, &tenant).await.len(), 0);
}
