//! How Postgres finds what the ledger asks for when the books are large: with a million rows in each growing table, no
//! statement reads a large table from end to end, and none reads many times what it answers. The plans are those of
//! the statements as they were really run, from the server's own log (`auto_explain`).

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use ledger::{
    Actor, CallRecord, Charge, Fund, Hold, Id, Key, Ledger, Money, NewKey, NewOrg, NewWallet, Options, Order, Org,
    ReceiptFilter, Refund, RefusedCall, Release, Reserved, TrailFilter, Wallet, WalletKind, Window,
};
use qa::bulk;
use qa::postgres::{Care, Postgres, name_of};
use serde_json::Value;

const ROWS: u64 = 1_000_000;
const LEAVES: usize = 200;
const TEAMS: usize = 10;
/// Rows of a page; a batch has no more jobs.
const PAGE: u32 = 100;
/// A table of more rows than this is never read whole.
const SMALL: u64 = 1_000;

/// The most rows of a table that a statement may look at: a batch of 256 calls, each in four wallets, with room. A
/// wallet's journal is a page of each of its chains, and holds are as many as are under way, whoever looks for one.
fn most(table: &str) -> u64 {
    match table {
        "holds" => u64::MAX,
        "journal" => (LEAVES as u64 + 10) * u64::from(PAGE),
        _ => 2_000,
    }
}

struct Books {
    ledger: Ledger,
    org: Id<Org>,
    root: Id<Wallet>,
    leaves: Vec<(Id<Wallet>, Id<Key>)>,
}

fn record() -> CallRecord {
    CallRecord { kind: "chat.completions".into(), model: "gpt-4o".into(), ..CallRecord::default() }
}

impl Books {
    async fn make(url: &str) -> Books {
        let ledger = Ledger::open(Options::new(url)).await.expect("a ledger");
        let org = ledger.new_id();
        ledger
            .tenants()
            .create_org(NewOrg { id: org, name: "org".into(), attributes: ledger::Attributes::new() }, &Actor::System)
            .await
            .expect("an org");
        let root = wallet(&ledger, org, None).await;
        let mut leaves = Vec::new();
        for _ in 0..TEAMS {
            let team = wallet(&ledger, org, Some(root)).await;
            for _ in 0..LEAVES / TEAMS {
                let (leaf, id) = (wallet(&ledger, org, Some(team)).await, ledger.new_id());
                let new = NewKey::new(id, "key", leaf);
                ledger.tenants().create_key(new, &Actor::System).await.expect("a key");
                leaves.push((leaf, id));
            }
        }
        Books { ledger, org, root, leaves }
    }

    async fn reserve(&self, nth: usize) -> Hold {
        let (wallet, key) = self.leaves[nth % self.leaves.len()];
        let order = Order {
            call: self.ledger.new_id(),
            org: self.org,
            key,
            wallet,
            amount: Money::from_nanos(20_000),
            estimate: None,
            patient: false,
            downgraded: false,
            extra: Vec::new(),
            expires_at: self.ledger.clock().now().after(Duration::from_secs(86_400)),
            claim: Some(ledger::Claim { name: self.ledger.entropy().bytes(), body: [1; 32] }),
            record: record(),
        };
        match self.ledger.reserve(order).await.expect("there is money") {
            Reserved::New(hold) => hold,
            Reserved::Replay(first) => panic!("a replay of {first}"),
        }
    }

    async fn pair(&self, nth: usize) {
        let hold = self.reserve(nth).await;
        let price = Money::from_nanos(15_000);
        self.ledger.settle(hold, Charge { cost: price, price, record: record() }).await.expect("settled");
    }

    /// Everything that a call may do, many at once; and what operators do to one.
    async fn every_operation(&self) {
        join_all((0..256).map(|nth| self.pair(nth))).await;
        let mut hold = self.reserve(3).await;
        let call = hold.call();
        self.ledger.grow(&mut hold, Money::from_nanos(5)).await.expect("grown");
        let price = Money::from_nanos(30_000);
        self.ledger.settle(hold, Charge { cost: price, price, record: record() }).await.expect("settled");
        let refund = Refund {
            id: self.ledger.new_id(),
            call,
            amount: Some(Money::from_nanos(7)),
            reason: "wrong".into(),
            actor: Actor::System,
        };
        self.ledger.refund(refund).await.expect("refunded");
        let release = Release { reason: "provider_error".into(), cost: Money::ZERO, record: record() };
        self.ledger.release(self.reserve(4).await, release).await.expect("released");
        let (wallet, key) = self.leaves[5];
        let (call, code) = (self.ledger.new_id(), "policy_denied".into());
        self.ledger
            .refuse(RefusedCall { call, org: self.org, key, wallet, code, record: record() })
            .await
            .expect("told");
        let (source, reference) = ("card".to_owned(), "one".to_owned());
        let fund = Fund { wallet, amount: Money::from_nanos(1), source, reference, actor: Actor::System };
        self.ledger.fund(fund).await.expect("funded");
        self.ledger.expire_orphans().await.expect("none");
        self.ledger.standings(&[self.root, wallet]).await.expect("standings");
    }

    /// The first page, and one in the middle, of whatever grows.
    async fn every_page(&self) {
        for wallet in [self.root, self.leaves[0].0] {
            let first = self.ledger.entries(wallet, None, PAGE).await.expect("entries");
            let middle = first.last().map(|entry| entry.seq + (ROWS / 2) as i64);
            self.ledger.entries(wallet, middle, PAGE).await.expect("entries");
        }
        let every = ReceiptFilter::default();
        let org = ReceiptFilter { org: Some(self.org), ..every.clone() };
        let filters = [
            every.clone(),
            org.clone(),
            ReceiptFilter { wallet: Some(self.leaves[0].0), ..every.clone() },
            ReceiptFilter { key: Some(self.leaves[0].1), ..every.clone() },
            ReceiptFilter { status: Some("settled".into()), ..org.clone() },
            ReceiptFilter { status: Some("pending".into()), ..org.clone() },
            ReceiptFilter { review: true, ..org.clone() },
            ReceiptFilter { review: true, ..every },
        ];
        for filter in &filters {
            let first = self.ledger.receipts().list(filter, None, PAGE).await.expect("receipts");
            let Some(last) = first.last() else { continue };
            self.ledger.receipts().list(filter, Some(last.call), PAGE).await.expect("receipts");
            self.ledger.receipts().get(last.call).await.expect("a receipt");
        }
        let now = self.ledger.clock().now();
        for newest_first in [false, true] {
            for filter in [
                TrailFilter { newest_first, ..TrailFilter::default() },
                TrailFilter { newest_first, kind: Some("SETTLE".into()), ..TrailFilter::default() },
                TrailFilter { newest_first, until: Some(now), ..TrailFilter::default() },
            ] {
                self.ledger.trail().list(Some(self.org), &filter, None, PAGE).await.expect("entries");
                self.ledger.trail().list(Some(self.org), &filter, Some(300), PAGE).await.expect("entries");
            }
        }
        let mut export = self.ledger.trail().export(Some(self.org)).await.expect("an export");
        export.next().await.expect("a page");
    }
}

async fn wallet(ledger: &Ledger, org: Id<Org>, parent: Option<Id<Wallet>>) -> Id<Wallet> {
    let id = ledger.new_id();
    let new = NewWallet {
        parent,
        hard_limit: Some(Money::from_nanos(1_000_000_000_000)),
        window: Window::Month,
        ..NewWallet::new(id, org, "wallet", WalletKind::Project)
    };
    ledger.tenants().create_wallet(new, &Actor::System).await.expect("a wallet");
    id
}

/// Holds of a process that is well, none of them due: many, and nothing to be done about them.
fn many_holds(server: &Postgres, database: &str) {
    bulk::grow_postgres(server, database, "holds", 1, 20_000);
    server.psql(database, "ANALYZE instances").expect("analyzed");
}

/// Every plan that the server has logged: the statement and the root of its plan.
fn plans(log: &str) -> Vec<(String, Value)> {
    let mut plans = Vec::new();
    let mut lines = log.lines().peekable();
    while let Some(line) = lines.next() {
        if !line.contains(" plan:") {
            continue;
        }
        let mut json = String::new();
        while let Some(more) = lines.next_if(|line| line.starts_with('\t')) {
            json.push_str(more);
        }
        // Line feeds within a statement came through as they were; JSON knows them as blanks.
        let plan: Value = serde_json::from_str(&json.replace('\t', " ")).unwrap_or_else(|e| panic!("{e}: {json}"));
        plans.push((plan["Query Text"].as_str().unwrap_or("").to_owned(), plan["Plan"].clone()));
    }
    plans
}

/// What is wrong with a node or those below it.
fn faults(node: &Value, sizes: &BTreeMap<String, u64>, found: &mut Vec<String>) {
    let number = |name: &str| node[name].as_f64().unwrap_or(0.0);
    let (kind, table) = (node["Node Type"].as_str().unwrap_or(""), node["Relation Name"].as_str().unwrap_or(""));
    let removed = number("Rows Removed by Filter") + number("Rows Removed by Index Recheck");
    let looked_at = (number("Actual Rows") + removed) * number("Actual Loops").max(1.0);
    let size = sizes.get(table).copied().unwrap_or(0);
    if kind == "Seq Scan" && size > SMALL && most(table) < u64::MAX {
        found.push(format!("reads all {size} rows of {table}"));
    } else if sizes.contains_key(table) && size > SMALL && looked_at > most(table) as f64 {
        let condition = &node["Index Cond"];
        found.push(format!("{kind} {table} {} looks at {looked_at:.0} rows ({condition})", node["Index Name"]));
    }
    for below in node["Plans"].as_array().into_iter().flatten() {
        faults(below, sizes, found);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_a_million_rows_every_statement_finds_its_rows_by_an_index() {
    let began = Instant::now();
    let server = Postgres::start(Care::Fast);
    let url = server.database();
    let database = name_of(&url);
    let mut books = Books::make(&url).await;
    join_all((0..600).map(|nth| books.pair(nth))).await;
    let held = join_all((0..40).map(|nth| books.reserve(nth))).await;
    // The process that holds them is well for ever, and it is not this one.
    let strangers = "UPDATE holds SET owner = 'ins_00000000000070008000000000000001';
        INSERT INTO instances VALUES ('ins_00000000000070008000000000000001', 0, 9000000000000000)";
    server.psql(database, strangers).expect("holds of another process");
    std::mem::forget(held);
    books.ledger.close().await;
    std::thread::scope(|scope| {
        for table in bulk::GROWING {
            let server = &server;
            scope.spawn(move || bulk::grow_postgres(server, database, table, 1, ROWS));
        }
    });
    many_holds(&server, database);
    server.psql(database, "ANALYZE").expect("analyzed");
    println!("a million rows in each of {:?} after {:.0?}", bulk::GROWING, began.elapsed());

    // Into force for those who connect from now on.
    for setting in [
        "session_preload_libraries = 'auto_explain'",
        "auto_explain.log_min_duration = 0",
        "auto_explain.log_format = 'json'",
        "auto_explain.log_analyze = on",
        "auto_explain.log_timing = off",
    ] {
        server.psql(database, &format!("ALTER DATABASE {database} SET {setting}")).expect("set");
    }
    books.ledger = Ledger::open(Options::new(&url)).await.expect("a ledger");
    books.every_operation().await;
    books.every_page().await;
    books.ledger.close().await;

    let sizes = server.psql(database, "SELECT relname, reltuples::bigint FROM pg_class WHERE relkind = 'r'");
    let sizes: BTreeMap<String, u64> = sizes
        .expect("sizes")
        .lines()
        .filter_map(|line| line.split_once('|'))
        .map(|(name, rows)| (name.to_owned(), rows.parse().unwrap_or(0)))
        .collect();
    for table in bulk::GROWING {
        assert!(sizes[table] >= ROWS * 9 / 10, "{table} has {} rows", sizes[table]);
    }
    let log = std::fs::read_to_string(server.folder().join("log")).expect("the server's log");
    let plans = plans(&log);
    for statement in
        ["INSERT INTO journal", "FROM journal", "FROM receipts", "FROM audit_log", "FROM holds", "FOR UPDATE"]
    {
        assert!(
            plans.iter().any(|(text, _)| text.contains(statement)),
            "no plan of {statement}: is the log read well?"
        );
    }
    let mut wrong: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (text, plan) in &plans {
        let mut found = Vec::new();
        faults(plan, &sizes, &mut found);
        if !found.is_empty() {
            let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
            wrong.entry(text).or_default().extend(found);
        }
    }
    println!("{} plans looked at, in {:.0?}", plans.len(), began.elapsed());
    let told: Vec<String> =
        wrong.iter().map(|(text, faults)| format!("{text}\n    {}", faults.join("\n    "))).collect();
    assert!(wrong.is_empty(), "{} statements find their rows badly:\n{}", wrong.len(), told.join("\n"));
}
