//! Money that no hold stands for: charges booked by API, corrections of what was charged, and the word of whoever looked
//! at an expired hold. What is asked, why it may be refused, and the way to the writer.

use sha2::{Digest, Sha256};
use tokio::sync::oneshot;

use crate::audit::{Actor, Entry, kind};
use crate::error::{OverLimit, StoreError};
use crate::id::{Call, Id, JournalRow, Key, Wallet};
use crate::ledger::Ledger;
use crate::money::{Money, NANOS_PER_USD};
use crate::order::Receipt;
use crate::price::Usage;
use crate::queue::{ChargeJob, ConfirmJob, CorrectJob, Job};
use crate::record::{CallRecord, ChargeRecord};
use crate::store::values;

/// Something that was delivered outside the gateway and is charged here.
#[derive(Debug, Clone)]
pub struct NewCharge {
    /// Names its receipt. Made by the caller's side, as every call's.
    pub id: Id<Call>,
    pub wallet: Id<Wallet>,
    /// On whose behalf, if it is a key's: one of this very wallet.
    pub key: Option<Id<Key>>,
    /// What it cost us.
    pub cost: Money,
    /// What the tenant is charged. All of it must fit the limits of the wallet and of those above it.
    pub price: Money,
    pub reason: String,
    /// The system that asks for it, and its name for it there: each is charged once.
    pub source: String,
    pub reference: String,
    pub actor: Actor,
}

/// Why nothing was charged. Nothing was changed either.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ChargeError {
    #[error(transparent)]
    OverLimit(OverLimit),
    #[error("wallet {wallet} is suspended")]
    Suspended { wallet: Id<Wallet> },
    #[error("wallet {wallet} is closed")]
    Closed { wallet: Id<Wallet> },
    #[error("wallet {0} is not known")]
    UnknownWallet(Id<Wallet>),
    #[error("key {0} is not one of this wallet")]
    UnknownKey(Id<Key>),
    #[error("amount {0} cannot be charged")]
    Amount(Money),
    #[error("cost {0} cannot be booked")]
    Cost(Money),
    #[error("call {0} was made before with other content")]
    Conflict(Id<Call>),
    #[error("this reference was charged before with other content, by {0}")]
    Reference(Id<Call>),
    #[error("ledger store failed")]
    Store(#[from] StoreError),
}

/// The true sides of a call that was charged otherwise. Booked beside what was booked, never over it.
#[derive(Debug, Clone)]
pub struct Correction {
    /// Made by the caller's side: the same correction twice is one.
    pub id: Id<JournalRow>,
    pub call: Id<Call>,
    pub cost: Money,
    /// The true price. It is raised as far as the call's windows have room, the rest is overrun; it is lowered as far as
    /// nothing was refunded.
    pub price: Money,
    pub reason: String,
    /// The price list that it follows, if it follows one.
    pub price_version: Option<String>,
    /// What was used, if that is what was wrong.
    pub usage: Option<Usage>,
    pub actor: Actor,
}

/// Why nothing was corrected.
#[derive(Debug, Clone, thiserror::Error)]
pub enum CorrectError {
    #[error("call {0} is not known")]
    UnknownCall(Id<Call>),
    #[error("call {0} is still running")]
    Running(Id<Call>),
    #[error("call {0} was never charged")]
    NotCharged(Id<Call>),
    #[error("price {0} cannot be charged")]
    Price(Money),
    #[error("cost {0} cannot be booked")]
    Cost(Money),
    #[error("correction {0} was made before with other content")]
    Conflict(Id<JournalRow>),
    #[error("ledger store failed")]
    Store(#[from] StoreError),
}

/// Why there was nothing to confirm.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ConfirmError {
    #[error("call {0} is not known")]
    UnknownCall(Id<Call>),
    #[error("call {0} did not expire")]
    NotExpired(Id<Call>),
    #[error("ledger store failed")]
    Store(#[from] StoreError),
}

/// More than any one request can be worth, in dollars: beyond it an operator has mistyped, and what cannot be charged of it
/// would be the platform's loss.
pub const MOST_CORRECTED: Money = Money::from_nanos(1_000_000 * NANOS_PER_USD);

impl Ledger {
    /// Charges something that was delivered elsewhere, in every wallet of the chain or in none. Durable when it returns,
    /// and so is a refusal. The same again, by id or by reference, is answered with the first one's receipt.
    pub async fn charge(&self, charge: NewCharge) -> Result<Receipt, ChargeError> {
        if charge.price.is_negative() {
            return Err(ChargeError::Amount(charge.price));
        }
        if charge.cost.is_negative() {
            return Err(ChargeError::Cost(charge.cost));
        }
        let row = self.database().row("SELECT org_id FROM wallets WHERE id = $1", values![charge.wallet]).await?;
        let org = row.ok_or(ChargeError::UnknownWallet(charge.wallet))?.id("org_id")?;
        if let Some(key) = charge.key {
            let row = self.database().row("SELECT wallet_id FROM keys WHERE id = $1", values![key]).await?;
            let wallet: Option<Id<Wallet>> = row.map(|row| row.id("wallet_id")).transpose()?;
            if wallet != Some(charge.wallet) {
                return Err(ChargeError::UnknownKey(key));
            }
        }
        let room = self.queue().room().await?;
        let mut entry = Entry::new(Some(org), kind::CHARGE, charge.actor)
            .text("request_id", charge.id)
            .text("wallet_id", charge.wallet)
            .text("cost_usd", charge.cost)
            .text("price_usd", charge.price)
            // Which words they are is in the receipt: the log is no place for them, and shows that they are these.
            .text("source_sha256", hex::encode(Sha256::digest(&charge.source)))
            .text("reference_sha256", hex::encode(Sha256::digest(&charge.reference)));
        if let Some(key) = charge.key {
            entry.put_text("key_id", key);
        }
        let told = ChargeRecord { reason: charge.reason, source: charge.source, reference: charge.reference };
        let record = CallRecord { kind: "charge".to_owned(), charge: Some(told.clone()), ..CallRecord::default() };
        let (reply, answer) = oneshot::channel();
        self.queue().push(Job::Charge(ChargeJob {
            call: charge.id,
            org,
            wallet: charge.wallet,
            key: charge.key,
            cost: charge.cost,
            price: charge.price,
            told,
            record: crate::ledger::json(&record),
            actor: charge.actor,
            entry,
            _room: room,
            reply,
        }));
        let call = answer.await.unwrap_or(Err(ChargeError::Store(StoreError::Closed)))?;
        let receipt = self.receipts().get(call).await?;
        Ok(receipt.ok_or_else(|| StoreError::Corrupt(format!("receipt of {call}")))?)
    }

    /// Books what a call truly cost and is charged, in the windows that it was charged in.
    pub async fn correct(&self, correction: Correction) -> Result<Receipt, CorrectError> {
        if correction.price.is_negative() || correction.price > MOST_CORRECTED {
            return Err(CorrectError::Price(correction.price));
        }
        if correction.cost.is_negative() || correction.cost > MOST_CORRECTED {
            return Err(CorrectError::Cost(correction.cost));
        }
        let Some(receipt) = self.receipts().get(correction.call).await? else {
            return Err(CorrectError::UnknownCall(correction.call));
        };
        let room = self.queue().room().await?;
        let mut entry = Entry::new(Some(receipt.org), kind::ADJUST, correction.actor)
            .text("request_id", receipt.call)
            .text("wallet_id", receipt.wallet)
            .text("correction_id", correction.id)
            .text("cost_usd", correction.cost);
        if let Some(key) = receipt.key {
            entry.put_text("key_id", key);
        }
        if let Some(version) = &correction.price_version {
            entry.put_text("price_version", version);
        }
        let (reply, answer) = oneshot::channel();
        let chain = receipt.chain;
        self.queue().push(Job::Correct(CorrectJob { correction, chain, entry, _room: room, reply }));
        answer.await.unwrap_or(Err(CorrectError::Store(StoreError::Closed)))
    }

    /// Lets the full charge of an expired hold stand: somebody looked at it. Said again, nothing more is written.
    pub async fn confirm(&self, call: Id<Call>, actor: Actor) -> Result<Receipt, ConfirmError> {
        let Some(receipt) = self.receipts().get(call).await? else { return Err(ConfirmError::UnknownCall(call)) };
        let room = self.queue().room().await?;
        let mut entry = Entry::new(Some(receipt.org), kind::CONFIRM, actor)
            .text("request_id", call)
            .text("wallet_id", receipt.wallet);
        if let Some(key) = receipt.key {
            entry.put_text("key_id", key);
        }
        let (reply, answer) = oneshot::channel();
        self.queue().push(Job::Confirm(ConfirmJob { call, chain: receipt.chain, entry, _room: room, reply }));
        answer.await.unwrap_or(Err(ConfirmError::Store(StoreError::Closed)))
    }
}
