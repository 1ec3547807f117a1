//! The plain way, to compare with: the same tables, one transaction a call for the reserve and one for the settle, row
//! by row, with the chain's wallets and the audit head locked. What both databases' versions share.

use sha2::{Digest, Sha256};

/// A wallet, call or other thing: as long as the ledger's own ids.
pub type Key = [u8; 16];

/// The hot tables, column by column as the ledger has them, in a database of their own: whatever the ledger's schema
/// becomes, the comparison stands.
pub const SCHEMA: &str = "
    CREATE TABLE wallets (id BYTES PRIMARY KEY, org_id BYTES NOT NULL, parent_id BYTES, status TEXT NOT NULL,
        hard_limit BIGINT, window_kind TEXT NOT NULL);
    CREATE TABLE wallet_windows (wallet_id BYTES NOT NULL, window_start BIGINT NOT NULL, spent BIGINT NOT NULL,
        held BIGINT NOT NULL CHECK (held >= 0), warned BIGINT, PRIMARY KEY (wallet_id, window_start));
    CREATE TABLE holds (call_id BYTES PRIMARY KEY, org_id BYTES NOT NULL, key_id BYTES NOT NULL, wallet_id BYTES NOT NULL,
        legs TEXT NOT NULL, opened BIGINT NOT NULL, amount BIGINT NOT NULL, owner BYTES NOT NULL, at BIGINT NOT NULL,
        expires_at BIGINT NOT NULL, record TEXT NOT NULL);
    CREATE TABLE journal (seq SERIAL_KEY, id BYTES NOT NULL, at BIGINT NOT NULL, kind TEXT NOT NULL, chain BYTES NOT NULL,
        legs TEXT NOT NULL, call_id BYTES, held_delta BIGINT NOT NULL, spent_delta BIGINT NOT NULL);
    CREATE INDEX journal_by_chain ON journal (chain, seq);
    CREATE TABLE receipts (call_id BYTES PRIMARY KEY, org_id BYTES NOT NULL, wallet_id BYTES NOT NULL, key_id BYTES NOT NULL,
        at BIGINT NOT NULL, status TEXT NOT NULL, cost BIGINT NOT NULL, price BIGINT NOT NULL, held BIGINT NOT NULL,
        legs TEXT NOT NULL, record TEXT NOT NULL);
    CREATE INDEX receipts_by_org ON receipts (org_id, call_id);
    CREATE INDEX receipts_by_wallet ON receipts (wallet_id, call_id);
    CREATE TABLE audit_heads (chain BYTES PRIMARY KEY, seq BIGINT NOT NULL, hash BYTES NOT NULL);
    CREATE TABLE audit_log (chain BYTES NOT NULL, seq BIGINT NOT NULL, at BIGINT NOT NULL, kind TEXT NOT NULL,
        entry TEXT NOT NULL, prev_hash BYTES NOT NULL, hash BYTES NOT NULL, PRIMARY KEY (chain, seq));";

pub const INSERT_WALLET: &str = "INSERT INTO wallets (id, org_id, parent_id, status, hard_limit, window_kind) VALUES ($1, $2, $3, 'active', $4, 'month')";
pub const INSERT_WINDOW: &str =
    "INSERT INTO wallet_windows (wallet_id, window_start, spent, held) VALUES ($1, $2, 0, 0)";
pub const INSERT_HEAD: &str = "INSERT INTO audit_heads (chain, seq, hash) VALUES ($1, 0, $2)";

/// One wallet of the chain and its counters. Postgres adds FOR UPDATE.
pub const WALLET: &str = "SELECT w.status, w.hard_limit, c.spent, c.held
      FROM wallets w JOIN wallet_windows c ON c.wallet_id = w.id WHERE w.id = $1 AND c.window_start = $2";
pub const MOVE: &str =
    "UPDATE wallet_windows SET spent = spent + $1, held = held + $2 WHERE wallet_id = $3 AND window_start = $4";
pub const HOLD: &str =
    "INSERT INTO holds (call_id, org_id, key_id, wallet_id, legs, opened, amount, owner, at, expires_at, record)
     VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)";
pub const FIND_HOLD: &str = "SELECT amount FROM holds WHERE call_id = $1";
pub const DROP_HOLD: &str = "DELETE FROM holds WHERE call_id = $1";
pub const RECEIPT: &str =
    "INSERT INTO receipts (call_id, org_id, wallet_id, key_id, at, status, cost, price, held, legs, record)
     VALUES ($1, $2, $3, $4, $5, 'settled', $6, $7, $8, $9, $10)";
pub const JOURNAL: &str = "INSERT INTO journal (id, at, kind, chain, legs, call_id, held_delta, spent_delta)
     VALUES ($1, $2, $3, $4, $5, $6, $7, $8)";
/// Postgres adds FOR UPDATE.
pub const HEAD: &str = "SELECT seq, hash FROM audit_heads WHERE chain = $1";
pub const AUDIT: &str =
    "INSERT INTO audit_log (chain, seq, at, kind, entry, prev_hash, hash) VALUES ($1, $2, $3, $4, $5, $6, $7)";
pub const MOVE_HEAD: &str = "UPDATE audit_heads SET seq = $1, hash = $2 WHERE chain = $3";

/// The month that all of it happens in.
pub const WINDOW: i64 = 1_772_323_200_000_000;
pub const LIMIT: i64 = 1_000_000_000_000_000;
pub const PRICE: i64 = 20_000;
pub const ORG: Key = key(9, 0);
pub const LEGS: &str = "1772323200000003,1772323200000003,1772323200000003,1772323200000003";
pub const RECORD: &str =
    r#"{"kind":"chat.completions","model":"bench","target":null,"usage":{"input":0,"output":0},"attempts":[]}"#;

/// The id of a thing of some kind by its number; those made later sort later.
pub const fn key(kind: u8, number: u64) -> Key {
    let mut key = [0; 16];
    key[0] = kind;
    let digits = number.to_be_bytes();
    let mut place = 0;
    while place < 8 {
        key[8 + place] = digits[place];
        place += 1;
    }
    key
}

/// A wallet and its parent.
pub type Wallet = (Key, Option<Key>);

/// The tree of wallets: each with its parent, root first; and the chains of its leaves, in the order of their ids.
pub fn tree(fan: [usize; 3]) -> (Vec<Wallet>, Vec<Vec<Key>>) {
    let mut wallets = vec![(key(1, 0), None)];
    let mut level = vec![vec![key(1, 0)]];
    for width in fan {
        let mut next = Vec::new();
        for chain in level {
            for _ in 0..width {
                let id = key(1, wallets.len() as u64);
                wallets.push((id, chain.last().copied()));
                next.push([chain.as_slice(), &[id]].concat());
            }
        }
        level = next;
    }
    (wallets, level)
}

/// A call's two transactions, as both databases run them.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Act {
    Reserve,
    Settle,
}

impl Act {
    pub fn kind(self) -> &'static str {
        match self {
            Act::Reserve => "reserve",
            Act::Settle => "settle",
        }
    }

    /// What a wallet's spent and held change by.
    pub fn moves(self, held: i64) -> (i64, i64) {
        match self {
            Act::Reserve => (0, PRICE),
            Act::Settle => (PRICE, -held),
        }
    }

    /// The audit entry and its hash.
    pub fn entry(self, call: Key, seq: i64, previous: &[u8]) -> (String, Vec<u8>) {
        let number = u128::from_be_bytes(call);
        let line = format!(
            r#"{{"actor":"key_{number:032x}","amount_usd":"0.00002","at":"2026-03-11T12:00:00.000000Z","key_id":"key_{number:032x}","kind":"{}","model":"bench","prev_hash":"{number:064x}","request_id":"req_{number:032x}","seq":{seq},"wallet_id":"wal_{number:032x}"}}"#,
            self.kind()
        );
        let hash = Sha256::new().chain_update(previous).chain_update(&line).finalize().to_vec();
        (line, hash)
    }
}
