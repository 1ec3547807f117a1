//! The faults, and what is expected of each: a row a fault.

use std::time::Duration;

use qa::faults::Act::{self, HalfClose, Pause, Reset, Send, Stall};
use qa::faults::answers::*;
use serde_json::json;

/// What comes of a call to a target with a fault, where it is the only one.
#[derive(Debug, Clone, Copy)]
pub enum Want {
    /// The whole answer, charged as its provider bills it.
    Billed,
    /// The whole answer, charged as its tokens are counted here.
    Counted,
    /// No content: this status and code, the attempt of this class, nothing charged. A second target answers instead.
    Fails(u16, &'static str, &'static str),
    /// The request itself is refused: no other target is asked.
    Refused(u16, &'static str),
    /// Content, then an error event with this code, charged as counted. Nobody else is asked.
    Breaks(&'static str),
    /// There is no such case.
    None,
}

use Want::{Billed, Breaks, Counted, Fails, Refused};

/// Where a provider with a fault is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// At the faulty server.
    Here,
    /// The same, addressed as if it spoke TLS.
    HereByTls,
    /// Behind TLS, addressed as if it did not speak it.
    TlsByPlain,
    /// Behind a certificate that vouches for itself.
    SelfSigned,
    /// Behind a certificate of an authority that nobody knows.
    UnknownAuthority,
    /// Behind a certificate of an authority that is believed.
    Believed,
    /// The same, for another name.
    AnotherName,
    /// The same, years ago.
    Expired,
    /// Where nobody listens.
    Nowhere,
    /// At a name that does not exist.
    Unnamed,
}

pub struct Row {
    pub name: &'static str,
    pub what: &'static str,
    pub place: Place,
    pub acts: [Vec<Act>; 2],
    /// For a JSON caller, and for one of a stream.
    pub want: [Want; 2],
}

fn row(name: &'static str, what: &'static str, acts: [Vec<Act>; 2], json: Want, stream: Want) -> Row {
    Row { name, what, place: Place::Here, acts, want: [json, stream] }
}

/// For streams alone.
fn stream_row(name: &'static str, what: &'static str, body: impl Into<Vec<u8>>, stream: Want) -> Row {
    row(name, what, [Vec::new(), stream_of(body)], Want::None, stream)
}

fn at(place: Place, name: &'static str, what: &'static str, want: Want) -> Row {
    Row { name, what, place, acts: both(json_answer()), want: [want, want] }
}

const BROKEN: Want = Fails(502, "provider_error", "broken");
const SILENT: Want = Fails(504, "provider_timeout", "timeout");
const AWAY: Want = Fails(503, "provider_unavailable", "connect");
const LIMITED: Want = Fails(503, "provider_unavailable", "rate_limited");
const FAILED: Want = Fails(502, "provider_error", "server");
const OURS: Want = Fails(502, "provider_error", "misconfigured");

pub fn rows(canary: &str) -> Vec<Row> {
    let mut rows = time();
    rows.extend(connections());
    rows.extend(statuses());
    rows.extend(heads(canary));
    rows.extend(bodies());
    rows.extend(streams());
    rows.extend(usages());
    rows
}

fn time() -> Vec<Row> {
    let ms = Duration::from_millis;
    vec![
        row("slow", "a byte a millisecond", good_by_the_byte(ms(1)), Billed, Billed),
        row("split", "every byte a write of its own", good_by_the_byte(Duration::ZERO), Billed, Billed),
        row("late", "a moment before head, body and end", late(ms(150)), Billed, Billed),
        row("stalled", "takes the request and never answers", [vec![Stall], vec![Stall]], SILENT, SILENT),
        row("stalled-head", "stops in its head", [stalled_head(), stalled_head()], SILENT, SILENT),
        row("stalled-body", "stops in its body", half_then(Stall), SILENT, Breaks("provider_timeout")),
        row(
            "stalled-empty",
            "a head, and nothing more",
            [
                vec![Send(head("200 OK", &[("content-type", "application/json")])), Stall],
                vec![Send(stream_head()), Stall],
            ],
            SILENT,
            SILENT,
        ),
        row("chatter", "comments without end, and no event", [Vec::new(), chatter()], Want::None, SILENT),
    ]
}

fn late(wait: Duration) -> [Vec<Act>; 2] {
    let json = json_answer();
    let (a, b) = json.split_at(json.len() / 2);
    let pause = Pause(wait);
    let whole = vec![pause.clone(), Send(a.to_vec()), pause.clone(), Send(b.to_vec())];
    let rest = ended(&usage(&json!({"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15})));
    let stream = vec![pause.clone(), Send(stream_head()), pause.clone(), Send(begun()), pause, Send(rest)];
    [whole, stream]
}

fn stalled_head() -> Vec<Act> {
    vec![Send(b"HTTP/1.1 200 OK\r\ncontent-ty".to_vec()), Stall]
}

/// Longer than any deadline of the test.
fn chatter() -> Vec<Act> {
    let mut acts = vec![Send(stream_head())];
    for _ in 0..400 {
        acts.extend([Send(b": still here\n\n".to_vec()), Pause(Duration::from_millis(100))]);
    }
    acts
}

fn connections() -> Vec<Row> {
    vec![
        at(Place::Nowhere, "refused", "nobody listens", AWAY),
        at(Place::Unnamed, "unnamed", "its name does not resolve", AWAY),
        row("hangs-up", "closes without a word", [Vec::new(), Vec::new()], BROKEN, BROKEN),
        row("half-closed", "says it has ended, unanswered", [vec![HalfClose], vec![HalfClose]], BROKEN, BROKEN),
        row(
            "half-closed-body",
            "says it has ended, in its body",
            half_then(HalfClose),
            BROKEN,
            Breaks("provider_error"),
        ),
        row("reset", "resets, unanswered", [vec![Reset], vec![Reset]], BROKEN, BROKEN),
        row("reset-body", "resets in its body", half_then(Reset), BROKEN, Breaks("provider_error")),
        at(Place::SelfSigned, "tls-self-signed", "a certificate that vouches for itself", AWAY),
        at(Place::UnknownAuthority, "tls-unknown-ca", "a certificate of an unknown authority", AWAY),
        Row {
            acts: [json_answer(), stream_answer()].map(|it| vec![Send(it)]),
            want: [Billed, Billed],
            ..at(Place::Believed, "tls", "a certificate of its own authority, which is believed: no fault", AWAY)
        },
        at(Place::AnotherName, "tls-name", "the same authority's certificate for another name", AWAY),
        at(Place::Expired, "tls-expired", "the same authority's certificate, long expired", AWAY),
        at(Place::HereByTls, "tls-plain", "plain HTTP on a port for TLS", AWAY),
        at(Place::TlsByPlain, "tls-unasked", "TLS on a port for plain HTTP", BROKEN),
    ]
}

fn statuses() -> Vec<Row> {
    let told =
        |name, what, status: &str, more: &[(&str, &str)], want| row(name, what, both(error(status, more)), want, want);
    let mut rows = vec![
        told("429", "429 without Retry-After", "429 Too Many Requests", &[], LIMITED),
        told("429-after", "429 with `retry-after: 7`", "429 Too Many Requests", &[("retry-after", "7")], LIMITED),
        told(
            "429-after-ms",
            "429 with `retry-after-ms: 20`",
            "429 Too Many Requests",
            &[("retry-after-ms", "20")],
            LIMITED,
        ),
        told(
            "429-after-odd",
            "429 with `retry-after: soon`",
            "429 Too Many Requests",
            &[("retry-after", "soon")],
            LIMITED,
        ),
        told(
            "429-after-ages",
            "429 with a Retry-After of ages",
            "429 Too Many Requests",
            &[("retry-after", "99999999999999999999")],
            LIMITED,
        ),
        told("401", "401: our key is not taken", "401 Unauthorized", &[], OURS),
        told("403", "403: our key may not", "403 Forbidden", &[], OURS),
        told("400", "400", "400 Bad Request", &[], Refused(400, "provider_rejected")),
        told("404", "404", "404 Not Found", &[], Refused(404, "provider_rejected")),
        told("413", "413", "413 Content Too Large", &[], Refused(413, "request_too_large")),
        told("422", "422", "422 Unprocessable Content", &[], Refused(422, "provider_rejected")),
    ];
    for (name, status) in [
        ("500", "500 Internal Server Error"),
        ("501", "501 Not Implemented"),
        ("502", "502 Bad Gateway"),
        ("503", "503 Service Unavailable"),
        ("504", "504 Gateway Timeout"),
        ("507", "507 Insufficient Storage"),
        ("520", "520 Unknown"),
        ("529", "529 Overloaded"),
        ("599", "599 Odd"),
    ] {
        rows.push(told(name, name, status, &[], if name == "504" { SILENT } else { FAILED }));
    }
    rows.push(row(
        "503-html",
        "503 with a page for people",
        both(whole("503 Service Unavailable", "text/html", &[], b"<html>PROVIDER-OWN-WORDS</html>")),
        FAILED,
        FAILED,
    ));
    rows.push(row(
        "500-stalled",
        "500, and its body never ends",
        both_then(
            head("500 Internal Server Error", &[("content-type", "application/json"), ("content-length", "500")]),
            Stall,
        ),
        FAILED,
        FAILED,
    ));
    rows
}

fn both_then(bytes: Vec<u8>, act: Act) -> [Vec<Act>; 2] {
    [vec![Send(bytes.clone()), act.clone()], vec![Send(bytes), act]]
}

fn heads(canary: &str) -> Vec<Row> {
    let moved = |name, status: &str| {
        let answer = whole(status, "text/html", &[("location", canary)], b"moved");
        row(name, "a redirect, which is never followed", both(answer), OURS, OURS)
    };
    let flood: String = (0..2_000).map(|n| format!("x-flood-{n}: y\r\n")).collect();
    let huge = format!("x-huge: {}\r\n", "y".repeat(2 << 20));
    let broken_by = |name, what, more: String| {
        let answer = format!("HTTP/1.1 200 OK\r\n{more}content-type: application/json\r\n\r\n");
        row(name, what, both([answer.as_bytes(), &json_body()].concat()), BROKEN, BROKEN)
    };
    vec![
        moved("301", "301 Moved Permanently"),
        moved("302", "302 Found"),
        moved("307", "307 Temporary Redirect"),
        moved("308", "308 Permanent Redirect"),
        row(
            "103",
            "early hints first",
            good_after(b"HTTP/1.1 103 Early Hints\r\nlink: </a>; rel=preload\r\n\r\n"),
            Billed,
            Billed,
        ),
        row("100", "100-continue first, unasked", good_after(b"HTTP/1.1 100 Continue\r\n\r\n"), Billed, Billed),
        row("204", "204 without a body", both(head("204 No Content", &[])), BROKEN, BROKEN),
        row("no-http", "something that is no HTTP", both(b"SSH-2.0-OpenSSH_9.6\r\n".to_vec()), BROKEN, BROKEN),
        broken_by("head-flood", "two thousand headers", flood),
        broken_by("head-huge", "a header of two mebibytes", huge),
        row(
            "type-html",
            "a page for people in place of an answer",
            both(whole("200 OK", "text/html", &[], b"<html>Please sign in</html>")),
            BROKEN,
            BROKEN,
        ),
        row(
            "type-wrong",
            "good answers, called `text/plain`",
            [
                vec![Send(whole("200 OK", "text/plain", &[], &json_body()))],
                vec![Send(whole("200 OK", "text/plain", &[], &stream_body()))],
            ],
            Billed,
            Billed,
        ),
        row(
            "type-none",
            "good answers, called nothing",
            [vec![Send(head("200 OK", &[])), Send(json_body())], vec![Send(head("200 OK", &[])), Send(stream_body())]],
            Billed,
            Billed,
        ),
        row(
            "type-other",
            "JSON where a stream was asked for, and the other way round",
            [vec![Send(stream_answer())], vec![Send(json_answer())]],
            BROKEN,
            Billed,
        ),
    ]
}

fn bodies() -> Vec<Row> {
    let typed = |kind: usize, more: &[(&str, &str)]| {
        let mut headers = vec![("content-type", ["application/json", "text/event-stream"][kind])];
        headers.extend_from_slice(more);
        head("200 OK", &headers)
    };
    let good = [json_body(), stream_body()];
    let each = |make: &dyn Fn(usize, &[u8]) -> Vec<u8>| [0, 1].map(|kind| vec![Send(make(kind, &good[kind]))]);
    let chunked = [("transfer-encoding", "chunked")];
    vec![
        row("empty", "a body of no bytes", each(&|kind, _| typed(kind, &[("content-length", "0")])), BROKEN, BROKEN),
        row(
            "length-long",
            "a content-length beyond the body",
            each(&|kind, body| {
                [typed(kind, &[("content-length", &(body.len() + 9).to_string())]), body.to_vec()].concat()
            }),
            BROKEN,
            Billed,
        ),
        row(
            "length-short",
            "a content-length short of the body",
            each(&|kind, body| {
                [typed(kind, &[("content-length", &(body.len() / 2).to_string())]), body.to_vec()].concat()
            }),
            BROKEN,
            Breaks("provider_error"),
        ),
        row(
            "length-twice",
            "two content-lengths",
            each(&|kind, body| {
                [typed(kind, &[("content-length", "5"), ("content-length", &body.len().to_string())]), body.to_vec()]
                    .concat()
            }),
            BROKEN,
            BROKEN,
        ),
        row(
            "chunk-endless",
            "chunked, without its last chunk",
            each(&|kind, body| [typed(kind, &chunked), chunk(body)].concat()),
            BROKEN,
            Billed,
        ),
        row(
            "chunk-size",
            "chunked, with a size that is none",
            each(&|kind, body| [typed(kind, &chunked), b"zz\r\n".to_vec(), body.to_vec()].concat()),
            BROKEN,
            BROKEN,
        ),
        row(
            "gzip",
            "compressed, unasked",
            each(&|kind, body| [typed(kind, &[("content-encoding", "gzip")]), gzip(body)].concat()),
            BROKEN,
            BROKEN,
        ),
        row(
            "gzip-cut",
            "compressed, unasked, and cut short",
            each(&|kind, body| {
                let file = gzip(body);
                [typed(kind, &[("content-encoding", "gzip")]), file[..file.len() / 2].to_vec()].concat()
            }),
            BROKEN,
            BROKEN,
        ),
        row(
            "error-in-200",
            "an error under a 200",
            [
                vec![Send(whole("200 OK", "application/json", &[], provider_error().as_bytes()))],
                stream_of(format!("data: {}\n\n", provider_error())),
            ],
            FAILED,
            FAILED,
        ),
        row(
            "json-cut",
            "JSON that ends early",
            [vec![Send(whole("200 OK", "application/json", &[], &json_body()[..60]))], Vec::new()],
            BROKEN,
            Want::None,
        ),
        row(
            "json-other",
            "JSON of another kind",
            [vec![Send(whole("200 OK", "application/json", &[], b"{\"choices\":7}"))], Vec::new()],
            BROKEN,
            Want::None,
        ),
        row(
            "json-bytes",
            "JSON that is no UTF-8",
            [
                vec![Send(whole(
                    "200 OK",
                    "application/json",
                    &[],
                    b"{\"choices\":[{\"message\":{\"content\":\"\xff\xfe\"}}]}",
                ))],
                Vec::new(),
            ],
            BROKEN,
            Want::None,
        ),
    ]
}

fn provider_error() -> String {
    json!({"error": {"message": qa::upstream::PROVIDER_WORDS, "type": "server_error", "code": null}}).to_string()
}

fn streams() -> Vec<Row> {
    let text = || String::from_utf8(stream_body()).expect("UTF-8");
    let end = || ended(&usage(&json!({"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15})));
    let spoiled = |with: &[u8]| [begun(), with.to_vec(), end()].concat();
    let mixed: String = (text().split_terminator("\n\n").enumerate())
        .map(|(n, event)| format!("{event}{}", ["\r\n\r\n", "\r\r", "\n\n"][n % 3]))
        .collect();
    vec![
        stream_row(
            "sse-bad-json",
            "an event that is no JSON",
            spoiled(b"data: {\"choices\": [\n\n"),
            Breaks("provider_error"),
        ),
        stream_row(
            "sse-no-data",
            "lines that are no `data:`",
            spoiled(b"datum: {}\nretry: soon\n: note\n\nevent: ping\n\n"),
            Billed,
        ),
        stream_row(
            "sse-huge",
            "a line of 17 MiB",
            spoiled(&[b"data: ".to_vec(), vec![b'x'; 17 << 20]].concat()),
            Breaks("provider_error"),
        ),
        stream_row(
            "sse-huge-first",
            "the same, first",
            [b"data: ".to_vec(), vec![b'x'; 17 << 20]].concat(),
            Fails(502, "provider_error", "too_large"),
        ),
        stream_row("sse-cr", "lines ended by CR", text().replace('\n', "\r"), Billed),
        stream_row("sse-crlf", "lines ended by CR LF", text().replace('\n', "\r\n"), Billed),
        stream_row("sse-mixed", "lines ended by CR, LF and CR LF in turn", mixed, Billed),
        stream_row("sse-bom", "a byte order mark first", [b"\xef\xbb\xbf".to_vec(), stream_body()].concat(), Billed),
        stream_row("sse-no-newline", "no newline after the last event", text().trim_end().to_owned(), Billed),
        stream_row(
            "sse-no-done",
            "a reason and a usage, but no `[DONE]`",
            text().replace("data: [DONE]\n\n", ""),
            Billed,
        ),
        stream_row("sse-no-end", "neither reason nor `[DONE]`", begun(), Breaks("provider_error")),
        stream_row("sse-after-done", "more after `[DONE]`", [stream_body(), begun()].concat(), Billed),
        stream_row(
            "sse-error",
            "an error event in the middle",
            [begun(), format!("data: {}\n\n", provider_error()).into_bytes()].concat(),
            Breaks("provider_error"),
        ),
        stream_row(
            "sse-bytes",
            "an event that is no UTF-8",
            spoiled(b"data: {\"choices\":[{\"delta\":{\"content\":\"\xff\"\n\n"),
            Breaks("provider_error"),
        ),
    ]
}

fn usages() -> Vec<Row> {
    let json_with = |usage: serde_json::Value| {
        let mut body: serde_json::Value = serde_json::from_slice(&json_body()).expect("JSON");
        body["usage"] = usage;
        whole("200 OK", "application/json", &[], body.to_string().as_bytes())
    };
    let streamed = |between: Vec<u8>| stream_of([begun(), ended(&between)].concat());
    let with = |value: serde_json::Value| [vec![Send(json_with(value.clone()))], streamed(usage(&value))];
    let billed = |n: u64| json!({"prompt_tokens": 10, "completion_tokens": n, "total_tokens": 10 + n});
    vec![
        row(
            "usage-none",
            "no usage",
            [vec![Send(json_with(serde_json::Value::Null))], streamed(Vec::new())],
            Counted,
            Counted,
        ),
        row("usage-null", "`usage: null`", with(serde_json::Value::Null), Counted, Counted),
        row(
            "usage-negative",
            "counts below zero",
            with(json!({"prompt_tokens": -10, "completion_tokens": -5, "total_tokens": -15})),
            Counted,
            Counted,
        ),
        row(
            "usage-text",
            "counts that are texts",
            with(json!({"prompt_tokens": "ten", "completion_tokens": "five"})),
            Counted,
            Counted,
        ),
        stream_row(
            "usage-twice",
            "a usage early, and another at the end",
            [usage(&billed(1)), begun(), ended(&usage(&billed(5)))].concat(),
            Billed,
        ),
    ]
}
