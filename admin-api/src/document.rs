//! The OpenAPI 3.1 document, written from the code of the routes.

use std::sync::LazyLock;

use axum::response::{IntoResponse, Response};
use http::header;
use serde_json::Value;
use utoipa::openapi::path::{Operation, ParameterBuilder, ParameterIn, PathItem};
use utoipa::openapi::schema::Type;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::{
    Components, ContentBuilder, InfoBuilder, ObjectBuilder, OpenApi, OpenApiBuilder, Ref, RefOr, Required,
    ResponseBuilder, SecurityRequirement, ServerBuilder,
};
use utoipa::{PartialSchema, ToSchema};

use crate::problem::{FaultyMember, ProblemDocument};

/// The document as it is served: made once.
pub(crate) fn text() -> String {
    static TEXT: LazyLock<String> = LazyLock::new(|| {
        let mut api = crate::routes().into_openapi();
        for item in api.paths.paths.values_mut() {
            complete(item);
        }
        let mut document = serde_json::to_value(&api).unwrap_or_default();
        sharpen(&mut document);
        let mut text = serde_json::to_string_pretty(&document).unwrap_or_default();
        text.push('\n');
        text
    });
    TEXT.clone()
}

/// What the document says beside its routes.
pub(crate) fn frame() -> OpenApi {
    let mut components = Components::new();
    components.add_security_scheme(
        "admin_key",
        SecurityScheme::Http(
            HttpBuilder::new().scheme(HttpAuthScheme::Bearer).description(Some("An admin key.")).build(),
        ),
    );
    components.schemas.insert(ProblemDocument::name().into(), ProblemDocument::schema());
    components.schemas.insert(FaultyMember::name().into(), FaultyMember::schema());
    let about = "Operators' API: tenants, wallets, keys, requests and the audit log. Money is decimal US dollars in a \
                 string; moments are RFC 3339 in UTC; ids carry their kind. Faults are RFC 9457 problem documents. A POST \
                 may carry an `Idempotency-Key`: a repeat with the same content is answered the same and done once, other \
                 content under the same key is a 409. A wallet's parent is never guessed: say `parent_id`, or the wallet \
                 is a root of its own.";
    OpenApiBuilder::new()
        .info(InfoBuilder::new().title("Alfred admin API").version("1").description(Some(about)).build())
        .servers(Some([ServerBuilder::new().url("/admin/v1").build()]))
        .security(Some([SecurityRequirement::new("admin_key", Vec::<String>::new())]))
        .components(Some(components))
        .build()
}

/// What every operation has in common: problems, and on a POST the `Idempotency-Key`.
fn complete(item: &mut PathItem) {
    if let Some(post) = &mut item.post {
        let moves_money = matches!(
            post.operation_id.as_deref(),
            Some("fund_wallet" | "refund_request" | "correct_request" | "create_charge")
        );
        let once = ParameterBuilder::new()
            .name("Idempotency-Key")
            .parameter_in(ParameterIn::Header)
            .required(if moves_money { Required::True } else { Required::False })
            .description(Some("1 to 255 printable ASCII characters; a repeat with the same content happens once."))
            .schema(Some(
                ObjectBuilder::new()
                    .schema_type(Type::String)
                    .min_length(Some(1))
                    .max_length(Some(255))
                    .pattern(Some("^[ -~]+$")),
            ))
            .build();
        post.parameters.get_or_insert_default().push(RefOr::T(once));
    }
    let operations: [&mut Option<Operation>; 5] =
        [&mut item.get, &mut item.post, &mut item.patch, &mut item.put, &mut item.delete];
    for operation in operations.into_iter().flatten() {
        for response in operation.responses.responses.values_mut() {
            if let RefOr::T(response) = response
                && response.description.is_empty()
            {
                response.description = "Done".to_owned();
            }
        }
        let problem = ContentBuilder::new().schema(Some(Ref::from_schema_name(ProblemDocument::name()))).build();
        let response =
            ResponseBuilder::new().description("A problem").content("application/problem+json", problem).build();
        operation.responses.responses.insert("default".into(), RefOr::T(response));
    }
}

/// Says of every member and parameter what its name promises: the form of ids, amounts and cursors.
fn sharpen(value: &mut Value) {
    let Value::Object(members) = value else {
        if let Value::Array(items) = value {
            items.iter_mut().for_each(sharpen);
        }
        return;
    };
    if let Some(Value::Object(properties)) = members.get_mut("properties") {
        for (name, schema) in properties {
            promise(name, schema);
        }
    }
    if let Some(name) = members.get("name").and_then(Value::as_str).map(str::to_owned)
        && let Some(schema) = members.get_mut("schema")
    {
        promise(&name, schema);
    }
    members.values_mut().for_each(sharpen);
}

fn promise(name: &str, schema: &mut Value) {
    let form = match name {
        "cursor" => "^[0-9a-z_-]{1,100}$",
        "org_id" => "^org_[0-9a-f]{32}$",
        "team_id" => "^team_[0-9a-f]{32}$",
        "user_id" => "^usr_[0-9a-f]{32}$",
        "wallet_id" | "parent_id" | "under_id" => "^wal_[0-9a-f]{32}$",
        "key_id" => "^key_[0-9a-f]{32}$",
        "markup" => "^[0-9]{1,4}([.][0-9]{1,6})?$",
        "request_id" => "^req_[0-9a-f]{32}$",
        name if name.ends_with("_delta_usd") || name == "net_cost_usd" => "^-?[0-9]{1,10}([.][0-9]{1,9})?$",
        name if name.ends_with("_credits") => "^[0-9]{1,13}([.][0-9]{1,6})?$",
        name if name.ends_with("_usd") => "^[0-9]{1,10}([.][0-9]{1,9})?$",
        _ => return,
    };
    if let Value::Object(schema) = schema {
        schema.insert("pattern".to_owned(), form.into());
    }
}

/// This document
#[utoipa::path(get, path = "/openapi.json", tag = "document", operation_id = "openapi",
    security(()), responses((status = 200, body = serde_json::Value)))]
pub(crate) async fn serve() -> Response {
    ([(header::CONTENT_TYPE, "application/json")], text()).into_response()
}
