//! Audit entries on the wire: as they are exported, byte for byte.

use serde::Serialize;
use serde_json::value::RawValue;
use utoipa::ToSchema;

/// An entry of the audit log. Beside these members it has those of its kind: ids and amounts, never names or text.
#[derive(Debug, ToSchema)]
#[schema(as = AuditEntry)]
#[expect(
    dead_code,
    reason = "tells the document what an entry holds; entries are answered as the bytes that were hashed"
)]
pub(crate) struct EntryShape {
    /// The version of the entry's form.
    #[schema(example = 1)]
    v: u32,
    /// The organisation, or `platform`.
    chain: String,
    /// Its place in its chain, from 1.
    seq: u64,
    #[schema(format = DateTime)]
    at: String,
    #[schema(example = "WALLET_CHANGED")]
    kind: String,
    /// `adm_…`, `key_…` or `system`.
    actor: String,
    /// The hash of the entry before it; zeros at the start.
    prev_hash: String,
    /// SHA-256 of this entry in RFC 8785 form without `hash`.
    hash: String,
}

/// A page of audit entries.
#[derive(Debug, Serialize)]
pub(crate) struct Entries {
    pub data: Vec<Box<RawValue>>,
    pub next_cursor: Option<String>,
}
