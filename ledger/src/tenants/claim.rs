//! What an operator's Idempotency-Key was used for, where the thing done has no id that would tell.

use super::{TenantError, Tenants};
use crate::clock::Timestamp;
use crate::store::tenants as rows;

/// How long a name is remembered.
const REMEMBERED_MICROS: i64 = 24 * 60 * 60 * 1_000_000;

impl Tenants<'_> {
    /// Takes `name` for what hashes to `content`, or finds it taken for the same; for other content it is a conflict.
    pub async fn claim(&self, name: [u8; 32], content: [u8; 32]) -> Result<(), TenantError> {
        let now = self.now();
        let forget = Timestamp::from_micros(now.micros() - REMEMBERED_MICROS);
        let mut tx = self.db().begin().await?;
        let taken_for = rows::claim(&mut tx, name, content, now, forget).await?;
        tx.commit().await?;
        if taken_for == content { Ok(()) } else { Err(TenantError::Conflict("another body".to_owned())) }
    }

    /// Frees `name`: what it was taken for was refused.
    pub async fn unclaim(&self, name: [u8; 32]) -> Result<(), TenantError> {
        let mut tx = self.db().begin().await?;
        rows::unclaim(&mut tx, name).await?;
        Ok(tx.commit().await?)
    }
}
