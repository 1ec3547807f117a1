//! Too much, too slowly, or nothing at all: it is bounded, it ends, and a normal client beside it does not notice.

use std::time::{Duration, Instant};

use qa::process::raise_descriptors;
use qa::world::hello;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::siege::{IN_TIME, Siege, heard};

/// What a test keeps for itself of the descriptors.
const OUR_OWN: u64 = 1_500;
const FEW_MS: Duration = Duration::from_millis(50);

/// Reads until the other side has closed; fails if it never does.
async fn until_closed(stream: &mut TcpStream, what: &str) -> String {
    let mut said = Vec::new();
    let read = stream.read_to_end(&mut said);
    assert!(tokio::time::timeout(IN_TIME, read).await.is_ok(), "{what}: never closed");
    String::from_utf8_lossy(&said).into_owned()
}

#[tokio::test]
async fn who_says_nothing_or_says_it_too_slowly_is_let_go() {
    let siege = Siege::of(json!({"idle_ms": 600})).await;
    siege
        .under("slow heads", async |siege: &Siege| {
            let one = async |n: usize| {
                let mut stream = siege.connect().await;
                let head = format!("GET /healthz HTTP/1.1\r\nhost: x\r\nx-slow: {}\r\n\r\n", "y".repeat(5_000));
                // A third says nothing, a third a byte now and then, a third is silent after an answer.
                match n % 3 {
                    0 => {}
                    1 => {
                        for byte in head.as_bytes() {
                            if stream.write_all(&[*byte]).await.is_err() {
                                break;
                            }
                            let mut nothing = [0; 1];
                            if let Ok(Ok(0) | Err(_)) = tokio::time::timeout(FEW_MS, stream.read(&mut nothing)).await {
                                return;
                            }
                        }
                        panic!("5,000 bytes at 20 a second were heard to the end");
                    }
                    _ => stream.write_all(b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n").await.expect("it takes that"),
                }
                until_closed(&mut stream, "a silent client").await;
            };
            futures_util::future::join_all((0..150).map(one)).await;
        })
        .await;
}

#[tokio::test]
async fn a_body_that_comes_too_slowly_is_given_up() {
    let siege = Siege::of(json!({"body_idle_ms": 400, "body_ms": 1_500})).await;
    let key = siege.tenant.key.clone();
    siege
        .under("slow bodies", async |siege: &Siege| {
            let one = async |n: usize| {
                let (mut reading, mut writing) = siege.connect().await.into_split();
                let head = format!("POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {key}\r\ncontent-length: 9000\r\n\r\n{{");
                writing.write_all(head.as_bytes()).await.expect("it takes that");
                // Half of them stand still, the others send a byte now and then.
                let drip = async {
                    while n % 2 == 1 && writing.write_all(b" ").await.is_ok() {
                        tokio::time::sleep(FEW_MS).await;
                    }
                };
                let mut said = Vec::new();
                let read = async {
                    let whole = tokio::time::timeout(IN_TIME, reading.read_to_end(&mut said)).await;
                    assert!(whole.is_ok(), "a slow body keeps its connection");
                };
                tokio::join!(drip, read);
                let said = String::from_utf8_lossy(&said);
                assert!(said.starts_with("HTTP/1.1 408 "), "{said:.300}");
            };
            futures_util::future::join_all((0..40).map(one)).await;
        })
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fifteen_thousand_idle_connections_harm_nobody() {
    let most = usize::try_from(raise_descriptors().saturating_sub(OUR_OWN).min(15_000)).expect("a number");
    if most < 15_000 {
        println!("idle: {most} connections only, by the limit of open files");
    }
    let siege = Siege::start().await;
    siege
        .under(&format!("{most} idle connections"), async |siege: &Siege| {
            let mut idle = Vec::with_capacity(most);
            while idle.len() < most {
                let some = (0..100.min(most - idle.len())).map(|_| TcpStream::connect(siege.address()));
                idle.extend(futures_util::future::join_all(some).await.into_iter().map(|it| it.expect("a connection")));
            }
            // Newcomers are served with all of them there.
            for _ in 0..20 {
                let (said, _) =
                    siege.tell(b"GET /healthz HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n", IN_TIME).await;
                assert!(said.starts_with("HTTP/1.1 200 "), "{said:.300}");
            }
            siege.look();
            tokio::time::sleep(Duration::from_millis(500)).await;
        })
        .await;
}

#[tokio::test]
async fn more_clients_than_there_are_seats_make_the_idle_ones_leave() {
    let siege = Siege::of(json!({"most": 64})).await;
    siege
        .under("a full house", async |siege: &Siege| {
            let mut idle = Vec::new();
            for _ in 0..500 {
                idle.push(siege.connect().await);
            }
            let mut closed = 0;
            for stream in &mut idle {
                let mut nothing = [0; 1];
                if let Ok(Ok(0) | Err(_)) = tokio::time::timeout(FEW_MS, stream.read(&mut nothing)).await {
                    closed += 1;
                }
            }
            assert!(closed >= 430, "only {closed} of 500 have left");
        })
        .await;
}

#[tokio::test]
async fn heads_without_measure_are_refused() {
    let siege = Siege::start().await;
    let many: String = (0..5_000).map(|n| format!("x-{n}: y\r\n")).collect();
    let rows = [
        ("many headers", format!("GET /healthz HTTP/1.1\r\nhost: x\r\n{many}\r\n")),
        ("a long header", format!("GET /healthz HTTP/1.1\r\nhost: x\r\nx: {}\r\n\r\n", "y".repeat(1 << 20))),
        ("a long name", format!("GET /healthz HTTP/1.1\r\nhost: x\r\n{}: y\r\n\r\n", "y".repeat(1 << 20))),
        ("a long path", format!("GET /{} HTTP/1.1\r\nhost: x\r\n\r\n", "y".repeat(1 << 20))),
        ("a long method", "G".repeat(1 << 20)),
        ("empty lines", "\r\n".repeat(1 << 19)),
    ];
    siege
        .under("head floods", async |siege: &Siege| {
            for _ in 0..5 {
                for (name, request) in &rows {
                    let (said, closed) = siege.tell(request.as_bytes(), Duration::from_secs(2)).await;
                    // A refusal may be lost where the rest of the flood is still on its way.
                    let refused = ["431", "414", "400"].iter().any(|it| said.starts_with(&format!("HTTP/1.1 {it} ")));
                    assert!(closed && (refused || said.is_empty()), "{name}: {closed} {said:.300}");
                }
            }
        })
        .await;
}

#[tokio::test]
async fn ten_thousand_paths_that_do_not_exist_leave_nothing_behind() {
    let siege = Siege::start().await;
    siege
        .under("unknown paths", async |siege: &Siege| {
            let metrics = async || {
                let url = format!("{}/metrics", siege.world.url());
                siege.world.http.send("GET", &url, &[], "").await.expect("metrics").text().lines().count()
            };
            let before = metrics().await;
            for part in 0..10 {
                let mut stream = siege.connect().await;
                let many: String = (0..1_000)
                    .map(|n| format!("GET /v1/{part}/{n}?{n} HTTP/1.1\r\nhost: x\r\nx-request-id: {n}\r\n\r\n"))
                    .collect();
                let (mut reading, mut writing) = stream.split();
                let send = async { writing.write_all(many.as_bytes()).await.expect("it takes that") };
                let read = async {
                    let (mut answers, mut buffer) = (0, vec![0; 64 << 10]);
                    let mut rest = String::new();
                    while answers < 1_000 {
                        let read = tokio::time::timeout(IN_TIME, reading.read(&mut buffer)).await.expect("answers");
                        rest.push_str(&String::from_utf8_lossy(&buffer[..read.expect("answers")]));
                        answers += rest.matches("HTTP/1.1 404 ").count();
                        rest = rest[rest.rfind("HTTP/1.1 ").map_or(rest.len(), |at| (at + 13).min(rest.len()))..]
                            .to_owned();
                    }
                };
                tokio::join!(send, read);
            }
            let after = metrics().await;
            assert!(after < before + 30, "{before} lines of metrics became {after}");
        })
        .await;
}

/// One frame of HTTP/2.
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("a short frame").to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

const HEADERS: u8 = 1;
const RESET: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const CONTINUATION: u8 = 9;
/// `GET / HTTP/2`, as the static table has it.
const GET: [u8; 6] = [0x82, 0x84, 0x86, 0x41, 0x01, b'x'];

#[tokio::test]
async fn floods_of_http_2_frames_are_bounded_and_end() {
    let siege = Siege::start().await;
    let resets = |n: u32| {
        let stream = n * 2 + 1;
        [frame(HEADERS, 5, stream, &GET), frame(RESET, 0, stream, &8u32.to_be_bytes())].concat()
    };
    let opened = |n: u32| frame(HEADERS, 4, n * 2 + 1, &GET);
    let pings = |_| frame(PING, 0, 0, b"01234567");
    let settings = |_| frame(SETTINGS, 0, 0, &[]);
    let empty = |n| if n == 0 { frame(HEADERS, 0, 1, &GET) } else { frame(CONTINUATION, 0, 1, &[]) };
    let long = |n| {
        if n == 0 {
            frame(HEADERS, 0, 1, &GET)
        } else {
            frame(CONTINUATION, 0, 1, &[&[0x00, 0x01, b'x', 0x7f, 0x81, 0x3e][..], &[b'y'; 8_000]].concat())
        }
    };
    type Flood<'a> = &'a dyn Fn(u32) -> Vec<u8>;
    let rows: [(&str, Flood, u32, bool); 6] = [
        ("streams taken back at once", &resets, 40_000, true),
        ("streams never ended", &opened, 20_000, false),
        ("pings", &pings, 60_000, false),
        ("settings", &settings, 60_000, false),
        ("empty continuations", &empty, 40_000, true),
        ("headers without end", &long, 3_000, true),
    ];
    siege
        .under("HTTP/2 floods", async |siege: &Siege| {
            for (name, flood, frames, ends) in rows {
                let from = Instant::now();
                let (mut reading, mut writing) = siege.connect().await.into_split();
                let send = async {
                    let mut all = [&b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"[..], &frame(SETTINGS, 0, 0, &[])].concat();
                    let mut cut = false;
                    for n in 0..frames {
                        all.extend(flood(n));
                        if all.len() > 32 << 10 {
                            let sent = tokio::time::timeout(Duration::from_secs(5), writing.write_all(&all)).await;
                            all.clear();
                            // Refused, or made to wait for as long as nobody reads: either will do.
                            if !matches!(sent, Ok(Ok(()))) {
                                cut = true;
                                break;
                            }
                        }
                    }
                    let _ = tokio::time::timeout(Duration::from_secs(5), writing.write_all(&all)).await;
                    cut
                };
                let read = async {
                    let (mut heard, mut buffer) = (0, vec![0; 64 << 10]);
                    // As slow a reader as may be.
                    while let Ok(Ok(read @ 1..)) =
                        tokio::time::timeout(Duration::from_secs(2), reading.read(&mut buffer)).await
                    {
                        heard += read;
                    }
                    heard
                };
                let (cut, heard) = tokio::join!(send, read);
                println!("{name}: cut {cut}, {heard} bytes answered, {:?}", from.elapsed());
                if ends {
                    let closed = cut || {
                        let mut rest = [0; 1];
                        matches!(tokio::time::timeout(IN_TIME, reading.read(&mut rest)).await, Ok(Ok(0) | Err(_)))
                    };
                    assert!(closed, "{name}: goes on");
                }
                assert!(from.elapsed() < IN_TIME, "{name} took {:?}", from.elapsed());
            }
        })
        .await;
}

#[tokio::test]
async fn clients_who_leave_in_the_middle_of_everything_leave_nothing_behind() {
    let siege = Siege::start().await;
    let key = siege.tenant.key.clone();
    let body = hello("chat").to_string();
    siege
        .under("leaving", async |siege: &Siege| {
            let request = format!(
                "POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {key}\r\ncontent-length: {}\r\n\r\n{body}",
                body.len()
            );
            for cut in (0..=request.len()).step_by(7) {
                let mut stream = siege.connect().await;
                stream.write_all(&request.as_bytes()[..cut]).await.expect("it takes that");
                if cut % 2 == 0 {
                    stream.set_zero_linger().expect("a socket");
                }
            }
            let (said, _) = heard(&mut siege.connect().await, FEW_MS).await;
            assert_eq!(said, "");
        })
        .await;
}
