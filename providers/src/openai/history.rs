//! What servers want otherwise inside the messages: another role, other ids of calls, nothing that an answer said beside its content.
//! Only those bytes are edited; a body that needs nothing stays as it is.

use std::ops::Range;

use crate::catalog::Quirks;
use crate::json::{Kind, Scanner, quote, unescape};
use crate::request::BadRequest;

/// Members of an earlier answer that say what was thought, signed perhaps by the provider who thought it. A server that refuses them
/// loses nothing by their being left out: it gives no promise about what it thought before.
const FOREIGN: [&str; 6] = [
    "reasoning_content",
    "reasoning",
    "reasoning_details",
    "thinking_blocks",
    "extra_content",
    "provider_specific_fields",
];
/// What points into what was said, of OpenAI's own words.
const ECHO: &str = "annotations";
/// Members that OpenAI's clients write out although they say nothing.
const EMPTY: [&str; 4] = ["refusal", "audio", "function_call", "tool_calls"];
/// The length of ids where only letters and digits will do.
const SHORT: usize = 9;

/// An edit: the place and what comes there.
pub(super) type Edit = (Range<usize>, String);

/// Whether a body may need an edit at a target with these quirks. Most bodies hold nothing foreign, and a look for its names costs a
/// fraction of a walk through the messages.
pub(super) fn may_edit(quirks: &Quirks, body: &str) -> bool {
    let always = quirks.no_developer_role || quirks.no_reasoning_history || quirks.short_call_ids;
    always || (quirks.no_foreign_history && FOREIGN.iter().any(|name| body.contains(name)))
}

/// The edits that `messages`, which stand at `span` of the body, need.
pub(super) fn edits(body: &str, span: Range<usize>, quirks: &Quirks) -> Vec<Edit> {
    let mut reader = Reader { scanner: Scanner::new(&body[span.clone()]), quirks, edits: Vec::new() };
    // The body has been read before, so this does not fail; should it all the same, the server may complain of what it gets.
    let _ = reader.messages();
    let moved = |(at, text): Edit| (at.start + span.start..at.end + span.start, text);
    reader.edits.into_iter().map(moved).collect()
}

struct Reader<'a> {
    scanner: Scanner<'a>,
    quirks: &'a Quirks,
    edits: Vec<Edit>,
}

/// A member: from its name to the end of its value, and whether it goes.
struct Seen {
    start: usize,
    end: usize,
    goes: bool,
}

impl Reader<'_> {
    fn messages(&mut self) -> Result<(), BadRequest> {
        if self.scanner.peek()? != Kind::Array {
            return Ok(());
        }
        let mut walk = self.scanner.array()?;
        while self.scanner.element(&mut walk)? {
            if self.scanner.peek()? == Kind::Object {
                self.message()?;
            } else {
                self.scanner.skip()?;
            }
        }
        Ok(())
    }

    fn message(&mut self) -> Result<(), BadRequest> {
        let (mut walk, mut seen) = (self.scanner.object()?, Vec::new());
        while let Some(key) = self.scanner.any_member(&mut walk)? {
            let is_calls = key.name == "tool_calls" && self.scanner.peek()? == Kind::Array;
            if is_calls && (self.quirks.short_call_ids || self.strict()) {
                let from = self.scanner.here();
                self.calls()?;
                let end = self.scanner.end();
                seen.push(Seen { start: key.start, end, goes: self.goes(&key.name, from..end) });
                continue;
            }
            let value = self.scanner.skip()?;
            let said = &self.scanner.text()[value.clone()];
            match &*key.name {
                "role" if self.quirks.no_developer_role && said.starts_with('"') && unescape(said) == "developer" => {
                    self.edits.push((value.clone(), "\"system\"".to_owned()));
                }
                "tool_call_id" if self.quirks.short_call_ids => self.shorten(value.clone()),
                _ => {}
            }
            seen.push(Seen { start: key.start, end: value.end, goes: self.goes(&key.name, value) });
        }
        self.remove(&seen);
        Ok(())
    }

    fn strict(&self) -> bool {
        self.quirks.no_foreign_history || self.quirks.no_reasoning_history
    }

    fn goes(&self, name: &str, value: Range<usize>) -> bool {
        let said = &self.scanner.text()[value];
        let empty = EMPTY.contains(&name) && matches!(said, "null" | "[]");
        (self.strict() && FOREIGN.contains(&name)) || (self.quirks.no_reasoning_history && (name == ECHO || empty))
    }

    fn calls(&mut self) -> Result<(), BadRequest> {
        let mut walk = self.scanner.array()?;
        while self.scanner.element(&mut walk)? {
            if self.scanner.peek()? != Kind::Object {
                self.scanner.skip()?;
                continue;
            }
            let (mut call, mut seen) = (self.scanner.object()?, Vec::new());
            while let Some(key) = self.scanner.any_member(&mut call)? {
                let value = self.scanner.skip()?;
                let goes = self.strict() && FOREIGN.contains(&&*key.name);
                seen.push(Seen { start: key.start, end: value.end, goes });
                if key.name == "id" && self.quirks.short_call_ids {
                    self.shorten(value);
                }
            }
            self.remove(&seen);
        }
        Ok(())
    }

    /// Another id, the same for a call and for its result. One that fits stays.
    fn shorten(&mut self, value: Range<usize>) {
        let said = &self.scanner.text()[value.clone()];
        if !said.starts_with('"') {
            return;
        }
        let id = unescape(said);
        if id.len() != SHORT || !id.bytes().all(|b| b.is_ascii_alphanumeric()) {
            self.edits.push((value, quote(&short(&id))));
        }
    }

    /// Takes members out, each with a comma.
    fn remove(&mut self, seen: &[Seen]) {
        let last_kept = seen.iter().rposition(|it| !it.goes);
        for (i, member) in seen.iter().enumerate().filter(|(_, it)| it.goes) {
            let span = match last_kept {
                Some(last) if i > last => seen[i - 1].end..member.end,
                _ => member.start..seen.get(i + 1).map_or(member.end, |next| next.start),
            };
            self.edits.push((span, String::new()));
        }
    }
}

/// Nine letters and digits that stand for an id: its FNV-1a hash, in base 62.
fn short(id: &str) -> String {
    const DIGITS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    let mut hash =
        id.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3));
    let mut text = String::with_capacity(SHORT);
    for _ in 0..SHORT {
        text.push(char::from(DIGITS[(hash % 62) as usize]));
        hash /= 62;
    }
    text
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::splice;

    const ALL: Quirks =
        Quirks { no_developer_role: true, no_reasoning_history: true, short_call_ids: true, ..Quirks::NONE };
    const NONE: Quirks = Quirks::NONE;

    fn edited(messages: &str, quirks: &Quirks) -> String {
        let body = format!("{{\"messages\":{messages}}}");
        let all = edits(&body, 12..body.len() - 1, quirks);
        let bytes = splice::replace(body.as_bytes(), all);
        let text = String::from_utf8(bytes.to_vec()).unwrap();
        text.strip_prefix("{\"messages\":").unwrap().strip_suffix('}').unwrap().to_owned()
    }

    fn check(quirks: Quirks, messages: &str, expected: &str) {
        assert_eq!(edited(messages, &quirks), expected);
    }

    #[test]
    fn a_developer_is_the_system_where_nobody_knows_developers() {
        let given = r#"[{ "role" : "developer" , "content":"developer"},{"role":"user"}]"#;
        check(Quirks { no_developer_role: true, ..NONE }, given, &given.replacen("\"developer\"", "\"system\"", 1));
        check(NONE, given, given);
    }

    #[test]
    fn what_an_answer_said_beside_its_content_is_left_out_where_it_is_refused() {
        let quirks = Quirks { no_reasoning_history: true, ..NONE };
        let only = |given: &str, expected: &str| check(quirks, given, expected);
        only(
            r#"[{"role":"assistant","content":"a" ,"reasoning_content":"r","annotations":[{"x":[1]}],"tool_calls":null}]"#,
            r#"[{"role":"assistant","content":"a"}]"#,
        );
        only(
            r#"[{"reasoning":"r", "role":"assistant","thinking_blocks":[],"content":"a"}]"#,
            r#"[{"role":"assistant","content":"a"}]"#,
        );
        only(r#"[{"refusal":null,"audio":null}]"#, "[{}]");
        let kept = r#"[{"role":"assistant","refusal":"no","tool_calls":[{"id":"call_1"}],"prefix":true},7]"#;
        only(kept, kept);
        check(NONE, r#"[{"reasoning_content":"r"}]"#, r#"[{"reasoning_content":"r"}]"#);
    }

    #[test]
    fn what_another_provider_signed_is_left_out_where_only_the_servers_own_words_are_taken() {
        for quirks in [Quirks { no_foreign_history: true, ..NONE }, Quirks { no_reasoning_history: true, ..NONE }] {
            check(
                quirks,
                r#"[{"content":"a","thinking_blocks":[{}],"tool_calls":[{"id":"x","extra_content":{"google":{}}},{"extra_content":1, "id":"y"}],"extra_content":{}}]"#,
                r#"[{"content":"a","tool_calls":[{"id":"x"},{"id":"y"}]}]"#,
            );
        }
        let own = r#"[{"role":"assistant","content":"a","refusal":null,"annotations":[],"audio":null}]"#;
        check(Quirks { no_foreign_history: true, ..NONE }, own, own);
    }

    #[test]
    fn a_call_and_its_result_still_meet_under_a_shorter_id() {
        let quirks = Quirks { short_call_ids: true, ..NONE };
        let given = r#"[{"tool_calls":[{"id":"call_Ab12","function":{"name":"f","arguments":"{\"id\":\"x\"}"}},{"id":"D681PevKs"},3]},{"role":"tool","tool_call_id":"call_Ab12"},{"tool_call_id":"D681PevKs"}]"#;
        let new = short("call_Ab12");
        assert!(new.len() == 9 && new.bytes().all(|b| b.is_ascii_alphanumeric()), "{new}");
        check(quirks, given, &given.replace("call_Ab12", &new));
        assert_ne!(short("call_1"), short("call_2"));
    }

    proptest! {
        #[test]
        fn edited_messages_stay_json_and_keep_everything_else(
            picks in prop::collection::vec(prop::sample::select(vec![
                "\"role\":\"developer\"", "\"content\" : \"c\"", "\"reasoning\":{}", "\"annotations\" :[ ]", "\"refusal\":null",
                "\"tool_calls\":[{\"id\":\"a\"},{\"id\":1}]", "\"tool_calls\":[]", "\"tool_call_id\":\"b\"", "\"own\":[{}]",
            ]), 0..7),
            space in "[ \n]{0,2}",
        ) {
            let mut members: Vec<&str> = picks;
            members.sort_unstable();
            members.dedup_by_key(|it| it.split('"').nth(1).unwrap());
            let messages = format!("[{space}{{{space}{}{space}}}{space}]", members.join(&format!("{space},{space}")));
            let told: serde_json::Value = serde_json::from_str(&edited(&messages, &ALL)).unwrap();
            let goes = |it: &str| FOREIGN.iter().chain([&ECHO]).any(|echo| it.starts_with(&format!("\"{echo}\"")));
            let kept = members.iter().filter(|it| !goes(it));
            let kept = kept.filter(|it| !it.ends_with("null") && !it.ends_with(":[]"));
            prop_assert_eq!(told[0].as_object().unwrap().len(), kept.count());
            prop_assert_ne!(told[0]["role"].as_str(), Some("developer"));
        }
    }
}
