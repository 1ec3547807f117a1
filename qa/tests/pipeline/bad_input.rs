//! What nobody should send: at every family of endpoints it is refused in the caller's words with its place named, in bounded time
//! and memory, nothing of it is forwarded and nothing is charged.

use std::time::{Duration, Instant};

use qa::check::usd;
use qa::http::Answer;
use qa::world::{Setup, Tenant, World, hello};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Generous: the machine has other things to do. What runs away takes minutes.
const IN_TIME: Duration = Duration::from_secs(20);
/// So much may the process grow over a whole table, in KiB.
const GROWTH: u64 = 400 << 10;

const GEMINI: &str = "/v1beta/models/chat:generateContent";

/// A good body of each family, on one line, `model` first where the body names it.
const FAMILIES: [(&str, &str); 10] = [
    ("/v1/chat/completions", r#"{"model":"chat","messages":[{"role":"user","content":"hi"}]}"#),
    ("/v1/responses", r#"{"model":"chat","input":"hi"}"#),
    ("/v1/messages", r#"{"model":"chat","max_tokens":9,"messages":[{"role":"user","content":"hi"}]}"#),
    (GEMINI, r#"{"contents":[{"role":"user","parts":[{"text":"hi"}]}]}"#),
    ("/v1/completions", r#"{"model":"first/text","prompt":"hi","max_tokens":9}"#),
    ("/v1/embeddings", r#"{"model":"first/vectors","input":"hi"}"#),
    ("/v1/moderations", r#"{"model":"first/judge","input":"hi"}"#),
    ("/v1/images/generations", r#"{"model":"first/draw","prompt":"hi"}"#),
    ("/v1/audio/speech", r#"{"model":"first/tts","input":"hi","voice":"v"}"#),
    ("/v1/rerank", r#"{"model":"first/order","query":"hi","documents":["a"]}"#),
];

async fn world() -> World {
    let prices = json!({
        "first/text": {"input": "1", "output": "2"}, "first/vectors": {"input": "1", "output": "0"},
        "first/judge": {"input": "0", "output": "0"}, "first/draw": {"input": "5", "output": "40", "image": "0.04"},
        "first/tts": {"input": "0", "output": "0", "characters": "15"}, "first/whisper": {"input": "0", "output": "0", "second": "0.0001"},
        "first/order": {"input": "0", "output": "0", "search": "0.002"},
    });
    let add = |config: &mut Value| {
        for (target, price) in prices.as_object().cloned().unwrap_or_default() {
            config["prices"][&target] = price;
        }
    };
    Setup::new().with(add).start().await
}

/// A house, a tenant with money, and how large the process was.
struct Bench {
    world: World,
    tenant: Tenant,
    resident: u64,
}

impl Bench {
    async fn start() -> Bench {
        let mut world = world().await;
        let tenant = world.rich().await;
        let resident = resident(&mut world);
        Bench { world, tenant, resident }
    }

    async fn post(
        &self,
        path: &str,
        kind: Option<&str>,
        more: &[(&str, &str)],
        body: impl Into<bytes::Bytes>,
    ) -> Answer {
        let bearer = format!("Bearer {}", self.tenant.key);
        let mut headers = vec![("authorization", bearer.as_str())];
        headers.extend(kind.map(|kind| ("content-type", kind)));
        headers.extend_from_slice(more);
        let url = format!("{}{path}", self.world.url());
        let from = Instant::now();
        let answer = self.world.http.send("POST", &url, &headers, body).await;
        assert!(from.elapsed() < IN_TIME, "{path} took {:?}", from.elapsed());
        answer.unwrap_or_else(|e| panic!("{path}: no whole answer: {e:?}"))
    }

    /// Refused with this status, in the family's words, and the place is named.
    async fn refuses(&self, name: &str, path: &str, body: impl Into<bytes::Bytes>, status: u16, place: &str) {
        let answer = self.post(path, Some("application/json"), &[], body).await;
        told(name, path, &answer, status, place);
    }

    /// Nobody was asked, nothing is spent or held, the house has not grown and serves the next call.
    async fn unmoved(mut self) {
        for upstream in [&self.world.first, &self.world.second, &self.world.claude] {
            let seen: Vec<_> = upstream.seen().iter().map(|it| format!("{} {:.300}", it.path, it.text())).collect();
            assert!(seen.is_empty(), "forwarded: {seen:?}");
        }
        let wallet = self.world.at_rest(&self.tenant.wallet, Duration::from_secs(5)).await;
        assert_eq!(usd(&wallet, "spent_usd"), 0);
        let now = resident(&mut self.world);
        assert!(now < self.resident + GROWTH, "grew from {} to {now} KiB", self.resident);
        assert_eq!(self.world.chat(&self.tenant.key, &hello("chat")).await.status, 200, "the next call is served");
        assert!(!self.world.log().contains("panicked"), "{}", self.world.log());
    }
}

/// What the process has in memory, in KiB.
fn resident(world: &mut World) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", world.alfred().pid())).expect("its status");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("a size");
    line.trim().trim_end_matches(" kB").parse().expect("a number")
}

#[track_caller]
fn told(name: &str, path: &str, answer: &Answer, status: u16, place: &str) {
    assert_eq!(answer.status, status, "{name} at {path}: {:.600}", answer.text());
    assert!(answer.must("x-request-id").starts_with("req_"));
    assert!(answer.body.len() < 4_000, "{name} at {path}: an error of {} bytes", answer.body.len());
    let body = answer.json();
    let error = &body["error"];
    let param = match path {
        _ if path.starts_with("/v1/messages") => {
            assert_eq!(body["type"], "error", "{name} at {path}: {body}");
            assert!(error["type"].is_string(), "{name} at {path}: {body}");
            &Value::Null
        }
        _ if path.starts_with("/v1beta") => {
            assert_eq!(error["code"], status, "{name} at {path}: {body}");
            assert!(error["status"].is_string(), "{name} at {path}: {body}");
            &error["details"][0]["param"]
        }
        _ => {
            let members: Vec<&String> = error.as_object().expect("an object").keys().collect();
            assert_eq!(members, ["message", "type", "param", "code"], "{name} at {path}: {body}");
            &error["param"]
        }
    };
    let message = error["message"].as_str().unwrap_or_default();
    assert!(!message.is_empty() && !message.contains("SECRET"), "{name} at {path}: {body}");
    assert!(message.contains(place) || param.as_str() == Some(place), "{name} at {path} names {place}: {body}");
}

/// A good body with more members at its end.
fn with(good: &str, members: &str) -> String {
    format!("{},{members}}}", &good[..good.len() - 1])
}

#[tokio::test]
async fn a_body_that_is_no_json_object_or_can_be_read_in_two_ways_is_refused_everywhere() {
    let bench = Bench::start().await;
    for (path, good) in FAMILIES {
        let inner = &good[1..good.len() - 1];
        let first = good[2..].split('"').next().unwrap_or_default();
        let deep =
            |open: &str, close: &str| with(good, &format!("\"x\":{}1{}", open.repeat(10_000), close.repeat(10_000)));
        let utf16: Vec<u8> = good.encode_utf16().flat_map(u16::to_le_bytes).collect();
        let capital = format!("{}{}", first[..1].to_uppercase(), &first[1..]);
        let rows: Vec<(&str, Vec<u8>, &str)> = vec![
            ("cut short", good[..good.len() - 1].into(), "line 1"),
            ("empty", Vec::new(), ""),
            ("an array", format!("[{good}]").into(), "object"),
            ("a text", b"\"SECRET\"".to_vec(), "object"),
            ("nothing", b"null".to_vec(), "object"),
            ("two values", format!("{good}{good}").into(), "line 1"),
            ("arrays in arrays", deep("[", "]").into(), ""),
            ("objects in objects", deep("{\"a\":", "}").into(), ""),
            ("all twice", format!("{{{inner},{inner}}}").into(), first),
            (
                "twice, once escaped",
                with(good, &format!("\"\\u{:04x}{}\":null", first.as_bytes()[0], &first[1..])).into(),
                first,
            ),
            ("another case", with(good, &format!("\"{capital}\":null")).into(), &capital),
            ("not UTF-8", [&good.as_bytes()[..good.len() - 1], b",\"x\":\"\xff\"}"].concat(), "UTF-8"),
            ("UTF-16", utf16, ""),
            ("half a surrogate", with(good, r#""x":"\ud800""#).into(), ""),
            ("a bare control character", with(good, "\"x\":\"a\0b\"").into(), ""),
            ("a number that is none", with(good, "\"x\":01").into(), ""),
            ("a word that is none", with(good, "\"x\":NaN").into(), ""),
        ];
        for (name, body, place) in rows {
            bench.refuses(name, path, body, 400, place).await;
        }
    }
    bench.unmoved().await;
}

#[tokio::test]
async fn a_wrong_type_or_number_is_refused_with_its_member_named() {
    let bench = Bench::start().await;
    let chat = [
        ("stream", "\"true\""),
        ("n", "1.5"),
        ("n", "18446744073709551616"),
        ("n", "0"),
        ("n", "1e999"),
        ("max_tokens", "\"5\""),
        ("max_tokens", "18446744073709551616"),
        ("max_tokens", "1e999"),
        ("max_tokens", "-1"),
        ("max_completion_tokens", "[]"),
        ("tools", "{}"),
        ("tools", "\"SECRET\""),
        ("stop", "{}"),
        ("user", "5"),
        ("metadata", "[]"),
        ("stream_options", "[]"),
        ("fallbacks", "\"x\""),
    ];
    let responses = [
        ("stream", "1"),
        ("max_output_tokens", "\"5\""),
        ("max_output_tokens", "1e999"),
        ("tools", "{}"),
        ("metadata", "5"),
        ("user", "{}"),
        ("previous_response_id", "\"resp_1\""),
        ("background", "true"),
    ];
    let messages =
        [("stream", "\"yes\""), ("system", "5"), ("tools", "{}"), ("metadata", "5"), ("stop_sequences", "\"x\"")];
    let gemini = [
        ("generationConfig", "[]"),
        ("tools", "5"),
        ("systemInstruction", "5"),
        ("labels", "[]"),
        ("safetySettings", "{}"),
    ];
    let rows = [
        (FAMILIES[0], &chat[..]),
        (FAMILIES[1], &responses[..]),
        (FAMILIES[2], &messages[..]),
        (FAMILIES[3], &gemini[..4]),
        (FAMILIES[4], &[("n", "\"2\""), ("best_of", "1e999"), ("stream", "0")][..]),
        (FAMILIES[5], &[("user", "5")][..]),
        (FAMILIES[7], &[("n", "\"x\""), ("n", "18446744073709551616")][..]),
        (FAMILIES[9], &[("user", "[]")][..]),
    ];
    for ((path, good), members) in rows {
        for (name, value) in members {
            bench
                .refuses(&format!("{name}: {value}"), path, with(good, &format!("\"{name}\":{value}")), 400, name)
                .await;
        }
    }
    for (path, good) in FAMILIES {
        let first = good[2..].split('"').next().unwrap_or_default();
        for value in ["5", "true", "null"] {
            let spoiled = match first {
                "model" => good.replacen(&good[9..9 + good[9..].find(',').unwrap_or_default()], value, 1),
                _ => format!("{{\"contents\":{value}}}"),
            };
            if path != "/v1/moderations" || value != "null" {
                bench.refuses(&format!("{first}: {value}"), path, spoiled, 400, first).await;
            }
        }
    }
    bench.unmoved().await;
}

#[tokio::test]
async fn a_model_that_is_no_name_unknown_or_not_for_this_key_is_refused() {
    let bench = Bench::start().await;
    let long = "m".repeat(10_000);
    for (path, good) in FAMILIES {
        for (name, status) in [
            (long.as_str(), 400),
            ("chat\\r\\nx-evil: 1", 400),
            ("chat\\u0000", 400),
            ("", 400),
            ("nobody", 404),
            ("first/none", 422),
        ] {
            let (path, body, place) = match path {
                GEMINI => {
                    let escaped = name.replace("\\r\\n", "%0D%0A").replace("\\u0000", "%00").replace(' ', "%20");
                    (format!("/v1beta/models/{escaped}:generateContent"), good.to_owned(), "")
                }
                _ => (
                    path.to_owned(),
                    good.replacen(&good[9..9 + good[9..].find(',').unwrap_or_default()], &format!("\"{name}\""), 1),
                    if status == 400 { "model" } else { "" },
                ),
            };
            let answer = bench.post(&path, Some("application/json"), &[], body).await;
            let missing = path.starts_with(GEMINI.split("chat").next().unwrap_or_default()) && answer.status == 404;
            let status = if missing { 404 } else { status };
            told(&format!("{name:.30}"), &path, &answer, status, place);
            assert!(answer.headers.get("x-evil").is_none());
        }
    }
    let (_, key) = bench.world.key(&bench.tenant.wallet, json!({"models": ["free"]})).await;
    for (path, good) in FAMILIES {
        let body: Value = serde_json::from_str(good).expect("a good body");
        let answer = bench.world.call(&key, path, &[], &body).await;
        told("another key's model", path, &answer, 403, "");
    }
    bench.unmoved().await;
}

#[tokio::test]
async fn a_body_is_read_plain_or_not_at_all() {
    let bench = Bench::start().await;
    // A gigabyte of zeros, so the head says; whoever inflates it is lost.
    let bomb = [b"\x1f\x8b\x08\0\0\0\0\0\0\xff".to_vec(), vec![0; 4_096]].concat();
    for (path, good) in FAMILIES {
        for coding in ["gzip", "deflate", "br", "zstd", "gzip, identity"] {
            for body in [bomb.clone(), good.as_bytes().to_vec()] {
                let answer = bench.post(path, Some("application/json"), &[("content-encoding", coding)], body).await;
                told(coding, path, &answer, 400, "content-encoding");
            }
        }
        let form = "--b\r\nContent-Disposition: form-data; name=\"model\"\r\n\r\nchat\r\n--b--\r\n";
        let answer = bench.post(path, Some("multipart/form-data; boundary=b"), &[], form).await;
        told("a form", path, &answer, 400, "");
        let answer = bench.post(path, Some("application/x-www-form-urlencoded"), &[], "model=chat&input=hi").await;
        told("a form in a line", path, &answer, 400, "line 1");
    }
    bench.unmoved().await;
}

#[tokio::test]
async fn a_body_beyond_the_limit_is_refused_by_its_length_and_as_it_comes() {
    let bench = Bench::start().await;
    for (path, _) in FAMILIES.into_iter().take(6) {
        let head = format!(
            "POST {path} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {}\r\ncontent-type: application/json\r\n",
            bench.tenant.key
        );
        let answer = raw(&bench.world, format!("{head}content-length: 52428800\r\n\r\n{{").into_bytes(), None).await;
        assert!(
            answer.starts_with("HTTP/1.1 413 ") && answer.contains("larger than the limit"),
            "{path}: {answer:.500}"
        );
        let answer =
            raw(&bench.world, format!("{head}transfer-encoding: chunked\r\n\r\n").into_bytes(), Some(50)).await;
        assert!(
            answer.starts_with("HTTP/1.1 413 ") && answer.contains("larger than the limit"),
            "{path}: {answer:.500}"
        );
    }
    for line in [
        "x-alfred-tags: a=b\rx-evil: 1",
        "x-alfred-tags: a=\0b",
        "content-length: 5\r\ncontent-length: 6",
        "transfer-encoding: chunked\r\ncontent-length: 2",
    ] {
        let head = format!(
            "POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {}\r\n{line}\r\n\r\n{{}}",
            bench.tenant.key
        );
        let answer = raw(&bench.world, head.into_bytes(), None).await;
        assert!(answer.starts_with("HTTP/1.1 400 ") && !answer.contains("x-evil"), "{line:?}: {answer:.500}");
    }
    bench.unmoved().await;
}

/// Sends bytes and then so many chunks of a mebibyte; what is answered, as far as it can be read.
async fn raw(world: &World, head: Vec<u8>, mebibytes: Option<usize>) -> String {
    let address = world.url().trim_start_matches("http://").to_owned();
    let (mut reading, mut writing) = TcpStream::connect(address).await.expect("a connection").into_split();
    let send = async move {
        writing.write_all(&head).await.ok();
        let chunk = [b"100000\r\n".to_vec(), vec![b' '; 1 << 20], b"\r\n".to_vec()].concat();
        for _ in 0..mebibytes.unwrap_or(0) {
            if writing.write_all(&chunk).await.is_err() {
                break;
            }
        }
        writing
    };
    let read = async move {
        let (mut heard, mut buffer) = (Vec::new(), vec![0; 16 << 10]);
        while let Ok(Ok(read @ 1..)) = tokio::time::timeout(IN_TIME, reading.read(&mut buffer)).await {
            heard.extend_from_slice(&buffer[..read]);
            if heard.windows(4).any(|it| it == b"\r\n\r\n") && (heard.ends_with(b"}") || heard.ends_with(b"\r\n\r\n")) {
                break;
            }
        }
        String::from_utf8_lossy(&heard).into_owned()
    };
    tokio::join!(send, read).1
}

#[tokio::test]
async fn a_form_that_is_broken_is_refused_with_its_part_named() {
    let bench = Bench::start().await;
    let part =
        |head: &str, content: &str| format!("--b\r\nContent-Disposition: form-data; {head}\r\n\r\n{content}\r\n");
    let model = part("name=\"model\"", "first/whisper");
    let file = part("name=\"file\"; filename=\"a.wav\"", "RIFF");
    let good = "multipart/form-data; boundary=b";
    let rows = [
        ("no end", format!("{model}{}", &file[..file.len() - 2]), good, "file"),
        ("no last boundary", format!("{model}{file}"), good, ""),
        ("a head without an end", "--b\r\nContent-Disposition: form-data; name=\"model\"".to_owned(), good, "part 1"),
        ("no name", format!("{model}{}--b--\r\n", part("filename=\"a.wav\"", "RIFF")), good, "part 2"),
        ("a name twice", format!("{model}{model}{file}--b--\r\n"), good, "model"),
        ("no model", format!("{file}--b--\r\n"), good, "model"),
        ("no file", format!("{model}--b--\r\n"), good, "file"),
        ("another boundary", format!("{model}{file}--b--\r\n"), "multipart/form-data; boundary=c", "boundary"),
        (
            "two boundaries",
            format!("{model}{file}--b--\r\n"),
            "multipart/form-data; boundary=c; boundary=b",
            "boundary",
        ),
        ("no boundary", format!("{model}{file}--b--\r\n"), "multipart/form-data", "boundary"),
        ("JSON", r#"{"model":"first/whisper"}"#.to_owned(), "application/json", "multipart/form-data"),
        (
            "a model with a line's end",
            format!("{}{file}--b--\r\n", part("name=\"model\"", "first/whisper\r\nx: y")),
            good,
            "model",
        ),
        ("parts without end", (0..1_000).map(|i| part(&format!("name=\"x{i}\""), "y")).collect(), good, "parts"),
    ];
    for path in ["/v1/audio/transcriptions", "/v1/audio/translations"] {
        for (name, body, kind, place) in &rows {
            told(name, path, &bench.post(path, Some(kind), &[], body.clone()).await, 400, place);
        }
    }
    bench.unmoved().await;
}

#[tokio::test]
async fn broken_schemas_of_tools_are_refused_where_they_would_have_to_be_told() {
    let bench = Bench::start().await;
    let ask =
        |tools: &str| format!(r#"{{"model":"claude","messages":[{{"role":"user","content":"hi"}}],"tools":{tools}}}"#);
    let rows = [
        (ask(r#"[5]"#), "tools"),
        (ask(r#"[{"type":"function"}]"#), "tools[0].function"),
        (ask(r#"[{"type":"function","function":{"name":5}}]"#), "tools[0].function.name"),
        (ask(r#"[{"type":"function","function":{"name":"f","parameters":"SECRET"}}]"#), "tools[0].function.parameters"),
        (ask(r#"[{"type":"odd"}]"#), "tools"),
    ];
    for (body, place) in rows {
        bench.refuses(&body.clone(), "/v1/chat/completions", body, 400, place).await;
    }
    bench.unmoved().await;
}

#[tokio::test]
async fn what_is_large_or_odd_but_whole_is_answered_in_bounded_time() {
    let mut bench = Bench::start().await;
    let many: Vec<Value> =
        (0..10_000).map(|i| json!({"role": if i % 2 == 0 {"user"} else {"assistant"}, "content": "hi"})).collect();
    let recursive = json!({"type": "object", "properties": {"a": {"$ref": "#/$defs/a"}}, "$defs": {"a": {"anyOf": [{"$ref": "#/$defs/a"}]}}});
    let huge: serde_json::Map<String, Value> =
        (0..5_000).map(|i| (format!("member_{i}"), json!({"type": "string"}))).collect();
    let tool = |schema: Value| json!([{"type": "function", "function": {"name": "f", "parameters": schema}}]);
    let (recursive, huge) = (tool(recursive), tool(json!({"type": "object", "properties": huge})));
    let ask = |model: &str, name: &str, value: &Value| {
        let mut body = hello(model);
        body[name] = value.clone();
        body.to_string()
    };
    for model in ["chat", "claude"] {
        let mut rows = vec![
            ask(model, "tools", &recursive),
            ask(model, "tools", &huge),
            ask(model, "max_tokens", &json!(u64::MAX)),
        ];
        rows.push(ask(model, "messages", &Value::Array(many.clone())));
        rows.push(ask(model, "metadata", &json!({"a\r\nx-evil: 1": "b\r\nx-evil: 1"})));
        for body in rows {
            let answer = bench
                .post("/v1/chat/completions", None, &[("x-alfred-tags", "a=b,=,==,x-evil: 1")], body.clone())
                .await;
            assert!(
                [200, 400, 429].contains(&answer.status),
                "{:.120}: {} {:.500}",
                body,
                answer.status,
                answer.text()
            );
            assert!(answer.headers.get("x-evil").is_none());
        }
    }
    // What a content type says of good JSON decides nothing.
    for kind in [None, Some("text/plain"), Some("application/json; charset=utf-16"), Some("application/octet-stream")] {
        let answer = bench.post("/v1/chat/completions", kind, &[], FAMILIES[0].1).await;
        assert_eq!(answer.status, 200, "{kind:?}: {}", answer.text());
    }
    let now = resident(&mut bench.world);
    assert!(now < bench.resident + GROWTH, "grew from {} to {now} KiB", bench.resident);
    bench.world.at_rest(&bench.tenant.wallet, Duration::from_secs(5)).await;
    bench.world.assert_balanced(&bench.tenant).await;
    assert!(!bench.world.log().contains("x-evil: 1\n"), "no line of the log is the caller's");
}
