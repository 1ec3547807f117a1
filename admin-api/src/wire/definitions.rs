//! Providers and models on the wire.

use ledger::{DefinitionKind, DefinitionRow, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;

use crate::configuration::{ConfigFault, Configured, Source, State, TargetHealth};

/// A provider to be made: what an item of the file's `providers` may hold. No member tells a key, all only say where it is.
#[derive(Debug, Deserialize, ToSchema)]
pub(crate) struct NewProvider {
    /// The name in `openai/gpt-4o`.
    #[schema(example = "openai")]
    pub id: String,
    /// The adapter: a kind of the catalogue.
    #[schema(example = "openai")]
    pub kind: String,
    #[serde(flatten)]
    pub more: Map<String, Value>,
}

/// A model to be made: what an item of the file's `models` may hold.
#[derive(Debug, Deserialize, ToSchema)]
pub(crate) struct NewModel {
    /// The name that apps use.
    #[schema(example = "gpt-4o")]
    pub id: String,
    /// `provider/model`, in order of preference.
    pub targets: Vec<Value>,
    #[serde(flatten)]
    pub more: Map<String, Value>,
}

/// A JSON merge patch (RFC 7396) of the definition: a member that is null is taken away.
#[derive(Debug, Deserialize, ToSchema)]
pub(crate) struct DefinitionPatch {
    #[serde(flatten)]
    pub members: Map<String, Value>,
}

/// Which version to bring back.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Rollback {
    #[schema(example = 1, minimum = 1)]
    pub version: i64,
}

/// A provider that is configured.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Provider)]
pub(crate) struct ProviderBody {
    pub id: String,
    /// The adapter.
    pub kind: String,
    pub source: Source,
    pub state: State,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub faults: Vec<ConfigFault>,
    /// Of what this API stored.
    #[schema(required)]
    pub version: Option<i64>,
    /// As it was written.
    #[schema(value_type = Object)]
    pub definition: Value,
    /// Its targets that a model names or that were in trouble; of one provider all that the catalogue lists.
    pub targets: Vec<TargetHealth>,
}

/// A model that is configured.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Model)]
pub(crate) struct ModelBody {
    pub id: String,
    pub source: Source,
    pub state: State,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub faults: Vec<ConfigFault>,
    /// Of what this API stored.
    #[schema(required)]
    pub version: Option<i64>,
    /// As it was written.
    #[schema(value_type = Object)]
    pub definition: Value,
    /// How they are tried.
    #[schema(example = "ordered")]
    pub strategy: String,
    /// In the order of the definition.
    pub targets: Vec<TargetHealth>,
}

/// One version of a provider or model.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Version)]
pub(crate) struct VersionBody {
    pub version: i64,
    /// Null: with this version it was taken away.
    #[schema(required, value_type = Option<Object>)]
    pub definition: Option<Value>,
    /// Who wrote it.
    #[schema(example = "adm_0192d4a8c5e97b3a8f1e2d3c4b5a6978")]
    pub author: String,
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
}

impl From<DefinitionRow> for VersionBody {
    fn from(row: DefinitionRow) -> VersionBody {
        VersionBody { version: row.version, definition: row.body, author: row.author, created_at: row.created_at }
    }
}

impl From<Configured> for ProviderBody {
    fn from(it: Configured) -> ProviderBody {
        let kind = text(&it.definition, "kind").unwrap_or_default();
        let (source, version) = origin(&it);
        let Configured { id, state, faults, definition, targets, .. } = it;
        ProviderBody { id, kind, source, state, faults, version, definition: shown(definition), targets }
    }
}

impl From<Configured> for ModelBody {
    fn from(it: Configured) -> ModelBody {
        let strategy = text(&it.definition, "strategy").unwrap_or_else(|| "ordered".to_owned());
        let (source, version) = origin(&it);
        let Configured { id, state, faults, definition, targets, .. } = it;
        ModelBody { id, source, state, faults, version, definition, strategy, targets }
    }
}

fn origin(it: &Configured) -> (Source, Option<i64>) {
    match &it.row {
        Some(row) => (Source::Api, Some(row.version)),
        None => (Source::File, None),
    }
}

fn text(definition: &Value, member: &str) -> Option<String> {
    Some(definition.get(member)?.as_str()?.to_owned())
}

/// Headers are not for secrets; should the file hold one all the same, it is not told.
fn shown(mut definition: Value) -> Value {
    if let Some(headers) = definition.get_mut("headers").and_then(Value::as_object_mut) {
        headers.values_mut().for_each(|value| *value = Value::from("…"));
    }
    definition
}

/// What a new one is called, and all of it.
pub(crate) trait Defined {
    const KIND: DefinitionKind;
    fn id(&self) -> &str;
    fn whole(self) -> Value;
}

impl Defined for NewProvider {
    const KIND: DefinitionKind = DefinitionKind::Provider;
    fn id(&self) -> &str {
        &self.id
    }
    fn whole(self) -> Value {
        let mut whole = Map::new();
        whole.insert("id".into(), self.id.into());
        whole.insert("kind".into(), self.kind.into());
        whole.extend(self.more);
        Value::Object(whole)
    }
}

impl Defined for NewModel {
    const KIND: DefinitionKind = DefinitionKind::Model;
    fn id(&self) -> &str {
        &self.id
    }
    fn whole(self) -> Value {
        let mut whole = Map::new();
        whole.insert("id".into(), self.id.into());
        whole.insert("targets".into(), self.targets.into());
        whole.extend(self.more);
        Value::Object(whole)
    }
}
