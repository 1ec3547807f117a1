//! Prices, markups and what is done about targets without a price, on the wire.

use ledger::prices::{Imported, MarkupRow, NewlyPriced, PriceRow, Rerated, Skipped};
use ledger::{Call, Classes, Discount, Id, LongContext, Markup, MarkupRule, Money, Org, Price, Rates, Team, Timestamp};
use serde::{Deserialize, Deserializer, Serialize};
use utoipa::ToSchema;

use super::word;
use crate::problem::Problem;

/// What a target's tokens cost, in US dollars per million; a class that is not named costs what its text costs.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = Rates)]
pub(crate) struct RatesBody {
    #[schema(value_type = String, example = "2.50")]
    pub input: Money,
    #[schema(value_type = String, example = "10.00")]
    pub output: Money,
    /// Read from the provider's cache; else as input.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, example = "1.25")]
    pub cached_input: Option<Money>,
    /// Written to the provider's cache; else as input.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub cache_write: Option<Money>,
    /// Written to the provider's cache for an hour; else as `cache_write`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub cache_write_1h: Option<Money>,
    /// Heard; else as input.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub audio_input: Option<Money>,
    /// Seen; else as input.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub image_input: Option<Money>,
    /// Thought and not shown; else as output.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub reasoning: Option<Money>,
    /// Spoken; else as output.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub audio_output: Option<Money>,
    /// A million tokens of images that are made; else as output.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub image_output: Option<Money>,
    /// US dollars for each call beside its tokens; else none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub request: Option<Money>,
    /// US dollars for each search; else none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub search: Option<Money>,
    /// US dollars for each image that is made; else none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub image: Option<Money>,
    /// US dollars for each second that is heard or spoken; else none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub second: Option<Money>,
    /// US dollars for a million characters that are spoken; else none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub characters: Option<Money>,
    /// What of the price of tokens remains in a batch, as a factor from 0 to 1; else all of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, example = "0.5")]
    pub batch: Option<Discount>,
    /// Other rates for the whole call where its prompt is long; at most 4, by rising thresholds.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub long_context: Vec<LongContextBody>,
    /// It bills output that it does not stream; unless said, the catalogue knows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hidden_output: Option<bool>,
    /// It goes on billing when a stream is cancelled; unless said, the catalogue knows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bills_after_cancel: Option<bool>,
}

/// Rates above so many tokens of input, of all classes together. What is not named costs what it costs below.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = LongContext)]
pub(crate) struct LongContextBody {
    #[schema(example = 200_000, minimum = 1)]
    pub above: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub input: Option<Money>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub output: Option<Money>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub cached_input: Option<Money>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub cache_write: Option<Money>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub cache_write_1h: Option<Money>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub audio_input: Option<Money>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub image_input: Option<Money>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub reasoning: Option<Money>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub audio_output: Option<Money>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub image_output: Option<Money>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub request: Option<Money>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub search: Option<Money>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub image: Option<Money>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub second: Option<Money>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub characters: Option<Money>,
}

impl RatesBody {
    /// The rates, if they can be; `member` is what the body calls them.
    pub(crate) fn checked(self, member: &str) -> Result<Rates, Problem> {
        let rates = Rates {
            more: Classes {
                cached_input: self.cached_input,
                cache_write: self.cache_write,
                cache_write_1h: self.cache_write_1h,
                audio_input: self.audio_input,
                image_input: self.image_input,
                reasoning: self.reasoning,
                audio_output: self.audio_output,
                image_output: self.image_output,
                request: self.request,
                search: self.search,
                image: self.image,
                second: self.second,
                characters: self.characters,
            },
            batch: self.batch,
            long_context: self.long_context.into_iter().map(LongContext::from).collect(),
            hidden_output: self.hidden_output,
            bills_after_cancel: self.bills_after_cancel,
            ..Rates::new(self.input, self.output)
        };
        match rates.check() {
            Ok(()) => Ok(rates),
            Err(fault) => {
                Err(Problem::Member { member: format!("{member}.{}", fault.member), detail: fault.message.into() })
            }
        }
    }
}

impl From<Rates> for RatesBody {
    fn from(rates: Rates) -> Self {
        let Rates { input, output, more, batch, long_context, hidden_output, bills_after_cancel } = rates;
        RatesBody {
            input,
            output,
            cached_input: more.cached_input,
            cache_write: more.cache_write,
            cache_write_1h: more.cache_write_1h,
            audio_input: more.audio_input,
            image_input: more.image_input,
            reasoning: more.reasoning,
            audio_output: more.audio_output,
            image_output: more.image_output,
            request: more.request,
            search: more.search,
            image: more.image,
            second: more.second,
            characters: more.characters,
            batch,
            long_context: long_context.into_iter().map(LongContextBody::from).collect(),
            hidden_output,
            bills_after_cancel,
        }
    }
}

impl From<LongContextBody> for LongContext {
    fn from(tier: LongContextBody) -> Self {
        LongContext {
            above: tier.above,
            input: tier.input,
            output: tier.output,
            more: Classes {
                cached_input: tier.cached_input,
                cache_write: tier.cache_write,
                cache_write_1h: tier.cache_write_1h,
                audio_input: tier.audio_input,
                image_input: tier.image_input,
                reasoning: tier.reasoning,
                audio_output: tier.audio_output,
                image_output: tier.image_output,
                request: tier.request,
                search: tier.search,
                image: tier.image,
                second: tier.second,
                characters: tier.characters,
            },
        }
    }
}

impl From<LongContext> for LongContextBody {
    fn from(tier: LongContext) -> Self {
        let LongContext { above, input, output, more } = tier;
        LongContextBody {
            above,
            input,
            output,
            cached_input: more.cached_input,
            cache_write: more.cache_write,
            cache_write_1h: more.cache_write_1h,
            audio_input: more.audio_input,
            image_input: more.image_input,
            reasoning: more.reasoning,
            audio_output: more.audio_output,
            image_output: more.image_output,
            request: more.request,
            search: more.search,
            image: more.image,
            second: more.second,
            characters: more.characters,
        }
    }
}

/// A price to be added to the list.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewPrice {
    /// For this organisation alone; else for all that have no price of their own.
    #[schema(value_type = Option<String>)]
    pub org_id: Option<Id<Org>>,
    /// `provider/model`, or a pattern with `*`; the provider by its id in the configuration, or by its kind.
    #[schema(example = "openai/gpt-4o", min_length = 1, max_length = 256)]
    pub target: String,
    /// Now, unless said. A time in the past corrects; what was charged already stays until it is re-rated.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub effective_from: Option<Timestamp>,
    pub rates: RatesBody,
    /// Where it is known from: one line of 1 to 200 characters.
    #[schema(example = "provider's price page, 2026-11-20", min_length = 1, max_length = 200)]
    pub source: String,
}

/// A price in the list. It never changes; its id is the version that receipts name.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Price)]
pub(crate) struct PriceBody {
    #[schema(value_type = String, example = "prc_0192f0c1a2b37c4d8e5f60718293a4b5")]
    pub id: Id<Price>,
    #[schema(value_type = Option<String>, required)]
    pub org_id: Option<Id<Org>>,
    pub target: String,
    #[schema(value_type = String, format = DateTime)]
    pub effective_from: Timestamp,
    pub rates: RatesBody,
    pub source: String,
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
}

impl From<PriceRow> for PriceBody {
    fn from(row: PriceRow) -> Self {
        let PriceRow { id, org, target, effective_from, rates, source, created_at } = row;
        PriceBody { id, org_id: org, target, effective_from, rates: rates.into(), source, created_at }
    }
}

/// What a tenant is to be charged for a dollar of cost.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewMarkup {
    #[schema(value_type = String)]
    pub org_id: Id<Org>,
    /// Only this team's calls.
    #[schema(value_type = Option<String>)]
    pub team_id: Option<Id<Team>>,
    /// Only calls of this model: a name, or a pattern with `*`, of the model that was asked for or of the target that
    /// serves it.
    #[schema(example = "openai/*", min_length = 1, max_length = 256)]
    pub model: Option<String>,
    /// A factor from 1 to 1000 with at most 6 decimals. Null withdraws what was said of the same team and model before.
    #[serde(deserialize_with = "nullable")]
    #[schema(value_type = Option<String>, required, example = "1.2")]
    pub markup: Option<Markup>,
}

/// A member that has to be there, be it null.
fn nullable<'de, T: Deserialize<'de>, D: Deserializer<'de>>(deserializer: D) -> Result<Option<T>, D::Error> {
    Option::deserialize(deserializer)
}

/// A markup as it was set. The last one of the same team and model counts, and the most specific one that is meant: a
/// team's before a model's, both before either.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Markup)]
pub(crate) struct MarkupBody {
    #[schema(value_type = String, example = "mku_0192f0c1a2b37c4d8e5f60718293a4b5")]
    pub id: Id<MarkupRule>,
    #[schema(value_type = String)]
    pub org_id: Id<Org>,
    #[schema(value_type = Option<String>, required)]
    pub team_id: Option<Id<Team>>,
    #[schema(required)]
    pub model: Option<String>,
    #[schema(value_type = Option<String>, required, example = "1.2")]
    pub markup: Option<Markup>,
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
}

impl From<MarkupRow> for MarkupBody {
    fn from(row: MarkupRow) -> Self {
        let MarkupRow { id, org, team, model, factor, created_at } = row;
        MarkupBody { id, org_id: org, team_id: team, model, markup: factor, created_at }
    }
}

/// What is done about targets without a price.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct OrgPricing {
    /// `refuse` (the call is answered 422 `unpriced_model`) or `default` (it is charged `default_rates`).
    #[schema(example = "refuse", pattern = "^(refuse|default)$")]
    pub unpriced: String,
    #[serde(default)]
    #[schema(required = false)]
    pub default_rates: Option<RatesBody>,
}

impl OrgPricing {
    /// The rates to charge; none to refuse.
    pub(crate) fn rates(self) -> Result<Option<Rates>, Problem> {
        let wanted = |detail: &str| Problem::Member { member: "default_rates".into(), detail: detail.into() };
        let is_known = |text: &str| ["refuse", "default"].into_iter().find(|it| *it == text);
        match (word("unpriced", &self.unpriced, is_known, "refuse, default")?, self.default_rates) {
            ("default", Some(rates)) => rates.checked("default_rates").map(Some),
            ("default", None) => Err(wanted("is needed: unknown is not free")),
            (_, Some(_)) => Err(wanted("must be left out where unpriced calls are refused")),
            (_, None) => Ok(None),
        }
    }
}

impl From<Option<Rates>> for OrgPricing {
    fn from(rates: Option<Rates>) -> Self {
        let unpriced = if rates.is_some() { "default" } else { "refuse" };
        OrgPricing { unpriced: unpriced.to_owned(), default_rates: rates.map(RatesBody::from) }
    }
}

/// What came of an import.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ImportedPrices)]
pub(crate) struct ImportedBody {
    pub imported: Vec<NewlyPricedBody>,
    /// How many have this price already.
    pub unchanged: usize,
    pub skipped: Vec<SkippedBody>,
}

/// A price that was taken over.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ImportedPrice)]
pub(crate) struct NewlyPricedBody {
    #[schema(value_type = String)]
    pub id: Id<Price>,
    pub target: String,
    /// What was rounded up or could not be taken over.
    pub notes: Vec<String>,
}

/// A model of the file that was left out.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = SkippedPrice)]
pub(crate) struct SkippedBody {
    /// Its member in the file.
    pub name: String,
    pub reason: String,
}

impl From<Imported> for ImportedBody {
    fn from(done: Imported) -> Self {
        let Imported { imported, unchanged, skipped } = done;
        let told = |NewlyPriced { id, target, notes }| NewlyPricedBody { id, target, notes };
        let left = |Skipped { name, reason }| SkippedBody { name, reason };
        ImportedBody {
            imported: imported.into_iter().map(told).collect(),
            unchanged,
            skipped: skipped.into_iter().map(left).collect(),
        }
    }
}

/// Which calls to bring to a price.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RerateRequest {
    /// The first moment of the period.
    #[schema(value_type = String, format = DateTime)]
    pub from: Timestamp,
    /// The first moment after the period.
    #[schema(value_type = String, format = DateTime)]
    pub to: Timestamp,
    /// `next_cursor` of the go before.
    #[schema(value_type = Option<String>)]
    pub cursor: Option<Id<Call>>,
}

/// What came of one go.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Rerated)]
pub(crate) struct RerateBody {
    /// Settled calls of the period that the price is meant for.
    pub examined: u64,
    pub corrected: u64,
    /// They were charged this much already.
    pub unchanged: u64,
    /// Another price of the list is in force for them.
    pub outranked: u64,
    /// Charged by the configuration's price, which comes before the list, or by a version that named no price.
    pub left: u64,
    /// What tenants are charged more, or less.
    #[schema(value_type = String)]
    pub price_delta_usd: Money,
    /// What the platform's cost is more, or less.
    #[schema(value_type = String)]
    pub cost_delta_usd: Money,
    /// Give this as `cursor` to go on; null at the end.
    #[schema(value_type = Option<String>, required)]
    pub next_cursor: Option<Id<Call>>,
}

impl From<Rerated> for RerateBody {
    fn from(done: Rerated) -> Self {
        let Rerated { examined, corrected, unchanged, outranked, left, price_delta, cost_delta, next } = done;
        RerateBody {
            examined,
            corrected,
            unchanged,
            outranked,
            left,
            price_delta_usd: price_delta,
            cost_delta_usd: cost_delta,
            next_cursor: next,
        }
    }
}
