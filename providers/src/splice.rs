//! Edits in a body's bytes. What is not edited stays byte for byte.

use std::ops::Range;

use bytes::Bytes;

use crate::request::ModelRequest;

/// Replaces disjoint ranges.
pub(crate) fn replace(body: &[u8], mut edits: Vec<(Range<usize>, String)>) -> Bytes {
    edits.sort_by_key(|(span, _)| span.start);
    let mut out = Vec::with_capacity(body.len() + edits.iter().map(|(_, text)| text.len()).sum::<usize>());
    let mut at = 0;
    for (span, text) in edits {
        if span.start < at {
            continue; // the same place twice: the first stands
        }
        out.extend_from_slice(&body[at..span.start]);
        out.extend_from_slice(text.as_bytes());
        at = span.end;
    }
    out.extend_from_slice(&body[at..]);
    out.into()
}

/// Edits of the outermost members of a request.
pub(crate) struct Splice<'a> {
    request: &'a ModelRequest,
    edits: Vec<(Range<usize>, String)>,
    removed: Vec<bool>,
    inserts: String,
}

impl<'a> Splice<'a> {
    pub(crate) fn new(request: &'a ModelRequest) -> Splice<'a> {
        let removed = vec![false; request.view().members.len()];
        Splice { request, edits: Vec::new(), removed, inserts: String::new() }
    }

    /// Gives the member this JSON value, in its place or after the last member.
    pub(crate) fn set(&mut self, name: &str, json: &str) {
        match self.index(name) {
            Some(i) => {
                let span = self.request.view().members[i].value.clone();
                self.edits.push((span, json.to_owned()));
            }
            None => {
                self.inserts.push_str(&format!(",\"{name}\":{json}"));
            }
        }
    }

    /// Takes the member out, with its comma.
    pub(crate) fn remove(&mut self, name: &str) {
        if let Some(i) = self.index(name) {
            self.removed[i] = true;
        }
    }

    /// Replaces a range inside a member.
    pub(crate) fn inside(&mut self, span: Range<usize>, json: &str) {
        self.edits.push((span, json.to_owned()));
    }

    /// The spliced body. The model member always stays, so there is always one to stand on.
    pub(crate) fn finish(mut self) -> Bytes {
        let members = &self.request.view().members;
        let last_kept = self.removed.iter().rposition(|gone| !gone);
        for (i, member) in members.iter().enumerate().filter(|(i, _)| self.removed[*i]) {
            let span = match last_kept {
                Some(last) if i > last => members[i - 1].value.end..member.value.end,
                _ => member.start..members.get(i + 1).map_or(member.value.end, |next| next.start),
            };
            self.edits.retain(|(other, _)| !(span.start <= other.start && other.end <= span.end && !other.is_empty()));
            self.edits.push((span, String::new()));
        }
        if let (Some(last), false) = (last_kept, self.inserts.is_empty()) {
            let end = members[last].value.end;
            // The insert goes before a removal that starts at the same byte; the sort is stable.
            self.edits.insert(0, (end..end, self.inserts));
        }
        replace(self.request.body(), self.edits)
    }

    fn index(&self, name: &str) -> Option<usize> {
        self.request.view().members.iter().position(|it| it.name == name)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::request::Shape;

    fn check(body: &str, set: &[(&str, &str)], remove: &[&str], expected: &str) {
        let request = ModelRequest::parse(Shape::OpenAi, Bytes::copy_from_slice(body.as_bytes())).unwrap();
        let mut splice = Splice::new(&request);
        set.iter().for_each(|(name, json)| splice.set(name, json));
        remove.iter().for_each(|name| splice.remove(name));
        assert_eq!(std::str::from_utf8(&splice.finish()).unwrap(), expected);
    }

    #[test]
    fn a_splice_keeps_every_other_byte() {
        let body = r#"{ "x" : 1.00 , "model":"a" ,"messages":[] , "fallbacks": ["b"] ,"user": "u" }"#;
        check(body, &[("model", "\"b\"")], &[], &body.replace("\"a\"", "\"b\""));
        check(body, &[], &["fallbacks"], r#"{ "x" : 1.00 , "model":"a" ,"messages":[] , "user": "u" }"#);
        check(body, &[], &["fallbacks", "user"], r#"{ "x" : 1.00 , "model":"a" ,"messages":[] }"#);
        check(body, &[], &["x"], r#"{ "model":"a" ,"messages":[] , "fallbacks": ["b"] ,"user": "u" }"#);
        check(body, &[("n", "2")], &["fallbacks", "user"], r#"{ "x" : 1.00 , "model":"a" ,"messages":[],"n":2 }"#);
        check(
            body,
            &[("n", "2"), ("m", "3")],
            &["x"],
            r#"{ "model":"a" ,"messages":[] , "fallbacks": ["b"] ,"user": "u","n":2,"m":3 }"#,
        );
        check(
            body,
            &[("user", "\"v\"")],
            &["user"],
            r#"{ "x" : 1.00 , "model":"a" ,"messages":[] , "fallbacks": ["b"] }"#,
        );
        check(body, &[], &["absent"], body);
    }

    /// The outermost members of a body, in order, each with the bytes of its value.
    fn members(body: &[u8]) -> Vec<(String, String)> {
        let request = ModelRequest::parse(Shape::OpenAi, Bytes::copy_from_slice(body)).unwrap();
        let text = request.text();
        request.view().members.iter().map(|it| (it.name.clone(), text[it.value.clone()].to_owned())).collect()
    }

    proptest! {
        #[test]
        fn any_mix_of_edits_leaves_the_rest_in_order(
            values in prop::collection::vec("(1\\.50|\"[a-z\\[{,]{0,3}\"|\\[ 1 ,2\\]|\\{\"a\" : null\\})", 1..6),
            space in "[ \n]{0,2}",
            remove in prop::collection::vec(any::<bool>(), 6),
            set in prop::collection::vec(any::<bool>(), 6),
            place in 0usize..6,
        ) {
            let mut given: Vec<_> = values.iter().enumerate().map(|(i, it)| (format!("k{i}"), it.clone())).collect();
            given.insert(place.min(given.len()), ("model".to_owned(), "\"m\"".to_owned()));
            given.push(("messages".to_owned(), "[ ]".to_owned()));
            let body: Vec<_> = given.iter().map(|(name, value)| format!("{space}\"{name}\"{space}:{space}{value}{space}")).collect();
            let body = format!("{{{}}}", body.join(","));
            let request = ModelRequest::parse(Shape::OpenAi, Bytes::from(body)).unwrap();
            let mut splice = Splice::new(&request);
            let mut expected = given.clone();
            for i in 0..values.len() {
                if set[i] {
                    splice.set(&format!("k{i}"), "7");
                    expected.iter_mut().filter(|it| it.0 == format!("k{i}")).for_each(|it| it.1 = "7".to_owned());
                }
                if remove[i] {
                    splice.remove(&format!("k{i}"));
                    expected.retain(|it| it.0 != format!("k{i}"));
                }
            }
            splice.set("added", "{}");
            expected.push(("added".to_owned(), "{}".to_owned()));
            prop_assert_eq!(members(&splice.finish()), expected);
        }
    }
}
