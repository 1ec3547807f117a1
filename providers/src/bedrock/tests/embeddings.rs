use serde_json::json;

use super::*;
use crate::bedrock::embeddings::from_openai;
use crate::error::Class;
use crate::request::Usage;

const TITAN: &str = "amazon.titan-embed-text-v2:0";
const COHERE: &str = "us.cohere.embed-v4:0";

#[test]
fn each_maker_is_asked_in_its_own_words() {
    let check = |asked: Value, model: &str, expected: Value| {
        let told = from_openai(asked.to_string().as_bytes(), model).unwrap();
        assert_eq!(serde_json::from_slice::<Value>(&told).unwrap(), expected);
    };
    let (one, two) = (json!({"model": "m", "input": "a", "user": "u"}), json!({"model": "m", "input": ["a", "b"]}));
    check(one.clone(), TITAN, json!({"inputText": "a"}));
    let sized = json!({"model": "m", "input": ["a"], "dimensions": 256, "encoding_format": "base64"});
    check(sized.clone(), TITAN, json!({"inputText": "a", "dimensions": 256}));
    let cohere = |texts: Value| json!({"texts": texts, "input_type": "search_document", "truncate": "NONE", "embedding_types": ["float"]});
    check(two.clone(), COHERE, cohere(json!(["a", "b"])));
    check(one.clone(), "cohere.embed-english-v3", cohere(json!(["a"])));
    let mut wanted = cohere(json!(["a"]));
    wanted["output_dimension"] = json!(256);
    check(sized, COHERE, wanted);
    for (asked, model, place) in [
        (two, TITAN, "input"),
        (json!({"input": [[1, 2]]}), TITAN, "input[0]"),
        (json!({"input": vec!["a"; 97]}), COHERE, "input"),
        (json!({"input": "a", "encoding_format": "int8"}), COHERE, "encoding_format"),
        (json!({"input": "a", "input_type": "x"}), TITAN, "input_type"),
        (json!({"input": "a"}), "amazon.nova-2-multimodal-embeddings-v1:0", "model"),
        (json!({}), TITAN, "input"),
    ] {
        let refused = from_openai(asked.to_string().as_bytes(), model).unwrap_err();
        assert_eq!(refused.param.as_deref(), Some(place), "{asked}");
    }
}

#[test]
fn vectors_come_back_as_openais_list_in_numbers_or_in_base64() {
    let check = |more: &str, answer: Value, data: Value, usage: Option<u64>| {
        let asked = request(Shape::Embeddings, &format!(r#"{{"model":"m","input":"a"{more}}}"#));
        let got = told(&asked, answer.to_string().as_bytes(), None);
        let body: Value = serde_json::from_str(&got.closing).unwrap();
        let vectors: Vec<&Value> = body["data"].as_array().unwrap().iter().map(|it| &it["embedding"]).collect();
        assert_eq!((json!(vectors), &body["object"], &body["model"]), (data, &json!("list"), &json!("m")));
        assert_eq!(got.usages, usage.map(|input| Usage { input, ..Usage::default() }).into_iter().collect::<Vec<_>>());
        assert_eq!(body["usage"]["prompt_tokens"], json!(usage.unwrap_or(0)));
    };
    let titan = json!({"embedding": [0.5, -1.0], "inputTextTokenCount": 3, "embeddingsByType": {"float": [0.5, -1.0]}});
    check("", titan.clone(), json!([[0.5, -1.0]]), Some(3));
    check(r#","encoding_format":"base64""#, titan, json!(["AAAAPwAAgL8="]), Some(3));
    let by_type = json!({"id": "i", "response_type": "embeddings_by_type", "embeddings": {"float": [[1], [2]]}, "texts": ["a", "b"]});
    check("", by_type, json!([[1], [2]]), None);
    check("", json!({"embeddings": [[1], [2]], "texts": []}), json!([[1], [2]]), None);
    for broken in ["", "{}", r#"{"embedding":3}"#, r#"{"embeddings":{"int8":[[1]]}}"#] {
        let asked = request(Shape::Embeddings, r#"{"model":"m","input":"a"}"#);
        assert_eq!(told(&asked, broken.as_bytes(), None).error.map(|it| it.class), Some(Class::Broken), "{broken}");
    }
}
