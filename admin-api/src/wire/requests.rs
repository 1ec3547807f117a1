//! Requests on the wire: their receipts, and refunds of them.

use std::collections::BTreeMap;

use ledger::{
    Amended, Amendment, AttemptRecord, BatchRecord, Call, ChargeRecord, FindingRecord, Id, JournalRow, Key, Markup,
    Money, Org, Receipt, Team, Timestamp, User, Wallet,
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// The receipt of a request.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Receipt)]
pub(crate) struct ReceiptBody {
    #[schema(value_type = String, example = "req_0192f0c1a2b37c4d8e5f60718293a4b5")]
    pub id: Id<Call>,
    #[schema(value_type = String)]
    pub org_id: Id<Org>,
    #[schema(value_type = String)]
    pub wallet_id: Id<Wallet>,
    /// Null for a charge that was booked on no key's behalf.
    #[schema(value_type = Option<String>, required)]
    pub key_id: Option<Id<Key>>,
    #[schema(value_type = Option<String>, required)]
    pub team_id: Option<Id<Team>>,
    #[schema(value_type = Option<String>, required)]
    pub user_id: Option<Id<User>>,
    /// The API that was called, such as `chat.completions`; `charge` for what was booked by API.
    pub kind: String,
    /// The model that the caller named.
    pub model: String,
    /// The provider and model that answered.
    #[schema(required)]
    pub target: Option<String>,
    /// The model that answered, as the provider calls it: `gpt-4o-2024-08-06` where `gpt-4o` was asked.
    #[schema(required)]
    pub model_version: Option<String>,
    /// `pending`, `settled`, `released`, `expired` or `refused`.
    #[schema(example = "settled")]
    pub status: String,
    /// How the call ended, in a word.
    pub ending: String,
    /// The code of the error that the caller saw.
    #[schema(required)]
    pub code: Option<String>,
    /// All input tokens: fresh, read from a provider's cache, and written to it.
    pub input_tokens: u64,
    /// Those that were read from a provider's cache.
    pub cached_input_tokens: u64,
    /// Those that were written to a provider's cache.
    pub cache_write_tokens: u64,
    /// All output tokens: shown, thought and spoken.
    pub output_tokens: u64,
    /// Those that were thought and not shown, where the provider tells them apart.
    pub reasoning_tokens: u64,
    /// Those that were heard.
    pub audio_input_tokens: u64,
    /// Those that were spoken.
    pub audio_output_tokens: u64,
    /// Those of images that were made.
    pub image_output_tokens: u64,
    /// Images that were made.
    pub images: u64,
    /// Seconds that were heard or spoken; a part of one counts as one.
    pub seconds: u64,
    /// Characters that were spoken.
    pub characters: u64,
    /// Searches that the provider made.
    pub searches: u64,
    /// The provider told no usage, so these are our own counts.
    pub tokens_estimated: bool,
    /// What the providers cost the platform, over all attempts.
    #[schema(value_type = String, example = "0.000123456")]
    pub cost_usd: Money,
    /// What the tenant is charged.
    #[schema(value_type = String, example = "0.000123456")]
    pub price_usd: Money,
    /// The same in credits, a unit of display: 1 credit is 0.001 USD.
    #[schema(example = "0.123456")]
    pub price_credits: String,
    /// Which price list it was charged from: `config:…`, `prc_…`, `catalog:…` or `default:…`; null where nothing was.
    #[schema(required, example = "prc_0192f0c1a2b37c4d8e5f60718293a4b5")]
    pub price_version: Option<String>,
    /// What the tenant pays for a dollar of the answer's cost.
    #[schema(value_type = String, example = "1.2")]
    pub markup: Markup,
    /// What was billed beyond what could be held; the platform's.
    #[schema(value_type = String, example = "0")]
    pub overrun_usd: Money,
    #[schema(value_type = String, example = "0")]
    pub refunded_usd: Money,
    /// What is held, while the call runs.
    #[schema(value_type = String, example = "0")]
    pub held_usd: Money,
    /// Charged without anybody's word because its process was lost: somebody should look, and confirm, refund or
    /// correct it.
    pub review: bool,
    pub stream: bool,
    /// When the call began, where it told so; else when it was booked.
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
    /// When it was last booked.
    #[schema(value_type = String, format = DateTime)]
    pub at: Timestamp,
    pub latency_ms: u64,
    #[schema(required)]
    pub first_byte_ms: Option<u64>,
    pub attempts: Vec<AttemptBody>,
    /// Why this target.
    pub routing: String,
    /// The revision of the policy that decided.
    pub policy: String,
    /// What was found in the texts, without the texts.
    pub safety: Vec<FindingBody>,
    /// What the cache did: `hit`, `semantic-hit`, `miss` or `bypass`.
    pub cache: String,
    /// What the client claims about itself.
    pub metadata: BTreeMap<String, String>,
    /// What came of the lines of a batch, of which the counts are sums; null for any other call.
    #[schema(required)]
    pub batch: Option<BatchBody>,
    /// What a charge that was booked by API is for; null for a call.
    #[schema(required)]
    pub charge: Option<ChargeBody>,
}

/// What came of the lines of a batch.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = BatchLines)]
pub(crate) struct BatchBody {
    #[schema(example = "batch_0192f0c1a2b37c4d8e5f60718293a4b5")]
    pub id: String,
    pub lines: u64,
    /// Answered, and charged.
    pub done: u64,
    pub failed: u64,
    /// Answered without a count of the provider's: counted by us.
    pub estimated: u64,
}

impl From<BatchRecord> for BatchBody {
    fn from(batch: BatchRecord) -> Self {
        let BatchRecord { id, lines, done, failed, estimated } = batch;
        BatchBody { id, lines, done, failed, estimated }
    }
}

/// What a charge is for, in the words of who booked it.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ChargeNote)]
pub(crate) struct ChargeBody {
    pub reason: String,
    /// The system that asked for it.
    pub source: String,
    /// Its name for it.
    pub reference: String,
}

impl From<ChargeRecord> for ChargeBody {
    fn from(charge: ChargeRecord) -> Self {
        let ChargeRecord { reason, source, reference } = charge;
        ChargeBody { reason, source, reference }
    }
}

/// One try of one target.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Attempt)]
pub(crate) struct AttemptBody {
    pub target: String,
    pub outcome: String,
    #[schema(required)]
    pub status: Option<u16>,
    pub latency_ms: u64,
    #[schema(value_type = String)]
    pub cost_usd: Money,
}

/// Something that safety found.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Finding)]
pub(crate) struct FindingBody {
    pub kind: String,
    /// Where in the request.
    pub place: String,
    pub count: u64,
    /// `allow`, `redact` or `block`.
    pub action: String,
}

impl From<AttemptRecord> for AttemptBody {
    fn from(attempt: AttemptRecord) -> Self {
        let AttemptRecord { target, outcome, status, latency_ms, cost } = attempt;
        AttemptBody { target, outcome, status, latency_ms, cost_usd: cost }
    }
}

impl From<FindingRecord> for FindingBody {
    fn from(finding: FindingRecord) -> Self {
        let FindingRecord { kind, place, count, action } = finding;
        FindingBody { kind, place, count, action }
    }
}

impl From<Receipt> for ReceiptBody {
    fn from(receipt: Receipt) -> Self {
        let record = receipt.record;
        let usage = record.usage;
        ReceiptBody {
            id: receipt.call,
            org_id: receipt.org,
            wallet_id: receipt.wallet,
            key_id: receipt.key,
            team_id: record.team,
            user_id: record.user,
            kind: record.kind,
            model: record.model,
            target: record.target,
            model_version: record.model_version,
            status: receipt.status,
            ending: record.ending,
            code: record.code,
            input_tokens: usage.all_input(),
            cached_input_tokens: usage.cached_input,
            cache_write_tokens: usage.all_cache_writes(),
            output_tokens: usage.all_output(),
            reasoning_tokens: usage.reasoning,
            audio_input_tokens: usage.audio_input,
            audio_output_tokens: usage.audio_output,
            image_output_tokens: usage.image_output,
            images: usage.images,
            seconds: usage.seconds,
            characters: usage.characters,
            searches: usage.searches,
            tokens_estimated: usage.estimated,
            cost_usd: receipt.cost,
            price_usd: receipt.price,
            price_credits: receipt.price.credits(),
            price_version: Some(record.price_version).filter(|it| !it.is_empty()),
            markup: record.markup.unwrap_or_default(),
            overrun_usd: receipt.overrun,
            refunded_usd: receipt.refunded,
            held_usd: receipt.held,
            review: receipt.review,
            stream: record.stream,
            created_at: record.started_at.unwrap_or(receipt.at),
            at: receipt.at,
            latency_ms: record.latency_ms,
            first_byte_ms: record.first_byte_ms,
            attempts: record.attempts.into_iter().map(AttemptBody::from).collect(),
            routing: record.routing,
            policy: record.policy,
            safety: record.findings.into_iter().map(FindingBody::from).collect(),
            cache: record.cache,
            metadata: record.claims,
            batch: record.batch.map(BatchBody::from),
            charge: record.charge.map(ChargeBody::from),
        }
    }
}

/// Money to be given back for a request.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RefundRequest {
    /// One line of 1 to 200 characters. It is kept for good: name no person.
    #[schema(example = "duplicate answer", min_length = 1, max_length = 200)]
    pub reason: String,
    /// All that is left of the price, unless said.
    #[schema(value_type = Option<String>, example = "0.01")]
    pub amount_usd: Option<Money>,
}

/// What a request truly cost and is charged.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct CorrectRequest {
    /// One line of 1 to 200 characters. It is kept for good: name no person.
    #[schema(example = "the price list was wrong", min_length = 1, max_length = 200)]
    pub reason: String,
    /// The true price. It is raised as far as the wallets had room in the windows of the request (the rest is overrun,
    /// the platform's), and lowered as far as nothing was refunded.
    #[schema(value_type = String, example = "0.01")]
    pub price_usd: Money,
    /// What it truly cost the platform.
    #[schema(value_type = String, example = "0.008")]
    pub cost_usd: Money,
}

/// Something that was put right about a request after it was charged.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Amendment)]
pub(crate) struct AmendmentBody {
    #[schema(value_type = String, example = "jrn_0192f0c1a2b37c4d8e5f60718293a4b5")]
    pub id: Id<JournalRow>,
    #[schema(value_type = String, format = DateTime)]
    pub at: Timestamp,
    /// `refund` or `correction`.
    #[schema(example = "refund")]
    pub kind: &'static str,
    pub reason: String,
    /// What was given back, by a refund.
    #[schema(value_type = Option<String>, required)]
    pub amount_usd: Option<Money>,
    /// Both sides, and what of the price could not be charged, after a correction.
    #[schema(value_type = Option<String>, required)]
    pub cost_usd: Option<Money>,
    #[schema(value_type = Option<String>, required)]
    pub price_usd: Option<Money>,
    #[schema(value_type = Option<String>, required)]
    pub overrun_usd: Option<Money>,
    /// Both sides before it.
    #[schema(value_type = Option<String>, required)]
    pub was_cost_usd: Option<Money>,
    #[schema(value_type = Option<String>, required)]
    pub was_price_usd: Option<Money>,
    /// The price list that the correction follows, if it follows one.
    #[schema(required)]
    pub price_version: Option<String>,
}

impl From<Amendment> for AmendmentBody {
    fn from(amendment: Amendment) -> Self {
        let Amendment { id, at, reason, what } = amendment;
        let body = AmendmentBody {
            id,
            at,
            kind: "refund",
            reason,
            amount_usd: None,
            cost_usd: None,
            price_usd: None,
            overrun_usd: None,
            was_cost_usd: None,
            was_price_usd: None,
            price_version: None,
        };
        match what {
            Amended::Refund { amount } => AmendmentBody { amount_usd: Some(amount), ..body },
            Amended::Correction { cost, price, overrun, was_cost, was_price, price_version, usage: _ } => {
                AmendmentBody {
                    kind: "correction",
                    cost_usd: Some(cost),
                    price_usd: Some(price),
                    overrun_usd: Some(overrun),
                    was_cost_usd: Some(was_cost),
                    was_price_usd: Some(was_price),
                    price_version,
                    ..body
                }
            }
        }
    }
}
