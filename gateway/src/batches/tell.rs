//! Files and batches as OpenAI tells them. Ids are ours, names of files are nobody's, and no word is a provider's.

use ledger::{BatchFileRow, BatchRow};
use serde_json::{Map, Value, json};

const TIMES: [&str; 7] =
    ["in_progress_at", "finalizing_at", "completed_at", "failed_at", "expired_at", "cancelling_at", "cancelled_at"];

/// A file object.
pub fn file(file: &BatchFileRow) -> Value {
    json!({
        "id": file.id, "object": "file", "bytes": file.bytes, "created_at": seconds(file.created_at),
        "expires_at": file.expires_at.map(seconds), "filename": format!("{}.jsonl", file.id),
        "purpose": super::purpose(file.kind), "status": "processed", "status_details": null,
    })
}

/// A batch object.
pub fn batch(batch: &BatchRow) -> Value {
    let told = &batch.told;
    let faults: Vec<Value> = told
        .faults
        .iter()
        .map(|(line, code)| json!({"code": code, "line": line, "message": "The provider did not take it.", "param": null}))
        .collect();
    let errors = if faults.is_empty() { Value::Null } else { json!({"object": "list", "data": faults}) };
    let mut object = json!({
        "id": batch.id, "object": "batch", "endpoint": batch.endpoint, "model": batch.terms.model, "errors": errors,
        "input_file_id": batch.file, "completion_window": "24h", "status": told.status,
        "output_file_id": batch.output, "error_file_id": batch.errors, "created_at": seconds(batch.created_at),
        "expires_at": seconds(batch.expires_at),
        "request_counts": {"total": told.total, "completed": told.completed, "failed": told.failed},
        "metadata": if told.metadata.is_empty() { Value::Null } else { json!(told.metadata) },
    });
    let members: Option<&mut Map<String, Value>> = object.as_object_mut();
    if let Some(members) = members {
        members.extend(TIMES.map(|name| (name.to_owned(), json!(told.times.get(name)))));
    }
    object
}

fn seconds(at: ledger::Timestamp) -> i64 {
    at.micros().div_euclid(1_000_000)
}
