//! Index entries of a SQLite database, placed by the thousand (the migration `0004_books` says why). Rows gather until there
//! are enough of them; then their entries are written in their order, a slice with each batch, so that no caller waits
//! for all of it. `placed` moves when a run is through: until then its rows are still looked through one by one.

use rusqlite::{Connection, params};

/// Rows that gather before their entries are placed. More make placing cheaper and reading dearer.
const RUN: usize = 16_384;
/// Entries that are placed with a batch at least; with a large batch more, so that placing keeps ahead of writing.
const SLICE: usize = 128;

#[derive(Default)]
pub(super) struct Places {
    journal: Option<Tail<i64>>,
    receipts: Option<Tail<String>>,
}

/// The rows of one table that have no place yet.
struct Tail<Key> {
    /// Entries of rows that wait for the next run, and the last of these rows.
    gathered: Vec<(String, Key)>,
    last: i64,
    /// Entries of the run that is under way, in order, and the last of its rows.
    run: std::vec::IntoIter<(String, Key)>,
    run_to: i64,
}

impl Places {
    /// A row of the journal was written.
    pub fn journal(&mut self, chain: &str, seq: i64) {
        if let Some(tail) = &mut self.journal {
            tail.gathered.push((chain.to_owned(), seq));
            tail.last = seq;
        }
    }

    /// A receipt was written.
    pub fn receipt(&mut self, owners: [String; 2], call: &str, seq: i64) {
        if let Some(tail) = &mut self.receipts {
            tail.gathered.extend(owners.map(|owner| (owner, call.to_owned())));
            tail.last = seq;
        }
    }

    /// Before a batch writes: what is in the database must be known.
    pub fn know(&mut self, db: &Connection) -> Result<(), rusqlite::Error> {
        if self.journal.is_none() {
            self.journal =
                Some(read(db, "journal", "SELECT chain, seq, seq FROM journal WHERE seq > ?1 ORDER BY seq")?);
        }
        if self.receipts.is_none() {
            let sql = "SELECT wallet_id, call_id, seq FROM receipts WHERE seq > ?1 UNION ALL
                       SELECT org_id, call_id, seq FROM receipts WHERE seq > ?1 ORDER BY 3";
            self.receipts = Some(read(db, "receipts", sql)?);
        }
        Ok(())
    }

    /// After a batch was written, before it is committed: places a slice.
    pub fn advance(&mut self, db: &Connection, rows: usize) -> Result<(), rusqlite::Error> {
        let slice = SLICE + 2 * rows;
        if let Some(tail) = &mut self.journal {
            tail.advance(db, slice, "journal", "INSERT OR IGNORE INTO journal_places (chain, seq) VALUES (?1, ?2)")?;
        }
        if let Some(tail) = &mut self.receipts {
            let sql = "INSERT OR IGNORE INTO receipt_places (owner, call_id) VALUES (?1, ?2)";
            tail.advance(db, 2 * slice, "receipts", sql)?;
        }
        Ok(())
    }

    /// A batch was undone: what is placed must be read again.
    pub fn forget(&mut self) {
        *self = Places::default();
    }
}

impl<Key: Ord + rusqlite::ToSql> Tail<Key> {
    fn advance(&mut self, db: &Connection, slice: usize, name: &str, sql: &str) -> Result<(), rusqlite::Error> {
        if self.run.len() == 0 {
            if self.gathered.len() < RUN {
                return Ok(());
            }
            let mut run = std::mem::take(&mut self.gathered);
            run.sort_unstable();
            (self.run, self.run_to) = (run.into_iter(), self.last);
        }
        let mut insert = db.prepare_cached(sql)?;
        for (owner, key) in self.run.by_ref().take(slice) {
            insert.execute(params![owner, key])?;
        }
        if self.run.len() == 0 {
            db.prepare_cached("UPDATE placed SET seq = ?2 WHERE name = ?1")?.execute(params![name, self.run_to])?;
        }
        Ok(())
    }
}

fn read<Key: rusqlite::types::FromSql>(db: &Connection, name: &str, sql: &str) -> Result<Tail<Key>, rusqlite::Error> {
    let placed: i64 = db.query_row("SELECT seq FROM placed WHERE name = ?1", [name], |row| row.get(0))?;
    let mut last = placed;
    let mut rows = db.prepare(sql)?;
    let gathered = rows
        .query_map([placed], |row| {
            last = last.max(row.get(2)?);
            Ok((row.get(0)?, row.get(1)?))
        })?
        .collect::<Result<Vec<_>, _>>()?;
    Ok(Tail { gathered, last, run: Vec::new().into_iter(), run_to: placed })
}

/// Places all that is left.
pub(super) fn place_all(db: &Connection) -> Result<(), rusqlite::Error> {
    db.execute_batch(
        "INSERT OR IGNORE INTO journal_places (chain, seq)
         SELECT chain, seq FROM journal WHERE seq > (SELECT seq FROM placed WHERE name = 'journal') ORDER BY 1, 2;
         INSERT OR IGNORE INTO receipt_places (owner, call_id)
         SELECT wallet_id, call_id FROM receipts WHERE seq > (SELECT seq FROM placed WHERE name = 'receipts')
          UNION ALL
         SELECT org_id, call_id FROM receipts WHERE seq > (SELECT seq FROM placed WHERE name = 'receipts') ORDER BY 1, 2;
         UPDATE placed SET seq = (SELECT COALESCE(MAX(seq), 0) FROM journal) WHERE name = 'journal';
         UPDATE placed SET seq = (SELECT COALESCE(MAX(seq), 0) FROM receipts) WHERE name = 'receipts';",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn database() -> Connection {
        let db = Connection::open_in_memory().unwrap();
        db.execute_batch(
            "CREATE TABLE placed (name TEXT PRIMARY KEY, seq BIGINT NOT NULL);
             INSERT INTO placed VALUES ('journal', 0), ('receipts', 0);
             CREATE TABLE journal (seq INTEGER PRIMARY KEY, chain TEXT);
             CREATE TABLE receipts (seq INTEGER PRIMARY KEY, call_id TEXT, wallet_id TEXT, org_id TEXT);
             CREATE TABLE journal_places (chain TEXT, seq BIGINT, PRIMARY KEY (chain, seq));
             CREATE TABLE receipt_places (owner TEXT, call_id TEXT, PRIMARY KEY (owner, call_id));",
        )
        .unwrap();
        db
    }

    fn number(db: &Connection, sql: &str) -> i64 {
        db.query_row(sql, [], |row| row.get(0)).unwrap()
    }

    /// Rows that are neither placed nor behind the mark would never be found.
    fn all_are_found(db: &Connection) {
        let lost = "SELECT COUNT(*) FROM journal j WHERE seq <= (SELECT seq FROM placed WHERE name = 'journal')
                      AND NOT EXISTS (SELECT 1 FROM journal_places p WHERE p.chain = j.chain AND p.seq = j.seq)";
        assert_eq!(number(db, lost), 0);
        let lost = "SELECT COUNT(*) FROM receipts r WHERE seq <= (SELECT seq FROM placed WHERE name = 'receipts') AND
                    (NOT EXISTS (SELECT 1 FROM receipt_places p WHERE p.owner = r.wallet_id AND p.call_id = r.call_id)
                  OR NOT EXISTS (SELECT 1 FROM receipt_places p WHERE p.owner = r.org_id AND p.call_id = r.call_id))";
        assert_eq!(number(db, lost), 0);
    }

    #[test]
    fn every_row_is_placed_or_behind_the_mark_whatever_is_undone_on_the_way() {
        let db = database();
        let mut places = Places::default();
        let batch = 500_i64;
        for round in 0..200_i64 {
            let undone = round % 37 == 5;
            db.execute_batch("BEGIN").unwrap();
            places.know(&db).unwrap();
            let from = number(&db, "SELECT COALESCE(MAX(seq), 0) FROM journal");
            for seq in from + 1..=from + batch {
                let chain = format!("chain {}", seq * 7_919 % 61);
                db.execute("INSERT INTO journal VALUES (?1, ?2)", params![seq, chain]).unwrap();
                places.journal(&chain, seq);
                let (call, wallet) = (format!("call {seq}"), format!("wallet {}", seq % 61));
                db.execute("INSERT INTO receipts VALUES (?1, ?2, ?3, 'org')", params![seq, call, wallet]).unwrap();
                places.receipt([wallet, "org".to_owned()], &call, seq);
            }
            places.advance(&db, 500).unwrap();
            if undone {
                db.execute_batch("ROLLBACK").unwrap();
                places.forget();
            } else {
                db.execute_batch("COMMIT").unwrap();
            }
            all_are_found(&db);
        }
        assert!(number(&db, "SELECT seq FROM placed WHERE name = 'journal'") > 50_000, "runs come to their end");
        place_all(&db).unwrap();
        all_are_found(&db);
        assert_eq!(number(&db, "SELECT COUNT(*) FROM journal_places"), number(&db, "SELECT COUNT(*) FROM journal"));
        assert_eq!(
            number(&db, "SELECT COUNT(*) FROM receipt_places"),
            2 * number(&db, "SELECT COUNT(*) FROM receipts")
        );
    }
}
