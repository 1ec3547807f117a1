//! Sinks against a receiver on this machine that reads what comes as any receiver would.

use std::collections::BTreeSet;

use ledger::{AlertRow, Id, Timestamp, alert};
use providers::Secret;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpListener;

use super::mail::{Mailer, Post, Tls};
use super::sink::{Means, sign};
use super::*;

fn an_alert() -> AlertRow {
    AlertRow {
        id: Id::from_uuid(uuid::Uuid::from_u128(7)),
        at: Timestamp::from_micros(1_773_230_400_000_000),
        org: Id::from_uuid(uuid::Uuid::from_u128(1)),
        wallet: Some(Id::from_uuid(uuid::Uuid::from_u128(2))),
        kind: alert::HARD_LIMIT.into(),
        content: r#"{"limit_usd":"5","spent_usd":"4.99","resets_at":null}"#.into(),
    }
}

fn sink(means: Means) -> Sink {
    Sink { id: "ops".into(), orgs: None, events: None, means }
}

fn slack(url: reqwest::Url) -> Means {
    Means::Slack { http: sink::client().unwrap(), url }
}

/// Takes one request, gives this answer, and hands over the head and the body.
async fn receive(listener: TcpListener, answer: &'static str) -> (String, String) {
    let (socket, _) = listener.accept().await.unwrap();
    let mut socket = BufReader::new(socket);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        assert!(socket.read_line(&mut head).await.unwrap() > 0, "{head}");
    }
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap().parse().unwrap();
    let mut body = vec![0; length];
    socket.read_exact(&mut body).await.unwrap();
    socket.write_all(answer.as_bytes()).await.unwrap();
    (head, String::from_utf8(body).unwrap())
}

async fn told(means: impl FnOnce(reqwest::Url) -> Means, answer: &'static str) -> (Result<(), String>, String, String) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/hook?a=b", listener.local_addr().unwrap()).parse().unwrap();
    let (sink, alert) = (sink(means(url)), an_alert());
    let now = Timestamp::from_micros(1_773_230_405_000_000);
    let (told, (head, body)) = tokio::join!(sink.tell(&alert, now), receive(listener, answer));
    (told, head, body)
}

const TAKEN: &str = "HTTP/1.1 204 No Content\r\n\r\n";

#[tokio::test]
async fn a_webhook_is_signed_and_says_which_alert_it_is() {
    let hook = |url| Means::Webhook { http: sink::client().unwrap(), url, secret: Secret::new("hush") };
    let (told, head, body) = told(hook, TAKEN).await;
    assert_eq!(told, Ok(()));
    assert!(head.starts_with("POST /hook?a=b HTTP/1.1\r\n"), "{head}");
    let signature = format!("t=1773230405,v1={}", sign(&Secret::new("hush"), 1_773_230_405, &body));
    assert!(head.contains(&format!("x-alfred-signature: {signature}\r\n")), "{head}");
    assert!(head.contains("idempotency-key: alr_00000000000000000000000000000007\r\n"), "{head}");
    let body: serde_json::Value = serde_json::from_str(&body).unwrap();
    assert_eq!(body["kind"], "hard_limit");
    assert_eq!(body["content"]["spent_usd"], "4.99");
    assert_eq!(body["wallet_id"], "wal_00000000000000000000000000000002");
}

#[test]
fn a_signature_is_what_others_compute() {
    // printf '1.{}' | openssl dgst -sha256 -hmac key
    let expected = "1ba6b8171186efc613e8bcc0cbdab2748f24984d7c5a84faa2637afa0e40d224";
    assert_eq!(sign(&Secret::new("key"), 1, "{}"), expected);
}

#[tokio::test]
async fn a_chat_gets_one_line() {
    let (told, _, body) = told(slack, TAKEN).await;
    assert_eq!(told, Ok(()));
    let expected = "Hard limit reached: calls are refused: org_00000000000000000000000000000001, \
                    wal_00000000000000000000000000000002, limit_usd 5, spent_usd 4.99";
    assert_eq!(serde_json::from_str::<serde_json::Value>(&body).unwrap(), serde_json::json!({"text": expected}));
}

#[tokio::test]
async fn what_is_not_taken_is_said_without_an_address() {
    for (answer, expected) in [
        ("HTTP/1.1 500 Oops\r\ncontent-length: 6\r\n\r\ncanary", "answered 500"),
        // A redirect is not followed: it could lead anywhere.
        ("HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1:1/\r\ncontent-length: 0\r\n\r\n", "answered 302"),
        ("nonsense\r\n\r\n", "the connection broke"),
    ] {
        let (told, ..) = told(slack, answer).await;
        assert_eq!(told, Err(expected.to_owned()));
    }
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap()).parse().unwrap();
    drop(listener);
    let refused = sink(slack(url)).tell(&an_alert(), Timestamp::default()).await;
    assert_eq!(refused, Err("cannot connect".to_owned()));
}

/// A mail server that says what it should, and gives `verdict` on the mail; hands over what it was told.
async fn mailbox(listener: TcpListener, verdict: &'static str) -> String {
    let (socket, _) = listener.accept().await.unwrap();
    let mut socket = BufReader::new(socket);
    socket.write_all(b"220 here\r\n").await.unwrap();
    let mut all = String::new();
    let mut in_mail = false;
    loop {
        let mut line = String::new();
        if socket.read_line(&mut line).await.unwrap() == 0 {
            return all;
        }
        all.push_str(&line);
        let answer = match line.split([' ', '\r']).next().unwrap_or_default() {
            "." if in_mail => {
                in_mail = false;
                verdict
            }
            _ if in_mail => continue,
            "EHLO" => "250-here\r\n250 8BITMIME\r\n",
            "DATA" => {
                in_mail = true;
                "354 go on\r\n"
            }
            "QUIT" => "221 bye\r\n",
            _ => "250 ok\r\n",
        };
        socket.write_all(answer.as_bytes()).await.unwrap();
        if line.starts_with("QUIT") {
            return all;
        }
    }
}

#[tokio::test]
async fn a_mail_reaches_everybody_and_a_refusal_is_a_number() {
    for (verdict, expected) in
        [("250 taken\r\n", Ok(())), ("554 no canary@example.com here\r\n", Err("answered 554".to_owned()))]
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let post = Post {
            host: "127.0.0.1".into(),
            port: Some(listener.local_addr().unwrap().port()),
            tls: Tls::None,
            login: None,
            from: "Alfred <alfred@example.com>".into(),
            to: vec!["ops@example.com".into(), "boss@example.com".into()],
        };
        let sink = sink(Means::Smtp(Box::new(Mailer::new(post).map_err(|(member, _)| member).unwrap())));
        let alert = an_alert();
        let (told, mail) = tokio::join!(sink.tell(&alert, Timestamp::default()), mailbox(listener, verdict));
        assert_eq!(told, expected);
        for line in [
            "MAIL FROM:<alfred@example.com>",
            "RCPT TO:<ops@example.com>",
            "RCPT TO:<boss@example.com>",
            "Subject: [alfred] Hard limit reached: calls are refused",
            "Message-ID: <alr_00000000000000000000000000000007.ops@alfred>",
            "limit_usd 5",
        ] {
            assert!(mail.contains(line), "{line} in {mail}");
        }
    }
}

#[test]
fn a_sink_gets_what_it_asked_for() {
    let alert = an_alert();
    let url: reqwest::Url = "http://127.0.0.1/".parse().unwrap();
    let check = |orgs: Option<Vec<u128>>, events: Option<Vec<&str>>, expected: bool| {
        let orgs = orgs.map(|all| all.into_iter().map(|id| Id::from_uuid(uuid::Uuid::from_u128(id))).collect());
        let events = events.map(|all| all.into_iter().map(str::to_owned).collect::<BTreeSet<_>>());
        let sink = Sink { orgs, events, ..sink(slack(url.clone())) };
        assert_eq!(sink.wants(&alert), expected, "{sink:?}");
    };
    check(None, None, true);
    check(Some(vec![1, 9]), None, true);
    check(Some(vec![9]), None, false);
    check(None, Some(vec!["hard_limit"]), true);
    check(Some(vec![1]), Some(vec!["breaker"]), false);
}

#[test]
fn pauses_double_up_to_an_hour_and_end_after_a_day() {
    let seconds = |attempt, random| wait_after(attempt, random).map(|wait| wait.as_secs_f64());
    assert_eq!(seconds(1, [0, 0]), Some(3.75));
    assert_eq!(seconds(1, [255, 255]), Some(6.25));
    assert_eq!(seconds(5, [0, 0]), Some(60.0));
    assert_eq!(seconds(29, [0, 0]), Some(2_700.0));
    assert_eq!(seconds(29, [255, 255]), Some(4_500.0));
    assert_eq!(seconds(30, [0, 0]), None);
    let all: f64 = (1..30).filter_map(|attempt| seconds(attempt, [255, 127])).sum();
    assert!((20.0..24.0).contains(&(all / 3_600.0)), "{} hours", all / 3_600.0);
}
