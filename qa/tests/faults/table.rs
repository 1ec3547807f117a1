//! The fault table: for each fault what the client sees, what the wallet shows, what the audit says; for callers of JSON and of
//! streams, with the faulty target alone and with a healthy one after it. Printed, and kept in docs/faults.md.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::Path;
use std::time::{Duration, Instant};

use futures_util::{StreamExt, stream};
use qa::check::{balanced, usd};
use qa::faults::{Faults, Faulty, answers, tls};
use qa::http::Answer;
use qa::tools;
use qa::upstream::PROVIDER_WORDS;
use qa::world::{ADMIN_KEY, PROVIDER_KEYS, Setup, Tenant, World, hello, hello_stream, id};
use serde_json::{Value, json};

use crate::rows::{Place, Row, Want, rows};

const PAGE: &str = "docs/faults.md";
/// What a token costs in these worlds, in nano-dollars: in, and out.
const BILLED: i64 = 10 * 1_000 + 5 * 2_000;
/// A whole call may take so long; nothing here may take longer, whatever else the machine does.
const TOTAL: Duration = Duration::from_secs(20);
const MERCY: Duration = Duration::from_secs(40);
/// Cells that run at once.
const AT_ONCE: usize = 12;

/// One call to one target with a fault.
#[derive(Clone, Copy)]
struct Cell<'a> {
    row: &'a Row,
    streamed: bool,
    /// A healthy target stands after the faulty one.
    helped: bool,
}

/// What was seen of it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Seen {
    client: String,
    charged: &'static str,
    attempts: String,
    audit: String,
}

impl Cell<'_> {
    fn provider(&self) -> String {
        format!("{}-{}{}", self.row.name, if self.streamed { 's' } else { 'j' }, if self.helped { 2 } else { 1 })
    }

    fn want(&self) -> Want {
        self.row.want[usize::from(self.streamed)]
    }

    fn expected(&self) -> Seen {
        let answered = |charged| ("200, whole".to_owned(), charged, "answered".to_owned());
        let (client, charged, attempts) = match (self.want(), self.helped) {
            (Want::Billed, _) => answered("as billed"),
            (Want::Counted, _) => answered("as counted"),
            (Want::Breaks(code), _) => (format!("200, words, then {code}"), "as counted", "answered".to_owned()),
            (Want::Refused(status, code), _) => (format!("{status} {code}"), "nothing", "rejected".to_owned()),
            (Want::Fails(status, code, class), false) => (format!("{status} {code}"), "nothing", class.to_owned()),
            (Want::Fails(_, _, class), true) => {
                let (client, charged, answered) = answered("as billed");
                (client, charged, format!("{class}, {answered}"))
            }
            (Want::None, _) => unreachable!("there is no such case"),
        };
        let audit = if charged == "nothing" { "RESERVE, RELEASE" } else { "RESERVE, SETTLE" };
        Seen { client, charged, attempts, audit: audit.to_owned() }
    }
}

#[tokio::test]
async fn for_every_fault_the_client_the_wallet_and_the_audit_are_as_the_table_says() {
    let canary = Faulty::start(Faults::new());
    let rows = rows(&format!("http://{}/canary", canary.address()));
    let names: BTreeSet<&str> = rows.iter().map(|row| row.name).collect();
    assert_eq!(names.len(), rows.len(), "two rows of one name");
    let cells: Vec<Cell> = rows
        .iter()
        .flat_map(|row| [(false, false), (true, false), (false, true), (true, true)].map(|it| (row, it)))
        .map(|(row, (streamed, helped))| Cell { row, streamed, helped })
        .filter(|cell| !matches!(cell.want(), Want::None))
        .collect();
    let folder = tempfile::tempdir().expect("a folder");
    let (world, _servers) = world(&rows, &cells, folder.path()).await;
    let tenant = world.rich().await;
    let seen: Vec<(Seen, String)> =
        stream::iter(cells.iter().map(|cell| one(&world, &tenant, *cell))).buffered(AT_ONCE).collect().await;

    let table = table(&rows, &cells, &seen.iter().map(|(seen, _)| seen.clone()).collect::<Vec<_>>());
    println!("{table}");
    let faults: Vec<String> = cells
        .iter()
        .zip(&seen)
        .filter(|(cell, (seen, _))| *seen != cell.expected())
        .map(|(cell, (seen, all))| format!("{}: {seen:?}\n  not {:?}\n  {all}", cell.provider(), cell.expected()))
        .collect();
    assert!(faults.is_empty(), "{} cells are not as expected:\n{}", faults.len(), faults.join("\n"));
    at_rest(&world, &tenant).await;
    assert_eq!(canary.heard(), "", "a redirect was followed");
    for secret in PROVIDER_KEYS.iter().map(|(_, key)| *key).chain([PROVIDER_WORDS, ADMIN_KEY]) {
        assert!(!world.log().contains(secret), "{secret} is in the log");
    }
    kept(&table);
}

/// A house with a provider for each cell, so that none has failed before.
async fn world(rows: &[Row], cells: &[Cell<'_>], folder: &Path) -> (World, Vec<Faulty>) {
    let faults: Faults = rows.iter().map(|row| (row.name.to_owned(), row.acts.clone())).collect();
    let plain = Faulty::start(faults.clone());
    let own = Faulty::behind(faults.clone(), tls::self_signed("localhost"));
    let unknown = Faulty::behind(faults.clone(), tls::Authority::new().server("localhost"));
    let authority = tls::Authority::new();
    let ca = folder.join("authority.pem");
    std::fs::write(&ca, authority.pem()).expect("a file");
    let believed = Faulty::behind(faults.clone(), authority.server("localhost"));
    let misnamed = Faulty::behind(faults.clone(), authority.server("elsewhere.example"));
    let expired = Faulty::behind(faults, authority.expired_server("localhost"));
    let base = |cell: &Cell| {
        let name = cell.provider();
        let by_name = |server: &Faulty| format!("https://localhost:{}/{name}/v1", server.address().port());
        match cell.row.place {
            Place::Here => plain.base("http", &name),
            Place::HereByTls => plain.base("https", &name),
            Place::TlsByPlain => own.base("http", &name),
            Place::SelfSigned => by_name(&own),
            Place::UnknownAuthority => by_name(&unknown),
            Place::Believed => by_name(&believed),
            Place::AnotherName => by_name(&misnamed),
            Place::Expired => by_name(&expired),
            Place::Nowhere => format!("http://127.0.0.1:{}/v1", tools::free_port()),
            Place::Unnamed => "http://nobody.invalid/v1".to_owned(),
        }
    };
    let providers: Vec<Value> = cells
        .iter()
        .map(|cell| {
            let mut provider = json!({"id": cell.provider(), "kind": "openai", "base_url": base(cell), "api_key": {"env": "FIRST_KEY"}});
            if matches!(cell.row.place, Place::Believed | Place::AnotherName | Place::Expired) {
                provider["tls"] = json!({"ca_file": ca});
            }
            provider
        })
        .collect();
    let price = json!({"input": "1.00", "output": "2.00", "bills_after_cancel": false});
    let setup = Setup::new().on_sqlite().with(|config| {
        config["providers"] = json!(providers);
        let millis = u64::try_from(TOTAL.as_millis()).expect("a short time");
        config["deadlines"] = json!({
            "connect_ms": 2_000, "first_byte_ms": 2_500, "whole_ms": 6_000, "idle_ms": 1_500, "total_ms": millis,
        });
        for cell in cells {
            let target = format!("{}/m", cell.provider());
            config["prices"][&target] = price.clone();
            let targets = if cell.helped { json!([target, "second/test-chat"]) } else { json!([target]) };
            config["models"].as_array_mut().expect("models").push(json!({"id": cell.provider(), "targets": targets}));
        }
    });
    (setup.start().await, vec![plain, own, unknown, believed, misnamed, expired])
}

/// Makes the call with a wallet of its own; what was seen, and more for whoever has to find out why.
async fn one(world: &World, tenant: &Tenant, cell: Cell<'_>) -> (Seen, String) {
    let wallet = json!({"org_id": tenant.org, "name": cell.provider(), "kind": "project", "parent_id": tenant.wallet});
    let wallet = id(&world.admin("POST", "/wallets", wallet).await);
    let (_, key) = world.key(&wallet, json!({})).await;
    let model = cell.provider();
    let body = if cell.streamed { hello_stream(&model) } else { hello(&model) };
    let from = Instant::now();
    let (answer, clean) = world.stream(&key, &body).await.drain().await;
    assert!(from.elapsed() < TOTAL + MERCY, "{model} took {:?}", from.elapsed());
    let text = answer.text();
    for (secret, what) in
        [(PROVIDER_WORDS, "the provider's words"), ("PROVIDER-OWN-WORDS", "the provider's page"), (ADMIN_KEY, "a key")]
    {
        assert!(!text.contains(secret), "{model} tells {what}: {text}");
    }
    for (_, secret) in PROVIDER_KEYS {
        assert!(
            !text.contains(secret) && !format!("{:?}", answer.headers).contains(secret),
            "{model} tells a key: {text}"
        );
    }
    let call = answer.must("x-request-id").to_owned();
    let receipt = world.receipt_when(&call, |it| it["status"] == "settled" || it["status"] == "released").await;
    let shown = world.at_rest(&wallet, Duration::from_secs(10)).await;
    balanced(&shown, &world.entries(&wallet).await);
    let spent = usd(&shown, "spent_usd");
    assert_eq!(spent, receipt["price_usd"].as_str().map_or(0, qa::check::nanos), "{model}: {receipt}");
    let charged = match (spent, receipt["tokens_estimated"] == json!(true)) {
        (0, _) => "nothing",
        (BILLED, false) => "as billed",
        (1.., true) => "as counted",
        _ => "otherwise",
    };
    let audit: Vec<String> = world
        .audit(&tenant.org)
        .await
        .iter()
        .filter(|entry| entry.to_string().contains(&call))
        .map(|entry| entry["kind"].as_str().unwrap_or("?").to_owned())
        .collect();
    let attempts = receipt["attempts"].as_array().cloned().unwrap_or_default();
    let mut outcomes: Vec<&str> = attempts.iter().filter_map(|attempt| attempt["outcome"].as_str()).collect();
    outcomes.dedup();
    let seen = Seen {
        client: client(&answer, clean, cell.streamed),
        charged,
        attempts: outcomes.join(", "),
        audit: audit.join(", "),
    };
    (seen, format!("{receipt}\n  {} {text:.700}", answer.status))
}

/// What the caller got, in few words.
fn client(answer: &Answer, clean: bool, streamed: bool) -> String {
    if answer.status != 200 {
        let code = answer.json()["error"]["code"].as_str().unwrap_or("no code").to_owned();
        assert!(answer.json()["error"]["message"].is_string());
        return format!("{} {code}", answer.status);
    }
    let done = !streamed || answer.events().last().is_some_and(|last| last == "[DONE]");
    let error = match streamed {
        true => answer.chunks().iter().find_map(|chunk| chunk["error"]["code"].as_str().map(str::to_owned)),
        false => None,
    };
    match error {
        _ if !clean => "200, torn".to_owned(),
        Some(_) if done => "200, an error and yet an end".to_owned(),
        Some(code) if !answer.said().is_empty() && answers::SAID.starts_with(&answer.said()) => {
            format!("200, words, then {code}")
        }
        None if done && answer.said() == answers::SAID => "200, whole".to_owned(),
        _ => format!("200, something else: {:?}", answer.said()),
    }
}

/// Nothing is held, every wallet is its journal, and the chain can be verified by whoever has only the export.
async fn at_rest(world: &World, tenant: &Tenant) {
    for wallet in &tenant.wallets {
        world.at_rest(wallet, Duration::from_secs(10)).await;
    }
    world.assert_balanced(tenant).await;
    let (file, _) = world.export(&tenant.org).await;
    let (code, out, err) = tools::run_alfred(&["audit", "verify", file.to_str().expect("a UTF-8 path")]);
    assert_eq!(code, 0, "{out}{err}");
}

fn table(rows: &[Row], cells: &[Cell], seen: &[Seen]) -> String {
    let mut table = String::from(
        "| fault | what happens | caller | the client sees | charged | attempts | audit | with a healthy target after it |\n|---|---|---|---|---|---|---|---|\n",
    );
    for row in rows {
        for streamed in [false, true] {
            let of = |helped| {
                let at = cells
                    .iter()
                    .position(|it| it.row.name == row.name && it.streamed == streamed && it.helped == helped);
                at.map(|at| &seen[at])
            };
            let (Some(alone), Some(helped)) = (of(false), of(true)) else { continue };
            let caller = if streamed { "stream" } else { "JSON" };
            let after = if helped == alone {
                "the same".to_owned()
            } else {
                format!("{} ({})", helped.client, helped.attempts)
            };
            let _ = writeln!(
                table,
                "| {} | {} | {caller} | {} | {} | {} | {} | {after} |",
                row.name, row.what, alone.client, alone.charged, alone.attempts, alone.audit
            );
        }
    }
    table
}

/// The table in the documents is this one.
fn kept(table: &str) {
    let path = tools::repository().join(PAGE);
    let page = std::fs::read_to_string(&path).unwrap_or_default();
    let (begin, end) = ("<!-- the table -->\n", "<!-- its end -->\n");
    let (Some(from), Some(to)) = (page.find(begin), page.find(end)) else {
        panic!("{PAGE} has no place for the table");
    };
    let new = format!("{}{table}{}", &page[..from + begin.len()], &page[to..]);
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(&path, &new).expect("the page can be written");
    } else {
        assert!(page == new, "{PAGE} is not what was seen: `UPDATE=1 cargo test -p qa --test faults table` writes it");
    }
}

#[test]
fn the_good_answers_of_the_faulty_server_are_good() {
    // What every row is spoiled from.
    let body: Value = serde_json::from_slice(&answers::json_body()).expect("JSON");
    assert_eq!(body["choices"][0]["message"]["content"], answers::SAID);
    let text = String::from_utf8(answers::stream_body()).expect("UTF-8");
    assert!(text.ends_with("data: [DONE]\n\n"));
    assert_eq!(answers::gzip(b"a")[..2], [0x1f, 0x8b]);
}
