//! Index entries of a SQLite database, placed by the thousand (the migration `0004_books` says why).

use rusqlite::{Connection, params};

/// Rows without a place that readers look through. More of them make placing cheaper and reading dearer.
const RUN: i64 = 16_384;

/// How far the rows of one table are placed, and how far they go.
#[derive(Clone, Copy)]
struct Reach {
    placed: i64,
    last: i64,
}

#[derive(Default)]
pub(super) struct Places {
    reach: Option<[Reach; 2]>,
}

const NAMES: [&str; 2] = ["journal", "receipts"];

impl Places {
    /// After a batch was written, before it is committed: places what has gathered, if it is worth it.
    pub fn advance(&mut self, db: &Connection, journal: usize, receipts: usize) -> Result<(), rusqlite::Error> {
        let reach = match self.reach {
            None => read(db)?,
            Some([j, r]) => {
                let on =
                    |reach: Reach, by: usize| Reach { last: reach.last + i64::try_from(by).unwrap_or(RUN), ..reach };
                [on(j, journal), on(r, receipts)]
            }
        };
        self.reach = Some(place(db, reach, RUN)?);
        Ok(())
    }

    /// A batch was undone: what is placed must be read again.
    pub fn forget(&mut self) {
        self.reach = None;
    }
}

/// Places all that is left.
pub(super) fn place_all(db: &Connection) -> Result<(), rusqlite::Error> {
    let reach = read(db)?;
    place(db, reach, 1).map(drop)
}

fn read(db: &Connection) -> Result<[Reach; 2], rusqlite::Error> {
    let of = |name: &str, table: &str| -> Result<Reach, rusqlite::Error> {
        let placed = db.query_row("SELECT seq FROM placed WHERE name = ?1", [name], |row| row.get(0))?;
        let last = db.query_row(&format!("SELECT COALESCE(MAX(seq), 0) FROM {table}"), [], |row| row.get(0))?;
        Ok(Reach { placed, last })
    };
    Ok([of(NAMES[0], "journal")?, of(NAMES[1], "receipts")?])
}

fn place(db: &Connection, mut reach: [Reach; 2], run: i64) -> Result<[Reach; 2], rusqlite::Error> {
    for (name, reach) in NAMES.into_iter().zip(&mut reach) {
        if reach.last - reach.placed < run {
            continue;
        }
        let (after, to) = (reach.placed, reach.last);
        if name == "journal" {
            db.prepare_cached(
                "INSERT INTO journal_places (chain, seq)
                 SELECT chain, seq FROM journal WHERE seq > ?1 AND seq <= ?2 ORDER BY chain, seq",
            )?
            .execute(params![after, to])?;
        } else {
            db.prepare_cached(
                "INSERT INTO receipt_places (owner, call_id)
                 SELECT wallet_id, call_id FROM receipts WHERE seq > ?1 AND seq <= ?2
                  UNION ALL
                 SELECT org_id, call_id FROM receipts WHERE seq > ?1 AND seq <= ?2
                  ORDER BY 1, 2",
            )?
            .execute(params![after, to])?;
        }
        db.prepare_cached("UPDATE placed SET seq = ?2 WHERE name = ?1")?.execute(params![name, to])?;
        reach.placed = to;
    }
    Ok(reach)
}
