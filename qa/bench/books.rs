//! The ledger alone: callers that reserve and settle one after the other, as fast as they are answered.

use std::time::{Duration, Instant};

use ledger::{
    Actor, CallRecord, Charge, Id, Ledger, Money, NewKey, NewOrg, NewWallet, Options, Order, Org, Reserved, Wallet,
    WalletKind, Window,
};
use tokio::task::JoinSet;

/// What each call holds and costs.
pub const PRICE: Money = Money::from_nanos(20_000);

/// A ledger with a tree of wallets: an organisation's, and below it as many as `fan` says, level by level.
pub struct Books {
    pub ledger: Ledger,
    pub org: Id<Org>,
    /// Leaf wallets with a key each, all under one root.
    pub leaves: Vec<(Id<Wallet>, Id<ledger::Key>)>,
}

impl Books {
    pub async fn make(url: &str, fan: [usize; 3]) -> Books {
        let ledger = Ledger::open(Options::new(url)).await.expect("a ledger");
        let org = ledger.new_id();
        ledger
            .tenants()
            .create_org(NewOrg { id: org, name: "Bench".into(), attributes: ledger::Attributes::new() }, &Actor::System)
            .await
            .expect("an org");
        let mut level = vec![wallet(&ledger, org, WalletKind::Org, None).await];
        for (depth, width) in fan.into_iter().enumerate() {
            let kind = if depth == fan.len() - 1 { WalletKind::Key } else { WalletKind::Project };
            let mut next = Vec::with_capacity(level.len() * width);
            for parent in level {
                for _ in 0..width {
                    next.push(wallet(&ledger, org, kind, Some(parent)).await);
                }
            }
            level = next;
        }
        let mut leaves = Vec::with_capacity(level.len());
        for leaf in level {
            leaves.push((leaf, key(&ledger, leaf).await));
        }
        Books { ledger, org, leaves }
    }

    /// Runs so many callers for a span of time. Each goes through the leaves in turn.
    pub async fn run(&self, callers: usize, span: Duration) -> Figures {
        let mut loops = JoinSet::new();
        let from = Instant::now();
        for caller in 0..callers {
            let (ledger, org, leaves) = (self.ledger.clone(), self.org, self.leaves.clone());
            loops.spawn(async move {
                let mut figures = Figures::default();
                let mut turn = caller;
                while from.elapsed() < span {
                    let (wallet, key) = leaves[turn % leaves.len()];
                    turn += callers;
                    let begun = Instant::now();
                    let order = Order {
                        call: ledger.new_id(),
                        org,
                        key,
                        wallet,
                        amount: PRICE,
                        estimate: None,
                        patient: false,
                        downgraded: false,
                        extra: Vec::new(),
                        expires_at: ledger.clock().now().after(Duration::from_secs(600)),
                        claim: None,
                        record: record(),
                    };
                    let Reserved::New(hold) = ledger.reserve(order).await.expect("there is money") else {
                        panic!("no claim was made");
                    };
                    figures.reserves.add(begun.elapsed());
                    let charge = Charge { cost: PRICE, price: PRICE, record: record() };
                    ledger.settle(hold, charge).await.expect("settled");
                    figures.pairs.add(begun.elapsed());
                }
                figures
            });
        }
        let mut figures = Figures::default();
        for more in loops.join_all().await {
            figures.merge(&more);
        }
        figures.span = from.elapsed();
        figures
    }
}

/// What is remembered of each call.
pub fn record() -> CallRecord {
    CallRecord { kind: "chat.completions".into(), model: "bench".into(), ..CallRecord::default() }
}

async fn wallet(ledger: &Ledger, org: Id<Org>, kind: WalletKind, parent: Option<Id<Wallet>>) -> Id<Wallet> {
    let id = ledger.new_id();
    let new = NewWallet {
        parent,
        hard_limit: Some(Money::from_nanos(1_000_000_000_000_000)),
        window: Window::Month,
        ..NewWallet::new(id, org, "wallet", kind)
    };
    ledger.tenants().create_wallet(new, &Actor::System).await.expect("a wallet");
    id
}

async fn key(ledger: &Ledger, wallet: Id<Wallet>) -> Id<ledger::Key> {
    let id = ledger.new_id();
    let new = NewKey::new(id, "key", wallet);
    ledger.tenants().create_key(new, &Actor::System).await.expect("a key");
    id
}

/// What was measured.
#[derive(Default)]
pub struct Figures {
    pub reserves: Times,
    pub pairs: Times,
    pub span: Duration,
}

impl Figures {
    pub fn rate(&self) -> f64 {
        self.pairs.count as f64 / self.span.as_secs_f64()
    }

    pub fn merge(&mut self, more: &Figures) {
        self.reserves.merge(&more.reserves);
        self.pairs.merge(&more.pairs);
    }

    /// The cells of a table's row: pairs/s, then p50 and p99 of reserves and of pairs.
    pub fn cells(&self) -> String {
        format!(
            "{:.0} | {:.2} | {:.2} | {:.2} | {:.2}",
            self.rate(),
            self.reserves.ms(0.5),
            self.reserves.ms(0.99),
            self.pairs.ms(0.5),
            self.pairs.ms(0.99)
        )
    }
}

/// How long things took, in buckets a fiftieth apart: exact enough for quantiles, and of one size however long a run is.
pub struct Times {
    buckets: Vec<u64>,
    count: u64,
}

const STEP: f64 = 1.02;

impl Default for Times {
    fn default() -> Self {
        Times { buckets: vec![0; 1_200], count: 0 }
    }
}

impl Times {
    pub fn add(&mut self, time: Duration) {
        let bucket = (time.as_secs_f64() * 1e6).max(1.0).ln() / STEP.ln();
        let last = self.buckets.len() - 1;
        self.buckets[(bucket as usize).min(last)] += 1;
        self.count += 1;
    }

    fn merge(&mut self, more: &Times) {
        for (mine, other) in self.buckets.iter_mut().zip(&more.buckets) {
            *mine += other;
        }
        self.count += more.count;
    }

    /// The quantile in milliseconds.
    pub fn ms(&self, quantile: f64) -> f64 {
        let rank = (self.count as f64 * quantile).ceil() as u64;
        let mut seen = 0;
        for (bucket, count) in self.buckets.iter().enumerate() {
            seen += count;
            if seen >= rank.max(1) {
                return STEP.powf(bucket as f64 + 0.5) / 1_000.0;
            }
        }
        0.0
    }
}
