//! `/config`: the configuration file of the process that answers, read again.

use axum::Json as Answer;
use axum::extract::State;

use crate::AdminState;
use crate::configuration::{ConfigStatus, NotReloaded, Reloaded};
use crate::operator::Caller;
use crate::problem::Problem;

/// Read the configuration file again
///
/// In the process that answers. All of it comes into force or, where it has any fault, nothing: then the answer is a 422 with every
/// fault's file, line and path. `needs_restart` names settings that only a start can change. Calls that run go on as they began.
#[utoipa::path(post, path = "/config/reload", tag = "configuration", operation_id = "reload_config",
    responses((status = 200, body = Reloaded)))]
pub(crate) async fn reload(State(state): State<AdminState>, caller: Caller) -> Result<Answer<Reloaded>, Problem> {
    match state.configuration.reload(caller.actor()).await {
        Ok(reloaded) => Ok(Answer(reloaded)),
        Err(NotReloaded::Faults(faults)) => Err(Problem::Unfit(faults)),
        Err(NotReloaded::NoFile) => Err(Problem::Refused {
            code: "no_file",
            detail: "this process was started without a configuration file: there is none to read again".into(),
        }),
    }
}

/// Read what configuration is in force, and how the last reload went
#[utoipa::path(get, path = "/config/status", tag = "configuration", operation_id = "config_status",
    responses((status = 200, body = ConfigStatus)))]
pub(crate) async fn status(State(state): State<AdminState>) -> Answer<ConfigStatus> {
    Answer(state.configuration.status())
}
