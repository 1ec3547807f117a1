//! The ledger alone: callers that reserve and settle one after the other, as fast as they are answered.

use std::time::{Duration, Instant};

use ledger::{
    Actor, CallRecord, Charge, Id, Ledger, Money, NewKey, NewOrg, NewWallet, Options, Order, Org, Reserved, Wallet,
    WalletKind, Window,
};
use tokio::task::JoinSet;

use crate::load::at;

const PRICE: Money = Money::from_nanos(20_000);

struct Books {
    ledger: Ledger,
    org: Id<Org>,
    /// Leaf wallets with a key each, all under one root.
    leaves: Vec<(Id<Wallet>, Id<ledger::Key>)>,
}

async fn books(url: &str) -> Books {
    let ledger = Ledger::open(Options::new(url)).await.expect("a ledger");
    let org = ledger.new_id();
    ledger.tenants().create_org(NewOrg { id: org, name: "Bench".into() }, &Actor::System).await.expect("an org");
    let mut leaves = Vec::new();
    let root = wallet(&ledger, org, WalletKind::Org, None).await;
    for _ in 0..4 {
        let team = wallet(&ledger, org, WalletKind::Project, Some(root)).await;
        for _ in 0..4 {
            let project = wallet(&ledger, org, WalletKind::Project, Some(team)).await;
            for _ in 0..4 {
                let leaf = wallet(&ledger, org, WalletKind::Key, Some(project)).await;
                let id = ledger.new_id();
                let new = NewKey::new(id, "app", leaf);
                ledger.tenants().create_key(new, &Actor::System).await.expect("a key");
                leaves.push((leaf, id));
            }
        }
    }
    Books { ledger, org, leaves }
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

/// Runs it for a span of time; a row of the table.
pub async fn run(name: &str, url: &str, callers: usize, span: Duration) -> String {
    let books = books(url).await;
    let mut loops = JoinSet::new();
    let from = Instant::now();
    for caller in 0..callers {
        let (ledger, org) = (books.ledger.clone(), books.org);
        let (wallet, key) = books.leaves[caller % books.leaves.len()];
        loops.spawn(async move {
            let (mut reserves, mut pairs) = (Vec::new(), Vec::new());
            while from.elapsed() < span {
                let begun = Instant::now();
                let record =
                    CallRecord { kind: "chat.completions".into(), model: "bench".into(), ..CallRecord::default() };
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
                    record: record.clone(),
                };
                let Reserved::New(hold) = ledger.reserve(order).await.expect("there is money") else {
                    panic!("no claim was made");
                };
                reserves.push(micros(begun));
                ledger.settle(hold, Charge { cost: PRICE, price: PRICE, record }).await.expect("settled");
                pairs.push(micros(begun));
            }
            (reserves, pairs)
        });
    }
    let (mut reserves, mut pairs) = (Vec::new(), Vec::new());
    for (r, p) in loops.join_all().await {
        reserves.extend(r);
        pairs.extend(p);
    }
    let seconds = from.elapsed().as_secs_f64();
    books.ledger.close().await;
    reserves.sort_unstable();
    pairs.sort_unstable();
    let ms = |sorted: &[u32], quantile| format!("{:.2}", at(sorted, quantile) / 1000.0);
    format!(
        "| {name} | {callers} | {:.0} | {} | {} | {} | {} |",
        pairs.len() as f64 / seconds,
        ms(&reserves, 0.5),
        ms(&reserves, 0.99),
        ms(&pairs, 0.5),
        ms(&pairs, 0.99)
    )
}

fn micros(from: Instant) -> u32 {
    u32::try_from(from.elapsed().as_micros()).unwrap_or(u32::MAX)
}
