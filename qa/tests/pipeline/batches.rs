//! Files and batches: what may leave is decided line by line, money is held when a batch is made and charged when it has ended.

use std::time::Duration;

use qa::check::{dollars, refused, usd};
use qa::http::Answer;
use qa::upstream::{PROVIDER_WORDS, Script, Upstream, openai};
use qa::world::{Plan, Setup, Tenant, World, hello};
use serde_json::{Value, json};

/// Two lines of 10 tokens in at 1 µ$ and 5 out at 2 µ$, at half the price.
const COST: i64 = 2 * (10 * 1_000 + 5 * 2_000) / 2;
const SOON: Duration = Duration::from_secs(20);

async fn world() -> World {
    let world = Setup::new().with(|config| config["prices"]["first/test-chat"]["batch"] = json!("0.5")).start().await;
    provider(&world.first);
    world
}

/// A provider that takes every file, and a batch that has only just begun.
fn provider(first: &Upstream) {
    let file = json!({"id": "file-theirs", "object": "file", "bytes": 9, "purpose": "batch", "status": "processed"});
    first.at("POST /v1/files", Script::json(200, &file));
    first.at("DELETE /v1/files/file-theirs", Script::json(200, &json!({"id": "file-theirs", "deleted": true})));
    first.at("POST /v1/batches", batch("validating", json!({})));
    first.at("GET /v1/batches/batch_theirs", batch("in_progress", json!({})));
}

fn batch(status: &str, more: Value) -> Script {
    let mut body = json!({"id": "batch_theirs", "object": "batch", "status": status, "in_progress_at": 1_700_000_000,
        "output_file_id": null, "error_file_id": null, "request_counts": {"total": 3, "completed": 0, "failed": 0}});
    for (name, value) in more.as_object().into_iter().flatten() {
        body[name] = value.clone();
    }
    Script::json(200, &body)
}

/// Two lines answered, one failed.
fn ends(first: &Upstream, status: &str) {
    let answered = |id: &str| json!({"custom_id": id, "response": {"status_code": 200, "body": openai::body("Hello", Some((10, 5)))}, "error": null});
    let output = format!("{}\n{}\n", answered("a"), answered("b"));
    let error = json!({"custom_id": "c", "response": {"status_code": 400, "body": {"error": {"message": PROVIDER_WORDS}}}, "error": null});
    first.at("GET /v1/files/file-output/content", Script::bytes(200, "application/octet-stream", output).split(7));
    first.at("GET /v1/files/file-errors/content", Script::bytes(200, "application/octet-stream", error.to_string()));
    let files = json!({"output_file_id": "file-output", "error_file_id": "file-errors",
        "request_counts": {"total": 3, "completed": 2, "failed": 1}});
    first.at("GET /v1/batches/batch_theirs", batch(status, files));
}

fn line(id: &str, body: Value) -> String {
    json!({"custom_id": id, "method": "POST", "url": "/v1/chat/completions", "body": body}).to_string()
}

fn three() -> String {
    ["a", "b", "c"].map(|id| line(id, hello("chat"))).join("\n")
}

async fn upload(world: &World, key: &str, purpose: &str, lines: &str) -> Answer {
    let bearer = format!("Bearer {key}");
    let headers = [("authorization", bearer.as_str()), ("content-type", "multipart/form-data; boundary=xyz")];
    let form = format!(
        "--xyz\r\ncontent-disposition: form-data; name=\"purpose\"\r\n\r\n{purpose}\r\n--xyz\r\n\
         content-disposition: form-data; name=\"file\"; filename=\"jane.jsonl\"\r\ncontent-type: application/jsonl\r\n\r\n{lines}\r\n--xyz--\r\n"
    );
    world.http.send("POST", &format!("{}/v1/files", world.url()), &headers, form).await.expect("an answer")
}

async fn ask(world: &World, key: &str, method: &str, path: &str) -> Answer {
    let bearer = format!("Bearer {key}");
    let headers = [("authorization", bearer.as_str())];
    world.http.send(method, &format!("{}/v1/{path}", world.url()), &headers, "").await.expect("an answer")
}

fn id(answer: &Answer) -> String {
    assert_eq!(answer.status, 200, "{}", answer.text());
    qa::world::id(&answer.json())
}

fn asked(file: &str) -> Value {
    json!({"input_file_id": file, "endpoint": "/v1/chat/completions", "completion_window": "24h", "metadata": {"job": "nightly"}})
}

async fn submit(world: &World, key: &str, file: &str, headers: &[(&str, &str)]) -> Answer {
    world.call(key, "/v1/batches", headers, &asked(file)).await
}

/// A batch of three lines on its way: its id and its call's.
async fn begun(world: &World, tenant: &Tenant) -> (String, String) {
    let file = id(&upload(world, &tenant.key, "batch", &three()).await);
    let answer = submit(world, &tenant.key, &file, &[]).await;
    (id(&answer), answer.must("x-request-id").to_owned())
}

/// Asks after a batch until it has this status.
async fn until(world: &World, key: &str, batch: &str, status: &str) -> Answer {
    let from = std::time::Instant::now();
    loop {
        let answer = ask(world, key, "GET", &format!("batches/{batch}")).await;
        if answer.json()["status"] == status {
            return answer;
        }
        assert!(from.elapsed() < SOON, "never {status}: {}\n{}", answer.text(), world.log());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

fn times(upstream: &Upstream, what: &str) -> usize {
    upstream.seen().iter().filter(|seen| format!("{} {}", seen.method, seen.path) == what).count()
}

#[tokio::test]
async fn a_line_that_may_not_leave_is_named_and_then_nothing_leaves() {
    let world = world().await;
    let tenant = world.rich().await;
    let key = &tenant.key;
    let good = line("a", hello("chat"));
    let mut streamed = hello("chat");
    streamed["stream"] = json!(true);
    for (second, status, code, words) in [
        ("{".to_owned(), 400, "invalid_json", "custom_id, method, url and body"),
        (line("b", json!({"model": "chat"})), 400, "missing_required_parameter", "messages"),
        (good.clone(), 400, "invalid_value", "custom_id"),
        (line("b", hello("nobody")), 400, "invalid_value", "same model"),
        (line("b", streamed), 400, "unsupported_by_target", "streamed"),
        (line("jane.doe@example.com", hello("chat")), 400, "content_policy_violation", "custom_id"),
        (line("b", hello("chat")).replace("chat/completions", "embeddings"), 400, "invalid_value", "same 'url'"),
    ] {
        let answer = upload(&world, key, "batch", &format!("{good}\n{second}")).await;
        let error = refused(&answer, status, "invalid_request_error", code);
        let message = error["message"].as_str().unwrap_or_default();
        assert!(message.starts_with("Line 2 of the file: ") && message.contains(words), "{message}");
    }
    for (lines, status, code) in [
        (line("a", hello("nobody")), 404, "model_not_found"),
        (line("a", hello("unpriced")), 422, "unpriced_model"),
        (line("a", hello("claude")), 400, "unsupported_by_target"),
        (line("a", hello("sim/echo")), 400, "unsupported_by_target"),
        (String::new(), 400, "invalid_value"),
    ] {
        refused(&upload(&world, key, "batch", &lines).await, status, "invalid_request_error", code);
    }
    let error =
        refused(&upload(&world, key, "fine-tune", &good).await, 400, "invalid_request_error", "unsupported_by_target");
    assert_eq!(error["param"], "purpose");
    assert_eq!(world.first.count(), 0, "nothing has left");
}

#[tokio::test]
async fn a_file_leaves_redacted_with_the_targets_model_and_caps() {
    let world = world().await;
    let tenant = world.rich().await;
    let mut body = hello("chat");
    body["messages"][0]["content"] = json!("Write to jane.doe@example.com at once");
    let mut open = hello("chat");
    open.as_object_mut().expect("an object").remove("max_tokens");
    let lines = format!("{}\r\n\n{}", line("a", body), line("b", open));
    let answer = upload(&world, &tenant.key, "batch", &lines).await;
    let file = answer.json();
    assert_eq!(
        (answer.status, &file["object"], &file["purpose"], &file["status"]),
        (200, &json!("file"), &json!("batch"), &json!("processed"))
    );
    assert!(file["id"].as_str().is_some_and(|it| it.starts_with("file-") && it != "file-theirs"), "{file}");
    assert!(!answer.text().contains("jane"), "nobody's names");
    let sent = world.first.last();
    assert_eq!((&*sent.method, &*sent.path), ("POST", "/v1/files"));
    let text = sent.text();
    assert!(!text.contains("jane") && text.contains("name=\"purpose\"\r\n\r\nbatch\r\n"), "{text}");
    let lines: Vec<Value> = text.lines().filter_map(|it| serde_json::from_str(it).ok()).collect();
    assert_eq!(lines.len(), 2, "{text}");
    assert_eq!((&lines[0]["custom_id"], &lines[0]["url"]), (&json!("a"), &json!("/v1/chat/completions")));
    for (line, cap) in lines.iter().zip([50, 4_096]) {
        assert_eq!((&line["body"]["model"], &line["body"]["max_tokens"]), (&json!("test-chat"), &json!(cap)), "{line}");
    }
    assert_eq!(usd(&world.wallet(&tenant.wallet).await, "held_usd"), 0, "a file costs nothing");
}

#[tokio::test]
async fn a_batch_is_held_for_whole_and_charged_what_its_lines_used_at_the_price_of_batches() {
    let world = world().await;
    let tenant = world.rich().await;
    let key = &tenant.key;
    let file = id(&upload(&world, key, "batch", &three()).await);
    let once = [("idempotency-key", "nightly-1")];
    let answer = submit(&world, key, &file, &once).await;
    let (batch_id, call) = (id(&answer), answer.must("x-request-id").to_owned());
    let told = answer.json();
    assert_eq!(
        (&told["object"], &told["status"], &told["input_file_id"]),
        (&json!("batch"), &json!("validating"), &json!(file))
    );
    assert_eq!((&told["metadata"], &told["request_counts"]["total"]), (&json!({"job": "nightly"}), &json!(3)));
    let sent = world.first.last().json();
    assert_eq!((&sent["input_file_id"], &sent["endpoint"]), (&json!("file-theirs"), &json!("/v1/chat/completions")));
    assert_eq!(sent["metadata"], json!({"alfred_call": call}), "the client's own words stay here");
    for wallet in &tenant.wallets {
        let held = usd(&world.wallet(wallet).await, "held_usd");
        // Each line: 50 tokens out at 2 µ$ and some input, at half the price.
        assert!((3 * 50_000..3 * 200_000).contains(&held), "{held}");
    }
    assert_eq!(world.receipt(&call).await["status"], "pending");

    // Said again it is the same batch; with another body it is a mistake.
    assert_eq!(id(&submit(&world, key, &file, &once).await), batch_id);
    let other = world
        .call(
            key,
            "/v1/batches",
            &once,
            &json!({"input_file_id": file, "endpoint": "/v1/chat/completions", "completion_window": "24h"}),
        )
        .await;
    refused(&other, 409, "invalid_request_error", "idempotency_mismatch");
    assert_eq!(times(&world.first, "POST /v1/batches"), 1);

    assert_eq!(until(&world, key, &batch_id, "in_progress").await.json()["in_progress_at"], 1_700_000_000);
    ends(&world.first, "completed");
    let answer = until(&world, key, &batch_id, "completed").await;
    assert_eq!(answer.must("x-alfred-cost-usd"), dollars(COST));
    let told = answer.json();
    assert_eq!(told["request_counts"], json!({"total": 3, "completed": 2, "failed": 1}));
    for wallet in &tenant.wallets {
        let wallet = world.wallet(wallet).await;
        assert_eq!((usd(&wallet, "held_usd"), usd(&wallet, "spent_usd")), (0, COST));
    }
    world.assert_balanced(&tenant).await;
    let receipt = world.receipt(&call).await;
    assert_eq!(
        (&receipt["status"], &receipt["kind"], &receipt["target"]),
        (&json!("settled"), &json!("batches"), &json!("first/test-chat")),
        "{receipt}"
    );
    assert_eq!((&receipt["input_tokens"], &receipt["output_tokens"]), (&json!(20), &json!(10)), "{receipt}");
    assert_eq!((usd(&receipt, "price_usd"), usd(&receipt, "cost_usd")), (COST, COST));
    assert_eq!(receipt["batch"], json!({"id": batch_id, "lines": 3, "done": 2, "failed": 1, "estimated": 0}));

    // What came of it is read through us, under our ids.
    for (member, words) in [("output_file_id", "Hello"), ("error_file_id", "\"c\"")] {
        let file = told[member].as_str().expect("a file").to_owned();
        let content = ask(&world, key, "GET", &format!("files/{file}/content")).await.expect(200);
        assert!(content.text().contains(words), "{}", content.text());
        assert_eq!(ask(&world, key, "GET", &format!("files/{file}")).await.json()["purpose"], "batch_output");
    }
    let files = ask(&world, key, "GET", "files?limit=2").await.json();
    assert_eq!((files["data"].as_array().map(Vec::len), &files["has_more"]), (Some(2), &json!(true)));
    let inputs = ask(&world, key, "GET", "files?purpose=batch").await.json();
    assert_eq!((&inputs["data"][0]["id"], &inputs["has_more"]), (&json!(file), &json!(false)));
    let all = ask(&world, key, "GET", "batches").await.json();
    assert_eq!((&all["data"][0]["id"], &all["has_more"]), (&json!(batch_id), &json!(false)));
    assert_eq!(ask(&world, key, "DELETE", &format!("files/{file}")).await.json()["deleted"], true);
    assert_eq!(ask(&world, key, "GET", &format!("files/{file}")).await.status, 404);
    assert!(!format!("{all}{files}{told}").contains("theirs"), "no id of the provider's");
}

#[tokio::test]
async fn a_batch_that_does_not_fit_is_refused_and_its_provider_hears_nothing() {
    let world = world().await;
    let tenant = world.tenant(Plan::new().hard(dollars(3 * 50_000))).await;
    let file = id(&upload(&world, &tenant.key, "batch", &three()).await);
    let error = refused(&submit(&world, &tenant.key, &file, &[]).await, 429, "insufficient_quota", "budget_exceeded");
    assert!(error["message"].as_str().is_some_and(|it| it.contains(&tenant.wallet)), "{error}");
    assert_eq!(times(&world.first, "POST /v1/batches"), 0);
    assert_eq!(world.entries(&tenant.wallet).await.len(), 0);
    for (body, param) in [
        (json!({"input_file_id": file, "endpoint": "/v1/embeddings", "completion_window": "24h"}), "endpoint"),
        (
            json!({"input_file_id": file, "endpoint": "/v1/chat/completions", "completion_window": "1h"}),
            "completion_window",
        ),
        (json!({"endpoint": "/v1/chat/completions", "completion_window": "24h"}), "input_file_id"),
    ] {
        let answer = world.call(&tenant.key, "/v1/batches", &[], &body).await;
        assert_eq!(refused(&answer, 400, "invalid_request_error", "invalid_value")["param"], param);
    }
}

#[tokio::test]
async fn a_cancelled_batch_is_charged_what_was_answered_until_then() {
    let world = world().await;
    let tenant = world.rich().await;
    let (batch_id, _) = begun(&world, &tenant).await;
    world.first.at("POST /v1/batches/batch_theirs/cancel", batch("cancelling", json!({"cancelling_at": 5})));
    let answer = world.call(&tenant.key, &format!("/v1/batches/{batch_id}/cancel"), &[], &json!({})).await.expect(200);
    assert_eq!((&answer.json()["status"], &answer.json()["cancelling_at"]), (&json!("cancelling"), &json!(5)));
    ends(&world.first, "cancelled");
    until(&world, &tenant.key, &batch_id, "cancelled").await;
    let wallet = world.wallet(&tenant.wallet).await;
    assert_eq!((usd(&wallet, "held_usd"), usd(&wallet, "spent_usd")), (0, COST));
    let again = world.call(&tenant.key, &format!("/v1/batches/{batch_id}/cancel"), &[], &json!({})).await;
    refused(&again, 400, "invalid_request_error", "invalid_value");
}

#[tokio::test]
async fn an_answer_that_cannot_be_read_is_read_later_and_what_nobody_counted_is_counted_here() {
    let world = world().await;
    let tenant = world.rich().await;
    let (batch_id, call) = begun(&world, &tenant).await;
    ends(&world.first, "completed");
    world.first.at("GET /v1/files/file-output/content", Script::error(500, "server_error"));
    let told = ask(&world, &tenant.key, "GET", &format!("batches/{batch_id}")).await.json();
    assert_eq!(
        (&told["status"], &told["output_file_id"]),
        (&json!("validating"), &json!(null)),
        "not before it is settled"
    );
    assert!(usd(&world.wallet(&tenant.wallet).await, "held_usd") > 0);
    let silent = json!({"custom_id": "a", "error": null,
        "response": {"status_code": 200, "body": openai::body("one two three four five", None)}});
    world.first.at("GET /v1/files/file-output/content", Script::bytes(200, "text/plain", silent.to_string()));
    until(&world, &tenant.key, &batch_id, "completed").await;
    let receipt = world.receipt(&call).await;
    assert_eq!((&receipt["tokens_estimated"], &receipt["batch"]["estimated"]), (&json!(true), &json!(1)), "{receipt}");
    let (tokens_in, tokens_out) =
        (receipt["input_tokens"].as_i64().unwrap_or(0), receipt["output_tokens"].as_i64().unwrap_or(0));
    assert!(tokens_in > 0 && tokens_out >= 5, "{receipt}");
    assert_eq!(usd(&receipt, "price_usd"), (tokens_in * 1_000 + tokens_out * 2_000) / 2);
}

#[tokio::test]
async fn a_failed_batch_costs_nothing_and_tells_no_word_of_its_provider() {
    let world = world().await;
    let tenant = world.rich().await;
    let (batch_id, call) = begun(&world, &tenant).await;
    let errors = json!({"errors": {"data": [{"code": "invalid_json_line", "line": 2, "message": PROVIDER_WORDS}]}});
    world.first.at("GET /v1/batches/batch_theirs", batch("failed", errors));
    let told = until(&world, &tenant.key, &batch_id, "failed").await;
    assert_eq!(told.json()["errors"]["data"][0]["code"], "invalid_json_line");
    assert!(!told.text().contains(PROVIDER_WORDS));
    let wallet = world.wallet(&tenant.wallet).await;
    assert_eq!((usd(&wallet, "held_usd"), usd(&wallet, "spent_usd")), (0, 0));
    assert_eq!(world.receipt(&call).await["status"], "released");

    // Refused at once, it was never begun.
    let file = id(&upload(&world, &tenant.key, "batch", &three()).await);
    world.first.at("POST /v1/batches", Script::error(400, "invalid_request"));
    let answer = submit(&world, &tenant.key, &file, &[]).await;
    refused(&answer, 400, "invalid_request_error", "provider_rejected");
    assert!(!answer.text().contains(PROVIDER_WORDS));
    assert_eq!(usd(&world.wallet(&tenant.wallet).await, "held_usd"), 0);
}

#[tokio::test]
async fn what_is_one_wallets_is_nobody_elses() {
    let world = world().await;
    let (tenant, stranger) = (world.rich().await, world.rich().await);
    let file = id(&upload(&world, &tenant.key, "batch", &three()).await);
    let batch_id = id(&submit(&world, &tenant.key, &file, &[]).await);
    let (_, colleague) = world.key(&tenant.wallets[0], json!({})).await;
    for key in [&stranger.key, &colleague] {
        for (method, path) in [
            ("GET", format!("files/{file}")),
            ("GET", format!("files/{file}/content")),
            ("DELETE", format!("files/{file}")),
            ("GET", format!("batches/{batch_id}")),
            ("POST", format!("batches/{batch_id}/cancel")),
            ("GET", "files/file-theirs".to_owned()),
            ("GET", "batches/batch_theirs".to_owned()),
        ] {
            refused(&ask(&world, key, method, &path).await, 404, "invalid_request_error", "not_found");
        }
        refused(&submit(&world, key, &file, &[]).await, 404, "invalid_request_error", "not_found");
        for list in ["files", "batches"] {
            assert_eq!(ask(&world, key, "GET", list).await.json()["data"], json!([]));
        }
    }
    // A key beside it on the same wallet may read, but what was checked for one key goes out for that one.
    let (_, sibling) = world.key(&tenant.wallet, json!({})).await;
    ask(&world, &sibling, "GET", &format!("batches/{batch_id}")).await.expect(200);
    refused(&submit(&world, &sibling, &file, &[]).await, 403, "permission_error", "policy_denied");
    refused(&ask(&world, "sk-alf-nobody", "GET", "files").await, 401, "invalid_request_error", "invalid_api_key");
}

#[tokio::test]
async fn a_batch_outlives_the_gateway_that_made_it() {
    let mut world = world().await;
    let tenant = world.rich().await;
    let (batch_id, call) = begun(&world, &tenant).await;
    world.kill();
    ends(&world.first, "completed");
    world.restart().await;
    // Nobody asks: the poller does.
    let receipt = world.receipt_when(&call, |it| it["status"] == "settled").await;
    assert_eq!(usd(&receipt, "price_usd"), COST);
    let told = until(&world, &tenant.key, &batch_id, "completed").await.json();
    assert!(told["output_file_id"].is_string(), "{told}");
    let wallet = world.wallet(&tenant.wallet).await;
    assert_eq!((usd(&wallet, "held_usd"), usd(&wallet, "spent_usd")), (0, COST));
}

#[tokio::test]
async fn a_batch_that_nobody_answered_for_is_found_by_its_mark_or_given_up() {
    let world = world().await;
    let tenant = world.rich().await;
    let file = id(&upload(&world, &tenant.key, "batch", &three()).await);
    world.first.at("POST /v1/batches", Script::hangs_up());
    world.first.at("GET /v1/batches", Script::json(200, &json!({"data": [], "has_more": false})));
    let lost = submit(&world, &tenant.key, &file, &[]).await;
    assert_eq!(lost.status, 502, "{}", lost.text());
    assert!(usd(&world.wallet(&tenant.wallet).await, "held_usd") > 0, "it may run there");
    let found = submit(&world, &tenant.key, &file, &[]).await;
    let mark = found.must("x-request-id").to_owned();
    let theirs = json!({"id": "batch_theirs", "status": "in_progress", "metadata": {"alfred_call": mark},
        "request_counts": {"total": 3, "completed": 0, "failed": 0}});
    world.first.at("GET /v1/batches", Script::json(200, &json!({"data": [theirs], "has_more": false})));
    let list = || async { ask(&world, &tenant.key, "GET", "batches").await.json()["data"].clone() };
    let from = std::time::Instant::now();
    loop {
        let data = list().await;
        if data[0]["status"] == "in_progress" && data[1]["status"] == "failed" {
            break;
        }
        assert!(from.elapsed() < SOON * 2, "{data}");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    world.receipt_when(lost.must("x-request-id"), |it| it["status"] == "released").await;
    assert_eq!(world.receipt(&mark).await["status"], "pending");
}
