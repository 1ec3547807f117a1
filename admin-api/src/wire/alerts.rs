//! Alerts on the wire.

use ledger::{Alert, Delivery, Id, ListedAlert, Org, Timestamp, Wallet};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

/// Something that somebody should be told, and where it went.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Alert)]
pub(crate) struct AlertBody {
    #[schema(value_type = String, example = "alr_0192f0c1a2b37c4d8e5f60718293a4b5")]
    pub id: Id<Alert>,
    #[schema(value_type = String, format = DateTime)]
    pub at: Timestamp,
    #[schema(value_type = String)]
    pub org_id: Id<Org>,
    #[schema(value_type = Option<String>, required)]
    pub wallet_id: Option<Id<Wallet>>,
    /// `soft_limit`, `hard_limit`, `breaker`, `forecast` or `refund_failed`; more may come.
    #[schema(example = "hard_limit")]
    pub kind: String,
    /// Ids and amounts, by kind.
    #[schema(value_type = Object)]
    pub content: Value,
    /// One for each sink that it is for. Empty where no sink is configured for it, and for a second after it was made.
    pub deliveries: Vec<DeliveryBody>,
}

/// The delivery of an alert to one sink.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = AlertDelivery)]
pub(crate) struct DeliveryBody {
    /// Its name in the configuration.
    #[schema(example = "ops")]
    pub sink: String,
    /// `pending`, `delivered`, or `failed`: given up.
    #[schema(example = "delivered")]
    pub state: &'static str,
    pub attempts: i64,
    /// When it is tried next.
    #[schema(value_type = Option<String>, format = DateTime, required)]
    pub next_at: Option<Timestamp>,
    /// What went wrong last, such as `answered 500`.
    #[schema(required)]
    pub last_error: Option<String>,
    #[schema(value_type = Option<String>, format = DateTime, required)]
    pub delivered_at: Option<Timestamp>,
}

impl From<ListedAlert> for AlertBody {
    fn from(listed: ListedAlert) -> AlertBody {
        let ListedAlert { alert, deliveries } = listed;
        AlertBody {
            id: alert.id,
            at: alert.at,
            org_id: alert.org,
            wallet_id: alert.wallet,
            kind: alert.kind,
            content: serde_json::from_str(&alert.content).unwrap_or_default(),
            deliveries: deliveries.into_iter().map(DeliveryBody::from).collect(),
        }
    }
}

impl From<Delivery> for DeliveryBody {
    fn from(delivery: Delivery) -> DeliveryBody {
        DeliveryBody {
            sink: delivery.sink,
            state: delivery.state.as_str(),
            attempts: delivery.attempts,
            next_at: delivery.next_at,
            last_error: delivery.last_error,
            delivered_at: delivery.delivered_at,
        }
    }
}

/// Where to deliver an alert again.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Redeliver {
    /// Only this sink; every one that the alert is for, if left out.
    #[schema(example = "ops")]
    pub sink: Option<String>,
}
