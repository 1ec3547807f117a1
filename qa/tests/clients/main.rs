//! Clients and a model server that nobody here wrote: the official SDKs in front, llama.cpp behind.

mod batches;
mod llama;

use std::path::PathBuf;
use std::process::Command;

use qa::tools;
use qa::upstream::{Script, Step, anthropic, openai};
use qa::world::{Plan, Tenant, World};
use serde_json::{Value, json};

fn script(name: &str) -> PathBuf {
    tools::repository().join("qa/clients").join(name)
}

/// Runs a client to its end on a thread that may wait.
async fn run(mut command: Command, script_name: &str, arguments: &[&str]) {
    command.arg(script(script_name)).args(arguments).env_remove("PYTHONPATH");
    let said = tokio::task::spawn_blocking(move || tools::must_run(&mut command)).await.expect("the client is fine");
    assert!(said.contains("fine"), "{said}");
}

async fn python(name: &str, arguments: &[&str]) {
    run(tools::python(), name, arguments).await;
}

/// A framework that lives beside the SDKs, in an environment of its own.
async fn framework(name: &str, arguments: &[&str]) {
    run(Command::new(tools::cached("frameworks/bin/python")), name, arguments).await;
}

async fn node(arguments: &[&str]) {
    node_script("node/openai.mjs", arguments).await;
}

async fn node_script(name: &str, arguments: &[&str]) {
    let mut command = Command::new("node");
    command.env("ALFRED_NODE", tools::cached("node"));
    run(command, name, arguments).await;
}

fn v1(world: &World) -> String {
    format!("{}/v1", world.url())
}

/// The sim, our own provider in both dialects.
const TALKERS: [&str; 3] = ["sim/echo", "chat", "claude"];

#[tokio::test]
async fn the_openai_sdk_for_python_talks_and_streams() {
    let world = World::start().await;
    let tenant = world.rich().await;
    for model in TALKERS {
        python("python/openai_sync.py", &[&v1(&world), &tenant.key, model, "talk"]).await;
    }
    world.at_rest(&tenant.wallet, std::time::Duration::from_secs(10)).await;
    world.assert_balanced(&tenant).await;
}

#[tokio::test]
async fn the_async_openai_sdk_for_python_talks_to_many_at_once() {
    let world = World::start().await;
    let tenant = world.rich().await;
    for model in TALKERS {
        python("python/openai_async.py", &[&v1(&world), &tenant.key, model]).await;
    }
}

#[tokio::test]
async fn the_anthropic_sdk_for_python_talks_and_streams() {
    let world = World::start().await;
    let tenant = world.rich().await;
    for model in TALKERS {
        python("python/anthropic_sync.py", &[&world.url(), &tenant.key, model, "talk"]).await;
    }
}

#[tokio::test]
async fn the_openai_sdk_for_node_talks_and_streams() {
    let world = World::start().await;
    let tenant = world.rich().await;
    for model in TALKERS {
        node(&[&v1(&world), &tenant.key, model, "talk"]).await;
    }
}

/// A provider that calls a tool, answers after its result, and calls it again in a stream.
fn expect_tools(world: &World, model: &str) {
    if model == "claude" {
        let mut call = json!({"id": "msg_1", "type": "message", "role": "assistant", "model": "m", "stop_sequence": null,
            "content": [{"type": "text", "text": "Looking"}, {"type": "tool_use", "id": "toolu_1", "name": "weather", "input": {"city": "Paris"}}],
            "stop_reason": "tool_use", "usage": {"input_tokens": 10, "output_tokens": 5}});
        world.claude.next(Script::json(200, &call));
        world.claude.next(anthropic::message("Sunny", 10, 5));
        call["content"] = json!([]);
        call["stop_reason"] = Value::Null;
        let partial = |text: &str| json!({"type": "content_block_delta", "index": 0, "delta": {"type": "input_json_delta", "partial_json": text}});
        let events = [
            json!({"type": "message_start", "message": call}),
            json!({"type": "content_block_start", "index": 0, "content_block": {"type": "tool_use", "id": "toolu_2", "name": "weather", "input": {}}}),
            partial("{\"ci"),
            partial("ty\": \"Paris\"}"),
            json!({"type": "content_block_stop", "index": 0}),
            json!({"type": "message_delta", "delta": {"stop_reason": "tool_use", "stop_sequence": null}, "usage": {"output_tokens": 9}}),
            json!({"type": "message_stop"}),
        ];
        world.claude.next(Script::stream(events.iter().map(anthropic::event)));
        return;
    }
    let call = json!({"id": "call_1", "type": "function", "function": {"name": "weather", "arguments": "{\"city\": \"Paris\"}"}});
    let mut body = openai::body("", Some((10, 5)));
    body["choices"][0] = json!({"index": 0, "finish_reason": "tool_calls",
        "message": {"role": "assistant", "content": null, "tool_calls": [call]}});
    world.first.next(Script::json(200, &body));
    world.first.next(openai::chat("Sunny", 10, 5));
    let part = |call: Value| openai::event(&openai::delta(json!({"tool_calls": [call]}), None));
    world.first.next(
        Script::stream([
            part(json!({"index": 0, "id": "call_2", "type": "function", "function": {"name": "weather", "arguments": ""}})),
            part(json!({"index": 0, "function": {"arguments": "{\"ci"}})),
            part(json!({"index": 0, "function": {"arguments": "ty\": \"Paris\"}"}})),
            openai::event(&openai::delta(json!({}), Some("tool_calls"))),
        ])
        .and(Script::stream([openai::event(&json!({"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m",
            "choices": [], "usage": openai::usage((10, 9))}))]))
        .then(Step::Bytes("data: [DONE]\n\n".into())),
    );
}

#[tokio::test]
async fn tools_are_called_whole_and_streamed_by_every_sdk_and_dialect() {
    let world = World::start().await;
    let tenant = world.rich().await;
    for model in ["chat", "claude"] {
        expect_tools(&world, model);
        python("python/openai_sync.py", &[&v1(&world), &tenant.key, model, "tools"]).await;
        expect_tools(&world, model);
        python("python/anthropic_sync.py", &[&world.url(), &tenant.key, model, "tools"]).await;
        // The Node script takes no second turn.
        world.first.behave();
        world.claude.behave();
        expect_tools_without_second_turn(&world, model);
        node(&[&v1(&world), &tenant.key, model, "tools"]).await;
    }
}

fn expect_tools_without_second_turn(world: &World, model: &str) {
    let provider = if model == "claude" { &world.claude } else { &world.first };
    expect_tools(world, model);
    provider.drop_second();
}

/// A tenant, and keys that are limited, broke and bound to another model.
async fn troubled(world: &World) -> (Tenant, [String; 3]) {
    let tenant = world.rich().await;
    let limited = world.key(&tenant.wallet, json!({"rpm": 1})).await.1;
    let bound = world.key(&tenant.wallet, json!({"models": ["free"]})).await.1;
    let broke = world.tenant(Plan::new().hard("0.000000001")).await;
    (tenant, [limited, broke.key, bound])
}

/// How many calls of this kind of refusal the books know.
async fn refused(world: &World, code: &str) -> usize {
    let receipts = world.list("/requests").await;
    receipts.iter().filter(|r| r["status"] == "refused" && r.to_string().contains(code)).count()
}

#[tokio::test]
async fn the_sdks_raise_the_same_errors_as_with_openai_itself() {
    let world = World::start().await;
    let (tenant, [limited, broke, bound]) = troubled(&world).await;
    python("python/openai_sync.py", &[&v1(&world), &tenant.key, "chat", "errors", &limited, &broke, &bound]).await;
    assert_eq!(refused(&world, "budget_exceeded").await, 1, "x-should-retry: false is believed");
    let (tenant, [limited, broke, bound]) = troubled(&world).await;
    node(&[&v1(&world), &tenant.key, "chat", "errors", &limited, &broke, &bound]).await;
    assert_eq!(refused(&world, "budget_exceeded").await, 2);
    let (tenant, [limited, broke, _]) = troubled(&world).await;
    python("python/anthropic_sync.py", &[&world.url(), &tenant.key, "claude", "errors", &limited, &broke]).await;
    assert_eq!(refused(&world, "budget_exceeded").await, 3);
}

#[tokio::test]
async fn the_sdks_try_again_by_themselves_where_it_helps() {
    let world = World::start().await;
    let tenant = world.rich().await;
    world.first.next(Script::error(500, "server_error"));
    python("python/openai_sync.py", &[&v1(&world), &tenant.key, "chat", "retries"]).await;
    assert_eq!(world.first.count(), 2);
    world.first.next(Script::error(503, "overloaded"));
    node(&[&v1(&world), &tenant.key, "chat", "retries"]).await;
    assert_eq!(world.first.count(), 4);
    world.assert_balanced(&tenant).await;
}

#[tokio::test]
async fn what_is_sent_to_and_read_from_the_responses_api_is_of_the_openai_sdks_own_types() {
    let pairs = tools::repository().join("providers/src/responses/outbound/testdata");
    python("python/responses_types.py", &[pairs.to_str().expect("a path of ours")]).await;
}
