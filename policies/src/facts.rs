//! What a decision may depend on: the input document of every rule.
//!
//! A field here is a promise to whoever writes rules; adding one is a field here and one line in the gateway.
//! An optional fact that is not known is left out of `input`, so that a rule which asks for it is undefined: write
//! rules so that undefined closes (see README.md).

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Everything the rules may know about one call.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Facts {
    /// Who calls.
    pub caller: CallerFacts,
    /// What is asked.
    pub request: RequestFacts,
    /// Where it could go, in order of preference.
    pub candidates: Vec<Candidate>,
    /// What the scanner found: kind (`email`, `api_key`, …) to number of places.
    pub findings: BTreeMap<String, u64>,
    /// When, in UTC.
    pub time: TimeFacts,
    /// How the caller's money stands.
    #[serde(default)]
    pub budget: BudgetFacts,
    /// Where else a call's content may come to rest, by the hop's name (`cache`, `telemetry`, …): the hop's region, empty when it
    /// was not said.
    #[serde(default)]
    pub hops: BTreeMap<String, String>,
}

/// The caller, as the key that was shown establishes it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CallerFacts {
    /// `org_…`
    pub org: String,
    /// `team_…`
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub team: Option<String>,
    /// `usr_…`
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub user: Option<String>,
    /// `key_…`
    pub key: String,
    /// `wal_…`
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub wallet: Option<String>,
    /// The key's allow list of models: `null` says that the key has no such list, an empty one that it may use
    /// nothing. Always there, so that a rule which finds nothing opens nothing.
    pub models: Option<Vec<String>>,
    /// What admins say of the key's calls. The client's own word is `request.claims`.
    #[serde(default)]
    pub tags: BTreeMap<String, String>,
    /// The user's groups, as the directory or an admin says. Empty for a key that is nobody's.
    #[serde(default)]
    pub groups: Vec<String>,
    /// What admins say of the organisation, the team and the user.
    #[serde(default)]
    pub attributes: AttributeFacts,
}

/// What admins or the directory say of those a call belongs to.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct AttributeFacts {
    /// Of the organisation.
    pub org: BTreeMap<String, String>,
    /// Of the team; empty without one.
    pub team: BTreeMap<String, String>,
    /// Of the user; empty without one.
    pub user: BTreeMap<String, String>,
}

/// The request, without its text.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RequestFacts {
    /// `chat.completions`, `messages`, …
    pub kind: String,
    /// The model's name as the caller wrote it: an alias or `provider/model`.
    pub model: String,
    /// Whether the answer is streamed.
    pub stream: bool,
    /// The caller's own cap on the answer.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub max_output_tokens: Option<u64>,
    /// An upper bound of the prompt's tokens.
    pub input_tokens: u64,
    /// Whether tools are offered to the model.
    pub tools: bool,
    /// Whether images are sent.
    pub images: bool,
    /// The names of the tools that are offered.
    #[serde(default)]
    pub tool_names: Vec<String>,
    /// The labels or addresses of the MCP servers that the provider is to call.
    #[serde(default)]
    pub mcp_servers: Vec<String>,
    /// What kind of work it seems to be: `code`, `extraction`, … (`intent::Intent`). A guess, never proof.
    #[serde(default)]
    pub intent: String,
    /// How sure the guess is, in percent.
    #[serde(default)]
    pub intent_confidence: u8,
    /// How demanding it seems: 1 (trivial) … 4 (hard).
    #[serde(default)]
    pub tier: u8,
    /// The client's own claims (user, tags, metadata). Never proof of anything.
    pub claims: BTreeMap<String, String>,
}

/// One place where the call could be answered.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Candidate {
    /// `provider/model`
    pub target: String,
    /// The name that led here, as the caller wrote it: the request's model or one of its fallbacks.
    pub name: String,
    /// The provider's id in the configuration.
    pub provider: String,
    /// The provider's name of the model.
    pub model: String,
    /// Where the provider answers from; empty when it was not said.
    pub region: String,
    /// Whether it was reached through an alias (`models:`) rather than by its own name.
    pub alias: bool,
    /// USD per million input tokens, a decimal string.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub price_input: Option<String>,
    /// USD per million output tokens, a decimal string.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub price_output: Option<String>,
    /// The most tokens of prompt and answer together, where the catalogue knows.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub context_tokens: Option<u64>,
    /// Whether its breaker is closed.
    pub healthy: bool,
}

/// How the caller's money stands, as of at most a second ago: for advice, while the limits themselves hold exactly.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BudgetFacts {
    /// A wallet is past a soft limit that wants a cheaper plan: the second time that a call is decided.
    pub downgrade: bool,
    /// What the tightest wallet of the chain has free, in USD as a decimal string. Left out when no wallet has a limit, or no rule
    /// asks.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub left_usd: Option<String>,
    /// The same as a share of that wallet's limit, in whole percent, rounded down.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub left_percent: Option<u8>,
}

/// When the call came, in UTC. The only clock that rules have.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TimeFacts {
    /// Seconds since 1970.
    pub unix_seconds: i64,
    /// `monday` … `sunday`
    pub weekday: String,
    /// 0 … 23
    pub hour: u8,
}

impl TimeFacts {
    /// The facts of an instant.
    pub fn at(unix_seconds: i64) -> TimeFacts {
        const DAYS: [&str; 7] = ["thursday", "friday", "saturday", "sunday", "monday", "tuesday", "wednesday"];
        let day = unix_seconds.div_euclid(86_400).rem_euclid(7) as usize; // 1970-01-01 was a Thursday
        let hour = (unix_seconds.rem_euclid(86_400) / 3_600) as u8;
        TimeFacts { unix_seconds, weekday: DAYS[day].to_owned(), hour }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_instant_knows_its_weekday_and_hour() {
        for (seconds, weekday, hour) in [
            (0, "thursday", 0),
            (1_795_180_814, "friday", 13), // 2026-11-20 13:20:14
            (-1, "wednesday", 23),
        ] {
            let facts = TimeFacts::at(seconds);
            assert_eq!((facts.weekday.as_str(), facts.hour), (weekday, hour), "{seconds}");
        }
    }
}
