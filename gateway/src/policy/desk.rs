//! What operators are told of the rules in this process: which layers serve, and what was wrong with the last bundle that was polled.

use std::sync::{Arc, Mutex, PoisonError};

use admin_api::configuration::ConfigFault;
use admin_api::rules::{LayerState, PolledFault, RulesStatus};
use ledger::Timestamp;
use policies::{Fault as RuleFault, Pack};

use crate::app::App;
use crate::config::Fault;
use crate::reload::told_fault;

/// Why a polled bundle did not come into force.
pub struct PollFault {
    at: Timestamp,
    faults: Vec<Fault>,
}

impl PollFault {
    pub fn new(at: Timestamp, faults: Vec<Fault>) -> PollFault {
        PollFault { at, faults }
    }
}

/// The last one; told once, however often it comes.
#[derive(Default)]
pub struct PollFaults(Mutex<Option<PollFault>>);

impl PollFaults {
    pub fn tell(&self, fault: PollFault) {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if last.as_ref().is_some_and(|it| it.faults == fault.faults) {
            return;
        }
        for fault in &fault.faults {
            tracing::error!(%fault, "the bundle of rules cannot be taken over: the rules before stay in force");
        }
        *last = Some(fault);
    }

    pub fn clear(&self) {
        if self.0.lock().unwrap_or_else(PoisonError::into_inner).take().is_some() {
            tracing::info!("the bundle of rules is there again, and good");
        }
    }

    fn told(&self) -> Option<PolledFault> {
        let last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        last.as_ref().map(|it| PolledFault { at: it.at, faults: it.faults.iter().cloned().map(told_fault).collect() })
    }
}

/// How the layers are in this process.
pub fn status(app: &Arc<App>) -> RulesStatus {
    let (layers, policies) = (app.rules.layers(), Arc::clone(&app.present().policies));
    let mut states = vec![LayerState {
        scope: ledger::PolicyScope::House,
        policy: Some(layers.house_row.revision.id),
        revision: layers.house.set.revision().to_owned(),
        faults: Vec::new(),
    }];
    states.extend(layers.uploaded.iter().map(|(scope, layer)| LayerState {
        scope: *scope,
        policy: Some(layer.row.revision.id),
        revision: layer.set.revision().to_owned(),
        faults: layer.faults.iter().cloned().map(placed).collect(),
    }));
    RulesStatus { revision: policies.revision().to_owned(), layers: states, last_fault: app.rules.poll_fault.told() }
}

/// Opens a bundle that was uploaded, as the configuration's keys say.
pub fn open(app: &Arc<App>, bytes: &[u8]) -> Result<Pack, Vec<RuleFault>> {
    app.rules.layers().house.terms.trusted.open(bytes)
}

/// Whether rules that nobody has signed are refused.
pub fn needs_signature(app: &Arc<App>) -> bool {
    app.rules.layers().house.terms.trusted.required()
}

fn placed(fault: RuleFault) -> ConfigFault {
    let (line, message) = (fault.line.and_then(|it| usize::try_from(it).ok()), super::source::worded(&fault));
    ConfigFault { file: fault.path, line, path: String::new(), message }
}
