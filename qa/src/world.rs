//! A house under test: the real `alfred` process with a database, a configuration and scripted providers of its own.
//! Everything is told and asked over HTTP, as an operator and an app would.

use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::http::{Answer, Broken, Flow, Http};
use crate::postgres;
use crate::tools;
use crate::upstream::Upstream;

/// The admin key of every world. Never to be found in a log or a database file.
pub const ADMIN_KEY: &str = "operators-canary-key-0123456789abcdef";
/// The provider keys of every world, by provider.
pub const PROVIDER_KEYS: [(&str, &str); 3] = [
    ("FIRST_KEY", "first-provider-canary-key"),
    ("SECOND_KEY", "second-provider-canary-key"),
    ("CLAUDE_KEY", "claude-provider-canary-key"),
];

/// How a world is to be.
pub struct Setup {
    config: Value,
    place: Place,
    by: &'static [&'static str],
}

/// Where the books are kept.
enum Place {
    Sqlite,
    Postgres,
    Given(String),
}

impl Default for Setup {
    fn default() -> Self {
        Setup::new()
    }
}

impl Setup {
    /// SQLite, or Postgres where `QA_DATABASE=postgres`; providers `first`, `second` (OpenAI's dialect), `claude` (Anthropic's) and `sim`.
    ///
    /// A token costs 1 µ$ on the way in and 2 µ$ on the way out, at every scripted model but `first/free` and
    /// `first/unpriced`; `chat` has one target, `steady` two.
    pub fn new() -> Setup {
        // These providers stop computing when they are let go.
        let price = json!({"input": "1.00", "output": "2.00", "bills_after_cancel": false});
        let config = json!({
            // What a script does with one request is what a caller sees; tests of retries ask for them.
            "retries": {"attempts": 1},
            "models": [
                {"id": "chat", "targets": ["first/test-chat"]},
                {"id": "steady", "targets": ["first/test-chat", "second/test-chat"]},
                {"id": "claude", "targets": ["claude/test-claude"]},
                {"id": "mixed", "targets": ["claude/test-claude", "second/test-chat"]},
                {"id": "free", "targets": ["first/free"]},
                {"id": "counted", "targets": ["first/counted"]},
                {"id": "unpriced", "targets": ["first/unpriced"]},
            ],
            "prices": {
                "first/test-chat": price, "second/test-chat": price, "claude/test-claude": price,
                "first/free": {"input": "0", "output": "0", "bills_after_cancel": false},
                "first/counted": {"input": "0", "output": "10.00", "bills_after_cancel": false},
            },
        });
        let place = match std::env::var("QA_DATABASE").as_deref() {
            Ok("postgres") => Place::Postgres,
            _ => Place::Sqlite,
        };
        Setup { config, place, by: &[] }
    }

    /// Started by another program, which gets `alfred` and its arguments as its last arguments.
    pub fn started_by(mut self, program: &'static [&'static str]) -> Setup {
        self.by = program;
        self
    }

    /// On SQLite, whatever the suite runs on.
    pub fn on_sqlite(mut self) -> Setup {
        self.place = Place::Sqlite;
        self
    }

    /// On Postgres, in a database of its own.
    pub fn on_postgres(mut self) -> Setup {
        self.place = Place::Postgres;
        self
    }

    /// On the database of this URL.
    pub fn on(mut self, url: String) -> Setup {
        self.place = Place::Given(url);
        self
    }

    /// With the configuration changed.
    pub fn with(mut self, change: impl FnOnce(&mut Value)) -> Setup {
        change(&mut self.config);
        self
    }

    /// With data for the policies, under `data.alfred`.
    pub fn policy_data(self, data: Value) -> Setup {
        self.with(|config| config["policies"]["data"] = data)
    }

    /// Starts it and waits until it can take a call.
    pub async fn start(self) -> World {
        let folder = Arc::new(tempfile::Builder::new().prefix("alfred-world-").tempdir().expect("a folder"));
        let [first, second, claude] = [Upstream::start(), Upstream::start(), Upstream::start()];
        let database = match self.place {
            Place::Postgres => tokio::task::spawn_blocking(|| postgres::server().database()).await.expect("a database"),
            Place::Sqlite => format!("sqlite://{}/data/alfred.db", folder.path().display()),
            Place::Given(url) => url,
        };
        let mut config = self.config;
        config["database"] = json!({"url": database});
        let providers = json!([
            {"id": "first", "kind": "openai", "base_url": first.v1(), "api_key": {"env": "FIRST_KEY"}, "region": "us"},
            {"id": "second", "kind": "openai", "base_url": second.v1(), "api_key": {"env": "SECOND_KEY"}, "region": "eu"},
            {"id": "claude", "kind": "anthropic", "base_url": claude.v1(), "api_key": {"env": "CLAUDE_KEY"}},
            {"id": "sim", "kind": "sim"},
        ]);
        let more = config["providers"].take();
        let mut all = providers.as_array().cloned().unwrap_or_default();
        all.extend(more.as_array().cloned().unwrap_or_default());
        config["providers"] = Value::Array(all);

        let mut world =
            World { folder, config, by: self.by, database, first, second, claude, alfred: None, http: Http::new() };
        world.alfred = Some(world.begin("").await);
        world
    }
}

/// A running house. Ends when dropped.
pub struct World {
    folder: Arc<tempfile::TempDir>,
    config: Value,
    by: &'static [&'static str],
    /// The URL of the database.
    pub database: String,
    /// The provider of `first/…`.
    pub first: Upstream,
    /// The provider of `second/…`.
    pub second: Upstream,
    /// The provider of `claude/…`.
    pub claude: Upstream,
    alfred: Option<Process>,
    /// The client of this world's calls.
    pub http: Http,
}

/// One `alfred serve`.
pub struct Process {
    child: Child,
    /// Where it listens, without a path.
    pub url: String,
    log: Arc<Mutex<String>>,
    readers: Vec<std::thread::JoinHandle<()>>,
}

impl Process {
    /// Starts `alfred` with these arguments and this environment, and reads all it says.
    pub fn spawn(arguments: &[&str], environment: &[(&str, &str)], folder: &Path, url: &str) -> Process {
        Process::spawn_by(&[], arguments, environment, folder, url)
    }

    /// The same, started by another program.
    fn spawn_by(by: &[&str], arguments: &[&str], environment: &[(&str, &str)], folder: &Path, url: &str) -> Process {
        let mut command = tools::alfred_command_by(by, arguments);
        command.envs(environment.iter().copied()).current_dir(folder);
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("alfred starts");
        let log = Arc::new(Mutex::new(String::new()));
        let out: Box<dyn Read + Send> = Box::new(child.stdout.take().expect("a pipe"));
        let err: Box<dyn Read + Send> = Box::new(child.stderr.take().expect("a pipe"));
        let readers = [out, err].into_iter().map(|pipe| {
            let log = log.clone();
            std::thread::spawn(move || {
                for line in BufReader::new(pipe).lines().map_while(Result::ok) {
                    let mut log = log.lock().unwrap_or_else(PoisonError::into_inner);
                    log.push_str(&line);
                    log.push('\n');
                }
            })
        });
        let readers = readers.collect();
        Process { child, url: url.to_owned(), log, readers }
    }

    /// All that it has said so far.
    pub fn log(&self) -> String {
        self.log.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits until it can account for and forward a request.
    pub async fn ready(&mut self) {
        let http = Http::new();
        let from = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().expect("a child") {
                self.finish_reading();
                panic!("alfred ended with {status} before it was ready:\n{}", self.log());
            }
            match http.send("GET", &format!("{}/readyz", self.url), &[], "").await {
                Ok(answer) if answer.status == 200 => return,
                other if from.elapsed() > Duration::from_secs(60) => {
                    panic!("alfred is not ready after a minute ({other:?}):\n{}", self.log())
                }
                _ => tokio::time::sleep(Duration::from_millis(20)).await,
            }
        }
    }

    /// Asks it to end (SIGTERM), without waiting.
    pub fn ask_to_end(&self) {
        let _ = Command::new("kill").args(["-TERM", &self.pid().to_string()]).status();
    }

    /// Waits for its end; the exit code.
    pub async fn ended(&mut self) -> Option<i32> {
        let from = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().expect("a child") {
                self.finish_reading();
                return status.code();
            }
            assert!(from.elapsed() < Duration::from_secs(60), "alfred does not end:\n{}", self.log());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Ends it at once (SIGKILL).
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        self.finish_reading();
    }

    fn finish_reading(&mut self) {
        for reader in self.readers.drain(..) {
            let _ = reader.join();
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
        // Shown by the test runner where the test has failed.
        if std::thread::panicking() {
            eprintln!("--- what alfred said ---\n{}", self.log());
        }
    }
}

impl World {
    /// A world with nothing special about it.
    pub async fn start() -> World {
        Setup::new().start().await
    }

    /// Changes the configuration that the next process starts with.
    pub fn change(&mut self, change: impl FnOnce(&mut Value)) {
        change(&mut self.config);
    }

    /// Starts another process on the same configuration and database.
    pub async fn begin(&self, name: &str) -> Process {
        let mut process = self.launch(name, &[]);
        process.ready().await;
        process
    }

    /// Starts another process with more in its environment, without waiting for it.
    pub fn launch(&self, name: &str, more: &[(&str, &str)]) -> Process {
        let port = tools::free_port();
        let mut config = self.config.clone();
        config["listen"] = json!(format!("127.0.0.1:{port}"));
        let path = self.folder.path().join(format!("alfred{name}.yaml"));
        // JSON is YAML.
        std::fs::write(&path, config.to_string()).expect("a file");
        let mut environment = vec![("ALFRED_BOOTSTRAP_ADMIN_KEY", ADMIN_KEY)];
        environment.extend(PROVIDER_KEYS);
        environment.extend_from_slice(more);
        let arguments = ["serve", "--config", path.to_str().expect("a UTF-8 path")];
        let url = format!("http://127.0.0.1:{port}");
        Process::spawn_by(self.by, &arguments, &environment, self.folder.path(), &url)
    }

    /// The gateway's process.
    pub fn alfred(&mut self) -> &mut Process {
        self.alfred.as_mut().expect("alfred runs")
    }

    /// The gateway's process id.
    pub fn pid(&self) -> u32 {
        self.alfred.as_ref().expect("alfred runs").pid()
    }

    /// Where the gateway listens.
    pub fn url(&self) -> String {
        self.alfred.as_ref().expect("alfred runs").url.clone()
    }

    /// All that the gateway has said.
    pub fn log(&self) -> String {
        self.alfred.as_ref().expect("alfred runs").log()
    }

    /// `kill -9`; all that it has said.
    pub fn kill(&mut self) -> String {
        let mut process = self.alfred.take().expect("alfred runs");
        process.kill();
        process.log()
    }

    /// Ends the gateway in peace; all that it has said.
    pub async fn stop(&mut self) -> String {
        let mut process = self.alfred.take().expect("alfred runs");
        process.ask_to_end();
        assert_eq!(process.ended().await, Some(0), "an orderly end:\n{}", process.log());
        process.log()
    }

    /// Starts the gateway again after [`World::kill`] or [`World::stop`].
    pub async fn restart(&mut self) {
        self.restart_with(&[]).await;
    }

    /// The same, with more in its environment.
    pub async fn restart_with(&mut self, more: &[(&str, &str)]) {
        self.http = Http::new();
        let mut process = self.launch("", more);
        process.ready().await;
        self.alfred = Some(process);
    }

    /// Waits until the gateway has ended by itself; all that it has said.
    pub async fn gone(&mut self) -> String {
        let mut process = self.alfred.take().expect("alfred runs");
        process.ended().await;
        process.log()
    }

    /// The folder of this world.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The database file, where the database is one.
    pub fn database_file(&self) -> PathBuf {
        PathBuf::from(self.database.strip_prefix("sqlite://").expect("a world on SQLite"))
    }

    /// Asks the admin API.
    pub async fn ask_admin(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &Value) -> Answer {
        let bearer = format!("Bearer {ADMIN_KEY}");
        let mut all = vec![("authorization", bearer.as_str()), ("content-type", "application/json")];
        all.extend_from_slice(headers);
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let url = format!("{}/admin/v1{path}", self.url());
        self.http.send(method, &url, &all, body).await.expect("the admin API answers")
    }

    /// Asks the admin API for something that must succeed.
    pub async fn admin(&self, method: &str, path: &str, body: Value) -> Value {
        let answer = self.ask_admin(method, path, &[], &body).await;
        assert!((200..300).contains(&answer.status), "{method} {path}: {} {}", answer.status, answer.text());
        if answer.body.is_empty() { Value::Null } else { answer.json() }
    }

    /// All items of a list, page after page.
    pub async fn list(&self, path: &str) -> Vec<Value> {
        let (mut items, mut cursor) = (Vec::new(), String::new());
        loop {
            let joint = if path.contains('?') { '&' } else { '?' };
            let page = self.admin("GET", &format!("{path}{joint}limit=1000{cursor}"), Value::Null).await;
            items.extend(page["data"].as_array().unwrap_or_else(|| panic!("no data in {page}")).iter().cloned());
            match page["next_cursor"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => return items,
            }
        }
    }

    /// A wallet as the admin API tells it.
    pub async fn wallet(&self, id: &str) -> Value {
        self.admin("GET", &format!("/wallets/{id}"), Value::Null).await
    }

    /// A wallet's journal.
    pub async fn entries(&self, id: &str) -> Vec<Value> {
        self.list(&format!("/wallets/{id}/entries")).await
    }

    /// The receipt of a call.
    pub async fn receipt(&self, call: &str) -> Value {
        self.admin("GET", &format!("/requests/{call}"), Value::Null).await
    }

    /// An organisation's audit log.
    pub async fn audit(&self, org: &str) -> Vec<Value> {
        self.list(&format!("/audit?org_id={org}")).await
    }

    /// An organisation's audit export as a file; its path and text.
    pub async fn export(&self, org: &str) -> (PathBuf, String) {
        let path = format!("/audit/export?org_id={org}&format=jsonl");
        let answer = self.ask_admin("GET", &path, &[], &Value::Null).await.expect(200);
        static EXPORTS: AtomicU64 = AtomicU64::new(0);
        let file = self.folder().join(format!("export-{}.jsonl", EXPORTS.fetch_add(1, Ordering::SeqCst)));
        std::fs::write(&file, &answer.body).expect("a file");
        (file, answer.text())
    }

    /// Makes an organisation with a chain of wallets and a key.
    pub async fn tenant(&self, plan: Plan) -> Tenant {
        let org = id(&self.admin("POST", "/orgs", json!({"name": "Acme"})).await);
        let team = id(&self.admin("POST", "/teams", json!({"org_id": org, "name": "Search"})).await);
        let mut wallets: Vec<String> = Vec::new();
        let kinds = ["org", "team", "project", "key"];
        for (depth, kind) in kinds.into_iter().take(plan.levels).enumerate() {
            let leaf = depth + 1 == plan.levels;
            let mut body =
                json!({"org_id": org, "name": format!("{kind} wallet"), "kind": kind, "window": plan.window});
            if let Some(parent) = wallets.last() {
                body["parent_id"] = json!(parent);
            }
            if kind == "team" {
                body["team_id"] = json!(team);
            }
            let limits = if leaf { (&plan.hard, &plan.soft) } else { (&plan.root_hard, &None) };
            if let (Some(hard), true) = (limits.0, leaf || depth == 0) {
                body["hard_limit_usd"] = json!(hard);
            }
            if let Some(soft) = limits.1 {
                body["soft_limit_usd"] = json!(soft);
            }
            wallets.push(id(&self.admin("POST", "/wallets", body).await));
        }
        let wallet = wallets.last().cloned().expect("at least one wallet");
        let mut tenant = Tenant { org, team, wallets, wallet, key_id: String::new(), key: String::new() };
        (tenant.key_id, tenant.key) = self.key(&tenant.wallet, plan.key).await;
        tenant
    }

    /// Makes a key on a wallet: its id and the key itself.
    pub async fn key(&self, wallet: &str, more: Value) -> (String, String) {
        let mut body = json!({"name": "app", "wallet_id": wallet});
        for (name, value) in more.as_object().into_iter().flatten() {
            body[name] = value.clone();
        }
        let made = self.admin("POST", "/keys", body).await;
        (id(&made), made["key"].as_str().unwrap_or_else(|| panic!("no key in {made}")).to_owned())
    }

    /// A tenant with money enough.
    pub async fn rich(&self) -> Tenant {
        self.tenant(Plan::new().hard("1000")).await
    }

    /// Any request with a key, answered whole.
    pub async fn call(&self, key: &str, path: &str, headers: &[(&str, &str)], body: &Value) -> Answer {
        self.try_call(key, path, headers, body)
            .await
            .unwrap_or_else(|e| panic!("no whole answer: {e:?}\n{}", self.log()))
    }

    /// Any request with a key, which may find nobody there.
    pub async fn try_call(
        &self,
        key: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &Value,
    ) -> Result<Answer, Broken> {
        self.open(key, path, headers, body).await?.whole().await
    }

    /// Any request with a key; the answer as it comes.
    pub async fn open(&self, key: &str, path: &str, headers: &[(&str, &str)], body: &Value) -> Result<Flow, Broken> {
        let bearer = format!("Bearer {key}");
        let mut all = vec![("authorization", bearer.as_str()), ("content-type", "application/json")];
        all.extend_from_slice(headers);
        self.http.open("POST", &format!("{}{path}", self.url()), &all, body.to_string()).await
    }

    /// A chat completion, answered whole.
    pub async fn chat(&self, key: &str, body: &Value) -> Answer {
        self.call(key, "/v1/chat/completions", &[], body).await
    }

    /// A chat completion as it comes.
    pub async fn stream(&self, key: &str, body: &Value) -> Flow {
        self.open(key, "/v1/chat/completions", &[], body).await.expect("an answer")
    }

    /// Waits until `so` holds of a receipt; fails after ten seconds with the last one.
    pub async fn receipt_when(&self, call: &str, so: impl Fn(&Value) -> bool) -> Value {
        let from = Instant::now();
        loop {
            let answer = self.ask_admin("GET", &format!("/requests/{call}"), &[], &Value::Null).await;
            if answer.status == 200 && so(&answer.json()) {
                return answer.json();
            }
            assert!(from.elapsed() < Duration::from_secs(10), "never so: {} {}", answer.status, answer.text());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Waits until nothing is held in a wallet; the wallet.
    pub async fn at_rest(&self, wallet: &str, patience: Duration) -> Value {
        let from = Instant::now();
        loop {
            let wallet = self.wallet(wallet).await;
            if crate::check::usd(&wallet, "held_usd") == 0 {
                return wallet;
            }
            assert!(from.elapsed() < patience, "still held: {wallet}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Checks that each wallet of a chain is the sum of its journal.
    pub async fn assert_balanced(&self, tenant: &Tenant) {
        for id in &tenant.wallets {
            // The journal may grow between the two readings; then both are read again.
            let mut tries = 0;
            let (wallet, entries) = loop {
                let before = self.wallet(id).await;
                let entries = self.entries(id).await;
                if self.wallet(id).await == before || tries > 20 {
                    break (before, entries);
                }
                tries += 1;
            };
            crate::check::balanced(&wallet, &entries);
        }
    }
}

/// The id in an answer.
#[track_caller]
pub fn id(made: &Value) -> String {
    made["id"].as_str().unwrap_or_else(|| panic!("no id in {made}")).to_owned()
}

/// A short chat body for a model.
pub fn hello(model: &str) -> Value {
    json!({"model": model, "messages": [{"role": "user", "content": "Say hello"}], "max_tokens": 50})
}

/// The same, streamed, with usage.
pub fn hello_stream(model: &str) -> Value {
    let mut body = hello(model);
    body["stream"] = json!(true);
    body["stream_options"] = json!({"include_usage": true});
    body
}

/// What a tenant is to have.
pub struct Plan {
    levels: usize,
    hard: Option<String>,
    soft: Option<String>,
    root_hard: Option<String>,
    window: &'static str,
    key: Value,
}

impl Default for Plan {
    fn default() -> Self {
        Plan::new()
    }
}

impl Plan {
    /// An organisation's wallet without limit, and a team's wallet under it that the key uses.
    pub fn new() -> Plan {
        Plan { levels: 2, hard: None, soft: None, root_hard: None, window: "none", key: json!({}) }
    }

    /// One to four levels: org, team, project, key.
    pub fn levels(mut self, levels: usize) -> Plan {
        self.levels = levels;
        self
    }

    /// The hard limit of the key's own wallet.
    pub fn hard(mut self, usd: impl Into<String>) -> Plan {
        self.hard = Some(usd.into());
        self
    }

    /// The soft limit of the key's own wallet.
    pub fn soft(mut self, usd: impl Into<String>) -> Plan {
        self.soft = Some(usd.into());
        self
    }

    /// The hard limit of the organisation's wallet.
    pub fn root_hard(mut self, usd: impl Into<String>) -> Plan {
        self.root_hard = Some(usd.into());
        self
    }

    /// The window of all wallets.
    pub fn window(mut self, window: &'static str) -> Plan {
        self.window = window;
        self
    }

    /// More members of the key: `models`, `rpm`, `tpm`, `max_parallel_requests`, `priority`, `expires_at`.
    pub fn key(mut self, members: Value) -> Plan {
        self.key = members;
        self
    }
}

/// An organisation with its wallets, root first, and a key on the last.
#[derive(Debug, Clone)]
pub struct Tenant {
    /// The organisation.
    pub org: String,
    /// Its team.
    pub team: String,
    /// The chain, root first.
    pub wallets: Vec<String>,
    /// The key's own wallet.
    pub wallet: String,
    /// The key's id.
    pub key_id: String,
    /// The key as an app holds it.
    pub key: String,
}
