//! Against a scripted server on a loopback port. Deadlines are inputs: tiny where they are to pass, ample where they are not.

mod frames;
mod odd;

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread::JoinHandle;

use super::*;
use crate::error::Retry;
use crate::request::{AnswerEvent, Shape};
use crate::{Fleet, ProviderConfig};

const TINY: Duration = Duration::from_millis(60);
const AMPLE: Duration = Duration::from_secs(60);
const CHUNK: &str =
    "data: {\"id\":\"x\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"hi\"},\"finish_reason\":null}]}\n\n";
const LAST: &str =
    "data: {\"id\":\"x\",\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\ndata: [DONE]\n\n";

pub(super) type Script = Box<dyn FnOnce(&mut TcpStream) + Send>;

/// Serves connections one after the other, each with its own script; gives back what the clients sent.
pub(super) fn serve(scripts: Vec<Script>) -> (u16, JoinHandle<Vec<String>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let thread = std::thread::spawn(move || {
        let mut heard = Vec::new();
        for script in scripts {
            let (mut stream, _) = listener.accept().unwrap();
            heard.push(read_request(&mut stream));
            script(&mut stream);
        }
        heard
    });
    (port, thread)
}

fn read_request(stream: &mut TcpStream) -> String {
    let mut heard = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        let read = stream.read(&mut buffer).unwrap_or(0);
        heard.extend_from_slice(&buffer[..read]);
        let text = String::from_utf8_lossy(&heard).into_owned();
        let wanted = text
            .lines()
            .find_map(|it| it.to_lowercase().strip_prefix("content-length: ").map(|it| it.parse::<usize>().unwrap()));
        let body = text.split_once("\r\n\r\n").map(|it| it.1.len());
        if read == 0 || body.zip(wanted).is_some_and(|(body, wanted)| body >= wanted) {
            return text;
        }
    }
}

pub(super) fn says(text: String) -> Script {
    Box::new(move |stream| stream.write_all(text.as_bytes()).unwrap())
}

/// A head whose body ends when the connection does.
pub(super) fn head(status: &str, more: &str) -> String {
    format!("HTTP/1.1 {status}\r\nconnection: close\r\n{more}\r\n")
}

fn target(base_url: &str) -> Arc<Target> {
    let config = format!(
        "{{ id: up, kind: openai-compatible, base_url: \"{base_url}\", api_key: {{ env: K }}, headers: {{ x-org: o }} }}"
    );
    let config: ProviderConfig = serde_yaml_ng::from_str(&config).unwrap();
    Fleet::build(&[config], &|_| Some("sk-up".to_owned())).unwrap().target("up/m").unwrap()
}

fn local(port: u16) -> Arc<Target> {
    target(&format!("http://127.0.0.1:{port}/v1"))
}

pub(super) fn request(stream: bool) -> ModelRequest {
    let body =
        format!("{{\"model\":\"a\",\"stream\":{stream},\"messages\":[{{\"role\":\"user\",\"content\":\"x\"}}]}}");
    ModelRequest::parse(Shape::OpenAi, body.into()).unwrap()
}

fn outbound(connect: Duration, first_byte: Duration, idle: Duration) -> Outbound {
    Outbound::new(Deadlines { connect, first_byte, whole: first_byte, idle })
}

pub(super) fn patient() -> Outbound {
    outbound(AMPLE, AMPLE, AMPLE)
}

/// All of an answer: frames and closing, or the error it ended with.
pub(super) async fn read(mut answer: Answer) -> (String, Option<ProviderError>) {
    let mut out = String::new();
    while let Some(event) = answer.next().await {
        match event {
            Ok(AnswerEvent::Delta(delta)) => out.push_str(std::str::from_utf8(&delta.frame).unwrap()),
            Ok(AnswerEvent::End(end)) => out.push_str(std::str::from_utf8(&end.closing(None, None)).unwrap()),
            Ok(AnswerEvent::Usage(_)) => {}
            Err(error) => return (out, Some(error)),
        }
    }
    (out, None)
}

async fn refused(port: u16, outbound: Outbound, stream: bool) -> ProviderError {
    outbound.send(&local(port), &request(stream), 9).await.err().expect("an error")
}

#[tokio::test]
async fn a_stream_arrives_and_the_request_was_spliced() {
    let (port, server) = serve(vec![says(head("200 OK", "content-type: text/event-stream\r\n") + CHUNK + LAST)]);
    let answer = patient().send(&local(port), &request(true), 9).await.unwrap();
    assert_eq!(answer.status(), 200);
    assert_eq!(read(answer).await, (CHUNK.to_owned() + LAST, None));
    let heard = server.join().unwrap().remove(0);
    assert!(heard.starts_with("POST /v1/chat/completions HTTP/1.1\r\n"), "{heard}");
    for part in
        ["authorization: Bearer sk-up", "x-org: o", "\"model\":\"m\"", "\"max_tokens\":9", "{\"include_usage\":true}"]
    {
        assert!(heard.contains(part), "{part} in {heard}");
    }
}

#[tokio::test]
async fn a_connection_is_used_again_after_a_stream() {
    let chunked = |text: &str| format!("{:x}\r\n{text}\r\n", text.len());
    let both = move |stream: &mut TcpStream| {
        let answer = format!(
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n{}{}0\r\n\r\n",
            chunked(CHUNK),
            chunked(LAST)
        );
        stream.write_all(answer.as_bytes()).unwrap();
        read_request(stream);
        stream.write_all(answer.as_bytes()).unwrap();
    };
    let (port, server) = serve(vec![Box::new(both)]);
    let outbound = patient();
    for _ in 0..2 {
        let answer = outbound.send(&local(port), &request(true), 9).await.unwrap();
        assert_eq!(read(answer).await.1, None);
    }
    server.join().unwrap();
}

#[tokio::test]
async fn nobody_there_is_a_connect_failure() {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let error = refused(port, patient(), true).await;
    assert_eq!((error.class, error.retry, error.code), (Class::Connect, Retry::Elsewhere, "provider_unavailable"));
}

#[tokio::test]
async fn a_plain_server_behind_https_is_a_connect_failure() {
    let (port, server) = serve(vec![says("HTTP/1.1 400 Bad Request\r\n\r\n".to_owned())]);
    let error = outbound(TINY, AMPLE, AMPLE)
        .send(&target(&format!("https://127.0.0.1:{port}/v1")), &request(true), 9)
        .await
        .err()
        .unwrap();
    assert_eq!(error.class, Class::Connect);
    drop(server);
}

#[tokio::test]
async fn an_answer_that_does_not_begin_is_a_timeout() {
    let (done, wait) = std::sync::mpsc::sync_channel::<()>(0);
    let (port, server) = serve(vec![Box::new(move |_| wait.recv().unwrap_or_default())]);
    let error = refused(port, outbound(AMPLE, TINY, AMPLE), true).await;
    assert_eq!((error.class, error.retry, error.code), (Class::Timeout, Retry::Elsewhere, "provider_timeout"));
    drop(done);
    server.join().unwrap();
}

#[tokio::test]
async fn a_whole_answer_has_a_deadline_of_its_own() {
    let config: ProviderConfig = serde_yaml_ng::from_str("{ id: sim, kind: sim }").unwrap();
    let silent = Fleet::build(&[config], &|_| None).unwrap().target("sim/silent").unwrap();
    for (stream, first_byte, whole) in [(true, TINY, AMPLE), (false, AMPLE, TINY)] {
        let outbound = Outbound::new(Deadlines { first_byte, whole, ..Deadlines::default() });
        let error = outbound.send(&silent, &request(stream), 9).await.err().expect("an error");
        assert_eq!(error.class, Class::Timeout);
    }
}

#[tokio::test]
async fn an_answer_that_stops_is_a_timeout_and_what_came_was_given() {
    let (done, wait) = std::sync::mpsc::sync_channel::<()>(0);
    let (port, server) = serve(vec![Box::new(move |stream: &mut TcpStream| {
        stream.write_all((head("200 OK", "") + CHUNK).as_bytes()).unwrap();
        wait.recv().unwrap_or_default();
    })]);
    let answer = outbound(AMPLE, AMPLE, TINY).send(&local(port), &request(true), 9).await.unwrap();
    let (text, error) = read(answer).await;
    assert_eq!((&*text, error.unwrap().class), (CHUNK, Class::Timeout));
    drop(done);
    server.join().unwrap();
}

#[tokio::test]
async fn an_answer_that_breaks_off_is_broken_and_what_came_was_given() {
    for (more, class) in [("", Class::Broken), ("content-length: 9999\r\n", Class::Broken)] {
        let (port, server) = serve(vec![says(head("200 OK", more) + CHUNK)]);
        let answer = patient().send(&local(port), &request(true), 9).await.unwrap();
        let (text, error) = read(answer).await;
        assert_eq!((&*text, error.unwrap().class), (CHUNK, class));
        server.join().unwrap();
    }
}

#[tokio::test]
async fn a_server_that_hangs_up_without_a_word_is_broken() {
    let (port, server) = serve(vec![Box::new(|_| {})]);
    let error = refused(port, patient(), false).await;
    assert_eq!((error.class, error.retry), (Class::Broken, Retry::Elsewhere), "it may have run, and be billed");
    server.join().unwrap();
}

#[tokio::test]
async fn a_pooled_connection_that_hangs_up_without_a_word_is_tried_again_here() {
    let both = move |stream: &mut TcpStream| {
        let body = format!("{CHUNK}{LAST}");
        let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len());
        stream.write_all(answer.as_bytes()).unwrap();
        read_request(stream);
    };
    let (port, server) = serve(vec![Box::new(both)]);
    let outbound = patient();
    let first = outbound.send(&local(port), &request(true), 9).await.unwrap();
    assert_eq!(read(first).await.1, None);
    let error = refused(port, outbound, true).await;
    assert_eq!((error.class, error.retry), (Class::Broken, Retry::Here));
    server.join().unwrap();
}

#[tokio::test]
async fn what_a_target_cannot_be_asked_keeps_its_place() {
    let body = r#"{"model":"a","service_tier":"priority","messages":[]}"#;
    let request = ModelRequest::parse(Shape::OpenAi, body.into()).unwrap();
    let error = patient().send(&local(1), &request, 9).await.err().expect("an error");
    assert_eq!((error.code, error.param.as_deref()), ("unsupported_by_target", Some("service_tier")));
}

#[tokio::test]
async fn a_refusal_is_explained_with_its_wait() {
    let (port, server) =
        serve(vec![says(head("429 Too Many Requests", "retry-after: 7\r\n") + "{\"error\":{\"message\":\"SECRET\"}}")]);
    let error = refused(port, patient(), true).await;
    assert_eq!(
        (error.class, error.status, error.retry_after),
        (Class::RateLimited, Some(429), Some(Duration::from_secs(7)))
    );
    server.join().unwrap();
}

#[tokio::test]
async fn an_endless_error_is_not_read_to_its_end() {
    let flood = move |stream: &mut TcpStream| {
        stream.write_all(head("500 Oops", "").as_bytes()).unwrap();
        while stream.write_all(&[b'x'; 65_536]).is_ok() {}
    };
    let (port, server) = serve(vec![Box::new(flood)]);
    assert_eq!(refused(port, patient(), true).await.class, Class::Server);
    tokio::task::spawn_blocking(move || server.join().unwrap()).await.unwrap();
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let (port, server) = serve(vec![says(head("302 Found", "location: http://127.0.0.1:1/\r\n"))]);
    assert_eq!(refused(port, patient(), true).await.class, Class::Misconfigured);
    server.join().unwrap();
}

#[tokio::test]
async fn dropping_an_answer_hangs_up() {
    let flood = move |stream: &mut TcpStream| {
        stream.write_all(head("200 OK", "").as_bytes()).unwrap();
        while stream.write_all(CHUNK.as_bytes()).is_ok() {}
    };
    let (port, server) = serve(vec![Box::new(flood)]);
    let mut answer = patient().send(&local(port), &request(true), 9).await.unwrap();
    assert!(answer.next().await.unwrap().is_ok());
    drop(answer);
    tokio::task::spawn_blocking(move || server.join().unwrap()).await.unwrap();
}

#[tokio::test]
async fn the_simulator_answers_through_the_same_door() {
    let config: ProviderConfig = serde_yaml_ng::from_str("{ id: sim, kind: sim }").unwrap();
    let fleet = Fleet::build(&[config], &|_| None).unwrap();
    let send = |model: &str, stream| {
        let target = fleet.target(&format!("sim/{model}")).unwrap();
        async move { outbound(AMPLE, TINY, AMPLE).send(&target, &request(stream), 500).await }
    };
    let (text, error) = read(send("echo", true).await.unwrap()).await;
    assert!(
        text.ends_with("data: [DONE]\n\n") && text.contains("chat.completion.chunk") && !text.contains("usage"),
        "{text}"
    );
    assert_eq!(error, None);
    assert!(read(send("echo", false).await.unwrap()).await.0.contains("\"usage\":{\"prompt_tokens\""));
    assert_eq!(read(send("torn", true).await.unwrap()).await.1.unwrap().class, Class::Broken);
    assert_eq!(read(send("torn", false).await.unwrap()).await.1.unwrap().class, Class::Broken);
    assert_eq!(send("broken", true).await.err().unwrap().status, Some(503));
    assert_eq!(send("limited", true).await.err().unwrap().retry_after, Some(Duration::from_secs(2)));
    assert_eq!(send("silent", true).await.err().unwrap().class, Class::Timeout);
    assert!(fleet.target("sim/unheard-of").is_none());
}

#[tokio::test]
async fn a_caller_of_the_other_shape_is_answered_in_its_own() {
    let config: ProviderConfig = serde_yaml_ng::from_str("{ id: sim, kind: sim }").unwrap();
    let target = Fleet::build(&[config], &|_| None).unwrap().target("sim/echo").unwrap();
    for (stream, parts) in [
        (true, ["event: message_start", "text_delta", "event: message_stop"]),
        (false, ["\"type\":\"message\"", "You said", "\"stop_reason\":\"end_turn\""]),
    ] {
        let body = format!(
            "{{\"model\":\"a\",\"max_tokens\":200,\"stream\":{stream},\"messages\":[{{\"role\":\"user\",\"content\":\"hello\"}}]}}"
        );
        let request = ModelRequest::parse(Shape::Anthropic, body.into()).unwrap();
        let (text, error) = read(patient().send(&target, &request, 200).await.unwrap()).await;
        assert_eq!(error, None);
        parts.iter().for_each(|part| assert!(text.contains(part), "{part} in {text}"));
    }
}
