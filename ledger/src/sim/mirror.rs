//! A real database beside the image: whatever the image loads, saves or undoes, it does too, and both must agree.

use std::collections::BTreeMap;
use std::fmt::Debug;

use tokio::runtime::Runtime;

use crate::audit::{Entry, Hash};
use crate::book::{Counter, Terms};
use crate::clock::Timestamp;
use crate::id::{Id, Instance, Org, Wallet};
use crate::money::Money;
use crate::rows::{ChainId, Effect, Loaded, Needs};
use crate::sim::Verdict;
use crate::sim::image::{Image, Purse, head_or_none};
use crate::sim::model::{Books, ensure};
use crate::sim::world::World;
use crate::store::tenants::{Change, insert_org, insert_wallet, update_wallet};
use crate::store::{Database, Place, Store, journal, receipts, values};
use crate::tenants::{Funding, OrgRow, WalletKind, WalletRow, WalletStatus};

pub(super) struct Mirror {
    runtime: Runtime,
    database: Database,
    /// One of each process.
    stores: Vec<Store>,
    loads: u64,
}

fn told<T>(what: &str, result: Result<T, crate::error::StoreError>) -> Result<T, String> {
    result.map_err(|error| format!("{what}: {error:?}"))
}

impl Mirror {
    /// Makes the world's tenants in a fresh database.
    pub fn open(url: &str, world: &World) -> Result<Mirror, String> {
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|it| it.to_string())?;
        let (database, stores) = runtime.block_on(async {
            let place = told("url", Place::parse(url))?;
            let database = told("connect", Database::connect(&place).await)?;
            told("migrate", database.migrate().await)?;
            told("tenants", make_tenants(&database, world).await)?;
            let mut stores = Vec::new();
            for process in &world.processes {
                stores.push(told("store", Store::open(&database, process.instance).await)?);
            }
            Ok::<_, String>((database, stores))
        })?;
        Ok(Mirror { runtime, database, stores, loads: 0 })
    }

    /// Loads the same, and compares every row.
    pub fn load(&mut self, process: usize, needs: &Needs, at: Timestamp, ours: &Loaded, image: &Image) -> Verdict {
        let theirs = told("load", self.runtime.block_on(self.stores[process].load(needs, at)))?;
        self.loads += 1;
        same_loaded(needs, ours, &theirs, image)
    }

    /// Saves and commits the same; where the image met a collision, so must it.
    pub fn commit(&mut self, process: usize, loaded: &Loaded, effect: &Effect, fits: bool) -> Verdict {
        let store = &mut self.stores[process];
        let done = self.runtime.block_on(async {
            store.save(loaded, effect).await?;
            store.commit().await
        });
        if fits {
            return told("commit", done);
        }
        ensure!(done.is_err(), "the database took what the image refused");
        Ok(())
    }

    pub fn committed(&mut self, process: usize, chain: &str, seq: i64, hash: &Hash, there: bool) -> Verdict {
        let found = told("committed", self.runtime.block_on(self.stores[process].committed(chain, seq, hash)))?;
        ensure!(found == there, "entry {seq} of {chain} is in one database only");
        Ok(())
    }

    pub fn undo(&mut self, process: usize) {
        self.runtime.block_on(self.stores[process].undo());
    }

    pub fn restart(&mut self, process: usize, instance: Id<Instance>) -> Verdict {
        self.runtime.block_on(self.stores[process].close());
        self.stores[process] = told("restart", self.runtime.block_on(Store::open(&self.database, instance)))?;
        Ok(())
    }

    /// An operator's change, as `Tenants::change_wallet` writes it.
    pub fn change(
        &mut self,
        wallet: Id<Wallet>,
        purse: &Purse,
        entry: &Entry,
        at: Timestamp,
        seq: i64,
        hash: &Hash,
    ) -> Verdict {
        let database = &self.database;
        let done = self.runtime.block_on(async {
            let mut change = Change::begin(database).await?;
            update_wallet(&mut change.tx, &row(wallet, purse, at)).await?;
            change.commit(at, std::slice::from_ref(entry)).await?;
            let rows = database
                .rows("SELECT hash FROM audit_log WHERE chain = $1 AND seq = $2", values![entry.chain.as_ref(), seq])
                .await?;
            rows.first().map(|row| row.hash("hash")).transpose()
        });
        ensure!(told("change", done)? == Some(*hash), "the change of {wallet} has another entry");
        Ok(())
    }

    pub fn forget(&mut self, before: Timestamp) -> Verdict {
        let database = &self.database;
        told(
            "forget",
            self.runtime.block_on(async {
                let mut tx = database.begin().await?;
                tx.execute("DELETE FROM claims WHERE at < $1", values![before]).await?;
                tx.commit().await
            }),
        )
    }

    /// Every row of both, at the end.
    pub fn compare(mut self, image: &Image, books: &Books) -> Verdict {
        let at = Timestamp::from_micros(i64::MAX / 4); // no window of that day has seen anything
        let calls = books.calls.keys().copied().collect::<Vec<_>>();
        for some in calls.chunks(200) {
            let needs = Needs {
                chains: image.chains.keys().copied().collect(),
                mixes: BTreeMap::new(),
                calls: some.to_vec(),
                claims: image.claims.keys().copied().collect(),
                refunds: image.refunds.keys().copied().collect(),
                fundings: image.fundings.keys().cloned().collect(),
                charges: image.charges.keys().cloned().collect(),
                corrections: image.corrections.keys().copied().collect(),
                funded: image.wallets.keys().copied().collect(),
                heads: image.audit.keys().map(|chain| chain.clone().into()).collect(),
            };
            let ours = image.look(&needs, at);
            self.load(0, &needs, at, &ours, image)?;
            self.undo(0);
        }
        let database = &self.database;
        self.runtime.block_on(async {
            same_journal(database, image).await?;
            same_trail(database, image).await?;
            let overrun = told("overrun", receipts::overrun(database).await)?;
            ensure!(overrun.nanos() == image.overrun, "overrun {overrun} instead of {}", image.overrun);
            for (table, ours) in [
                ("holds", image.holds.len()),
                ("receipts", image.receipts.len()),
                ("claims", image.claims.len()),
                ("refunds", image.refunds.len()),
                ("fundings", image.fundings.len()),
                ("wallet_windows", image.windows.len()),
                ("alerts", image.alerts.len()),
                ("charges", image.charges.len()),
                ("corrections", image.corrections.len()),
                ("journal", image.journal.len()),
                ("audit_log", image.audit.values().map(Vec::len).sum()),
            ] {
                let sql = format!("SELECT COUNT(*) AS n FROM {table}");
                let row = told(table, database.row(sql, values![]).await)?.ok_or("no count")?;
                let theirs: i64 = told(table, row.get("n"))?;
                ensure!(i64::try_from(ours) == Ok(theirs), "{theirs} rows in {table} instead of {ours}");
            }
            Ok::<(), String>(())
        })?;
        for store in &mut self.stores {
            self.runtime.block_on(store.close());
        }
        self.runtime.block_on(self.database.close());
        Ok(())
    }
}

async fn make_tenants(database: &Database, world: &World) -> Result<(), crate::error::StoreError> {
    let mut tx = database.begin().await?;
    let mut made: Vec<Id<Org>> = Vec::new();
    for (wallet, org) in &world.wallets {
        if !made.contains(org) {
            made.push(*org);
            insert_org(
                &mut tx,
                &OrgRow { id: *org, name: "org".into(), attributes: BTreeMap::new(), created_at: world.now },
                [0; 32],
            )
            .await?;
        }
        insert_wallet(&mut tx, &row(*wallet, &world.image.wallets[wallet], world.now), [0; 32]).await?;
    }
    tx.commit().await
}

fn row(wallet: Id<Wallet>, purse: &Purse, at: Timestamp) -> WalletRow {
    let terms = &purse.terms;
    let status = match (terms.closed, terms.suspended) {
        (true, _) => WalletStatus::Closed,
        (false, true) => WalletStatus::Suspended,
        (false, false) => WalletStatus::Active,
    };
    WalletRow {
        id: wallet,
        org: purse.org,
        name: "wallet".into(),
        kind: WalletKind::Project,
        team: None,
        user: None,
        parent: purse.chain.get(1).copied(),
        status,
        hard_limit: terms.hard_limit,
        soft_limit: terms.soft_limit,
        thresholds: terms.thresholds,
        soft_action: terms.soft_action,
        window: terms.window,
        funding: if terms.prepaid { Funding::Prepaid } else { Funding::Budget },
        funded: terms.funded,
        coverage: None,
        under: None,
        closed_at: terms.closed.then_some(at),
        created_at: at,
    }
}

fn same<K: Debug + Ord, V: Debug>(
    what: &str,
    ours: impl IntoIterator<Item = (K, V)>,
    theirs: impl IntoIterator<Item = (K, V)>,
) -> Verdict {
    let words = |(key, row): (K, V)| (format!("{key:?}"), format!("{row:?}"));
    let ours: BTreeMap<String, String> = ours.into_iter().map(words).collect();
    let theirs: BTreeMap<String, String> = theirs.into_iter().map(words).collect();
    ensure!(ours == theirs, "{what} differ: the image has {ours:?}, the database {theirs:?}");
    Ok(())
}

fn same_loaded(needs: &Needs, ours: &Loaded, theirs: &Loaded, image: &Image) -> Verdict {
    let chains = |of: &Loaded| of.chains.iter().map(|(leaf, it)| (*leaf, format!("{it:?}"))).collect::<Vec<_>>();
    same("chains", chains(ours), chains(theirs))?;
    // What was paid into a wallet that lives on a budget bounds nothing, so it may be remembered wrongly.
    let paid = |wallet: &Id<Wallet>, terms: &Terms| terms.prepaid || needs.funded.contains(wallet);
    let terms = |of: &Loaded| {
        let all = of.wallets.terms.iter();
        let told = |(wallet, terms): (&Id<Wallet>, &Terms)| {
            let funded = if paid(wallet, terms) { terms.funded } else { Money::ZERO };
            (*wallet, Terms { funded, ..Terms::clone(terms) })
        };
        all.map(told).collect::<Vec<_>>()
    };
    same("terms", terms(ours), terms(theirs))?;
    same("sums", ours.wallets.ever.iter(), theirs.wallets.ever.iter())?;
    same("holds", ours.holds.iter(), theirs.holds.iter())?;
    same("receipts", ours.receipts.iter(), theirs.receipts.iter())?;
    same("claims", ours.claims.iter(), theirs.claims.iter())?;
    same("refunds", ours.refunds.iter(), theirs.refunds.iter())?;
    same("charges", ours.charges.iter(), theirs.charges.iter())?;
    same("corrections", ours.corrections.iter(), theirs.corrections.iter())?;
    same("fundings", ours.fundings.iter(), theirs.fundings.iter())?;
    let head = |of: &Loaded, chain: &str| head_or_none(of.heads.get(chain).copied());
    for chain in ours.heads.keys().chain(theirs.heads.keys()) {
        ensure!(head(ours, chain) == head(theirs, chain), "heads of {chain} differ");
    }
    // A database may load more windows than are asked for, but no other ones.
    let counters = &theirs.wallets.counters;
    for (leg, counter) in &ours.wallets.counters {
        let found = counters.get(leg).copied().unwrap_or_default();
        ensure!(found == *counter, "{leg:?}: the image has {counter:?}, the database {found:?}");
    }
    for (leg, counter) in counters {
        let stored: Counter = image.windows.get(leg).copied().unwrap_or_default();
        ensure!(stored == *counter, "{leg:?}: the image has {stored:?}, the database {counter:?}");
    }
    Ok(())
}

/// The journal as it is read, wallet by wallet.
async fn same_journal(database: &Database, image: &Image) -> Verdict {
    for wallet in image.wallets.keys() {
        let with = |name: &&ChainId| image.is_in(*wallet, **name);
        let alone = format!("solo_{wallet}");
        let chains: Vec<String> = image.chains.keys().filter(with).map(ChainId::to_string).chain([alone]).collect();
        let rows = told("journal", journal::entries(database, *wallet, None, u32::MAX >> 1).await)?;
        let theirs = rows.iter().map(|row| {
            let money = [row.held_delta, row.spent_delta, row.funded_delta].map(Money::nanos);
            (row.id, row.at, row.kind.clone(), row.call, money)
        });
        let mut theirs: Vec<_> = theirs.collect();
        let ours = image.journal.iter().filter(|row| chains.contains(&row.chain));
        let mut ours: Vec<_> = ours
            .map(|row| (row.id, row.at, row.kind.to_owned(), row.call, [row.held, row.spent, row.funded]))
            .collect();
        theirs.sort();
        ours.sort();
        ensure!(ours == theirs, "journals of {wallet} differ");
    }
    Ok(())
}

async fn same_trail(database: &Database, image: &Image) -> Verdict {
    for (chain, entries) in &image.audit {
        let sql = "SELECT seq, entry, hash FROM audit_log WHERE chain = $1 ORDER BY seq";
        let rows = told("audit", database.rows(sql, values![chain]).await)?;
        ensure!(rows.len() == entries.len(), "{} entries in the audit of {chain}", rows.len());
        for (row, entry) in rows.iter().zip(entries) {
            let (seq, line): (i64, String) = (told("seq", row.get("seq"))?, told("entry", row.get("entry"))?);
            let right = (seq, &line, told("hash", row.hash("hash"))?) == (entry.seq, &entry.line, entry.hash);
            ensure!(right, "entry {seq} of {chain} differs");
        }
    }
    Ok(())
}
