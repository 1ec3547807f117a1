//! Streams that are no server-sent events flow through the same client: bytes, signed for, read as they come.

use super::*;
use crate::request::Usage;

const KEYS: &str =
    "aws: { access_key_id: { env: ID }, secret_access_key: { env: SECRET }, session_token: { env: TOKEN } }";

fn bedrock(port: u16) -> Arc<Target> {
    let config = format!("{{ id: up, kind: bedrock, base_url: \"http://127.0.0.1:{port}\", {KEYS} }}");
    let config: ProviderConfig = serde_yaml_ng::from_str(&config).unwrap();
    let env = |name: &str| Some(format!("canary-{}", name.to_lowercase()));
    Fleet::build(&[config], &env).unwrap().target("up/us.amazon.nova-lite-v1:0").unwrap()
}

fn frames(pieces: Vec<Vec<u8>>) -> Script {
    Box::new(move |stream| {
        let head = head("200 OK", "content-type: application/vnd.amazon.eventstream\r\n");
        stream.write_all(head.as_bytes()).unwrap();
        for piece in pieces {
            stream.write_all(&piece).unwrap();
            stream.flush().unwrap();
            std::thread::sleep(Duration::from_millis(2));
        }
    })
}

fn golden(name: &str) -> Vec<u8> {
    std::fs::read(format!("src/bedrock/testdata/stream/{name}.in.bin")).unwrap()
}

#[tokio::test]
async fn frames_arrive_in_any_pieces_and_only_a_signature_left() {
    let pieces = golden("text").chunks(50).map(<[u8]>::to_vec).collect();
    let (port, server) = serve(vec![frames(pieces)]);
    let answer = patient().send(&bedrock(port), &request(true), 9).await.unwrap();
    let (told, error) = read(answer).await;
    assert_eq!(error, None);
    assert!(told.contains("\"content\":\"Hello\"") && told.ends_with("data: [DONE]\n\n"), "{told}");
    let heard = server.join().unwrap().remove(0);
    assert!(heard.starts_with("POST /model/us.amazon.nova-lite-v1%3A0/converse-stream HTTP/1.1\r\n"), "{heard}");
    let lower = heard.to_lowercase();
    assert!(lower.contains("authorization: aws4-hmac-sha256 credential=canary-id/"), "{heard}");
    assert!(lower.contains(&format!("host: 127.0.0.1:{port}\r\n")), "the host that was signed");
    assert!(lower.contains("x-amz-security-token: canary-token\r\n") && lower.contains("\r\nx-amz-date: "));
    assert!(!lower.contains("canary-secret"));
    assert!(heard.ends_with(
        "{\"messages\":[{\"role\":\"user\",\"content\":[{\"text\":\"x\"}]}],\"inferenceConfig\":{\"maxTokens\":9}}"
    ));
}

#[tokio::test]
async fn a_caller_of_json_gets_frames_gathered_and_may_stop_after_any_of_them() {
    let (port, server) = serve(vec![frames(vec![golden("tools")]), frames(vec![golden("text")])]);
    let target = bedrock(port);
    let mut answer = patient().gather(&target, &request(false), 9).await.unwrap();
    assert!(target.can_gather(&request(false)) && !answer.is_whole());
    let mut heard = String::new();
    // All frames came at once; still none is read before the one before it was asked for.
    while let Some(Ok(AnswerEvent::Delta(delta))) = answer.next().await {
        delta.texts.iter().for_each(|(_, text)| heard.push_str(text));
        if heard.ends_with("{\"location\": \"San") {
            break;
        }
    }
    let end = answer.cut("{\"note\":\"n\"}").unwrap();
    let counted = Usage { input: 1, output: 2, ..Usage::default() };
    let body = String::from_utf8(end.closing(Some("0.01"), Some(&counted)).to_vec()).unwrap();
    assert!(body.contains("\"content\":\"Let me check.\"") && body.contains("\"alfred\":{\"note\":\"n\"}"), "{body}");
    assert!(!body.contains("San"), "what was refused is not told: {body}");

    let whole = patient().gather(&target, &request(false), 9).await.unwrap();
    let (body, error) = read(whole).await;
    assert_eq!(error, None);
    assert!(
        body.contains("\"content\":\"Hello – \\\"wörld\\\"\\n\"") && body.contains("\"completion_tokens\":15"),
        "{body}"
    );
    assert!(server.join().unwrap().iter().all(|it| it.contains("/converse-stream ")));
}

#[tokio::test]
async fn what_amazon_refuses_is_sorted_by_its_header() {
    let body = "{\"message\":\"canary\"}";
    let more = format!("x-amzn-errortype: ThrottlingException:http://x/\r\ncontent-length: {}\r\n", body.len());
    let (port, server) = serve(vec![says(head("429 Too Many Requests", &more) + body)]);
    let error = patient().send(&bedrock(port), &request(false), 9).await.err().unwrap();
    assert_eq!((error.class, error.status), (Class::RateLimited, Some(429)));
    assert!(!error.to_string().contains("canary"));
    server.join().unwrap();
}
