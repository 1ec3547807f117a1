//! Tables made large at once: rows that calls have written, copied by the database itself under names of their own.
//! Calls alone would take an hour to write what takes a minute so.

use crate::postgres::Postgres;

/// A table that grows with the calls.
pub const GROWING: [&str; 3] = ["journal", "receipts", "audit_log"];

/// A column, as the database knows it.
pub struct Column {
    pub name: String,
    /// In lower case.
    pub kind: String,
}

/// Which database's SQL.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    Sqlite,
    Postgres,
}

/// The statement that copies rows of a table until `more` were added, naming them by numbers from `from` on.
///
/// `id`, `call_id` and `seq` are what tells rows apart. Copies of audit entries make chains of their own, a thousand of
/// them: they do not verify, and stand in nobody's way.
pub fn copies(dialect: Dialect, table: &str, columns: &[Column], from: u64, more: u64) -> String {
    let audit = table == "audit_log";
    let copied = columns.iter().filter(|column| column.name != "seq" || audit);
    let (names, values): (Vec<&str>, Vec<String>) =
        copied.map(|column| (column.name.as_str(), value(dialect, audit, column))).unzip();
    let (names, values, until) = (names.join(", "), values.join(", "), from + more - 1);
    match dialect {
        Dialect::Postgres => format!(
            "WITH sample AS (SELECT *, row_number() OVER () - 1 AS pick FROM {table} LIMIT 5000),
                  size AS (SELECT count(*) AS rows FROM sample)
             INSERT INTO {table} ({names})
             SELECT {values} FROM generate_series({from}, {until}) AS n, size, sample s WHERE s.pick = n % size.rows"
        ),
        Dialect::Sqlite => format!(
            "CREATE TEMP TABLE sample_{table} (pick INTEGER PRIMARY KEY, {names});
             INSERT INTO sample_{table} (pick, {names})
             SELECT row_number() OVER () - 1, {names} FROM (SELECT * FROM {table} LIMIT 5000);
             INSERT INTO {table} ({names})
             WITH RECURSIVE numbers(n) AS (SELECT {from} UNION ALL SELECT n + 1 FROM numbers WHERE n < {until})
             SELECT {values} FROM numbers CROSS JOIN sample_{table} s
              WHERE s.pick = n % (SELECT count(*) FROM sample_{table});
             DROP TABLE sample_{table};"
        ),
    }
}

fn value(dialect: Dialect, audit: bool, column: &Column) -> String {
    let name = &column.name;
    let bytes = matches!(column.kind.as_str(), "blob" | "bytea");
    match (name.as_str(), audit, dialect, bytes) {
        ("seq", ..) => "n".to_owned(),
        // 16 bytes, or the text of an id with its prefix kept; other texts and bytes are made longer by a number.
        ("id" | "call_id", false, Dialect::Postgres, true) => "decode(lpad(to_hex(n), 32, '0'), 'hex')".to_owned(),
        ("id" | "call_id", false, Dialect::Postgres, false) => {
            format!("left(s.{name}, length(s.{name}) - 32) || lpad(to_hex(n), 32, '0')")
        }
        ("id" | "call_id", false, Dialect::Sqlite, true) => "unhex(printf('%032x', n))".to_owned(),
        ("id" | "call_id", false, Dialect::Sqlite, false) => {
            format!("substr(s.{name}, 1, length(s.{name}) - 32) || printf('%032x', n)")
        }
        ("chain", true, Dialect::Postgres, true) => "decode(lpad(to_hex(n % 1000), 32, '0'), 'hex')".to_owned(),
        ("chain", true, Dialect::Postgres, false) => "s.chain || (n % 1000)::text".to_owned(),
        ("chain", true, Dialect::Sqlite, true) => "unhex(printf('%032x', n % 1000))".to_owned(),
        ("chain", true, Dialect::Sqlite, false) => "s.chain || (n % 1000)".to_owned(),
        _ => format!("s.{name}"),
    }
}

/// Brings a table of a Postgres database to `rows` more rows, in portions, and lets the planner know.
pub fn grow_postgres(server: &Postgres, database: &str, table: &str, from: u64, more: u64) {
    const PORTION: u64 = 1_000_000;
    let told = server.psql(
        database,
        &format!("SELECT column_name, data_type FROM information_schema.columns WHERE table_name = '{table}' ORDER BY ordinal_position"),
    );
    let told = told.expect("columns");
    let columns: Vec<Column> = told
        .lines()
        .filter_map(|line| line.split_once('|'))
        .map(|(name, kind)| Column { name: name.to_owned(), kind: kind.to_lowercase() })
        .collect();
    let mut done = 0;
    while done < more {
        let portion = PORTION.min(more - done);
        let sql = copies(Dialect::Postgres, table, &columns, from + done, portion);
        server.psql(database, &sql).expect("rows are copied");
        done += portion;
    }
    server.psql(database, &format!("ANALYZE {table}")).expect("analyzed");
}
