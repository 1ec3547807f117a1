//! Vaults to keep keys in: a scripted one that follows Vault's published HTTP API (KV in both versions, tokens, AppRole and
//! Kubernetes logins, renewal, namespaces, sealed and failing), and a real one, RustyVault, for what that can.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::http::Http;
use crate::tools;

/// How the scripted vault is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mood {
    Well,
    /// 503 to everything.
    Sealed,
    /// 500 to everything.
    Failing,
    /// Connections are taken and dropped.
    Away,
}

/// What the scripted vault knows, and what it was asked.
pub struct State {
    /// Entries by mount and path: `kv/…` with a history, `plain/…` without.
    pub entries: BTreeMap<String, Value>,
    pub mood: Mood,
    /// Only requests in this namespace are served.
    pub namespace: Option<String>,
    /// Tokens that are good.
    pub tokens: Vec<String>,
    /// What logins and renewals give, in seconds.
    pub lease: u64,
    pub renewable: bool,
    /// What a login must show: AppRole's secret id, Kubernetes' token.
    pub proof: String,
    /// Method and path of each request.
    pub asked: Vec<String>,
    logins: usize,
}

/// A scripted vault.
pub struct Vault {
    /// Where it listens.
    pub url: String,
    state: Arc<Mutex<State>>,
}

impl Default for Vault {
    fn default() -> Self {
        Vault::start()
    }
}

impl Vault {
    /// Starts one that knows the token `root-canary` and holds nothing.
    pub fn start() -> Vault {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let state = State {
            entries: BTreeMap::new(),
            mood: Mood::Well,
            namespace: None,
            tokens: vec!["root-canary".to_owned()],
            lease: 3_600,
            renewable: true,
            proof: "proof-canary".to_owned(),
            asked: Vec::new(),
            logins: 0,
        };
        let state = Arc::new(Mutex::new(state));
        let shared = Arc::clone(&state);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let shared = Arc::clone(&shared);
                std::thread::spawn(move || serve(stream, &shared));
            }
        });
        Vault { url, state }
    }

    /// What it knows now.
    pub fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps an entry.
    pub fn put(&self, entry: &str, fields: Value) {
        self.state().entries.insert(entry.to_owned(), fields);
    }

    /// How often it was asked for this path.
    pub fn times(&self, asked: &str) -> usize {
        self.state().asked.iter().filter(|it| *it == asked).count()
    }
}

fn serve(mut stream: TcpStream, state: &Mutex<State>) {
    let (mut heard, mut buffer) = (Vec::new(), [0; 8_192]);
    let (head, body) = loop {
        let text = String::from_utf8_lossy(&heard).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = |line: &str| line.to_ascii_lowercase().strip_prefix("content-length: ")?.trim().parse().ok();
            let wanted: usize = head.lines().find_map(length).unwrap_or(0);
            if body.len() >= wanted {
                break (head.to_owned(), body.to_owned());
            }
        }
        match stream.read(&mut buffer) {
            Ok(read) if read > 0 => heard.extend_from_slice(&buffer[..read]),
            _ => return,
        }
    };
    let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
    if state.mood == Mood::Away {
        return;
    }
    let (status, answer) = state.answer(&head, &serde_json::from_str(&body).unwrap_or(Value::Null));
    let text = if answer.is_null() { String::new() } else { answer.to_string() };
    let length = text.len();
    let _ = write!(
        stream,
        "HTTP/1.1 {status} Vault\r\ncontent-type: application/json\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{text}"
    );
}

fn errors(words: &[&str]) -> Value {
    json!({"errors": words})
}

impl State {
    fn answer(&mut self, head: &str, body: &Value) -> (u16, Value) {
        let mut line = head.lines().next().unwrap_or_default().split(' ');
        let (method, path) = (line.next().unwrap_or_default(), line.next().unwrap_or_default());
        let Some(path) = path.strip_prefix("/v1/") else { return (404, errors(&[])) };
        self.asked.push(format!("{method} {path}"));
        let header = |name: &str| {
            let named = |line: &str| {
                let (it, value) = line.split_once(": ")?;
                it.eq_ignore_ascii_case(name).then(|| value.trim().to_owned())
            };
            head.lines().find_map(named)
        };
        match self.mood {
            Mood::Sealed => return (503, errors(&["Vault is sealed"])),
            Mood::Failing => return (500, errors(&["internal error"])),
            Mood::Well | Mood::Away => {}
        }
        if self.namespace.is_some() && header("x-vault-namespace") != self.namespace {
            return (404, errors(&["no handler for route"]));
        }
        match (method, path) {
            ("POST", "auth/approle/login") => {
                let good = body["role_id"] == "alfred" && body["secret_id"] == self.proof.as_str();
                return if good { self.login() } else { (400, errors(&["invalid role or secret ID"])) };
            }
            ("POST", "auth/kubernetes/login") => {
                let good = body["role"] == "alfred" && body["jwt"] == self.proof.as_str();
                return if good { self.login() } else { (403, errors(&["permission denied"])) };
            }
            _ => {}
        }
        let token = header("x-vault-token").unwrap_or_default();
        if !self.tokens.contains(&token) {
            return (403, errors(&["permission denied"]));
        }
        match (method, path) {
            ("GET", "auth/token/lookup-self") => {
                let data =
                    json!({"ttl": self.lease, "renewable": self.renewable, "policies": ["default"], "type": "service"});
                (200, wrapped(&data))
            }
            ("POST", "auth/token/renew-self") if self.renewable => (200, self.auth(&token)),
            ("POST", "auth/token/renew-self") => (400, errors(&["lease is not renewable"])),
            ("GET", _) => self.read(path),
            _ => (405, errors(&["unsupported operation"])),
        }
    }

    fn read(&self, path: &str) -> (u16, Value) {
        if let Some(entry) = path.strip_prefix("sys/internal/ui/mounts/") {
            let mount = entry.split('/').next().unwrap_or_default();
            return match mount {
                "kv" => (200, wrapped(&json!({"path": "kv/", "type": "kv", "options": {"version": "2"}}))),
                "plain" => (200, wrapped(&json!({"path": "plain/", "type": "kv", "options": null}))),
                _ => (403, errors(&["preflight capability check returned 403"])),
            };
        }
        if let Some(entry) = path.strip_prefix("kv/data/") {
            return match self.entries.get(&format!("kv/{entry}")) {
                None => (404, errors(&[])),
                // A deleted version: its data is gone, its metadata are there.
                Some(Value::Null) => (404, wrapped(&json!({"data": null, "metadata": {"version": 2}}))),
                Some(fields) => {
                    (200, wrapped(&json!({"data": fields, "metadata": {"version": 1, "destroyed": false}})))
                }
            };
        }
        match self.entries.get(path).filter(|_| path.starts_with("plain/")) {
            Some(fields) => (200, wrapped(fields)),
            None => (404, errors(&[])),
        }
    }

    fn login(&mut self) -> (u16, Value) {
        self.logins += 1;
        let token = format!("hvs.canary-{}", self.logins);
        self.tokens.push(token.clone());
        (200, self.auth(&token))
    }

    fn auth(&self, token: &str) -> Value {
        let auth = json!({
            "client_token": token, "accessor": "a", "policies": ["default"], "token_policies": ["default"],
            "metadata": null, "lease_duration": self.lease, "renewable": self.renewable, "entity_id": "",
            "token_type": "service", "orphan": true,
        });
        let mut answer = wrapped(&Value::Null);
        answer["auth"] = auth;
        answer
    }
}

fn wrapped(data: &Value) -> Value {
    json!({
        "request_id": "r", "lease_id": "", "renewable": false, "lease_duration": 0, "data": data, "wrap_info": null,
        "warnings": null, "auth": null,
    })
}

/// RustyVault, unsealed, with a KV of version 1 at `kv` and AppRole. Ends when dropped.
pub struct Rusty {
    child: Child,
    /// Where it listens.
    pub url: String,
    /// May everything.
    pub root: String,
    unseal_key: String,
    http: Http,
    _folder: tempfile::TempDir,
}

impl Rusty {
    /// Starts it; none where it is not installed and need not be.
    pub async fn start() -> Option<Rusty> {
        let program = Rusty::program()?;
        let folder = tempfile::tempdir().expect("a folder");
        let port = tools::free_port();
        let config = format!(
            "storage \"file\" {{\n  path = \"{0}/data\"\n}}\nlistener \"tcp\" {{\n  address = \"127.0.0.1:{port}\"\n  \
             tls_disable = \"true\"\n}}\napi_addr = \"http://127.0.0.1:{port}\"\ndaemon = false\n",
            folder.path().display()
        );
        let file = folder.path().join("vault.hcl");
        std::fs::write(&file, config).expect("a file");
        let mut command = Command::new(program);
        command.args(["server", "--config"]).arg(&file).current_dir(folder.path()).stdin(Stdio::null());
        let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("rvault starts");
        let (url, root, unseal_key) = (format!("http://127.0.0.1:{port}"), String::new(), String::new());
        let mut vault = Rusty { child, url, root, unseal_key, http: Http::new(), _folder: folder };
        let from = Instant::now();
        while vault.http.send("GET", &format!("{}/v1/sys/seal-status", vault.url), &[], "").await.is_err() {
            assert!(from.elapsed() < Duration::from_secs(60), "rvault does not listen");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        let made = vault.ask("PUT", "sys/init", json!({"secret_shares": 1, "secret_threshold": 1})).await;
        vault.root = made["root_token"].as_str().expect("a root token").to_owned();
        vault.unseal_key = made["keys"][0].as_str().expect("a key").to_owned();
        vault.unseal().await;
        vault.ask("POST", "sys/mounts/kv", json!({"type": "kv"})).await;
        vault.ask("POST", "sys/auth/approle", json!({"type": "approle"})).await;
        Some(vault)
    }

    fn program() -> Option<PathBuf> {
        let cache = std::env::var_os("QA_CACHE").map(PathBuf::from);
        let cache = cache.or_else(|| Some(Path::new(&std::env::var_os("HOME")?).join(".cache/alfred")))?;
        let program = cache.join("rusty_vault-0.2.1/bin/rvault");
        if program.is_file() {
            return Some(program);
        }
        let must = std::env::var_os("CI").is_some();
        assert!(!must, "{} is missing: run qa/setup/install.sh", program.display());
        eprintln!("SKIPPED: {} is missing; qa/setup/install.sh brings it", program.display());
        None
    }

    /// A role's id and secret; its tokens live so many seconds.
    pub async fn role(&self, seconds: u64) -> (String, String) {
        let role = json!({"token_ttl": format!("{seconds}s"), "token_policies": "reader", "bind_secret_id": true});
        self.ask("POST", "auth/approle/role/alfred", role).await;
        let id = self.ask("GET", "auth/approle/role/alfred/role-id", Value::Null).await;
        let secret = self.ask("POST", "auth/approle/role/alfred/secret-id", json!({})).await;
        let text = |value: &Value| value.as_str().expect("a text").to_owned();
        (text(&id["data"]["role_id"]), text(&secret["data"]["secret_id"]))
    }

    /// Keeps an entry below `kv`.
    pub async fn put(&self, entry: &str, fields: Value) {
        self.ask("POST", entry, fields).await;
    }

    pub async fn seal(&self) {
        self.ask("PUT", "sys/seal", Value::Null).await;
    }

    pub async fn unseal(&self) {
        self.ask("PUT", "sys/unseal", json!({"key": self.unseal_key})).await;
    }

    async fn ask(&self, method: &str, path: &str, body: Value) -> Value {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let headers = [("x-vault-token", self.root.as_str())];
        let headers = if self.root.is_empty() { &headers[..0] } else { &headers[..] };
        let answer =
            self.http.send(method, &format!("{}/v1/{path}", self.url), headers, body).await.expect("an answer");
        assert!((200..300).contains(&answer.status), "{method} {path}: {} {}", answer.status, answer.text());
        serde_json::from_slice(&answer.body).unwrap_or(Value::Null)
    }
}

impl Drop for Rusty {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
