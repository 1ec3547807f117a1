//! `alfred providers check` and `bench`: the configured providers asked directly, without a server.

use std::path::{Path, PathBuf};

use qa::tools::run_alfred;
use qa::upstream::{PROVIDER_WORDS, Script, Upstream};
use serde_json::{Value, json};

const KEY: &str = "provider-key-canary-4711";

/// A configuration with one provider, `up`, of this kind.
fn configured(folder: &Path, kind: &str, base_url: &str, more: &Value) -> PathBuf {
    let key = folder.join("key");
    std::fs::write(&key, KEY).expect("a file");
    let mut config = json!({"providers": [{"id": "up", "kind": kind, "base_url": base_url, "api_key": {"file": key}}]});
    for (name, value) in more.as_object().into_iter().flatten() {
        config[name] = value.clone();
    }
    let file = folder.join("alfred.yaml");
    std::fs::write(&file, config.to_string()).expect("a file");
    file
}

/// Exit code and all that was said.
async fn providers(file: &Path, arguments: &[&str]) -> (i32, String) {
    let mut all: Vec<String> = vec!["providers".to_owned()];
    all.extend(arguments.iter().map(ToString::to_string));
    all.extend(["--config".to_owned(), file.display().to_string()]);
    let run = move || run_alfred(&all.iter().map(String::as_str).collect::<Vec<_>>());
    let (code, out, err) = tokio::task::spawn_blocking(run).await.expect("it runs");
    let said = out + &err;
    assert!(!said.contains(KEY) && !said.contains(PROVIDER_WORDS), "{said}");
    (code, said)
}

#[tokio::test]
async fn a_providers_own_list_is_compared_with_the_catalogue() {
    let (folder, upstream) = (tempfile::tempdir().expect("a folder"), Upstream::start());
    upstream.always(Script::json(
        200,
        &json!({"object": "list", "data": [
            {"id": "gpt-4o", "object": "model"}, {"id": "gpt-brand-new"}, {"id": "o3", "context_length": 123_456},
        ]}),
    ));
    let file = configured(folder.path(), "openai", &upstream.v1(), &json!({}));
    let (code, said) = providers(&file, &["check"]).await;
    assert_eq!(code, 0, "{said}");
    for part in [
        "up (openai): lists 3 models",
        "not known here: gpt-brand-new",
        "no longer listed there: gpt-4o-2024-11-20",
        "(--all)",
        "another context: o3 (200000 here, 123456 there)",
    ] {
        assert!(said.contains(part), "no {part} in\n{said}");
    }
    let (_, said) = providers(&file, &["check", "up", "--all"]).await;
    assert!(said.contains("gpt-3.5-turbo") && !said.contains("(--all)"), "{said}");
    let seen = upstream.seen();
    assert!(seen[0].path.ends_with("/v1/models") && seen[0].body.is_empty(), "{:?}", seen[0].path);
    assert_eq!(seen[0].headers["authorization"], format!("Bearer {KEY}").as_str());

    let claude = configured(folder.path(), "anthropic", &upstream.v1(), &json!({}));
    let (code, said) = providers(&claude, &["check"]).await;
    assert_eq!(code, 0, "{said}");
    let asked = upstream.seen().last().cloned().expect("a request");
    assert!(asked.path.ends_with("/v1/models"), "{}", asked.path);
    assert!(asked.headers.contains_key("anthropic-version") && asked.headers["x-api-key"] == KEY);
}

#[tokio::test]
async fn the_catalogue_that_is_built_in_knows_a_hundred_providers() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = configured(folder.path(), "openai", "http://127.0.0.1:9/v1", &json!({}));
    let (code, out, err) = run_alfred(&["config", "check", "--config", file.to_str().expect("UTF-8")]);
    assert_eq!(code, 0, "{out}{err}");
    let known = out.split("the catalogue knows ").nth(1).and_then(|rest| rest.split(' ').next()?.parse::<u32>().ok());
    assert!(known.is_some_and(|it| it >= 100), "{out}");
}

#[tokio::test]
async fn who_cannot_be_asked_is_named_with_the_reason() {
    let (folder, upstream) = (tempfile::tempdir().expect("a folder"), Upstream::start());
    let file = configured(folder.path(), "openai", &upstream.v1(), &json!({}));
    for (script, code, part) in [
        (Script::error(401, "invalid_api_key"), 1, "misconfigured, status 401"),
        (Script::error(500, "oops"), 1, "(server, status 500)"),
        (Script::bytes(200, "text/html", "<html>"), 1, "no list of models (broken"),
        (Script::error(404, "not_found"), 0, "has no list of models"),
        (Script::hangs_up(), 1, "(broken)"),
    ] {
        upstream.always(script);
        let (found, said) = providers(&file, &["check"]).await;
        assert!(found == code && said.contains(part), "{found}: no {part} in\n{said}");
    }
    let nowhere = configured(folder.path(), "openai", "http://127.0.0.1:9/v1", &json!({}));
    let (code, said) = providers(&nowhere, &["check"]).await;
    assert!(code == 1 && said.contains("(connect)"), "{code}: {said}");
    assert_eq!(providers(&nowhere, &["check", "absent"]).await.0, 2);
    assert_eq!(providers(&nowhere, &["bench", "absent"]).await.0, 2);
}

#[tokio::test]
async fn a_model_is_measured_and_its_figures_are_written_into_the_page() {
    let (folder, upstream) = (tempfile::tempdir().expect("a folder"), Upstream::start());
    let chunk =
        |rest: &str| format!("data: {{\"id\":\"x\",\"object\":\"chat.completion.chunk\",\"model\":\"m\",{rest}}}\n\n");
    upstream.always(Script::stream([
        chunk(r#""choices":[{"index":0,"delta":{"content":"one"},"finish_reason":null}]"#),
        chunk(r#""choices":[{"index":0,"delta":{"content":" two"},"finish_reason":"stop"}]"#),
        chunk(r#""choices":[],"usage":{"prompt_tokens":100,"completion_tokens":50,"total_tokens":150}"#),
        "data: [DONE]\n\n".to_owned(),
    ]));
    let prices = json!({"prices": {"up/m": {"input": "1.00", "output": "2.00"}}});
    let file = configured(folder.path(), "openai-compatible", &upstream.v1(), &prices);
    let page = folder.path().join("page.md");
    std::fs::write(&page, "# Page\n<!-- measured -->\n<!-- /measured -->\nThe end.\n").expect("a file");
    let written = page.display().to_string();
    let bench = ["bench", "up", "--model", "m", "--requests", "3", "--max-tokens", "16", "--write", &written];
    let (code, said) = providers(&file, &bench).await;
    assert_eq!(code, 0, "{said}");
    for part in ["up/m: 3 calls", "first token", "tokens per second", "300, 150", "$0.0002"] {
        assert!(said.contains(part), "no {part} in\n{said}");
    }
    assert!(!said.contains("two"), "an answer's text is nobody's business: {said}");
    let text = std::fs::read_to_string(&page).expect("the page");
    assert!(
        text.contains("| `openai-compatible/m` |") && text.contains("100 / 50") && text.ends_with("The end.\n"),
        "{text}"
    );
    let asked = upstream.seen();
    assert_eq!(asked.len(), 3);
    assert_eq!((&asked[0].json()["max_tokens"], &asked[0].json()["stream"]), (&json!(16), &json!(true)));

    upstream.always(Script::error(503, "busy"));
    let (code, said) = providers(&file, &bench).await;
    assert!(code == 1 && said.contains("call 1 to up/m failed"), "{code}: {said}");
    let (code, said) = providers(&file, &["bench", "up"]).await;
    assert!(code == 1 && said.contains("--model"), "{code}: {said}");
}
