//! `/v1/files` and `/v1/batches`.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::{ConnectInfo, Path, Request, State};
use axum::http::Response;
use providers::{Outside, Shape};

use super::calls::run;
use crate::app::App;
use crate::batches;

type House = State<Arc<App>>;
type Peer = ConnectInfo<SocketAddr>;

/// A path that names nothing, or a thing by its id.
macro_rules! path {
    ($name:ident, $kind:literal, $($work:ident)::+) => {
        pub async fn $name(State(app): House, peer: Peer, request: Request) -> Response<Body> {
            let query = request.uri().query().unwrap_or_default().to_owned();
            run(app, Shape::OpenAi, $kind, Outside::default(), peer, request, |app, call, case| async move {
                $($work)::+(&app, call, case, &query).await
            })
            .await
        }
    };
    ($name:ident, $kind:literal, $($work:ident)::+, id) => {
        pub async fn $name(State(app): House, peer: Peer, Path(id): Path<String>, request: Request) -> Response<Body> {
            run(app, Shape::OpenAi, $kind, Outside::default(), peer, request, |app, call, case| async move {
                $($work)::+(&app, call, case, &id).await
            })
            .await
        }
    };
}

path!(upload, "files", batches::upload);
path!(files, "files.list", batches::files);
path!(file, "files.get", batches::file, id);
path!(delete_file, "files.delete", batches::delete_file, id);
path!(content, "files.content", batches::content, id);
path!(submit, "batches", batches::submit);
path!(list, "batches.list", batches::list);
path!(one, "batches.get", batches::one, id);
path!(cancel, "batches.cancel", batches::cancel, id);
