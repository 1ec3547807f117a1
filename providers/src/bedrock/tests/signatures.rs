use std::time::{Duration, SystemTime};

use bytes::Bytes;
use serde::Deserialize;

use super::*;
use crate::credentials::{AwsKeys, Secret};

#[derive(Deserialize)]
struct Case {
    what: String,
    method: String,
    url: String,
    body: String,
    content_type: Option<String>,
    access_key_id: String,
    secret_access_key: String,
    session_token: Option<String>,
    region: String,
    service: String,
    seconds: u64,
    date: String,
    authorization: String,
}

#[test]
fn a_request_is_signed_as_amazons_own_library_signs_it() {
    let cases: Vec<Case> = serde_json::from_str(&given("sign/botocore.json")).unwrap();
    assert!(cases.len() >= 6);
    for case in cases {
        let mut headers = HeaderMap::new();
        if let Some(value) = &case.content_type {
            headers.insert("content-type", value.parse().unwrap());
        }
        headers.insert("x-other", "not signed".parse().unwrap());
        let mut request = HttpRequest {
            method: case.method.parse().unwrap(),
            url: case.url.parse().unwrap(),
            headers,
            body: Bytes::from(case.body),
        };
        let keys = AwsKeys {
            access_key_id: case.access_key_id,
            secret_access_key: Secret::new(&*case.secret_access_key),
            session_token: case.session_token.clone().map(Secret::new),
        };
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(case.seconds);
        sign::sign(&mut request, &keys, &case.region, &case.service, now).unwrap();
        let told = |name: &str| request.headers.get(name).map(|it| it.to_str().unwrap());
        assert_eq!(told("authorization"), Some(&*case.authorization), "{}", case.what);
        assert_eq!(told("x-amz-date"), Some(&*case.date));
        assert_eq!(told("x-amz-security-token"), case.session_token.as_deref());
        assert!(request.headers["authorization"].is_sensitive());
        let shown = format!("{request:?} {:?} {keys:?}", request.headers);
        assert!(!shown.contains(&case.secret_access_key));
    }
}
