//! Audit entries of administrative writes: appended in the transaction of the write itself.

use std::collections::BTreeMap;

use super::{Tx, values};
use crate::audit::{self, Entry, GENESIS, Hash};
use crate::clock::Timestamp;
use crate::error::StoreError;

/// Appends entries to their chains. The heads stay locked until the transaction ends.
pub(crate) async fn append(tx: &mut Tx, at: Timestamp, entries: &[Entry]) -> Result<(), StoreError> {
    let mut heads: BTreeMap<String, (i64, Hash)> = BTreeMap::new();
    for entry in entries {
        heads.insert(entry.chain.to_string(), (0, GENESIS));
    }
    // In the order of their names, as the writer takes them.
    for (chain, head) in &mut heads {
        tx.execute(
            "INSERT INTO audit_heads (chain, seq, hash) VALUES ($1, 0, $2) ON CONFLICT (chain) DO NOTHING",
            values![chain, GENESIS],
        )
        .await?;
        let row = tx.rows_for_update("SELECT seq, hash FROM audit_heads WHERE chain = $1", values![chain]).await?;
        let row = row.first().ok_or_else(|| StoreError::Corrupt(format!("audit head of {chain}")))?;
        *head = (row.get("seq")?, row.hash("hash")?);
    }
    let at_text = format!("\"{at}\"");
    for entry in entries {
        let Some(head) = heads.get_mut(entry.chain.as_ref()) else { continue };
        let sealed = audit::seal(entry, entry.kind, &[], (at, &at_text), head.0 + 1, head.1);
        *head = (sealed.seq, sealed.hash);
        tx.execute(
            "INSERT INTO audit_log (chain, seq, at, kind, entry, prev_hash, hash) VALUES ($1, $2, $3, $4, $5, $6, $7)",
            values![sealed.chain.as_ref(), sealed.seq, at, sealed.kind, sealed.line, sealed.prev_hash, sealed.hash],
        )
        .await?;
    }
    for (chain, (seq, hash)) in heads {
        tx.execute("UPDATE audit_heads SET seq = $2, hash = $3 WHERE chain = $1", values![chain, seq, hash]).await?;
    }
    Ok(())
}
