//! What the process around the admin API knows of its configuration, and the face to it.

use futures_util::future::BoxFuture;
use ledger::{Actor, DefinitionKind, DefinitionRow};
use policies::{Pack, PackLimits};
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use crate::rules::RulesStatus;

/// The configuration of the process: read, checked and reloaded there.
pub trait Configuration: Send + Sync {
    /// Whether this would serve here if it were stored: checked by the very code that checks the file. `None` takes it away.
    fn check(&self, kind: DefinitionKind, id: String, body: Option<Value>) -> BoxFuture<'_, Result<(), Unfit>>;

    /// All providers, the file's first; none when what is configured could not be confirmed for too long (answered 503).
    fn providers(&self) -> Option<Vec<Configured>>;

    /// All models, likewise.
    fn models(&self) -> Option<Vec<Configured>>;

    /// Reads the file again and puts it into force, all of it that can be without a restart.
    fn reload(&self, actor: Actor) -> BoxFuture<'_, Result<Reloaded, NotReloaded>>;

    /// What is in force, and how the last reload went.
    fn status(&self) -> ConfigStatus;

    /// The rules that are in force here.
    fn rules(&self) -> RulesStatus {
        RulesStatus::default()
    }

    /// Whether rules that nobody has signed are refused.
    fn needs_signature(&self) -> bool {
        false
    }

    /// Reads a bundle, with its signature where one is needed. Takes its time: never called where calls are served.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    fn open_bundle(&self, bytes: &[u8]) -> Result<Pack, Vec<policies::Fault>> {
        Pack::read(bytes, &PackLimits::default())
    }
}

/// Why something cannot be stored.
#[derive(Debug)]
pub enum Unfit {
    /// The configuration file has one of this name, which comes first.
    InFile,
    /// What needs it.
    InUse(Vec<String>),
    /// Every fault, with its path in the body.
    Faults(Vec<ConfigFault>),
    /// What is configured could not be confirmed lately.
    Unsure,
}

/// Why a reload put nothing into force.
#[derive(Debug)]
pub enum NotReloaded {
    /// The process runs without a file.
    NoFile,
    /// Every fault; the configuration before stays in force.
    Faults(Vec<ConfigFault>),
}

/// One thing wrong with the configuration, and where.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct ConfigFault {
    /// Empty in what is not of a file.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub file: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub line: Option<usize>,
    /// As in `models[1].targets`.
    #[schema(example = "api_key.env")]
    pub path: String,
    pub message: String,
}

/// What a reload has put into force.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct Reloaded {
    /// The file's fingerprint.
    pub sha256: String,
    /// Settings that are new, gone or other than before; of lists with ids the items.
    #[schema(example = json!(["providers[openai]", "deadlines.total_ms"]))]
    pub changed: Vec<String>,
    /// Settings that are other than at the start and come into force with the next one.
    #[schema(example = json!(["listen"]))]
    pub needs_restart: Vec<String>,
}

/// How a reload went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It is in force.
    Applied,
    /// Nothing was other than before.
    Unchanged,
    /// It has faults: the one before stays in force.
    Refused,
}

/// What made the process read its file again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Trigger {
    /// The file changed.
    Watch,
    /// SIGHUP.
    Signal,
    /// This API.
    Api,
}

/// The last reload.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct LastReload {
    /// When.
    #[schema(format = DateTime)]
    pub at: String,
    pub trigger: Trigger,
    pub outcome: Outcome,
    /// The fingerprint of the file that was read.
    #[schema(required)]
    pub sha256: Option<String>,
    pub changed: Vec<String>,
    pub faults: Vec<ConfigFault>,
}

/// What configuration is in force.
#[derive(Debug, Clone, Default, Serialize, ToSchema)]
pub struct ConfigStatus {
    /// None: the process runs without a file.
    #[schema(required)]
    pub file: Option<String>,
    /// The fingerprint of the file that is in force.
    #[schema(required)]
    pub sha256: Option<String>,
    /// Changes of the file are noticed.
    pub watched: bool,
    /// Settings that come into force with the next start.
    pub needs_restart: Vec<String>,
    #[schema(required)]
    pub last: Option<LastReload>,
}

/// Who says that something is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// The configuration file and the environment.
    File,
    /// This API.
    Api,
}

/// What became of it in the process that answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum State {
    Serving,
    /// It cannot be built here, or not whole: see `faults`.
    Faulty,
    /// The file has one of the same name, which comes first.
    Overridden,
}

/// A provider or model that is configured.
#[derive(Debug, Clone)]
pub struct Configured {
    pub id: String,
    pub state: State,
    pub faults: Vec<ConfigFault>,
    /// As the file or the body said it.
    pub definition: Value,
    /// None: the file says it.
    pub row: Option<DefinitionRow>,
    pub targets: Vec<TargetHealth>,
}

/// How one target is, as the process that answers has met it.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct TargetHealth {
    #[schema(example = "openai/gpt-4o")]
    pub target: String,
    /// `closed` is well; an `open` one is left alone, a `half_open` one gets one call to try, and that is `probing`.
    #[schema(example = "closed")]
    pub breaker: &'static str,
    /// A model names it.
    #[serde(skip)]
    pub named: bool,
    /// Until an open breaker lets a call try.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub opens_again_in_ms: Option<u64>,
    /// Calls that it is working on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub in_flight: Option<u32>,
    /// About how long its first content takes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first_content_ms: Option<u64>,
}
