//! What a server behind may answer in the place of an answer: the caller gets our error, never its words.

use super::*;

fn up(kind: &str, model: &str, port: u16) -> Arc<Target> {
    let keys = match kind {
        "bedrock" => "aws: { access_key_id: { env: ID }, secret_access_key: { env: SECRET } }",
        _ => "api_key: { env: K }",
    };
    let config = format!("{{ id: up, kind: {kind}, base_url: \"http://127.0.0.1:{port}/v1\", {keys} }}");
    let config: ProviderConfig = serde_yaml_ng::from_str(&config).unwrap();
    Fleet::build(&[config], &|_| Some("canary".to_owned())).unwrap().target(&format!("up/{model}")).unwrap()
}

#[tokio::test]
async fn an_odd_answer_is_our_error_in_every_dialect() {
    const TARGETS: [(&str, &str); 5] = [
        ("openai-compatible", "m"),
        ("anthropic", "claude-sonnet-4-5"),
        ("gemini", "gemini-2.5-flash"),
        ("bedrock", "us.amazon.nova-lite-v1:0"),
        ("cohere", "command-a-03-2025"),
    ];
    let rows = [
        ("nothing", head("200 OK", "content-type: application/json\r\n")),
        ("nothing, and says so", head("204 No Content", "")),
        ("a page", head("200 OK", "content-type: text/html\r\n") + "<html>PROVIDER-WORDS</html>"),
        (
            "a page that is called JSON",
            head("200 OK", "content-type: application/json\r\n") + "<html>PROVIDER-WORDS</html>",
        ),
        ("packed, unasked", head("200 OK", "content-encoding: gzip\r\n") + "\u{1f}\u{8}\0PROVIDER-WORDS"),
        ("a list", head("200 OK", "content-type: application/json\r\n") + "[\"PROVIDER-WORDS\"]"),
        (
            "half of it",
            head("200 OK", "content-type: application/json\r\n") + "{\"choices\":[{\"message\":{\"content\":\"a",
        ),
        ("go elsewhere", head("302 Found", "location: http://127.0.0.1:1/PROVIDER-WORDS\r\n")),
        ("first 1xx", format!("HTTP/1.1 103 Early Hints\r\n\r\n{}", head("200 OK", ""))),
    ];
    for (kind, model) in TARGETS {
        for (name, answer) in &rows {
            for stream in [false, true] {
                let (port, server) = serve(vec![says(answer.clone())]);
                let error = match patient().send(&up(kind, model, port), &request(stream), 9).await {
                    Ok(answer) => read(answer).await.1,
                    Err(error) => Some(error),
                };
                let error = error.unwrap_or_else(|| panic!("{name} from {kind} is no answer"));
                assert!(!error.message.contains("PROVIDER-WORDS"), "{name} from {kind}: {error:?}");
                server.join().unwrap();
            }
        }
    }
}
