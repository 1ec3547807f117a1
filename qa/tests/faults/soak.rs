//! `make soak MINUTES=30`: half of what the house can do, for a long time, with every kind of fault mixed in and clients who leave.
//! What it takes of the machine stays as it was, and at the end every nano-dollar is where the journal says.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use qa::faults::{Faults, Faulty};
use qa::process::Taken;
use qa::tools;
use qa::world::{Setup, Tenant, World, hello, hello_stream};
use serde_json::json;

use crate::rows::{Place, Want, rows};

/// Calls of one tenant before the next one takes over: so that a journal can be read whole.
const OF_ONE: usize = 20_000;
/// Calls at once while the house is measured, and the most at once after.
const AT_ONCE: usize = 32;
const MOST_AT_ONCE: usize = 128;
/// How long capacity is measured.
const MEASURED: Duration = Duration::from_secs(5);
/// What may have grown between the end of the warming up and the end.
const MORE_MEMORY: u64 = 48 << 10;
const MORE_FILES: usize = 96;
const MORE_TASKS: usize = 200;
const MORE_THREADS: u64 = 16;

/// One look at the house.
#[derive(Debug, Clone, Copy)]
struct Look {
    second: u64,
    taken: Taken,
    tasks: usize,
    calls: usize,
}

struct Soak {
    world: World,
    names: Vec<&'static str>,
    /// The one who calls now, and all there have been.
    tenants: Mutex<Vec<Tenant>>,
    next: AtomicUsize,
    whole: AtomicU64,
    failed: AtomicU64,
    broke: AtomicU64,
    left: AtomicU64,
}

impl Soak {
    async fn start() -> (Soak, Faulty) {
        // Those that need no long silence: a soak is for many, not for long ones; one in a hundred stalls.
        let rows: Vec<_> = rows("http://127.0.0.1:9/none")
            .into_iter()
            .filter(|row| row.place == Place::Here && !row.name.starts_with("sse-huge") && row.name != "chatter")
            .filter(|row| !row.want.iter().any(|want| matches!(want, Want::None)))
            .collect();
        let names: Vec<&'static str> = rows.iter().map(|row| row.name).collect();
        let faults: Faults = rows.into_iter().map(|row| (row.name.to_owned(), row.acts)).collect();
        let server = Faulty::start(faults);
        let price = json!({"input": "1.00", "output": "2.00", "bills_after_cancel": false});
        let setup = Setup::new().on_sqlite().with(|config| {
            let mut providers = Vec::new();
            for name in &names {
                let id = format!("{name}-x");
                providers.push(json!({"id": id, "kind": "openai", "base_url": server.base("http", &id), "api_key": {"env": "FIRST_KEY"}}));
                config["prices"][&format!("{id}/m")] = price.clone();
                let models = config["models"].as_array_mut().expect("models");
                models.push(json!({"id": format!("{name}-1"), "targets": [format!("{id}/m")]}));
                models.push(json!({"id": format!("{name}-2"), "targets": [format!("{id}/m"), "second/test-chat"]}));
            }
            config["providers"] = json!(providers);
            config["deadlines"] = json!({"connect_ms": 1_000, "first_byte_ms": 1_000, "whole_ms": 2_000, "idle_ms": 1_000});
            config["log"] = json!({"filter": "error"});
        });
        let world = setup.start().await;
        world.first.forget();
        world.second.forget();
        let tenant = world.rich().await;
        let zero = AtomicU64::default;
        let (whole, failed, broke, left) = (zero(), zero(), zero(), zero());
        let soak = Soak {
            world,
            names,
            tenants: Mutex::new(vec![tenant]),
            next: AtomicUsize::new(0),
            whole,
            failed,
            broke,
            left,
        };
        (soak, server)
    }

    /// The next call of the mix, told by its number alone.
    async fn call(&self) {
        let n = self.next.fetch_add(1, Ordering::SeqCst);
        if n % OF_ONE == OF_ONE - 1 {
            let tenant = self.world.rich().await;
            self.tenants.lock().expect("whole").push(tenant);
        }
        let key = self.tenants.lock().expect("whole").last().expect("one").key.clone();
        // Four of five are healthy; of the rest half have a second target. Streams and JSON in turn.
        let fault = self.names[(n / 10) % self.names.len()];
        let model = match n % 10 {
            4 => format!("{fault}-1"),
            9 => format!("{fault}-2"),
            _ => "steady".to_owned(),
        };
        let streamed = (n / 3) % 2 == 0;
        let body = if streamed { hello_stream(&model) } else { hello(&model) };
        let mut flow = self.world.stream(&key, &body).await;
        if n % 23 == 7 {
            let _ = flow.next().await;
            self.left.fetch_add(1, Ordering::Relaxed);
            return;
        }
        let (answer, clean) = flow.drain().await;
        let good = answer.status == 200 && clean && (!streamed || answer.text().ends_with("data: [DONE]\n\n"));
        assert!(good || model != "steady", "a healthy call: {} {}", answer.status, answer.text());
        let count = if good {
            &self.whole
        } else if answer.status == 200 {
            &self.broke
        } else {
            &self.failed
        };
        count.fetch_add(1, Ordering::Relaxed);
    }

    /// As many as the house can do in a closed loop; calls a second.
    async fn capacity(&self) -> f64 {
        let (from, before) = (Instant::now(), self.next.load(Ordering::SeqCst));
        let worker = async || {
            while from.elapsed() < MEASURED {
                self.call().await;
            }
        };
        futures_util::future::join_all((0..AT_ONCE).map(|_| worker())).await;
        (self.next.load(Ordering::SeqCst) - before) as f64 / from.elapsed().as_secs_f64()
    }

    async fn look(&self, from: Instant) -> Look {
        let url = format!("{}/metrics", self.world.url());
        let metrics = self.world.http.send("GET", &url, &[], "").await.expect("metrics").text();
        let tasks = metrics.lines().find_map(|line| line.strip_prefix("alfred_tasks ")).expect("a gauge");
        Look {
            second: from.elapsed().as_secs(),
            taken: Taken::by(self.world.pid()),
            tasks: tasks.trim().parse().expect("a number"),
            calls: self.next.load(Ordering::SeqCst),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes minutes: `make soak MINUTES=3`"]
async fn half_of_what_it_can_do_with_faults_mixed_in_leaves_nothing_behind() {
    let minutes: f64 = std::env::var("MINUTES").ok().and_then(|it| it.parse().ok()).unwrap_or(3.0);
    let (soak, _server) = Soak::start().await;
    let rate = soak.capacity().await / 2.0;
    let span = Duration::from_secs_f64(minutes * 60.0);
    println!(
        "half load: {rate:.0} calls a second for {minutes} minutes, a fifth of them to {} kinds of faults\n",
        soak.names.len()
    );
    println!("| second | calls | memory, MB | files | threads | tasks |\n|---|---|---|---|---|---|");
    let from = Instant::now();
    let looks = Mutex::new(Vec::new());
    let load = async {
        let worker = async |lane: usize| {
            // Each lane has its share of the rate; one that falls behind does not catch up: it is no storm.
            let every = Duration::from_secs_f64(MOST_AT_ONCE as f64 / rate);
            tokio::time::sleep(every.mul_f64(lane as f64 / MOST_AT_ONCE as f64)).await;
            let mut ticks = tokio::time::interval(every);
            ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
            while from.elapsed() < span {
                ticks.tick().await;
                soak.call().await;
            }
        };
        futures_util::future::join_all((0..MOST_AT_ONCE).map(worker)).await;
    };
    let watch = async {
        let every = (span / 36).max(Duration::from_secs(5));
        while from.elapsed() + every / 2 < span {
            tokio::time::sleep(every).await;
            let look = soak.look(from).await;
            print(&look);
            looks.lock().expect("whole").push(look);
        }
    };
    tokio::join!(load, watch);
    let looks = looks.into_inner().expect("whole");
    let count = |it: &AtomicU64| it.load(Ordering::Relaxed);
    println!(
        "\n{} calls: {} answered whole, {} refused, {} broke off, {} left by their clients",
        soak.next.load(Ordering::SeqCst),
        count(&soak.whole),
        count(&soak.failed),
        count(&soak.broke),
        count(&soak.left)
    );
    at_rest(&soak).await;
    flat(&looks);
}

fn print(look: &Look) {
    let Look { second, taken, tasks, calls } = look;
    println!("| {second} | {calls} | {} | {} | {} | {tasks} |", taken.resident / 1024, taken.files, taken.threads);
}

/// Nothing is held, every wallet is its journal, the chains verify.
async fn at_rest(soak: &Soak) {
    let tenants = soak.tenants.lock().expect("whole").clone();
    for tenant in &tenants {
        for wallet in &tenant.wallets {
            soak.world.at_rest(wallet, Duration::from_secs(60)).await;
        }
        soak.world.assert_balanced(tenant).await;
    }
    let (file, _) = soak.world.export(&tenants.last().expect("one").org).await;
    let (code, out, err) = tools::run_alfred(&["audit", "verify", file.to_str().expect("a UTF-8 path")]);
    assert_eq!(code, 0, "{out}{err}");
    println!(
        "{} tenants: nothing held, every wallet is the sum of its journal, the last chain verifies",
        tenants.len()
    );
}

/// The last fifth beside the second: medians, lest one look decides.
fn flat(looks: &[Look]) {
    let part = (looks.len() / 5).max(1);
    let median = |of: &dyn Fn(&Look) -> u64, from: usize| {
        let mut all: Vec<u64> = looks[from..(from + part).min(looks.len())].iter().map(of).collect();
        all.sort_unstable();
        all[all.len() / 2]
    };
    let (early, late) = (part.min(looks.len() - 1), looks.len().saturating_sub(part));
    let rows: [(&str, &dyn Fn(&Look) -> u64, u64); 4] = [
        ("memory, KiB", &|it| it.taken.resident, MORE_MEMORY),
        ("files", &|it| it.taken.files as u64, MORE_FILES as u64),
        ("threads", &|it| it.taken.threads, MORE_THREADS),
        ("tasks", &|it| it.tasks as u64, MORE_TASKS as u64),
    ];
    for (name, of, more) in rows {
        let (warm, end) = (median(of, early), median(of, late));
        println!("{name}: {warm} after warming up, {end} at the end");
        assert!(end <= warm + more, "{name} grow: {warm} after warming up, {end} at the end");
    }
}

#[test]
fn a_soak_that_grows_is_seen() {
    let look =
        |n: u64| Look { second: n, taken: Taken { resident: 100_000, files: 50, threads: 9 }, tasks: 40, calls: 0 };
    flat(&(0..20).map(look).collect::<Vec<_>>());
    let leaks = |n: u64| {
        let mut it = look(n);
        it.taken.files += usize::try_from(n).expect("small") * 20;
        it
    };
    let leaking: Vec<Look> = (0..20).map(leaks).collect();
    assert!(std::panic::catch_unwind(|| flat(&leaking)).is_err());
}
