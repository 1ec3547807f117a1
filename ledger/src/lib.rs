//! The system of record: who may spend, what was held, what was spent, what happened.

pub mod alert;
mod amend;
pub mod approvals;
pub mod audit;
mod batch;
mod batches;
pub mod book;
mod charge;
mod clock;
mod decisions;
pub mod definitions;
mod entropy;
mod error;
mod failpoint;
mod forecast;
mod hold;
mod id;
mod key;
mod ledger;
mod life;
mod money;
mod order;
pub mod pace;
pub mod policies;
mod price;
pub mod prices;
mod queue;
mod record;
mod rows;
#[cfg(test)]
mod sim;
mod soft;
mod store;
mod tenants;
mod verify;
mod watch;
mod window;
mod writer;

pub use alert::AlertRow;
pub use approvals::{
    ApprovalFilter, ApprovalRow, ApprovalState, ApprovalUse, Approvals, Bar, Choice, DecideError, Grant, Needs,
    NewApproval, Reach, Requirement, Spend, Spent, Verdict,
};
pub use audit::{Actor, Entry};
pub use batches::{BatchFileRow, BatchRow, BatchState, BatchTerms, BatchTold, FileKind};
pub use charge::{ChargeError, ConfirmError, CorrectError, Correction, NewCharge};
pub use clock::{Clock, Timestamp, TimestampError};
pub use decisions::{
    DecisionFilter, DecisionResult, DecisionRow, Decisions, Frame, Lost, Priced, Reader, Replayable, ShadowWord,
};
pub use definitions::{
    After, DefinitionError, DefinitionKind, DefinitionRow, Definitions, NewDefinition, kind as definition_kind,
};
pub use entropy::Entropy;
pub use error::{FundError, OverLimit, RefundError, ReserveError, StoreError, Unready};
#[doc(hidden)]
pub use failpoint::failpoint;
pub use hold::{Hold, Owner, SoftWarning};
pub use id::{
    Activation, Alert, Approval, Batch, BatchFile, Call, Decision, Definition, Id, IdError, Instance, JournalRow, Key,
    Kind, MarkupRule, Operator, Org, Policy, Price, Team, User, Wallet,
};
pub use key::{PresentedKey, ShownKey};
pub use ledger::{Confirmed, Gauges, Ledger, Options};
pub use money::{Money, MoneyError, NANOS_PER_USD};
pub use order::{Charge, Claim, Estimate, Fund, Order, Receipt, Refund, RefusedCall, Release, Reserved};
pub use policies::{
    ActivationRow, NewActivation, NewPolicy, Policies, PolicyDiff, PolicyError, PolicyInForce, PolicyRow, PolicyScope,
    PolicySource, ShadowRow, kind as policy_kind,
};
pub use price::{
    Classes, Discount, Exact, LongContext, MOST_TIERS, Markup, MarkupError, Pieces, Rates, RatesError, Usage,
};
pub use queue::Pending;
pub use record::{AttemptRecord, BatchRecord, CallRecord, ChargeRecord, FindingRecord};
pub use soft::{MOST_THRESHOLDS, Percent, SoftAction, Threshold, ThresholdError, Thresholds};
pub use store::batches::Batches;
pub use store::charges::{Amended, Amendment};
pub use store::journal::{JournalEntry, Standing};
pub use store::outbox::{AlertFilter, Delivery, DeliveryState, Due, ListedAlert, Outbox};
pub use store::pace::BreakerRow;
pub use store::receipts::{ReceiptFilter, Receipts};
pub use store::trail::{Export, Head, Trail, TrailFilter, TrailLine};
pub use store::usage::{Place as UsagePlace, Used};
pub use tenants::{
    Anchor, Attributes, Coverage, Credential, CredentialAttributes, CredentialSet, DEFAULT_OVERLAP, Funding, KeyChange,
    KeyRow, LONGEST_CHAIN, LONGEST_OVERLAP, LimitChange, Limits, Mark, NewKey, NewOperator, NewOrg, NewTeam, NewUser,
    NewWallet, OperatorCredential, OperatorRow, OrgChange, OrgRow, Overlap, Page, Priority, Role, Rotation, Scope,
    Tags, TeamChange, TeamRow, TenantError, Tenants, UserChange, UserRow, WalletChange, WalletKind, WalletRow,
    WalletStatus, kind as tenant_kind,
};
pub use window::{Calendar, Period, Window, WindowError, Zone, ZoneError};
