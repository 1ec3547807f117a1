//! Alfred as the benchmark runs it: with everything on, and with as little as its configuration allows.

use std::time::Duration;

use qa::tools;
use qa::world::{Plan, Setup, Tenant, World};
use serde_json::{Value, json};

use crate::load::{Kind, Target, probe};
use crate::process::memory;
use crate::upstream::{CHUNKS, Fast};

/// The limits of the key: there to be checked, not to be met.
const REQUESTS_A_MINUTE: u64 = 1_000_000;
const TOKENS_A_MINUTE: u64 = 1_000_000_000;

/// How much of the house is at work.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Guard {
    /// A key with limits, a prompt screened, the shipped policies judged, the cache asked and filled, money held in four
    /// wallets with limits and settled, all durably, audited.
    Everything,
    /// One wallet without a limit, a key without one, a price of nothing, no cache. What no setting switches off stays: the key is
    /// verified, the prompt screened, the policies are judged, the call is held, settled and audited durably.
    Least,
}

/// A running Alfred.
pub struct House {
    world: World,
    tenant: Tenant,
    pub target: Target,
    pub pid: u32,
    /// MB before the first call.
    pub idle: u64,
}

impl House {
    /// Starts it over the upstream.
    pub async fn start(upstream: &Fast, guard: Guard) -> House {
        House::with(upstream, guard, |_| ()).await
    }

    /// The same, with the configuration changed.
    pub async fn with(upstream: &Fast, guard: Guard, change: impl FnOnce(&mut Value)) -> House {
        let price = match guard {
            Guard::Everything => json!({"input": "1.00", "output": "2.00"}),
            Guard::Least => json!({"input": "0", "output": "0"}),
        };
        let setup = Setup::new().on_sqlite().with(|config| {
            config["providers"] = json!([
                {"id": "bench", "kind": "openai-compatible", "base_url": upstream.v1("")},
                {"id": "slow", "kind": "openai-compatible", "base_url": upstream.v1("slow")},
            ]);
            config["models"] = json!([
                {"id": "bench", "targets": ["bench/model"]},
                {"id": "slow", "targets": ["slow/model"]},
            ]);
            config["prices"] = json!({"bench/model": price, "slow/model": price});
            config["log"] = json!({"filter": "warn"});
            if guard == Guard::Everything {
                config["policies"] = json!({"data": {"cache": {"enabled": true, "ttl_seconds": 60}}});
            }
            change(config);
        });
        let mut world = setup.start().await;
        let plan = match guard {
            // A chain as organisations have.
            Guard::Everything => Plan::new()
                .levels(4)
                .hard("1000000")
                .root_hard("2000000")
                .soft("900000")
                .window("month")
                .key(json!({"rpm": REQUESTS_A_MINUTE, "tpm": TOKENS_A_MINUTE})),
            Guard::Least => Plan::new().levels(1),
        };
        let tenant = world.tenant(plan).await;
        let address = world.url().trim_start_matches("http://").parse().expect("an address");
        let path = "/v1/chat/completions".to_owned();
        let target = Target { address, path, model: "bench".into(), key: tenant.key.clone() };
        let pid = world.alfred().pid();
        let idle = memory(pid).now;
        let house = House { world, tenant, target, pid, idle };
        house.check(guard).await;
        house
    }

    /// What is measured is what is said to be: whole answers, and a cache that is asked or is not.
    async fn check(&self, guard: Guard) {
        let sought = if guard == Guard::Everything { "miss" } else { "bypass" };
        match probe(&self.target, Kind::Stream, "x-alfred-cache").await {
            Ok((cache, words)) => {
                assert_eq!(words, CHUNKS, "a stream lost words");
                assert_eq!(cache, sought, "the cache is not what the table says");
            }
            Err(fault) => panic!("alfred does not answer: {fault}\n{}", self.world.log()),
        }
    }

    /// Its metrics page, once nothing is held any more.
    pub async fn metrics(&self) -> String {
        self.world.at_rest(&self.tenant.wallet, Duration::from_secs(60)).await;
        let page = self.world.http.send("GET", &format!("{}/metrics", self.world.url()), &[], "").await;
        page.map(|page| page.text()).unwrap_or_default()
    }

    /// Ends it in peace.
    pub async fn stop(mut self) {
        self.world.stop().await;
    }
}

/// A base URL where nobody listens.
pub fn nobody() -> String {
    format!("http://127.0.0.1:{}/v1", tools::free_port())
}

/// The sum of a metric over all its labels, with one label chosen or none.
fn sum(metrics: &str, name: &str, label: &str) -> f64 {
    let lines = metrics.lines().filter(|line| {
        line.strip_prefix(name).is_some_and(|rest| rest.starts_with([' ', '{'])) && line.contains(label)
    });
    lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
}

/// The means of Alfred's own histograms.
pub fn means(metrics: &str) -> Vec<String> {
    let names = [
        "alfred_overhead_seconds",
        "alfred_auth_verify_seconds",
        "alfred_ledger_reserve_seconds",
        "gen_ai_client_operation_duration",
    ];
    let mut lines = Vec::new();
    for name in names {
        for full in [name.to_owned(), format!("{name}_seconds")] {
            let total = sum(metrics, &format!("{full}_sum"), "");
            let count = sum(metrics, &format!("{full}_count"), "");
            if count > 0.0 {
                lines.push(format!("`{full}`: {:.3} ms over {count} observations", total / count * 1_000.0));
            }
        }
    }
    lines
}

/// A quantile of one of Alfred's own histograms in microseconds, within its bucket by the rule of three. `None` without
/// observations, or when it lies beyond the last bucket.
pub fn quantile(metrics: &str, name: &str, quantile: f64) -> Option<f64> {
    let name = format!("{name}_bucket");
    let edges = metrics.lines().filter(|line| line.starts_with(&name)).filter_map(|line| {
        let text = line.split_once("le=\"")?.1.split_once('"')?.0;
        Some((text.parse::<f64>().ok()?, text))
    });
    let mut edges: Vec<(f64, &str)> = edges.collect();
    edges.sort_by(|one, other| one.0.total_cmp(&other.0));
    edges.dedup_by(|one, other| one.1 == other.1);
    let count = |text: &str| sum(metrics, &name, &format!("le=\"{text}\""));
    let rank = count("+Inf") * quantile;
    if rank <= 0.0 {
        return None;
    }
    let (mut below, mut before) = (0.0, 0.0);
    for (edge, text) in edges {
        let here = count(text);
        if here >= rank {
            return edge.is_finite().then(|| (below + (edge - below) * (rank - before) / (here - before)) * 1e6);
        }
        (below, before) = (edge, here);
    }
    None
}
