//! The plain way on SQLite: one connection, its statements prepared, callers one at a time.

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use rusqlite::{Connection, params};

use crate::books::Figures;
use crate::plain::{self, Act, Key};

pub struct Plain {
    db: Mutex<Connection>,
    chains: Vec<Vec<Key>>,
    calls: AtomicU64,
}

impl Plain {
    pub fn make(path: &Path, fan: [usize; 3]) -> Plain {
        let db = Connection::open(path).expect("a file");
        db.pragma_update(None, "journal_mode", "WAL").expect("WAL");
        db.pragma_update(None, "synchronous", "FULL").expect("FULL");
        db.set_prepared_statement_cache_capacity(64);
        let schema = plain::SCHEMA.replace("BYTES", "BLOB").replace("SERIAL_KEY", "INTEGER PRIMARY KEY");
        db.execute_batch(&schema).expect("tables");
        let (wallets, chains) = plain::tree(fan);
        db.execute_batch("BEGIN").expect("begun");
        for (id, parent) in wallets {
            db.prepare_cached(plain::INSERT_WALLET)
                .and_then(|mut s| s.execute(params![id, plain::ORG, parent, plain::LIMIT]))
                .expect("a wallet");
            db.prepare_cached(plain::INSERT_WINDOW)
                .and_then(|mut s| s.execute(params![id, plain::WINDOW]))
                .expect("a window");
        }
        db.execute(plain::INSERT_HEAD, params![plain::ORG, [0_u8; 32]]).expect("a head");
        db.execute_batch("COMMIT").expect("committed");
        Plain { db: Mutex::new(db), chains, calls: AtomicU64::new(1) }
    }

    pub fn run(&self, callers: usize, span: Duration) -> Figures {
        let from = Instant::now();
        let mut figures = Figures::default();
        std::thread::scope(|scope| {
            let callers: Vec<_> =
                (0..callers).map(|caller| scope.spawn(move || self.call_until(caller, callers, from + span))).collect();
            for caller in callers {
                figures.merge(&caller.join().expect("a caller"));
            }
        });
        figures.span = from.elapsed();
        figures
    }

    fn call_until(&self, caller: usize, callers: usize, until: Instant) -> Figures {
        let mut figures = Figures::default();
        let mut turn = caller;
        while Instant::now() < until {
            let chain = &self.chains[turn % self.chains.len()];
            turn += callers;
            let begun = Instant::now();
            let call = plain::key(2, self.calls.fetch_add(1, Ordering::Relaxed));
            self.act(Act::Reserve, call, chain).expect("reserved");
            figures.reserves.add(begun.elapsed());
            self.act(Act::Settle, call, chain).expect("settled");
            figures.pairs.add(begun.elapsed());
        }
        figures
    }

    fn act(&self, act: Act, call: Key, chain: &[Key]) -> Result<(), rusqlite::Error> {
        let db = self.db.lock().unwrap_or_else(PoisonError::into_inner);
        let (leaf, at) = (chain[chain.len() - 1], plain::WINDOW);
        db.prepare_cached("BEGIN IMMEDIATE")?.execute([])?;
        let held = match act {
            Act::Reserve => 0,
            Act::Settle => db.prepare_cached(plain::FIND_HOLD)?.query_row([call], |row| row.get(0))?,
        };
        let (spent, more) = act.moves(held);
        for wallet in chain {
            let (status, limit, used): (String, i64, i64) =
                db.prepare_cached(plain::WALLET)?.query_row(params![wallet, plain::WINDOW], |row| {
                    Ok((row.get(0)?, row.get(1)?, row.get::<_, i64>(2)? + row.get::<_, i64>(3)?))
                })?;
            assert!(status == "active" && used + spent + more <= limit, "there is money");
            db.prepare_cached(plain::MOVE)?.execute(params![spent, more, wallet, plain::WINDOW])?;
        }
        match act {
            Act::Reserve => db.prepare_cached(plain::HOLD)?.execute(params![
                call,
                plain::ORG,
                leaf,
                leaf,
                plain::LEGS,
                plain::PRICE,
                plain::PRICE,
                plain::ORG,
                at,
                at,
                plain::RECORD
            ])?,
            Act::Settle => {
                db.prepare_cached(plain::DROP_HOLD)?.execute([call])?;
                db.prepare_cached(plain::RECEIPT)?.execute(params![
                    call,
                    plain::ORG,
                    leaf,
                    leaf,
                    at,
                    plain::PRICE,
                    plain::PRICE,
                    held,
                    plain::LEGS,
                    plain::RECORD
                ])?
            }
        };
        db.prepare_cached(plain::JOURNAL)?.execute(params![
            call,
            at,
            act.kind(),
            leaf,
            plain::LEGS,
            call,
            more,
            spent
        ])?;
        let (seq, previous): (i64, Vec<u8>) =
            db.prepare_cached(plain::HEAD)?.query_row([plain::ORG], |row| Ok((row.get(0)?, row.get(1)?)))?;
        let (line, hash) = act.entry(call, seq + 1, &previous);
        db.prepare_cached(plain::AUDIT)?.execute(params![plain::ORG, seq + 1, at, act.kind(), line, previous, hash])?;
        db.prepare_cached(plain::MOVE_HEAD)?.execute(params![seq + 1, hash, plain::ORG])?;
        db.prepare_cached("COMMIT")?.execute([])?;
        Ok(())
    }
}
