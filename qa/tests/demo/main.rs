//! The first five minutes of a stranger.

use std::process::Command;

use qa::http::Http;
use qa::tools;
use qa::world::Process;
use serde_json::{Value, json};

struct Demo {
    process: Process,
    folder: tempfile::TempDir,
    http: Http,
}

impl Demo {
    async fn start() -> Demo {
        let folder = tempfile::tempdir().expect("a folder");
        let process = Demo::begin(folder.path()).await;
        Demo { process, folder, http: Http::new() }
    }

    async fn begin(folder: &std::path::Path) -> Process {
        let port = tools::free_port();
        let listen = format!("127.0.0.1:{port}");
        let data = folder.join("data");
        let environment = [("ALFRED_LISTEN", listen.as_str()), ("ALFRED_DATA_DIR", data.to_str().expect("UTF-8"))];
        let mut process = Process::spawn(&["serve", "--demo"], &environment, folder, &format!("http://{listen}"));
        process.ready().await;
        process
    }

    fn log(&self) -> String {
        self.process.log()
    }

    /// The first app key that was printed.
    fn key(&self) -> String {
        let log = self.log();
        let at = log.find("sk-alf-").unwrap_or_else(|| panic!("no app key in\n{log}"));
        log[at..].chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '-').collect()
    }

    async fn ask(&self, method: &str, path: &str, body: &Value) -> qa::http::Answer {
        let bearer = format!("Bearer {}", self.key());
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let headers = [("authorization", bearer.as_str()), ("content-type", "application/json")];
        self.http.send(method, &format!("{}{path}", self.process.url), &headers, body).await.expect("an answer")
    }
}

/// The commands that were printed: lines from `curl` on, with what a backslash joins to them.
fn curls(log: &str) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    let mut open = false;
    for line in log.lines() {
        let line = line.trim_end();
        if open {
            let last = found.last_mut().expect("a line before");
            last.push('\n');
            last.push_str(line);
        } else if line.trim_start().starts_with("curl ") {
            found.push(line.trim_start().to_owned());
        } else {
            continue;
        }
        open = line.ends_with('\\');
    }
    found
}

#[tokio::test]
async fn the_demo_prints_a_key_that_works_and_three_lines_to_try() {
    let demo = Demo::start().await;
    let models = demo.ask("GET", "/v1/models", &Value::Null).await.expect(200).json();
    let first = models["data"][0]["id"].as_str().expect("a model").to_owned();
    let body = json!({"model": first, "messages": [{"role": "user", "content": "Say hello"}]});
    let answer = demo.ask("POST", "/v1/chat/completions", &body).await.expect(200);
    assert!(!answer.said().is_empty());

    let log = demo.log();
    let lines = curls(&log);
    assert_eq!(lines.len(), 3, "{log}");
    for line in lines {
        let run = line.clone();
        let done = tokio::task::spawn_blocking(move || Command::new("sh").args(["-c", &run]).output()).await;
        let done = done.expect("it ends").expect("sh runs");
        let out = String::from_utf8_lossy(&done.stdout);
        assert!(done.status.success() && !out.is_empty(), "{line}\n{out}{}", String::from_utf8_lossy(&done.stderr));
        assert!(!out.contains("\"error\""), "{line}\n{out}");
    }
}

#[tokio::test]
async fn each_start_makes_a_fresh_key_and_keeps_the_house() {
    let mut demo = Demo::start().await;
    let first = demo.key();
    demo.process.ask_to_end();
    assert_eq!(demo.process.ended().await, Some(0), "{}", demo.log());
    demo.process = Demo::begin(demo.folder.path()).await;
    demo.http = Http::new();
    assert_ne!(demo.key(), first);
    assert_eq!(demo.ask("GET", "/v1/models", &Value::Null).await.status, 200);
    assert!(!demo.log().contains(&first));
}

#[tokio::test]
async fn failover_can_be_seen_in_the_demo() {
    let demo = Demo::start().await;
    let body = json!({"model": "demo-failover", "messages": [{"role": "user", "content": "Say hello"}]});
    let answer = demo.ask("POST", "/v1/chat/completions", &body).await.expect(200);
    assert_eq!(answer.must("x-alfred-model"), "sim/echo");
    assert_eq!(answer.must("x-alfred-attempts"), "2");
}

#[tokio::test]
async fn no_configuration_at_all_serves_and_says_what_to_add() {
    let folder = tempfile::tempdir().expect("a folder");
    let listen = format!("127.0.0.1:{}", tools::free_port());
    let mut process =
        Process::spawn(&["serve"], &[("ALFRED_LISTEN", &listen)], folder.path(), &format!("http://{listen}"));
    let http = Http::new();
    let from = std::time::Instant::now();
    while http.send("GET", &format!("http://{listen}/healthz"), &[], "").await.is_err() {
        assert!(from.elapsed().as_secs() < 60, "{}", process.log());
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    assert!(folder.path().join("data/alfred.db").exists());
    assert!(process.log().contains("providers"), "{}", process.log());
    process.ask_to_end();
    assert_eq!(process.ended().await, Some(0), "{}", process.log());
}
