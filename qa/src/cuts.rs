//! Load that goes on while something breaks, and what must be true of the books afterwards.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::Value;
use tokio::task::JoinSet;

use crate::check::usd;
use crate::http::Http;
use crate::world::{Tenant, World, hello, hello_stream};

/// Callers that ask again as soon as they were answered, or cut off. Half of them stream.
pub struct Callers {
    answered: Arc<AtomicUsize>,
    over: Arc<AtomicBool>,
    tasks: JoinSet<Told>,
}

/// What callers were told.
#[derive(Default)]
pub struct Told {
    /// The calls whose whole answer has arrived.
    pub whole: Vec<String>,
    /// How often each status came, with its error code.
    pub tally: BTreeMap<(u16, String), usize>,
    /// Calls that got no whole answer.
    pub broken: usize,
}

impl Told {
    /// How often this status came, with whatever code.
    pub fn count(&self, status: u16) -> usize {
        self.tally.iter().filter(|((told, _), _)| *told == status).map(|(_, count)| count).sum()
    }

    fn merge(&mut self, more: Told) {
        self.whole.extend(more.whole);
        self.broken += more.broken;
        for (what, count) in more.tally {
            *self.tally.entry(what).or_default() += count;
        }
    }
}

impl Callers {
    /// Starts so many callers of the gateways at these URLs, in turn, each with one of the keys, in turn.
    pub fn start(urls: &[String], keys: &[&str], model: &str, callers: usize) -> Callers {
        let (answered, over) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
        let mut tasks = JoinSet::new();
        for caller in 0..callers {
            let url = format!("{}/v1/chat/completions", urls[caller % urls.len()]);
            let body =
                if (caller / urls.len()).is_multiple_of(2) { hello(model) } else { hello_stream(model) }.to_string();
            let bearer = format!("Bearer {}", keys[caller % keys.len()]);
            let (answered, over) = (answered.clone(), over.clone());
            tasks.spawn(async move {
                let (http, mut told) = (Http::new(), Told::default());
                while !over.load(Ordering::SeqCst) {
                    let sent = http.send("POST", &url, &[("authorization", &bearer)], body.clone()).await;
                    let Ok(answer) = sent else {
                        told.broken += 1;
                        tokio::time::sleep(Duration::from_millis(5)).await;
                        continue;
                    };
                    let json = answer.header("content-type").is_some_and(|t| t.starts_with("application/json"));
                    let code = if json { answer.json()["error"]["code"].as_str().map(str::to_owned) } else { None };
                    *told.tally.entry((answer.status, code.unwrap_or_default())).or_default() += 1;
                    if answer.status == 200 && (json || answer.text().ends_with("data: [DONE]\n\n")) {
                        told.whole.push(answer.must("x-request-id").to_owned());
                        answered.fetch_add(1, Ordering::SeqCst);
                    }
                }
                told
            });
        }
        Callers { answered, over, tasks }
    }

    /// How many whole answers have arrived.
    pub fn answered(&self) -> usize {
        self.answered.load(Ordering::SeqCst)
    }

    /// Waits for so many whole answers more; fails with what there is to say.
    pub async fn until(&self, more: usize, log: impl Fn() -> String) {
        let (wanted, from) = (self.answered() + more, Instant::now());
        while self.answered() < wanted {
            assert!(from.elapsed() < Duration::from_secs(120), "{} of {wanted} answers: {}", self.answered(), log());
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    /// Ends the load, each call whole; what was told.
    pub async fn over(self) -> Told {
        self.over.store(true, Ordering::SeqCst);
        let mut told = Told::default();
        for more in self.tasks.join_all().await {
            told.merge(more);
        }
        told
    }
}

/// The kinds of the journal's rows of each call, in their order.
pub type Calls = BTreeMap<String, Vec<String>>;

/// What must be true of the books after any number of cuts, when nothing is under way: nothing stayed held, each wallet
/// is the sum of its journal, each hold was resolved exactly once, what a client was told is so, what nobody resolved
/// was expired for somebody to look at, what was spent is what the receipts say, and the audit log is whole.
pub async fn audit_the_books(world: &World, tenant: &Tenant, told: &[String]) -> Calls {
    for wallet in &tenant.wallets {
        let wallet = world.wallet(wallet).await;
        assert_eq!(usd(&wallet, "held_usd"), 0, "something stayed held: {wallet}");
    }
    world.assert_balanced(tenant).await;

    let mut calls = Calls::new();
    for entry in world.entries(&tenant.wallet).await {
        let call = entry["request_id"].as_str().unwrap_or_else(|| panic!("whose is {entry}?")).to_owned();
        calls.entry(call).or_default().push(entry["kind"].as_str().expect("a kind").to_owned());
    }
    for (call, kinds) in &calls {
        let open = ["reserve", "grow"];
        let closings: Vec<&String> = kinds.iter().filter(|kind| !open.contains(&kind.as_str())).collect();
        assert_eq!(closings.len(), 1, "{call}: {kinds:?}");
        assert!(["settle", "release", "expire"].contains(&closings[0].as_str()), "{call}: {kinds:?}");
        assert!(kinds[0] == "reserve" && kinds.last() == Some(closings[0]), "{call}: {kinds:?}");
    }
    // What a client was told, the books tell too.
    for call in told {
        let kinds = calls.get(call).unwrap_or_else(|| panic!("{call} was answered, and is not in the books"));
        assert!(kinds.last().is_some_and(|last| last == "settle"), "{call}: {kinds:?}");
    }

    let receipts = world.list(&format!("/requests?org_id={}", tenant.org)).await;
    let receipts: BTreeMap<&str, &Value> = receipts.iter().map(|r| (r["id"].as_str().unwrap_or(""), r)).collect();
    let mut prices = 0;
    for (call, kinds) in &calls {
        let receipt = receipts.get(call.as_str()).unwrap_or_else(|| panic!("{call} has no receipt"));
        let wanted = match kinds.last().map(String::as_str) {
            Some("expire") => "expired",
            Some("release") => "released",
            _ => "settled",
        };
        assert_eq!(receipt["status"], wanted, "{call}: {kinds:?}");
        assert_eq!(receipt["review"], wanted == "expired", "{receipt}");
        // Deducted in full: an orphan's price is what was held, for the provider may have billed it.
        assert!(wanted != "expired" || usd(receipt, "price_usd") > 0, "{receipt}");
        prices += usd(receipt, "price_usd");
    }
    for wallet in &tenant.wallets {
        assert_eq!(usd(&world.wallet(wallet).await, "spent_usd"), prices, "spent is not what the receipts say");
    }

    let (file, text) = world.export(&tenant.org).await;
    let (code, out, err) = crate::tools::run_alfred(&["audit", "verify", file.to_str().expect("UTF-8")]);
    assert_eq!(code, 0, "{out}{err}");
    for call in calls.keys() {
        assert!(text.contains(call), "{call} is not in the log");
    }
    calls
}
