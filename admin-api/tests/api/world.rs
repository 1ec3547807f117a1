//! A ledger in a folder of its own, the admin API on it, and a process around it that remembers what it was told.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, RwLock};
use std::time::Duration;

use admin_api::configuration::{
    ConfigFault, ConfigStatus, Configuration, Configured, NotReloaded, Reloaded, State, TargetHealth, Unfit,
};
use admin_api::{AdminState, Refresh};
use axum::body::Body;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use http::request::Parts;
use http::{HeaderMap, Request, StatusCode};
use http_body_util::BodyExt;
use ledger::{
    Actor, CallRecord, Charge, Clock, DefinitionKind, DefinitionRow, Entropy, Entry, Id, Ledger, Money, NewApproval,
    OperatorCredential, Options, Order, PresentedKey, Requirement, Reserved, Timestamp,
};
use serde_json::{Value, json};
use tower::ServiceExt;

pub const ADMIN: &str = "an-admin-key-for-the-tests-of-it";
pub const NOW: &str = "2026-06-15T12:00:00Z";

pub struct World {
    pub ledger: Ledger,
    pub house: Arc<House>,
    app: axum::Router,
    _folder: tempfile::TempDir,
}

/// The process around the API.
pub struct House {
    ledger: Ledger,
    operators: RwLock<Option<Arc<[OperatorCredential]>>>,
    pub refreshes: AtomicUsize,
    pub failures: AtomicUsize,
    pub throttles: AtomicBool,
    /// What is configured could not be confirmed.
    pub unsure: AtomicBool,
    stored: RwLock<Vec<DefinitionRow>>,
    rulebook: RwLock<Option<Arc<policies::Rulebook>>>,
}

impl Refresh for House {
    fn refresh(&self) -> BoxFuture<'_, Result<(), String>> {
        async {
            self.refreshes.fetch_add(1, Ordering::SeqCst);
            let set = self.ledger.tenants().credentials().await.map_err(|error| error.to_string())?;
            *self.operators.write().unwrap() = Some(set.operators.into());
            *self.stored.write().unwrap() = self.ledger.definitions().in_force().await.unwrap();
            Ok(())
        }
        .boxed()
    }

    fn rulebook(&self) -> Option<Arc<policies::Rulebook>> {
        self.rulebook.read().unwrap().clone()
    }

    fn operators(&self) -> Option<Arc<[OperatorCredential]>> {
        self.operators.read().unwrap().clone()
    }

    fn serves(&self, target: &str) -> Option<bool> {
        (!target.starts_with("unsure/")).then(|| !target.starts_with("nowhere/"))
    }

    fn failed_verification(&self, _: &Parts) -> Option<Duration> {
        self.failures.fetch_add(1, Ordering::SeqCst);
        self.throttles.load(Ordering::SeqCst).then_some(Duration::from_secs(7))
    }
}

/// What the file would hold: a provider and a model of the name `filed`. Kinds and targets that are `wrong` have a fault.
impl Configuration for House {
    fn check(&self, kind: DefinitionKind, id: String, body: Option<Value>) -> BoxFuture<'_, Result<(), Unfit>> {
        let names = |it: &DefinitionRow| it.body.as_ref().unwrap()["targets"].to_string().contains(&format!("{id}/"));
        let stored = self.stored.read().unwrap();
        let used = kind == DefinitionKind::Provider && body.is_none() && stored.iter().any(names);
        let wrong = body.is_some_and(|it| it["kind"] == "wrong" || it["targets"][0] == "wrong");
        let checked = match id.as_str() {
            _ if self.unsure.load(Ordering::SeqCst) => Err(Unfit::Unsure),
            "filed" => Err(Unfit::InFile),
            _ if used => Err(Unfit::InUse(vec!["model chat".into()])),
            _ if wrong => Err(Unfit::Faults(vec![fault("", "kind"), fault("", "targets[0]")])),
            _ => Ok(()),
        };
        async { checked }.boxed()
    }

    fn providers(&self) -> Option<Vec<Configured>> {
        self.configured(DefinitionKind::Provider)
    }

    fn models(&self) -> Option<Vec<Configured>> {
        self.configured(DefinitionKind::Model)
    }

    fn reload(&self, actor: Actor) -> BoxFuture<'_, Result<Reloaded, NotReloaded>> {
        async move {
            if self.unsure.load(Ordering::SeqCst) {
                return Err(NotReloaded::Faults(vec![ConfigFault { line: Some(3), ..fault("alfred.yaml", "listen") }]));
            }
            self.ledger.record(Entry::new(None, "CONFIG_RELOADED", actor)).await.unwrap();
            Ok(Reloaded { sha256: "00".into(), changed: vec!["markup".into()], needs_restart: vec!["listen".into()] })
        }
        .boxed()
    }

    fn status(&self) -> ConfigStatus {
        ConfigStatus { file: Some("alfred.yaml".into()), watched: true, ..ConfigStatus::default() }
    }
}

fn fault(file: &str, path: &str) -> ConfigFault {
    ConfigFault { file: file.into(), line: None, path: path.into(), message: "is wrong".into() }
}

impl House {
    fn configured(&self, kind: DefinitionKind) -> Option<Vec<Configured>> {
        let definition =
            json!({"id": "filed", "kind": "sim", "headers": {"x-canary": "canary"}, "targets": ["filed/echo"]});
        let health = |target: &str, breaker, named| TargetHealth {
            target: target.into(),
            breaker,
            named,
            opens_again_in_ms: None,
            in_flight: None,
            first_content_ms: None,
        };
        let targets = vec![
            health("filed/echo", "closed", true),
            health("filed/unwell", "open", false),
            health("filed/other", "closed", false),
        ];
        let filed =
            Configured { id: "filed".into(), state: State::Serving, faults: vec![], definition, row: None, targets };
        let stored = self.stored.read().unwrap().clone();
        let stored = stored.into_iter().filter(|row| row.kind == kind).map(|row| Configured {
            id: row.name.clone(),
            state: State::Serving,
            faults: vec![],
            definition: row.body.clone().unwrap(),
            row: Some(row),
            targets: vec![],
        });
        (!self.unsure.load(Ordering::SeqCst)).then(|| std::iter::once(filed).chain(stored).collect())
    }

    /// From now on these rules are in force.
    pub fn rule(&self, rules: policies::Rulebook) {
        *self.rulebook.write().unwrap() = Some(Arc::new(rules));
    }

    pub fn forget_operators(&self) {
        *self.operators.write().unwrap() = None;
    }
}

pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub text: String,
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|_| panic!("no JSON: {}", self.text))
    }

    /// The id of what was made.
    #[track_caller]
    pub fn id(&self) -> String {
        assert!(self.status.is_success(), "{} {}", self.status, self.text);
        self.json()["id"].as_str().expect("an id").to_owned()
    }

    /// A number of what was made.
    #[track_caller]
    pub fn id_of(&self, member: &str) -> i64 {
        assert!(self.status.is_success(), "{} {}", self.status, self.text);
        self.json()[member].as_i64().expect("a number")
    }

    /// A problem document with this status and code, that names this member if one is given.
    #[track_caller]
    pub fn is_problem(&self, status: u16, code: &str, member: Option<&str>) {
        assert_eq!(self.status.as_u16(), status, "{}", self.text);
        assert_eq!(self.headers["content-type"], "application/problem+json", "{}", self.text);
        let problem = self.json();
        assert_eq!(problem["status"], status, "{problem}");
        assert_eq!(problem["code"], code, "{problem}");
        assert_eq!(problem["type"], format!("urn:alfred:problem:{code}"), "{problem}");
        assert!(problem["title"].is_string() && problem["detail"].is_string(), "{problem}");
        assert_eq!(problem["errors"][0]["member"].as_str(), member, "{problem}");
    }
}

/// A call to be made.
pub struct Ask<'a> {
    world: &'a World,
    request: http::request::Builder,
    body: Body,
}

impl Ask<'_> {
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.request = self.request.header(name, value);
        self
    }

    pub fn json(mut self, body: &Value) -> Self {
        self.body = Body::from(body.to_string());
        self.header("content-type", "application/json")
    }

    pub fn text(mut self, body: impl Into<String>) -> Self {
        self.body = Body::from(body.into());
        self
    }

    pub fn bytes(mut self, body: Vec<u8>) -> Self {
        self.body = Body::from(body);
        self
    }

    pub async fn bare(self) -> Answer {
        let request = self.request.body(self.body).unwrap();
        let response = self.world.app.clone().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let bytes = body.collect().await.unwrap().to_bytes();
        Answer { status: parts.status, headers: parts.headers, text: String::from_utf8(bytes.to_vec()).unwrap() }
    }

    pub async fn send(self) -> Answer {
        self.header("authorization", &format!("Bearer {ADMIN}")).bare().await
    }
}

impl World {
    pub async fn new() -> World {
        let folder = tempfile::tempdir().unwrap();
        let clock = Clock::by_hand(NOW.parse().unwrap());
        let options = Options {
            clock,
            entropy: Entropy::seeded(7),
            ..Options::new(format!("sqlite://{}/alfred.db", folder.path().display()))
        };
        let ledger = Ledger::open(options).await.unwrap();
        ledger.tenants().ensure_operator(ADMIN).await.unwrap();
        let house = Arc::new(House {
            ledger: ledger.clone(),
            operators: RwLock::default(),
            refreshes: AtomicUsize::new(0),
            failures: AtomicUsize::new(0),
            throttles: AtomicBool::new(false),
            unsure: AtomicBool::new(false),
            stored: RwLock::default(),
            rulebook: RwLock::default(),
        });
        house.refresh().await.unwrap();
        house.refreshes.store(0, Ordering::SeqCst);
        let app = admin_api::router(AdminState {
            replaying: Arc::new(tokio::sync::Semaphore::new(1)),
            ledger: ledger.clone(),
            refresh: house.clone(),
            configuration: house.clone(),
        });
        World { ledger, house, app, _folder: folder }
    }

    /// The same API, mounted as the gateway mounts it.
    pub fn mount(&mut self, at: &str) {
        self.app = axum::Router::new().nest(at, self.app.clone());
    }

    pub fn ask(&self, method: &str, path: &str) -> Ask<'_> {
        Ask { world: self, request: Request::builder().method(method).uri(path), body: Body::empty() }
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.ask("GET", path).send().await
    }

    pub async fn post(&self, path: &str, body: Value) -> Answer {
        self.ask("POST", path).json(&body).send().await
    }

    pub async fn patch(&self, path: &str, body: Value) -> Answer {
        self.ask("PATCH", path).json(&body).send().await
    }

    pub async fn org(&self) -> String {
        self.post("/orgs", json!({"name": "Acme"})).await.id()
    }

    pub async fn wallet(&self, org: &str, more: Value) -> String {
        let mut body = json!({"org_id": org, "name": "Purse", "kind": "project"});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        self.post("/wallets", body).await.id()
    }

    pub async fn key(&self, wallet: &str) -> String {
        self.post("/keys", json!({"name": "app", "wallet_id": wallet})).await.id()
    }

    /// A call of this key that was charged so much; its id.
    pub async fn charged(&self, key: &str, usd: &str) -> String {
        let key = self.ledger.tenants().key(key.parse().unwrap()).await.unwrap();
        let price: Money = usd.parse().unwrap();
        let record = CallRecord { model: "gpt-4o".into(), target: Some("sim/gpt-4o".into()), ..CallRecord::default() };
        let order = Order {
            call: self.ledger.new_id(),
            org: key.org,
            key: key.id,
            wallet: key.wallet,
            amount: price,
            estimate: None,
            patient: false,
            downgraded: false,
            extra: Vec::new(),
            expires_at: self.ledger.clock().now().after(Duration::from_secs(600)),
            claim: None,
            record: record.clone(),
        };
        let call = order.call;
        let Reserved::New(hold) = self.ledger.reserve(order).await.unwrap() else { panic!("a replay") };
        self.ledger.settle(hold, Charge { cost: price, price, record }).await.unwrap();
        call.to_string()
    }

    /// A call of this key whose process was lost, so that so much was charged without its word; its id.
    pub async fn expired(&self, key: &str, usd: &str) -> String {
        let key = self.ledger.tenants().key(key.parse().unwrap()).await.unwrap();
        let order = Order {
            call: self.ledger.new_id(),
            org: key.org,
            key: key.id,
            wallet: key.wallet,
            extra: Vec::new(),
            amount: usd.parse().unwrap(),
            estimate: None,
            patient: false,
            downgraded: false,
            expires_at: self.ledger.clock().now(),
            claim: None,
            record: CallRecord { model: "gpt-4o".into(), ..CallRecord::default() },
        };
        let Reserved::New(hold) = self.ledger.reserve(order).await.unwrap() else { panic!("a replay") };
        self.ledger.expire_orphans().await.unwrap();
        hold.call().to_string()
    }

    /// An alert of this organisation: somebody asked for more than a wallet has.
    pub async fn alert(&self, org: &str) -> String {
        let wallet = self.wallet(org, json!({"hard_limit_usd": "0"})).await;
        let key = self.key(&wallet).await;
        let key = self.ledger.tenants().key(key.parse().unwrap()).await.unwrap();
        let order = Order {
            call: self.ledger.new_id(),
            org: key.org,
            key: key.id,
            wallet: key.wallet,
            amount: "1".parse().unwrap(),
            estimate: None,
            patient: false,
            extra: Vec::new(),
            downgraded: false,
            expires_at: self.ledger.clock().now().after(Duration::from_secs(600)),
            claim: None,
            record: CallRecord::default(),
        };
        self.ledger.reserve(order).await.expect_err("nothing is free");
        let alerts = self.get(&format!("/alerts?org_id={org}&kind=hard_limit&limit=1000")).await.json();
        alerts["data"].as_array().unwrap().last().unwrap()["id"].as_str().unwrap().to_owned()
    }

    /// An operator that is made of this; id and key.
    pub async fn operator(&self, more: Value) -> (String, String) {
        let mut body = json!({"name": "Ada"});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let made = self.post("/operators", body).await;
        (made.id(), made.json()["key"].as_str().unwrap().to_owned())
    }

    /// A call of this organisation that wants an approval; its id.
    pub async fn approval(&self, org: &str) -> String {
        let key = self.key(&self.wallet(org, json!({})).await).await;
        let key = self.ledger.tenants().key(key.parse().unwrap()).await.unwrap();
        let new = NewApproval {
            org: key.org,
            team: key.team,
            key: key.id,
            user: key.user,
            call: self.ledger.new_id(),
            requirements: vec![Requirement { name: "frontier".into(), reason: "is dear".into() }],
            model: "gpt-4o".into(),
            amount: "0.25".parse().unwrap(),
            expires_at: self.ledger.clock().now().after(Duration::from_secs(3_600)),
        };
        self.ledger.approvals().request(new).await.unwrap().expect("room").id.to_string()
    }

    /// Whether the gateway would let this key in.
    pub async fn opens(&self, secret: &str) -> bool {
        let presented = PresentedKey::parse(secret).expect("well-formed");
        let set = self.ledger.tenants().credentials().await.unwrap();
        set.keys.iter().any(|it| it.admits(&presented, self.ledger.clock().now()))
    }

    /// Kinds of the entries of an organisation's chain.
    pub async fn audit_kinds(&self, org: &str) -> Vec<String> {
        let entries = self.get(&format!("/audit?org_id={org}&limit=1000")).await.json();
        entries["data"].as_array().unwrap().iter().map(|it| it["kind"].as_str().unwrap().to_owned()).collect()
    }
}

pub fn later(seconds: u64) -> String {
    NOW.parse::<Timestamp>().unwrap().after(Duration::from_secs(seconds)).to_string()
}

pub fn unknown<K: ledger::Kind>() -> String {
    Id::<K>::from_uuid(uuid::Uuid::from_u128(0xdead)).to_string()
}
