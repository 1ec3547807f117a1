//! Against scripted token servers and providers on loopback ports.

use std::sync::Arc;

use super::*;
use crate::credentials::google::tests::{account, verified};
use crate::request::{ModelRequest, Shape};
use crate::send::tests::{head, patient, read as read_answer, request, says, serve};
use crate::{Fleet, ProviderConfig};

const WHOLE: &str =
    r#"{"id":"x","choices":[{"index":0,"message":{"role":"assistant","content":"hi"},"finish_reason":"stop"}]}"#;

fn json(body: &str) -> String {
    head("200 OK", &format!("content-type: application/json\r\ncontent-length: {}\r\n", body.len())) + body
}

fn token(text: &str, lasts: &str) -> String {
    json(&format!(r#"{{"token_type":"Bearer","access_token":"{text}","expires_in":{lasts}}}"#))
}

fn target(config: &str, env: &str) -> Arc<Target> {
    let config: ProviderConfig = serde_yaml_ng::from_str(config).unwrap();
    Fleet::build(&[config], &|_| Some(env.to_owned())).unwrap().target("up/m").unwrap()
}

fn entra(provider: u16, directory: u16) -> Arc<Target> {
    let config = format!(
        "{{ id: up, kind: openai-compatible, base_url: \"http://127.0.0.1:{provider}/v1\", entra: {{ tenant: t, client_id: c, client_secret: {{ env: K }}, authority: \"http://127.0.0.1:{directory}\" }} }}"
    );
    target(&config, "CANARY secret")
}

#[tokio::test]
async fn a_service_account_signs_for_a_token_which_is_shown_until_it_expires() {
    let (tokens, asked) = serve(vec![says(token("ya29.one", "3600"))]);
    let (provider, heard) = serve(vec![says(json(WHOLE)), says(json(WHOLE))]);
    let (key, file) = account(&format!("http://127.0.0.1:{tokens}/token"));
    let config = format!(
        "{{ id: up, kind: openai-compatible, base_url: \"http://127.0.0.1:{provider}/v1\", google: {{ service_account: {{ env: K }} }} }}"
    );
    let (target, outbound) = (target(&config, &file), patient());
    for _ in 0..2 {
        let answer = outbound.send(&target, &request(false), 9).await.unwrap();
        assert_eq!(read_answer(answer).await, (WHOLE.to_owned(), None));
    }
    let asked = asked.join().unwrap();
    assert_eq!(asked.len(), 1);
    assert!(asked[0].starts_with("POST /token HTTP/1.1\r\n"), "{}", asked[0]);
    assert!(asked[0].contains("content-type: application/x-www-form-urlencoded"));
    let form = asked[0].split_once("\r\n\r\n").unwrap().1;
    let assertion = url::form_urlencoded::parse(form.as_bytes()).find(|it| it.0 == "assertion").unwrap().1;
    assert_eq!(verified(&assertion, &key).1["iss"], "alfred@p.iam.gserviceaccount.com");
    let shown = heard.join().unwrap();
    assert!(shown.iter().all(|it| it.contains("authorization: Bearer ya29.one\r\n")), "{shown:?}");
}

#[tokio::test]
async fn a_short_lived_token_is_fetched_again_and_so_is_one_that_was_refused() {
    let (directory, asked) =
        serve(vec![says(token("one", "\"0\"")), says(token("two", "3600")), says(token("three", "3600"))]);
    let (provider, heard) =
        serve(vec![says(json(WHOLE)), says(head("401 Unauthorized", "content-length: 0\r\n")), says(json(WHOLE))]);
    let (target, outbound) = (entra(provider, directory), patient());
    let mut classes = Vec::new();
    for _ in 0..3 {
        classes.push(outbound.send(&target, &request(false), 9).await.err().map(|it| it.class));
    }
    assert_eq!(classes, [None, Some(Class::Misconfigured), None]);
    let asked = asked.join().unwrap();
    assert!(asked.iter().all(|it| it.starts_with("POST /t/oauth2/v2.0/token ")), "{asked:?}");
    assert!(asked[0].contains("client_secret=CANARY+secret"));
    for (shown, expected) in heard.join().unwrap().iter().zip(["one", "two", "three"]) {
        assert!(shown.contains(&format!("authorization: Bearer {expected}\r\n")), "{shown}");
    }
}

#[tokio::test]
async fn fifty_calls_at_once_ask_the_token_server_once() {
    let late: crate::send::tests::Script = Box::new(|stream| {
        std::thread::sleep(Duration::from_millis(50));
        std::io::Write::write_all(stream, token("one", "3600").as_bytes()).unwrap();
    });
    let (directory, asked) = serve(vec![late]);
    let (target, outbound) = (entra(1, directory), patient());
    let mut calls = tokio::task::JoinSet::new();
    for _ in 0..50 {
        let (target, outbound) = (Arc::clone(&target), outbound.clone());
        calls.spawn(async move { outbound.token(&target).await.map(|it| it.map(|it| it.expose().to_owned())) });
    }
    assert!(calls.join_all().await.iter().all(|it| it.as_ref().unwrap().as_deref() == Some("one")));
    assert_eq!(asked.join().unwrap().len(), 1);
}

#[tokio::test]
async fn a_token_server_that_fails_is_told_apart_from_one_that_refuses_and_never_quoted() {
    for (answer, class) in [
        (
            head("400 Bad Request", "") + r#"{"error":"invalid_client","error_description":"CANARY"}"#,
            Class::Misconfigured,
        ),
        (head("401 Unauthorized", "") + "CANARY", Class::Misconfigured),
        (head("503 Busy", "") + "CANARY", Class::Connect),
        (head("429 Slow down", "") + "CANARY", Class::Connect),
        (json("CANARY"), Class::Connect),
        (json(r#"{"access_token":"CAN ARY"}"#), Class::Connect),
        (json(r#"{"expires_in":3}"#), Class::Connect),
    ] {
        let (directory, server) = serve(vec![says(answer.clone())]);
        let sent = ModelRequest::parse(Shape::OpenAi, r#"{"model":"a","messages":[]}"#.into()).unwrap();
        let error = patient().send(&entra(1, directory), &sent, 9).await.err().expect("an error");
        assert_eq!(error.class, class, "{answer}");
        assert!(!format!("{error:?}").contains("CAN"), "{error:?}");
        server.join().unwrap();
    }
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    assert_eq!(patient().token(&entra(1, nobody)).await.err().map(|it| it.class), Some(Class::Connect));
}

#[tokio::test]
async fn vertex_is_shown_the_service_accounts_token() {
    let answer = r#"{"candidates":[{"content":{"role":"model","parts":[{"text":"hi"}]},"finishReason":"STOP"}],"usageMetadata":{"promptTokenCount":1,"candidatesTokenCount":1,"totalTokenCount":2}}"#;
    let (tokens, asked) = serve(vec![says(token("ya29.two", "3600"))]);
    let (provider, heard) = serve(vec![says(json(answer))]);
    let (_, file) = account(&format!("http://127.0.0.1:{tokens}/token"));
    let config = format!(
        "{{ id: up, kind: vertex, base_url: \"http://127.0.0.1:{provider}/v1/projects/p\", google: {{ service_account: {{ env: K }} }}, settings: {{ project: p, location: europe-west4 }} }}"
    );
    let answer = patient().send(&target(&config, &file), &request(false), 9).await.unwrap();
    assert!(read_answer(answer).await.0.contains("\"content\":\"hi\""));
    asked.join().unwrap();
    let heard = heard.join().unwrap().remove(0);
    assert!(heard.contains("authorization: Bearer ya29.two\r\n") && !heard.contains("x-goog-api-key"), "{heard}");
    assert!(heard.contains("/models/m:generateContent"), "{heard}");
}
