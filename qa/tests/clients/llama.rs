//! A real llama.cpp server with a tiny model of random weights: what it says is noise, but it is somebody else's
//! protocol, tokens and errors. It sends no usage in streams, so Alfred has to count.

use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use qa::check::usd;
use qa::http::Http;
use qa::tools;
use qa::world::{Setup, World};
use serde_json::{Value, json};

/// The server's own key; Alfred reads it from a file.
const KEY: &str = "llama-server-key";

struct Llama {
    child: Child,
    port: u16,
}

impl Drop for Llama {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Llama {
    async fn start() -> Llama {
        let port = tools::free_port();
        let mut command = tools::python();
        command.args(["-m", "llama_cpp.server", "--host", "127.0.0.1", "--n_ctx", "512", "--model_alias", "tiny"]);
        // Else a new request cuts the running ones off.
        command.args(["--interrupt_requests", "false"]);
        command.args(["--port", &port.to_string(), "--api_key", KEY, "--model"]).arg(tools::cached("tiny.gguf"));
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).env_remove("PYTHONPATH");
        let llama = Llama { child: command.spawn().expect("python starts"), port };
        let from = Instant::now();
        while llama.ask(&json!({})).await.is_none() {
            assert!(from.elapsed() < Duration::from_secs(120), "the llama.cpp server does not start");
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        llama
    }

    fn v1(&self) -> String {
        format!("http://127.0.0.1:{}/v1", self.port)
    }

    /// Asks it directly.
    async fn ask(&self, body: &Value) -> Option<qa::http::Answer> {
        let bearer = format!("Bearer {KEY}");
        let headers = [("authorization", bearer.as_str()), ("content-type", "application/json")];
        Http::new().send("POST", &format!("{}/chat/completions", self.v1()), &headers, body.to_string()).await.ok()
    }

    /// A world with this server as provider `llama`, and as `locked` with a wrong key.
    async fn world(&self) -> World {
        let folder = tempfile::tempdir().expect("a folder").keep();
        let file = |name: &str, key: &str| {
            let path = folder.join(name);
            std::fs::write(&path, format!("{key}\n")).expect("a file");
            json!({"file": path})
        };
        let provider = |id: &str, key: &str| json!({"id": id, "kind": "openai-compatible", "base_url": self.v1(), "api_key": file(id, key)});
        let providers = json!([provider("llama", KEY), provider("locked", "wrong")]);
        let setup = Setup::new().with(|config| {
            config["providers"] = providers;
            let models = config["models"].as_array_mut().expect("models");
            models.push(json!({"id": "tiny", "targets": ["llama/tiny"]}));
            models.push(json!({"id": "locked", "targets": ["locked/tiny"]}));
            for name in ["llama/tiny", "locked/tiny"] {
                config["prices"][name] = json!({"input": "1.00", "output": "2.00"});
            }
        });
        let world = setup.start().await;
        let _ = std::fs::remove_dir_all(&folder);
        world
    }
}

fn question(text: &str) -> Value {
    json!({"model": "tiny", "messages": [{"role": "user", "content": text}], "max_tokens": 16, "temperature": 0, "seed": 1})
}

#[tokio::test]
async fn a_real_server_that_nobody_here_wrote_answers_through_alfred_as_it_does_alone() {
    let llama = Llama::start().await;
    let world = llama.world().await;
    let tenant = world.rich().await;

    let alone = llama.ask(&question("Say hello")).await.expect("an answer").expect(200);
    let answer = world.chat(&tenant.key, &question("Say hello")).await.expect(200);
    assert_eq!(answer.said(), alone.said(), "the same model, the same answer");
    assert_eq!(answer.json()["usage"], alone.json()["usage"]);
    let receipt = world.receipt(answer.must("x-request-id")).await;
    assert_eq!(receipt["output_tokens"], alone.json()["usage"]["completion_tokens"]);
    assert_ne!(receipt["tokens_estimated"], json!(true));

    // No usage in its streams: counted here, and said so.
    let mut body = question("Say hello");
    body["stream"] = json!(true);
    body["stream_options"] = json!({"include_usage": true});
    let stream = world.chat(&tenant.key, &body).await.expect(200);
    assert_eq!(stream.said(), alone.said());
    assert_eq!(stream.events().last().map(String::as_str), Some("[DONE]"));
    let receipt = world.receipt(stream.must("x-request-id")).await;
    assert_eq!(receipt["tokens_estimated"], json!(true), "{receipt}");
    assert!(receipt["output_tokens"].as_u64().is_some_and(|n| n > 0) && usd(&receipt, "price_usd") > 0, "{receipt}");

    // Too long for its context: its 400, in our words.
    let long = world.chat(&tenant.key, &question(&"word ".repeat(2_000))).await;
    assert_eq!(long.status, 400, "{}", long.text());
    assert!(long.json()["error"]["code"].is_string(), "{}", long.text());

    // A wrong key is the operator's fault.
    let mut locked = question("Say hello");
    locked["model"] = json!("locked");
    assert_eq!(world.chat(&tenant.key, &locked).await.status, 502);
    world.assert_balanced(&tenant).await;

    let v1 = format!("{}/v1", world.url());
    super::python("python/openai_sync.py", &[&v1, &tenant.key, "tiny", "talk"]).await;
    super::python("python/openai_async.py", &[&v1, &tenant.key, "tiny"]).await;
    super::python("python/anthropic_sync.py", &[&world.url(), &tenant.key, "tiny", "talk"]).await;
    super::node(&[&v1, &tenant.key, "tiny", "talk"]).await;
    super::python("python/google_genai.py", &[&world.url(), &tenant.key, "tiny", "noise"]).await;
    super::python("python/openai_responses.py", &[&v1, &tenant.key, "tiny", "noise"]).await;
    for script in ["langchain_chat", "llama_index_chat", "litellm_chat"] {
        super::framework(&format!("python/{script}.py"), &[&v1, &tenant.key, "tiny", "noise"]).await;
    }
    super::node_script("node/vercel.mjs", &[&v1, &tenant.key, "tiny", "noise"]).await;
    super::node_script("node/anthropic.mjs", &[&world.url(), &tenant.key, "tiny", "noise"]).await;
}

#[tokio::test]
async fn a_real_server_lists_its_models_and_is_measured() {
    let llama = Llama::start().await;
    let folder = tempfile::tempdir().expect("a folder");
    let (key, file) = (folder.path().join("key"), folder.path().join("alfred.yaml"));
    std::fs::write(&key, KEY).expect("a file");
    let provider = json!({"id": "llama", "kind": "llamacpp", "base_url": llama.v1(), "api_key": {"file": key}});
    let config = json!({"providers": [provider], "prices": {"llama/tiny": {"input": "1.00", "output": "2.00"}}});
    std::fs::write(&file, config.to_string()).expect("a file");
    let run = async |arguments: &[&str]| {
        let all: Vec<String> = arguments.iter().chain(&["--config"]).map(ToString::to_string).collect();
        let file = file.display().to_string();
        let run = move || {
            let all: Vec<&str> = all.iter().map(String::as_str).chain([&*file]).collect();
            tools::run_alfred(&all)
        };
        let (code, out, err) = tokio::task::spawn_blocking(run).await.expect("it runs");
        assert!(code == 0 && !out.contains(KEY), "{code}: {out}{err}");
        out
    };
    let said = run(&["providers", "check"]).await;
    assert!(said.contains("lists 1 model") && said.contains("not known here: tiny"), "{said}");
    // It sends no usage in streams: its tokens are counted here, and that is said.
    let said = run(&["providers", "bench", "llama", "--model", "tiny", "--requests", "2", "--max-tokens", "8"]).await;
    assert!(said.contains("llama/tiny: 2 calls") && said.contains("counted here") && said.contains('$'), "{said}");
}
