//! Requests whose end can be read in two ways, or not at all: refused, and nothing that follows them is ever taken for a request.

use std::time::Duration;

use crate::siege::{Siege, heard};
use tokio::io::AsyncWriteExt;

/// What a smuggler hides: it must not be answered.
const HIDDEN: &str = "GET /healthz HTTP/1.1\r\nhost: hidden\r\n\r\n";
const A_WHILE: Duration = Duration::from_secs(2);

fn post(key: &str, lines: &str, body: &str) -> String {
    format!(
        "POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {key}\r\ncontent-type: application/json\r\n{lines}\r\n\r\n{body}"
    )
}

#[tokio::test]
async fn one_request_is_never_taken_for_two_whatever_it_says_of_its_length() {
    let siege = Siege::start().await;
    let key = siege.tenant.key.clone();
    let chunks = format!("0\r\n\r\n{HIDDEN}");
    let rows: Vec<(&str, String, u16)> = vec![
        ("a length, then chunks", post(&key, "content-length: 5\r\ntransfer-encoding: chunked", &chunks), 400),
        // The length is not seen then; an empty body is no request either, and the connection ends.
        ("chunks, then a length", post(&key, "transfer-encoding: chunked\r\ncontent-length: 5", &chunks), 400),
        ("chunks twice", post(&key, "transfer-encoding: chunked\r\ntransfer-encoding: chunked", &chunks), 400),
        ("chunks and themselves", post(&key, "transfer-encoding: chunked, chunked", &chunks), 400),
        ("chunks after something", post(&key, "transfer-encoding: gzip, chunked", &chunks), 400),
        ("chunks before something", post(&key, "transfer-encoding: chunked, identity", &chunks), 400),
        ("chunks in other words", post(&key, "transfer-encoding: xchunked", &chunks), 400),
        ("chunks in quotes", post(&key, "transfer-encoding: \"chunked\"", &chunks), 400),
        ("a space before the colon", post(&key, "transfer-encoding : chunked", &chunks), 400),
        ("a tab in the value", post(&key, "transfer-encoding:\x0bchunked", &chunks), 400),
        ("a folded line", post(&key, "transfer-encoding:\r\n chunked", &chunks), 400),
        ("a line that begins with a space", post(&key, "x: y\r\n content-length: 5", HIDDEN), 400),
        ("a nul in a name", post(&key, "content\0length: 5", HIDDEN), 400),
        ("a nul in a value", post(&key, "x: a\0b", HIDDEN), 400),
        ("a carriage return in a value", post(&key, "x: a\rcontent-length: 5", HIDDEN), 400),
        (
            "chunks in HTTP/1.0",
            post(&key, "transfer-encoding: chunked", &chunks).replace("HTTP/1.1\r\nhost: x", "HTTP/1.0\r\nhost: x"),
            400,
        ),
        ("two lengths", post(&key, "content-length: 2\r\ncontent-length: 40", &format!("{{}}{HIDDEN}")), 400),
        ("two lengths in one", post(&key, "content-length: 2, 40", &format!("{{}}{HIDDEN}")), 400),
        ("a length with a sign", post(&key, "content-length: +2", &format!("{{}}{HIDDEN}")), 400),
        ("a length below zero", post(&key, "content-length: -2", &format!("{{}}{HIDDEN}")), 400),
        ("a length in hexadecimal", post(&key, "content-length: 0x2", &format!("{{}}{HIDDEN}")), 400),
        ("no length after its name", post(&key, "content-length:", &format!("{{}}{HIDDEN}")), 400),
        (
            "a length beyond all numbers",
            post(&key, "content-length: 99999999999999999999", &format!("{{}}{HIDDEN}")),
            400,
        ),
        ("a chunk without a size", post(&key, "transfer-encoding: chunked", &format!("\r\n\r\n{HIDDEN}")), 400),
        (
            "a chunk of no number",
            post(&key, "transfer-encoding: chunked", &format!("zz\r\n{{}}\r\n0\r\n\r\n{HIDDEN}")),
            400,
        ),
        (
            "a chunk below zero",
            post(&key, "transfer-encoding: chunked", &format!("-2\r\n{{}}\r\n0\r\n\r\n{HIDDEN}")),
            400,
        ),
        (
            "a chunk with a prefix",
            post(&key, "transfer-encoding: chunked", &format!("0x2\r\n{{}}\r\n0\r\n\r\n{HIDDEN}")),
            400,
        ),
        (
            "a chunk beyond all numbers",
            post(&key, "transfer-encoding: chunked", &format!("fffffffffffffffff\r\n{{}}\r\n0\r\n\r\n{HIDDEN}")),
            400,
        ),
        (
            "a chunk longer than it says",
            post(&key, "transfer-encoding: chunked", &format!("1\r\n{{}}\r\n0\r\n\r\n{HIDDEN}")),
            400,
        ),
        (
            "a chunk ended by a line feed",
            post(&key, "transfer-encoding: chunked", &format!("2\n{{}}\n0\n\n{HIDDEN}")),
            400,
        ),
        (
            "an endless chunk extension",
            post(
                &key,
                "transfer-encoding: chunked",
                &format!("2;{}\r\n{{}}\r\n0\r\n\r\n{HIDDEN}", "x".repeat(100_000)),
            ),
            400,
        ),
        (
            "good chunks, and more",
            post(&key, "transfer-encoding: chunked", &format!("2\r\n{{}}\r\n0\r\n\r\n{HIDDEN}")),
            400,
        ),
        (
            "no such version",
            post(&key, "content-length: 2", &format!("{{}}{HIDDEN}"))
                .replace("HTTP/1.1\r\nhost: x", "HTTP/1.9\r\nhost: x"),
            400,
        ),
        ("no version", format!("GET /healthz\r\n\r\n{HIDDEN}"), 400),
        ("TLS on a port for plain HTTP", "\x16\x03\x01\x02\0\x01\0\x01\u{fc}\x03\x03".repeat(4), 400),
    ];
    siege
        .under("framing", async |siege: &Siege| {
            for (name, bytes, status) in rows {
                let (said, closed) = siege.tell(bytes.as_bytes(), A_WHILE).await;
                assert!(
                    said.starts_with(&format!("HTTP/1.1 {status} "))
                        || said.starts_with(&format!("HTTP/1.0 {status} ")),
                    "{name}: {said:.300}"
                );
                assert_eq!(said.matches("HTTP/1.").count(), 1, "{name}: more than one answer: {said}");
                assert!(closed, "{name}: the connection is still open after {said:.300}");
            }
        })
        .await;
}

#[tokio::test]
async fn lines_that_end_in_a_line_feed_alone_make_one_request_of_one() {
    // Allowed to be read (RFC 9112, 2.2): what must not be is that a part of it becomes another request.
    let siege = Siege::start().await;
    siege
        .under("bare line feeds", async |siege: &Siege| {
            let request =
                format!("POST /v1/chat/completions HTTP/1.1\nhost: x\ncontent-length: {}\n\n{HIDDEN}", HIDDEN.len());
            let (said, _) = siege.tell(request.as_bytes(), A_WHILE).await;
            assert!(said.starts_with("HTTP/1.1 4"), "{said:.300}");
            assert_eq!(said.matches("HTTP/1.").count(), 1, "{said}");
        })
        .await;
}

#[tokio::test]
async fn requests_in_one_write_are_answered_in_their_order() {
    let siege = Siege::start().await;
    siege
        .under("pipelining", async |siege: &Siege| {
            let paths = ["/healthz", "/v1/nothing", "/v1/models", "/readyz"];
            let expected = ["200", "404", "401", "200"];
            let many: String =
                (0..200).map(|n| format!("GET {} HTTP/1.1\r\nhost: x\r\n\r\n", paths[n % paths.len()])).collect();
            let (said, _) = siege.tell(many.as_bytes(), A_WHILE).await;
            let statuses: Vec<&str> = said.split("HTTP/1.1 ").skip(1).map(|it| &it[..3]).collect();
            let in_order: Vec<&str> = (0..200).map(|n| expected[n % expected.len()]).collect();
            assert_eq!(statuses, in_order);
        })
        .await;
}

#[tokio::test]
async fn a_body_of_another_length_than_it_says_is_no_call_and_costs_nothing() {
    let siege = Siege::start().await;
    let key = siege.tenant.key.clone();
    let good = qa::world::hello("counted").to_string();
    siege
        .under("lengths", async |siege: &Siege| {
            // Shorter, and the client leaves.
            for _ in 0..20 {
                let mut stream = siege.connect().await;
                let head = post(&key, &format!("content-length: {}", good.len() + 10), &good);
                stream.write_all(head.as_bytes()).await.expect("it takes that");
            }
            // Longer: the call is answered, and what follows is no request.
            let (said, closed) =
                siege.tell(post(&key, "content-length: 2", "{}{\"more\": 1}\r\n\r\n").as_bytes(), A_WHILE).await;
            let statuses: Vec<&str> = said.split("HTTP/1.1 ").skip(1).map(|it| &it[..3]).collect();
            assert_eq!((statuses, closed), (vec!["400", "400"], true), "{said}");
        })
        .await;
}

#[tokio::test]
async fn who_asks_before_sending_too_much_is_told_no_before_it_is_sent() {
    let siege = Siege::start().await;
    let key = siege.tenant.key.clone();
    siege
        .under("expect", async |siege: &Siege| {
            let ask = post(&key, "content-length: 52428800\r\nexpect: 100-continue", "");
            let (said, closed) = siege.tell(ask.as_bytes(), A_WHILE).await;
            assert!(said.starts_with("HTTP/1.1 413 ") && closed, "{said:.300}");
            // Somebody nobody knows is not asked for a body at all.
            let (said, closed) = siege
                .tell(post("sk-alf-no", "content-length: 9\r\nexpect: 100-continue", "").as_bytes(), A_WHILE)
                .await;
            assert!(said.starts_with("HTTP/1.1 401 ") && closed, "{said:.300}");
            let good = qa::world::hello("chat").to_string();
            let mut stream = siege.connect().await;
            let ask =
                post(&key, &format!("content-length: {}\r\nexpect: 100-continue\r\nconnection: close", good.len()), "");
            stream.write_all(ask.as_bytes()).await.expect("it takes that");
            let (said, _) = heard(&mut stream, Duration::from_millis(700)).await;
            assert_eq!(said, "HTTP/1.1 100 Continue\r\n\r\n");
            stream.write_all(good.as_bytes()).await.expect("it takes that");
            let (said, _) = heard(&mut stream, A_WHILE).await;
            assert!(said.starts_with("HTTP/1.1 200 "), "{said:.300}");
        })
        .await;
}

#[tokio::test]
async fn nobody_is_made_a_websocket_or_a_tunnel_of() {
    let siege = Siege::start().await;
    let key = siege.tenant.key.clone();
    let upgrade = "connection: upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\nsec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==";
    let bearer = format!("authorization: Bearer {key}");
    let rows = vec![
        ("a call", post(&key, &format!("content-length: 2\r\n{upgrade}"), "{}")),
        ("no path", format!("GET /v1/nothing HTTP/1.1\r\nhost: x\r\n{upgrade}\r\n\r\n")),
        ("no key", format!("GET /v1/realtime?model=chat HTTP/1.1\r\nhost: x\r\n{upgrade}\r\n\r\n")),
        ("no websocket", format!("GET /v1/realtime?model=chat HTTP/1.1\r\nhost: x\r\n{bearer}\r\nconnection: upgrade\r\nupgrade: nonsense\r\n\r\n")),
        ("no nonce", format!("GET /v1/realtime?model=chat HTTP/1.1\r\nhost: x\r\n{bearer}\r\nconnection: upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\n\r\n")),
        ("an old version", format!("GET /v1/realtime?model=chat HTTP/1.1\r\nhost: x\r\n{bearer}\r\n{}\r\n\r\n", upgrade.replace("13", "8"))),
        ("HTTP/2 by upgrade", "GET /v1/models HTTP/1.1\r\nhost: x\r\nconnection: upgrade, http2-settings\r\nupgrade: h2c\r\nhttp2-settings: AAMAAABkAAQAAP__\r\n\r\n".to_owned()),
        ("a tunnel", "CONNECT example.com:443 HTTP/1.1\r\nhost: example.com:443\r\n\r\n".to_owned()),
        ("a proxy", "GET http://example.com/v1/models HTTP/1.1\r\nhost: example.com\r\n\r\n".to_owned()),
        ("an echo", "TRACE / HTTP/1.1\r\nhost: x\r\nx-secret: y\r\n\r\n".to_owned()),
    ];
    siege
        .under("upgrades", async |siege: &Siege| {
            for (name, request) in rows {
                let (said, _) = siege.tell(request.as_bytes(), Duration::from_millis(500)).await;
                assert!(said.starts_with("HTTP/1.1 4"), "{name}: {said:.300}");
                assert!(!said.contains("x-secret"), "{name}: {said}");
            }
        })
        .await;
}
